// Exception groups (PEP 654) and causes.
#include <asyncio/exceptions.hpp>

#include <cstddef>
#include <new>
#include <span>

#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {

namespace {

// Groups within groups, and causes of causes, go one after another from a certain depth on: a deep
// nest of them needs no stack.
struct Going {
    unsigned depth = 0;
    std::vector<std::exception_ptr>* later = nullptr;
};
thread_local Going going;
constexpr unsigned kDeepest = 50;

void clear_or_put_off(std::span<std::exception_ptr> errors) noexcept {
    const bool deep = going.depth >= kDeepest;
    if (deep) {
        try {
            going.later->insert(going.later->end(), errors.begin(), errors.end());
        } catch (const std::bad_alloc&) {
            // Without memory they go here, on the stack.
        }
    }
    ++going.depth;
    std::fill(errors.begin(), errors.end(), nullptr);
    --going.depth;
}

void let_go(std::span<std::exception_ptr> errors) noexcept {
    if (going.later) return clear_or_put_off(errors);
    std::vector<std::exception_ptr> later;
    going.later = &later;
    clear_or_put_off(errors);
    while (!later.empty()) {
        const std::exception_ptr next = std::move(later.back());
        later.pop_back();
    }
    going.later = nullptr;
}

}  // namespace

struct BaseExceptionGroup::Members {
    Members(std::vector<std::exception_ptr> e, std::string w) noexcept
        : exceptions(std::move(e)), what(std::move(w)) {}
    Members(const Members&) = delete;
    Members& operator=(const Members&) = delete;
    ~Members() {
        let_go(exceptions);
        if (cause) let_go({&cause, 1});
    }

    std::vector<std::exception_ptr> exceptions;
    std::string what;
    std::exception_ptr cause;  // of a part, which is given by value
};

namespace {

void check_members(const std::vector<std::exception_ptr>& exceptions) {
    if (exceptions.empty()) {
        throw ValueError("second argument (exceptions) must be a non-empty sequence");
    }
    for (std::size_t i = 0; i < exceptions.size(); ++i) {
        if (exceptions[i]) continue;
        throw ValueError("Item " + std::to_string(i) +
                         " of second argument (exceptions) is not an exception");
    }
}

bool all_ordinary(const std::vector<std::exception_ptr>& exceptions) noexcept {
    for (const std::exception_ptr& error : exceptions) {
        if (detail::is_base_exception(error)) return false;
    }
    return true;
}

std::vector<std::exception_ptr> ordinary(std::vector<std::exception_ptr> exceptions) {
    check_members(exceptions);
    if (all_ordinary(exceptions)) return exceptions;
    throw TypeError("Cannot nest BaseExceptions in an ExceptionGroup");
}

std::string group_text(const std::string& message, std::size_t count) {
    return message + " (" + std::to_string(count) + " sub-exception" + (count == 1 ? ")" : "s)");
}

// As make(), with a cause (null: none).
std::exception_ptr group_with(const std::string& message,
                              std::vector<std::exception_ptr> exceptions,
                              const std::exception_ptr& cause) {
    if (all_ordinary(exceptions)) {
        return with_cause(ExceptionGroup(message, std::move(exceptions)), cause);
    }
    return with_cause(BaseExceptionGroup(message, std::move(exceptions)), cause);
}

// Sorts one member, group or not, into the parts. A nested group of which only some members match
// is taken apart, and each part keeps its place in the structure.
void split_member(const std::exception_ptr& member, detail::Matches matches, void* context,
                  unsigned depth, detail::GroupParts& parts);

// Raises: RuntimeError for a nest that is too deep for the stack, as in Python.
detail::GroupParts split_members(const std::vector<std::exception_ptr>& members,
                                 detail::Matches matches, void* context, unsigned depth = 0) {
    constexpr unsigned kMost = 1000;
    if (depth > kMost) throw RuntimeError("maximum depth of exception groups exceeded: 1000");
    detail::GroupParts parts;
    for (const std::exception_ptr& member : members) {
        split_member(member, matches, context, depth, parts);
    }
    return parts;
}

void split_member(const std::exception_ptr& member, detail::Matches matches, void* context,
                  unsigned depth, detail::GroupParts& parts) {
    if (matches(member, context)) return parts.matching.push_back(member);
    const auto* nested = detail::find<BaseExceptionGroup>(member);
    if (!nested) return parts.rest.push_back(member);

    detail::GroupParts inner = split_members(nested->exceptions(), matches, context, depth + 1);
    // A nested group that is all on one side keeps its identity, and with it its cause.
    if (inner.matching.empty()) return parts.rest.push_back(member);
    if (inner.rest.empty()) return parts.matching.push_back(member);
    const std::exception_ptr cause = cause_of(member);
    parts.matching.push_back(group_with(nested->message(), std::move(inner.matching), cause));
    parts.rest.push_back(group_with(nested->message(), std::move(inner.rest), cause));
}

}  // namespace

BaseExceptionGroup::BaseExceptionGroup(const std::string& message,
                                       std::vector<std::exception_ptr> exceptions)
    : BaseException(message) {
    check_members(exceptions);
    std::string what = group_text(message, exceptions.size());
    members_ = std::make_shared<Members>(std::move(exceptions), std::move(what));
}

std::exception_ptr BaseExceptionGroup::make(const std::string& message,
                                            std::vector<std::exception_ptr> exceptions) {
    return group_with(message, std::move(exceptions), nullptr);
}

// Safe because nothing else is stored there.
const BaseExceptionGroup::Members& BaseExceptionGroup::members() const noexcept {
    return *static_cast<const Members*>(members_.get());
}

const char* BaseExceptionGroup::what() const noexcept { return members().what.c_str(); }

const std::vector<std::exception_ptr>& BaseExceptionGroup::exceptions() const noexcept {
    return members().exceptions;
}

void BaseExceptionGroup::raise() const {
    std::rethrow_exception(group_with(message(), exceptions(), detail::GroupCause::of(*this)));
}

ExceptionGroup::ExceptionGroup(const std::string& message,
                               std::vector<std::exception_ptr> exceptions)
    : BaseExceptionGroup(message, ordinary(std::move(exceptions))) {}

const char* ExceptionGroup::what() const noexcept { return BaseExceptionGroup::what(); }

namespace detail {

GroupParts::GroupParts() noexcept = default;
GroupParts::GroupParts(GroupParts&& o) noexcept = default;
GroupParts& GroupParts::operator=(GroupParts&& o) noexcept = default;
GroupParts::~GroupParts() = default;

std::exception_ptr GroupCause::of(const BaseExceptionGroup& group) noexcept {
    const auto* const nested = dynamic_cast<const std::nested_exception*>(&group);
    return nested ? nested->nested_ptr() : group.members().cause;
}

// Safe because a part has just been made, and shares its members with nobody.
void GroupCause::set(BaseExceptionGroup& part, const std::exception_ptr& cause) noexcept {
    static_cast<BaseExceptionGroup::Members*>(part.members_.get())->cause = cause;
}

GroupParts split_group(const BaseExceptionGroup& group, Matches matches, void* context) {
    const std::exception_ptr cause = GroupCause::of(group);
    const std::exception_ptr whole = group_with(group.message(), group.exceptions(), cause);
    GroupParts parts;
    if (matches(whole, context)) {
        parts.matching = group.exceptions();
    } else {
        parts = split_members(group.exceptions(), matches, context);
    }
    parts.cause = cause;
    return parts;
}

}  // namespace detail

// ---- Causes -----------------------------------------------------------------------------------

void detail::drop_nested(std::nested_exception& nested) noexcept {
    std::exception_ptr cause = take_nested(nested);
    if (cause) let_go({&cause, 1});
}

std::exception_ptr cause_of(const std::exception_ptr& error) noexcept {
    const auto* nested = detail::find<std::nested_exception>(error);
    if (nested) return nested->nested_ptr();
    const auto* group = detail::find<BaseExceptionGroup>(error);
    return group ? detail::GroupCause::of(*group) : std::exception_ptr();
}

}  // namespace v1
}  // namespace asyncio

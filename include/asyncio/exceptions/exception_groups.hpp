// Several errors at once: BaseExceptionGroup and ExceptionGroup (PEP 654). XC-08.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/exception_ptr.hpp"
#include "asyncio/exceptions/base_exceptions.hpp"

namespace asyncio {
inline namespace v1 {

class BaseExceptionGroup;

namespace detail {

// Decides for one error, group or not, whether it belongs to the part that is looked for.
using Matches = bool (*)(const std::exception_ptr& error, void* context);

struct ASYNCIO_API GroupParts {
    GroupParts() noexcept;
    GroupParts(GroupParts&& o) noexcept;
    GroupParts& operator=(GroupParts&& o) noexcept;
    ~GroupParts();

    std::vector<std::exception_ptr> matching;
    std::vector<std::exception_ptr> rest;
    std::exception_ptr cause;  // of the whole, and so of each part
};

// The cause of a group that is given by value.
struct ASYNCIO_API GroupCause {
    static std::exception_ptr of(const BaseExceptionGroup& group) noexcept;
    static void set(BaseExceptionGroup& part, const std::exception_ptr& cause) noexcept;
};

ASYNCIO_API GroupParts split_group(const BaseExceptionGroup& group, Matches matches, void* context);

template <class... E>
GroupParts split_by_type(const BaseExceptionGroup& group) {
    Matches matches = [](const std::exception_ptr& error, void*) {
        return (holds<E>(error) || ...);
    };
    return split_group(group, matches, nullptr);
}

template <class Predicate>
GroupParts split_by_predicate(const BaseExceptionGroup& group, Predicate& predicate) {
    Predicate* target = std::addressof(predicate);
    Matches matches = [](const std::exception_ptr& error, void* context) {
        // Safe because `context` is the address of `target`, a variable of this very type.
        return static_cast<bool>((**static_cast<Predicate**>(context))(error));
    };
    return split_group(group, matches, &target);
}

// What subgroup() gives, a std::optional<Group>, and split(), a pair of them. They name the class
// that is asked for only so that nothing is compiled before somebody asks.
template <class Group, class Asked>
struct PartTypes {
    using Part = std::optional<Group>;
    using Parts = std::pair<Part, Part>;
};
template <class Group, class Asked>
using PartOf = typename PartTypes<Group, Asked>::Part;
template <class Group, class Asked>
using PartsOf = typename PartTypes<Group, Asked>::Parts;

template <class Group>
std::optional<Group> group_of(const Group& whole, std::vector<std::exception_ptr> members,
                              const std::exception_ptr& cause) {
    if (members.empty()) return std::nullopt;
    Group part(whole.message(), std::move(members));
    GroupCause::set(part, cause);
    return part;
}

// The part that matches.
template <class Group>
std::optional<Group> match_of(const Group& whole, GroupParts parts) {
    return group_of(whole, std::move(parts.matching), parts.cause);
}

template <class Group>
std::pair<std::optional<Group>, std::optional<Group>> pair_of(const Group& whole,
                                                              GroupParts parts) {
    return {group_of(whole, std::move(parts.matching), parts.cause),
            group_of(whole, std::move(parts.rest), parts.cause)};
}

}  // namespace detail

// Several errors at once (XC-08), some of which may be a BaseException. what() is the message and
// " (N sub-exceptions)". To throw one, use make() or raise(): they choose ExceptionGroup where
// every member is an ordinary error, as Python does.
class ASYNCIO_API BaseExceptionGroup : public BaseException {
  public:
    // A group of `exceptions`, in this order. Raises: ValueError if that is empty or has a null
    // member.
    BaseExceptionGroup(const std::string& message, std::vector<std::exception_ptr> exceptions);
    // Copied where others would be moved: a group is never without its members.
    BaseExceptionGroup(const BaseExceptionGroup&) noexcept = default;
    BaseExceptionGroup& operator=(const BaseExceptionGroup&) noexcept = default;

    // Returns a group of the right class: ExceptionGroup if every member is an ordinary error
    // (anything that is not derived from BaseException, or is an ExceptionGroup).
    // Raises: ValueError if `exceptions` is empty or has a null member.
    static std::exception_ptr make(const std::string& message,
                                   std::vector<std::exception_ptr> exceptions);

    const char* what() const noexcept override;
    // Its members, in their order.
    const std::vector<std::exception_ptr>& exceptions() const noexcept;

    // Throws this group as the class that make() would choose.
    [[noreturn]] void raise() const;

    // The group reduced to the members that are an E (or another of the classes), nested groups
    // reduced likewise; empty if none is. A group that is itself an E stays whole. It has the cause
    // of this one: cause_of() gives it once the part is raised.
    template <class E, class... More>
    detail::PartOf<BaseExceptionGroup, E> subgroup() const {
        return detail::match_of<BaseExceptionGroup>(*this,
                                                    detail::split_by_type<E, More...>(*this));
    }

    // The same for what `predicate(const std::exception_ptr&)` accepts; it is asked about groups,
    // this one first, before their members.
    template <class Predicate>
    detail::PartOf<BaseExceptionGroup, Predicate> subgroup(Predicate&& predicate) const {
        return detail::match_of<BaseExceptionGroup>(*this,
                                                    detail::split_by_predicate(*this, predicate));
    }

    // The subgroup, and the group of all other errors.
    template <class E, class... More>
    detail::PartsOf<BaseExceptionGroup, E> split() const {
        return detail::pair_of(*this, detail::split_by_type<E, More...>(*this));
    }
    template <class Predicate>
    detail::PartsOf<BaseExceptionGroup, Predicate> split(Predicate&& predicate) const {
        return detail::pair_of(*this, detail::split_by_predicate(*this, predicate));
    }

  private:
    friend struct detail::GroupCause;
    struct Members;
    const Members& members() const noexcept;
    std::shared_ptr<void> members_;  // a Members
};

// Several ordinary errors at once (XC-08): caught by `catch (const std::exception&)`, and as
// BaseExceptionGroup.
class ASYNCIO_API ExceptionGroup : public BaseExceptionGroup, public std::exception {
  public:
    // A group of `exceptions`, in this order. Raises: TypeError if a member is a BaseException
    // other than an ExceptionGroup; ValueError if `exceptions` is empty or has a null member.
    ExceptionGroup(const std::string& message, std::vector<std::exception_ptr> exceptions);

    const char* what() const noexcept override;

    // As in BaseExceptionGroup, giving this class.
    template <class E, class... More>
    detail::PartOf<ExceptionGroup, E> subgroup() const {
        return detail::match_of<ExceptionGroup>(*this, detail::split_by_type<E, More...>(*this));
    }
    template <class Predicate>
    detail::PartOf<ExceptionGroup, Predicate> subgroup(Predicate&& predicate) const {
        return detail::match_of<ExceptionGroup>(*this,
                                                detail::split_by_predicate(*this, predicate));
    }
    template <class E, class... More>
    detail::PartsOf<ExceptionGroup, E> split() const {
        return detail::pair_of(*this, detail::split_by_type<E, More...>(*this));
    }
    template <class Predicate>
    detail::PartsOf<ExceptionGroup, Predicate> split(Predicate&& predicate) const {
        return detail::pair_of(*this, detail::split_by_predicate(*this, predicate));
    }
};

}  // namespace v1
}  // namespace asyncio

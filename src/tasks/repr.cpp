#include "asyncio/repr.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "base/function_name.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

std::string repr_string(std::string_view text) { return quoted(text); }

std::string repr_error(const std::exception_ptr& error) { return describe(error); }

// The shortest digits that read back as the same number, with ".0" for a whole one.
std::string repr_double(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char digits[40];
    const double size = std::fabs(value);
    const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
    const auto end =
        std::to_chars(digits, digits + sizeof digits, value,
                      plain ? std::chars_format::fixed : std::chars_format::scientific);
    std::string text(digits, end.ptr);
    if (plain && text.find('.') == std::string::npos) text += ".0";
    return text;
}

std::string repr_type(const std::type_info& type) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
    std::string text = status == 0 ? name.get() : type.name();
    const std::size_t arguments = text.find('<');
    const std::size_t scope = text.rfind("::", arguments);
    return scope == std::string::npos ? text : text.substr(scope + 2);
}

std::string repr_streamed(void (*print)(std::ostream&, const void*), const void* object) {
    std::ostringstream out;
    print(out, object);
    return out.str();
}

namespace {

// Length of the bracketed part that starts at `i`, brackets of all kinds nested.
std::size_t skip_brackets(std::string_view s, std::size_t i) {
    int depth = 0;
    for (; i < s.size(); ++i) {
        if (s[i] == '<' || s[i] == '(' || s[i] == '[' || s[i] == '{') ++depth;
        if (s[i] == '>' || s[i] == ')' || s[i] == ']' || s[i] == '}') {
            if (--depth == 0) return i + 1;
        }
    }
    return s.size();
}

bool is_lambda(std::string_view s) {
    return s.find("<lambda(") != std::string_view::npos ||
           s.find("(anonymous class)") != std::string_view::npos ||
           s.find("(lambda") != std::string_view::npos ||
           s.find("'lambda") != std::string_view::npos;
}

}  // namespace

bool is_helper(std::string_view pretty) noexcept {
    // The two compilers write the inline namespace or leave it out.
    for (const char* name :
         {"asyncio::v1::detail::run_callable", "asyncio::detail::run_callable",
          "asyncio::v1::detail::await_in_frame", "asyncio::detail::await_in_frame"}) {
        if (pretty.find(name) != std::string_view::npos) return true;
    }
    return false;
}

Given given_to_helper(std::string_view pretty) {
    // Its last template argument: `[with R = int; F = f()::<lambda()>]`, `[R = int, F = f]`.
    const auto begins = pretty.rfind(" = ");
    if (begins == std::string_view::npos) return {"<callable>", {}};
    std::string_view type = pretty.substr(begins + 3);
    if (type.ends_with(']')) type.remove_suffix(1);
    if (is_lambda(type)) {
        Given given{"<lambda>", {}};
        constexpr std::string_view kAt = "(lambda at ";
        const auto at = type.find(kAt);
        if (at == std::string_view::npos) return given;
        std::string_view place = type.substr(at + kAt.size());
        place = place.substr(0, place.rfind(':'));  // without the column
        given.place = place;
        return given;
    }
    if (type.find("(*") != std::string_view::npos) return {"<function>", {}};
    const auto arguments = std::min(type.find('<'), type.size());
    const auto scope = type.rfind("::", arguments);
    const auto first = scope == std::string_view::npos ? 0 : scope + 2;
    return {std::string(type.substr(first, arguments - first)), {}};
}

std::string function_name(std::string_view pretty) {
    if (const auto with = pretty.find(" [with "); with != std::string_view::npos) {
        pretty = pretty.substr(0, with);
    }
    if (is_lambda(pretty) || pretty.ends_with("operator()")) return "<lambda>";
    // The name ends where the parameters begin: the first '(' outside of template arguments.
    std::size_t name = 0;
    std::size_t end = 0;
    while (end < pretty.size()) {
        const char c = pretty[end];
        if (c == '<') {
            end = skip_brackets(pretty, end);
        } else if (c == '(' && pretty.substr(end).starts_with("(anonymous namespace)")) {
            end += sizeof "(anonymous namespace)" - 1;
        } else if (c == '(') {
            break;
        } else {
            if (c == ' ' || c == '*' || c == '&') name = end + 1;
            ++end;
        }
    }
    std::string_view qualified = pretty.substr(name, end - name);
    // Keep the last two parts, without template arguments.
    std::string parts[2];
    for (std::size_t i = 0; i < qualified.size();) {
        if (qualified[i] == '<' || qualified[i] == '(' || qualified[i] == '{') {
            i = skip_brackets(qualified, i);
        } else if (qualified.substr(i).starts_with("::")) {
            parts[0] = std::exchange(parts[1], {});
            i += 2;
        } else {
            parts[1] += qualified[i++];
        }
    }
    // A namespace is spelled in lower case here as nearly everywhere, a class is not.
    const bool of_class = !parts[0].empty() && parts[0][0] >= 'A' && parts[0][0] <= 'Z';
    return of_class ? parts[0] + "::" + parts[1] : parts[1];
}

namespace {

std::string place_text(std::source_location place) {
    return std::string(place.file_name()) + ':' + std::to_string(place.line());
}

std::string shortened(std::string text) {
    constexpr std::size_t kMost = 400;
    if (text.size() <= kMost) return text;
    return text.substr(0, kMost / 2) + "..." + text.substr(text.size() - kMost / 2);
}

std::string callback_text(const Node& node) {
    std::string text = node.label();
    if (const auto* c = dynamic_cast<const DoneCallback*>(&node)) {
        text += " at " + place_text(c->place());
    }
    return text;
}

// The first and the last one, as Python shows them.
std::string callbacks_text(const FutureBase& f) {
    const Node* const last = f.done() ? nullptr : f.callbacks_;
    if (!last) return {};
    const Node* const first = last->next_;
    std::size_t between = 0;
    for (const Node* c = first; c != last; c = c->next_) ++between;
    std::string text = " cb=[" + callback_text(*first);
    if (between > 2) text += ", <" + std::to_string(between - 1) + " more>";
    if (between == 2) text += ", <1 more>";
    if (first != last) text += ", " + callback_text(*last);
    return text + ']';
}

std::string outcome_text(FutureBase& f) {
    if (f.state_ == FutureState::kFinished) return " result=" + shortened(f.value_repr());
    if (f.state_ == FutureState::kFailed) return " exception=" + shortened(describe(f.exc_));
    return {};
}

std::string state_text(FutureBase& f) {
    switch (f.state_) {
        case FutureState::kPending:
            return f.is_task() && static_cast<TaskBase&>(f).cancel_requests_ > 0 ? "cancelling"
                                                                                 : "pending";
        case FutureState::kCancelled:
            return "cancelled";
        default:
            return "finished";
    }
}

// A task that was made of a callable and has not called it yet, or of what is no coroutine.
std::string given_text(TaskBase& t) {
    const Given given = given_to_helper(t.place_.function_name());
    std::string text = given.name + (t.done() ? "() done" : "() running");
    if (given.place.empty()) return text;
    return text + (t.done() ? ", defined at " : " at ") + given.place;
}

std::string coroutine_text(TaskBase& t) {
    if (is_helper(t.place_.function_name())) return given_text(t);
    const std::string name = function_name(t.place_.function_name());
    if (t.done()) return name + "() done, defined at " + place_text(t.place_);
    auto place = t.place_;
    for (PromiseBase* p = t.leaf_; p; p = p->parent()) {
        if (!is_helper(p->place.function_name())) place = p->place;  // the outermost
    }
    return name + "() running at " + place_text(place);
}

std::string future_text(FutureBase& f, bool with_what_it_waits_for);

// What a suspended task waits for. A lock's or a timer's waiter is a future to Python.
std::string waiting_text(TaskBase& t) {
    if (t.done() || !t.waiting_) return {};
    std::string text = " wait_for=";
    if (FutureBase* f = t.waiting_->as_future()) return text + future_text(*f, false);
    const auto* w = dynamic_cast<const SoleWaiter*>(t.waiting_);
    if (w && w->cancelled()) return text + "<Future cancelled>";
    if (w && w->done()) return text + "<Future finished result=None>";
    return text + "<Future pending cb=[" + t.label() + "]>";
}

// Only the outermost tells what it waits for: a chain of tasks may be 100,000 long, or a circle.
std::string future_text(FutureBase& f, bool with_what_it_waits_for) {
    std::string text = std::string("<") + f.class_name() + ' ' + state_text(f);
    if (f.is_task()) {
        auto& t = static_cast<TaskBase&>(f);
        text += " name=" + quoted(t.name()) + " coro=<" + coroutine_text(t) + '>';
        if (with_what_it_waits_for) text += waiting_text(t);
    }
    text += callbacks_text(f);
    text += outcome_text(f);
    if (!f.is_task() && f.core().debug && f.place_.line() != 0) {
        text += " created at " + place_text(f.place_);
    }
    return text + '>';
}

}  // namespace

std::string repr_future(const AnyFuture& future) {
    const auto& state = future.state();
    return state ? future_text(*state, true) : "<empty handle>";
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

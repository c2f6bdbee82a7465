// Hierarchy and texts follow CPython (parity rows XC-01 to XC-10, PEP 3151, PEP 654).
//
// The loop asks of nearly every exception what it is, and a rethrow to find out would cost a
// microsecond and more. Therefore the type is matched as the C++ runtime matches it when it looks
// for a handler (Itanium C++ ABI, with libstdc++'s type_info::__do_catch), without a throw. Other
// standard libraries get the rethrow.
#include <asyncio/exceptions.hpp>

#include <cxxabi.h>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {

namespace {

using detail::empty_string;
using detail::error_name;
using detail::Forever;
using detail::is_name;
using detail::text_or;

}  // namespace

// ---- BaseException and its kin ----------------------------------------------------------------

BaseException::BaseException(const std::string& message) {
    if (!message.empty()) message_ = std::make_shared<const std::string>(message);
}

BaseException::~BaseException() = default;

const std::string& BaseException::message() const noexcept {
    return message_ ? *message_ : empty_string();
}

const char* BaseException::what() const noexcept { return message().c_str(); }
const char* CancelledError::what() const noexcept { return BaseException::what(); }
const char* KeyboardInterrupt::what() const noexcept {
    return text_or(BaseException::what(), error_name("KeyboardInterrupt"));
}
const char* GeneratorExit::what() const noexcept {
    return text_or(BaseException::what(), error_name("GeneratorExit"));
}

SystemExit::SystemExit(int code) : BaseException(std::to_string(code)), code_(code) {}

SystemExit::SystemExit(const std::string& message)
    : BaseException(message), code_(1), has_text_(true) {}

const char* SystemExit::what() const noexcept { return BaseException::what(); }

// ---- Ordinary errors --------------------------------------------------------------------------

const char* RuntimeError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("RuntimeError"));
}
const char* ValueError::what() const noexcept {
    return text_or(std::invalid_argument::what(), error_name("ValueError"));
}
const char* TypeError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("TypeError"));
}
const char* LookupError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("LookupError"));
}
const char* KeyError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("KeyError"));
}
const char* NotImplementedError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("NotImplementedError"));
}
const char* StopAsyncIteration::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("StopAsyncIteration"));
}
const char* EOFError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("EOFError"));
}
const char* InvalidStateError::what() const noexcept {
    return text_or(std::logic_error::what(), error_name("InvalidStateError"));
}
const char* DeadlockError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("DeadlockError"));
}
const char* SendfileNotAvailableError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("SendfileNotAvailableError"));
}
const char* BrokenBarrierError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("BrokenBarrierError"));
}
const char* QueueEmpty::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("QueueEmpty"));
}
const char* QueueFull::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("QueueFull"));
}
const char* QueueShutDown::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("QueueShutDown"));
}

namespace {

std::string incomplete_read_text(std::size_t read, std::optional<std::size_t> expected) {
    return std::to_string(read) + " bytes read on a total of " +
           (expected ? std::to_string(*expected) : "undefined") + " expected bytes";
}

}  // namespace

IncompleteReadError::IncompleteReadError(std::string partial_bytes,
                                         std::optional<std::size_t> expected_bytes)
    : EOFError(incomplete_read_text(partial_bytes.size(), expected_bytes)),
      partial(std::move(partial_bytes)),
      expected(expected_bytes) {}

IncompleteReadError::IncompleteReadError(const std::string& message) : EOFError(message) {}

const char* IncompleteReadError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("IncompleteReadError"));
}

LimitOverrunError::LimitOverrunError(const std::string& message, std::size_t consumed_bytes)
    : std::runtime_error(message), consumed(consumed_bytes) {}

const char* LimitOverrunError::what() const noexcept {
    return text_or(std::runtime_error::what(), error_name("LimitOverrunError"));
}

// ---- Looking at an exception_ptr --------------------------------------------------------------

namespace detail {

#ifdef __GLIBCXX__

namespace {

// libstdc++ keeps these two members private and offers no other way to them without a throw.
// An explicit instantiation may name private members ([temp.spec.general]/6), and its friend
// function hands them out; a library that renames them stops the build here.
void* thrown_object(const std::exception_ptr& error) noexcept;
std::exception_ptr& nested_of(std::nested_exception& nested) noexcept;

template <auto Object>
struct ThrownObjectAccess {
    friend void* thrown_object(const std::exception_ptr& error) noexcept { return error.*Object; }
};
template struct ThrownObjectAccess<&std::exception_ptr::_M_exception_object>;

template <auto Pointer>
struct NestedAccess {
    friend std::exception_ptr& nested_of(std::nested_exception& nested) noexcept {
        return nested.*Pointer;
    }
};
template struct NestedAccess<&std::nested_exception::_M_ptr>;

const std::type_info* thrown_type(const std::exception_ptr& error) noexcept {
    return error.__cxa_exception_type();
}

}  // namespace

const void* find_exception(const std::exception_ptr& error, const std::type_info& wanted) noexcept {
    if (!error) return nullptr;
    const std::type_info* thrown = thrown_type(error);
    void* object = thrown_object(error);
    // Safe because the thrown object is a pointer then; the runtime matches the pointer's value.
    if (thrown->__is_pointer_p()) object = *static_cast<void**>(object);
    // 1 is what the runtime passes for a handler's own type, as opposed to what it points to.
    return wanted.__do_catch(thrown, &object, 1) ? object : nullptr;
}

void set_nested(std::nested_exception& nested, std::exception_ptr cause) noexcept {
    nested_of(nested) = std::move(cause);
}

std::exception_ptr take_nested(std::nested_exception& nested) noexcept {
    return std::exchange(nested_of(nested), nullptr);
}

#else

namespace {

const std::type_info* thrown_type(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (...) {
        // Not lost: the caller has `error`, and it was thrown only to ask for its type.
        return abi::__cxa_current_exception_type();
    }
}

}  // namespace

void set_nested(std::nested_exception& nested, std::exception_ptr cause) noexcept {
    try {
        std::rethrow_exception(std::move(cause));
    } catch (...) {
        nested =
            std::nested_exception();  // Takes up the exception that is being handled: the cause.
    }
}

std::exception_ptr take_nested(std::nested_exception& nested) noexcept {
    std::exception_ptr cause = nested.nested_ptr();
    nested = std::nested_exception();  // and that of the exception that is being handled, if any
    return cause;
}

#endif

bool is_cancelled_error(const std::exception_ptr& error) noexcept {
    return holds<CancelledError>(error);
}

bool is_base_exception(const std::exception_ptr& error) noexcept {
    return holds<BaseException>(error) && !holds<ExceptionGroup>(error);
}

bool is_exit_error(const std::exception_ptr& error) noexcept {
    return holds<KeyboardInterrupt>(error) || holds<SystemExit>(error);
}

std::exception_ptr cancelled_error(const std::string* message) {
    // The exception itself has the reserve of the C++ runtime, where memory is out.
    static const Forever<std::exception_ptr> without_message(
        std::make_exception_ptr(CancelledError()));
    if (!message) return *without_message;
    return std::make_exception_ptr(CancelledError(*message));
}

// ---- Texts ------------------------------------------------------------------------------------

namespace {

std::string demangled(const std::type_info& type) {
    int status = 0;
    std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
    return name ? name.get() : type.name();
}

// Removes the class templates that only add a cause to an error.
std::string without_nesting(std::string name) {
    constexpr std::string_view wrappers[] = {"asyncio::v1::detail::WithCause<",
                                             "std::_Nested_exception<", "std::__1::__nested<"};
    for (std::string_view wrapper : wrappers) {
        if (!std::string_view(name).starts_with(wrapper)) continue;
        name = name.substr(wrapper.size(), name.rfind('>') - wrapper.size());
    }
    while (name.ends_with(' ')) name.pop_back();
    return name;
}

// Removes namespaces and enclosing functions: what is before the last "::" outside of brackets.
std::string without_namespaces(const std::string& name) {
    int depth = 0;
    for (std::size_t i = name.size(); i-- > 1;) {
        char c = name[i];
        if (c == '>' || c == ')' || c == '}') ++depth;
        if (c == '<' || c == '(' || c == '{') --depth;
        if (depth == 0 && c == ':' && name[i - 1] == ':') return name.substr(i + 1);
    }
    return name;
}

std::string full_type_name(const std::exception_ptr& error) {
    return without_nesting(demangled(*thrown_type(error)));
}

}  // namespace

std::string text_of(const std::exception_ptr& error) {
    const char* what = nullptr;
    if (const auto* base = find<BaseException>(error)) {
        what = base->what();
    } else if (const auto* standard = find<std::exception>(error)) {
        what = standard->what();
    }
    if (!what || is_name(what)) return {};
    std::string text = what;
    // std::bad_alloc and its like have only their name to say.
    return text == full_type_name(error) ? std::string() : text;
}

namespace {

template <class... Number>
std::string first_number(const std::exception_ptr& error) {
    std::string text;
    auto take = [&](const auto* number) {
        if (number) text = std::to_string(*number);
        return number != nullptr;
    };
    (take(find<Number>(error)) || ...);
    return text;
}

// The value of what is no class of errors at all; empty for a type whose values are unknown.
std::string value_of(const std::exception_ptr& error) {
    if (const auto* text = find<std::string>(error)) return quoted(*text);
#ifdef __GLIBCXX__
    if (const void* text = find_exception(error, typeid(const char*))) {
        return quoted(static_cast<const char*>(text));
    }
#endif
    return first_number<int, unsigned, long, unsigned long, long long, unsigned long long>(error);
}

// What is nested more deeply than this is left out of texts.
constexpr std::size_t kDeepestShown = 100;

std::string describe_at(const std::exception_ptr& error, std::size_t depth);

std::string list_of(const std::vector<std::exception_ptr>& errors, std::size_t depth) {
    if (depth > kDeepestShown) return "[...]";
    std::string list;
    for (const std::exception_ptr& error : errors) {
        if (!list.empty()) list += ", ";
        list += describe_at(error, depth);
    }
    return "[" + list + "]";
}

// What stands between the brackets of the repr().
std::string arguments_of(const std::exception_ptr& error, std::size_t depth) {
    if (const auto* group = find<BaseExceptionGroup>(error)) {
        return quoted(group->message()) + ", " + list_of(group->exceptions(), depth + 1);
    }
    if (const auto* exit = find<SystemExit>(error); exit && !exit->has_text()) return exit->what();
    if (const auto* os = find<OSError>(error); os && os->has_number()) {
        return std::to_string(os->code().value()) + ", " + quoted(os->strerror());
    }
    std::string text = text_of(error);
    return text.empty() ? value_of(error) : quoted(text);
}

std::string describe_at(const std::exception_ptr& error, std::size_t depth) {
    if (!error) return "None";
    return type_name(error) + "(" + arguments_of(error, depth) + ")";
}

std::string title_of(const std::exception_ptr& error) {
    std::string text = text_of(error);
    if (text.empty()) text = value_of(error);
    // Python's str() of this one class is quoted.
    if (!text.empty() && holds<KeyError>(error)) text = quoted(text);
    return text.empty() ? type_name(error) : type_name(error) + ": " + text;
}

void append_indented(std::string& out, std::string_view text, std::size_t depth) {
    const std::string indent(2 * depth, ' ');
    out += indent;
    for (char c : text) {
        out += c;
        if (c == '\n') out += indent;
    }
}

void append_exception(std::string& out, const std::string& label, const std::exception_ptr& error,
                      std::size_t depth) {
    if (depth > 0) out += '\n';
    if (depth > kDeepestShown) return append_indented(out, label + "...", depth);
    append_indented(out, label + (error ? title_of(error) : "None"), depth);
    if (const auto* group = find<BaseExceptionGroup>(error)) {
        std::size_t number = 0;
        for (const std::exception_ptr& member : group->exceptions()) {
            append_exception(out, std::to_string(++number) + ": ", member, depth + 1);
        }
    }
    if (std::exception_ptr cause = cause_of(error)) {
        append_exception(out, "caused by ", cause, depth + 1);
    }
}

std::string escaped(char c) {
    if (c == '\n') return "\\n";
    if (c == '\r') return "\\r";
    if (c == '\t') return "\\t";
    char buffer[8];
    std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned>(c));
    return buffer;
}

}  // namespace

std::string quoted(std::string_view text) {
    bool has_single = text.find('\'') != text.npos;
    bool has_double = text.find('"') != text.npos;
    const char quote = has_single && !has_double ? '"' : '\'';
    std::string out(1, quote);
    for (char c : text) {
        if (c == quote || c == '\\') out += '\\';
        bool is_control = (c >= 0 && c < ' ') || c == '\x7f';
        if (is_control) {
            out += escaped(c);
        } else {
            out += c;
        }
    }
    return out + quote;
}

std::string type_name(const std::exception_ptr& error) {
    if (!error) return "NoneType";
    if (holds<std::string>(error)) return "string";
    return without_namespaces(full_type_name(error));
}

std::string describe(const std::exception_ptr& error) { return describe_at(error, 0); }

std::string format_exception(const std::exception_ptr& error) {
    std::string out;
    append_exception(out, "", error, 0);
    return out;
}

}  // namespace detail

}  // namespace v1
}  // namespace asyncio

// Hierarchy and texts follow CPython (parity rows XC-01 to XC-10, PEP 3151, PEP 654).
//
// The loop asks of nearly every exception what it is, and a rethrow to find out would cost a
// microsecond and more. Therefore the type is matched as the C++ runtime matches it when it looks
// for a handler (Itanium C++ ABI, with libstdc++'s type_info::__do_catch), without a throw. Other
// standard libraries get the rethrow.
#include <asyncio/exceptions.hpp>

#include <cxxabi.h>
#include <netdb.h>
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <span>

namespace asyncio {
inline namespace v1 {

namespace {

// A static object that is never destroyed: exceptions may be looked at, and tasks cancelled, while
// the program's statics go away. Not from operator new: who asks for it may be noexcept, and
// memory out.
template <class T>
class Forever {
  public:
    template <class... A>
    explicit Forever(A&&... arguments) {
        ::new (static_cast<void*>(storage_)) T(std::forward<A>(arguments)...);
    }
    // Safe because the constructor has made a T there.
    const T& operator*() const noexcept {
        return *std::launder(reinterpret_cast<const T*>(storage_));
    }

  private:
    alignas(T) std::byte storage_[sizeof(T)];
};

const std::string& empty_string() noexcept {
    static const Forever<std::string> empty;
    return *empty;
}

// What an error without a message says in C++: what() alone reaches many a log. All are in one
// object, so that is_name() can tell such a text from a message that reads alike.
constexpr char kNames[][26] = {"KeyboardInterrupt",
                               "GeneratorExit",
                               "RuntimeError",
                               "ValueError",
                               "TypeError",
                               "LookupError",
                               "KeyError",
                               "NotImplementedError",
                               "StopAsyncIteration",
                               "EOFError",
                               "InvalidStateError",
                               "DeadlockError",
                               "SendfileNotAvailableError",
                               "BrokenBarrierError",
                               "QueueEmpty",
                               "QueueFull",
                               "QueueShutDown",
                               "IncompleteReadError",
                               "LimitOverrunError",
                               "BlockingIOError",
                               "ChildProcessError",
                               "ConnectionError",
                               "BrokenPipeError",
                               "ConnectionAbortedError",
                               "ConnectionRefusedError",
                               "ConnectionResetError",
                               "FileExistsError",
                               "FileNotFoundError",
                               "InterruptedError",
                               "IsADirectoryError",
                               "NotADirectoryError",
                               "PermissionError",
                               "ProcessLookupError",
                               "TimeoutError",
                               "AddressInUseError",
                               "gaierror",
                               "SSLError",
                               "SSLCertVerificationError",
                               "OSError"};

consteval const char* name(std::string_view wanted) {
    for (const auto& n : kNames) {
        if (wanted == n) return n;
    }
    throw "not in kNames";
}

// Safe because the numbers are only compared.
bool is_name(const char* text) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(kNames);
    return reinterpret_cast<std::uintptr_t>(text) - begin < sizeof kNames;
}

const char* text_or(const char* text, const char* name) noexcept { return *text ? text : name; }

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
    return text_or(BaseException::what(), name("KeyboardInterrupt"));
}
const char* GeneratorExit::what() const noexcept {
    return text_or(BaseException::what(), name("GeneratorExit"));
}

SystemExit::SystemExit(int code) : BaseException(std::to_string(code)), code_(code) {}

SystemExit::SystemExit(const std::string& message)
    : BaseException(message), code_(1), has_text_(true) {}

const char* SystemExit::what() const noexcept { return BaseException::what(); }

// ---- Ordinary errors --------------------------------------------------------------------------

const char* RuntimeError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("RuntimeError"));
}
const char* ValueError::what() const noexcept {
    return text_or(std::invalid_argument::what(), name("ValueError"));
}
const char* TypeError::what() const noexcept {
    return text_or(std::logic_error::what(), name("TypeError"));
}
const char* LookupError::what() const noexcept {
    return text_or(std::logic_error::what(), name("LookupError"));
}
const char* KeyError::what() const noexcept {
    return text_or(std::logic_error::what(), name("KeyError"));
}
const char* NotImplementedError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("NotImplementedError"));
}
const char* StopAsyncIteration::what() const noexcept {
    return text_or(std::runtime_error::what(), name("StopAsyncIteration"));
}
const char* EOFError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("EOFError"));
}
const char* InvalidStateError::what() const noexcept {
    return text_or(std::logic_error::what(), name("InvalidStateError"));
}
const char* DeadlockError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("DeadlockError"));
}
const char* SendfileNotAvailableError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("SendfileNotAvailableError"));
}
const char* BrokenBarrierError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("BrokenBarrierError"));
}
const char* QueueEmpty::what() const noexcept {
    return text_or(std::runtime_error::what(), name("QueueEmpty"));
}
const char* QueueFull::what() const noexcept {
    return text_or(std::runtime_error::what(), name("QueueFull"));
}
const char* QueueShutDown::what() const noexcept {
    return text_or(std::runtime_error::what(), name("QueueShutDown"));
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
    return text_or(std::runtime_error::what(), name("IncompleteReadError"));
}

LimitOverrunError::LimitOverrunError(const std::string& message, std::size_t consumed_bytes)
    : std::runtime_error(message), consumed(consumed_bytes) {}

const char* LimitOverrunError::what() const noexcept {
    return text_or(std::runtime_error::what(), name("LimitOverrunError"));
}

// ---- Errors of the operating system -----------------------------------------------------------

struct OSError::Texts {
    std::string what;
    std::string strerror;
    std::string filename;
    bool numbered;
};

namespace {

std::string numbered_text(int number, const std::string& text) {
    return "[Errno " + std::to_string(number) + "] " + text;
}

}  // namespace

OSError::OSError(const std::string& message) : OSError(std::errc::io_error, message) {}

OSError::OSError(int error_number, const std::string& text,
                 const std::optional<std::string>& filename)
    : OSError(std::error_code(error_number, std::generic_category()),
              numbered_text(error_number, text) +
                  (filename ? ": " + detail::quoted(*filename) : std::string()),
              text, filename.value_or("")) {}

OSError::OSError(std::errc usual, const std::string& message)
    : OSError(std::make_error_code(usual), message) {}

OSError::OSError(std::error_code code, const std::string& message) : std::system_error(code) {
    if (message.empty()) return;
    texts_ = std::make_shared<Texts>(Texts{message, {}, {}, false});
}

OSError::OSError(std::error_code code, const std::string& message, const std::string& text,
                 const std::string& filename)
    : std::system_error(code),
      texts_(std::make_shared<Texts>(Texts{message, text, filename, true})) {}

// std::system_error appends the system's text by itself; Python's str() does not.
// Safe because nothing else is stored there.
const OSError::Texts* OSError::texts() const noexcept {
    return static_cast<const Texts*>(texts_.get());
}

const char* OSError::text_or(const char* name) const noexcept {
    return texts_ && !texts()->what.empty() ? texts()->what.c_str() : name;
}

const char* OSError::what() const noexcept { return text_or(name("OSError")); }

const std::string& OSError::strerror() const noexcept {
    return texts_ ? texts()->strerror : empty_string();
}

const std::string& OSError::filename() const noexcept {
    return texts_ ? texts()->filename : empty_string();
}

bool OSError::has_number() const noexcept { return texts_ && texts()->numbered; }

const char* BlockingIOError::what() const noexcept { return text_or(name("BlockingIOError")); }
const char* ChildProcessError::what() const noexcept { return text_or(name("ChildProcessError")); }
const char* ConnectionError::what() const noexcept { return text_or(name("ConnectionError")); }
const char* BrokenPipeError::what() const noexcept { return text_or(name("BrokenPipeError")); }
const char* ConnectionAbortedError::what() const noexcept {
    return text_or(name("ConnectionAbortedError"));
}
const char* ConnectionRefusedError::what() const noexcept {
    return text_or(name("ConnectionRefusedError"));
}
const char* ConnectionResetError::what() const noexcept {
    return text_or(name("ConnectionResetError"));
}
const char* FileExistsError::what() const noexcept { return text_or(name("FileExistsError")); }
const char* FileNotFoundError::what() const noexcept { return text_or(name("FileNotFoundError")); }
const char* InterruptedError::what() const noexcept { return text_or(name("InterruptedError")); }
const char* IsADirectoryError::what() const noexcept { return text_or(name("IsADirectoryError")); }
const char* NotADirectoryError::what() const noexcept {
    return text_or(name("NotADirectoryError"));
}
const char* PermissionError::what() const noexcept { return text_or(name("PermissionError")); }
const char* ProcessLookupError::what() const noexcept {
    return text_or(name("ProcessLookupError"));
}
const char* TimeoutError::what() const noexcept { return text_or(name("TimeoutError")); }
const char* AddressInUseError::what() const noexcept { return text_or(name("AddressInUseError")); }
const char* gaierror::what() const noexcept { return text_or(name("gaierror")); }
const char* SSLError::what() const noexcept { return text_or(name("SSLError")); }
const char* SSLCertVerificationError::what() const noexcept {
    return text_or(name("SSLCertVerificationError"));
}

namespace {

class GaiCategory final : public std::error_category {
  public:
    const char* name() const noexcept override { return "getaddrinfo"; }
    std::string message(int number) const override { return ::gai_strerror(number); }
};

class SslCategory final : public std::error_category {
  public:
    const char* name() const noexcept override { return "ssl"; }
    std::string message(int number) const override { return "TLS error " + std::to_string(number); }
};

// SSL_ERROR_SSL of OpenSSL's <openssl/ssl.h>: a failure in the protocol.
constexpr int ssl_protocol_failure = 1;

}  // namespace

const std::error_category& gai_category() noexcept {
    static const Forever<GaiCategory> category;
    return *category;
}

const std::error_category& ssl_category() noexcept {
    static const Forever<SslCategory> category;
    return *category;
}

gaierror::gaierror(const std::string& message)
    : OSError(std::error_code(EAI_NONAME, gai_category()), message) {}

gaierror::gaierror(int error_number, const std::string& text)
    : OSError(std::error_code(error_number, gai_category()), numbered_text(error_number, text),
              text, {}) {}

SSLError::SSLError(const std::string& message)
    : OSError(std::error_code(ssl_protocol_failure, ssl_category()), message) {}

SSLError::SSLError(int error_number, const std::string& text)
    : OSError(std::error_code(error_number, ssl_category()), text, text, {}) {}

std::exception_ptr make_os_error(int error_number) {
    return make_os_error(error_number, std::generic_category().message(error_number));
}

std::exception_ptr make_os_error(int error_number, const std::string& text,
                                 const std::optional<std::string>& filename) {
    auto as = [&]<class E>(std::type_identity<E>) {
        return std::make_exception_ptr(E(error_number, text, filename));
    };
    switch (error_number) {
        case EAGAIN:
        case EALREADY:
        case EINPROGRESS:
            return as(std::type_identity<BlockingIOError>());
        case ECHILD:
            return as(std::type_identity<ChildProcessError>());
        case EPIPE:
        case ESHUTDOWN:
            return as(std::type_identity<BrokenPipeError>());
        case ECONNABORTED:
            return as(std::type_identity<ConnectionAbortedError>());
        case ECONNREFUSED:
            return as(std::type_identity<ConnectionRefusedError>());
        case ECONNRESET:
            return as(std::type_identity<ConnectionResetError>());
        case EEXIST:
            return as(std::type_identity<FileExistsError>());
        case ENOENT:
            return as(std::type_identity<FileNotFoundError>());
        case EINTR:
            return as(std::type_identity<InterruptedError>());
        case EISDIR:
            return as(std::type_identity<IsADirectoryError>());
        case ENOTDIR:
            return as(std::type_identity<NotADirectoryError>());
        case EACCES:
        case EPERM:
            return as(std::type_identity<PermissionError>());
        case ESRCH:
            return as(std::type_identity<ProcessLookupError>());
        case ETIMEDOUT:
            return as(std::type_identity<TimeoutError>());
        case EADDRINUSE:
            return as(std::type_identity<AddressInUseError>());
        default:
            return as(std::type_identity<OSError>());
    }
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

namespace {

std::exception_ptr take_nested(std::nested_exception& nested) noexcept {
    return std::exchange(nested_of(nested), nullptr);
}

}  // namespace

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

namespace {

std::exception_ptr take_nested(std::nested_exception& nested) noexcept {
    std::exception_ptr cause = nested.nested_ptr();
    nested = std::nested_exception();  // and that of the exception that is being handled, if any
    return cause;
}

}  // namespace

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

// ---- Groups -----------------------------------------------------------------------------------

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

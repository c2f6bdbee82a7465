// The errors of the library, arranged as Python arranges its own (parity rows XC-01 to XC-10).
//
// Two roots, because that is what makes cancellation safe: what asks a task to stop
// (CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit) derives from BaseException and not
// from std::exception, so that `catch (const std::exception&)` never swallows it. All other errors
// derive from std::exception, through the standard class that means the same where there is one.
// The only class with both roots is ExceptionGroup, which is a BaseExceptionGroup in Python too.
//
// An error that was made without a text says its class in what(), since a log line of what() alone
// would say nothing (CancelledError is empty: what() is the message of the cancel). Reports and
// repr() are as Python's.
//
// Copies are cheap and, but for IncompleteReadError, noexcept: texts and group members are shared
// and immutable. Each class has an out-of-line virtual function, so that its type information
// exists once, in the library, and a catch works across shared libraries.
#pragma once

#include <asyncio/detail/config.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace asyncio {
inline namespace v1 {

class BaseExceptionGroup;

// ---- What stops a task or the program ---------------------------------------------------------

// Root of everything that `catch (const std::exception&)` must not swallow. User classes that are
// "not an Exception" in Python's sense derive from it too.
class ASYNCIO_API BaseException {
  public:
    BaseException() noexcept = default;
    explicit BaseException(const std::string& message);
    BaseException(const BaseException&) noexcept = default;
    BaseException& operator=(const BaseException&) noexcept = default;
    virtual ~BaseException();

    // The message as text; for groups with the number of members. Never null.
    virtual const char* what() const noexcept;

    // The message alone, empty if there is none.
    const std::string& message() const noexcept;

  private:
    std::shared_ptr<const std::string> message_;  // Null: no message.
};

// A task was asked to stop (XC-01); the message is the one given to cancel().
class ASYNCIO_API CancelledError : public BaseException {
  public:
    using BaseException::BaseException;
    const char* what() const noexcept override;
};

// Ctrl-C. Leaves the event loop instead of being kept in a task (XC-09).
class ASYNCIO_API KeyboardInterrupt : public BaseException {
  public:
    using BaseException::BaseException;
    const char* what() const noexcept override;
};

// Asks the program to end (XC-09). Leaves the event loop instead of being kept in a task.
class ASYNCIO_API SystemExit : public BaseException {
  public:
    SystemExit() noexcept = default;
    // `code`: the program's exit status.
    explicit SystemExit(int code);
    // `message`: for standard error; the exit status is then 1.
    explicit SystemExit(const std::string& message);

    const char* what() const noexcept override;
    int code() const noexcept { return code_; }
    // Whether it was made from a text, which is to be printed when the program ends.
    bool has_text() const noexcept { return has_text_; }

  private:
    int code_ = 0;
    bool has_text_ = false;
};

// Thrown at the co_yield of an asynchronous generator that is being closed.
class ASYNCIO_API GeneratorExit : public BaseException {
  public:
    using BaseException::BaseException;
    const char* what() const noexcept override;
};

// ---- Ordinary errors --------------------------------------------------------------------------

class ASYNCIO_API RuntimeError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    RuntimeError() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ValueError : public std::invalid_argument {
  public:
    using std::invalid_argument::invalid_argument;
    ValueError() : std::invalid_argument(std::string()) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API TypeError : public std::logic_error {
  public:
    using std::logic_error::logic_error;
    TypeError() : std::logic_error(std::string()) {}
    const char* what() const noexcept override;
};

// A key or a context variable without a value.
class ASYNCIO_API LookupError : public std::logic_error {
  public:
    using std::logic_error::logic_error;
    LookupError() : std::logic_error(std::string()) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API KeyError : public LookupError {
  public:
    using LookupError::LookupError;
    const char* what() const noexcept override;
};

class ASYNCIO_API NotImplementedError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// The end of an asynchronous iteration, where an iterator reports it as an error.
class ASYNCIO_API StopAsyncIteration : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    StopAsyncIteration() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// The stream ended before what was asked for.
class ASYNCIO_API EOFError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    EOFError() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// ---- asyncio's own ----------------------------------------------------------------------------

// A future or task is not in the state that the call needs (XC-03).
class ASYNCIO_API InvalidStateError : public std::logic_error {
  public:
    using std::logic_error::logic_error;
    InvalidStateError() : std::logic_error(std::string()) {}
    const char* what() const noexcept override;
};

// A loop on virtual time has nothing left to wait for: what is suspended can never go on. CPython
// would hang here.
class ASYNCIO_API DeadlockError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// End of stream before the requested bytes were read (XC-04).
class ASYNCIO_API IncompleteReadError : public EOFError {
  public:
    // `partial`: what was read; `expected`: how many bytes were asked for, unset if any number.
    IncompleteReadError(std::string partial, std::optional<std::size_t> expected);
    explicit IncompleteReadError(const std::string& message);
    const char* what() const noexcept override;

    std::string partial;
    std::optional<std::size_t> expected;
};

// The buffer limit was reached while looking for a separator (XC-05).
class ASYNCIO_API LimitOverrunError : public std::runtime_error {
  public:
    // `consumed`: how many bytes of the buffer were searched and are safe to consume.
    explicit LimitOverrunError(const std::string& message, std::size_t consumed = 0);
    const char* what() const noexcept override;

    std::size_t consumed;
};

// The system call sendfile cannot be used for this file or socket (XC-06).
class ASYNCIO_API SendfileNotAvailableError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

// A barrier was reset or aborted while tasks waited at it (XC-07).
class ASYNCIO_API BrokenBarrierError : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
    const char* what() const noexcept override;
};

class ASYNCIO_API QueueEmpty : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    QueueEmpty() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API QueueFull : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    QueueFull() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API QueueShutDown : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    QueueShutDown() : std::runtime_error(std::string()) {}
    const char* what() const noexcept override;
};

// ---- Errors of the operating system (PEP 3151) ------------------------------------------------

// An error with a number in code(). Made from one string, what() is that string and code() is the
// class's usual errno (EIO where there is none). Made from a number and a text, what() is
// "[Errno N] text", with ": 'filename'" behind it if a file is named. Made from nothing, what() is
// the name of the class.
class ASYNCIO_API OSError : public std::system_error {
  public:
    explicit OSError(const std::string& message = {});
    // An empty file name is one too.
    OSError(int error_number, const std::string& text,
            const std::optional<std::string>& filename = {});

    const char* what() const noexcept override;
    // The text given along with the number, and the file, empty if there was none. As in Python an
    // error made from one string has neither.
    const std::string& strerror() const noexcept;
    const std::string& filename() const noexcept;
    // Whether it was made from a number, not from a string alone.
    bool has_number() const noexcept;

  protected:
    OSError(std::errc usual, const std::string& message);
    OSError(std::error_code code, const std::string& message);
    OSError(std::error_code code, const std::string& message, const std::string& text,
            const std::string& filename);
    // What it was made from, or `name` if there is nothing to say.
    const char* text_or(const char* name) const noexcept;

  private:
    struct Texts;
    const Texts* texts() const noexcept;
    std::shared_ptr<void> texts_;  // a Texts
};

class ASYNCIO_API BlockingIOError : public OSError {
  public:
    using OSError::OSError;
    explicit BlockingIOError(const std::string& message = {})
        : OSError(std::errc::resource_unavailable_try_again, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ChildProcessError : public OSError {
  public:
    using OSError::OSError;
    explicit ChildProcessError(const std::string& message = {})
        : OSError(std::errc::no_child_process, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ConnectionError : public OSError {
  public:
    using OSError::OSError;
    explicit ConnectionError(const std::string& message = {}) : OSError(message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API BrokenPipeError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit BrokenPipeError(const std::string& message = {})
        : ConnectionError(std::errc::broken_pipe, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ConnectionAbortedError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit ConnectionAbortedError(const std::string& message = {})
        : ConnectionError(std::errc::connection_aborted, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ConnectionRefusedError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit ConnectionRefusedError(const std::string& message = {})
        : ConnectionError(std::errc::connection_refused, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ConnectionResetError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit ConnectionResetError(const std::string& message = {})
        : ConnectionError(std::errc::connection_reset, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API FileExistsError : public OSError {
  public:
    using OSError::OSError;
    explicit FileExistsError(const std::string& message = {})
        : OSError(std::errc::file_exists, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API FileNotFoundError : public OSError {
  public:
    using OSError::OSError;
    explicit FileNotFoundError(const std::string& message = {})
        : OSError(std::errc::no_such_file_or_directory, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API InterruptedError : public OSError {
  public:
    using OSError::OSError;
    explicit InterruptedError(const std::string& message = {})
        : OSError(std::errc::interrupted, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API IsADirectoryError : public OSError {
  public:
    using OSError::OSError;
    explicit IsADirectoryError(const std::string& message = {})
        : OSError(std::errc::is_a_directory, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API NotADirectoryError : public OSError {
  public:
    using OSError::OSError;
    explicit NotADirectoryError(const std::string& message = {})
        : OSError(std::errc::not_a_directory, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API PermissionError : public OSError {
  public:
    using OSError::OSError;
    explicit PermissionError(const std::string& message = {})
        : OSError(std::errc::permission_denied, message) {}
    const char* what() const noexcept override;
};

class ASYNCIO_API ProcessLookupError : public OSError {
  public:
    using OSError::OSError;
    explicit ProcessLookupError(const std::string& message = {})
        : OSError(std::errc::no_such_process, message) {}
    const char* what() const noexcept override;
};

// A deadline passed (XC-02): of a timeout scope, or the system's ETIMEDOUT.
class ASYNCIO_API TimeoutError : public OSError {
  public:
    using OSError::OSError;
    explicit TimeoutError(const std::string& message = {})
        : OSError(std::errc::timed_out, message) {}
    const char* what() const noexcept override;
};

// EADDRINUSE; Python has only OSError here.
class ASYNCIO_API AddressInUseError : public OSError {
  public:
    using OSError::OSError;
    explicit AddressInUseError(const std::string& message = {})
        : OSError(std::errc::address_in_use, message) {}
    const char* what() const noexcept override;
};

// An address or name that getaddrinfo or getnameinfo refused. code() is of gai_category().
class ASYNCIO_API gaierror : public OSError {
  public:
    explicit gaierror(const std::string& message = {});
    // `error_number`: one of the EAI_ numbers.
    gaierror(int error_number, const std::string& text);
    const char* what() const noexcept override;
};

// An error of TLS. code() is of ssl_category(); what() is the text alone, as Python's str().
class ASYNCIO_API SSLError : public OSError {
  public:
    explicit SSLError(const std::string& message = {});
    SSLError(int error_number, const std::string& text);
    const char* what() const noexcept override;
};

// The peer's certificate was refused.
class ASYNCIO_API SSLCertVerificationError : public SSLError {
  public:
    using SSLError::SSLError;
    const char* what() const noexcept override;
};

// The categories of gaierror::code() and SSLError::code().
ASYNCIO_API const std::error_category& gai_category() noexcept;
ASYNCIO_API const std::error_category& ssl_category() noexcept;

// Returns the error of the class that belongs to an errno, OSError if none does: what Python's
// OSError(errno, text) makes. Without a text the system's own is taken.
ASYNCIO_API std::exception_ptr make_os_error(int error_number);
ASYNCIO_API std::exception_ptr make_os_error(int error_number, const std::string& text,
                                             const std::optional<std::string>& filename = {});

// ---- Looking at an exception_ptr --------------------------------------------------------------

namespace detail {

// Returns where the part of `error` is that a `catch (T&)` of the type `wanted` would bind to, or
// null if it would not catch (or `error` is null). For a thrown pointer, the pointer.
ASYNCIO_API const void* find_exception(const std::exception_ptr& error,
                                       const std::type_info& wanted) noexcept;

// The same, typed. The pointer is good for as long as an exception_ptr to the object exists.
template <class E>
const E* find(const std::exception_ptr& error) noexcept {
    static_assert(std::is_object_v<E> && !std::is_pointer_v<E>,
                  "name the class, not a pointer to it");
#ifdef __GLIBCXX__
    return static_cast<const E*>(find_exception(error, typeid(E)));
#else
    if (!error) return nullptr;
    try {
        std::rethrow_exception(error);
    } catch (const E& found) {
        return std::addressof(found);
    } catch (...) {
        return nullptr;  // The question was only whether it is an E; the caller still has `error`.
    }
#endif
}

template <class E>
bool holds(const std::exception_ptr& error) noexcept {
    return find<E>(error) != nullptr;
}

// Whether it is a CancelledError, or of a class derived from it.
ASYNCIO_API bool is_cancelled_error(const std::exception_ptr& error) noexcept;
// Whether it is what Python's `except Exception` lets pass: a BaseException, but no ExceptionGroup.
ASYNCIO_API bool is_base_exception(const std::exception_ptr& error) noexcept;
// Whether it leaves the event loop at once: KeyboardInterrupt or SystemExit.
ASYNCIO_API bool is_exit_error(const std::exception_ptr& error) noexcept;

// A CancelledError; without a message always the same object, which costs no allocation.
ASYNCIO_API std::exception_ptr cancelled_error(const std::string* message);

// A string as Python's repr() shows it: quoted, with escapes. UTF-8 stays as it is.
ASYNCIO_API std::string quoted(std::string_view text);
// The message as Python's str() gives it: "" where there is none, and what() names the class.
ASYNCIO_API std::string text_of(const std::exception_ptr& error);
// The class, without namespaces: "ValueError". "NoneType" for a null pointer.
ASYNCIO_API std::string type_name(const std::exception_ptr& error);
// As Python's repr(): "ValueError('msg')", for any type. "None" for a null pointer.
ASYNCIO_API std::string describe(const std::exception_ptr& error);
// As the last line of Python's traceback, "ValueError: msg", then, indented, the members of a group
// and the cause. No newline at the end.
ASYNCIO_API std::string format_exception(const std::exception_ptr& error);

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

// ---- Groups -----------------------------------------------------------------------------------

// Several errors at once (XC-08), some of which may be a BaseException. what() is the message and
// " (N sub-exceptions)". To throw one, use make() or raise(): they choose ExceptionGroup where
// every member is an ordinary error, as Python does.
class ASYNCIO_API BaseExceptionGroup : public BaseException {
  public:
    // Raises: ValueError if `exceptions` is empty or has a null member.
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
    // Raises: TypeError if a member is a BaseException other than an ExceptionGroup; ValueError if
    // `exceptions` is empty or has a null member.
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

// ---- Causes (XC-10) ---------------------------------------------------------------------------

namespace detail {

// Makes `cause` what nested.nested_ptr() returns.
ASYNCIO_API void set_nested(std::nested_exception& nested, std::exception_ptr cause) noexcept;
// Gives its cause up, without recursion.
ASYNCIO_API void drop_nested(std::nested_exception& nested) noexcept;

template <class E>
class ASYNCIO_API WithCause : public E, public std::nested_exception {
  public:
    WithCause(E error, std::exception_ptr cause) : E(std::move(error)) {
        set_nested(*this, std::move(cause));
    }
    WithCause(const WithCause&) = default;
    WithCause(WithCause&&) = default;
    WithCause& operator=(const WithCause&) = default;
    WithCause& operator=(WithCause&&) = default;
    // A long chain of causes needs no stack.
    ~WithCause() override { drop_nested(*this); }
};

}  // namespace detail

// Returns `error` with a cause, Python's `raise error from cause`: an object that is both an E and
// a std::nested_exception, so std::rethrow_if_nested works on it. Throws nothing on the way. With a
// null cause it is just `error`.
template <class E>
std::exception_ptr with_cause(E error, std::exception_ptr cause) {
    static_assert(std::is_class_v<E> && !std::is_final_v<E>,
                  "the error must be a class to derive from");
    static_assert(!std::is_same_v<E, std::exception_ptr>,
                  "give the error itself, not a pointer to it");
    static_assert(!std::is_base_of_v<std::nested_exception, E>, "this error has a cause already");
    if (!cause) return std::make_exception_ptr(std::move(error));
    return std::make_exception_ptr(detail::WithCause<E>(std::move(error), std::move(cause)));
}

// Returns the cause of an error made by with_cause() or std::throw_with_nested(), null if none.
ASYNCIO_API std::exception_ptr cause_of(const std::exception_ptr& error) noexcept;

}  // namespace v1
}  // namespace asyncio

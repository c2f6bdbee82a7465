// OSError and its classes: errors of the operating system (PEP 3151), of names and of TLS. XC-02.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {

// An error with a number in code(). Made from one string, what() is that string and code() is the
// class's usual errno (EIO where there is none). Made from a number and a text, what() is
// "[Errno N] text", with ": 'filename'" behind it if a file is named. Made from nothing, what() is
// the name of the class.
class ASYNCIO_API OSError : public std::system_error {
  public:
    // From one string, or from nothing.
    explicit OSError(const std::string& message = {});
    // From a number and a text. An empty file name is one too.
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

// It would have to wait, on what is non-blocking: EAGAIN, EALREADY, EINPROGRESS.
class ASYNCIO_API BlockingIOError : public OSError {
  public:
    using OSError::OSError;
    explicit BlockingIOError(const std::string& message = {})
        : OSError(std::errc::resource_unavailable_try_again, message) {}
    const char* what() const noexcept override;
};

// There is no such child: ECHILD.
class ASYNCIO_API ChildProcessError : public OSError {
  public:
    using OSError::OSError;
    explicit ChildProcessError(const std::string& message = {})
        : OSError(std::errc::no_child_process, message) {}
    const char* what() const noexcept override;
};

// A connection failed; the classes below say how.
class ASYNCIO_API ConnectionError : public OSError {
  public:
    using OSError::OSError;
    explicit ConnectionError(const std::string& message = {}) : OSError(message) {}
    const char* what() const noexcept override;
};

// Nobody reads any more: EPIPE, ESHUTDOWN.
class ASYNCIO_API BrokenPipeError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit BrokenPipeError(const std::string& message = {})
        : ConnectionError(std::errc::broken_pipe, message) {}
    const char* what() const noexcept override;
};

// The connection was given up on this side: ECONNABORTED.
class ASYNCIO_API ConnectionAbortedError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit ConnectionAbortedError(const std::string& message = {})
        : ConnectionError(std::errc::connection_aborted, message) {}
    const char* what() const noexcept override;
};

// Nobody listens there: ECONNREFUSED.
class ASYNCIO_API ConnectionRefusedError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit ConnectionRefusedError(const std::string& message = {})
        : ConnectionError(std::errc::connection_refused, message) {}
    const char* what() const noexcept override;
};

// The peer has cut the connection: ECONNRESET.
class ASYNCIO_API ConnectionResetError : public ConnectionError {
  public:
    using ConnectionError::ConnectionError;
    explicit ConnectionResetError(const std::string& message = {})
        : ConnectionError(std::errc::connection_reset, message) {}
    const char* what() const noexcept override;
};

// It is there already: EEXIST.
class ASYNCIO_API FileExistsError : public OSError {
  public:
    using OSError::OSError;
    explicit FileExistsError(const std::string& message = {})
        : OSError(std::errc::file_exists, message) {}
    const char* what() const noexcept override;
};

// It is not there: ENOENT.
class ASYNCIO_API FileNotFoundError : public OSError {
  public:
    using OSError::OSError;
    explicit FileNotFoundError(const std::string& message = {})
        : OSError(std::errc::no_such_file_or_directory, message) {}
    const char* what() const noexcept override;
};

// A signal came in between: EINTR.
class ASYNCIO_API InterruptedError : public OSError {
  public:
    using OSError::OSError;
    explicit InterruptedError(const std::string& message = {})
        : OSError(std::errc::interrupted, message) {}
    const char* what() const noexcept override;
};

// It is a directory: EISDIR.
class ASYNCIO_API IsADirectoryError : public OSError {
  public:
    using OSError::OSError;
    explicit IsADirectoryError(const std::string& message = {})
        : OSError(std::errc::is_a_directory, message) {}
    const char* what() const noexcept override;
};

// It is no directory: ENOTDIR.
class ASYNCIO_API NotADirectoryError : public OSError {
  public:
    using OSError::OSError;
    explicit NotADirectoryError(const std::string& message = {})
        : OSError(std::errc::not_a_directory, message) {}
    const char* what() const noexcept override;
};

// It is not allowed: EACCES, EPERM.
class ASYNCIO_API PermissionError : public OSError {
  public:
    using OSError::OSError;
    explicit PermissionError(const std::string& message = {})
        : OSError(std::errc::permission_denied, message) {}
    const char* what() const noexcept override;
};

// There is no such process: ESRCH.
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
    // From one string, or from nothing.
    explicit gaierror(const std::string& message = {});
    // `error_number`: one of the EAI_ numbers.
    gaierror(int error_number, const std::string& text);
    const char* what() const noexcept override;
};

// An error of TLS. code() is of ssl_category(); what() is the text alone, as Python's str().
class ASYNCIO_API SSLError : public OSError {
  public:
    // From one string, or from nothing; or with a number, as ssl::ERROR_EOF.
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

}  // namespace v1
}  // namespace asyncio

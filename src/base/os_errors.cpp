// Errors of the operating system (PEP 3151): OSError and its kin, and which belongs to an errno.
// What getaddrinfo() says: os/gai_errors.cpp.
#include <asyncio/exceptions.hpp>

#include <cerrno>

#include "base/exception_parts.hpp"

namespace asyncio {
inline namespace v1 {

namespace {

using detail::empty_string;
using detail::error_name;
using detail::Forever;
using detail::numbered_text;

}  // namespace

struct OSError::Texts {
    std::string what;
    std::string strerror;
    std::string filename;
    bool numbered;
};

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

const char* OSError::what() const noexcept { return text_or(error_name("OSError")); }

const std::string& OSError::strerror() const noexcept {
    return texts_ ? texts()->strerror : empty_string();
}

const std::string& OSError::filename() const noexcept {
    return texts_ ? texts()->filename : empty_string();
}

bool OSError::has_number() const noexcept { return texts_ && texts()->numbered; }

const char* BlockingIOError::what() const noexcept {
    return text_or(error_name("BlockingIOError"));
}
const char* ChildProcessError::what() const noexcept {
    return text_or(error_name("ChildProcessError"));
}
const char* ConnectionError::what() const noexcept {
    return text_or(error_name("ConnectionError"));
}
const char* BrokenPipeError::what() const noexcept {
    return text_or(error_name("BrokenPipeError"));
}
const char* ConnectionAbortedError::what() const noexcept {
    return text_or(error_name("ConnectionAbortedError"));
}
const char* ConnectionRefusedError::what() const noexcept {
    return text_or(error_name("ConnectionRefusedError"));
}
const char* ConnectionResetError::what() const noexcept {
    return text_or(error_name("ConnectionResetError"));
}
const char* FileExistsError::what() const noexcept {
    return text_or(error_name("FileExistsError"));
}
const char* FileNotFoundError::what() const noexcept {
    return text_or(error_name("FileNotFoundError"));
}
const char* InterruptedError::what() const noexcept {
    return text_or(error_name("InterruptedError"));
}
const char* IsADirectoryError::what() const noexcept {
    return text_or(error_name("IsADirectoryError"));
}
const char* NotADirectoryError::what() const noexcept {
    return text_or(error_name("NotADirectoryError"));
}
const char* PermissionError::what() const noexcept {
    return text_or(error_name("PermissionError"));
}
const char* ProcessLookupError::what() const noexcept {
    return text_or(error_name("ProcessLookupError"));
}
const char* TimeoutError::what() const noexcept { return text_or(error_name("TimeoutError")); }
const char* AddressInUseError::what() const noexcept {
    return text_or(error_name("AddressInUseError"));
}
const char* SSLError::what() const noexcept { return text_or(error_name("SSLError")); }
const char* SSLCertVerificationError::what() const noexcept {
    return text_or(error_name("SSLCertVerificationError"));
}

namespace {

class SslCategory final : public std::error_category {
  public:
    const char* name() const noexcept override { return "ssl"; }
    std::string message(int number) const override { return "TLS error " + std::to_string(number); }
};

// SSL_ERROR_SSL of OpenSSL's <openssl/ssl.h>: a failure in the protocol.
constexpr int ssl_protocol_failure = 1;

}  // namespace

const std::error_category& ssl_category() noexcept {
    static const Forever<SslCategory> category;
    return *category;
}

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

}  // namespace v1
}  // namespace asyncio

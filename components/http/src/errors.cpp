#include "errors.hpp"

#include <new>

#include "asyncio/http.hpp"

namespace asyncio {
inline namespace v1 {
namespace http {

struct Error::Parts {
    std::string text;
    std::string url;
};

Error::Error(std::errc code, const std::string& text, const std::string& url)
    : OSError(std::make_error_code(code), url.empty() ? text : text + ": " + url),
      parts_(std::make_shared<const Parts>(Parts{text, url})) {}

const char* Error::what() const noexcept { return OSError::what(); }
const std::string& Error::text() const noexcept { return parts_->text; }
const std::string& Error::url() const noexcept { return parts_->url; }

const char* InvalidURLError::what() const noexcept { return Error::what(); }
const char* ConnectError::what() const noexcept { return Error::what(); }
const char* TLSError::what() const noexcept { return Error::what(); }
const char* CertificateError::what() const noexcept { return Error::what(); }
const char* Timeout::what() const noexcept { return Error::what(); }
const char* ProtocolError::what() const noexcept { return Error::what(); }
const char* RedirectError::what() const noexcept { return Error::what(); }
const char* BodyTooLargeError::what() const noexcept { return Error::what(); }
const char* ClosedError::what() const noexcept { return Error::what(); }
const char* StatusError::what() const noexcept { return Error::what(); }

StatusError::StatusError(int status, const std::string& url)
    : Error(std::errc::protocol_error, "the server answered with status " + std::to_string(status),
            url),
      status_(status) {}

namespace detail {

namespace {

std::exception_ptr make_error(CURLcode code, const char* text, long os_error,
                              const std::string& url) {
    const std::string said = text && *text ? text : curl_easy_strerror(code);
    switch (code) {
        case CURLE_OUT_OF_MEMORY:
            return std::make_exception_ptr(std::bad_alloc());
        case CURLE_URL_MALFORMAT:
            return std::make_exception_ptr(InvalidURLError(std::errc::invalid_argument, said, url));
        case CURLE_BAD_FUNCTION_ARGUMENT:
            // What libcurl says of a header line that it cannot store.
            return std::make_exception_ptr(ProtocolError(
                std::errc::protocol_error, "the headers of the response are malformed", url));
        case CURLE_COULDNT_RESOLVE_HOST:
            return std::make_exception_ptr(ConnectError(std::errc::host_unreachable, said, url));
        case CURLE_COULDNT_CONNECT: {
            const auto reason =
                os_error != 0 ? static_cast<std::errc>(os_error) : std::errc::connection_refused;
            return std::make_exception_ptr(ConnectError(reason, said, url));
        }
        case CURLE_OPERATION_TIMEDOUT:
            return std::make_exception_ptr(Timeout(std::errc::timed_out, said, url));
        case CURLE_PEER_FAILED_VERIFICATION:
            return std::make_exception_ptr(CertificateError(std::errc::protocol_error, said, url));
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_ENGINE_NOTFOUND:
        case CURLE_SSL_ENGINE_SETFAILED:
        case CURLE_SSL_ENGINE_INITFAILED:
            return std::make_exception_ptr(TLSError(std::errc::protocol_error, said, url));
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
            return std::make_exception_ptr(ProtocolError(std::errc::connection_reset, said, url));
        default:
            return std::make_exception_ptr(ProtocolError(std::errc::protocol_error, said, url));
    }
}

}  // namespace

std::exception_ptr error_of(CURLcode code, const char* text, long os_error,
                            const std::string& url) noexcept {
    try {
        return make_error(code, text, os_error, url);
    } catch (...) {
        // No memory for it: that is the error, then.
        return std::current_exception();
    }
}

}  // namespace detail
}  // namespace http
}  // namespace v1
}  // namespace asyncio

// Of a server: a client's hello, the name that it asks for, and the context that this name chooses.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "tls/openssl.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {

using ssl::SSLContext;

namespace detail {
namespace {

constexpr std::size_t kMostServerName = 255;  // RFC 1035, 2.3.4
// Bytes up to the end of a client's hello. It has a few KiB, but may come in records of one byte
// or, with OpenSSL, of none.
constexpr std::size_t kMostHeard = std::size_t{256} * 1024;

// The name that a client's hello asks for, "" if it asks for none. RFC 6066, 3: a list, of one name
// of the only type there is. Only within the hello's callback. Raises: SSLError if it is no name.
std::string server_name_of(SSL* ssl) {
    const unsigned char* data = nullptr;
    std::size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1) return {};
    const auto number = [&](std::size_t at) {
        return static_cast<std::size_t>(data[at]) << 8 | data[at + 1];
    };
    constexpr std::size_t kHead = 5;
    const bool well_formed = size > kHead && number(0) == size - 2 &&
                             data[2] == TLSEXT_NAMETYPE_host_name && number(3) == size - kHead;
    if (!well_formed) {
        throw SSLError(ssl::ERROR_SSL,
                       "[SSL: BAD_EXTENSION] bad extension: the server name that the client asks "
                       "for cannot be parsed");
    }
    // Safe because bytes may be read as chars.
    const std::string_view name(reinterpret_cast<const char*>(data) + kHead, size - kHead);
    const bool printable =
        std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
    if (name.size() > kMostServerName || !printable) {
        throw SSLError(ssl::ERROR_SSL,
                       "[SSL: BAD_EXTENSION] bad extension: the server name that the client asks "
                       "for is not a host name");
    }
    return std::string(name);
}

}  // namespace

// Raised by the handshake, as OpenSSL could not pass an exception on.
void SslState::hear(std::string_view bytes) noexcept {
    if (callback_error_) return;
    try {
        if (heard_.size() + bytes.size() > kMostHeard) {
            throw SSLError(ssl::ERROR_SSL,
                           "[SSL: EXCESSIVE_MESSAGE_SIZE] excessive message size: the client's "
                           "hello");
        }
        heard_ += bytes;
    } catch (...) {
        callback_error_ = std::current_exception();
        heard_ = std::string();
    }
}

// OpenSSL has a hello of the client: the first, the same again after it was stopped or in another
// context, or the second, which answers a HelloRetryRequest.
int SslState::client_hello(int& alert) noexcept {
    try {
        alert = SSL_AD_DECODE_ERROR;
        switch (hello_) {
            case Hello::kAwaited:
                if (callback_error_) return SSL_CLIENT_HELLO_ERROR;
                server_hostname_ = server_name_of(ssl_);
                if (context_.sni_callback) {
                    hello_ = Hello::kAsking;
                    return SSL_CLIENT_HELLO_RETRY;
                }
                hello_ = Hello::kChosen;
                bind_sessions();
                return SSL_CLIENT_HELLO_SUCCESS;
            case Hello::kAsking:
                return SSL_CLIENT_HELLO_RETRY;
            case Hello::kChosen:
                if (server_name_of(ssl_) != server_hostname_) {
                    alert = SSL_AD_ILLEGAL_PARAMETER;
                    throw SSLError(
                        ssl::ERROR_SSL,
                        "[SSL: BAD_EXTENSION] bad extension: the client asks for another "
                        "server name in its second hello");
                }
                bind_sessions();
                return SSL_CLIENT_HELLO_SUCCESS;
            case Hello::kRefused:
                alert = SSL_AD_UNRECOGNIZED_NAME;
                return SSL_CLIENT_HELLO_ERROR;
        }
    } catch (...) {
        // Raised again by take_error(): it must not cross OpenSSL's frames.
        callback_error_ = std::current_exception();
    }
    return SSL_CLIENT_HELLO_ERROR;
}

// OpenSSL is not on the stack.
void SslState::choose_context() {
    const ssl::SniCallback callback = context_.sni_callback;
    try {
        const std::optional<SSLContext> other = callback(server_hostname_);
        if (other) {
            if (other->purpose() != ssl::Purpose::CLIENT_AUTH) {
                throw SSLError("Cannot create a server socket with a PROTOCOL_TLS_CLIENT context");
            }
            clear_errors();
            SSL* ssl = make_ssl(*other);
            SSL_free(std::exchange(ssl_, ssl));
            context_ = *other;
        } else {
            heard_ = std::string();
        }
        hello_ = Hello::kChosen;
    } catch (...) {
        // Raised again by take_error(), after the client has been told.
        callback_error_ = std::current_exception();
        hello_ = Hello::kRefused;
        heard_ = std::string();
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

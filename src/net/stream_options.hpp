// What the options of connections and of servers have in common: TLS, and sockets that the caller
// brings.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "asyncio/base_events.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/ssl.hpp"
#include "net/ssl_factory.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What the options say of TLS, copied when the call is made.
struct TlsRequest {
    std::optional<ssl::SSLContext> context;
    std::optional<std::string> server_hostname;
    Delay handshake_timeout = std::nullopt;
    Delay shutdown_timeout = std::nullopt;

    // Raises: ValueError.
    void check_timeouts() const;
    // Raises: ValueError, SSLError.
    std::optional<TlsSettings> settings(bool server_side) const;
};

template <class Options>
TlsRequest tls_request(const Options& options) {
    TlsRequest request;
    if (options.ssl) request.context = *options.ssl;
    if constexpr (requires { options.server_hostname; }) {
        if (options.server_hostname)
            request.server_hostname = std::string(*options.server_hostname);
    }
    request.handshake_timeout = options.ssl_handshake_timeout;
    request.shutdown_timeout = options.ssl_shutdown_timeout;
    return request;
}

inline Socket take(OwnedDescriptor given) noexcept { return Socket(given.fileno()); }

// Raise: ValueError; OSError if it is no socket.
void check_stream_socket(const Socket& socket);
void check_unix_stream_socket(const Socket& socket);
// Raises: OSError if there are none.
void check_found(const std::vector<AddrInfo>& found);

std::string what_of(const std::exception_ptr& error);
// "error while attempting to bind on address ('127.0.0.1', 80): [errno 98] address already in use"
std::exception_ptr bind_error(int error, const SocketAddress& address);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

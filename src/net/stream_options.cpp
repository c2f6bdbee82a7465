#include "net/stream_options.hpp"

#include <cctype>

#include "asyncio/exceptions.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void TlsRequest::check_timeouts() const {
    if (context) return;
    if (!handshake_timeout.is_none()) {
        throw ValueError("ssl_handshake_timeout is only meaningful with ssl");
    }
    if (!shutdown_timeout.is_none()) {
        throw ValueError("ssl_shutdown_timeout is only meaningful with ssl");
    }
}

std::optional<TlsSettings> TlsRequest::settings(bool server_side) const {
    if (!context) return std::nullopt;
    TlsSettings made{.context = *context,
                     .server_side = server_side,
                     .server_hostname = server_hostname,
                     .handshake_timeout = handshake_timeout,
                     .shutdown_timeout = shutdown_timeout};
    check_tls(made);
    return made;
}

void check_stream_socket(const Socket& socket) {
    if (socket.type() == SOCK_STREAM) return;
    throw ValueError("A Stream Socket was expected, got " + socket.repr());
}

void check_unix_stream_socket(const Socket& socket) {
    if (socket.family() == AF_UNIX && socket.type() == SOCK_STREAM) return;
    throw ValueError("A UNIX Domain Stream Socket was expected, got " + socket.repr());
}

void check_found(const std::vector<AddrInfo>& found) {
    if (found.empty()) throw OSError("getaddrinfo() returned empty list");
}

std::string what_of(const std::exception_ptr& error) {
    const auto* const found = find<std::exception>(error);
    const char* const what = found ? found->what() : nullptr;
    return what ? what : std::string();
}

std::exception_ptr bind_error(int error, const SocketAddress& address) {
    std::string reason = what_of(make_os_error(error));
    for (char& c : reason) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return make_os_error(
        error, "error while attempting to bind on address " + address.repr() + ": " + reason);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

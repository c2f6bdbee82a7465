// Making servers. The checks, their order and their texts are asyncio's (base_events.py,
// unix_events.py): SV-01 to SV-03.
#include "asyncio/base_events.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "net/resolver.hpp"
#include "net/server.hpp"
#include "net/stream_options.hpp"
#include "os/blocking.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

using Addresses = std::vector<AddrInfo>;

struct ServerRequest {
    ProtocolFactory factory;
    std::vector<std::string> hosts;  // "": every interface
    PortNumber port;
    int family = 0;
    int flags = 0;
    Socket sock;
    bool sock_given = false;
    int backlog = 100;
    TlsRequest tls;
    bool reuse_address = true;
    bool reuse_port = false;
    bool keep_alive = false;
    bool start = true;
    std::size_t max_connections = 0;

    bool host_given() const noexcept { return !hosts.empty() || port.given(); }
};

void warn_in_debug(EventLoop& loop, const std::string& text) {
    if (loop.get_debug()) log::write(log::Level::WARNING, text);
}

// Empty if there is no such socket here: the family is not enabled.
// Raises: OSError.
Socket listening_socket(EventLoop& loop, const ServerRequest& request, const AddrInfo& at) {
    Socket socket;
    try {
        socket = Socket(at.family, at.type, at.proto);
    } catch (const OSError& error) {
        warn_in_debug(loop, "create_server() failed to create a socket for " + at.address.repr() +
                                ": " + error.what());
        return {};
    }
    if (request.reuse_address) socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
    if (request.reuse_port) socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
    if (request.keep_alive) socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
    // The IPv4 address, if asked for, gets a socket of its own.
    if (at.family == AF_INET6) socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    const int error = bind_to(socket.fileno(), at.address);
    if (error == 0) return socket;
    std::exception_ptr failure = bind_error(error, at.address);
    if (error != EADDRNOTAVAIL) std::rethrow_exception(std::move(failure));
    warn_in_debug(loop, what_of(failure));
    return {};
}

Coroutine<Addresses> resolve_hosts(EventLoop& loop, const ServerRequest& request) {
    std::vector<Task<Addresses>> lookups;
    lookups.reserve(request.hosts.size());
    Addresses found;
    for (const std::string& host : request.hosts) {
        lookups.push_back(create_task(
            resolve(loop, host, request.port, request.family, SOCK_STREAM, 0, request.flags)));
    }
    const std::vector<Addresses> all = co_await gather(lookups);
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i].empty()) {
            throw OSError("getaddrinfo(" + quoted(request.hosts[i]) + ") returned empty list");
        }
        found.insert(found.end(), all[i].begin(), all[i].end());
    }
    co_return found;
}

// One socket for each distinct address, in the resolver's order.
Coroutine<std::vector<Socket>> listening_sockets(EventLoop& loop, ServerRequest& request) {
    if (request.hosts.empty()) request.hosts.emplace_back();
    Addresses found;
    if (request.hosts.size() == 1) {
        found = co_await resolve(loop, request.hosts[0], request.port, request.family, SOCK_STREAM,
                                 0, request.flags);
        check_found(found);
    } else {
        found = co_await resolve_hosts(loop, request);
    }
    std::vector<Socket> sockets;
    std::vector<SocketAddress> seen;
    for (const AddrInfo& at : found) {
        if (std::find(seen.begin(), seen.end(), at.address) != seen.end()) continue;
        seen.push_back(at.address);
        Socket socket = listening_socket(loop, request, at);
        if (socket) sockets.push_back(std::move(socket));
    }
    if (sockets.empty()) {
        std::string all;
        for (const SocketAddress& a : seen) all += (all.empty() ? "" : ", ") + a.repr();
        throw OSError("could not bind on any address out of [" + all + ']');
    }
    co_return sockets;
}

Coroutine<Server> make_server(EventLoop& loop, std::vector<Socket> sockets, ServerSettings settings,
                              bool start) {
    auto state =
        Ref<ServerState>::adopt(new ServerState(loop, std::move(sockets), std::move(settings)));
    const Server server(std::make_shared<ServerHandle>(state));
    if (start) {
        try {
            state->start_serving();
            co_await sleep(Duration(0));
        } catch (...) {
            state->close();
            throw;
        }
    }
    if (loop.get_debug()) log::write(log::Level::INFO, server.repr() + " is serving");
    co_return server;
}

Coroutine<Server> run_server_request(EventLoop& loop, ServerRequest request) {
    request.tls.check_timeouts();
    request.port.check();
    ServerSettings settings;
    settings.tls = request.tls.settings(true);
    std::vector<Socket> sockets;
    if (request.host_given()) {
        if (request.sock_given) {
            throw ValueError("host/port and sock can not be specified at the same time");
        }
        sockets = co_await listening_sockets(loop, request);
    } else {
        if (!request.sock_given) throw ValueError("Neither host/port nor sock were specified");
        check_stream_socket(request.sock);
        make_non_blocking(request.sock.fileno());
        settings.given_socket = true;
        sockets.push_back(std::move(request.sock));
    }
    settings.factory = std::move(request.factory);
    settings.backlog = request.backlog;
    settings.max_connections = request.max_connections;
    co_return co_await make_server(loop, std::move(sockets), std::move(settings), request.start);
}

struct UnixServerRequest {
    ProtocolFactory factory;
    std::string path;
    Socket sock;
    bool sock_given = false;
    int backlog = 100;
    TlsRequest tls;
    bool start = true;
    bool cleanup = true;
    std::size_t max_connections = 0;
};

bool is_abstract(const std::string& path) noexcept { return path.empty() || path[0] == '\0'; }

// A socket's file that its server left behind. Other kinds of files stay (SV-03).
void remove_stale_socket(const std::string& path) {
    const int error = remove_stale_file(path);
    if (error == 0) return;
    // The folder may allow nothing but making a socket, which is tried next.
    log::write(log::Level::ERROR, "Unable to check or remove stale UNIX socket " + quoted(path) +
                                      ": " + describe(make_os_error(error)));
}

Socket unix_listening_socket(const std::string& path) {
    const SocketAddress address = SocketAddress::unix(path);
    Socket socket(AF_UNIX, SOCK_STREAM);
    if (!is_abstract(path)) remove_stale_socket(path);
    const int error = bind_to(socket.fileno(), address);
    if (error == 0) return socket;
    if (error != EADDRINUSE) std::rethrow_exception(make_os_error(error));
    const std::string shown = is_abstract(path) ? address.repr() : quoted(path);
    std::rethrow_exception(make_os_error(error, "Address " + shown + " is already in use"));
}

Coroutine<Server> run_unix_server_request(EventLoop& loop, UnixServerRequest request) {
    request.tls.check_timeouts();
    ServerSettings settings;
    settings.tls = request.tls.settings(true);
    if (!request.path.empty()) {
        if (request.sock_given) {
            throw ValueError("path and sock can not be specified at the same time");
        }
        request.sock = unix_listening_socket(request.path);
    } else {
        if (!request.sock_given) {
            throw ValueError("path was not specified, and no sock specified");
        }
        check_unix_stream_socket(request.sock);
        make_non_blocking(request.sock.fileno());
        settings.given_socket = true;
    }
    if (request.cleanup) settings.cleanup = file_of(request.sock);
    settings.factory = std::move(request.factory);
    settings.backlog = request.backlog;
    settings.max_connections = request.max_connections;
    std::vector<Socket> sockets;
    sockets.push_back(std::move(request.sock));
    co_return co_await make_server(loop, std::move(sockets), std::move(settings), request.start);
}

}  // namespace

// ---- the calls: everything is copied before they return -----------------------------------------

Coroutine<Server> create_server(EventLoop& loop, ProtocolFactory factory,
                                std::vector<std::string> hosts, PortNumber port,
                                const ServerOptions& options) {
    ServerRequest request;
    request.sock = take(options.sock);
    request.sock_given = options.sock.given();
    request.factory = std::move(factory);
    request.hosts = std::move(hosts);
    request.port = port;
    request.family = options.family;
    request.flags = options.flags;
    request.backlog = options.backlog;
    request.tls = tls_request(options);
    request.reuse_address = options.reuse_address.value_or(true);
    request.reuse_port = options.reuse_port;
    request.keep_alive = options.keep_alive;
    request.start = options.start_serving;
    request.max_connections = options.max_connections;
    return run_server_request(loop, std::move(request));
}

Coroutine<Server> create_unix_server(EventLoop& loop, ProtocolFactory factory,
                                     std::string_view path, const UnixServerOptions& options) {
    UnixServerRequest request;
    request.sock = take(options.sock);
    request.sock_given = options.sock.given();
    request.factory = std::move(factory);
    request.path = path;
    request.backlog = options.backlog;
    request.tls = tls_request(options);
    request.start = options.start_serving;
    request.cleanup = options.cleanup_socket;
    request.max_connections = options.max_connections;
    return run_unix_server_request(loop, std::move(request));
}

std::vector<std::string> one_host(std::string_view host) {
    std::vector<std::string> hosts;
    if (!host.empty()) hosts.emplace_back(host);
    return hosts;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

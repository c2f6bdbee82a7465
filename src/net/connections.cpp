// Making connections and servers. The checks, their order and their texts are asyncio's
// (base_events.py, unix_events.py): CN-01 to CN-10, SV-01 to SV-03.
#include "asyncio/base_events.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/ssl.hpp"
#include "asyncio/tasks.hpp"
#include "net/connections.hpp"
#include "net/make_transport.hpp"
#include "net/resolver.hpp"
#include "net/server.hpp"
#include "net/ssl_factory.hpp"
#include "net/staggered.hpp"
#include "os/blocking.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

using Errors = std::vector<std::exception_ptr>;
using Addresses = std::vector<AddrInfo>;

// What the options say of TLS, copied when the call is made.
struct TlsRequest {
    std::optional<ssl::SSLContext> context;
    std::optional<std::string> server_hostname;
    Delay handshake_timeout = std::nullopt;
    Delay shutdown_timeout = std::nullopt;

    // Raises: ValueError.
    void check_timeouts() const {
        if (context) return;
        if (!handshake_timeout.is_none()) {
            throw ValueError("ssl_handshake_timeout is only meaningful with ssl");
        }
        if (!shutdown_timeout.is_none()) {
            throw ValueError("ssl_shutdown_timeout is only meaningful with ssl");
        }
    }
    // Raises: ValueError, SSLError.
    std::optional<TlsSettings> settings(bool server_side) const {
        if (!context) return std::nullopt;
        TlsSettings made{.context = *context,
                         .server_side = server_side,
                         .server_hostname = server_hostname,
                         .handshake_timeout = handshake_timeout,
                         .shutdown_timeout = shutdown_timeout};
        check_tls(made);
        return made;
    }
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

Socket take(OwnedDescriptor given) noexcept { return Socket(given.fileno()); }

void check_stream_socket(const Socket& socket) {
    if (socket.type() == SOCK_STREAM) return;
    throw ValueError("A Stream Socket was expected, got " + socket.repr());
}

void check_unix_stream_socket(const Socket& socket) {
    if (socket.family() == AF_UNIX && socket.type() == SOCK_STREAM) return;
    throw ValueError("A UNIX Domain Stream Socket was expected, got " + socket.repr());
}

std::string what_of(const std::exception_ptr& error) {
    const auto* const found = find<std::exception>(error);
    const char* const what = found ? found->what() : nullptr;
    return what ? what : std::string();
}

// "error while attempting to bind on address ('127.0.0.1', 80): [errno 98] address already in use"
std::exception_ptr bind_error(int error, const SocketAddress& address) {
    std::string reason = what_of(make_os_error(error));
    for (char& c : reason) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return make_os_error(
        error, "error while attempting to bind on address " + address.repr() + ": " + reason);
}

// ---- connecting ---------------------------------------------------------------------------------

[[noreturn]] void fail_connect(int error, const SocketAddress& address) {
    std::rethrow_exception(address.family() == AF_UNIX
                               ? make_os_error(error)
                               : make_os_error(error, "Connect call failed " + address.repr()));
}

// CN-05. Raises: OSError for the last address that failed; `errors` gets those before it.
void bind_local(const Socket& socket, int family, const Addresses& locals, Errors& errors) {
    std::exception_ptr last;
    for (const AddrInfo& local : locals) {
        if (local.family != family) continue;
        const int error = bind_to(socket.fileno(), local.address);
        if (error == 0) return;
        if (last) errors.push_back(std::move(last));
        last = bind_error(error, local.address);
    }
    if (last) std::rethrow_exception(std::move(last));
    throw OSError("no matching local address with family=" + std::to_string(family) + " found");
}

// Connects `made.socket`. If cancelled: `made` closes it.
Coroutine<> connect_socket(EventLoop& loop, ConnectedSocket& made, SocketAddress address) {
    const int fd = made.socket.fileno();
    made.peer = address;
    int error = begin_connect(fd, address);
    if (error == 0) co_return;
    if (error != EINPROGRESS && error != EINTR) fail_connect(error, address);
    ConnectionMade connected(made.open_channel(loop.impl()));
    co_await connected;
    error = pending_error(fd);
    if (error > 0) fail_connect(error, address);
}

// What the attempts at the addresses of one host share.
struct Search {
    EventLoop& loop;
    Addresses addresses;
    std::optional<Addresses> locals;
    std::vector<Errors> errors = {};  // of each attempt
    std::vector<ConnectedSocket> made = {};

    explicit Search(EventLoop& l) : loop(l) {}
};

// Whether attempt `i` succeeded; its errors are noted.
Coroutine<bool> attempt(std::shared_ptr<Search> search, std::size_t i) {
    const AddrInfo& to = search->addresses[i];
    Errors& errors = search->errors[i];
    ConnectedSocket& made = search->made[i];
    bool connected = false;
    try {
        made.socket = Socket(to.family, to.type, to.proto);
        if (search->locals) bind_local(made.socket, to.family, *search->locals, errors);
        co_await connect_socket(search->loop, made, to.address);
        connected = true;
    } catch (const OSError&) {
        errors.push_back(std::current_exception());
    } catch (...) {
        made = ConnectedSocket();
        throw;
    }
    if (!connected) made = ConnectedSocket();
    co_return connected;
}

Coroutine<std::optional<std::size_t>> one_after_the_other(std::shared_ptr<Search> search) {
    for (std::size_t i = 0; i < search->addresses.size(); ++i) {
        const bool connected = co_await attempt(search, i);
        if (connected) co_return i;
    }
    co_return std::nullopt;
}

// CN-03.
[[noreturn]] void fail_search(const Search& search, bool all_errors) {
    Errors all;
    for (const Errors& errors : search.errors) all.insert(all.end(), errors.begin(), errors.end());
    if (all.empty()) throw TimeoutError("create_connection failed");
    if (all_errors) {
        std::rethrow_exception(BaseExceptionGroup::make("create_connection failed", all));
    }
    const std::string model = what_of(all[0]);
    const auto same = [&](const std::exception_ptr& e) { return what_of(e) == model; };
    if (std::all_of(all.begin(), all.end(), same)) std::rethrow_exception(all[0]);
    std::string text = "Multiple exceptions: ";
    for (std::size_t i = 0; i < all.size(); ++i) text += (i > 0 ? ", " : "") + what_of(all[i]);
    throw OSError(text);
}

// Families in turn, after `first` of the first one (RFC 8305, section 4).
Addresses interleaved(const Addresses& addresses, std::size_t first) {
    std::vector<Addresses> families;
    for (const AddrInfo& a : addresses) {
        const auto same = [&](const Addresses& f) { return f[0].family == a.family; };
        auto found = std::find_if(families.begin(), families.end(), same);
        if (found == families.end()) found = families.emplace(families.end());
        found->push_back(a);
    }
    Addresses ordered;
    std::vector<std::size_t> taken(families.size(), 0);
    while (first > 1 && taken[0] < families[0].size()) {
        ordered.push_back(families[0][taken[0]++]);
        --first;
    }
    while (ordered.size() < addresses.size()) {
        for (std::size_t f = 0; f < families.size(); ++f) {
            if (taken[f] < families[f].size()) ordered.push_back(families[f][taken[f]++]);
        }
    }
    return ordered;
}

struct ConnectionRequest {
    ProtocolFactory factory;
    std::string host;
    PortNumber port;
    int family = 0;
    int proto = 0;
    int flags = 0;
    Socket sock;
    bool sock_given = false;
    bool local_given = false;
    std::string local_host;
    PortNumber local_port;
    TlsRequest tls;
    Delay delay = std::nullopt;
    int interleave = -1;
    bool all_errors = false;

    bool host_given() const noexcept { return !host.empty() || port.given(); }
};

// CN-02.
void check_request(ConnectionRequest& request) {
    TlsRequest& tls = request.tls;
    if (!tls.context && tls.server_hostname) {
        throw ValueError("server_hostname is only meaningful with ssl");
    }
    if (tls.context && !tls.server_hostname) {
        if (request.host.empty()) {
            throw ValueError("You must set server_hostname when using ssl without a host");
        }
        tls.server_hostname = request.host;
    }
    tls.check_timeouts();
    request.port.check();
    request.local_port.check();
    if (request.host_given() && request.sock_given) {
        throw ValueError("host/port and sock can not be specified at the same time");
    }
    if (request.host_given()) return;
    if (!request.sock_given) {
        throw ValueError("host and port was not specified and no sock specified");
    }
    check_stream_socket(request.sock);
    make_non_blocking(request.sock.fileno());
}

void check_found(const Addresses& found) {
    if (found.empty()) throw OSError("getaddrinfo() returned empty list");
}

Coroutine<ConnectedSocket> connect_to_host(EventLoop& loop, ConnectionRequest& request) {
    const auto search = std::make_shared<Search>(loop);
    search->addresses = co_await resolve(loop, request.host, request.port, request.family,
                                         SOCK_STREAM, request.proto, request.flags);
    check_found(search->addresses);
    if (request.local_given) {
        search->locals =
            co_await resolve(loop, request.local_host, request.local_port, request.family,
                             SOCK_STREAM, request.proto, request.flags);
        check_found(*search->locals);
    }
    const bool race = !request.delay.is_none();
    const int interleave = request.interleave >= 0 ? request.interleave : race ? 1 : 0;
    if (interleave > 0) {
        search->addresses = interleaved(search->addresses, static_cast<std::size_t>(interleave));
    }
    search->errors.resize(search->addresses.size());
    search->made.resize(search->addresses.size());
    std::optional<std::size_t> winner;
    if (race) {
        Function<Coroutine<bool>(std::size_t)> next = [search](std::size_t i) {
            return attempt(search, i);
        };
        winner = co_await staggered_race(search->addresses.size(), next, request.delay);
    } else {
        winner = co_await one_after_the_other(search);
    }
    if (!winner) fail_search(*search, request.all_errors);
    co_return std::move(search->made[*winner]);
}

// The end of all kinds of connecting: the transport and the protocol. CN-10.
Coroutine<Connected> make_connection(EventLoop& loop, ProtocolFactory factory,
                                     ConnectedSocket connected, std::optional<TlsSettings> tls) {
    std::shared_ptr<BaseProtocol> protocol = factory();
    const Future<> waiter = loop.create_future<void>();
    SocketTransportOptions options;
    if (connected.peer) options.peer = &connected.peer;
    options.opened = connected.channel();
    Transport transport;
    if (tls) {
        TlsConnection secured = make_tls_connection(loop, *tls, protocol, waiter);
        make_socket_transport(loop, std::move(connected.socket), std::move(secured.protocol),
                              nullptr, options);
        transport = Transport(std::move(secured.transport));
    } else {
        transport = Transport(
            make_socket_transport(loop, std::move(connected.socket), protocol, waiter, options));
    }
    connected.stop();
    const Result<void> made = co_await as_result(waiter);
    if (made.error()) {
        transport.close();
        std::rethrow_exception(made.error());
    }
    co_return Connected{std::move(transport), std::move(protocol)};
}

Coroutine<Connected> run_request(EventLoop& loop, ConnectionRequest request) {
    check_request(request);
    std::optional<TlsSettings> tls = request.tls.settings(false);
    ConnectedSocket connected;
    if (request.host_given()) {
        connected = co_await connect_to_host(loop, request);
    } else {
        connected.socket = std::move(request.sock);
    }
    co_return co_await make_connection(loop, std::move(request.factory), std::move(connected),
                                       std::move(tls));
}

struct UnixRequest {
    ProtocolFactory factory;
    std::string path;
    Socket sock;
    bool sock_given = false;
    TlsRequest tls;
};

void check_unix_request(const UnixRequest& request) {
    const TlsRequest& tls = request.tls;
    if (tls.context && !tls.server_hostname) {
        throw ValueError("you have to pass server_hostname when using ssl");
    }
    if (!tls.context && tls.server_hostname) {
        throw ValueError("server_hostname is only meaningful with ssl");
    }
    tls.check_timeouts();
    if (!request.path.empty() && request.sock_given) {
        throw ValueError("path and sock can not be specified at the same time");
    }
    if (!request.path.empty()) return;
    if (!request.sock_given) throw ValueError("no path and sock were specified");
    check_unix_stream_socket(request.sock);
    make_non_blocking(request.sock.fileno());
}

Coroutine<Connected> run_unix_request(EventLoop& loop, UnixRequest request) {
    check_unix_request(request);
    std::optional<TlsSettings> tls = request.tls.settings(false);
    ConnectedSocket connected(std::move(request.sock));
    if (!request.path.empty()) {
        const SocketAddress address = SocketAddress::unix(request.path);
        connected.socket = Socket(AF_UNIX, SOCK_STREAM);
        co_await connect_socket(loop, connected, address);
    }
    co_return co_await make_connection(loop, std::move(request.factory), std::move(connected),
                                       std::move(tls));
}

Coroutine<Connected> serve_accepted(EventLoop& loop, ProtocolFactory factory, Socket sock,
                                    TlsRequest request) {
    check_stream_socket(sock);
    request.check_timeouts();
    std::optional<TlsSettings> tls = request.settings(true);
    make_non_blocking(sock.fileno());
    ConnectedSocket connected(std::move(sock));
    co_return co_await make_connection(loop, std::move(factory), std::move(connected),
                                       std::move(tls));
}

// ---- servers ------------------------------------------------------------------------------------

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

Coroutine<Connected> create_connection(EventLoop& loop, ProtocolFactory factory,
                                       std::string_view host, PortNumber port,
                                       const ConnectionOptions& options) {
    ConnectionRequest request;
    request.sock = take(options.sock);
    request.sock_given = options.sock.given();
    request.factory = std::move(factory);
    request.host = host;
    request.port = port;
    request.family = options.family;
    request.proto = options.proto;
    request.flags = options.flags;
    request.local_given = options.local_addr.given();
    request.local_host = options.local_addr.host;
    request.local_port = options.local_addr.port;
    request.tls = tls_request(options);
    request.delay = options.happy_eyeballs_delay;
    request.interleave = options.interleave;
    request.all_errors = options.all_errors;
    return run_request(loop, std::move(request));
}

Coroutine<Connected> create_unix_connection(EventLoop& loop, ProtocolFactory factory,
                                            std::string_view path,
                                            const UnixConnectionOptions& options) {
    UnixRequest request;
    request.sock = take(options.sock);
    request.sock_given = options.sock.given();
    request.factory = std::move(factory);
    request.path = path;
    request.tls = tls_request(options);
    return run_unix_request(loop, std::move(request));
}

Coroutine<Connected> connect_accepted_socket(EventLoop& loop, ProtocolFactory factory,
                                             OwnedDescriptor sock, const TlsOptions& options) {
    Socket owned = take(sock);
    return serve_accepted(loop, std::move(factory), std::move(owned), tls_request(options));
}

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

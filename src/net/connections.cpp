// Making connections. The checks, their order and their texts are asyncio's (base_events.py,
// unix_events.py): CN-01 to CN-10.
#include "asyncio/base_events.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "net/connections.hpp"
#include "net/make_transport.hpp"
#include "net/resolver.hpp"
#include "net/ssl_factory.hpp"
#include "net/staggered.hpp"
#include "net/stream_options.hpp"
#include "os/blocking.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

using Errors = std::vector<std::exception_ptr>;
using Addresses = std::vector<AddrInfo>;

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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Connections and servers: the loop's create_connection, create_server and their kin, sendfile, and
// Server. CN-*, SV-*, SF-*, SO-*.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/detail/identity.hpp"
#include "asyncio/events.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/time.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {

namespace ssl {
class SSLContext;
}

// Of create_connection and open_connection, in CPython's order, ours last. CN-01.
struct ConnectionOptions {
    const ssl::SSLContext* ssl = nullptr;  // null: no TLS
    int family = 0;                        // AF_INET or AF_INET6 alone; 0: both
    int proto = 0;                         // of the socket; 0: that of TCP
    int flags = 0;                         // of getaddrinfo(3)
    OwnedDescriptor sock = {};             // connected already; then no host and port
    HostPort local_addr = {};              // where to connect from; none: the system chooses
    std::optional<std::string_view> server_hostname = std::nullopt;  // unset: the host
    Delay ssl_handshake_timeout = std::nullopt;                      // nullopt: 60 s
    Delay ssl_shutdown_timeout = std::nullopt;                       // nullopt: 30 s
    // How long to wait before the next address is tried as well (RFC 8305: 250 ms); nullopt: for
    // ever, one after the other. CN-04.
    Delay happy_eyeballs_delay = std::nullopt;
    // How many addresses of the first family come before the families alternate; 0: the resolver's
    // order; -1: 1 with a happy_eyeballs_delay, else 0.
    int interleave = -1;
    bool all_errors = false;        // an ExceptionGroup of all that failed
    std::size_t limit = 64 * 1024;  // of open_connection's reader, bytes
};

// Of create_unix_connection and open_unix_connection. CN-07.
struct UnixConnectionOptions {
    const ssl::SSLContext* ssl = nullptr;  // null: no TLS
    OwnedDescriptor sock = {};             // connected already; then no path
    std::optional<std::string_view> server_hostname = std::nullopt;  // needed with TLS
    Delay ssl_handshake_timeout = std::nullopt;                      // nullopt: 60 s
    Delay ssl_shutdown_timeout = std::nullopt;                       // nullopt: 30 s
    std::size_t limit = 64 * 1024;  // of open_unix_connection's reader, bytes
};

// Of create_server and start_server. SV-01.
struct ServerOptions {
    int family = 0;             // AF_INET or AF_INET6 alone; 0: both
    int flags = 1;              // of getaddrinfo(3): AI_PASSIVE
    OwnedDescriptor sock = {};  // bound already; then no host and port
    int backlog = 100;          // how many connections may wait to be accepted, listen(2)
    const ssl::SSLContext* ssl = nullptr;              // null: no TLS
    std::optional<bool> reuse_address = std::nullopt;  // SO_REUSEADDR; unset: true
    bool reuse_port = false;                           // SO_REUSEPORT: several may share the port
    bool keep_alive = false;                           // SO_KEEPALIVE of the connections
    Delay ssl_handshake_timeout = std::nullopt;        // nullopt: 60 s
    Delay ssl_shutdown_timeout = std::nullopt;         // nullopt: 30 s
    bool start_serving = true;                         // false: Server::start_serving() begins
    std::size_t limit = 64 * 1024;                     // of start_server's readers, bytes
    std::size_t max_connections = 0;  // at once: further ones wait to be accepted; 0: no limit
};

// Of create_unix_server and start_unix_server. SV-03.
struct UnixServerOptions {
    OwnedDescriptor sock = {};  // bound already; then no path
    int backlog = 100;          // how many connections may wait to be accepted, listen(2)
    const ssl::SSLContext* ssl = nullptr;        // null: no TLS
    Delay ssl_handshake_timeout = std::nullopt;  // nullopt: 60 s
    Delay ssl_shutdown_timeout = std::nullopt;   // nullopt: 30 s
    bool start_serving = true;                   // false: Server::start_serving() begins
    bool cleanup_socket = true;       // the socket's file is removed when the server closes
    std::size_t limit = 64 * 1024;    // of start_unix_server's readers, bytes
    std::size_t max_connections = 0;  // at once: further ones wait to be accepted; 0: no limit
};

// Of connect_accepted_socket (CN-08) and start_tls (TL-01).
struct TlsOptions {
    const ssl::SSLContext* ssl = nullptr;                            // connect_accepted_socket only
    bool server_side = false;                                        // start_tls only
    std::optional<std::string_view> server_hostname = std::nullopt;  // a client: whom to verify
    Delay ssl_handshake_timeout = std::nullopt;                      // nullopt: 60 s
    Delay ssl_shutdown_timeout = std::nullopt;                       // nullopt: 30 s
};

// Of sendfile and sock_sendfile. SF-01.
struct SendfileOptions {
    std::int64_t offset = 0;                           // where in the file to begin, bytes
    std::optional<std::int64_t> count = std::nullopt;  // bytes; unset: to the file's end
    bool fallback = true;  // read and write where the system's sendfile cannot be used
};

namespace detail {

class ServerState;
class ServerHandle;

using ProtocolFactory = Function<std::shared_ptr<BaseProtocol>()>;
struct Connected {
    Transport transport;
    std::shared_ptr<BaseProtocol> protocol;
};

}  // namespace detail

// A listening server: a shared handle, possibly empty. A server that serves does so until it is
// closed or its loop is, whether or not a handle is left; one that does not serve goes with the
// last handle. SO-08. Made by the loop's create_server and create_unix_server, start_server and
// start_unix_server.
class ASYNCIO_API Server {
  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    // An empty handle.
    Server() noexcept = default;
    explicit operator bool() const noexcept { return handle_ != nullptr; }

    // Stops listening, at once. Connections stay; serve_forever() ends. Idempotent. SO-01.
    // Raises: in debug mode RuntimeError on another thread than its loop's.
    void close() const;
    // Waits until it is closed and all its connections are gone. SO-02.
    // If cancelled: nothing changes.
    Coroutine<> wait_closed() const;
    // Begins to accept, if it does not already. SO-03.
    // Raises: RuntimeError if it is closed; OSError.
    // If cancelled: it goes on accepting.
    Coroutine<> start_serving() const;
    // Accepts until it is cancelled or closed. SO-04. Raises: CancelledError when close() ends it;
    // RuntimeError "server ... is already being awaited on serve_forever()", "server ... is
    // closed"; OSError.
    // If cancelled: closes the server, and waits for its connections, before the CancelledError
    // goes on.
    Coroutine<> serve_forever() const;
    // True while it accepts.
    bool is_serving() const;
    // The loop that it belongs to.
    EventLoop& get_loop() const;
    // Those it listens on; empty once it is closed. SO-05.
    const std::vector<Socket>& sockets() const;
    // close() or abort() of the transport of each of its connections. SO-06.
    // Raises: in debug mode RuntimeError on another thread than its loop's.
    void close_clients() const;
    void abort_clients() const;
    // `<Server sockets=(<asyncio.TransportSocket fd=6, ...>,)>`.
    std::string repr() const;

    // For with(): leaving closes it and waits until its connections are gone; entering does not
    // start it. SO-07.
    // If cancelled: it is closed all the same.
    Coroutine<Server> aenter() const;
    // Closes it. If cancelled: it is closed all the same.
    Coroutine<bool> aexit(std::exception_ptr error) const;

    friend bool operator==(const Server& a, const Server& b) noexcept {
        return a.handle_ == b.handle_;
    }
    const void* id() const noexcept { return handle_.get(); }

    // For the library.
    explicit Server(std::shared_ptr<detail::ServerHandle> handle) noexcept;

  private:
    detail::ServerState& state() const;
    // To change it. Raises: in debug mode RuntimeError on another thread than its loop's.
    detail::ServerState& state_here() const;
    std::shared_ptr<void> handle_;  // a detail::ServerHandle
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const Server& server);

namespace detail {

// What the loop's methods of these names do, protocols by their base class. Views and options are
// copied by the call. If cancelled, all of them: what was made so far is closed.
ASYNCIO_API Coroutine<Connected> create_connection(EventLoop& loop, ProtocolFactory factory,
                                                   std::string_view host, PortNumber port,
                                                   const ConnectionOptions& options);
ASYNCIO_API Coroutine<Connected> create_unix_connection(EventLoop& loop, ProtocolFactory factory,
                                                        std::string_view path,
                                                        const UnixConnectionOptions& options);
ASYNCIO_API Coroutine<Connected> connect_accepted_socket(EventLoop& loop, ProtocolFactory factory,
                                                         OwnedDescriptor sock,
                                                         const TlsOptions& options);
ASYNCIO_API Coroutine<Server> create_server(EventLoop& loop, ProtocolFactory factory,
                                            std::vector<std::string> hosts, PortNumber port,
                                            const ServerOptions& options);
ASYNCIO_API Coroutine<Server> create_unix_server(EventLoop& loop, ProtocolFactory factory,
                                                 std::string_view path,
                                                 const UnixServerOptions& options);

// What a protocol factory makes.
template <class F>
struct ProtocolMade {
    using type = BaseProtocol;
    static constexpr bool kGood = false;
};
template <class F>
    requires requires(F& factory) {
        typename decltype(factory())::element_type;
        std::shared_ptr<BaseProtocol>(factory());
    }
struct ProtocolMade<F> {
    using type = typename std::invoke_result_t<F&>::element_type;
    static constexpr bool kGood = true;
};
template <class F>
using ProtocolOf = typename ProtocolMade<std::decay_t<F>>::type;

// For a call that takes `sock` over: it is closed if this throws.
template <class F>
ProtocolFactory protocol_factory(F&& factory, OwnedDescriptor sock) {
    static_assert(kSafeTemporary<F>,
                  "name this factory first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    if constexpr (ProtocolMade<std::decay_t<F>>::kGood) {
        Socket kept(sock.fileno());
        ProtocolFactory made(std::forward<F>(factory));
        kept.detach();
        return made;
    } else {
        static_assert(kRight<F>,
                      "a protocol factory takes nothing and returns a std::shared_ptr to a "
                      "protocol");
        return {};
    }
}

// A coroutine that another one takes along. If that never begins, since its task is cancelled
// before or nobody awaits it, this one goes without a report of its own.
template <class T>
class InnerCall {
  public:
    InnerCall(Coroutine<T> call) noexcept : call_(std::move(call)) {}
    InnerCall(InnerCall&&) noexcept = default;
    InnerCall& operator=(InnerCall&&) = delete;
    ~InnerCall() { call_.close(); }
    Coroutine<T> take() noexcept { return std::move(call_); }

  private:
    Coroutine<T> call_;
};

// Gives the protocol its own class back.
template <class P>
Coroutine<std::pair<Transport, std::shared_ptr<P>>> with_protocol(InnerCall<Connected> connecting) {
    Connected made = co_await connecting.take();
    // Safe because the factory that made it returns a P.
    auto protocol = std::static_pointer_cast<P>(std::move(made.protocol));
    co_return std::pair<Transport, std::shared_ptr<P>>(std::move(made.transport),
                                                       std::move(protocol));
}

ASYNCIO_API std::vector<std::string> one_host(std::string_view host);

}  // namespace detail

template <class F>
auto EventLoop::create_connection(F&& factory, std::string_view host, int port,
                                  ConnectionOptions options) {
    return detail::with_protocol<detail::ProtocolOf<F>>(detail::create_connection(
        *this, detail::protocol_factory(std::forward<F>(factory), options.sock), host, port,
        options));
}
template <class F>
auto EventLoop::create_connection(F&& factory, std::string_view host, int port) {
    return create_connection(std::forward<F>(factory), host, port, ConnectionOptions());
}
template <class F>
auto EventLoop::create_connection(F&& factory, ConnectionOptions options) {
    return detail::with_protocol<detail::ProtocolOf<F>>(detail::create_connection(
        *this, detail::protocol_factory(std::forward<F>(factory), options.sock), {}, {}, options));
}

template <class F>
auto EventLoop::create_unix_connection(F&& factory, std::string_view path,
                                       UnixConnectionOptions options) {
    return detail::with_protocol<detail::ProtocolOf<F>>(detail::create_unix_connection(
        *this, detail::protocol_factory(std::forward<F>(factory), options.sock), path, options));
}
template <class F>
auto EventLoop::create_unix_connection(F&& factory, std::string_view path) {
    return create_unix_connection(std::forward<F>(factory), path, UnixConnectionOptions());
}

template <class F>
auto EventLoop::connect_accepted_socket(F&& factory, OwnedDescriptor sock, TlsOptions options) {
    return detail::with_protocol<detail::ProtocolOf<F>>(detail::connect_accepted_socket(
        *this, detail::protocol_factory(std::forward<F>(factory), sock), sock, options));
}
template <class F>
auto EventLoop::connect_accepted_socket(F&& factory, OwnedDescriptor sock) {
    return connect_accepted_socket(std::forward<F>(factory), sock, TlsOptions());
}

template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_server(F&& factory,
                                                                std::vector<std::string> hosts,
                                                                int port, ServerOptions options) {
    return detail::create_server(*this,
                                 detail::protocol_factory(std::forward<F>(factory), options.sock),
                                 std::move(hosts), port, options);
}
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_server(F&& factory,
                                                                std::vector<std::string> hosts,
                                                                int port) {
    return create_server(std::forward<F>(factory), std::move(hosts), port, ServerOptions());
}
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_server(F&& factory, std::string_view host,
                                                                int port, ServerOptions options) {
    return create_server(std::forward<F>(factory), detail::one_host(host), port, options);
}
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_server(F&& factory, std::string_view host,
                                                                int port) {
    return create_server(std::forward<F>(factory), host, port, ServerOptions());
}
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_server(F&& factory,
                                                                ServerOptions options) {
    return detail::create_server(
        *this, detail::protocol_factory(std::forward<F>(factory), options.sock), {}, {}, options);
}

template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_unix_server(F&& factory,
                                                                     std::string_view path,
                                                                     UnixServerOptions options) {
    return detail::create_unix_server(
        *this, detail::protocol_factory(std::forward<F>(factory), options.sock), path, options);
}
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> EventLoop::create_unix_server(F&& factory,
                                                                     std::string_view path) {
    return create_unix_server(std::forward<F>(factory), path, UnixServerOptions());
}

}  // namespace v1
}  // namespace asyncio

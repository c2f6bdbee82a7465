// Datagrams, of UDP and of unix sockets: by transport and protocol, as in asyncio (CN-06, TR-11),
// and, beyond it, as an endpoint whose methods are awaited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/identity.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/events.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {

// Of create_datagram_endpoint and open_datagram_endpoint, in CPython's order. CN-06.
struct DatagramOptions {
    // Where to receive: {"127.0.0.1", 9999}, {"", 9999} for every address of this machine; port 0:
    // the system chooses one. Of a unix socket {"/path"}; a socket that a dead program left there
    // is removed.
    HostPort local_addr = {};
    // Where to send, and from where alone to receive; with allow_broadcast only where to send.
    HostPort remote_addr = {};
    int family = 0;                // AF_UNIX for a unix socket; needed where no address is given
    int proto = 0;                 // of the socket; 0: that of UDP
    int flags = 0;                 // of getaddrinfo()
    bool reuse_port = false;       // SO_REUSEPORT: several sockets share the port
    bool allow_broadcast = false;  // SO_BROADCAST
    OwnedDescriptor sock = {};     // a socket that is there already; then nothing of the above
};

// A datagram: what came, and from where.
struct ASYNCIO_API Datagram {
    Datagram() = default;
    explicit Datagram(std::string bytes, const SocketAddress& peer = {})
        : data(std::move(bytes)), address(peer) {}

    std::string data;       // its bytes
    SocketAddress address;  // where it came from or goes to; none: the connected peer
};

namespace detail {

// The options, owned.
struct ASYNCIO_API DatagramRequest {
    struct Address {
        Address() = default;
        explicit Address(const HostPort& address);
        std::string host;
        PortNumber port;
        bool given = false;
    };

    DatagramRequest() = default;
    explicit DatagramRequest(const DatagramOptions& options);

    Socket sock;  // first, so that it is owned before anything else can fail
    bool has_sock = false;
    Address local;
    Address remote;
    int family = 0;
    int proto = 0;
    int flags = 0;
    bool reuse_port = false;
    bool allow_broadcast = false;
};

template <class F>
concept MakesDatagramProtocol = requires(F& factory) {
    typename decltype(factory())::element_type;
    std::shared_ptr<DatagramProtocol>(factory());
};

using DatagramFactory = Function<std::shared_ptr<DatagramProtocol>()>;

ASYNCIO_API Coroutine<DatagramTransport> create_datagram_transport(EventLoop& loop,
                                                                   DatagramRequest request,
                                                                   DatagramFactory factory);

template <class P, class F>
Coroutine<std::pair<DatagramTransport, std::shared_ptr<P>>> create_datagram_pair(
    EventLoop& loop, DatagramRequest request, F factory) {
    std::shared_ptr<P> protocol;
    const auto make = [&]() -> std::shared_ptr<DatagramProtocol> { return protocol = factory(); };
    DatagramFactory erased(make);
    DatagramTransport transport =
        co_await create_datagram_transport(loop, std::move(request), std::move(erased));
    std::pair<DatagramTransport, std::shared_ptr<P>> both(std::move(transport),
                                                          std::move(protocol));
    co_return both;
}

class Endpoint;

}  // namespace detail

// An open socket for datagrams. A cheap shared handle, possibly empty; dropping the last one closes
// the socket. Used on the thread of its loop. Errors that the network reports for what was sent
// (nobody listens there: ConnectionRefusedError) are raised by a later call of a connected
// endpoint.
class ASYNCIO_API DatagramEndpoint {
  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    // An empty handle.
    DatagramEndpoint() noexcept = default;
    DatagramEndpoint(const DatagramEndpoint& other) noexcept;
    DatagramEndpoint(DatagramEndpoint&& other) noexcept
        : endpoint_(detail::take(other.endpoint_)) {}
    DatagramEndpoint& operator=(DatagramEndpoint other) noexcept {
        detail::trade(endpoint_, other.endpoint_);
        return *this;
    }
    ~DatagramEndpoint();
    explicit operator bool() const noexcept { return endpoint_ != nullptr; }

    // The next datagram. Tasks that wait at once are served in turn. What has come besides is taken
    // from the system with it, up to 16 datagrams, and given by the next calls.
    // Raises: OSError; of a datagram too long to be received (256 KiB, unix sockets only) "Message
    // too long"; ConnectionAbortedError once it is closed; RuntimeError if the handle is empty.
    // If cancelled: no datagram is lost.
    Coroutine<Datagram> receive() const;
    // The same for all that are there, at least one and at most `most`.
    // If cancelled: no datagram is lost.
    Coroutine<std::vector<Datagram>> receive_many(std::size_t most = 32) const;

    // Sends to the connected peer, or to `address`, at once or when the system has room. The bytes
    // must stay until then. Raises: as receive().
    // If cancelled: nothing is sent.
    Coroutine<void> send(std::string_view data) const;
    Coroutine<void> send(std::span<const std::byte> data) const;
    Coroutine<void> send_to(std::string_view data, const SocketAddress& address) const;
    Coroutine<void> send_to(std::span<const std::byte> data, const SocketAddress& address) const;
    // Sends all, each to its address, with few system calls.
    // If cancelled: those that had no room yet are not sent.
    Coroutine<void> send_many(std::span<const Datagram> datagrams) const;

    // Closes the socket: who waits gets ConnectionAbortedError. Idempotent.
    // Raises: in debug mode RuntimeError on another thread than its loop's.
    void close() const;
    // True once close() was called.
    bool is_closing() const;
    // -1 once it is closed.
    int fileno() const;
    // Its own address, and its peer's. Raises: OSError.
    SocketAddress getsockname() const;
    SocketAddress getpeername() const;
    // The loop that it belongs to.
    EventLoop& get_loop() const;
    // `<asyncio.DatagramEndpoint fd=7 open>`.
    std::string repr() const;

    // For `with(endpoint, body)`, which closes it.
    DatagramEndpoint& aenter() noexcept { return *this; }
    void aexit(const std::exception_ptr&) const { close(); }

    friend bool operator==(const DatagramEndpoint& a, const DatagramEndpoint& b) noexcept {
        return a.endpoint_ == b.endpoint_;
    }
    const void* id() const noexcept { return endpoint_; }

    // For the library: takes over one count.
    explicit DatagramEndpoint(detail::Endpoint* endpoint) noexcept : endpoint_(endpoint) {}

  private:
    detail::Endpoint& endpoint() const;
    detail::Endpoint* endpoint_ = nullptr;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const DatagramEndpoint& endpoint);

// Opens a socket for datagrams on the running loop.
// Raises: as EventLoop::create_datagram_endpoint.
// If cancelled: the socket is closed.
ASYNCIO_API Coroutine<DatagramEndpoint> open_datagram_endpoint(DatagramOptions options);

template <class F>
auto EventLoop::create_datagram_endpoint(F&& factory, DatagramOptions options) {
    static_assert(detail::kSafeTemporary<F>,
                  "name this callable first (auto f = ...; create_datagram_endpoint(f)): this "
                  "compiler would copy its captures bitwise inside a co_await expression");
    using Factory = std::decay_t<F>;
    if constexpr (detail::MakesDatagramProtocol<Factory>) {
        using P = typename std::invoke_result_t<Factory&>::element_type;
        return detail::create_datagram_pair<P, Factory>(*this, detail::DatagramRequest(options),
                                                        std::forward<F>(factory));
    } else {
        static_assert(
            detail::kRight<F>,
            "the factory gives a std::shared_ptr to a class derived from DatagramProtocol");
        return detail::Refused();
    }
}
template <class F>
    requires detail::GivesPointer<F>
auto EventLoop::create_datagram_endpoint(F&& factory) {
    return create_datagram_endpoint(std::forward<F>(factory), DatagramOptions());
}

}  // namespace v1
}  // namespace asyncio

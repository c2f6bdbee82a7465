// How a connected socket becomes a transport. The contract for whoever builds on it: connections,
// servers, TLS, child processes' pipes that are sockets.
#pragma once

#include <memory>

#include "asyncio/component/io_channels.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A server's client, as a link in its list. Base of SocketTransport.
class ServerClient {
  public:
    virtual TransportBase& as_transport() noexcept = 0;
    ServerClient* previous_client = nullptr;
    ServerClient* following_client = nullptr;

  protected:
    ~ServerClient() = default;
};

// A server, as the transports of its connections see it: a list of them, linked through themselves.
class TransportServer {
  public:
    virtual void attach(ServerClient& client) noexcept = 0;
    // May destroy the server.
    virtual void detach(ServerClient& client) noexcept = 0;

  protected:
    ~TransportServer() = default;
};

struct SocketTransportOptions {
    TransportServer* server = nullptr;    // attached to until the connection is lost
    const SocketAddress* peer = nullptr;  // null: asked of the system
    IoChannel* opened = nullptr;          // open for the descriptor, and handed over
    bool no_delay = true;                 // to set TCP_NODELAY; false: it is set, or no TCP
};

// Makes a transport of a connected stream socket, which is non-blocking (Socket's own are) and is
// taken over, on failure too. `protocol`: a Protocol or a BufferedProtocol. In the next iteration,
// in this order (PR-01): connection_made(), then reading starts, then `waiter` (may be empty) is
// set, unless it was cancelled. All callbacks run in a copy of the current context. The loop keeps
// the transport until connection_lost() has returned. Raises: TypeError for another protocol,
// OSError, RuntimeError if the descriptor is in use or the loop is closed.
Ref<TransportBase> make_socket_transport(EventLoop& loop, Socket socket,
                                         std::shared_ptr<BaseProtocol> protocol,
                                         Future<> waiter = nullptr,
                                         SocketTransportOptions options = {});

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

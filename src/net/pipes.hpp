// How a pipe, a FIFO, a terminal or another character device becomes a transport. For child
// processes and the standard streams as well as for connect_read_pipe and connect_write_pipe.
#pragma once

#include <memory>

#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

enum class PipeKind : unsigned char {
    kAny,   // what epoll can watch, and character devices that are always ready; else ValueError
    kFile,  // regular files too (always ready): the standard streams
    kOwn,   // a pipe of our own making, non-blocking: nothing need be asked
};

// Make a transport of a descriptor, which is taken over, on failure too. In the next iteration:
// connection_made(), then reading starts, then `waiter` (may be empty) is set, unless it was
// cancelled. All callbacks run in a copy of the current context. The loop keeps the transport until
// connection_lost() has returned. `protocol`: a Protocol or a BufferedProtocol to read, any one to
// write. Raises: ValueError for a file of another kind, TypeError for another protocol, OSError,
// RuntimeError if the loop is closed.
Ref<TransportBase> make_read_pipe(EventLoop& loop, Socket pipe,
                                  std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                  PipeKind kind);
Ref<TransportBase> make_write_pipe(EventLoop& loop, Socket pipe,
                                   std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                   PipeKind kind);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

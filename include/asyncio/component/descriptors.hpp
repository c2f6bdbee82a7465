// Descriptors of a component's own, for libraries that open and close theirs themselves.
#pragma once

#include <array>
#include <cstddef>

#include "asyncio/detail/config.hpp"
#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// A socket as socket(2) makes it, close-on-exec, with a number above those of the standard streams,
// even where the program has closed some of those: what it prints would go into the socket. -1 and
// errno if there is none.
ASYNCIO_API int open_socket(int family, int type, int protocol) noexcept;
// close(2): 0, or -1 and errno. The descriptor is closed in either case.
ASYNCIO_API int close_descriptor(int fd) noexcept;

// The address of a socket's peer, and its own. An empty one (no family) if there is none.
ASYNCIO_API SocketAddress peer_address(int fd) noexcept;
ASYNCIO_API SocketAddress own_address(int fd) noexcept;

// Whether there is something to read: data, the end or an error. Does not wait.
ASYNCIO_API bool has_input(int fd) noexcept;

// While it lives, what others open in this thread is above the standard streams, which the program
// may have closed.
class ASYNCIO_API StandardStreamsTaken {
  public:
    StandardStreamsTaken() noexcept;
    StandardStreamsTaken(const StandardStreamsTaken&) = delete;
    StandardStreamsTaken& operator=(const StandardStreamsTaken&) = delete;
    ~StandardStreamsTaken();

  private:
    // One more than there are: the first of the others says that all are taken.
    std::array<int, 4> fds_{};
    std::size_t count_ = 0;
};

}  // namespace component
}  // namespace v1
}  // namespace asyncio

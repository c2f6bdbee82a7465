// Descriptors. What POSIX has is called by its own name (read, fcntl, poll...), and its headers
// come from here; what only some systems have is a function.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// F_DUPFD_CLOEXEC of fcntl(2): another number for the same, above the standard ones. -1 and errno
// if there is none.
int duplicate(int fd) noexcept;
// pipe2(2): the end to read and the end to write, close-on-exec and above the standard ones.
// Raises: the OSError of errno; then nothing is left open.
void open_pipe(int (&ends)[2]);

// A descriptor of our own for standard stream `fd`, above the standard ones. With an open file of
// its own, which is O_NONBLOCK without the stream being so, where that is the same thing: for a
// FIFO or a terminal. Raises: the OSError of errno.
int open_again(int fd);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

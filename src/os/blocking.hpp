// Whether calls on a descriptor wait: O_NONBLOCK of fcntl(2). It belongs to the open file, which
// other processes may share.
#pragma once

#include <fcntl.h>

#include "os/posix.hpp"
#include "os/simulated.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// False if it is no descriptor.
inline bool is_blocking(int fd) noexcept {
    if (simulated(fd)) return false;
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) == 0;
}

// Returns whether it did wait. Raises: OSError.
inline bool make_non_blocking(int fd) {
    if (simulated(fd)) return false;
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) fail();
    if ((flags & O_NONBLOCK) != 0) return false;
    if (::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) fail();
    return true;
}

inline void make_blocking(int fd) noexcept {
    if (simulated(fd)) return;
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags >= 0) ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

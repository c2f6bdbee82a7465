#include "os/descriptors.hpp"

#include <cerrno>

namespace asyncio {
inline namespace v1 {
namespace detail {

int duplicate(int fd) noexcept { return ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstOwn); }

void open_pipe(int (&ends)[2]) {
    if (::pipe2(ends, O_CLOEXEC) != 0) fail();
    for (int& end : ends) end = above_standard(end);
    if (ends[0] >= 0 && ends[1] >= 0) return;
    const int error = errno;
    for (const int end : ends) {
        if (end >= 0) ::close(end);
    }
    errno = error;
    fail();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "os/descriptors.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string>

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

namespace {

// Whether opening it once more gives the same thing. Not so for a file, whose position would be
// another, for a socket, and for /dev/ptmx, which gives a new terminal each time.
bool can_be_opened_again(int fd) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) fail();
    if (S_ISFIFO(info.st_mode)) return true;
    return S_ISCHR(info.st_mode) && info.st_rdev != makedev(5, 2);
}

}  // namespace

int open_again(int fd) {
    if (can_be_opened_again(fd)) {
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        const int direction = fd == 0 ? O_RDONLY : O_WRONLY;
        const int again =
            above_standard(::open(path.c_str(), direction | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        if (again >= 0) return again;
    }
    const int copy = duplicate(fd);
    if (copy < 0) fail();
    return copy;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

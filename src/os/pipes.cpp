#include "os/pipes.hpp"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>

#include "os/posix.hpp"
#include "os/sigpipe.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

FileKind kind_of(int fd) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) fail();
    switch (info.st_mode & S_IFMT) {
        case S_IFIFO:
            return FileKind::kPipe;
        case S_IFSOCK:
            return FileKind::kSocket;
        case S_IFCHR:
            return FileKind::kDevice;
        case S_IFREG:
            return FileKind::kRegular;
        default:
            return FileKind::kOther;
    }
}

bool peer_is_gone(int fd) noexcept {
    pollfd state{fd, POLLRDHUP, 0};
    ::poll(&state, 1, 0);
    return (state.revents & (POLLERR | POLLHUP | POLLRDHUP | POLLNVAL)) != 0;
}

// ---- writing without SIGPIPE --------------------------------------------------------------------

namespace {

#ifdef RWF_NOSIGNAL
constexpr int kNoSignal = RWF_NOSIGNAL;
#else
constexpr int kNoSignal = 0x100;  // Linux 6.18
#endif
std::atomic<bool> have_no_signal{true};

}  // namespace

long write_with_signal_blocked(int fd, std::string_view data) noexcept {
    return without_sigpipe([&] { return ::write(fd, data.data(), data.size()); });
}

long write_quietly(int fd, std::string_view data) noexcept {
    if (have_no_signal.load(std::memory_order_relaxed)) {
        // Safe because writing does not write to it.
        const iovec vector{const_cast<char*>(data.data()), data.size()};
        const long n = ::pwritev2(fd, &vector, 1, -1, kNoSignal);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) return n;
        have_no_signal.store(false, std::memory_order_relaxed);
    }
    return write_with_signal_blocked(fd, data);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "os/posix.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <utility>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void fail() { std::rethrow_exception(make_os_error(errno)); }

int above_standard(int fd) noexcept {
    if (fd < 0 || fd >= kFirstOwn) [[likely]]
        return fd;
    const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstOwn);
    const int error = errno;
    ::close(fd);
    errno = error;
    return moved;
}

int checked(int fd) {
    fd = above_standard(fd);
    if (fd < 0) fail();
    return fd;
}

void Descriptor::close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

WakeEvent::WakeEvent() : event_(checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))) {}

void WakeEvent::wake() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(event_.get(), &one, sizeof one);
}

std::int64_t monotonic_ns() noexcept {
    timespec t;
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

namespace {
constexpr std::align_val_t kPage{4096};
}

void FreePages::operator()(char* memory) const noexcept { ::operator delete(memory, kPage); }

Pages make_pages(std::size_t bytes) {
    return Pages(static_cast<char*>(::operator new(bytes, kPage)));
}

namespace {

// Calls it again while signals interrupt it.
template <class Call>
Transferred uninterrupted(Call call) noexcept {
    ssize_t n;
    do {
        n = call();
    } while (n < 0 && errno == EINTR);
    if (n < 0) return {0, errno};
    return {static_cast<std::size_t>(n), 0};
}

// Raises no signal, and never waits: another process that shares the descriptor may have made it a
// blocking one.
constexpr int kQuietly = MSG_NOSIGNAL | MSG_DONTWAIT;
constexpr std::size_t kMostPieces = 64;  // of a send: more are not worth their stack

}  // namespace

Transferred receive_some(int fd, std::span<char> memory) noexcept {
    return uninterrupted([&] { return ::recv(fd, memory.data(), memory.size(), MSG_DONTWAIT); });
}

Transferred send_some(int fd, std::string_view data) noexcept {
    return uninterrupted([&] { return ::send(fd, data.data(), data.size(), kQuietly); });
}

Transferred send_some(int fd, std::span<const std::string_view> pieces,
                      std::size_t& wanted) noexcept {
    iovec vectors[kMostPieces];
    const std::size_t count = std::min(pieces.size(), kMostPieces);
    wanted = 0;
    for (std::size_t i = 0; i < count; ++i) {
        // Safe because sending does not write to it.
        vectors[i] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
        wanted += pieces[i].size();
    }
    msghdr message{};
    message.msg_iov = vectors;
    message.msg_iovlen = count;
    return uninterrupted([&] { return ::sendmsg(fd, &message, kQuietly); });
}

int accept_one(int fd, SocketAddress& from) noexcept {
    sockaddr_storage name;
    socklen_t size = sizeof name;
    // Safe because the system writes a sockaddr of whatever family into that storage.
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    const int accepted =
        above_standard(::accept4(fd, address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted < 0) return -errno;
    from = SocketAddress::from(&name, size);
    return accepted;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

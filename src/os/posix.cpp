#include "os/posix.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

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

void allow_tracing() noexcept { ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); }

const char* environment_if_safe(const char* name) noexcept { return ::secure_getenv(name); }

namespace {
constexpr std::align_val_t kPage{4096};
}

void FreePages::operator()(char* memory) const noexcept { ::operator delete(memory, kPage); }

Pages make_pages(std::size_t bytes) {
    return Pages(static_cast<char*>(::operator new(bytes, kPage)));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// epoll(7), with deadlines in nanoseconds by epoll_pwait2(2), and an eventfd(2) for other threads.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "asyncio/exceptions.hpp"
#include "backend/backend.hpp"

namespace asyncio::inline v1::detail {
namespace {

[[noreturn]] void fail(const char* what) { std::rethrow_exception(make_os_error(errno, what)); }

class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const noexcept { return fd_; }

  private:
    int fd_;
};

int checked(int fd, const char* what) {
    if (fd < 0) fail(what);
    return fd;
}

class EpollBackend final : public Backend {
  public:
    EpollBackend()
        : epoll_(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
          event_(checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
        epoll_event e{};
        e.events = EPOLLIN | EPOLLET;
        e.data.ptr = nullptr;  // null: the eventfd
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_.get(), &e) != 0) fail("epoll_ctl");
    }

    void wait(std::int64_t timeout, NodeQueue&) override {
        epoll_event events[64];
        if (wait_for_events(events, 64, timeout) < 0 && errno != EINTR) fail("epoll_wait");
    }

    // Edge-triggered: each write is one event, and nobody need read the counter (which a program
    // would have to wake 2^64 times to fill).
    void wake() noexcept override {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t n = ::write(event_.get(), &one, sizeof one);
    }

    std::int64_t now() noexcept override {
        timespec t;
        ::clock_gettime(CLOCK_MONOTONIC, &t);
        return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
    }

    bool watches() const noexcept override { return watched_ > 0; }
    const char* name() const noexcept override { return "epoll"; }
    const char* class_name() const noexcept override { return "EpollEventLoop"; }

  private:
    int wait_for_events(epoll_event* events, int size, std::int64_t timeout) noexcept {
        if (timeout == 0 || timeout == kForever || !have_pwait2_) {
            return ::epoll_wait(epoll_.get(), events, size, milliseconds(timeout));
        }
        timespec t;
        t.tv_sec = static_cast<time_t>(timeout / 1'000'000'000);
        t.tv_nsec = static_cast<long>(timeout % 1'000'000'000);
        const int n = ::epoll_pwait2(epoll_.get(), events, size, &t, nullptr);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
        have_pwait2_ = false;  // an old kernel or a filter: whole milliseconds, rounded up
        return ::epoll_wait(epoll_.get(), events, size, milliseconds(timeout));
    }

    static int milliseconds(std::int64_t ns) noexcept {
        if (ns <= 0) return static_cast<int>(ns);
        const std::int64_t ms = ns / 1'000'000 + (ns % 1'000'000 != 0);
        return static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
    }

    Descriptor epoll_;
    Descriptor event_;
    std::size_t watched_ = 0;
    bool have_pwait2_ = true;
};

}  // namespace

std::unique_ptr<Backend> make_epoll_backend() { return std::make_unique<EpollBackend>(); }

}  // namespace asyncio::inline v1::detail

// epoll(7), with deadlines in nanoseconds by epoll_pwait2(2), and an eventfd(2) for other threads.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "backend/backend.hpp"

namespace asyncio::inline v1::detail {
namespace {

[[noreturn]] void fail() { std::rethrow_exception(make_os_error(errno)); }

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

int checked(int fd) {
    if (fd < 0) fail();
    return fd;
}

class EpollBackend final : public Backend {
  public:
    EpollBackend()
        : epoll_(checked(::epoll_create1(EPOLL_CLOEXEC))),
          event_(checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))) {
        epoll_event e{};
        e.events = EPOLLIN | EPOLLET;
        e.data.ptr = nullptr;  // null: the eventfd
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_.get(), &e) != 0) fail();
    }

    void wait(std::int64_t timeout, NodeQueue& ready) override {
        epoll_event events[256];
        const int n = wait_for_events(events, 256, timeout);
        if (n < 0 && errno != EINTR) fail();
        for (int i = 0; i < n; ++i) queue(events[i], ready);
    }

    void watch(int fd, Node* on_read, Node* on_write) override {
        if (fd < 0) throw ValueError("Invalid file descriptor: " + std::to_string(fd));
        const auto i = static_cast<std::size_t>(fd);
        if (i >= watches_.size()) watches_.resize(i + 1);
        std::unique_ptr<Watch>& w = watches_[i];
        const bool known = w != nullptr;
        if (!on_read && !on_write) {
            if (!known) return;
            // Fails if the descriptor was closed first, which has removed it too.
            ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
            w.reset();
            --watched_;
            return;
        }
        if (!known) w = std::make_unique<Watch>();
        epoll_event e{};
        e.events = (on_read ? EPOLLIN : 0u) | (on_write ? EPOLLOUT : 0u);
        e.data.ptr = w.get();
        if (!change(fd, e, known)) {
            const int error = errno;
            if (!known) w.reset();
            errno = error;
            fail();
        }
        if (!known) ++watched_;
        w->on_read = on_read;
        w->on_write = on_write;
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
    struct Watch {
        Node* on_read = nullptr;
        Node* on_write = nullptr;
    };

    // Errors and hang-ups wake both directions, as selectors.EpollSelector has it: whoever is there
    // finds out by the call that fails.
    static void queue(const epoll_event& e, NodeQueue& ready) noexcept {
        if (e.data.ptr == nullptr) return;  // the eventfd: somebody has called wake()
        const auto& w = *static_cast<const Watch*>(e.data.ptr);
        if (e.events & ~std::uint32_t{EPOLLOUT}) push(w.on_read, ready);
        if (e.events & ~std::uint32_t{EPOLLIN}) push(w.on_write, ready);
    }
    static void push(Node* n, NodeQueue& ready) noexcept {
        if (!n) return;
        n->queued();
        ready.push(n);
    }

    // A descriptor that was closed and opened again is unknown to the kernel, though not to us.
    bool change(int fd, epoll_event& e, bool known) noexcept {
        if (known && ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &e) == 0) return true;
        if (known && errno != ENOENT) return false;
        return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0;
    }

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
    std::vector<std::unique_ptr<Watch>> watches_;  // by descriptor
    std::size_t watched_ = 0;
    bool have_pwait2_ = true;
};

}  // namespace

std::unique_ptr<Backend> make_epoll_backend() { return std::make_unique<EpollBackend>(); }

}  // namespace asyncio::inline v1::detail

// epoll(7), with deadlines in nanoseconds by epoll_pwait2(2), and an eventfd(2) for other threads.
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "backend/backend.hpp"
#include "backend/datagrams.hpp"
#include "os/posix.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class EpollBackend final : public Backend {
  public:
    EpollBackend() : epoll_(checked(::epoll_create1(EPOLL_CLOEXEC))) {
        if (!add_eventfd(epoll_.get())) fail();
    }

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        epoll_event events[256];
        const int n = wait_for_events(events, 256, timeout);
        if (n < 0 && errno != EINTR) fail();
        bool stale = n > 0;
        for (int i = 0; i < n; ++i) stale &= !queue(events[i], ready);
        stale_waits_ = stale ? stale_waits_ + 1 : 0;
        if (stale_waits_ >= kMostStaleWaits) [[unlikely]]
            renew();
    }

    void watch(int fd, Node* on_read, Node* on_write) override {
        if (fd < 0) throw ValueError("Invalid file descriptor: " + std::to_string(fd));
        if (!on_read && !on_write) {
            if (!is_watched(fd)) return;
            // Fails if the descriptor was closed first, which has removed it too.
            ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
            forget(entries_[static_cast<std::size_t>(fd)]);
            return;
        }
        Entry& entry = entry_of(fd);
        const bool known = entry.on_read || entry.on_write;
        const std::uint32_t events = (on_read ? EPOLLIN : 0u) | (on_write ? EPOLLOUT : 0u);
        if (!change(fd, entry, events, known)) {
            const int error = errno;
            // As CPython's selectors: nothing of it is watched any more.
            if (known) forget(entry);
            errno = error;
            fail();
        }
        if (!known) ++watched_;
        entry.on_read = on_read;
        entry.on_write = on_write;
    }

    void open(IoChannel& channel, int fd, ChannelKind) override {
        if (!memory_) memory_ = make_pages(kReceive);
        Entry& entry = entry_of(fd);
        if (!add_anew(fd, entry, kChannelEvents)) fail();
        entry.channel = &channel;
        state_of(channel).fd = fd;
        ++watched_;
    }

    void hand_over(IoChannel& from, IoChannel& to, ChannelKind) noexcept override {
        entries_[static_cast<std::size_t>(state_of(from).fd)].channel = &to;
        state_of(to).fd = std::exchange(state_of(from).fd, -1);
        state_of(to).readable = state_of(from).readable;
        state_of(to).hung_up = state_of(from).hung_up;
    }

    void close(IoChannel& channel) noexcept override {
        if (state_of(channel).fd < 0) return;
        Entry& entry = entries_[static_cast<std::size_t>(state_of(channel).fd)];
        state_of(channel).fd = -1;
        // Not that of another channel, if somebody has closed the descriptor and its number was
        // given to a new one.
        if (entry.channel == &channel) forget(entry);
    }

    IoChannel* channel_of(int fd) const noexcept override {
        const auto i = static_cast<std::size_t>(fd);
        return fd >= 0 && i < entries_.size() ? entries_[i].channel : nullptr;
    }

    void close_channels() noexcept override {
        // By index, since a log handler that it calls may do anything.
        // NOLINTNEXTLINE(modernize-loop-convert)
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (IoChannel* c = entries_[i].channel) c->loop_closed();
        }
    }

    void await_room(IoChannel& channel) noexcept override { state_of(channel).awaits_room = true; }

    Received receive(IoChannel& channel, std::size_t most) noexcept override {
        const Transferred t = receive_into(channel, {memory_.get(), most});
        return {memory_.get(), t.size, t.error};
    }

    // A stream that gives less than it was asked for is empty, and the next byte makes an event;
    // its end only makes one once (RDHUP, seen before), so then it must be read again.
    Transferred receive_into(IoChannel& channel, std::span<char> memory) noexcept override {
        called_ = true;
        const Transferred t = receive_some(state_of(channel).fd, memory);
        if (t.error != 0 || (t.size < memory.size() && !state_of(channel).hung_up))
            state_of(channel).readable = false;
        return t;
    }

    Transferred send(IoChannel& channel, std::string_view data) noexcept override {
        return sent(channel, send_some(state_of(channel).fd, data), data.size());
    }
    Transferred send(IoChannel& channel,
                     std::span<const std::string_view> pieces) noexcept override {
        std::size_t wanted = 0;
        const Transferred t = send_some(state_of(channel).fd, pieces, wanted);
        return sent(channel, t, wanted);
    }

    // Fewer than were asked for: the socket is empty. But an error that waits is not always told
    // again by an event: it is gone only once a receive finds nothing.
    ReceivedDatagrams receive_datagrams(IoChannel& channel, DatagramRoom& room, bool internet,
                                        std::size_t most) noexcept override {
        called_ = true;
        const ReceivedDatagrams got = room.receive(state_of(channel).fd, internet, most);
        const bool empty = got.error == EAGAIN || (got.datagrams.size() < room.asked() &&
                                                   got.error == 0 && !state_of(channel).hung_up);
        if (empty) state_of(channel).readable = false;
        if (got.error == EAGAIN) state_of(channel).hung_up = false;
        return got;
    }

    Transferred send_datagrams(IoChannel& channel,
                               std::span<const DatagramToSend> datagrams) noexcept override {
        const int n = detail::send_datagrams(state_of(channel).fd, datagrams);
        if (n == -EAGAIN) await_room(channel);
        if (n < 0) return {0, -n};
        return {static_cast<std::size_t>(n), 0};
    }

    int accept(IoChannel& channel, SocketAddress& from) noexcept override {
        called_ = true;
        const int fd = accept_one(state_of(channel).fd, from);
        if (fd == -EAGAIN) state_of(channel).readable = false;
        return fd;
    }

    void wake() noexcept override { event_.wake(); }
    // The calls that follow find no descriptor, and fail.
    void leave_to_parent() noexcept override {
        epoll_.close();
        event_.close();
    }
    std::int64_t now() noexcept override { return monotonic_ns(); }

    bool watches() const noexcept override { return watched_ > 0; }
    const char* name() const noexcept override { return "epoll"; }
    const char* class_name() const noexcept override { return "EpollEventLoop"; }

  private:
    // What is known of a descriptor: a channel, or the nodes of add_reader and add_writer.
    struct Entry {
        IoChannel* channel = nullptr;
        Node* on_read = nullptr;
        Node* on_write = nullptr;
        std::uint32_t generation = 0;  // of its registration
    };
    static constexpr std::uint64_t kEventfd = ~std::uint64_t{0};

    static constexpr std::uint32_t kChannelEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

    bool is_watched(int fd) const noexcept {
        const auto i = static_cast<std::size_t>(fd);
        return i < entries_.size() && (entries_[i].on_read || entries_[i].on_write);
    }
    // Raises: OSError for what is no descriptor, rather than set memory aside for its number.
    Entry& entry_of(int fd) {
        const auto i = static_cast<std::size_t>(fd);
        if (i >= entries_.size() && ::fcntl(fd, F_GETFD) < 0) fail();
        if (i >= entries_.size()) entries_.resize(std::max(i + 1, entries_.size() * 2));
        return entries_[i];
    }
    void forget(Entry& entry) noexcept {
        entry = {.generation = entry.generation};
        --watched_;
    }
    // What an event carries. One of an earlier registration, which a copy of its descriptor keeps
    // alive, has another generation and is ignored.
    static std::uint64_t name_of(int fd, std::uint32_t generation) noexcept {
        return std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
    }
    static std::uint64_t name_anew(int fd, Entry& entry) noexcept {
        return name_of(fd, ++entry.generation);
    }

    // Returns false for an event that is nobody's.
    bool queue(const epoll_event& e, ReadyQueue& ready) noexcept {
        if (e.data.u64 == kEventfd) return true;  // somebody has called wake()
        const auto fd = static_cast<std::size_t>(e.data.u64 & 0xffffffff);
        const Entry& entry = entries_[fd];
        if (entry.generation != e.data.u64 >> 32) return false;
        if (entry.channel) {
            queue_channel(*entry.channel, e.events, ready);
            return true;
        }
        // Errors and hang-ups wake both directions, as selectors.EpollSelector has it: whoever is
        // there finds out by the call that fails.
        if (e.events & ~std::uint32_t{EPOLLOUT}) push(entry.on_read, ready);
        if (e.events & ~std::uint32_t{EPOLLIN}) push(entry.on_write, ready);
        return entry.on_read || entry.on_write;
    }
    void push(Node* n, ReadyQueue& ready) noexcept {
        if (!n) return;
        called_ = true;
        if (n->queued()) ready.push(n);
    }
    static void queue_channel(IoChannel& channel, std::uint32_t events,
                              ReadyQueue& ready) noexcept {
        if (events & ~std::uint32_t{EPOLLOUT}) {
            state_of(channel).readable = true;
            if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) state_of(channel).hung_up = true;
            if (state_of(channel).wants_read) queue_read(channel, ready);
        }
        if (state_of(channel).awaits_room && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
            state_of(channel).awaits_room = false;
            queue_write(channel, ready);
        }
    }

    static Transferred sent(IoChannel& channel, Transferred t, std::size_t wanted) noexcept {
        if (t.size < wanted && (t.error == 0 || t.error == EAGAIN))
            state_of(channel).awaits_room = true;
        return t;
    }

    static bool add(int epoll, int fd, std::uint32_t events, std::uint64_t name) noexcept {
        epoll_event e{};
        e.events = events;
        e.data.u64 = name;
        return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
    }
    bool add_eventfd(int epoll) noexcept {
        return add(epoll, event_.fd(), EPOLLIN | EPOLLET, kEventfd);
    }
    bool change(int fd, Entry& entry, std::uint32_t events, bool known) noexcept {
        if (known) {
            epoll_event e{};
            e.events = events;
            e.data.u64 = name_of(fd, entry.generation);
            if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &e) == 0) return true;
            if (errno != ENOENT) return false;
            // It was closed and opened again: the kernel does not know it, though we do.
        }
        return add_anew(fd, entry, events);
    }
    bool add_anew(int fd, Entry& entry, std::uint32_t events) noexcept {
        const std::uint64_t name = name_anew(fd, entry);
        if (add(epoll_.get(), fd, events, name)) return true;
        if (errno != EEXIST || entry.channel) return false;
        // It was closed too early, and a copy has got its number: the kernel knows it still.
        epoll_event e{};
        e.events = events;
        e.data.u64 = name;
        return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &e) == 0;
    }

    // Somebody has closed a watched descriptor before it was removed, and a copy of it lives: the
    // kernel goes on to report it and, without that descriptor, does not let it be removed. If
    // waits give nothing else the loop would spin: the list is made anew from what is known here.
    // Where that cannot be done it is tried again later.
    void renew() noexcept {
        stale_waits_ = 0;
        const int fresh = above_standard(::epoll_create1(EPOLL_CLOEXEC));
        if (fresh < 0) return;
        bool all = add_eventfd(fresh);
        for (std::size_t i = 0; i < entries_.size() && all; ++i) {
            const Entry& e = entries_[i];
            const int fd = static_cast<int>(i);
            const std::uint32_t events =
                e.channel ? kChannelEvents
                          : (e.on_read ? EPOLLIN : 0u) | (e.on_write ? EPOLLOUT : 0u);
            // One that was closed is not reported by the new list.
            if (events != 0 && !add(fresh, fd, events, name_of(fd, e.generation))) {
                all = errno == EBADF || errno == EPERM;
            }
        }
        if (!all) {
            ::close(fresh);
        } else {
            epoll_.replace(fresh);
        }
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
    WakeEvent event_;
    std::vector<Entry> entries_;  // by descriptor
    Pages memory_;                // what receive() fills: one for all, made with the first
    std::size_t watched_ = 0;
    unsigned stale_waits_ = 0;  // so many in a row gave events of nobody only
    static constexpr unsigned kMostStaleWaits = 16;
    bool have_pwait2_ = true;
};

std::unique_ptr<Backend> make_epoll_backend() { return std::make_unique<EpollBackend>(); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// io_uring(7): the same interface as epoll's, with completions where they save a call.
//
// Reading: each stream has one multishot receive in flight, into buffers that the system picks as
// data comes, so that an idle connection owns none; one that sends much is polled, and received
// from by recv(2). What has come waits in the descriptor's `Incoming`: in the system's buffers
// while its owner reads, copied while it does not (so that a paused connection holds none of them
// either), and at kMostStashed the receive is cancelled until the owner reads again: back pressure.
// Nothing that was received is ever dropped.
//
// Sending is tried at once, by send(2), as on epoll: measured, a batch of sends is no cheaper here
// than the copies and completions that it takes. Listening sockets and what connects are
// polled, and their owners make the call.
//
// Names of operations carry the descriptor and its registration's generation. Before a descriptor
// is closed what is in flight on it is cancelled, synchronously, since an operation keeps the file
// open; completions of an earlier generation only give their buffer back.
//
// Threads: an entry's flags say what is to be in flight. It is, while this thread may use the ring;
// what is asked for on another thread, or while the system refuses a ring, is only noted, and
// begins with the next wait, which takes the ring. So only a wait can fail for want of descriptors
// or memory, and what cannot be cancelled from here is ended by giving the whole ring up. The
// kernel cancels what a thread that ends has in flight: that is begun again.
#include "backend/datagrams.hpp"
#include "backend/ring.hpp"
#include "os/posix.hpp"
#include "os/sockets.hpp"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "backend/backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

enum class Operation : std::uint32_t { kWake, kReceive, kPoll, kPollIn, kPollOut, kIgnored };

constexpr std::uint32_t kGenerations = 0x0fffffff;

struct Name {
    Operation operation;
    std::uint32_t generation;
    int fd;

    std::uint64_t bits() const noexcept {
        return std::uint64_t{static_cast<std::uint32_t>(operation)} << 60 |
               std::uint64_t{generation & kGenerations} << 32 | static_cast<std::uint32_t>(fd);
    }
    static Name of(std::uint64_t bits) noexcept {
        return {static_cast<Operation>(bits >> 60),
                static_cast<std::uint32_t>(bits >> 32) & kGenerations,
                static_cast<int>(static_cast<std::uint32_t>(bits))};
    }
};

// What a stream has received and nobody has read.
struct Incoming {
    struct Piece {
        unsigned buffer;
        std::size_t size;
    };
    std::string stash;  // copied; before the pieces
    std::size_t stash_begin = 0;
    std::vector<Piece> pieces;
    std::size_t piece = 0;  // the first that is left
    std::size_t piece_begin = 0;
    bool end = false;
    int error = 0;

    bool has_stash() const noexcept { return stash_begin < stash.size(); }
    bool has_piece() const noexcept { return piece < pieces.size(); }
    bool has_data() const noexcept { return has_stash() || has_piece(); }
    bool over() const noexcept { return end || error != 0; }
};

}  // namespace

class UringBackend final : public Backend {
  public:
    explicit UringBackend(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {
        spare_.reserve(kMostSpare);
    }
    ~UringBackend() override = default;

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        ready.prepend(moved_);
        take_over();
        ready.prepend(moved_);
        if (!ready.empty()) timeout = 0;
        arm_again();
        give_back_delivered();
        const int error = ring_->submit_and_wait(with_slack(timeout));
        if (error != 0 && error != -EINTR && error != -ETIME && error != -EAGAIN &&
            error != -EBUSY) {
            std::rethrow_exception(make_os_error(-error));
        }
        ring_->take_completions([&](const io_uring_cqe& c) { complete(c, ready); });
        feed_starved();
    }

    void watch(int fd, Node* on_read, Node* on_write) override {
        if (fd < 0) throw ValueError("Invalid file descriptor: " + std::to_string(fd));
        if (!on_read && !on_write && !is_watched(fd)) return;
        if (on_read || on_write) check_watchable(fd);
        Entry& entry = entry_of(fd);
        if (entry.channel) fail_with(EEXIST);  // it is about to close: as epoll has it
        if (!entry.on_read && !entry.on_write) {
            make_room(again_, 2 * (watched_ + 1));
            ++entry.generation;
            ++watched_;
        }
        // Another node for the same may be one for another file: the descriptor was closed, and its
        // number given to a new one.
        const bool read_ends = entry.polls_in && on_read != entry.on_read;
        const bool write_ends = entry.polls_out && on_write != entry.on_write;
        entry.on_read = on_read;
        entry.on_write = on_write;
        if (read_ends || write_ends) cancel(fd, entry);
        if (on_read && !entry.polls_in) poll_in(fd, entry);
        if (on_write && !entry.polls_out) poll_out(fd, entry);
        if (!on_read && !on_write) forget(entry);
    }

    void open(IoChannel& channel, int fd, ChannelKind kind) override {
        check_pollable(fd);
        Entry& entry = entry_of(fd);
        if (entry.channel) fail_with(EEXIST);
        make_room(starved_, watched_ + 1);
        ++entry.generation;
        ++watched_;
        entry.channel = &channel;
        entry.kind = kind;
        state_of(channel).fd = fd;
        begin(fd, entry);
    }

    void hand_over(IoChannel& from, IoChannel& to, ChannelKind kind) noexcept override {
        const int fd = state_of(to).fd = std::exchange(state_of(from).fd, -1);
        Entry& entry = entries_[static_cast<std::size_t>(fd)];
        entry.channel = &to;
        state_of(to).readable = state_of(from).readable;
        state_of(to).hung_up = state_of(from).hung_up;
        state_of(to).has_much = state_of(from).has_much;
        if (entry.kind == kind) return;
        cancel(fd, entry);
        entry.kind = kind;
        begin(fd, entry);
    }

    void close(IoChannel& channel) noexcept override {
        if (state_of(channel).fd < 0) return;
        Entry& entry = entries_[static_cast<std::size_t>(state_of(channel).fd)];
        cancel(state_of(channel).fd, entry);
        if (entry.incoming) drop(*entry.incoming);
        forget(entry);
        state_of(channel).fd = -1;
    }

    IoChannel* channel_of(int fd) const noexcept override {
        const auto i = static_cast<std::size_t>(fd);
        return fd >= 0 && i < entries_.size() ? entries_[i].channel : nullptr;
    }

    void close_channels() noexcept override {
        closing_ = true;
        while (!moved_.empty()) moved_.pop()->drop();
        // By index, since a log handler that it calls may do anything.
        // NOLINTNEXTLINE(modernize-loop-convert)
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (IoChannel* c = entries_[i].channel) c->loop_closed();
        }
    }

    void await_room(IoChannel& channel) noexcept override {
        state_of(channel).awaits_room = true;
        Entry& entry = entries_[static_cast<std::size_t>(state_of(channel).fd)];
        if (!entry.polls_out) poll_out(state_of(channel).fd, entry);
    }

    Received receive(IoChannel& channel, std::size_t most) noexcept override {
        Entry& entry = entries_[static_cast<std::size_t>(state_of(channel).fd)];
        give_back_delivered();
        if (!entry.incoming && entry.bulk && !entry.receives) {
            const Transferred t = receive_bulk(channel, entry, {memory_.get(), most});
            return {memory_.get(), t.size, t.error};
        }
        if (!entry.incoming) return {nullptr, 0, none_there(channel, entry)};
        Incoming& in = *entry.incoming;
        if (in.has_stash()) {
            delivered_stash_ = std::exchange(in.stash, std::string());
            const std::size_t begin = std::exchange(in.stash_begin, 0);
            return delivered(channel, entry,
                             {delivered_stash_.data() + begin, delivered_stash_.size() - begin, 0});
        }
        if (in.has_piece()) {
            const Incoming::Piece p = in.pieces[in.piece++];
            const std::size_t begin = std::exchange(in.piece_begin, 0);
            delivered_ = static_cast<int>(p.buffer);
            return delivered(channel, entry, {ring_->buffer(p.buffer) + begin, p.size - begin, 0});
        }
        return {nullptr, 0, ended(entry)};
    }

    Transferred receive_into(IoChannel& channel, std::span<char> memory) noexcept override {
        Entry& entry = entries_[static_cast<std::size_t>(state_of(channel).fd)];
        if (!entry.incoming && entry.bulk && !entry.receives) {
            return receive_bulk(channel, entry, memory);
        }
        if (!entry.incoming) return {0, none_there(channel, entry)};
        Incoming& in = *entry.incoming;
        std::size_t n = 0;
        if (in.has_stash()) {
            n = in.stash.copy(memory.data(), memory.size(), in.stash_begin);
            in.stash_begin += n;
        } else if (in.has_piece()) {
            n = copy_piece(in, memory);
        } else {
            return {0, ended(entry)};
        }
        return {delivered(channel, entry, {memory.data(), n, 0}).size, 0};
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

    // As on epoll: the system tells that something has come, and recvmmsg(2) takes it.
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
    void leave_to_parent() noexcept override {
        ring_->leave_to_parent();
        event_.close();
    }
    std::int64_t now() noexcept override { return monotonic_ns(); }
    bool watches() const noexcept override { return watched_ > 0; }
    const char* name() const noexcept override { return "io_uring"; }
    const char* class_name() const noexcept override { return "UringEventLoop"; }

  private:
    // What is known of a descriptor: a channel, or the nodes of add_reader and add_writer.
    struct Entry {
        IoChannel* channel = nullptr;
        Node* on_read = nullptr;
        Node* on_write = nullptr;
        std::unique_ptr<Incoming> incoming;  // while there is something
        std::uint32_t generation = 0;        // of its registration
        ChannelKind kind = ChannelKind::kStream;
        // What is in flight.
        bool receives = false;
        bool cancels = false;  // the receive is about to end
        bool bulk = false;     // see limit()
        bool polls = false;
        bool polls_in = false;
        bool polls_out = false;
        bool broken =
            false;  // there was no memory for what had come: ENOMEM, once the rest is read

        bool in_flight() const noexcept { return receives || polls || polls_in || polls_out; }
    };
    struct NameOf : Name {
        NameOf(Operation operation, const Entry& entry, int fd) noexcept
            : Name{operation, entry.generation & kGenerations, fd} {}
    };
    // A poll of add_reader or add_writer that has fired: level-triggered, so it is made again.
    struct Again {
        int fd;
        std::uint32_t generation;
        bool write;
    };
    static constexpr std::size_t kMostStashed = std::size_t{64} * 1024;
    static constexpr std::size_t kMostSpare = 256;
    static constexpr std::size_t kMostPieces = 4;                  // unread
    static constexpr std::size_t kLittle = Ring::kBufferSize / 4;  // bytes

    // Room for `n` without another allocation.
    template <class T>
    static void make_room(std::vector<T>& v, std::size_t n) {
        if (v.capacity() < n) v.reserve(2 * n);
    }
    bool is_watched(int fd) const noexcept {
        const auto i = static_cast<std::size_t>(fd);
        return i < entries_.size() && (entries_[i].on_read || entries_[i].on_write);
    }
    Entry& entry_of(int fd) {
        const auto i = static_cast<std::size_t>(fd);
        if (i >= entries_.size()) entries_.resize(std::max(i + 1, entries_.size() * 2));
        return entries_[i];
    }
    void forget(Entry& entry) noexcept {
        const std::uint32_t generation = entry.generation;
        entry = Entry();
        entry.generation = generation + 1;
        --watched_;
    }

    [[noreturn]] static void fail_with(int error) {
        errno = error;
        fail();
    }

    // As epoll refuses them: what is always ready cannot be waited for. Raises: OSError.
    static void check_pollable(int fd) {
        struct stat s;
        if (::fstat(fd, &s) != 0) fail();
        if (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode)) fail_with(EPERM);
    }

    // The same for a descriptor that may be watched already: then it is forgotten.
    void check_watchable(int fd) {
        try {
            check_pollable(fd);
        } catch (const OSError&) {
            if (is_watched(fd)) {
                Entry& entry = entries_[static_cast<std::size_t>(fd)];
                cancel(fd, entry);
                forget(entry);
            }
            throw;
        }
    }

    // How late a short wait of epoll may end, ns: this thread's setting (PR_SET_TIMERSLACK in
    // prctl(2)), and 0 for a real-time one, which older kernels do not say. A wait of io_uring has
    // no slack by itself.
    static std::int64_t timer_slack() noexcept {
        const int policy = ::sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
        if (policy == SCHED_FIFO || policy == SCHED_RR) return 0;
        return ::prctl(PR_GET_TIMERSLACK);
    }

    // Timers closer than the slack share a wait: else of hundreds of thousands each would wake the
    // thread alone. One that is further away is as early as the system can.
    static std::int64_t with_slack(std::int64_t timeout) noexcept {
        if (timeout <= 0) return timeout;
        thread_local const std::int64_t slack = timer_slack();
        return std::max(timeout, slack);
    }

    // ---- operations

    // This thread will use the ring. What another one had in flight begins again.
    // Raises: OSError.
    void take_over() {
        if (ring_->mine() && !refuses_) [[likely]] {
            if (!wake_armed_) arm_wake();
            return;
        }
        if (ring_->left()) return;
        if (ring_->foreign() || refuses_) give_up_ring();
        ring_->take();
        refuses_ = false;
        again_.clear();
        starved_.clear();
        arm_wake();
        for (std::size_t i = 0; i < entries_.size(); ++i) begin_again(static_cast<int>(i));
    }

    // Ends all that is in flight. Completions that are there are kept (but for what is
    // level-triggered and will be told again), and with DEFER_TASKRUN nothing is received without
    // one.
    void give_up_ring() noexcept {
        refuses_ = true;
        ring_->take_completions([&](const io_uring_cqe& c) { complete(c, moved_); });
        ring_->give_up();
        wake_armed_ = false;
    }

    void begin_again(int fd) {
        Entry& e = entries_[static_cast<std::size_t>(fd)];
        e.receives = e.cancels = e.polls = false;
        const bool polled_out = std::exchange(e.polls_out, false);
        e.polls_in = false;
        if (!e.channel && !e.on_read && !e.on_write) return;
        ++e.generation;
        if (e.channel) begin(fd, e);
        if (e.on_read) poll_in(fd, e);
        if (e.on_write || polled_out) poll_out(fd, e);
    }

    // A place for an operation; null if it is only noted, and begins with the next wait.
    io_uring_sqe* place() noexcept {
        if (refuses_ || !ring_->mine()) [[unlikely]]
            return nullptr;
        io_uring_sqe* const s = ring_->next();
        refuses_ = !s;
        return s;
    }

    void begin(int fd, Entry& entry) noexcept {
        if (entry.kind == ChannelKind::kStream) {
            if (!entry.incoming && !entry.broken) receive_more(fd, entry);
        } else if (entry.kind != ChannelKind::kConnecting) {
            poll_all(fd, entry);
        }
    }

    void arm_wake() noexcept {
        io_uring_sqe* const s = place();
        if (!s) return;
        wake_armed_ = true;
        ::io_uring_prep_poll_multishot(s, event_.fd(), POLLIN);
        ::io_uring_sqe_set_data64(s, Name{Operation::kWake, 0, event_.fd()}.bits());
    }
    void receive_more(int fd, Entry& entry) noexcept {
        if (entry.bulk) return poll_bulk(fd, entry);
        entry.receives = true;
        io_uring_sqe* const s = place();
        if (!s) return;
        ::io_uring_prep_recv_multishot(s, fd, nullptr, 0, 0);
        s->flags |= IOSQE_BUFFER_SELECT;
        s->buf_group = Ring::kGroup;
        ::io_uring_sqe_set_data64(s, NameOf(Operation::kReceive, entry, fd).bits());
    }
    // One event, when a stream of much can be received from.
    void poll_bulk(int fd, Entry& entry) noexcept {
        if (entry.polls) return;
        entry.polls = true;
        io_uring_sqe* const s = place();
        if (!s) return;
        ::io_uring_prep_poll_add(s, fd, POLLIN);
        ::io_uring_sqe_set_data64(s, NameOf(Operation::kPoll, entry, fd).bits());
    }
    void poll_all(int fd, Entry& entry) noexcept {
        entry.polls = true;
        io_uring_sqe* const s = place();
        if (!s) return;
        // Each datagram that has left makes room: nobody wants to hear of that.
        const unsigned events = entry.kind == ChannelKind::kDatagrams
                                    ? unsigned{POLLIN}
                                    : unsigned{POLLIN | POLLOUT | POLLRDHUP};
        ::io_uring_prep_poll_multishot(s, fd, events);
        ::io_uring_sqe_set_data64(s, NameOf(Operation::kPoll, entry, fd).bits());
    }
    void poll_in(int fd, Entry& entry) noexcept {
        entry.polls_in = true;
        io_uring_sqe* const s = place();
        if (!s) return;
        ::io_uring_prep_poll_add(s, fd, POLLIN);
        ::io_uring_sqe_set_data64(s, NameOf(Operation::kPollIn, entry, fd).bits());
    }
    void poll_out(int fd, Entry& entry) noexcept {
        entry.polls_out = true;
        io_uring_sqe* const s = place();
        if (!s) return;
        ::io_uring_prep_poll_add(s, fd, POLLOUT);
        ::io_uring_sqe_set_data64(s, NameOf(Operation::kPollOut, entry, fd).bits());
    }
    // Nothing of this entry is in flight afterwards, and what has completed is ignored. What uses a
    // copy of its descriptor goes on.
    void cancel(int fd, Entry& entry) noexcept {
        if (entry.in_flight()) cancel_operations(fd, entry);
        ++entry.generation;
        entry.receives = entry.cancels = entry.polls = entry.polls_in = entry.polls_out = false;
    }
    void cancel_operations(int fd, const Entry& entry) noexcept {
        if (ring_->foreign() || refuses_) return give_up_ring();
        if (!ring_->mine()) return;  // it is only noted
        const auto end = [&](bool in_flight, Operation operation) {
            return !in_flight || ring_->cancel(NameOf(operation, entry, fd).bits());
        };
        const bool all =
            end(entry.receives, Operation::kReceive) && end(entry.polls, Operation::kPoll) &&
            end(entry.polls_in, Operation::kPollIn) && end(entry.polls_out, Operation::kPollOut);
        if (!all) give_up_ring();
    }

    void arm_again() noexcept {
        for (const Again& a : again_) {
            Entry& entry = entries_[static_cast<std::size_t>(a.fd)];
            if ((entry.generation & kGenerations) != a.generation) continue;
            if (!a.write && entry.on_read && !entry.polls_in) poll_in(a.fd, entry);
            if (a.write && entry.on_write && !entry.polls_out) poll_out(a.fd, entry);
        }
        again_.clear();
    }

    // ---- completions

    void complete(const io_uring_cqe& c, ReadyQueue& ready) noexcept {
        const Name name = Name::of(c.user_data);
        const bool more = (c.flags & IORING_CQE_F_MORE) != 0;
        const int buffer = c.flags & IORING_CQE_F_BUFFER
                               ? static_cast<int>(c.flags >> IORING_CQE_BUFFER_SHIFT)
                               : -1;
        if (buffer >= 0) ring_->took(static_cast<unsigned>(buffer));
        if (name.operation == Operation::kWake) {
            if (!more) wake_armed_ = false;
            return;
        }
        Entry* entry = closing_ ? nullptr : current(name);
        if (!entry) {
            if (buffer >= 0) ring_->give_back(static_cast<unsigned>(buffer));
            return;
        }
        switch (name.operation) {
            case Operation::kReceive:
                return received(name.fd, *entry, c.res, buffer, more, ready);
            case Operation::kPoll:
                return polled(name.fd, *entry, c.res, more, ready);
            case Operation::kPollIn:
                entry->polls_in = false;
                return fired(name, entry->on_read, false, c.res, ready);
            case Operation::kPollOut:
                entry->polls_out = false;
                if (entry->channel) return has_room(name.fd, *entry, c.res, ready);
                return fired(name, entry->on_write, true, c.res, ready);
            default:
                return;
        }
    }

    Entry* current(const Name& name) noexcept {
        const auto i = static_cast<std::size_t>(name.fd);
        if (i >= entries_.size()) return nullptr;
        Entry& entry = entries_[i];
        return (entry.generation & kGenerations) == name.generation ? &entry : nullptr;
    }

    // Whether the system has ended an operation, though nothing has happened: its thread has ended,
    // or there was no memory.
    static bool is_interrupted(int result) noexcept {
        return result == -ECANCELED || result == -EINTR || result == -EAGAIN || result == -ENOMEM;
    }

    // A poll of add_reader or add_writer has ended. Room for both of each entry has been made.
    void fired(const Name& name, Node* node, bool write, int result, ReadyQueue& ready) noexcept {
        if (result == -EBADF || refuses_) return;  // closed by somebody: as epoll, which forgets it
        again_.push_back({name.fd, name.generation, write});
        if (!node || is_interrupted(result)) return;
        called_ = true;
        if (!node->queued()) return;
        ready.push(node);
    }

    void has_room(int fd, Entry& entry, int result, ReadyQueue& ready) noexcept {
        if (!is_interrupted(result)) return room(*entry.channel, ready);
        if (state_of(*entry.channel).awaits_room) poll_out(fd, entry);
    }
    static void room(IoChannel& channel, ReadyQueue& ready) noexcept {
        if (!state_of(channel).awaits_room) return;
        state_of(channel).awaits_room = false;
        queue_write(channel, ready);
    }

    void polled(int fd, Entry& entry, int result, bool more, ReadyQueue& ready) noexcept {
        if (!more) entry.polls = false;
        // Who reads finds out what the error is.
        const bool failed = result < 0 && !is_interrupted(result);
        const bool once = entry.kind == ChannelKind::kStream;  // see poll_bulk()
        if (!more && !failed && !once) poll_all(fd, entry);
        if (result < 0 && !failed) return once ? poll_bulk(fd, entry) : void();
        IoChannel& channel = *entry.channel;
        const unsigned events = failed ? unsigned{POLLERR} : static_cast<unsigned>(result);
        if (events & ~unsigned{POLLOUT}) {
            state_of(channel).readable = true;
            if (events & (POLLRDHUP | POLLHUP | POLLERR)) state_of(channel).hung_up = true;
            if (state_of(channel).wants_read) queue_read(channel, ready);
        }
        if (events & (POLLOUT | POLLHUP | POLLERR)) room(channel, ready);
    }

    void received(int fd, Entry& entry, int result, int buffer, bool more,
                  ReadyQueue& ready) noexcept {
        IoChannel& channel = *entry.channel;
        if (!more) entry.receives = entry.cancels = false;
        if (result == -ENOBUFS) {
            starved_.push_back(fd);  // safe because open() has made room
            return;
        }
        if (result == -ECANCELED || result == -EINTR || result == -EAGAIN) {
            if (entry.incoming || entry.broken) return;  // who takes the last of it asks for more
            if (state_of(channel).wants_read) return receive_more(fd, entry);
            // All was taken before the cancel came, and then its owner stopped: when it goes on it
            // looks, finds nothing, and asks for more.
            state_of(channel).readable = true;
            return;
        }
        const bool kept = !entry.broken && keep(entry, result, buffer);
        if (!kept && buffer >= 0) ring_->give_back(static_cast<unsigned>(buffer));
        if (kept && result > 0) limit(fd, entry);
        if (kept && result > 0 && !state_of(channel).wants_read) stash(fd, entry);
        if (!kept || result <= 0) state_of(channel).hung_up = true;
        state_of(channel).readable = true;
        if (state_of(channel).wants_read) queue_read(channel, ready);
    }

    // Notes what a receive has given, and whether its buffer stays out. If there is no memory for
    // the note the stream is broken: what follows is not what comes next.
    bool keep(Entry& entry, int result, int buffer) noexcept {
        try {
            if (!entry.incoming) entry.incoming = fresh_incoming();
            Incoming& in = *entry.incoming;
            if (result > 0) {
                in.pieces.push_back(
                    {static_cast<unsigned>(buffer), static_cast<std::size_t>(result)});
                return true;
            }
            if (result == 0) in.end = true;
            if (result < 0) in.error = -result;
        } catch (const std::bad_alloc&) {
            entry.broken = true;
        }
        return false;
    }

    // A multishot receive takes all that there is in one wait, up to half a megabyte, while the
    // others wait for the copies. So a stream of which much has come is polled and received from in
    // turn with the others, as on epoll, until little comes.
    void limit(int fd, Entry& entry) noexcept {
        const Incoming& in = *entry.incoming;
        if (in.pieces.size() - in.piece < kMostPieces || !entry.receives || entry.bulk) return;
        try {
            if (!memory_) memory_ = make_pages(kReceive);
        } catch (const std::bad_alloc&) {
            return;  // it goes on as it is
        }
        entry.bulk = true;
        state_of(*entry.channel).has_much = true;
        end_receive(fd, entry);
    }
    void end_receive(int fd, Entry& entry) noexcept {
        if (!entry.receives || entry.cancels) return;
        io_uring_sqe* const s = place();
        if (!s) return;
        entry.cancels = true;
        ::io_uring_prep_cancel64(s, NameOf(Operation::kReceive, entry, fd).bits(), 0);
        ::io_uring_sqe_set_data64(s, Name{Operation::kIgnored, 0, -1}.bits());
    }

    // Copies what is in the system's buffers, and gives them back. What there is no memory for
    // stays there.
    void stash(int fd, Entry& entry) noexcept {
        Incoming& in = *entry.incoming;
        if (in.stash_begin > 0) in.stash.erase(0, std::exchange(in.stash_begin, 0));
        try {
            while (in.has_piece()) {
                const Incoming::Piece p = in.pieces[in.piece];
                in.stash.append(ring_->buffer(p.buffer) + in.piece_begin, p.size - in.piece_begin);
                in.piece_begin = 0;
                ++in.piece;
                ring_->give_back(p.buffer);
            }
            in.pieces.clear();
            in.piece = 0;
        } catch (const std::bad_alloc&) {
            // They are stashed when more has come, or read from there.
        }
        if (in.stash.size() >= kMostStashed) end_receive(fd, entry);
    }

    // Streams that found no buffer and have nothing to read begin again. One that has something
    // asks for more when that is read: else the busiest would take each buffer that comes back, and
    // the others starve. All buffers are on their way back but those of streams that were paused
    // when theirs had come: these are copied.
    void feed_starved() noexcept {
        if (starved_.empty()) return;
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            Entry& entry = entries_[i];
            if (!entry.incoming || !entry.incoming->has_piece()) continue;
            if (!state_of(*entry.channel).wants_read) stash(static_cast<int>(i), entry);
        }
        for (const int fd : starved_) {
            Entry& entry = entries_[static_cast<std::size_t>(fd)];
            if (entry.channel && entry.kind == ChannelKind::kStream && !entry.receives &&
                !entry.broken && !entry.incoming) {
                receive_more(fd, entry);
            }
        }
        starved_.clear();
    }

    // ---- delivery

    Transferred receive_bulk(IoChannel& channel, Entry& entry, std::span<char> memory) noexcept {
        called_ = true;
        if (entry.broken) return {0, ENOMEM};
        const Transferred t = receive_some(state_of(channel).fd, memory);
        if (t.size == memory.size()) return t;
        state_of(channel).readable = false;
        const bool over = t.error == 0 ? t.size == 0 : t.error != EAGAIN;
        if (over || entry.polls) return t;
        if (t.size < kLittle) entry.bulk = state_of(channel).has_much = false;
        receive_more(state_of(channel).fd, entry);
        return t;
    }

    // The stream is empty: EAGAIN, and more is asked for.
    int none_there(IoChannel& channel, Entry& entry) noexcept {
        if (entry.broken) return ENOMEM;
        state_of(channel).readable = false;
        if (!entry.receives && entry.kind == ChannelKind::kStream) {
            receive_more(state_of(channel).fd, entry);
        }
        return EAGAIN;
    }
    // All has been read: 0 at the end, or an errno.
    static int ended(Entry& entry) noexcept {
        if (entry.incoming->end) return 0;
        if (entry.incoming->error != 0) return std::exchange(entry.incoming->error, 0);
        return entry.broken ? ENOMEM : 0;
    }

    // After something was taken out of `entry`.
    Received delivered(IoChannel& channel, Entry& entry, Received r) noexcept {
        Incoming& in = *entry.incoming;
        if (in.has_data() || in.over() || entry.broken) return r;
        state_of(channel).readable = false;
        recycle(std::move(entry.incoming));
        if (!entry.receives) receive_more(state_of(channel).fd, entry);
        return r;
    }

    std::unique_ptr<Incoming> fresh_incoming() {
        if (spare_.empty()) return std::make_unique<Incoming>();
        auto in = std::move(spare_.back());
        spare_.pop_back();
        return in;
    }
    // It is empty.
    void recycle(std::unique_ptr<Incoming> in) noexcept {
        if (spare_.size() == spare_.capacity()) return;
        in->stash.clear();
        in->stash_begin = 0;
        in->pieces.clear();
        in->piece = 0;
        spare_.push_back(std::move(in));
    }

    std::size_t copy_piece(Incoming& in, std::span<char> memory) noexcept {
        const Incoming::Piece p = in.pieces[in.piece];
        const std::size_t n = std::min(memory.size(), p.size - in.piece_begin);
        std::copy_n(ring_->buffer(p.buffer) + in.piece_begin, n, memory.data());
        in.piece_begin += n;
        if (in.piece_begin == p.size) {
            in.piece_begin = 0;
            ++in.piece;
            ring_->give_back(p.buffer);
        }
        return n;
    }

    void give_back_delivered() noexcept {
        if (delivered_ >= 0) ring_->give_back(static_cast<unsigned>(std::exchange(delivered_, -1)));
        delivered_stash_.clear();
    }
    void drop(Incoming& in) noexcept {
        for (; in.has_piece(); ++in.piece) ring_->give_back(in.pieces[in.piece].buffer);
    }

    Transferred sent(IoChannel& channel, Transferred t, std::size_t wanted) noexcept {
        if (t.size < wanted && (t.error == 0 || t.error == EAGAIN)) await_room(channel);
        return t;
    }

    std::unique_ptr<Ring> ring_;
    WakeEvent event_;
    std::vector<Entry> entries_;  // by descriptor
    std::vector<Again> again_;
    std::vector<int> starved_;
    ReadyQueue moved_;
    std::vector<std::unique_ptr<Incoming>> spare_;
    Pages memory_;        // what is received from streams of much
    int delivered_ = -1;  // the buffer that the last receive gave
    std::string delivered_stash_;
    std::size_t watched_ = 0;
    bool wake_armed_ = false;
    bool refuses_ = false;  // the ring takes no operation any more: it is made anew
    bool closing_ = false;  // of channels nothing is told any more
};

std::unique_ptr<Backend> make_uring_backend(std::string& why, UringSizes sizes) {
    std::unique_ptr<Ring> ring = Ring::make(sizes, why);
    return ring ? std::make_unique<UringBackend>(std::move(ring)) : nullptr;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

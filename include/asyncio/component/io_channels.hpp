// A descriptor that the loop itself reads and writes: a connection's or a listening socket's.
//
// It is registered with the back end once, for both directions, until it is closed. The back end
// queues its owner's nodes: `on_read` when something can be received (or accepted) and the owner
// reads, `on_write` when there is room again after a send that took less than all. Everything
// between is a call of the back end: receive, send, accept.
//
// A node may still be queued when its owner closes: the owner lives until no node is queued.
//
// A channel is opened once: fd is -1 until Backend::open() or until hand_over() from another one,
// and again from Backend::close() or hand_over() to another one on. hand_over() takes readable and
// hung_up along.
//
//   reading  wants_read   readable   read_queued
//   -------  -----------  ---------  ------------  ----------------------------------------------
//   idle     no           no         no            nobody reads; nothing is known to be there
//   held     no           yes        no            nobody reads; something may be there
//   waiting  yes          no         no            the next event queues on_read
//   queued   any          any        yes           on_read runs in the next iteration
//   looking  yes          yes        no            the owner receives (1)
//
//   from     to       by
//   -------  -------  ---------------------------------------------------------------------------
//   idle     waiting  start_reading()
//   held     queued   start_reading()
//   waiting  idle     stop_reading(). A node that is queued stays queued: on_read asks wants_read()
//   idle     held     an event: data, a connection, the end, an error
//   waiting  queued   an event
//   queued   looking  read_runs(); or held, waiting or idle, as the other two flags say
//   looking  waiting  a receive or accept that finds it empty (2)
//   looking  queued   read_again()
//   looking  held     stop_reading()
//   held     idle     a receive that finds it empty (2)
//
//   (1) From read_runs() until read_again(), within on_read; an endpoint of datagrams calls that
//       in the step of the task that it woke.
//   (2) EAGAIN. On epoll, for a stream: any error, and less than was asked for unless hung_up is
//       set. On io_uring, for a stream: all is taken of what the system had received. Datagrams:
//       fewer than were asked for, unless hung_up is set.
//   hung_up: an event told of the end or an error, for which no second one comes. It stays set;
//   for datagrams, until a receive finds nothing.
//
//   writing  awaits_room   write_queued
//   -------  ------------  -------------  -------------------------------------------------------
//   free     no            no             a send is tried at once
//   full     yes           no             the next event queues on_write
//   queued   no            yes            on_write runs in the next iteration
//   both     yes           yes            the same, and once more after the next event
//
//   from     to       by
//   -------  -------  ---------------------------------------------------------------------------
//   free     full     a send that took less than all, but for an error; await_room()
//   queued   both     the same
//   full     queued   an event: room, a hang-up, an error
//   both     queued   the same
//   full     free     forget_room(), as the connection is lost
//   both     queued   the same
//   queued   free     write_runs(); both: full
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "asyncio/detail/loop_core.hpp"
#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What a channel's owner does with it.
enum class ChannelKind : std::uint8_t {
    kStream,      // receives and sends
    kListener,    // accepts
    kDatagrams,   // receives and sends datagrams
    kConnecting,  // waits for room: then the connection is there, and the channel is handed over
};

// What a back end and a channel's owner tell each other: see the tables above. The owner goes
// through IoChannel, a back end through Backend::state_of().
struct ChannelState {
    int fd = -1;                // -1 while it is not open
    bool readable = false;      // an event has come, and nothing has found it empty since
    bool hung_up = false;       // the peer has shut down, or an error waits: a short read is no end
    bool wants_read = false;    // the owner reads
    bool awaits_room = false;   // a send took less than all: on_write is to be queued
    bool read_queued = false;   // on_read is in the ready queue
    bool write_queued = false;  // on_write is
    bool has_much = false;      // more has come than one receive takes
};

// A descriptor that is registered with a back end, and the nodes of its owner: see above.
class IoChannel {
  public:
    // `on_read`, `on_write`: what is queued; they live as long as it.
    IoChannel(Node& on_read, Node& on_write) noexcept : on_read_(on_read), on_write_(on_write) {}
    IoChannel(const IoChannel&) = delete;
    IoChannel& operator=(const IoChannel&) = delete;

    // -1 while it is not open.
    int fd() const noexcept { return state_.fd; }
    bool is_open() const noexcept { return state_.fd >= 0; }
    // The owner reads: between start_reading() and stop_reading().
    bool wants_read() const noexcept { return state_.wants_read; }
    // Something may be there, as far as the back end knows.
    bool readable() const noexcept { return state_.readable; }
    // on_read, on_write, one of the two is in the ready queue.
    bool read_queued() const noexcept { return state_.read_queued; }
    bool write_queued() const noexcept { return state_.write_queued; }
    bool node_queued() const noexcept { return state_.read_queued || state_.write_queued; }

    // Begins, or goes on, to read: on_read is queued now if there is something, else once there is.
    void start_reading(ReadyQueue& ready) noexcept {
        state_.wants_read = true;
        if (state_.readable) queue_read(ready);
    }
    // An on_read that is queued already still runs.
    void stop_reading() noexcept { state_.wants_read = false; }
    // To be called at the end of on_read: there may be more.
    void read_again(ReadyQueue& ready) noexcept {
        if (state_.readable && state_.wants_read) queue_read(ready);
    }
    // From now on on_read is queued there, in turn with the others of its kind; null: as any other.
    void take_turns(ReadyQueue* waiting) noexcept { turns_ = waiting; }
    bool takes_turns() const noexcept { return turns_ != nullptr; }
    // The back end has more of it than it receives at once, in pieces.
    bool has_much() const noexcept { return state_.has_much; }
    // on_write is to be queued once there is room; forget_room(): it is not.
    bool awaits_room() const noexcept { return state_.awaits_room; }
    void forget_room() noexcept { state_.awaits_room = false; }

    // The nodes say so as they run or are dropped.
    void read_runs() noexcept { state_.read_queued = false; }
    void write_runs() noexcept { state_.write_queued = false; }

    // For error texts: "transport <...>" (FD-01).
    virtual std::string describe() const = 0;
    // False once it is about to close, when add_reader may take the descriptor.
    virtual bool in_use() const noexcept { return true; }
    // The loop closes: the descriptor is to be closed, and nothing is called any more.
    virtual void loop_closed() noexcept = 0;

  protected:
    ~IoChannel() = default;

  private:
    friend class Backend;

    void queue_read(ReadyQueue& ready) noexcept {
        if (state_.read_queued) return;
        state_.read_queued = true;
        (turns_ ? *turns_ : ready).push(&on_read_);
    }
    void queue_write(ReadyQueue& ready) noexcept {
        if (state_.write_queued) return;
        state_.write_queued = true;
        ready.push(&on_write_);
    }

    Node& on_read_;
    Node& on_write_;
    ReadyQueue* turns_ = nullptr;  // of uploads: see BulkReads
    ChannelState state_;
};

// The nodes of a channel's owner, as bases of it: they call its members read_ready() and
// write_ready(), or, when the loop closes, read_dropped() and write_dropped().
template <class Owner>
class ReadNode : public Node {
  public:
    void run() final { static_cast<Owner&>(*this).read_ready(); }
    void drop() noexcept final { static_cast<Owner&>(*this).read_dropped(); }
    const char* label() const noexcept final { return "read_ready()"; }

  protected:
    ReadNode() = default;
    ~ReadNode() = default;
};

template <class Owner>
class WriteNode : public Node {
  public:
    void run() final { static_cast<Owner&>(*this).write_ready(); }
    void drop() noexcept final { static_cast<Owner&>(*this).write_dropped(); }
    const char* label() const noexcept final { return "write_ready()"; }

  protected:
    WriteNode() = default;
    ~WriteNode() = default;
};

// What a receive gave.
struct Received {
    const char* data = nullptr;  // valid until the next receive of the loop
    std::size_t size = 0;        // 0 with no error: the end of the stream
    int error = 0;               // errno; EAGAIN: nothing there
};

// What a send or a receive_into gave: bytes, or an errno.
struct Transferred {
    std::size_t size = 0;  // bytes; of datagrams, how many of them
    int error = 0;         // errno; EAGAIN: none now
};

// One of what receive_datagrams() gives.
struct ReceivedDatagram {
    std::string_view data;  // valid until the room's next receive
    SocketAddress from;     // who sent it
    bool cut = false;       // it was longer than what is given
};

// What was received: datagrams, or an errno.
struct ReceivedDatagrams {
    std::span<const ReceivedDatagram> datagrams;  // valid until the room's next receive
    int error = 0;                                // errno; EAGAIN: nothing there
};

// One of what send_datagrams() is given.
struct DatagramToSend {
    std::string_view data;     // its bytes
    const void* to = nullptr;  // a sockaddr; null: the connected peer
    std::size_t to_size = 0;   // of `to`, bytes
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// A descriptor that the loop itself reads and writes: a connection's or a listening socket's.
//
// It is registered with the back end once, for both directions, until it is closed. The back end
// queues its owner's nodes: `on_read` when something can be received (or accepted) and the owner
// reads, `on_write` when there is room again after a send that took less than all. Everything
// between is a call of the back end: receive, send, accept.
//
// A node may still be queued when its owner closes: the owner lives until no node is queued.
//
// A channel is opened once: fd_ is -1 until Backend::open() or until hand_over() from another one,
// and again from Backend::close() or hand_over() to another one on. hand_over() takes readable_ and
// hung_up_ along.
//
//   reading  wants_read_  readable_  read_queued_
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
//   (2) EAGAIN. On epoll, for a stream: any error, and less than was asked for unless hung_up_ is
//       set. On io_uring, for a stream: all is taken of what the system had received. Datagrams:
//       fewer than were asked for, unless hung_up_ is set.
//   hung_up_: an event told of the end or an error, for which no second one comes. It stays set;
//   for datagrams, until a receive finds nothing.
//
//   writing  awaits_room_  write_queued_
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
#include <string>

#include "asyncio/detail/loop_core.hpp"
#include "os/posix.hpp"

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

class Channel {
  public:
    Channel(Node& on_read, Node& on_write) noexcept : on_read_(on_read), on_write_(on_write) {}
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    // -1 while it is not open.
    int fd() const noexcept { return fd_; }
    bool is_open() const noexcept { return fd_ >= 0; }
    bool wants_read() const noexcept { return wants_read_; }
    // Something may be there, as far as the back end knows.
    bool readable() const noexcept { return readable_; }
    bool read_queued() const noexcept { return read_queued_; }
    bool write_queued() const noexcept { return write_queued_; }
    bool node_queued() const noexcept { return read_queued_ || write_queued_; }

    // Begins, or goes on, to read: on_read is queued now if there is something, else once there is.
    void start_reading(ReadyQueue& ready) noexcept {
        wants_read_ = true;
        if (readable_) queue_read(ready);
    }
    // An on_read that is queued already still runs.
    void stop_reading() noexcept { wants_read_ = false; }
    // To be called at the end of on_read: there may be more.
    void read_again(ReadyQueue& ready) noexcept {
        if (readable_ && wants_read_) queue_read(ready);
    }
    // From now on on_read is queued there, in turn with the others of its kind; null: as any other.
    void take_turns(ReadyQueue* waiting) noexcept { turns_ = waiting; }
    bool takes_turns() const noexcept { return turns_ != nullptr; }
    // The back end has more of it than it receives at once, in pieces.
    bool has_much() const noexcept { return has_much_; }
    bool awaits_room() const noexcept { return awaits_room_; }
    void forget_room() noexcept { awaits_room_ = false; }

    // The nodes say so as they run or are dropped.
    void read_runs() noexcept { read_queued_ = false; }
    void write_runs() noexcept { write_queued_ = false; }

    // For error texts: "transport <...>" (FD-01).
    virtual std::string describe() const = 0;
    // False once it is about to close, when add_reader may take the descriptor.
    virtual bool in_use() const noexcept { return true; }
    // The loop closes: the descriptor is to be closed, and nothing is called any more.
    virtual void loop_closed() noexcept = 0;

  protected:
    ~Channel() = default;

  private:
    friend class EpollBackend;
    friend class UringBackend;
    friend class FaultBackend;  // of the tests

    void queue_read(ReadyQueue& ready) noexcept {
        if (read_queued_) return;
        read_queued_ = true;
        (turns_ ? *turns_ : ready).push(&on_read_);
    }
    void queue_write(ReadyQueue& ready) noexcept {
        if (write_queued_) return;
        write_queued_ = true;
        ready.push(&on_write_);
    }

    Node& on_read_;
    Node& on_write_;
    ReadyQueue* turns_ = nullptr;  // of uploads: see BulkReads
    int fd_ = -1;
    bool readable_ = false;  // an event has come, and nothing has found it empty since
    bool hung_up_ = false;   // the peer has shut down, or an error waits: a short read is no end
    bool wants_read_ = false;
    bool awaits_room_ = false;
    bool read_queued_ = false;
    bool write_queued_ = false;
    bool has_much_ = false;
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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

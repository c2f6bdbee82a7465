// What a loop asks of the system: the time, and to wait until something happens or it is due.
//
// A back end belongs to one loop and is used on its thread, but for `wake`. It hands what has
// happened to the loop as nodes for the ready queue. The interface speaks of operations (poll a
// descriptor, and with sockets: receive into, send, accept, connect), not of readiness, so that
// io_uring can batch them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "asyncio/detail/loop_core.hpp"
#include "asyncio/sockets.hpp"
#include "backend/channel.hpp"
#include "backend/datagrams.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Backend {
  public:
    static constexpr std::int64_t kForever = -1;

    virtual ~Backend() = default;

    // Waits for events, at most `timeout` ns (kForever: no limit; 0: only looks), and appends what
    // they made ready to `ready`. May return early. Raises: OSError.
    virtual void wait(std::int64_t timeout, ReadyQueue& ready) = 0;
    // Appends `on_read` / `on_write` to `ready` in each wait in which `fd` is readable / writable,
    // at most once each (level-triggered, FD-01); null: not watched for that. Both null: forgets
    // `fd`. Raises: OSError; ValueError for a negative descriptor.
    virtual void watch(int fd, Node* on_read, Node* on_write) = 0;

    // ---- channels
    // The most that one receive takes, bytes. TR-12.
    static constexpr std::size_t kReceive = std::size_t{256} * 1024;
    // Registers `channel` for `fd`, which it does not own. Raises: OSError; NotImplementedError.
    virtual void open(Channel& channel, int fd, ChannelKind kind) = 0;
    // `to` takes the place of `from`, which is open, with what is known of its descriptor.
    virtual void hand_over(Channel& from, Channel& to, ChannelKind kind) noexcept = 0;
    // Forgets it. The caller closes the descriptor at once, which removes it from the system's list
    // too.
    virtual void close(Channel& channel) noexcept = 0;
    // The channel of `fd`; null if there is none.
    virtual Channel* channel_of(int fd) const noexcept = 0;
    // Calls loop_closed() of every channel.
    virtual void close_channels() noexcept = 0;
    // on_write is to be queued once there is room to send.
    virtual void await_room(Channel& channel) noexcept = 0;
    // Receives at most `most` bytes, which are at most kReceive, into memory of the back end. Never
    // waits.
    virtual Received receive(Channel& channel, std::size_t most) noexcept = 0;
    // The same into `memory`, which is not empty.
    virtual Transferred receive_into(Channel& channel, std::span<char> memory) noexcept = 0;
    // Sends what can be sent at once. If that is less than all, on_write is queued once there is
    // room again.
    virtual Transferred send(Channel& channel, std::string_view data) noexcept = 0;
    virtual Transferred send(Channel& channel,
                             std::span<const std::string_view> pieces) noexcept = 0;
    // Receives up to `most` datagrams into `room`. Never waits.
    virtual ReceivedDatagrams receive_datagrams(Channel& channel, DatagramRoom& room, bool internet,
                                                std::size_t most) noexcept = 0;
    // Sends datagrams, as many as can be sent at once: `size` of the answer is how many. If that is
    // none, with EAGAIN, on_write is queued once there is room again.
    virtual Transferred send_datagrams(Channel& channel,
                                       std::span<const DatagramToSend> datagrams) noexcept = 0;
    // Accepts a connection: its descriptor, or an errno as a negative number. `from`: its address.
    virtual int accept(Channel& channel, SocketAddress& from) noexcept = 0;

    // True if something was received or accepted by a system call since forget_calls(), or a
    // watched descriptor was ready: the iteration that did so is followed by a look at all others,
    // so that none waits for longer than about a round (S-04).
    bool called() const noexcept { return called_; }
    void forget_calls() noexcept { called_ = false; }

    // Ends a `wait` that is under way or the next one. From any thread, and from signal handlers.
    virtual void wake() noexcept = 0;
    // This process is a child of fork(2): what the system gave is closed, without touching what the
    // parent has registered with it, and nothing is asked of the system any more.
    virtual void leave_to_parent() noexcept = 0;
    // The clock, ns.
    virtual std::int64_t now() noexcept = 0;
    // False if `wait` has nothing to look for but `wake`.
    virtual bool watches() const noexcept = 0;
    // True if time is virtual: then nothing is ever late.
    virtual bool is_virtual() const noexcept { return false; }
    virtual const char* name() const noexcept = 0;
    // As repr() names the loop: "EpollEventLoop".
    virtual const char* class_name() const noexcept = 0;

  protected:
    bool called_ = false;
};

// Raises: OSError.
std::unique_ptr<Backend> make_epoll_backend();
std::unique_ptr<Backend> make_virtual_backend();

// For tests: what is put around the back end of every loop that is made from now on; null: nothing.
using BackendWrapper = std::unique_ptr<Backend> (*)(std::unique_ptr<Backend>);
extern BackendWrapper backend_wrapper;

struct UringSizes {
    unsigned entries = 1024;      // operations between two calls of the kernel
    unsigned completions = 8192;  // between two waits; more of them wait in the kernel
    unsigned buffers = 256;       // of 16 KiB, for what is received; a power of two
};
// Null where there is no io_uring; `why` then says why, and what to change. Raises: OSError.
std::unique_ptr<Backend> make_uring_backend(std::string& why, UringSizes sizes = {});

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

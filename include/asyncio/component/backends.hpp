// What a loop asks of the system: the time, and to wait until something happens or it is due.
//
// To add one: derive from Backend and give it to new_event_loop(). A wrapper passes each call on to
// another one, and may do less, more or otherwise, as one of tests does that lets calls fail.
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

#include "asyncio/component/io_channels.hpp"
#include "asyncio/detail/config.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class DatagramRoom;

// What waits for a loop: see above.
class ASYNCIO_API Backend {
  public:
    // For wait(): no limit.
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
    virtual void open(IoChannel& channel, int fd, ChannelKind kind) = 0;
    // `to` takes the place of `from`, which is open, with what is known of its descriptor.
    virtual void hand_over(IoChannel& from, IoChannel& to, ChannelKind kind) noexcept = 0;
    // Forgets it. The caller closes the descriptor at once, which removes it from the system's list
    // too.
    virtual void close(IoChannel& channel) noexcept = 0;
    // The channel of `fd`; null if there is none.
    virtual IoChannel* channel_of(int fd) const noexcept = 0;
    // Calls loop_closed() of every channel.
    virtual void close_channels() noexcept = 0;
    // on_write is to be queued once there is room to send.
    virtual void await_room(IoChannel& channel) noexcept = 0;
    // Receives at most `most` bytes, which are at most kReceive, into memory of the back end. Never
    // waits.
    virtual Received receive(IoChannel& channel, std::size_t most) noexcept = 0;
    // The same into `memory`, which is not empty.
    virtual Transferred receive_into(IoChannel& channel, std::span<char> memory) noexcept = 0;
    // Sends what can be sent at once. If that is less than all, on_write is queued once there is
    // room again.
    virtual Transferred send(IoChannel& channel, std::string_view data) noexcept = 0;
    virtual Transferred send(IoChannel& channel,
                             std::span<const std::string_view> pieces) noexcept = 0;
    // Receives up to `most` datagrams, into `room` or memory of the back end. Never waits.
    virtual ReceivedDatagrams receive_datagrams(IoChannel& channel, DatagramRoom& room,
                                                bool internet, std::size_t most) noexcept = 0;
    // Sends datagrams, as many as can be sent at once: `size` of the answer is how many. If that is
    // none, with EAGAIN, on_write is queued once there is room again.
    virtual Transferred send_datagrams(IoChannel& channel,
                                       std::span<const DatagramToSend> datagrams) noexcept = 0;
    // Accepts a connection: its descriptor, or an errno as a negative number. `from`: its address.
    virtual int accept(IoChannel& channel, SocketAddress& from) noexcept = 0;

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
    // When `wait` will make something ready by itself, in the time of now(), if time is virtual;
    // the largest number: it will not.
    virtual std::int64_t next_event() const noexcept { return asyncio::detail::kNever; }
    // As ASYNCIO_BACKEND names it: "epoll".
    virtual const char* name() const noexcept = 0;
    // As repr() names the loop: "EpollEventLoop".
    virtual const char* class_name() const noexcept = 0;

  protected:
    // What a channel's owner has set, and what the back end knows of it.
    static ChannelState& state_of(IoChannel& channel) noexcept { return channel.state_; }
    // on_read, on_write run in the next iteration; on_read of an upload in its turn. Nothing if
    // they are queued already.
    static void queue_read(IoChannel& channel, ReadyQueue& ready) noexcept {
        channel.queue_read(ready);
    }
    static void queue_write(IoChannel& channel, ReadyQueue& ready) noexcept {
        channel.queue_write(ready);
    }

    bool called_ = false;
};

// Passes each call on to another back end. Override what is to be done otherwise.
class ASYNCIO_API ForwardingBackend : public Backend {
  public:
    // `real`: the one that calls are passed on to. Raises: ValueError if it is null.
    explicit ForwardingBackend(std::unique_ptr<Backend> real);
    // That one.
    Backend& real() const noexcept { return *real_; }

    void wait(std::int64_t timeout, ReadyQueue& ready) override;
    void watch(int fd, Node* on_read, Node* on_write) override;
    void open(IoChannel& channel, int fd, ChannelKind kind) override;
    void hand_over(IoChannel& from, IoChannel& to, ChannelKind kind) noexcept override;
    void close(IoChannel& channel) noexcept override;
    IoChannel* channel_of(int fd) const noexcept override;
    void close_channels() noexcept override;
    void await_room(IoChannel& channel) noexcept override;
    Received receive(IoChannel& channel, std::size_t most) noexcept override;
    Transferred receive_into(IoChannel& channel, std::span<char> memory) noexcept override;
    Transferred send(IoChannel& channel, std::string_view data) noexcept override;
    Transferred send(IoChannel& channel,
                     std::span<const std::string_view> pieces) noexcept override;
    ReceivedDatagrams receive_datagrams(IoChannel& channel, DatagramRoom& room, bool internet,
                                        std::size_t most) noexcept override;
    Transferred send_datagrams(IoChannel& channel,
                               std::span<const DatagramToSend> datagrams) noexcept override;
    int accept(IoChannel& channel, SocketAddress& from) noexcept override;
    void wake() noexcept override;
    void leave_to_parent() noexcept override;
    std::int64_t now() noexcept override;
    bool watches() const noexcept override;
    bool is_virtual() const noexcept override;
    const char* name() const noexcept override;
    const char* class_name() const noexcept override;

  private:
    template <class R>
    R with_calls(R result) noexcept;
    void take_calls() noexcept;

    std::unique_ptr<Backend> real_;
};

}  // namespace detail

namespace component {

using asyncio::detail::Backend;
using asyncio::detail::ChannelKind;
using asyncio::detail::ChannelState;
using asyncio::detail::DatagramRoom;
using asyncio::detail::DatagramToSend;
using asyncio::detail::ForwardingBackend;
using asyncio::detail::IoChannel;
using asyncio::detail::Node;
using asyncio::detail::ReadyQueue;
using asyncio::detail::Received;
using asyncio::detail::ReceivedDatagram;
using asyncio::detail::ReceivedDatagrams;
using asyncio::detail::Transferred;

// Those of the library, to be wrapped or compared with. Raises: OSError.
ASYNCIO_API std::unique_ptr<Backend> make_epoll_backend();
// Null where there is no io_uring; `why` then says why, and what to change. Raises: OSError.
ASYNCIO_API std::unique_ptr<Backend> make_uring_backend(std::string& why);

// A loop on `backend`. Raises: ValueError if that is null; std::bad_alloc.
ASYNCIO_API std::unique_ptr<EventLoop> new_event_loop(std::unique_ptr<Backend> backend);

// What is put around the back end of every loop that is made from now on, by whomever, on any
// thread; null: nothing. Where the wrapper returns null, making the loop raises ValueError.
using BackendWrapper = std::unique_ptr<Backend> (*)(std::unique_ptr<Backend> real);
ASYNCIO_API void wrap_backends(BackendWrapper wrapper) noexcept;

}  // namespace component
}  // namespace v1
}  // namespace asyncio

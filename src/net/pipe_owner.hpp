// A pipe as the loop knows it, and what both directions' transports share of their life.
//
// A pipe is watched level-triggered, by the back end's watch(): its reading end while it is read,
// its writing end for the reader's going away (epoll reports that as an error of the writing end)
// and, while something is buffered, for room. What epoll refuses to watch (a regular file,
// /dev/null) never blocks: such a descriptor is taken as always ready and looked at once an
// iteration.
//
// O_NONBLOCK belongs to the open file, which other processes may share (a terminal, the standard
// output of a shell's pipeline). Where a transport had to set it, it takes it away again before it
// closes. A socket can be asked not to wait call by call, and is left as it is.
#pragma once

#include <any>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>

#include "asyncio/component/io_channels.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/sockets.hpp"
#include "loop/loop.hpp"
#include "net/descriptor_owner.hpp"
#include "net/pipes.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What the descriptor is, and what is watched of it.
class WatchedPipe : public LoopMember {
  public:
    // ---- of the nodes: whether it is to be queued, since it is not; it runs or is dropped
    bool queue_read() noexcept { return !std::exchange(read_queued_, true); }
    bool queue_write() noexcept { return !std::exchange(write_queued_, true); }
    void read_runs() noexcept { read_queued_ = false; }
    void write_runs() noexcept { write_queued_ = false; }

  protected:
    static constexpr std::string_view kInfo = "pipe";

    explicit WatchedPipe(Node& on_read) noexcept : on_read_(on_read) {}
    ~WatchedPipe() = default;

    bool node_queued() const noexcept { return read_queued_ || write_queued_; }
    std::any address(std::string_view /*name*/, int /*fd*/) const { return {}; }  // it has none

    // Looks at what it is, and makes it non-blocking. Raises: ValueError(refusal), OSError.
    void examine(int fd, PipeKind kind, const char* refusal);
    // Asks that the node for reading, or `on_room`, is queued in each iteration in which the
    // descriptor is ready for it. What is always ready has its node for reading queued for both.
    // Raises: OSError; NotImplementedError on virtual time.
    void watch(Loop& loop, int fd, bool read, Node* on_room);
    // What is always ready is looked at in the next iteration.
    void look_again(LoopCore& core) noexcept;
    void stop_watching(Loop& loop, int fd) noexcept;
    void give_back(Loop& loop, int fd) noexcept;

    bool is_socket() const noexcept { return is_socket_; }
    // Nobody reads the other end of a device or a file, so that none is missed.
    bool has_other_end() const noexcept { return !is_device_ && !is_file_; }
    bool always_ready() const noexcept { return always_ready_; }
    bool watched() const noexcept { return watched_; }  // the back end knows the descriptor

  private:
    Node& on_read_;
    bool read_queued_ = false;
    bool write_queued_ = false;
    bool watched_ = false;
    bool is_file_ = false;
    bool is_device_ = false;
    bool is_socket_ = false;
    bool was_blocking_ = false;
    bool always_ready_ = false;
    bool wants_ = false;  // while always ready: to be told
};

// A back end queues these whenever the descriptor is ready.
template <class Owner>
class WatchedReadNode : public ReadNode<Owner> {
  public:
    bool queued() noexcept final { return static_cast<Owner&>(*this).queue_read(); }
};

template <class Owner>
class WatchedWriteNode : public WriteNode<Owner> {
  public:
    bool queued() noexcept final { return static_cast<Owner&>(*this).queue_write(); }
};

// See DescriptorOwner.
template <class Self>
class PipeRegistration : public WatchedPipe, public WatchedReadNode<Self> {
  protected:
    PipeRegistration() noexcept : WatchedPipe(static_cast<WatchedReadNode<Self>&>(*this)) {}
    ~PipeRegistration() = default;
};

// `Self` has, besides what DescriptorOwner asks for,
//   tell_made()      calls connection_made()
//   begin_watching()
template <class Self>
class PipeOwner : public DescriptorOwner<Self, BaseProtocol, Transport, PipeRegistration<Self>> {
    using Owner = DescriptorOwner<Self, BaseProtocol, Transport, PipeRegistration<Self>>;
    friend Owner;

  public:
    // Takes `pipe`; from here on the loop keeps the transport. Raises: see make_read_pipe().
    void open(Socket pipe, PipeKind kind, const char* refusal) {
        this->engine().check_open();
        if (kind != PipeKind::kOwn) this->examine(pipe.fileno(), kind, refusal);
        this->join(this->engine());
        this->own(pipe.detach());
    }

  protected:
    using Owner::Owner;

    void watch(bool read, Node* on_room) {
        WatchedPipe::watch(this->engine(), this->fd_, read, on_room);
    }
    void look_again() noexcept { WatchedPipe::look_again(this->core_); }
    void stop_watching() noexcept { WatchedPipe::stop_watching(this->engine(), this->fd_); }

    // ---- of its life
    void begin();
    void will_be_lost() noexcept { stop_watching(); }
};

template <class Self>
void PipeOwner<Self>::begin() {
    const typename Owner::InContext scope(*this);
    this->made_ = true;
    std::exception_ptr leaves_loop;
    try {
        this->self().tell_made();
    } catch (...) {
        // Reported, or raised below when the rest is done.
        leaves_loop = std::current_exception();
        if (!is_exit_error(leaves_loop)) {
            report_transport_error(*this, "protocol.connection_made() failed",
                                   std::exchange(leaves_loop, nullptr));
        }
    }
    const Future<> waiter = std::exchange(this->waiter_, Future<>(nullptr));
    const bool awaited = waiter && !waiter.done();
    try {
        if (this->lost_ == 0) this->self().begin_watching();
        if (awaited) waiter.set_result();
    } catch (const std::exception&) {
        // The descriptor cannot be watched: that is what the waiter is told.
        const std::exception_ptr error = std::current_exception();
        if (awaited) waiter.set_exception(error);
        this->force_close(awaited ? nullptr : error);
    }
    // It was closed before it was made: connection_lost() is due, and was not queued again.
    if (this->lost_ > 0) this->queue_life();
    if (leaves_loop) std::rethrow_exception(std::move(leaves_loop));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// A socket that is being connected: registered once, and then handed over to its transport.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <utility>

#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/sockets.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The channel. It outlives the task that waits for it where its node is queued.
class ConnectingChannel final : public IoChannel,
                                public WriteNode<ConnectingChannel>,
                                public Pooled {
  public:
    explicit ConnectingChannel(Loop& loop) noexcept
        : IoChannel(static_cast<WriteNode&>(*this), static_cast<WriteNode&>(*this)), loop_(loop) {}
    // Raises: OSError, RuntimeError.
    void open(int fd) {
        loop_.open_channel(*this, fd, ChannelKind::kConnecting);
        loop_.backend->await_room(*this);
    }
    // Nobody looks at it any more.
    void stop() noexcept {
        waiter_ = nullptr;
        if (is_open()) loop_.backend->close(*this);
        stopped_ = true;
        if (!write_queued()) delete this;
    }
    void wait(Waiter* waiter) noexcept { waiter_ = waiter; }

    void write_ready() {
        write_runs();
        if (stopped_) {
            delete this;
        } else if (waiter_ && !waiter_->done()) {
            waiter_->set();
        }
    }
    void write_dropped() noexcept {
        write_runs();
        if (stopped_) delete this;
    }
    std::string describe() const override { return "a connection that is being made"; }
    void loop_closed() noexcept override { loop_.backend->close(*this); }

  private:
    ~ConnectingChannel() = default;

    Loop& loop_;
    Waiter* waiter_ = nullptr;
    bool stopped_ = false;
};

// A socket and, if it had to be waited for, its channel. Closes both.
class ConnectedSocket {
  public:
    ConnectedSocket() noexcept = default;
    explicit ConnectedSocket(Socket s) noexcept : socket(std::move(s)) {}
    ConnectedSocket(ConnectedSocket&& other) noexcept
        : socket(std::move(other.socket)), channel_(std::exchange(other.channel_, nullptr)) {}
    ConnectedSocket& operator=(ConnectedSocket&& other) noexcept {
        std::swap(socket, other.socket);
        std::swap(channel_, other.channel_);
        return *this;
    }
    ~ConnectedSocket() { stop(); }

    // Raises: OSError, RuntimeError.
    ConnectingChannel& open_channel(Loop& loop) {
        channel_ = new ConnectingChannel(loop);
        channel_->open(socket.fileno());
        return *channel_;
    }
    // Null if there is none.
    IoChannel* channel() const noexcept { return channel_; }
    // To be called when the channel has been handed over.
    void stop() noexcept {
        if (channel_) std::exchange(channel_, nullptr)->stop();
    }

    Socket socket;
    SocketAddress peer;  // of no family if that is not known

  private:
    ConnectingChannel* channel_ = nullptr;
};

// Waits until a channel's socket is connected, or has failed to be.
class ConnectionMade {
  public:
    using asyncio_native = void;

    explicit ConnectionMade(ConnectingChannel& channel) noexcept : channel_(channel) {
        channel_.wait(&waiter_);
    }
    ConnectionMade(const ConnectionMade&) = delete;
    ConnectionMade& operator=(const ConnectionMade&) = delete;
    ~ConnectionMade() { channel_.wait(nullptr); }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        waiter_.suspend(h.promise());
    }
    void await_resume() {
        if (std::exception_ptr error = waiter_.resume()) std::rethrow_exception(std::move(error));
    }

  private:
    ConnectingChannel& channel_;
    Waiter waiter_{WaitKind::kConnection};
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What a wait of a stream's writer is: the awaiters of drain() and wait_closed(). What each waits
// for stands at the head of detail/stream.hpp.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <utility>

#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/wait_slot.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Stream;

// A task that drains a writer or waits for its end. Made only where it has to wait, so that the
// awaiter is small.
class StreamWaiter final : public Waiter, public Pooled {
  public:
    StreamWaiter(Stream* stream, WaitKind kind) noexcept : Waiter(kind), stream(stream) {}
    ~StreamWaiter() = default;

    Stream* stream;  // null: it went away
};

// The base of the awaiters of drain() and wait_closed().
class ASYNCIO_API StreamWait {
  public:
    using asyncio_native = void;

    StreamWait(StreamWait&& o) noexcept : stream_(o.stream_), kind_(o.kind_) {}
    StreamWait& operator=(StreamWait&&) = delete;

    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) {
        if (state_ == State::kYields) return thread_state.task->suspend_yield(h.promise());
        wait().suspend(h.promise());
    }
    void await_resume() {
        if (state_ == State::kReady) return;
        if (std::exception_ptr e = settle()) std::rethrow_exception(std::move(e));
    }
    Result<void> await_result() {
        if (state_ != State::kReady) {
            if (std::exception_ptr e = settle()) return Result<void>::failure(std::move(e));
        }
        return Result<void>::success();
    }

  protected:
    enum class State : std::uint8_t {
        kNew,
        kReady,   // there is nothing to wait for or to raise
        kFails,   // there is an error to raise
        kYields,  // the transport closes: connection_lost may come in the meantime
        kWaits,
    };

    StreamWait(Stream* stream, WaitKind kind) noexcept : stream_(stream), kind_(kind) {}
    ~StreamWait() { delete waiter_; }

    // Raises: RuntimeError if it was awaited before.
    void begin() {
        if (state_ != State::kNew) throw_awaited_twice();
        state_ = State::kReady;
    }

    // Stands in the stream's line from now on. Raises: std::bad_alloc.
    StreamWaiter& wait();

    Stream* stream_;
    State state_ = State::kNew;
    WaitKind kind_;

  private:
    std::exception_ptr settle();

    StreamWaiter* waiter_ = nullptr;  // of kWaits and kYields, to know that the stream lives
};

// The awaiter of drain().
class [[nodiscard("co_await it")]] Drain : public StreamWait {
  public:
    explicit Drain(Stream* stream) noexcept : StreamWait(stream, WaitKind::kStreamDrain) {}
    bool await_ready();

  private:
    ASYNCIO_API bool look();
};

// The awaiter of wait_closed().
class [[nodiscard("co_await it")]] WaitClosed : public StreamWait {
  public:
    explicit WaitClosed(Stream* stream) noexcept : StreamWait(stream, WaitKind::kStreamClosed) {}
    ASYNCIO_API bool await_ready();
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

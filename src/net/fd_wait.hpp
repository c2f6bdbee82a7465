// Waiting in a task's own step until a descriptor can be read or written.
//
// The task is woken, and tries its call again itself: a cancel that comes between the wake-up and
// the step leaves everything in the socket, so that nothing is lost.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>

#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/events.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A call on `loop` is awaited. Raises: RuntimeError if it is closed, or runs elsewhere.
void check_awaited_here(EventLoop& loop);
// Raises: ValueError "the socket must be non-blocking".
void refuse_blocking(int fd);

class FdWatch;

// Watches a descriptor from here on; each co_await suspends until it is ready. Used by one task.
class FdWait {
  public:
    using asyncio_native = void;

    // Raises: as EventLoop::add_reader.
    FdWait(Loop& loop, int fd, bool write);
    FdWait(const FdWait&) = delete;
    FdWait& operator=(const FdWait&) = delete;
    ~FdWait();

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        waiter_.reset();
        waiter_.suspend(h.promise());
        if (replaced_) wake();
    }
    // Raises: CancelledError; RuntimeError if somebody else watches the descriptor instead.
    void await_resume();

  private:
    friend class FdWatch;
    template <class>
    friend struct DebugLayout;
    void wake() noexcept {
        if (waiter_.task() && !waiter_.done()) waiter_.set();
    }

    Loop& loop_;
    Waiter waiter_{WaitKind::kDescriptor};
    Ref<HandleState> watch_;
    int fd_;
    bool write_;
    bool replaced_ = false;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What the awaiters of locks and queues are made of.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/waiter.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// `<asyncio.locks.Lock object at 0x7f...` + ` [locked]>`, as Python prints it.
ASYNCIO_API std::string repr_object(const char* name, const void* object, const std::string& extra);
// RuntimeError "{repr} is bound to a different event loop".
ASYNCIO_API std::exception_ptr bound_elsewhere(const std::string& repr);
// RuntimeError for a task that was woken by an object that then went away.
ASYNCIO_API std::exception_ptr destroyed_meanwhile(const char* name);
[[noreturn]] ASYNCIO_API void throw_awaited_twice();

// The loop of a lock or queue: the one where a task first had to wait for it. Keeps that loop's
// core, so that no later loop is taken for it.
class LoopBound {
  public:
    LoopBound() noexcept = default;
    LoopBound(const LoopBound&) = delete;
    LoopBound& operator=(const LoopBound&) = delete;
    ~LoopBound() {
        if (core_) core_->detach();
    }

    // Binds to the running loop if there is none yet. Returns false if it is another one.
    bool bind() noexcept { return bind(thread_state.loop); }
    bool bind(LoopCore* running) noexcept {
        if (core_ == running) return true;
        if (core_) return false;
        ++running->live;  // attach(), of the loop that runs here
        core_ = running;
        return true;
    }

    // In debug mode. Raises: RuntimeError on another thread than the one that runs the loop.
    void check_thread() const {
        if (core_) check_thread_if_debug(*core_);
    }

  private:
    LoopCore* core_ = nullptr;
};

// Room in an awaiter for a wait of type W (a Waiter, or something around it), which is made only
// when the task has to wait: an awaiter that need not touches little more than one byte.
template <class W>
class WaitSlot {
  public:
    WaitSlot() noexcept {}
    // An awaiter moves before it begins, when there is nothing here.
    WaitSlot(WaitSlot&&) noexcept {}
    WaitSlot& operator=(WaitSlot&&) = delete;
    ~WaitSlot() {
        if (state_ == State::kWaited) wait_.W::~W();
    }

    // To be called first. Raises: RuntimeError if the awaiter was awaited before.
    void begin() {
        if (state_ != State::kNew) throw_awaited_twice();
        state_ = State::kBegun;
    }
    template <class... Args>
    W& wait(Args&&... args) noexcept {
        W& w = *std::construct_at(&wait_, std::forward<Args>(args)...);
        state_ = State::kWaited;
        return w;
    }
    // It must not wait, since it runs in another loop than the one that the object is bound to.
    void refuse() noexcept { state_ = State::kRefused; }

    // False if there was no need to wait.
    bool slow() const noexcept { return state_ > State::kBegun; }
    bool refused() const noexcept { return state_ == State::kRefused; }
    W& get() noexcept { return wait_; }

  private:
    template <class>
    friend struct DebugLayout;

    enum class State : std::uint8_t { kNew, kBegun, kWaited, kRefused };

    State state_ = State::kNew;
    union {
        W wait_;
    };
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

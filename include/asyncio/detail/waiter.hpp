// What a task waits on inside a lock, a queue or a condition: a future that only one task awaits,
// so small that it lives in the awaiter. It behaves as CPython's `fut = loop.create_future()`
// there.
#pragma once

#include <cassert>
#include <concepts>
#include <coroutine>
#include <exception>
#include <utility>

#include "asyncio/detail/future_base.hpp"
#include "asyncio/detail/promise.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class WaiterList;

// One that is in no list.
class ASYNCIO_API SoleWaiter : public Waitable {
  public:
    enum class State : std::uint8_t { kPending, kSet, kCancelled };

    SoleWaiter() noexcept = default;

    // Done, set or cancelled (Future.done()).
    bool done() const noexcept { return state_ != State::kPending; }
    bool cancelled() const noexcept { return state_ == State::kCancelled; }

    // Future.set_result(): the task resumes in the next iteration. Must be pending: a task that is
    // queued twice ends its next wait by itself.
    void set() noexcept {
        assert(!done());
        state_ = State::kSet;
        if (task_) task_->wake();
    }
    // As set(), but the caller queues the task that it gives; null if none has suspended, or if it
    // is done already, and the task is queued.
    TaskBase* set_unqueued() noexcept {
        if (done()) return nullptr;
        state_ = State::kSet;
        return task_;
    }
    // Back to pending, for the next wait of the same awaiter. Must be in no list.
    void reset() noexcept {
        state_ = State::kPending;
        error_ = nullptr;
        task_ = nullptr;
    }

    // Suspends the current task, whose step runs `frame`, until set or cancelled.
    void suspend(PromiseBase& frame) noexcept { suspend(frame, *thread_state.task); }
    void suspend(PromiseBase& frame, TaskBase& task) noexcept {
        task_ = &task;
        task_->suspend(frame, *this);
    }
    // To be called when the task runs again: null if the waiter was set and no cancel is due, else
    // the CancelledError to raise (S-44, S-45).
    std::exception_ptr resume() noexcept {
        if (!task_->resumed() && state_ == State::kSet) return nullptr;
        return resume_error();
    }
    TaskBase* task() const noexcept { return task_; }

    bool cancel_wait(const std::exception_ptr& error) override;
    void run() override {}
    void drop() noexcept override {}

  protected:
    ~SoleWaiter() = default;

  private:
    std::exception_ptr resume_error() noexcept;

    TaskBase* task_ = nullptr;
    std::exception_ptr error_;  // the CancelledError of a cancel with a message
    State state_ = State::kPending;
};

// One that may stand in a line.
class ASYNCIO_API Waiter : public SoleWaiter {
  public:
    Waiter() noexcept = default;
    // Leaves the list it is in.
    ~Waiter();

    bool cancel_wait(const std::exception_ptr& error) override;

  private:
    friend class WaiterList;

    WaiterList* list_ = nullptr;
    Waiter* previous_ = nullptr;
    Waiter* following_ = nullptr;
};

// FIFO of waiters (CPython's deque of futures). A waiter that dies leaves it. Those before `next_`
// are done, so that many wake-ups in one step pass each of them once; the cancelled ones are
// counted.
class WaiterList {
  public:
    WaiterList() noexcept = default;
    WaiterList(const WaiterList&) = delete;
    WaiterList& operator=(const WaiterList&) = delete;
    ~WaiterList() {
        while (first_) remove(*first_);
    }

    bool empty() const noexcept { return first_ == nullptr; }
    std::size_t size() const noexcept { return size_; }
    Waiter* front() const noexcept { return first_; }
    static Waiter* next(const Waiter& w) noexcept { return w.following_; }
    bool contains(const Waiter& w) const noexcept { return w.list_ == this; }
    // True if there is none but cancelled ones.
    bool all_cancelled() const noexcept { return cancelled_ == size_; }
    // The first one that is pending; null if there is none.
    Waiter* first_pending() noexcept {
        while (next_ && next_->done()) next_ = next_->following_;
        return next_;
    }

    void push_back(Waiter& w) noexcept {
        if (!next_) next_ = &w;
        if (w.cancelled()) ++cancelled_;
        w.list_ = this;
        w.previous_ = last_;
        w.following_ = nullptr;
        (last_ ? last_->following_ : first_) = &w;
        last_ = &w;
        ++size_;
    }
    void remove(Waiter& w) noexcept {
        if (next_ == &w) next_ = w.following_;
        if (w.cancelled()) --cancelled_;
        (w.previous_ ? w.previous_->following_ : first_) = w.following_;
        (w.following_ ? w.following_->previous_ : last_) = w.previous_;
        w.list_ = nullptr;
        w.previous_ = w.following_ = nullptr;
        --size_;
    }
    Waiter* pop_front() noexcept {
        Waiter* w = first_;
        if (w) remove(*w);
        return w;
    }

  private:
    friend class Waiter;

    Waiter* first_ = nullptr;
    Waiter* last_ = nullptr;
    Waiter* next_ = nullptr;
    std::size_t size_ = 0;
    std::size_t cancelled_ = 0;
};

inline Waiter::~Waiter() {
    if (list_) list_->remove(*this);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What a task waits on inside a lock, a queue or a stream, and the line of those who wait for the
// same: one for all that tasks of one loop wait for. (Channels between threads have their own: what
// waits there is passed from thread to thread.)
//
// A waiter is a future that only one task awaits, so small that it lives in the awaiter. It behaves
// as CPython's `fut = loop.create_future()` there.
#pragma once

#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include "asyncio/detail/future_base.hpp"
#include "asyncio/detail/promise.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class WaitingLine;

// What the task of a waiter waits for, so that a report or a debugger can tell.
enum class WaitKind : std::uint8_t {
    kOther,
    kSleep,
    kLock,
    kEvent,
    kCondition,
    kSemaphore,
    kQueueGet,
    kQueuePut,
    kQueueJoin,
    kTaskGroup,
    kWait,
    kAsCompleted,
    kCancelledFuture,
    kStreamRead,
    kStreamDrain,
    kStreamClosed,
    kDatagramReceive,
    kDatagramSend,
    kConnection,
    kDescriptor,
    kName,
    kFile,
    kSignal,
    kChannel,
};
// "Queue.get"; null for kOther.
ASYNCIO_API const char* name_of(WaitKind kind) noexcept;

// One that stands in no line.
class ASYNCIO_API SoleWaiter : public Waitable {
  public:
    enum class State : std::uint8_t { kPending, kSet, kCancelled };

    explicit SoleWaiter(WaitKind kind) noexcept : kind_(kind) {}

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
    // Back to pending, for the next wait of the same awaiter. Must be in no line.
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
    WaitKind kind() const noexcept { return kind_; }

    bool cancel_wait(const std::exception_ptr& error) override;
    void run() override {}
    void drop() noexcept override {}

  protected:
    ~SoleWaiter() = default;

  private:
    template <class>
    friend struct DebugLayout;
    std::exception_ptr resume_error() noexcept;

    TaskBase* task_ = nullptr;
    std::exception_ptr error_;  // the CancelledError of a cancel with a message
    State state_ = State::kPending;
    const WaitKind kind_;
};

// A place in a line; the end of a line is one, too.
struct LineLink {
    LineLink* previous = nullptr;
    LineLink* following = nullptr;
};

// One that may stand in a line.
class ASYNCIO_API Waiter : public SoleWaiter, private LineLink {
  public:
    explicit Waiter(WaitKind kind) noexcept : SoleWaiter(kind) {}
    // Leaves the line it is in.
    ~Waiter();

    bool cancel_wait(const std::exception_ptr& error) override;
    // Null: it stands in none, or that went away.
    WaitingLine* line() const noexcept { return line_; }

  private:
    friend class WaitingLine;
    template <class>
    friend struct DebugLayout;

    WaitingLine* line_ = nullptr;
};

// Waiters in the order they came (CPython's deque of futures). They stay until they leave, by
// themselves or as they die, so that a task which was woken, or cancelled, keeps its place until it
// runs again. A waiter is
//   waiting    no wake-up has passed it;
//   woken      a wake-up has reached or passed it, its task is in the ready queue;
//   overtaken  it was woken, but what it was woken for went to somebody quicker (queues only);
//   cancelled  its task's wait was cancelled: wake-ups pass it.
// In the line those overtaken come first, then the woken, then the waiting; the cancelled are
// anywhere.
class WaitingLine {
  public:
    WaitingLine() noexcept = default;
    WaitingLine(const WaitingLine&) = delete;
    WaitingLine& operator=(const WaitingLine&) = delete;
    // Those who wait stay where they are, to be cancelled, and are in no line.
    ~WaitingLine() {
        for_each([](Waiter& w) { w.line_ = nullptr; });
    }

    bool empty() const noexcept { return ends_.following == &ends_; }
    // It must not be empty.
    Waiter& first() noexcept {
        // Safe because only waiters stand in a line.
        return static_cast<Waiter&>(*ends_.following);
    }
    bool contains(const Waiter& w) const noexcept { return w.line_ == this; }
    // True if there is none but cancelled ones.
    bool all_cancelled() const noexcept { return not_cancelled_ == 0; }
    // True if there is one that no wake-up has passed.
    bool waiting() const noexcept { return next_ != &ends_; }
    // True if there is one that a wake-up has passed.
    bool any_passed() const noexcept { return ends_.following != next_; }
    // How many there are.
    std::size_t size() const noexcept { return count_from(ends_.following); }
    // How many there are that no wake-up has passed.
    std::size_t count_waiting() const noexcept { return count_from(next_); }

    // Wakes the first one that is pending, and has passed it. False: there is none.
    bool wake_next() noexcept {
        while (next_ != &ends_) {
            // Safe because only waiters stand in a line.
            auto& w = static_cast<Waiter&>(*next_);
            next_ = next_->following;
            if (w.done()) continue;
            w.set();
            return true;
        }
        return false;
    }
    void wake_all() noexcept {
        while (wake_next()) {
        }
    }
    // Calls `overtake(waiter)` for those that a wake-up has passed since the last call, the
    // cancelled among them.
    template <class F>
    void overtake_woken(F overtake) noexcept {
        for (; fresh_ != next_; fresh_ = fresh_->following) {
            overtake(static_cast<Waiter&>(*fresh_));
        }
    }

    void push_back(Waiter& w) noexcept {
        w.previous = ends_.previous;
        w.following = &ends_;
        ends_.previous->following = &w;
        ends_.previous = &w;
        if (next_ == &ends_) next_ = &w;
        if (fresh_ == &ends_) fresh_ = &w;
        if (!w.cancelled()) ++not_cancelled_;
        w.line_ = this;
    }
    void remove(Waiter& w) noexcept {
        if (next_ == &w) next_ = w.following;
        if (fresh_ == &w) fresh_ = w.following;
        if (!w.cancelled()) --not_cancelled_;
        w.previous->following = w.following;
        w.following->previous = w.previous;
        w.line_ = nullptr;
    }
    Waiter* pop_front() noexcept {
        if (empty()) return nullptr;
        Waiter& w = first();
        remove(w);
        return &w;
    }
    // `visit` may not change the line.
    template <class F>
    void for_each(F visit) noexcept {
        for (LineLink* l = ends_.following; l != &ends_;) {
            LineLink* const following = l->following;
            visit(static_cast<Waiter&>(*l));
            l = following;
        }
    }

  private:
    friend class Waiter;
    template <class>
    friend struct DebugLayout;

    std::size_t count_from(const LineLink* link) const noexcept {
        std::size_t n = 0;
        for (; link != &ends_; link = link->following) ++n;
        return n;
    }

    LineLink ends_{&ends_, &ends_};
    LineLink* next_ = &ends_;   // no wake-up has passed it, nor those behind it
    LineLink* fresh_ = &ends_;  // those before it have been overtaken
    std::size_t not_cancelled_ = 0;
};

inline Waiter::~Waiter() {
    if (line_) line_->remove(*this);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The shared state behind Future and Task, without the type of its result.
//
// One object: state, result and, for a task, everything a step needs; 104 bytes plus the result.
// What few tasks use (a given name, a cancel message) lives in `TaskExtra`, made when needed.
//
// The states of a task. Its node, the TaskBase, is in one list at a time.
//
//   state     state_     leaf_       waiting_        the node is in
//   --------  ---------  ----------  --------------  ----------------------------------------
//   new       pending    the root    null            the ready queue; eager: nothing
//   running   pending    null        null (1)        nothing; it is the thread's current task
//   waiting   pending    innermost   what it awaits  the ring of that future; of a SoleWaiter:
//                        frame                       nothing, the waiter knows the task
//   woken     pending    innermost   the same, done  the ready queue
//                        frame       (circle: null)
//   yielding  pending    innermost   null            the ready queue
//                        frame
//   foreign   pending    innermost   null            nothing: a foreign awaiter has a handle
//                        frame                       that queues the task
//   done      not        the root,   (exc_ is in     nothing
//             pending    then null   its place)
//   dropped   pending    null        null            nothing: its loop is closed
//
//   kStarted is set from the first step on (2). It is in the loop's list of tasks until it is done
//   or dropped.
//   (1) From the begin of a step until the awaiter calls resumed() it is as it was.
//   (2) The task that closes a generator has it before, so that a cancel comes inside.
//
//   from      to        by
//   --------  --------  ---------------------------------------------------------------------
//   new       running   run(): by the loop, or by start() if eager
//   new       done      run() while kMustCancel is set: the body is not entered (S-43)
//   running   waiting   suspend(); if kMustCancel is set, the cancel goes on to what it awaits
//                       at once (S-45)
//   running   yielding  suspend_yield()
//   running   foreign   ForeignAwaiter
//   running   done      collect(), at the root's final suspend; cancelled if kMustCancel is set
//                       and the body returned (S-46)
//   waiting   woken     the end of the future (schedule_callbacks()); SoleWaiter::set() or its
//                       cancel; take_out() of a circle
//   foreign   yielding  wake()
//   woken     running   run(). Not its frame, if it was overtaken in a queue: look_again() lets
//   yielding  running   it wait again
//   any but   dropped   Loop::close(): the frames go, innermost first
//   done
//
//   While a stream calls the function of a read_with() in the place of a waiting task, waiting_
//   is null; then the task waits again, or is woken.
//
// cancel() is counted in cancel_requests_. Of a waiting task it goes on to what that awaits; if
// this accepts it, its end wakes the task. In every other state but done, and where it is not
// accepted, it sets kMustCancel, which becomes due as the table says, or where an awaiter resumes
// (S-44). uncancel() to 0 clears it. A task that is done refuses: cancel() returns false.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "asyncio/contextvars.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/refcount.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Loop;
class TaskBase;

enum class FutureState : std::uint8_t {
    kPending,
    kFinished,   // has a value
    kFailed,     // exc_ is the exception
    kCancelled,  // exc_ is the CancelledError to hand out, null for a message-less one
};

class ASYNCIO_API FutureBase : public Waitable, public Pooled {
  public:
    // Bits of flags_.
    static constexpr std::uint16_t kUnretrieved = 1;  // has an exception that nobody looked at
    static constexpr std::uint16_t kDoneNodes = 2;    // callbacks_ holds DoneNodes, not tasks only
    static constexpr std::uint16_t kTask = 4;         // a TaskBase
    static constexpr std::uint16_t kMustCancel = 8;   // CancelledError is due at the next step
    static constexpr std::uint16_t kStarted = 16;     // the first step has begun
    static constexpr std::uint16_t kEager = 32;       // its first step ran inside create_task
    static constexpr std::uint16_t kExit = 64;  // KeyboardInterrupt/SystemExit: leave the loop
    static constexpr std::uint16_t kLogDestroyed = 128;  // report "destroyed but it is pending"
    static constexpr std::uint16_t kWatched = 256;       // somebody is to be told of its end
    static constexpr std::uint16_t kOther = 512;         // another layout: use value_address()
    static constexpr std::uint16_t kCancelOnce = 1024;   // exc_ is handed out once (S-51)
    static constexpr std::uint16_t kCancelling = 2048;   // a cancel() passes through it just now
    static constexpr std::uint16_t kGroupParent = 4096;  // a task that has entered a TaskGroup
    static constexpr std::uint16_t kGroupMember = 8192;  // a task of a TaskGroup
    static constexpr std::uint16_t kShieldLog = 16384;  // shield() has put a log node into its list
    static constexpr std::uint16_t kPassedOn = 32768;  // kGroupParent: was cancelled through others

    void retain() noexcept { refs_.add(); }
    void release() noexcept { release_on(thread_state); }
    // The same where the state of this thread is at hand.
    void release_on(ThreadState& here) noexcept {
        if (refs_.drop()) destroy(here);
    }
    bool unique() const noexcept { return refs_.unique(); }

    bool done() const noexcept { return state_ != FutureState::kPending; }
    bool cancelled() const noexcept { return state_ == FutureState::kCancelled; }
    bool is_task() const noexcept { return (flags_ & kTask) != 0; }
    LoopCore& core() const noexcept { return *core_; }
    std::source_location place() const noexcept { return place_; }

    // F-06, T-03. `error`: the CancelledError with the message, or null.
    bool cancel_wait(const std::exception_ptr& error) override;
    bool cancel(std::string_view message);
    FutureBase* as_future() noexcept override { return this; }

    // The exception that stands for how it ended; null if it has a value. Counts as looking at it.
    // A task's own CancelledError is handed out once (S-51).
    std::exception_ptr take_error() noexcept;
    // Raises: InvalidStateError if pending, the exception otherwise.
    void check_result();
    // F-03. Raises: InvalidStateError, CancelledError.
    std::exception_ptr exception();

    // Raises: InvalidStateError "invalid state"; TypeError for null; RuntimeError for a task
    // (T-12).
    void set_exception(std::exception_ptr error);
    // Before a result is set. Raises: InvalidStateError if done; RuntimeError for a task (T-12).
    void check_pending() const;

    // Ends it and moves the callbacks to the ready queue.
    void finish_value() noexcept;
    void finish_error(std::exception_ptr error) noexcept;
    void finish_cancelled(std::exception_ptr error) noexcept;

    // Registers a node of the library's; if already done it is scheduled at once.
    void add_node(Node* node, bool is_done_node) noexcept;
    // The same for a task that waits; it must be pending.
    void add_task(Node* task) noexcept {
        Node* const last = callbacks_;
        callbacks_ = task;
        if (!last) {
            task->next_ = task;
            return;
        }
        task->next_ = last->next_;
        last->next_ = task;
    }
    // Unlinks a node. Returns false if it is not in the list.
    bool remove_node(Node* node) noexcept;
    // Unlinks the last one whose key is `key`; null if there is none.
    Node* take_latest(std::uint64_t key) noexcept;
    // Unlinks and drops every callback whose key is `key`; returns how many.
    std::size_t remove_callbacks(std::uint64_t key) noexcept;
    // Drops all callbacks unrun (its loop closes).
    void drop_callbacks() noexcept;

    void mark_retrieved() noexcept { flags_ &= static_cast<std::uint16_t>(~kUnretrieved); }

    // Node: a future is in no ready queue itself; subclasses are.
    void run() override {}
    void drop() noexcept override {}

    virtual const char* class_name() const noexcept { return "Future"; }
    // The value as Python prints it; called when finished.
    virtual std::string value_repr() const = 0;
    virtual const std::type_info& value_type() const noexcept = 0;
    // The stored value; null for void.
    virtual void* value_address() noexcept = 0;

    FutureState state_ = FutureState::kPending;
    union {
        std::uint8_t units_;   // until it fails: of its block, if its value needs no destructor; 0
        std::uint8_t traced_;  // failed: how many frames exc_ had left (see cut_trace())
    };
    std::uint16_t flags_;
    RefCount refs_;
    LoopCore* core_;
    Node* callbacks_ = nullptr;  // last node of a ring; null: none
    union {
        std::exception_ptr exc_;  // once done
        Waitable* waiting_;       // while pending: what a task waits for
    };
    std::source_location place_;  // where it was made; of a task: where its coroutine is defined

  protected:
    FutureBase(LoopCore& core, std::uint16_t flags, std::uint32_t refs,
               std::source_location place) noexcept
        : FutureBase(core, flags, refs, place, 0) {
        core.attach();
    }
    // The core counts it already. `units`: see units_.
    FutureBase(LoopCore& core, std::uint16_t flags, std::uint32_t refs, std::source_location place,
               std::uint8_t units) noexcept
        : units_(units),
          flags_(flags),
          refs_(refs),
          core_(&core),
          waiting_(nullptr),
          place_(place) {}
    virtual ~FutureBase() {
        if (done()) {
            std::destroy_at(&exc_);
        } else if (callbacks_) {
            drop_callbacks();
        }
        core_->detach();
    }

    void finish(FutureState state) noexcept;
    void schedule_callbacks() noexcept;

  private:
    void schedule_done_nodes() noexcept;
    bool needs_no_destructor(const ThreadState& here) const noexcept;
    void destroy_slow(ThreadState& here) noexcept;
    void unlink_after(Node* before) noexcept;
    Node* find_unique(std::uint64_t key) const noexcept;
    void destroy(ThreadState& here) noexcept;
    static void destroy_doomed() noexcept;
    void report_unretrieved() noexcept;
};

// T-02, B-12: one counter for the process; a given name takes no number.
extern ASYNCIO_API std::atomic<std::uint64_t> task_counter;

inline std::uint64_t next_task_number() noexcept {
    if (!single_threaded()) return task_counter.fetch_add(1, std::memory_order_relaxed) + 1;
    // Safe because there is no other thread: a plain load and store lose no update.
    const std::uint64_t n = task_counter.load(std::memory_order_relaxed) + 1;
    task_counter.store(n, std::memory_order_relaxed);
    return n;
}

struct TaskExtra {
    std::string name;
    bool named = false;
    std::uint64_t number = 0;
    std::exception_ptr cancel_error;  // of the last cancel that became due, if it had a message
    std::exception_ptr await_error;   // to be raised where it awaits what is not done: a circle
    void* scopes = nullptr;           // top of the task's stack of cancel scopes
};

class ASYNCIO_API TaskBase : public FutureBase {
  public:
    // One step: runs the innermost frame until the task suspends or ends.
    void run() override;
    void drop() noexcept override;
    bool cancel_wait(const std::exception_ptr& error) override;
    TaskBase* as_task() noexcept override { return this; }
    const char* class_name() const noexcept override { return "Task"; }
    const char* label() const noexcept override { return "Task.task_wakeup()"; }
    void awaiters(Awaiters& found) override;

    // Called by an awaiter in the task's own step: `frame` is where to go on. A cancel that is due
    // reaches `what` at once (S-45).
    void suspend(PromiseBase& frame, Waitable& what) noexcept {
        leaf_ = &frame;
        waiting_ = &what;
        if (flags_ & kMustCancel) cancel_now();
    }
    // Suspends for exactly one iteration. It may have computed for long: what other threads have
    // posted meanwhile comes first, as in CPython.
    void suspend_yield(PromiseBase& frame) noexcept {
        leaf_ = &frame;
        waiting_ = nullptr;
        core_->take_posted();
        core_->push_ready(this);
    }
    // What was waited for is over: the step follows in the next iteration.
    void wake() noexcept { core_->push_ready(this); }

    // To be called first by an awaiter that resumes. Returns true if CancelledError is due in place
    // of the result; `throw_cancelled` then raises it.
    bool resumed() noexcept {
        waiting_ = nullptr;
        return (flags_ & kMustCancel) != 0;
    }
    // The CancelledError that is due; clears the request.
    std::exception_ptr take_cancel() noexcept;
    // With the message of the last cancel() that became due, whether or not it was delivered since.
    std::exception_ptr last_cancel_error() const noexcept;

    // What is to be raised where it was woken though what it awaits is not done; clears it.
    std::exception_ptr take_await_error() noexcept;

    // First step: queued, or at once if `eager` (EG-04) and not too many are on the stack already.
    void start(bool eager);
    // To be called before that where the loop tells of its tasks.
    void tell_made() noexcept;
    // The common case of launch(): no name, no context, not eager.
    void start_plain() noexcept {
        name_ = next_task_number() << 1 | 1;
        const ContextSlot* slot = thread_state.context;
        if (!slot || !slot->empty()) copy_context();
        link();
        core_->push_ready(this);
    }
    // Room for a task that runs `root`, where no block is free. Raises: std::bad_alloc, and then
    // the coroutine has ended unbegun, and the core does not count the task.
    static void* room(std::size_t size, std::size_t alignment, LoopCore& core, PromiseBase& root);

    std::string name() const;
    void set_name(std::string_view name);
    TaskExtra& extra();

    // Takes a finished root frame's result. Called at its final suspend.
    virtual void collect(PromiseBase& root) noexcept = 0;

    PromiseBase* leaf_;    // the frame to resume; before the first step the root
    std::uintptr_t name_;  // odd: number * 2 + 1; even: TaskExtra*
    ContextSlot context_;
    TaskBase* previous_ = nullptr;  // in the loop's list of tasks that are not done
    TaskBase* following_ = nullptr;
    std::uint32_t cancel_requests_ = 0;

  protected:
    TaskBase(LoopCore& core, PromiseBase& root, std::source_location place,
             std::uint8_t units) noexcept
        : FutureBase(core, kTask | kLogDestroyed, 2, place, units), leaf_(&root), name_(1) {}
    ~TaskBase() override {
        if ((name_ & 1) == 0) delete_extra();
    }

    // For collect(). The root returned while a cancel was due: the task ends cancelled (S-46).
    bool cancel_due() const noexcept { return (flags_ & kMustCancel) != 0; }
    void end_cancelled(PromiseBase& root) noexcept;
    // `error` is where the root has its exception; null: it ended without co_return.
    void finish_from_error(PromiseBase& root, std::exception_ptr* error) noexcept;
    void finish_from_value(PromiseBase& root) noexcept;

  private:
    friend class CancelWalk;
    friend void destroy_tasks(Loop& loop) noexcept;
    void must_cancel(const std::exception_ptr& error) noexcept;
    void cancel_now() noexcept;
    void cancel_before_start() noexcept;
    void tell_ended();
    void copy_context() noexcept;
    void delete_extra() noexcept;
    void link() noexcept {
        previous_ = core_->last_task;
        following_ = nullptr;
        (previous_ ? previous_->following_ : core_->first_task) = this;
        core_->last_task = this;
        ++core_->tasks_made;
    }
    void unlink() noexcept {
        (previous_ ? previous_->following_ : core_->first_task) = following_;
        (following_ ? following_->previous_ : core_->last_task) = previous_;
    }
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

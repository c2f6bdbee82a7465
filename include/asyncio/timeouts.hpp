// timeout, timeout_at, Timeout, wait_for: a limit on how long something may take. T-20, T-22 to
// T-24, S-35, S-70 to S-75, S-87.
//
// A limit is a timer that cancels the task, and on the way out turns the CancelledError into
// TimeoutError if nobody else asked for the cancel: the task's count of requests tells (S-72).
// wait_for has no frame and no task of its own: it embeds what it awaits, and the same scope.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/tasks/task.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class CallTimer;

// What Timeout and wait_for have in common. Lives no longer than the task that it may cancel.
class ASYNCIO_API TimeoutScope {
  public:
    enum class State : std::uint8_t {
        kCreated,
        kActive,
        kExpiring,  // fired: the task was asked to cancel, and has not left yet
        kExpired,   // left after that
        kFinished,  // left before
    };

    TimeoutScope() noexcept = default;
    TimeoutScope(const TimeoutScope&) = delete;
    TimeoutScope& operator=(const TimeoutScope&) = delete;
    ~TimeoutScope() {
        if (timer_) disarm();
    }

    State state() const noexcept { return state_; }

    // S-70: the task that runs now is in the scope.
    void enter() noexcept {
        task_ = thread_state.task;
        requests_ = task_->cancel_requests_;
        state_ = State::kActive;
    }
    // Fires `delay` ns from now, which is more than 0.
    void arm_after(std::int64_t delay);
    // Fires at loop time `when`, ns; in the next iteration if that is past. Replaces a timer.
    // `ahead`: it was not past a moment ago, which saves a look at a real clock.
    void arm_at(std::int64_t when, bool ahead = false);
    void disarm() noexcept;

    // Leaves. Returns false if it had not fired; if it had, replaces `error` by what goes on
    // (S-72).
    bool leave(std::exception_ptr& error) noexcept {
        if (timer_) disarm();
        if (state_ == State::kExpiring) {
            expire(error);
            return true;
        }
        state_ = State::kFinished;
        return false;
    }
    bool fired() const noexcept { return state_ == State::kExpiring; }

  private:
    void fire();
    void expire(std::exception_ptr& error) noexcept;

    CallTimer* timer_ = nullptr;
    TaskBase* task_ = nullptr;
    std::uint32_t requests_ = 0;  // the task's cancel count when it entered
    State state_ = State::kCreated;
};

}  // namespace detail

class Timeout;
// Explained below.
ASYNCIO_API Timeout timeout(Delay delay);

// A scope with a deadline; made by timeout() or timeout_at(), used with `with`. T-24. If the
// deadline passes, the task is cancelled, and the CancelledError that leaves the scope becomes
// TimeoutError, with the CancelledError as its cause (cause_of); if the task was cancelled by
// others too, CancelledError it stays. To be used once, and moved before it is entered only.
class ASYNCIO_API Timeout {
  public:
    // As timeout_at() makes it.
    explicit Timeout(Deadline when) noexcept : Timeout(when, false) {}
    // Raises: RuntimeError "Timeout has already been entered".
    // NOLINTNEXTLINE(performance-noexcept-move-constructor): it refuses.
    Timeout(Timeout&& o) : when_(o.when_), ahead_(o.ahead_) {
        if (o.scope_.state() != detail::TimeoutScope::State::kCreated) throw_entered();
    }
    Timeout& operator=(Timeout&&) = delete;
    ~Timeout() = default;

    // The deadline; nothing: no limit.
    std::optional<TimePoint> when() const noexcept;
    // Sets another deadline, or none. A past one fires in the next iteration.
    // Raises: RuntimeError "Timeout has not been entered", "Cannot change state of expired Timeout"
    // (or expiring, finished), "no running event loop" on another thread; in debug mode on any but
    // its loop's.
    void reschedule(Deadline when);
    // True from the moment that the deadline passed inside the scope.
    bool expired() const noexcept;
    // `<Timeout [active] when=1.5>`; states created, active, expiring, expired, finished.
    std::string repr() const;

    class Enter;
    class Exit;
    // Enters; gives this object. Never suspends. S-70.
    // Raises: RuntimeError "Timeout has already been entered", "Timeout should be used inside a
    // task". If cancelled: nothing happens, since it does not wait.
    Enter aenter() noexcept;
    // Leaves; gives false. Never suspends. S-72. Raises: TimeoutError. If cancelled: nothing
    // happens, since it does not wait.
    Exit aexit(std::exception_ptr error) noexcept;

    // For `with`.
    Timeout& asyncio_enter();
    bool asyncio_leave(std::exception_ptr& error);

  private:
    friend Timeout timeout(Delay delay);
    Timeout(Deadline when, bool ahead) noexcept : when_(when), ahead_(ahead) {}
    [[noreturn]] static void throw_entered();

    Deadline when_;
    bool ahead_;  // made by timeout() with a delay of more than 0
    detail::TimeoutScope scope_;
    detail::Ref<detail::FutureBase> task_;  // while entered: scope_ may outlive the task's frames
};

class [[nodiscard("co_await it")]] Timeout::Enter {
  public:
    using asyncio_native = void;
    explicit Enter(Timeout& t) noexcept : timeout_(t) {}
    bool await_ready() const noexcept { return true; }
    template <std::derived_from<detail::PromiseBase> P>
    void await_suspend(std::coroutine_handle<P>) const noexcept {}
    Timeout& await_resume() { return timeout_.asyncio_enter(); }

  private:
    Timeout& timeout_;
};

class [[nodiscard("co_await it")]] Timeout::Exit {
  public:
    using asyncio_native = void;
    Exit(Timeout& t, std::exception_ptr e) noexcept : timeout_(t), error_(std::move(e)) {}
    bool await_ready() const noexcept { return true; }
    template <std::derived_from<detail::PromiseBase> P>
    void await_suspend(std::coroutine_handle<P>) const noexcept {}
    bool await_resume() {
        const std::exception_ptr before = error_;
        timeout_.asyncio_leave(error_);
        if (error_ != before) std::rethrow_exception(error_);
        return false;
    }

  private:
    Timeout& timeout_;
    std::exception_ptr error_;
};

inline Timeout::Enter Timeout::aenter() noexcept { return Enter(*this); }
inline Timeout::Exit Timeout::aexit(std::exception_ptr error) noexcept {
    return Exit(*this, std::move(error));
}

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const Timeout& t);

// A scope that may last `delay` from this call on (nullopt: no limit); 0 or less interrupts the
// first wait inside it. T-22:
//     co_await with(timeout(1s), [&](Timeout& cm) -> Coroutine<> { ... });
// Raises: RuntimeError "no running event loop".
[[nodiscard("give it to with()")]] ASYNCIO_API Timeout timeout(Delay delay);
// The same, until a point of the loop's time. T-23.
[[nodiscard("give it to with()")]] inline Timeout timeout_at(Deadline when) noexcept {
    return Timeout(when);
}

namespace detail {

// Cancels a future and waits until it has ended (T-20 with a timeout of 0). On the heap, since it
// may still be in the ready queue when the waiter has gone.
class ASYNCIO_API CancelAndWait final : public Serving<Waitable>, public Pooled {
  public:
    CancelAndWait() noexcept : Serving(Serves::kWaiter, static_cast<SoleWaiter*>(&waiter_)) {}
    // Cancels `future`, and suspends `frame` until it is done.
    void begin(FutureBase& future, PromiseBase& frame);
    // The CancelledError to raise; null once the future is done.
    std::exception_ptr resume() noexcept { return waiter_.resume(); }
    // The waiter goes.
    void abandon() noexcept;

    void run() override;
    void drop() noexcept override;
    void scheduled(FutureBase&) noexcept override { queued_ = true; }
    bool cancel_wait(const std::exception_ptr& error) override {
        return waiter_.cancel_wait(error);
    }

  private:
    ~CancelAndWait() = default;

    Ref<FutureBase> future_;
    Waiter waiter_{WaitKind::kCancelledFuture};
    bool queued_ = false;     // in the ready queue
    bool abandoned_ = false;  // to be deleted there
};

// What a future that ended after its waiter's time was over gives: a TimeoutError in place of its
// CancelledError. Null for a value.
ASYNCIO_API std::exception_ptr overdue_error(FutureBase& future, bool waited) noexcept;

// Awaitable of wait_for(). The usual case: `awaiter_` is that of the awaitable, embedded; the scope
// is entered only when it has to be called or waited for. With no time at all: `future_` is
// cancelled.
template <class A>
class [[nodiscard("co_await it")]] WaitFor {
    using Awaiter = AwaiterFor<A>;
    using R = typename AwaitResultOf<A>::type;
    using Handle = decltype(future_for(std::declval<LoopCore&>(), std::declval<A>()));

  public:
    using asyncio_native = void;

    WaitFor(A&& a, Delay timeout)
        : awaitable_(std::forward<A>(a)), timeout_(timeout.is_none() ? kNever : timeout.count()) {}
    // To be moved before it is awaited only.
    WaitFor(WaitFor&& o) noexcept(std::is_nothrow_constructible_v<A, A&&>)
        : awaitable_(std::forward<A>(o.awaitable_)), timeout_(o.timeout_) {}
    WaitFor& operator=(WaitFor&&) = delete;
    ~WaitFor() {
        if (stage_ == Stage::kAwaiter) {
            std::destroy_at(std::addressof(awaiter_));
        } else if (stage_ == Stage::kFuture) {
            if (cancelling_) cancelling_->abandon();
            std::destroy_at(&future_);
        }
    }

    bool await_ready() {
        if (timeout_ <= 0) [[unlikely]] {
            std::construct_at(&future_,
                              future_for(*thread_state.loop, std::forward<A>(awaitable_)));
            stage_ = Stage::kFuture;
            return future_.done();
        }
        // Placement new, so that an awaiter that cannot be moved is made in place.
        ::new (static_cast<void*>(&awaiter_)) Awaiter(awaiter_for(std::forward<A>(awaitable_)));
        stage_ = Stage::kAwaiter;
        return awaiter_.await_ready();
    }

    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        if (stage_ == Stage::kFuture) [[unlikely]] {
            begin_cancelling(h.promise());
            return true;
        }
        scope_.enter();
        if (timeout_ != kNever) scope_.arm_after(timeout_);
        if constexpr (std::is_void_v<decltype(awaiter_.await_suspend(h))>) {
            awaiter_.await_suspend(h);
            return true;
        } else {
            return awaiter_.await_suspend(h);
        }
    }

    R await_resume() {
        if (stage_ == Stage::kAwaiter && !scope_.fired()) [[likely]] {
            std::exception_ptr none;
            scope_.leave(none);
            if constexpr (kTakeByResult) {
                return awaiter_.await_result().value();
            } else {
                return awaiter_.await_resume();
            }
        }
        return await_result().value();
    }

    Result<R> await_result() {
        if (stage_ == Stage::kFuture) return overdue_result();
        Result<R> outcome = result_of<R>(awaiter_);
        std::exception_ptr error = outcome.error();
        if (!scope_.leave(error) || outcome.has_value()) return outcome;
        return Result<R>::failure(std::move(error));
    }

  private:
    enum class Stage : std::uint8_t { kNew, kAwaiter, kFuture };

    // A result that cannot be copied is moved out of a handle that others share.
    static constexpr bool kTakeByResult =
        FutureLike<A> && !std::is_void_v<R> && !detail::kCopyable<Stored<R>>;

    void begin_cancelling(PromiseBase& frame) {
        TaskBase& task = *thread_state.task;
        if (&future_.state()->core() != &task.core()) {
            // Raised when the task goes on, as by an await.
            Ref<FutureBase> state = future_.state();
            suspend_badly(task, frame, state);
            future_ = Handle::from_state(std::move(state));
            refused_ = true;
            return;
        }
        try {
            cancelling_ = new CancelAndWait;
        } catch (...) {
            // No memory: the coroutine is not to begin all the same.
            future_.state()->cancel_wait(nullptr);
            throw;
        }
        cancelling_->begin(*future_.state(), frame);
    }

    Result<R> overdue_result() {
        std::exception_ptr error;
        if (refused_) {
            thread_state.task->resumed();
            return Result<R>::failure(resume_error(thread_state.task, *future_.state()));
        }
        if (cancelling_) error = cancelling_->resume();
        if (!error) error = overdue_error(*future_.state(), cancelling_ != nullptr);
        if (error) return Result<R>::failure(std::move(error));
        if constexpr (std::is_void_v<R>) {
            return Result<R>::success();
        } else if constexpr (std::is_reference_v<R>) {
            return Result<R>::success(std::addressof(std::move(future_).result()));
        } else {
            return Result<R>::success(std::move(future_).result());
        }
    }

    A awaitable_;  // a reference for an lvalue
    std::int64_t timeout_;
    TimeoutScope scope_;
    CancelAndWait* cancelling_ = nullptr;
    bool refused_ = false;       // the future is of another loop
    Stage stage_ = Stage::kNew;  // which of these two there is
    union {
        Awaiter awaiter_;
        Handle future_;
    };
};

// References stay references.
template <class A>
struct AwaitResultOf<WaitFor<A>> : AwaitResultOf<A> {};
template <class A>
struct AwaitResultOf<WaitFor<A>&> : AwaitResultOf<A> {};

}  // namespace detail

// Awaits `x` (any awaitable, or a callable that returns one) for at most `timeout`, counted from
// when it is awaited (nullopt: no limit), and gives its result. A coroutine runs in the calling
// task, not in one of its own (B-21). After the timeout it is cancelled and waited for, however
// long it cleans up; if it then returns a value all the same, that is the result (B-23). With a
// timeout of 0 or less a coroutine does not begin, and a future or task gives its result only if it
// is done already (B-22). T-20, S-87. Raises: TimeoutError, with the CancelledError as its cause;
// what `x` raises. If cancelled: `x` is cancelled too, and its CancelledError raised.
template <Awaitable A>
[[nodiscard("co_await it")]] detail::WaitFor<A> wait_for(A&& x, Delay timeout) {
    static_assert(
        detail::kSafeTemporary<A>,
        "name this callable first (auto f = ...; co_await wait_for(f, 1s)): this compiler "
        "would copy its captures bitwise");
    return detail::WaitFor<A>(std::forward<A>(x), timeout);
}
template <class... A>
    requires(!detail::kAwaits<2, A...>)
detail::Refused wait_for(A&&...) {
    static_assert(detail::kRight<A...>,
                  "wait_for() takes what may be awaited, and a limit: wait_for(f(), 1s)");
    return {};
}

}  // namespace v1
}  // namespace asyncio

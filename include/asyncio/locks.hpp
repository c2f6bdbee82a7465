// Lock, Event, Condition, Semaphore, BoundedSemaphore, Barrier: L-01 to L-17.
//
// All of them are for the tasks of one loop, not for threads. An object is bound to a loop when a
// task first has to wait for it; waiting in another loop is RuntimeError "... is bound to a
// different event loop" from then on. Waiters are served in the order they came. An object that
// dies while tasks wait for it leaves them waiting: they end when they are cancelled.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/ready.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/detail/wait_slot.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {

class Condition;

namespace detail {

// What std::lock_guard and its kin ask for, which a lock for tasks has not: it would have to wait
// without co_await.
template <class L>
struct NoMutex {
    // Refused by a sentence.
    template <class Never = L>
    void lock() {
        static_assert(kRight<Never>,
                      "a lock for tasks is awaited: auto guard = co_await lock.scoped();");
    }
    // Refused by a sentence.
    template <class Never = L>
    bool try_lock() {
        static_assert(kRight<Never>,
                      "a lock for tasks is awaited: auto guard = co_await lock.scoped();");
        return false;
    }
    // Refused by a sentence.
    [[gnu::error("release() frees a lock for tasks")]] void unlock();
};

}  // namespace detail

// Holds a Lock, or a unit of a Semaphore, and gives it back when it goes: what `co_await
// lock.scoped()` gives. Movable. `lock` must outlive it.
template <class L>
class [[nodiscard("it releases at once: keep it in a variable")]] ScopedLock {
  public:
    // Takes over what the caller has acquired.
    explicit ScopedLock(L& acquired) noexcept : lock_(&acquired) {}
    ScopedLock(ScopedLock&& o) noexcept : lock_(detail::take(o.lock_)) {}
    ScopedLock& operator=(ScopedLock&& o) noexcept {
        detail::trade(lock_, o.lock_);
        return *this;
    }
    ~ScopedLock() {
        if (lock_ && !lock_->try_release()) lock_->report_released_twice();
    }

    // Gives it back now.
    // Raises: what release() of the lock raises, if somebody else has released it.
    void release() {
        if (L* lock = detail::take(lock_)) lock->release();
    }
    // True while it holds something.
    explicit operator bool() const noexcept { return lock_ != nullptr; }

  private:
    L* lock_;
};

namespace detail {

class QueueBase;

// Awaitable of acquire(), scoped() and aenter() of a lock or semaphore L; gives true, a guard, or
// nothing.
template <class L, class R>
class [[nodiscard("co_await it")]] Acquire {
  public:
    using asyncio_native = void;

    explicit Acquire(L& lock) noexcept : lock_(&lock) {}

    bool await_ready() {
        slot_.begin();
        return lock_->try_acquire();
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) noexcept {
        if (!lock_->loop_.bind()) {
            slot_.refuse();
            return false;
        }
        Waiter& waiter = slot_.wait(L::kWaitKind);
        lock_->waiters_.push_back(waiter);
        waiter.suspend(h.promise());
        return true;
    }
    R await_resume() {
        if (slot_.slow()) {
            if (std::exception_ptr e = error()) std::rethrow_exception(std::move(e));
        }
        if constexpr (std::is_same_v<R, bool>) {
            return true;
        } else if constexpr (!std::is_void_v<R>) {
            return R(*lock_);
        }
    }
    Result<R> await_result() {
        if (slot_.slow()) {
            if (std::exception_ptr e = error()) return Result<R>::failure(std::move(e));
        }
        if constexpr (std::is_void_v<R>) {
            return Result<R>::success();
        } else if constexpr (std::is_same_v<R, bool>) {
            return Result<R>::success(true);
        } else {
            return Result<R>::success(R(*lock_));
        }
    }

  private:
    std::exception_ptr error() {
        if (slot_.refused()) return bound_elsewhere(lock_->repr());
        return lock_->settle(slot_.get());
    }

    L* lock_;
    WaitSlot<Waiter> slot_;
};

}  // namespace detail

// A mutual exclusion lock for tasks. Nobody owns it: any task may release it. L-01.
class ASYNCIO_API Lock : public detail::NoMutex<Lock> {
  public:
    Lock() noexcept = default;
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

    // True while it is held. After release() it is false at once, even if a task waits and will
    // hold it in the next iteration.
    bool locked() const noexcept { return locked_; }

    // Waits until it is free, and takes it; gives true. Free and nobody waits: no suspension. A
    // newcomer never overtakes a waiter, even one that was woken and has not run. L-02.
    // Raises: RuntimeError if it must wait in another loop than the lock's.
    // If cancelled: it is not taken; if it is free, the next waiter is woken.
    auto acquire() noexcept { return detail::Acquire<Lock, bool>(*this); }
    // As acquire(), but gives a guard that releases it when it goes:
    // `auto guard = co_await lock.scoped();`
    auto scoped() noexcept { return detail::Acquire<Lock, ScopedLock<Lock>>(*this); }

    // Frees it and wakes the first waiter. L-03.
    // Raises: RuntimeError "Lock is not acquired."; in debug mode RuntimeError from another thread,
    // as do all objects here that tasks have waited for.
    void release() {
        loop_.check_thread();
        if (!try_release()) throw_not_acquired();
    }

    // For `with(lock, body)`.
    auto aenter() noexcept { return detail::Acquire<Lock, void>(*this); }
    auto aexit(const std::exception_ptr& /*error*/) {
        release();
        return detail::Ready<bool>(false);
    }

    // `<asyncio.locks.Lock object at 0x7f... [unlocked, waiters:2]>`
    std::string repr() const;

  private:
    template <class>
    friend struct detail::DebugLayout;
    template <class L, class R>
    friend class detail::Acquire;
    friend class ScopedLock<Lock>;
    friend class Condition;

    static constexpr auto kWaitKind = detail::WaitKind::kLock;

    bool try_acquire() noexcept {
        if (locked_ || !waiters_.all_cancelled()) return false;
        locked_ = true;
        return true;
    }
    bool try_release() noexcept {
        if (!locked_) return false;
        locked_ = false;
        if (!waiters_.all_cancelled()) wake_first();
        return true;
    }
    void wake_first() noexcept {
        detail::Waiter& first = waiters_.first();
        // Done: it was woken before, or cancelled and will then wake the next.
        if (!first.done()) first.set();
    }
    std::exception_ptr settle(detail::Waiter& waiter) noexcept;
    [[noreturn]] static void throw_not_acquired();
    void report_released_twice() const noexcept;

    bool locked_ = false;
    detail::WaitingLine waiters_;
    detail::LoopBound loop_;
};

namespace detail {

// Awaitable of Event::wait() (gives true) and Queue::join() (gives nothing).
template <class E, class R>
class [[nodiscard("co_await it")]] EventWait {
  public:
    using asyncio_native = void;

    explicit EventWait(E& event) noexcept : event_(&event) {}

    bool await_ready() {
        slot_.begin();
        return event_->is_set();
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) noexcept {
        if (!event_->loop_.bind()) {
            slot_.refuse();
            return false;
        }
        Waiter& waiter = slot_.wait(std::is_void_v<R> ? WaitKind::kQueueJoin : WaitKind::kEvent);
        event_->waiters_.push_back(waiter);
        waiter.suspend(h.promise());
        return true;
    }
    R await_resume() {
        if (slot_.slow()) {
            if (std::exception_ptr e = error()) std::rethrow_exception(std::move(e));
        }
        if constexpr (!std::is_void_v<R>) return true;
    }
    Result<R> await_result() {
        if (slot_.slow()) {
            if (std::exception_ptr e = error()) return Result<R>::failure(std::move(e));
        }
        if constexpr (std::is_void_v<R>) {
            return Result<R>::success();
        } else {
            return Result<R>::success(true);
        }
    }

  private:
    std::exception_ptr error() {
        if (slot_.refused()) return bound_elsewhere(event_->repr());
        return event_->settle(slot_.get());
    }

    E* event_;
    WaitSlot<Waiter> slot_;
};

}  // namespace detail

// A flag that tasks wait for. L-04.
class ASYNCIO_API Event {
  public:
    Event() noexcept = default;
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    // Whether the flag is set.
    bool is_set() const noexcept { return set_; }
    // Raises the flag and wakes all who wait, in the order they came. They go on even if the flag
    // is cleared before they run. Raises: in debug mode RuntimeError from another thread.
    void set() {
        loop_.check_thread();
        raise_flag();
    }
    // Lowers the flag: who waits from now on waits. Raises: as set().
    void clear() {
        loop_.check_thread();
        set_ = false;
    }

    // Waits until the flag is set; gives true. Set: no suspension. L-05.
    // Raises: RuntimeError if it must wait in another loop than the event's.
    // If cancelled: it leaves the line.
    auto wait() noexcept { return detail::EventWait<Event, bool>(*this); }

    // `<asyncio.locks.Event object at 0x7f... [unset, waiters:1]>`
    std::string repr() const;

  private:
    template <class>
    friend struct detail::DebugLayout;
    template <class E, class R>
    friend class detail::EventWait;
    friend class detail::QueueBase;

    void raise_flag() noexcept {
        if (set_) return;
        set_ = true;
        waiters_.wake_all();
    }
    std::exception_ptr settle(detail::Waiter& waiter) noexcept;

    bool set_ = false;
    detail::WaitingLine waiters_;
    detail::LoopBound loop_;
};

// Lets tasks wait, under a lock, until another one tells them to look again. L-06.
class ASYNCIO_API Condition : public detail::NoMutex<Condition> {
  public:
    // With a lock of its own.
    Condition() noexcept : lock_(&own_) {}
    // With a lock that others use too; it must outlive the condition.
    explicit Condition(Lock& lock) noexcept : lock_(&lock) {}
    Condition(const Condition&) = delete;
    Condition& operator=(const Condition&) = delete;

    // The same as of the lock.
    bool locked() const noexcept { return lock_->locked(); }
    auto acquire() noexcept { return lock_->acquire(); }
    auto scoped() noexcept { return lock_->scoped(); }
    void release() { lock_->release(); }

    // Releases the lock, waits for a notify, and takes the lock again; gives true. It may return
    // without a notify: look again at what you wait for. L-07.
    // Raises: RuntimeError "cannot wait on un-acquired lock"; RuntimeError if it runs in another
    // loop than the condition's.
    // If cancelled: the lock is taken again first, through any number of cancels (S-55); a notify
    // that reached it goes to another waiter.
    Coroutine<bool> wait();
    // Waits until `predicate()` is true; gives what it returned. It is called under the lock, at
    // once and after each wake-up. L-08.
    // Raises, if cancelled: as wait(); what `predicate` raises, after which a notify that reached
    // this task goes to another waiter.
    template <class F>
    ASYNCIO_CORO_WRAPPER auto wait_for(F&& predicate) {
        static_assert(detail::kSafeTemporary<F>,
                      "name this callable first (auto f = ...; co_await c.wait_for(f)): this "
                      "compiler would copy its captures bitwise");
        using R = std::decay_t<std::invoke_result_t<std::decay_t<F>&>>;
        return wait_until_true<R, std::decay_t<F>>(*this, std::forward<F>(predicate));
    }

    // Wakes up to `n` waiters (0 or less: none), in the order they came; they go on when they have
    // the lock. L-09. Raises: RuntimeError "cannot notify on un-acquired lock".
    void notify() { notify_up_to(1); }
    template <std::integral N>
    void notify(N n) {
        notify_up_to(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    // The same for all of them.
    void notify_all();

    // For `with(condition, body)`.
    auto aenter() noexcept { return lock_->aenter(); }
    auto aexit(const std::exception_ptr& /*error*/) {
        release();
        return detail::Ready<bool>(false);
    }

    // `<asyncio.locks.Condition object at 0x7f... [locked, waiters:1]>`
    std::string repr() const;

  private:
    template <class>
    friend struct detail::DebugLayout;
    template <class R, class F>
    static Coroutine<R> wait_until_true(Condition& condition, F predicate) {
        for (bool waited = false;; waited = true) {
            try {
                R answer = predicate();
                if (answer) co_return answer;
            } catch (...) {
                // The notify that woke this task may be what another one waits for.
                if (waited) condition.wake(1);
                throw;
            }
            co_await condition.wait_again(waited);
        }
    }
    // wait(). Without memory for it a notify that woke this task before goes to another one.
    ASYNCIO_CORO_WRAPPER Coroutine<bool> wait_again(bool woken);
    void notify_up_to(std::size_t n);
    void wake(std::size_t n) noexcept;

    Lock own_;
    Lock* lock_;
    detail::WaitingLine waiters_;
    detail::WaitingLine returning_;  // those that take the lock again
    detail::LoopBound loop_;
};

// A counter of units that tasks take and give back. L-10.
class ASYNCIO_API Semaphore : public detail::NoMutex<Semaphore> {
  public:
    Semaphore() noexcept = default;
    // `value`: how many units there are.
    // Raises: ValueError "Semaphore initial value must be >= 0", "... <= 9223372036854775807".
    template <std::integral N>
    explicit Semaphore(N value) : Semaphore(checked(value), false) {}
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;

    // True if acquire() would have to wait: no unit is left, or tasks wait already. L-11.
    bool locked() const noexcept { return value_ == 0 || !waiters_.all_cancelled(); }

    // Waits for a unit and takes it; gives true. A unit left and nobody waits: no suspension. L-12.
    // Raises: RuntimeError if it must wait in another loop than the semaphore's.
    // If cancelled: no unit is taken; one that was granted already goes to the next waiter.
    auto acquire() noexcept { return detail::Acquire<Semaphore, bool>(*this); }
    // As acquire(), but gives a guard that gives the unit back when it goes.
    auto scoped() noexcept { return detail::Acquire<Semaphore, ScopedLock<Semaphore>>(*this); }

    // Gives a unit back, to the first waiter if there is one; there may be more units than at the
    // start. L-13.
    // Raises: ValueError "BoundedSemaphore released too many times"; "Semaphore released too many
    // times" if it has the most units that it can have; in debug mode RuntimeError from another
    // thread.
    void release() {
        loop_.check_thread();
        if (!try_release()) throw_too_often();
    }

    // For `with(semaphore, body)`.
    auto aenter() noexcept { return detail::Acquire<Semaphore, void>(*this); }
    auto aexit(const std::exception_ptr& /*error*/) {
        release();
        return detail::Ready<bool>(false);
    }

    // `<asyncio.locks.Semaphore object at 0x7f... [unlocked, value:1]>`
    std::string repr() const;

  protected:
    static constexpr std::ptrdiff_t kMost = std::numeric_limits<std::ptrdiff_t>::max();

    Semaphore(std::ptrdiff_t value, bool bounded) noexcept
        : value_(value), bound_(bounded ? value : kMost), bounded_(bounded) {}

    template <std::integral N>
    static std::ptrdiff_t checked(N value) {
        if constexpr (std::is_signed_v<N>) {
            if (value < 0) throw_negative();
        }
        if constexpr (std::numeric_limits<N>::digits >
                      std::numeric_limits<std::ptrdiff_t>::digits) {
            if (value > static_cast<N>(kMost)) throw_too_large();
        }
        return static_cast<std::ptrdiff_t>(value);
    }

  private:
    template <class>
    friend struct detail::DebugLayout;
    template <class L, class R>
    friend class detail::Acquire;
    friend class ScopedLock<Semaphore>;

    static constexpr auto kWaitKind = detail::WaitKind::kSemaphore;

    bool try_acquire() noexcept {
        if (locked()) return false;
        --value_;
        return true;
    }
    bool try_release() noexcept {
        if (value_ >= bound_) return false;
        ++value_;
        if (!waiters_.all_cancelled()) wake_next();
        return true;
    }
    // Grants a unit to the first waiter that is not done. Returns false if there is none.
    bool wake_next() noexcept;
    std::exception_ptr settle(detail::Waiter& waiter) noexcept;
    const char* name() const noexcept { return bounded_ ? "BoundedSemaphore" : "Semaphore"; }
    [[noreturn]] static void throw_negative();
    [[noreturn]] static void throw_too_large();
    [[noreturn]] void throw_too_often() const;
    void report_released_twice() const noexcept;

    std::ptrdiff_t value_ = 1;
    std::ptrdiff_t bound_ = kMost;
    bool bounded_ = false;
    detail::WaitingLine waiters_;
    detail::LoopBound loop_;
};

// A Semaphore that never has more units than at the start. L-14.
class ASYNCIO_API BoundedSemaphore : public Semaphore {
  public:
    BoundedSemaphore() noexcept : Semaphore(1, true) {}
    // `value`: how many units there are. Raises: as Semaphore.
    template <std::integral N>
    explicit BoundedSemaphore(N value) : Semaphore(checked(value), true) {}
};

namespace detail {
struct BarrierState;
}

// Lets a fixed number of tasks wait for one another. L-15.
class ASYNCIO_API Barrier {
  public:
    // `parties`: how many tasks pass it together.
    // Raises: ValueError "parties must be >= 1", "... <= 2147483647".
    template <std::integral N>
    explicit Barrier(N parties) : Barrier(Checked{checked(parties)}) {}
    template <class Never = void>
    Barrier() : Barrier(1) {
        static_assert(detail::kRight<Never>, "Barrier(n) says how many tasks pass it together");
    }
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;
    ~Barrier();

    // Waits until `parties` tasks have called it; gives 0 to parties-1, in the order they came. The
    // last does not suspend. While a group leaves, newcomers wait for it to have left. L-16.
    // Raises: BrokenBarrierError "Barrier aborted" if it is broken, "Abort or reset of barrier" if
    // that ended the wait; RuntimeError if it must wait in another loop than the barrier's.
    // If cancelled: the task leaves, the others wait on.
    Coroutine<int> wait();
    // Sends who waits away with BrokenBarrierError; then it is as new. L-17.
    // If cancelled: nothing has changed.
    Coroutine<void> reset();
    // Sends who waits away with BrokenBarrierError, and who comes too, until reset(). L-17.
    // If cancelled: nothing has changed.
    Coroutine<void> abort();

    // How many tasks pass it together.
    int parties() const noexcept;
    // How many tasks wait for the barrier to fill.
    int n_waiting() const noexcept;
    // True after abort().
    bool broken() const noexcept;

    // For `with(barrier, body)`: waits; the body gets the index.
    ASYNCIO_CORO_WRAPPER Coroutine<int> aenter() { return wait(); }
    auto aexit(const std::exception_ptr& /*error*/) noexcept { return detail::Ready<bool>(false); }

    // `<asyncio.locks.Barrier object at 0x7f... [filling, waiters:1/3]>`
    std::string repr() const;

  private:
    struct Checked {
        int parties;
    };
    explicit Barrier(Checked parties);
    template <std::integral N>
    static int checked(N parties) {
        if (parties < 1) throw_too_few();
        if constexpr (std::numeric_limits<N>::digits > std::numeric_limits<int>::digits) {
            if (parties > static_cast<N>(std::numeric_limits<int>::max())) throw_too_many();
        }
        return static_cast<int>(parties);
    }
    [[noreturn]] static void throw_too_few();
    [[noreturn]] static void throw_too_many();

    // Shared with the tasks that wait, which need it longer when the barrier goes.
    detail::BarrierState& state() const noexcept;
    std::shared_ptr<void> state_;  // a detail::BarrierState
};

}  // namespace v1
}  // namespace asyncio

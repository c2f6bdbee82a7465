// ConcurrentFuture<T>: a result that another thread produces (CPython's concurrent.futures.Future).
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/result.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

template <class T>
class ConcurrentFuture;

namespace detail {

class ConcurrentBase;

// Called once when a future is done, by the thread that ended it.
class ASYNCIO_API ConcurrentCallback {
  public:
    // Calls it, and frees it.
    virtual void call(ConcurrentBase& future) noexcept = 0;
    // Frees it uncalled.
    virtual void drop() noexcept = 0;

    ConcurrentCallback* next_ = nullptr;

  protected:
    ConcurrentCallback() = default;
    ConcurrentCallback(const ConcurrentCallback&) = delete;
    ConcurrentCallback& operator=(const ConcurrentCallback&) = delete;
    ~ConcurrentCallback() = default;
};

// The shared state of a ConcurrentFuture, without the type of its result.
class ASYNCIO_API ConcurrentBase {
  public:
    // kEnding: claimed by the one that ends it, to whom it is still running or pending.
    enum State : std::uint32_t { kPending, kRunning, kEnding, kFinished, kFailed, kCancelled };

    void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) abandon();
    }
    bool unique() const noexcept { return refs_.load(std::memory_order_acquire) == 1; }
    // For those who hold the object but do not want its result to live: see WeakConcurrent.
    void retain_object() noexcept { object_refs_.add(); }
    void release_object() noexcept {
        if (object_refs_.drop()) delete this;
    }
    // Adds a reference, unless there is none any more.
    bool retain_if_alive() noexcept;

    State state() const noexcept {
        return static_cast<State>(state_.load(std::memory_order_acquire) & kStateBits);
    }
    bool done() const noexcept { return state() >= kFinished; }
    bool cancelled() const noexcept { return state() == kCancelled; }

    bool cancel() noexcept;
    // Raises: RuntimeError if it runs or is done.
    bool set_running_or_notify_cancel();
    // Raises: RuntimeError in a child of fork(2), of what a thread of the parent is to end.
    void check_has_source() const;
    // Waits for the end. Raises: TimeoutError; RuntimeError in the loop that is to end it, and as
    // check_has_source().
    void wait(Delay timeout) const;
    // The exception it ended with. Raises: as wait; CancelledError.
    std::exception_ptr exception(Delay timeout) const;
    // Waits, and raises what it ended with, if not a value.
    void check(Delay timeout) const;
    // Called at once if it is done.
    void add_callback(ConcurrentCallback* callback) noexcept;

    // Raises: InvalidStateError if it is done; TypeError for null.
    void set_exception(std::exception_ptr error);
    // Claims it for the one that will end it. Raises: InvalidStateError if it is done.
    void begin_end();
    void finish_value() noexcept { finish(kFinished); }
    void finish_error(std::exception_ptr error) noexcept;

    // Who ends it: a job of an executor or another loop's task (virtual time waits for both), or a
    // task of this loop.
    void set_source(const void* source) noexcept { source_ = source; }
    const void* source() const noexcept { return source_; }
    static const char kJob;  // its address is the source of a job

    // `<Future at 0x7f... state=running>`.
    std::string repr() const;
    virtual std::string value_repr() const = 0;

  protected:
    // cancel() has ended it, and nothing else will.
    virtual void was_cancelled() noexcept {}

    ConcurrentBase() noexcept;
    ConcurrentBase(const ConcurrentBase&) = delete;
    ConcurrentBase& operator=(const ConcurrentBase&) = delete;
    virtual ~ConcurrentBase();

  private:
    static constexpr std::uint32_t kStateBits = 7;
    static constexpr std::uint32_t kWaited = 8;  // some thread may sleep until it is done

    void abandon() noexcept;
    bool move_to(State from, State to) noexcept;
    void finish(State state) noexcept;
    bool wait_until_done(std::int64_t timeout) const;

    mutable std::atomic<std::uint32_t> state_{kPending};
    std::atomic<std::uint32_t> refs_{1};  // not a RefCount: one may be added to what is seen as 1
    RefCount object_refs_{1};             // all of refs_ count as one
    std::atomic<ConcurrentCallback*> callbacks_{nullptr};  // last first; a mark once done
    std::exception_ptr error_;
    const void* source_ = nullptr;
    const unsigned made_after_;  // forks()
    std::uint8_t traced_ = 0;    // failed: how many frames error_ had left
};

template <class T>
class ConcurrentStateOf : public ConcurrentBase {
  public:
    ConcurrentStateOf() noexcept {}
    ~ConcurrentStateOf() noexcept override {
        if (state() == kFinished) destroy_logged(value_);
    }
    template <class... V>
    void set_value(V&&... value) {
        begin_end();
        finish_with(std::forward<V>(value)...);
    }
    // After begin_end().
    template <class... V>
    void finish_with(V&&... value) noexcept {
        try {
            std::construct_at(std::addressof(value_), std::forward<V>(value)...);
        } catch (...) {
            // A result whose move throws ends the future with that exception.
            return finish_error(std::current_exception());
        }
        finish_value();
    }
    Stored<T>& value() noexcept { return value_; }
    std::string value_repr() const override { return repr_type(typeid(T)); }

  private:
    union {
        Stored<T> value_;
    };
};

ASYNCIO_API void report_callback_error(ConcurrentBase& future, const std::exception_ptr& error);
[[noreturn]] ASYNCIO_API void throw_empty_concurrent();

template <class T, class F>
class ConcurrentCallbackOf final : public ConcurrentCallback {
  public:
    explicit ConcurrentCallbackOf(F fn) : fn_(std::move(fn)) {}
    void call(ConcurrentBase& future) noexcept override {
        try {
            if constexpr (std::is_invocable_v<F&, ConcurrentFuture<T>>) {
                (*fn_)(ConcurrentFuture<T>::from_state(Ref<ConcurrentBase>::share(&future)));
            } else {
                (*fn_)();
            }
        } catch (...) {
            // As in Python: it is logged, and the other callbacks are called.
            report_callback_error(future, std::current_exception());
        }
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Kept<F> fn_;
};

}  // namespace detail

// A result that another thread produces: what Executor::submit and run_coroutine_threadsafe give
// (Python's concurrent.futures.Future). Every member may be called from every thread; a cheap
// shared handle. It cannot be awaited: wrap_future() makes a future of the loop of it.
template <class T = void>
class [[nodiscard("keep it: it is the way to the result")]] ConcurrentFuture {
  public:
    using value_type = T;

    // A new pending one, for threads of your own to end.
    ConcurrentFuture()
        : state_(detail::Ref<detail::ConcurrentBase>::adopt(new detail::ConcurrentStateOf<T>)) {}
    // An empty handle.
    ConcurrentFuture(std::nullptr_t) noexcept {}
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // Cancels it, and with it what produces the result, unless that runs already; of a coroutine
    // that runs on a loop, the task is asked to end (TH-02). Returns false if it cannot be
    // cancelled.
    bool cancel() const { return base().cancel(); }
    // Whether it has ended cancelled.
    bool cancelled() const { return base().cancelled(); }
    // True while its function is being called.
    bool running() const {
        const auto s = base().state();
        return s == detail::ConcurrentBase::kRunning || s == detail::ConcurrentBase::kEnding;
    }
    // Has a result or an exception, or is cancelled.
    bool done() const { return base().done(); }

    // Waits for the result, at most `timeout` of real time.
    // Raises: TimeoutError; CancelledError; its exception; RuntimeError on the thread of the loop
    // that would have to produce it.
    decltype(auto) result(Delay timeout = std::nullopt) const& {
        base().check(timeout);
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return (*typed().value());
        } else {
            return static_cast<const T&>(typed().value());
        }
    }
    // The same, moved out if T cannot be copied or this is the last handle.
    T result(Delay timeout = std::nullopt) && {
        base().check(timeout);
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return *typed().value();
        } else {
            T& value = typed().value();
            if constexpr (detail::kCopyable<T>) {
                if (!base().unique()) return value;
            }
            return std::move(value);
        }
    }
    // Waits as result() does; gives the exception it ended with, null if it has a value.
    // Raises: TimeoutError; CancelledError.
    std::exception_ptr exception(Delay timeout = std::nullopt) const {
        return base().exception(timeout);
    }
    // Calls `fn(ConcurrentFuture<T>)` or `fn()` once it is done, on the thread that ended it, or at
    // once. What it throws is logged.
    template <class F>
    void add_done_callback(F fn) const {
        static_assert(std::is_invocable_v<F&, ConcurrentFuture> || std::is_invocable_v<F&>,
                      "a done callback takes the future that it was added to, or nothing");
        base().add_callback(new detail::ConcurrentCallbackOf<T, F>(std::move(fn)));
    }

    // For those who produce results: false if it was cancelled, else it can no longer be.
    // Raises: RuntimeError "Future in unexpected state".
    bool set_running_or_notify_cancel() const { return base().set_running_or_notify_cancel(); }
    // Sets the result (nothing for void). Raises: InvalidStateError if it is done.
    template <class... V>
    void set_result(V&&... value) const
        requires(std::is_constructible_v<detail::Stored<T>, V && ...> ||
                 (std::is_reference_v<T> && sizeof...(V) == 1))
    {
        base();
        if constexpr (std::is_reference_v<T>) {
            typed().set_value((std::addressof(value))...);
        } else {
            typed().set_value(std::forward<V>(value)...);
        }
    }
    // Sets an exception object or an exception_ptr. Raises: InvalidStateError if it is done.
    void set_exception(std::exception_ptr error) const { base().set_exception(std::move(error)); }
    template <class E>
        requires(!std::is_convertible_v<E, std::exception_ptr>)
    void set_exception(E error) const {
        base().set_exception(std::make_exception_ptr(std::move(error)));
    }

    // `<Future at 0x7f... state=finished returned int>`.
    std::string repr() const { return base().repr(); }
    friend bool operator==(const ConcurrentFuture& a, const ConcurrentFuture& b) noexcept {
        return a.state_ == b.state_;
    }
    // For hashes: the same for copies of this handle.
    const void* id() const noexcept { return state_.get(); }

    // For the library.
    static ConcurrentFuture from_state(detail::Ref<detail::ConcurrentBase> s) noexcept {
        ConcurrentFuture f(nullptr);
        f.state_ = std::move(s);
        return f;
    }
    const detail::Ref<detail::ConcurrentBase>& state() const noexcept { return state_; }

  private:
    detail::ConcurrentBase& base() const {
        if (!state_) detail::throw_empty_concurrent();
        return *state_;
    }
    detail::ConcurrentStateOf<T>& typed() const noexcept {
        // Safe because a ConcurrentFuture<T> is made of a ConcurrentStateOf<T> only.
        return static_cast<detail::ConcurrentStateOf<T>&>(*state_);
    }

    detail::Ref<detail::ConcurrentBase> state_;
};

}  // namespace v1
}  // namespace asyncio

// Future<T>: a result that is not there yet. F-01 to F-16.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/contextvars.hpp"
#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/future_base.hpp"
#include "asyncio/detail/identity.hpp"
#include "asyncio/detail/promise.hpp"
#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {

// What add_done_callback returns, for remove_done_callback.
class CallbackId {
  public:
    constexpr CallbackId() noexcept = default;
    constexpr explicit CallbackId(std::uint64_t key) noexcept : key_(key) {}
    constexpr std::uint64_t key() const noexcept { return key_; }
    bool operator==(const CallbackId&) const = default;

  private:
    std::uint64_t key_ = 0;
};

namespace detail {

// State and value in one object; Base is FutureBase or TaskBase.
template <class Base, class T>
class ValueState : public Base {
    using Value = Stored<T>;

  public:
    template <class... Args>
    explicit ValueState(Args&&... args) noexcept : Base(std::forward<Args>(args)...) {}

    template <class... Args>
    void emplace(Args&&... args) {
        std::construct_at(std::addressof(value_), std::forward<Args>(args)...);
    }
    Value& value() noexcept { return value_; }

    std::string value_repr() const override { return repr_value(value_); }
    const std::type_info& value_type() const noexcept override { return typeid(T); }
    void* value_address() noexcept override { return std::addressof(value_); }

    ~ValueState() noexcept override {
        if (this->state_ == FutureState::kFinished) destroy_logged(value_);
    }

  private:
  protected:
    // Of the block of an object of class S that holds it; 0 where it cannot go without a
    // destructor.
    template <class S>
    static constexpr std::uint8_t units() noexcept {
        constexpr std::size_t n = (sizeof(S) + kBlockUnit - 1) / kBlockUnit;
        const bool plain = std::is_trivially_destructible_v<Value> && alignof(S) <= kBlockUnit;
        return plain && n < kBlockClasses ? n : 0;
    }

  private:
    union {
        Value value_;
    };
};

template <class T>
class FutureStateOf final : public ValueState<FutureBase, T> {
  public:
    explicit FutureStateOf(LoopCore& core, std::uint32_t refs = 1, std::source_location place = {},
                           std::uint16_t flags = 0)
        : ValueState<FutureBase, T>(core, flags, refs, place,
                                    ValueState<FutureBase, T>::template units<FutureStateOf>()) {
        core.attach();
    }
};

template <class T>
Stored<T>& value_of(FutureBase& f) noexcept {
    if (f.is_task()) return static_cast<ValueState<TaskBase, T>&>(f).value();
    if (f.flags_ & FutureBase::kOther) return *static_cast<Stored<T>*>(f.value_address());
    return static_cast<ValueState<FutureBase, T>&>(f).value();
}

// A user's done callback.
class ASYNCIO_API DoneCallback : public DoneNode, public Pooled {
  public:
    void run() override;
    void drop() noexcept override;
    void scheduled(FutureBase& future) noexcept override;
    std::uint64_t key() const noexcept override { return key_; }
    // Where it was added.
    std::source_location place() const noexcept { return where_; }
    static std::uint64_t new_key() noexcept;

  protected:
    DoneCallback(std::uint64_t key, ContextSlot context, std::source_location where) noexcept;
    virtual ~DoneCallback();
    virtual void invoke(Ref<FutureBase> future) = 0;

  private:
    FutureBase* future_ = nullptr;  // owned once scheduled
    std::uint64_t key_;
    ContextSlot context_;
    std::source_location where_;
};

template <class Handle, class F>
class DoneCallbackOf final : public DoneCallback {
  public:
    DoneCallbackOf(std::uint64_t key, ContextSlot context, std::source_location where, F fn)
        : DoneCallback(key, std::move(context), where), fn_(std::move(fn)) {}

  private:
    void invoke(Ref<FutureBase> future) override {
        if constexpr (std::is_invocable_v<F&, Handle>) {
            (*fn_)(Handle::from_state(std::move(future)));
        } else {
            (*fn_)();
        }
    }
    Kept<F> fn_;
};

template <class F>
std::uint64_t callback_key(const F& f) noexcept {
    if constexpr (std::is_pointer_v<F>) {
        // A function pointer identifies itself. Even, where new_key() gives odd numbers; code that
        // is aligned to one byte only would still be told apart from other pointers.
        // Safe because the number is only ever compared.
        return reinterpret_cast<std::uintptr_t>(f) << 1;
    } else {
        return DoneCallback::new_key();
    }
}

template <class F, class Handle>
inline constexpr bool kDoneCallback = std::is_invocable_v<F&, Handle> || std::is_invocable_v<F&>;

// Raises: RuntimeError "Event loop is closed" if a callback could no longer be scheduled.
ASYNCIO_API void check_can_schedule(const FutureBase& future);
// The exception to raise in place of the value: `task` was suspended for `future`, which has none,
// or a cancel is due; null: `future` was done before.
ASYNCIO_API std::exception_ptr resume_error(TaskBase* task, FutureBase& future);
// Raises: that.
[[noreturn]] ASYNCIO_API void raise_resume_error(TaskBase* task, FutureBase& future);
// The task must not wait for `future` (T-34). Puts a failed future in its place and suspends for an
// iteration (S-25). Raises: std::bad_alloc.
ASYNCIO_API void suspend_badly(TaskBase& task, PromiseBase& frame, Ref<FutureBase>& future);

// Awaits a future or task (F-11, S-16 to S-18, S-44).
template <class T, bool kMove>
class [[nodiscard("co_await it")]] FutureAwaiter {
  public:
    using asyncio_native = void;

    // Raises: RuntimeError if it is empty.
    explicit FutureAwaiter(const Ref<FutureBase>& f) : future_(checked(f)) {}
    explicit FutureAwaiter(Ref<FutureBase>&& f) : future_(std::move(checked(f))) {}

    bool await_ready() const noexcept { return future_->done(); }

    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) {
        PromiseBase& frame = h.promise();
        task_ = thread_state.task;
        FutureBase* f = future_.get();
        if (&f->core() != &task_->core() || f == task_) {
            return suspend_badly(*task_, frame, future_);
        }
        f->add_task(task_);
        task_->suspend(frame, *f);
    }

    decltype(auto) await_resume() {
        if (!has_value()) raise_resume_error(task_, *future_);
        return take();
    }

    Result<T> await_result() {
        if (!has_value()) return Result<T>::failure(resume_error(task_, *future_));
        if constexpr (std::is_void_v<T>) {
            return Result<T>::success();
        } else {
            Stored<T>& v = value_of<T>(*future_);
            if constexpr (!detail::kCopyable<Stored<T>>) {
                return Result<T>::success(std::move(v));
            } else {
                if (kMove && future_->unique()) return Result<T>::success(std::move(v));
                return Result<T>::success(v);
            }
        }
    }

  private:
    template <class R>
    static R& checked(R& f) {
        if (!f) throw_empty_handle();
        return f;
    }
    bool has_value() noexcept {
        const bool cancel_due = task_ != nullptr && task_->resumed();
        return future_->state_ == FutureState::kFinished && !cancel_due;
    }

    decltype(auto) take() {
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return (*value_of<T>(*future_));
        } else if constexpr (kMove) {
            return move_out();
        } else {
            return static_cast<const T&>(value_of<T>(*future_));
        }
    }
    T move_out() {
        Stored<T>& v = value_of<T>(*future_);
        if constexpr (detail::kCopyable<Stored<T>>) {
            if (!future_->unique()) return v;
        }
        return std::move(v);
    }

    Ref<FutureBase> future_;
    TaskBase* task_ = nullptr;  // set once suspended
};

}  // namespace detail

// Any future or task, its result's type forgotten: for lists of different ones. A shared handle;
// equality and hash by identity. Made implicitly from every Future<T> and Task<T>.
// Not thread-safe but for copying and dropping (TH-03).
class ASYNCIO_API AnyFuture {
  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    // An empty handle.
    AnyFuture() noexcept = default;
    AnyFuture(std::nullptr_t) noexcept {}
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // Whether it has ended: with a result, an exception, or cancelled. F-07.
    bool done() const { return base().done(); }
    // Whether it has ended cancelled. F-07.
    bool cancelled() const { return base().cancelled(); }
    // F-06, T-03, T-16: asks it to end with CancelledError(message).
    // Returns false if it is done already.
    bool cancel(std::string_view message = {}) const { return base().cancel(message); }
    // F-03: the exception it ended with, or null. Marks it as retrieved.
    // Raises: InvalidStateError "Exception is not set."; CancelledError if it was cancelled.
    std::exception_ptr exception() const { return base().exception(); }
    // F-02: the result, whose type must be the future's own.
    // Raises: InvalidStateError "Result is not set."; TypeError for another T; its exception.
    template <class T>
    decltype(auto) result() const {
        check_type(typeid(T));
        base().check_result();
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return (*detail::value_of<T>(base()));
        } else {
            return static_cast<const T&>(detail::value_of<T>(base()));
        }
    }
    // F-08: calls `fn(AnyFuture)` (or `fn()`) by call_soon once it is done, in a copy of the
    // current context. Returns what removes it. A function pointer may itself be given to remove.
    template <class F>
    CallbackId add_done_callback(
        F fn, CallbackOptions options = {},
        std::source_location where = std::source_location::current()) const {
        static_assert(detail::kDoneCallback<F, AnyFuture>,
                      "a done callback takes the future or task that it was added to, or nothing");
        return add_callback_for<AnyFuture>(std::move(fn), options, where);
    }
    // F-09: removes a callback; returns how many were removed.
    std::size_t remove_done_callback(CallbackId id) const {
        return base().remove_callbacks(id.key());
    }
    template <class R, class... Args>
    std::size_t remove_done_callback(R (*fn)(Args...)) const {
        return base().remove_callbacks(detail::callback_key(fn));
    }
    // Raises how it ended, if not with a value. Raises: InvalidStateError if pending; its
    // exception.
    void check() const { base().check_result(); }
    // The loop that it belongs to. F-10. Raises: RuntimeError if the loop is gone.
    EventLoop& get_loop() const;

    friend bool operator==(const AnyFuture& a, const AnyFuture& b) noexcept {
        return a.state_ == b.state_;
    }
    // Identity, for hashing.
    const void* id() const noexcept { return state_.get(); }

    // For the library: the handle of a state.
    static AnyFuture from_state(detail::Ref<detail::FutureBase> s) noexcept {
        AnyFuture f;
        f.state_ = std::move(s);
        return f;
    }
    const detail::Ref<detail::FutureBase>& state() const& noexcept { return state_; }
    detail::Ref<detail::FutureBase> state() && noexcept { return std::move(state_); }

    auto asyncio_awaiter() const { return detail::FutureAwaiter<void, false>(state_); }

  protected:
    detail::FutureBase& base() const {
        if (!state_) detail::throw_empty_handle();
        return *state_;
    }
    void check_type(const std::type_info& type) const;

    template <class H, class F>
    CallbackId add_callback_for(F fn, CallbackOptions options, std::source_location where) const {
        if constexpr (detail::kDoneCallback<F, H>) {
            detail::FutureBase& b = base();
            if (b.done()) detail::check_can_schedule(b);
            const std::uint64_t key = detail::callback_key(fn);
            auto* node = new detail::DoneCallbackOf<H, F>(
                key, detail::ContextSlot::use(options.context), where, std::move(fn));
            b.add_node(node, true);
            return CallbackId(key);
        } else {
            return {};
        }
    }

    detail::Ref<detail::FutureBase> state_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const AnyFuture& future);

// A result of type T that somebody sets later. A cheap shared handle; see AnyFuture for what does
// not depend on T. `co_await f` gives `const T&`; `co_await std::move(f)` gives T, moved if this is
// the last handle or T cannot be copied. If cancelled: awaiting one cancels the future, unless it
// is shielded (S-40).
template <class T = void>
class Future : public AnyFuture {
  public:
    using value_type = T;

    // A new pending future of the running loop, else of the thread's current one (get_event_loop).
    Future(std::source_location where = std::source_location::current())
        : Future(detail::current_core(), where) {}
    // An empty handle.
    Future(std::nullptr_t) noexcept {}
    Future(const Future&) noexcept = default;
    Future(Future&&) noexcept = default;
    Future& operator=(const Future&) noexcept = default;
    Future& operator=(Future&&) noexcept = default;

    // The result. F-02. Raises: InvalidStateError "Result is not set."; its exception.
    decltype(auto) result() const& {
        base().check_result();
        return get();
    }
    // The same, moved out if T cannot be copied or this is the last handle.
    T result() && {
        base().check_result();
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return *detail::value_of<T>(base());
        } else {
            T& v = detail::value_of<T>(base());
            if constexpr (detail::kCopyable<T>) {
                if (!base().unique()) return v;
            }
            return std::move(v);
        }
    }

    // F-04: sets the result (nothing for void) and schedules all callbacks.
    // Raises: InvalidStateError "invalid state" if done.
    template <class... V>
    void set_result(V&&... value) const
        requires(std::is_constructible_v<detail::Stored<T>, V && ...> ||
                 (std::is_reference_v<T> && sizeof...(V) == 1))
    {
        detail::FutureBase& b = base();
        b.check_pending();
        // Not FutureStateOf's: a gather's or a job's future is of a class of its own.
        detail::Stored<T>* place = std::addressof(detail::value_of<T>(b));
        if constexpr (std::is_reference_v<T>) {
            std::construct_at(place, (std::addressof(value))...);
        } else {
            std::construct_at(place, std::forward<V>(value)...);
        }
        b.finish_value();
    }
    template <class... V>
        requires(!std::is_constructible_v<detail::Stored<T>, V && ...> &&
                 !(std::is_reference_v<T> && sizeof...(V) == 1))
    void set_result(V&&...) const {
        static_assert(detail::kRight<V...>,
                      "set_result() takes a value of the future's type, none for Future<void>");
    }
    // F-05: an exception object or an exception_ptr.
    // Raises: InvalidStateError if done; TypeError "invalid exception object" for a null pointer.
    void set_exception(std::exception_ptr error) const { base().set_exception(std::move(error)); }
    template <class E>
        requires(!std::is_convertible_v<E, std::exception_ptr>)
    void set_exception(E error) const {
        base().set_exception(std::make_exception_ptr(std::move(error)));
    }

    // As AnyFuture's, but the callback gets the Future<T>.
    template <class F>
    CallbackId add_done_callback(
        F fn, CallbackOptions options = {},
        std::source_location where = std::source_location::current()) const {
        static_assert(detail::kDoneCallback<F, Future>,
                      "a done callback takes the future or task that it was added to, or nothing");
        return add_callback_for<Future>(std::move(fn), options, where);
    }

    static Future from_state(detail::Ref<detail::FutureBase> s) noexcept {
        Future f(nullptr);
        f.state_ = std::move(s);
        return f;
    }

    auto asyncio_awaiter() const& { return detail::FutureAwaiter<T, false>(state_); }
    auto asyncio_awaiter() && { return detail::FutureAwaiter<T, true>(std::move(state_)); }

  private:
    friend class EventLoop;
    Future(detail::LoopCore& core, std::source_location where) {
        state_ =
            detail::Ref<detail::FutureBase>::adopt(new detail::FutureStateOf<T>(core, 1, where));
    }
    decltype(auto) get() const {
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return (*detail::value_of<T>(base()));
        } else {
            return static_cast<const T&>(detail::value_of<T>(base()));
        }
    }
};

// True for every Future, Task, AnyFuture and AnyTask (F-13, `isfuture`).
template <class T>
concept FutureLike = std::derived_from<std::remove_cvref_t<T>, AnyFuture>;

// A range of futures or tasks prints as a Python set.
template <class R>
    requires(detail::ReprRange<R> && std::derived_from<typename R::value_type, AnyFuture>)
std::ostream& operator<<(std::ostream& out, const R& range) {
    return out << repr(range);
}

template <class T>
Future<T> EventLoop::create_future(std::source_location where) {
    return Future<T>(core(), where);
}

}  // namespace v1
}  // namespace asyncio

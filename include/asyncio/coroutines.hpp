// Coroutine<T>: what an `async def` returns, and what may be awaited.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <iosfwd>
#include <memory>
#include <new>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

#include "asyncio/detail/aligned.hpp"
#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/refused.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {

template <class T>
class Coroutine;

namespace detail {

// Warns "coroutine 'f' was never awaited" (AG-02), and destroys its frame.
ASYNCIO_API void drop_never_awaited(PromiseBase& promise) noexcept;
[[noreturn]] ASYNCIO_API void throw_already_awaited();
// `error` moved; if null: RuntimeError "f() ended without co_return (FILE:LINE)".
ASYNCIO_API std::exception_ptr take_error_of(const PromiseBase& promise,
                                             std::exception_ptr* error) noexcept;
ASYNCIO_API std::string repr_coroutine(const PromiseBase* promise);
ASYNCIO_API std::ostream& print_coroutine(std::ostream& out, const PromiseBase* promise);

// The promise without its return statement: head of the frame, then the result.
template <class T>
class PromiseOf : public PromiseBase {
  public:
    PromiseOf() noexcept : PromiseBase(std::source_location()) {}
    PromiseOf(const PromiseOf&) = delete;
    PromiseOf& operator=(const PromiseOf&) = delete;
    ~PromiseOf() {
        if (outcome() == kValue) std::destroy_at(room_.address());
        if (outcome() == kError) std::destroy_at(&room_.error);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }

    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }
        template <class P>
        void await_suspend(std::coroutine_handle<P> h) const noexcept {
            PromiseOf& p = h.promise();
            if (p.is_root()) {
                p.task()->collect(p);
            } else {
                return_to_parent(p);
            }
        }
        void await_resume() const noexcept {}
    };
    FinalAwaiter final_suspend() const noexcept { return {}; }

    // An exception leaves the body; it goes on in whoever awaits this.
    void unhandled_exception() noexcept {
        // A value may be there already: a destructor threw after co_return.
        drop_value();
        set_error(leave_frame(*this));
    }

    template <class... Args>
    void set_value(Args&&... args) {
        // There is one already if a destructor threw after a co_return, and the body went on.
        if constexpr (!std::is_trivially_destructible_v<Stored<T>>) drop_value();
        std::construct_at(room_.address(), std::forward<Args>(args)...);
        set_outcome(kValue);
    }

    Stored<T>& value() noexcept { return *room_.address(); }
    // Of one that ended without a value: what left it, null if there was no co_return.
    std::exception_ptr* error() noexcept { return outcome() == kError ? &room_.error : nullptr; }
    // The same, moved out, or made.
    std::exception_ptr take_error() noexcept { return take_error_of(*this, error()); }

    template <class A, bool kDirect = kAwaitersByReference>
    decltype(auto) await_transform(A&& awaitable,
                                   std::source_location where = std::source_location::current());

  private:
    void drop_value() noexcept {
        if (outcome() != kValue) return;
        set_outcome(kNone);
        std::destroy_at(room_.address());
    }
    void set_error(std::exception_ptr error) noexcept {
        // No construct_at for an exception_ptr: every file that includes this would compile it.
        ::new (static_cast<void*>(&room_.error)) std::exception_ptr(std::move(error));
        set_outcome(kError);
    }

    OutcomeRoom<Stored<T>> room_;
};

template <class T>
class PromiseReturn : public PromiseOf<T> {
  public:
    template <class V = T>
        requires std::is_constructible_v<T, V&&>
    void return_value(V&& value) {
        this->set_value(std::forward<V>(value));
    }
    template <class V>
        requires(!std::is_constructible_v<T, V &&>)
    void return_value(const V&) {
        static_assert(kRight<V>, "co_return of another type than the coroutine's");
    }
};
template <class T>
class PromiseReturn<T&> : public PromiseOf<T&> {
  public:
    void return_value(T& value) noexcept { this->set_value(std::addressof(value)); }
};
template <>
class PromiseReturn<void> : public PromiseOf<void> {
  public:
    void return_void() noexcept { set_value(); }
};

// Awaits a coroutine: a call (AG-01).
template <class T>
class [[nodiscard("co_await it")]] CoroutineAwaiter {
  public:
    using asyncio_native = void;

    explicit CoroutineAwaiter(PromiseOf<T>* child) : child_(child) {
        if (!child_) throw_already_awaited();
    }
    CoroutineAwaiter(CoroutineAwaiter&& o) noexcept : child_(detail::take(o.child_)) {}
    CoroutineAwaiter& operator=(CoroutineAwaiter&&) = delete;
    ~CoroutineAwaiter() {
        if (child_) destroy_owned(child_);
    }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        return call(*child_, h.promise());
    }
    T await_resume() {
        if (child_->outcome() != PromiseBase::kValue) std::rethrow_exception(child_->take_error());
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return *child_->value();
        } else {
            return std::move(child_->value());
        }
    }
    Result<T> await_result() {
        if (child_->outcome() != PromiseBase::kValue) {
            return Result<T>::failure(child_->take_error());
        }
        return Result<T>::success(std::move(child_->value()));
    }

  private:
    PromiseOf<T>* child_;
};

}  // namespace detail

// A call of an asynchronous function that has not begun: it runs when it is awaited, or as a task
// (`create_task`). Move-only; awaited once. One that is dropped without that is reported (AG-02).
// If cancelled: CancelledError is raised at the co_await inside it that is suspended.
template <class T = void>
class [[nodiscard("co_await it, or give it to create_task")]] ASYNCIO_CORO_TYPE Coroutine {
  public:
    using value_type = T;
    struct promise_type : detail::PromiseReturn<T> {
        ASYNCIO_CORO_WRAPPER Coroutine
        get_return_object(std::source_location where = std::source_location::current()) noexcept {
            this->place = where;
            return Coroutine(this);
        }
    };

    Coroutine(Coroutine&& o) noexcept : promise_(detail::take(o.promise_)) {}
    Coroutine& operator=(Coroutine&& o) noexcept {
        detail::trade(promise_, o.promise_);
        return *this;
    }
    ~Coroutine() {
        if (promise_) detail::drop_never_awaited(*promise_);
    }

    // Drops it without having begun, and without a report.
    void close() noexcept {
        // Safe because the frame has not begun, and this handle is its only owner.
        if (auto* p = detail::take(promise_)) detail::destroy_frame(p->handle());
    }
    // True until it is awaited, moved from or closed.
    explicit operator bool() const noexcept { return promise_ != nullptr; }
    // `<coroutine object f at 0x...>`; of one that was awaited `<coroutine object (awaited)>`.
    std::string repr() const { return detail::repr_coroutine(promise_); }
    friend std::ostream& operator<<(std::ostream& out, const Coroutine& c) {
        return detail::print_coroutine(out, c.promise_);
    }

    auto asyncio_awaiter() { return detail::CoroutineAwaiter<T>(release()); }

    // For the library: gives up the frame.
    detail::PromiseOf<T>* release() noexcept { return detail::take(promise_); }

  private:
    explicit Coroutine(detail::PromiseOf<T>* p) noexcept : promise_(p) {}
    detail::PromiseOf<T>* promise_;
};

}  // namespace v1
}  // namespace asyncio

// Its frame is aligned as its result and its parameters need.
template <class T, class... Args>
struct std::coroutine_traits<asyncio::Coroutine<T>, Args...> {
    using promise_type = asyncio::detail::PromiseFor<
        typename asyncio::Coroutine<T>::promise_type,
        asyncio::detail::strictest<asyncio::detail::Stored<T>, Args...>()>;
};

namespace asyncio {
inline namespace v1 {
namespace detail {

template <class T>
struct IsCoroutine : std::false_type {};
template <class T>
struct IsCoroutine<Coroutine<T>> : std::true_type {};

// Has its own awaiter for the library's frames, or is one.
template <class A>
concept HasAwaiter = requires(A&& a) { std::forward<A>(a).asyncio_awaiter(); };
template <class A>
concept NativeAwaiter = requires { typename std::remove_cvref_t<A>::asyncio_native; };

// C++'s own protocol.
template <class A>
concept RawAwaiter = requires(A& a, std::coroutine_handle<> h) {
    { a.await_ready() } -> std::convertible_to<bool>;
    a.await_suspend(h);
    a.await_resume();
};
template <class A>
concept MemberCoAwait = requires(A&& a) { std::forward<A>(a).operator co_await(); };
template <class A>
concept FreeCoAwait = requires(A&& a) { operator co_await(std::forward<A>(a)); };
template <class A>
concept Foreign = !NativeAwaiter<A> && !HasAwaiter<A> &&
                  (RawAwaiter<std::remove_reference_t<A>> || MemberCoAwait<A> || FreeCoAwait<A>);

template <class A>
concept DirectAwaitable = HasAwaiter<A> || NativeAwaiter<A> || Foreign<A>;

template <class A>
decltype(auto) foreign_awaiter(A&& a) {
    if constexpr (MemberCoAwait<A>) {
        return std::forward<A>(a).operator co_await();
    } else if constexpr (FreeCoAwait<A>) {
        return operator co_await(std::forward<A>(a));
    } else {
        return std::forward<A>(a);
    }
}

// A nullary callable that returns an awaitable.
template <class F>
concept AwaitableFactory = !DirectAwaitable<F> && requires(F&& f) {
    { std::forward<F>(f)() } -> DirectAwaitable;
};

// A frame whose resumption queues the task's step: what a foreign awaiter is given as its caller.
class ASYNCIO_API Waker {
  public:
    Waker() noexcept = default;
    Waker(const Waker&) = delete;
    Waker& operator=(const Waker&) = delete;
    ~Waker();
    std::coroutine_handle<> handle_for(TaskBase& task);

  private:
    void* frame_ = nullptr;
};

// Awaits anything that follows C++'s protocol. The handle it gets may be resumed once, on the
// loop's thread. A cancel waits until then.
template <class W>
class ForeignAwaiter {
  public:
    using asyncio_native = void;

    template <class A>
    explicit ForeignAwaiter(A&& a) : inner_(foreign_awaiter(std::forward<A>(a))) {}

    bool await_ready() { return inner_.await_ready(); }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        TaskBase* task = thread_state.task;
        const std::coroutine_handle<> waker = waker_.handle_for(*task);
        task->leaf_ = &h.promise();
        task->waiting_ = nullptr;
        using Answer = decltype(inner_.await_suspend(waker));
        if constexpr (std::is_void_v<Answer>) {
            inner_.await_suspend(waker);
        } else if constexpr (std::is_same_v<Answer, bool>) {
            if (!inner_.await_suspend(waker)) return false;
        } else {
            inner_.await_suspend(waker).resume();
        }
        task_ = task;
        return true;
    }
    decltype(auto) await_resume() {
        if (task_ && task_->resumed()) std::rethrow_exception(task_->take_cancel());
        return inner_.await_resume();
    }

  private:
    W inner_;
    Waker waker_;
    TaskBase* task_ = nullptr;
};

template <class F>
auto call_in_frame(F f) -> Coroutine<void>;

// Stands for an awaitable that is its own awaiter. By value, since g++ 12 copies an awaiter that
// await_transform returns by reference.
template <class W>
class AwaiterRef {
  public:
    explicit AwaiterRef(W& w) noexcept : inner_(std::addressof(w)) {}
    bool await_ready() { return inner_->await_ready(); }
    template <std::derived_from<PromiseBase> P>
    auto await_suspend(std::coroutine_handle<P> h) {
        return inner_->await_suspend(h);
    }
    decltype(auto) await_resume() { return inner_->await_resume(); }
    auto await_result()
        requires requires(W& w) { w.await_result(); }
    {
        return inner_->await_result();
    }

  private:
    W* inner_;
};

// The awaiter for an awaitable.
template <class A>
decltype(auto) awaiter_for(A&& a);

template <class A>
using AwaiterFor = decltype(awaiter_for(std::declval<A>()));
template <class A>
using AwaitValue = decltype(std::declval<std::remove_reference_t<AwaiterFor<A>>&>().await_resume());

// The type of a result as a coroutine returns it: by value, but for `T&`.
template <class A>
struct AwaitResultOf {
    using type = std::remove_cvref_t<AwaitValue<A>>;
};
template <class T>
struct AwaitResultOf<Coroutine<T>> {
    using type = T;
};
template <class T>
struct AwaitResultOf<Coroutine<T>&> {
    using type = T;
};
template <class A>
    requires(FutureLike<A> && !std::is_void_v<AwaitValue<A>>)
struct AwaitResultOf<A> {
    using type = typename std::remove_cvref_t<A>::value_type;
};
template <class F>
    requires AwaitableFactory<F>
struct AwaitResultOf<F> {
    using type = typename AwaitResultOf<std::invoke_result_t<F>>::type;
};

// Awaits the coroutine that a callable made. A task that was made of the callable then has that
// coroutine's name and place.
template <class T>
class CalledAwaiter : public CoroutineAwaiter<T> {
  public:
    explicit CalledAwaiter(PromiseOf<T>* child) : CoroutineAwaiter<T>(child), called_(child) {}

    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        PromiseBase& frame = h.promise();
        if (frame.is_root()) frame.task()->place_ = called_->place;
        return CoroutineAwaiter<T>::await_suspend(h);
    }

  private:
    PromiseBase* called_;
};

// Runs a callable that lives in this frame, and with it what it captured. What is shown to people
// leaves this frame out (src/base/function_name.hpp).
template <class R, class F>
Coroutine<R> run_callable(F fn) {
    if constexpr (IsCoroutine<std::remove_cvref_t<std::invoke_result_t<F&>>>::value) {
        co_return co_await CalledAwaiter<R>(fn().release());
    } else {
        co_return co_await fn();
    }
}

template <class A>
decltype(auto) awaiter_for(A&& a) {
    if constexpr (NativeAwaiter<A>) {
        return AwaiterRef<std::remove_reference_t<A>>(a);
    } else if constexpr (HasAwaiter<A>) {
        return std::forward<A>(a).asyncio_awaiter();
    } else if constexpr (Foreign<A>) {
        using W = decltype(foreign_awaiter(std::declval<A>()));
        return ForeignAwaiter<W>(std::forward<A>(a));
    } else {
        using F = std::decay_t<A>;
        return run_callable<typename AwaitResultOf<A>::type, F>(F(std::forward<A>(a)))
            .asyncio_awaiter();
    }
}

// Says what to write in place of `co_await a`.
template <class A>
Refused refuse_to_await() {
    constexpr bool kLock = requires(A& a) { a.scoped(); };
    constexpr bool kGenerator = requires(A& a) { a.aclose(); };
    constexpr bool kManager = requires(A& a) { a.aexit(nullptr); } && !kLock;
    constexpr bool kRange = requires(A& a) { a.begin() != a.end(); } && !kGenerator;
    static_assert(!kLock, "to hold it: auto guard = co_await lock.scoped();");
    static_assert(!kGenerator, "drive it: while (auto x = co_await generator.next())");
    static_assert(!kManager, "give it to with(): co_await with(manager, body)");
    static_assert(!kRange, "to await several: co_await gather(range)");
    static_assert(kLock || kGenerator || kManager || kRange,
                  "this cannot be awaited: a Coroutine, Task, Future, an awaiter, or a callable "
                  "without parameters that returns one of them is needed");
    return {};
}

// The same for the promise `p` of a frame, at `where`. kDirect: see kAwaitersByReference.
template <bool kDirect, class A>
decltype(auto) awaiter_in(PromiseBase& p, A&& a, std::source_location where) {
    if constexpr (!DirectAwaitable<A> && !AwaitableFactory<A>) {
        return refuse_to_await<A>();
    } else {
        static_assert(
            std::is_lvalue_reference_v<A> || alignof(std::remove_cvref_t<A>) <= kBlockUnit,
            "what stands after co_await is aligned to more than 16 bytes, and a coroutine's frame "
            "may be aligned to less: make it with std::make_unique, and await that object");
        p.place = where;
        if constexpr (kDirect && NativeAwaiter<A>) {
            return static_cast<std::remove_reference_t<A>&>(a);
        } else {
            return awaiter_for(std::forward<A>(a));
        }
    }
}

template <class T>
template <class A, bool kDirect>
decltype(auto) PromiseOf<T>::await_transform(A&& awaitable, std::source_location where) {
    return awaiter_in<kDirect>(*this, std::forward<A>(awaitable), where);
}

// The result of awaiting without a throw, from any awaiter.
template <class R, class W>
Result<R> result_of(W& awaiter) {
    if constexpr (requires { awaiter.await_result(); }) {
        return awaiter.await_result();
    } else {
        try {
            if constexpr (std::is_void_v<R>) {
                awaiter.await_resume();
                return Result<R>::success();
            } else {
                return Result<R>::success(awaiter.await_resume());
            }
        } catch (...) {
            // Every exception is this function's result.
            return Result<R>::failure(std::current_exception());
        }
    }
}

}  // namespace detail

// Anything that may stand after `co_await`, or be given to create_task, gather and their kin
// (T-34).
template <class A>
concept Awaitable = detail::DirectAwaitable<A> || detail::AwaitableFactory<A>;

namespace detail {

// The arguments of a call: N of them, the first of which may be awaited.
template <std::size_t N, class... A>
inline constexpr bool kAwaits = false;
template <std::size_t N, class A, class... More>
inline constexpr bool kAwaits<N, A, More...> = N == 1 + sizeof...(More) && Awaitable<A>;

// The arguments of a call: x, or x and options.
template <class Options, class... A>
inline constexpr bool kWithOptions = sizeof...(A) == 1;
template <class Options, class A, class O>
inline constexpr bool kWithOptions<Options, A, O> = std::is_convertible_v<O, const Options&>;

}  // namespace detail

// A coroutine object (T-32, `iscoroutine`).
template <class A>
concept CoroutineLike = detail::IsCoroutine<std::remove_cvref_t<A>>::value;

// The type that `co_await` of an A gives, by value.
template <Awaitable A>
using await_result_t = typename detail::AwaitResultOf<A>::type;

namespace detail {

// A callable of which its user has said that it was named (see asyncio::callable).
template <class F>
class NamedCallable {
  public:
    explicit NamedCallable(F fn) : fn_(std::move(fn)) {}
    template <class... Args>
    ASYNCIO_CORO_WRAPPER decltype(auto) operator()(Args&&... args)
        requires std::is_invocable_v<F&, Args...>
    {
        return fn_(std::forward<Args>(args)...);
    }

  private:
    F fn_;
};

template <class F>
inline constexpr bool kIsNamedCallable = false;
template <class F>
inline constexpr bool kIsNamedCallable<NamedCallable<F>> = true;

// On a compiler that copies closures bitwise inside a co_await expression, a callable with captures
// that need a destructor must have been named first.
template <class F>
inline constexpr bool kSafeTemporary =
    !ASYNCIO_COPIES_CLOSURES_BITWISE || std::is_lvalue_reference_v<F> ||
    std::is_trivially_copyable_v<std::remove_cvref_t<F>> || DirectAwaitable<F> ||
    kIsNamedCallable<std::remove_cvref_t<F>>;

// Awaits A and gives its outcome as a Result.
template <class A>
class [[nodiscard("co_await it")]] AsResult {
    using Awaiter = AwaiterFor<A>;
    using R = typename AwaitResultOf<A>::type;

  public:
    using asyncio_native = void;

    explicit AsResult(A&& a) : awaitable_(std::forward<A>(a)) {}
    // Before it is awaited.
    AsResult(AsResult&& o) noexcept(std::is_nothrow_constructible_v<A, A&&>)
        : awaitable_(std::forward<A>(o.awaitable_)) {}
    AsResult& operator=(AsResult&&) = delete;
    ~AsResult() {
        if (made_) std::destroy_at(std::addressof(awaiter_));
    }

    bool await_ready() {
        try {
            // Placement new, so that an awaiter that cannot be moved is made in place.
            ::new (static_cast<void*>(&awaiter_)) Awaiter(awaiter_for(std::forward<A>(awaitable_)));
            made_ = true;
            return awaiter_.await_ready();
        } catch (...) {
            // The refusal (an awaitable that was used before) is the outcome.
            refusal_ = std::current_exception();
            return true;
        }
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        try {
            if constexpr (std::is_void_v<decltype(awaiter_.await_suspend(h))>) {
                awaiter_.await_suspend(h);
                return true;
            } else {
                return awaiter_.await_suspend(h);
            }
        } catch (...) {
            // What a foreign awaiter throws here is the outcome.
            refusal_ = std::current_exception();
            return false;
        }
    }
    Result<R> await_resume() {
        if (refusal_) return Result<R>::failure(std::move(refusal_));
        return result_of<R>(awaiter_);
    }

  private:
    A awaitable_;  // a reference for an lvalue
    union {
        Awaiter awaiter_;
    };
    bool made_ = false;
    std::exception_ptr refusal_;
};

}  // namespace detail

// Says that a callable which is moved was a variable, not a lambda written into the expression:
// `co_await to_thread(callable(std::move(f)))`. Functions that return awaitables refuse a moved
// callable with captures that need a destructor on compilers that would copy those bitwise
// (docs/traps.md).
template <class F>
[[nodiscard("it is what the call gives")]] detail::NamedCallable<std::decay_t<F>> callable(F&& fn) {
    return detail::NamedCallable<std::decay_t<F>>(std::forward<F>(fn));
}

// Makes a T, aggregates included, in a way that is safe inside a co_await expression everywhere:
// `co_await queue.put(make<Job>("a", 20))`.
template <class T, class... Args>
[[nodiscard("it is what the call gives")]] T make(Args&&... args) {
    return T{std::forward<Args>(args)...};
}

// Awaits `x` and gives its outcome as a value: `auto r = co_await as_result(f());`. Nothing is
// thrown on the way. This is how to await in place of a handler (`except`), where C++ forbids
// co_await. If cancelled: gives a Result that holds the CancelledError; raise it again once cleaned
// up.
template <Awaitable A>
[[nodiscard("co_await it")]] detail::AsResult<A> as_result(A&& x) {
    static_assert(detail::kSafeTemporary<A>,
                  "name this callable first (auto f = ...; co_await as_result(f)): this compiler "
                  "would copy its captures bitwise");
    return detail::AsResult<A>(std::forward<A>(x));
}
template <class... A>
    requires(!detail::kAwaits<1, A...>)
detail::Refused as_result(A&&...) {
    static_assert(detail::kRight<A...>, "as_result() takes what may be awaited: as_result(f())");
    return {};
}

}  // namespace v1
}  // namespace asyncio

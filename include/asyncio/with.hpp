// with, finally, aclosing: what `async with` and `try ... finally` are in Python. AG-05, AG-07.
//
// A scope cannot wait in a destructor, so it is a call: the body is a callable, and what follows it
// is awaited however it ended.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/ready.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

template <class M>
using EnterAnswer = decltype(std::declval<M&>().aenter());
template <class M>
using ExitAnswer = decltype(std::declval<M&>().aexit(std::declval<std::exception_ptr>()));

// What awaiting an answer gives; the answer itself if it is a plain value.
template <class A>
struct AnswerValue {
    using type = A;
};
template <DirectAwaitable A>
struct AnswerValue<A> {
    using type = AwaitValue<A>;
};

// What aenter() hands to the body: a value, a reference or nothing.
template <class M>
using EnteredBy = typename AnswerValue<EnterAnswer<M>>::type;
template <class M>
using ExitVerdict = typename AnswerValue<ExitAnswer<M>>::type;

// A manager that never suspends has these two besides: `asyncio_enter()` is what awaiting aenter()
// does; `asyncio_leave(error)` what awaiting aexit(error) does, but that it replaces `error` by
// what is to be raised instead of raising it.
template <class M>
concept EntersAtOnce = requires(M& m, std::exception_ptr& error) {
    m.asyncio_enter();
    { m.asyncio_leave(error) } -> std::same_as<bool>;
};

[[noreturn]] ASYNCIO_API void throw_no_result();

template <class B, class V>
concept TakesLvalue = requires(B& body, std::remove_reference_t<V>& v) { body(v); };
template <class B, class V>
concept TakesRvalue = requires(B& body, std::remove_reference_t<V>&& v) { body(std::move(v)); };

// Calls the body with what was entered, or with nothing.
template <class B, class V>
ASYNCIO_CORO_WRAPPER decltype(auto) call_body(B& body, Stored<V>& entered) {
    if constexpr (std::is_void_v<V>) {
        return body();
    } else if constexpr (std::is_reference_v<V>) {
        if constexpr (TakesLvalue<B, V>) {
            return body(*entered);
        } else {
            return body();
        }
    } else if constexpr (TakesLvalue<B, V>) {
        return body(entered);
    } else if constexpr (TakesRvalue<B, V>) {
        return body(std::move(entered));
    } else {
        return body();
    }
}

template <class V>
struct IsVoid : std::is_void<V> {};

// The body can be called with what a manager enters with (V), or with nothing.
template <class B, class V>
concept BodyFor =
    std::is_invocable_v<B&> || (!IsVoid<V>::value && (TakesLvalue<B, V> || TakesRvalue<B, V>));

template <class B, class V>
using BodyAwaitable = decltype(call_body<B, V>(std::declval<B&>(), std::declval<Stored<V>&>()));

// Calls the body and awaits what it returned; gives the outcome, also of a call that threw.
template <class B, class V>
class BodyCall {
    using A = BodyAwaitable<B, V>;

  public:
    using asyncio_native = void;
    using R = typename AwaitResultOf<A>::type;

    BodyCall() noexcept = default;

    template <class E>
    void entered(E&& value) {
        if constexpr (std::is_reference_v<V>) {
            entered_.emplace(std::addressof(value));
        } else {
            entered_.emplace(std::forward<E>(value));
        }
    }
    void entered() { entered_.emplace(); }

    // To be called first. Returns as await_ready does.
    bool start(B& body) {
        try {
            call_.emplace(call_body<B, V>(body, *entered_));
        } catch (...) {
            // What the call threw is the body's outcome.
            refusal_ = std::current_exception();
            return true;
        }
        return call_->await_ready();
    }
    template <std::derived_from<PromiseBase> P>
    auto await_suspend(std::coroutine_handle<P> h) {
        return call_->await_suspend(h);
    }
    Result<R> await_resume() {
        if (refusal_) return Result<R>::failure(std::move(refusal_));
        return call_->await_resume();
    }

  private:
    std::optional<Stored<V>> entered_;
    std::optional<AsResult<A>> call_;
    std::exception_ptr refusal_;
};

// A BodyCall as a frame awaits it.
template <class B, class V>
class RunBody {
  public:
    using asyncio_native = void;
    RunBody(BodyCall<B, V>& call, B& body) noexcept : call_(call), body_(body) {}
    bool await_ready() { return call_.start(body_); }
    template <std::derived_from<PromiseBase> P>
    auto await_suspend(std::coroutine_handle<P> h) {
        return call_.await_suspend(h);
    }
    auto await_resume() { return call_.await_resume(); }

  private:
    BodyCall<B, V>& call_;
    B& body_;
};

template <class R>
R without_result() {
    if constexpr (!std::is_void_v<R>) throw_no_result();
}

// `M` is a reference for a manager that the caller owns; `B` likewise.
template <class R, class M, class B>
Coroutine<R> with_in_frame(M manager, B body) {
    using Manager = std::remove_reference_t<M>;
    using Body = std::remove_reference_t<B>;
    using Entered = EnteredBy<Manager>;
    BodyCall<Body, Entered> call;
    if constexpr (std::is_void_v<Entered>) {
        if constexpr (DirectAwaitable<EnterAnswer<Manager>>) {
            co_await manager.aenter();
        } else {
            manager.aenter();
        }
        call.entered();
    } else if constexpr (DirectAwaitable<EnterAnswer<Manager>>) {
        auto&& entered = co_await manager.aenter();
        call.entered(std::forward<decltype(entered)>(entered));
    } else {
        call.entered(manager.aenter());
    }
    Result<R> outcome = co_await RunBody<Body, Entered>(call, body);
    bool suppressed = false;
    if constexpr (DirectAwaitable<ExitAnswer<Manager>>) {
        if constexpr (std::is_void_v<ExitVerdict<Manager>>) {
            co_await manager.aexit(outcome.error());
        } else {
            suppressed = co_await manager.aexit(outcome.error());
        }
    } else if constexpr (std::is_void_v<ExitAnswer<Manager>>) {
        manager.aexit(outcome.error());
    } else {
        suppressed = manager.aexit(outcome.error());
    }
    if (suppressed && !outcome.has_value()) co_return without_result<R>();
    co_return std::move(outcome).value();
}

// `with` for a manager that never suspends: no frame.
template <class R, class M, class B>
class [[nodiscard("co_await it")]] WithAtOnce {
    using Manager = std::remove_reference_t<M>;
    using Body = std::remove_reference_t<B>;
    using Entered = decltype(std::declval<Manager&>().asyncio_enter());

  public:
    using asyncio_native = void;

    WithAtOnce(M&& manager, B&& body)
        : manager_(std::forward<M>(manager)), body_(std::forward<B>(body)) {}
    // To be moved before it is awaited only.
    WithAtOnce(WithAtOnce&& o) noexcept(std::is_nothrow_constructible_v<M, M&&> &&
                                        std::is_nothrow_constructible_v<B, B&&>)
        : manager_(std::forward<M>(o.manager_)), body_(std::forward<B>(o.body_)) {}
    WithAtOnce& operator=(WithAtOnce&&) = delete;
    ~WithAtOnce() = default;

    bool await_ready() {
        if constexpr (std::is_void_v<Entered>) {
            manager_.asyncio_enter();
            call_.entered();
        } else {
            call_.entered(manager_.asyncio_enter());
        }
        return call_.start(body_);
    }
    template <std::derived_from<PromiseBase> P>
    auto await_suspend(std::coroutine_handle<P> h) {
        return call_.await_suspend(h);
    }
    R await_resume() { return await_result().value(); }
    Result<R> await_result() {
        Result<R> outcome = call_.await_resume();
        std::exception_ptr error = outcome.error();
        const bool suppressed = manager_.asyncio_leave(error);
        if (outcome.has_value()) return outcome;
        if (!suppressed) return Result<R>::failure(std::move(error));
        if constexpr (std::is_void_v<R>) {
            return Result<R>::success();
        } else {
            throw_no_result();
        }
    }

  private:
    M manager_;
    B body_;
    BodyCall<Body, Entered> call_;
};

// References stay references.
template <class R, class M, class B>
struct AwaitResultOf<WithAtOnce<R, M, B>> {
    using type = R;
};
template <class R, class M, class B>
struct AwaitResultOf<WithAtOnce<R, M, B>&> {
    using type = R;
};

// How a manager or a body is kept: an rvalue is moved in.
template <class M>
using KeptManager = std::conditional_t<std::is_lvalue_reference_v<M>, M, std::decay_t<M>>;
// A named body is copied, so that it may be gone before it ends; if it cannot be copied it is
// borrowed.
template <class B>
using KeptBody = std::conditional_t<std::is_lvalue_reference_v<B> &&
                                        !std::is_copy_constructible_v<std::decay_t<B>>,
                                    B, std::decay_t<B>>;

}  // namespace detail

// What `with` accepts: an object with `aenter()` and `aexit(std::exception_ptr)`. aenter() gives
// what the body is handed, or nothing. aexit() is told how the body ended (null: normally) and
// gives true to suppress its exception; giving nothing means false. Both may return an awaitable or
// the value itself.
template <class M>
concept AsyncContextManager =
    requires(std::remove_reference_t<M>& m, std::exception_ptr error) {
        m.aenter();
        m.aexit(error);
    } && (std::is_void_v<detail::ExitVerdict<std::remove_reference_t<M>>> ||
          std::is_convertible_v<detail::ExitVerdict<std::remove_reference_t<M>>, bool>);

namespace detail {

// What with() gives.
template <class M, class B>
struct WithResult {
    using type = Refused;
};
template <AsyncContextManager M, BodyFor<EnteredBy<M>> B>
    requires DirectAwaitable<BodyAwaitable<B, EnteredBy<M>>>
struct WithResult<M, B> : AwaitResultOf<BodyAwaitable<B, EnteredBy<M>>> {};

}  // namespace detail

// `async with manager as x: body`. Enters the manager, calls `body(x)` (or `body()`), awaits what
// it returned, leaves the manager, and gives the body's result:
//     int n = co_await with(timeout(1s), [&](Timeout&) -> Coroutine<int> { ... });
// `manager`: an rvalue is moved into the awaitable, an lvalue is borrowed. `body`: a callable that
// returns an awaitable; it is kept with what it captured until it has ended.
// Raises: what entering, the body and leaving raise; RuntimeError "body was suppressed and has no
// result" if aexit() suppressed the exception of a body that has a result.
// If cancelled: the CancelledError reaches the body, then aexit(); in aenter() nothing is left to
// leave.
template <class M, class B>
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] auto with(M&& manager, B&& body) {
    using Manager = std::remove_reference_t<M>;
    using Body = std::decay_t<B>;
    static_assert(
        detail::kSafeTemporary<B>,
        "name this body first (auto body = ...; co_await with(manager, body)), or capture "
        "by reference: this compiler would copy its captures bitwise");
    using R = typename detail::WithResult<Manager, Body>::type;
    using KeptM = detail::KeptManager<M>;
    using KeptB = detail::KeptBody<B>;
    if constexpr (std::is_same_v<R, detail::Refused>) {
        constexpr bool kManager = AsyncContextManager<Manager>;
        static_assert(kManager,
                      "with() needs an object with aenter() and aexit(std::exception_ptr), and "
                      "aexit gives a bool or nothing");
        static_assert(!kManager,
                      "the body of with() takes what aenter() gave, or nothing, and returns an "
                      "awaitable: [&](auto& x) -> asyncio::Coroutine<> { ... }");
        return R();
    } else if constexpr (detail::EntersAtOnce<Manager>) {
        return detail::WithAtOnce<R, KeptM, KeptB>(std::forward<M>(manager),
                                                   KeptB(std::forward<B>(body)));
    } else {
        return detail::with_in_frame<R, KeptM, KeptB>(std::forward<M>(manager),
                                                      std::forward<B>(body));
    }
}
template <class... A>
    requires(sizeof...(A) != 2)
detail::Refused with(A&&...) {
    static_assert(detail::kRight<A...>,
                  "with() takes a manager and a body: with(lock, [&]() -> asyncio::Coroutine<> "
                  "{ ... })");
    return {};
}

namespace detail {

template <class R, class B, class C>
Coroutine<R> finally_in_frame(B body, C cleanup) {
    std::optional<Result<R>> outcome;
    if constexpr (DirectAwaitable<B>) {
        outcome.emplace(co_await as_result(std::forward<B>(body)));
    } else {
        using Body = std::remove_reference_t<B>;
        BodyCall<Body, void> call;
        call.entered();
        outcome.emplace(co_await RunBody<Body, void>(call, body));
    }
    if constexpr (DirectAwaitable<C>) {
        co_await std::forward<C>(cleanup);
    } else if constexpr (AwaitableFactory<C>) {
        co_await cleanup();
    } else {
        cleanup();
    }
    co_return std::move(*outcome).value();
}

// An awaitable handle is shared, any other lvalue awaitable borrowed; callables as in with().
template <class A>
using KeptAwaitable =
    std::conditional_t<DirectAwaitable<A>, std::conditional_t<FutureLike<A>, std::decay_t<A>, A>,
                       KeptBody<A>>;

}  // namespace detail

// `try: await body  finally: await cleanup`. Awaits `body` (an awaitable, or a callable that
// returns one), then `cleanup` (the same, or a plain callable), whether the body returned, raised
// or was cancelled. Gives the body's result. Raises: what `cleanup` raises, which wins over the
// body's exception as in Python; else what the body raises. If cancelled: the body gets the
// CancelledError; `cleanup` may await as usual (S-48).
template <Awaitable B, class C>
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] auto finally(B&& body, C&& cleanup) {
    static_assert(detail::kSafeTemporary<B> && detail::kSafeTemporary<C>,
                  "name this callable first (auto f = ...; co_await finally(body, f)), or capture "
                  "by reference: this compiler would copy its captures bitwise");
    static_assert(Awaitable<C> || std::is_invocable_v<std::decay_t<C>&>,
                  "the clean-up is an awaitable or a callable without parameters");
    using R = typename detail::AwaitResultOf<B>::type;
    using KeptB = detail::KeptAwaitable<B>;
    using KeptC = detail::KeptAwaitable<C>;
    return detail::finally_in_frame<R, KeptB, KeptC>(std::forward<B>(body),
                                                     std::forward<C>(cleanup));
}
template <class... A>
    requires(!detail::kAwaits<2, A...>)
detail::Refused finally(A&&...) {
    static_assert(detail::kRight<A...>,
                  "finally() takes a body that may be awaited, and a clean-up: finally(f(), g())");
    return {};
}

namespace detail {

template <class G>
class Aclosing {
  public:
    explicit Aclosing(G&& g) : generator_(std::forward<G>(g)) {}
    auto aenter() { return Ready<std::remove_reference_t<G>&>(generator_); }
    auto aexit(std::exception_ptr) { return generator_.aclose(); }

  private:
    G generator_;
};

}  // namespace detail

// A context manager that hands the body `generator` and awaits its aclose() at the end (AG-07):
// `co_await with(aclosing(gen), ...)`. An lvalue is borrowed, an rvalue moved in. If cancelled: the
// generator is closed all the same.
template <class G>
[[nodiscard("give it to with()")]] auto aclosing(G&& generator) {
    if constexpr (requires { generator.aclose(); }) {
        return detail::Aclosing<detail::KeptManager<G>>(std::forward<G>(generator));
    } else {
        static_assert(detail::kRight<G>, "aclosing() takes an asynchronous generator");
        return detail::Refused();
    }
}

}  // namespace v1
}  // namespace asyncio

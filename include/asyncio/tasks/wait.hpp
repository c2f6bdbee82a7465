// wait: until all, the first, or the first exception of several tasks. T-18, T-19, S-34, B-20.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/detail/ranges.hpp"
#include "asyncio/tasks/task.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

// When wait() is over: see the constants below.
enum class ReturnWhen {
    kAllCompleted,    // ALL_COMPLETED
    kFirstCompleted,  // FIRST_COMPLETED
    kFirstException,  // FIRST_EXCEPTION
};
// When all have ended, when one has. T-19.
inline constexpr ReturnWhen ALL_COMPLETED = ReturnWhen::kAllCompleted;
inline constexpr ReturnWhen FIRST_COMPLETED = ReturnWhen::kFirstCompleted;
// At the first one that ended with an exception, CancelledError apart; else when all have ended.
inline constexpr ReturnWhen FIRST_EXCEPTION = ReturnWhen::kFirstException;

// Of wait().
struct WaitOptions {
    Delay timeout = std::nullopt;  // how long to wait at most; it is no error when it is over
    ReturnWhen return_when = ALL_COMPLETED;  // what to wait for
};

// Two vectors, each in the order of the arguments.
template <class H>
struct WaitResult {
    std::vector<H> done;     // those that have ended
    std::vector<H> pending;  // the others; nothing is cancelled
};

namespace detail {

class WaitState;

// Waits for futures, each given once; at least one.
class ASYNCIO_API WaitAwaiter {
  public:
    using asyncio_native = void;

    WaitAwaiter(FutureList futures, WaitOptions options);
    WaitAwaiter(const WaitAwaiter&) = delete;
    WaitAwaiter& operator=(const WaitAwaiter&) = delete;
    ~WaitAwaiter();

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) {
        suspend(h.promise());
    }
    void await_resume();

  private:
    void suspend(PromiseBase& frame);

    FutureList futures_;
    WaitOptions options_;
    WaitState* state_ = nullptr;
};

ASYNCIO_API void check_return_when(ReturnWhen value);
[[noreturn]] ASYNCIO_API void throw_nothing_to_wait_for();

template <class H>
Coroutine<WaitResult<H>> wait_for_handles(std::vector<H> handles, WaitOptions options) {
    auto states = states_of(handles);
    if (states.empty()) throw_nothing_to_wait_for();
    check_return_when(options.return_when);
    check_same_loop(states);
    states.remove_duplicates();
    {
        WaitAwaiter awaiter(states, options);
        co_await awaiter;
    }
    WaitResult<H> result;
    for (auto& s : states) {
        auto& to = s->done() ? result.done : result.pending;
        to.push_back(H::from_state(s));
    }
    co_return result;
}

// The coroutines become tasks when this runs, not before: there may be no loop yet.
template <class A>
auto wait_for_coroutines(std::vector<A> awaitables, WaitOptions options)
    -> Coroutine<WaitResult<typename HandleOf<A>::type>> {
    auto handles = handles_of(std::move(awaitables));
    co_return co_await wait_for_handles(std::move(handles), options);
}

template <class... A>
inline constexpr bool kWaits = (FutureLike<A> && ...);
template <>
inline constexpr bool kWaits<> = false;
template <class R>
inline constexpr bool kWaits<R> = FutureLike<R> || AwaitableRange<R>;
template <class R, class O>
inline constexpr bool kWaits<R, O> =
    AwaitableRange<R> ? std::is_convertible_v<O, WaitOptions> : FutureLike<R> && FutureLike<O>;

}  // namespace detail

// Waits until the tasks or futures of a range have ended, as `return_when` says, or the timeout is
// over; gives those that are done and those that are not. It never cancels and never raises
// TimeoutError. A range of coroutines is consumed, and each runs as a task (as in the notes;
// CPython forbids it now). Raises: ValueError "Set of Tasks/Futures is empty.", and if one belongs
// to another loop. If cancelled: the tasks are left alone.
template <detail::AwaitableRange R>
[[nodiscard("co_await it")]] auto wait(R&& range, WaitOptions options = {}) {
    using Item = detail::RangeItem<R>;
    if constexpr (FutureLike<Item>) {
        std::vector<Item> handles(range.begin(), range.end());
        return detail::wait_for_handles(std::move(handles), options);
    } else {
        std::vector<Item> awaitables;
        for (auto&& item : range) awaitables.push_back(std::move(item));
        return detail::wait_for_coroutines(std::move(awaitables), options);
    }
}

// The same for single tasks and futures of any types.
template <FutureLike... F>
    requires(sizeof...(F) > 0)
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] auto wait(const F&... futures) {
    // AnyFuture, by a name that keeps its vector from being compiled where nobody waits.
    using H = std::conditional_t<(sizeof...(F) > 0), AnyFuture, void>;
    std::vector<H> handles;
    handles.reserve(sizeof...(F));
    (handles.push_back(futures), ...);
    return detail::wait_for_handles(std::move(handles), WaitOptions());
}
template <class... A>
    requires(!detail::kWaits<A...>)
ASYNCIO_CORO_WRAPPER Coroutine<WaitResult<AnyFuture>> wait(A&&...) {
    static_assert(detail::kRight<A...>,
                  "wait() takes a range and options, or tasks and futures, not coroutines: "
                  "wait(tasks, {.timeout = 2s}), wait(a, b)");
    return detail::Refused();
}
template <class Never = void>
detail::Refused wait(const detail::Braces&, const WaitOptions& = {}) {
    static_assert(
        detail::kRight<Never>,
        "without the braces: wait(a, b), or a range and options: wait(tasks, {.timeout = 2s})");
    return {};
}

}  // namespace v1
}  // namespace asyncio

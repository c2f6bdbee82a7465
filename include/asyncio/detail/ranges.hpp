// What gather, wait and as_completed accept: ranges of handles, or of coroutines to be moved from.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/tasks/task.hpp"

namespace asyncio::inline v1::detail {

template <class R>
concept AwaitableRange = requires(R& r) {
    r.begin();
    r.end();
} && Awaitable<decltype(*std::declval<R&>().begin())> && !Awaitable<R>;

template <class R>
using RangeItem = std::remove_cvref_t<decltype(*std::declval<R&>().begin())>;

// The handle that stands for an argument: itself for a future, else the task that runs it.
template <class A>
struct HandleOf {
    using type = Task<typename AwaitResultOf<A>::type>;
};
template <class A>
    requires FutureLike<A>
struct HandleOf<A> {
    using type = std::remove_cvref_t<A>;
};

// The handles of a range, tasks being made for what is not a future. `core` is asked for only then.
template <class R>
auto handles_of(R&& range) {
    using H = typename HandleOf<RangeItem<R>>::type;
    std::vector<H> handles;
    if constexpr (requires { range.size(); }) handles.reserve(range.size());
    for (auto&& item : range) {
        if constexpr (FutureLike<RangeItem<R>>) {
            handles.push_back(item);
        } else {
            // A coroutine is consumed, whoever owns the range.
            handles.push_back(future_for(current_core(), std::move(item)));
        }
    }
    return handles;
}

template <class H>
std::vector<Ref<FutureBase>> distinct_states(const std::vector<H>& handles) {
    std::vector<Ref<FutureBase>> states;
    states.reserve(handles.size());
    for (const H& h : handles) {
        if (!h) throw_empty_handle();
        states.push_back(h.state());
    }
    return states;
}
// Raises: ValueError if one belongs to another loop than the one that runs (if none does: than the
// first one's).
ASYNCIO_API void check_same_loop(const std::vector<Ref<FutureBase>>& states);
// Removes all but the first of equal states, keeping the order.
ASYNCIO_API void remove_duplicates(std::vector<Ref<FutureBase>>& states);

}  // namespace asyncio::inline v1::detail

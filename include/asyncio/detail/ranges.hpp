// What gather, wait and as_completed accept: ranges of handles, or of coroutines to be moved from.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/tasks/task.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Futures of any types, in order. Compiled: each file that includes the library would else make a
// std::vector of them.
class ASYNCIO_API FutureList {
  public:
    FutureList() noexcept = default;
    FutureList(const FutureList& o);
    FutureList(FutureList&& o) noexcept;
    FutureList& operator=(FutureList o) noexcept;
    ~FutureList();

    void reserve(std::size_t n);
    void add(Ref<FutureBase> future);
    // The state of a handle. Raises: as a call on an empty handle.
    void add_state(const Ref<FutureBase>& state);
    // Removes all but the first of equal ones, keeping the order.
    void remove_duplicates();
    // Cancels the tasks that were made for the caller, of which nobody has a handle.
    void cancel_made() const noexcept;

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const Ref<FutureBase>& operator[](std::size_t i) const noexcept { return items_[i]; }
    const Ref<FutureBase>* begin() const noexcept { return items_; }
    const Ref<FutureBase>* end() const noexcept { return items_ + size_; }

  private:
    template <class>
    friend struct DebugLayout;

    Ref<FutureBase>* items_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

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

// Calls `rest()`. If that finds no memory, what was to begin as these tasks does not.
template <class H, class F>
auto or_not_begun(const std::vector<H>& tasks, F rest) {
    try {
        return rest();
    } catch (const std::bad_alloc&) {
        for (const H& task : tasks) task.state()->cancel_wait(nullptr);
        throw;
    }
}

// The handles of a range, tasks being made for what is not a future. `core` is asked for only then.
template <class R>
auto handles_of(R&& range) {
    using H = typename HandleOf<RangeItem<R>>::type;
    std::vector<H> handles;
    if constexpr (requires { range.size(); }) handles.reserve(range.size());
    if constexpr (FutureLike<RangeItem<R>>) {
        for (auto&& item : range) handles.push_back(item);
    } else {
        or_not_begun(handles, [&] {
            for (auto&& item : range) {
                // Room first, since a task that is made begins.
                if (handles.size() == handles.capacity()) handles.reserve(2 * handles.size() + 4);
                // A coroutine is consumed, whoever owns the range.
                handles.push_back(future_for(current_core(), std::move(item)));
            }
        });
    }
    return handles;
}

template <class H>
FutureList states_of(const std::vector<H>& handles) {
    FutureList states;
    states.reserve(handles.size());
    for (const H& h : handles) states.add_state(h.state());
    return states;
}
// Raises: ValueError if one belongs to another loop than the one that runs (if none does: than the
// first one's).
ASYNCIO_API void check_same_loop(const FutureList& states);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

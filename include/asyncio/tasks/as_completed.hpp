// as_completed: one after another, as they end. T-21, S-37, S-88, B-25.
#pragma once

#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/detail/ranges.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/tasks/task.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

// Of as_completed().
struct AsCompletedOptions {
    Delay timeout = std::nullopt;  // for all of them together
};

namespace detail {

class CompletionQueue;

class ASYNCIO_API CompletionQueueRef {
  public:
    CompletionQueueRef() noexcept = default;
    CompletionQueueRef(FutureList futures, Delay timeout);
    CompletionQueueRef(const CompletionQueueRef& o) noexcept;
    CompletionQueueRef(CompletionQueueRef&& o) noexcept : queue_(detail::take(o.queue_)) {}
    CompletionQueueRef& operator=(CompletionQueueRef o) noexcept {
        detail::trade(queue_, o.queue_);
        return *this;
    }
    ~CompletionQueueRef();

    // How many have not been asked for yet; takes one off.
    bool take_one() noexcept;
    bool empty() const noexcept;
    // The next finished one. Raises: TimeoutError.
    Coroutine<Ref<FutureBase>> get() const;

  private:
    CompletionQueue* queue_ = nullptr;
};

template <class H>
Coroutine<std::optional<H>> next_handle(CompletionQueueRef queue) {
    if (!queue.take_one()) co_return std::nullopt;
    Ref<FutureBase> state = co_await queue.get();
    co_return H::from_state(std::move(state));
}

template <class T>
Coroutine<T> next_result(CompletionQueueRef queue) {
    Ref<FutureBase> state = co_await queue.get();
    FutureAwaiter<T, true> awaiter(std::move(state));
    co_return co_await awaiter;
}

template <class... A>
inline constexpr bool kCompletes = false;
template <class R, class... O>
inline constexpr bool kCompletes<R, O...> =
    AwaitableRange<R> && kWithOptions<AsCompletedOptions, R, O...>;

}  // namespace detail

// What as_completed returns: asynchronously iterated by next(), or plainly, giving coroutines.
template <class H, class T>
class [[nodiscard("take what it gives by next()")]] AsCompleted {
  public:
    AsCompleted(detail::FutureList futures, Delay timeout) : queue_(std::move(futures), timeout) {}

    // The next task or future to end, itself; nothing when all were given.
    // Raises: TimeoutError when the timeout is over.
    // If cancelled: the task that would have been given is given to the next call. A call counts
    // all the same: after as many as there are tasks, nothing is given any more (as in CPython).
    Coroutine<std::optional<H>> next() { return detail::next_handle<H>(queue_); }

    // Of begin(). An input iterator: each item is to be taken once.
    class Iterator {
      public:
        using value_type = Coroutine<T>;
        using difference_type = std::ptrdiff_t;
        // For the library.
        explicit Iterator(AsCompleted* all) : all_(all) {}
        Coroutine<T> operator*() const {
            all_->queue_.take_one();
            return detail::next_result<T>(all_->queue_);
        }
        Iterator& operator++() { return *this; }
        void operator++(int) {}
        bool operator==(std::default_sentinel_t) const { return all_->queue_.empty(); }

      private:
        AsCompleted* all_;
    };
    // Plain iteration: each item is a coroutine that gives the next result, or raises its
    // exception.
    Iterator begin() { return Iterator(this); }
    std::default_sentinel_t end() const { return {}; }

  private:
    detail::CompletionQueueRef queue_;
};

// The tasks and futures of a range in the order in which they end. Coroutines are consumed and run
// as tasks, made now. After `timeout` what is left raises TimeoutError; nothing is cancelled.
// Raises: ValueError if they are of different loops.
template <detail::AwaitableRange R>
auto as_completed(R&& range, AsCompletedOptions options = {}) {
    using Item = detail::RangeItem<R>;
    using H = typename detail::HandleOf<Item>::type;
    using T = typename detail::AwaitResultOf<Item>::type;
    auto handles = detail::handles_of(std::forward<R>(range));
    const auto rest = [&] {
        auto states = detail::states_of(handles);
        detail::check_same_loop(states);
        states.remove_duplicates();
        return AsCompleted<H, T>(std::move(states), options.timeout);
    };
    if constexpr (FutureLike<Item>) {
        return rest();
    } else {
        return detail::or_not_begun(handles, rest);
    }
}
template <class... A>
    requires(!detail::kCompletes<A...>)
AsCompleted<AnyFuture, void> as_completed(A&&...) {
    static_assert(
        detail::kRight<A...>,
        "as_completed() takes a range, and options: as_completed(tasks, {.timeout = 2s})");
    return detail::Refused();
}
template <class Never = void>
AsCompleted<AnyFuture, void> as_completed(const detail::Braces&, const AsCompletedOptions& = {}) {
    static_assert(detail::kRight<Never>,
                  "a range, not a braced list: as_completed(std::vector{a, b})");
    return detail::Refused();
}

}  // namespace v1
}  // namespace asyncio

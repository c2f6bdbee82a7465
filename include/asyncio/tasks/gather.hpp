// gather: several awaitables at once, their results in order. T-15, T-16, S-33, S-66, B-13 to B-17.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "asyncio/detail/ranges.hpp"
#include "asyncio/tasks/task.hpp"

namespace asyncio {
inline namespace v1 {

// First argument of gather that asks for `Result<T>`s: exceptions become results.
struct ReturnExceptions {
    explicit ReturnExceptions() = default;
};
inline constexpr ReturnExceptions return_exceptions{};

namespace detail {

// The future that gather returns, without the types of its results.
class ASYNCIO_API GatherBase : public FutureBase {
  public:
    bool cancel_wait(const std::exception_ptr& error) override;
    GatherBase* as_gather() noexcept override { return this; }
    const char* class_name() const noexcept override { return "_GatheringFuture"; }

    // Begins to watch the children, in the order of the arguments. Call once.
    // Raises: ValueError if they are of different loops; std::bad_alloc, and then those that were
    // made for it do not begin.
    void watch();

  protected:
    GatherBase(LoopCore& core, FutureList children, bool keep_errors);
    ~GatherBase() override;

    // Sets the value from the children; all are done. May throw what a copy of a result throws.
    virtual void collect() = 0;

    FutureBase& child(std::size_t i) const noexcept { return *children_[i]; }
    std::size_t count() const noexcept { return children_.size(); }

  private:
    friend class CancelWalk;
    friend class CircleSearch;
    template <class>
    friend struct DebugLayout;
    friend void take_out(TaskBase& task, const std::vector<const TaskBase*>& circle);
    class ChildNode;
    // A request to cancel that passes through: where it came from and how far it is.
    struct Walk {
        TaskBase* first = nullptr;  // the tasks before this gather, up to the next outer one
        TaskBase* last = nullptr;
        GatherBase* outer = nullptr;
        std::size_t next = 0;  // child
        bool any = false;      // a child has accepted it
    };
    void watch_children();
    void on_child(FutureBase& child) noexcept;
    void finish_all() noexcept;
    void finish_failed(std::exception_ptr error) noexcept;

    FutureList children_;
    ChildNode* nodes_ = nullptr;  // an array, owned
    std::size_t distinct_ = 0;
    std::size_t finished_ = 0;
    Walk walk_;
    bool keep_errors_;
    bool cancel_requested_ = false;
    bool given_up_ = false;  // by the task that awaited it: its error is not to be reported
};

// The error of a finished child as gather(return_exceptions) shows it; null if it has a value.
ASYNCIO_API std::exception_ptr gathered_error(FutureBase& child);

template <>
struct IsNone<std::monostate> : std::true_type {};

template <class T>
using Gathered = std::conditional_t<std::is_void_v<T>, std::monostate, Stored<T>>;

template <class T>
Gathered<T> gathered_value(FutureBase& child) {
    if constexpr (std::is_void_v<T>) {
        return {};
    } else if constexpr (!detail::kCopyable<Stored<T>>) {
        return std::move(value_of<T>(child));
    } else {
        if (child.unique()) return std::move(value_of<T>(child));
        return value_of<T>(child);
    }
}

template <class T>
Result<T> gathered_result(FutureBase& child) {
    if (std::exception_ptr e = gathered_error(child)) return Result<T>::failure(std::move(e));
    if constexpr (std::is_void_v<T>) {
        return Result<T>::success();
    } else {
        return Result<T>::success(gathered_value<T>(child));
    }
}

template <bool kKeep, class... T>
class GatherTuple final
    : public ValueState<GatherBase,
                        std::tuple<std::conditional_t<kKeep, Result<T>, Gathered<T>>...>> {
  public:
    GatherTuple(LoopCore& core, FutureList children)
        : ValueState<GatherBase, std::tuple<std::conditional_t<kKeep, Result<T>, Gathered<T>>...>>(
              core, std::move(children), kKeep) {}

  private:
    void collect() override { collect_all(std::index_sequence_for<T...>()); }
    template <std::size_t... I>
    void collect_all(std::index_sequence<I...>) {
        if constexpr (kKeep) {
            this->emplace(gathered_result<T>(this->child(I))...);
        } else {
            this->emplace(gathered_value<T>(this->child(I))...);
        }
    }
};

template <bool kKeep, class T>
using GatherItem = std::conditional_t<kKeep, Result<T>, Gathered<T>>;

template <bool kKeep, class T>
class GatherVector final : public ValueState<GatherBase, std::vector<GatherItem<kKeep, T>>> {
  public:
    GatherVector(LoopCore& core, FutureList children)
        : ValueState<GatherBase, std::vector<GatherItem<kKeep, T>>>(core, std::move(children),
                                                                    kKeep) {}

  private:
    void collect() override {
        std::vector<GatherItem<kKeep, T>> values;
        values.reserve(this->count());
        for (std::size_t i = 0; i < this->count(); ++i) {
            if constexpr (kKeep) {
                values.push_back(gathered_result<T>(this->child(i)));
            } else {
                values.push_back(gathered_value<T>(this->child(i)));
            }
        }
        this->emplace(std::move(values));
    }
};

// The arguments of a variadic gather as futures; one that is given twice is run once (B-13).
class GatherArguments {
  public:
    // `objects`: room for as many as will be added.
    GatherArguments(const void** objects, std::size_t n) : objects_(objects) { states.reserve(n); }

    template <class A>
    void add(A&& a) {
        static_assert(kSafeTemporary<A>,
                      "name this callable first: this compiler would copy its captures bitwise "
                      "inside a co_await expression");
        // A callable makes a new coroutine for each argument.
        constexpr bool kOneObject = std::is_lvalue_reference_v<A> && DirectAwaitable<A>;
        const void* object = kOneObject ? std::addressof(a) : nullptr;
        objects_[states.size()] = object;
        states.add(state_for(std::forward<A>(a), object));
    }

    FutureList states;

  private:
    template <class A>
    Ref<FutureBase> state_for(A&& a, const void* object) {
        if constexpr (FutureLike<A>) {
            if (!a) throw_empty_handle();
            return a.state();
        } else {
            for (std::size_t i = 0; object && i < states.size(); ++i) {
                if (objects_[i] == object) return states[i];
            }
            auto task = future_for(current_core(), std::forward<A>(a));
            // The caller has no handle of it: it is not reported as destroyed (T-36).
            task.state()->flags_ &= static_cast<std::uint16_t>(~FutureBase::kLogDestroyed);
            return std::move(task).state();
        }
    }

    const void** objects_;  // lvalue arguments, for finding the same one again
};

template <class State>
auto make_gather(FutureList children) {
    using V = std::remove_cvref_t<decltype(std::declval<State&>().value())>;
    LoopCore& core = children.empty() ? current_core() : children[0]->core();
    State* state = nullptr;
    try {
        state = new State(core, std::move(children));
    } catch (const std::bad_alloc&) {
        // Safe because they are moved only once there is memory.
        children.cancel_made();
        throw;
    }
    auto future = Future<V>::from_state(Ref<FutureBase>::adopt(state));
    state->watch();
    return future;
}

template <bool kKeep, class... A>
auto gather_arguments(A&&... awaitables) {
    const void* objects[sizeof...(A) + 1];
    GatherArguments arguments(objects, sizeof...(A));
    try {
        (arguments.add(std::forward<A>(awaitables)), ...);
    } catch (const std::bad_alloc&) {
        arguments.states.cancel_made();
        throw;
    }
    return make_gather<GatherTuple<kKeep, typename AwaitResultOf<A>::type...>>(
        std::move(arguments.states));
}

template <bool kKeep, class R>
auto gather_range(R&& range) {
    using T = typename AwaitResultOf<RangeItem<R>>::type;
    auto handles = handles_of(std::forward<R>(range));
    FutureList states;
    if constexpr (FutureLike<RangeItem<R>>) {
        states = states_of(handles);
    } else {
        states = or_not_begun(handles, [&] { return states_of(handles); });
        for (const auto& s : states) {
            s->flags_ &= static_cast<std::uint16_t>(~FutureBase::kLogDestroyed);
        }
    }
    handles.clear();
    return make_gather<GatherVector<kKeep, T>>(std::move(states));
}

}  // namespace detail

namespace detail {

template <class... A>
inline constexpr bool kGathers = (Awaitable<A> && ...);
template <class A>
inline constexpr bool kGathers<A> = Awaitable<A> || AwaitableRange<A>;
template <>
inline constexpr bool kGathers<const ReturnExceptions&> = true;
template <class A, class... More>
inline constexpr bool kGathers<const ReturnExceptions&, A, More...> = kGathers<A, More...>;

}  // namespace detail

// Runs all `awaitables` at once, those that are not futures as tasks, made now and in order. Gives
// a `Future<std::tuple<...>>` of their results (std::monostate for void). The first exception goes
// to whoever awaits the gather; the others keep running. Raises: ValueError if they are of
// different loops. If cancelled: all of them are; it ends with CancelledError once they have ended
// (T-16).
template <Awaitable... A>
[[nodiscard("co_await it")]] auto gather(A&&... awaitables) {
    return detail::gather_arguments<false>(std::forward<A>(awaitables)...);
}
// The same with exceptions as results: a `Future<std::tuple<Result<T>...>>`.
template <Awaitable... A>
[[nodiscard("co_await it")]] auto gather(ReturnExceptions, A&&... awaitables) {
    return detail::gather_arguments<true>(std::forward<A>(awaitables)...);
}
// The same for a range of handles, or of coroutines, which are consumed: a
// `Future<std::vector<T>>`.
template <detail::AwaitableRange R>
[[nodiscard("co_await it")]] auto gather(R&& range) {
    return detail::gather_range<false>(std::forward<R>(range));
}
template <detail::AwaitableRange R>
[[nodiscard("co_await it")]] auto gather(ReturnExceptions, R&& range) {
    return detail::gather_range<true>(std::forward<R>(range));
}
template <class... A>
    requires(!detail::kGathers<A...>)
detail::Refused gather(A&&...) {
    static_assert(detail::kRight<A...>,
                  "gather() takes what may be awaited, or one range of such: gather(f(), g())");
    return {};
}
template <class Never = void>
detail::Refused gather(const detail::Braces&) {
    static_assert(detail::kRight<Never>, "without the braces: gather(a, b)");
    return {};
}
template <class Never = void>
detail::Refused gather(ReturnExceptions, const detail::Braces&) {
    static_assert(detail::kRight<Never>, "without the braces: gather(return_exceptions, a, b)");
    return {};
}

}  // namespace v1
}  // namespace asyncio

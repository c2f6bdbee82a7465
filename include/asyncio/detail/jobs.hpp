// A job: a function that is called once, on a thread that an executor chooses.
#pragma once

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/config.hpp"
#include "asyncio/detail/destroy.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A job as executors see it. The executor owns one reference, which either call gives up.
class ASYNCIO_API JobBase {
  public:
    // Calls the function and hands its outcome on.
    virtual void execute() noexcept = 0;
    // The function will not be called: its future is cancelled.
    virtual void discard() noexcept = 0;

    JobBase* following_ = nullptr;  // in an executor's queue

  protected:
    JobBase() = default;
    JobBase(const JobBase&) = delete;
    JobBase& operator=(const JobBase&) = delete;
    ~JobBase() = default;
};

// A function with its arguments, to be called once.
template <class F, class... Args>
class BoundCall {
  public:
    template <class G, class... A>
    explicit BoundCall(std::in_place_t, G&& fn, A&&... args)
        : fn_(std::forward<G>(fn)), args_(std::forward<A>(args)...) {}
    decltype(auto) operator()() { return std::apply(std::move(fn_), std::move(args_)); }

  private:
    F fn_;
    std::tuple<Args...> args_;
};

// What a call of `F` gives, as a future holds it.
template <class F, class... Args>
struct JobResultOf {
    using type = Refused;
};
template <class F, class... Args>
    requires std::is_invocable_v<F, Args...>
struct JobResultOf<F, Args...> {
    using Returned = std::invoke_result_t<F, Args...>;
    using type = std::conditional_t<std::is_lvalue_reference_v<Returned>, Returned,
                                    std::remove_cv_t<std::remove_reference_t<Returned>>>;
};
template <class F, class... Args>
using JobResult = typename JobResultOf<std::decay_t<F>, std::decay_t<Args>...>::type;

// True of what a job gives, but for a coroutine, and where the function cannot be called.
template <class R>
inline constexpr bool kJobResult = !std::is_same_v<R, Refused> && !CoroutineLike<R>;

// Calls `fn` and puts what it returned into `result`.
template <class R, class F>
void call_into(Kept<Stored<R>>& result, F& fn) {
    if constexpr (std::is_void_v<R>) {
        std::move(fn)();
        result.emplace();
    } else if constexpr (std::is_reference_v<R>) {
        R value = std::move(fn)();
        result.emplace(std::addressof(value));
    } else {
        result.emplace(std::move(fn)());
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

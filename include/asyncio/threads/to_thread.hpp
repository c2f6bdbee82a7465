// run_in_executor and to_thread: functions that a loop has called on other threads. EF-04, TH-01,
// CV-04.
//
// A job is one object: the function, its result and the future that waits for it. The loop's thread
// makes it, an executor calls it, and it goes back to the loop as an entry of the ready queue,
// which completes the future: two iterations from the end of a job to the step of its waiter
// (S-39b, X-11).
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

#include "asyncio/contextvars.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/jobs.hpp"
#include "asyncio/detail/thread_state.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/threads/executors.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

// The part of a loop's job that knows no types.
class ASYNCIO_API LoopJob : public JobBase {
  public:
    // On the loop's thread, before `on` gets it.
    void begin(const Executor& on) noexcept;

  protected:
    // The context of the job while it runs: its own (to_thread) or the thread's (run_in_executor).
    class Inside {
      public:
        explicit Inside(LoopJob& job) noexcept : outer_(thread_state.context) {
            if (job.in_context_) thread_state.context = &job.context_;
        }
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;
        ~Inside() { thread_state.context = outer_; }

      private:
        ContextSlot* outer_;
    };

    LoopJob(FutureBase& future, ContextSlot context, bool in_context) noexcept
        : future_(future), context_(std::move(context)), in_context_(in_context) {}
    ~LoopJob() = default;

    // One of the executor, which is about to call the function, and the loop, which cancels, wins.
    bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_acq_rel); }
    // On any thread: the job ends, and its future follows on the loop's thread.
    void deliver() noexcept;
    // The same when the loop has cancelled it.
    void give_up() noexcept;
    // On the loop's thread: nobody waits for the job any more.
    void end_wait() noexcept;
    void drop_context() noexcept { context_.clear(); }

    std::exception_ptr error_;

  private:
    FutureBase& future_;
    ContextSlot context_;
    bool in_context_;
    bool awaited_ = false;  // the loop's clock stands still for it, if it is virtual
    std::atomic<bool> claimed_{false};
};

template <class R, class F>
class LoopJobOf final : public ValueState<FutureBase, R>, public LoopJob {
    using Future = FutureBase;

  public:
    LoopJobOf(LoopCore& core, ContextSlot context, bool in_context, F fn)
        : ValueState<FutureBase, R>(core, std::uint16_t{0}, std::uint32_t{2},
                                    std::source_location()),
          LoopJob(*this, std::move(context), in_context),
          fn_(std::move(fn)) {}

    void execute() noexcept override {
        if (!claim()) return give_up();
        {
            const Inside inside(*this);
            try {
                call_into<R>(result_, *fn_);
            } catch (...) {
                // Every exception is the job's outcome.
                error_ = std::current_exception();
            }
            fn_.reset();
            drop_context();
        }
        deliver();
    }

    void discard() noexcept override {
        if (!claim()) return give_up();
        fn_.reset();
        drop_context();
        deliver();
    }

    // The job is over: the future follows, unless somebody has cancelled it (S-56).
    void run() override {
        end_wait();
        if (!this->done()) complete();
        result_.reset();
        this->release();
    }
    void drop() noexcept override {
        end_wait();
        result_.reset();
        this->release();
    }

    bool cancel_wait(const std::exception_ptr& error) override {
        if (!Future::cancel_wait(error)) return false;
        end_wait();
        if (!claim()) return true;  // it runs, and its result will be dropped
        fn_.reset();
        drop_context();
        return true;
    }

  private:
    void complete() noexcept {
        if (!result_) {
            if (error_) return this->finish_error(std::move(error_));
            return this->finish_cancelled(nullptr);
        }
        try {
            this->emplace(std::move(*result_));
        } catch (...) {
            // A result whose move throws ends the future with that exception.
            return this->finish_error(std::current_exception());
        }
        this->finish_value();
    }

    Kept<F> fn_;
    Kept<Stored<R>> result_;
};

// The executor to use: `executor`, or the loop's own if null.
// Raises: RuntimeError "Event loop is closed", "Executor shutdown has been called".
ASYNCIO_API Executor& executor_for(LoopCore& core, Executor* executor);

template <class F>
auto start_job(LoopCore& core, Executor* executor, ContextSlot context, bool in_context, F&& fn) {
    using R = JobResult<F>;
    Executor& on = executor_for(core, executor);
    auto* job = new LoopJobOf<R, std::decay_t<F>>(core, std::move(context), in_context,
                                                  std::forward<F>(fn));
    auto future = Future<R>::from_state(Ref<FutureBase>::adopt(job));
    job->begin(on);
    on.add(Executor::Job(job));
    return future;
}

// A function and its arguments.
template <class... A>
inline constexpr bool kJob = false;
template <class F, class... Args>
inline constexpr bool kJob<F, Args...> = kJobResult<JobResult<F, Args...>>;

template <class R, class F>
Coroutine<R> run_in_thread(F fn) {
    auto future =
        start_job(running_core(), nullptr, ContextSlot::copy_current(), true, std::move(fn));
    co_return co_await std::move(future);
}

}  // namespace detail

template <class F>
auto EventLoop::run_in_executor(Executor* executor, F&& fn) {
    static_assert(detail::kSafeTemporary<F>,
                  "name this callable first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    if constexpr (detail::kJob<F>) {
        return detail::start_job(core(), executor, detail::ContextSlot(), false,
                                 std::forward<F>(fn));
    } else {
        static_assert(detail::kRight<F>,
                      "run_in_executor() calls a plain function without parameters: [=] { return "
                      "f(x); }");
        return detail::Refused();
    }
}

// Calls `fn(args...)` on a thread of the loop's own executor, in a copy of the context that awaits
// it, and gives what it returns or throws. Starts when it is awaited. Arguments are copied or moved
// into the job; wrap in std::ref what is to be shared. TH-01.
// Raises: RuntimeError "Executor shutdown has been called".
// If cancelled: it returns at once; a function that has not begun is not called, one that runs goes
// on, and its result is dropped.
template <class F, class... Args>
    requires detail::kJobResult<detail::JobResult<F, Args...>>
ASYNCIO_CORO_WRAPPER auto to_thread(F&& fn, Args&&... args)
    -> Coroutine<detail::JobResult<F, Args...>> {
    static_assert(detail::kSafeTemporary<F>,
                  "name this callable first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    using R = detail::JobResult<F, Args...>;
    if constexpr (sizeof...(Args) == 0) {
        return detail::run_in_thread<R, std::decay_t<F>>(std::forward<F>(fn));
    } else {
        using Call = detail::BoundCall<std::decay_t<F>, std::decay_t<Args>...>;
        return detail::run_in_thread<R, Call>(
            Call(std::in_place, std::forward<F>(fn), std::forward<Args>(args)...));
    }
}
template <class... A>
    requires(!detail::kJob<A...>)
detail::Refused to_thread(A&&...) {
    constexpr bool kCoroutine = std::is_invocable_v<std::decay_t<A>...>;
    static_assert(!kCoroutine,
                  "to_thread() calls a plain function: co_await a coroutine, or create_task it");
    static_assert(kCoroutine,
                  "to_thread() takes a function and its arguments: to_thread(f, x), not f(x)");
    return {};
}

}  // namespace v1
}  // namespace asyncio

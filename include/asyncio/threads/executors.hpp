// Executors, which call functions on other threads: the interface, and a pool of threads.
#pragma once

#include <concepts>
#include <limits>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/jobs.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/threads/concurrent_futures.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

[[noreturn]] ASYNCIO_API void throw_too_many(const char* what);
// `n` as an int; a negative one as -1. Raises: ValueError "WHAT must be <= 2147483647".
template <std::integral N>
int count_of(N n, const char* what) {
    if (std::cmp_greater(n, std::numeric_limits<int>::max())) throw_too_many(what);
    return std::cmp_less(n, 0) ? -1 : static_cast<int>(n);
}

}  // namespace detail

// Something that calls functions on other threads. Derive from it to use threads of your own.
class ASYNCIO_API Executor {
  public:
    // A function that was submitted, with its future. Move-only. Call it once, on whichever thread;
    // one that is destroyed uncalled cancels its future.
    class Job {
      public:
        // For the library.
        explicit Job(detail::JobBase* job) noexcept : job_(job) {}
        Job(Job&& o) noexcept : job_(detail::take(o.job_)) {}
        Job& operator=(Job&& o) noexcept {
            detail::trade(job_, o.job_);
            return *this;
        }
        ~Job() {
            if (job_) job_->discard();
        }
        explicit operator bool() const noexcept { return job_ != nullptr; }
        // Calls the function, whose result or exception goes to the future.
        void operator()() noexcept { detail::take(job_)->execute(); }

        // For the library.
        detail::JobBase* release() noexcept { return detail::take(job_); }

      private:
        detail::JobBase* job_;
    };

    Executor() = default;
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;
    virtual ~Executor();

    // Takes a job over, to be called soon. Called from any thread.
    virtual void add(Job job) = 0;

    // Calls `fn(args...)` on a thread of this executor. From any thread.
    // Raises: what add() raises.
    template <class F, class... Args>
        requires detail::kJobResult<detail::JobResult<F, Args...>>
    auto submit(F&& fn, Args&&... args) -> ConcurrentFuture<detail::JobResult<F, Args...>>;
};

// A pool of threads: one is started when a job finds none idle, up to a maximum, and ends when it
// has had nothing to do for a while.
class ASYNCIO_API ThreadPoolExecutor : public Executor {
  public:
    // With as many threads as min(32, processors + 4).
    ThreadPoolExecutor() : ThreadPoolExecutor(0) {}
    // `max_workers`: 0 means min(32, processors + 4). Threads are called PREFIX_N (the system cuts
    // names to 15 characters). `idle_time`: how long a thread without a job stays.
    // Raises: ValueError "max_workers must be greater than 0", "... <= 2147483647".
    template <std::integral N>
    explicit ThreadPoolExecutor(N max_workers, std::string_view thread_name_prefix = "asyncio",
                                Delay idle_time = std::chrono::seconds(10))
        : ThreadPoolExecutor(Checked{detail::count_of(max_workers, "max_workers")},
                             thread_name_prefix, idle_time) {}
    // Runs what was submitted, and joins all threads, as shutdown() does.
    ~ThreadPoolExecutor() override;

    // Jobs start in the order they were added.
    // Raises: RuntimeError "cannot schedule new futures after shutdown"; RuntimeError "can't start
    // new thread" if there is none at all.
    void add(Job job) override;

    // Takes no more jobs; threads end when all that were added have run. `wait`: joins them.
    // `cancel_futures`: jobs that have not begun are cancelled. May be called again, and by several
    // threads. On a thread of a pool it does not wait for that thread itself, nor for those that
    // wait, in a shutdown() of theirs, for that thread.
    void shutdown(bool wait = true, bool cancel_futures = false);

    // How many threads there may be.
    int max_workers() const noexcept;
    // How many there are.
    int thread_count() const;

    // For the library: the destructor will not wait for the threads.
    void leave_threads() noexcept;
    struct Joiner;
    // For the library: shutdown(true) by one thread for another, which waits for it until forget().
    static std::shared_ptr<Joiner> joiner_of_this_thread();
    void shutdown_for(Joiner& joiner);
    static void forget(Joiner& joiner) noexcept;
    // For the library, at fork(2).
    static void lock_joiners() noexcept;
    static void unlock_joiners() noexcept;
    static void forget_joiners() noexcept;

  private:
    struct Checked {
        int max_workers;
    };
    struct Pool;
    struct Worker;
    ThreadPoolExecutor(Checked max_workers, std::string_view thread_name_prefix, Delay idle_time);
    Pool& pool() const noexcept;
    std::shared_ptr<void> pool_;  // a Pool
};

namespace detail {

// A job whose result goes to a ConcurrentFuture.
template <class R, class F>
class ConcurrentJobOf final : public ConcurrentStateOf<R>, public JobBase {
  public:
    explicit ConcurrentJobOf(F fn) : fn_(std::move(fn)) { this->set_source(&ConcurrentBase::kJob); }

    void execute() noexcept override {
        if (!claim_for_call()) return this->release();
        std::exception_ptr error;
        try {
            call_into<R>(result_, *fn_);
        } catch (...) {
            // Every exception is the job's outcome.
            error = std::current_exception();
        }
        fn_.reset();
        end(std::move(error));
        result_.reset();
        this->release();
    }
    void discard() noexcept override {
        this->cancel();
        this->release();
    }

  private:
    // Safe because the one that cancelled it has kept execute() from calling it.
    void was_cancelled() noexcept override { fn_.reset(); }
    bool claim_for_call() noexcept {
        try {
            return this->set_running_or_notify_cancel();
        } catch (const std::exception&) {
            // The user has set its state: there is nothing left to do.
            return false;
        }
    }
    void end(std::exception_ptr error) noexcept {
        try {
            this->begin_end();
        } catch (const std::exception&) {
            // The user has set its result: this one is dropped.
            return;
        }
        if (result_) {
            this->finish_with(std::move(*result_));
        } else {
            this->finish_error(std::move(error));
        }
    }

    Kept<F> fn_;
    // Not a local variable: g++ 12 would warn of its use, in the user's code too.
    Kept<Stored<R>> result_;
};

}  // namespace detail

template <class F, class... Args>
    requires detail::kJobResult<detail::JobResult<F, Args...>>
auto Executor::submit(F&& fn, Args&&... args) -> ConcurrentFuture<detail::JobResult<F, Args...>> {
    static_assert(detail::kSafeTemporary<F>,
                  "name this callable first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    using R = detail::JobResult<F, Args...>;
    using Call = detail::BoundCall<std::decay_t<F>, std::decay_t<Args>...>;
    auto* job = new detail::ConcurrentJobOf<R, Call>(
        Call(std::in_place, std::forward<F>(fn), std::forward<Args>(args)...));
    auto future = ConcurrentFuture<R>::from_state(detail::Ref<detail::ConcurrentBase>::adopt(job));
    job->retain();
    add(Job(job));
    return future;
}

}  // namespace v1
}  // namespace asyncio

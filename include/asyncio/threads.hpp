// Threads: executors, to_thread, and futures that cross threads. EF-04, EF-05, LC-07, TH-01 to
// TH-03, F-14, CV-04.
//
// A job is one object: the function, its result and the future that waits for it. The loop's thread
// makes it, an executor calls it, and it goes back to the loop as an entry of the ready queue,
// which completes the future: two iterations from the end of a job to the step of its waiter
// (S-39b, X-11).
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <exception>
#include <iosfwd>
#include <limits>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

template <class T>
class ConcurrentFuture;

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

[[noreturn]] ASYNCIO_API void throw_too_many(const char* what);
// `n` as an int; a negative one as -1. Raises: ValueError "WHAT must be <= 2147483647".
template <std::integral N>
int count_of(N n, const char* what) {
    if (std::cmp_greater(n, std::numeric_limits<int>::max())) throw_too_many(what);
    return std::cmp_less(n, 0) ? -1 : static_cast<int>(n);
}

// What a call of `F` gives, as a future holds it.
template <class F, class... Args>
struct JobResultOf {
    static_assert(std::is_invocable_v<F, Args...>,
                  "this function cannot be called with these arguments");
    using Returned = std::invoke_result_t<F, Args...>;
    using type = std::conditional_t<std::is_lvalue_reference_v<Returned>, Returned,
                                    std::remove_cv_t<std::remove_reference_t<Returned>>>;
    static_assert(!CoroutineLike<type>,
                  "a thread runs plain functions: co_await a coroutine, or create_task it");
};
template <class F, class... Args>
using JobResult = typename JobResultOf<std::decay_t<F>, std::decay_t<Args>...>::type;

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

// ---- jobs of a loop ----------------------------------------------------------------------------

// The part of a loop's job that knows no types.
class ASYNCIO_API LoopJob : public JobBase {
  public:
    // On the loop's thread, before the executor gets it.
    void begin() noexcept;

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

}  // namespace detail

// ---- executors ---------------------------------------------------------------------------------

// Something that calls functions on other threads. Derive from it to use threads of your own.
class ASYNCIO_API Executor {
  public:
    // A function that was submitted, with its future. Move-only. Call it once, on whichever thread;
    // one that is destroyed uncalled cancels its future.
    class Job {
      public:
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

    int max_workers() const noexcept;
    // How many threads there are.
    int thread_count() const;

    // For the library: the destructor will not wait for the threads.
    void leave_threads() noexcept;
    // shutdown(true) by one thread for another, which waits for it until forget().
    struct Joiner;
    static std::shared_ptr<Joiner> joiner_of_this_thread();
    void shutdown_for(Joiner& joiner);
    static void forget(Joiner& joiner) noexcept;
    // For fork(2).
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

template <class F>
auto start_job(LoopCore& core, Executor* executor, ContextSlot context, bool in_context, F&& fn) {
    using R = JobResult<F>;
    Executor& on = executor_for(core, executor);
    auto* job = new LoopJobOf<R, std::decay_t<F>>(core, std::move(context), in_context,
                                                  std::forward<F>(fn));
    auto future = Future<R>::from_state(Ref<FutureBase>::adopt(job));
    job->begin();
    on.add(Executor::Job(job));
    return future;
}

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
    return detail::start_job(core(), executor, detail::ContextSlot(), false, std::forward<F>(fn));
}

// Calls `fn(args...)` on a thread of the loop's own executor, in a copy of the context that awaits
// it, and gives what it returns or throws. Starts when it is awaited. Arguments are copied or moved
// into the job; wrap in std::ref what is to be shared. TH-01.
// Raises: RuntimeError "Executor shutdown has been called".
// If cancelled: it returns at once; a function that has not begun is not called, one that runs goes
// on, and its result is dropped.
template <class F, class... Args>
auto to_thread(F&& fn, Args&&... args) -> Coroutine<detail::JobResult<F, Args...>> {
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

// ---- futures that cross threads ----------------------------------------------------------------

namespace detail {

class ConcurrentBase;

// Called once when a future is done, by the thread that ended it.
class ASYNCIO_API ConcurrentCallback {
  public:
    // Calls it, and frees it.
    virtual void call(ConcurrentBase& future) noexcept = 0;
    // Frees it uncalled.
    virtual void drop() noexcept = 0;

    ConcurrentCallback* next_ = nullptr;

  protected:
    ConcurrentCallback() = default;
    ConcurrentCallback(const ConcurrentCallback&) = delete;
    ConcurrentCallback& operator=(const ConcurrentCallback&) = delete;
    ~ConcurrentCallback() = default;
};

// The shared state of a ConcurrentFuture, without the type of its result.
class ASYNCIO_API ConcurrentBase {
  public:
    // kEnding: claimed by the one that ends it, to whom it is still running or pending.
    enum State : std::uint32_t { kPending, kRunning, kEnding, kFinished, kFailed, kCancelled };

    void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) abandon();
    }
    bool unique() const noexcept { return refs_.load(std::memory_order_acquire) == 1; }
    // For those who hold the object but do not want its result to live: see WeakConcurrent.
    void retain_object() noexcept { object_refs_.add(); }
    void release_object() noexcept {
        if (object_refs_.drop()) delete this;
    }
    // Adds a reference, unless there is none any more.
    bool retain_if_alive() noexcept;

    State state() const noexcept {
        return static_cast<State>(state_.load(std::memory_order_acquire) & kStateBits);
    }
    bool done() const noexcept { return state() >= kFinished; }
    bool cancelled() const noexcept { return state() == kCancelled; }

    bool cancel() noexcept;
    // Raises: RuntimeError if it runs or is done.
    bool set_running_or_notify_cancel();
    // Raises: RuntimeError in a child of fork(2), of what a thread of the parent is to end.
    void check_has_source() const;
    // Waits for the end. Raises: TimeoutError; RuntimeError in the loop that is to end it, and as
    // check_has_source().
    void wait(Delay timeout) const;
    // The exception it ended with. Raises: as wait; CancelledError.
    std::exception_ptr exception(Delay timeout) const;
    // Waits, and raises what it ended with, if not a value.
    void check(Delay timeout) const;
    // Called at once if it is done.
    void add_callback(ConcurrentCallback* callback) noexcept;

    // Raises: InvalidStateError if it is done; TypeError for null.
    void set_exception(std::exception_ptr error);
    // Claims it for the one that will end it. Raises: InvalidStateError if it is done.
    void begin_end();
    void finish_value() noexcept { finish(kFinished); }
    void finish_error(std::exception_ptr error) noexcept;

    // Who ends it: a job of an executor or another loop's task (virtual time waits for both), or a
    // task of this loop.
    void set_source(const void* source) noexcept { source_ = source; }
    const void* source() const noexcept { return source_; }
    static const char kJob;  // its address is the source of a job

    // `<Future at 0x7f... state=running>`.
    std::string repr() const;
    virtual std::string value_repr() const = 0;

  protected:
    // cancel() has ended it, and nothing else will.
    virtual void was_cancelled() noexcept {}

    ConcurrentBase() noexcept;
    ConcurrentBase(const ConcurrentBase&) = delete;
    ConcurrentBase& operator=(const ConcurrentBase&) = delete;
    virtual ~ConcurrentBase();

  private:
    static constexpr std::uint32_t kStateBits = 7;
    static constexpr std::uint32_t kWaited = 8;  // some thread may sleep until it is done

    void abandon() noexcept;
    bool move_to(State from, State to) noexcept;
    void finish(State state) noexcept;
    bool wait_until_done(std::int64_t timeout) const;

    mutable std::atomic<std::uint32_t> state_{kPending};
    std::atomic<std::uint32_t> refs_{1};  // not a RefCount: one may be added to what is seen as 1
    RefCount object_refs_{1};             // all of refs_ count as one
    std::atomic<ConcurrentCallback*> callbacks_{nullptr};  // last first; a mark once done
    std::exception_ptr error_;
    const void* source_ = nullptr;
    const unsigned made_after_;  // forks()
};

template <class T>
class ConcurrentStateOf : public ConcurrentBase {
  public:
    ConcurrentStateOf() noexcept {}
    ~ConcurrentStateOf() noexcept override {
        if (state() == kFinished) destroy_logged(value_);
    }
    template <class... V>
    void set_value(V&&... value) {
        begin_end();
        finish_with(std::forward<V>(value)...);
    }
    // After begin_end().
    template <class... V>
    void finish_with(V&&... value) noexcept {
        try {
            std::construct_at(std::addressof(value_), std::forward<V>(value)...);
        } catch (...) {
            // A result whose move throws ends the future with that exception.
            return finish_error(std::current_exception());
        }
        finish_value();
    }
    Stored<T>& value() noexcept { return value_; }
    std::string value_repr() const override { return repr_type(typeid(T)); }

  private:
    union {
        Stored<T> value_;
    };
};

// A job whose result goes to a ConcurrentFuture.
template <class R, class F>
class ConcurrentJobOf final : public ConcurrentStateOf<R>, public JobBase {
  public:
    explicit ConcurrentJobOf(F fn) : fn_(std::move(fn)) { this->set_source(&ConcurrentBase::kJob); }

    void execute() noexcept override {
        if (!claim_for_call()) return this->release();
        Kept<Stored<R>> result;
        std::exception_ptr error;
        try {
            call_into<R>(result, *fn_);
        } catch (...) {
            // Every exception is the job's outcome.
            error = std::current_exception();
        }
        fn_.reset();
        end(result, std::move(error));
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
    void end(Kept<Stored<R>>& result, std::exception_ptr error) noexcept {
        try {
            this->begin_end();
        } catch (const std::exception&) {
            // The user has set its result: this one is dropped.
            return;
        }
        if (result) {
            this->finish_with(std::move(*result));
        } else {
            this->finish_error(std::move(error));
        }
    }

    Kept<F> fn_;
};

ASYNCIO_API void report_callback_error(ConcurrentBase& future, const std::exception_ptr& error);
[[noreturn]] ASYNCIO_API void throw_empty_concurrent();

template <class T, class F>
class ConcurrentCallbackOf final : public ConcurrentCallback {
  public:
    explicit ConcurrentCallbackOf(F fn) : fn_(std::move(fn)) {}
    void call(ConcurrentBase& future) noexcept override {
        try {
            if constexpr (std::is_invocable_v<F&, ConcurrentFuture<T>>) {
                (*fn_)(ConcurrentFuture<T>::from_state(Ref<ConcurrentBase>::share(&future)));
            } else {
                (*fn_)();
            }
        } catch (...) {
            // As in Python: it is logged, and the other callbacks are called.
            report_callback_error(future, std::current_exception());
        }
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Kept<F> fn_;
};

}  // namespace detail

// A result that another thread produces: what Executor::submit and run_coroutine_threadsafe give
// (Python's concurrent.futures.Future). Every member may be called from every thread; a cheap
// shared handle. It cannot be awaited: wrap_future() makes a future of the loop of it.
template <class T = void>
class [[nodiscard]] ConcurrentFuture {
  public:
    using value_type = T;

    // A new pending one, for threads of your own to end.
    ConcurrentFuture()
        : state_(detail::Ref<detail::ConcurrentBase>::adopt(new detail::ConcurrentStateOf<T>)) {}
    // An empty handle.
    ConcurrentFuture(std::nullptr_t) noexcept {}
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // Cancels it, and with it what produces the result, unless that runs already; of a coroutine
    // that runs on a loop, the task is asked to end (TH-02). Returns false if it cannot be
    // cancelled.
    bool cancel() const { return base().cancel(); }
    bool cancelled() const { return base().cancelled(); }
    // True while its function is being called.
    bool running() const {
        const auto s = base().state();
        return s == detail::ConcurrentBase::kRunning || s == detail::ConcurrentBase::kEnding;
    }
    // Has a result or an exception, or is cancelled.
    bool done() const { return base().done(); }

    // Waits for the result, at most `timeout` of real time.
    // Raises: TimeoutError; CancelledError; its exception; RuntimeError on the thread of the loop
    // that would have to produce it.
    decltype(auto) result(Delay timeout = std::nullopt) const& {
        base().check(timeout);
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return (*typed().value());
        } else {
            return static_cast<const T&>(typed().value());
        }
    }
    // The same, moved out if T cannot be copied or this is the last handle.
    T result(Delay timeout = std::nullopt) && {
        base().check(timeout);
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return *typed().value();
        } else {
            T& value = typed().value();
            if constexpr (detail::kCopyable<T>) {
                if (!base().unique()) return value;
            }
            return std::move(value);
        }
    }
    // Waits as result() does; gives the exception it ended with, null if it has a value.
    // Raises: TimeoutError; CancelledError.
    std::exception_ptr exception(Delay timeout = std::nullopt) const {
        return base().exception(timeout);
    }
    // Calls `fn(ConcurrentFuture<T>)` or `fn()` once it is done, on the thread that ended it, or at
    // once. What it throws is logged.
    template <class F>
    void add_done_callback(F fn) const {
        static_assert(std::is_invocable_v<F&, ConcurrentFuture> || std::is_invocable_v<F&>,
                      "a done callback takes the future that it was added to, or nothing");
        base().add_callback(new detail::ConcurrentCallbackOf<T, F>(std::move(fn)));
    }

    // For those who produce results: false if it was cancelled, else it can no longer be.
    // Raises: RuntimeError "Future in unexpected state".
    bool set_running_or_notify_cancel() const { return base().set_running_or_notify_cancel(); }
    // Sets the result (nothing for void). Raises: InvalidStateError if it is done.
    template <class... V>
    void set_result(V&&... value) const
        requires(std::is_constructible_v<detail::Stored<T>, V && ...> ||
                 (std::is_reference_v<T> && sizeof...(V) == 1))
    {
        base();
        if constexpr (std::is_reference_v<T>) {
            typed().set_value((std::addressof(value))...);
        } else {
            typed().set_value(std::forward<V>(value)...);
        }
    }
    // Sets an exception object or an exception_ptr. Raises: InvalidStateError if it is done.
    void set_exception(std::exception_ptr error) const { base().set_exception(std::move(error)); }
    template <class E>
        requires(!std::is_convertible_v<E, std::exception_ptr>)
    void set_exception(E error) const {
        base().set_exception(std::make_exception_ptr(std::move(error)));
    }

    // `<Future at 0x7f... state=finished returned int>`.
    std::string repr() const { return base().repr(); }
    friend bool operator==(const ConcurrentFuture& a, const ConcurrentFuture& b) noexcept {
        return a.state_ == b.state_;
    }
    const void* id() const noexcept { return state_.get(); }

    // For the library.
    static ConcurrentFuture from_state(detail::Ref<detail::ConcurrentBase> s) noexcept {
        ConcurrentFuture f(nullptr);
        f.state_ = std::move(s);
        return f;
    }
    const detail::Ref<detail::ConcurrentBase>& state() const noexcept { return state_; }

  private:
    detail::ConcurrentBase& base() const {
        if (!state_) detail::throw_empty_concurrent();
        return *state_;
    }
    detail::ConcurrentStateOf<T>& typed() const noexcept {
        // Safe because a ConcurrentFuture<T> is made of a ConcurrentStateOf<T> only.
        return static_cast<detail::ConcurrentStateOf<T>&>(*state_);
    }

    detail::Ref<detail::ConcurrentBase> state_;
};

template <class F, class... Args>
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

namespace detail {

class CancelTaskWith;
// Cancels a task when the ConcurrentFuture that stands for it is cancelled (TH-02). What it returns
// is gone when that is done.
ASYNCIO_API CancelTaskWith* cancel_task_with(ConcurrentBase& future, Ref<FutureBase> task);
// It gives up its handle of the task. By the one that has claimed the future for its end.
ASYNCIO_API void forget_task(CancelTaskWith& callback) noexcept;

// Copies the end of a task to its ConcurrentFuture. One that is destroyed uncalled, since the loop
// closed before, cancels it: a thread may be waiting. (While that loop runs it is destroyed
// uncalled only where there is no memory to keep it: StartThreadsafe says so.)
template <class R>
class CopyToConcurrent {
  public:
    CopyToConcurrent(Ref<ConcurrentBase> to, CancelTaskWith* cancels) noexcept
        : to_(std::move(to)), cancels_(cancels) {}
    CopyToConcurrent(CopyToConcurrent&&) noexcept = default;
    CopyToConcurrent& operator=(CopyToConcurrent&&) = delete;
    ~CopyToConcurrent() {
        if (to_ && running_loop() != to_->source()) to_->cancel();
    }
    void operator()(Task<R> task) {
        const Ref<ConcurrentBase> to = std::move(to_);
        if (task.cancelled()) {
            to->cancel();
            return;
        }
        std::exception_ptr error = task.exception();
        if (!to->set_running_or_notify_cancel()) return;
        to->begin_end();
        if (error) return to->finish_error(std::move(error));
        // Safe because run_coroutine_threadsafe made both of the same type.
        finish(static_cast<ConcurrentStateOf<R>&>(*to), *task.state());
    }

  private:
    // A result that nobody else can see is moved.
    void finish(ConcurrentStateOf<R>& to, FutureBase& task) noexcept {
        if constexpr (std::is_void_v<R>) {
            to.finish_with();
        } else if constexpr (!kCopyable<Stored<R>>) {
            to.finish_with(std::move(value_of<R>(task)));
        } else {
            forget_task(*cancels_);
            if (task.unique()) return to.finish_with(std::move(value_of<R>(task)));
            to.finish_with(std::as_const(value_of<R>(task)));
        }
    }

    Ref<ConcurrentBase> to_;
    CancelTaskWith* cancels_;
};

// Makes the task, on its loop.
template <class R>
class StartThreadsafe {
  public:
    StartThreadsafe(Coroutine<R> coroutine, Ref<ConcurrentBase> future,
                    std::source_location where) noexcept
        : coroutine_(std::move(coroutine)), future_(std::move(future)), where_(where) {}
    StartThreadsafe(StartThreadsafe&&) noexcept = default;
    StartThreadsafe& operator=(StartThreadsafe&&) = delete;
    ~StartThreadsafe() {
        if (future_) future_->cancel();
    }
    void operator()() {
        const Ref<ConcurrentBase> future = std::move(future_);
        try {
            Task<R> task = make_task<R>(running_core(), std::move(coroutine_), {});
            try {
                CancelTaskWith* const cancels = cancel_task_with(*future, task.state());
                task.add_done_callback(CopyToConcurrent<R>(future, cancels), {}, where_);
            } catch (...) {
                // No memory: nobody would hear of its end, so it does not begin.
                task.cancel();
                throw;
            }
        } catch (...) {
            // Its waiter is told, and the loop's exception handler. One that leaves the loop is not
            // the waiter's, who must not wait for ever either.
            std::exception_ptr error = std::current_exception();
            if (is_exit_error(error)) {
                future->cancel();
            } else if (future->set_running_or_notify_cancel()) {
                future->set_exception(std::move(error));
            }
            throw;
        }
    }

  private:
    Coroutine<R> coroutine_;
    Ref<ConcurrentBase> future_;
    std::source_location where_;
};

// Cancels a ConcurrentFuture that still has other handles. It is not one itself: what a future of
// a loop holds of the ConcurrentFuture that it wraps, which in turn holds that future in a
// callback, so that both go when all handles are gone.
class ASYNCIO_API WeakConcurrent {
  public:
    explicit WeakConcurrent(ConcurrentBase& future) noexcept : future_(&future) {
        future.retain_object();
    }
    WeakConcurrent(WeakConcurrent&& o) noexcept : future_(detail::take(o.future_)) {}
    WeakConcurrent& operator=(WeakConcurrent&&) = delete;
    ~WeakConcurrent() {
        if (future_) future_->release_object();
    }
    void cancel() const noexcept;

  private:
    ConcurrentBase* future_;
};

// Brings the end of a ConcurrentFuture to a future of a loop (F-14).
class ASYNCIO_API WrapBridge : public ConcurrentCallback, public Node {
  public:
    void call(ConcurrentBase& from) noexcept override;
    void drop() noexcept override;
    void run() override;

  protected:
    WrapBridge(const ConcurrentBase& from, Ref<FutureBase> to) noexcept;
    virtual ~WrapBridge();
    virtual void copy_value(ConcurrentBase& from, FutureBase& to) = 0;

  private:
    void copy_end();

    Ref<ConcurrentBase> from_;  // once it is done
    Ref<FutureBase> to_;
    bool awaited_;  // the loop's clock stands still for it, if it is virtual
};

template <class T>
class WrapBridgeOf final : public WrapBridge {
  public:
    WrapBridgeOf(const ConcurrentBase& from, Ref<FutureBase> to) noexcept
        : WrapBridge(from, std::move(to)) {}

  private:
    void copy_value(ConcurrentBase& from, FutureBase& to) override {
        // Safe because wrap_future made both of the same type.
        Stored<T>& value = static_cast<ConcurrentStateOf<T>&>(from).value();
        auto& state = static_cast<FutureStateOf<T>&>(to);
        if constexpr (detail::kCopyable<Stored<T>>) {
            state.emplace(std::as_const(value));
        } else {
            state.emplace(std::move(value));
        }
        state.finish_value();
    }
};

}  // namespace detail

// Runs `awaitable` as a task of `loop`, from any thread; the task is made on the loop's thread, in
// a copy of the calling thread's context. The ConcurrentFuture is its result; cancelling that
// cancels it at once, and asks the task to end. It is also cancelled if the loop closes before the
// task is done. TH-02. Raises: RuntimeError "Event loop is closed".
template <Awaitable A>
auto run_coroutine_threadsafe(A&& awaitable, EventLoop& loop,
                              std::source_location where = std::source_location::current()) {
    static_assert(detail::kSafeTemporary<A>,
                  "name this callable first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    using R = typename detail::AwaitResultOf<A>::type;
    auto coroutine = detail::to_coroutine(std::forward<A>(awaitable));
    ConcurrentFuture<R> future;
    future.state()->set_source(&loop.core());
    loop.call_soon_threadsafe(
        detail::StartThreadsafe<R>(std::move(coroutine), future.state(), where), {}, where);
    return future;
}

// A future of `loop` (null: the running one) that ends as `future` does, one iteration after it.
// Cancelling it cancels `future`, one iteration later. A result is copied, or moved if it cannot
// be. It keeps nothing alive: if all handles of `future` go before it is done, it never ends. F-14.
// Raises: RuntimeError "no running event loop". If cancelled: `future` is cancelled,
// unless it runs already.
template <class T>
Future<T> wrap_future(ConcurrentFuture<T> future, EventLoop* loop = nullptr) {
    detail::LoopCore& core = loop ? loop->core() : detail::current_core();
    if (!future) detail::throw_empty_concurrent();
    future.state()->check_has_source();
    auto to = detail::Ref<detail::FutureBase>::adopt(new detail::FutureStateOf<T>(core));
    auto wrapped = Future<T>::from_state(to);
    wrapped.add_done_callback([weak = detail::WeakConcurrent(*future.state())](const Future<T>& w) {
        if (w.cancelled()) weak.cancel();
    });
    future.state()->add_callback(new detail::WrapBridgeOf<T>(*future.state(), std::move(to)));
    return wrapped;
}

// A future or task of a loop is given back as it is.
// If cancelled: it is the same future.
template <FutureLike F>
std::remove_cvref_t<F> wrap_future(F&& future, EventLoop* = nullptr) {
    return std::forward<F>(future);
}

}  // namespace v1
}  // namespace asyncio

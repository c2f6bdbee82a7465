// Task<T>, create_task, sleep, and who is running. T-01 to T-14, T-29 to T-38.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/transport_holder.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

// How a task is made (T-01, EG-03). Copied before the call returns.
struct TaskOptions {
    std::string_view name = {};            // default: "Task-N"
    const Context* context = nullptr;      // used uncopied; null: a copy of the current one
    std::optional<bool> eager_start = {};  // default: what the loop's task factory says
};

// What an error report tells (EH-01). Fill in what is known.
struct ExceptionContext {
    std::string message;                // what happened
    std::exception_ptr exception;       // the error itself
    AnyFuture future;                   // the future whose error nobody took
    AnyFuture task;                     // the task that is concerned
    Handle handle;                      // the callback that raised it
    detail::TransportHolder transport;  // any transport's handle
};

namespace detail {

template <class T>
class TaskStateOf final : public ValueState<TaskBase, T> {
  public:
    // The core counts it already.
    TaskStateOf(PromiseOf<T>& root, LoopCore& core) noexcept
        : ValueState<TaskBase, T>(core, root, root.place,
                                  ValueState<TaskBase, T>::template units<TaskStateOf>()) {}

  private:
    void collect(PromiseBase& base) noexcept override {
        // Safe because the constructor took the root frame of a Coroutine<T>.
        auto& root = static_cast<PromiseOf<T>&>(base);
        if (root.outcome() != PromiseBase::kValue) {
            return this->finish_from_error(root, root.error());
        }
        if (this->cancel_due()) return this->end_cancelled(root);
        try {
            this->emplace(std::move(root.value()));
        } catch (...) {
            // A result whose move throws ends the task with that exception.
            std::exception_ptr error = std::current_exception();
            return this->finish_from_error(root, &error);
        }
        this->finish_from_value(root);
    }
};

// Names, contexts and eagerness; then the first step. Takes over one count of `task`.
// Raises: std::bad_alloc, and the task's frame is gone; what leaves the loop at an eager first
// step.
ASYNCIO_API void launch(TaskBase& task, const TaskOptions& options);
// The options after the loop's task factory has seen them.
ASYNCIO_API TaskOptions factory_options(LoopCore& core, TaskOptions options);
// Raises: ValueError "The future belongs to a different loop than ...".
ASYNCIO_API void check_same_loop(const FutureBase& future, const LoopCore& core);

ASYNCIO_API std::uint32_t cancelling(const FutureBase& f);
ASYNCIO_API std::uint32_t uncancel(FutureBase& f);
ASYNCIO_API std::string task_name(const FutureBase& f);
ASYNCIO_API void set_task_name(FutureBase& f, std::string_view name);
ASYNCIO_API Context task_context(FutureBase& f);
ASYNCIO_API std::vector<std::source_location> task_stack(const FutureBase& f, int limit);
ASYNCIO_API void print_task_stack(const AnyFuture& f, int limit, std::ostream* out);

// What every handle of a task can do, whatever its type.
template <class Self>
class TaskMembers {
  public:
    // How many cancel() calls have not been undone by uncancel(). T-04.
    std::uint32_t cancelling() const { return detail::cancelling(task_state()); }
    // Undoes one cancel(); returns how many remain. At 0 a cancel that was not delivered is
    // dropped. T-05.
    std::uint32_t uncancel() const { return detail::uncancel(task_state()); }
    // Its name: that of its options, or "Task-N". T-08.
    std::string get_name() const { return task_name(task_state()); }
    // Gives it another one. T-08.
    void set_name(std::string_view name) const { set_task_name(task_state(), name); }
    // The context that its steps run in. T-10.
    Context get_context() const { return task_context(task_state()); }
    // Where each of its frames is suspended, outermost first; empty once done. At most `limit`, the
    // innermost ones (0: all). T-11.
    std::vector<std::source_location> get_stack(int limit = 0) const {
        return task_stack(task_state(), limit);
    }
    // Prints get_stack() to `out` (null: standard error). T-11.
    void print_stack(int limit = 0, std::ostream* out = nullptr) const {
        print_task_stack(static_cast<const Self&>(*this), limit, out);
    }

  private:
    FutureBase& task_state() const {
        const auto& s = static_cast<const Self&>(*this).state();
        if (!s) throw_empty_handle();
        return *s;
    }
};

}  // namespace detail

// Any task, its result's type forgotten.
class ASYNCIO_API AnyTask : public AnyFuture, public detail::TaskMembers<AnyTask> {
  public:
    AnyTask() noexcept = default;
    AnyTask(std::nullptr_t) noexcept {}
    template <class T>
    AnyTask(const Task<T>& t) noexcept {
        state_ = t.state();
    }
    static AnyTask from_state(detail::Ref<detail::FutureBase> s) noexcept {
        AnyTask t;
        t.state_ = std::move(s);
        return t;
    }
    // As AnyFuture's, but the callback gets the AnyTask.
    template <class F>
    CallbackId add_done_callback(
        F fn, CallbackOptions options = {},
        std::source_location where = std::source_location::current()) const {
        static_assert(detail::kDoneCallback<F, AnyTask>,
                      "a done callback takes the future or task that it was added to, or nothing");
        return add_callback_for<AnyTask>(std::move(fn), options, where);
    }
};

// The task behind a future's handle, or an empty handle.
ASYNCIO_API AnyTask as_task(const AnyFuture& future);

// A coroutine that runs by itself on its loop. A cheap shared handle: dropping the last one neither
// stops nor loses the task, whose loop owns it until it is done (T-37 differs: CPython's may
// vanish). Made by create_task. `co_await t` gives `const T&`; `co_await std::move(t)` gives T. If
// cancelled: awaiting a task passes the cancel on to it (S-41).
template <class T = void>
class Task : public Future<T>, public detail::TaskMembers<Task<T>> {
  public:
    // An empty handle.
    Task() noexcept : Future<T>(nullptr) {}
    Task(std::nullptr_t) noexcept : Future<T>(nullptr) {}

    // T-12: a task's result comes from its coroutine.
    template <class... V>
    void set_result(V&&...) const = delete;
    template <class E>
    void set_exception(E&&) const = delete;

    // As Future's, but the callback gets the Task<T>.
    template <class F>
    CallbackId add_done_callback(
        F fn, CallbackOptions options = {},
        std::source_location where = std::source_location::current()) const {
        static_assert(detail::kDoneCallback<F, Task>,
                      "a done callback takes the future or task that it was added to, or nothing");
        return this->template add_callback_for<Task>(std::move(fn), options, where);
    }

    static Task from_state(detail::Ref<detail::FutureBase> s) noexcept {
        Task t;
        t.state_ = std::move(s);
        return t;
    }
};

namespace detail {

template <class R, class A>
Coroutine<R> await_in_frame(A awaitable) {
    co_return co_await std::forward<A>(awaitable);
}

// The coroutine that runs `a`: itself, or a frame that owns it and awaits it.
template <class A>
ASYNCIO_CORO_WRAPPER auto to_coroutine(A&& a) {
    using R = typename AwaitResultOf<A>::type;
    if constexpr (CoroutineLike<A>) {
        if (!a) throw_already_awaited();
        return Coroutine<R>(std::move(a));
    } else if constexpr (!DirectAwaitable<A>) {
        using F = std::decay_t<A>;
        return run_callable<R, F>(F(std::forward<A>(a)));
    } else if constexpr (std::is_lvalue_reference_v<A> && FutureLike<A>) {
        // A handle is shared, not borrowed.
        return await_in_frame<R, std::remove_cvref_t<A>>(std::remove_cvref_t<A>(a));
    } else {
        return await_in_frame<R, A>(std::forward<A>(a));
    }
}

// The state of a task that runs `root`, which it owns. The core counts it already.
// Raises: see TaskBase::room().
template <class T>
[[gnu::always_inline]] inline TaskStateOf<T>* make_state(LoopCore& core, PromiseOf<T>& root) {
    using State = TaskStateOf<T>;
    void* block = nullptr;
    if constexpr (alignof(State) <= kBlockUnit) block = take_free_block(sizeof(State));
    if (!block) block = TaskBase::room(sizeof(State), alignof(State), core, root);
    auto* const task = ::new (block) State(root, core);
    root.set_task(*task);
    return task;
}

template <class T>
Task<T> make_task_as(LoopCore& core, Coroutine<T>& coroutine, const TaskOptions& options) {
    core.attach();
    TaskStateOf<T>* const task = make_state(core, *coroutine.release());
    auto state = Ref<FutureBase>::adopt(task);
    launch(*task, options);
    return Task<T>::from_state(std::move(state));
}

template <class T>
Task<T> make_task(LoopCore& core, Coroutine<T> coroutine, const TaskOptions& options) {
    if (core.closed.load(std::memory_order_relaxed) || core.debug) check_usable(core);
    if (core.tells_of_tasks) {
        return make_task_as(core, coroutine, factory_options(core, options));
    }
    return make_task_as(core, coroutine, options);
}

// The same for the loop that runs here, without options.
template <class T>
Task<T> make_task_here(LoopCore& core, Coroutine<T> coroutine) {
    if (core.debug || core.tells_of_tasks) [[unlikely]] {
        return make_task<T>(core, std::move(coroutine), {});
    }
    core.attach_here();
    TaskStateOf<T>* const task = make_state(core, *coroutine.release());
    task->start_plain();
    return Task<T>::from_state(Ref<FutureBase>::adopt(task));
}

template <class A>
auto start_task(LoopCore& core, A&& awaitable, const TaskOptions& options) {
    static_assert(
        kSafeTemporary<A>,
        "name this callable first (auto f = ...; create_task(f)): this compiler would copy "
        "its captures bitwise inside a co_await expression");
    if constexpr (Awaitable<A>) {
        using R = typename AwaitResultOf<A>::type;
        return make_task<R>(core, to_coroutine(std::forward<A>(awaitable)), options);
    } else {
        static_assert(kRight<A>,
                      "a task runs a coroutine, another awaitable, or a callable without "
                      "parameters that returns one: create_task(f())");
        return Task<>();
    }
}
// Raises: RuntimeError "no running event loop".
template <class A>
auto start_task_here(A&& awaitable) {
    static_assert(kSafeTemporary<A>, "name this callable first: see start_task");
    using R = typename AwaitResultOf<A>::type;
    LoopCore& core = running_core();
    return make_task_here<R>(core, to_coroutine(std::forward<A>(awaitable)));
}

// The arguments of create_task.
template <class... A>
inline constexpr bool kTasks = false;
template <class A, class... Options>
inline constexpr bool kTasks<A, Options...> =
    Awaitable<A> && kWithOptions<TaskOptions, A, Options...>;

// A future for an awaitable: the same one if it is a future, else a task (T-31).
template <class A>
auto future_for(LoopCore& core, A&& a) {
    if constexpr (FutureLike<A>) {
        return std::remove_cvref_t<A>(std::forward<A>(a));
    } else {
        return start_task(core, std::forward<A>(a), {});
    }
}

}  // namespace detail

// Runs `awaitable` as a task of the running loop; its first step follows in the next iteration
// (S-15). A callable is kept, with its captures, until the task is done. Raises: RuntimeError "no
// running event loop" (T-01).
template <class A>
auto create_task(A&& awaitable, const TaskOptions& options) {
    return detail::start_task(detail::running_core(), std::forward<A>(awaitable), options);
}
// Not a default argument: in a coroutine that is an object of its frame, and g++ 12 copies it there
// so slowly that a task costs a tenth more.
template <Awaitable A>
auto create_task(A&& awaitable) {
    return detail::start_task_here(std::forward<A>(awaitable));
}
// Other arguments are refused by a sentence.
// If cancelled: there is no task.
template <class... A>
    requires(!detail::kTasks<A...>)
Task<> create_task(A&&...) {
    static_assert(detail::kRight<A...>,
                  "create_task() takes a coroutine, or a function without parameters that returns "
                  "one, and options: create_task(f(x), {.name = \"n\"})");
    return {};
}

#if defined(ASYNCIO_LIFETIMEBOUND) && defined(__clang__)
// By value, so that clang sees through it what the coroutine keeps.
template <class T>
auto create_task(Coroutine<T> awaitable [[clang::lifetimebound]], const TaskOptions& options = {}) {
    return detail::start_task(detail::running_core(), std::move(awaitable), options);
}
#endif

// `x` itself if it is a future or task, else a task that runs it. Without a running loop it uses
// get_event_loop(). T-31. Raises: ValueError if it belongs to another loop than `loop`.
template <class A>
auto ensure_future(A&& x, EventLoop* loop = nullptr) {
    if constexpr (FutureLike<A>) {
        if (!x) detail::throw_empty_handle();
        if (loop) detail::check_same_loop(*x.state(), loop->core());
        return std::remove_cvref_t<A>(std::forward<A>(x));
    } else if constexpr (!Awaitable<A>) {
        static_assert(detail::kRight<A>, "ensure_future() takes what may be awaited");
        return Task<>();
    } else {
        return detail::start_task(loop ? loop->core() : detail::current_core(), std::forward<A>(x),
                                  {});
    }
}

// The task whose step runs now; empty in a plain callback. T-29.
// Raises: RuntimeError "no running event loop".
ASYNCIO_API AnyTask current_task();
ASYNCIO_API AnyTask current_task(EventLoop& loop);
// The tasks of the loop that are not done, in the order they were made. T-30.
// Raises: RuntimeError "no running event loop".
ASYNCIO_API std::vector<AnyTask> all_tasks();
ASYNCIO_API std::vector<AnyTask> all_tasks(EventLoop& loop);

namespace detail {

// A future that a timer completes, and that one task awaits. S-20. Not part of the awaiter: when
// the sleeper is cancelled it may be in the ready queue, and then deletes itself there.
class ASYNCIO_API SleepTimer final : public SoleWaiter, public Pooled {
  public:
    // Queues the timer. Raises: std::bad_alloc.
    SleepTimer(LoopCore& core, std::int64_t delay_ns);
    // The sleeper is done with it.
    void abandon() noexcept;

    void run() override;
    void drop() noexcept override;

  private:
    template <class>
    friend struct DebugLayout;
    ~SleepTimer() = default;

    bool abandoned_ = false;  // first, where the base has room for it: a million of these sleep
    LoopCore& core_;
    TimerEntry timer_;
};

// Awaitable of sleep(): T-14. Its timer is made when it is awaited, and only for a positive delay.
// What a yield needs is inline, the rest compiled.
class [[nodiscard("co_await it")]] Sleep {
  public:
    using asyncio_native = void;

    explicit Sleep(Delay d) noexcept : state_(-(d.is_none() ? kNever : d.count())) {
        if (state_ > 0) state_ = 0;
    }
    Sleep(Sleep&& o) noexcept : state_(o.state_) {}
    Sleep& operator=(Sleep&&) = delete;
    ~Sleep() {
        if (SleepTimer* t = timer()) t->abandon();
    }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) {
        PromiseBase& frame = h.promise();
        if (state_ == 0) return thread_state.task->suspend_yield(frame);
        start_timer(frame);
    }
    void await_resume() {
        if (!yielded()) check();
    }
    Result<void> await_result() {
        if (yielded()) return Result<void>::success();
        if (std::exception_ptr e = error()) return Result<void>::failure(std::move(e));
        return Result<void>::success();
    }

  protected:
    ASYNCIO_API std::exception_ptr error() noexcept;

  private:
    // It was a yield, and no cancel came meanwhile.
    bool yielded() const noexcept { return state_ <= 0 && !thread_state.task->resumed(); }
    ASYNCIO_API void start_timer(PromiseBase& frame);
    // Raises: the error.
    ASYNCIO_API void check();
    // Safe because only await_suspend makes it positive.
    SleepTimer* timer() const noexcept {
        return state_ > 0 ? reinterpret_cast<SleepTimer*>(state_) : nullptr;
    }

    // Before it is awaited the delay's negative in ns, 0 for a yield; then the timer's address. One
    // word, since a million sleeping frames hold it.
    std::int64_t state_;
};

template <class R>
class [[nodiscard("co_await it")]] SleepResult : public Sleep {
  public:
    SleepResult(Delay d, R result) : Sleep(d), result_(std::move(result)) {}
    R await_resume() {
        Sleep::await_resume();
        return std::move(result_);
    }
    Result<R> await_result() {
        if (std::exception_ptr e = error()) return Result<R>::failure(std::move(e));
        return Result<R>::success(std::move(result_));
    }

  private:
    R result_;
};

}  // namespace detail

// Suspends for `delay`, at least; 0 or less: for exactly one iteration of the loop (S-19).
// `nullopt`: for ever. T-14. If cancelled: the timer is removed and CancelledError raised.
[[nodiscard("co_await it")]] inline detail::Sleep sleep(Delay delay) noexcept {
    return detail::Sleep(delay);
}
// The same, with a result to give.
template <class R>
[[nodiscard("co_await it")]] auto sleep(Delay delay, R&& result) {
    return detail::SleepResult<std::decay_t<R>>(delay, std::forward<R>(result));
}
template <class... Nothing>
    requires(sizeof...(Nothing) == 0)
detail::Sleep sleep(Nothing...) {
    static_assert(detail::kRight<Nothing...>, "sleep() needs a delay: sleep(1s)");
    return detail::Sleep(std::nullopt);
}

template <class A>
auto EventLoop::create_task(A&& awaitable, const TaskOptions& options) {
    return detail::start_task(core(), std::forward<A>(awaitable), options);
}
template <class A>
auto EventLoop::create_task(A&& awaitable) {
    if constexpr (Awaitable<A>) {
        return detail::start_task(core(), std::forward<A>(awaitable), {});
    } else {
        static_assert(detail::kRight<A>,
                      "create_task() takes a coroutine, or a function without parameters that "
                      "returns one: create_task(f(x))");
        return Task<>();
    }
}

namespace detail {
// Raises what run_forever would, before anything is made.
ASYNCIO_API void check_can_run(EventLoop& loop);
}  // namespace detail

template <class A>
auto EventLoop::run_until_complete(A&& awaitable, std::source_location) {
    if constexpr (Awaitable<A>) {
        detail::check_can_run(*this);
        auto future = detail::future_for(core(), std::forward<A>(awaitable));
        detail::run_until_done(*this, *future.state(), !FutureLike<A>);
        if constexpr (std::is_same_v<decltype(future), AnyFuture> ||
                      std::is_same_v<decltype(future), AnyTask>) {
            future.check();
        } else {
            return std::move(future).result();
        }
    } else {
        static_assert(detail::kRight<A>,
                      "run_until_complete() takes a coroutine, a task or future, or a function "
                      "without parameters that returns one");
        return detail::Refused();
    }
}

}  // namespace v1
}  // namespace asyncio

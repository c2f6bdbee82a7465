// run, run_main, Runner: from a plain function into a loop and out again..
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "asyncio/contextvars.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/detail/owned.hpp"
#include "asyncio/events.hpp"
#include "asyncio/tasks.hpp"

namespace asyncio {
inline namespace v1 {

// How a loop is made for run() and Runner.
struct RunOptions {
    std::optional<bool> debug = {};  // default: the loop's own (ASYNCIO_DEBUG)
    std::unique_ptr<EventLoop> (*loop_factory)() = nullptr;  // default: new_event_loop
};

// Options of one Runner::run().
struct RunnerRunOptions {
    const Context* context = nullptr;  // used uncopied; null: the one that all runs share
};

namespace detail {

// Raises: RuntimeError(text) if a loop runs in this thread.
ASYNCIO_API void check_no_running_loop(const char* text);
// Prints an error that nobody caught as Python does; returns the exit code of the program.
ASYNCIO_API int report_uncaught(const std::exception_ptr& error) noexcept;
// What run() does once its task is made: see there.
class RunAccess;
class InterruptScope;

// The arguments of run(): a program, and options perhaps.
template <class... A>
inline constexpr bool kRuns = kAwaits<1, A...> || kAwaits<2, A...>;

}  // namespace detail

// A loop that several run() calls share, made when it is first needed and closed with the runner.
// Move-only; to be used on one thread.
class ASYNCIO_API Runner {
  public:
    // The loop is made by the first run() or get_loop().
    explicit Runner(RunOptions options = {}) noexcept : options_(options) {}
    Runner(Runner&& o) noexcept;
    Runner& operator=(Runner&& o) noexcept;
    // Closes it. An error that close() would raise is logged.
    ~Runner();

    // Runs `main` (any awaitable, or a callable that returns one) as a task until it is done, and
    // returns its result. All runs share one context, so that what one sets the next one sees
    // (R-05). Ctrl-C meanwhile: see asyncio::run. Raises: RuntimeError "Runner.run() cannot be
    // called from a running event loop", "Runner is closed"; what `main` raises.
    template <Awaitable A>
    await_result_t<A> run(A&& main, RunnerRunOptions options = {}) {
        detail::check_no_running_loop("Runner.run() cannot be called from a running event loop");
        auto task = start(std::forward<A>(main), options);
        run_task(*task.state());
        return std::move(task).result();
    }
    template <class... A>
        requires(!detail::kRuns<A...>)
    detail::Refused run(A&&...) {
        static_assert(detail::kRight<A...>,
                      "run() takes a coroutine, or a function without parameters that returns "
                      "one: runner.run(program())");
        return {};
    }
    // The runner's loop, made now if need be. R-06. Raises: RuntimeError "Runner is closed".
    EventLoop& get_loop();
    // Cancels all tasks that are left and waits for them, closes asynchronous generators, ends the
    // default executor's threads, closes the loop (R-07, S-90 to S-95). Errors of tasks that it
    // cancelled go to the exception handler. Does nothing if there is no loop or it is
    // closed. Raises: KeyboardInterrupt and SystemExit from a task; DeadlockError on virtual time;
    // the loop is closed all the same.
    void close();

  private:
    friend class detail::RunAccess;

    template <class A>
    auto start(A&& main, RunnerRunOptions options) {
        detail::LoopCore& core = get_loop().core();
        TaskOptions how;
        how.context = options.context ? options.context : context_.get();
        return detail::make_task<await_result_t<A>>(
            core, detail::to_coroutine(std::forward<A>(main)), how);
    }
    void run_task(detail::FutureBase& task);
    void run_task_and_close(detail::FutureBase& task);
    void run_interruptible(detail::FutureBase& task, detail::InterruptScope& scope);
    void close_interruptible(detail::InterruptScope& scope);
    void shut_down();

    enum class State : std::uint8_t { kCreated, kInitialized, kClosed };

    RunOptions options_;
    State state_ = State::kCreated;
    bool is_current_ = false;  // set_event_loop() was called with loop_
    detail::Owned<EventLoop> loop_;
    detail::Owned<Context> context_;
};

namespace detail {

class RunAccess {
  public:
    // Everything of run() but its first check.
    template <class A>
    static await_result_t<A> run(A&& main, RunOptions options) {
        Runner runner(options);
        auto task = runner.start(std::forward<A>(main), {});
        runner.run_task_and_close(*task.state());
        return std::move(task).result();
    }
};

}  // namespace detail

// Runs `main` (any awaitable, or a callable that returns one) on a new loop, shuts the loop down as
// Runner::close does, and returns the result. The way into asyncio from main()..
// In the main thread, where SIGINT has its default effect, the first Ctrl-C cancels the main task
// and run() raises KeyboardInterrupt if that ends it; the second makes the loop leave before its
// next callback; the third kills the program. R-08, S-96 to S-98.
// Raises: RuntimeError "asyncio.run() cannot be called from a running event loop"; what `main`
// raises.
template <Awaitable A>
await_result_t<A> run(A&& main, RunOptions options = {}) {
    detail::check_no_running_loop("asyncio.run() cannot be called from a running event loop");
    return detail::RunAccess::run(std::forward<A>(main), options);
}
template <class... A>
    requires(!detail::kRuns<A...>)
detail::Refused run(A&&...) {
    static_assert(detail::kRight<A...>,
                  "run() takes a coroutine, or a function without parameters that returns one: "
                  "run(program())");
    return {};
}

// The same for a program's main(): an error that nobody caught is printed to standard error as
// Python does. Returns the program's exit code: 0; 1 after an error; 130 after KeyboardInterrupt;
// the code of a SystemExit. The result of `main` itself is dropped, as in Python. Raises: nothing.
template <Awaitable A>
int run_main(A&& main, RunOptions options = {}) {
    try {
        static_cast<void>(asyncio::run(std::forward<A>(main), options));
        return 0;
    } catch (...) {
        // The program ends here: whatever it is, it is printed and becomes the exit code.
        return detail::report_uncaught(std::current_exception());
    }
}
template <class... A>
    requires(!detail::kRuns<A...>)
int run_main(A&&...) {
    static_assert(detail::kRight<A...>,
                  "run_main() takes a coroutine, or a function without parameters that returns "
                  "one: run_main(program())");
    return 1;
}

}  // namespace v1
}  // namespace asyncio

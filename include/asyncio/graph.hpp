// Who waits for whom, and where: call graphs of futures and tasks. IN-01 to IN-04.
//
// Nothing is noted while a program runs: a graph is read from the lists of those who wait, when it
// is asked for. To be called on the thread of the future's loop.
#pragma once

#include <concepts>
#include <coroutine>
#include <iosfwd>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include "asyncio/detail/promise.hpp"
#include "asyncio/futures.hpp"

namespace asyncio {
inline namespace v1 {

// What an entry of a call stack is.
enum class FrameKind {
    FUNCTION,         // an ordinary function, that of the call
    ASYNC,            // a coroutine
    ASYNC_GENERATOR,  // an asynchronous generator
};

// A place in a call stack. IN-03.
struct FrameCallGraphEntry {
    std::source_location frame;         // where it is suspended
    FrameKind kind = FrameKind::ASYNC;  // what is
};

// A future, where its coroutines are (the innermost first; none unless it is a task that is not
// done), and who waits for it. IN-03.
struct FutureCallGraph {
    AnyFuture future;                             // the future or task itself
    std::vector<FrameCallGraphEntry> call_stack;  // the innermost first
    std::vector<FutureCallGraph> awaited_by;      // each with those that wait for it in turn
};

// Of the functions below.
struct CallGraphOptions {
    // Of each call stack: so many of the innermost entries; if negative, of the outermost; 0: none.
    std::optional<int> limit = {};
    std::ostream* file = nullptr;  // of print_call_graph; null: standard output
};

// The graph of `future`, or of the current task if that is empty; empty if there is none. Of the
// current task's own stack it has the place of the call only, `where`: a task that runs is not
// suspended anywhere. IN-01.
// Raises: RuntimeError outside of a running loop without a future, and for more than 1,000 futures
// that wait for each other in a row.
ASYNCIO_API std::optional<FutureCallGraph> capture_call_graph(
    const AnyFuture& future = {}, CallGraphOptions options = {},
    std::source_location where = std::source_location::current());

namespace detail {

// Awaitable of current_call_graph().
class [[nodiscard("co_await it")]] CurrentCallGraph {
  public:
    using asyncio_native = void;

    explicit CurrentCallGraph(CallGraphOptions options) noexcept : options_(options) {}
    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) noexcept {
        frame_ = &h.promise();
        return false;
    }
    ASYNCIO_API FutureCallGraph await_resume() const;

  private:
    CallGraphOptions options_;
    const PromiseBase* frame_ = nullptr;
};

}  // namespace detail

// The graph of the current task with the whole of its own stack, which only what is awaited sees.
// Never suspends. IN-01.
// Raises: as capture_call_graph.
// If cancelled: goes on, as there is no wait; what is awaited next is cancelled.
[[nodiscard("co_await it")]] inline detail::CurrentCallGraph current_call_graph(
    CallGraphOptions options = {}) {
    return detail::CurrentCallGraph(options);
}

// The same as text, without a newline at its end; empty if there is no graph. IN-02.
// Raises: as capture_call_graph.
ASYNCIO_API std::string format_call_graph(
    const AnyFuture& future = {}, CallGraphOptions options = {},
    std::source_location where = std::source_location::current());
ASYNCIO_API std::string format_call_graph(const FutureCallGraph& graph);
// Prints it. IN-02.
// Raises: as capture_call_graph.
ASYNCIO_API void print_call_graph(const AnyFuture& future = {}, CallGraphOptions options = {},
                                  std::source_location where = std::source_location::current());

// For futures that wait for others in their own way: from now on, until it is done, `future` counts
// as awaited by `waiter`, or does not any more. `await`, gather, wait, as_completed, shield,
// wait_for and TaskGroup need none of this. Do nothing if one of them is empty. IN-04.
ASYNCIO_API void future_add_to_awaited_by(const AnyFuture& future, const AnyFuture& waiter);
ASYNCIO_API void future_discard_from_awaited_by(const AnyFuture& future, const AnyFuture& waiter);

}  // namespace v1
}  // namespace asyncio

// Jobs of a loop: they begin on its thread, and come back to it.
#include "asyncio/threads/to_thread.hpp"

#include <utility>

#include "asyncio/component/jobs.hpp"
#include "loop/loop.hpp"
#include "threads/default_executor.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void LoopJob::begin(const Executor& on) noexcept {
    auto& loop = static_cast<Loop&>(future_.core());
    if (&on == loop.own_jobs) return;
    loop.begin_external();
    awaited_ = true;
}

void LoopJob::end_wait() noexcept {
    if (std::exchange(awaited_, false)) static_cast<Loop&>(future_.core()).end_external();
}

void LoopJob::deliver() noexcept {
    // A loop that is closed has nobody to tell: the result is dropped silently.
    if (!push_threadsafe(future_.core(), &future_)) future_.release();
}

void LoopJob::give_up() noexcept { future_.release(); }

Executor& executor_for(LoopCore& core, Executor* executor) {
    auto& loop = static_cast<Loop&>(core);
    loop.check_open();
    if (executor) return *executor;
    if (loop.own_jobs) return *loop.own_jobs;
    return service<DefaultExecutor>(core).get();
}

}  // namespace detail

namespace component {

void set_jobs(EventLoop& loop, Executor& executor) {
    auto& core = static_cast<asyncio::detail::Loop&>(loop.core());
    core.check_open();
    core.own_jobs = &executor;
}

void call_job(Executor::Job job) noexcept {
    using asyncio::detail::thread_state;
    using asyncio::detail::ThreadState;
    // The free lists stay this thread's.
    const ThreadState outer = thread_state;
    const auto enter = [](const ThreadState& state) {
        thread_state.loop = state.loop;
        thread_state.task = state.task;
        thread_state.next = state.next;
        thread_state.context = state.context;
        thread_state.depth = state.depth;
        thread_state.eager = state.eager;
        thread_state.generator = state.generator;
    };
    enter({});
    job();
    enter(outer);
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

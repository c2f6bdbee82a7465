// Jobs of a loop: they begin on its thread, and come back to it.
#include "asyncio/threads/to_thread.hpp"

#include <utility>

#include "loop/loop.hpp"
#include "threads/default_executor.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void LoopJob::begin() noexcept {
    auto& loop = static_cast<Loop&>(future_.core());
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
    return service<DefaultExecutor>(core).get();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

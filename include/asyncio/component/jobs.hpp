// Where the jobs of a loop are called: for tests, in which its own thread does it, at times of
// theirs. A loop that nobody has told otherwise has pools of threads.
#pragma once

#include "asyncio/detail/config.hpp"
#include "asyncio/events.hpp"
#include "asyncio/threads/executors.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// `executor` gets from now on what the pools of `loop` would: to_thread(),
// run_in_executor(nullptr), operations on files. It calls them on the loop's thread, by call_job();
// virtual time does not stand still for them. On the loop's thread, before its first file;
// `executor` stays until the loop is closed. Raises: RuntimeError if it is closed.
ASYNCIO_API void set_jobs(EventLoop& loop, Executor& executor);
// Calls `job` as another thread would: no loop runs there, and no task.
ASYNCIO_API void call_job(Executor::Job job) noexcept;

}  // namespace component
}  // namespace v1
}  // namespace asyncio

// Looking into a running program, from outside: the program `asyncio` (docs/inspect.md).
#pragma once

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {

// What a program does for those who look into it. Nothing here is needed where they run as the same
// user as the program and the system lets them.
namespace inspect {

// Lets every process of this user read this one's memory and stop its threads, as a debugger does:
// PR_SET_PTRACER of prctl(2). Needed where /proc/sys/kernel/yama/ptrace_scope is 1, which is the
// default of some distributions; elsewhere it changes nothing. The environment variable
// ASYNCIO_ALLOW_TOOLS=1 does the same when the first loop is made, except in a program that runs
// with more rights than its user.
ASYNCIO_API void allow_tools() noexcept;

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio

// Writes to standard error what `asyncio pstree` prints: the tasks of all loops of this process,
// where each of them waits, and who waits for it. On any thread, and while a loop is stuck: it is
// meant for a debugger's `call`, for a program's own watchdog, and for a last word before abort().
// It allocates memory. What a loop that runs on another thread changes meanwhile may be told wrong,
// and then the line of that loop says so.
//
// The environment variable ASYNCIO_DUMP_SIGNAL=USR1 (or another name or number of a signal, which
// the program does not handle itself) does the same each time that the signal comes, on a thread
// that is made with the first loop; not in a program that runs with more rights than its user.
extern "C" ASYNCIO_API void asyncio_dump_tasks() noexcept;

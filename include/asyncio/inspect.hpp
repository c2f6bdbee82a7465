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

// Points at which bpftrace, perf and gdb can look at a program that runs, without it knowing: USDT
// probes of the provider `asyncio`. Each is a nop of one byte, and a note that says where its
// arguments are. There where the library was compiled with <sys/sdt.h> (Debian: systemtap-sdt-dev).
#pragma once

#include <cstdint>

#ifdef ASYNCIO_USDT
// Arguments in registers or as constants: where memory will do, too, clang puts them there first.
#define STAP_SDT_ARG_CONSTRAINT nr
#include <sys/sdt.h>
#define ASYNCIO_PROBE1(name, a) STAP_PROBE1(asyncio, name, a)
#define ASYNCIO_PROBE2(name, a, b) STAP_PROBE2(asyncio, name, a, b)
#else
#define ASYNCIO_PROBE1(name, a) static_cast<void>(a)
#define ASYNCIO_PROBE2(name, a, b) static_cast<void>(a), static_cast<void>(b)
#endif

namespace asyncio {
inline namespace v1 {
namespace detail {

class Loop;
class Node;
class TaskBase;

// `loop` is about to run an entry; the one before has ended.
inline void probe_step(const Loop* loop, const Node* node) noexcept {
    ASYNCIO_PROBE2(step, loop, node);
}
// A task is about to run for the first time; it has ended.
inline void probe_task_begins(const TaskBase* task) noexcept { ASYNCIO_PROBE1(task_begins, task); }
inline void probe_task_ended(const TaskBase* task) noexcept { ASYNCIO_PROBE1(task_ended, task); }
// The loop has nothing to do, and asks the system to wake it; `timeout` in ns, -1: none. It woke.
inline void probe_wait(const Loop* loop, std::int64_t timeout) noexcept {
    ASYNCIO_PROBE2(wait, loop, timeout);
}
inline void probe_woke(const Loop* loop) noexcept { ASYNCIO_PROBE1(woke, loop); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#undef ASYNCIO_PROBE1
#undef ASYNCIO_PROBE2

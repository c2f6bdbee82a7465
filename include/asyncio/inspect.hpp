// Looking into a running program, from outside: the program `asyncio` (docs/inspect.md).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/time.hpp"

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

// A step that keeps a loop from all others for longer than it should.
struct Stall {
    std::uint64_t loop = 0;          // its number, 1 for the first that was made
    std::int32_t thread = 0;         // of the system, as in `ps -L`
    std::string task;                // its name; empty: a callback
    std::string place;               // "handle() at server.cpp:12": where its coroutine is defined
    Duration so_far{};               // how long the step has run
    std::vector<std::string> stack;  // "hash_password(int)+56", the innermost call first
    bool over = false;               // the loop went on, after `so_far`
};

// How a Watchdog watches.
struct WatchdogOptions {
    Delay limit = std::chrono::milliseconds(100);  // a step that takes longer is a stall
    bool native_stack = true;                      // interrupt its thread to ask where it stands
    // Called on the watchdog's thread, and again when the loop goes on. Default: a warning in the
    // log. What it raises is dropped.
    detail::Function<void(const Stall&)> report = {};
};

// Watches all loops of the process from a thread of its own, while it lives, and tells of a step
// *while* it blocks its loop: which task it is, and where in the program its thread stands. One
// report for each stall, and one when it is over. A stall is seen after at most a quarter more than
// `limit`. Loops pay nothing: what they count anyway is looked at four times in `limit`.
//
// To ask a thread where it stands the process sends it the signal SIGRTMIN + 7, once for each
// stall, which may end a call of the system in which it waits by EINTR. If the program catches that
// signal itself, stacks are empty.
//
// The environment variable ASYNCIO_WATCHDOG=0.1 makes one with that limit, in seconds, with the
// first loop; not in a program that runs with more rights than its user.
class ASYNCIO_API Watchdog {
  public:
    // Raises: ValueError if `limit` is none, below a millisecond or above an hour; RuntimeError if
    // no thread can be made.
    explicit Watchdog(WatchdogOptions options = {});
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;
    // Waits for a report that is being made.
    ~Watchdog();

  private:
    class Watching;
    std::unique_ptr<Watching> watching_;
};

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

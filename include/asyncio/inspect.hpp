// Looking into a running program, from outside: the program `asyncio` (docs/inspect.md).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/contextvars.hpp"
#include "asyncio/detail/config.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/detail/loop_core.hpp"
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

// A frame of a task that is suspended, or where its coroutine is defined.
struct FrameInfo {
    std::string function;    // as people write it
    std::string file;        // as the compiler was given it
    std::uint32_t line = 0;  // from 1 on
};

// What a task does at one moment.
enum class TaskState : std::uint8_t {
    RUNNING,    // its step runs
    READY,      // its turn has not come
    WAITING,    // for what the library knows
    SUSPENDED,  // in an awaitable of another library
};

// A task, as `asyncio ps --json` tells of it.
struct TaskSnapshot {
    std::uint64_t id = 0;                    // see TaskInfo::id()
    std::string name;                        // "Task-7", or what it was given
    TaskState state = TaskState::SUSPENDED;  // at that moment
    bool cancelling = false;                 // a cancel is due at its next step
    std::string waits_for;                   // "Queue.get of 0x7f.. (0 of 10, 2 waiting)"
    std::optional<Duration> until;           // of a sleep: how much longer
    std::vector<FrameInfo> stack;            // the outermost first; without the library's own
    std::vector<std::uint64_t> awaited_by;   // ids
};

// A loop and its tasks.
struct LoopSnapshot {
    std::uint64_t number = 0;      // 1 for the first that was made
    std::string backend;           // "epoll", "io_uring", "virtual"
    bool running = false;          // within run_forever() and its like
    bool asleep = false;           // in the system, until something happens
    bool exact = true;             // false: it ran while it was read, and what follows may be wrong
    std::int32_t thread = 0;       // of the system, as in `ps -L`; that which ran it last
    std::uint64_t steps = 0;       // of tasks and callbacks, in all
    std::uint64_t iterations = 0;  // in all
    std::uint64_t ready = 0;       // whose turn comes next
    std::uint64_t timers = 0;      // that are not due yet
    std::vector<TaskSnapshot> tasks;  // that are not done, in the order they were made
};

// Everything about one loop. To be called on its thread for an exact answer, and by anybody who
// keeps it open. Raises: RuntimeError if it is closed; std::bad_alloc.
ASYNCIO_API LoopSnapshot snapshot(EventLoop& loop);
// The same of all loops of the process, on any thread. Raises: std::bad_alloc.
ASYNCIO_API std::vector<LoopSnapshot> snapshots();

// A task, as an Observer is told of it. Good during that call only.
class ASYNCIO_API TaskInfo {
  public:
    // Its address: tells it from all other tasks that live, as `asyncio ps --json` does. A later
    // task may have it again.
    std::uint64_t id() const noexcept;
    // "Task-7", or what it was given. Raises: std::bad_alloc.
    std::string name() const;
    // Where its coroutine is defined.
    std::source_location place() const noexcept;
    // Where it will go on; of one that runs, or has not begun: place().
    std::source_location where() const noexcept;

    // Made by the library alone.
    explicit TaskInfo(const detail::TaskBase& task) noexcept : task_(task) {}
    TaskInfo(const TaskInfo&) = delete;
    TaskInfo& operator=(const TaskInfo&) = delete;

  private:
    const detail::TaskBase& task_;
};

// How a task ended.
enum class Outcome : std::uint8_t {
    RETURNED,   // its coroutine, from its body
    RAISED,     // an exception
    CANCELLED,  // CancelledError
};

// Is told of what one loop does, on that loop's thread, in the order in which it happens. A
// function that is not overridden does nothing. They may make tasks and call the loop, but not run
// it; what takes long in one of them delays the loop. The first step of an eager task is part of
// the step that makes it.
struct ASYNCIO_API Observer {
    Observer() = default;
    Observer(const Observer&) = default;
    Observer& operator=(const Observer&) = default;
    virtual ~Observer();

    // `task` will be started; `maker` is the task whose step makes it, null for a callback or
    // outside of the loop.
    virtual void task_made(const TaskInfo& task, const TaskInfo* maker) noexcept;
    virtual void step_begins(const TaskInfo& task) noexcept;
    // `took`: real time, whatever clock the loop has.
    virtual void step_ends(const TaskInfo& task, Duration took) noexcept;
    // After its last step. A task that its loop destroys as it closes has no end.
    virtual void task_ended(const TaskInfo& task, Outcome outcome) noexcept;
    // The loop has nothing to do, and asks the system to wake it.
    virtual void loop_waits(EventLoop& loop) noexcept;
    virtual void loop_woke(EventLoop& loop, Duration slept) noexcept;
};

// Ends when it is destroyed: then its observer is told nothing any more.
class ASYNCIO_API Subscription {
  public:
    Subscription() noexcept = default;
    Subscription(Subscription&&) noexcept;
    Subscription& operator=(Subscription&&) noexcept;
    // On the loop's thread, also from within the observer, or while the loop does not run. On
    // another thread the observer may be in the middle of a call.
    ~Subscription();

  private:
    class Watch;
    friend Subscription observe(EventLoop&, Observer&);
    explicit Subscription(std::shared_ptr<Watch> watch) noexcept;
    void end() noexcept;

    std::shared_ptr<Watch> watch_;
};

// `observer` is told of `loop` until the subscription ends, or the loop is closed; it must live as
// long. To be called on the loop's thread, or while the loop does not run. A loop that nobody
// observes pays nothing for it; one that is observed runs each step by a slower way.
// Raises: RuntimeError if the loop is closed, or runs on another thread; std::bad_alloc.
[[nodiscard]] ASYNCIO_API Subscription observe(EventLoop& loop, Observer& observer);

// Writes down what one loop does while it lives, for a picture on a line of time: each step of each
// task, the loop's sleeps, and which task made which.
class ASYNCIO_API Trace {
  public:
    // `most`: steps, sleeps and tasks that are kept, of some 32 bytes each and a name a task; what
    // comes later is counted only. Raises: ValueError if `most` is 0; as observe() does.
    explicit Trace(EventLoop& loop, std::size_t most = 1'000'000);
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;
    ~Trace();

    // How many were not kept.
    std::size_t dropped() const noexcept;
    // All of it as JSON in the Trace Event Format, for https://ui.perfetto.dev. On the loop's
    // thread, or while the loop does not run. Raises: std::bad_alloc.
    std::string json() const;

  private:
    class Recording;
    std::unique_ptr<Recording> recording_;
    Subscription subscription_;  // ends before the recording goes
};

// While one of them lives, all loops of the process count their steps, and how long these and
// their sleeps take, as they do for `asyncio top`: metrics() then has these figures too. Each step
// is looked at by the clock twice.
class ASYNCIO_API Counting {
  public:
    Counting() noexcept;
    Counting(const Counting&) = delete;
    Counting& operator=(const Counting&) = delete;
    ~Counting();
};

// All loops of the process in figures, as OpenMetrics text (the media type is
// `application/openmetrics-text; version=1.0.0; charset=utf-8`), which Prometheus reads. On any
// thread, and while a loop is stuck: of a loop that runs meanwhile two figures may not fit each
// other. Which there are: docs/inspect.md.
// Raises: std::bad_alloc.
ASYNCIO_API std::string metrics();

// Which request, of which trace over several programs, a task works for: the header `traceparent`
// of W3C Trace Context (https://www.w3.org/TR/trace-context/, version 00).
struct ASYNCIO_API TraceParent {
    std::array<std::uint8_t, 16> trace_id{};  // of all that serves one request
    std::array<std::uint8_t, 8> span_id{};    // of this part of it
    std::uint8_t flags = 0;                   // bit 0: the trace is recorded

    // A new trace, of random numbers. Raises: std::exception of std::random_device.
    static TraceParent make(bool sampled = true);
    // Another span of the same trace. Raises: as make().
    TraceParent child() const;
    // "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    std::string to_string() const;
    // None if `text` is no such header; of a later version what this one has.
    static std::optional<TraceParent> parse(std::string_view text) noexcept;

    friend bool operator==(const TraceParent&, const TraceParent&) = default;
};

// That of the present task. A context variable: tasks that it makes have the same, until they set
// their own.
ASYNCIO_API ContextVar<TraceParent>& traceparent();

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
    // Begins to watch. Raises: ValueError if `limit` is none, below a millisecond or above an hour;
    // RuntimeError if no thread can be made.
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

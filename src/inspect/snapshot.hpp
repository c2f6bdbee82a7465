// What the loops of a process do at one moment.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inspect/memory.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct Place {
    std::string function;  // as people write it
    std::string file;
    std::uint32_t line = 0;
    bool helper = false;  // a frame of the library's around a user's
};

// What was counted of steps since somebody asked for it. Seconds.
struct Counts {
    std::uint64_t steps = 0;
    double busy = 0;
    double longest = 0;
    std::optional<double> since;  // of a task: when its last step ended, seconds ago
};

// The same of a loop.
struct LoopCounts {
    Counts all;                       // callbacks, too
    double idle = 0;                  // asleep
    double counted = 0;               // for how long
    std::optional<double> step;       // for how long the present step runs
    std::vector<std::uint64_t> late;  // timers: place n has those that came less than 2^n ns late
    double late_all = 0;              // how late they came, in all
};

enum class TaskState { kRunning, kReady, kWaiting, kSuspended };
inline constexpr std::size_t kTaskStates = 4;

// Of the tasks of a loop, since it was made.
struct TaskTotals {
    std::uint64_t made = 0;
    std::uint64_t failed = 0;
    std::uint64_t cancelled = 0;
};

struct Task {
    Address id = 0;
    std::string name;
    TaskState state = TaskState::kSuspended;
    bool cancelling = false;          // a cancel is due at its next step
    std::vector<Place> stack;         // outermost first; of one that runs: its definition
    std::string waits_for;            // "Queue.get of 0x7f.. (0 of 10)"; empty: nothing known
    std::string kind;                 // "Queue.get"; "Task", "Future"
    Address object = 0;               // what it waits for
    std::optional<double> until;      // of a sleep, how much longer, seconds
    std::optional<std::int32_t> fd;   // of a wait for a descriptor
    std::uint64_t items = 0;          // of a queue or semaphore that it waits for
    std::uint64_t capacity = 0;       // of a queue; 0: none
    std::vector<Address> awaited_by;  // tasks
    // For those who ask who could end its wait.
    enum class Ends { kOutside, kObject, kTasks };
    Ends ends = Ends::kOutside;
    std::uint64_t object_size = 0;
    std::vector<Address> frames;   // outermost first
    std::optional<Counts> counts;  // none: nobody counts, or it has not run since
};

struct Loop {
    Address id = 0;
    std::uint64_t number = 0;
    std::string backend;
    bool running = false;
    bool asleep = false;
    bool debug = false;
    bool torn = false;  // it ran while it was read
    std::int32_t thread = 0;
    std::uint64_t steps = 0;
    std::uint64_t iterations = 0;
    std::uint64_t timers = 0;
    std::uint64_t ready = 0;
    std::optional<double> next_timer;  // seconds
    std::vector<Task> tasks;
    std::array<std::uint64_t, kTaskStates> states{};  // how many are in each
    std::optional<TaskTotals> totals;                 // none: an older version of the library
    std::vector<Address> timed;                       // what its timers stand in; see Reading
    std::size_t copy = 0;                             // of the library, where a process has several
    Address owner = 0;                                // ThreadState of the thread that runs it
    std::optional<LoopCounts> counts;
};

struct PoolCounts {
    std::uint64_t threads = 0;
    std::uint64_t queued = 0;
};

struct Snapshot {
    std::uint32_t library = 0;
    std::vector<Loop> loops;
    std::optional<PoolCounts> pools;  // none: only the process itself knows
};

// A step, or a sleep, that has ended. Times in ns of CLOCK_MONOTONIC.
struct Step {
    Address task = 0;  // 0: of a callback, or a sleep
    std::string name;
    Place place;  // where its coroutine is defined
    bool asleep = false;
    std::int64_t at = 0;
    std::int64_t took = 0;
};

// How far the steps of a loop have been read.
struct StepCursor {
    Address ring = 0;
    std::uint64_t read = 0;
    std::uint64_t lost = 0;  // that were overwritten before they were read
    std::int64_t end = 0;    // of the last one
    std::map<std::pair<Address, std::uint64_t>, std::string> names;  // of those met before
};

// What time it is, for loops that have no clock of their own.
struct Reading {
    std::optional<std::int64_t> now;  // ns, CLOCK_MONOTONIC; a core file: none
    bool timers = false;              // Loop::timed is wanted
    bool only_running = false;        // of tasks no others
    bool only_states = false;         // of tasks only how many are in each state
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

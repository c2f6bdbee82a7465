// What the loops of a process do at one moment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "find_block.hpp"
#include "memory.hpp"

namespace tool {

struct Place {
    std::string function;  // as people write it
    std::string file;
    std::uint32_t line = 0;
    bool helper = false;  // a frame of the library's around a user's
};

enum class TaskState { kRunning, kReady, kWaiting, kSuspended };

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
    std::vector<Address> awaited_by;  // tasks
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
};

struct Snapshot {
    std::uint32_t library = 0;
    std::vector<Loop> loops;
};

// What time it is, for loops that have no clock of their own.
struct Reading {
    std::optional<std::int64_t> now;  // ns, CLOCK_MONOTONIC; a core file: none
};

struct TakeOptions {
    bool stop = false;     // at once, without a try on the running loop
    bool no_stop = false;  // never
    int retries = 3;
};

// Of a process that runs. A loop that sleeps is read as it is; one that runs is tried a few times,
// and then its thread, and no other, is stopped for as long as it takes to copy what is read.
// Raises: Failure.
Snapshot take_live(int pid, const TakeOptions& options);
// Raises: Failure.
Snapshot take_core(const std::string& path, const std::string& program);

}  // namespace tool

// What stands out in a snapshot: many tasks at one place, circles, what many wait for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// The place where a task is, as people are to see it; none of a task without any frame.
const Place* place_of(const Task& task);

// Tasks that are at one place, in one state, and wait for the same kind of thing.
struct Group {
    Place place;
    TaskState state = TaskState::kWaiting;
    std::string kind;
    std::uint64_t count = 0;
    std::string example;  // the name of one of them
};

// The largest first.
std::vector<Group> group(const std::vector<const Task*>& tasks);

// What tasks wait for, and can wait for together: a lock, a queue, a future.
struct Waited {
    Address object = 0;
    std::string kind;  // "Queue", "Lock"
    std::uint64_t items = 0;
    std::uint64_t capacity = 0;
    struct Line {
        std::string what;  // "Queue.get"
        std::uint64_t count = 0;
        std::vector<std::string> some;  // the names of the first few
    };
    std::vector<Line> lines;
    std::string detail;  // of the first that was found
    std::uint64_t waiting = 0;
};

// Those for which most wait first.
std::vector<Waited> waited_objects(const Snapshot& snapshot);

// Tasks each of which waits for the next, and the last for the first; at most `most` circles.
std::vector<std::vector<const Task*>> circles(const Snapshot& snapshot, std::size_t most);

struct Warning {
    std::string kind;  // "stuck", "circle", ...
    std::string text;
    std::string filter;  // what shows the tasks that are meant; empty: nothing does
};

// Those that need no second look.
std::vector<Warning> warnings_of(const Snapshot& snapshot, const std::vector<Group>& groups);

// "2 tasks"
std::string many(std::uint64_t n, const char* what);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What a program is told of its own loops and tasks.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "asyncio/inspect.hpp"
#include "inspect/own_tasks.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace inspect {

namespace {

namespace reading = detail::reading;

static_assert(static_cast<int>(TaskState::SUSPENDED) ==
              static_cast<int>(reading::TaskState::kSuspended));

TaskSnapshot told(reading::Task&& from) {
    TaskSnapshot task;
    task.id = from.id;
    task.name = std::move(from.name);
    task.state = static_cast<TaskState>(from.state);
    task.cancelling = from.cancelling;
    task.waits_for = std::move(from.waits_for);
    if (from.until) {
        task.until = std::chrono::duration_cast<Duration>(
            std::chrono::duration<double>(std::clamp(*from.until, -9e9, 9e9)));
    }
    for (reading::Place& place : from.stack) {
        if (place.helper) continue;
        task.stack.push_back({std::move(place.function), std::move(place.file), place.line});
    }
    task.awaited_by = std::move(from.awaited_by);
    return task;
}

LoopSnapshot told(reading::Loop&& from) {
    LoopSnapshot loop;
    loop.number = from.number;
    loop.backend = std::move(from.backend);
    loop.running = from.running;
    loop.asleep = from.asleep;
    loop.exact = !from.torn;
    loop.thread = from.thread;
    loop.steps = from.steps;
    loop.iterations = from.iterations;
    loop.ready = from.ready;
    loop.timers = from.timers;
    loop.tasks.reserve(from.tasks.size());
    for (reading::Task& task : from.tasks) loop.tasks.push_back(told(std::move(task)));
    return loop;
}

}  // namespace

std::vector<LoopSnapshot> snapshots() {
    std::vector<LoopSnapshot> all;
    for (reading::Loop& loop : reading::own_snapshot().loops) all.push_back(told(std::move(loop)));
    return all;
}

LoopSnapshot snapshot(EventLoop& loop) {
    detail::Loop& inner = loop.impl();
    inner.check_open();
    for (LoopSnapshot& each : snapshots()) {
        if (each.number == inner.number) return std::move(each);
    }
    throw RuntimeError("the loop cannot be read");
}

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio

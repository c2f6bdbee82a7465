#include "tasks/step_counts.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "asyncio/tasks.hpp"
#include "os/ticks.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

StepCounts::StepCounts() noexcept
    : even_counter_(has_even_counter()), began_ns_(monotonic_ns()), began_(ticks(even_counter_)) {
    seen_ns_ = began_ns_;
    seen_ = began_;
}

// A task has one of the few places that its address leads to. A new one takes an empty one, or that
// of the task there that has run least.
StepCount* StepCounts::place_of(const TaskBase& task) noexcept {
    constexpr std::size_t kPlaces = 8;
    // Safe because the address is only a number: the bits above those that all addresses of blocks
    // have in common, mixed (Fibonacci hashing).
    const std::uint64_t mixed =
        (reinterpret_cast<std::uintptr_t>(&task) >> 4) * 0x9e37'79b9'7f4a'7c15;
    StepCount* const first = &tasks_[(mixed >> 52) / kPlaces * kPlaces];
    static_assert(kTasks == std::size_t{1} << 12 && kTasks % kPlaces == 0);
    StepCount* least = first;
    for (StepCount* c = first; c != first + kPlaces; ++c) {
        if (c->task == &task) {
            if (c->name == task.name_) return c;
            least = c;
            break;
        }
        if (c->busy < least->busy) least = c;
    }
    *least = {&task, task.name_, 0, 0, 0, 0};
    return least;
}

void StepCounts::step_begins(Node& node) noexcept {
    const TaskBase* const task = kinds_.task_of(node);
    running_ = task ? place_of(*task) : nullptr;
    step_began_ = ticks(even_counter_);
}

void StepCounts::step_ended() noexcept {
    const std::uint64_t now = ticks(even_counter_);
    const std::uint64_t took = now - step_began_;
    step_began_ = 0;
    ++steps_;
    busy_ += took;
    longest_ = std::max(longest_, took);
    if (!running_) return;
    ++running_->steps;
    running_->busy += took;
    running_->longest = std::max(running_->longest, took);
    running_->ended = now;
    running_ = nullptr;
}

void StepCounts::wait_begins() noexcept { wait_began_ = ticks(even_counter_); }

void StepCounts::wait_ended() noexcept {
    idle_ += ticks(even_counter_) - wait_began_;
    wait_began_ = 0;
}

void StepCounts::timer_is_due(std::int64_t late) noexcept {
    const auto width = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(late)));
    ++late_[std::min(width, kTimes - 1)];
    late_ns_ += static_cast<std::uint64_t>(late);
}

void StepCounts::look() noexcept {
    seen_ns_ = monotonic_ns();
    seen_ = ticks(even_counter_);
}

std::unique_ptr<StepCounter> make_step_counts() noexcept {
    return std::unique_ptr<StepCounter>(new (std::nothrow) StepCounts);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

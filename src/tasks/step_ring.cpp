#include "tasks/step_ring.hpp"

#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <source_location>
#include <utility>

#include "asyncio/tasks.hpp"
#include "os/ticks.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

StepRing::StepRing() noexcept : even_counter_(has_even_counter()) {}

void StepRing::step_begins(Node& node) noexcept {
    const TaskBase* const task = kinds_.task_of(node);
    step_ = {task, 0, nullptr, 0, 0};
    if (task) {
        step_.name = task->name_;
        const std::source_location place = task->place();
        // Safe because it is one pointer with both compilers; the tool follows it, nobody here.
        static_assert(sizeof place == sizeof step_.place);
        std::memcpy(static_cast<void*>(&step_.place), &place, sizeof step_.place);
    }
    step_.began = ticks(even_counter_);
}

void StepRing::step_ended() noexcept {
    if (step_.began == 0) return;
    step_.ended = ticks(even_counter_);
    write(std::exchange(step_, {}));
}

void StepRing::wait_begins() noexcept { wait_began_ = ticks(even_counter_); }

void StepRing::wait_ended() noexcept {
    if (wait_began_ == 0) return;
    write({nullptr, 0, this, std::exchange(wait_began_, 0), ticks(even_counter_)});
}

void StepRing::write(const StepNote& note) noexcept {
    notes_[written_ % kNotes] = note;
    // The tool reads the number first: what it counts is there.
    std::atomic_ref(written_).store(written_ + 1, std::memory_order_release);
}

std::unique_ptr<StepWatch> make_step_ring() noexcept {
    return std::unique_ptr<StepWatch>(new (std::nothrow) StepRing);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

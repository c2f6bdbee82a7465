// What tools are told of the steps of one loop while they ask for it (loop/step_watch.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "asyncio/futures.hpp"
#include "loop/step_watch.hpp"
#include "tasks/node_kinds.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// One task. A tool reads these from outside, so they are plain numbers, times in ticks.
struct StepCount {
    const TaskBase* task;  // null: nobody
    std::uintptr_t name;   // its name_: tells it from one that had its address before
    std::uint64_t steps;
    std::uint64_t busy;
    std::uint64_t longest;
    std::uint64_t ended;  // when its last step did; 0: it has not
};

class StepCounts final : public StepCounter {
  public:
    // As many tasks as are counted. Of more, those that have run least make room.
    static constexpr std::size_t kTasks = 4096;
    // Of a time in ns: place n counts those of less than 2^n, the last one all longer ones.
    static constexpr std::size_t kTimes = 40;

    StepCounts() noexcept;
    void step_begins(Node& node) noexcept override;
    void step_ended() noexcept override;
    void wait_begins() noexcept override;
    void wait_ended() noexcept override;
    void timer_is_due(std::int64_t late) noexcept override;
    void look() noexcept override;

  private:
    template <class>
    friend struct DebugLayout;

    StepCount* place_of(const TaskBase& task) noexcept;

    const bool even_counter_;
    // Two looks at both clocks tell how long a tick is.
    std::int64_t began_ns_;
    std::uint64_t began_;
    std::int64_t seen_ns_;
    std::uint64_t seen_;

    std::uint64_t step_began_ = 0;  // 0: none runs
    std::uint64_t wait_began_ = 0;  // 0: it does not sleep
    std::uint64_t idle_ = 0;        // asleep, in all
    StepCount* running_ = nullptr;  // that of the task whose step runs
    // Of all entries, tasks or not.
    std::uint64_t steps_ = 0;
    std::uint64_t busy_ = 0;
    std::uint64_t longest_ = 0;
    std::array<std::uint64_t, kTimes> late_{};  // timers, by how late they came
    std::uint64_t late_ns_ = 0;                 // in all
    std::array<StepCount, kTasks> tasks_{};
    NodeKinds kinds_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The last steps of one loop, for a tool that reads them while they come (loop/step_watch.hpp).
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

// A step, or a sleep of the loop. Plain numbers, times in ticks, since a tool reads them.
struct StepNote {
    const TaskBase* task;  // null: a callback
    std::uintptr_t name;   // its name_
    const void*
        place;  // what its source_location leads to; of a sleep the ring, of a callback null
    std::uint64_t began;
    std::uint64_t ended;
};

class StepRing final : public StepWatch {
  public:
    static constexpr std::size_t kNotes = std::size_t{1} << 15;

    StepRing() noexcept;
    void step_begins(Node& node) noexcept override;
    void step_ended() noexcept override;
    void wait_begins() noexcept override;
    void wait_ended() noexcept override;
    void timer_is_due(std::int64_t) noexcept override {}

  private:
    template <class>
    friend struct DebugLayout;

    void write(const StepNote& note) noexcept;

    const bool even_counter_;
    std::uint64_t written_ = 0;  // in all; the next one's place is what is left of it by kNotes
    StepNote step_{};            // the present one; began 0: none
    std::uint64_t wait_began_ = 0;
    NodeKinds kinds_;
    std::array<StepNote, kNotes> notes_{};
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

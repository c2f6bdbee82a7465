// Who looks at the steps of a loop, and for how long: a tool outside of the process asks for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {

class Node;
class TaskBase;

// Told of each entry that a loop runs, on its thread. A loop that has one runs each entry by the
// way that debug mode takes, and no other loop pays for it.
class StepWatch {
  public:
    StepWatch() = default;
    StepWatch(const StepWatch&) = delete;
    StepWatch& operator=(const StepWatch&) = delete;
    virtual ~StepWatch() = default;

    virtual void step_begins(Node& node) noexcept = 0;
    // What ran may be gone.
    virtual void step_ended() noexcept = 0;
    // Around each sleep of the loop.
    virtual void wait_begins() noexcept = 0;
    virtual void wait_ended() noexcept = 0;
    // The loop is about to run what timers wake: the first of them `late` ns after it was due.
    virtual void timer_is_due(std::int64_t late) noexcept = 0;
    // Where the watch is told of tasks, too: a task that is about to be started, by the task that
    // runs or by none; one that is done, in its last step.
    virtual void task_made(TaskBase&) noexcept {}
    virtual void task_ended(TaskBase&) noexcept {}

  private:
    friend class StepWatches;
    StepWatch* following_ = nullptr;
};

// Those of one loop, in the order they came. One may leave, or come, while they are told.
class StepWatches {
  public:
    bool empty() const noexcept { return !first_; }
    void add(StepWatch& watch) noexcept {
        StepWatch** place = &first_;
        while (*place) place = &(*place)->following_;
        *place = &watch;
    }
    void remove(StepWatch& watch) noexcept {
        for (Telling* t = telling_; t; t = t->outer) {
            if (t->next == &watch) t->next = watch.following_;
        }
        StepWatch** place = &first_;
        while (*place != &watch) place = &(*place)->following_;
        *place = std::exchange(watch.following_, nullptr);
    }
    template <class Call>
    void each(const Call& call) noexcept {
        Telling telling{first_, telling_};
        telling_ = &telling;
        while (StepWatch* const watch = telling.next) {
            telling.next = watch->following_;
            call(*watch);
        }
        telling_ = telling.outer;
    }

  private:
    struct Telling {
        StepWatch* next;
        Telling* outer;  // one is told of something while another is told of something else
    };
    StepWatch* first_ = nullptr;
    Telling* telling_ = nullptr;
};

// Until when tools want the steps of all loops counted, ns of CLOCK_MONOTONIC; 0: nobody does. A
// tool writes it into the process (process_vm_writev(2)) and writes a later time before it is over:
// so counting ends by itself with the tool, however that ends.
extern constinit std::atomic<std::int64_t> watch_until;

// A tool that asks for more than this at once is not believed, ns: no counting for ever.
inline constexpr std::int64_t kLongestLease = 60'000'000'000;

// The same for each single step, with its times: counted they must be, too.
extern constinit std::atomic<std::int64_t> trace_until;

// How many in this program want it, without an end (inspect::Counting). Who comes adds one to
// `watch_until` afterwards: so it is not 0, and no loop takes it back that has not seen this.
extern constinit std::atomic<std::int64_t> counting_wanted;

// What counts them.
class StepCounter : public StepWatch {
  public:
    // The loop has looked at its clocks: once an iteration.
    virtual void look() noexcept = 0;
};
// tasks/step_counts.cpp. Null without memory.
std::unique_ptr<StepCounter> make_step_counts() noexcept;
// tasks/step_ring.cpp. The same: keeps the last steps.
std::unique_ptr<StepWatch> make_step_ring() noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

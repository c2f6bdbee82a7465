// What one loop does, written down for a picture.
#include <algorithm>
#include <cstdint>
#include <locale>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "asyncio/inspect.hpp"
#include "base/function_name.hpp"
#include "inspect/trace_events.hpp"
#include "loop/loop.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace inspect {

class Trace::Recording final : public Observer {
  public:
    Recording(EventLoop& loop, std::size_t most)
        : most_(most), number_(loop.impl().number), backend_(loop.backend()) {}

    void task_made(const TaskInfo& task, const TaskInfo* maker) noexcept override {
        if (is_full()) return;
        kept([&] {
            Known& known = meet(task);
            tasks_[known.place].made = detail::monotonic_ns();
            tasks_[known.place].in_step = maker && began_ != 0;
        });
    }
    void step_begins(const TaskInfo&) noexcept override { began_ = detail::monotonic_ns(); }
    void step_ends(const TaskInfo& task, Duration) noexcept override {
        const std::int64_t began = std::exchange(began_, 0);
        if (is_full()) return;
        kept([&] {
            // By the same clock as the tasks that it made, so that an arrow begins in it.
            const std::size_t place = meet(task).place;
            if (tasks_[place].first_step == 0) tasks_[place].first_step = began;
            steps_.push_back({began, detail::monotonic_ns() - began, place});
        });
    }
    void task_ended(const TaskInfo& task, Outcome outcome) noexcept override {
        const auto found = known_.find(task.id());
        if (found == known_.end()) return;
        TaskLine& line = tasks_[found->second.place];
        line.ended = detail::monotonic_ns();
        line.outcome = outcome;
        known_.erase(found);
    }
    void loop_woke(EventLoop&, Duration slept) noexcept override {
        if (is_full()) return;
        kept([&] {
            const std::int64_t at = detail::monotonic_ns() - slept.count();
            steps_.push_back({at, slept.count(), kAsleep});
        });
    }

    std::size_t dropped() const noexcept { return dropped_; }
    std::string json() const;

  private:
    static constexpr std::size_t kAsleep = ~std::size_t{0};
    struct Step {
        std::int64_t at;
        std::int64_t took;
        std::size_t task;  // its place in tasks_, or kAsleep
    };
    struct TaskLine {
        std::string name;
        std::source_location place;
        std::int64_t made = 0;  // 0: before the recording began
        std::int64_t first_step = 0;
        std::int64_t ended = 0;  // 0: not yet
        Outcome outcome = Outcome::RETURNED;
        bool in_step = false;  // made in a step that is kept
    };
    struct Known {
        std::size_t place;
    };

    bool is_full() noexcept {
        if (steps_.size() + tasks_.size() < most_) return false;
        ++dropped_;
        return true;
    }
    template <class F>
    void kept(const F& write) noexcept {
        try {
            write();
        } catch (const std::bad_alloc&) {
            ++dropped_;
        }
    }
    Known& meet(const TaskInfo& task) {
        const auto [known, fresh] = known_.try_emplace(task.id(), Known{tasks_.size()});
        if (!fresh) return known->second;
        try {
            tasks_.push_back({task.name(), task.place()});
        } catch (...) {
            known_.erase(known);
            throw;
        }
        return known->second;
    }

    const std::size_t most_;
    const std::uint64_t number_;
    const std::string backend_;
    std::vector<Step> steps_;
    std::vector<TaskLine> tasks_;
    std::unordered_map<std::uint64_t, Known> known_;  // those that are not done, by their ids
    std::int64_t began_ = 0;  // the present step; 0: none of which the beginning was seen
    std::size_t dropped_ = 0;
};

std::string Trace::Recording::json() const {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    detail::reading::TraceWriter writer(out, detail::process_id());
    writer.name_loop(number_, "loop " + std::to_string(number_) + " (" + backend_ + ')');
    std::int64_t last = 0;
    for (const Step& step : steps_) {
        last = std::max(last, step.at + step.took);
        if (step.task == kAsleep) {
            writer.asleep(number_, step.at, step.took);
            continue;
        }
        const TaskLine& task = tasks_[step.task];
        const std::string place = detail::function_name(task.place.function_name()) + "() " +
                                  task.place.file_name() + ':' + std::to_string(task.place.line());
        writer.step(number_, step.at, step.took, step.task + 1, task.name, place);
    }
    constexpr const char* kOutcomes[] = {"returned", "raised", "cancelled"};
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
        const TaskLine& task = tasks_[i];
        const std::int64_t begin = task.made != 0 ? task.made : task.first_step;
        if (begin == 0) continue;
        writer.task_begins(number_, begin, i + 1, task.name);
        const bool over = task.ended != 0;
        writer.task_ends(number_, over ? task.ended : std::max(last, begin), i + 1, task.name,
                         over ? kOutcomes[static_cast<std::size_t>(task.outcome)] : "not done");
        if (task.in_step && task.first_step != 0) {
            writer.arrow(number_, task.made, task.first_step, i + 1);
        }
    }
    writer.end();
    return std::move(out).str();
}

Trace::Trace(EventLoop& loop, std::size_t most) {
    if (most == 0) throw ValueError("a Trace of 0 events");
    recording_ = std::make_unique<Recording>(loop, most);
    subscription_ = observe(loop, *recording_);
}
Trace::~Trace() = default;
std::size_t Trace::dropped() const noexcept { return recording_->dropped(); }
std::string Trace::json() const { return recording_->json(); }

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio

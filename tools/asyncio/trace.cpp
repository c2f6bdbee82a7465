#include "trace.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inspect/trace_events.hpp"

namespace tool {

namespace {

using Clock = std::chrono::steady_clock;

// A task, from its first step that was seen to its last.
struct Life {
    std::uint64_t number = 0;
    std::uint64_t loop = 0;
    std::string name;
    std::int64_t begin = 0;
    std::int64_t end = 0;
};

class Tracing {
  public:
    Tracing(std::ostream& out, int pid) : writer_(out, pid) {
        writer_.name_process("process " + std::to_string(pid));
    }

    void write(const Loop& loop, const std::vector<Step>& steps) {
        if (named_.insert({loop.number, true}).second) {
            writer_.name_loop(loop.number,
                              "loop " + std::to_string(loop.number) + " (" + loop.backend + ')');
        }
        for (const Step& step : steps) write(loop.number, step);
        steps_ += steps.size();
    }

    std::uint64_t end() {
        for (const auto& [key, life] : lives_) {
            writer_.task_begins(life.loop, life.begin, life.number, life.name);
            writer_.task_ends(life.loop, life.end, life.number, life.name, "seen so far");
        }
        writer_.end();
        return steps_;
    }

  private:
    void write(std::uint64_t loop, const Step& step) {
        if (step.asleep) return writer_.asleep(loop, step.at, step.took);
        if (step.task == 0) return writer_.step(loop, step.at, step.took, 0, "callback", "");
        const std::string name = step.name.empty() ? step.place.function : step.name;
        writer_.step(
            loop, step.at, step.took, number_of(loop, step, name), name,
            step.place.function + "() " + step.place.file + ':' + std::to_string(step.place.line));
    }

    // 0 if there are too many to be told apart.
    std::uint64_t number_of(std::uint64_t loop, const Step& step, const std::string& name) {
        constexpr std::size_t kMostTasks = 200'000;
        const auto key = std::pair(step.task, name);
        auto found = lives_.find(key);
        if (found == lives_.end()) {
            if (lives_.size() >= kMostTasks) return 0;
            found = lives_.emplace(key, Life{lives_.size() + 1, loop, name, step.at, 0}).first;
        }
        found->second.end = step.at + step.took;
        return found->second.number;
    }

    asyncio::detail::reading::TraceWriter writer_;
    std::map<std::uint64_t, bool> named_;
    std::map<std::pair<Address, std::string>, Life> lives_;
    std::uint64_t steps_ = 0;
};

}  // namespace

Traced trace(std::ostream& out, Live& live, int pid, const TraceOptions& options,
             const std::function<bool()>& over) {
    // What is kept of a loop that runs a million steps a second lasts for 32 ms.
    constexpr auto kPause = std::chrono::milliseconds(10);
    constexpr double kLease = 2;
    Tracing tracing(out, pid);
    std::map<Address, StepCursor> cursors;
    const Clock::time_point end =
        Clock::now() +
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds));
    Traced traced;
    Clock::time_point asked{};
    std::vector<Step> steps;
    const auto look = [&] {
        for (const Loop& loop : live.glance().loops) {
            if (options.loop && loop.number != *options.loop) continue;
            steps.clear();
            live.read_steps(loop, cursors[loop.id], steps);
            if (!steps.empty()) tracing.write(loop, steps);
        }
    };
    live.trace_for(kLease);
    try {
        for (bool last = false; !last;) {
            const Clock::time_point now = Clock::now();
            last = now >= end || over();
            if (now - asked >= std::chrono::milliseconds(500)) {
                live.trace_for(kLease);
                asked = now;
            }
            look();
            if (!last) std::this_thread::sleep_for(kPause);
        }
    } catch (const Failure& e) {
        // The process has gone: what was read is a picture all the same.
        traced.ended = e.what();
    }
    traced.steps = tracing.end();
    for (const auto& [id, cursor] : cursors) traced.lost += cursor.lost;
    return traced;
}

}  // namespace tool

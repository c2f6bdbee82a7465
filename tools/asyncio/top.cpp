#include "top.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ostream>
#include <thread>
#include <unordered_map>

#include "changes.hpp"
#include "inspect/rows.hpp"

namespace tool {

namespace {

std::string text(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

std::string milliseconds(double seconds) {
    return text(seconds < 0.1 ? "%.2f ms" : "%.0f ms", seconds * 1e3);
}

std::string percent(double part) { return text("%.1f", part * 100); }

// One loop at two moments.
class Look {
  public:
    Look(const Loop& loop, const Counted* before) : loop_(loop), change_(loop, before) {}

    void print(std::ostream& out, const ShowOptions& show, const TopOptions& options) const {
        out << "loop " << loop_.number << ": " << printable(loop_.backend);
        if (!loop_.counts) {
            // A loop that sleeps begins to count when it wakes.
            if (loop_.running && !loop_.asleep) {
                out << ", no step has ended since the first look: " << who_runs() << '\n';
            } else {
                out << (loop_.running ? ", asleep\n" : ", does not run\n");
            }
            return;
        }
        const LoopCounts& counts = *loop_.counts;
        const Counts all = change_.all();
        out << ", " << percent(change_.busy()) << " % busy, "
            << text("%.0f", static_cast<double>(all.steps) / change_.seconds())
            << " steps a second, the longest " << milliseconds(all.longest);
        if (std::any_of(counts.late.begin(), counts.late.end(), [](auto n) { return n != 0; })) {
            out << ", timers up to " << milliseconds(median_late(counts.late))
                << " late (half of them)";
        }
        out << ", " << loop_.tasks.size() << " tasks\n";
        if (counts.step && *counts.step >= 0.1) {
            out << "this step has run for " << text("%.1f s: ", *counts.step) << who_runs() << '\n';
        }
        print_tasks(out, show, options);
    }

    void print_json(std::ostream& out, const ShowOptions& show) const {
        out << "{\"number\":" << loop_.number << ",\"backend\":" << json_string(loop_.backend)
            << ",\"seconds\":" << change_.seconds();
        if (loop_.counts) {
            const LoopCounts& counts = *loop_.counts;
            print_counts(out, change_.all());
            out << ",\"busy_part\":" << change_.busy() << ",\"step\":";
            if (counts.step) {
                out << *counts.step;
            } else {
                out << "null";
            }
            out << ",\"late\":[";
            for (std::size_t i = 0; i < counts.late.size(); ++i) {
                out << (i ? "," : "") << counts.late[i];
            }
            out << ']';
        }
        out << ",\"tasks\":[";
        const char* comma = "";
        for (const auto& [task, counted] : counted_tasks(show)) {
            const Place place = place_of(*task, show);
            out << comma << "{\"name\":" << json_string(task->name) << ",\"state\":\""
                << word(task->state) << "\",\"where\":" << json_string(where(place))
                << ",\"function\":" << json_string(place.function);
            print_counts(out, counted);
            out << '}';
            comma = ",";
        }
        out << "]}";
    }

  private:
    static void print_counts(std::ostream& out, const Counts& counts) {
        out << ",\"steps\":" << counts.steps << ",\"busy\":" << counts.busy
            << ",\"longest\":" << counts.longest;
    }

    static Place place_of(const Task& task, const ShowOptions& show) {
        const auto frames = frames_of(task, show.all);
        return frames.empty() ? Place() : *frames.back();
    }

    std::string who_runs() const {
        for (const Task& task : loop_.tasks) {
            if (task.state != TaskState::kRunning) continue;
            return "task " + printable(task.name) + " of " +
                   printable(task.stack.empty() ? "?" : task.stack.back().function);
        }
        return "a callback";
    }

    std::vector<std::pair<const Task*, Counts>> counted_tasks(const ShowOptions& show) const {
        std::vector<std::pair<const Task*, Counts>> counted;
        for (const Task& task : loop_.tasks) {
            if (!task.counts || !wanted(task, show)) continue;
            const Counts added = *change_.of(task);
            if (added.steps != 0) counted.emplace_back(&task, added);
        }
        std::sort(counted.begin(), counted.end(),
                  [](const auto& a, const auto& b) { return a.second.busy > b.second.busy; });
        return counted;
    }

    void print_tasks(std::ostream& out, const ShowOptions& show, const TopOptions& options) const {
        std::vector<Row> rows{
            {"BUSY %", "STEPS/S", "LONGEST", "WHERE", "FUNCTION", "STATE", "TASK"}};
        const auto counted = counted_tasks(show);
        for (const auto& [task, added] : counted) {
            if (!show.all && rows.size() > options.rows) break;
            const Place place = place_of(*task, show);
            rows.push_back({percent(added.busy / change_.seconds()),
                            text("%.0f", static_cast<double>(added.steps) / change_.seconds()),
                            milliseconds(added.longest), printable(where(place)),
                            printable(place.function), word(task->state), printable(task->name)});
        }
        if (rows.size() > 1) print_rows(out, rows);
        if (counted.size() >= rows.size()) {
            out << "and " << counted.size() - rows.size() + 1 << " tasks more\n";
        }
    }

    const Loop& loop_;
    Change change_;
};

}  // namespace

bool top(std::ostream& out, Live& live, const TakeOptions& take, const ShowOptions& show,
         const TopOptions& options) {
    // Longer than until it is asked for again, so that there is no gap.
    const double lease = std::min(60.0, 2 * options.seconds + 2);
    bool right = true;
    live.count_for(lease);
    std::unordered_map<Address, Counted> before;
    const auto keep = [&](const Snapshot& snapshot) {
        before.clear();
        for (const Loop& loop : snapshot.loops) before[loop.id] = counted_of(loop);
    };
    keep(live.take(take));
    for (std::uint64_t i = 0; options.times == 0 || i < options.times; ++i) {
        std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
        live.count_for(lease);
        const Snapshot now = live.take(take);
        if (options.clear) out << "\x1b[H\x1b[2J";
        if (options.json) out << "{\"version\":1,\"loops\":[";
        const char* comma = "";
        for (const Loop& loop : now.loops) {
            right = right && !loop.torn;
            if (!wanted(loop, show)) continue;
            const auto earlier = before.find(loop.id);
            const Look look(loop, earlier == before.end() ? nullptr : &earlier->second);
            if (options.json) {
                out << comma;
                look.print_json(out, show);
                comma = ",";
            } else {
                look.print(out, show, options);
            }
        }
        out << (options.json ? "]}\n" : "\n");
        out.flush();
        if (!out) return right;
        keep(now);
    }
    return right;
}

}  // namespace tool

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ostream>
#include <ranges>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "inspect/output.hpp"
#include "inspect/rows.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

std::string id_of(Address id) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%" PRIx64, id);
    return text;
}

// The names of a loop's tasks.
class Names {
  public:
    explicit Names(const Loop& loop) {
        for (const Task& task : loop.tasks) names_.emplace(task.id, &task.name);
    }
    std::string operator()(Address id) const {
        const auto found = names_.find(id);
        return found == names_.end() ? id_of(id) : *found->second;
    }

  private:
    std::unordered_map<Address, const std::string*> names_;
};

std::string joined(const std::vector<Address>& ids, const Names& names) {
    std::string text;
    for (const Address id : ids) text += (text.empty() ? "" : ", ") + names(id);
    return text;
}

void print_loop(std::ostream& out, const Loop& loop) {
    const char* const state = !loop.running ? "does not run" : loop.asleep ? "asleep" : "running";
    out << "loop " << loop.number << ": " << printable(loop.backend) << ", " << state;
    if (loop.thread) out << ", thread " << loop.thread;
    out << ", " << loop.tasks.size() << (loop.tasks.size() == 1 ? " task, " : " tasks, ")
        << loop.ready << " ready, " << loop.timers << (loop.timers == 1 ? " timer, " : " timers, ")
        << loop.steps << " steps";
    if (loop.debug) out << ", debug mode";
    if (loop.torn) out << " (it ran while it was read: what follows may be wrong)";
    out << '\n';
}

// Prints who waits for a task below it. Each task once: a circle, or a second one that is awaited
// by both, is named and not followed again.
class Tree {
  public:
    Tree(std::ostream& out, const Loop& loop, const ShowOptions& options)
        : out_(out), loop_(loop), options_(options), names_(loop) {
        for (const Task& task : loop.tasks) {
            tasks_.emplace(task.id, &task);
            for (const Address waiter : task.awaited_by) awaited_[waiter].push_back(&task);
        }
    }

    void print() {
        for (const Task& task : loop_.tasks) {
            if (task.awaited_by.empty() || !known(task.awaited_by)) print(task, 0);
        }
        // What is left is only awaited from within: circles.
        for (const Task& task : loop_.tasks) {
            if (shown_.contains(task.id)) continue;
            out_ << "a circle:\n";
            print(task, 0);
        }
    }

  private:
    bool known(const std::vector<Address>& waiters) const {
        return std::any_of(waiters.begin(), waiters.end(),
                           [&](Address id) { return tasks_.contains(id); });
    }

    void print(const Task& first, std::size_t first_level) {
        // By a list and not by recursion: a chain of tasks may be as long as there are tasks.
        std::vector<std::pair<const Task*, std::size_t>> left{{&first, first_level}};
        while (!left.empty()) {
            const auto [task, level] = left.back();
            left.pop_back();
            const std::string margin(std::min<std::size_t>(level, 100) * 4, ' ');
            const bool again = !shown_.insert(task->id).second;
            out_ << margin << "* " << printable(task->name);
            if (again) {
                out_ << " (see above)\n";
                continue;
            }
            if (task->state != TaskState::kWaiting) out_ << " (" << word(task->state) << ')';
            out_ << '\n';
            for (const Place* place : frames_of(*task, options_.all)) {
                out_ << margin << "  |  " << printable(place->function) << "()  "
                     << printable(where(*place)) << '\n';
            }
            const auto children = awaited_.find(task->id);
            if (children == awaited_.end()) {
                if (!task->waits_for.empty()) {
                    out_ << margin << "  waits for " << printable(task->waits_for) << '\n';
                }
                continue;
            }
            for (const Task* const child : std::views::reverse(children->second)) {
                left.emplace_back(child, level + 1);
            }
        }
    }

    std::ostream& out_;
    const Loop& loop_;
    const ShowOptions& options_;
    Names names_;
    std::unordered_map<Address, const Task*> tasks_;
    std::unordered_map<Address, std::vector<const Task*>> awaited_;  // by whom
    std::unordered_set<Address> shown_;
};

void print_json_task(std::ostream& out, const Task& task, const ShowOptions& options) {
    out << "{\"id\":" << json_string(id_of(task.id)) << ",\"name\":" << json_string(task.name)
        << ",\"state\":\"" << word(task.state) << '"';
    if (task.cancelling) out << ",\"cancelling\":true";
    if (!task.waits_for.empty()) {
        out << ",\"waits\":{\"kind\":" << json_string(task.kind)
            << ",\"object\":" << json_string(id_of(task.object))
            << ",\"detail\":" << json_string(task.waits_for);
        if (task.until) out << ",\"until\":" << *task.until;
        if (task.counts && task.counts->since) out << ",\"since\":" << *task.counts->since;
        out << '}';
    }
    out << ",\"stack\":[";
    const char* comma = "";
    for (const Place* place : frames_of(task, options.all)) {
        out << comma << '[' << json_string(place->function) << ',' << json_string(place->file)
            << ',' << place->line << ']';
        comma = ",";
    }
    out << "],\"awaited_by\":[";
    comma = "";
    for (const Address id : task.awaited_by) {
        out << comma << json_string(id_of(id));
        comma = ",";
    }
    out << "]}";
}

}  // namespace

void print_table(std::ostream& out, const Snapshot& snapshot, const ShowOptions& options) {
    for (const Loop& loop : snapshot.loops) {
        if (!wanted(loop, options)) continue;
        print_loop(out, loop);
        const Names names(loop);
        std::vector<Row> rows{{"WHERE", "FUNCTION", "STATE", "WAITS FOR", "TASK", "AWAITED BY"}};
        for (const Task& task : loop.tasks) {
            if (!wanted(task, options)) continue;
            const auto frames = frames_of(task, options.all);
            static const Place nowhere;
            const Place& place = frames.empty() ? nowhere : *frames.back();
            rows.push_back({printable(where(place)), printable(place.function), word(task.state),
                            printable(task.waits_for), printable(task.name),
                            printable(joined(task.awaited_by, names))});
        }
        if (rows.size() > 1) print_rows(out, rows);
    }
}

void print_tree(std::ostream& out, const Snapshot& snapshot, const ShowOptions& options) {
    for (const Loop& loop : snapshot.loops) {
        if (!wanted(loop, options)) continue;
        print_loop(out, loop);
        Tree(out, loop, options).print();
    }
}

bool print_stack(std::ostream& out, const Snapshot& snapshot, const std::string& name,
                 const ShowOptions& options) {
    bool any = false;
    for (const Loop& loop : snapshot.loops) {
        if (!wanted(loop, options)) continue;
        const Names names(loop);
        for (const Task& task : loop.tasks) {
            if (task.name != name && id_of(task.id) != name) continue;
            any = true;
            out << "Stack of " << printable(task.name) << " (" << id_of(task.id) << ", "
                << word(task.state) << ", most recent call last):\n";
            for (const Place* place : frames_of(task, options.all)) {
                out << "  File \"" << printable(place->file) << "\", line " << place->line
                    << ", in " << printable(place->function) << '\n';
            }
            if (!task.waits_for.empty()) out << "waits for " << printable(task.waits_for) << '\n';
            if (!task.awaited_by.empty()) {
                out << "awaited by " << printable(joined(task.awaited_by, names)) << '\n';
            }
        }
    }
    return any;
}

void print_json(std::ostream& out, const Snapshot& snapshot, const ShowOptions& options) {
    out << "{\"version\":1,\"library\":\"" << (snapshot.library >> 16 & 0xff) << '.'
        << (snapshot.library >> 8 & 0xff) << '.' << (snapshot.library & 0xff) << "\",\"loops\":[";
    const char* comma = "";
    for (const Loop& loop : snapshot.loops) {
        if (!wanted(loop, options)) continue;
        out << comma << "{\"id\":" << json_string(id_of(loop.id)) << ",\"number\":" << loop.number
            << ",\"backend\":" << json_string(loop.backend) << ",\"state\":\""
            << (!loop.running ? "idle"
                : loop.asleep ? "asleep"
                              : "running")
            << '"' << ",\"exact\":" << (loop.torn ? "false" : "true")
            << ",\"counting\":" << (loop.counts ? "true" : "false")
            << ",\"debug\":" << (loop.debug ? "true" : "false") << ",\"thread\":" << loop.thread
            << ",\"steps\":" << loop.steps << ",\"iterations\":" << loop.iterations
            << ",\"ready\":" << loop.ready << ",\"timers\":" << loop.timers << ",\"next_timer\":";
        if (loop.next_timer) {
            out << *loop.next_timer;
        } else {
            out << "null";
        }
        out << ",\"tasks\":[";
        const char* between = "";
        for (const Task& task : loop.tasks) {
            if (!wanted(task, options)) continue;
            out << between << '\n';
            print_json_task(out, task, options);
            between = ",";
        }
        out << "]}";
        comma = ",";
    }
    out << "]}\n";
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

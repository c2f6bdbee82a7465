#include "look_json.hpp"

#include <algorithm>
#include <charconv>
#include <ranges>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "inspect/rows.hpp"
#include "json_writer.hpp"
#include "page_server.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// A program may have names of any length, and any number of tasks: a browser is not to hold them
// all.
constexpr std::size_t kMostTasks = 5'000;
constexpr std::size_t kMostBytes = std::size_t{8} << 20;
constexpr std::size_t kLongest = 240;      // bytes of a name, a function, what is waited for
constexpr std::size_t kLongestOne = 4096;  // the same where one task is told of
constexpr std::size_t kMostGroups = 500, kMostObjects = 500, kMostSockets = 1'000;
constexpr std::size_t kMostAwaiters = 8, kMostOfOne = 200, kMostFrames = 1'000;
constexpr std::size_t kMostWarnings = 60, kMostLoops = 200;
constexpr std::size_t kAlike = 4;  // tasks without children that a tree shows one by one

using Tasks = std::vector<const Task*>;

const char* state_of(const LoopNow& loop) {
    if (!loop.loop.running) return "idle";
    if (loop.loop.asleep) return "asleep";
    return loop.stuck ? "stuck" : "running";
}

const char* life_of(Process::Life life) {
    switch (life) {
        case Process::Life::kRuns:
            return "runs";
        case Process::Life::kStopped:
            return "stopped";
        case Process::Life::kEnded:
            return "ended";
        case Process::Life::kReplaced:
            return "replaced";
    }
    return "";
}

void write_place(JsonWriter& json, const Place* place, std::size_t most = kLongest) {
    static const Place nowhere;
    if (!place) place = &nowhere;
    json.member("function", shortened(place->function, most));
    json.member("file", shortened(place->file, most)).member("line", place->line);
}

void write_counts(JsonWriter& json, const Counts& counts) {
    json.member("steps", counts.steps).member("busy", counts.busy);
    json.member("longest", counts.longest);
}

void write_optional(JsonWriter& json, const char* name, const std::optional<double>& value) {
    json.key(name);
    if (value) {
        json.value(*value);
    } else {
        json.null();
    }
}

// Everything that is sent of one look.
class LookWriter {
  public:
    LookWriter(const Process& process, const State& state, const LookQuery& query)
        : process_(process), state_(state), query_(query), look_(state.look.get()) {
        show_.filter = query.filter;
        show_.loop = query.loop;
    }

    std::string write() {
        json_.begin('{').member("asyncio_console", 1).member("at", time_of_day());
        write_process();
        write_loops();
        write_stalls();
        write_warnings();
        if (look_) write_look();
        json_.end('}');
        return json_.take();
    }

  private:
    bool shows(const char* view) const { return query_.view == view || query_.view == "all"; }

    void write_process() {
        json_.key("process").begin('{').member("pid", process_.pid());
        json_.member("life", life_of(state_.life)).member("ended", state_.ended);
        json_.member("trouble", shortened(state_.trouble, kLongestOne));
        if (look_) {
            const std::uint32_t v = look_->snapshot.library;
            json_.member("library", std::to_string(v >> 16 & 0xff) + '.' +
                                        std::to_string(v >> 8 & 0xff) + '.' +
                                        std::to_string(v & 0xff));
            json_.member("exe", shortened(look_->facts.exe, kLongestOne));
            json_.member("rss", look_->facts.rss).member("fds", look_->facts.fds);
            json_.member("threads", look_->facts.threads);
        }
        json_.end('}');
    }

    void write_loops() {
        json_.key("loops").begin('[');
        std::size_t count = 0;
        for (const LoopNow& loop : state_.loops) {
            if (++count <= kMostLoops) write_loop(loop);
        }
        json_.end(']');
    }

    void write_loop(const LoopNow& now) {
        const Loop& loop = now.loop;
        json_.begin('{').address("id", loop.id).member("number", loop.number);
        json_.member("backend", shortened(loop.backend, kLongest)).member("thread", loop.thread);
        json_.member("debug", loop.debug).member("state", state_of(now));
        json_.member("since", now.since).member("steps", loop.steps);
        json_.member("iterations", loop.iterations).member("timers", loop.timers);
        write_optional(json_, "next_timer", loop.next_timer);
        json_.member("counting", loop.counts.has_value());
        json_.key("runs");
        if (loop.tasks.empty()) {
            json_.null();
        } else {
            const Task& task = loop.tasks.front();
            json_.begin('{').address("id", task.id).member("name", shortened(task.name, kLongest));
            write_place(json_, place_of(task));
            json_.end('}');
        }
        write_looked_at(loop);
        if (loop.counts) {
            json_.member("longest", loop.counts->all.longest);
            json_.key("late").begin('[');
            for (const std::uint64_t n : loop.counts->late) json_.value(n);
            json_.end(']').member("late_median", median_late(loop.counts->late));
        }
        json_.key("samples").begin('[');
        for (const Sample& s : now.samples) {
            json_.begin('[').value(s.at).value(s.steps).value(s.iterations).value(s.busy).end(']');
        }
        json_.end(']').end('}');
    }

    // What only the last look at all tasks tells of a loop.
    void write_looked_at(const Loop& now) {
        if (!look_) return;
        for (const Loop& loop : look_->snapshot.loops) {
            if (loop.id != now.id) continue;
            std::uint64_t states[4] = {};
            for (const Task& task : loop.tasks) ++states[static_cast<std::size_t>(task.state)];
            json_.member("exact", !loop.torn).member("tasks", loop.tasks.size());
            json_.member("ready", loop.ready).key("states").begin('{');
            for (const TaskState state : {TaskState::kRunning, TaskState::kReady,
                                          TaskState::kWaiting, TaskState::kSuspended}) {
                json_.member(word(state), states[static_cast<std::size_t>(state)]);
            }
            json_.end('}');
        }
    }

    void write_stalls() {
        json_.key("stalls").begin('[');
        for (const Stall& stall : std::views::reverse(state_.stalls)) {
            json_.begin('{').member("loop", stall.loop).member("began", stall.began);
            json_.member("lasted", stall.lasted).member("over", stall.over);
            json_.address("id", stall.task).member("name", shortened(stall.name, kLongest));
            write_place(json_, &stall.place);
            json_.end('}');
        }
        json_.end(']');
    }

    void write_warning(const char* kind, const std::string& text, const std::string& filter) {
        json_.begin('{').member("kind", kind).member("text", shortened(text, 2 * kLongest));
        json_.member("filter", shortened(filter, kLongest)).end('}');
    }

    void write_warnings() {
        json_.key("warnings").begin('[');
        for (const LoopNow& loop : state_.loops) {
            if (!loop.stuck) continue;
            char seconds[48];
            std::snprintf(seconds, sizeof seconds, "%.1f s", loop.since);
            const bool task = !loop.loop.tasks.empty();
            const Place* const place = task ? place_of(loop.loop.tasks.front()) : nullptr;
            write_warning("stuck",
                          "Loop " + std::to_string(loop.loop.number) + " has been stuck for " +
                              seconds + " in a step of " +
                              (task ? loop.loop.tasks.front().name : "a callback") +
                              (place ? ", " + place->function + "()" : ""),
                          task ? loop.loop.tasks.front().name : "");
        }
        if (look_) {
            std::size_t count = 0;
            for (const Warning& w : look_->warnings) {
                if (++count > kMostWarnings) break;
                write_warning(w.kind.c_str(), w.text, w.filter);
            }
        }
        json_.end(']');
    }

    void write_look() {
        json_.key("look").begin('{').member("at", look_->at).member("took", look_->took);
        json_.member("stopped", look_->stopped);
        Tasks wanted_tasks;
        std::uint64_t all = 0;
        for (std::size_t i = 0; i < look_->snapshot.loops.size(); ++i) {
            const Loop& loop = look_->snapshot.loops[i];
            all += loop.tasks.size();
            if (!wanted(loop, show_)) continue;
            for (const Task& task : loop.tasks) {
                if (wanted(task, show_)) wanted_tasks.push_back(&task);
            }
            if (i < look_->gains.size() && look_->gains[i]) add_gain(*look_->gains[i]);
        }
        json_.member("all", all).member("found", wanted_tasks.size());
        if (shows("tasks")) {
            write_groups(wanted_tasks);
            if (!query_.grouped || query_.view == "all") write_tasks(wanted_tasks);
        }
        if (shows("tree")) write_tree(wanted_tasks);
        if (shows("objects")) write_objects();
        if (shows("sockets")) write_sockets();
        json_.end('}');
    }

    void add_gain(const Gain& gain) {
        for (const auto& [id, counts] : gain.tasks) gains_.emplace(id, std::pair(&counts, &gain));
    }

    // ---- tasks ---------------------------------------------------------------------------------

    void write_groups(const Tasks& tasks) {
        const bool all = query_.filter.empty() && !query_.loop;
        const std::vector<Group> some = all ? std::vector<Group>() : group(tasks);
        const std::vector<Group>& groups = all ? look_->groups : some;
        json_.member("places", groups.size()).key("groups").begin('[');
        for (std::size_t i = 0; i < std::min(groups.size(), kMostGroups); ++i) {
            const Group& g = groups[i];
            json_.begin('{').member("count", g.count).member("state", word(g.state));
            json_.member("kind", shortened(g.kind, kLongest));
            json_.member("example", shortened(g.example, kLongest));
            write_place(json_, &g.place);
            json_.end('}');
        }
        json_.end(']');
    }

    double busy_of(const Task* task) const {
        const auto found = gains_.find(task->id);
        return found == gains_.end() ? -1
                                     : found->second.first->busy / found->second.second->seconds;
    }
    double steps_of(const Task* task) const {
        const auto found = gains_.find(task->id);
        if (found == gains_.end()) return -1;
        return static_cast<double>(found->second.first->steps) / found->second.second->seconds;
    }
    static double longest_of(const Task* task) { return task->counts ? task->counts->longest : -1; }
    static double since_of(const Task* task) {
        return task->counts ? task->counts->since.value_or(-1) : -1;
    }

    // The first `limit` in the order that is asked for.
    void sort(Tasks& tasks) const {
        const std::size_t limit = std::min(query_.limit, kMostTasks);
        const auto by = [&](auto less) {
            const auto in_order = [&](const Task* a, const Task* b) {
                if (less(a, b)) return !query_.descending;
                // Else rows that are equal would change their places from look to look.
                return less(b, a) ? query_.descending : a->id < b->id;
            };
            if (tasks.size() > limit) {
                std::partial_sort(tasks.begin(), tasks.begin() + static_cast<std::ptrdiff_t>(limit),
                                  tasks.end(), in_order);
                tasks.resize(limit);
            } else {
                std::sort(tasks.begin(), tasks.end(), in_order);
            }
        };
        const auto by_number = [&](auto number) {
            by([&](const Task* a, const Task* b) { return number(a) < number(b); });
        };
        if (query_.sort == "name") return by(by_name);
        if (query_.sort == "state") return by_number([](const Task* t) { return t->state; });
        if (query_.sort == "waits") {
            return by([](const Task* a, const Task* b) { return a->waits_for < b->waits_for; });
        }
        if (query_.sort == "since") return by_number(since_of);
        if (query_.sort == "longest") return by_number(longest_of);
        if (query_.sort == "busy") return by_number([&](const Task* t) { return busy_of(t); });
        if (query_.sort == "steps") return by_number([&](const Task* t) { return steps_of(t); });
        by(by_place);
    }

    // "Task-9" before "Task-10".
    static bool by_name(const Task* a, const Task* b) {
        const bool numbered = a->name.starts_with("Task-") && b->name.starts_with("Task-");
        if (numbered && a->name.size() != b->name.size()) return a->name.size() < b->name.size();
        return a->name < b->name;
    }
    static bool by_place(const Task* a, const Task* b) {
        const Place* const p = place_of(*a);
        const Place* const q = place_of(*b);
        if (!p || !q) return p < q;
        if (p->file != q->file) return p->file < q->file;
        if (p->line != q->line) return p->line < q->line;
        return by_name(a, b);
    }

    void write_tasks(Tasks& tasks) {
        sort(tasks);
        find_awaiters(tasks);
        json_.key("tasks").begin('[');
        for (const Task* const task : tasks) {
            if (json_.size() > kMostBytes) break;
            json_.begin('{');
            write_task(task);
            if (query_.view == "all") write_stack(json_, *task, kLongest);
            json_.end('}');
        }
        json_.end(']');
    }

    void write_task(const Task* task) {
        json_.address("id", task->id).member("name", shortened(task->name, kLongest));
        json_.member("state", word(task->state)).member("cancelling", task->cancelling);
        write_place(json_, place_of(*task));
        write_waits(json_, *task, kLongest);
        if (task->counts) json_.member("longest", task->counts->longest);
        if (gains_.contains(task->id)) {
            json_.member("steps", steps_of(task)).member("busy", busy_of(task));
        }
        json_.key("awaited_by").begin('[');
        for (std::size_t i = 0; i < std::min(task->awaited_by.size(), kMostAwaiters); ++i) {
            json_.value(shortened(name_of(task->awaited_by[i]), kLongest / 2));
        }
        json_.end(']').member("awaiters", task->awaited_by.size());
    }

    std::string name_of(Address id) const {
        const auto found = names_.find(id);
        return found == names_.end() || !found->second ? "?" : *found->second;
    }

    // The names of those that await these, and of no others: there may be a million.
    void find_awaiters(const Tasks& tasks) {
        for (const Task* const task : tasks) {
            for (std::size_t i = 0; i < std::min(task->awaited_by.size(), kMostAwaiters); ++i) {
                names_.emplace(task->awaited_by[i], nullptr);
            }
        }
        if (names_.empty()) return;
        for (const Loop& loop : look_->snapshot.loops) {
            for (const Task& task : loop.tasks) {
                if (const auto asked = names_.find(task.id); asked != names_.end()) {
                    asked->second = &task.name;
                }
            }
        }
    }

  public:
    static void write_waits(JsonWriter& json, const Task& task, std::size_t most) {
        json.member("waits", shortened(task.waits_for, most));
        json.member("kind", shortened(task.kind, most));
        if (task.object != 0) json.address("object", task.object);
        write_optional(json, "until", task.until);
        write_optional(json, "since", task.counts ? task.counts->since : std::nullopt);
    }

    static void write_stack(JsonWriter& json, const Task& task, std::size_t most) {
        json.key("stack").begin('[');
        for (std::size_t i = 0; i < std::min(task.stack.size(), kMostFrames); ++i) {
            json.begin('{').member("helper", task.stack[i].helper);
            write_place(json, &task.stack[i], most);
            json.end('}');
        }
        json.end(']');
    }

  private:
    // ---- the tree ------------------------------------------------------------------------------

    // Who is awaited stands below who awaits. Each task once; tasks that are alike and have nobody
    // below them stand as one, with their number, so that a server of 100,000 connections has few
    // lines.
    void write_tree(const Tasks& found) {
        std::unordered_map<Address, Tasks> awaited;  // by whom
        std::unordered_map<Address, const Task*> known;
        Tasks all;
        for (const Loop& loop : look_->snapshot.loops) {
            if (!wanted(loop, show_)) continue;
            for (const Task& task : loop.tasks) {
                known.emplace(task.id, &task);
                for (const Address waiter : task.awaited_by) awaited[waiter].push_back(&task);
                all.push_back(&task);
            }
        }
        std::unordered_set<Address> kept;
        const bool some = !query_.filter.empty();
        if (some) keep_with_awaiters(found, known, kept);
        const auto is_kept = [&](const Task* task) { return !some || kept.contains(task->id); };
        Tasks roots;
        for (const Task* const task : all) {
            const bool root = std::none_of(task->awaited_by.begin(), task->awaited_by.end(),
                                           [&](Address id) { return known.contains(id); });
            if (root && is_kept(task)) roots.push_back(task);
        }
        json_.key("tree").begin('[');
        std::unordered_set<Address> shown;
        const auto children = [&](const Task* task) {
            Tasks below;
            const auto these = awaited.find(task->id);
            if (these == awaited.end()) return below;
            for (const Task* const child : these->second) {
                if (is_kept(child)) below.push_back(child);
            }
            return below;
        };
        write_branch(roots, children, shown, "");
        // What is left is only awaited from within: circles.
        for (const Task* const task : all) {
            if (lines_ >= kMostTasks) break;
            if (shown.contains(task->id) || !is_kept(task)) continue;
            write_branch({task}, children, shown, "a circle");
        }
        json_.end(']').member("tree_cut", lines_ >= kMostTasks || json_.size() > kMostBytes);
    }

    static void keep_with_awaiters(const Tasks& found,
                                   const std::unordered_map<Address, const Task*>& known,
                                   std::unordered_set<Address>& kept) {
        Tasks left = found;
        while (!left.empty()) {
            const Task* const task = left.back();
            left.pop_back();
            if (!kept.insert(task->id).second) continue;
            for (const Address waiter : task->awaited_by) {
                const auto by = known.find(waiter);
                if (by != known.end()) left.push_back(by->second);
            }
        }
    }

    struct Line {
        const Task* task;
        std::size_t level;
        std::uint64_t count;  // of those that are alike
    };

    // By a list and not by recursion: a chain of tasks may be as long as there are tasks.
    template <class Children>
    void write_branch(const Tasks& roots, const Children& children,
                      std::unordered_set<Address>& shown, const char* note) {
        std::vector<Line> left;
        add_lines(roots, 0, children, shown, left);
        while (!left.empty() && lines_ < kMostTasks && json_.size() < kMostBytes) {
            const Line line = left.back();
            left.pop_back();
            const bool again = !shown.insert(line.task->id).second && line.count == 1;
            write_line(line, again ? "see above" : note);
            note = "";
            if (line.count == 1 && !again) {
                add_lines(children(line.task), line.level + 1, children, shown, left);
            }
        }
    }

    // Onto `left`, the first one last.
    template <class Children>
    static void add_lines(const Tasks& tasks, std::size_t level, const Children& children,
                          std::unordered_set<Address>& shown, std::vector<Line>& left) {
        std::vector<Line> lines;
        std::unordered_map<std::string, std::vector<std::size_t>> alike;
        for (const Task* const task : tasks) {
            if (!children(task).empty()) {
                lines.push_back({task, level, 1});
                continue;
            }
            const Place* const place = place_of(*task);
            const std::string key = (place ? where(*place) + place->function : "") + '\0' +
                                    word(task->state) + '\0' + task->kind;
            std::vector<std::size_t>& same = alike[key];
            if (same.size() < kAlike) {
                same.push_back(lines.size());
                lines.push_back({task, level, 1});
            } else {
                // The last of them stands for the rest.
                ++lines[same.back()].count;
                shown.insert(task->id);
            }
        }
        left.insert(left.end(), lines.rbegin(), lines.rend());
    }

    void write_line(const Line& line, const char* note) {
        ++lines_;
        const Task& task = *line.task;
        json_.begin('{').member("level", line.level).member("count", line.count);
        json_.address("id", task.id).member("name", shortened(task.name, kLongest));
        json_.member("state", word(task.state)).member("note", note);
        write_place(json_, place_of(task));
        json_.member("waits", shortened(task.waits_for, kLongest)).end('}');
    }

    // ---- what they wait for --------------------------------------------------------------------

    void write_objects() {
        const std::vector<Waited> objects = waited_objects(look_->snapshot);
        json_.member("objects_all", objects.size()).key("objects").begin('[');
        for (std::size_t i = 0; i < std::min(objects.size(), kMostObjects); ++i) {
            const Waited& object = objects[i];
            json_.begin('{').address("id", object.object);
            json_.member("kind", shortened(object.kind, kLongest));
            json_.member("items", object.items).member("capacity", object.capacity);
            json_.member("detail", shortened(object.detail, kLongest));
            const auto holder = look_->holders.find(object.object);
            if (holder != look_->holders.end()) {
                json_.member("holder", shortened(holder->second.name, kLongest));
                json_.member("held", look_->at - holder->second.since);
            }
            json_.member("waiting", object.waiting).key("lines").begin('[');
            for (const Waited::Line& line : object.lines) {
                json_.begin('{').member("what", shortened(line.what, kLongest));
                json_.member("count", line.count).key("some").begin('[');
                for (const std::string& name : line.some) json_.value(shortened(name, kLongest));
                json_.end(']').end('}');
            }
            json_.end(']').end('}');
        }
        json_.end(']');
    }

    void write_sockets() {
        if (!state_.descriptors) return;
        std::unordered_map<int, Tasks> waiting;
        for (const Loop& loop : look_->snapshot.loops) {
            for (const Task& task : loop.tasks) {
                if (task.fd) waiting[*task.fd].push_back(&task);
            }
        }
        std::vector<const Descriptor*> rows;
        for (const Descriptor& d : *state_.descriptors) rows.push_back(&d);
        // Those that somebody waits for are not to be cut off.
        // Safe because all of them stand in one array, in whose order they stay.
        std::sort(rows.begin(), rows.end(), [&](const Descriptor* a, const Descriptor* b) {
            return std::pair(!waiting.contains(a->fd), a) < std::pair(!waiting.contains(b->fd), b);
        });
        json_.key("sockets").begin('[');
        for (std::size_t i = 0; i < std::min(rows.size(), kMostSockets); ++i) {
            const Descriptor& d = *rows[i];
            json_.begin('{').member("fd", d.fd).member("kind", shortened(d.kind, kLongest));
            json_.member("local", shortened(d.local, kLongest));
            json_.member("peer", shortened(d.peer, kLongest)).member("state", d.state);
            json_.member("in", d.in).member("out", d.out).key("tasks").begin('[');
            std::size_t count = 0;
            for (const Task* const task : waiting[d.fd]) {
                if (++count <= kMostAwaiters) json_.value(shortened(task->name, kLongest));
            }
            json_.end(']').end('}');
        }
        json_.end(']');
    }

    const Process& process_;
    const State& state_;
    const LookQuery& query_;
    const Look* look_;
    ShowOptions show_;
    JsonWriter json_;
    std::unordered_map<Address, std::pair<const Counts*, const Gain*>> gains_;
    std::unordered_map<Address, const std::string*> names_;
    std::size_t lines_ = 0;  // of the tree
};

void write_others(JsonWriter& json, const char* name, const Tasks& tasks) {
    json.key(name).begin('[');
    for (const Task* const task : tasks) {
        json.begin('{').address("id", task->id).member("name", shortened(task->name, kLongest));
        json.member("state", word(task->state));
        write_place(json, place_of(*task));
        json.end('}');
    }
    json.end(']');
}

}  // namespace

LookQuery read_query(std::string_view text) {
    LookQuery query;
    const auto number = [](const std::string& digits, auto& into) {
        std::uint64_t n = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
        if (error == std::errc() && end == digits.data() + digits.size()) {
            into = static_cast<std::size_t>(n);
        }
    };
    while (!text.empty()) {
        std::string_view part = text.substr(0, text.find('&'));
        text.remove_prefix(std::min(part.size() + 1, text.size()));
        const std::size_t equals = std::min(part.find('='), part.size());
        const std::string_view name = part.substr(0, equals);
        part.remove_prefix(std::min(equals + 1, part.size()));
        std::string value = decode_query(part);
        if (name == "view") query.view = value;
        if (name == "filter") query.filter = value;
        if (name == "sort") query.sort = value;
        if (name == "desc") query.descending = value == "1";
        if (name == "group") query.grouped = value == "1";
        if (name == "limit") number(value, query.limit);
        if (name == "loop") number(value, query.loop);
        if (name == "id") query.id = value;
    }
    return query;
}

std::string look_json(const Process& process, const State& state, const LookQuery& query) {
    return LookWriter(process, state, query).write();
}

std::string task_json(const State& state, const LookQuery& query) {
    Address id = 0;
    if (query.id.starts_with("0x")) {
        std::from_chars(query.id.data() + 2, query.id.data() + query.id.size(), id, 16);
    }
    const Task* task = nullptr;
    const Loop* of = nullptr;
    const Gain* gain = nullptr;
    Tasks awaits;
    const Look* const look = state.look.get();
    for (std::size_t i = 0; look && id != 0 && i < look->snapshot.loops.size(); ++i) {
        const Loop& loop = look->snapshot.loops[i];
        for (const Task& t : loop.tasks) {
            if (t.id == id) {
                task = &t;
                of = &loop;
                gain = look->gains[i] ? &*look->gains[i] : nullptr;
            }
            const bool waits =
                std::find(t.awaited_by.begin(), t.awaited_by.end(), id) != t.awaited_by.end();
            if (waits && awaits.size() < kMostOfOne) awaits.push_back(&t);
        }
    }
    JsonWriter json;
    json.begin('{').member("found", task != nullptr);
    if (!task) return json.end('}').take();
    Tasks awaited_by;
    for (const Loop& loop : look->snapshot.loops) {
        for (const Task& t : loop.tasks) {
            const bool waits = std::find(task->awaited_by.begin(), task->awaited_by.end(), t.id) !=
                               task->awaited_by.end();
            if (waits && awaited_by.size() < kMostOfOne) awaited_by.push_back(&t);
        }
    }
    json.member("at", look->at).address("id", id).member("loop", of->number);
    json.member("name", shortened(task->name, kLongestOne)).member("state", word(task->state));
    json.member("cancelling", task->cancelling);
    LookWriter::write_waits(json, *task, kLongestOne);
    LookWriter::write_stack(json, *task, kLongestOne);
    write_others(json, "awaited_by", awaited_by);
    write_others(json, "awaits", awaits);
    if (task->counts) {
        json.key("counts").begin('{');
        write_counts(json, *task->counts);
        json.end('}');
    }
    if (gain && gain->tasks.contains(id)) {
        json.key("lately").begin('{').member("seconds", gain->seconds);
        write_counts(json, gain->tasks.at(id));
        json.end('}');
    }
    return json.end('}').take();
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

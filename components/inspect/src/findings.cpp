#include "findings.hpp"

#include <algorithm>
#include <cstdio>
#include <ranges>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "inspect/rows.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

constexpr std::uint64_t kManyAtOnePlace = 10'000;
constexpr double kLongWait = 3600, kLongStep = 0.1;
constexpr std::size_t kMostWarnings = 20;  // of one kind

std::string hex(Address address) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
    return text;
}

std::string milliseconds(double seconds) {
    char text[48];
    std::snprintf(text, sizeof text, "%.0f ms", seconds * 1e3);
    return text;
}

std::string short_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// ", at fetch() client.cpp:88"
std::string at(const Task* task) {
    const Place* const place = place_of(*task);
    return place ? ", at " + place->function + "() " + short_name(where(*place)) : "";
}

// "Queue.get" -> "Queue"
std::string class_of(const std::string& kind) { return kind.substr(0, kind.find('.')); }

// Who awaits whom.
class Awaits {
  public:
    explicit Awaits(const Snapshot& snapshot) {
        for (const Loop& loop : snapshot.loops) {
            for (const Task& task : loop.tasks) {
                if (task.awaited_by.empty()) continue;
                for (const Address waiter : task.awaited_by) awaits_[waiter].push_back(&task);
                awaited_.emplace(task.id, &task);
            }
        }
        drop_those_that_can_end();
    }

    std::vector<std::vector<const Task*>> circles(std::size_t most) const {
        std::vector<std::vector<const Task*>> found;
        std::unordered_set<Address> seen;
        for (const auto& [start, awaited] : awaits_) {
            if (found.size() == most) break;
            std::vector<const Task*> way;
            Address at = start;
            while (seen.insert(at).second) {
                const Task* const task = next(at);
                if (!task) break;
                way.push_back(task);
                at = task->id;
            }
            if (way.empty()) continue;
            // It came back to where it was: after that place the circle begins. Else it led to one
            // that is known.
            const auto there = std::find_if(way.begin(), way.end(),
                                            [&](const Task* task) { return task->id == at; });
            if (at == start) {
                found.push_back(way);
            } else if (there != way.end() - 1) {
                found.emplace_back(there + 1, way.end());
            }
        }
        return found;
    }

  private:
    // Takes away, again and again, who awaits nobody that is left. What stays is in a circle, or
    // awaits one.
    void drop_those_that_can_end() {
        std::unordered_map<Address, std::size_t> left;
        for (const auto& [waiter, tasks] : awaits_) left[waiter] = tasks.size();
        std::vector<Address> ended;
        for (const auto& [id, task] : awaited_) {
            if (!awaits_.contains(id)) ended.push_back(id);
        }
        while (!ended.empty()) {
            const auto task = awaited_.find(ended.back());
            ended.pop_back();
            if (task == awaited_.end()) continue;
            for (const Address waiter : task->second->awaited_by) {
                if (--left[waiter] != 0) continue;
                awaits_.erase(waiter);
                ended.push_back(waiter);
            }
        }
    }

    const Task* next(Address at) const {
        for (const Task* const task : awaits_.at(at)) {
            if (awaits_.contains(task->id)) return task;
        }
        return nullptr;  // only if a task stands in the snapshot twice
    }

    std::unordered_map<Address, std::vector<const Task*>> awaits_;
    std::unordered_map<Address, const Task*> awaited_;
};

void warn_of_steps(const Loop& loop, std::vector<Warning>& all) {
    std::vector<const Task*> longest;
    for (const Task& task : loop.tasks) {
        if (task.counts && task.counts->longest > kLongStep) longest.push_back(&task);
    }
    std::sort(longest.begin(), longest.end(),
              [](const Task* a, const Task* b) { return a->counts->longest > b->counts->longest; });
    if (longest.size() > kMostWarnings) longest.resize(kMostWarnings);
    for (const Task* const task : longest) {
        all.push_back(
            {"long step",
             "A step of " + task->name + " took " + milliseconds(task->counts->longest) + at(task),
             task->name});
    }
}

void warn_of_waits(const Loop& loop, std::vector<Warning>& all) {
    std::size_t count = 0;
    for (const Task& task : loop.tasks) {
        if (!task.counts || task.until || task.state != TaskState::kWaiting) continue;
        const double since = task.counts->since.value_or(0);
        if (since <= kLongWait || ++count > kMostWarnings) continue;
        all.push_back({"long wait",
                       task.name + " has waited for " + task.waits_for + " for more than " +
                           many(static_cast<std::uint64_t>(since / kLongWait), "hour") + at(&task),
                       task.name});
    }
}

void warn_of_full_queues(const Snapshot& snapshot, std::vector<Warning>& all) {
    std::unordered_map<Address, std::uint64_t> full;
    for (const Loop& loop : snapshot.loops) {
        for (const Task& task : loop.tasks) {
            if (task.kind == "Queue.put" && task.capacity != 0 && task.items >= task.capacity) {
                ++full[task.object];
            }
        }
    }
    std::size_t count = 0;
    for (const auto& [object, waiting] : full) {
        if (++count > kMostWarnings) break;
        all.push_back({"full queue",
                       "The queue " + hex(object) + " is full: " + many(waiting, "task") +
                           (waiting == 1 ? " waits" : " wait") + " to put",
                       "Queue.put of " + hex(object)});
    }
}

}  // namespace

const Place* place_of(const Task& task) {
    for (const Place& place : std::views::reverse(task.stack)) {
        if (!place.helper) return &place;
    }
    return task.stack.empty() ? nullptr : &task.stack.back();
}

std::string many(std::uint64_t n, const char* what) {
    return std::to_string(n) + ' ' + what + (n == 1 ? "" : "s");
}

std::vector<Group> group(const std::vector<const Task*>& tasks) {
    static const Place nowhere;
    std::unordered_map<std::string, std::size_t> places;
    std::vector<Group> groups;
    std::string key;
    for (const Task* const task : tasks) {
        const Place* const known = place_of(*task);
        const Place& place = known ? *known : nowhere;
        key.assign(place.file).append(1, '\0').append(place.function).append(1, '\0');
        key.append(std::to_string(place.line)).append(1, static_cast<char>(task->state));
        key.append(task->kind);
        const auto [found, added] = places.try_emplace(key, groups.size());
        if (added) groups.push_back({place, task->state, task->kind, 0, task->name});
        ++groups[found->second].count;
    }
    // Of the same size: always in the same order.
    std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
        return std::tie(b.count, a.place.file, a.place.line, a.state, a.kind) <
               std::tie(a.count, b.place.file, b.place.line, b.state, b.kind);
    });
    return groups;
}

std::vector<Waited> waited_objects(const Snapshot& snapshot) {
    constexpr std::size_t kSome = 5;
    std::unordered_map<Address, std::size_t> known;
    std::vector<Waited> all;
    for (const Loop& loop : snapshot.loops) {
        for (const Task& task : loop.tasks) {
            if (task.state != TaskState::kWaiting || task.ends != Task::Ends::kObject) continue;
            const auto [found, added] = known.try_emplace(task.object, all.size());
            if (added) {
                all.emplace_back();
                all.back().object = task.object;
                all.back().kind = class_of(task.kind);
                all.back().detail = task.waits_for;
            }
            Waited& object = all[found->second];
            object.items = task.items;
            object.capacity = std::max(object.capacity, task.capacity);
            ++object.waiting;
            auto line = std::find_if(object.lines.begin(), object.lines.end(),
                                     [&](const Waited::Line& l) { return l.what == task.kind; });
            if (line == object.lines.end()) {
                line = object.lines.insert(line, Waited::Line{task.kind, 0, {}});
            }
            ++line->count;
            if (line->some.size() < kSome) line->some.push_back(task.name);
        }
    }
    std::sort(all.begin(), all.end(), [](const Waited& a, const Waited& b) {
        return std::tie(b.waiting, a.object) < std::tie(a.waiting, b.object);
    });
    return all;
}

std::vector<std::vector<const Task*>> circles(const Snapshot& snapshot, std::size_t most) {
    return Awaits(snapshot).circles(most);
}

std::vector<Warning> warnings_of(const Snapshot& snapshot, const std::vector<Group>& groups) {
    std::vector<Warning> all;
    for (const std::vector<const Task*>& circle : circles(snapshot, kMostWarnings)) {
        std::string names;
        constexpr std::size_t kNamed = 4;
        for (std::size_t i = 0; i < std::min(circle.size(), kNamed); ++i) {
            names += circle[i]->name + " \u2192 ";
        }
        if (circle.size() > kNamed) names += "... \u2192 ";
        all.push_back({"circle",
                       "A circle of " + many(circle.size(), "task") +
                           ", each of which waits for the next: " + names + circle[0]->name,
                       circle[0]->name});
    }
    warn_of_full_queues(snapshot, all);
    for (const Group& g : groups) {
        if (g.count < kManyAtOnePlace) break;
        all.push_back(
            {"many",
             many(g.count, "task") + " at " + g.place.function + "() " + short_name(where(g.place)),
             where(g.place)});
    }
    for (const Loop& loop : snapshot.loops) {
        warn_of_steps(loop, all);
        warn_of_waits(loop, all);
    }
    return all;
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

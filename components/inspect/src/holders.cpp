#include "holders.hpp"

#include <unordered_set>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

LockHolders HolderWatch::see(const Snapshot& snapshot, double at) {
    std::unordered_map<Address, std::pair<std::string, Address>> waits;
    std::unordered_map<Address, const Task*> others;
    std::unordered_set<Address> wanted;
    for (const Loop& loop : snapshot.loops) {
        for (const Task& task : loop.tasks) {
            if (task.kind == "Lock.acquire") {
                waits.emplace(task.id, std::pair(task.name, task.object));
                wanted.insert(task.object);
            } else {
                others.emplace(task.id, &task);
            }
        }
    }
    LockHolders found;
    for (const auto& [lock, holder] : holders_) {
        // It may have ended, and another task have its memory.
        const auto task = others.find(holder.task);
        if (task != others.end() && task->second->name == holder.name) found.emplace(lock, holder);
    }
    std::unordered_map<Address, std::size_t> left;
    for (const auto& [id, wait] : waited_) {
        const auto task = others.find(id);
        if (task == others.end() || task->second->name != wait.first) continue;
        // One that was cancelled got nothing.
        if (task->second->cancelling) continue;
        found[wait.second] = Holder{id, wait.first, at};
        ++left[wait.second];
    }
    std::erase_if(found, [&](const auto& entry) {
        return !wanted.contains(entry.first) || left[entry.first] > 1;
    });
    waited_ = std::move(waits);
    return holders_ = found;
}

void HolderWatch::forget() {
    waited_.clear();
    holders_.clear();
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What stands in the ready queue, for those who choose from it.
#include <string>
#include <string_view>

#include "asyncio/component/scheduling.hpp"
#include "asyncio/inspect.hpp"
#include "asyncio/tasks.hpp"
#include "tasks/node_kinds.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

namespace {

asyncio::detail::TaskBase* task_of(Node& entry) noexcept {
    thread_local asyncio::detail::NodeKinds kinds;
    return kinds.task_of(entry);
}

std::string shown(std::source_location place) {
    std::string_view file = place.file_name();
    file.remove_prefix(file.rfind('/') + 1);
    return std::string(file) + ':' + std::to_string(place.line());
}

}  // namespace

// Safe because it is only a number.
std::uint64_t task_of_entry(Node& entry) noexcept {
    return reinterpret_cast<std::uintptr_t>(task_of(entry));
}

EntryInfo entry_info(Node& entry) {
    EntryInfo info;
    asyncio::detail::TaskBase* const task = task_of(entry);
    if (!task) {
        info.name = entry.label();
        return info;
    }
    info.task = task_of_entry(entry);
    info.name = task->name();
    info.place = shown(inspect::TaskInfo(*task).where());
    return info;
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

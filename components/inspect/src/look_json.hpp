// What the page is sent: one look, or as much of it as it asks for.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "watcher.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct LookQuery {
    std::string view = "tasks";  // "tree", "loops", "objects", "sockets", "stalls"; "all"
    std::string filter;
    std::string sort = "where";
    bool descending = false;
    bool grouped = false;
    std::size_t limit = 500;  // tasks
    std::optional<std::uint64_t> loop;
    std::string id;  // of one task
};

// Of what follows the question mark; what makes no sense is left out.
LookQuery read_query(std::string_view query);

std::string look_json(const Process& process, const State& state, const LookQuery& query);
// One task: its frames, numbers, who awaits it and whom it awaits; "found" is false if there is
// none with that id.
std::string task_json(const State& state, const LookQuery& query);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// A snapshot as people, and as programs, read it. All text comes from another process: control
// characters are shown and not sent to the terminal.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "asyncio/detail/config.hpp"
#include "inspect/snapshot.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct ShowOptions {
    bool all = false;    // frames of the library's own, too
    std::string filter;  // only tasks in which this occurs
    std::optional<std::uint64_t> loop;
    std::optional<std::unordered_set<Address>> only;  // only these tasks, by their ids
};

// A copy of `text` in which what is no printable UTF-8 stands as \xNN.
ASYNCIO_API std::string printable(std::string_view text);
// `text` as a string of JSON, with its quotes; what is no UTF-8 becomes U+FFFD.
ASYNCIO_API std::string json_string(std::string_view text);

// A line a task.
ASYNCIO_API void print_table(std::ostream& out, const Snapshot& snapshot,
                             const ShowOptions& options);
// Who awaits whom, from those that nobody awaits.
ASYNCIO_API void print_tree(std::ostream& out, const Snapshot& snapshot,
                            const ShowOptions& options);
// The frames of the tasks called `task`, by name or by id. False: there is none.
ASYNCIO_API bool print_stack(std::ostream& out, const Snapshot& snapshot, const std::string& task,
                             const ShowOptions& options);
// Everything, as one object; its members are described in docs/inspect.md.
ASYNCIO_API void print_json(std::ostream& out, const Snapshot& snapshot,
                            const ShowOptions& options);
// Figures of all loops, as OpenMetrics text; of tasks only Loop::states is needed.
ASYNCIO_API void print_metrics(std::ostream& out, const Snapshot& snapshot);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

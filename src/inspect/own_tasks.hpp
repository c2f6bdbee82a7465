// This process's own loops, read as a tool reads them from outside.
#pragma once

#include "inspect/snapshot.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// All loops and tasks. What a loop on another thread changes meanwhile may be wrong, and then it
// says so (`torn`). Raises: std::bad_alloc; Failure.
Snapshot own_snapshot();
// The loops, and of their tasks those that run just now, which is quick.
Snapshot own_running();
// The loops, and how many tasks are in each state.
Snapshot own_states();

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Tasks that nothing which can still run leads to.
#pragma once

#include <vector>

#include "find_block.hpp"
#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// The ids of tasks that wait for what no task that can still run, no timer, no other thread and
// nothing else in the process's memory refers to: a queue whose producers are gone, a lock whose
// holder waits for the same task.
//
// What refers to what is taken from memory as a garbage collector without the compiler's help does:
// each word that could be a pointer is one. So a task may be lost and not found, as long as some
// old word looks like a pointer to what it waits for; but what is told is lost.
std::vector<Address> find_lost(ProcessMemory& memory, const std::vector<Block>& blocks, int pid,
                               const Snapshot& snapshot);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

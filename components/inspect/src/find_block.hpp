// Where the library has put its table of offsets (asyncio/detail/debug_block.hpp).
#pragma once

#include <vector>

#include "inspect/reader.hpp"
#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// The blocks of all copies of the library in a process: a plug-in may have brought its own.
// Raises: Failure if there is none, or if one is of a library that this tool does not know.
std::vector<Block> find_blocks(ProcessMemory& memory);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

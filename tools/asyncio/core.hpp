// The memory in a core file.
#pragma once

#include <memory>
#include <string>

#include "taking.hpp"

namespace tool {

using namespace asyncio::detail::reading;

// What the file left out is read from the files that the process had mapped. Raises: Failure.
std::unique_ptr<ProcessMemory> core_memory(const std::string& path, const std::string& program);

// All tasks of the process that left it. Raises: Failure.
Snapshot take_core(const std::string& path, const std::string& program);

}  // namespace tool

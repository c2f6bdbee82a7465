// asyncio trace: each step of a process for a while, as a picture on a line of time.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

#include "taking.hpp"

namespace tool {

using namespace asyncio::detail::reading;

struct TraceOptions {
    double seconds = 5;  // for how long
    std::optional<std::uint64_t> loop;
};

// What was written.
struct Traced {
    std::uint64_t steps = 0;
    std::uint64_t lost = 0;  // came faster than they could be read
    std::string ended;       // why it ended early; empty: it did not
};

// Lets the process keep its steps meanwhile, and writes them as JSON of the Trace Event Format.
// `over()`: it is to end early. Raises: Failure.
Traced trace(std::ostream& out, Live& live, int pid, const TraceOptions& options,
             const std::function<bool()>& over);

}  // namespace tool

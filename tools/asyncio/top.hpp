// asyncio top: what the tasks of a process cost, while one looks.
#pragma once

#include <iosfwd>

#include "inspect/output.hpp"
#include "taking.hpp"

namespace tool {

using namespace asyncio::detail::reading;

struct TopOptions {
    double seconds = 1;       // between two looks
    std::uint64_t times = 0;  // how many looks; 0: for ever
    std::size_t rows = 20;    // tasks of a loop; with ShowOptions::all all of them
    bool clear = false;       // a terminal: each look in place of the one before
    bool json = false;        // one object a look
};

// Lets the process count its steps meanwhile. Returns whether all that was printed is right.
// Raises: Failure.
bool top(std::ostream& out, Live& live, const TakeOptions& take, const ShowOptions& show,
         const TopOptions& options);

}  // namespace tool

// asyncio console: a web page that shows a process, for as long as one looks.
#pragma once

#include <iosfwd>

#include "taking.hpp"

namespace tool {

// Prints the page's address and serves it until Ctrl-C; `port` 0: one that is free.
// Raises: Failure.
void console(std::ostream& out, int pid, const TakeOptions& take, int port);

}  // namespace tool

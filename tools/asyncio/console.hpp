// asyncio console: a web page that shows a process, for as long as one looks.
#pragma once

#include <iosfwd>
#include <string>

#include "taking.hpp"

namespace tool {

using namespace asyncio::detail::reading;

// Prints the page's address and serves it until Ctrl-C; `port` 0: one that is free.
// Raises: Failure.
void console(std::ostream& out, int pid, const TakeOptions& take, int port);
// The same of a program that serves at a socket.
void console(std::ostream& out, const std::string& socket, int port);

}  // namespace tool

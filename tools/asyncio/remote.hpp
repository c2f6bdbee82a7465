// A program that tells of itself: asyncio::inspect::serve.
#pragma once

#include <string>

#include "page_server.hpp"

namespace tool {

using namespace asyncio::detail::reading;

// What it answers to `target`, "pstree?filter=x"; `socket` is the path that it serves at. Nothing
// in it is to be trusted. `limit`: for how long nothing may come, s. Raises: Failure.
PageAnswer ask(const std::string& socket, const std::string& target, int limit = 60);

// "a b" -> "a%20b", to stand in a query.
std::string encode_query(const std::string& text);

}  // namespace tool

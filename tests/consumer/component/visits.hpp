// A component: counts who has come, for each loop.
#pragma once

#include <asyncio/component/services.hpp>

namespace visits {

// Counts a visit on the running loop; returns how many there were.
int come();
// How many loops that had visits have been closed.
int closed();

}  // namespace visits

// A component: counts who has come, for each loop.
#pragma once

#include <asyncio/component/services.hpp>
#include <asyncio/events.hpp>

namespace visits {

// Counts a visit on the running loop; returns how many there were.
int come();
// How many loops that had visits have been closed.
int closed();

// True if each of the other doors leads where it should. To be called while no loop runs.
bool doors(asyncio::EventLoop& loop);

}  // namespace visits

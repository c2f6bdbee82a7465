// Tasks that wait for one another in a circle: none of them can end, and no cancel could end them.
// A request to cancel that goes along awaits finds such a circle where it comes back to
// (cancel.cpp). It does not go through a TaskGroup that is being left, which asks its tasks itself,
// once: so one that came to such a group through others, and changes nothing there, is the moment
// to look for a circle through groups.
#pragma once

#include <vector>

#include "asyncio/detail/future_base.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Takes `task`, the last one of `circle`'s awaits, out of what it awaits: it gets an error there
// that names the circle. Does nothing if that has ended, or the task was taken out already.
// Raises: std::bad_alloc.
void take_out(TaskBase& task, const std::vector<const TaskBase*>& circle);

// Looks for circles by which `parent` waits for itself, and breaks each at the await that closes
// it. `parent` leaves a TaskGroup and waits for `members`. Takes time for each task that they wait
// for, and so on. Without memory nothing is found.
void break_circles(TaskBase& parent, const std::vector<FutureBase*>& members) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

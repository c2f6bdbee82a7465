// What happens to the library in a child of fork(2). PX-04.
#pragma once

namespace asyncio::inline v1::detail {

// How many forks lie between the first process and this one. What has noted another number belongs
// to a parent, with threads that are not here. The first call has all that follows prepared: the
// library's locks are free in a child, and what the parent's loops share with it is let go.
unsigned forks() noexcept;

// events.cpp: the list of all loops, held while the process forks; in the child each of them is
// left to the parent.
void lock_loops() noexcept;
void unlock_loops() noexcept;
void leave_loops_to_parent() noexcept;

// signals.cpp: the same for what is caught.
void lock_signals() noexcept;
void unlock_signals() noexcept;
void leave_signals_to_parent() noexcept;

}  // namespace asyncio::inline v1::detail

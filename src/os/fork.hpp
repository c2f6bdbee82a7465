// What happens to the library in a child of fork(2). PX-04.
#pragma once

#include <mutex>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// How many forks lie between the first process and this one. What has noted another number belongs
// to a parent, with threads that are not here. The first call has all that follows prepared: the
// library's locks are free in a child, and what the parent's loops share with it is let go.
ASYNCIO_API unsigned forks() noexcept;

// The lock of an object that several threads share and that a child goes on using: a channel, the
// sessions of a TLS context. One of a few of the process, so that a fork can hold them all; two
// objects may have the same one. Nobody takes another lock of the library, nor calls user's code,
// while it is held, but for what allocates.
ASYNCIO_API std::mutex& shared_mutex(const void* object) noexcept;

// events.cpp: the list of all loops, held while the process forks; in the child each of them is
// left to the parent.
void lock_loops() noexcept;
void unlock_loops() noexcept;
void leave_loops_to_parent() noexcept;

// signals.cpp: the same for what is caught.
void lock_signals() noexcept;
void unlock_signals() noexcept;
void leave_signals_to_parent() noexcept;

// threads.cpp: who waits for which pool, and where threads sleep until a future is done. In the
// child nobody waits any more.
void lock_threads() noexcept;
void unlock_threads() noexcept;
void leave_threads_to_parent() noexcept;

// slabs.cpp: blocks that threads share. The last to be locked: memory is taken under other locks.
void lock_blocks() noexcept;
void unlock_blocks() noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

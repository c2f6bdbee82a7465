// What is the process's, not a loop's: what happens in a child of fork(2), and locks that are free
// there. PX-04.
#pragma once

#include <cstddef>
#include <cstdint>
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

// Locks that are held while the process forks, in the order in which they are taken. Memory that
// threads share is locked last of all, since it is taken under the others.
enum class ForkRank : std::uint8_t {
    kComponents,  // what stands on the library, which may call it while it holds its lock
    kPools,       // who waits for which pool of threads
    kFutures,     // where threads sleep until a future is done
    kLoops,       // the list of all loops
    kSignals,     // what is caught
};
inline constexpr std::size_t kForkRanks = 5;

// What one module does when the process forks.
struct ForkGuard {
    // Takes the module's locks, before the fork.
    void (*lock)() noexcept;
    // Gives them back, in the parent and in the child.
    void (*unlock)() noexcept;
    // In the child, with the locks held: gives up what the child has a copy of. Neither locks nor
    // allocates.
    void (*leave_to_parent)() noexcept;
};
// To be called by what initializes a variable of the module: before there are threads. In the
// source that has the locks, since of an archive a program gets only the sources that it asks for.
// `guard` stays for good.
ASYNCIO_API bool guard_at_fork(ForkRank rank, const ForkGuard& guard) noexcept;

}  // namespace detail

namespace component {

using asyncio::detail::ForkGuard;
using asyncio::detail::ForkRank;
using asyncio::detail::forks;
using asyncio::detail::guard_at_fork;
using asyncio::detail::shared_mutex;

}  // namespace component
}  // namespace v1
}  // namespace asyncio

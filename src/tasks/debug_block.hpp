// Where the members lie that a tool reads from outside (asyncio/detail/debug_block.hpp). A room
// above tells of its own waits by constants that are declared here and defined there, in a file
// that holds nothing else: a program that is linked with the archive gets them all.
#pragma once

#include <cstddef>

#include "asyncio/detail/debug_block.hpp"
#include "asyncio/detail/waiter.hpp"

// offsetof() of a class with a base is conditionally supported: both compilers have it for what has
// no virtual base.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace asyncio {
inline namespace v1 {
namespace detail {

// An offset as the block holds it.
#define ASYNCIO_DEBUG_OFFSET(type, member) static_cast<std::uint16_t>(offsetof(type, member))

struct DebugWaits {
    // sync/debug_waits.cpp
    static const DebugWait lock, event, condition, semaphore, queue_get, queue_put, queue_join;
    // net/debug_waits.cpp
    static const DebugWait descriptor;
    // streams/debug_waits.cpp
    static const DebugWait stream_read, stream_drain, stream_closed;
};

// What a wait of this kind stands on.
const DebugWait& debug_wait(WaitKind kind) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

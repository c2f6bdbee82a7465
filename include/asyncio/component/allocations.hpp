// The blocks that coroutine frames, tasks and callbacks stand in: for tests that let one of them be
// refused. They come from lists of the thread, and from operator new only now and then, so that
// replacing that is not enough.
#pragma once

#include <cstddef>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// Asked before each block of `size` bytes. False: std::bad_alloc is raised in its place.
using AllocationHook = bool (*)(std::size_t size);

// `hook` is asked for each block of this thread from now on, which takes longer meanwhile; null:
// nobody is. Returns the one before.
ASYNCIO_API AllocationHook set_allocation_hook(AllocationHook hook) noexcept;

}  // namespace component
}  // namespace v1
}  // namespace asyncio

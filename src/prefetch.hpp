// Asks for memory that is needed soon, while a system call keeps the processor busy: with a
// thousand connections what belongs to each has left the nearest caches when its turn comes, and
// a message would wait for a chain of six or seven objects, one after the other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asyncio::inline v1::detail {

// The cache lines of `bytes` bytes from `offset` bytes behind `object` on. It is a hint: any
// address is allowed, also one of an object that is gone.
template <std::ptrdiff_t offset, std::ptrdiff_t bytes>
inline void prefetch(const void* object) noexcept {
    constexpr std::ptrdiff_t kLine = 64;
    // As a number: the address need not be one of an object.
    const std::uintptr_t first =
        reinterpret_cast<std::uintptr_t>(object) + static_cast<std::uintptr_t>(offset);
    for (std::ptrdiff_t i = 0; i < bytes; i += kLine) {
        __builtin_prefetch(reinterpret_cast<const void*>(first + static_cast<std::uintptr_t>(i)));
    }
}

}  // namespace asyncio::inline v1::detail

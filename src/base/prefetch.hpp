// Asks for memory that is needed soon, while a system call keeps the processor busy: with a
// thousand connections what belongs to each has left the nearest caches when its turn comes, and
// a message would wait for a chain of six or seven objects, one after the other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asyncio {
inline namespace v1 {
namespace detail {

// The cache lines of kBytes bytes from kOffset bytes behind `object` on. It is a hint: any
// address is allowed, also that of an object that is gone.
template <std::ptrdiff_t kOffset, std::ptrdiff_t kBytes>
inline void prefetch(const void* object) noexcept {
    constexpr std::ptrdiff_t kLine = 64;
    // Safe because it is only a number from here on: nothing needs to be at the address.
    const auto begin = reinterpret_cast<std::uintptr_t>(object);
    for (std::ptrdiff_t at = kOffset; at < kOffset + kBytes; at += kLine) {
        // Safe because a prefetch reads nothing and cannot fault.
        __builtin_prefetch(reinterpret_cast<const void*>(begin + static_cast<std::uintptr_t>(at)));
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

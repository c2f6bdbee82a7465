// A counter of the processor that goes on at an even pace: to look at it takes a few nanoseconds,
// where the system's clock takes dozens.
#pragma once

#include <cstdint>

#include "os/posix.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace asyncio {
inline namespace v1 {
namespace detail {

// Whether this processor has one, whose pace no power saving changes; else ticks are nanoseconds.
inline bool has_even_counter() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    // Intel's and AMD's manuals, CPUID 80000007H: EDX bit 8, "invariant TSC".
    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
#else
    return false;
#endif
}

inline std::uint64_t ticks(bool even_counter) noexcept {
#if defined(__x86_64__) || defined(__i386__)
    if (even_counter) return __rdtsc();
#else
    (void)even_counter;
#endif
    return static_cast<std::uint64_t>(monotonic_ns());
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

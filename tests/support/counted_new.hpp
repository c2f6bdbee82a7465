// Counts the blocks that a program takes from the system, for the tests that a thing costs none,
// and refuses one on request, for the tests that a thing gets over it. It replaces the global
// operator new: one source of a program includes it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "support.hpp"

namespace support {

// Blocks taken so far. Under the address sanitizer the frame pool is off and every frame counts;
// under the thread sanitizer it stays 0, so what compares two readings holds there of itself.
inline std::atomic<std::size_t> system_blocks{0};
// So many blocks are given, then one is refused; negative: all are given.
inline std::atomic<std::ptrdiff_t> blocks_left{-1};

inline bool refuse_block() noexcept {
    if (always_has_memory || blocks_left.load(std::memory_order_relaxed) < 0) return false;
    return blocks_left.fetch_sub(1, std::memory_order_relaxed) == 0;
}

}  // namespace support

// clang links its thread sanitizer's own operator new into the program, and two cannot be.
#if defined(__SANITIZE_THREAD__)
#define SUPPORT_OWN_NEW 0
#elif defined(__has_feature)
#define SUPPORT_OWN_NEW !__has_feature(thread_sanitizer)
#else
#define SUPPORT_OWN_NEW 1
#endif

#if SUPPORT_OWN_NEW
// Not inlined: g++ would then see a block of operator new given to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
    support::system_blocks.fetch_add(1, std::memory_order_relaxed);
    if (support::refuse_block()) throw std::bad_alloc();
    if (void* p = std::malloc(size ? size : 1)) return p;
    throw std::bad_alloc();
}
// The address sanitizer has one of its own in place of the standard library's, which calls the
// above.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    support::system_blocks.fetch_add(1, std::memory_order_relaxed);
    return support::refuse_block() ? nullptr : std::malloc(size ? size : 1);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

// Lets fail_allocations() refuse the blocks of operator new, too: include it in one source of a
// test program, which then has this operator new in place of the standard library's.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "asyncio/testing.hpp"

// Not inlined: g++ would then see a block of operator new given to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (!asyncio::testing::may_allocate(size)) throw std::bad_alloc();
    if (void* p = std::malloc(size ? size : 1)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return asyncio::testing::may_allocate(size) ? std::malloc(size ? size : 1) : nullptr;
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

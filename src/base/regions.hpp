// Memory that the system gives in large pieces. It is the system's own affair, so that
// os/regions.cpp defines it.
#pragma once

#include <cstddef>

namespace asyncio {
inline namespace v1 {
namespace detail {

// `size` bytes at a multiple of `size`, which is a power of two. Raises: std::bad_alloc.
char* map_region(std::size_t size);
void unmap_region(void* region, std::size_t size) noexcept;
// By pages as large as the system has, if it can.
void use_huge_pages(void* region, std::size_t size) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

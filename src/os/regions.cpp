// mmap(2), munmap(2), madvise(2).
#include "base/regions.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Maps twice as much and gives back what is not aligned.
char* map_region(std::size_t size) {
    void* mapped = ::mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    auto* begin = static_cast<char*>(mapped);
    // Safe because only the distance to the next multiple is computed from the number.
    const std::size_t before =
        (size - (reinterpret_cast<std::uintptr_t>(begin) & (size - 1))) & (size - 1);
    if (before > 0) ::munmap(begin, before);
    ::munmap(begin + before + size, size - before);
    return begin + before;
}

void unmap_region(void* region, std::size_t size) noexcept { ::munmap(region, size); }

void use_huge_pages(void* region, std::size_t size) noexcept {
    ::madvise(region, size, MADV_HUGEPAGE);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

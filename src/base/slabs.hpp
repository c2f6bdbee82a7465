// Where the pool gets its slabs: pieces of 64 KiB, aligned to their size, cut from regions of 2
// MiB.
//
// Not from aligned_alloc: that spends a page a slab on malloc's own header, and its pages are
// small. Regions after the first few ask the kernel for huge pages (madvise(2)), since a program
// that has so many tasks will touch them all: a million tasks then cost a hundred page faults, not
// fifty thousand. A region whose slabs are all back goes back to the kernel.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace asyncio {
inline namespace v1 {
namespace detail {

inline constexpr std::size_t kSlabSize = 64 * 1024;

// What stands at the start of each slab; the rest is the pool's.
struct alignas(64) Slab {
    // For tools, which know by it that an address lies in a slab.
    static constexpr std::uint64_t kMark = 0x62616c732e6f6961;  // "aio.slab"
    std::uint64_t mark = kMark;
    std::atomic<std::uint32_t> outstanding{0};  // blocks that are not back yet
    std::uint32_t block_size = 0;               // 0: it has no blocks

    // Of the whole region; used in its first slab only.
    std::uint32_t free = 0;  // a bit for each slab
    Slab* previous = nullptr;
    Slab* following = nullptr;
};

// One lock for all that threads share of the pool; a child of fork(2) finds it open.
std::mutex& pool_mutex() noexcept;
// While the process forks. The last to be locked: memory is taken under other locks.
void lock_blocks() noexcept;
void unlock_blocks() noexcept;

// Raises: std::bad_alloc.
Slab* take_slab();
void give_slab(Slab* slab) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

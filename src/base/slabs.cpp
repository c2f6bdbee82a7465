#include "base/slabs.hpp"

#include <bit>
#include <new>

#include "base/regions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr std::size_t kRegionSize = 2 * 1024 * 1024;
constexpr std::uint32_t kAllFree = 0xffffffff;
static_assert(kRegionSize / kSlabSize == 32);
constexpr std::size_t kSmallRegions = 8;  // made of small pages: the next adds an eighth at most

std::size_t regions = 0;
Slab* with_room = nullptr;  // a list of regions

void list(Slab* region) noexcept {
    region->previous = nullptr;
    region->following = with_room;
    if (with_room) with_room->previous = region;
    with_room = region;
}

void unlist(Slab* region) noexcept {
    (region->previous ? region->previous->following : with_room) = region->following;
    if (region->following) region->following->previous = region->previous;
}

Slab* make_region() {
    char* memory = map_region(kRegionSize);
    if (++regions > kSmallRegions) use_huge_pages(memory, kRegionSize);
    auto* region = new (memory) Slab;
    region->free = kAllFree;
    list(region);
    return region;
}

}  // namespace

std::mutex& pool_mutex() noexcept {
    static constinit std::mutex mutex;
    return mutex;
}

void lock_blocks() noexcept { pool_mutex().lock(); }
void unlock_blocks() noexcept { pool_mutex().unlock(); }

Slab* take_slab() {
    const std::lock_guard lock(pool_mutex());
    Slab* region = with_room ? with_room : make_region();
    const int i = std::countr_zero(region->free);
    region->free &= region->free - 1;
    if (region->free == 0) unlist(region);
    if (i == 0) return region;
    // Safe because the region is that long, and nobody else has this piece of it.
    return new (reinterpret_cast<char*>(region) + static_cast<std::size_t>(i) * kSlabSize) Slab;
}

void give_slab(Slab* slab) noexcept {
    const std::lock_guard lock(pool_mutex());
    // Safe because regions are aligned to their size and begin with a slab, which lives as long as
    // the region does, taken or free.
    const auto address = reinterpret_cast<std::uintptr_t>(slab);
    auto* region = reinterpret_cast<Slab*>(address & ~(kRegionSize - 1));
    if (region->free == 0) list(region);
    slab->block_size = 0;
    region->free |= 1u << ((address - reinterpret_cast<std::uintptr_t>(region)) / kSlabSize);
    if (region->free != kAllFree) return;
    unlist(region);
    --regions;
    unmap_region(region, kRegionSize);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The pool behind coroutine frames and task states.
//
// Why not malloc: a task is two blocks, made and freed a million times a second; malloc's header
// costs 8 bytes each and its fast path is about ten times as long as a free list's. How: each
// thread keeps free lists by size class. A list that is empty carves blocks from a slab (64 KiB,
// aligned to its size, slabs.hpp); a slab knows only how many of its blocks have not come back. A
// block that a full list refuses, and every block of a list that is released, goes back to its
// slab, which is freed with its last block, by whichever thread brings it: blocks stand alone. What
// would change this: many size classes that are used once each keep a slab apiece; measure resident
// memory then, not time.
//
// Blocks that always go one way, made by one thread and freed by another (callbacks that are posted
// to a loop), would make the one carve for ever and the other hoard. So those are handed back in
// batches, through depots that all threads share.
//
// Between threads a block is passed on by what its user does, or under the depots' mutex. A slab's
// count is the one thing that they change without it: each decrement releases what its thread did
// to its blocks, and the last one acquires all of them before the slab is given away. A depot is
// looked at without the mutex only to skip an empty one.
//
// Under the sanitizers every block comes from malloc, so that they see each one's life: `room`
// stays 0 and the inline fast paths of user code, which knows nothing of this, never keep a block.
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include "asyncio/component/allocations.hpp"
#include "asyncio/detail/thread_state.hpp"
#include "base/slabs.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

constinit thread_local ThreadState thread_state{};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ASYNCIO_POOL_OFF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define ASYNCIO_POOL_OFF 1
#endif
#endif

namespace {

constinit thread_local component::AllocationHook allocation_hook = nullptr;

void ask_hook(std::size_t size) {
    if (allocation_hook && !allocation_hook(size)) throw std::bad_alloc();
}

}  // namespace

#ifdef ASYNCIO_POOL_OFF

void* allocate_slow(std::size_t size) {
    ask_hook(size);
    return ::operator new(size);
}
void deallocate_slow(void* block, std::size_t) noexcept { ::operator delete(block); }
void hand_back(void* block, std::size_t) noexcept { ::operator delete(block); }
void release_free_blocks() noexcept {}

#else

namespace {

struct Cursor {
    char* next = nullptr;
    char* end = nullptr;
};

// A batch in the making.
struct Partial {
    FreeBlock* first = nullptr;
    std::uint32_t count = 0;
};

}  // namespace

// What a thread's lists are filled from. Not thread-local itself: a library that is loaded while
// the program runs gets little room there.
struct ThreadPool {
    Cursor cursors[kBlockClasses];
    Partial partials[kBlockClasses];
    bool started = false;  // this thread makes blocks, and not only hands them back
};

namespace {

constexpr std::int32_t kRoom = 32 * 1024 * 1024 / kBlockUnit;  // a thread keeps at most 32 MiB

void return_to_slab(void* block, std::uint32_t count) noexcept {
    // Safe because slabs are aligned to their size.
    const auto address = reinterpret_cast<std::uintptr_t>(block) & ~(kSlabSize - 1);
    auto* slab = reinterpret_cast<Slab*>(address);
    // Release: what this thread wrote into the block happens before the free, wherever that is.
    if (slab->outstanding.fetch_sub(count, std::memory_order_acq_rel) == count) give_slab(slab);
}

// Returns a chain of blocks.
void return_chain(FreeBlock* block) noexcept {
    while (block) {
        FreeBlock* next = block->next;
        return_to_slab(block, 1);
        block = next;
    }
}

constexpr std::uint32_t kBatch = 64;  // blocks that go through a depot together
constexpr std::int64_t kDepotRoom = 32 * 1024 * 1024;

// The first block of a batch.
struct Batch : FreeBlock {
    Batch* below;
};
static_assert(sizeof(Batch) <= kBlockUnit);

// What all depots may still take, bytes.
std::atomic<std::int64_t> depot_room{kDepotRoom};

// Batches of one size class, a stack.
class Depot {
  public:
    // A batch, or null.
    Batch* take(std::size_t bytes) noexcept {
        if (top_.load(std::memory_order_relaxed) == nullptr) return nullptr;
        const std::lock_guard lock(pool_mutex());
        Batch* batch = top_.load(std::memory_order_relaxed);
        if (!batch) return nullptr;
        top_.store(batch->below, std::memory_order_relaxed);
        depot_room.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
        return batch;
    }
    // False if the depots are full.
    bool put(Batch* batch, std::size_t bytes) noexcept {
        const auto size = static_cast<std::int64_t>(bytes);
        if (depot_room.fetch_sub(size, std::memory_order_relaxed) < size) {
            depot_room.fetch_add(size, std::memory_order_relaxed);
            return false;
        }
        const std::lock_guard lock(pool_mutex());
        batch->below = top_.load(std::memory_order_relaxed);
        top_.store(batch, std::memory_order_relaxed);
        return true;
    }

  private:
    std::atomic<Batch*> top_{nullptr};
};

constinit Depot depots[kBlockClasses];

// Gives the pool up as its thread ends.
struct PoolEnd {
    ~PoolEnd() {
        release_free_blocks();
        ThreadState& t = thread_state;
        t.pool_over = true;
        t.room = 0;  // blocks freed by later thread-local destructors go to their slabs
        delete std::exchange(t.pool, nullptr);
    }
    // A thread-local object is made when it is first used.
    void use() const noexcept {}
};

thread_local const PoolEnd pool_end;

void carve(Cursor& cursor, std::size_t bytes) {
    Slab* slab = take_slab();
    const std::size_t blocks = (kSlabSize - sizeof(Slab)) / bytes;
    slab->outstanding.store(static_cast<std::uint32_t>(blocks), std::memory_order_relaxed);
    slab->block_size = static_cast<std::uint32_t>(bytes);
    // Safe because the slab's memory follows its head.
    cursor.next = reinterpret_cast<char*>(slab + 1);
    cursor.end = cursor.next + blocks * bytes;
}

// This thread's pool is gone: a slab of one use, which its only block frees.
void* allocate_single(std::size_t bytes) {
    Cursor cursor;
    carve(cursor, bytes);
    char* block = cursor.next;
    const auto rest = static_cast<std::size_t>(cursor.end - block) / bytes - 1;
    if (rest > 0) return_to_slab(block, static_cast<std::uint32_t>(rest));
    return block;
}

// Null if there is no memory, or the thread ends.
[[gnu::cold, gnu::noinline]] ThreadPool* make_pool(ThreadState& t) noexcept {
    if (t.pool_over) return nullptr;
    t.pool = new (std::nothrow) ThreadPool;
    if (t.pool) pool_end.use();
    return t.pool;
}

}  // namespace

void* allocate_slow(std::size_t size) {
    ask_hook(size);
    const std::size_t units = (size + kBlockUnit - 1) / kBlockUnit;
    if (units >= kBlockClasses) return ::operator new(size);
    ThreadState& t = thread_state;
    if (!t.pool && !make_pool(t)) return allocate_single(units * kBlockUnit);
    Cursor& cursor = t.pool->cursors[units];
    if (cursor.next == cursor.end) {
        if (!t.pool->started) {
            t.pool->started = true;
            if (!allocation_hook) t.room = kRoom;
        }
        // A batch would go to the lists, whose blocks nobody asks for.
        if (Batch* batch =
                allocation_hook ? nullptr : depots[units].take(kBatch * units * kBlockUnit)) {
            t.free[units] = batch->next;
            t.room -= static_cast<std::int32_t>((kBatch - 1) * units);
            return batch;
        }
        carve(cursor, units * kBlockUnit);
    }
    char* block = cursor.next;
    cursor.next += units * kBlockUnit;
    return block;
}

void deallocate_slow(void* block, std::size_t size) noexcept {
    const std::size_t units = (size + kBlockUnit - 1) / kBlockUnit;
    if (units >= kBlockClasses) {
        ::operator delete(block);
        return;
    }
    return_to_slab(block, 1);
}

void hand_back(void* block, std::size_t size) noexcept {
    const std::size_t units = (size + kBlockUnit - 1) / kBlockUnit;
    ThreadState& t = thread_state;
    if (units >= kBlockClasses || (!t.pool && !make_pool(t))) return deallocate_slow(block, size);
    Partial& partial = t.pool->partials[units];
    auto* freed = static_cast<Batch*>(block);
    freed->next = partial.first;
    partial.first = freed;
    if (++partial.count < kBatch) return;
    partial = Partial();
    if (!depots[units].put(freed, kBatch * units * kBlockUnit)) return_chain(freed);
}

void release_free_blocks() noexcept {
    ThreadState& t = thread_state;
    ThreadPool nothing;
    ThreadPool& pool = t.pool ? *t.pool : nothing;
    for (std::size_t units = 1; units < kBlockClasses; ++units) {
        return_chain(std::exchange(pool.partials[units], Partial()).first);
        while (Batch* batch = depots[units].take(kBatch * units * kBlockUnit)) return_chain(batch);
        while (FreeBlock* block = t.free[units]) {
            t.free[units] = block->next;
            t.room += static_cast<std::int32_t>(units);
            return_to_slab(block, 1);
        }
        Cursor& cursor = pool.cursors[units];
        const auto uncarved =
            static_cast<std::size_t>(cursor.end - cursor.next) / (units * kBlockUnit);
        if (uncarved > 0) return_to_slab(cursor.next, static_cast<std::uint32_t>(uncarved));
        cursor = Cursor{};
    }
}

#endif

}  // namespace detail

namespace component {

AllocationHook set_allocation_hook(AllocationHook hook) noexcept {
    const AllocationHook before = std::exchange(asyncio::detail::allocation_hook, hook);
#ifndef ASYNCIO_POOL_OFF
    // While somebody is asked the lists are empty, and stay so: each block is taken the slow way.
    asyncio::detail::ThreadState& t = asyncio::detail::thread_state;
    if (hook) {
        asyncio::detail::release_free_blocks();
        t.room = 0;
    } else if (before && t.pool && t.pool->started) {
        t.room = asyncio::detail::kRoom;
    }
#endif
    return before;
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

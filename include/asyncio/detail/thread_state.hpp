// What one thread knows while it runs a loop: the current task, the trampoline's next frame, and
// the free lists of small blocks. One thread-local object, so that a step finds all of it in one
// place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

struct LoopCore;
class Node;
class TaskBase;
class PromiseBase;
struct ContextSlot;
struct ThreadPool;

inline constexpr std::size_t kBlockUnit = 16;     // granularity of the free lists, bytes
inline constexpr std::size_t kBlockClasses = 65;  // blocks of up to 64 units (1 KiB) are pooled

struct FreeBlock {
    FreeBlock* next;
};

struct ThreadState {
    LoopCore* loop;         // the loop that runs on this thread; null outside of one
    TaskBase* task;         // the task whose step runs; null in plain callbacks
    PromiseBase* next;      // trampoline: the frame to resume when this one returns
    const void* destroyed;  // frame whose owner must not destroy it again (see destroy_chain)
    ContextSlot* context;   // the current context; null: the thread's own
    std::uint32_t depth;    // coroutine calls nested on the machine stack
    std::int32_t room;      // how many more units the free lists may hold
    std::uint32_t eager;    // eager first steps nested on the machine stack
    void* generator;        // reserved for generators (the one being driven)
    Node* doomed;           // futures to destroy once those nested on the machine stack are gone
    std::uint32_t dying;    // futures whose destructors are nested on the machine stack
    FreeBlock* free[kBlockClasses];
    ThreadPool* pool;  // where the free lists get their blocks; null before the first one
    bool pool_over;    // the thread ends: its lists take no blocks any more
    std::int32_t id;   // gettid(2), once it has run a loop
};

// Safe because a task never leaves its thread: an address of this object that the compiler keeps
// over a suspension stays right.
//
// No TLS model is asked for: the compiler takes the direct one in programs, and in shared objects
// the one that may be loaded while a program runs. initial-exec there would spend the little static
// TLS that the system keeps for such objects (a plug-in would not load).
extern constinit ASYNCIO_API thread_local ThreadState thread_state;

// Blocks for coroutine frames and task states. A block stands alone: it may be freed on another
// thread than the one that made it. Alignment is that of operator new (16).
// Raises: std::bad_alloc.
ASYNCIO_API void* allocate_slow(std::size_t size);
ASYNCIO_API void deallocate_slow(void* block, std::size_t size) noexcept;

// One of the free ones; null if there is none.
inline void* take_free_block(std::size_t size) noexcept {
    const std::size_t units = (size + kBlockUnit - 1) / kBlockUnit;
    if (units >= kBlockClasses) return nullptr;
    ThreadState& t = thread_state;
    FreeBlock* const block = t.free[units];
    if (!block) return nullptr;
    t.free[units] = block->next;
    t.room += static_cast<std::int32_t>(units);
    return block;
}
// Puts one of so many units among the free ones of `t`, this thread's; false if they are enough.
inline bool keep_block(ThreadState& t, void* p, std::size_t units) noexcept {
    if (t.room < static_cast<std::int32_t>(units)) return false;
    auto* block = static_cast<FreeBlock*>(p);
    block->next = t.free[units];
    t.free[units] = block;
    t.room -= static_cast<std::int32_t>(units);
    return true;
}

inline void* allocate(std::size_t size) {
    if (void* block = take_free_block(size)) return block;
    return allocate_slow(size);
}

inline void deallocate(void* p, std::size_t size) noexcept {
    const std::size_t units = (size + kBlockUnit - 1) / kBlockUnit;
    if (units < kBlockClasses && keep_block(thread_state, p, units)) return;
    deallocate_slow(p, size);
}

// Frees a block that another thread has made and will want again: it goes to threads that make such
// blocks, not to the list of this one.
ASYNCIO_API void hand_back(void* block, std::size_t size) noexcept;

// Gives what this thread's free lists hold back to the system (a loop does so when it closes).
ASYNCIO_API void release_free_blocks() noexcept;

// Base of everything that is allocated from the pool.
struct Pooled {
    static void* operator new(std::size_t size) { return allocate(size); }
    static void operator delete(void* p, std::size_t size) noexcept { deallocate(p, size); }
    // Of classes that are aligned to more than blocks are.
    static void* operator new(std::size_t size, std::align_val_t alignment) {
        return ::operator new(size, alignment);
    }
    static void operator delete(void* p, std::size_t size, std::align_val_t alignment) noexcept {
        ::operator delete(p, size, alignment);
    }
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

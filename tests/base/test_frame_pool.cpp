// The pool of frames and states (detail/thread_state.hpp, src/base/frame_pool.cpp).
#include <asyncio/detail/thread_state.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using detail::allocate;
using detail::deallocate;

TEST(FramePool, BlocksAreAlignedAndDoNotOverlap) {
    std::vector<std::pair<void*, std::size_t>> blocks;
    for (std::size_t size = 1; size <= 3000; size += 37) {
        void* p = allocate(size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 16, 0u);
        std::memset(p, static_cast<int>(size & 0xff), size);
        blocks.emplace_back(p, size);
    }
    for (const auto& [p, size] : blocks) {
        const auto* bytes = static_cast<const unsigned char*>(p);
        for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(bytes[i], size & 0xff);
        deallocate(p, size);
    }
}

TEST(FramePool, BlocksMayBeFreedOnAnotherThread) {
    std::vector<void*> blocks;
    for (int i = 0; i < 10'000; ++i) blocks.push_back(allocate(100));
    std::thread other([&] {
        for (void* p : blocks) deallocate(p, 100);
        // What this thread's lists hold goes back when it ends.
    });
    other.join();
    std::thread maker([&] {
        for (void*& p : blocks) p = allocate(200);
    });
    maker.join();
    for (void* p : blocks) deallocate(p, 200);
    detail::release_free_blocks();
}

TEST(FramePool, BlocksThatAreHandedBackServeThreadsThatMakeThem) {
    constexpr int kRounds = 50;
    constexpr std::size_t kBlocks = 1'000;
    std::set<void*> all;
    for (int round = 0; round < kRounds; ++round) {
        std::vector<void*> blocks(kBlocks);
        std::thread maker([&] {
            for (void*& p : blocks) p = allocate(176);
        });
        maker.join();
        EXPECT_EQ(std::set<void*>(blocks.begin(), blocks.end()).size(), kBlocks);
        for (void* p : blocks) detail::hand_back(p, 176);
        all.insert(blocks.begin(), blocks.end());
    }
    detail::release_free_blocks();
    // Under the sanitizers there is no pool, and malloc chooses.
    if (detail::thread_state.room > 0) {
        EXPECT_LT(all.size(), kRounds * kBlocks / 4);
    }
}

TEST(FramePool, ReleasedListsAreEmptyAndServeAgain) {
    std::vector<void*> blocks;
    for (int i = 0; i < 1'000; ++i) blocks.push_back(allocate(64));
    for (void* p : blocks) deallocate(p, 64);
    detail::release_free_blocks();
    for (const detail::FreeBlock* list : detail::thread_state.free) EXPECT_EQ(list, nullptr);
    void* p = allocate(64);
    deallocate(p, 64);
}

TEST(FramePool, AThreadThatOnlyFreesKeepsABoundedNumber) {
    // A producer's blocks that a consumer frees: the consumer's lists must not grow without end.
    for (int round = 0; round < 20; ++round) {
        std::vector<void*> blocks;
        std::thread producer([&] {
            for (int i = 0; i < 20'000; ++i) blocks.push_back(allocate(512));
        });
        producer.join();
        for (void* p : blocks) deallocate(p, 512);
    }
    EXPECT_GE(detail::thread_state.room, 0);
    detail::release_free_blocks();
}

Coroutine<int> child(int i) {
    co_await sleep(std::chrono::seconds(0));
    co_return i;
}

TEST(FramePool, AClosedLoopGivesItsMemoryBack) {
    support::run_virtual([]() -> Coroutine<> {
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 1'000; ++i) tasks.push_back(create_task(child(i)));
        for (auto& t : tasks) co_await t;
    });
    detail::release_free_blocks();
    for (const detail::FreeBlock* list : detail::thread_state.free) EXPECT_EQ(list, nullptr);
}

}  // namespace

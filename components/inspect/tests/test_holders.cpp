// Who holds a lock, as far as one has watched.
#include <gtest/gtest.h>
#include <asyncio/inspect_server.hpp>

#include <string>
#include <utility>
#include <vector>

#include "../src/holders.hpp"

namespace {

using namespace asyncio::detail::reading;

constexpr Address kLock = 0x1000;

struct Of {
    Address id;
    const char* name;
    Address lock;  // that it waits for; 0: none
    bool cancelling = false;
};

Snapshot with(const std::vector<Of>& tasks) {
    Snapshot snapshot;
    Loop& loop = snapshot.loops.emplace_back();
    for (const Of& of : tasks) {
        Task& task = loop.tasks.emplace_back();
        task.id = of.id;
        task.name = of.name;
        task.cancelling = of.cancelling;
        if (of.lock == 0) continue;
        task.kind = "Lock.acquire";
        task.object = of.lock;
    }
    return snapshot;
}

std::string holder(const LockHolders& all) {
    const auto found = all.find(kLock);
    return found == all.end() ? "" : found->second.name;
}

TEST(Holders, WhoWaitedAndWaitsNoMoreHoldsTheLock) {
    HolderWatch watch;
    EXPECT_EQ(holder(watch.see(with({{1, "a", kLock}, {2, "b", kLock}, {3, "c", kLock}}), 10)), "");
    const auto seen = watch.see(with({{1, "a", 0}, {2, "b", kLock}, {3, "c", kLock}}), 11);
    EXPECT_EQ(holder(seen), "a");
    EXPECT_EQ(seen.at(kLock).since, 11);
    // It stays so until the next one gets it.
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0}, {2, "b", kLock}, {3, "c", kLock}}), 12)), "a");
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0}, {2, "b", 0}, {3, "c", kLock}}), 13)), "b");
    // Nobody waits any more: then it is not known whether it is held at all.
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0}, {2, "b", 0}, {3, "c", 0}}), 14)), "");
}

TEST(Holders, OfSeveralThatLeftItIsNotKnownWhoWasTheLast) {
    HolderWatch watch;
    watch.see(with({{1, "a", kLock}, {2, "b", kLock}, {3, "c", kLock}}), 10);
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0}, {2, "b", 0}, {3, "c", kLock}}), 11)), "");
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0}, {2, "b", 0}, {3, "c", kLock}}), 12)), "");
}

TEST(Holders, WhoHasEndedOrIsCancelledHoldsNothing) {
    HolderWatch watch;
    watch.see(with({{1, "a", kLock}, {2, "b", kLock}}), 10);
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0, true}, {2, "b", kLock}}), 11)), "");
    watch.forget();
    watch.see(with({{1, "a", kLock}, {2, "b", kLock}}), 12);
    EXPECT_EQ(holder(watch.see(with({{2, "b", kLock}}), 13)), "");
    // Another task at the same address.
    watch.forget();
    watch.see(with({{1, "a", kLock}, {2, "b", kLock}}), 14);
    EXPECT_EQ(holder(watch.see(with({{1, "new", 0}, {2, "b", kLock}}), 15)), "");
}

TEST(Holders, AHolderThatEndsIsForgotten) {
    HolderWatch watch;
    watch.see(with({{1, "a", kLock}, {2, "b", kLock}, {3, "c", kLock}}), 10);
    EXPECT_EQ(holder(watch.see(with({{1, "a", 0}, {2, "b", kLock}, {3, "c", kLock}}), 11)), "a");
    EXPECT_EQ(holder(watch.see(with({{2, "b", kLock}, {3, "c", kLock}}), 12)), "");
}

}  // namespace

#include "loop/look_around.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

namespace {

using asyncio::detail::LookAround;

constexpr std::int64_t kShort = LookAround::kShort - 1;

// As on a machine with one processor looking never pays, the rest has nothing to show there.
bool one_processor() { return std::thread::hardware_concurrency() < 2; }

bool look_in_vain(LookAround& l) {
    std::int64_t time = 0;
    return l.look([] { return false; }, [&] { return time += 1000; }, 5000);
}

TEST(LookAround, DoesNotPayAtFirst) { EXPECT_FALSE(LookAround().pays()); }

TEST(LookAround, PaysOnceASleepWasShort) {
    if (one_processor()) GTEST_SKIP() << "needs two processors";
    LookAround l;
    l.slept(kShort);
    EXPECT_TRUE(l.pays());
}

TEST(LookAround, DoesNotPayAfterALongSleep) {
    LookAround l;
    l.slept(LookAround::kShort);
    EXPECT_FALSE(l.pays());
    l.slept(kShort);
    l.slept(LookAround::kShort);
    EXPECT_FALSE(l.pays());
}

TEST(LookAround, SaysWhetherItFoundSomething) {
    LookAround l;
    int looks = 0;
    EXPECT_TRUE(l.look([&] { return ++looks == 100; }, [] { return std::int64_t{0}; }, 1));
    EXPECT_EQ(looks, 100);
    EXPECT_FALSE(look_in_vain(l));
}

TEST(LookAround, VainLooksEndIt) {
    LookAround l;
    for (int i = 0; i < 1000; ++i) l.slept(kShort);
    int looks = 0;
    while (l.pays() && looks < 1000) {
        look_in_vain(l);
        ++looks;
    }
    EXPECT_LE(looks, 8) << "however often it has paid before";
}

TEST(LookAround, StopsAtItsTime) {
    LookAround l;
    std::int64_t time = 0;
    EXPECT_FALSE(l.look([] { return false; }, [&] { return time += 1000; }, 5000));
    EXPECT_EQ(time, 5000);
}

}  // namespace

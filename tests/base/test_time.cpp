// time.hpp: what a delay and a deadline accept (api rule 4; T-14, SC-03, SC-04, B-29).
#include <asyncio/exceptions.hpp>
#include <asyncio/time.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <ratio>
#include <sstream>
#include <type_traits>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

static_assert(std::is_trivially_copyable_v<Delay>);
static_assert(std::is_trivially_copyable_v<Deadline>);

TEST(Delay, TakesEveryDuration) {
    EXPECT_EQ(Delay(1s).count(), 1'000'000'000);
    EXPECT_EQ(Delay(1.5s).count(), 1'500'000'000);
    EXPECT_EQ(Delay(3ms).count(), 3'000'000);
    EXPECT_EQ(Delay(7ns).count(), 7);
    EXPECT_EQ(Delay(2h).count(), 7'200'000'000'000);
    EXPECT_FALSE(Delay(1s).is_none());
}

TEST(Delay, IsRoundedUpSoThatATimerIsNeverEarly) {
    EXPECT_EQ(Delay(std::chrono::duration<double>(1e-10)).count(), 1);
    using Picoseconds = std::chrono::duration<std::int64_t, std::pico>;
    EXPECT_EQ(Delay(Picoseconds(1)).count(), 1);
    EXPECT_EQ(Delay(Picoseconds(1'001)).count(), 2);
}

TEST(Delay, OfAFractionIsWhatWasWritten) {
    EXPECT_EQ(Delay(0.1s).count(), 100'000'000) << "no double is exactly 0.1";
    EXPECT_EQ(Delay(0.3s).count(), 300'000'000);
    EXPECT_EQ(Delay(1e9 * 0.1ns).count(), 100'000'000);
    EXPECT_EQ(Delay(std::chrono::duration<float>(0.5f)).count(), 500'000'000);
    EXPECT_NEAR(Delay(std::chrono::duration<float>(0.1f)).count(), 100'000'000, 2);
    EXPECT_EQ(Delay(std::chrono::duration<long double>(0.7L)).count(), 700'000'000);
    EXPECT_EQ(Delay(0.1s).count(), Delay(100ms).count()) << "so equal delays are equal deadlines";
    EXPECT_EQ(Delay(86400.000000001s).count(), 86'400'000'000'001);
    EXPECT_EQ(Delay(std::chrono::duration<double, std::ratio<3600>>(0.5)).count(),
              1'800'000'000'000);
    EXPECT_EQ(Deadline(TimePoint(1s) + 0.1s).count(), 1'100'000'000);
}

TEST(Delay, TakesUnitsOfEveryRatio) {
    using Halves = std::chrono::duration<std::int64_t, std::ratio<3, 2'000'000'000>>;  // 1.5 ns
    EXPECT_EQ(Delay(Halves(2)).count(), 3);
    EXPECT_EQ(Delay(Halves(1)).count(), 2);
    EXPECT_EQ(Delay(Halves(-1)).count(), -1);
    using Thirds = std::chrono::duration<int, std::ratio<1, 3>>;
    EXPECT_EQ(Delay(Thirds(3)).count(), 1'000'000'000);
    EXPECT_EQ(Delay(Thirds(1)).count(), 333'333'334);
    using Picoseconds = std::chrono::duration<std::int64_t, std::pico>;
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(Delay(Picoseconds(i * 1000)).count(), i);
}

TEST(Delay, TakesUnsignedAndSmallCounts) {
    using Unsigned = std::chrono::duration<std::uint64_t>;
    EXPECT_EQ(Delay(Unsigned(7)).count(), 7'000'000'000);
    EXPECT_EQ(Delay(Unsigned(~std::uint64_t{0})).count(), std::numeric_limits<std::int64_t>::max());
    using UnsignedNs = std::chrono::duration<std::uint64_t, std::nano>;
    EXPECT_EQ(Delay(UnsignedNs(~std::uint64_t{0})).count(),
              std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(Delay(std::chrono::duration<std::int8_t>(std::int8_t{-3})).count(), -3'000'000'000);
    EXPECT_EQ(
        Delay(std::chrono::duration<std::uint8_t, std::ratio<3600>>(std::uint8_t{200})).count(),
        720'000'000'000'000);
}

TEST(Delay, IsMadeAtCompileTimeFromWholeUnits) {
    static_assert(Delay(5ms).count() == 5'000'000);
    static_assert(Delay(std::nullopt).is_none());
    static_assert(Deadline(TimePoint(2s)).count() == 2'000'000'000);
    SUCCEED();
}

TEST(Delay, OfNothingIsNone) {
    EXPECT_TRUE(Delay(std::nullopt).is_none());
    EXPECT_EQ(Delay(std::nullopt).count(), std::numeric_limits<std::int64_t>::max());
}

TEST(Delay, TellsItsValue) {
    EXPECT_EQ(Delay(1500ms).repr(), "1.5");
    EXPECT_EQ(Delay(-1s).repr(), "-1.0");
    EXPECT_EQ(Delay(std::nullopt).repr(), "None");
    std::ostringstream out;
    out << Delay(1ms);
    EXPECT_EQ(out.str(), "0.001");
    EXPECT_EQ(Delay(1s), Delay(1000ms));
    EXPECT_EQ(Delay(1s), 1s);
    EXPECT_NE(Delay(1s), Delay(std::nullopt));
    EXPECT_NE(Delay(std::chrono::hours::max()), Delay(std::nullopt));
}

TEST(Delay, ThatIsHugeOrInfiniteIsNeverAndNotThePast) {
    const auto never = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(Delay(std::chrono::hours::max()).count(), never);
    const std::chrono::duration<double> infinite(std::numeric_limits<double>::infinity());
    EXPECT_EQ(Delay(infinite).count(), never);
    EXPECT_FALSE(Delay(infinite).is_none());
    EXPECT_EQ(Delay(std::chrono::duration<double>(1e300)).count(), never);
}

TEST(Delay, ThatIsNotANumberIsAValueError) {
    const std::chrono::duration<double> nan(std::nan(""));
    EXPECT_EQ(support::raised<ValueError>([&] { Delay{nan}; }),
              "Invalid delay: NaN (not a number)");
}

TEST(Delay, ThatIsNegativeIsOverAtOnce) {
    EXPECT_LE(Delay(-1s).count(), 0);
    EXPECT_EQ(Delay(-0.1s).count(), -100'000'000);
    EXPECT_EQ(Delay(std::chrono::hours::min()).count(), -std::numeric_limits<std::int64_t>::max());
    const std::chrono::duration<double> infinite(-std::numeric_limits<double>::infinity());
    EXPECT_EQ(Delay(infinite).count(), -std::numeric_limits<std::int64_t>::max());
}

TEST(Delay, AddedToTheClockNeverWraps) {  // a huge delay is never, not the past
    using detail::kNever;
    using detail::saturating_add;
    EXPECT_EQ(saturating_add(5, kNever), kNever);
    EXPECT_EQ(saturating_add(kNever, 5), kNever);
    EXPECT_EQ(saturating_add(-5, -kNever), -kNever);
    EXPECT_EQ(saturating_add(5, -7), -2);
    const auto loop = VirtualTimeEventLoop::create();
    bool called = false;
    const auto huge = loop->call_later(std::chrono::hours::max(), [&] { called = true; });
    const auto past = loop->call_later(std::chrono::hours::min(), [&] { called = true; });
    EXPECT_GT(huge.when(), loop->time());
    EXPECT_LT(past.when(), loop->time());
    past.cancel();
    loop->run_until_complete(sleep(1h));
    EXPECT_FALSE(called);
}

TEST(Deadline, TakesEveryPointOfTheLoopsClock) {
    const TimePoint t{5s};
    EXPECT_EQ(Deadline(t).count(), 5'000'000'000);
    EXPECT_EQ(Deadline(t + 0.5s).count(), 5'500'000'000);
    EXPECT_EQ(Deadline(std::optional<TimePoint>(t)).time_point(), t);
    EXPECT_TRUE(Deadline(std::nullopt).is_none());
    EXPECT_TRUE(Deadline(std::optional<TimePoint>()).is_none());
}

TEST(Sleep, ForeverAndHugeDelaysWaitAndAreCancelled) {
    support::run_virtual([]() -> Coroutine<> {
        auto forever = create_task(sleep(std::nullopt));
        auto huge = create_task(sleep(std::chrono::hours::max()));
        co_await sleep(24h);
        EXPECT_FALSE(forever.done());
        EXPECT_FALSE(huge.done());
        forever.cancel();
        huge.cancel();
        co_await wait(forever, huge);
        EXPECT_TRUE(forever.cancelled());
        EXPECT_TRUE(huge.cancelled());
    });
}

}  // namespace

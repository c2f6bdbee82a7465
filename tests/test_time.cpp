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

TEST(Delay, OfNothingIsNone) {
    EXPECT_TRUE(Delay(std::nullopt).is_none());
    EXPECT_EQ(Delay(std::nullopt).count(), std::numeric_limits<std::int64_t>::max());
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

TEST(Delay, ThatIsNegativeIsOverAtOnce) { EXPECT_LE(Delay(-1s).count(), 0); }

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

// Tests that are coroutines, in Catch2. Those with the tag [fails] are to fail.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

#include <asyncio.hpp>
#include <asyncio/testing/catch2.hpp>

using asyncio::Coroutine;
using namespace std::chrono_literals;

ASYNC_TEST_CASE("takes no real time") {
    co_await asyncio::sleep(25h);
    REQUIRE(asyncio::testing::elapsed() == 25h);
}

ASYNC_TEST_CASE("ends where it fails", "[fails][.]") {
    co_await asyncio::sleep(1h);
    REQUIRE(asyncio::testing::elapsed() == 2h);
    FAIL("it went on");
}

ASYNC_TEST_CASE("leaves a task", "[fails][.]") {
    asyncio::create_task(asyncio::sleep(1h));
    co_return;
}

TEST_CASE("no order breaks it") {
    const auto explored = asyncio::testing::explore([]() -> Coroutine<> {
        const auto task = asyncio::create_task(asyncio::sleep(1h, 7));
        REQUIRE(co_await task == 7);
    });
    REQUIRE(explored.exhausted);
}

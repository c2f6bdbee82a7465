// Tests that are coroutines, in doctest. Those whose names begin with "fails" are to fail.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <asyncio.hpp>
#include <asyncio/testing/doctest.hpp>

using asyncio::Coroutine;
using namespace std::chrono_literals;

ASYNC_TEST_CASE("takes no real time") {
    co_await asyncio::sleep(25h);
    REQUIRE(asyncio::testing::elapsed() == 25h);
}

ASYNC_TEST_CASE("fails: ends where it does") {
    co_await asyncio::sleep(1h);
    REQUIRE(asyncio::testing::elapsed() == 2h);
    FAIL("it went on");
}

ASYNC_TEST_CASE("fails: leaves a task") {
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

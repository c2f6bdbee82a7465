// Tests that are coroutines, for doctest:
//
//     ASYNC_TEST_CASE("a cache forgets after a day") {
//         Cache cache;
//         cache.put("a", 1);
//         co_await asyncio::sleep(25h);
//         REQUIRE(!cache.get("a"));
//     }
//
// The body runs on virtual time, on a loop of its own, and fails if it leaves something behind
// (testing::run). REQUIRE ends it. In testing::explore() and its like use REQUIRE: a CHECK that
// fails is told, but no reason for them to stop there.
#pragma once

#include <exception>
#include <string>

#include <doctest/doctest.h>

#include "asyncio/testing.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {
namespace detail {

class DoctestExpectations final : public Expectations {
  public:
    void begin() override {}
    // The framework has counted them.
    std::string end() override { return {}; }
    bool is_abort(const std::exception_ptr& error) const override {
        try {
            std::rethrow_exception(error);
        } catch (const doctest::detail::TestFailureException&) {
            return true;
        } catch (...) {
            return false;  // whoever asks tells it
        }
    }
};

inline DoctestExpectations doctest_expectations;
inline const bool doctest_expectations_are_set = [] {
    set_expectations(&doctest_expectations);
    return true;
}();

inline void run_doctest_test(const Scenario& body) {
    try {
        testing::run(body);
    } catch (const ScenarioFailed& failed) {
        FAIL(std::string(failed.what()));
    }
}

}  // namespace detail
}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// For ASYNC_TEST_CASE.
#define ASYNCIO_JOIN_(a, b) a##b
#define ASYNCIO_JOIN(a, b) ASYNCIO_JOIN_(a, b)
#define ASYNCIO_TEST_CASE(body, ...)                                                \
    static ::asyncio::Coroutine<> body();                                           \
    TEST_CASE(__VA_ARGS__) { ::asyncio::testing::detail::run_doctest_test(&body); } \
    static ::asyncio::Coroutine<> body()
// ASYNC_TEST_CASE("name", ...) { ... co_await ...; }: what TEST_CASE takes.
#define ASYNC_TEST_CASE(...) \
    ASYNCIO_TEST_CASE(ASYNCIO_JOIN(asyncio_test_case_, __LINE__), __VA_ARGS__)

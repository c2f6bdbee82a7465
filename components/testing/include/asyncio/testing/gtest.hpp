// Tests that are coroutines, for GoogleTest:
//
//     ASYNC_TEST(Cache, ExpiresAfterADay) {
//         Cache cache;
//         cache.put("a", 1);
//         co_await asyncio::sleep(25h);
//         CO_ASSERT_EQ(cache.get("a"), std::nullopt);
//     }
//
// The body runs on virtual time, on a loop of its own, and fails if it leaves something behind
// (testing::run). ASYNC_TEST(Raft, OneLeader, .seeds = 1000) runs it with 1,000 seeds.
//
// CO_ASSERT_* ends the test, where ASSERT_* could not: it throws testing::TestAborted. EXPECT_* are
// GoogleTest's own. In testing::explore() and its like both count for the run in which they fail.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "asyncio/testing.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// How ASYNC_TEST runs its body.
struct TestOptions {
    std::uint64_t seeds = 1;  // so many runs, each with another seed: run.seed and those above it
    RunOptions run = {};      // of each of them
};

// A CO_ASSERT_* has failed: the test ends. Its reason is noted already.
class TestAborted : public std::exception {
  public:
    const char* what() const noexcept override { return "an assertion has failed"; }
};

namespace detail {

// Expectations that fail in a run are kept until it is known whether they count.
class GoogleExpectations final : public Expectations {
  public:
    void begin() override {
        parts_ = std::make_unique<::testing::TestPartResultArray>();
        using Reporter = ::testing::ScopedFakeTestPartResultReporter;
        reporter_ = std::make_unique<Reporter>(Reporter::INTERCEPT_ALL_THREADS, parts_.get());
    }
    std::string end() override {
        reporter_.reset();
        std::string failed;
        for (int i = 0; i < parts_->size(); ++i) {
            const ::testing::TestPartResult& part = parts_->GetTestPartResult(i);
            if (part.passed() || part.skipped()) continue;
            if (!failed.empty()) failed += '\n';
            failed += std::string(part.file_name() ? part.file_name() : "unknown file") + ':' +
                      std::to_string(part.line_number()) + ": " + part.message();
        }
        return failed;
    }
    bool is_abort(const std::exception_ptr& error) const override {
        try {
            std::rethrow_exception(error);
        } catch (const TestAborted&) {
            return true;
        } catch (...) {
            return false;  // whoever asks tells it
        }
    }
    // Of the run that is under way.
    int failures() const { return parts_ ? count(*parts_) : 0; }

  private:
    static int count(const ::testing::TestPartResultArray& parts) {
        int failed = 0;
        for (int i = 0; i < parts.size(); ++i) failed += parts.GetTestPartResult(i).failed();
        return failed;
    }

    std::unique_ptr<::testing::TestPartResultArray> parts_;
    std::unique_ptr<::testing::ScopedFakeTestPartResultReporter> reporter_;
};

inline GoogleExpectations google_expectations;
inline const bool google_expectations_are_set = [] {
    set_expectations(&google_expectations);
    return true;
}();

// Of one expectation, which a loop runs once.
class Asserted {
  public:
    // The second time it throws TestAborted if the expectation has failed.
    bool once() {
        if (!std::exchange(first_, false)) {
            if (google_expectations.failures() > before_) throw TestAborted();
            return false;
        }
        return true;
    }

  private:
    bool first_ = true;
    int before_ = google_expectations.failures();
};

inline void run_async_test(const Scenario& body, const TestOptions& options) {
    if (options.seeds == 0) ADD_FAILURE() << "a test has at least one seed";
    for (std::uint64_t i = 0; i < options.seeds; ++i) {
        RunOptions run = options.run;
        run.seed += i;
        try {
            testing::run(body, run);
        } catch (const ScenarioFailed& failed) {
            ADD_FAILURE() << failed.what();
            return;
        }
    }
}

}  // namespace detail
}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// ASYNC_TEST(Suite, Name) { ... co_await ...; }, ASYNC_TEST(Suite, Name, .seeds = 100) { ... }
#define ASYNC_TEST(suite, name, ...)                                                       \
    static ::asyncio::Coroutine<> suite##_##name##_Body();                                 \
    TEST(suite, name) {                                                                    \
        ::asyncio::testing::detail::run_async_test(&suite##_##name##_Body, {__VA_ARGS__}); \
    }                                                                                      \
    static ::asyncio::Coroutine<> suite##_##name##_Body()

// Takes a text as GoogleTest's own do: CO_ASSERT_EQ(a, b) << "text".
#define ASYNCIO_CO_ASSERT for (::asyncio::testing::detail::Asserted asserted_; asserted_.once();)
#define CO_ASSERT_TRUE(a) ASYNCIO_CO_ASSERT EXPECT_TRUE(a)
#define CO_ASSERT_FALSE(a) ASYNCIO_CO_ASSERT EXPECT_FALSE(a)
#define CO_ASSERT_EQ(a, b) ASYNCIO_CO_ASSERT EXPECT_EQ(a, b)
#define CO_ASSERT_NE(a, b) ASYNCIO_CO_ASSERT EXPECT_NE(a, b)
#define CO_ASSERT_LT(a, b) ASYNCIO_CO_ASSERT EXPECT_LT(a, b)
#define CO_ASSERT_LE(a, b) ASYNCIO_CO_ASSERT EXPECT_LE(a, b)
#define CO_ASSERT_GT(a, b) ASYNCIO_CO_ASSERT EXPECT_GT(a, b)
#define CO_ASSERT_GE(a, b) ASYNCIO_CO_ASSERT EXPECT_GE(a, b)
// That `awaitable`, awaited, raises `error`.
#define CO_ASSERT_THROWS(error, awaitable)                                          \
    ASYNCIO_CO_ASSERT                                                               \
    EXPECT_TRUE((co_await ::asyncio::as_result(awaitable)).template holds<error>()) \
        << #awaitable " did not raise " #error

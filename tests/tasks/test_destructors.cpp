// What the destructors of a user's objects throw, where the library destroys them: a function that
// was called, a result that nobody wants. C++ ends the program for most of it; what need not end it
// is logged, as Python does with __del__. Section 3.5 of what was found.
// ctest: optimised
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "counted_new.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::LogCapture;
using support::raised;

constexpr const char* kIgnored = "Exception ignored in a destructor: ValueError('gone')\n";

// Throws when it goes, unless it was moved from or something else is being thrown.
class Bad {
  public:
    Bad() = default;
    Bad(Bad&& o) noexcept : armed_(std::exchange(o.armed_, false)) {}
    Bad& operator=(Bad&&) = delete;
    ~Bad() noexcept(false) {
        if (armed_ && std::uncaught_exceptions() == 0) throw ValueError("gone");
    }

  private:
    bool armed_ = true;
};

class Destructors : public testing::Test {
  protected:
    void turn() {
        loop->run_until_complete([]() -> Coroutine<> {
            for (int i = 0; i < 4; ++i) co_await sleep(0s);
        });
    }
    void expect_told() { EXPECT_EQ(log.text(), kIgnored); }

    const LogCapture log;
    const std::unique_ptr<EventLoop> loop = EpollEventLoop::create();
};

TEST_F(Destructors, OfAJobsFunctionAreLogged) {
    ThreadPoolExecutor pool(1);
    auto f = [bad = Bad()] { return 1; };
    EXPECT_EQ(pool.submit(callable(std::move(f))).result(), 1);
    pool.shutdown(true);
    expect_told();
}

TEST_F(Destructors, OfALoopsJobAreLogged) {
    auto f = [bad = Bad()] { return 1; };
    loop->run_until_complete([&]() -> Coroutine<> {
        EXPECT_EQ(co_await to_thread(callable(std::move(f))), 1);
        co_await get_running_loop().shutdown_default_executor();
    });
    expect_told();
}

TEST_F(Destructors, OfAJobThatIsNeverCalledAreLogged) {
    auto f = [bad = Bad()] { return 1; };
    class Drop final : public Executor {
        void add(Job job) override { const Job gone = std::move(job); }
    } drop;
    EXPECT_TRUE(drop.submit(callable(std::move(f))).cancelled());
    expect_told();
}

TEST_F(Destructors, OfAnExecutorsResultAreLogged) {
    ThreadPoolExecutor pool(1);
    {
        EXPECT_EQ(pool.submit([] { return Bad(); }).exception(), nullptr);
    }
    pool.shutdown(true);
    expect_told();
}

TEST_F(Destructors, OfAResultThatALoopGetsTooLateAreLogged) {
    ThreadPoolExecutor pool(1);
    loop->run_until_complete([&]() -> Coroutine<> {
        std::atomic<bool> begun{false};
        std::atomic<bool> release{false};
        auto job = [&] {
            begun = true;
            while (!release) std::this_thread::yield();
            return Bad();
        };
        auto f = get_running_loop().run_in_executor(&pool, job);
        while (!begun) std::this_thread::yield();
        f.cancel();
        release = true;
        pool.shutdown(true);
        co_await sleep(1ms);
    });
    expect_told();
}

TEST_F(Destructors, OfAFuturesResultAreLogged) {
    {
        const auto f = loop->create_future<Bad>();
        f.set_result(Bad());
    }
    expect_told();
}

TEST_F(Destructors, OfATasksResultAreLogged) {
    auto make = []() -> Coroutine<Bad> {
        co_await sleep(0s);
        co_return Bad();
    };
    loop->create_task(make());
    turn();
    expect_told();
}

TEST_F(Destructors, OfAConcurrentResultAreLogged) {
    {
        const ConcurrentFuture<Bad> f;
        f.set_result(Bad());
    }
    expect_told();
}

TEST_F(Destructors, OfCallbacksAreLogged) {
    loop->call_soon([bad = Bad()] {});
    turn();
    expect_told();
}

TEST_F(Destructors, OfACallbackThatIsCancelledAreLogged) {
    loop->call_later(1h, [bad = Bad()] {}).cancel();
    expect_told();
}

TEST_F(Destructors, OfCallbacksThatTheLoopsCloseDropsAreLogged) {
    loop->call_later(1h, [bad = Bad()] {});
    loop->close();
    expect_told();
}

TEST_F(Destructors, OfDoneCallbacksAreLogged) {
    const auto f = loop->create_future<int>();
    f.add_done_callback([bad = Bad()] {});
    f.set_result(1);
    turn();
    expect_told();
}

TEST_F(Destructors, OfACallbackOfAConcurrentFutureAreLogged) {
    {
        const ConcurrentFuture<int> f;
        f.add_done_callback([bad = Bad()] {});
        f.set_result(1);
    }
    expect_told();
}

TEST_F(Destructors, OfAHookAreLogged) {
    struct Hook {
        Bad bad;
        void operator()(EventLoop&, const ExceptionContext&) const {}
    };
    loop->set_exception_handler(Hook());
    loop->set_exception_handler({});
    expect_told();
}

TEST_F(Destructors, OfALocalReachTheAwaiter) {
    auto body = []() -> Coroutine<int> {
        {
            const Bad bad;
            co_await sleep(0s);
        }
        co_return 1;
    };
    EXPECT_EQ(raised<ValueError>([&] { (void)loop->run_until_complete(body()); }), "gone");
    EXPECT_EQ(log.text(), "");
}

// docs/traps.md.
constexpr const char* kLosesFrames =
    "g++ 12 does not free a frame whose parameter's or local's destructor throws";

Coroutine<int> with_parameter(Bad, int value) {
    co_await sleep(0s);
    co_return value;
}

TEST_F(Destructors, OfAParameterAreLogged) {
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    EXPECT_EQ(loop->run_until_complete(with_parameter(Bad(), 3)), 3);
    expect_told();
    turn();
}

TEST_F(Destructors, OfAParameterOfAnAwaitedCoroutineAreLogged) {
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    auto outer = []() -> Coroutine<int> { co_return co_await with_parameter(Bad(), 4); };
    EXPECT_EQ(loop->run_until_complete(outer()), 4);
    expect_told();
}

TEST_F(Destructors, OfAParameterOfOneThatNeverBeganAreLogged) {
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    with_parameter(Bad(), 5).close();
    expect_told();
}

TEST_F(Destructors, OfAParameterOfOneThatHasNoMemoryForItsTasksNameAreLogged) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        const LogCapture own;
        auto coroutine = with_parameter(Bad(), 6);
        TaskOptions options{.name = "a name that is too long to be kept in place"};
        support::blocks_left = given;
        try {
            loop->create_task(std::move(coroutine), options);
        } catch (const std::bad_alloc&) {
            // As is wanted.
        }
        enough = support::blocks_left.exchange(-1) >= 0;
        turn();
        EXPECT_EQ(own.text(), kIgnored) << given;
    }
}

AsyncGenerator<int> generator_with_parameter(Bad, int value) { co_yield value; }

TEST_F(Destructors, OfAParameterOfAGeneratorAreLogged) {
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    loop->run_until_complete([]() -> Coroutine<> {
        auto numbers = generator_with_parameter(Bad(), 7);
        EXPECT_EQ((co_await numbers.next()).value(), 7);
        co_await numbers.aclose();
    });
    expect_told();
}

TEST_F(Destructors, OfAParameterOfAGeneratorThatNeverBeganAreLogged) {
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    {
        const auto numbers = generator_with_parameter(Bad(), 8);
    }
    turn();
    expect_told();
}

TEST_F(Destructors, OfWhatIsSuspendedDoNotHoldTheLoopsCloseUp) {
    if (support::kAddressSanitizer) GTEST_SKIP() << kLosesFrames;
    int gone = 0;
    struct Count {
        int* gone;
        ~Count() { ++*gone; }
    };
    auto inner = [&]() -> Coroutine<> {
        const Count first{&gone};
        const Bad bad;
        const Count second{&gone};
        co_await sleep(1h);
    };
    auto outer = [&]() -> Coroutine<> {
        const Count count{&gone};
        co_await inner();
    };
    auto a = loop->create_task(outer());
    auto b = loop->create_task(outer());
    turn();
    loop->close();
    EXPECT_EQ(gone, 6);
}

}  // namespace

// Steps that keep a loop from all others, as a thread of the program's own tells of them.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace app {

using namespace std::chrono_literals;

std::atomic<bool> go_on{false};

// A function of a name of its own on the machine stack.
[[gnu::noinline]] void spins_for_long(std::chrono::milliseconds at_least) {
    const auto begin = std::chrono::steady_clock::now();
    const auto limit = begin + 20s;
    for (;;) {
        const auto now = std::chrono::steady_clock::now();
        if ((go_on && now - begin >= at_least) || now > limit) return;
    }
}

}  // namespace app

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using asyncio::inspect::Stall;
using asyncio::inspect::Watchdog;

// What a watchdog has reported. The first report lets the step go on.
class Reports {
  public:
    Reports() { app::go_on = false; }
    auto sink() {
        return [this](const Stall& stall) {
            {
                const std::lock_guard lock(mutex_);
                stalls_.push_back(stall);
            }
            if (!stall.over) app::go_on = true;
        };
    }
    std::vector<Stall> all() {
        const std::lock_guard lock(mutex_);
        return stalls_;
    }
    // What was reported once there are so many.
    std::vector<Stall> wait_for(std::size_t count) {
        const auto limit = std::chrono::steady_clock::now() + 20s;
        while (all().size() < count && std::chrono::steady_clock::now() < limit) {
            std::this_thread::sleep_for(1ms);
        }
        return all();
    }

  private:
    std::mutex mutex_;
    std::vector<Stall> stalls_;
};

Coroutine<> hashes() {
    app::spins_for_long(0ms);
    co_return;
}

// First, as the environment is looked at with the first loop of a process.
TEST(Watchdog, OfTheEnvironment) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(30);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        ::setenv("ASYNCIO_WATCHDOG", "0.02", 1);
        std::signal(SIGUSR1, [](int) { app::go_on = true; });
        run([]() -> Coroutine<> {
            app::spins_for_long(0ms);
            co_return;
        });
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(n));
        // The step ends because it was reported.
        ::kill(child, SIGUSR1);
    }
    ::close(ends[0]);
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_NE(text.find("has been blocked for "), text.npos) << text;
}

TEST(Watchdog, TellsOfAStepWhileItBlocks) {
    Reports reports;
    const Watchdog watchdog({.limit = 50ms, .report = reports.sink()});
    run([]() -> Coroutine<> { co_await create_task(hashes(), {.name = "request 17"}); });
    // The step ended because it was reported.
    const auto stalls = reports.wait_for(2);
    ASSERT_EQ(stalls.size(), 2u);
    EXPECT_FALSE(stalls[0].over);
    EXPECT_EQ(stalls[0].task, "request 17");
    EXPECT_NE(stalls[0].place.find("hashes() at "), std::string::npos) << stalls[0].place;
    EXPECT_GE(stalls[0].so_far, 50ms);
    EXPECT_GT(stalls[0].thread, 0);
    EXPECT_TRUE(
        std::any_of(stalls[0].stack.begin(), stalls[0].stack.end(),
                    [](const std::string& s) { return s.find("app::spins_for_long") != s.npos; }))
        << testing::PrintToString(stalls[0].stack);
    EXPECT_TRUE(stalls[1].over);
    EXPECT_EQ(stalls[1].task, "request 17");
    EXPECT_GE(stalls[1].so_far, stalls[0].so_far);
}

TEST(Watchdog, TwoInARowAreTwoReports) {
    Reports reports;
    const Watchdog watchdog({.limit = 20ms, .native_stack = false, .report = reports.sink()});
    run([&reports]() -> Coroutine<> {
        app::spins_for_long(0ms);
        app::go_on = false;
        co_await sleep(0s);
        app::spins_for_long(0ms);
        co_await sleep(0s);
        (void)reports;
    });
    const auto stalls = reports.wait_for(4);
    ASSERT_EQ(stalls.size(), 4u);
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(stalls[i].over, i % 2 == 1) << i;
        EXPECT_TRUE(stalls[i].stack.empty());
    }
}

TEST(Watchdog, ACallbackHasNoTask) {
    Reports reports;
    const Watchdog watchdog({.limit = 20ms, .report = reports.sink()});
    run([]() -> Coroutine<> {
        get_running_loop().call_soon([] { app::spins_for_long(0ms); });
        co_await sleep(1ms);
    });
    const auto stalls = reports.wait_for(1);
    ASSERT_GE(stalls.size(), 1u);
    EXPECT_EQ(stalls[0].task, "");
    EXPECT_FALSE(stalls[0].stack.empty());
}

TEST(Watchdog, LeavesLoopsAloneThatSleepOrTakeShortSteps) {
    Reports reports;
    // A machine that is busy with other things may keep any step for as long.
    const Watchdog watchdog({.limit = 5s, .report = reports.sink()});
    run([]() -> Coroutine<> {
        co_await sleep(50ms);
        const auto end = get_running_loop().time() + 50ms;
        while (get_running_loop().time() < end) co_await sleep(0s);
    });
    EXPECT_TRUE(reports.all().empty());
}

TEST(Watchdog, SurvivesAReportThatRaises) {
    std::atomic<int> calls{0};
    const Watchdog watchdog({.limit = 20ms, .report = [&](const Stall&) {
                                 ++calls;
                                 app::go_on = true;
                                 throw ValueError("report");
                             }});
    for (int i = 0; i < 2; ++i) {
        app::go_on = false;
        run([]() -> Coroutine<> {
            app::spins_for_long(0ms);
            co_return;
        });
    }
    EXPECT_GE(calls, 2);
}

TEST(Watchdog, TellsTheLog) {
    const support::LogCapture log;
    app::go_on = false;
    // What the log has got, once that is in it.
    const auto wait_for = [&log](const char* part) {
        const auto limit = std::chrono::steady_clock::now() + 20s;
        while (log.text().find(part) == std::string::npos) {
            if (std::chrono::steady_clock::now() > limit) break;
            std::this_thread::sleep_for(1ms);
        }
        return log.text();
    };
    const Watchdog watchdog({.limit = 20ms});
    std::thread told([&] {
        wait_for("has been blocked for ");
        app::go_on = true;
    });
    run([]() -> Coroutine<> {
        app::spins_for_long(0ms);
        co_return;
    });
    told.join();
    const std::string text = wait_for(" went on after ");
    EXPECT_NE(text.find("has been blocked for "), text.npos) << text;
    EXPECT_NE(text.find("by task 'Task-"), text.npos) << text;
    EXPECT_NE(text.find("app::spins_for_long"), text.npos) << text;
    EXPECT_NE(text.find(" went on after "), text.npos) << text;
}

TEST(Watchdog, RefusesLimitsThatMakeNoSense) {
    for (const Delay limit :
         {Delay(0s), Delay(-1s), Delay(999us), Delay(2h), Delay(std::nullopt)}) {
        EXPECT_THROW(Watchdog({.limit = limit}), ValueError);
    }
}

TEST(Watchdog, EndsAtOnce) {
    const auto begin = std::chrono::steady_clock::now();
    {
        const Watchdog watchdog({.limit = 1h});
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(Watchdog, LeavesASignalToTheProgramThatCatchesIt) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(30);
        std::signal(SIGRTMIN + 7, [](int) { ::_exit(9); });
        Reports reports;
        {
            const Watchdog watchdog({.limit = 20ms, .report = reports.sink()});
            run([]() -> Coroutine<> {
                app::spins_for_long(0ms);
                co_return;
            });
        }
        const auto stalls = reports.all();
        ::_exit(!stalls.empty() && stalls[0].stack.empty() ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

}  // namespace

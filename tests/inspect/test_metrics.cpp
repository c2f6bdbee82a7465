// Figures of all loops.
#include <gtest/gtest.h>
#include <unistd.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <atomic>
#include <chrono>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

// Samples, by what stands before the number; "{loop=\"7\"" becomes "{".
std::map<std::string, double> figures(const std::string& text, std::uint64_t loop = 0) {
    std::map<std::string, double> all;
    std::istringstream in(text);
    const std::string mine = "{loop=\"" + std::to_string(loop) + '"';
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with('#')) continue;
        const std::size_t space = line.rfind(' ');
        std::string name = line.substr(0, space);
        const std::size_t at = name.find(mine);
        if (loop != 0 && at == std::string::npos) continue;
        if (at != std::string::npos) name.replace(at, mine.size(), "{");
        EXPECT_TRUE(all.try_emplace(name, std::stod(line.substr(space + 1))).second) << line;
    }
    return all;
}

Coroutine<> raises() {
    throw ValueError("no");
    co_return;
}
Coroutine<> nothing() { co_return; }

// The number of the only loop.
std::string only_loop(const std::string& text) {
    const std::size_t at = text.find("asyncio_loop_info{loop=\"");
    return at == std::string::npos ? "" : text.substr(at + 24, text.find('"', at + 24) - at - 24);
}

TEST(Metrics, TellOfTasksStepsAndTimers) {
    auto loop = new_event_loop();
    std::string text;
    loop->run_until_complete([&]() -> Coroutine<> {
        auto sleeping = create_task([]() -> Coroutine<> { co_await sleep(1h); }());
        auto failing = create_task(raises());
        auto cancelled = create_task([]() -> Coroutine<> { co_await sleep(1h); }());
        auto fine = create_task(nothing());
        co_await sleep(0s);
        cancelled.cancel();
        co_await sleep(0s);
        (void)failing.exception();
        auto ready = create_task(nothing());
        text = inspect::metrics();
        sleeping.cancel();
    });
    const auto f = figures(text, std::stoull(only_loop(text)));
    EXPECT_EQ(f.at("asyncio_tasks{,state=\"running\"}"), 1);
    EXPECT_EQ(f.at("asyncio_tasks{,state=\"ready\"}"), 1);
    EXPECT_EQ(f.at("asyncio_tasks{,state=\"waiting\"}"), 1);
    EXPECT_EQ(f.at("asyncio_tasks{,state=\"suspended\"}"), 0);
    EXPECT_EQ(f.at("asyncio_tasks_created_total{}"), 6);
    EXPECT_EQ(f.at("asyncio_tasks_ended_total{,outcome=\"returned\"}"), 1);
    EXPECT_EQ(f.at("asyncio_tasks_ended_total{,outcome=\"raised\"}"), 1);
    EXPECT_EQ(f.at("asyncio_tasks_ended_total{,outcome=\"cancelled\"}"), 1);
    EXPECT_EQ(f.at("asyncio_timers{}"), 1);
    EXPECT_EQ(f.at("asyncio_loop_running{}"), 1);
    EXPECT_GE(f.at("asyncio_loop_steps_total{}"), 6);
    EXPECT_GE(f.at("asyncio_loop_iterations_total{}"), 3);
    EXPECT_TRUE(text.ends_with("# EOF\n"));
    EXPECT_FALSE(f.contains("asyncio_loop_busy_seconds_total{}"));
}

TEST(Metrics, HaveTimesWhileStepsAreCounted) {
    auto loop = new_event_loop();
    std::string text;
    std::string after;
    {
        const inspect::Counting counting;
        loop->run_until_complete([&]() -> Coroutine<> {
            co_await sleep(10ms);
            std::this_thread::sleep_for(5ms);  // a step that takes long
            co_await sleep(5ms);
            text = inspect::metrics();
        });
    }
    loop->run_until_complete([&]() -> Coroutine<> {
        co_await sleep(1ms);
        after = inspect::metrics();
    });
    const auto f = figures(text, std::stoull(only_loop(text)));
    EXPECT_GE(f.at("asyncio_loop_busy_seconds_total{}"), 0.004);
    EXPECT_GE(f.at("asyncio_loop_idle_seconds_total{}"), 0.003);
    EXPECT_GE(f.at("asyncio_loop_longest_step_seconds{}"), 0.004);
    EXPECT_GE(f.at("asyncio_loop_counted_seconds_total{}"), 0.01);
    EXPECT_GE(f.at("asyncio_loop_lag_seconds_count{}"), 1);
    EXPECT_EQ(f.at("asyncio_loop_lag_seconds_bucket{,le=\"+Inf\"}"),
              f.at("asyncio_loop_lag_seconds_count{}"));
    EXPECT_GT(f.at("asyncio_loop_lag_seconds_sum{}"), 0);
    EXPECT_FALSE(figures(after).contains("asyncio_loop_busy_seconds_total"));
}

TEST(Metrics, AreWrittenOnAnyThreadWhileTheLoopIsStuck) {
    auto loop = new_event_loop();
    std::atomic<bool> over{false};
    std::string text;
    std::thread other;
    loop->run_until_complete([&]() -> Coroutine<> {
        other = std::thread([&] {
            text = inspect::metrics();
            over = true;
        });
        const auto limit = std::chrono::steady_clock::now() + 20s;
        while (!over && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
        co_return;
    });
    other.join();
    EXPECT_TRUE(over);
    EXPECT_EQ(figures(text, std::stoull(only_loop(text))).at("asyncio_tasks{,state=\"running\"}"),
              1);
}

TEST(Metrics, TellOfThreadsAndWhatWaitsForOne) {
    auto loop = new_event_loop();
    std::string text;
    loop->run_until_complete([&]() -> Coroutine<> {
        ThreadPoolExecutor pool(1);
        std::atomic<bool> go_on{false};
        const auto wait = [&] {
            while (!go_on) std::this_thread::yield();
        };
        auto first = get_running_loop().run_in_executor(&pool, wait);
        auto second = get_running_loop().run_in_executor(&pool, [] {});
        text = inspect::metrics();
        go_on = true;
        co_await first;
        co_await second;
    });
    const auto f = figures(text);
    EXPECT_EQ(f.at("asyncio_thread_pool_threads"), 1);
    // The thread may not have taken the first one yet.
    EXPECT_GE(f.at("asyncio_thread_pool_queued"), 1);
    const auto after = figures(inspect::metrics());
    EXPECT_EQ(after.at("asyncio_thread_pool_threads"), 0);
    EXPECT_EQ(after.at("asyncio_thread_pool_queued"), 0);
}

TEST(Metrics, WithoutALoopHaveNoneOfOne) {
    const std::string text = inspect::metrics();
    EXPECT_EQ(text.find("{loop"), std::string::npos);
    EXPECT_TRUE(text.ends_with("# EOF\n"));
}

TEST(Metrics, DoNotDependOnTheLocale) {
    auto loop = new_event_loop();
    const inspect::Counting counting;
    std::string text;
    loop->run_until_complete([&]() -> Coroutine<> {
        co_await sleep(2ms);
        std::setlocale(LC_ALL, "de_DE.UTF-8");
        try {
            std::locale::global(std::locale("de_DE.UTF-8"));
        } catch (const std::runtime_error&) {
            // It is not installed: then there is less to be seen.
        }
        text = inspect::metrics();
        std::locale::global(std::locale::classic());
    });
    EXPECT_EQ(text.find(','), text.find(",backend"));
}

// The reader of Prometheus' own client refuses what is no OpenMetrics.
TEST(Metrics, AreReadByPrometheus) {
    if (std::system("/usr/bin/python3 -c 'import prometheus_client' 2>/dev/null") != 0) {
        GTEST_SKIP() << "python3-prometheus-client is not installed";
    }
    auto loop = new_event_loop();
    auto second = new_event_loop();
    std::string text;
    const inspect::Counting counting;
    loop->run_until_complete([&]() -> Coroutine<> {
        for (int i = 0; i < 3; ++i) co_await sleep(2ms);
        text = inspect::metrics();
    });
    const std::string file = "metrics-" + std::to_string(::getpid()) + ".txt";
    std::ofstream(file) << text;
    const std::string read =
        "/usr/bin/python3 -c \"import sys\n"
        "from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n"
        "names = {f.name for f in read(open(sys.argv[1]).read())}\n"
        "assert {'asyncio_loop', 'asyncio_tasks', 'asyncio_loop_lag_seconds'} <= names, names\n"
        "\" " +
        file;
    EXPECT_EQ(std::system(read.c_str()), 0) << text;
    std::remove(file.c_str());
}

}  // namespace

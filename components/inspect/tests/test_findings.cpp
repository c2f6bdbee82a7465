// What the console warns of by itself.
#include <gtest/gtest.h>
#include <asyncio/inspect_server.hpp>

#include <string>
#include <utility>

#include "../src/findings.hpp"

namespace {

using namespace asyncio::detail::reading;

Task waiting(std::string name, std::optional<double> since) {
    Task task;
    task.id = 1;
    task.name = std::move(name);
    task.state = TaskState::kWaiting;
    task.waits_for = "Event.wait of 0x1";
    task.stack.push_back({"client", "client.cpp", 88, false});
    task.counts.emplace();
    task.counts->since = since;
    return task;
}

std::vector<Warning> warnings_about(Task task) {
    Snapshot snapshot;
    snapshot.loops.emplace_back().tasks.push_back(std::move(task));
    return warnings_of(snapshot, {});
}

TEST(Findings, AWaitOfMoreThanAnHourIsTold) {
    const auto warnings = warnings_about(waiting("patient", 2.5 * 3600));
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_EQ(warnings[0].kind, "long wait");
    EXPECT_EQ(warnings[0].text,
              "patient has waited for Event.wait of 0x1 for more than 2 hours, at client() "
              "client.cpp:88");
    EXPECT_EQ(warnings[0].filter, "patient");
}

TEST(Findings, NoOtherWaitIs) {
    EXPECT_TRUE(warnings_about(waiting("short", 3599)).empty());
    EXPECT_TRUE(warnings_about(waiting("nobody knows since when", std::nullopt)).empty());
    Task sleeper = waiting("sleeps", 7200);
    sleeper.until = 1;
    EXPECT_TRUE(warnings_about(sleeper).empty());
    Task ready = waiting("ready", 7200);
    ready.state = TaskState::kReady;
    EXPECT_TRUE(warnings_about(ready).empty());
    Task uncounted = waiting("uncounted", 7200);
    uncounted.counts.reset();
    EXPECT_TRUE(warnings_about(uncounted).empty());
}

TEST(Findings, TwentyLongWaitsAreNamed) {
    Snapshot snapshot;
    auto& tasks = snapshot.loops.emplace_back().tasks;
    for (std::uint64_t i = 0; i < 100; ++i) {
        tasks.push_back(waiting("t" + std::to_string(i), 4000));
        tasks.back().id = i + 1;
    }
    EXPECT_EQ(warnings_of(snapshot, {}).size(), 20u);
}

}  // namespace

// Who chooses what runs next, and what waits until nothing is ready:
// asyncio/component/scheduling.hpp.
#include <asyncio/component/scheduling.hpp>
#include <asyncio/events.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using component::call_when_settled;
using component::Chooser;
using component::Node;
using component::set_chooser;

using LoopFactory = std::unique_ptr<EventLoop> (*)();

class Scheduling : public testing::TestWithParam<LoopFactory> {
  protected:
    std::unique_ptr<EventLoop> loop = GetParam()();
};
std::string name_of(const testing::TestParamInfo<LoopFactory>& info) {
    constexpr const char* kNames[] = {"epoll", "io_uring", "virtual"};
    return kNames[info.index];
}
INSTANTIATE_TEST_SUITE_P(Loops, Scheduling,
                         testing::Values(&EpollEventLoop::create, &UringEventLoop::create,
                                         &VirtualTimeEventLoop::create),
                         name_of);

// The newest each time.
struct Newest : Chooser {
    std::size_t choose(std::span<Node* const> entries) override {
        most = std::max(most, entries.size());
        return entries.size() - 1;
    }
    void ran() override { ++runs; }
    std::size_t most = 0;
    int runs = 0;
};

Coroutine<> writes(std::string& to, char c) {
    to += c;
    co_await sleep(0s);
    to += c;
}

TEST_P(Scheduling, AllThatIsReadyIsOneBag) {
    std::string order;
    Newest newest;
    set_chooser(*loop, &newest);
    loop->run_until_complete([&]() -> Coroutine<> {
        const auto a = create_task(writes(order, 'a'));
        const auto b = create_task(writes(order, 'b'));
        const auto c = create_task(writes(order, 'c'));
        co_await a;
        co_await b;
        co_await c;
    });
    // What goes on at once is newer than what waits.
    EXPECT_EQ(order, "ccbbaa");
    EXPECT_GE(newest.most, 3u);
    EXPECT_GE(newest.runs, 7);
    set_chooser(*loop, nullptr);
    order.clear();
    loop->run_until_complete([&]() -> Coroutine<> {
        const auto a = create_task(writes(order, 'a'));
        co_await writes(order, 'b');
        co_await a;
    });
    EXPECT_EQ(order, "baba");
}

TEST_P(Scheduling, AnEntrySaysWhatItIs) {
    struct Looks : Chooser {
        std::size_t choose(std::span<Node* const> entries) override {
            for (Node* const entry : entries) {
                const component::EntryInfo info = component::entry_info(*entry);
                EXPECT_EQ(info.task, component::task_of_entry(*entry));
                if (info.name == "named") {
                    named = info;
                } else if (info.task == 0) {
                    callbacks += info.name + ' ';
                }
            }
            return 0;
        }
        component::EntryInfo named;
        std::string callbacks;
    } looks;
    set_chooser(*loop, &looks);
    loop->run_until_complete([&]() -> Coroutine<> {
        get_running_loop().call_soon([] {});
        std::string order;
        const auto task = create_task(writes(order, 'x'), {.name = "named"});
        co_await task;
    });
    EXPECT_NE(looks.named.task, 0u);
    EXPECT_EQ(looks.named.place.substr(0, looks.named.place.find(':')), "test_scheduling.cpp");
    EXPECT_NE(looks.callbacks.find("callback "), std::string::npos) << looks.callbacks;
    set_chooser(*loop, nullptr);
}

TEST_P(Scheduling, AnErrorOfTheChooserLeavesTheLoopAndKeepsTheEntries) {
    struct Fails : Chooser {
        std::size_t choose(std::span<Node* const>) override { throw ValueError("no choice"); }
    } fails;
    int called = 0;
    loop->call_soon([&] { ++called; });
    loop->call_soon([&] { ++called; });
    set_chooser(*loop, &fails);
    EXPECT_EQ(support::raised<ValueError>([&] { loop->run_once(0s); }), "no choice");
    EXPECT_EQ(called, 0);
    set_chooser(*loop, nullptr);
    loop->run_once(0s);
    EXPECT_EQ(called, 2);
}

TEST_P(Scheduling, AChooserMayTakeItselfOff) {
    struct Once : Chooser {
        std::size_t choose(std::span<Node* const>) override {
            ++times;
            set_chooser(*loop, nullptr);
            return 0;
        }
        void ran() override { ADD_FAILURE() << "it is no chooser any more"; }
        EventLoop* loop = nullptr;
        int times = 0;
    } once;
    once.loop = loop.get();
    set_chooser(*loop, &once);
    loop->run_until_complete(sleep(0s));
    EXPECT_EQ(once.times, 1);
}

TEST_P(Scheduling, AKeyboardInterruptAndAStopLoseNothing) {
    Newest newest;
    set_chooser(*loop, &newest);
    int called = 0;
    for (int i = 0; i < 3; ++i) loop->call_soon([&] { ++called; });
    loop->call_soon([] { throw KeyboardInterrupt(); });
    EXPECT_THROW(loop->run_once(0s), KeyboardInterrupt);
    EXPECT_EQ(called, 0);
    for (int i = 0; i < 3; ++i) loop->run_once(0s);
    EXPECT_EQ(called, 3);
    set_chooser(*loop, nullptr);
}

TEST_P(Scheduling, WhatWaitsUntilNothingIsReadyIsCalledThen) {
    std::string order;
    loop->run_until_complete([&]() -> Coroutine<> {
        EventLoop& here = get_running_loop();
        call_when_settled(here, [&] { order += '1'; });
        call_when_settled(here, [&] {
            order += '2';
            here.call_soon([&] { order += 'r'; });
        });
        call_when_settled(here, [&] { order += '3'; });
        const Handle never = call_when_settled(here, [&] { order += 'x'; });
        never.cancel();
        co_await writes(order, 'a');
        order += ' ';
        co_await sleep(1ms);
    });
    EXPECT_EQ(order, "aa 12r3");
}

TEST_P(Scheduling, WhatNeverComesGoesWithTheLoop) {
    const auto token = std::make_shared<int>(1);
    call_when_settled(*loop, [token] { ADD_FAILURE() << "the loop is closed"; });
    EXPECT_EQ(token.use_count(), 2);
    loop->close();
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(support::raised<RuntimeError>([&] { call_when_settled(*loop, [] {}); }),
              "Event loop is closed");
    Newest newest;
    EXPECT_EQ(support::raised<RuntimeError>([&] { set_chooser(*loop, &newest); }),
              "Event loop is closed");
    set_chooser(*loop, nullptr);
}

}  // namespace

// L35. Tasks made of callables: what is shown of them is the callable's own coroutine and its
// place, never a frame of the library's around it.
#include <asyncio/coroutines.hpp>
#include <asyncio/graph.hpp>
#include <asyncio/queues.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::masked;
using support::run_virtual;

Coroutine<int> named() {
    co_await sleep(1s);
    co_return 1;
}
struct Maker {
    Coroutine<int> operator()() const { return named(); }
};

// Nothing of the library's own is in it.
void expect_own(const std::string& text) {
    for (const char* foreign : {"run_callable", "await_in_frame", "coroutines.hpp", "task.hpp"}) {
        EXPECT_EQ(text.find(foreign), std::string::npos) << text;
    }
}

TEST(CallableTasks, AreShownAsTheirOwnCoroutine) {
    run_virtual([]() -> Coroutine<> {
        const int captured = 1;
        auto lambda = create_task([captured]() -> Coroutine<int> {
            co_await sleep(1s);
            co_return captured;
        });
        auto function = create_task(&named);
        auto object = create_task(Maker{});
        for (const AnyTask& task : {AnyTask(lambda), AnyTask(function), AnyTask(object)}) {
            expect_own(repr(task));
        }
        EXPECT_NE(repr(lambda).find("coro=<<lambda>() running"), std::string::npos) << repr(lambda);
        EXPECT_NE(repr(object).find("coro=<Maker() running"), std::string::npos) << repr(object);
        co_await sleep(0s);
        EXPECT_NE(masked(repr(lambda)).find("coro=<<lambda>() running at FILE:LINE>"),
                  std::string::npos)
            << repr(lambda);
        EXPECT_NE(repr(lambda).find("test_callables.cpp"), std::string::npos) << repr(lambda);
        for (const AnyTask& task : {AnyTask(function), AnyTask(object)}) {
            EXPECT_NE(masked(repr(task)).find("coro=<named() running at FILE:LINE>"),
                      std::string::npos)
                << repr(task);
        }
        for (const AnyTask& task : {AnyTask(lambda), AnyTask(function), AnyTask(object)}) {
            expect_own(repr(task));
            const auto stack = task.get_stack();
            EXPECT_EQ(stack.size(), 1u);
            EXPECT_TRUE(std::string_view(stack.at(0).file_name()).ends_with("test_callables.cpp"));
            const std::string graph = format_call_graph(task);
            expect_own(graph);
            EXPECT_NE(graph.find("test_callables.cpp"), std::string::npos) << graph;
        }
        co_await lambda;
        EXPECT_NE(masked(repr(lambda)).find("coro=<<lambda>() done, defined at FILE:LINE>"),
                  std::string::npos)
            << repr(lambda);
        expect_own(repr(lambda));
        co_await function;
        EXPECT_NE(masked(repr(function)).find("coro=<named() done, defined at FILE:LINE>"),
                  std::string::npos)
            << repr(function);
        co_await object;
    });
}

// The frame around an inner callable, and around what is no coroutine.
TEST(CallableTasks, AreLeftOutInTheMiddleToo) {
    run_virtual([]() -> Coroutine<> {
        auto outer = create_task([]() -> Coroutine<int> {
            const auto inner = []() -> Coroutine<int> { co_return co_await named(); };
            co_return co_await inner;
        });
        Queue<int> queue;
        auto awaitable = create_task(queue.get());
        auto in_time = create_task(wait_for(named(), 10s));
        expect_own(repr(awaitable));
        co_await sleep(0s);
        expect_own(repr(outer));
        expect_own(repr(awaitable));
        expect_own(repr(in_time));
        EXPECT_EQ(outer.get_stack().size(), 3u);
        expect_own(format_call_graph(outer));
        expect_own(format_call_graph(awaitable));
        queue.put_nowait(1);
        co_await outer;
        co_await in_time;
    });
}

TEST(CallableTasks, AreReportedAsTheirOwnCoroutine) {
    run_virtual([]() -> Coroutine<> {
        std::string report;
        get_running_loop().set_exception_handler(
            [&report](EventLoop&, const ExceptionContext& context) {
                report = context.message + "\n" + repr(context.future) + repr(context.task);
            });
        create_task([]() -> Coroutine<int> {
            co_await sleep(1ms);
            throw ValueError("lost");
        });
        co_await sleep(1s);
        expect_own(report);
        EXPECT_NE(masked(report).find("coro=<<lambda>() done, defined at FILE:LINE>"),
                  std::string::npos)
            << report;
        // One that throws before there is a coroutine.
        create_task([]() -> Coroutine<int> { throw ValueError("no coroutine"); });
        co_await sleep(1s);
        expect_own(report);
        EXPECT_NE(report.find("<lambda>() done"), std::string::npos) << report;
        get_running_loop().set_exception_handler(nullptr);
    });
}

}  // namespace

// graph.hpp: IN-01 to IN-04, and IN-07 of log.hpp. The texts are CPython 3.14's, but for the frames
// of its own functions.
#include <asyncio/graph.hpp>

#include <gtest/gtest.h>

#include <asyncio/generators.hpp>
#include <asyncio/locks.hpp>
#include <asyncio/log.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/tasks/as_completed.hpp>
#include <asyncio/tasks/gather.hpp>
#include <asyncio/tasks/shield.hpp>
#include <asyncio/tasks/wait.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/with.hpp>
#include <regex>
#include <source_location>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::Lines;
using support::run_virtual;

// Without what changes from run to run: `in async f()` for each frame of this file.
std::string plain(const std::string& text) {
    const std::string file =
        std::regex_replace(text, std::regex("File '[^']*', line [0-9]+, "), "");
    return std::regex_replace(file, std::regex("id=0x[0-9a-f]+"), "id=ID");
}

// The names of the tasks that wait for `future`, outermost waiters last.
std::string awaiters_of(const AnyFuture& future) {
    const auto names = [](const auto& self, const FutureCallGraph& graph) -> std::string {
        std::string text;
        for (const FutureCallGraph& w : graph.awaited_by) {
            if (!text.empty()) text += ' ';
            const AnyTask task = as_task(w.future);
            text += task ? task.get_name() : "future";
            const std::string more = self(self, w);
            if (!more.empty()) text += '(' + more + ')';
        }
        return text;
    };
    return names(names, *capture_call_graph(future));
}

Coroutine<> wait_for_ever(Event& event) { co_await event.wait(); }
Coroutine<> outer(Event& event) { co_await wait_for_ever(event); }

template <class A>
Task<void> named(const char* name, A&& awaitable) {
    return create_task(std::forward<A>(awaitable), {.name = name});
}

TEST(CallGraph, HasTheFramesOfASuspendedTaskInnermostFirst) {  // IN-01, IN-03
    run_virtual([]() -> Coroutine<> {
        Event event;
        auto task = named("waiting", outer(event));
        co_await sleep(0s);
        const auto graph = capture_call_graph(task);
        EXPECT_TRUE(graph.has_value());
        EXPECT_EQ(graph->future, task);
        EXPECT_TRUE(graph->awaited_by.empty());
        Lines names;
        for (const FrameCallGraphEntry& e : graph->call_stack) {
            EXPECT_EQ(e.kind, FrameKind::ASYNC);
            EXPECT_GT(e.frame.line(), 0u);
            EXPECT_NE(std::string(e.frame.file_name()).find("test_graph.cpp"), std::string::npos);
            names.push_back(e.frame.function_name());
        }
        EXPECT_EQ(names.size(), 2u);
        EXPECT_NE(names[0].find("wait_for_ever"), std::string::npos) << names[0];
        EXPECT_NE(names[1].find("outer"), std::string::npos) << names[1];
        event.set();
        co_await task;
        EXPECT_TRUE(capture_call_graph(task)->call_stack.empty());
    });
}

TEST(CallGraph, LimitKeepsTheNearestOrTheOutermost) {  // IN-01
    run_virtual([]() -> Coroutine<> {
        Event event;
        auto task = named("waiting", outer(event));
        co_await sleep(0s);
        const auto frames = [&](std::optional<int> limit) {
            std::string text;
            const auto graph = capture_call_graph(task, {.limit = limit});
            for (const FrameCallGraphEntry& e : graph->call_stack) {
                const std::string name = e.frame.function_name();
                text += name.find("wait_for_ever") != std::string::npos ? 'w' : 'o';
            }
            return text;
        };
        EXPECT_EQ(frames({}), "wo");
        EXPECT_EQ(frames(1), "w");
        EXPECT_EQ(frames(2), "wo");
        EXPECT_EQ(frames(100), "wo");
        EXPECT_EQ(frames(-1), "o");
        EXPECT_EQ(frames(-100), "wo");
        EXPECT_EQ(frames(0), "");
        event.set();
        co_await task;
    });
}

Coroutine<std::string> format_itself() { co_return format_call_graph(); }

Coroutine<> ask_a_task() {
    current_task().set_name("asking");
    auto task = create_task(format_itself(), {.name = "self"});
    EXPECT_EQ(plain(co_await task),
              "* Task(name='self', id=ID)\n"
              "  + Call stack:\n"
              "  |   in async format_itself()\n"
              "  + Awaited by:\n"
              "    * Task(name='asking', id=ID)\n"
              "      + Call stack:\n"
              "      |   in async ask_a_task()");
    const auto graph = capture_call_graph(current_task());
    EXPECT_EQ(graph->future, current_task());
    EXPECT_EQ(graph->call_stack.size(), 1u);
    EXPECT_TRUE(capture_call_graph({}, {.limit = 0})->call_stack.empty());
}

TEST(CallGraph, IsOfTheCurrentTaskByDefault) {  // IN-01
    run_virtual(ask_a_task());
}

Coroutine<std::string> format_all() {
    const FutureCallGraph graph = co_await current_call_graph();
    co_return format_call_graph(graph);
}
AsyncGenerator<std::string> format_in_a_generator() {
    const std::string text = co_await format_all();
    co_yield text;
}
Coroutine<std::string> call_it(bool suspend) {
    if (suspend) co_await sleep(0s);
    auto texts = format_in_a_generator();
    const auto text = co_await texts.next();
    co_await texts.aclose();
    co_return *text;
}
Coroutine<std::string> call_that(bool suspend) { co_return co_await call_it(suspend); }

TEST(CallGraph, AwaitedItHasTheWholeStackOfTheCurrentTask) {  // IN-01
    run_virtual([]() -> Coroutine<> {
        for (const bool suspend : {false, true}) {
            auto task = create_task(call_that(suspend), {.name = "self"});
            const std::string text = plain(co_await task);
            EXPECT_EQ(text.substr(0, text.find("\n  + Awaited by:")),
                      "* Task(name='self', id=ID)\n"
                      "  + Call stack:\n"
                      "  |   in async format_all()\n"
                      "  |   in async generator format_in_a_generator()\n"
                      "  |   in async call_it()\n"
                      "  |   in async call_that()");
        }
        const FutureCallGraph nearest = co_await current_call_graph({.limit = 1});
        EXPECT_EQ(nearest.future, current_task());
        EXPECT_EQ(nearest.call_stack.size(), 1u);
        // It does not wait: a cancel that is due comes with the next wait.
        auto cancelled = create_task([]() -> Coroutine<int> {
            current_task().cancel();
            static_cast<void>(co_await current_call_graph());
            const auto r = co_await as_result(sleep(1s));
            co_return r.holds<CancelledError>() ? 1 : 0;
        });
        EXPECT_EQ(co_await cancelled, 1);
    });
}

TEST(CallGraph, NeedsALoopOrAFuture) {  // IN-01, IN-02
    EXPECT_EQ(support::raised<RuntimeError>([] { capture_call_graph(); }),
              "capture_call_graph() is called outside of a running event loop and no *future* to "
              "introspect was provided");
    EXPECT_THROW(print_call_graph(), RuntimeError);
    const auto loop = VirtualTimeEventLoop::create();
    const Future<int> future = loop->create_future<int>();
    EXPECT_EQ(plain(format_call_graph(future)), "* Future(id=ID)");
    // In a callback there is no current task.
    bool called = false;
    loop->call_soon([&] {
        EXPECT_FALSE(capture_call_graph().has_value());
        EXPECT_EQ(format_call_graph(), "");
        called = true;
    });
    loop->run_until_complete(sleep(0s));
    EXPECT_TRUE(called);
    loop->close();
}

Coroutine<> stand(Event& event) { co_await event.wait(); }
Coroutine<> middle(AnyFuture future) { static_cast<void>(co_await as_result(future)); }

// The example of Python's page: a task in a group.
TEST(CallGraph, PrintsATaskAndThoseThatWaitForIt) {  // IN-02
    run_virtual([]() -> Coroutine<> {
        Event event;
        auto inner = named("inner", stand(event));
        auto first = named("first", middle(inner));
        auto second = named("second", middle(inner));
        auto third = named("it's third", middle(first));
        for (int i = 0; i < 3; ++i) co_await sleep(0s);
        std::ostringstream out;
        print_call_graph(inner, {.file = &out});
        EXPECT_EQ(plain(out.str()),
                  "* Task(name='inner', id=ID)\n"
                  "  + Call stack:\n"
                  "  |   in async stand()\n"
                  "  + Awaited by:\n"
                  "    * Task(name='first', id=ID)\n"
                  "      + Call stack:\n"
                  "      |   in async middle()\n"
                  "      + Awaited by:\n"
                  "        * Task(name=\"it's third\", id=ID)\n"
                  "          + Call stack:\n"
                  "          |   in async middle()\n"
                  "    * Task(name='second', id=ID)\n"
                  "      + Call stack:\n"
                  "      |   in async middle()\n");
        const std::string line = format_call_graph(third, {.limit = 0});
        EXPECT_EQ(plain(line), "* Task(name=\"it's third\", id=ID)");
        event.set();
        co_await gather(second, third);
    });
}

TEST(CallGraph, HasWhoeverAwaits) {  // IN-04
    run_virtual([]() -> Coroutine<> {
        Event event;
        auto inner = named("inner", stand(event));
        const auto waiting = [&](const char* name, auto body) {
            return create_task(std::move(body), {.name = name});
        };
        const auto one = named("one", stand(event));
        auto awaits = waiting("await", [](AnyFuture f) -> Coroutine<> { co_await f; }(inner));
        auto gathers = waiting(
            "gather", [](Task<> f, Task<> g) -> Coroutine<> { co_await gather(f, g); }(inner, one));
        auto waits = waiting("wait", [](Task<> f, Task<> g) -> Coroutine<> {
            std::vector<Task<>> both{f, g};
            co_await wait(both);
        }(inner, one));
        auto completes = waiting("as_completed", [](Task<> f, Task<> g) -> Coroutine<> {
            std::vector<Task<>> both{f, g};
            auto all = as_completed(both);
            while (auto next = co_await all.next()) static_cast<void>(next);
        }(inner, one));
        auto shields =
            waiting("shield", [](Task<> f) -> Coroutine<> { co_await shield(f); }(inner));
        auto limits =
            waiting("wait_for", [](Task<> f) -> Coroutine<> { co_await wait_for(f, 100s); }(inner));
        auto nested = waiting("nested", [](Task<> f, Task<> g) -> Coroutine<> {
            co_await shield(gather(gather(f), g));
        }(inner, one));
        for (int i = 0; i < 3; ++i) co_await sleep(0s);
        EXPECT_EQ(awaiters_of(inner), "await gather wait as_completed shield wait_for nested");
        EXPECT_EQ(awaiters_of(one), "gather wait as_completed nested");
        event.set();
        co_await gather(awaits, gathers, waits, completes, shields, limits, nested);
        EXPECT_EQ(awaiters_of(inner), "");
    });
}

TEST(CallGraph, HasTheParentOfAGroup) {  // IN-04
    run_virtual([]() -> Coroutine<> {
        Event event;
        auto grouped = create_task(
            [](Event& e) -> Coroutine<> {
                auto body = [&](TaskGroup& group) -> Coroutine<> {
                    auto child = group.create_task(stand(e), {.name = "child"});
                    co_await sleep(0s);
                    // Also while the body runs.
                    EXPECT_EQ(awaiters_of(child), "parent");
                };
                co_await with(TaskGroup{}, body);
            }(event),
            {.name = "parent"});
        for (int i = 0; i < 4; ++i) co_await sleep(0s);
        std::string found;
        for (const AnyTask& t : all_tasks()) {
            if (t.get_name() == "child") found = awaiters_of(t);
        }
        EXPECT_EQ(found, "parent");
        event.set();
        co_await grouped;
    });
}

TEST(CallGraph, ATaskThatACancelWaitsForHasItsWaiter) {  // IN-04
    run_virtual([]() -> Coroutine<> {
        auto stubborn = create_task(
            []() -> Coroutine<> {
                static_cast<void>(co_await as_result(sleep(100s)));
                co_await sleep(1s);
            }(),
            {.name = "stubborn"});
        auto limited = create_task(
            [](Task<> t) -> Coroutine<> {
                static_cast<void>(co_await as_result(wait_for(t, 1s)));
            }(stubborn),
            {.name = "limited"});
        co_await sleep(1500ms);
        EXPECT_EQ(awaiters_of(stubborn), "limited");
        co_await limited;
    });
}

AsyncGenerator<int> numbers(Event& event) {
    co_await event.wait();
    co_yield 1;
}
Coroutine<> iterate(Event& event) {
    auto all = numbers(event);
    while (co_await all.next()) {
    }
}

TEST(CallGraph, NamesGenerators) {  // IN-02, IN-03
    run_virtual([]() -> Coroutine<> {
        Event event;
        auto task = named("t", iterate(event));
        co_await sleep(0s);
        EXPECT_EQ(plain(format_call_graph(task)),
                  "* Task(name='t', id=ID)\n"
                  "  + Call stack:\n"
                  "  |   in async generator numbers()\n"
                  "  |   in async iterate()");
        event.set();
        co_await task;
    });
}

std::string by_a_function() { return format_call_graph(); }

TEST(CallGraph, APlainFunctionIsNotAsync) {  // IN-02
    run_virtual([]() -> Coroutine<> {
        const std::string text = plain(by_a_function());
        EXPECT_NE(text.find("|   in by_a_function()"), std::string::npos) << text;
        co_return;
    });
}

TEST(CallGraph, FuturesMayBeSaidToBeAwaited) {  // IN-04
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Future<int> future = loop.create_future<int>();
        Future<int> waiter = loop.create_future<int>();
        auto task = create_task(sleep(1s), {.name = "t"});
        future_add_to_awaited_by(future, waiter);
        future_add_to_awaited_by(future, waiter);
        future_add_to_awaited_by(future, task);
        EXPECT_EQ(awaiters_of(future), "future t");
        future_discard_from_awaited_by(future, waiter);
        EXPECT_EQ(awaiters_of(future), "t");
        future_discard_from_awaited_by(future, waiter);
        // Empty handles and futures that are done are no error.
        future_add_to_awaited_by(AnyFuture(), waiter);
        future_add_to_awaited_by(future, AnyFuture());
        future_discard_from_awaited_by(AnyFuture(), waiter);
        waiter.set_result(1);
        future_add_to_awaited_by(waiter, future);
        EXPECT_EQ(awaiters_of(waiter), "");
        // What is awaited ends: nobody awaits it any more.
        future.set_result(1);
        co_await sleep(0s);
        EXPECT_EQ(awaiters_of(future), "");
        future_discard_from_awaited_by(future, task);
        co_await task;
    });
}

TEST(CallGraph, ACircleIsShownOnce) {  // IN-04
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Future<int> a = loop.create_future<int>();
        Future<int> b = loop.create_future<int>();
        future_add_to_awaited_by(a, b);
        future_add_to_awaited_by(b, a);
        future_add_to_awaited_by(a, a);
        EXPECT_EQ(plain(format_call_graph(a)),
                  "* Future(id=ID)\n  + Awaited by:\n    * Future(id=ID)");
        a.set_result(1);
        b.set_result(1);
        co_await sleep(0s);
    });
}

Coroutine<> await_next(Task<> next) { co_await next; }

TEST(CallGraph, TooDeepIsAnError) {  // IN-01
    run_virtual([]() -> Coroutine<> {
        Event event;
        const auto first = named("first", stand(event));
        Task<> last = first;
        for (int i = 0; i < 999; ++i) last = create_task(await_next(last));
        for (int i = 0; i < 2; ++i) co_await sleep(0s);
        EXPECT_NO_THROW(capture_call_graph(first));
        last = create_task(await_next(last));
        co_await sleep(0s);
        EXPECT_EQ(support::raised<RuntimeError>([&] { capture_call_graph(first); }),
                  "maximum depth of a call graph exceeded: 1000 futures");
        event.set();
        co_await last;
    });
}

TEST(CallGraph, InDebugModeAnotherThreadIsRefused) {  // IN-01, DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->run_until_complete([]() -> Coroutine<> {
        auto task = create_task(sleep(0s));
        const auto elsewhere = [task] { capture_call_graph(task); };
        const auto r = co_await as_result(to_thread(elsewhere));
        EXPECT_TRUE(r.holds<RuntimeError>());
        co_await task;
    });
    loop->close();
}

Lines task_names;
void note_task(log::Level, std::string_view message) {
    task_names.push_back(std::string(message) + " by '" + log::task_name() + "'");
}

TEST(Log, TellsWhichTaskRuns) {  // IN-07
    const log::Sink before = log::set_sink(&note_task);
    log::write(log::Level::INFO, "outside");
    run_virtual([]() -> Coroutine<> {
        get_running_loop().call_soon([] { log::write(log::Level::INFO, "in a callback"); });
        co_await create_task(
            []() -> Coroutine<> {
                log::write(log::Level::INFO, "in a task");
                co_return;
            }(),
            {.name = "worker"});
    });
    log::set_sink(before);
    EXPECT_EQ(task_names, (Lines{"outside by ''", "in a callback by ''", "in a task by 'worker'"}));
}

}  // namespace

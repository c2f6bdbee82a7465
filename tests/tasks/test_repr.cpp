// repr.hpp: how values, futures, tasks, handles and loops print. T-13, F-15, HD-05, LC-15.
#include <asyncio/events.hpp>
#include <asyncio/repr.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "../src/base/function_name.hpp"
#include "support.hpp"

namespace app {

struct Streamed {
    int value;
};
std::ostream& operator<<(std::ostream& out, const Streamed& s) { return out << '#' << s.value; }
struct Plain {};

struct Worker {
    asyncio::Coroutine<int> work(int x) {
        co_await asyncio::sleep(std::chrono::seconds(1));
        co_return x;
    }
};

template <class T>
asyncio::Coroutine<T> generic(T x) {
    co_await asyncio::sleep(std::chrono::seconds(1));
    co_return x;
}

}  // namespace app

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::masked;
using support::run_virtual;

TEST(Repr, PrintsValuesAsPythonDoes) {
    EXPECT_EQ(repr(true), "True");
    EXPECT_EQ(repr(42), "42");
    EXPECT_EQ(repr(-7L), "-7");
    EXPECT_EQ(repr(1.5), "1.5");
    EXPECT_EQ(repr(2.0), "2.0");
    EXPECT_EQ(repr(1e300), "1e+300");
    EXPECT_EQ(repr(std::nan("")), "nan");
    EXPECT_EQ(repr(std::string("it's")), "\"it's\"");
    EXPECT_EQ(repr("plain"), "'plain'");
    EXPECT_EQ(repr(std::string("a\nb")), "'a\\nb'");
    EXPECT_EQ(repr(std::optional<int>()), "None");
    EXPECT_EQ(repr(std::optional<int>(3)), "3");
    EXPECT_EQ(repr(std::vector<int>{1, 2}), "[1, 2]");
    EXPECT_EQ(repr(std::vector<bool>{true, false}), "[True, False]");
    EXPECT_EQ(repr(std::vector<std::vector<int>>{{1}, {}}), "[[1], []]");
    EXPECT_EQ(repr(std::map<std::string, int>{{"a", 1}, {"b", 2}}), "{'a': 1, 'b': 2}");
    EXPECT_EQ(repr(std::map<int, int>()), "{}");
    EXPECT_EQ(repr(std::set<int>{2, 1}), "{1, 2}");
    EXPECT_EQ(repr(std::set<int>()), "set()");
    EXPECT_EQ(repr(std::monostate()), "None");
    EXPECT_EQ(repr(nullptr), "None");
    const char* no_text = nullptr;
    EXPECT_EQ(repr(no_text), "None");
    EXPECT_EQ(repr('x'), "'x'");
    EXPECT_EQ(repr(std::string_view("v")), "'v'");
    EXPECT_EQ(repr(Result<int>::success(3)), "3");
    EXPECT_EQ(repr(Result<>::success()), "None");
    EXPECT_EQ(repr(Result<int>::failure(std::make_exception_ptr(ValueError("r")))),
              "ValueError('r')");
    EXPECT_EQ(repr(std::pair(1, 2.5)), "(1, 2.5)");
    EXPECT_EQ(repr(std::tuple<>()), "()");
    EXPECT_EQ(repr(1e16), "1e+16");
    EXPECT_EQ(repr(0.1f), "0.10000000149011612") << "as Python, which has no floats";
    EXPECT_EQ(repr(std::make_tuple(1, "a")), "(1, 'a')");
    EXPECT_EQ(repr(std::make_tuple(1)), "(1,)");
    EXPECT_EQ(repr(app::Streamed{5}), "#5");
    EXPECT_EQ(repr(app::Plain()), "<Plain object>");
    EXPECT_EQ(repr(std::make_exception_ptr(ValueError("bad"))), "ValueError('bad')");
}

Coroutine<std::string> func() {
    co_await sleep(1s);
    co_return "Return value";
}
Coroutine<> failing() {
    co_await sleep(1s);
    throw ValueError("bad");
}

TEST(Repr, OfATaskTellsItsStateNameAndPlace) {  // T-13
    run_virtual([]() -> Coroutine<> {
        auto task = create_task(func(), {.name = "n1"});
        EXPECT_EQ(masked(repr(task)),
                  "<Task pending name='n1' coro=<func() running at FILE:LINE>>");
        co_await sleep(0s);
        EXPECT_EQ(masked(repr(task)),
                  "<Task pending name='n1' coro=<func() running at FILE:LINE> "
                  "wait_for=<Future pending cb=[Task.task_wakeup()]>>");
        co_await task;
        EXPECT_EQ(masked(repr(task)),
                  "<Task finished name='n1' coro=<func() done, defined at FILE:LINE> "
                  "result='Return value'>");
        auto bad = create_task(failing(), {.name = "n2"});
        co_await wait(bad);
        EXPECT_EQ(masked(repr(bad)),
                  "<Task finished name='n2' coro=<failing() done, defined at FILE:LINE> "
                  "exception=ValueError('bad')>");
        EXPECT_TRUE(bad.exception());
        auto stopped = create_task(func(), {.name = "n3"});
        co_await sleep(0s);
        stopped.cancel();
        EXPECT_EQ(masked(repr(stopped)).substr(0, 16), "<Task cancelling");
        co_await wait(stopped);
        EXPECT_EQ(masked(repr(stopped)),
                  "<Task cancelled name='n3' coro=<func() done, defined at FILE:LINE>>");
    });
}

TEST(Repr, OfATaskTellsWhatItWaitsFor) {  // T-13
    run_virtual([]() -> Coroutine<> {
        const auto wait_for_it = [](AnyFuture f) -> Coroutine<> { co_await f; };
        const auto inner = create_task(func(), {.name = "inner"});
        const auto outer = create_task(wait_for_it(inner), {.name = "outer"});
        co_await sleep(0s);
        EXPECT_EQ(masked(repr(outer)),
                  "<Task pending name='outer' coro=<<lambda>() running at FILE:LINE> "
                  "wait_for=<Task pending name='inner' coro=<func() running at FILE:LINE> "
                  "cb=[Task.task_wakeup()]>>")
            << "one level: a chain may be long";
        const auto g = gather(outer);
        const auto s = shield(outer);
        EXPECT_NE(repr(outer).find(" cb=[gather(), shield()]>"), std::string::npos) << repr(outer);
        EXPECT_EQ(repr(g), "<_GatheringFuture pending>");
        EXPECT_EQ(repr(s), "<Future pending cb=[shield()]>");
        outer.cancel();
        EXPECT_NE(repr(inner).find("wait_for=<Future cancelled>"), std::string::npos)
            << repr(inner);
        EXPECT_NE(repr(current_task()).find(" cb=[run_until_complete()]>"), std::string::npos);
        (void)co_await as_result(outer);
        (void)co_await as_result(g);
    });
}

TEST(Repr, OfARangeOfTasksIsASet) {
    run_virtual([]() -> Coroutine<> {
        std::vector<Task<std::string>> tasks;
        EXPECT_EQ(repr(tasks), "set()");
        tasks.push_back(create_task(func(), {.name = "n1"}));
        tasks.push_back(create_task(func(), {.name = "n2"}));
        co_await wait(tasks);
        std::ostringstream out;
        out << tasks;
        EXPECT_EQ(masked(out.str()),
                  "{<Task finished name='n1' coro=<func() done, defined at FILE:LINE> "
                  "result='Return value'>, <Task finished name='n2' coro=<func() done, defined at "
                  "FILE:LINE> result='Return value'>}");
    });
}

TEST(Repr, NamesMethodsLambdasAndTemplates) {
    run_virtual([]() -> Coroutine<> {
        app::Worker worker;
        auto a = create_task(worker.work(1), {.name = "a"});
        EXPECT_NE(repr(a).find("coro=<Worker::work() "), std::string::npos) << repr(a);
        auto b = create_task(app::generic(1), {.name = "b"});
        EXPECT_NE(repr(b).find("coro=<generic() "), std::string::npos) << repr(b);
        auto lambda = []() -> Coroutine<> { co_await sleep(1s); };
        auto c = create_task(lambda(), {.name = "c"});
        EXPECT_NE(repr(c).find("coro=<<lambda>() "), std::string::npos) << repr(c);
        co_await gather(a, b, c);
    });
}

TEST(Repr, OfAFuture) {  // F-15
    const auto loop = VirtualTimeEventLoop::create();
    auto f = loop->create_future<int>();
    EXPECT_EQ(repr(f), "<Future pending>");
    f.add_done_callback([] {});
    EXPECT_EQ(masked(repr(f)), "<Future pending cb=[callback at FILE:LINE]>");
    f.add_done_callback([] {});
    EXPECT_EQ(masked(repr(f)),
              "<Future pending cb=[callback at FILE:LINE, callback at FILE:LINE]>");
    f.add_done_callback([] {});
    const std::string of_three =
        "<Future pending cb=[callback at FILE:LINE, <1 more>, callback at FILE:LINE]>";
    EXPECT_EQ(masked(repr(f)), of_three);
    f.add_done_callback([] {});
    EXPECT_EQ(masked(repr(f)),
              "<Future pending cb=[callback at FILE:LINE, <2 more>, callback at FILE:LINE]>");
    f.set_result(5);
    EXPECT_EQ(repr(f), "<Future finished result=5>");
    auto g = loop->create_future<int>();
    g.cancel();
    EXPECT_EQ(repr(g), "<Future cancelled>");
    auto h = loop->create_future<std::string>();
    h.set_result(std::string(1000, 'x'));
    EXPECT_LT(repr(h).size(), 500u);  // shortened
    loop->set_debug(true);
    EXPECT_EQ(masked(repr(loop->create_future<int>())), "<Future pending created at FILE:LINE>");
    EXPECT_EQ(repr(Future<int>(nullptr)), "<empty handle>");
}

TEST(Repr, OfHandlesAndLoops) {  // HD-05, LC-15
    const auto loop = VirtualTimeEventLoop::create();
    const Handle h = loop->call_soon([] {});
    EXPECT_EQ(masked(h.repr()), "<Handle callback at FILE:LINE>");
    h.cancel();
    EXPECT_EQ(masked(h.repr()), "<Handle cancelled callback at FILE:LINE>");
    const TimerHandle t = loop->call_later(1.5s, [] {});
    EXPECT_EQ(masked(t.repr()), "<TimerHandle when=1.5 callback at FILE:LINE>");
    loop->set_debug(false);
    EXPECT_EQ(loop->repr(), "<VirtualTimeEventLoop running=False closed=False debug=False>");
    std::ostringstream out;
    out << *loop << h;
    EXPECT_EQ(masked(out.str()),
              "<VirtualTimeEventLoop running=False closed=False debug=False>"
              "<Handle cancelled callback at FILE:LINE>");
}

TEST(Repr, ReducesWhatCompilersCallAFunction) {
    using detail::function_name;
    EXPECT_EQ(function_name("asyncio::Coroutine<int> app::C::f(int)"), "C::f");
    EXPECT_EQ(function_name("asyncio::v1::Coroutine<T> app::g(T) [with T = std::vector<int>]"),
              "g");
    EXPECT_EQ(function_name("main()::<lambda(int)>"), "<lambda>");
    EXPECT_EQ(
        function_name(
            "auto (anonymous namespace)::Test::body()::(anonymous class)::operator()() const"),
        "<lambda>");
    EXPECT_EQ(function_name("void {anonymous}::helper(std::pair<int, int>)"), "helper");
    EXPECT_EQ(function_name("asyncio::Coroutine<std::map<int, int>> f"), "f");
}

}  // namespace

// repr.hpp: how values, futures, tasks, handles and loops print. T-13, F-15, HD-05, LC-15.
#include <asyncio/events.hpp>
#include <asyncio/repr.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "../src/function_name.hpp"
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
                  "wait_for=<Future pending>>");
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
    EXPECT_EQ(repr(f), "<Future pending cb=[<1 callback>]>");
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

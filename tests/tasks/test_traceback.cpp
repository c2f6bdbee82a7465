// Tracebacks: through which frames an error has passed. traceback.hpp, src/base/traces.cpp.
#include <asyncio.hpp>
#include "counted_new.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;

namespace app {

using asyncio::Coroutine;

Coroutine<> inner() {
    co_await asyncio::sleep(0s);
    throw asyncio::ValueError("bad");
}
constexpr unsigned kMiddleLine = __LINE__ + 2;
Coroutine<int> middle() {
    co_await inner();
    co_return 1;
}
Coroutine<> outer() { co_await middle(); }

asyncio::AsyncGenerator<int> generate() {
    co_yield 1;
    co_yield co_await middle();
}

struct Server {
    Coroutine<> handle() { co_await inner(); }
};

Coroutine<> deep(int n) {
    if (n == 0) {
        co_await asyncio::sleep(0s);
        throw asyncio::ValueError("deep");
    }
    co_await deep(n - 1);
}

Coroutine<> raise(std::exception_ptr error) {
    co_await asyncio::sleep(0s);
    std::rethrow_exception(error);
}

}  // namespace app

namespace {

using asyncio::Coroutine;
using asyncio::create_task;
using asyncio::FrameSummary;

// The error that `awaitable` ends with.
template <class A>
std::exception_ptr error_of(A&& awaitable) {
    try {
        support::run_virtual(std::forward<A>(awaitable));
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

// "outer middle inner", outermost first; the name of a task, in brackets, where it begins, but for
// Task-N's number: in another test it is another one.
std::string way(const std::exception_ptr& error) {
    std::string text;
    std::string task;
    for (const FrameSummary& f : asyncio::traceback(error)) {
        if (!text.empty()) text += ' ';
        if (f.task != task) {
            task = f.task;
            text += task.starts_with("Task-") ? "[] " : '[' + task + "] ";
        }
        text += f.name;
        if (f.omitted > 0) text += " +" + std::to_string(f.omitted);
    }
    return text;
}

// `text` with the paths and lines of a traceback replaced.
std::string without_places(std::string text) {
    for (std::size_t at = 0; (at = text.find("File \"", at)) != std::string::npos; ++at) {
        const std::size_t end = text.find(", in ", at);
        text.replace(at, end - at, "File");
    }
    for (std::size_t at = 0; (at = text.find("'Task-", at)) != std::string::npos;) {
        text.replace(at, text.find('\'', at + 1) + 1 - at, "Task");
    }
    return text;
}

TEST(Traceback, HasEachFrameThatTheErrorLeft) {
    const std::exception_ptr error = error_of(app::outer());
    EXPECT_EQ(way(error), "[] outer middle inner");
    const auto frames = asyncio::traceback(error);
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[1].lineno, app::kMiddleLine);
    EXPECT_TRUE(frames[1].filename.ends_with("tests/tasks/test_traceback.cpp"))
        << frames[1].filename;
    EXPECT_EQ(without_places(asyncio::format_exception(error)),
              "Traceback (most recent call last):\n"
              "  File, in outer\n"
              "  File, in middle\n"
              "  File, in inner\n"
              "ValueError: bad");
}

TEST(Traceback, OfAnErrorThatLeftNoFrameIsEmpty) {
    EXPECT_TRUE(asyncio::traceback(nullptr).empty());
    const auto error = std::make_exception_ptr(asyncio::ValueError("v"));
    EXPECT_TRUE(asyncio::traceback(error).empty());
    EXPECT_EQ(asyncio::format_exception(error), "ValueError: v");
    EXPECT_EQ(asyncio::format_exception(nullptr), "None");
}

TEST(Traceback, GoesOnInTheTaskThatAwaits) {
    const auto main = []() -> Coroutine<> {
        auto named = create_task(app::outer(), {.name = "the worker"});
        auto other = [](auto t) -> Coroutine<> { co_await t; };
        auto unnamed = create_task(other(named));
        co_await unnamed;
    };
    const std::exception_ptr error = error_of(main());
    EXPECT_EQ(way(error), "[] <lambda> [] <lambda> [the worker] outer middle inner");
    EXPECT_EQ(without_places(asyncio::format_exception(error)),
              "Traceback (most recent call last):\n"
              "  File, in <lambda>\n"
              "  In task Task:\n"
              "  File, in <lambda>\n"
              "  In task 'the worker':\n"
              "  File, in outer\n"
              "  File, in middle\n"
              "  File, in inner\n"
              "ValueError: bad");
}

TEST(Traceback, GoesOnThroughWhatAwaitsOnSomebodysBehalf) {
    const auto through = [](auto make) {
        const auto main = [](auto m) -> Coroutine<> {
            const auto child = create_task(app::inner(), {.name = "child"});
            auto awaitable = m(child);
            co_await std::move(awaitable);
        };
        return way(error_of(main(make)));
    };
    using T = asyncio::Task<>;
    const char* const expected = "[] <lambda> [child] inner";
    EXPECT_EQ(through([](const T& t) { return asyncio::gather(t, asyncio::sleep(0s)); }), expected);
    EXPECT_EQ(through([](const T& t) { return asyncio::wait_for(t, 1s); }), expected);
    EXPECT_EQ(through([](const T& t) { return asyncio::shield(t); }), expected);
    EXPECT_EQ(through([](const T& t) { return asyncio::gather(asyncio::gather(t)); }), expected);
}

TEST(Traceback, OfTheMembersOfAGroupAreTheirOwn) {
    const auto main = []() -> Coroutine<> {
        asyncio::TaskGroup group;
        auto body = [&]() -> Coroutine<> {
            group.create_task(app::middle(), {.name = "one"});
            group.create_task(app::inner(), {.name = "two"});
            co_return;
        };
        co_await asyncio::with(group, body);
    };
    const std::exception_ptr error = error_of(main());
    EXPECT_EQ(without_places(asyncio::format_exception(error)),
              "  + Exception Group Traceback (most recent call last):\n"
              "  |   File, in <lambda>\n"
              "  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)\n"
              "  +-+---------------- 1 ----------------\n"
              "    | Traceback (most recent call last):\n"
              "    |   In task 'one':\n"
              "    |   File, in middle\n"
              "    |   File, in inner\n"
              "    | ValueError: bad\n"
              "    +---------------- 2 ----------------\n"
              "    | Traceback (most recent call last):\n"
              "    |   In task 'two':\n"
              "    |   File, in inner\n"
              "    | ValueError: bad\n"
              "    +------------------------------------");
}

TEST(Traceback, OfACauseStandsBeforeIt) {
    const auto main = []() -> Coroutine<> {
        const auto result = co_await asyncio::as_result(app::middle());
        std::rethrow_exception(
            asyncio::with_cause(asyncio::RuntimeError("no data"), result.error()));
    };
    EXPECT_EQ(without_places(asyncio::format_exception(error_of(main()))),
              "Traceback (most recent call last):\n"
              "  File, in middle\n"
              "  File, in inner\n"
              "ValueError: bad\n"
              "\n"
              "The above exception was the direct cause of the following exception:\n"
              "\n"
              "Traceback (most recent call last):\n"
              "  File, in <lambda>\n"
              "RuntimeError: no data");
}

TEST(Traceback, HasAsynchronousGenerators) {
    const auto main = []() -> Coroutine<> {
        auto g = app::generate();
        while (co_await g.next()) {
        }
    };
    EXPECT_EQ(way(error_of(main())), "[] <lambda> generate middle inner");
}

TEST(Traceback, ShowsTheUsersCallableAndNoFrameOfTheLibrary) {
    const auto main = []() -> Coroutine<> {
        auto call = []() -> Coroutine<> { co_await app::Server().handle(); };
        // A callable as a task, and one that is awaited.
        auto task = create_task(call, {.name = "called"});
        auto forward = [task] { return task; };
        co_await forward;
    };
    EXPECT_EQ(way(error_of(main())), "[] <lambda> [called] <lambda> Server::handle inner");
}

TEST(Traceback, GoesOnFromAnotherThread) {
    const auto main = []() -> Coroutine<> {
        auto job = [] {
            asyncio::run(app::outer());  // a loop of that thread's
        };
        co_await asyncio::to_thread(job);
    };
    const auto error = error_of(main());
    EXPECT_EQ(way(error), "[] <lambda> [] outer middle inner");

    const auto loop = asyncio::new_event_loop();
    std::exception_ptr seen;
    std::thread waiter;
    const auto serve = [&]() -> Coroutine<> {
        auto done = std::make_shared<asyncio::Event>();
        asyncio::EventLoop& here = asyncio::get_running_loop();
        waiter = std::thread([&seen, &here, done] {
            auto future = asyncio::run_coroutine_threadsafe(app::middle(), here);
            const auto other = [](auto f) -> Coroutine<> { co_await asyncio::wrap_future(f); };
            try {
                asyncio::run(other(future));
            } catch (...) {
                seen = std::current_exception();
            }
            here.call_soon_threadsafe([done] { done->set(); });
        });
        co_await done->wait();
    };
    loop->run_until_complete(serve());
    waiter.join();
    EXPECT_EQ(way(seen), "[] <lambda> [] middle inner");
}

// F-02: as CPython resets the traceback to the one of the time when the future failed.
TEST(Traceback, OfAFutureThatSeveralAwaitIsTheirOwnInEach) {
    support::run_virtual([]() -> Coroutine<> {
        asyncio::Future<> future;
        const auto failing = create_task(app::inner(), {.name = "failing"});
        const auto first = [&]() -> Coroutine<> { co_await failing; };
        const auto second = [&]() -> Coroutine<> {
            auto step = [&]() -> Coroutine<> { co_await failing; };
            co_await step();
        };
        const auto a = co_await asyncio::as_result(first());
        EXPECT_EQ(way(a.error()), "<lambda> [failing] inner");
        const auto b = co_await asyncio::as_result(second());
        EXPECT_EQ(way(b.error()), "<lambda> <lambda> [failing] inner");
        for (int i = 0; i < 1000; ++i) {
            const auto again = co_await asyncio::as_result(first());
            EXPECT_EQ(again.error(), failing.exception());
        }
        EXPECT_EQ(way(failing.exception()), "[failing] inner");
    }());
}

// The same for the futures of other threads.
TEST(Traceback, OfAConcurrentFutureThatIsAskedAgainIsItsOwnEachTime) {
    asyncio::ThreadPoolExecutor executor(1);
    const auto failing = executor.submit([] { asyncio::run(app::inner()); });
    const auto ask = [&]() -> Coroutine<> {
        failing.result();
        co_return;
    };
    const std::string once = way(error_of(ask()));
    EXPECT_TRUE(once.starts_with("[] <lambda> ") && once.ends_with("[] inner")) << once;
    for (int i = 0; i < 100; ++i) EXPECT_EQ(way(error_of(ask())), once);
}

struct RaisesWhileItGoes {
    RaisesWhileItGoes() = default;
    RaisesWhileItGoes(const RaisesWhileItGoes&) = delete;
    RaisesWhileItGoes& operator=(const RaisesWhileItGoes&) = delete;
    ~RaisesWhileItGoes() { seen = way(error_of(app::outer())); }
    static inline std::string seen;
};

TEST(Traceback, OfAnErrorWhoseDestructorRaisesAnother) {
    const auto main = [](std::exception_ptr e) -> Coroutine<> { co_await app::raise(e); };
    {
        struct Error {
            std::shared_ptr<RaisesWhileItGoes> inside = std::make_shared<RaisesWhileItGoes>();
        };
        const auto error = error_of(main(std::make_exception_ptr(Error())));
        EXPECT_EQ(way(error), "[] <lambda> raise");
        EXPECT_EQ(RaisesWhileItGoes::seen, "");
    }
    EXPECT_EQ(RaisesWhileItGoes::seen, "[] outer middle inner");
}

TEST(Traceback, KeepsTheTwoEndsOfALongWay) {
    for (const int frames : {31, 32, 33, 100, 100'000}) {
        const std::exception_ptr error = error_of(app::deep(frames - 1));
        const auto seen = asyncio::traceback(error);
        EXPECT_EQ(seen.size(), static_cast<std::size_t>(std::min(frames, 32)));
        std::uint64_t omitted = 0;
        for (const FrameSummary& f : seen) omitted += f.omitted;
        EXPECT_EQ(omitted, static_cast<std::uint64_t>(std::max(frames - 32, 0)));
        if (frames > 32) {
            EXPECT_EQ(seen[15].omitted, omitted);
        }
    }
    EXPECT_EQ(without_places(asyncio::format_exception(error_of(app::deep(99'999)))),
              "Traceback (most recent call last):\n"
              "  File, in deep\n"
              "  File, in deep\n"
              "  File, in deep\n"
              "  [Previous line repeated 13 more times]\n"
              "  [99968 more frames]\n"
              "  File, in deep\n"
              "  File, in deep\n"
              "  File, in deep\n"
              "  [Previous line repeated 12 more times]\n"
              "  File, in deep\n"
              "ValueError: deep");
}

TEST(Traceback, OfAnErrorThatIsRaisedAMillionTimesIsBounded) {
    constexpr int kTimes = support::kThreadSanitizer ? 10'000 : 1'000'000;
    const auto error = std::make_exception_ptr(asyncio::ValueError("v"));
    support::run_virtual([](auto e) -> Coroutine<> {
        auto again = [](auto what) -> Coroutine<> {
            std::rethrow_exception(what);
            co_return;
        };
        for (int i = 0; i < kTimes; ++i) {
            const auto result = co_await asyncio::as_result(again(e));
            EXPECT_FALSE(result.has_value());
        }
    }(error));
    const auto frames = asyncio::traceback(error);
    EXPECT_EQ(frames.size(), 32U);
    EXPECT_EQ(frames[15].omitted, kTimes - 32U);
}

// The address of an exception that is gone is used again by the next one.
TEST(Traceback, IsGoneWithItsException) {
    std::set<const void*> addresses;
    for (int i = 0; i < 100; ++i) {
        const auto fresh = std::make_exception_ptr(asyncio::ValueError("v"));
        EXPECT_TRUE(asyncio::traceback(fresh).empty());
        const std::exception_ptr error = error_of(app::raise(fresh));
        EXPECT_EQ(error, fresh);
        EXPECT_EQ(way(error), "[] raise");
        addresses.insert(asyncio::exception_ptr_cast<asyncio::ValueError>(error));
    }
    // The address sanitizer keeps what is freed for a while.
    EXPECT_LT(addresses.size(), support::kAddressSanitizer ? 101U : 100U);
}

struct Counted : std::runtime_error {
    Counted() : runtime_error("counted") { ++alive; }
    Counted(const Counted& o) : runtime_error(o) { ++alive; }
    Counted& operator=(const Counted&) = delete;
    ~Counted() override { --alive; }
    static inline int alive = 0;
};

TEST(Traceback, LetsItsExceptionGoAsEarlyAsWithoutIt) {
    support::run_virtual([]() -> Coroutine<> {
        {
            auto result =
                co_await asyncio::as_result(app::raise(std::make_exception_ptr(Counted())));
            EXPECT_EQ(Counted::alive, 1);
            EXPECT_EQ(asyncio::traceback(result.error()).size(), 1U);
        }
        EXPECT_EQ(Counted::alive, 0);
    }());
}

// Some have no destructor.
TEST(Traceback, OfWhatIsNoClass) {
    const auto thrown = []() -> Coroutine<> {
        co_await asyncio::sleep(0s);
        throw 5;
    };
    for (int i = 0; i < 10; ++i) {
        const std::exception_ptr error = error_of(thrown());
        EXPECT_EQ(without_places(asyncio::format_exception(error)),
                  "Traceback (most recent call last):\n  File, in <lambda>\nint: 5");
    }
}

// There is one object for all.
TEST(Traceback, OfACancelWithoutAMessageIsEmpty) {
    const auto main = [](std::string message) -> Coroutine<std::exception_ptr> {
        auto task = create_task(app::outer());
        co_await asyncio::sleep(0s);
        task.cancel(message);
        co_return (co_await asyncio::as_result(task)).error();
    };
    EXPECT_EQ(way(support::run_virtual(main(""))), "");
    EXPECT_EQ(way(support::run_virtual(main("stop"))), "[] outer middle inner");
}

TEST(Traceback, IsInTheReportOfAnErrorThatNobodyRetrieved) {
    const support::LogCapture log;
    support::run_virtual([]() -> Coroutine<> {
        create_task(app::middle());
        co_await asyncio::sleep(1s);
    }());
    const std::string text = without_places(log.text());
    EXPECT_NE(text.find("Task exception was never retrieved\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nTraceback (most recent call last):\n  File, in middle\n  File, in "
                        "inner\nValueError: bad\n"),
              std::string::npos)
        << text;
}

TEST(Traceback, IsPrintedByRunMain) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(asyncio::run_main(app::middle()), 1);
    EXPECT_EQ(without_places(testing::internal::GetCapturedStderr()),
              "Traceback (most recent call last):\n"
              "  File, in middle\n"
              "  File, in inner\n"
              "ValueError: bad\n");
}

TEST(Traceback, OfOneExceptionInManyThreadsAtOnce) {
    constexpr int kThreads = 8;
    constexpr int kTimes = support::kThreadSanitizer ? 100 : 500;
    const auto shared = std::make_exception_ptr(Counted());
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&shared] {
            support::run_virtual([](const std::exception_ptr& e) -> Coroutine<> {
                for (int i = 0; i < kTimes; ++i) {
                    auto task = create_task(app::raise(e), {.name = "t"});
                    const auto result = co_await asyncio::as_result(task);
                    EXPECT_LE(asyncio::traceback(result.error()).size(), 32U);
                    // And one of its own, whose address another thread has just used.
                    const auto own =
                        co_await asyncio::as_result(app::raise(std::make_exception_ptr(5)));
                    EXPECT_EQ(way(own.error()), "raise");
                    if (i % 16 == 0) static_cast<void>(asyncio::format_exception(result.error()));
                }
            }(shared));
        });
    }
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(Counted::alive, 1);
    EXPECT_LE(asyncio::traceback(shared).size(), 32U);
}

// With each allocation on the way refused once, the error arrives, with or without a traceback.
TEST(Traceback, IsLessWithoutMemory) {
    const auto error = std::make_exception_ptr(asyncio::ValueError("v"));
    const auto loop = asyncio::VirtualTimeEventLoop::create();
    bool refused = true;
    for (std::ptrdiff_t n = 0; refused; ++n) {
        ASSERT_LT(n, 100);
        const auto own = std::make_exception_ptr(asyncio::ValueError("v"));
        std::exception_ptr caught;
        const auto main = [&]() -> Coroutine<> {
            auto task =
                create_task(app::raise(own), {.name = "a name too long for a short string"});
            const auto chain = [](auto self, auto t, int left) -> Coroutine<> {
                if (left == 0) co_await t;
                co_await self(self, t, left - 1);
            };
            auto way_down = chain(chain, task, 8);
            support::blocks_left = n;
            try {
                co_await std::move(way_down);
            } catch (...) {
                caught = std::current_exception();
            }
            refused = support::blocks_left.exchange(-1) < 0;
        };
        loop->run_until_complete(main());
        if (!asyncio::exception_ptr_cast<std::bad_alloc>(caught)) {
            EXPECT_EQ(caught, own) << n;
        }
        static_cast<void>(asyncio::format_exception(caught));
    }
}

std::exception_ptr at_exit;  // goes after the loop's own statics

TEST(Traceback, OfAnExceptionThatStaysUntilExit) {
    at_exit = error_of(app::outer());
    EXPECT_EQ(way(at_exit), "[] outer middle inner");
}

TEST(Traceback, IsThereInAChildOfFork) {
    const std::exception_ptr before = error_of(app::outer());
    std::atomic<bool> stop{false};
    std::thread noisy([&] {
        while (!stop) error_of(app::outer());
    });
    for (int i = 0; i < 20; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            const bool good = way(before) == "[] outer middle inner" &&
                              way(error_of(app::outer())) == "[] outer middle inner";
            _exit(good ? 0 : 1);
        }
        int status = 1;
        waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
    }
    stop = true;
    noisy.join();
}

TEST(TracebackDeathTest, IsOffByTheEnvironment) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_EXIT(
        {
            setenv("ASYNCIO_TRACEBACK", "0", 1);
            const bool good =
                asyncio::format_exception(error_of(app::outer())) == "ValueError: bad";
            _exit(good ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
}

Coroutine<> end_the_thread() {
    co_await asyncio::sleep(0s);
    pthread_exit(nullptr);
}

// A coroutine keeps what leaves it for whoever awaits it, and this cannot be kept: with traces as
// without them the C library says so, and nothing hangs or goes on half-way.
TEST(TracebackDeathTest, AThreadThatEndsInACoroutineEndsTheProgram) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    for (const char* const traces : {"1", "0"}) {
        EXPECT_DEATH(
            {
                setenv("ASYNCIO_TRACEBACK", traces, 1);
                std::thread([] {
                    asyncio::run([]() -> Coroutine<> { co_await end_the_thread(); }());
                }).join();
            },
            "exception not rethrown");
    }
}

TEST(TracebackDeathTest, TheProgramMayEndWhileAnErrorIsReported) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_EXIT(
        {
            asyncio::log::set_sink([](asyncio::log::Level, std::string_view) { std::exit(3); });
            support::run_virtual([]() -> Coroutine<> {
                asyncio::get_running_loop().call_soon([] { throw asyncio::ValueError("bad"); });
                auto lost = create_task(app::outer());
                co_await asyncio::sleep(1s);
                lost = {};
                co_await asyncio::sleep(1s);
            }());
        },
        testing::ExitedWithCode(3), "");
}

}  // namespace

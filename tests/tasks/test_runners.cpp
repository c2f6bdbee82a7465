// runners.hpp, S-11, S-60, S-61, S-90 to S-95, B-60. Orders were compared
// with CPython 3.13's.
#include <asyncio/runners.hpp>

#include <gtest/gtest.h>

#include <asyncio/generators.hpp>
#include <asyncio/log.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

using Lines = std::vector<std::string>;

constexpr auto kVirtual = &VirtualTimeEventLoop::create;

template <class A>
auto run_virtual(A&& main) {
    return asyncio::run(std::forward<A>(main), {.loop_factory = kVirtual});
}

template <class F>
std::string message_of(F f) {
    try {
        f();
        return "";
    } catch (const std::exception& e) {
        return e.what();
    } catch (const BaseException& e) {
        return e.what();
    }
}

// What the library logs while it lives.
class KeepLog {
  public:
    KeepLog() : before_(log::set_sink(&keep)) { lines().clear(); }
    KeepLog(const KeepLog&) = delete;
    KeepLog& operator=(const KeepLog&) = delete;
    ~KeepLog() { log::set_sink(before_); }
    static Lines& lines() {
        static Lines kept;
        return kept;
    }

  private:
    static void keep(log::Level, std::string_view text) { lines().emplace_back(text); }
    log::Sink before_;
};

// Notes what becomes of it when it is cancelled; cleans up for `clean`.
Coroutine<> background(Lines& log, std::string name, Duration clean = 0s) {
    auto r = co_await as_result(sleep(1000s));
    log.push_back(name + ' ' + detail::describe(r.error()));
    if (clean > 0s) co_await sleep(clean);
    log.push_back(name + " end");
    r.value();
}

// ---- run ----------------------------------------------------------------------------------------

Coroutine<int> answer() {
    co_await sleep(0s);
    co_return 42;
}

TEST(Run, GivesTheResult) {
    EXPECT_EQ(asyncio::run(answer()), 42);
    EXPECT_EQ(asyncio::run(&answer), 42);
    EXPECT_EQ(asyncio::run([] { return answer(); }), 42);
    EXPECT_EQ(asyncio::run(sleep(1ms, 5)), 5);
    static_assert(std::is_void_v<decltype(asyncio::run(sleep(0s)))>);
    asyncio::run(sleep(0s));
    auto p = asyncio::run(
        []() -> Coroutine<std::unique_ptr<int>> { co_return std::make_unique<int>(3); });
    EXPECT_EQ(*p, 3);
    int there = 4;
    int& r = asyncio::run([&]() -> Coroutine<int&> { co_return there; });
    EXPECT_EQ(&r, &there);
    auto named = answer();
    EXPECT_EQ(asyncio::run(named), 42);  // an lvalue coroutine is consumed
    EXPECT_FALSE(named);
}

TEST(Run, KeepsACallableUntilTheEnd) {
    std::string text(100, 'x');
    EXPECT_EQ(run_virtual([text = std::move(text)]() -> Coroutine<std::size_t> {
                  co_await sleep(1s);
                  co_return text.size();
              }),
              100u);
}

TEST(Run, RaisesWhatMainRaises) {
    EXPECT_EQ(message_of([] {
                  run_virtual([]() -> Coroutine<int> {
                      co_await sleep(1s);
                      throw ValueError("v");
                  });
              }),
              "v");
    EXPECT_THROW(run_virtual([]() -> Coroutine<> {
                     current_task().cancel("c");
                     co_await sleep(1s);
                 }),
                 CancelledError);
}

TEST(Run, MakesANewLoopEachTime) {
    Lines names;
    for (int i = 0; i < 3; ++i) {
        run_virtual([&]() -> Coroutine<> {
            EXPECT_EQ(all_loops().size(), 1u);
            EXPECT_EQ(get_running_loop().time().time_since_epoch(), 0s);
            co_await sleep(5s);
        });
        EXPECT_TRUE(all_loops().empty());
    }
}

TEST(Run, Options) {
    const auto debug = []() -> Coroutine<bool> { co_return get_running_loop().get_debug(); };
    const auto backend = []() -> Coroutine<std::string> { co_return get_running_loop().backend(); };
    EXPECT_FALSE(asyncio::run(debug));
    EXPECT_TRUE(asyncio::run(debug, {.debug = true}));
    EXPECT_FALSE(asyncio::run(debug, {.debug = false}));
    EXPECT_EQ(asyncio::run(backend, {.loop_factory = kVirtual}), "virtual");
    EXPECT_EQ(asyncio::run(backend, {.loop_factory = &EpollEventLoop::create}), "epoll");
    EXPECT_EQ(asyncio::run(backend, {.debug = true, .loop_factory = kVirtual}), "virtual");
    EXPECT_EQ(message_of([] {
                  asyncio::run(sleep(0s),
                               {.loop_factory = +[] { return std::unique_ptr<EventLoop>(); }});
              }),
              "loop_factory returned no loop");
}

TEST(Run, RefusesToRunInsideALoop) {
    run_virtual([]() -> Coroutine<> {
        const KeepLog log;
        EXPECT_EQ(message_of([] { asyncio::run(&answer); }),
                  "asyncio.run() cannot be called from a running event loop");
        Runner runner;
        EXPECT_EQ(message_of([&] { runner.run(&answer); }),
                  "Runner.run() cannot be called from a running event loop");
        EXPECT_EQ(all_loops().size(), 1u);
        // A coroutine that was given is reported as never awaited, as in Python.
        EXPECT_EQ(log.lines().size(), 0u);
        message_of([] { asyncio::run(answer()); });
        EXPECT_EQ(log.lines().size(), 1u);
        co_return;
    });
}

TEST(Run, ALoopThatIsStoppedDidNotComplete) {  // LC-02
    Lines log;
    EXPECT_EQ(message_of([&] {
                  run_virtual([&]() -> Coroutine<> {
                      get_running_loop().stop();
                      auto r = co_await as_result(sleep(5s));
                      log.push_back(detail::describe(r.error()));
                      r.value();
                  });
              }),
              "Event loop stopped before Future completed.");
    EXPECT_EQ(log, Lines{"CancelledError()"});  // it was among the tasks that are cancelled
}

// ---- the end of run -----------------------------------------------------------------------------

TEST(RunShutdown, CancelsWhatIsLeftInTheOrderItWasMade) {  // S-91, R-09
    Lines log;
    const int n = run_virtual([&]() -> Coroutine<int> {
        create_task(background(log, "a", 2s));
        create_task(background(log, "b"));
        create_task(background(log, "c", 1s));
        co_await sleep(1s);
        log.push_back("main end");
        co_return 7;
    });
    EXPECT_EQ(n, 7);
    EXPECT_EQ(log, (Lines{"main end", "a CancelledError()", "b CancelledError()", "b end",
                          "c CancelledError()", "c end", "a end"}));
}

TEST(RunShutdown, ATaskThatHasNotStartedNeverDoes) {  // S-43
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        create_task([&]() -> Coroutine<> {
            log.push_back("started");
            co_return;
        });
        co_return;
    });
    // It had its first step in the iteration in which the loop learnt that main is done (S-11).
    EXPECT_EQ(log, Lines{"started"});
    log.clear();
    run_virtual([&]() -> Coroutine<> {
        get_running_loop().call_soon([&] {
            get_running_loop().call_soon([&] {
                log.push_back("late callback");
                create_task([&]() -> Coroutine<> {
                    log.push_back("late task");
                    co_return;
                });
            });
        });
        co_return;
    });
    EXPECT_EQ(log, (Lines{"late callback", "late task"}));  // they run in the next phase (B-08)
}

TEST(RunShutdown, WaitsForATaskThatSwallowsTheCancel) {  // S-91
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        create_task([&]() -> Coroutine<> {
            (void)co_await as_result(sleep(1000s));
            co_await sleep(1000s);
            log.push_back("done");
        });
        co_await sleep(1s);
    });
    EXPECT_EQ(log, Lines{"done"});
}

TEST(RunShutdown, ReportsTheErrorsOfTasksThatItCancelled) {  // R-09, B-60
    Lines reported;
    const auto main = [&]() -> Coroutine<int> {
        get_running_loop().set_exception_handler([&](EventLoop&, const ExceptionContext& c) {
            reported.push_back(c.message + ": " + detail::describe(c.exception) + " of " +
                               as_task(c.task).get_name());
        });
        const auto fails = [](std::string text) -> Coroutine<> {
            (void)co_await as_result(sleep(1000s));
            throw ValueError(text);
        };
        create_task(fails("1"), {.name = "one"});
        create_task(background(reported, "x"), {.name = "two"});
        create_task(fails("3"), {.name = "three"});
        co_await sleep(1s);
        co_return 5;
    };
    EXPECT_EQ(run_virtual(main), 5);
    const std::string message = "unhandled exception during asyncio.run() shutdown: ";
    EXPECT_EQ(reported, (Lines{"x CancelledError()", "x end", message + "ValueError('1') of one",
                               message + "ValueError('3') of three"}));
}

TEST(RunShutdown, DoesNotReportThemTwice) {  // F-12
    const KeepLog log;
    run_virtual([]() -> Coroutine<> {
        create_task([]() -> Coroutine<> {
            (void)co_await as_result(sleep(1000s));
            throw ValueError("once");
        });
        co_await sleep(1s);
    });
    ASSERT_EQ(log.lines().size(), 1u);
    EXPECT_EQ(log.lines()[0].rfind("unhandled exception during asyncio.run() shutdown\ntask: ", 0),
              0u);
}

TEST(RunShutdown, TasksThenReportsThenGeneratorsThenThreads) {  // S-95, R-07, B-60
    Lines log;
    std::mutex mutex;
    const auto note = [&](std::string text) {
        const std::lock_guard lock(mutex);
        log.push_back(std::move(text));
    };
    std::atomic<bool> release{false};
    // Outside of main, whose frame is gone when it is closed.
    const auto numbers = [&]() -> AsyncGenerator<int> {
        std::exception_ptr closed;
        try {
            co_yield 1;
        } catch (const GeneratorExit&) {
            closed = std::current_exception();
        }
        co_await sleep(1ms);
        note("generator closed");
        release = true;
        if (closed) std::rethrow_exception(closed);
    };
    std::optional<AsyncGenerator<int>> gen;
    const int n = asyncio::run([&]() -> Coroutine<int> {
        auto& loop = get_running_loop();
        loop.set_exception_handler([&](EventLoop&, const ExceptionContext& c) {
            note("reported " + detail::describe(c.exception));
        });
        gen.emplace(numbers());
        co_await gen->next();
        // The thread goes on once the generator is closed: one that was joined before would not.
        loop.run_in_executor(nullptr, [&] {
            const auto limit = std::chrono::steady_clock::now() + 10s;
            while (!release && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
            note("thread ended");
        });
        create_task([&]() -> Coroutine<> {
            (void)co_await as_result(sleep(1000s));
            note("task cancelled");
            throw ValueError("left");
        });
        co_await sleep(1ms);
        note("main end");
        co_return 3;
    });
    note("run returned");
    EXPECT_EQ(n, 3);
    EXPECT_EQ(log, (Lines{"main end", "task cancelled", "reported ValueError('left')",
                          "generator closed", "thread ended", "run returned"}));
}

TEST(RunShutdown, HappensAfterAnErrorOfMainToo) {  // S-95
    Lines log;
    EXPECT_EQ(message_of([&] {
                  run_virtual([&]() -> Coroutine<> {
                      create_task(background(log, "a"));
                      co_await sleep(1s);
                      throw ValueError("main");
                  });
              }),
              "main");
    EXPECT_EQ(log, (Lines{"a CancelledError()", "a end"}));
}

TEST(RunShutdown, TimersAndCallbacksThatAreLeftAreDropped) {  // S-94
    bool called = false;
    std::weak_ptr<int> watch;
    run_virtual([&]() -> Coroutine<> {
        auto captured = std::make_shared<int>(1);
        watch = captured;
        get_running_loop().call_later(1000s, [&called, captured] { called = true; });
        co_await sleep(1s);
    });
    EXPECT_FALSE(called);
    EXPECT_TRUE(watch.expired());
}

TEST(RunShutdown, ATaskMadeMeanwhileIsDestroyedWithTheLoop) {  // it is not waited for
    const KeepLog log;
    struct Note {
        Lines& log;
        ~Note() { log.push_back("destroyed"); }
    };
    Lines notes;
    run_virtual([&]() -> Coroutine<> {
        create_task([&]() -> Coroutine<> {
            (void)co_await as_result(sleep(1000s));
            create_task([&]() -> Coroutine<> {
                const Note note{notes};
                co_await sleep(1000s);
            });
        });
        co_await sleep(1s);
    });
    EXPECT_EQ(notes, Lines{"destroyed"});
    ASSERT_EQ(log.lines().size(), 1u);
    EXPECT_EQ(log.lines()[0].rfind("Task was destroyed but it is pending!", 0), 0u);
}

// ---- KeyboardInterrupt, SystemExit --------------------------------------------------------------

TEST(RunExit, AnExitOfMainComesOutAfterTheShutdown) {  // S-60, S-95, XC-09
    const KeepLog logged;
    Lines log;
    int code = 0;
    try {
        run_virtual([&]() -> Coroutine<> {
            create_task(background(log, "a"));
            co_await sleep(1s);
            throw SystemExit(3);
        });
    } catch (const SystemExit& e) {
        code = e.code();
    }
    EXPECT_EQ(code, 3);
    EXPECT_EQ(log, (Lines{"a CancelledError()", "a end"}));
    EXPECT_EQ(logged.lines(), Lines{});  // nobody is told of an exception that was raised
}

TEST(RunExit, AnExitOfAnotherTaskCancelsMain) {  // S-60
    const KeepLog logged;  // nobody retrieves the task's exception, here as in Python
    Lines log;
    EXPECT_THROW(run_virtual([&]() -> Coroutine<> {
                     auto t = create_task([]() -> Coroutine<> {
                         co_await sleep(1s);
                         throw KeyboardInterrupt();
                     });
                     co_await background(log, "main");
                 }),
                 KeyboardInterrupt);
    EXPECT_EQ(log, (Lines{"main CancelledError()", "main end"}));
}

TEST(RunExit, AnExitOfACallback) {
    Lines log;
    EXPECT_THROW(run_virtual([&]() -> Coroutine<> {
                     get_running_loop().call_later(1s, [] { throw SystemExit(1); });
                     co_await background(log, "main");
                 }),
                 SystemExit);
    EXPECT_EQ(log, (Lines{"main CancelledError()", "main end"}));
}

TEST(RunExit, OneThatComesWhileClosingWins) {  // as in Python: the later exception goes on
    const KeepLog logged;
    bool closed = false;
    EXPECT_THROW(run_virtual([&]() -> Coroutine<> {
                     struct Note {
                         bool& closed;
                         ~Note() { closed = true; }
                     };
                     create_task([&]() -> Coroutine<> {
                         const Note note{closed};
                         (void)co_await as_result(sleep(1000s));
                         throw KeyboardInterrupt();
                     });
                     co_await sleep(1s);
                     throw ValueError("main");
                 }),
                 KeyboardInterrupt);
    EXPECT_TRUE(closed);
    EXPECT_TRUE(all_loops().empty());  // the loop was closed all the same
}

TEST(RunExit, TheLoopOfARunnerStaysUsable) {  // B-60, S-61
    Runner runner({.loop_factory = kVirtual});
    EXPECT_THROW(runner.run([]() -> Coroutine<> {
        co_await sleep(1s);
        throw KeyboardInterrupt();
    }),
                 KeyboardInterrupt);
    EXPECT_EQ(runner.run(sleep(1s, 4)), 4);
    EXPECT_EQ(runner.run(&answer), 42);
}

// ---- deadlock on virtual time -------------------------------------------------------------------

TEST(RunDeadlock, OfMainIsRaisedAndNamesIt) {
    Lines log;
    const std::string text = message_of([&] {
        run_virtual([&]() -> Coroutine<> {
            Future<> never;
            auto r = co_await as_result(never);
            log.push_back(detail::describe(r.error()));
            r.value();
        });
    });
    EXPECT_EQ(text.rfind("Deadlock: ", 0), 0u) << text;
    EXPECT_NE(text.find("<Task pending"), std::string::npos) << text;
    EXPECT_EQ(log, Lines{"CancelledError()"});
}

TEST(RunDeadlock, OfTheShutdownIsRaised) {
    const KeepLog logged;
    bool destroyed = false;
    const std::string text = message_of([&] {
        run_virtual([&]() -> Coroutine<> {
            struct Note {
                bool& destroyed;
                ~Note() { destroyed = true; }
            };
            create_task([&]() -> Coroutine<> {
                const Note note{destroyed};
                Future<> never;
                (void)co_await as_result(never);
                Future<> neither;
                co_await neither;
            });
            co_await sleep(1s);
        });
    });
    EXPECT_EQ(text.rfind("Deadlock: ", 0), 0u) << text;
    EXPECT_TRUE(destroyed);
}

TEST(RunDeadlock, OfBothIsTheFirst) {
    const KeepLog logged;
    const std::string text = message_of([&] {
        run_virtual([&]() -> Coroutine<> {
            current_task().set_name("first");
            Future<> never;
            (void)co_await as_result(never);
            current_task().set_name("second");
            Future<> neither;
            co_await neither;
        });
    });
    EXPECT_NE(text.find("name='first'"), std::string::npos) << text;
}

// ---- Runner -------------------------------------------------------------------------------------

TEST(Runner, MakesItsLoopWhenItIsNeeded) {
    Runner runner({.loop_factory = kVirtual});
    EXPECT_TRUE(all_loops().empty());
    EventLoop& loop = runner.get_loop();
    EXPECT_EQ(all_loops().size(), 1u);
    EXPECT_FALSE(loop.is_running());
    EXPECT_EQ(&runner.get_loop(), &loop);
    runner.run([&]() -> Coroutine<> {
        EXPECT_EQ(&get_running_loop(), &loop);
        co_return;
    });
    EXPECT_EQ(&runner.get_loop(), &loop);
    runner.close();
    EXPECT_TRUE(all_loops().empty());
}

TEST(Runner, WithoutALoopThereIsNothingToClose) {
    Runner runner({.loop_factory = +[]() -> std::unique_ptr<EventLoop> {
        ADD_FAILURE() << "not needed";
        return nullptr;
    }});
    runner.close();
    EXPECT_TRUE(all_loops().empty());
}

TEST(Runner, IsClosedForGood) {
    Runner runner({.loop_factory = kVirtual});
    runner.run(&answer);
    runner.close();
    runner.close();
    EXPECT_EQ(message_of([&] { runner.run(&answer); }), "Runner is closed");
    EXPECT_EQ(message_of([&] { runner.get_loop(); }), "Runner is closed");
}

TEST(Runner, IsTheCurrentLoopUnlessMadeByAFactory) {
    {
        Runner runner;
        EventLoop& loop = runner.get_loop();
        EXPECT_EQ(&get_event_loop(), &loop);
    }
    set_event_loop(nullptr);
    auto own = VirtualTimeEventLoop::create();
    set_event_loop(own.get());
    {
        Runner runner({.loop_factory = kVirtual});
        runner.get_loop();
        EXPECT_EQ(&get_event_loop(), own.get());
    }
    EXPECT_EQ(&get_event_loop(), own.get());
    set_event_loop(nullptr);
}

ContextVar<int> variable("variable", 0);

TEST(Runner, RunsShareOneContext) {
    Runner runner({.loop_factory = kVirtual});
    const auto get = []() -> Coroutine<int> { co_return variable.get(); };
    const auto set = [](int n) -> Coroutine<> {
        variable.set(n);
        co_return;
    };
    runner.run(set(1));
    EXPECT_EQ(runner.run(get), 1);
    EXPECT_EQ(variable.get(), 0);  // not the caller's
    const Context other = copy_context();
    EXPECT_EQ(runner.run(get, {.context = &other}), 0);
    runner.run(set(2), {.context = &other});
    EXPECT_EQ(other.get(variable), 2);
    EXPECT_EQ(runner.run(get), 1);
}

TEST(Runner, ItsContextIsCopiedWhenItBegins) {
    const auto token = variable.set(7);
    Runner runner({.loop_factory = kVirtual});
    runner.get_loop();
    variable.reset(token);
    EXPECT_EQ(runner.run([]() -> Coroutine<int> { co_return variable.get(); }), 7);
}

TEST(Runner, TasksGoOnInTheNextRun) {
    Lines log;
    Runner runner({.loop_factory = kVirtual});
    Task<> t = runner.run([&]() -> Coroutine<Task<>> {
        co_return create_task([&]() -> Coroutine<> {
            co_await sleep(2s);
            log.push_back("done");
        });
    });
    runner.run(sleep(1s));
    EXPECT_FALSE(t.done());
    runner.run(sleep(2s));
    EXPECT_TRUE(t.done());
    EXPECT_EQ(log, Lines{"done"});
}

// A report without the lines that say where: those are the business of test_traceback.
std::string without_places(const std::string& report) {
    std::string kept;
    for (std::size_t at = 0; at < report.size();) {
        const std::size_t end = std::min(report.find('\n', at), report.size() - 1) + 1;
        const std::string line = report.substr(at, end - at);
        if (line.find(" File \"") == line.npos) kept += line;
        at = end;
    }
    return kept;
}

TEST(Runner, ItsDestructorClosesAndLogsWhatGoesWrong) {
    const KeepLog logged;
    Lines log;
    {
        Runner runner({.loop_factory = kVirtual});
        runner.run([&]() -> Coroutine<> {
            create_task(background(log, "a"));
            create_task([&]() -> Coroutine<> {
                (void)co_await as_result(sleep(1000s));
                throw KeyboardInterrupt();
            });
            co_await sleep(1s);
        });
    }
    EXPECT_EQ(log, (Lines{"a CancelledError()", "a end"}));
    EXPECT_TRUE(all_loops().empty());
    ASSERT_EQ(logged.lines().size(), 2u);
    EXPECT_EQ(logged.lines()[0].rfind("Task exception was never retrieved", 0), 0u);
    EXPECT_EQ(without_places(logged.lines()[1]),
              "Exception while a Runner closed its loop:\nTraceback (most recent call last):\n"
              "KeyboardInterrupt");
}

TEST(Runner, IsMovedWithItsLoop) {
    static_assert(!std::is_copy_constructible_v<Runner>);
    Runner a({.loop_factory = kVirtual});
    EventLoop& loop = a.get_loop();
    Runner b = std::move(a);
    EXPECT_EQ(&b.get_loop(), &loop);
    EXPECT_EQ(message_of([&] { a.run(&answer); }), "Runner is closed");
    Runner c;
    c = std::move(b);
    EXPECT_EQ(c.run(&answer), 42);
}

// ---- run_main -----------------------------------------------------------------------------------

template <class A>
std::pair<int, std::string> run_main_virtual(A&& main) {
    testing::internal::CaptureStderr();
    const int code = asyncio::run_main(std::forward<A>(main), {.loop_factory = kVirtual});
    return {code, without_places(testing::internal::GetCapturedStderr())};
}

using Outcome = std::pair<int, std::string>;
constexpr const char* kTraceback = "Traceback (most recent call last):\n";

TEST(RunMain, GivesTheExitCodeAndPrintsAsPythonDoes) {
    EXPECT_EQ(run_main_virtual(sleep(1s)), Outcome(0, ""));
    EXPECT_EQ(run_main_virtual(&answer), Outcome(0, ""));  // the result is dropped
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  throw ValueError("v");
                  co_return;
              }),
              Outcome(1, std::string(kTraceback) + "ValueError: v\n"));
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  throw KeyboardInterrupt();
                  co_return;
              }),
              Outcome(130, std::string(kTraceback) + "KeyboardInterrupt\n"));
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  throw SystemExit();
                  co_return;
              }),
              Outcome(0, ""));
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  throw SystemExit(5);
                  co_return;
              }),
              Outcome(5, ""));
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  throw SystemExit("no");
                  co_return;
              }),
              Outcome(1, "no\n"));
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  current_task().cancel();
                  co_await sleep(1s);
              }),
              Outcome(1, "CancelledError\n"));
    EXPECT_EQ(run_main_virtual([]() -> Coroutine<> {
                  throw 3;
                  co_return;
              }).first,
              1);
    const auto group = run_main_virtual([]() -> Coroutine<> {
        std::vector<std::exception_ptr> members{std::make_exception_ptr(ValueError("a")),
                                                std::make_exception_ptr(KeyError("b"))};
        std::rethrow_exception(BaseExceptionGroup::make("several", members));
        co_return;
    });
    EXPECT_EQ(group, Outcome(1,
                             "  + Exception Group Traceback (most recent call last):\n"
                             "  | ExceptionGroup: several (2 sub-exceptions)\n"
                             "  +-+---------------- 1 ----------------\n"
                             "    | ValueError: a\n"
                             "    +---------------- 2 ----------------\n"
                             "    | KeyError: 'b'\n"
                             "    +------------------------------------\n"));
}

}  // namespace

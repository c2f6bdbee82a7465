// with.hpp: AG-05, AG-07; api.md "with", "finally". Orders were compared with CPython 3.13's.
// ctest: optimised
#include <asyncio/with.hpp>

#include <gtest/gtest.h>

#include <asyncio/generators.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

using Lines = std::vector<std::string>;

template <class A>
auto run_virtual(A&& main) {
    return asyncio::run(std::forward<A>(main), {.loop_factory = &VirtualTimeEventLoop::create});
}

template <class T>
std::string text_of(const Result<T>& r) {
    return r.has_value() ? "ok" : detail::describe(r.error());
}

// A manager that notes what happens to it, waits at both ends, and can fail or suppress.
class Manager {
  public:
    explicit Manager(Lines& log) : log_(&log) {}
    Manager(Manager&& o) noexcept : suppress(o.suppress), fail(o.fail), log_(o.log_) {
        o.log_ = nullptr;
    }
    Manager& operator=(Manager&&) = delete;
    ~Manager() {
        if (log_) log_->push_back("~Manager");
    }

    Coroutine<Manager&> aenter() {
        log_->push_back("enter");
        co_await sleep(0s);
        log_->push_back("entered");
        co_return *this;
    }
    Coroutine<bool> aexit(std::exception_ptr error) {
        log_->push_back("exit " + detail::describe(error));
        co_await sleep(0s);
        log_->push_back("exited");
        if (fail) throw KeyError("exit");
        co_return suppress;
    }

    Lines& log() { return *log_; }

    bool suppress = false;
    bool fail = false;

  private:
    Lines* log_;
};

// Managers that answer at once, with a value, a reference or nothing.
struct GivesValue {
    int aenter() { return 3; }
    bool aexit(std::exception_ptr) { return false; }
};
struct GivesNothing {
    void aenter() { ++entered; }
    void aexit(std::exception_ptr error) { left = detail::describe(error); }
    int entered = 0;
    std::string left;
};
struct GivesPointer {
    Coroutine<std::unique_ptr<int>> aenter() { co_return std::make_unique<int>(5); }
    Coroutine<> aexit(std::exception_ptr) { co_return; }
};
struct CannotEnter {
    Coroutine<> aenter() {
        co_await sleep(0s);
        throw ValueError("enter");
    }
    bool aexit(std::exception_ptr) {
        left = true;
        return true;
    }
    bool left = false;
};

static_assert(AsyncContextManager<Manager>);
static_assert(AsyncContextManager<Manager&>);
static_assert(AsyncContextManager<GivesNothing>);
static_assert(AsyncContextManager<TaskGroup>);
static_assert(AsyncContextManager<Timeout>);
static_assert(!AsyncContextManager<int>);
static_assert(!AsyncContextManager<std::string>);

TEST(With, EntersRunsTheBodyLeavesAndGivesItsResult) {  // AG-05
    Lines log;
    const int result = run_virtual([&]() -> Coroutine<int> {
        co_return co_await with(Manager(log), [&](Manager& m) -> Coroutine<int> {
            m.log().push_back("body");
            co_await sleep(1s);
            co_return 7;
        });
    });
    EXPECT_EQ(result, 7);
    EXPECT_EQ(log, (Lines{"enter", "entered", "body", "exit None", "exited", "~Manager"}));
}

TEST(With, BorrowsANamedManager) {  // api.md: it takes lvalues too
    Lines log;
    Manager m(log);
    run_virtual([&]() -> Coroutine<> {
        co_await with(m, [&](Manager& given) -> Coroutine<> {
            EXPECT_EQ(&given, &m);
            co_return;
        });
        log.push_back("after");
    });
    EXPECT_EQ(log.back(), "after");
}

TEST(With, HandsOverWhatEnteringGave) {
    run_virtual([&]() -> Coroutine<> {
        EXPECT_EQ(co_await with(GivesValue(), [&](int n) -> Coroutine<int> { co_return n; }), 3);
        EXPECT_EQ(co_await with(GivesValue(), [&](int& n) -> Coroutine<int> { co_return ++n; }), 4);
        EXPECT_EQ(co_await with(GivesValue(), [&](auto&& n) -> Coroutine<int> { co_return n; }), 3);
        // A value that cannot be copied is moved into the body.
        const int five = co_await with(
            GivesPointer(), [&](std::unique_ptr<int> p) -> Coroutine<int> { co_return *p; });
        EXPECT_EQ(five, 5);
        GivesNothing nothing;
        co_await with(nothing, [&]() -> Coroutine<> { co_return; });
        EXPECT_EQ(nothing.entered, 1);
        EXPECT_EQ(nothing.left, "None");
    });
}

TEST(With, ABodyNeedNotTakeWhatEnteringGave) {  // api.md: a body without a parameter is always fine
    run_virtual([&]() -> Coroutine<> {
        EXPECT_EQ(co_await with(GivesValue(), [&]() -> Coroutine<int> { co_return 1; }), 1);
        EXPECT_EQ(co_await with(timeout(1s), [&]() -> Coroutine<int> { co_return 2; }), 2);
        EXPECT_EQ(co_await with(TaskGroup{}, [&]() -> Coroutine<int> { co_return 3; }), 3);
    });
}

TEST(With, TheBodyMayReturnAnyAwaitable) {
    run_virtual([&]() -> Coroutine<> {
        EXPECT_EQ(co_await with(GivesValue(), [&] { return sleep(1s, 8); }), 8);
        auto task = create_task(sleep(1s, 9));
        EXPECT_EQ(co_await with(GivesValue(), [&] { return task; }), 9);
        EXPECT_EQ(co_await with(timeout(5s), [&] { return sleep(1s, 10); }), 10);
    });
}

TEST(With, ResultsAreMovedOrReferred) {
    run_virtual([&]() -> Coroutine<> {
        auto p = co_await with(GivesValue(), [&]() -> Coroutine<std::unique_ptr<int>> {
            co_return std::make_unique<int>(1);
        });
        EXPECT_EQ(*p, 1);
        int there = 2;
        int& r = co_await with(GivesValue(), [&]() -> Coroutine<int&> { co_return there; });
        EXPECT_EQ(&r, &there);
        auto q = co_await with(timeout(1s), [&]() -> Coroutine<std::unique_ptr<int>> {
            co_return std::make_unique<int>(3);
        });
        EXPECT_EQ(*q, 3);
        auto s =
            co_await as_result(with(timeout(1s), [&]() -> Coroutine<int&> { co_return there; }));
        EXPECT_EQ(&s.value(), &there);
    });
}

TEST(With, TellsTheManagerOfTheExceptionAndLetsItPass) {
    Lines log;
    const auto r = run_virtual([&]() -> Coroutine<Result<int>> {
        co_return co_await as_result(with(Manager(log), [&]() -> Coroutine<int> {
            co_await sleep(1s);
            throw ValueError("b");
        }));
    });
    EXPECT_EQ(text_of(r), "ValueError('b')");
    EXPECT_EQ(log, (Lines{"enter", "entered", "exit ValueError('b')", "exited", "~Manager"}));
}

TEST(With, SuppressesWhenLeavingSaysSo) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        Manager m(log);
        m.suppress = true;
        co_await with(m, [&]() -> Coroutine<> {
            co_await sleep(1s);
            throw ValueError("b");
        });
        log.push_back("after");
    });
    EXPECT_EQ(log,
              (Lines{"enter", "entered", "exit ValueError('b')", "exited", "after", "~Manager"}));
}

TEST(With, ASuppressedBodyHasNoResult) {  // api.md
    Lines log;
    const auto r = run_virtual([&]() -> Coroutine<Result<int>> {
        Manager m(log);
        m.suppress = true;
        co_return co_await as_result(with(m, [&]() -> Coroutine<int> {
            throw ValueError("b");
            co_return 1;
        }));
    });
    EXPECT_EQ(text_of(r), "RuntimeError('body was suppressed and has no result')");
}

TEST(With, SuppressingNothingKeepsTheResult) {
    Lines log;
    EXPECT_EQ(run_virtual([&]() -> Coroutine<int> {
                  Manager m(log);
                  m.suppress = true;
                  co_return co_await with(m, [&]() -> Coroutine<int> { co_return 6; });
              }),
              6);
}

TEST(With, AnErrorOfLeavingWins) {
    Lines log;
    const auto r = run_virtual([&]() -> Coroutine<Result<int>> {
        Manager m(log);
        m.fail = true;
        co_return co_await as_result(with(m, [&]() -> Coroutine<int> {
            throw ValueError("b");
            co_return 1;
        }));
    });
    EXPECT_EQ(text_of(r), "KeyError('exit')");
}

TEST(With, DoesNotLeaveWhatCouldNotBeEntered) {
    CannotEnter m;
    bool ran = false;
    const auto r = run_virtual([&]() -> Coroutine<Result<void>> {
        co_return co_await as_result(with(m, [&]() -> Coroutine<> {
            ran = true;
            co_return;
        }));
    });
    EXPECT_EQ(text_of(r), "ValueError('enter')");
    EXPECT_FALSE(m.left);
    EXPECT_FALSE(ran);
}

TEST(With, LeavesWhenTheCallItselfThrows) {
    Lines log;
    const auto r = run_virtual([&]() -> Coroutine<Result<void>> {
        co_return co_await as_result(with(Manager(log), [&](Manager& m) {
            if (!m.suppress) throw TypeError("called");
            return sleep(0s);
        }));
    });
    EXPECT_EQ(text_of(r), "TypeError('called')");
    EXPECT_EQ(log, (Lines{"enter", "entered", "exit TypeError('called')", "exited", "~Manager"}));
    const auto at_once = run_virtual([&]() -> Coroutine<Result<void>> {
        co_return co_await as_result(with(timeout(1s), [&](Timeout& cm) {
            if (!cm.expired()) throw TypeError("called");
            return sleep(0s);
        }));
    });
    EXPECT_EQ(text_of(at_once), "TypeError('called')");
}

TEST(With, KeepsAMovedBodyAndItsCapturesUntilTheEnd) {  // api.md rule 3
    auto text = std::make_shared<std::string>("kept");
    std::weak_ptr<std::string> watch = text;
    const std::size_t n = run_virtual([&]() -> Coroutine<std::size_t> {
        auto body = [text = std::move(text)](int) -> Coroutine<std::size_t> {
            co_await sleep(1s);
            co_return text->size();
        };
        auto scope = with(GivesValue(), callable(std::move(body)));
        auto task = create_task(std::move(scope));
        co_return co_await task;
    });
    EXPECT_EQ(n, 4u);
    EXPECT_TRUE(watch.expired());
}

TEST(With, CopiesANamedBodySoThatItMayGo) {
    run_virtual([&]() -> Coroutine<> {
        Task<int> task;
        {
            const std::string text = "a body that is gone by the time it runs";
            auto body = [text]() -> Coroutine<int> {
                co_await sleep(1s);
                co_return static_cast<int>(text.size());
            };
            task = create_task(with(GivesValue(), body));
        }
        EXPECT_EQ(co_await task, 39);
    });
}

TEST(With, BorrowsANamedBodyThatCannotBeCopied) {
    run_virtual([&]() -> Coroutine<> {
        auto body = [p = std::make_unique<int>(4)](Timeout&) -> Coroutine<int> {
            co_await sleep(0s);
            co_return *p;
        };
        EXPECT_EQ(co_await with(timeout(1s), body), 4);
        EXPECT_EQ(co_await with(timeout(1s), body), 4);
    });
}

TEST(With, AddsNoSuspension) {  // AG-01, S-30
    int steps = 0;
    run_virtual([&]() -> Coroutine<> {
        get_running_loop().call_soon([&] { ++steps; });
        co_await with(GivesValue(), [&]() -> Coroutine<> { co_return; });
        co_await with(GivesPointer(), [&]() -> Coroutine<> { co_return; });
        co_await with(timeout(1s), [&]() -> Coroutine<> { co_return; });
        co_await with(TaskGroup{}, [&]() -> Coroutine<> { co_return; });
        co_await finally([&]() -> Coroutine<> { co_return; }, [&] {});
        EXPECT_EQ(steps, 0);
        co_await sleep(0s);
        EXPECT_EQ(steps, 1);
    });
}

TEST(With, Nests) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        co_await with(Manager(log), [&](Manager& outer) -> Coroutine<> {
            co_await with(Manager(outer.log()), [&](Manager& inner) -> Coroutine<> {
                inner.log().push_back("body");
                co_return;
            });
        });
    });
    EXPECT_EQ(log, (Lines{"enter", "entered", "enter", "entered", "body", "exit None", "exited",
                          "~Manager", "exit None", "exited", "~Manager"}));
}

// ---- cancelled ----------------------------------------------------------------------------------

Coroutine<int> guarded(Lines& log) {
    co_return co_await with(Manager(log), [&]() -> Coroutine<int> {
        log.push_back("body");
        co_await sleep(1s);
        co_return 1;
    });
}

TEST(WithCancelled, BeforeItBegan) {  // S-43
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(guarded(log));
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
    EXPECT_EQ(log, Lines{});
}

TEST(WithCancelled, WhileEntering) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(guarded(log));
        co_await sleep(0s);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
    EXPECT_EQ(log, (Lines{"enter", "~Manager"}));
}

TEST(WithCancelled, InTheBody) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(guarded(log));
        co_await sleep(500ms);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
    EXPECT_EQ(
        log, (Lines{"enter", "entered", "body", "exit CancelledError('c')", "exited", "~Manager"}));
}

TEST(WithCancelled, WhileLeaving) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(guarded(log));
        co_await sleep(1s);
        co_await sleep(0s);
        EXPECT_EQ(log.back(), "exit None");
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
    EXPECT_EQ(log, (Lines{"enter", "entered", "body", "exit None", "~Manager"}));
}

TEST(WithCancelled, InTheTickInWhichTheBodyCompletes) {  // S-44
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        Future<int> f;
        auto t = create_task([&]() -> Coroutine<int> {
            co_return co_await with(Manager(log),
                                    [&]() -> Coroutine<int> { co_return co_await f; });
        });
        co_await sleep(1s);
        f.set_result(3);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_EQ(f.result(), 3);  // not lost
    });
    EXPECT_EQ(log[2], "exit CancelledError('c')");
}

TEST(WithCancelled, AManagerMaySuppressTheCancel) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task([&]() -> Coroutine<int> {
            Manager m(log);
            m.suppress = true;
            co_await with(m, [&]() -> Coroutine<> { co_await sleep(5s); });
            co_return 5;
        });
        co_await sleep(1s);
        t.cancel();
        EXPECT_EQ(co_await t, 5);
    });
}

TEST(With, IsDestroyedWithItsLoopInsideOut) {  // LC-05: a loop that closes runs no clean-up code
    Lines log;
    {
        auto loop = VirtualTimeEventLoop::create();
        loop->run_until_complete([&]() -> Coroutine<> {
            create_task(guarded(log));
            create_task([&]() -> Coroutine<> {
                co_await with(timeout(9s), [&]() -> Coroutine<> {
                    co_await with(TaskGroup{}, [&](TaskGroup& tg) -> Coroutine<> {
                        tg.create_task(sleep(9s));
                        co_await sleep(9s);
                    });
                });
            });
            co_await sleep(500ms);
        });
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
    }
    EXPECT_EQ(log, (Lines{"enter", "entered", "body", "~Manager"}));
}

// ---- finally ------------------------------------------------------------------------------------

Coroutine<int> clean(Lines& log, std::string what, bool fail = false) {
    log.push_back("cleaning");
    co_await sleep(1s);
    log.push_back("cleaned " + what);
    if (fail) throw KeyError("cleanup");
    co_return 0;
}

TEST(Finally, RunsAfterAResult) {
    Lines log;
    const int n = run_virtual([&]() -> Coroutine<int> {
        co_return co_await finally([&]() -> Coroutine<int> { co_return 3; },
                                   [&] { return clean(log, "x"); });
    });
    EXPECT_EQ(n, 3);
    EXPECT_EQ(log, (Lines{"cleaning", "cleaned x"}));
}

TEST(Finally, RunsAfterAnExceptionAndLetsItPass) {
    Lines log;
    const auto r = run_virtual([&]() -> Coroutine<Result<int>> {
        co_return co_await as_result(finally(
            [&]() -> Coroutine<int> {
                co_await sleep(1s);
                throw ValueError("v");
            },
            [&] { return clean(log, "x"); }));
    });
    EXPECT_EQ(text_of(r), "ValueError('v')");
    EXPECT_EQ(log, (Lines{"cleaning", "cleaned x"}));
}

TEST(Finally, RunsAfterACancelAndMayWait) {  // S-48
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(finally(sleep(9s), clean(log, "x")));
        co_await sleep(1s);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_EQ(get_running_loop().time().time_since_epoch(), 2s);
    });
    EXPECT_EQ(log, (Lines{"cleaning", "cleaned x"}));
}

TEST(Finally, ACancelDuringTheCleanUpReachesIt) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(
            finally([&]() -> Coroutine<int> { co_return 1; }, [&] { return clean(log, "x"); }));
        co_await sleep(500ms);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
    EXPECT_EQ(log, (Lines{"cleaning"}));
}

TEST(Finally, InTheTickInWhichTheBodyCompletesTheCancelWins) {  // S-44
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        Future<int> f;
        auto t = create_task(finally(f, clean(log, "x")));
        co_await sleep(1s);
        f.set_result(1);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
    EXPECT_EQ(log, (Lines{"cleaning", "cleaned x"}));
}

TEST(Finally, CancelledBeforeItBeganRunsNothing) {  // S-43
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto t = create_task(
            finally([&]() -> Coroutine<> { co_return; }, [&] { return clean(log, "x"); }));
        t.cancel();
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError()");
    });
    EXPECT_EQ(log, Lines{});
}

TEST(Finally, TheCleanUpsErrorWins) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto r = co_await as_result(finally(
            [&]() -> Coroutine<int> {
                throw ValueError("v");
                co_return 1;
            },
            [&] { return clean(log, "x", true); }));
        EXPECT_EQ(text_of(r), "KeyError('cleanup')");
        r = co_await as_result(finally([&]() -> Coroutine<int> { co_return 1; },
                                       [&] { return clean(log, "x", true); }));
        EXPECT_EQ(text_of(r), "KeyError('cleanup')");
    });
}

TEST(Finally, TakesAwaitablesAndPlainCallables) {
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        EXPECT_EQ(co_await finally(sleep(1s, 4), [&] { log.push_back("plain"); }), 4);
        auto t = create_task(sleep(1s, 5));
        EXPECT_EQ(co_await finally(t, sleep(1s)), 5);
        auto p = std::make_unique<int>(6);
        auto body = [p = std::move(p)]() -> Coroutine<int> {
            co_await sleep(0s);
            co_return *p;
        };
        EXPECT_EQ(co_await finally(body, sleep(0s)), 6);
        // A body that throws before it returns its awaitable.
        auto r = co_await as_result(finally(
            [&] {
                if (log.size() == 1) throw TypeError("called");
                return sleep(0s);
            },
            [&] { log.push_back("plain"); }));
        EXPECT_EQ(text_of(r), "TypeError('called')");
    });
    EXPECT_EQ(log, (Lines{"plain", "plain"}));
}

// ---- aclosing -----------------------------------------------------------------------------------

AsyncGenerator<int> numbers(Lines& log) {
    struct Note {
        Lines& log;
        ~Note() { log.push_back("closed"); }
    } note{log};
    for (int i = 1;; ++i) co_yield i;
}

TEST(Aclosing, ClosesTheGeneratorHoweverTheBodyEnds) {  // AG-07
    Lines log;
    run_virtual([&]() -> Coroutine<> {
        auto gen = numbers(log);
        const int first =
            co_await with(aclosing(gen), [&](AsyncGenerator<int>& g) -> Coroutine<int> {
                auto n = co_await g.next();
                co_return *n;
            });
        EXPECT_EQ(first, 1);
        EXPECT_EQ(log, Lines{"closed"});
        auto r = co_await as_result(
            with(aclosing(numbers(log)), [&](AsyncGenerator<int>& g) -> Coroutine<> {
                co_await g.next();
                throw ValueError("v");
            }));
        EXPECT_EQ(text_of(r), "ValueError('v')");
        EXPECT_EQ(log, (Lines{"closed", "closed"}));
        auto t = create_task(with(aclosing(numbers(log)), [&](auto& g) -> Coroutine<> {
            co_await g.next();
            co_await sleep(9s);
        }));
        co_await sleep(1s);
        t.cancel();
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError()");
        EXPECT_EQ(log, (Lines{"closed", "closed", "closed"}));
    });
}

}  // namespace

// generators.hpp: AG-03, AG-07, LC-06, S-39d, S-92. Outcomes were compared with CPython 3.13's.
#include <asyncio/generators.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <asyncio/log.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/with.hpp>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "counted_new.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

using Lines = std::vector<std::string>;

// Notes its destruction, as a local variable of a body does in RAII.
class Guard {
  public:
    Guard(Lines& log, std::string name) : log_(&log), name_(std::move(name)) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { log_->push_back("~" + name_); }

  private:
    Lines* log_;
    std::string name_;
};

template <class A>
auto run_virtual(A&& awaitable) {
    auto loop = VirtualTimeEventLoop::create();
    return loop->run_until_complete(std::forward<A>(awaitable));
}

std::string text_of(const std::exception_ptr& error) { return detail::describe(error); }

// The outcome of an awaitable, for comparison: "-> 1", "-> None" or "!! ValueError('v')".
template <class A>
Coroutine<std::string> outcome(A awaitable) {
    auto r = co_await as_result(std::move(awaitable));
    if (!r.has_value()) co_return "!! " + text_of(r.error());
    if constexpr (std::is_void_v<decltype(r.value())>) {
        co_return "-> done";
    } else {
        co_return "-> " + repr(r.value());
    }
}

AsyncGenerator<int> count_to(int n) {
    for (int i = 1; i <= n; ++i) co_yield i;
}

AsyncGenerator<int> guarded(Lines& log) {
    const Guard guard(log, "guarded");
    log.push_back("begin");
    co_yield 1;
    log.push_back("between");
    co_yield 2;
    log.push_back("end");
}

AsyncGenerator<int> awaits_first(Lines& log) {
    const Guard guard(log, "awaits_first");
    co_await sleep(9s);
    co_yield 1;
    co_yield 2;
}

// Ignores what is raised at its co_yields.
AsyncGenerator<int> stubborn(Lines& log) {
    for (int i = 1;; ++i) {
        try {
            co_yield i;
        } catch (const GeneratorExit&) {
            log.push_back("ignored");
        }
    }
}

// ---- iterating ----------------------------------------------------------------------------------

TEST(Generators, YieldInOrderAndRunOnlyWhileDriven) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = guarded(log);
        log.push_back("made");
        while (auto x = co_await gen.next()) log.push_back(std::to_string(*x));
        log.push_back("over");
        EXPECT_EQ(log, (Lines{"made", "begin", "1", "between", "2", "end", "~guarded", "over"}));
    });
}

TEST(Generators, AreEmptyAfterTheirEnd) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(1);
        EXPECT_EQ(co_await gen.next(), std::optional<int>(1));
        EXPECT_EQ(co_await gen.next(), std::nullopt);
        EXPECT_EQ(co_await gen.next(), std::nullopt);
        co_await gen.aclose();
        EXPECT_EQ(co_await gen.next(), std::nullopt);
    });
}

TEST(Generators, DoNotGoThroughTheLoop) {
    run_virtual([]() -> Coroutine<> {
        int iterations = 0;
        get_running_loop().call_soon([&] { ++iterations; });
        auto gen = count_to(3);
        while (co_await gen.next()) {
        }
        EXPECT_EQ(iterations, 0);
        co_await sleep(0s);
        EXPECT_EQ(iterations, 1);
    });
}

TEST(Generators, FreeParametersAndLocalsAtTheirEnd) {
    run_virtual([]() -> Coroutine<> {
        auto kept = std::make_shared<int>(1);
        auto body = [](std::shared_ptr<int> p) -> AsyncGenerator<int> { co_yield *p; };
        auto gen = body(kept);
        EXPECT_EQ(kept.use_count(), 2);
        co_await gen.next();
        EXPECT_EQ(kept.use_count(), 2);
        co_await gen.next();
        EXPECT_EQ(kept.use_count(), 1);
    });
}

TEST(Generators, MayAwaitBetweenItems) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<std::string> {
            co_await sleep(1s);
            co_yield "a";
            co_await sleep(2s);
            co_yield "b";
            co_await sleep(4s);
        };
        auto gen = body();
        auto& loop = get_running_loop();
        const auto start = loop.time();
        const auto first = co_await gen.next();
        EXPECT_EQ(first, std::optional<std::string>("a"));
        EXPECT_EQ(loop.time() - start, 1s);
        EXPECT_EQ(*co_await gen.next(), "b");
        EXPECT_EQ(loop.time() - start, 3s);
        EXPECT_FALSE(co_await gen.next());
        EXPECT_EQ(loop.time() - start, 7s);
    });
}

TEST(Generators, AMillionItemsUseConstantStackAndMemory) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(1'000'000);
        co_await gen.next();
        long sum = 1;
        const std::size_t before = support::system_blocks;
        while (auto x = co_await gen.next()) sum += *x;
        EXPECT_EQ(support::system_blocks, before);
        EXPECT_EQ(sum, 500'000'500'000);
    });
}

AsyncGenerator<int> nested(int depth) {
    if (depth == 0) {
        co_yield 1;
        co_await sleep(1s);
        co_yield 2;
        co_return;
    }
    auto inner = nested(depth - 1);
    while (auto x = co_await inner.next()) co_yield *x + 1;
}

TEST(Generators, OfGeneratorsMayBeDeep) {
    run_virtual([]() -> Coroutine<> {
        auto gen = nested(20'000);
        EXPECT_EQ(co_await gen.next(), std::optional<int>(20'001));
        EXPECT_EQ(co_await gen.next(), std::optional<int>(20'002));
        EXPECT_EQ(co_await gen.next(), std::nullopt);
    });
}

TEST(Generators, MayBeDrivenBySeveralTasksInTurn) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(4);
        auto take = [&]() -> Coroutine<int> {
            const auto x = co_await gen.next();
            co_await sleep(1s);
            co_return *x + *co_await gen.next() * 10;
        };
        auto a = create_task(take);
        auto b = create_task(take);
        EXPECT_EQ(co_await a, 31);
        EXPECT_EQ(co_await b, 42);
    });
}

TEST(Generators, CallsCanBeTasksAndCanBeGathered) {
    run_virtual([]() -> Coroutine<> {
        auto a = count_to(2);
        auto b = count_to(1);
        auto task = create_task(a.next());
        EXPECT_EQ(co_await task, std::optional<int>(1));
        auto both = co_await gather(a.next(), b.next());
        EXPECT_EQ(std::get<0>(both), std::optional<int>(2));
        EXPECT_EQ(std::get<1>(both), std::optional<int>(1));
        co_await create_task(b.aclose());
        EXPECT_EQ(getasyncgenstate(b), AsyncGenState::AGEN_CLOSED);
    });
}

TEST(Generators, ACallKeepsTheGeneratorOnceItIsATask) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(2);
        auto task = create_task(gen.next());
        gen = {};
        EXPECT_EQ(co_await task, std::optional<int>(1));
    });
}

TEST(Generators, ACallCanBeAwaitedOnce) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(5);
        auto next = gen.next();
        EXPECT_EQ(co_await next, std::optional<int>(1));
        auto again = co_await as_result(next);
        EXPECT_EQ(text_of(again.error()),
                  "RuntimeError('cannot reuse already awaited __anext__()/asend()')");
        auto close = gen.aclose();
        co_await close;
        auto closed_again = co_await as_result(close);
        EXPECT_EQ(text_of(closed_again.error()),
                  "RuntimeError('cannot reuse already awaited aclose()/athrow()')");
    });
}

TEST(Generators, KnowTheirState) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = awaits_first(log);
        EXPECT_EQ(getasyncgenstate(gen), AsyncGenState::AGEN_CREATED);
        auto task = create_task(gen.next());
        co_await sleep(0s);
        EXPECT_EQ(getasyncgenstate(gen), AsyncGenState::AGEN_RUNNING);
        co_await task;
        EXPECT_EQ(getasyncgenstate(gen), AsyncGenState::AGEN_SUSPENDED);
        co_await gen.aclose();
        EXPECT_EQ(getasyncgenstate(gen), AsyncGenState::AGEN_CLOSED);
    });
}

TEST(Generators, PrintAsInPython) {
    auto gen = count_to(1);
    EXPECT_EQ(repr(gen).find("<async_generator object count_to at 0x"), 0u) << repr(gen);
    EXPECT_EQ(repr(gen).back(), '>');
}

TEST(Generators, HandlesAreSharedAndCompareByIdentity) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(2);
        auto same = gen;
        auto other = count_to(2);
        EXPECT_TRUE(same == gen);
        EXPECT_FALSE(same == other);
        EXPECT_EQ(same.id(), gen.id());
        EXPECT_EQ(co_await gen.next(), std::optional<int>(1));
        EXPECT_EQ(co_await same.next(), std::optional<int>(2));
        AsyncGenerator<int> empty;
        EXPECT_FALSE(empty);
        EXPECT_TRUE(gen);
        EXPECT_THROW((void)empty.next(), std::exception);
    });
}

TEST(Generators, ShowInTheStackOfTheTaskThatDrivesThem) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto consume = [&]() -> Coroutine<> {
            auto gen = awaits_first(log);
            co_await gen.next();
        };
        auto task = create_task(consume);
        co_await sleep(1s);
        const auto stack = task.get_stack();
        EXPECT_GE(stack.size(), 2u);
        const std::string innermost = stack.back().function_name();
        EXPECT_NE(innermost.find("awaits_first"), std::string::npos) << innermost;
        task.cancel();
        (void)co_await as_result(task);
    });
}

TEST(Generators, SeeTheContextOfTheTaskThatDrivesThem) {
    static ContextVar<int> var("var", 0);
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            while (true) co_yield var.get();
        };
        auto gen = body();
        var.set(1);
        EXPECT_EQ(co_await gen.next(), std::optional<int>(1));
        auto in_task = [&]() -> Coroutine<std::optional<int>> {
            var.set(2);
            co_return co_await gen.next();
        };
        EXPECT_EQ(co_await create_task(in_task), std::optional<int>(2));
        EXPECT_EQ(co_await gen.next(), std::optional<int>(1));
    });
}

// ---- types of items -----------------------------------------------------------------------------

TEST(Generators, YieldReferences) {
    run_virtual([]() -> Coroutine<> {
        std::vector<std::string> words{"a", "b"};
        auto body = [&]() -> AsyncGenerator<std::string&> {
            for (auto& w : words) co_yield w;
        };
        auto gen = body();
        while (auto w = co_await gen.next()) {
            w->append("!");
            *w += "?";
            EXPECT_EQ(&w.value(), &*w);
        }
        EXPECT_EQ(words, (std::vector<std::string>{"a!?", "b!?"}));
        auto end = co_await gen.next();
        EXPECT_FALSE(end.has_value());
        EXPECT_THROW((void)end.value(), std::bad_optional_access);
    });
}

TEST(Generators, YieldConstantReferencesToTemporaries) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<const std::string&> {
            co_yield std::string(100, 'x');
            co_yield "y";
        };
        auto gen = body();
        auto x = co_await gen.next();
        EXPECT_EQ(*x, std::string(100, 'x'));
        auto y = co_await gen.next();
        EXPECT_EQ(*y, "y");
    });
}

struct NoDefault {
    explicit NoDefault(int n) : value(n) {}
    NoDefault(NoDefault&&) = default;
    NoDefault& operator=(NoDefault&&) = default;
    int value;
};

TEST(Generators, YieldValuesThatOnlyMoveAndHaveNoDefault) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<NoDefault> {
            co_yield NoDefault(1);
            NoDefault two(2);
            co_yield std::move(two);
        };
        auto gen = body();
        auto one = co_await gen.next();
        EXPECT_EQ(one->value, 1);
        auto task = create_task(gen.next());
        auto two = co_await std::move(task);
        EXPECT_EQ(two->value, 2);
        auto end = co_await gen.next();
        EXPECT_FALSE(end);
    });
}

TEST(Generators, CopyAnLvalueAndMoveAnRvalue) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<std::string> {
            std::string s(40, 'a');
            co_yield s;
            EXPECT_EQ(s, std::string(40, 'a'));
            const std::string c(40, 'c');
            co_yield c;
            co_yield std::move(s);
            co_yield std::string(40, 'b');
            co_yield "literal";
        };
        auto gen = body();
        std::string all;
        while (auto s = co_await gen.next()) all += *s + ' ';
        EXPECT_EQ(all, std::string(40, 'a') + ' ' + std::string(40, 'c') + ' ' +
                           std::string(40, 'a') + ' ' + std::string(40, 'b') + " literal ");
    });
}

TEST(Generators, YieldBracedValues) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<std::pair<int, std::string>> {
            co_yield {1, "one"};
            std::string two(50, '2');
            co_yield {2, two};
        };
        auto gen = body();
        auto one = co_await gen.next();
        EXPECT_EQ(one->second, "one");
        auto two = co_await gen.next();
        EXPECT_EQ(two->second, std::string(50, '2'));
        EXPECT_FALSE(co_await gen.next());
    });
}

TEST(Generators, AnItemWhoseCopyThrowsLeavesTheGeneratorSuspended) {
    struct Fragile {
        Fragile() = default;
        Fragile(const Fragile&) { throw ValueError("copied"); }
    };
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<Fragile> {
            const Fragile f;
            co_yield f;
        };
        auto gen = body();
        EXPECT_EQ(co_await outcome([&]() -> Coroutine<> { co_await gen.next(); }),
                  "!! ValueError('copied')");
        EXPECT_EQ(getasyncgenstate(gen), AsyncGenState::AGEN_SUSPENDED);
        auto end = co_await gen.next();
        EXPECT_FALSE(end);
    });
}

// ---- asend --------------------------------------------------------------------------------------

AsyncGenerator<std::string, std::string> echo() {
    std::string said = "first";
    while (true) said = co_yield said + "!";
}

TEST(Generators, AsendGivesTheValueToTheCoYield) {
    run_virtual([]() -> Coroutine<> {
        auto gen = echo();
        EXPECT_EQ(*co_await gen.next(), "first!");
        EXPECT_EQ(*co_await gen.asend("x"), "x!");
        EXPECT_EQ(*co_await gen.asend(std::string(50, 'y')), std::string(50, 'y') + '!');
        EXPECT_EQ(*co_await gen.next(), "!");
        auto task = create_task(gen.asend("in a task"));
        EXPECT_EQ(*co_await task, "in a task!");
    });
}

TEST(Generators, AsendBeforeTheBeginningIsATypeError) {
    run_virtual([]() -> Coroutine<> {
        auto gen = echo();
        EXPECT_EQ(co_await outcome(gen.asend("x")),
                  "!! TypeError(\"can't send non-None value to a just-started async "
                  "generator\")");
        EXPECT_EQ(*co_await gen.next(), "first!");
    });
}

TEST(Generators, AnEmptyOptionalMayBeSentBeforeTheBeginning) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int, std::optional<int>> {
            int sum = 0;
            while (auto n = co_yield sum) sum += *n;
        };
        auto gen = body();
        EXPECT_EQ(co_await gen.asend(std::nullopt), std::optional<int>(0));
        EXPECT_EQ(co_await gen.asend(3), std::optional<int>(3));
        EXPECT_EQ(co_await gen.asend(4), std::optional<int>(7));
        EXPECT_EQ(co_await gen.next(), std::nullopt);
        EXPECT_EQ(co_await gen.asend(4), std::nullopt);
    });
}

TEST(Generators, AsendMovesWhatCannotBeCopiedAndPassesReferences) {
    run_virtual([]() -> Coroutine<> {
        auto moves = []() -> AsyncGenerator<int, std::unique_ptr<int>> {
            std::unique_ptr<int> p;
            while (true) p = co_yield (p ? *p : 0);
        };
        auto gen = moves();
        EXPECT_EQ(co_await gen.next(), std::optional<int>(0));
        EXPECT_EQ(co_await gen.asend(std::make_unique<int>(7)), std::optional<int>(7));

        auto refers = []() -> AsyncGenerator<int*, int&> {
            int own = 0;
            int* p = &own;
            while (true) {
                int& sent = co_yield p;
                p = &sent;
            }
        };
        auto by_reference = refers();
        int mine = 0;
        EXPECT_TRUE(co_await by_reference.next());
        EXPECT_EQ(co_await by_reference.asend(mine), std::optional<int*>(&mine));
        EXPECT_EQ(co_await outcome(by_reference.next()),
                  "!! TypeError('a value must be sent to this asynchronous generator: use "
                  "asend()')");
        EXPECT_EQ(co_await by_reference.asend(mine), std::optional<int*>(&mine));
        co_await by_reference.aclose();
    });
}

// ---- errors, athrow, aclose ---------------------------------------------------------------------

TEST(Generators, AnExceptionEndsThem) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            co_yield 1;
            throw ValueError("g");
        };
        auto gen = body();
        co_await gen.next();
        EXPECT_EQ(co_await outcome(gen.next()), "!! ValueError('g')");
        EXPECT_EQ(log, Lines{"~body"});
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
    });
}

TEST(Generators, AnExceptionCanBeCaughtByWhoeverDrivesThem) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            co_await sleep(1s);
            throw ValueError("g");
            co_yield 1;
        };
        auto gen = body();
        std::string caught;
        try {
            co_await gen.next();
        } catch (const ValueError& e) {
            caught = e.what();
        }
        EXPECT_EQ(caught, "g");
    });
}

TEST(Generators, TurnStopAsyncIterationIntoRuntimeError) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            co_yield 1;
            throw StopAsyncIteration("x");
        };
        auto gen = body();
        co_await gen.next();
        auto r = co_await as_result(gen.next());
        EXPECT_EQ(text_of(r.error()), "RuntimeError('async generator raised StopAsyncIteration')");
        EXPECT_EQ(text_of(cause_of(r.error())), "StopAsyncIteration('x')");
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
    });
}

TEST(Generators, AthrowRaisesAtTheCoYield) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            try {
                co_yield 1;
            } catch (const ValueError& e) {
                log.push_back(std::string("caught ") + e.what());
            }
            co_yield 2;
        };
        auto gen = body();
        co_await gen.next();
        EXPECT_EQ(co_await outcome(gen.athrow(ValueError("in"))), "-> 2");
        EXPECT_EQ(co_await outcome(gen.athrow(KeyError("k"))), "!! KeyError('k')");
        EXPECT_EQ(log, (Lines{"caught in", "~body"}));
        EXPECT_EQ(co_await outcome(gen.athrow(KeyError("k"))), "-> None");
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
    });
}

TEST(Generators, AthrowIsEmptyWhenTheBodyEnds) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const ValueError&) {
            }
        };
        auto gen = body();
        co_await gen.next();
        EXPECT_EQ(co_await outcome(gen.athrow(ValueError())), "-> None");
    });
}

// As on CPython, each line.
TEST(Generators, AthrowBeforeTheBeginningEndsThem) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        const std::vector<std::pair<std::exception_ptr, std::string>> errors{
            {std::make_exception_ptr(ValueError("v")), "!! ValueError('v')"},
            {std::make_exception_ptr(StopAsyncIteration("q")), "!! StopAsyncIteration('q')"},
            {std::make_exception_ptr(GeneratorExit()), "!! GeneratorExit()"},
            {std::make_exception_ptr(CancelledError()), "!! CancelledError()"}};
        for (const auto& [error, text] : errors) {
            auto gen = guarded(log);
            EXPECT_EQ(co_await outcome(gen.athrow(error)), text);
            EXPECT_EQ(co_await outcome(gen.athrow(error)), "-> None");
            EXPECT_EQ(co_await outcome(gen.next()), "-> None");
            EXPECT_EQ(co_await outcome(gen.aclose()), "-> done");
        }
        EXPECT_EQ(log, Lines{});
    });
}

TEST(Generators, AthrowOfGeneratorExitAndStopAsyncIteration) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(3);
        co_await gen.next();
        EXPECT_EQ(co_await outcome(gen.athrow(GeneratorExit())), "!! GeneratorExit()");
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
        auto other = count_to(3);
        co_await other.next();
        EXPECT_EQ(co_await outcome(other.athrow(StopAsyncIteration("q"))),
                  "!! RuntimeError('async generator raised StopAsyncIteration')");
        auto third = count_to(3);
        co_await third.next();
        EXPECT_EQ(co_await outcome(third.athrow(std::exception_ptr())),
                  "!! TypeError('exceptions must be classes or instances deriving from "
                  "BaseException, not NoneType')");
        EXPECT_EQ(co_await outcome(third.next()), "-> 2");
    });
}

TEST(Generators, AcloseRaisesGeneratorExitAtTheCoYield) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            bool closing = false;
            try {
                co_yield 1;
                co_yield 2;
            } catch (const GeneratorExit&) {
                closing = true;
            }
            co_await sleep(1s);
            log.push_back(closing ? "cleaned up" : "not closed");
        };
        auto gen = body();
        auto& loop = get_running_loop();
        const auto start = loop.time();
        EXPECT_EQ(co_await outcome(gen.next()), "-> 1");
        EXPECT_EQ(co_await outcome(gen.aclose()), "-> done");
        EXPECT_EQ(loop.time() - start, 1s);
        EXPECT_EQ(log, (Lines{"cleaned up", "~body"}));
        EXPECT_EQ(co_await outcome(gen.aclose()), "-> done");
    });
}

TEST(Generators, ACatchOfOrdinaryErrorsDoesNotStopAclose) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            for (int i = 0;; ++i) {
                try {
                    co_yield i;
                } catch (const std::exception&) {
                }
            }
        };
        auto gen = body();
        co_await gen.next();
        EXPECT_EQ(co_await outcome(gen.athrow(ValueError())), "-> 1");
        EXPECT_EQ(co_await outcome(gen.aclose()), "-> done");
    });
}

TEST(Generators, AcloseBeforeTheBeginningRunsNothing) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = guarded(log);
        EXPECT_EQ(co_await outcome(gen.aclose()), "-> done");
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
        EXPECT_EQ(log, Lines{});
    });
}

TEST(Generators, AcloseGivesWhatTheCleaningRaises) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                throw ValueError("closing");
            }
        };
        auto gen = body();
        co_await gen.next();
        EXPECT_EQ(co_await outcome(gen.aclose()), "!! ValueError('closing')");
        EXPECT_EQ(co_await outcome(gen.aclose()), "-> done");
    });
}

// As on CPython, each line.
TEST(Generators, AcloseThatIsIgnoredIsARuntimeError) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = stubborn(log);
        EXPECT_EQ(co_await outcome(gen.next()), "-> 1");
        EXPECT_EQ(co_await outcome(gen.aclose()),
                  "!! RuntimeError('async generator ignored GeneratorExit')");
        EXPECT_EQ(co_await outcome(gen.aclose()), "!! StopAsyncIteration()");
        EXPECT_EQ(co_await outcome(gen.athrow(GeneratorExit())), "-> None");
        EXPECT_EQ(co_await outcome(gen.next()), "-> 3");
        EXPECT_EQ(co_await outcome(gen.aclose()), "!! StopAsyncIteration()");
        EXPECT_EQ(co_await outcome(gen.athrow(ValueError())), "-> None");
        EXPECT_EQ(co_await outcome(gen.next()), "-> 4");
        EXPECT_EQ(log, Lines{"ignored"});
    });
}

TEST(Generators, AclosingClosesThemHoweverTheBodyEnds) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = guarded(log);
        co_await with(aclosing(gen),
                      [&](AsyncGenerator<int>& g) -> Coroutine<> { co_await g.next(); });
        log.push_back("after");
        auto raises = [](AsyncGenerator<int>& g) -> Coroutine<> {
            co_await g.next();
            throw ValueError("b");
        };
        auto other = guarded(log);
        EXPECT_EQ(co_await outcome(with(aclosing(other), raises)), "!! ValueError('b')");
        EXPECT_EQ(log, (Lines{"begin", "~guarded", "after", "begin", "~guarded"}));
    });
}

TEST(Generators, RefuseASecondDriver) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = awaits_first(log);
        auto task = create_task(gen.next());
        co_await sleep(1s);
        EXPECT_EQ(co_await outcome(gen.next()),
                  "!! RuntimeError('anext(): asynchronous generator is already running')");
        EXPECT_EQ(co_await outcome(gen.athrow(ValueError())),
                  "!! RuntimeError('athrow(): asynchronous generator is already running')");
        EXPECT_EQ(co_await outcome(gen.aclose()),
                  "!! RuntimeError('aclose(): asynchronous generator is already running')");
        EXPECT_EQ(co_await task, std::optional<int>(1));
        EXPECT_EQ(co_await outcome(gen.next()), "-> 2");
        co_await gen.aclose();
    });
}

TEST(Generators, RefuseToDriveThemselves) {
    run_virtual([]() -> Coroutine<> {
        AsyncGenerator<int> gen;
        auto body = [&]() -> AsyncGenerator<int> {
            EXPECT_EQ(co_await outcome(gen.next()),
                      "!! RuntimeError('anext(): asynchronous generator is already running')");
            co_yield 1;
        };
        gen = body();
        EXPECT_EQ(co_await outcome(gen.next()), "-> 1");
        co_await gen.aclose();
    });
}

// ---- cancelling ---------------------------------------------------------------------------------

TEST(Generators, ACancelIsRaisedInside) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = awaits_first(log);
        auto consume = [&]() -> Coroutine<> {
            while (co_await gen.next()) log.push_back("item");
        };
        auto task = create_task(consume);
        co_await sleep(1s);
        EXPECT_TRUE(task.cancel("stop"));
        EXPECT_EQ(co_await outcome(task), "!! CancelledError('stop')");
        EXPECT_EQ(log, Lines{"~awaits_first"});
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
    });
}

TEST(Generators, MaySwallowACancelAndGoOn) {
    run_virtual([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            auto r = co_await as_result(sleep(9s));
            co_yield r.holds<CancelledError>() ? 1 : 0;
        };
        auto gen = body();
        auto task = create_task(gen.next());
        co_await sleep(1s);
        task.cancel();
        EXPECT_EQ(co_await outcome(task), "-> 1");
        EXPECT_EQ(co_await outcome(gen.next()), "-> None");
    });
}

TEST(Generators, ACancelBeforeTheFirstStepOfTheDriverLeavesThemAlone) {
    run_virtual([]() -> Coroutine<> {
        auto gen = count_to(2);
        auto task = create_task(gen.next());
        task.cancel();
        EXPECT_EQ(co_await outcome(task), "!! CancelledError()");
        EXPECT_EQ(co_await outcome(gen.next()), "-> 1");
        co_await gen.aclose();
    });
}

TEST(Generators, ACancelThatIsDueWaitsForTheNextSuspension) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto consume = [&]() -> Coroutine<> {
            current_task().cancel();
            auto gen = count_to(2);
            while (auto x = co_await gen.next()) log.push_back(std::to_string(*x));
            co_await sleep(0s);
            log.push_back("not reached");
        };
        auto task = create_task(consume);
        EXPECT_EQ(co_await outcome(task), "!! CancelledError()");
        EXPECT_EQ(log, (Lines{"1", "2"}));
    });
}

// ---- dropped handles ----------------------------------------------------------------------------

AsyncGenerator<int> says_where_it_closes(Lines& log, AnyTask main) {
    std::string where = "not closed";
    try {
        co_yield 1;
    } catch (const GeneratorExit&) {
        where = current_task() == main ? "closing in main" : "closing in another task";
    }
    log.push_back(where);
}

// S-39d: the same lines as CPython's.
TEST(Generators, ADroppedOneIsClosedByATaskOfItsOwn) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = says_where_it_closes(log, current_task());
        co_await gen.next();
        gen = {};
        for (int i = 0; i < 4; ++i) {
            log.push_back("tick " + std::to_string(i) + " tasks " +
                          std::to_string(all_tasks().size()));
            co_await sleep(0s);
        }
        EXPECT_EQ(log, (Lines{"tick 0 tasks 1", "tick 1 tasks 2", "closing in another task",
                              "tick 2 tasks 1", "tick 3 tasks 1"}));
    });
}

TEST(Generators, ADroppedOneMayAwaitWhileItIsClosed) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
            }
            co_await sleep(1s);
            log.push_back("cleaned up");
        };
        {
            auto gen = body();
            co_await gen.next();
        }
        co_await sleep(2s);
        EXPECT_EQ(log, (Lines{"cleaned up", "~body"}));
    });
}

TEST(Generators, ADroppedOneIsClosedInTheContextOfTheDrop) {
    static ContextVar<int> var("var", 0);
    run_virtual([]() -> Coroutine<> {
        int seen = -1;
        auto body = [&]() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                seen = var.get();
            }
        };
        auto gen = body();
        co_await gen.next();
        var.set(5);
        gen = {};
        var.set(6);
        co_await sleep(1s);
        EXPECT_EQ(seen, 5);
    });
}

TEST(Generators, ADroppedOneWhoseCleaningFailsIsReported) {
    Lines reports;
    auto loop = VirtualTimeEventLoop::create();
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
        reports.push_back(context.message + ": " + text_of(context.exception));
    });
    loop->run_until_complete([]() -> Coroutine<> {
        auto body = []() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                throw ValueError("closing");
            }
        };
        {
            auto gen = body();
            co_await gen.next();
        }
        co_await sleep(1s);
    });
    EXPECT_EQ(reports, Lines{"Task exception was never retrieved: ValueError('closing')"});
}

TEST(Generators, ADroppedOneThatIgnoresTheClosingIsDestroyed) {
    Lines log;
    Lines reports;
    auto loop = VirtualTimeEventLoop::create();
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
        reports.push_back(text_of(context.exception));
    });
    loop->run_until_complete([&]() -> Coroutine<> {
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            auto inner = stubborn(log);
            co_await inner.next();
            for (;;) {
                try {
                    co_yield 1;
                } catch (const GeneratorExit&) {
                    log.push_back("outer ignored");
                }
            }
        };
        {
            auto gen = body();
            co_await gen.next();
        }
        co_await sleep(1s);
        EXPECT_EQ(log, (Lines{"outer ignored", "~body", "ignored"}));
    });
    EXPECT_EQ(reports, (Lines{"RuntimeError('async generator ignored GeneratorExit')",
                              "RuntimeError('async generator ignored GeneratorExit')"}));
}

// As on CPython: asyncio.run() cancels the closing task before its first step.
TEST(Generators, DroppedAtTheEndOfTheProgramCleanUp) {
    Lines log;
    auto body = [&](std::string name) -> AsyncGenerator<int> {
        try {
            co_yield 1;
        } catch (const GeneratorExit&) {
            log.push_back(name + " sees GeneratorExit");
        } catch (const CancelledError&) {
            log.push_back(name + " sees CancelledError");
        }
        co_await sleep(1s);
        log.push_back(name + " cleaned");
    };
    auto main = [&]() -> Coroutine<> {
        auto gen = body("early");
        co_await gen.next();
        gen = body("late");
        co_await gen.next();
    };
    run(main, {.loop_factory = &VirtualTimeEventLoop::create});
    EXPECT_EQ(log, (Lines{"early sees CancelledError", "late sees CancelledError", "early cleaned",
                          "late cleaned"}));
}

TEST(Generators, DroppedBeforeTheBeginningOrAfterTheEndRunNothing) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto kept = std::make_shared<int>(1);
        auto body = [&log](std::shared_ptr<int>) -> AsyncGenerator<int> {
            log.push_back("begin");
            co_yield 1;
        };
        {
            auto gen = body(kept);
        }
        EXPECT_EQ(kept.use_count(), 1);
        {
            auto gen = body(kept);
            while (co_await gen.next()) {
            }
        }
        EXPECT_EQ(kept.use_count(), 1);
        co_await sleep(0s);
        EXPECT_EQ(all_tasks().size(), 1u);
        co_await sleep(0s);
        EXPECT_EQ(all_tasks().size(), 1u);
        EXPECT_EQ(log, Lines{"begin"});
    });
}

TEST(Generators, DroppedWhileTheyAreDrivenAreClosedAfterwards) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = awaits_first(log);
        auto consume = [&]() -> Coroutine<> {
            const auto x = co_await gen.next();
            log.push_back(std::to_string(*x));
        };
        auto task = create_task(consume);
        co_await sleep(1s);
        gen = {};
        co_await task;
        EXPECT_EQ(log, Lines{"1"});
        co_await sleep(1s);
        EXPECT_EQ(log, (Lines{"1", "~awaits_first"}));
    });
}

TEST(Generators, WhoseBodyDropsTheLastHandleAreClosedAfterwards) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        AsyncGenerator<int> gen;
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            gen = {};
            co_yield 1;
        };
        gen = body();
        EXPECT_EQ(co_await gen.next(), std::optional<int>(1));
        EXPECT_EQ(log, Lines{});
        co_await sleep(1s);
        EXPECT_EQ(log, Lines{"~body"});

        auto ends = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "ends");
            gen = {};
            co_return;
            co_yield 1;
        };
        gen = ends();
        EXPECT_EQ(co_await gen.next(), std::nullopt);
        EXPECT_EQ(log, (Lines{"~body", "~ends"}));
    });
}

TEST(Generators, DroppedWithoutARunningLoopAreDestroyed) {
    Lines log;
    auto loop = VirtualTimeEventLoop::create();
    auto gen = guarded(log);
    loop->run_until_complete(gen.next());
    gen = {};
    EXPECT_EQ(log, (Lines{"begin", "~guarded"}));
    {
        auto unstarted = guarded(log);
    }
    EXPECT_EQ(log, (Lines{"begin", "~guarded"}));
}

TEST(Generators, DroppedOnAnotherThreadAreClosedOnTheLoop) {
    Lines log;
    auto loop = VirtualTimeEventLoop::create();
    auto gen = says_where_it_closes(log, AnyTask());
    loop->run_until_complete([&]() -> Coroutine<> {
        co_await gen.next();
        std::thread other([g = std::move(gen)]() mutable { g = {}; });
        other.join();
        EXPECT_EQ(log, Lines{});
        co_await sleep(1s);
        EXPECT_EQ(log, Lines{"closing in another task"});
    });
}

TEST(Generators, DroppedOnAnotherThreadAfterTheLoopHasClosedAreGone) {
    Lines log;
    auto loop = VirtualTimeEventLoop::create();
    auto gen = guarded(log);
    loop->run_until_complete(gen.next());
    auto queued = guarded(log);
    loop->run_until_complete(queued.next());
    std::thread before([g = std::move(queued)]() mutable { g = {}; });
    before.join();
    loop->close();
    EXPECT_EQ(log, (Lines{"begin", "begin", "~guarded", "~guarded"}));
    std::thread after([g = std::move(gen)]() mutable { g = {}; });
    after.join();
}

TEST(Generators, HandlesMayBeCopiedAndDroppedOnOtherThreads) {
    Lines log;
    auto loop = VirtualTimeEventLoop::create();
    loop->run_until_complete([&]() -> Coroutine<> {
        for (int i = 0; i < 50; ++i) {
            auto gen = count_to(3);
            std::thread other([copy = gen]() mutable {
                for (int n = 0; n < 20; ++n) auto again = copy;
                copy = {};
            });
            co_await gen.next();
            gen = {};
            co_await sleep(0s);
            other.join();
        }
        co_await sleep(1s);
        EXPECT_EQ(all_tasks().size(), 1u);
    });
}

// A generator that owns a generator that owns ..., none of which has begun.
AsyncGenerator<int> owner_of(AsyncGenerator<int> inner) {
    while (auto x = co_await inner.next()) co_yield *x;
}

TEST(Generators, ADeepChainOfOwnersIsDestroyedWithoutRecursion) {
    auto gen = count_to(1);
    for (int i = 0; i < 100'000; ++i) gen = owner_of(std::move(gen));
    gen = {};
}

// ---- loops that close ---------------------------------------------------------------------------

TEST(Generators, SuspendedAtACoYieldAreDestroyedWhenTheLoopCloses) {
    Lines log;
    auto loop = VirtualTimeEventLoop::create();
    auto gen = guarded(log);
    loop->run_until_complete(gen.next());
    loop->close();
    EXPECT_EQ(log, (Lines{"begin", "~guarded"}));
    auto other = VirtualTimeEventLoop::create();
    EXPECT_EQ(other->run_until_complete(gen.next()), std::nullopt);
    gen = {};
    EXPECT_EQ(log.size(), 2u);
}

TEST(Generators, SuspendedInAnAwaitAreDestroyedWhenTheLoopCloses) {
    Lines log;
    AsyncGenerator<int> gen;
    {
        auto loop = VirtualTimeEventLoop::create();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        loop->run_until_complete([&]() -> Coroutine<> {
            gen = awaits_first(log);
            auto consume = [&]() -> Coroutine<> {
                const Guard guard(log, "consumer");
                co_await gen.next();
            };
            auto through = [consume]() -> Coroutine<> { co_await consume(); };
            auto running = create_task(through);
            co_await sleep(1s);
        });
    }
    EXPECT_EQ(log, (Lines{"~awaits_first", "~consumer"}));
    EXPECT_EQ(getasyncgenstate(gen), AsyncGenState::AGEN_CLOSED);
}

TEST(Generators, WhoseClosingHasBeenScheduledAreDestroyedWhenTheLoopCloses) {
    for (const int steps : {0, 1, 2}) {
        Lines log;
        auto loop = VirtualTimeEventLoop::create();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        auto body = [&]() -> AsyncGenerator<int> {
            const Guard guard(log, "body");
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                log.push_back("closing");
            }
            co_await sleep(1s);
            log.push_back("not reached");
        };
        auto gen = body();
        loop->run_until_complete(gen.next());
        loop->call_soon([&] { gen = {}; });
        for (int i = 0; i <= steps; ++i) loop->run_once(0s);
        loop->close();
        EXPECT_EQ(log, steps < 2 ? Lines{"~body"} : (Lines{"closing", "~body"})) << steps;
    }
}

TEST(Generators, AChainOfThemIsDestroyedInnermostFirstAndWithoutRecursion) {
    Lines log;
    {
        auto loop = VirtualTimeEventLoop::create();
        AsyncGenerator<int> gen;
        const int depth = 100'000;
        auto layer = [](Lines& out, AsyncGenerator<int> inner, int n) -> AsyncGenerator<int> {
            const Guard guard(out, std::to_string(n));
            while (auto x = co_await inner.next()) co_yield *x + 1;
        };
        loop->run_until_complete([&]() -> Coroutine<> {
            gen = count_to(2);
            for (int i = 0; i < depth; ++i) gen = layer(log, std::move(gen), i);
            EXPECT_EQ(co_await gen.next(), std::optional<int>(depth + 1));
        });
        EXPECT_EQ(log, Lines{});
        loop->close();
        EXPECT_EQ(log.size(), std::size_t{depth});
        EXPECT_EQ(log.front(), "~0");
        EXPECT_EQ(log.back(), "~" + std::to_string(depth - 1));
    }
    EXPECT_EQ(log.size(), 100'000u);
}

// ---- shutdown_asyncgens -------------------------------------------------------------------------

AsyncGenerator<int> slow_to_close(Lines& log, int number, std::chrono::seconds delay) {
    try {
        co_yield number;
    } catch (const GeneratorExit&) {
        log.push_back("begin " + std::to_string(number));
    }
    auto r = co_await as_result(sleep(delay));
    log.push_back("end " + std::to_string(number));
    r.value();
}

TEST(Generators, ShutdownClosesAllAtOnceInTheOrderTheyBegan) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto unstarted = slow_to_close(log, 0, 1s);
        auto a = slow_to_close(log, 1, 5s);
        auto b = slow_to_close(log, 2, 3s);
        auto c = slow_to_close(log, 3, 1s);
        co_await c.next();
        co_await a.next();
        co_await b.next();
        co_await c.aclose();
        log.clear();
        auto& loop = get_running_loop();
        const auto start = loop.time();
        co_await loop.shutdown_asyncgens();
        EXPECT_EQ(log, (Lines{"begin 1", "begin 2", "end 2", "end 1"}));
        EXPECT_EQ(loop.time() - start, 5s);
        EXPECT_FALSE(co_await a.next());
        co_await loop.shutdown_asyncgens();
        EXPECT_EQ(log.size(), 4u);
    });
}

TEST(Generators, ShutdownRunsEachClosingInATaskOfItsOwn) {
    run_virtual([]() -> Coroutine<> {
        std::vector<AnyTask> tasks;
        auto body = [&]() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                tasks.push_back(current_task());
            }
        };
        auto a = body();
        auto b = body();
        co_await a.next();
        co_await b.next();
        co_await get_running_loop().shutdown_asyncgens();
        EXPECT_EQ(tasks.size(), 2u);
        EXPECT_FALSE(tasks[0] == tasks[1]);
        EXPECT_FALSE(tasks[0] == current_task());
        EXPECT_EQ(tasks[0].get_name().find("Task-"), 0u);
    });
}

TEST(Generators, ShutdownReportsErrorsToTheExceptionHandler) {
    Lines reports;
    Lines log;
    auto loop = VirtualTimeEventLoop::create();
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
        const auto name = context.message.find("<async_generator object ");
        reports.push_back(context.message.substr(0, name) + text_of(context.exception));
    });
    loop->run_until_complete([&]() -> Coroutine<> {
        auto fails = []() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                throw ValueError("closing");
            }
        };
        auto cancels = []() -> AsyncGenerator<int> {
            try {
                co_yield 1;
            } catch (const GeneratorExit&) {
                throw CancelledError();
            }
        };
        auto ignored = stubborn(log);
        auto a = fails();
        auto b = cancels();
        auto running = awaits_first(log);
        co_await ignored.next();
        (void)co_await as_result(ignored.aclose());
        co_await a.next();
        co_await b.next();
        auto task = create_task(running.next());
        co_await sleep(0s);
        co_await get_running_loop().shutdown_asyncgens();
        EXPECT_EQ(co_await task, std::optional<int>(1));
    });
    const std::string text = "an error occurred during closing of asynchronous generator ";
    EXPECT_EQ(reports, (Lines{text + "StopAsyncIteration()", text + "ValueError('closing')",
                              text + "CancelledError()",
                              text + "RuntimeError('aclose(): asynchronous generator is already "
                                     "running')"}));
}

TEST(Generators, ACancelledShutdownCancelsTheClosings) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto a = slow_to_close(log, 1, 5s);
        auto b = slow_to_close(log, 2, 3s);
        co_await a.next();
        co_await b.next();
        auto& loop = get_running_loop();
        const auto start = loop.time();
        auto task = create_task(loop.shutdown_asyncgens());
        co_await sleep(1s);
        task.cancel();
        EXPECT_EQ(co_await outcome(task), "!! CancelledError()");
        EXPECT_EQ(loop.time() - start, 1s);
        EXPECT_EQ(log, (Lines{"begin 1", "begin 2", "end 1", "end 2"}));
    });
}

Lines& warnings() {
    static Lines lines;
    return lines;
}

TEST(Generators, ANewOneAfterShutdownIsWarnedOf) {
    warnings().clear();
    const auto before = log::set_sink([](log::Level level, std::string_view message) {
        if (level == log::Level::WARNING) warnings().emplace_back(message);
    });
    run_virtual([]() -> Coroutine<> {
        co_await get_running_loop().shutdown_asyncgens();
        auto gen = count_to(1);
        EXPECT_EQ(warnings(), Lines{});
        co_await gen.next();
        EXPECT_EQ(warnings().size(), 1u);
        EXPECT_EQ(warnings()[0], "asynchronous generator " + repr(gen) +
                                     " was scheduled after loop.shutdown_asyncgens() call");
        co_await gen.next();
    });
    log::set_sink(before);
    EXPECT_EQ(warnings().size(), 1u);
}

TEST(Generators, AHandleDroppedWhileShutdownClosesItIsClosedOnce) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto gen = slow_to_close(log, 1, 5s);
        co_await gen.next();
        auto task = create_task(get_running_loop().shutdown_asyncgens());
        co_await sleep(1s);
        gen = {};
        co_await task;
        co_await sleep(1s);
        EXPECT_EQ(log, (Lines{"begin 1", "end 1"}));
        EXPECT_EQ(all_tasks().size(), 1u);
    });
}

// ---- all of it at once --------------------------------------------------------------------------

// Programs of random steps: what is made is destroyed once, whoever ends first.
class Chaos {
  public:
    explicit Chaos(unsigned seed) : random_(seed) {}

    void run() {
        auto loop = VirtualTimeEventLoop::create();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        loop->run_until_complete([this]() -> Coroutine<> {
            std::vector<Task<>> drivers;
            for (int i = 0; i < 4; ++i) drivers.push_back(create_task(drive()));
            co_await sleep(std::chrono::milliseconds(upto(8)));
            if (one_in(2)) drivers[0].cancel();
            if (one_in(3)) co_await get_running_loop().shutdown_asyncgens();
        });
        if (one_in(2)) loop->close();
        if (one_in(2)) loop.reset();
        std::thread([g = std::move(generators_)]() mutable { g.clear(); }).join();
    }

    int made() const { return made_; }
    int alive() const { return alive_; }

  private:
    class Local {
      public:
        explicit Local(Chaos& c) : chaos_(c) {
            ++c.made_;
            ++c.alive_;
        }
        Local(const Local&) = delete;
        Local& operator=(const Local&) = delete;
        ~Local() { --chaos_.alive_; }

      private:
        Chaos& chaos_;
    };

    int upto(int n) { return std::uniform_int_distribution<>(0, n - 1)(random_); }
    bool one_in(int n) { return upto(n) == 0; }

    AsyncGenerator<int> generate(int depth) {
        const Local local(*this);
        AsyncGenerator<int> inner;
        if (depth > 0) inner = generate(depth - 1);
        for (int i = 0; i < 6; ++i) {
            if (one_in(4)) co_await sleep(std::chrono::milliseconds(upto(3)));
            if (inner && one_in(2)) co_await inner.next();
            if (one_in(12)) inner = {};
            if (one_in(40)) throw ValueError("body");
            bool closing = false;
            try {
                const Local inside(*this);
                co_yield i;
            } catch (const GeneratorExit&) {
                if (one_in(5)) throw;
                closing = true;
            } catch (const CancelledError&) {
                if (one_in(2)) throw;
            }
            if (!closing) continue;
            if (one_in(2)) co_await sleep(1ms);
            if (one_in(10)) co_yield -1;
            if (one_in(10)) throw ValueError("closing");
            co_return;
        }
    }

    Coroutine<> drive() {
        const Local local(*this);
        for (int i = 0; i < 20; ++i) {
            auto& gen = generators_[static_cast<std::size_t>(upto(4))];
            if (!gen) gen = generate(upto(5));
            co_await step(gen);
            if (one_in(6)) co_await sleep(1ms);
        }
    }

    Coroutine<> step(AsyncGenerator<int>& gen) {
        auto kept = gen;
        switch (upto(10)) {
            case 0:
                gen = {};
                break;
            case 1:
                (void)co_await as_result(kept.aclose());
                break;
            case 2:
                (void)co_await as_result(gen.athrow(ValueError("thrown")));
                break;
            case 3:
                (void)co_await as_result(kept.athrow(CancelledError()));
                break;
            case 4: {
                auto task = create_task(gen.next());
                kept = {};
                if (one_in(2)) gen = {};
                if (one_in(2)) co_await sleep(0s);
                if (one_in(2)) task.cancel();
                (void)co_await as_result(task);
                break;
            }
            case 5:
                kept = {};
                std::thread([g = std::move(gen)]() mutable { g = {}; }).join();
                gen = {};
                break;
            default:
                (void)co_await as_result(gen.next());
        }
    }

    std::mt19937 random_;
    std::atomic<int> made_{0};
    std::atomic<int> alive_{0};
    std::vector<AsyncGenerator<int>> generators_{4};
};

TEST(Generators, AreDestroyedOnceWhoeverEndsFirst) {
    const auto before = log::set_sink([](log::Level, std::string_view) {});
    int made = 0;
    for (unsigned seed = 0; seed < 300; ++seed) {
        Chaos chaos(seed);
        chaos.run();
        made += chaos.made();
        EXPECT_EQ(chaos.alive(), 0) << "seed " << seed;
    }
    log::set_sink(before);
    EXPECT_GT(made, 10'000);
}

AsyncGenerator<int> cleaned_up_by(std::exception_ptr error) {
    try {
        co_yield 1;
    } catch (const GeneratorExit&) {
        std::rethrow_exception(error);
    }
}

TEST(Shutdown, TellsOfEveryErrorOfACleanUp) {  // L21
    Lines errors;
    asyncio::run([&]() -> Coroutine<> {
        auto& loop = get_running_loop();
        loop.set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
            errors.push_back(detail::describe(context.exception));
        });
        auto cancelled = cleaned_up_by(std::make_exception_ptr(CancelledError("of the clean-up")));
        auto group = cleaned_up_by(BaseExceptionGroup::make(
            "both",
            {std::make_exception_ptr(CancelledError()), std::make_exception_ptr(ValueError("v"))}));
        auto quiet = cleaned_up_by(std::make_exception_ptr(GeneratorExit()));
        co_await cancelled.next();
        co_await group.next();
        co_await quiet.next();
        co_await loop.shutdown_asyncgens();
    });
    std::sort(errors.begin(), errors.end());
    EXPECT_EQ(errors, (Lines{"BaseExceptionGroup('both', [CancelledError(), ValueError('v')])",
                             "CancelledError()"}));
}

}  // namespace

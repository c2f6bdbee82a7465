// Tests on virtual time: what a test may leave behind, time, turns, a cancel at every point.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing/gtest.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using asyncio::Coroutine;
using asyncio::create_task;
using namespace asyncio::testing;
using namespace std::chrono_literals;

// What run() says; empty: nothing.
std::string told(const Scenario& scenario, const RunOptions& options = {}) {
    try {
        run(scenario, options);
        return "";
    } catch (const ScenarioFailed& failed) {
        return failed.what();
    }
}

::testing::AssertionResult has(const std::string& text, const std::string& part) {
    if (text.find(part) != text.npos) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << part << " is not in:\n" << text;
}

// ---- tests that are coroutines ------------------------------------------------------------------

ASYNC_TEST(AsyncTest, TakesNoRealTime) {
    const auto began = std::chrono::steady_clock::now();
    co_await asyncio::sleep(24h);
    EXPECT_EQ(elapsed(), 24h);
    CO_ASSERT_LT(std::chrono::steady_clock::now() - began, 1min);
}

TEST(AsyncTest, RunsWithEachSeed) {
    int seeds_seen = 0;
    const auto body = [&]() -> Coroutine<> {
        ++seeds_seen;
        co_return;
    };
    asyncio::testing::detail::run_async_test(body, {.seeds = 10});
    EXPECT_EQ(seeds_seen, 10);
}

Coroutine<int> fails() {
    CO_ASSERT_EQ(1, 2) << "never comes here";
    co_return 1;
}

TEST(AsyncTest, AnAssertionEndsTheTestWhereverItStands) {
    bool went_on = false;
    const std::string text = told([&]() -> Coroutine<> {
        co_await fails();
        went_on = true;
    });
    EXPECT_FALSE(went_on);
    EXPECT_TRUE(has(text, "test_testing.cpp:"));
    EXPECT_TRUE(has(text, "Expected equality of these values"));
}

ASYNC_TEST(AsyncTest, AnExpectedErrorIsFine) {
    auto raises = []() -> Coroutine<> {
        co_await asyncio::sleep(1s);
        throw asyncio::ValueError("wanted");
    };
    CO_ASSERT_THROWS(asyncio::ValueError, raises());
}

// ---- what a test leaves -------------------------------------------------------------------------

Coroutine<> forever() { co_await asyncio::sleep(1h); }

TEST(Run, NamesTasksThatAreLeft) {
    const std::string text = told([]() -> Coroutine<> {
        create_task(forever(), {.name = "left"});
        co_await asyncio::sleep(1s);
    });
    EXPECT_TRUE(has(text, "left behind: the task left, at test_testing.cpp:"));
    EXPECT_TRUE(has(text, "ASYNCIO_SEED=0 shows it again"));
    EXPECT_EQ(told(
                  []() -> Coroutine<> {
                      create_task(forever());
                      co_return;
                  },
                  {.leaves_nothing = false}),
              "");
}

TEST(Run, ATaskThatEndsInTheSameMomentIsNotLeft) {
    EXPECT_EQ(told([]() -> Coroutine<> {
                  auto ends = []() -> Coroutine<> {
                      for (int i = 0; i < 10; ++i) co_await asyncio::sleep(0s);
                  };
                  create_task(ends());
                  co_return;
              }),
              "");
}

TEST(Run, TellsErrorsThatNobodyLooksAt) {
    const std::string text = told([]() -> Coroutine<> {
        auto raises = []() -> Coroutine<> {
            throw asyncio::ValueError("unseen");
            co_return;
        };
        create_task(raises());
        co_await asyncio::sleep(1s);
    });
    EXPECT_TRUE(has(text, "never retrieved"));
    EXPECT_TRUE(has(text, "unseen"));
}

TEST(Run, CountsDescriptorsAndThreads) {
    int fd = -1;
    EXPECT_TRUE(has(told([&]() -> Coroutine<> {
                        fd = ::dup(0);
                        co_return;
                    }),
                    "left behind: 1 descriptors"));
    ::close(fd);
    std::thread thread;
    std::atomic<bool> stop{false};
    EXPECT_TRUE(has(told([&]() -> Coroutine<> {
                        thread = std::thread([&] {
                            while (!stop) std::this_thread::yield();
                        });
                        co_return;
                    }),
                    "left behind: 1 threads"));
    stop = true;
    thread.join();
    EXPECT_EQ(told([]() -> Coroutine<> { co_await asyncio::to_thread([] {}); }), "");
}

TEST(Run, ADeadlockNamesWhoWaits) {
    const std::string text = told([]() -> Coroutine<> {
        asyncio::Event never;
        co_await never.wait();
    });
    EXPECT_TRUE(has(text, "DeadlockError"));
    EXPECT_TRUE(has(text, "Task-1"));
}

TEST(Run, TasksAreNumberedFromOneInEachRun) {
    for (int i = 0; i < 3; ++i) {
        run([]() -> Coroutine<> {
            EXPECT_EQ(asyncio::current_task().get_name(), "Task-1");
            co_return;
        });
    }
}

TEST(Run, ACircleEnds) {
    const RunOptions few{.most_steps = 1000};
    auto scenario = []() -> Coroutine<> {
        for (;;) co_await asyncio::sleep(0s);
    };
    EXPECT_TRUE(has(told(scenario, few), "it ran 1000 steps and has no end"));
}

TEST(Run, TheSeedOfTheEnvironmentIsTaken) {
    ::setenv("ASYNCIO_SEED", "42", 1);
    std::uint64_t first = 0;
    const std::string text = told([&]() -> Coroutine<> {
        first = asyncio::testing::random();
        throw asyncio::ValueError("so that it is told");
        co_return;
    });
    EXPECT_TRUE(has(text, "ASYNCIO_SEED=42"));
    ::setenv("ASYNCIO_SEED", "forty-two", 1);
    EXPECT_THROW(run([]() -> Coroutine<> { co_return; }), asyncio::ValueError);
    ::unsetenv("ASYNCIO_SEED");
    std::uint64_t second = 0;
    run(
        [&]() -> Coroutine<> {
            second = asyncio::testing::random();
            co_return;
        },
        {.seed = 42});
    EXPECT_EQ(first, second);
    EXPECT_EQ(asyncio::testing::random(), 0u);
}

TEST(Run, BuggifyIsActiveInSomeRuns) {
    EXPECT_FALSE(buggify(1));
    int active = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        run(
            [&]() -> Coroutine<> {
                bool any = false;
                for (int i = 0; i < 50; ++i) any = buggify(0.5) || any;
                active += any;
                co_return;
            },
            {.seed = seed});
    }
    EXPECT_GT(active, 20);
    EXPECT_LT(active, 100);
}

// ---- time and turns -----------------------------------------------------------------------------

ASYNC_TEST(Settled, ComesWhenNobodyCanGoOn) {
    std::string order;
    auto works = [](std::string& to) -> Coroutine<> {
        for (int i = 0; i < 5; ++i) co_await asyncio::sleep(0s);
        to += "works ";
        co_await asyncio::sleep(1s);
        to += "slept ";
    };
    const auto task = create_task(works(order));
    co_await settled();
    EXPECT_EQ(order, "works ");
    EXPECT_EQ(elapsed(), 0s);
    co_await advance(1s);
    EXPECT_EQ(order, "works slept ");
    EXPECT_EQ(elapsed(), 1s);
    co_await task;
}

ASYNC_TEST(Settled, SeveralGoOnOneAfterTheOther) {
    std::string order;
    auto waits = [](std::string& to, char c) -> Coroutine<> {
        co_await settled();
        to += c;
        co_await asyncio::sleep(0s);
        to += c;
    };
    const auto a = create_task(waits(order, 'a'));
    const auto b = create_task(waits(order, 'b'));
    co_await asyncio::gather(a, b);
    EXPECT_EQ(order, "aabb");
}

ASYNC_TEST(Settled, MayBeCancelled) {
    const auto early = create_task(settled());
    early.cancel();
    CO_ASSERT_THROWS(asyncio::CancelledError, early);
    const auto waiting = create_task(settled());
    co_await asyncio::sleep(0s);
    waiting.cancel();
    CO_ASSERT_THROWS(asyncio::CancelledError, waiting);
    co_await settled();
    EXPECT_EQ(elapsed(), 0s);
}

TEST(Settled, IsThereOnARealLoopToo) {
    asyncio::run([]() -> Coroutine<> {
        bool ran = false;
        asyncio::get_running_loop().call_soon([&] { ran = true; });
        co_await settled();
        EXPECT_TRUE(ran);
    });
    // A loop that closes before.
    const auto loop = asyncio::EpollEventLoop::create();
    auto never = loop->create_task(settled());
    loop->run_once(0s);
    loop->close();
}

ASYNC_TEST(Turns, ComeInTheirOrder) {
    Sequencer sequence;
    std::string order;
    auto takes = [](Sequencer& s, std::string& to, int n) -> Coroutine<> {
        const auto turn = co_await s.turn(n);
        to += std::to_string(n);
        co_await asyncio::sleep(1s);
        to += std::to_string(n);
    };
    std::vector<asyncio::Task<>> tasks;
    for (const int n : {3, 1, 0, 2}) tasks.push_back(create_task(takes(sequence, order, n)));
    for (const auto& task : tasks) co_await task;
    EXPECT_EQ(order, "00112233");
}

ASYNC_TEST(Turns, OneThatIsCancelledHoldsNobodyUp) {
    for (int ticks = 0; ticks < 4; ++ticks) {
        Sequencer sequence;
        auto takes = [](Sequencer& s, int n) -> Coroutine<> {
            const auto turn = co_await s.turn(n);
            co_await asyncio::sleep(0s);
        };
        const auto second = create_task(takes(sequence, 1));
        const auto third = create_task(takes(sequence, 2));
        const auto first = create_task(takes(sequence, 0));
        for (int i = 0; i < ticks; ++i) co_await asyncio::sleep(0s);
        second.cancel();
        static_cast<void>(co_await asyncio::as_result(second));
        // One that was cancelled before it began never asked for its turn.
        if (ticks == 0) {
            const auto again = create_task(takes(sequence, 1));
            co_await again;
        }
        co_await first;
        co_await third;
    }
}

ASYNC_TEST(Turns, AreTakenOnce) {
    Sequencer sequence;
    CO_ASSERT_THROWS(asyncio::ValueError, sequence.turn(-1));
    const auto turn = co_await sequence.turn(0);
    CO_ASSERT_THROWS(asyncio::ValueError, sequence.turn(0));
}

// ---- a cancel at every point --------------------------------------------------------------------

// Gives back what it has taken, unless it is cancelled between two awaits.
struct Pool {
    int free = 2;
};
Coroutine<> by_hand(Pool& pool) {
    --pool.free;
    co_await asyncio::sleep(1s);
    co_await asyncio::sleep(1s);
    ++pool.free;
}
Coroutine<> by_scope(Pool& pool) {
    struct Taken {
        Pool& pool;
        explicit Taken(Pool& p) : pool(p) { --pool.free; }
        Taken(const Taken&) = delete;
        Taken& operator=(const Taken&) = delete;
        ~Taken() { ++pool.free; }
    } const taken(pool);
    co_await asyncio::sleep(1s);
    co_await asyncio::sleep(1s);
}

// Uses a pool, and looks at it however that ends.
template <class F>
Scenario using_a_pool(F use) {
    return [use]() -> Coroutine<> {
        Pool pool;
        std::exception_ptr error;
        try {
            co_await use(pool);
        } catch (const asyncio::CancelledError&) {
            error = std::current_exception();
        }
        if (pool.free != 2) throw asyncio::ValueError("the pool has lost one");
        if (error) std::rethrow_exception(error);
    };
}

TEST(CancelEverywhere, FindsWhatIsNotGivenBack) {
    try {
        cancel_everywhere(using_a_pool(by_hand));
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_TRUE(has(failed.what(), "at point 1 of 4, cancelled while it is waiting at "));
        EXPECT_TRUE(has(failed.what(), "the pool has lost one"));
    }
    EXPECT_EQ(cancel_everywhere(using_a_pool(by_scope)).points, 4u);
}

TEST(CancelEverywhere, CancelsAnotherTaskByItsName) {
    auto scenario = []() -> Coroutine<> {
        const auto worker = create_task(forever(), {.name = "worker"});
        static_cast<void>(co_await asyncio::as_result(asyncio::wait_for(worker, 2h)));
    };
    EXPECT_EQ(cancel_everywhere(scenario, {.task = "worker"}).points, 2u);
    EXPECT_THROW(cancel_everywhere(scenario, {.task = "nobody"}), ScenarioFailed);
}

TEST(CancelEverywhere, TellsTasksThatACancelLeaves) {
    auto scenario = []() -> Coroutine<> {
        const auto child = create_task(forever(), {.name = "child"});
        co_await asyncio::sleep(1s);
        child.cancel();
        static_cast<void>(co_await asyncio::as_result(child));
    };
    try {
        cancel_everywhere(scenario);
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_TRUE(has(failed.what(), "left behind: the task child"));
    }
}

TEST(CancelEverywhere, AnErrorWithoutACancelIsToldAsSuch) {
    try {
        cancel_everywhere([]() -> Coroutine<> {
            throw asyncio::ValueError("always");
            co_return;
        });
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_TRUE(has(failed.what(), "without a cancel:"));
    }
}

// ---- no memory at every point -------------------------------------------------------------------

// Two tasks, the first of which nobody waits for if there is no memory for the second.
Coroutine<> two_by_hand() {
    const auto first = create_task(forever(), {.name = "first"});
    const auto second = create_task(forever(), {.name = "second"});
    first.cancel();
    second.cancel();
    static_cast<void>(co_await asyncio::as_result(first));
    static_cast<void>(co_await asyncio::as_result(second));
}
Coroutine<> two_in_a_group() {
    auto body = [](asyncio::TaskGroup& group) -> Coroutine<> {
        group.create_task(asyncio::sleep(1s));
        group.create_task(asyncio::sleep(2s));
        co_return;
    };
    co_await asyncio::with(asyncio::TaskGroup(), body);
}

TEST(FailAllocations, FindsWhatIsLeftWithoutMemory) {
    try {
        fail_allocations(two_by_hand);
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_TRUE(has(failed.what(), ", without the memory that it asks for"));
        EXPECT_TRUE(has(failed.what(), "left behind: the task first"));
    }
    EXPECT_GT(fail_allocations(two_in_a_group).points, 4u);
}

TEST(FailAllocations, AnotherErrorIsAFailure) {
    auto scenario = []() -> Coroutine<> {
        try {
            co_await create_task(asyncio::sleep(1s));
        } catch (const std::bad_alloc&) {
            throw asyncio::ValueError("it hides why");
        }
    };
    try {
        fail_allocations(scenario);
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_TRUE(has(failed.what(), "it hides why"));
    }
}

// Whatever block is refused: what was begun ends, and nothing is left.
TEST(FailAllocations, OurOwnGroupsQueuesAndTimeoutsGetOverIt) {
    auto scenario = []() -> Coroutine<> {
        asyncio::Queue<int> queue(1);
        auto puts = [](asyncio::Queue<int>& q) -> Coroutine<> {
            for (int i = 0; i < 3; ++i) co_await q.put(i);
        };
        auto gets = [](asyncio::Queue<int>& q) -> Coroutine<int> {
            int sum = 0;
            for (int i = 0; i < 3; ++i) sum += co_await asyncio::wait_for(q.get(), 1s);
            co_return sum;
        };
        auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
            group.create_task(puts(queue));
            const auto sum = group.create_task(gets(queue));
            co_await asyncio::shield(sum);
        };
        co_await asyncio::with(asyncio::TaskGroup(), body);
    };
    EXPECT_GT(fail_allocations(scenario).points, 10u);
}

// ---- files that fail at every point -------------------------------------------------------------

// Writes a file anew, as one is to be written that others read.
Coroutine<> saves(std::string text) {
    auto folder = co_await asyncio::temporary_directory();
    const std::string path = folder.path() + "/saved";
    const auto old_one = co_await asyncio::as_result(asyncio::replace_file(path, "old"));
    const auto new_one = co_await asyncio::as_result(asyncio::replace_file(path, text));
    const auto is = co_await asyncio::as_result(asyncio::read_file(path));
    co_await folder.cleanup();
    if (is && is.value() != "old" && is.value() != text) {
        throw asyncio::ValueError("half of it is there: " + is.value());
    }
    if (new_one && is && is.value() != text) throw asyncio::ValueError("it is not there");
    if (!old_one) std::rethrow_exception(old_one.error());
    if (!new_one) std::rethrow_exception(new_one.error());
    is.value();
}

TEST(FailFiles, OurOwnReplacingLeavesTheOldOrTheNew) {
    EXPECT_GT(fail_files([] { return saves("new"); }).points, 8u);
    EXPECT_GT(fail_files([] { return saves("new"); }, {.error = ENOSPC}).points, 8u);
}

TEST(FailFiles, TellsWhichCallItWas) {
    const auto keeps_quiet = []() -> Coroutine<> {
        auto folder = co_await asyncio::temporary_directory();
        auto file = co_await asyncio::open_file(folder.path() + "/log", "w");
        const auto written = co_await asyncio::as_result(file.write("line\n"));
        static_cast<void>(co_await asyncio::as_result(file.close()));
        co_await folder.cleanup();
        if (!written) throw asyncio::ValueError("a line is lost");
    };
    try {
        fail_files(keeps_quiet);
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_TRUE(has(failed.what(), "whose call of write fails"));
        EXPECT_TRUE(has(failed.what(), "a line is lost"));
        EXPECT_TRUE(has(failed.what(), "at point 3 of "));
    }
}

TEST(FailFiles, RefusesWhatMakesNoSense) {
    const auto nothing = []() -> Coroutine<> { co_return; };
    EXPECT_THROW(fail_files(nothing, {.error = 0}), asyncio::ValueError);
    EXPECT_THROW(fail_files(nothing, {.run = {.jobs_take = asyncio::Delay(std::nullopt)}}),
                 asyncio::ValueError);
    EXPECT_EQ(fail_files(nothing).points, 0u);
}

// One that takes no cancel, and never waits.
Coroutine<> ignores_cancels() {
    for (;;) static_cast<void>(co_await asyncio::as_result(asyncio::sleep(0s)));
}

TEST(Run, ATaskThatTakesNoCancelIsToldAndNotWaitedFor) {
    const auto scenario = []() -> Coroutine<> {
        const auto task = create_task(ignores_cancels());
        co_await asyncio::sleep(0s);
    };
    EXPECT_TRUE(has(told(scenario, {.most_steps = 1000}), "it ran 1000 steps and has no end"));
}

TEST(Explored, ASearchOfNothingIsAnError) {
    const auto nothing = []() -> Coroutine<> { co_return; };
    EXPECT_THROW(explore(nothing, {.most = 0}), asyncio::ValueError);
    EXPECT_THROW(explore(nothing, {.limit = 0s}), asyncio::ValueError);
    EXPECT_THROW(explore(nothing, {.limit = -1s}), asyncio::ValueError);
}

// ---- jobs of threads ----------------------------------------------------------------------------

ASYNC_TEST(Jobs, AreCalledByTheThreadOfTheTest) {
    const auto here = std::this_thread::get_id();
    const auto job = [] { return std::this_thread::get_id(); };
    CO_ASSERT_EQ(co_await asyncio::to_thread(job), here);
    CO_ASSERT_LT(elapsed(), 1ms);
    const auto loop_runs = [] {
        try {
            asyncio::get_running_loop();
            return true;
        } catch (const asyncio::RuntimeError&) {
            return false;
        }
    };
    CO_ASSERT_FALSE(co_await asyncio::to_thread(loop_runs)) << "a thread has no loop";
    const auto nested = [] {
        const auto answer = []() -> Coroutine<int> { co_return 42; };
        return asyncio::run(answer());
    };
    CO_ASSERT_EQ(co_await asyncio::to_thread(nested), 42);
}

ASYNC_TEST(Jobs, GoToThreadsWhereTheyAreToldTo,
           .run = {.jobs_take = asyncio::Delay(std::nullopt)}) {
    const auto here = std::this_thread::get_id();
    const auto job = [] { return std::this_thread::get_id(); };
    CO_ASSERT_NE(co_await asyncio::to_thread(job), here);
    CO_ASSERT_EQ(elapsed(), 0s);
}

// Two jobs of one account, each of which looks and then takes: which is first is the seed's.
Coroutine<std::string> order_of_jobs() {
    std::string order;
    const auto add = [&order](char c) { order += c; };
    const auto body = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        group.create_task(asyncio::to_thread(add, 'a'));
        group.create_task(asyncio::to_thread(add, 'b'));
        co_return;
    };
    co_await asyncio::with(asyncio::TaskGroup(), body);
    co_return order;
}

TEST(Jobs, HaveTheOrderOfTheirSeed) {
    const auto with = [](std::uint64_t seed) {
        std::string order;
        const auto scenario = [&order]() -> Coroutine<> { order = co_await order_of_jobs(); };
        run(scenario, {.seed = seed});
        return order;
    };
    bool first_a = false, first_b = false;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        EXPECT_EQ(with(seed), with(seed));
        (with(seed) == "ab" ? first_a : first_b) = true;
    }
    EXPECT_TRUE(first_a && first_b);
}

TEST(Jobs, ACancelledOneHoldsNobodyUp) {
    const auto scenario = []() -> Coroutine<> {
        bool called = false;
        const auto job = create_task(asyncio::to_thread([&called] { called = true; }));
        co_await asyncio::sleep(0s);
        job.cancel();
        static_cast<void>(co_await asyncio::as_result(job));
        co_await asyncio::sleep(1h);
        if (called) throw asyncio::ValueError("it was called all the same");
    };
    run(scenario);
    EXPECT_GT(explore(scenario, {.strategy = Random{}, .most = 200}).runs, 10u);
    EXPECT_GT(fail_allocations([]() -> Coroutine<> { co_await order_of_jobs(); }).points, 5u);
}

// ---- the library's own awaitables ---------------------------------------------------------------

TEST(CancelEverywhere, OurOwnLocksAndQueuesLoseNothing) {
    auto locks = []() -> Coroutine<> {
        asyncio::Lock lock;
        auto holds = [](asyncio::Lock& l) -> Coroutine<> {
            const auto held = co_await l.scoped();
            co_await asyncio::sleep(1s);
        };
        const auto other = create_task(holds(lock));
        std::exception_ptr error;
        try {
            co_await asyncio::sleep(0s);
            const auto held = co_await lock.scoped();
            co_await asyncio::sleep(1s);
        } catch (const asyncio::CancelledError&) {
            error = std::current_exception();
        }
        co_await other;
        if (lock.locked()) throw asyncio::ValueError("it is held by nobody");
        if (error) std::rethrow_exception(error);
    };
    EXPECT_EQ(cancel_everywhere(locks).points, 6u);
    auto queues = []() -> Coroutine<> {
        asyncio::Queue<int> queue;
        std::vector<int> got;
        auto takes = [](asyncio::Queue<int>& q, std::vector<int>& to) -> Coroutine<> {
            for (;;) to.push_back(co_await q.get());
        };
        const auto taker = create_task(takes(queue, got), {.name = "taker"});
        for (int i = 0; i < 5; ++i) {
            queue.put_nowait(i);
            co_await asyncio::sleep(0s);
        }
        taker.cancel();
        static_cast<void>(co_await asyncio::as_result(taker));
        while (!queue.empty()) got.push_back(queue.get_nowait());
        if (got.size() != 5) throw asyncio::ValueError("an item is lost");
        for (int i = 0; i < static_cast<int>(got.size()); ++i) {
            if (got[static_cast<std::size_t>(i)] != i) throw asyncio::ValueError("out of order");
        }
    };
    EXPECT_GT(cancel_everywhere(queues, {.task = "taker"}).points, 1u);
}

TEST(ExploreOurselves, NoOrderBreaksALockAQueueOrAGroup) {
    auto scenario = []() -> Coroutine<> {
        asyncio::Semaphore places(2);
        asyncio::Queue<int> queue(1);
        int inside = 0;
        auto works = [](asyncio::Semaphore& s, asyncio::Queue<int>& q, int& in,
                        int n) -> Coroutine<> {
            const auto place = co_await s.scoped();
            if (++in > 2) throw asyncio::ValueError("three at two places");
            co_await q.put(n);
            --in;
        };
        int sum = 0;
        co_await asyncio::with(asyncio::TaskGroup(), [&](asyncio::TaskGroup& group) -> Coroutine<> {
            for (int i = 1; i <= 3; ++i) {
                group.create_task(works(places, queue, inside, i));
            }
            for (int i = 0; i < 3; ++i) sum += co_await queue.get();
        });
        if (sum != 6) throw asyncio::ValueError("an item is lost");
    };
    const Explored explored = explore(scenario, {.strategy = Delays{2}});
    EXPECT_TRUE(explored.exhausted);
    EXPECT_GT(explored.runs, 20u);
}

}  // namespace

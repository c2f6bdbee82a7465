// threads.hpp, and what else crosses threads: parity rows TH-01 to TH-03, EF-04, EF-05, LC-07,
// R-10, F-14, SC-02, CV-04, S-08, S-39b, S-56, S-57, S-93, X-11.
//
// ctest: timeout=120
#include <asyncio/futures.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::error_text;
using support::ErrorCapture;
using support::Iterations;
using support::Lines;
using support::LogCapture;
using support::masked;
using support::raised;
using support::run_virtual;

// Threads wait at it until it is opened.
class Gate {
  public:
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        opened_.notify_all();
    }
    void wait() {
        std::unique_lock lock(mutex_);
        opened_.wait(lock, [this] { return open_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable opened_;
    bool open_ = false;
};

// For jobs that outlive the test that leaves them.
struct Gates {
    Gate begun;
    Gate release;
};

// A pool of one thread that is busy until it is told otherwise.
class BusyPool {
  public:
    BusyPool() : pool(1) {
        busy_ = pool.submit([this] {
            begun_.open();
            release_.wait();
        });
        begun_.wait();
    }
    ~BusyPool() { release(); }
    void release() { release_.open(); }

    ThreadPoolExecutor pool;

  private:
    Gate begun_;
    Gate release_;
    ConcurrentFuture<> busy_{nullptr};
};

// Counts how many of its kind live.
class Counted {
  public:
    explicit Counted(std::atomic<int>& alive) : alive_(&alive) { ++alive; }
    Counted(const Counted& o) : alive_(o.alive_) { ++*alive_; }
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --*alive_; }

  private:
    std::atomic<int>* alive_;
};

// Calls jobs on the thread that adds them.
class InlineExecutor final : public Executor {
  public:
    void add(Job job) override { job(); }
};

// Keeps jobs for the test to call or drop.
class ManualExecutor final : public Executor {
  public:
    void add(Job job) override { jobs.push_back(std::move(job)); }
    std::vector<Job> jobs;
};

using LoopFactory = std::unique_ptr<EventLoop> (*)();

// On real and on virtual time.
class Threads : public testing::TestWithParam<LoopFactory> {
  protected:
    std::unique_ptr<EventLoop> loop = GetParam()();
    template <class A>
    auto run(A&& main) {
        return loop->run_until_complete(std::forward<A>(main));
    }
};
INSTANTIATE_TEST_SUITE_P(Loops, Threads,
                         testing::Values(&EpollEventLoop::create, &VirtualTimeEventLoop::create),
                         [](const auto& info) { return info.index == 0 ? "epoll" : "virtual"; });

ContextVar<int> variable("variable", 0);

// ---- to_thread ---------------------------------------------------------------------------------

TEST_P(Threads, ToThreadCallsTheFunctionOnAnotherThread) {  // TH-01
    run([]() -> Coroutine<> {
        const auto here = std::this_thread::get_id();
        EXPECT_NE(co_await to_thread([] { return std::this_thread::get_id(); }), here);
        EXPECT_EQ(std::this_thread::get_id(), here);
    });
}

TEST_P(Threads, ToThreadPassesArgumentsAndTheResult) {  // TH-01
    run([]() -> Coroutine<> {
        EXPECT_EQ(co_await to_thread([](int a, int b) { return a - b; }, 5, 3), 2);
        std::string text = "abc";
        EXPECT_EQ(co_await to_thread([](const std::string& s) { return s + "d"; }, text), "abcd");
        EXPECT_EQ(text, "abc");
        EXPECT_EQ(co_await to_thread(&std::string::size, text), 3U);
        co_await to_thread([](std::string& s) { s += 'e'; }, std::ref(text));
        EXPECT_EQ(text, "abce");
    });
}

TEST_P(Threads, ToThreadMovesWhatCannotBeCopied) {
    run([]() -> Coroutine<> {
        auto number = std::make_unique<int>(7);
        auto back = co_await to_thread([](std::unique_ptr<int> p) { return p; }, std::move(number));
        EXPECT_EQ(*back, 7);
        auto owner = [p = std::move(back)]() mutable { return std::move(p); };
        back = co_await to_thread(callable(std::move(owner)));
        EXPECT_EQ(*back, 7);
    });
}

TEST_P(Threads, ToThreadGivesReferences) {
    run([]() -> Coroutine<> {
        static int target = 1;
        int& got = co_await to_thread([]() -> int& { return target; });
        EXPECT_EQ(&got, &target);
    });
}

TEST_P(Threads, ToThreadRaisesWhatTheFunctionThrows) {  // TH-01
    run([]() -> Coroutine<> {
        const auto standard = co_await as_result(to_thread([] { throw std::out_of_range("far"); }));
        EXPECT_EQ(error_text<std::out_of_range>(standard), "far");
        const auto other = co_await as_result(to_thread([]() -> int { throw 42; }));
        EXPECT_TRUE(other.holds<int>());
        const auto cancelled = co_await as_result(to_thread([] { throw CancelledError("mine"); }));
        EXPECT_EQ(error_text<CancelledError>(cancelled), "mine");
    });
}

TEST_P(Threads, ToThreadBeginsWhenItIsAwaited) {  // TH-01
    run([]() -> Coroutine<> {
        std::atomic<bool> called = false;
        auto job = to_thread([&] { called = true; });
        for (int i = 0; i < 3; ++i) co_await asyncio::sleep(0s);
        EXPECT_FALSE(called);
        co_await std::move(job);
        EXPECT_TRUE(called);
    });
}

TEST_P(Threads, ToThreadSeesACopyOfTheContext) {  // CV-04, TH-01
    run([]() -> Coroutine<> {
        variable.set(3);
        auto job = to_thread([] {
            const int seen = variable.get();
            variable.set(4);
            return seen;
        });
        variable.set(5);
        EXPECT_EQ(co_await std::move(job), 5);  // copied when it begins
        EXPECT_EQ(variable.get(), 5);
        // What a job sets is gone with it, also for the next job of that thread.
        EXPECT_EQ(
            co_await get_running_loop().run_in_executor(nullptr, [] { return variable.get(); }), 0);
    });
}

TEST_P(Threads, ToThreadReturnsAtOnceWhenCancelledAndTheFunctionRunsOn) {  // TH-01, S-56
    std::atomic<int> alive = 0;
    Gate begun;
    Gate release;
    std::atomic<bool> ended = false;
    run([&]() -> Coroutine<> {
        auto function = [&, counted = Counted(alive)] {
            begun.open();
            release.wait();
            ended = true;
            return counted;
        };
        auto task = create_task(to_thread(function));
        co_await to_thread([&] { begun.wait(); });
        task.cancel();
        const auto result = co_await as_result(task);
        EXPECT_TRUE(result.template holds<CancelledError>());
        EXPECT_FALSE(ended);
        release.open();
        co_await get_running_loop().shutdown_default_executor();
        EXPECT_TRUE(ended);
    });
    EXPECT_EQ(alive, 0);  // the result was dropped
}

// In real time: a virtual clock would wait for the thread.
TEST(ToThread, ThatHangsIsLeftByWaitFor) {  // TH-01, S-56
    const auto release = std::make_shared<Gate>();
    const auto loop = EpollEventLoop::create();
    loop->run_until_complete([&]() -> Coroutine<> {
        auto hangs = [release] { release->wait(); };
        const auto late = co_await as_result(wait_for(to_thread(hangs), 1ms));
        EXPECT_TRUE(late.template holds<TimeoutError>());
        release->open();
        co_await get_running_loop().shutdown_default_executor();
    });
}

TEST_P(Threads, AJobThatHasNotBegunIsRemovedWhenItIsCancelled) {  // EF-04, S-56
    BusyPool busy;
    std::atomic<int> alive = 0;
    std::atomic<bool> called = false;
    run([&]() -> Coroutine<> {
        auto function = [&called, counted = Counted(alive)] { called = true; };
        auto& running = get_running_loop();
        auto job = running.run_in_executor(&busy.pool, callable(std::move(function)));
        EXPECT_EQ(alive, 2);  // `function` and the job's
        EXPECT_TRUE(job.cancel());
        EXPECT_EQ(alive, 1);
        EXPECT_TRUE((co_await as_result(job)).template holds<CancelledError>());
    });
    busy.release();
    busy.pool.shutdown();
    EXPECT_FALSE(called);
}

TEST_P(Threads, ToThreadIsCancelledByATimeoutOfAnotherTask) {  // S-56
    BusyPool busy;
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        auto job = running.run_in_executor(&busy.pool, [] { return 1; });
        auto waiter = create_task(job);
        co_await asyncio::sleep(0s);
        waiter.cancel("enough");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(waiter)), "enough");
        EXPECT_TRUE(job.cancelled());
        busy.release();
    });
}

TEST_P(Threads, AJobCompletesItsFutureAnIterationBeforeItsWaiterRuns) {  // S-39b, X-11
    ManualExecutor executor;
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        auto job = running.run_in_executor(&executor, [] { return 1; });
        auto waiter = create_task(job);
        co_await asyncio::sleep(0s);
        const Iterations iterations(running);
        const int before = iterations.count();
        int set_at = -1;
        int resumed_at = -1;
        job.add_done_callback([&] { set_at = iterations.count(); });
        waiter.add_done_callback([&] { resumed_at = iterations.count(); });
        std::thread([&] { executor.jobs.at(0)(); }).join();
        EXPECT_FALSE(job.done());
        co_await waiter;
        co_await asyncio::sleep(0s);
        EXPECT_EQ(set_at - before, 2);      // set at +1, callbacks at +2
        EXPECT_EQ(resumed_at - before, 3);  // resumed at +2, callbacks at +3
    });
}

TEST_P(Threads, AwaitingAJobThatEndedBeforeTakesTwoIterations) {
    ManualExecutor executor;
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        Iterations iterations(running);
        co_await asyncio::sleep(0s);
        auto job = running.run_in_executor(&executor, [] { return 1; });
        std::thread([&] { executor.jobs.at(0)(); }).join();
        iterations.passed();
        co_await job;
        EXPECT_EQ(iterations.passed(), 2);
    });
}

// ---- run_in_executor ---------------------------------------------------------------------------

TEST_P(Threads, RunInExecutorStartsAtOnce) {  // EF-04
    Gate called;
    auto job = loop->run_in_executor(nullptr, [&] {
        called.open();
        return 5;
    });
    called.wait();  // before the loop runs
    EXPECT_FALSE(job.done());
    EXPECT_EQ(run(job), 5);
}

TEST_P(Threads, RunInExecutorUsesTheExecutorThatItIsGiven) {  // EF-04
    ThreadPoolExecutor pool(1, "own");
    run([&]() -> Coroutine<> {
        const auto name = co_await get_running_loop().run_in_executor(&pool, [] {
            char text[16] = {};
            pthread_getname_np(pthread_self(), text, sizeof text);
            return std::string(text);
        });
        EXPECT_EQ(name, "own_0");
        const auto own = co_await to_thread([] {
            char text[16] = {};
            pthread_getname_np(pthread_self(), text, sizeof text);
            return std::string(text);
        });
        EXPECT_EQ(own, "asyncio_0");
    });
}

TEST_P(Threads, RunInExecutorDoesNotPassTheContextOn) {  // CV-04
    run([]() -> Coroutine<> {
        variable.set(8);
        EXPECT_EQ(
            co_await get_running_loop().run_in_executor(nullptr, [] { return variable.get(); }), 0);
    });
}

TEST_P(Threads, AnExecutorMayCallTheJobAtOnce) {
    InlineExecutor executor;
    run([&]() -> Coroutine<> {
        auto job = get_running_loop().run_in_executor(&executor, [] { return 2; });
        EXPECT_FALSE(job.done());
        EXPECT_EQ(co_await job, 2);
    });
}

TEST_P(Threads, AJobThatAnExecutorDropsIsCancelled) {
    ManualExecutor executor;
    run([&]() -> Coroutine<> {
        auto job = get_running_loop().run_in_executor(&executor, [] { return 2; });
        std::thread([&] { executor.jobs.clear(); }).join();
        EXPECT_TRUE((co_await as_result(job)).template holds<CancelledError>());
    });
}

TEST_P(Threads, RunInExecutorRaisesWhatTheExecutorRaises) {
    ThreadPoolExecutor pool;
    pool.shutdown();
    EXPECT_EQ(raised<RuntimeError>([&] { (void)loop->run_in_executor(&pool, [] {}); }),
              "cannot schedule new futures after shutdown");
    // The loop does not wait for the job that never was.
    EXPECT_EQ(run([]() -> Coroutine<int> {
                  co_await asyncio::sleep(1ms);
                  co_return 1;
              }),
              1);
}

TEST(ClosedLoop, TakesADefaultExecutorAndEndsNone) {
    const auto closed = asyncio::new_event_loop();
    closed->close();
    EXPECT_NO_THROW(closed->set_default_executor(std::make_shared<asyncio::ThreadPoolExecutor>(1)));
    const auto loop = asyncio::new_event_loop();
    EXPECT_NO_THROW(loop->run_until_complete(closed->shutdown_default_executor()));
    EXPECT_NO_THROW(loop->run_until_complete(closed->shutdown_asyncgens()));
}

TEST_P(Threads, RunInExecutorOnAClosedLoopRaises) {  // LC-05
    loop->close();
    EXPECT_EQ(raised<RuntimeError>([&] { (void)loop->run_in_executor(nullptr, [] {}); }),
              "Event loop is closed");
}

TEST_P(Threads, AResultThatAUserSetsWinsOverTheJobs) {
    ManualExecutor executor;
    std::atomic<int> alive = 0;
    run([&]() -> Coroutine<> {
        auto function = [&alive] { return Counted(alive); };
        auto job = get_running_loop().run_in_executor(&executor, function);
        job.set_result(Counted(alive));
        std::thread([&] { executor.jobs.at(0)(); }).join();
        for (int i = 0; i < 2; ++i) co_await asyncio::sleep(0s);
        EXPECT_EQ(alive, 1);
    });
    EXPECT_EQ(alive, 0);
}

TEST_P(Threads, AResultWhoseMoveThrowsIsTheException) {
    struct Stubborn {
        Stubborn() = default;
        Stubborn(const Stubborn&) = delete;
        Stubborn(Stubborn&&) { throw std::runtime_error("stays"); }
    };
    run([]() -> Coroutine<> {
        auto job = get_running_loop().run_in_executor(nullptr, [] { return Stubborn(); });
        EXPECT_EQ(error_text<std::runtime_error>(co_await as_result(std::move(job))), "stays");
    });
}

TEST_P(Threads, AJobThatEndsAfterItsLoopIsDroppedSilently) {  // F-14, S-56, LC-05
    const LogCapture log;
    std::atomic<int> alive = 0;
    Gate begun;
    Gate release;
    ThreadPoolExecutor pool(2);
    auto function = [&, counted = Counted(alive)] {
        begun.open();
        release.wait();
        return counted;
    };
    auto failing = [&] {
        release.wait();
        throw std::runtime_error("nobody hears this");
    };
    (void)loop->run_in_executor(&pool, function);
    auto kept = loop->run_in_executor(&pool, failing);
    begun.wait();
    loop->close();
    loop.reset();
    release.open();
    pool.shutdown();
    EXPECT_FALSE(kept.done());
    kept = nullptr;
    EXPECT_EQ(alive, 1);  // `function`
    EXPECT_EQ(log.lines(), Lines());
}

TEST_P(Threads, ATaskThatWaitsForAJobDiesWithItsLoop) {
    std::atomic<int> alive = 0;
    const auto gates = std::make_shared<Gates>();
    const LogCapture log;
    auto waiting = [&](Counted) -> Coroutine<> {
        auto function = [gates] {
            gates->begun.open();
            gates->release.wait();
        };
        co_await to_thread(function);
    };
    {
        auto task = loop->create_task(waiting(Counted(alive)));
        run([&]() -> Coroutine<> {
            co_await asyncio::sleep(0s);
            gates->begun.wait();
        });
        loop->close();
        EXPECT_EQ(alive, 0);
    }
    loop.reset();
    gates->release.open();
}

// ---- the loop's own pool -----------------------------------------------------------------------

TEST_P(Threads, ShutdownDefaultExecutorWaitsForItsThreads) {  // LC-07, S-93
    std::atomic<int> ended = 0;
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        for (int i = 0; i < 100; ++i) (void)running.run_in_executor(nullptr, [&] { ++ended; });
        co_await running.shutdown_default_executor();
        EXPECT_EQ(ended, 100);
        EXPECT_EQ(error_text<RuntimeError>(co_await as_result(to_thread([] {}))),
                  "Executor shutdown has been called");
        EXPECT_EQ(raised<RuntimeError>([&] { (void)running.run_in_executor(nullptr, [] {}); }),
                  "Executor shutdown has been called");
        ThreadPoolExecutor pool;
        EXPECT_EQ(co_await running.run_in_executor(&pool, [] { return 1; }), 1);
        co_await running.shutdown_default_executor();
    });
}

TEST_P(Threads, ShutdownDefaultExecutorWithoutOneIsImmediate) {  // LC-07
    run([]() -> Coroutine<> {
        auto& running = get_running_loop();
        Iterations iterations(running);
        co_await running.shutdown_default_executor(300s);
        EXPECT_EQ(iterations.passed(), 0);
        EXPECT_TRUE((co_await as_result(to_thread([] {}))).template holds<RuntimeError>());
    });
}

TEST(DefaultExecutor, ThatDoesNotEndInTimeIsLeftWithAWarning) {  // R-10, LC-07
    const LogCapture log;
    const auto gates = std::make_shared<Gates>();
    const auto loop = EpollEventLoop::create();
    loop->run_until_complete([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        auto function = [gates] {
            gates->begun.open();
            gates->release.wait();
        };
        (void)running.run_in_executor(nullptr, function);
        gates->begun.wait();
        co_await running.shutdown_default_executor(2ms);
    });
    loop->close();
    EXPECT_EQ(log.lines(),
              Lines{"The executor did not finishing joining its threads within 0.002 seconds."});
    gates->release.open();
}

TEST(DefaultExecutor, JobsThatOutliveTheLimitRunOnAndAreNotWaitedFor) {  // S-93
    const LogCapture log;
    const auto gates = std::make_shared<Gates>();
    const auto last = std::make_shared<Gate>();
    std::atomic<int> alive = 0;
    std::atomic<int> told = 0;
    {
        const auto loop = EpollEventLoop::create();
        loop->set_default_executor(std::make_shared<ThreadPoolExecutor>(1));
        loop->run_until_complete([&]() -> Coroutine<> {
            auto& running = get_running_loop();
            auto stuck = [gates, counted = Counted(alive)] {
                gates->begun.open();
                gates->release.wait();
                return counted;
            };
            running.run_in_executor(nullptr, stuck).add_done_callback([&] { ++told; });
            // Behind it: it was submitted, and so it runs, whoever waits.
            auto behind = [last, counted = Counted(alive)] { last->open(); };
            running.run_in_executor(nullptr, behind).add_done_callback([&] { ++told; });
            gates->begun.wait();
            co_await running.shutdown_default_executor(2ms);
            EXPECT_EQ(error_text<RuntimeError>(co_await as_result(to_thread([] {}))),
                      "Executor shutdown has been called");
            // A second call has its own limit.
            co_await running.shutdown_default_executor(0s);
        });
        loop->close();
        EXPECT_EQ(log.lines(),
                  (Lines{"The executor did not finishing joining its threads within 0.002 seconds.",
                         "The executor did not finishing joining its threads within 0 seconds."}));
    }
    gates->release.open();
    last->wait();
    EXPECT_EQ(told, 0);  // there is no loop to tell
    while (alive > 0) std::this_thread::yield();
}

TEST_P(Threads, ShutdownDefaultExecutorMayBeCancelled) {  // LC-07
    const auto release = std::make_shared<Gate>();
    const LogCapture log;
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        auto hangs = [release] { release->wait(); };
        auto blocked = running.run_in_executor(nullptr, hangs);
        auto task = create_task(running.shutdown_default_executor(100s));
        co_await asyncio::sleep(0s);
        task.cancel();
        EXPECT_TRUE((co_await as_result(task)).template holds<CancelledError>());
        release->open();
        co_await blocked;
        co_await running.shutdown_default_executor();
    });
    EXPECT_EQ(log.lines(), Lines());
}

TEST_P(Threads, SetDefaultExecutorIsWhatToThreadUses) {  // EF-05
    EXPECT_EQ(raised<TypeError>([&] { loop->set_default_executor(nullptr); }),
              "executor must be ThreadPoolExecutor instance");
    auto pool = std::make_shared<ThreadPoolExecutor>(1, "mine");
    loop->set_default_executor(pool);
    run([&]() -> Coroutine<> {
        co_await to_thread([] {});
        EXPECT_EQ(pool->thread_count(), 1);
    });
    loop->close();
    // The loop has shut it down; another owner's jobs are not cancelled.
    EXPECT_EQ(raised<RuntimeError>([&] { (void)pool->submit([] {}); }),
              "cannot schedule new futures after shutdown");
}

TEST_P(Threads, AReplacedDefaultExecutorEndsByItself) {  // EF-05
    const auto gates = std::make_shared<Gates>();
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        auto function = [gates] { gates->release.wait(); };
        auto first = running.run_in_executor(nullptr, function);
        running.set_default_executor(std::make_shared<ThreadPoolExecutor>(1));
        gates->release.open();
        co_await first;
        EXPECT_EQ(co_await to_thread([] { return 3; }), 3);
    });
}

TEST_P(Threads, ClosingTheLoopDropsTheJobsThatWaitForAThread) {  // LC-05, S-56
    std::atomic<int> called = 0;
    std::atomic<int> alive = 0;
    const int workers = ThreadPoolExecutor().max_workers();
    struct Shared {
        explicit Shared(int count) : begun(count) {}
        std::latch begun;
        Gate release;
    };
    const auto shared = std::make_shared<Shared>(workers);
    auto function = [shared] {
        shared->begun.count_down();
        shared->release.wait();
    };
    for (int i = 0; i < workers; ++i) (void)loop->run_in_executor(nullptr, function);
    shared->begun.wait();
    auto queued = [&called, counted = Counted(alive)] { ++called; };
    for (int i = 0; i < 10; ++i) (void)loop->run_in_executor(nullptr, queued);
    EXPECT_EQ(alive, 11);
    loop->close();  // does not wait
    EXPECT_EQ(alive, 1);
    EXPECT_EQ(called, 0);
    shared->release.open();
}

TEST(VirtualTime, StandsStillWhileAThreadWorksForTheLoop) {
    const auto loop = VirtualTimeEventLoop::create();
    loop->run_until_complete([]() -> Coroutine<> {
        auto& running = get_running_loop();
        const auto release = std::make_shared<Gate>();
        bool fired = false;
        running.call_later(1s, [&] { fired = true; });
        auto waits = [release] { release->wait(); };
        auto job = running.run_in_executor(nullptr, waits);
        release->open();
        co_await job;
        EXPECT_EQ(running.time(), TimePoint());
        EXPECT_FALSE(fired);
        co_await asyncio::sleep(2s);
        EXPECT_EQ(running.time(), TimePoint(2s));
    });
}

TEST(VirtualTime, GoesOnWhenAJobIsCancelled) {
    BusyPool busy;
    run_virtual([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        auto waiting = running.run_in_executor(&busy.pool, [] {});
        waiting.cancel();
        co_await asyncio::sleep(2s);
        EXPECT_EQ(running.time(), TimePoint(2s));
        busy.release();
    });
}

TEST(VirtualTime, ReportsADeadlockOnceNoThreadWorks) {
    const auto loop = VirtualTimeEventLoop::create();
    EXPECT_THROW(loop->run_until_complete([]() -> Coroutine<> {
        co_await to_thread([] {});
        co_await Future<>();
    }),
                 DeadlockError);
}

TEST(RunIt, WithThreadsJoinsThemBeforeItReturns) {  // S-95
    std::atomic<int> ended = 0;
    const int result = asyncio::run([&]() -> Coroutine<int> {
        auto& running = get_running_loop();
        for (int i = 0; i < 20; ++i) (void)running.run_in_executor(nullptr, [&] { ++ended; });
        co_return co_await to_thread([] { return 4; });
    });
    EXPECT_EQ(result, 4);
    EXPECT_EQ(ended, 20);
}

// ---- ThreadPoolExecutor ------------------------------------------------------------------------

TEST(Pool, SubmitGivesAConcurrentFuture) {
    ThreadPoolExecutor pool;
    ConcurrentFuture<int> sum = pool.submit([](int a, int b) { return a + b; }, 1, 2);
    EXPECT_EQ(sum.result(), 3);
    EXPECT_TRUE(sum.done());
    EXPECT_FALSE(sum.running());
    auto failed = pool.submit([] { throw std::runtime_error("no"); });
    EXPECT_EQ(raised<std::runtime_error>([&] { failed.result(); }), "no");
    EXPECT_TRUE(detail::holds<std::runtime_error>(failed.exception()));
    EXPECT_EQ(sum.exception(), nullptr);
    auto pointer = pool.submit([] { return std::make_unique<int>(6); });
    EXPECT_EQ(*std::move(pointer).result(), 6);
}

TEST(Pool, HasAsManyThreadsAsPythonByDefault) {  // EF-04
    const int processors = static_cast<int>(std::thread::hardware_concurrency());
    EXPECT_EQ(ThreadPoolExecutor().max_workers(), std::min(32, processors + 4));
    EXPECT_EQ(ThreadPoolExecutor(3).max_workers(), 3);
    EXPECT_EQ(raised<ValueError>([] { ThreadPoolExecutor(-1); }),
              "max_workers must be greater than 0");
}

TEST(Pool, TakesItsNumberOfThreadsWholeOrRefusesIt) {  // L17
    EXPECT_EQ(ThreadPoolExecutor(2'147'483'647LL).max_workers(), 2'147'483'647);
    EXPECT_EQ(raised<ValueError>([] { ThreadPoolExecutor pool(std::uint64_t{1} << 32); }),
              "max_workers must be <= 2147483647");
    EXPECT_EQ(raised<ValueError>([] { ThreadPoolExecutor pool(-(std::int64_t{1} << 40)); }),
              "max_workers must be greater than 0");
}

TEST(Pool, StartsThreadsWhenItNeedsThemAndUsesIdleOnesAgain) {
    Gate release;
    std::latch begun(3);
    ThreadPoolExecutor pool(3);
    EXPECT_EQ(pool.thread_count(), 0);
    std::set<std::thread::id> used;
    for (int i = 0; i < 50; ++i) {
        used.insert(pool.submit([] { return std::this_thread::get_id(); }).result());
    }
    // A thread that has just ended a job may not be idle yet when the next one comes.
    EXPECT_LE(used.size(), 3U);
    std::vector<ConcurrentFuture<>> jobs;
    auto function = [&] {
        begun.count_down();
        release.wait();
    };
    for (int i = 0; i < 3; ++i) jobs.push_back(pool.submit(function));
    begun.wait();  // all three at once
    EXPECT_EQ(pool.thread_count(), 3);
    auto queued = pool.submit([] {});
    EXPECT_EQ(pool.thread_count(), 3);
    EXPECT_FALSE(queued.done());
    release.open();
    queued.result();
}

TEST(Pool, StartsJobsInTheOrderTheyCame) {
    std::vector<int> order;
    {
        BusyPool busy;
        for (int i = 0; i < 100; ++i) (void)busy.pool.submit([&order, i] { order.push_back(i); });
        busy.release();
    }
    ASSERT_EQ(order.size(), 100U);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Pool, EndsThreadsThatHaveNothingToDo) {
    ThreadPoolExecutor pool(4, "brief", 0s);
    for (int i = 0; i < 20; ++i) pool.submit([] {}).result();
    while (pool.thread_count() > 0) std::this_thread::yield();
    EXPECT_EQ(pool.submit([] { return 1; }).result(), 1);
}

TEST(Pool, NamesItsThreads) {
    const auto name = [](ThreadPoolExecutor& pool) {
        return pool
            .submit([] {
                char text[16] = {};
                pthread_getname_np(pthread_self(), text, sizeof text);
                return std::string(text);
            })
            .result();
    };
    ThreadPoolExecutor pool(1, "worker");
    EXPECT_EQ(name(pool), "worker_0");
    ThreadPoolExecutor wordy(1, "a_very_long_name_indeed");
    EXPECT_EQ(name(wordy), "a_very_long_n_0");
}

TEST(Pool, TakesNothingAfterShutdown) {
    ThreadPoolExecutor pool;
    pool.submit([] {}).result();
    pool.shutdown();
    EXPECT_EQ(pool.thread_count(), 0);
    EXPECT_EQ(raised<RuntimeError>([&] { (void)pool.submit([] {}); }),
              "cannot schedule new futures after shutdown");
    pool.shutdown();
}

TEST(Pool, ShutdownRunsWhatWaits) {
    std::atomic<int> ran = 0;
    BusyPool busy;
    for (int i = 0; i < 10; ++i) (void)busy.pool.submit([&] { ++ran; });
    busy.pool.shutdown(false);
    EXPECT_EQ(ran, 0);
    busy.release();
    busy.pool.shutdown();
    EXPECT_EQ(ran, 10);
}

TEST(Pool, ShutdownCancelsWhatWaitsIfAsked) {
    std::atomic<int> ran = 0;
    BusyPool busy;
    std::vector<ConcurrentFuture<>> jobs;
    for (int i = 0; i < 10; ++i) jobs.push_back(busy.pool.submit([&] { ++ran; }));
    busy.pool.shutdown(false, true);
    for (const auto& job : jobs) EXPECT_TRUE(job.cancelled());
    busy.release();
    busy.pool.shutdown();
    EXPECT_EQ(ran, 0);
}

TEST(Pool, DestructorRunsWhatWaitsAndJoins) {
    std::atomic<int> ran = 0;
    {
        ThreadPoolExecutor pool(2);
        for (int i = 0; i < 100; ++i) (void)pool.submit([&] { ++ran; });
    }
    EXPECT_EQ(ran, 100);
}

TEST(Pool, MayBeShutDownByItsOwnThread) {
    auto pool = std::make_shared<ThreadPoolExecutor>(2);
    Gate done;
    auto function = [&, own = pool]() mutable {
        own->shutdown();
        own.reset();
        done.open();
    };
    (void)pool->submit(callable(std::move(function)));
    pool.reset();  // the job may have the last one
    done.wait();
}

TEST(Pool, MayBeShutDownBySeveralThreads) {
    std::atomic<int> ran = 0;
    ThreadPoolExecutor pool(4);
    for (int i = 0; i < 200; ++i) (void)pool.submit([&] { ++ran; });
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            pool.shutdown();
            EXPECT_EQ(ran, 200);
            EXPECT_EQ(pool.thread_count(), 0);
        });
    }
    for (auto& t : threads) t.join();
}

// Returns when another thread has begun to shut `pool` down.
void wait_for_shutdown(ThreadPoolExecutor& pool) {
    while (true) {
        try {
            (void)pool.submit([] {});
        } catch (const RuntimeError&) {
            break;
        }
        std::this_thread::yield();
    }
    std::this_thread::sleep_for(1ms);  // it waits by now, most likely
}

TEST(Pool, ShutdownOnItsThreadWhileAnotherWaits) {  // L40.
    for (int i = 0; i < 20; ++i) {
        ThreadPoolExecutor pool(1);
        std::atomic<bool> returned = false;
        auto job = pool.submit([&] {
            wait_for_shutdown(pool);
            pool.shutdown(true);
            pool.shutdown(true);
            std::this_thread::yield();
            returned = true;
            return 1;
        });
        pool.shutdown(true);
        EXPECT_TRUE(returned);  // who waits from outside waits for the whole job
        EXPECT_EQ(pool.thread_count(), 0);
        EXPECT_EQ(job.result(), 1);
    }
}

TEST(Pool, ShutdownOnAllItsThreadsAtOnce) {  // L40.
    for (int i = 0; i < 20; ++i) {
        std::atomic<int> ended = 0;
        ThreadPoolExecutor pool(4);
        std::latch all(4);
        for (int j = 0; j < 4; ++j) {
            (void)pool.submit([&] {
                all.arrive_and_wait();
                pool.shutdown(true);
                ++ended;
            });
        }
        all.wait();
        pool.shutdown(true);
        EXPECT_EQ(ended, 4);
    }
}

TEST(Pool, ShutdownOnItsThreadWaitsForTheOthers) {  // L40.
    ThreadPoolExecutor pool(3);
    std::atomic<int> ended = 0;
    Gate release;
    auto busy = [&] {
        release.wait();
        ++ended;
    };
    (void)pool.submit(busy);
    auto job = pool.submit([&] {
        std::thread opener([&] {
            wait_for_shutdown(pool);
            release.open();
        });
        pool.shutdown(true);
        opener.join();
        return ended.load();
    });
    EXPECT_EQ(job.result(), 1);
}

TEST(Pool, DestroyedByItsOwnThread) {  // L40.
    for (int i = 0; i < 20; ++i) {
        Gate release;
        std::atomic<int> ended = 0;
        Gate done;
        auto pool = std::make_shared<ThreadPoolExecutor>(3);
        (void)pool->submit([&] {
            release.wait();
            ++ended;
        });
        Gate mine;
        auto function = [&, own = pool]() mutable {
            mine.wait();
            release.open();
            own.reset();
            EXPECT_EQ(ended, 1);
            done.open();
        };
        (void)pool->submit(callable(std::move(function)));
        pool.reset();
        mine.open();
        done.wait();
    }
}

TEST(Pool, InAJobOfAnother) {  // L40.
    std::atomic<int> ended = 0;
    Gate deepest;
    {
        ThreadPoolExecutor outer(1);
        (void)outer.submit([&] {
            ThreadPoolExecutor middle(1);
            (void)middle.submit([&] {
                ThreadPoolExecutor inner(1);
                (void)inner.submit([&] {
                    // `outer` and `middle` wait by now, one for the other: neither may give up.
                    wait_for_shutdown(outer);
                    wait_for_shutdown(middle);
                    wait_for_shutdown(inner);
                    ++ended;
                });
                inner.shutdown(true);
                EXPECT_EQ(ended, 1);
                ++ended;
            });
            middle.shutdown(true);
            EXPECT_EQ(ended, 2);
            ++ended;
        });
    }
    EXPECT_EQ(ended, 3);
}

TEST(Pool, TwoThatShutEachOtherDown) {  // L40.
    for (int i = 0; i < 20; ++i) {
        std::atomic<int> ended = 0;
        ThreadPoolExecutor a(2);
        ThreadPoolExecutor b(2);
        std::latch all(2);
        (void)a.submit([&] {
            all.arrive_and_wait();
            b.shutdown(true);
            ++ended;
        });
        (void)b.submit([&] {
            all.arrive_and_wait();
            a.shutdown(true);
            ++ended;
        });
        all.wait();
        a.shutdown(true);
        b.shutdown(true);
        EXPECT_EQ(ended, 2);
    }
}

TEST_P(Threads, TheDefaultExecutorShutDownByItsOwnJob) {  // L40.
    auto pool = std::make_shared<ThreadPoolExecutor>(2);
    loop->set_default_executor(pool);
    std::atomic<int> ended = 0;
    run([&]() -> Coroutine<> {
        auto& running = get_running_loop();
        for (int i = 0; i < 2; ++i) {
            (void)running.run_in_executor(nullptr, [&] {
                wait_for_shutdown(*pool);
                pool->shutdown(true);
                ++ended;
            });
        }
        co_await running.shutdown_default_executor();
        EXPECT_EQ(ended, 2);
    });
}

TEST(DefaultExecutor, OfALoopThatItsOwnThreadRuns) {  // L40.
    // Each end of run() shuts the pool down whose thread it is on.
    auto pool = std::make_shared<ThreadPoolExecutor>(2);
    std::latch all(2);
    auto job = [&] {
        return asyncio::run([&]() -> Coroutine<int> {
            get_running_loop().set_default_executor(pool);
            all.arrive_and_wait();
            co_return 7;
        });
    };
    auto first = pool->submit(job);
    auto second = pool->submit(job);
    EXPECT_EQ(first.result(20s), 7);
    EXPECT_EQ(second.result(20s), 7);
    pool->shutdown(true);
    EXPECT_EQ(pool->thread_count(), 0);
}

TEST(Pool, ServesManyThreads) {
    ThreadPoolExecutor pool(3, "busy", 0s);
    std::atomic<int> ran = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int j = 0; j < 500; ++j) {
                auto job = pool.submit([&] { ++ran; });
                if (j % 10 == 0) job.result();
            }
        });
    }
    for (auto& t : threads) t.join();
    pool.shutdown();
    EXPECT_EQ(ran, 2000);
}

// ---- ConcurrentFuture --------------------------------------------------------------------------

TEST(Concurrent, IsPendingWhenMadeAndGivesWhatIsSet) {
    const ConcurrentFuture<std::string> f;
    EXPECT_FALSE(f.done());
    EXPECT_FALSE(f.running());
    std::thread setter([f] { f.set_result("value"); });
    EXPECT_EQ(f.result(), "value");
    EXPECT_EQ(f.result(0s), "value");
    setter.join();
    EXPECT_EQ(f.exception(), nullptr);
    EXPECT_TRUE(f.done());
    EXPECT_FALSE(f.cancel());
    EXPECT_FALSE(f.cancelled());
}

TEST(Concurrent, ResultTimesOut) {
    const ConcurrentFuture<int> f;
    EXPECT_EQ(raised<TimeoutError>([&] { (void)f.result(0s); }), "TimeoutError");
    EXPECT_EQ(raised<TimeoutError>([&] { (void)f.result(1ms); }), "TimeoutError");
    EXPECT_EQ(raised<TimeoutError>([&] { (void)f.exception(1ms); }), "TimeoutError");
    f.set_result(1);
    EXPECT_EQ(f.result(1ms), 1);
}

TEST(Concurrent, WakesEveryThreadThatWaits) {
    const ConcurrentFuture<int> f;
    std::atomic<int> sum = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&sum, f, i] {
            if (i % 2) {
                sum += f.result();
            } else {
                sum += f.result(100s);
            }
        });
    }
    f.set_result(3);
    for (auto& t : threads) t.join();
    EXPECT_EQ(sum, 24);
}

TEST(Concurrent, CancelEndsAPendingOne) {
    const ConcurrentFuture<int> f;
    std::thread waiter([f] { EXPECT_THROW((void)f.result(), CancelledError); });
    EXPECT_TRUE(f.cancel());
    EXPECT_TRUE(f.cancel());
    waiter.join();
    EXPECT_TRUE(f.cancelled());
    EXPECT_TRUE(f.done());
    EXPECT_THROW((void)f.exception(), CancelledError);
    EXPECT_FALSE(f.set_running_or_notify_cancel());
}

TEST(Concurrent, ARunningOneCannotBeCancelled) {
    const ConcurrentFuture<int> f;
    EXPECT_TRUE(f.set_running_or_notify_cancel());
    EXPECT_TRUE(f.running());
    EXPECT_FALSE(f.cancel());
    EXPECT_EQ(raised<RuntimeError>([&] { f.set_running_or_notify_cancel(); }),
              "Future in unexpected state");
    f.set_exception(ValueError("bad"));
    EXPECT_EQ(raised<ValueError>([&] { (void)f.result(); }), "bad");
}

TEST(Concurrent, IsSetOnce) {
    const ConcurrentFuture<int> f;
    f.set_result(1);
    EXPECT_EQ(raised<InvalidStateError>([&] { f.set_result(2); }).substr(0, 21),
              "FINISHED: <Future at ");
    EXPECT_THROW(f.set_exception(ValueError("late")), InvalidStateError);
    EXPECT_EQ(f.result(), 1);
    const ConcurrentFuture<int> cancelled;
    cancelled.cancel();
    EXPECT_EQ(raised<InvalidStateError>([&] { cancelled.set_result(2); }).substr(0, 22),
              "CANCELLED: <Future at ");
    EXPECT_THROW(cancelled.set_exception(std::exception_ptr()), TypeError);
}

TEST(Concurrent, OneOfManySettersWins) {
    for (int round = 0; round < 200; ++round) {
        const ConcurrentFuture<int> f;
        std::atomic<int> wins = 0;
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&wins, f, i] {
                try {
                    f.set_result(i);
                    ++wins;
                } catch (const InvalidStateError&) {
                    // Another one, or the cancel, was first.
                }
            });
        }
        const bool cancelled = f.cancel();
        for (auto& t : threads) t.join();
        EXPECT_EQ(wins, cancelled ? 0 : 1);
        EXPECT_EQ(f.cancelled(), cancelled);
    }
}

TEST(Concurrent, CallsBackInOrderOnTheThreadThatEndsIt) {
    const LogCapture log;
    const ConcurrentFuture<int> f;
    std::vector<std::string> calls;
    std::thread::id caller;
    f.add_done_callback([&](const ConcurrentFuture<int>& done) {
        calls.push_back("first " + std::to_string(done.result()));
        caller = std::this_thread::get_id();
    });
    f.add_done_callback([] { throw std::runtime_error("callback"); });
    f.add_done_callback([&] { calls.push_back("third"); });
    std::thread setter([&] { f.set_result(9); });
    const auto id = setter.get_id();
    setter.join();
    EXPECT_EQ(calls, (std::vector<std::string>{"first 9", "third"}));
    EXPECT_EQ(caller, id);
    ASSERT_EQ(log.lines().size(), 1U);
    EXPECT_EQ(log.lines()[0].substr(0, 41), "exception calling callback for <Future at");
    f.add_done_callback([&] { calls.push_back("late"); });
    EXPECT_EQ(calls.back(), "late");
}

TEST(Concurrent, NoCallbackIsLostWhenItEndsMeanwhile) {
    for (int round = 0; round < 200; ++round) {
        const ConcurrentFuture<> f;
        std::atomic<int> calls = 0;
        std::thread adder([&] {
            for (int i = 0; i < 10; ++i) f.add_done_callback([&] { ++calls; });
        });
        f.set_result();
        adder.join();
        EXPECT_EQ(calls, 10);
    }
}

TEST(Concurrent, CancelFreesTheFunctionOfAJobThatHasNotBegun) {
    BusyPool busy;
    std::atomic<int> alive = 0;
    auto function = [counted = Counted(alive)] {};
    auto job = busy.pool.submit(function);
    EXPECT_EQ(alive, 2);
    EXPECT_TRUE(job.cancel());
    EXPECT_EQ(alive, 1);
}

TEST(Concurrent, PrintsItsState) {
    const auto shown = [](const ConcurrentFuture<int>& f) {
        const std::string text = f.repr();
        return text.substr(text.find(' ', 11));
    };
    const ConcurrentFuture<int> f;
    EXPECT_EQ(shown(f), " state=pending>");
    f.set_running_or_notify_cancel();
    EXPECT_EQ(shown(f), " state=running>");
    f.set_result(1);
    EXPECT_EQ(shown(f), " state=finished returned int>");
    const ConcurrentFuture<int> failed;
    failed.set_exception(ValueError("x"));
    EXPECT_EQ(shown(failed), " state=finished raised ValueError>");
    const ConcurrentFuture<int> cancelled;
    cancelled.cancel();
    EXPECT_EQ(shown(cancelled), " state=cancelled>");
}

TEST(Concurrent, AnEmptyHandleSaysSo) {
    const ConcurrentFuture<int> none(nullptr);
    EXPECT_FALSE(none);
    EXPECT_EQ(raised<RuntimeError>([&] { none.cancel(); }),
              "this handle is empty: it refers to no object");
}

TEST(Concurrent, DropsCallbacksOfOneThatNeverEnds) {
    std::atomic<int> alive = 0;
    {
        const ConcurrentFuture<int> f;
        f.add_done_callback([counted = Counted(alive)] {});
        EXPECT_EQ(alive, 1);
    }
    EXPECT_EQ(alive, 0);
}

// ---- run_coroutine_threadsafe ------------------------------------------------------------------

// A loop that runs on a thread of its own.
class LoopThread {
  public:
    explicit LoopThread(LoopFactory make = &EpollEventLoop::create) : loop_(make()) {
        thread_ = std::thread([this] {
            loop_->call_soon([this] { running_.open(); });
            loop_->run_forever();
        });
        running_.wait();
    }
    ~LoopThread() { stop(); }
    EventLoop& loop() { return *loop_; }
    std::thread::id id() const { return thread_.get_id(); }
    void stop() {
        if (!thread_.joinable()) return;
        EventLoop* const l = loop_.get();
        l->call_soon_threadsafe([l] { l->stop(); });
        thread_.join();
    }
    void close() {
        stop();
        loop_->close();
    }
    void destroy() {
        stop();
        loop_.reset();
    }

  private:
    std::unique_ptr<EventLoop> loop_;
    std::thread thread_;
    Gate running_;
};

TEST(Threadsafe, RunsACoroutineOnTheLoopsThread) {  // TH-02
    LoopThread other;
    auto where = [](int a, int b) -> Coroutine<std::pair<std::thread::id, int>> {
        co_await asyncio::sleep(0s);
        co_return std::pair(std::this_thread::get_id(), a + b);
    };
    const auto result = run_coroutine_threadsafe(where(1, 2), other.loop()).result(100s);
    EXPECT_EQ(result, std::pair(other.id(), 3));
}

TEST(Threadsafe, TakesCallablesAndMoveOnlyResults) {
    LoopThread other;
    auto number = std::make_unique<int>(4);
    auto function = [n = std::move(number)]() mutable -> Coroutine<std::unique_ptr<int>> {
        co_await asyncio::sleep(0s);
        co_return std::move(n);
    };
    EXPECT_EQ(*run_coroutine_threadsafe(callable(std::move(function)), other.loop()).result(), 4);
    run_coroutine_threadsafe([]() -> Coroutine<> { co_return; }, other.loop()).result();
}

// L35. What tells the ConcurrentFuture is a callback of its caller's, and says so in the task's
// repr.
TEST(Threadsafe, TheTasksCallbackIsTheCallers) {
    LoopThread other;
    auto look = []() -> Coroutine<std::string> { co_return repr(current_task()); };
    const auto line = std::to_string(__LINE__ + 1);
    const std::string text = run_coroutine_threadsafe(look, other.loop()).result(100s);
    const std::size_t callbacks = text.find("cb=[");
    ASSERT_NE(callbacks, std::string::npos) << text;
    EXPECT_NE(text.find("test_threads.cpp:" + line, callbacks), std::string::npos) << text;
    EXPECT_EQ(text.find("threadsafe.hpp", callbacks), std::string::npos) << text;
}

TEST(Threadsafe, PassesExceptionsOn) {  // TH-02
    LoopThread other;
    auto fail = []() -> Coroutine<int> {
        co_await asyncio::sleep(0s);
        throw ValueError("bad");
    };
    const auto f = run_coroutine_threadsafe(fail, other.loop());
    EXPECT_EQ(raised<ValueError>([&] { (void)f.result(); }), "bad");
}

TEST(Threadsafe, CancellingTheResultCancelsTheTask) {  // TH-02, S-57
    LoopThread other;
    Gate begun;
    Gate cancelled;
    auto wait = [&]() -> Coroutine<> {
        begun.open();
        const auto r = co_await as_result(Future<>());
        if (r.holds<CancelledError>()) cancelled.open();
        r.value();
    };
    const auto f = run_coroutine_threadsafe(wait, other.loop());
    begun.wait();
    EXPECT_TRUE(f.cancel());
    EXPECT_TRUE(f.cancelled());  // at once
    EXPECT_THROW(f.result(), CancelledError);
    cancelled.wait();
}

TEST(Threadsafe, ATaskThatIsCancelledCancelsTheResult) {  // TH-02
    LoopThread other;
    auto give_up = []() -> Coroutine<> {
        current_task().cancel();
        co_await asyncio::sleep(0s);
    };
    EXPECT_THROW(run_coroutine_threadsafe(give_up, other.loop()).result(), CancelledError);
}

TEST(Threadsafe, CancelledBeforeTheTaskIsMadeNeverBegins) {  // TH-02 (as 3.14)
    LoopThread other;
    Gate hold;
    other.loop().call_soon_threadsafe([&] { hold.wait(); });
    std::atomic<bool> begun = false;
    auto begin = [&]() -> Coroutine<> {
        begun = true;
        co_return;
    };
    const auto f = run_coroutine_threadsafe(begin, other.loop());
    EXPECT_TRUE(f.cancel());
    hold.open();
    run_coroutine_threadsafe([]() -> Coroutine<> { co_await asyncio::sleep(0s); }, other.loop())
        .result();
    EXPECT_FALSE(begun);
}

TEST(Threadsafe, AnErrorInMakingTheTaskGoesToTheResultAndTheHandler) {  // TH-02
    LoopThread other;
    const LogCapture log;
    Gate set;
    other.loop().call_soon_threadsafe([&] {
        other.loop().set_task_factory(
            [](EventLoop&, TaskOptions&) { throw ValueError("no tasks"); });
        set.open();
    });
    set.wait();
    const auto f = run_coroutine_threadsafe([]() -> Coroutine<> { co_return; }, other.loop());
    EXPECT_EQ(raised<ValueError>([&] { f.result(); }), "no tasks");
    other.stop();
    EXPECT_NE(log.text().find("Exception in callback"), std::string::npos);
    EXPECT_NE(log.text().find("ValueError: no tasks"), std::string::npos);
}

TEST(Threadsafe, CancelledInTheStepThatEndsTheTask) {  // TH-02
    LoopThread other;
    const LogCapture log;
    ConcurrentFuture<int> f(nullptr);
    Gate known;
    bool first = false;
    bool second = false;
    auto body = [&]() -> Coroutine<int> {
        known.wait();
        co_await asyncio::sleep(0s);
        first = f.cancel();
        second = f.cancel();  // Python's says true again
        EXPECT_EQ(current_task().cancelling(), 1);
        co_return 5;
    };
    f = run_coroutine_threadsafe(body, other.loop());
    known.open();
    EXPECT_THROW((void)f.result(), CancelledError);
    other.stop();
    EXPECT_TRUE(first);
    EXPECT_TRUE(second);
    EXPECT_EQ(log.text(), "");
}

TEST(Threadsafe, CancelledWhenTheTaskHasEndedAndNobodyKnows) {  // TH-02
    LoopThread other;
    const LogCapture log;
    ConcurrentFuture<int> f(nullptr);
    Gate known;
    Gate ended;
    auto body = [&]() -> Coroutine<int> {
        known.wait();
        // Runs after the task's end, in the iteration in which the result would be copied.
        get_running_loop().call_soon([&] {
            EXPECT_TRUE(f.cancel());
            ended.open();
        });
        co_return 5;
    };
    f = run_coroutine_threadsafe(body, other.loop());
    known.open();
    ended.wait();
    EXPECT_THROW((void)f.result(), CancelledError);
    other.stop();
    EXPECT_EQ(log.text(), "");
}

TEST(Threadsafe, ATaskThatGetsOverItsCancelIsNotTheResult) {  // TH-02
    LoopThread other;
    const LogCapture log;
    Gate begun;
    Gate ended;
    std::string message = "none";
    auto stubborn = [&]() -> Coroutine<int> {
        begun.open();
        const auto r = co_await as_result(Future<>());
        message = error_text<CancelledError>(r);
        ended.open();
        co_return 5;
    };
    const auto f = run_coroutine_threadsafe(stubborn, other.loop());
    begun.wait();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { EXPECT_TRUE(f.cancel()); });
    for (auto& t : threads) t.join();
    EXPECT_TRUE(f.cancelled());
    ended.wait();
    other.stop();
    EXPECT_EQ(message, "");
    EXPECT_THROW((void)f.result(), CancelledError);
    EXPECT_EQ(log.text(), "");
}

TEST(Threadsafe, ADoneOneIsNotCancelledAndATimeoutCancelsNothing) {  // TH-02
    LoopThread other;
    const LogCapture log;
    Gate release;
    auto slow = [&]() -> Coroutine<int> {
        while (!get_running_loop().get_debug()) co_await asyncio::sleep(0s);
        co_return 6;
    };
    const auto f = run_coroutine_threadsafe(slow, other.loop());
    EXPECT_THROW((void)f.result(1ms), TimeoutError);
    EXPECT_FALSE(f.done());
    other.loop().call_soon_threadsafe([&] { other.loop().set_debug(true); });
    EXPECT_EQ(f.result(), 6);
    EXPECT_FALSE(f.cancel());
    EXPECT_FALSE(f.cancelled());
    EXPECT_EQ(f.result(), 6);
}

// ---- results that cannot be copied or moved at every time ---------------------------------------

// Throws when it is copied or moved for the n-th time from now; 0: never.
struct Fragile {
    static inline std::atomic<int> copies = 0;
    static inline std::atomic<int> moves = 0;
    static inline std::atomic<int> fail_at = 0;
    static void reset(int at) {
        copies = 0;
        moves = 0;
        fail_at = at;
    }
    static void step() {
        if (fail_at > 0 && --fail_at == 0) throw std::length_error("fragile");
    }
    Fragile() = default;
    explicit Fragile(int v) : value(v) {}
    Fragile(const Fragile& o) : value(o.value) {
        ++copies;
        step();
    }
    Fragile(Fragile&& o) : value(o.value) {
        ++moves;
        step();
    }
    Fragile& operator=(const Fragile&) = default;
    Fragile& operator=(Fragile&& o) {
        step();
        value = o.value;
        return *this;
    }
    int value = 3;
};

// Its copies always fail.
struct Uncopied {
    Uncopied() = default;
    Uncopied(Uncopied&&) = default;
    Uncopied& operator=(Uncopied&&) = default;
    Uncopied(const Uncopied&) { throw std::bad_alloc(); }
    Uncopied& operator=(const Uncopied&) { throw std::bad_alloc(); }
};

// Whatever fails on the way to it, the one that waits gets the result or the error.
template <class F>
void expect_an_end(F get) {
    for (int at = 0; at < 12; ++at) {
        Fragile::reset(at);
        try {
            EXPECT_EQ(get(), 3) << at;
        } catch (const std::length_error& e) {
            EXPECT_GT(at, 0);
            // The thread sanitizer does not see how the runtime counts an exception's owners: to it
            // the other thread frees the text while this one reads it.
            if (!support::kThreadSanitizer) {
                EXPECT_STREQ(e.what(), "fragile");
            }
        }
    }
    Fragile::reset(0);
}

TEST(Threadsafe, AResultThatCannotBeCopiedEndsTheWait) {  // L15.
    LoopThread other;
    const LogCapture log;
    auto make = []() -> Coroutine<Fragile> { co_return Fragile(); };
    auto later = []() -> Coroutine<Fragile> {
        co_await asyncio::sleep(0s);
        co_return Fragile();
    };
    AnyTask kept;
    auto shared = [&]() -> Coroutine<Fragile> {
        kept = current_task();
        co_await asyncio::sleep(0s);
        co_return Fragile();
    };
    expect_an_end([&] {
        auto f = run_coroutine_threadsafe(make, other.loop());
        const Fragile& result = f.result(20s);
        return result.value;
    });
    expect_an_end([&] { return run_coroutine_threadsafe(later, other.loop()).result(20s).value; });
    expect_an_end([&] { return run_coroutine_threadsafe(shared, other.loop()).result(20s).value; });
    EXPECT_TRUE(kept.done());
    EXPECT_EQ(log.text(), "");
}

TEST(Threadsafe, AResultThatNobodyElseSeesIsNotCopied) {  // L15.
    LoopThread other;
    auto make = []() -> Coroutine<Uncopied> {
        co_await asyncio::sleep(0s);
        co_return Uncopied();
    };
    EXPECT_EQ(run_coroutine_threadsafe(make, other.loop()).exception(20s), nullptr);
    // One that is seen is left as it is.
    AnyTask kept;
    auto shared = [&]() -> Coroutine<Uncopied> {
        kept = current_task();
        co_return Uncopied();
    };
    const auto f = run_coroutine_threadsafe(shared, other.loop());
    EXPECT_THROW((void)f.result(20s), std::bad_alloc);
    EXPECT_EQ(kept.exception(), nullptr);
    Fragile::reset(0);
    auto counted = []() -> Coroutine<Fragile> { co_return Fragile(); };
    run_coroutine_threadsafe(counted, other.loop()).exception(20s);
    EXPECT_EQ(Fragile::copies, 0);
}

TEST(Threadsafe, AnErrorThatLeavesTheLoopReleasesTheWaiter) {  // L15.
    const LogCapture log;
    const auto loop = EpollEventLoop::create();
    loop->set_task_factory([](EventLoop&, TaskOptions&) { throw KeyboardInterrupt(); });
    const auto f = run_coroutine_threadsafe([]() -> Coroutine<> { co_return; }, *loop);
    EXPECT_THROW(loop->run_forever(), KeyboardInterrupt);
    EXPECT_TRUE(f.cancelled());
    loop->close();
}

TEST_P(Threads, AJobsResultThatCannotBeCopiedEndsTheWait) {  // L15.
    const LogCapture log;
    ThreadPoolExecutor pool(1);
    auto make = [] { return Fragile(); };
    expect_an_end([&] {
        return run([&]() -> Coroutine<int> { co_return (co_await to_thread(make)).value; });
    });
    expect_an_end([&] {
        return run([&]() -> Coroutine<int> {
            auto f = get_running_loop().run_in_executor(&pool, make);
            co_return (co_await f).value;
        });
    });
    expect_an_end([&] { return pool.submit(make).result(20s).value; });
    expect_an_end([&] {
        auto f = pool.submit(make);
        const Fragile& result = f.result(20s);
        return result.value;
    });
    expect_an_end([&] {
        return run(
            [&]() -> Coroutine<int> { co_return (co_await wrap_future(pool.submit(make))).value; });
    });
    // The function itself and its arguments.
    expect_an_end([&] {
        return pool.submit([](const Fragile& f) { return f.value; }, Fragile()).result(20s);
    });
    EXPECT_EQ(log.text(), "");
}

TEST(Concurrent, AResultThatCannotBeCopiedEndsTheWait) {  // L15.
    expect_an_end([] {
        const Fragile value;
        ConcurrentFuture<Fragile> f;
        f.set_result(value);
        return f.result(20s).value;
    });
    expect_an_end([] {
        ConcurrentFuture<Fragile> f;
        auto other = f;
        std::thread setter([other] { other.set_result(Fragile()); });
        setter.join();
        return std::move(f).result(20s).value;
    });
    Fragile::reset(1);
    const ConcurrentFuture<Fragile> failed;
    failed.set_result(Fragile());
    EXPECT_TRUE(failed.done());
    EXPECT_EQ(raised<std::length_error>([&] { (void)failed.result(0s); }), "fragile");
    EXPECT_THROW(failed.set_result(Fragile()), InvalidStateError);
}

TEST(Threadsafe, SeesTheContextOfTheCallingThread) {  // CV-04, SC-02
    LoopThread other;
    auto look = []() -> Coroutine<int> { co_return variable.get(); };
    std::thread([&] {
        variable.set(11);
        EXPECT_EQ(run_coroutine_threadsafe(look, other.loop()).result(), 11);
    }).join();
    EXPECT_EQ(run_coroutine_threadsafe(look, other.loop()).result(), 0);
}

TEST(Threadsafe, OnAClosedLoopRaises) {  // SC-02
    const LogCapture log;
    LoopThread other;
    other.close();
    EXPECT_EQ(raised<RuntimeError>([&] {
                  (void)run_coroutine_threadsafe([]() -> Coroutine<> { co_return; }, other.loop());
              }),
              "Event loop is closed");
}

TEST(Threadsafe, ALoopThatClosesReleasesTheThreadsThatWait) {
    const LogCapture log;
    LoopThread other;
    Gate begun;
    auto wait = [&]() -> Coroutine<> {
        begun.open();
        co_await Future<>();
    };
    const auto f = run_coroutine_threadsafe(wait, other.loop());
    begun.wait();
    std::thread waiter([f] { EXPECT_THROW(f.result(), CancelledError); });
    other.close();
    waiter.join();
}

TEST(Threadsafe, ALoopThatClosesBeforeTheTaskIsMadeReleasesTheThreadsThatWait) {
    const LogCapture log;
    const auto loop = EpollEventLoop::create();
    const auto f = run_coroutine_threadsafe([]() -> Coroutine<> { co_return; }, *loop);
    std::thread waiter([f] { EXPECT_THROW(f.result(), CancelledError); });
    loop->close();
    waiter.join();
}

TEST(Threadsafe, WaitingOnTheLoopsOwnThreadIsAnError) {
    run_virtual([]() -> Coroutine<> {
        auto one = []() -> Coroutine<int> { co_return 1; };
        auto f = run_coroutine_threadsafe(one, get_running_loop());
        EXPECT_THROW((void)f.result(), RuntimeError);
        EXPECT_THROW((void)f.result(0s), TimeoutError);
        EXPECT_EQ(co_await wrap_future(f), 1);
        EXPECT_EQ(f.result(), 1);
    });
}

TEST(Threadsafe, ManyThreadsShareALoop) {
    LoopThread other;
    auto twice = [](int n) -> Coroutine<int> {
        co_await asyncio::sleep(0s);
        co_return n * 2;
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            for (int j = 0; j < 250; ++j) {
                auto f = run_coroutine_threadsafe(twice(i * j), other.loop());
                if (j % 5 == 0) f.cancel();
                if (f.cancelled()) continue;
                EXPECT_EQ(std::move(f).result(), i * j * 2);
            }
        });
    }
    for (auto& t : threads) t.join();
}

// ---- wrap_future -------------------------------------------------------------------------------

TEST_P(Threads, WrapFutureBringsAResultToTheLoop) {  // F-14
    ThreadPoolExecutor pool;
    run([&]() -> Coroutine<> {
        EXPECT_EQ(co_await wrap_future(pool.submit([] { return 5; })), 5);
        auto pointer = co_await wrap_future(pool.submit([] { return std::make_unique<int>(6); }));
        EXPECT_EQ(*pointer, 6);
        const auto failed =
            co_await as_result(wrap_future(pool.submit([] { throw ValueError("bad"); })));
        EXPECT_EQ(error_text<ValueError>(failed), "bad");
        static int target = 0;
        int& reference = co_await wrap_future(pool.submit([]() -> int& { return target; }));
        EXPECT_EQ(&reference, &target);
    });
}

TEST_P(Threads, WrapFutureOfADoneOneIsDoneAnIterationLater) {  // F-14
    run([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        co_await asyncio::sleep(0s);
        const ConcurrentFuture<int> f;
        f.set_result(1);
        auto wrapped = wrap_future(f);
        EXPECT_FALSE(wrapped.done());
        iterations.passed();
        EXPECT_EQ(co_await wrapped, 1);
        EXPECT_EQ(iterations.passed(), 2);
    });
}

TEST_P(Threads, CancellingTheWrapperCancelsTheSourceAnIterationLater) {  // F-14
    run([]() -> Coroutine<> {
        const ConcurrentFuture<int> f;
        auto wrapped = wrap_future(f);
        wrapped.cancel();
        EXPECT_FALSE(f.cancelled());
        co_await asyncio::sleep(0s);
        EXPECT_TRUE(f.cancelled());
    });
}

TEST_P(Threads, CancellingTheSourceCancelsTheWrapper) {  // F-14
    run([]() -> Coroutine<> {
        const ConcurrentFuture<int> f;
        auto wrapped = wrap_future(f);
        f.cancel();
        EXPECT_TRUE((co_await as_result(wrapped)).template holds<CancelledError>());
    });
}

TEST_P(Threads, WrapFutureGivesAFutureOrTaskBackAsItIs) {  // F-14
    run([]() -> Coroutine<> {
        const Future<int> f;
        EXPECT_EQ(wrap_future(f), f);
        f.set_result(1);
        Task<> t = create_task(asyncio::sleep(0s));
        EXPECT_EQ(wrap_future(t), t);
        co_await t;
    });
}

TEST_P(Threads, WrapFutureWithoutALoopUsesTheOneThatIsGiven) {
    ConcurrentFuture<int> f;
    auto wrapped = wrap_future(f, loop.get());
    std::thread setter([&] { f.set_result(2); });
    setter.join();
    EXPECT_EQ(run(wrapped), 2);
}

// ---- circles of references ---------------------------------------------------------------------

TEST_P(Threads, AWrappedFutureThatNeverEndsIsFreed) {  // L16.
    std::atomic<int> alive = 0;
    run([&]() -> Coroutine<> {
        {
            ConcurrentFuture<int> answer;
            answer.add_done_callback([counted = Counted(alive)] {});
            auto wrapped = wrap_future(answer);
            wrapped.add_done_callback([counted = Counted(alive)] {});
            auto again = wrap_future(answer);
            again.add_done_callback([counted = Counted(alive)] {});
            co_await asyncio::sleep(0s);
            EXPECT_EQ(alive, 3);
        }
        EXPECT_EQ(alive, 0);
        {
            // Without an end that could come, it waits for nothing.
            Future<int> orphan(nullptr);
            {
                const ConcurrentFuture<int> answer;
                orphan = wrap_future(answer);
                orphan.add_done_callback([counted = Counted(alive)] {});
            }
            EXPECT_FALSE(orphan.done());
            EXPECT_TRUE(orphan.cancel());
        }
        co_await asyncio::sleep(0s);
        EXPECT_EQ(alive, 0);
        {
            // Its callbacks are called though nobody has a handle of the loop's future.
            ConcurrentFuture<int> answer;
            int told = 0;
            wrap_future(answer).add_done_callback(
                [&told](const Future<int>& f) { told = f.result(); });
            co_await asyncio::sleep(0s);
            answer.set_result(4);
            for (int i = 0; i < 4; ++i) co_await asyncio::sleep(0s);
            EXPECT_EQ(told, 4);
        }
    });
}

TEST_P(Threads, ALoopClosedBesideAWrappedFutureFreesIt) {  // L16.
    const LogCapture log;
    std::atomic<int> alive = 0;
    {
        ConcurrentFuture<int> answer;
        auto wait = [](ConcurrentFuture<int> from, Counted) -> Coroutine<> {
            co_await wrap_future(std::move(from));
        };
        loop->create_task(wait(answer, Counted(alive)));
        loop->run_until_complete([]() -> Coroutine<> { co_await asyncio::sleep(0s); });
        loop->close();
        loop.reset();
        EXPECT_EQ(alive, 0);
        answer.add_done_callback([counted = Counted(alive)] {});
    }
    EXPECT_EQ(alive, 0);
}

TEST(Concurrent, ChainsThatNeverEndAreFreed) {  // L16.
    const LogCapture log;
    std::atomic<int> alive = 0;
    {
        LoopThread one;
        LoopThread two;
        ConcurrentFuture<int> answer;
        answer.add_done_callback([counted = Counted(alive)] {});
        std::atomic<int> waiting = 0;
        auto hop = [&](ConcurrentFuture<int> from) -> Coroutine<int> {
            const Counted counted(alive);
            auto here = wrap_future(std::move(from));
            ++waiting;
            co_return co_await here;
        };
        auto a = run_coroutine_threadsafe(hop(answer), one.loop());
        auto b = run_coroutine_threadsafe(hop(std::move(a)), two.loop());
        auto c = run_coroutine_threadsafe(hop(std::move(b)), one.loop());
        c.add_done_callback([counted = Counted(alive)] {});
        while (waiting < 3) std::this_thread::yield();
        EXPECT_EQ(alive, 5);
        one.close();
        two.close();
        EXPECT_TRUE(c.cancelled());
    }
    EXPECT_EQ(alive, 0);
}

TEST(Concurrent, CancelsFromALoopWhileTheLastHandleGoes) {  // L16.
    const auto loop = EpollEventLoop::create();
    std::atomic<int> alive = 0;
    for (int i = 0; i < 300; ++i) {
        auto answer = std::make_unique<ConcurrentFuture<int>>();
        answer->add_done_callback([counted = Counted(alive)] {});
        auto wrapped = wrap_future(*answer, loop.get());
        std::latch go(2);
        std::thread dropper([&] {
            go.arrive_and_wait();
            answer.reset();
        });
        wrapped.cancel();
        wrapped = nullptr;
        go.arrive_and_wait();
        loop->run_until_complete([]() -> Coroutine<> { co_await asyncio::sleep(0s); });
        dropper.join();
    }
    loop->close();
    EXPECT_EQ(alive, 0);
}

TEST_P(Threads, AWrappedFutureThatEndsAfterTheLoopIsDroppedSilently) {  // F-14
    const LogCapture log;
    ConcurrentFuture<int> f;
    auto wrapped = wrap_future(f, loop.get());
    loop->close();
    loop.reset();
    f.set_exception(ValueError("nobody hears this"));
    EXPECT_FALSE(wrapped.done());
    wrapped = nullptr;
    EXPECT_EQ(log.lines(), Lines());
}

TEST_P(Threads, AWrappedTaskOfAnotherLoopMayBeAwaited) {  // F-14, TH-02
    LoopThread other;
    run([&]() -> Coroutine<> {
        auto there = []() -> Coroutine<std::thread::id> {
            co_await asyncio::sleep(0s);
            co_return std::this_thread::get_id();
        };
        EXPECT_EQ(co_await wrap_future(run_coroutine_threadsafe(there, other.loop())), other.id());
        Gate begun;
        Gate cancelled;
        auto wait = [&]() -> Coroutine<> {
            begun.open();
            const auto r = co_await as_result(Future<>());
            cancelled.open();
            r.value();
        };
        auto waiting = wrap_future(run_coroutine_threadsafe(wait, other.loop()));
        begun.wait();
        waiting.cancel();
        EXPECT_TRUE((co_await as_result(waiting)).template holds<CancelledError>());
        co_await to_thread([&] { cancelled.wait(); });
    });
}

// ---- callbacks from other threads --------------------------------------------------------------

TEST(Posting, AMillionCallbacksOfSeveralThreadsAllRunInTheirThreadsOrder) {  // SC-02, S-08
    constexpr int kThreads = 4;
    constexpr int kEach = 1'000'000 / kThreads;
    const auto loop = EpollEventLoop::create();
    int next[kThreads] = {};
    bool in_order = true;
    int left = kThreads * kEach;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < kEach; ++i) {
                loop->call_soon_threadsafe([&, t, i] {
                    in_order = in_order && next[t] == i;
                    ++next[t];
                    if (--left == 0) loop->stop();
                });
            }
        });
    }
    loop->run_forever();
    for (auto& t : threads) t.join();
    EXPECT_EQ(left, 0);
    EXPECT_TRUE(in_order);
}

TEST(Posting, AWakeUpIsNeverLost) {  // SC-02: the loop goes to sleep at the moment of each post
    constexpr int kRounds = 20'000;
    const auto loop = EpollEventLoop::create();
    std::atomic<int> seen = 0;
    std::thread poster([&] {
        for (int i = 1; i <= kRounds; ++i) {
            loop->call_soon_threadsafe([&seen, i] { seen.store(i); });
            while (seen.load() != i) std::this_thread::yield();
        }
        loop->call_soon_threadsafe([&] { loop->stop(); });
    });
    loop->run_forever();
    poster.join();
    EXPECT_EQ(seen, kRounds);
}

TEST(Posting, ReachesALoopThatIsBusy) {  // design: other threads are never starved
    const auto loop = EpollEventLoop::create();
    bool stop = false;
    std::function<void()> spin = [&] {
        if (!stop) loop->call_soon([&] { spin(); });
    };
    spin();
    std::thread poster([&] {
        loop->call_soon_threadsafe([&] {
            stop = true;
            loop->stop();
        });
    });
    loop->run_forever();
    poster.join();
    EXPECT_TRUE(stop);
}

TEST(Posting, KeepsTheOrderOfArrival) {  // SC-02, S-08
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        std::string order;
        loop.call_soon([&] { order += 'a'; });
        loop.call_soon_threadsafe([&] { order += 'b'; });
        loop.call_soon([&] { order += 'c'; });
        std::thread([&] { loop.call_soon_threadsafe([&] { order += 'd'; }); }).join();
        loop.call_soon([&] { order += 'e'; });
        loop.call_soon_threadsafe([&] { order += 'f'; });
        co_await asyncio::sleep(0s);
        EXPECT_EQ(order, "abcdef");
    });
}

TEST(Posting, BeforeTheLoopRunsKeepsTheOrderToo) {
    const auto loop = EpollEventLoop::create();
    std::string order;
    loop->call_soon_threadsafe([&] { order += 'a'; });
    loop->call_soon([&] { order += 'b'; });
    std::thread([&] { loop->call_soon_threadsafe([&] { order += 'c'; }); }).join();
    loop->call_soon([&] { order += 'd'; });
    loop->call_soon([&] { loop->stop(); });
    loop->run_forever();
    EXPECT_EQ(order, "abcd");
}

TEST(Posting, ToAClosedLoopRaisesAndFreesTheCallback) {  // SC-02
    std::atomic<int> alive = 0;
    const auto loop = EpollEventLoop::create();
    loop->call_soon_threadsafe([counted = Counted(alive)] {});
    EXPECT_EQ(alive, 1);
    loop->close();
    EXPECT_EQ(alive, 0);
    std::thread([&] {
        EXPECT_EQ(raised<RuntimeError>(
                      [&] { loop->call_soon_threadsafe([counted = Counted(alive)] {}); }),
                  "Event loop is closed");
    }).join();
    EXPECT_EQ(alive, 0);
}

TEST(Posting, WhileTheLoopClosesEitherRaisesOrDropsTheCallback) {
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> alive = 0;
        const auto loop = EpollEventLoop::create();
        std::latch begun(2);
        std::thread poster([&] {
            begun.arrive_and_wait();
            try {
                for (;;) loop->call_soon_threadsafe([counted = Counted(alive)] {});
            } catch (const RuntimeError&) {
                // It is closed.
            }
        });
        begun.arrive_and_wait();
        loop->close();
        poster.join();
        EXPECT_EQ(alive, 0);
    }
}

TEST(Posting, TheLoopMayBeDestroyedAsSoonAsTheCallbackHasRun) {
    for (int round = 0; round < 200; ++round) {
        auto loop = EpollEventLoop::create();
        std::latch begun(2);
        std::thread poster([&begun, l = loop.get()] {
            begun.arrive_and_wait();
            l->call_soon_threadsafe([l] { l->stop(); });
        });
        begun.arrive_and_wait();
        loop->run_forever();
        loop.reset();  // the poster may still be in call_soon_threadsafe
        poster.join();
    }
}

TEST(Posting, FromManyThreadsToManyLoops) {  // TH-03
    constexpr int kLoops = 3;
    constexpr int kEach = 3'000;
    LoopThread threads[kLoops];
    std::atomic<int> ran = 0;
    std::latch all(kLoops * kLoops * kEach);
    std::vector<std::thread> posters;
    for (int p = 0; p < kLoops; ++p) {
        posters.emplace_back([&] {
            for (int i = 0; i < kEach; ++i) {
                for (auto& t : threads) {
                    t.loop().call_soon_threadsafe([&] {
                        ++ran;
                        all.count_down();
                    });
                }
            }
        });
    }
    all.wait();
    for (auto& t : posters) t.join();
    EXPECT_EQ(ran, kLoops * kLoops * kEach);
}

// ---- handles on other threads ------------------------------------------------------------------

TEST(HandleOfALoop, CancelledByAnotherThreadIsNotCalled) {  // SC-02, HD-01
    LoopThread other;
    for (int round = 0; round < 500; ++round) {
        std::atomic<int> alive = 0;
        std::atomic<bool> called = false;
        Gate passed;
        Gate hold;
        other.loop().call_soon_threadsafe([&] { hold.wait(); });
        auto handle = other.loop().call_soon_threadsafe(
            [&called, counted = Counted(alive)] { called = true; });
        handle.cancel();
        EXPECT_TRUE(handle.cancelled());
        hold.open();
        other.loop().call_soon_threadsafe([&] { passed.open(); });
        passed.wait();
        EXPECT_FALSE(called);
        EXPECT_EQ(alive, 0);
    }
}

TEST(HandleOfALoop, CancelRacesWithTheCall) {
    LoopThread other;
    for (int round = 0; round < 500; ++round) {
        std::atomic<int> alive = 0;
        Gate passed;
        auto handle = other.loop().call_soon_threadsafe([counted = Counted(alive)] {});
        handle.cancel();
        handle.cancel();
        other.loop().call_soon_threadsafe([&] { passed.open(); });
        passed.wait();
        EXPECT_EQ(alive, 0);
    }
}

TEST(HandleOfALoop, ATimerThatAnotherThreadCancelsLeavesNothingBehind) {  // SC-02
    const auto loop = EpollEventLoop::create();
    std::atomic<int> alive = 0;
    std::atomic<int> fired = 0;
    std::vector<TimerHandle> timers;
    for (int i = 0; i < 100; ++i) {
        timers.push_back(
            loop->call_later(i % 2 ? 1h : 0s, [&fired, counted = Counted(alive)] { ++fired; }));
    }
    std::thread canceller;
    loop->call_soon([&] {
        canceller = std::thread([&] {
            for (auto& t : timers) t.cancel();
            loop->call_soon_threadsafe([&] { loop->stop(); });
        });
    });
    loop->run_forever();
    canceller.join();
    EXPECT_EQ(alive, 0);
    EXPECT_LE(fired, 50);
}

TEST(HandleOfALoop, ACallbackMayCancelItselfFromAnInnerContext) {  // HD-01
    const auto loop = VirtualTimeEventLoop::create();
    std::atomic<int> alive = 0;
    int alive_after = -1;
    Handle handle;
    const Context inner;
    handle = loop->call_soon([&, counted = Counted(alive)] {
        inner.run([&] { handle.cancel(); });
        alive_after = alive;
    });
    loop->run_once(0s);
    EXPECT_EQ(alive_after, 1);
    EXPECT_EQ(alive, 0);
}

TEST(HandleOfALoop, CancelledBetweenTwoRunsFreesItsCallbackAtOnce) {  // HD-01
    const auto loop = VirtualTimeEventLoop::create();
    std::atomic<int> alive = 0;
    auto timer = loop->call_later(1s, [counted = Counted(alive)] {});
    timer.cancel();
    EXPECT_EQ(alive, 0);
    loop->run_until_complete(asyncio::sleep(0s));
    EXPECT_EQ(loop->time(), TimePoint());
}

TEST(Handles, AreCopiedMovedAndDroppedOnEveryThread) {  // design: handles on foreign threads
    const auto loop = EpollEventLoop::create();
    constexpr int kRounds = 300;
    loop->run_until_complete([&]() -> Coroutine<> {
        std::vector<std::jthread> threads;
        Future<std::string> shared;
        auto value = []() -> Coroutine<std::string> {
            co_await asyncio::sleep(0s);
            co_return "value";
        };
        for (int t = 0; t < 3; ++t) {
            std::vector<AnyFuture> given;
            std::vector<Context> contexts;
            for (int i = 0; i < kRounds; ++i) {
                Task<std::string> task = create_task(value());
                given.emplace_back(task);
                given.emplace_back(shared);
                given.emplace_back(Future<int>());
                contexts.push_back(task.get_context());
            }
            threads.emplace_back(
                [futures = std::move(given), held = std::move(contexts)]() mutable {
                    while (!futures.empty()) {
                        AnyFuture copy = futures.back();
                        const AnyFuture moved = std::move(copy);
                        futures.pop_back();
                        if (held.empty()) continue;
                        const Context context = held.back();
                        held.pop_back();
                    }
                });
        }
        for (int i = 0; i < kRounds; ++i) {
            Future<std::string> mine = shared;
            AnyFuture any = mine;
            any = nullptr;
            co_await create_task(value());
        }
        shared.set_result("done");
        co_await to_thread([&] {
            for (auto& t : threads) t.join();
        });
    });
}

TEST(Handles, OutliveTheLoopOnEveryThread) {
    for (int round = 0; round < 50; ++round) {
        const LogCapture log;
        std::vector<std::thread> threads;
        std::latch begun(4);
        {
            auto loop = EpollEventLoop::create();
            auto wait = []() -> Coroutine<> { co_await Future<>(); };
            for (int t = 0; t < 3; ++t) {
                Task<> waiting = loop->create_task(wait());
                Future<int> pending = loop->create_future<int>();
                Handle handle = loop->call_soon([] {});
                TimerHandle timer = loop->call_later(1h, [] {});
                threads.emplace_back([&begun, waiting, pending, handle, timer]() mutable {
                    begun.arrive_and_wait();
                    Task<> copy = waiting;
                    waiting = nullptr;
                    timer.cancel();
                    handle.cancel();
                });
            }
            loop->run_until_complete(asyncio::sleep(0s));
            begun.arrive_and_wait();
            loop->close();
        }
        for (auto& t : threads) t.join();
    }
}

TEST(Handles, AreCountedRightWhileALoopBeginsToRunElsewhere) {
    for (int round = 0; round < 200; ++round) {
        auto loop = EpollEventLoop::create();
        std::vector<Future<int>> futures;
        std::vector<TimerHandle> timers;
        std::atomic<int> alive = 0;
        for (int i = 0; i < 20; ++i) {
            futures.push_back(loop->create_future<int>());
            timers.push_back(loop->call_later(1h, [counted = Counted(alive)] {}));
        }
        std::latch begun(2);
        std::thread runner([&] {
            begun.arrive_and_wait();
            loop->run_until_complete([]() -> Coroutine<> {
                for (int i = 0; i < 20; ++i) {
                    const Future<int> f;
                    co_await asyncio::sleep(0s);
                }
            });
        });
        begun.arrive_and_wait();
        futures.clear();
        for (auto& t : timers) t.cancel();
        runner.join();
        loop->run_until_complete(asyncio::sleep(0s));
        EXPECT_EQ(alive, 0);
    }
}

TEST(Handles, AnExceptionThatNobodyLookedAtIsReportedOnTheLoopsThread) {  // F-12, S-63
    LoopThread other;
    std::vector<std::thread::id> reporters;
    Gate reported;
    Future<int> failed(nullptr);
    Gate made;
    other.loop().call_soon_threadsafe([&] {
        other.loop().set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
            EXPECT_EQ(context.message, "Future exception was never retrieved");
            EXPECT_TRUE(context.future);
            reporters.push_back(std::this_thread::get_id());
            reported.open();
        });
        failed = other.loop().create_future<int>();
        failed.set_exception(ValueError("unseen"));
        made.open();
    });
    made.wait();
    failed = nullptr;  // the last handle, here
    reported.wait();
    EXPECT_EQ(reporters, std::vector{other.id()});
}

TEST(Handles, AnExceptionThatNobodyLookedAtIsLoggedWhenTheLoopIsGone) {  // F-12
    const LogCapture log;
    Future<int> failed(nullptr);
    {
        const auto loop = EpollEventLoop::create();
        failed = loop->create_future<int>();
        failed.set_exception(ValueError("unseen"));
    }
    std::thread([f = std::move(failed)] {}).join();
    EXPECT_NE(log.text().find("Future exception was never retrieved"), std::string::npos);
    EXPECT_NE(log.text().find("ValueError: unseen"), std::string::npos);
}

TEST(Handles, AReportMayRaceWithTheEndOfTheLoop) {
    for (int round = 0; round < 100; ++round) {
        const LogCapture log;
        auto loop = EpollEventLoop::create();
        Future<int> failed = loop->create_future<int>();
        failed.set_exception(ValueError("unseen"));
        std::latch begun(2);
        std::thread dropper([&begun, f = std::move(failed)]() mutable {
            begun.arrive_and_wait();
            f = nullptr;
        });
        begun.arrive_and_wait();
        loop->run_until_complete(asyncio::sleep(0s));
        loop.reset();
        dropper.join();
        EXPECT_EQ(log.lines().size(), 1U);
    }
}

// ---- loops and threads -------------------------------------------------------------------------

Coroutine<int> busy_work(int seed) {
    int sum = 0;
    for (int i = 0; i < 50; ++i) {
        auto add = [](int a) -> Coroutine<int> {
            co_await asyncio::sleep(0s);
            co_return a;
        };
        auto t1 = create_task(add(seed));
        auto t2 = create_task(add(i));
        sum += co_await t1 + co_await t2;
        co_await asyncio::sleep(1us);
    }
    co_return sum;
}

TEST(Loops, RunInSeveralThreadsAtOnce) {  // TH-03
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([t] {
            for (int round = 0; round < 5; ++round) {
                const auto loop = t % 2 ? EpollEventLoop::create() : VirtualTimeEventLoop::create();
                EXPECT_EQ(loop->run_until_complete(busy_work(t)), 50 * t + 1225);
                EXPECT_GE(all_loops().size(), 1U);
            }
        });
    }
    for (auto& t : threads) t.join();
}

TEST(Loops, MadeInOneThreadRunInAnotherClosedInAThird) {  // TH-03
    auto loop = EpollEventLoop::create();
    auto before = loop->create_task(busy_work(1));
    std::thread([&] {
        EXPECT_EQ(loop->run_until_complete(before), 1275);
        EXPECT_EQ(&before.get_loop(), loop.get());
    }).join();
    EXPECT_EQ(loop->run_until_complete(busy_work(2)), 1325);
    std::thread([&] {
        loop->close();
        loop.reset();
    }).join();
    EXPECT_EQ(before.result(), 1275);
}

TEST(Loops, TheThreadsOwnLoopIsClosedWithIt) {  // LC-09
    std::thread([] {
        EXPECT_EQ(get_event_loop().run_until_complete(busy_work(3)), 1375);
        auto late = get_event_loop().create_future<int>();
        late.set_result(1);
    }).join();
}

TEST(Loops, TellInDebugModeOfCallsFromOtherThreads) {  // DM-02, TH-03
    LoopThread other;
    Gate set;
    other.loop().call_soon_threadsafe([&] {
        other.loop().set_debug(true);
        set.open();
    });
    set.wait();
    const std::string text =
        "Non-thread-safe operation invoked on an event loop other than the current one";
    EXPECT_EQ(raised<RuntimeError>([&] { other.loop().call_soon([] {}); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { other.loop().call_later(1s, [] {}); }), text);
    Gate called;
    other.loop().call_soon_threadsafe([&] { called.open(); });
    called.wait();
    other.close();
}

TEST(Frames, MadeOnOneThreadAreFreedOnAnother) {
    const LogCapture log;
    std::vector<Coroutine<int>> made;
    std::thread([&] {
        for (int i = 0; i < 1000; ++i) made.push_back(busy_work(i));
    }).join();
    made.erase(made.begin() + 500, made.end());  // these here, reported
    std::thread([rest = std::move(made)]() mutable {
        const auto loop = EpollEventLoop::create();
        for (auto& c : rest) c.close();
        EXPECT_EQ(loop->run_until_complete(busy_work(1)), 1275);
    }).join();
    EXPECT_EQ(log.lines().size(), 500U);
}

TEST(Frames, BlocksGoBackAndForthBetweenThreads) {
    LoopThread other;
    for (int round = 0; round < 20; ++round) {
        std::vector<ConcurrentFuture<int>> results;
        for (int i = 0; i < 100; ++i) {
            results.push_back(run_coroutine_threadsafe(busy_work(i % 3), other.loop()));
        }
        for (auto& r : results) EXPECT_GE(r.result(), 1225);
    }
}

}  // namespace

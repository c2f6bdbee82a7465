// locks.hpp: L-01 to L-17, S-38, S-39, S-54, S-55, X-05, X-06, X-08, B-44 to B-48. Orders and texts
// were compared with CPython 3.13's.
#include <asyncio/locks.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <asyncio/log.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/with.hpp>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "counted_new.hpp"

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

// The text of the exception that `call` raises, with its class.
template <class F>
std::string raised(F call) {
    try {
        call();
    } catch (...) {
        // The text is what the test compares.
        return detail::describe(std::current_exception());
    }
    return "nothing";
}

// The part of repr() in brackets.
template <class T>
std::string state_of(const T& object) {
    const std::string text = object.repr();
    const std::size_t begin = text.find('[');
    return text.substr(begin, text.rfind('>') - begin);
}

detail::Sleep tick() { return sleep(0s); }

// Waits until a task is done, however it ends.
template <class T>
Coroutine<> end_of(Task<T>& task) {
    const auto outcome = co_await as_result(task);
    EXPECT_TRUE(task.done());
}

// Counts the loop's iterations. It is started first, and so is the first to run in each of them.
class Iterations {
  public:
    Iterations() {
        auto counting = count();
        task_ = create_task(std::move(counting));
    }
    Iterations(const Iterations&) = delete;
    Iterations& operator=(const Iterations&) = delete;
    ~Iterations() { task_.cancel(); }

    // How many have begun since the last start().
    int now() const { return n_ - start_; }
    void start() { start_ = n_; }

  private:
    Coroutine<> count() {
        for (;;) {
            ++n_;
            co_await tick();
        }
    }

    int n_ = 0;
    int start_ = 0;
    Task<> task_;
};

static_assert(!std::is_copy_constructible_v<Lock> && !std::is_move_constructible_v<Lock>);
static_assert(!std::is_copy_constructible_v<Event> && !std::is_move_constructible_v<Event>);
static_assert(!std::is_move_constructible_v<Condition>);
static_assert(!std::is_move_constructible_v<Semaphore>);
static_assert(!std::is_move_constructible_v<BoundedSemaphore>);
static_assert(!std::is_move_constructible_v<Barrier>);
static_assert(std::is_same_v<await_result_t<decltype(std::declval<Lock&>().acquire())>, bool>);
static_assert(std::is_same_v<await_result_t<decltype(std::declval<Event&>().wait())>, bool>);
static_assert(std::is_void_v<await_result_t<decltype(std::declval<Lock&>().aenter())>>);
static_assert(!std::is_copy_constructible_v<ScopedLock<Lock>>);

// ---- Lock -----------------------------------------------------------------------------------

// Takes the lock, holds it for some iterations, and notes when it got it.
Coroutine<> take(Lock& lock, Lines& log, std::string name, int hold = 0) {
    co_await lock.acquire();
    log.push_back(name);
    for (int i = 0; i < hold; ++i) co_await tick();
    lock.release();
}

TEST(Lock, IsTakenWithoutSuspendingWhenFree) {  // L-01, L-02
    auto main = []() -> Coroutine<> {
        Lock lock;
        EXPECT_FALSE(lock.locked());
        Iterations iterations;
        co_await tick();
        iterations.start();
        EXPECT_TRUE(co_await lock.acquire());
        EXPECT_TRUE(lock.locked());
        lock.release();
        EXPECT_FALSE(lock.locked());
        EXPECT_EQ(iterations.now(), 0);
    };
    run_virtual(main);
}

TEST(Lock, ServesWaitersInOrder) {  // L-02, L-03
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        co_await lock.acquire();
        std::vector<Task<>> tasks;
        for (const char* name : {"a", "b", "c"})
            tasks.push_back(create_task(take(lock, log, name, 1)));
        co_await tick();
        EXPECT_EQ(state_of(lock), "[locked, waiters:3]");
        EXPECT_EQ(log, Lines{});
        lock.release();
        EXPECT_FALSE(lock.locked());
        EXPECT_EQ(state_of(lock), "[unlocked, waiters:3]");
        for (auto& t : tasks) co_await t;
        EXPECT_EQ(log, (Lines{"a", "b", "c"}));
        EXPECT_EQ(state_of(lock), "[unlocked]");
    };
    run_virtual(main);
}

TEST(Lock, HandsOverToWaitersBeforeItsHolderGetsItAgain) {  // X-05, S-38
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        Iterations iterations;
        auto waiter = [&](std::string name) -> Coroutine<> {
            co_await lock.acquire();
            log.push_back(name + '@' + std::to_string(iterations.now()));
            lock.release();
        };
        co_await lock.acquire();
        auto w1 = create_task(waiter("w1"));
        auto w2 = create_task(waiter("w2"));
        co_await tick();
        iterations.start();
        lock.release();
        EXPECT_FALSE(lock.locked());
        co_await lock.acquire();
        log.push_back("holder@" + std::to_string(iterations.now()));
        EXPECT_EQ(log, (Lines{"w1@1", "w2@2", "holder@3"}));
    };
    run_virtual(main);
}

TEST(Lock, NewcomerQueuesBehindAWokenWaiter) {  // L-02, B-44
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        co_await lock.acquire();
        auto first = create_task(take(lock, log, "first"));
        co_await tick();
        lock.release();
        // The lock is free, but `first` was woken for it.
        co_await take(lock, log, "newcomer");
        EXPECT_EQ(log, (Lines{"first", "newcomer"}));
        EXPECT_TRUE(first.done());
    };
    run_virtual(main);
}

TEST(Lock, ReleaseWhenFreeIsAnError) {  // L-03
    Lock lock;
    EXPECT_EQ(raised([&] { lock.release(); }), "RuntimeError('Lock is not acquired.')");
}

TEST(Lock, AnyTaskMayReleaseIt) {  // L-01
    auto main = []() -> Coroutine<> {
        Lock lock;
        co_await lock.acquire();
        auto other = [&]() -> Coroutine<> {
            lock.release();
            co_return;
        };
        co_await create_task(other);
        EXPECT_FALSE(lock.locked());
    };
    run_virtual(main);
}

TEST(Lock, CancelledWaiterLeavesTheLine) {  // L-02
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        co_await lock.acquire();
        auto a = create_task(take(lock, log, "a"));
        auto b = create_task(take(lock, log, "b"));
        co_await tick();
        a.cancel("enough");
        auto r = co_await as_result(a);
        EXPECT_EQ(text_of(r), "CancelledError('enough')");
        EXPECT_TRUE(a.cancelled());
        EXPECT_EQ(state_of(lock), "[locked, waiters:1]");
        lock.release();
        co_await b;
        EXPECT_EQ(log, (Lines{"b"}));
    };
    run_virtual(main);
}

TEST(Lock, WaiterThatIsCancelledWhenWokenWakesTheNext) {  // S-44, S-54, B-44
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        Iterations iterations;
        co_await lock.acquire();
        auto a = create_task(take(lock, log, "a"));
        auto b = create_task(take(lock, log, "b"));
        co_await tick();
        iterations.start();
        lock.release();
        a.cancel();
        co_await b;
        EXPECT_TRUE(a.cancelled());
        EXPECT_EQ(log, (Lines{"b"}));
        EXPECT_EQ(iterations.now(), 3);  // a +1, b +2, this +3
        EXPECT_EQ(state_of(lock), "[unlocked]");
    };
    run_virtual(main);
}

TEST(Lock, HeadCancelledBeforeTheReleaseWakesTheNext) {  // L-03, B-44
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        co_await lock.acquire();
        auto a = create_task(take(lock, log, "a"));
        auto b = create_task(take(lock, log, "b"));
        co_await tick();
        a.cancel();
        lock.release();  // finds the head cancelled, and leaves the rest to it
        co_await tick();
        EXPECT_TRUE(a.cancelled());
        EXPECT_EQ(log, Lines{});
        co_await tick();
        EXPECT_EQ(log, (Lines{"b"}));
    };
    run_virtual(main);
}

TEST(Lock, WaiterCancelledWhileItIsHeldWakesNobody) {  // L-02
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        co_await lock.acquire();
        auto a = create_task(take(lock, log, "a"));
        auto b = create_task(take(lock, log, "b"));
        co_await tick();
        a.cancel();
        for (int i = 0; i < 5; ++i) co_await tick();
        EXPECT_TRUE(a.cancelled());
        EXPECT_FALSE(b.done());
        EXPECT_EQ(log, Lines{});
        lock.release();
        co_await b;
    };
    run_virtual(main);
}

TEST(Lock, NewcomerTakesItWhenAllWaitersAreCancelled) {  // L-02
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        Iterations iterations;
        co_await lock.acquire();
        auto a = create_task(take(lock, log, "a"));
        auto b = create_task(take(lock, log, "b"));
        co_await tick();
        a.cancel();
        b.cancel();
        lock.release();
        iterations.start();
        EXPECT_EQ(state_of(lock), "[unlocked, waiters:2]");
        co_await lock.acquire();
        EXPECT_EQ(iterations.now(), 0);
        lock.release();
        co_await tick();
        EXPECT_TRUE(a.cancelled() && b.cancelled());
        EXPECT_EQ(state_of(lock), "[unlocked]");
    };
    run_virtual(main);
}

TEST(Lock, CancelThatIsDueIsDeliveredOnlyIfItMustWait) {  // S-45
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel("me");
            EXPECT_TRUE(co_await lock.acquire());
            log.push_back("taken");
            auto again = co_await as_result(lock.acquire());
            log.push_back(text_of(again));
        };
        auto task = create_task(itself);
        co_await task;
        EXPECT_EQ(log, (Lines{"taken", "CancelledError('me')"}));
        EXPECT_EQ(state_of(lock), "[locked]");
    };
    run_virtual(main);
}

TEST(Lock, OnlyOneOfThreeGetsItWhenAnotherIsCancelledAtTheRelease) {  // B-44
    auto main = []() -> Coroutine<> {
        Lock lock;
        int taken = 0;
        auto forever = [&]() -> Coroutine<> {
            co_await lock.acquire();
            ++taken;
        };
        co_await lock.acquire();
        auto t1 = create_task(forever);
        auto t2 = create_task(forever);
        auto t3 = create_task(forever);
        co_await tick();
        get_running_loop().call_soon([&] {
            t1.cancel();
            lock.release();
        });
        co_await end_of(t1);
        co_await tick();
        EXPECT_TRUE(t1.cancelled());
        EXPECT_TRUE(t2.done());
        EXPECT_FALSE(t3.done());
        EXPECT_EQ(taken, 1);
    };
    run_virtual(main);
}

TEST(Lock, TimeoutWhileWaitingLeavesTheLine) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        co_await lock.acquire();
        auto waited = co_await as_result(wait_for(lock.acquire(), 1s));
        EXPECT_TRUE(waited.holds<TimeoutError>());
        EXPECT_EQ(state_of(lock), "[locked]");
        lock.release();
        EXPECT_TRUE(co_await wait_for(lock.acquire(), 1s));
    };
    run_virtual(main);
}

TEST(Lock, AcquireIsAnAwaitableLikeAnyOther) {  // T-34
    auto main = []() -> Coroutine<> {
        Lock lock;
        EXPECT_TRUE(co_await create_task(lock.acquire()));
        auto again = create_task(lock.acquire());
        co_await tick();
        EXPECT_FALSE(again.done());
        lock.release();
        auto r = co_await as_result(again);
        EXPECT_TRUE(r.has_value() && r.value());
        lock.release();
        auto now = co_await as_result(lock.acquire());
        EXPECT_TRUE(now.value());
        lock.release();
        auto both = co_await gather(lock.acquire(), tick());
        EXPECT_TRUE(std::get<0>(both));
        EXPECT_TRUE(lock.locked());
    };
    run_virtual(main);
}

TEST(Lock, AcquireIsAwaitedOnce) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        auto acquiring = lock.acquire();
        co_await acquiring;
        lock.release();
        auto again = co_await as_result(acquiring);
        EXPECT_EQ(text_of(again), "RuntimeError('cannot reuse already awaited coroutine')");
        EXPECT_FALSE(lock.locked());
    };
    run_virtual(main);
}

TEST(Lock, GuardReleasesWhenItGoes) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        {
            auto guard = co_await lock.scoped();
            EXPECT_TRUE(guard);
            EXPECT_TRUE(lock.locked());
        }
        EXPECT_FALSE(lock.locked());
        auto fails = [&]() -> Coroutine<> {
            auto guard = co_await lock.scoped();
            throw ValueError("inside");
        };
        auto r = co_await as_result(fails);
        EXPECT_EQ(text_of(r), "ValueError('inside')");
        EXPECT_FALSE(lock.locked());
    };
    run_virtual(main);
}

TEST(Lock, GuardMovesAndReleasesOnce) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        std::optional<ScopedLock<Lock>> kept;
        {
            auto guard = co_await lock.scoped();
            auto moved = std::move(guard);
            EXPECT_FALSE(guard);
            kept.emplace(std::move(moved));
        }
        EXPECT_TRUE(lock.locked());
        kept->release();
        EXPECT_FALSE(lock.locked());
        EXPECT_FALSE(*kept);
        co_await lock.acquire();
        kept.reset();
        EXPECT_TRUE(lock.locked());

        Lock other;
        auto mine = co_await other.scoped();
        ScopedLock<Lock> held(lock);
        held = std::move(mine);
        {
            auto swapped = std::move(mine);
        }
        EXPECT_FALSE(lock.locked());
        EXPECT_TRUE(other.locked());
    };
    run_virtual(main);
}

TEST(Lock, GuardWaitsItsTurnAndCanBeCancelled) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        auto hold = [&](std::string name) -> Coroutine<> {
            auto guard = co_await lock.scoped();
            log.push_back(name);
            co_await tick();
        };
        auto a = create_task(hold("a"));
        auto b = create_task(hold("b"));
        auto c = create_task(hold("c"));
        co_await tick();
        b.cancel();
        co_await c;
        EXPECT_TRUE(b.cancelled());
        EXPECT_EQ(log, (Lines{"a", "c"}));
        EXPECT_FALSE(lock.locked());
        auto r = co_await as_result(lock.scoped());
        EXPECT_TRUE(r.has_value());
        EXPECT_TRUE(lock.locked());
    };
    run_virtual(main);
}

std::string logged;

// Collects what is written to the log while it lives.
class LogSink {
  public:
    LogSink() {
        logged.clear();
        before_ = log::set_sink([](log::Level, std::string_view text) {
            logged += text;
            logged += '\n';
        });
    }
    LogSink(const LogSink&) = delete;
    LogSink& operator=(const LogSink&) = delete;
    ~LogSink() { log::set_sink(before_); }

  private:
    log::Sink before_;
};

TEST(Lock, GuardReportsALockThatWasReleasedUnderIt) {
    const LogSink sink;
    auto main = []() -> Coroutine<> {
        Lock lock;
        {
            auto guard = co_await lock.scoped();
            lock.release();
        }
        EXPECT_EQ(logged, "A guard found its lock released: Lock is not acquired.\n");
        auto guard = co_await lock.scoped();
        lock.release();
        EXPECT_EQ(raised([&] { guard.release(); }), "RuntimeError('Lock is not acquired.')");
        EXPECT_FALSE(guard);
    };
    run_virtual(main);
}

TEST(Lock, WorksWithWith) {  // AG-05
    auto main = []() -> Coroutine<> {
        Lock lock;
        auto body = [&]() -> Coroutine<int> {
            EXPECT_TRUE(lock.locked());
            co_await tick();
            co_return 7;
        };
        EXPECT_EQ(co_await with(lock, body), 7);
        EXPECT_FALSE(lock.locked());
        auto fails = [&]() -> Coroutine<> {
            co_await tick();
            throw ValueError("inside");
        };
        auto r = co_await as_result(with(lock, fails));
        EXPECT_EQ(text_of(r), "ValueError('inside')");
        EXPECT_FALSE(lock.locked());
        co_await lock.acquire();
        auto cancelled = create_task(with(lock, body));
        co_await tick();
        cancelled.cancel();
        auto c = co_await as_result(cancelled);
        EXPECT_TRUE(c.holds<CancelledError>());
        EXPECT_TRUE(lock.locked());
    };
    run_virtual(main);
}

TEST(Lock, WaitingInASecondLoopIsAnError) {
    Lock lock;
    auto contend = [&]() -> Coroutine<> {
        auto waiter = create_task(lock.acquire());
        co_await tick();
        EXPECT_FALSE(waiter.done());
        lock.release();
        co_await waiter;
        lock.release();
    };
    auto uncontended = [&]() -> Coroutine<> {
        co_await lock.acquire();
        lock.release();
    };
    // Never bound as long as nobody waits.
    run_virtual(uncontended);
    run_virtual(uncontended);
    auto first = [&]() -> Coroutine<> {
        co_await lock.acquire();
        co_await contend();
    };
    run_virtual(first);
    // Bound, and free: still usable.
    run_virtual(uncontended);
    auto second = [&]() -> Coroutine<> {
        co_await lock.acquire();
        const std::string expected =
            "RuntimeError('" + lock.repr() + " is bound to a different event loop')";
        auto r = co_await as_result(lock.acquire());
        EXPECT_EQ(text_of(r), expected);
        try {
            co_await lock.acquire();
            ADD_FAILURE() << "no error";
        } catch (const RuntimeError& e) {
            EXPECT_NE(std::string(e.what()).find("is bound to a different event loop"),
                      std::string::npos);
        }
        EXPECT_EQ(state_of(lock), "[locked]");
        lock.release();
    };
    run_virtual(second);
}

TEST(Lock, StaysBoundToALoopThatIsGone) {
    Lock lock;
    auto bind = [&]() -> Coroutine<> {
        co_await lock.acquire();
        auto r = co_await as_result(wait_for(lock.acquire(), 1s));
        EXPECT_FALSE(r.has_value());
    };
    run_virtual(bind);
    // Loops that come later may lie where it was.
    for (int i = 0; i < 20; ++i) {
        auto again = [&]() -> Coroutine<> {
            auto r = co_await as_result(lock.acquire());
            EXPECT_TRUE(r.holds<RuntimeError>());
        };
        run_virtual(again);
    }
}

TEST(Lock, ReprIsPythons) {
    Lock lock;
    const std::string text = lock.repr();
    EXPECT_EQ(text.find("<asyncio.locks.Lock object at 0x"), 0U);
    EXPECT_EQ(asyncio::repr(lock), text);
    EXPECT_EQ(state_of(lock), "[unlocked]");
    EXPECT_EQ(text.substr(text.size() - 2), "]>");
}

TEST(Lock, ThatDiesLeavesItsWaitersToBeCancelled) {
    auto main = []() -> Coroutine<> {
        auto lock = std::make_unique<Lock>();
        co_await lock->acquire();
        auto waiting = create_task(lock->acquire());
        auto woken = create_task(lock->acquire());
        co_await tick();
        lock.reset();
        for (int i = 0; i < 3; ++i) co_await tick();
        EXPECT_FALSE(waiting.done());
        waiting.cancel();
        auto r = co_await as_result(waiting);
        EXPECT_TRUE(r.holds<CancelledError>());
        woken.cancel();
        co_await end_of(woken);

        lock = std::make_unique<Lock>();
        co_await lock->acquire();
        woken = create_task(lock->acquire());
        auto both = create_task(lock->acquire());
        co_await tick();
        lock->release();
        both.cancel();
        lock.reset();
        auto w = co_await as_result(woken);
        EXPECT_EQ(text_of(w),
                  "RuntimeError('Lock was destroyed before a task that it woke could run')");
        auto b = co_await as_result(both);
        EXPECT_TRUE(b.holds<CancelledError>());
    };
    run_virtual(main);
}

TEST(Lock, OutlivesTheTasksOfAClosedLoop) {
    Lock lock;
    auto forever = [&]() -> Coroutine<> {
        auto guard = co_await lock.scoped();
        co_await lock.acquire();
    };
    auto waits = [&]() -> Coroutine<> { co_await lock.acquire(); };
    const LogSink sink;
    {
        auto loop = VirtualTimeEventLoop::create();
        auto a = loop->create_task(forever);
        auto b = loop->create_task(waits);
        loop->run_once(0s);
        EXPECT_EQ(state_of(lock), "[locked, waiters:2]");
        loop->close();
    }
    // The guard went with its frame, the waiters left the line.
    EXPECT_EQ(state_of(lock), "[unlocked]");
    EXPECT_EQ(logged.find("guard"), std::string::npos);
}

TEST(Lock, AcquiringAFreeOneAllocatesNothing) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        Event event;
        event.set();
        Semaphore semaphore;
        const std::size_t before = support::system_blocks;
        for (int i = 0; i < 1000; ++i) {
            auto guard = co_await lock.scoped();
            auto unit = co_await semaphore.scoped();
            co_await event.wait();
        }
        EXPECT_EQ(support::system_blocks, before);
    };
    run_virtual(main);
}

TEST(Lock, TenThousandCancelledWaitersLeaveOneWhoGetsIt) {
    auto main = []() -> Coroutine<> {
        Lock lock;
        Lines log;
        co_await lock.acquire();
        std::vector<Task<>> tasks;
        for (int i = 0; i < 10000; ++i) tasks.push_back(create_task(take(lock, log, "no")));
        auto last = create_task(take(lock, log, "last"));
        co_await tick();
        for (auto& t : tasks) t.cancel();
        lock.release();
        co_await last;
        EXPECT_EQ(log, (Lines{"last"}));
        for (auto& t : tasks) EXPECT_TRUE(t.cancelled());
    };
    run_virtual(main);
}

// ---- Event ----------------------------------------------------------------------------------

Coroutine<> note_event(Event& event, Lines& log, std::string name) {
    EXPECT_TRUE(co_await event.wait());
    log.push_back(name);
}

TEST(Event, WakesAllWaitersInOrder) {  // L-04, S-38
    auto main = []() -> Coroutine<> {
        Event event;
        Lines log;
        Iterations iterations;
        auto a = create_task(note_event(event, log, "a"));
        auto b = create_task(note_event(event, log, "b"));
        co_await tick();
        EXPECT_EQ(state_of(event), "[unset, waiters:2]");
        auto c = create_task(note_event(event, log, "c"));  // will find it set
        iterations.start();
        event.set();
        event.set();
        EXPECT_TRUE(event.is_set());
        EXPECT_EQ(log, Lines{});
        co_await tick();
        EXPECT_EQ(iterations.now(), 1);
        EXPECT_EQ(log, (Lines{"c", "a", "b"}));
        EXPECT_EQ(state_of(event), "[set]");
    };
    run_virtual(main);
}

TEST(Event, WaitForASetOneDoesNotSuspend) {  // L-05
    auto main = []() -> Coroutine<> {
        Event event;
        Iterations iterations;
        co_await tick();
        event.set();
        iterations.start();
        EXPECT_TRUE(co_await event.wait());
        EXPECT_EQ(iterations.now(), 0);
    };
    run_virtual(main);
}

TEST(Event, SetAndClearAtOnceStillWakesWithTrue) {  // L-04, B-45
    auto main = []() -> Coroutine<> {
        Event event;
        Lines log;
        auto a = create_task(note_event(event, log, "a"));
        auto b = create_task(note_event(event, log, "b"));
        co_await tick();
        event.set();
        event.clear();
        auto late = create_task(note_event(event, log, "late"));
        co_await tick();
        EXPECT_FALSE(event.is_set());
        EXPECT_EQ(log, (Lines{"a", "b"}));
        EXPECT_FALSE(late.done());
        event.set();
        co_await late;
    };
    run_virtual(main);
}

TEST(Event, CancelledWaiterLeavesTheLine) {  // L-05
    auto main = []() -> Coroutine<> {
        Event event;
        auto a = create_task(event.wait());
        auto b = create_task(event.wait());
        co_await tick();
        a.cancel("no");
        auto r = co_await as_result(a);
        EXPECT_EQ(text_of(r), "CancelledError('no')");
        EXPECT_EQ(state_of(event), "[unset, waiters:1]");
        event.set();
        EXPECT_TRUE(co_await b);
    };
    run_virtual(main);
}

TEST(Event, CancelInTheTickOfItsSetWins) {  // S-44, S-45
    auto main = []() -> Coroutine<> {
        Event event;
        auto a = create_task(event.wait());
        co_await tick();
        event.set();
        a.cancel();
        co_await end_of(a);
        EXPECT_TRUE(a.cancelled());
        EXPECT_EQ(state_of(event), "[set]");

        event.clear();
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel("me");
            co_await event.wait();
        };
        auto r = co_await as_result(create_task(itself));
        EXPECT_EQ(text_of(r), "CancelledError('me')");
        EXPECT_EQ(state_of(event), "[unset]");
    };
    run_virtual(main);
}

TEST(Event, MayDieAsSoonAsItIsSet) {
    auto main = []() -> Coroutine<> {
        auto event = std::make_unique<Event>();
        auto a = create_task(event->wait());
        auto b = create_task(event->wait());
        co_await tick();
        b.cancel();
        event->set();
        event.reset();
        EXPECT_TRUE(co_await a);
        co_await end_of(b);
        EXPECT_TRUE(b.cancelled());

        event = std::make_unique<Event>();
        auto never = create_task(event->wait());
        co_await tick();
        event.reset();
        co_await tick();
        EXPECT_FALSE(never.done());
        never.cancel();
        co_await end_of(never);
        EXPECT_TRUE(never.cancelled());
    };
    run_virtual(main);
}

TEST(Event, WaitingInASecondLoopIsAnError) {
    Event event;
    auto first = [&]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(event.wait(), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());
    };
    run_virtual(first);
    auto second = [&]() -> Coroutine<> {
        auto r = co_await as_result(event.wait());
        EXPECT_EQ(text_of(r),
                  "RuntimeError('" + event.repr() + " is bound to a different event loop')");
        event.set();
        EXPECT_TRUE(co_await event.wait());
    };
    run_virtual(second);
}

TEST(Event, WaitIsAwaitedOnce) {
    auto main = []() -> Coroutine<> {
        Event event;
        event.set();
        auto waiting = event.wait();
        EXPECT_TRUE(co_await waiting);
        auto r = co_await as_result(waiting);
        EXPECT_EQ(text_of(r), "RuntimeError('cannot reuse already awaited coroutine')");
    };
    run_virtual(main);
}

TEST(Event, ReprIsPythons) {
    Event event;
    EXPECT_EQ(event.repr().find("<asyncio.locks.Event object at 0x"), 0U);
    EXPECT_EQ(state_of(event), "[unset]");
    event.set();
    EXPECT_EQ(state_of(event), "[set]");
}

// ---- Condition ------------------------------------------------------------------------------

// Waits for a notify, once, and notes that it came.
Coroutine<> note_notify(Condition& condition, Lines& log, std::string name) {
    auto guard = co_await condition.scoped();
    EXPECT_TRUE(co_await condition.wait());
    EXPECT_TRUE(condition.locked());
    log.push_back(name);
}

TEST(Condition, WaitReleasesTheLockAndTakesItAgain) {  // L-06, L-07
    auto main = []() -> Coroutine<> {
        Condition condition;
        Lines log;
        auto a = create_task(note_notify(condition, log, "a"));
        co_await tick();
        EXPECT_FALSE(condition.locked());
        EXPECT_EQ(state_of(condition), "[unlocked, waiters:1]");
        co_await condition.acquire();
        condition.notify();
        co_await tick();
        EXPECT_EQ(log, Lines{});  // it waits for the lock
        EXPECT_EQ(state_of(condition), "[locked]");
        condition.release();
        co_await a;
        EXPECT_EQ(log, (Lines{"a"}));
        EXPECT_FALSE(condition.locked());
    };
    run_virtual(main);
}

TEST(Condition, NotifiedWaitersTakeTheLockOneAfterAnother) {  // X-06, S-39
    auto main = [](bool keep) -> Coroutine<Lines> {
        Condition condition;
        Lines log;
        Iterations iterations;
        auto waiter = [&](std::string name) -> Coroutine<> {
            auto guard = co_await condition.scoped();
            co_await condition.wait();
            log.push_back(name + '@' + std::to_string(iterations.now()));
        };
        std::vector<Task<>> tasks;
        for (const char* name : {"w0", "w1", "w2"}) tasks.push_back(create_task(waiter(name)));
        co_await tick();
        co_await condition.acquire();
        condition.notify_all();
        if (keep) co_await tick();
        iterations.start();
        condition.release();
        for (auto& t : tasks) co_await t;
        co_return log;
    };
    EXPECT_EQ(run_virtual(main(true)), (Lines{"w0@1", "w1@2", "w2@3"}));
    EXPECT_EQ(run_virtual(main(false)), (Lines{"w0@1", "w1@1", "w2@1"}));
}

TEST(Condition, NotifyWakesSoManyThatWereNotWokenYet) {  // L-09
    auto main = []() -> Coroutine<> {
        Condition condition;
        Lines log;
        std::vector<Task<>> tasks;
        for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
            tasks.push_back(create_task(note_notify(condition, log, name)));
        }
        co_await tick();
        auto notify = [&](std::ptrdiff_t n) -> Coroutine<> {
            auto guard = co_await condition.scoped();
            condition.notify(n);
            guard.release();
            for (int i = 0; i < 5; ++i) co_await tick();
        };
        co_await notify(0);
        co_await notify(-1);
        EXPECT_EQ(log, Lines{});
        co_await notify(1);
        EXPECT_EQ(log, (Lines{"a"}));
        {
            auto guard = co_await condition.scoped();
            condition.notify();
            condition.notify(2);
        }
        for (int i = 0; i < 5; ++i) co_await tick();
        EXPECT_EQ(log, (Lines{"a", "b", "c", "d"}));
        co_await notify(2048);
        EXPECT_EQ(log, (Lines{"a", "b", "c", "d", "e", "f"}));
    };
    run_virtual(main);
}

TEST(Condition, NeedsTheLock) {  // L-07, L-09
    auto main = []() -> Coroutine<> {
        Condition condition;
        auto r = co_await as_result(condition.wait());
        EXPECT_EQ(text_of(r), "RuntimeError('cannot wait on un-acquired lock')");
        EXPECT_EQ(raised([&] { condition.notify(); }),
                  "RuntimeError('cannot notify on un-acquired lock')");
        EXPECT_EQ(raised([&] { condition.notify_all(); }),
                  "RuntimeError('cannot notify on un-acquired lock')");
        EXPECT_EQ(raised([&] { condition.release(); }), "RuntimeError('Lock is not acquired.')");
    };
    run_virtual(main);
}

TEST(Condition, CancelledWaiterHasTheLockAgainBeforeItHearsOfIt) {  // S-55, B-46
    auto main = []() -> Coroutine<> {
        Condition condition;
        Lines log;
        auto waiter = [&]() -> Coroutine<> {
            auto guard = co_await condition.scoped();
            auto r = co_await as_result(condition.wait());
            log.push_back(text_of(r) + (condition.locked() ? " locked" : " unlocked"));
            if (!r.has_value()) std::rethrow_exception(r.error());
        };
        auto a = create_task(waiter);
        co_await tick();
        co_await condition.acquire();
        a.cancel("one");
        co_await tick();
        EXPECT_EQ(state_of(condition), "[locked]");
        a.cancel("two");
        co_await tick();
        a.cancel("three");
        co_await tick();
        EXPECT_FALSE(a.done());
        condition.release();
        auto r = co_await as_result(a);
        EXPECT_EQ(text_of(r), "CancelledError('three')");
        EXPECT_EQ(log, (Lines{"CancelledError('three') locked"}));
        EXPECT_EQ(a.cancelling(), 3U);
        EXPECT_FALSE(condition.locked());
    };
    run_virtual(main);
}

TEST(Condition, NotifyThatReachedACancelledWaiterGoesToAnother) {  // L-07, S-54
    auto main = []() -> Coroutine<> {
        Condition condition;
        Lines log;
        auto a = create_task(note_notify(condition, log, "a"));
        auto b = create_task(note_notify(condition, log, "b"));
        co_await tick();
        {
            auto guard = co_await condition.scoped();
            condition.notify();
            a.cancel();
        }
        EXPECT_EQ(state_of(condition), "[unlocked, waiters:2]");
        co_await tick();
        EXPECT_EQ(state_of(condition), "[unlocked, waiters:1]");
        co_await tick();
        EXPECT_EQ(log, (Lines{"b"}));
        EXPECT_TRUE(a.cancelled());
        EXPECT_EQ(state_of(condition), "[unlocked]");
    };
    run_virtual(main);
}

TEST(Condition, WaiterCancelledWhileItTakesTheLockAgainPassesTheNotifyOn) {  // S-54
    auto main = []() -> Coroutine<> {
        Condition condition;
        Lines log;
        auto a = create_task(note_notify(condition, log, "a"));
        auto b = create_task(note_notify(condition, log, "b"));
        co_await tick();
        co_await condition.acquire();
        condition.notify();
        co_await tick();
        a.cancel();
        co_await tick();
        EXPECT_EQ(state_of(condition), "[locked, waiters:1]");
        condition.release();
        co_await tick();
        EXPECT_EQ(state_of(condition), "[unlocked, waiters:1]");
        co_await tick();
        EXPECT_EQ(log, (Lines{"b"}));
        EXPECT_TRUE(a.cancelled());
    };
    run_virtual(main);
}

TEST(Condition, CancelThatRacesWithTheReleaseStillLeavesItLocked) {  // B-46
    auto main = []() -> Coroutine<> {
        Condition condition;
        co_await condition.acquire();
        auto waiting = create_task(condition.wait());
        co_await tick();
        EXPECT_EQ(state_of(condition), "[unlocked, waiters:1]");
        co_await condition.acquire();
        condition.notify();
        get_running_loop().call_soon([&] { waiting.cancel(); });
        get_running_loop().call_soon([&] { condition.release(); });
        co_await end_of(waiting);
        EXPECT_TRUE(waiting.cancelled());
        EXPECT_EQ(state_of(condition), "[locked]");
    };
    run_virtual(main);
}

TEST(Condition, CancelThatIsDueIsDeliveredInWait) {  // S-45
    auto main = []() -> Coroutine<> {
        Condition condition;
        co_await condition.acquire();
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel("me");
            co_await condition.wait();
        };
        auto r = co_await as_result(create_task(itself));
        EXPECT_EQ(text_of(r), "CancelledError('me')");
        EXPECT_EQ(state_of(condition), "[locked]");
    };
    run_virtual(main);
}

TEST(Condition, WaitForLooksAfterEachWakeUpAndGivesTheAnswer) {  // L-08
    auto main = []() -> Coroutine<> {
        Condition condition;
        int value = 0;
        int looked = 0;
        auto waiter = [&]() -> Coroutine<std::string> {
            auto guard = co_await condition.scoped();
            auto predicate = [&]() -> std::unique_ptr<int> {
                ++looked;
                if (value < 2) return nullptr;
                return std::make_unique<int>(value);
            };
            auto answer = co_await condition.wait_for(predicate);
            co_return "got " + std::to_string(*answer);
        };
        auto a = create_task(waiter);
        for (int i = 0; i < 3; ++i) {
            co_await tick();
            auto guard = co_await condition.scoped();
            value = i;
            condition.notify();
        }
        EXPECT_EQ(co_await a, "got 2");
        EXPECT_EQ(looked, 4);
    };
    run_virtual(main);
}

TEST(Condition, WaitForWhatIsTrueNeedsNoLock) {  // L-08
    auto main = []() -> Coroutine<> {
        Condition condition;
        EXPECT_EQ(co_await condition.wait_for([] { return 5; }), 5);
        auto never = [] { return false; };
        auto r = co_await as_result(condition.wait_for(never));
        EXPECT_EQ(text_of(r), "RuntimeError('cannot wait on un-acquired lock')");
        auto fails = []() -> bool { throw ValueError("asked"); };
        auto f = co_await as_result(condition.wait_for(fails));
        EXPECT_EQ(text_of(f), "ValueError('asked')");
    };
    run_virtual(main);
}

TEST(Condition, SeveralMayShareALock) {  // L-06
    auto main = []() -> Coroutine<> {
        Lock lock;
        Condition filled(lock);
        Condition emptied(lock);
        std::vector<int> items;
        Lines log;
        auto consumer = [&]() -> Coroutine<> {
            for (int i = 0; i < 3; ++i) {
                auto guard = co_await filled.scoped();
                co_await filled.wait_for([&] { return !items.empty(); });
                log.push_back(std::to_string(items.back()));
                items.pop_back();
                emptied.notify();
            }
        };
        auto task = create_task(consumer);
        for (int i = 0; i < 3; ++i) {
            auto guard = co_await lock.scoped();
            co_await emptied.wait_for([&] { return items.empty(); });
            EXPECT_TRUE(lock.locked() && filled.locked() && emptied.locked());
            items.push_back(i);
            filled.notify();
        }
        co_await task;
        EXPECT_EQ(log, (Lines{"0", "1", "2"}));
        EXPECT_FALSE(lock.locked());
    };
    run_virtual(main);
}

TEST(Condition, WorksWithWith) {  // AG-05
    auto main = []() -> Coroutine<> {
        Condition condition;
        auto body = [&]() -> Coroutine<bool> { co_return condition.locked(); };
        EXPECT_TRUE(co_await with(condition, body));
        EXPECT_FALSE(condition.locked());
    };
    run_virtual(main);
}

TEST(Condition, WaitingInASecondLoopIsAnError) {
    Condition condition;
    auto first = [&]() -> Coroutine<> {
        auto guard = co_await condition.scoped();
        auto r = co_await as_result(wait_for(condition.wait(), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());
    };
    run_virtual(first);
    auto second = [&]() -> Coroutine<> {
        auto guard = co_await condition.scoped();
        auto r = co_await as_result(condition.wait());
        EXPECT_EQ(text_of(r),
                  "RuntimeError('" + condition.repr() + " is bound to a different event loop')");
        EXPECT_TRUE(condition.locked());
    };
    run_virtual(second);
}

TEST(Condition, ThatDiesLeavesItsWaitersToBeCancelled) {
    auto main = []() -> Coroutine<> {
        auto condition = std::make_unique<Condition>();
        auto wait = [&]() -> Coroutine<> {
            Condition& c = *condition;
            co_await c.acquire();
            co_await c.wait();
        };
        auto waiting = create_task(wait);
        co_await tick();
        condition.reset();
        co_await tick();
        EXPECT_FALSE(waiting.done());
        waiting.cancel();
        auto r = co_await as_result(waiting);
        EXPECT_TRUE(r.holds<CancelledError>());

        // Notified, but gone before the waiter runs.
        condition = std::make_unique<Condition>();
        auto woken = create_task(wait);
        co_await tick();
        co_await condition->acquire();
        condition->notify();
        condition.reset();
        auto w = co_await as_result(woken);
        EXPECT_EQ(text_of(w),
                  "RuntimeError('Condition was destroyed before a task that it woke could run')");

        // Gone while the waiter takes the lock again.
        condition = std::make_unique<Condition>();
        auto returning = create_task(wait);
        co_await tick();
        co_await condition->acquire();
        condition->notify();
        co_await tick();
        condition.reset();
        co_await tick();
        EXPECT_FALSE(returning.done());
        returning.cancel();
        auto b = co_await as_result(returning);
        EXPECT_TRUE(b.holds<CancelledError>());
    };
    run_virtual(main);
}

TEST(Condition, ReprIsPythons) {
    Condition condition;
    EXPECT_EQ(condition.repr().find("<asyncio.locks.Condition object at 0x"), 0U);
    EXPECT_EQ(state_of(condition), "[unlocked]");
}

// ---- Semaphore ------------------------------------------------------------------------------

Coroutine<> take_unit(Semaphore& semaphore, Lines& log, std::string name) {
    EXPECT_TRUE(co_await semaphore.acquire());
    log.push_back(name);
}

// Takes a unit, holds it for some iterations, and gives it back.
Coroutine<> use_unit(Semaphore& semaphore, Lines& log, std::string name, int hold) {
    auto unit = co_await semaphore.scoped();
    log.push_back(name);
    for (int i = 0; i < hold; ++i) co_await tick();
}

TEST(Semaphore, CountsUnits) {  // L-10, L-11
    auto main = []() -> Coroutine<> {
        Semaphore semaphore{3};
        Iterations iterations;
        co_await tick();
        iterations.start();
        EXPECT_FALSE(semaphore.locked());
        EXPECT_TRUE(co_await semaphore.acquire());
        co_await semaphore.acquire();
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:1]");
        co_await semaphore.acquire();
        EXPECT_TRUE(semaphore.locked());
        EXPECT_EQ(state_of(semaphore), "[locked]");
        EXPECT_EQ(iterations.now(), 0);
        for (int i = 0; i < 5; ++i) semaphore.release();  // L-13: more than at the start
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:5]");
    };
    run_virtual(main);
}

TEST(Semaphore, StartsWithOneUnitAndNeverWithLessThanNone) {  // L-10
    EXPECT_EQ(state_of(Semaphore()), "[unlocked, value:1]");
    EXPECT_EQ(state_of(Semaphore(0)), "[locked]");
    EXPECT_EQ(state_of(Semaphore(std::size_t{2})), "[unlocked, value:2]");
    EXPECT_EQ(raised([] { Semaphore bad(-1); }),
              "ValueError('Semaphore initial value must be >= 0')");
    EXPECT_EQ(raised([] { BoundedSemaphore bad(-1); }),
              "ValueError('Semaphore initial value must be >= 0')");
}

TEST(Semaphore, HandsAUnitOverWhenItIsReleased) {  // L-12, S-38
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(1);
        Lines log;
        Iterations iterations;
        co_await semaphore.acquire();
        auto a = create_task(take_unit(semaphore, log, "a"));
        co_await tick();
        iterations.start();
        semaphore.release();
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        co_await a;
        EXPECT_EQ(iterations.now(), 2);  // a +1, this +2
        EXPECT_EQ(log, (Lines{"a"}));
        EXPECT_EQ(state_of(semaphore), "[locked]");
    };
    run_virtual(main);
}

TEST(Semaphore, NewcomersQueueBehindWaiters) {  // L-12
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(1);
        Lines log;
        auto a = create_task(use_unit(semaphore, log, "a", 2));
        auto b = create_task(use_unit(semaphore, log, "b", 1));
        co_await tick();
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        co_await tick();
        co_await tick();
        // b has its unit, and has not run.
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        EXPECT_TRUE(semaphore.locked());
        auto c = create_task(use_unit(semaphore, log, "c", 0));
        co_await use_unit(semaphore, log, "d", 0);
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        co_await c;
        EXPECT_EQ(log, (Lines{"a", "b", "d", "c"}));
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:1]");
    };
    run_virtual(main);
}

TEST(Semaphore, UnitOfAWaiterThatIsCancelledWhenWokenGoesToTheNext) {  // S-54
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(0);
        Lines log;
        auto a = create_task(take_unit(semaphore, log, "a"));
        auto b = create_task(take_unit(semaphore, log, "b"));
        auto c = create_task(take_unit(semaphore, log, "c"));
        co_await tick();
        semaphore.release();
        a.cancel();
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:3]");
        co_await tick();
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:2]");
        EXPECT_EQ(log, Lines{});
        co_await tick();
        EXPECT_EQ(log, (Lines{"b"}));
        EXPECT_TRUE(a.cancelled());
        semaphore.release();
        semaphore.release();
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        co_await tick();
        EXPECT_EQ(log, (Lines{"b", "c"}));
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:1]");
    };
    run_virtual(main);
}

TEST(Semaphore, SeveralReleasedUnitsWakeSeveralWaitersInOrder) {  // B-47
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(0);
        Lines log;
        std::vector<Task<>> tasks;
        for (const char* name : {"a", "b", "c", "d"}) {
            tasks.push_back(create_task(take_unit(semaphore, log, name)));
        }
        co_await tick();
        for (int i = 0; i < 3; ++i) semaphore.release();
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:4]");
        tasks[1].cancel();
        co_await tick();
        EXPECT_EQ(log, (Lines{"a", "c"}));
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        co_await tick();
        EXPECT_EQ(log, (Lines{"a", "c", "d"}));
        semaphore.release();
        semaphore.release();
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:2]");
    };
    run_virtual(main);
}

TEST(Semaphore, IsLockedWhileTasksWaitThoughAUnitIsLeft) {  // L-11, B-47
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(0);
        Lines log;
        auto a = create_task(take_unit(semaphore, log, "a"));
        auto b = create_task(take_unit(semaphore, log, "b"));
        co_await tick();
        a.cancel();
        semaphore.release();
        semaphore.release();  // one for b, one is left
        EXPECT_TRUE(semaphore.locked());
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:2]");
        auto newcomer = create_task(take_unit(semaphore, log, "new"));
        co_await tick();
        EXPECT_EQ(log, (Lines{"b", "new"}));
        EXPECT_EQ(state_of(semaphore), "[locked]");
    };
    run_virtual(main);
}

TEST(Semaphore, IsFreeWhenOnlyCancelledTasksWait) {  // L-11
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(0);
        Lines log;
        auto a = create_task(take_unit(semaphore, log, "a"));
        co_await tick();
        a.cancel();
        semaphore.release();
        EXPECT_FALSE(semaphore.locked());
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:1, waiters:1]");
        co_await take_unit(semaphore, log, "me");
        EXPECT_EQ(state_of(semaphore), "[locked, waiters:1]");
        co_await tick();
        EXPECT_EQ(state_of(semaphore), "[locked]");
        EXPECT_EQ(log, (Lines{"me"}));
    };
    run_virtual(main);
}

TEST(Semaphore, CancelledWaiterTakesNothing) {  // L-12, S-45
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(0);
        auto waiting = create_task(semaphore.acquire());
        co_await tick();
        waiting.cancel("no");
        auto r = co_await as_result(waiting);
        EXPECT_EQ(text_of(r), "CancelledError('no')");
        EXPECT_EQ(state_of(semaphore), "[locked]");
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel("me");
            co_await semaphore.acquire();
        };
        auto i = co_await as_result(create_task(itself));
        EXPECT_EQ(text_of(i), "CancelledError('me')");
        semaphore.release();
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:1]");
        auto late = co_await as_result(wait_for(semaphore.acquire(), 1s));
        EXPECT_TRUE(late.has_value());
        auto timed = co_await as_result(wait_for(semaphore.acquire(), 1s));
        EXPECT_TRUE(timed.holds<TimeoutError>());
        EXPECT_EQ(state_of(semaphore), "[locked]");
    };
    run_virtual(main);
}

TEST(Semaphore, GuardsLimitHowManyRunAtOnce) {
    auto main = []() -> Coroutine<> {
        Semaphore semaphore(3);
        int inside = 0;
        int most = 0;
        auto worker = [&]() -> Coroutine<> {
            auto unit = co_await semaphore.scoped();
            most = std::max(most, ++inside);
            co_await sleep(1s);
            --inside;
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < 10; ++i) tasks.push_back(create_task(worker));
        const TimePoint start = get_running_loop().time();
        for (auto& t : tasks) co_await t;
        EXPECT_EQ(most, 3);
        EXPECT_EQ(get_running_loop().time() - start, 4s);
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:3]");
    };
    run_virtual(main);
}

TEST(Semaphore, WorksWithWith) {  // AG-05
    auto main = []() -> Coroutine<> {
        Semaphore semaphore;
        BoundedSemaphore bounded;
        auto body = [&]() -> Coroutine<> {
            EXPECT_TRUE(semaphore.locked() || bounded.locked());
            co_return;
        };
        co_await with(semaphore, body);
        co_await with(bounded, body);
        EXPECT_EQ(state_of(semaphore), "[unlocked, value:1]");
        EXPECT_EQ(state_of(bounded), "[unlocked, value:1]");
    };
    run_virtual(main);
}

TEST(Semaphore, WaitingInASecondLoopIsAnError) {
    Semaphore semaphore(0);
    auto first = [&]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(semaphore.acquire(), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());
    };
    run_virtual(first);
    auto second = [&]() -> Coroutine<> {
        auto r = co_await as_result(semaphore.acquire());
        EXPECT_EQ(text_of(r),
                  "RuntimeError('" + semaphore.repr() + " is bound to a different event loop')");
        semaphore.release();
        EXPECT_TRUE(co_await semaphore.acquire());
    };
    run_virtual(second);
}

TEST(Semaphore, ThatDiesLeavesItsWaitersToBeCancelled) {
    auto main = []() -> Coroutine<> {
        auto semaphore = std::make_unique<Semaphore>(0);
        auto waiting = create_task(semaphore->acquire());
        auto woken = create_task(semaphore->acquire());
        co_await tick();
        waiting.cancel();
        semaphore->release();
        semaphore.reset();
        auto r = co_await as_result(waiting);
        EXPECT_TRUE(r.holds<CancelledError>());
        auto w = co_await as_result(woken);
        EXPECT_EQ(text_of(w),
                  "RuntimeError('Semaphore was destroyed before a task that it woke could run')");
    };
    run_virtual(main);
}

TEST(Semaphore, ReprIsPythons) {
    Semaphore semaphore;
    EXPECT_EQ(semaphore.repr().find("<asyncio.locks.Semaphore object at 0x"), 0U);
    BoundedSemaphore bounded{2};
    EXPECT_EQ(bounded.repr().find("<asyncio.locks.BoundedSemaphore object at 0x"), 0U);
    EXPECT_EQ(state_of(bounded), "[unlocked, value:2]");
}

TEST(BoundedSemaphore, IsNotReleasedAboveItsStart) {  // L-14
    auto main = []() -> Coroutine<> {
        BoundedSemaphore bounded(2);
        const std::string too_often = "ValueError('BoundedSemaphore released too many times')";
        EXPECT_EQ(raised([&] { bounded.release(); }), too_often);
        co_await bounded.acquire();
        bounded.release();
        EXPECT_EQ(raised([&] { bounded.release(); }), too_often);
        Semaphore& base = bounded;
        EXPECT_EQ(raised([&] { base.release(); }), too_often);
        EXPECT_EQ(state_of(bounded), "[unlocked, value:2]");

        const LogSink sink;
        {
            auto unit = co_await bounded.scoped();
            bounded.release();
        }
        EXPECT_EQ(logged,
                  "A guard could not give its unit back: BoundedSemaphore released too many "
                  "times\n");
    };
    run_virtual(main);
}

// ---- Barrier --------------------------------------------------------------------------------

Coroutine<> pass(Barrier& barrier, Lines& log, std::string name) {
    auto r = co_await as_result(barrier.wait());
    if (r.has_value()) {
        log.push_back(name + '=' + std::to_string(r.value()));
    } else {
        log.push_back(name + ": " + text_of(r));
    }
}

class Party {
  public:
    explicit Party(int parties) : barrier(parties) {}
    Party(const Party&) = delete;
    Party& operator=(const Party&) = delete;
    ~Party() {
        for (auto& t : tasks) EXPECT_TRUE(t.done());
    }

    // One task for each letter.
    void come(const std::string& names) {
        for (char c : names) tasks.push_back(create_task(pass(barrier, log, std::string(1, c))));
    }
    void note() { log.push_back(state_of(barrier)); }
    Coroutine<> all() {
        for (auto& t : tasks) co_await t;
    }

    Barrier barrier;
    Lines log;
    std::vector<Task<>> tasks;
};

const std::string kBroken = "BrokenBarrierError('Barrier aborted')";
const std::string kThrownOut = "BrokenBarrierError('Abort or reset of barrier')";

TEST(Barrier, LetsItsPartiesThroughTogether) {  // L-16, X-08, S-38
    auto main = []() -> Coroutine<> {
        Barrier barrier{3};
        Lines log;
        Iterations iterations;
        co_await tick();
        auto party = [&](std::string name) -> Coroutine<> {
            const int index = co_await barrier.wait();
            log.push_back(name + '=' + std::to_string(index) + '@' +
                          std::to_string(iterations.now()));
        };
        iterations.start();
        auto a = create_task(party("a"));
        auto b = create_task(party("b"));
        auto c = create_task(party("c"));
        co_await gather(a, b, c);
        EXPECT_EQ(log, (Lines{"c=2@1", "a=0@2", "b=1@2"}));
        EXPECT_EQ(state_of(barrier), "[filling, waiters:0/3]");
    };
    run_virtual(main);
}

TEST(Barrier, OfOneDoesNotSuspend) {  // L-16
    auto main = []() -> Coroutine<> {
        Barrier barrier{1};
        Iterations iterations;
        co_await tick();
        iterations.start();
        EXPECT_EQ(co_await barrier.wait(), 0);
        EXPECT_EQ(co_await barrier.wait(), 0);
        EXPECT_EQ(iterations.now(), 0);
    };
    run_virtual(main);
}

TEST(Barrier, TellsItsState) {  // L-15
    EXPECT_EQ(raised([] { Barrier bad(0); }), "ValueError('parties must be >= 1')");
    EXPECT_EQ(raised([] { Barrier bad(-3); }), "ValueError('parties must be >= 1')");
    auto main = []() -> Coroutine<> {
        Party p(4);
        EXPECT_EQ(p.barrier.parties(), 4);
        EXPECT_EQ(p.barrier.n_waiting(), 0);
        EXPECT_FALSE(p.barrier.broken());
        EXPECT_EQ(p.barrier.repr().find("<asyncio.locks.Barrier object at 0x"), 0U);
        p.come("ab");
        co_await tick();
        EXPECT_EQ(p.barrier.n_waiting(), 2);
        EXPECT_EQ(state_of(p.barrier), "[filling, waiters:2/4]");
        co_await p.barrier.abort();
        EXPECT_TRUE(p.barrier.broken());
        EXPECT_EQ(p.barrier.n_waiting(), 0);
        EXPECT_EQ(state_of(p.barrier), "[broken]");
        co_await p.all();
    };
    run_virtual(main);
}

TEST(Barrier, KeepsGenerationsApart) {  // L-16, B-48
    auto main = []() -> Coroutine<> {
        Barrier barrier{3};
        Lines log;
        auto again = [&](std::string name) -> Coroutine<> {
            for (int k = 0; k < 3; ++k) {
                const int index = co_await barrier.wait();
                log.push_back(name + std::to_string(k) + '=' + std::to_string(index));
            }
        };
        std::vector<Task<>> tasks;
        for (const char* name : {"a", "b", "c", "d"}) tasks.push_back(create_task(again(name)));
        for (int i = 0; i < 12; ++i) co_await tick();
        EXPECT_EQ(log, (Lines{"c0=2", "a0=0", "b0=1", "d0=2", "b1=0", "c1=1", "a1=2", "c2=0",
                              "d1=1", "b2=2", "d2=0", "a2=1"}));
    };
    run_virtual(main);
}

TEST(Barrier, ResetSendsAwayWhoWaits) {  // L-17
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("ab");
        co_await tick();
        p.note();
        co_await p.barrier.reset();
        p.note();
        p.come("cde");
        co_await tick();
        p.note();
        co_await p.all();
        p.note();
        EXPECT_EQ(p.log,
                  (Lines{"[filling, waiters:2/3]", "[resetting, waiters:0/3]", "a: " + kThrownOut,
                         "b: " + kThrownOut, "e=2", "[draining, waiters:0/3]", "c=0", "d=1",
                         "[filling, waiters:0/3]"}));
    };
    run_virtual(main);
}

TEST(Barrier, ResetOfAnEmptyOneChangesNothing) {  // L-17
    auto main = []() -> Coroutine<> {
        Party p(2);
        co_await p.barrier.reset();
        p.note();
        p.come("ab");
        co_await p.all();
        EXPECT_EQ(p.log, (Lines{"[filling, waiters:0/2]", "b=1", "a=0"}));
    };
    run_virtual(main);
}

TEST(Barrier, ResetWhileDrainingSendsAwayWhoHasNotLeft) {  // B-48
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("abcde");
        co_await tick();
        p.note();
        co_await p.barrier.reset();
        p.note();
        co_await tick();
        p.note();
        co_await tick();
        p.note();
        p.come("f");
        for (int i = 0; i < 3; ++i) co_await tick();
        p.note();
        EXPECT_EQ(p.log,
                  (Lines{"c=2", "[draining, waiters:0/3]", "[resetting, waiters:0/3]",
                         "a: " + kThrownOut, "b: " + kThrownOut, "[filling, waiters:2/3]",
                         "[filling, waiters:2/3]", "f=2", "d=0", "e=1", "[filling, waiters:0/3]"}));
    };
    run_virtual(main);
}

TEST(Barrier, AbortWhileDrainingSendsEverybodyAwayUntilReset) {  // L-17, B-48
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("abcde");
        co_await tick();
        p.note();
        co_await p.barrier.abort();
        p.note();
        for (int i = 0; i < 3; ++i) co_await tick();
        p.note();
        p.come("x");
        co_await tick();
        co_await p.barrier.reset();
        p.note();
        p.come("fgh");
        co_await p.all();
        p.note();
        EXPECT_EQ(p.log, (Lines{"c=2", "[draining, waiters:0/3]", "[broken]", "a: " + kThrownOut,
                                "b: " + kThrownOut, "d: " + kBroken, "e: " + kBroken, "[broken]",
                                "x: " + kBroken, "[filling, waiters:0/3]", "h=2", "f=0", "g=1",
                                "[filling, waiters:0/3]"}));
    };
    run_virtual(main);
}

TEST(Barrier, AbortAfterResetAndResetAfterAbort) {  // L-17
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("ab");
        co_await tick();
        co_await p.barrier.reset();
        co_await p.barrier.reset();
        p.note();
        co_await p.barrier.abort();
        p.note();
        co_await p.all();
        p.note();
        co_await p.barrier.reset();
        p.note();
        EXPECT_EQ(p.log, (Lines{"[resetting, waiters:0/3]", "[broken]", "a: " + kThrownOut,
                                "b: " + kThrownOut, "[broken]", "[filling, waiters:0/3]"}));
    };
    run_virtual(main);
}

TEST(Barrier, CancelledWaiterLeavesWithoutBreakingIt) {  // L-16
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("ab");
        co_await tick();
        p.tasks[0].cancel("x");
        p.note();
        co_await tick();
        p.note();
        p.come("cd");
        co_await p.all();
        p.note();
        EXPECT_EQ(p.log,
                  (Lines{"[filling, waiters:2/3]", "a: CancelledError('x')",
                         "[filling, waiters:1/3]", "d=2", "b=0", "c=1", "[filling, waiters:0/3]"}));
    };
    run_virtual(main);
}

TEST(Barrier, CancelInTheTickThatFillsItWins) {  // S-44
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("ab");
        co_await tick();
        auto last = [&]() -> Coroutine<> {
            const int index = co_await p.barrier.wait();
            p.log.push_back("last=" + std::to_string(index));
            p.tasks[1].cancel("late");
        };
        co_await create_task(last);
        co_await p.all();
        p.note();
        EXPECT_EQ(p.log,
                  (Lines{"last=2", "a=0", "b: CancelledError('late')", "[filling, waiters:0/3]"}));
    };
    run_virtual(main);
}

TEST(Barrier, CancelOfOneThatLeavesAndOfOneThatWaitsForThat) {  // B-48, S-45
    auto main = []() -> Coroutine<> {
        Party p(3);
        p.come("abcd");
        co_await tick();
        p.note();
        p.tasks[0].cancel("x");
        p.tasks[3].cancel("y");
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"c=2", "[draining, waiters:0/3]", "a: CancelledError('x')", "b=1",
                                "d: CancelledError('y')", "[filling, waiters:0/3]"}));
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel("me");
            co_await p.barrier.wait();
        };
        auto r = co_await as_result(create_task(itself));
        EXPECT_EQ(text_of(r), "CancelledError('me')");
        EXPECT_EQ(p.barrier.n_waiting(), 0);
    };
    run_virtual(main);
}

TEST(Barrier, HandsTheIndexToTheBodyOfWith) {  // AG-05
    auto main = []() -> Coroutine<> {
        Barrier barrier{2};
        Lines log;
        auto body = [&](int index) -> Coroutine<> {
            log.push_back(std::to_string(index));
            co_return;
        };
        auto a = create_task(with(barrier, body));
        auto b = create_task(with(barrier, body));
        co_await gather(a, b);
        EXPECT_EQ(log, (Lines{"1", "0"}));
    };
    run_virtual(main);
}

TEST(Barrier, ThatDiesLeavesItsWaitersToBeCancelled) {
    auto main = []() -> Coroutine<> {
        auto barrier = std::make_unique<Barrier>(3);
        auto a = create_task(barrier->wait());
        auto b = create_task(barrier->wait());
        co_await tick();
        barrier.reset();
        co_await tick();
        EXPECT_FALSE(a.done() || b.done());
        a.cancel();
        b.cancel();
        co_await end_of(a);
        co_await end_of(b);
        EXPECT_TRUE(a.cancelled() && b.cancelled());

        barrier = std::make_unique<Barrier>(2);
        a = create_task(barrier->wait());
        co_await tick();
        EXPECT_EQ(co_await barrier->wait(), 1);
        barrier.reset();
        EXPECT_EQ(co_await a, 0);
    };
    run_virtual(main);
}

TEST(Barrier, WaitingInASecondLoopIsAnError) {
    Barrier barrier{2};
    auto first = [&]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(barrier.wait(), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());
    };
    run_virtual(first);
    auto second = [&]() -> Coroutine<> {
        auto r = co_await as_result(barrier.wait());
        EXPECT_TRUE(r.holds<RuntimeError>());
        EXPECT_NE(text_of(r).find("is bound to a different event loop"), std::string::npos);
        EXPECT_EQ(barrier.n_waiting(), 0);
    };
    run_virtual(second);
}

TEST(Barrier, GoesWithALoopThatIsClosedWhileTasksWait) {
    Barrier barrier{3};
    const LogSink sink;
    {
        auto loop = VirtualTimeEventLoop::create();
        auto a = loop->create_task(barrier.wait());
        auto b = loop->create_task(barrier.wait());
        loop->run_once(0s);
        EXPECT_EQ(barrier.n_waiting(), 2);
        loop->close();
    }
    EXPECT_EQ(barrier.n_waiting(), 0);
    EXPECT_EQ(logged.find("guard"), std::string::npos);
}

// ---- numbers (L17, L24)
// --------------------------------------------------------------------------

TEST(Numbers, OfALockAreTakenWholeOrRefused) {  // L17, L-10, L-14, L-15
    const auto most = std::numeric_limits<std::ptrdiff_t>::max();
    EXPECT_EQ(raised([] { Barrier(std::int64_t{1} << 32); }),
              "ValueError('parties must be <= 2147483647')");
    EXPECT_EQ(raised([] { Barrier((std::int64_t{1} << 32) + 1); }),
              "ValueError('parties must be <= 2147483647')");
    EXPECT_EQ(raised([] { static_cast<void>(Barrier(std::numeric_limits<std::uint64_t>::max())); }),
              "ValueError('parties must be <= 2147483647')");
    EXPECT_EQ(raised([] { static_cast<void>(Barrier(std::numeric_limits<std::int64_t>::min())); }),
              "ValueError('parties must be >= 1')");
    EXPECT_EQ(Barrier(std::uint64_t{2147483647}).parties(), 2147483647);
    EXPECT_EQ(
        raised([] { static_cast<void>(Semaphore(std::numeric_limits<std::uint64_t>::max())); }),
        "ValueError('Semaphore initial value must be <= 9223372036854775807')");
    EXPECT_EQ(raised([] { BoundedSemaphore(std::uint64_t{1} << 63); }),
              "ValueError('Semaphore initial value must be <= 9223372036854775807')");
    EXPECT_EQ(state_of(Semaphore(std::uint64_t{1} << 40)), "[unlocked, value:1099511627776]");
    EXPECT_EQ(state_of(Semaphore(most)), "[unlocked, value:9223372036854775807]");
}

TEST(Numbers, TheTextOfAReleaseTooManyNamesTheClass) {  // L24
    Semaphore full(std::numeric_limits<std::ptrdiff_t>::max());
    BoundedSemaphore bounded(std::numeric_limits<std::ptrdiff_t>::max());
    EXPECT_EQ(raised([&] { full.release(); }), "ValueError('Semaphore released too many times')");
    EXPECT_EQ(raised([&] { bounded.release(); }),
              "ValueError('BoundedSemaphore released too many times')");
    EXPECT_TRUE(bounded.repr().starts_with("<asyncio.locks.BoundedSemaphore"));
    EXPECT_TRUE(full.repr().starts_with("<asyncio.locks.Semaphore"));
}

TEST(Numbers, OfANotifyAreTakenWhole) {  // L17, L-09
    run_virtual([]() -> Coroutine<> {
        Condition condition;
        int woken = 0;
        const auto waiting = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            co_await condition.wait();
            ++woken;
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(create_task(waiting()));
        co_await sleep(1s);
        const auto notify = [&](auto n) -> Coroutine<int> {
            {
                const auto guard = co_await condition.scoped();
                condition.notify(n);
            }
            co_await sleep(1s);
            co_return std::exchange(woken, 0);
        };
        EXPECT_EQ(co_await notify(-1), 0);
        EXPECT_EQ(co_await notify(std::numeric_limits<std::int64_t>::min()), 0);
        EXPECT_EQ(co_await notify(1u), 1);
        EXPECT_EQ(co_await notify(std::numeric_limits<std::uint64_t>::max()), 2);
    });
}

// ---- indices (L18)
// -------------------------------------------------------------------------------

TEST(Barrier, GivesEachIndexOnceThoughSomeWereCancelled) {  // L18, L-16
    run_virtual([]() -> Coroutine<> {
        Barrier barrier(3);
        Lines log;
        const auto party = [&](const char* name) -> Coroutine<> {
            const int index = co_await barrier.wait();
            log.push_back(name + std::to_string(index));
        };
        for (int turn = 0; turn < 2; ++turn) {
            auto a = create_task(party("a"));
            auto b = create_task(party("b"));
            co_await sleep(1s);
            a.cancel();
            co_await sleep(1s);
            EXPECT_EQ(barrier.n_waiting(), 1);
            co_await gather(b, party("c"), party("d"));
            std::sort(log.begin(), log.end());
            EXPECT_EQ(log, (Lines{"b0", "c1", "d2"}));
            log.clear();
            // All that were inside go, and it fills anew.
            auto e = create_task(party("e"));
            auto f = create_task(party("f"));
            co_await sleep(1s);
            f.cancel();
            e.cancel();
            co_await sleep(1s);
            co_await gather(party("g"), party("h"), party("i"));
            std::sort(log.begin(), log.end());
            EXPECT_EQ(log, (Lines{"g0", "h1", "i2"}));
            log.clear();
        }
    });
}

// ---- what throws passes its wake-up on (L19)
// -----------------------------------------------------

TEST(Condition, APredicateThatThrowsPassesTheNotifyOn) {  // L19, L-08
    run_virtual([]() -> Coroutine<> {
        Condition condition;
        bool open = false;
        int calls = 0;
        const auto bad = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            auto predicate = [&]() -> bool {
                if (++calls > 1) throw ValueError("of the predicate");
                return false;
            };
            co_await condition.wait_for(predicate);
        };
        const auto good = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            auto predicate = [&] { return open; };
            co_await condition.wait_for(predicate);
        };
        const auto first = create_task(bad());
        const auto second = create_task(good());
        co_await sleep(1s);
        {
            const auto guard = co_await condition.scoped();
            open = true;
            condition.notify(1);
        }
        co_await sleep(1s);
        EXPECT_EQ(text_of(co_await as_result(first)), "ValueError('of the predicate')");
        EXPECT_TRUE(second.done());
        if (!second.done()) second.cancel();
    });
}

TEST(Condition, WithoutMemoryToWaitAgainPassesTheNotifyOn) {  // L26, L-08
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    if (!support::kAddressSanitizer) GTEST_SKIP() << "frames come of the pool";
    run_virtual([]() -> Coroutine<> {
        Condition condition;
        bool open = false;
        int calls = 0;
        const auto poor = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            auto predicate = [&] {
                if (++calls > 1) support::blocks_left = 0;
                return false;
            };
            co_await condition.wait_for(predicate);
        };
        const auto good = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            auto predicate = [&] { return open; };
            co_await condition.wait_for(predicate);
        };
        const auto first = create_task(poor());
        const auto second = create_task(good());
        co_await sleep(1s);
        {
            const auto guard = co_await condition.scoped();
            open = true;
            condition.notify(1);
        }
        co_await sleep(1s);
        support::blocks_left = -1;
        EXPECT_EQ(text_of(co_await as_result(first)), "bad_alloc()");
        EXPECT_TRUE(second.done());
        if (!second.done()) second.cancel();
    });
}

// ---- many in one step (L27)
// ----------------------------------------------------------------------

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(Locks, ManyWakeUpsInOneStepCostNoSquare) {  // L27
    static constexpr int kTasks = 100'000;
    run_virtual([]() -> Coroutine<> {
        Semaphore semaphore(0);
        Condition condition;
        int woken = 0;
        const auto acquire = [&]() -> Coroutine<> {
            co_await semaphore.acquire();
            ++woken;
        };
        const auto wait = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            co_await condition.wait();
            ++woken;
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < kTasks; ++i) {
            tasks.push_back(create_task(acquire()));
            tasks.push_back(create_task(wait()));
        }
        co_await sleep(1s);
        const double begin = cpu_seconds();
        for (int i = 0; i < kTasks; ++i) semaphore.release();
        {
            const auto guard = co_await condition.scoped();
            for (int i = 0; i < kTasks; ++i) condition.notify(1);
        }
        for (const auto& t : tasks) co_await t;
        EXPECT_LT(cpu_seconds() - begin, 8);
        EXPECT_EQ(woken, 2 * kTasks);
    });
}

TEST(Locks, ManyCancelledWaitersCostNoSquare) {  // L27
    static constexpr int kTasks = 100'000;
    run_virtual([]() -> Coroutine<> {
        Semaphore semaphore(0);
        Lock lock;
        Event event;
        co_await lock.acquire();
        std::vector<Task<>> tasks;
        const auto on_semaphore = [&]() -> Coroutine<> { co_await semaphore.acquire(); };
        const auto on_lock = [&]() -> Coroutine<> { co_await lock.acquire(); };
        const auto on_event = [&]() -> Coroutine<> { co_await event.wait(); };
        for (int i = 0; i < kTasks; ++i) {
            tasks.push_back(create_task(on_semaphore()));
            tasks.push_back(create_task(on_lock()));
            tasks.push_back(create_task(on_event()));
        }
        co_await sleep(1s);
        for (const auto& t : tasks) t.cancel();
        // They are still in line.
        const double begin = cpu_seconds();
        int free = 0;
        for (int i = 0; i < kTasks; ++i) {
            if (semaphore.locked()) ++free;
            semaphore.release();
            co_await semaphore.acquire();
            lock.release();
            co_await lock.acquire();
            event.set();
            event.clear();
        }
        EXPECT_EQ(free, kTasks);
        EXPECT_LT(cpu_seconds() - begin, 5);
        for (const auto& t : tasks) EXPECT_FALSE((co_await as_result(t)).has_value());
    });
}

}  // namespace

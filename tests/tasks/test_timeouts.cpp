// timeouts.hpp: T-20, T-22 to T-24, S-30, S-35, S-39a, S-70 to S-75, S-87, B-21 to B-24, B-26 to
// B-31, X-10, X-12. Outcomes were compared with CPython 3.13's.
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <asyncio/runners.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/with.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
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

Duration now() { return get_running_loop().time().time_since_epoch(); }

template <class T>
std::string text_of(const Result<T>& r) {
    return r.has_value() ? "ok" : detail::describe(r.error());
}

// "TimeoutError() from CancelledError()".
std::string chain_of(std::exception_ptr error) {
    std::string text = detail::describe(error);
    while ((error = cause_of(error))) text += " from " + detail::describe(error);
    return text;
}
template <class T>
std::string chain_of(const Result<T>& r) {
    return r.has_value() ? "ok" : chain_of(r.error());
}

// Counts the loop's iterations. While it runs, virtual time stands still.
class Ticker {
  public:
    Ticker() { tick(); }
    Ticker(const Ticker&) = delete;
    Ticker& operator=(const Ticker&) = delete;
    ~Ticker() { handle_.cancel(); }
    int count() const { return count_; }

  private:
    void tick() {
        handle_ = get_running_loop().call_soon([this] {
            ++count_;
            tick();
        });
    }
    Handle handle_;
    int count_ = 0;
};

std::uint32_t cancelling() { return current_task().cancelling(); }

// ---- timeout ------------------------------------------------------------------------------------

TEST(Timeout, NotReached) {  // S-74
    run_virtual([]() -> Coroutine<> {
        std::optional<bool> expired;
        const int n = co_await with(timeout(2s), [&](Timeout& cm) -> Coroutine<int> {
            co_await sleep(1s);
            expired = cm.expired();
            co_return 5;
        });
        EXPECT_EQ(n, 5);
        EXPECT_EQ(expired, false);
        EXPECT_EQ(now(), 1s);
        // Its timer went with it: nothing interrupts what follows.
        co_await sleep(5s);
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(Timeout, InterruptsAndRaisesTimeoutErrorFromTheCancel) {  // S-71, S-72, XC-10
    run_virtual([]() -> Coroutine<> {
        std::string inside;
        Timeout cm = timeout(1s);
        auto r = co_await as_result(with(cm, [&](Timeout& t) -> Coroutine<> {
            EXPECT_EQ(&t, &cm);
            try {
                co_await sleep(10s);
            } catch (const CancelledError& e) {
                inside = std::string("cancelled ") + e.what();
                EXPECT_TRUE(t.expired());
                EXPECT_EQ(repr(t), "<Timeout [expiring]>");
                EXPECT_EQ(cancelling(), 1u);
                throw;
            }
        }));
        EXPECT_EQ(inside, "cancelled ");
        EXPECT_EQ(chain_of(r), "TimeoutError() from CancelledError()");
        EXPECT_EQ(now(), 1s);
        EXPECT_TRUE(cm.expired());
        EXPECT_EQ(cancelling(), 0u);  // B-28
    });
}

TEST(Timeout, IsCaughtAsTimeoutErrorAndNotAsCancelledError) {
    run_virtual([]() -> Coroutine<> {
        std::string caught;
        try {
            co_await with(timeout(1s), []() -> Coroutine<> { co_await sleep(10s); });
        } catch (const TimeoutError& e) {
            caught = e.what();
            try {
                std::rethrow_if_nested(e);
            } catch (const CancelledError&) {
                caught += " nested";
            }
        }
        EXPECT_EQ(caught, "TimeoutError nested");
    });
}

TEST(Timeout, CountsFromTheCall) {  // T-22
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(2s);
        EXPECT_EQ(cm.when(), get_running_loop().time() + 2s);
        co_await sleep(1s);
        auto r = co_await as_result(with(cm, []() -> Coroutine<> { co_await sleep(10s); }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 2s);
    });
}

TEST(Timeout, OverdueBeforeItIsEnteredFiresInTheNextIteration) {  // S-70
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(1s);
        co_await sleep(5s);
        const Ticker ticker;
        auto r = co_await as_result(with(cm, []() -> Coroutine<> { co_await sleep(10s); }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(ticker.count(), 2);
    });
}

TEST(Timeout, NoDeadline) {
    run_virtual([]() -> Coroutine<> {
        co_await with(timeout(std::nullopt), [](Timeout& cm) -> Coroutine<> {
            EXPECT_EQ(cm.when(), std::nullopt);
            EXPECT_EQ(repr(cm), "<Timeout [active] when=None>");
            co_await sleep(1000h);
        });
        co_await with(timeout_at(std::nullopt), []() -> Coroutine<> { co_await sleep(1000h); });
        co_await with(timeout(std::chrono::duration<double>(1e300)),
                      []() -> Coroutine<> { co_await sleep(1000h); });
    });
}

TEST(Timeout, ZeroInterruptsTheFirstWait) {  // S-39a, X-10
    run_virtual([]() -> Coroutine<> {
        const Ticker ticker;
        auto r =
            co_await as_result(with(timeout(0s), []() -> Coroutine<> { co_await sleep(10s); }));
        EXPECT_EQ(chain_of(r), "TimeoutError() from CancelledError()");
        EXPECT_EQ(ticker.count(), 2);
        EXPECT_EQ(cancelling(), 0u);
        r = co_await as_result(with(timeout(-5s), []() -> Coroutine<> { co_await sleep(10s); }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(ticker.count(), 4);
        EXPECT_EQ(now(), 0s);
    });
}

TEST(Timeout, APastDeadlineTakesItsTurnAmongTheCallbacks) {  // S-70: call_soon, not a timer (S-06)
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        const auto me = current_task();
        std::vector<std::uint32_t> seen;
        const auto look = [&] { seen.push_back(me.cancelling()); };
        loop.call_soon(look);
        (void)co_await as_result(with(timeout(0s), [&]() -> Coroutine<> {
            loop.call_soon(look);
            co_await sleep(10s);
        }));
        EXPECT_EQ(seen, (std::vector<std::uint32_t>{0, 1}));
        seen.clear();
        (void)co_await as_result(with(timeout(9s), [&](Timeout& cm) -> Coroutine<> {
            loop.call_soon(look);
            cm.reschedule(loop.time());
            loop.call_soon(look);
            co_await sleep(10s);
        }));
        EXPECT_EQ(seen, (std::vector<std::uint32_t>{0, 1}));
    });
}

TEST(Timeout, ABodyThatNeverWaitsIsNeverInterrupted) {  // S-74, B-29
    run_virtual([]() -> Coroutine<> {
        for (const Delay d : {Delay(0s), Delay(-1s)}) {
            Timeout cm = timeout(d);
            EXPECT_EQ(co_await with(cm, []() -> Coroutine<int> { co_return 3; }), 3);
            EXPECT_FALSE(cm.expired());
            EXPECT_EQ(repr(cm), "<Timeout [finished]>");
        }
        // The timer that had fired nothing is gone.
        co_await sleep(0s);
        co_await sleep(1s);
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(Timeout, AtAPointInTime) {  // T-23
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        co_await sleep(1s);
        Timeout cm = timeout_at(loop.time() + 0.5s);
        EXPECT_EQ(repr(cm), "<Timeout [created]>");
        auto r = co_await as_result(with(cm, [](Timeout& t) -> Coroutine<> {
            EXPECT_EQ(repr(t), "<Timeout [active] when=1.5>");
            co_await sleep(10s);
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(repr(cm), "<Timeout [expired]>");
        EXPECT_EQ(now(), 1500ms);
        r = co_await as_result(
            with(timeout_at(loop.time() - 1s), []() -> Coroutine<> { co_await sleep(10s); }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 1500ms);
    });
}

TEST(Timeout, FiresForAWaitThatCompletesInTheSameIteration) {  // S-71, X-10, S-44
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        Future<int> f;
        loop.call_at(loop.time() + 1s, [f] { f.set_result(1); });  // an earlier timer
        auto r = co_await as_result(
            with(timeout(1s), [&]() -> Coroutine<int> { co_return co_await f; }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(f.result(), 1);
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(Timeout, CompletedInTheIterationBeforeIsNotInterrupted) {
    run_virtual([]() -> Coroutine<> {
        Future<int> f;
        // Both are due at 1 s; the sleeper's step, which sets f, runs one iteration after its
        // timer.
        auto r = co_await as_result(with(timeout(2s), [&]() -> Coroutine<int> {
            create_task([&]() -> Coroutine<> {
                co_await sleep(1s);
                f.set_result(1);
            });
            co_return co_await f;
        }));
        EXPECT_EQ(text_of(r), "ok");
    });
}

TEST(Timeout, SwallowedByTheBody) {  // S-73
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(1s);
        const int n = co_await with(cm, []() -> Coroutine<int> {
            (void)co_await as_result(sleep(10s));
            co_return 4;
        });
        EXPECT_EQ(n, 4);
        EXPECT_TRUE(cm.expired());
        EXPECT_EQ(cancelling(), 0u);
        EXPECT_EQ(now(), 1s);
    });
}

TEST(Timeout, AnotherExceptionStays) {  // S-72
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(1s);
        auto r = co_await as_result(with(cm, []() -> Coroutine<> {
            auto cancelled = co_await as_result(sleep(10s));
            if (!cancelled) throw ValueError("other");
        }));
        EXPECT_EQ(chain_of(r), "ValueError('other')");
        EXPECT_TRUE(cm.expired());
        EXPECT_EQ(cancelling(), 0u);
        // One that comes before the deadline too.
        r = co_await as_result(with(timeout(5s), []() -> Coroutine<> {
            co_await sleep(1s);
            throw ValueError("early");
        }));
        EXPECT_EQ(chain_of(r), "ValueError('early')");
    });
}

TEST(Timeout, ACancelAmongTheCausesBecomesATimeout) {  // S-72, B-30, XC-10
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(with(timeout(1s), []() -> Coroutine<> {
            auto cancelled = co_await as_result(sleep(10s));
            std::exception_ptr inner = with_cause(KeyError("k"), cancelled.error());
            std::rethrow_exception(with_cause(ValueError("v"), inner));
        }));
        EXPECT_EQ(chain_of(r),
                  "ValueError('v') from KeyError('k') from TimeoutError() from CancelledError()");
        // Standard C++ nests in the same way.
        r = co_await as_result(with(timeout(1s), []() -> Coroutine<> {
            try {
                co_await sleep(10s);
            } catch (const CancelledError&) {
                std::throw_with_nested(std::runtime_error("std"));
            }
        }));
        EXPECT_EQ(chain_of(cause_of(r.error())), "TimeoutError() from CancelledError()");
        // Members of a group are looked at too.
        r = co_await as_result(with(timeout(1s), []() -> Coroutine<> {
            auto cancelled = co_await as_result(sleep(10s));
            std::rethrow_exception(
                ExceptionGroup::make("g", {with_cause(ValueError("m"), cancelled.error())}));
        }));
        const auto* group = detail::find<ExceptionGroup>(r.error());
        EXPECT_NE(group, nullptr);
        if (!group) co_return;
        EXPECT_EQ(chain_of(group->exceptions().at(0)),
                  "ValueError('m') from TimeoutError() from CancelledError()");
    });
}

TEST(Timeout, BeforeItExpiresCausesAreLeftAlone) {
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(with(timeout(1s), []() -> Coroutine<> {
            std::rethrow_exception(
                with_cause(ValueError("v"), std::make_exception_ptr(CancelledError("mine"))));
            co_return;
        }));
        EXPECT_EQ(chain_of(r), "ValueError('v') from CancelledError('mine')");
    });
}

// ---- nested -------------------------------------------------------------------------------------

TEST(TimeoutNested, TheInnerFirst) {
    run_virtual([]() -> Coroutine<> {
        Timeout outer = timeout(5s);
        Timeout inner = timeout(1s);
        auto r = co_await as_result(with(outer, [&]() -> Coroutine<> {
            co_await with(inner, []() -> Coroutine<> { co_await sleep(10s); });
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_FALSE(outer.expired());
        EXPECT_TRUE(inner.expired());
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(TimeoutNested, TheOuterFirst) {
    run_virtual([]() -> Coroutine<> {
        Timeout outer = timeout(1s);
        Timeout inner = timeout(5s);
        std::string inside;
        auto r = co_await as_result(with(outer, [&]() -> Coroutine<> {
            auto got =
                co_await as_result(with(inner, []() -> Coroutine<> { co_await sleep(10s); }));
            inside = text_of(got);
            got.value();
        }));
        EXPECT_EQ(inside, "CancelledError()");
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_TRUE(outer.expired());
        EXPECT_FALSE(inner.expired());
    });
}

TEST(TimeoutNested, BothAtOnceGiveOneTimeoutErrorFromTheOuter) {  // S-75, B-26
    for (const bool inner_first : {true, false}) {
        run_virtual([&]() -> Coroutine<> {
            const TimePoint at = get_running_loop().time() + 1s;
            Timeout outer = timeout_at(at);
            Timeout inner = timeout_at(at);
            std::string inside;
            auto r = co_await as_result(with(outer, [&]() -> Coroutine<> {
                auto got = co_await as_result(with(inner, [&]() -> Coroutine<> {
                    if (inner_first) outer.reschedule(at);  // its timer is the later one now
                    co_await sleep(10s);
                }));
                inside = text_of(got);
                got.value();
            }));
            EXPECT_EQ(inside, "CancelledError()");
            EXPECT_EQ(text_of(r), "TimeoutError()");
            EXPECT_TRUE(outer.expired());
            EXPECT_TRUE(inner.expired());
            EXPECT_EQ(cancelling(), 0u);
        });
    }
}

TEST(TimeoutNested, ACaughtInnerOneDoesNotPreventTheOuter) {  // S-75
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(with(timeout(2s), []() -> Coroutine<> {
            auto inner =
                co_await as_result(with(timeout(1s), []() -> Coroutine<> { co_await sleep(10s); }));
            EXPECT_EQ(text_of(inner), "TimeoutError()");
            co_await sleep(10s);
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 2s);
    });
}

// ---- cancelled ----------------------------------------------------------------------------------

TEST(TimeoutCancelled, FromOutsideStaysACancel) {  // S-72
    run_virtual([]() -> Coroutine<> {
        auto t = create_task(with(timeout(5s), []() -> Coroutine<> { co_await sleep(10s); }));
        co_await sleep(1s);
        t.cancel("c");
        EXPECT_EQ(chain_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_EQ(t.cancelling(), 1u);
    });
}

TEST(TimeoutCancelled, BeforeItBegan) {  // S-43
    run_virtual([]() -> Coroutine<> {
        auto t = create_task(with(timeout(5s), []() -> Coroutine<> { co_return; }));
        t.cancel();
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError()");
    });
}

TEST(TimeoutCancelled, InTheIterationInWhichItFires) {  // X-12, B-27
    for (const bool cancel_first : {true, false}) {
        run_virtual([&]() -> Coroutine<> {
            auto& loop = get_running_loop();
            std::optional<bool> expired;
            Task<> t;
            const auto cancel = [&] { t.cancel("c"); };
            if (cancel_first) loop.call_at(loop.time() + 1s, cancel);
            t = create_task([&]() -> Coroutine<> {
                Timeout cm = timeout_at(get_running_loop().time() + 1s);
                auto r = co_await as_result(with(cm, []() -> Coroutine<> { co_await sleep(10s); }));
                expired = cm.expired();
                r.value();
            });
            co_await sleep(0s);
            if (!cancel_first) loop.call_at(loop.time() + 1s, cancel);
            auto r = co_await as_result(t);
            EXPECT_TRUE(r.holds<CancelledError>()) << text_of(r);
            EXPECT_EQ(expired, true);
            EXPECT_EQ(t.cancelling(), 1u);
        });
    }
}

TEST(TimeoutCancelled, ByItselfInsideAnExpiredScope) {  // B-27
    run_virtual([]() -> Coroutine<> {
        auto t = create_task([]() -> Coroutine<> {
            co_await with(timeout(1s), []() -> Coroutine<> {
                (void)co_await as_result(sleep(10s));
                current_task().cancel("own");
                co_await sleep(10s);
            });
        });
        EXPECT_EQ(chain_of(co_await as_result(t)), "CancelledError('own')");
        EXPECT_EQ(t.cancelling(), 1u);
    });
}

TEST(TimeoutCancelled, AnEarlierRequestDoesNotCount) {  // B-28: compared with the count at entry
    run_virtual([]() -> Coroutine<> {
        auto t = create_task([]() -> Coroutine<std::string> {
            (void)co_await as_result(sleep(10s));  // swallows a cancel: the count stays 1
            auto r =
                co_await as_result(with(timeout(1s), []() -> Coroutine<> { co_await sleep(10s); }));
            co_return text_of(r) + ' ' + std::to_string(cancelling());
        });
        co_await sleep(1s);
        t.cancel();
        EXPECT_EQ(co_await t, "TimeoutError() 1");
    });
}

TEST(TimeoutCancelled, InTheTickInWhichTheBodyCompletes) {  // S-44
    run_virtual([]() -> Coroutine<> {
        Future<int> f;
        auto t = create_task(with(timeout(5s), [&]() -> Coroutine<int> { co_return co_await f; }));
        co_await sleep(1s);
        f.set_result(1);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_EQ(f.result(), 1);
    });
}

// ---- reschedule, states, misuse -----------------------------------------------------------------

TEST(TimeoutReschedule, LaterEarlierPastAndNever) {  // S-75
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        auto r = co_await as_result(with(timeout(1s), [&](Timeout& cm) -> Coroutine<> {
            cm.reschedule(loop.time() + 3s);
            EXPECT_EQ(cm.when(), loop.time() + 3s);
            co_await sleep(10s);
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 3s);
        r = co_await as_result(with(timeout(100s), [&](Timeout& cm) -> Coroutine<> {
            cm.reschedule(loop.time() + 1s);
            co_await sleep(10s);
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 4s);
        r = co_await as_result(with(timeout(1s), [&](Timeout& cm) -> Coroutine<> {
            cm.reschedule(std::nullopt);
            co_await sleep(10s);
            EXPECT_EQ(now(), 14s);
            cm.reschedule(loop.time() - 5s);
            co_await sleep(10s);
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 14s);
    });
}

TEST(TimeoutReschedule, AnEntryThatIsDueAlreadyIsForgotten) {
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        co_await with(timeout(0s), [&](Timeout& cm) -> Coroutine<> {
            cm.reschedule(loop.time() + 10s);  // the first entry sits in the ready queue
            co_await sleep(1s);
            EXPECT_FALSE(cm.expired());
        });
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(TimeoutReschedule, FromACallback) {
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        auto r = co_await as_result(with(timeout(2s), [&](Timeout& cm) -> Coroutine<> {
            loop.call_later(1s, [&] { cm.reschedule(loop.time() + 3s); });
            co_await sleep(10s);
        }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 4s);
    });
}

std::string message_of(const Timeout& cm) {
    try {
        const_cast<Timeout&>(cm).reschedule(std::nullopt);
        return "";
    } catch (const RuntimeError& e) {
        return e.what();
    }
}

TEST(TimeoutReschedule, OnlyWhileActive) {  // T-24, B-31
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(1s);
        EXPECT_EQ(message_of(cm), "Timeout has not been entered");
        (void)co_await as_result(with(cm, [&]() -> Coroutine<> {
            (void)co_await as_result(sleep(10s));
            EXPECT_EQ(message_of(cm), "Cannot change state of expiring Timeout");
        }));
        EXPECT_EQ(message_of(cm), "Cannot change state of expired Timeout");
        Timeout other = timeout(1s);
        co_await with(other, []() -> Coroutine<> { co_return; });
        EXPECT_EQ(message_of(other), "Cannot change state of finished Timeout");
    });
}

TEST(Timeout, IsUsedOnce) {  // T-24
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(1s);
        co_await with(cm, []() -> Coroutine<> { co_return; });
        auto r = co_await as_result(with(cm, []() -> Coroutine<> { co_return; }));
        EXPECT_EQ(text_of(r), "RuntimeError('Timeout has already been entered')");
        Timeout active = timeout(1s);
        r = co_await as_result(with(active, [&]() -> Coroutine<> {
            auto again = co_await as_result(with(active, []() -> Coroutine<> { co_return; }));
            EXPECT_EQ(text_of(again), "RuntimeError('Timeout has already been entered')");
            EXPECT_THROW(Timeout moved(std::move(active)), RuntimeError);
        }));
        EXPECT_EQ(text_of(r), "ok");
    });
}

TEST(Timeout, NeedsALoopAndATask) {  // T-22, T-24
    try {
        static_cast<void>(timeout(1s));
        FAIL();
    } catch (const RuntimeError& e) {
        EXPECT_STREQ(e.what(), "no running event loop");
    }
    EXPECT_EQ(repr(timeout_at(std::nullopt)), "<Timeout [created]>");
    run_virtual([]() -> Coroutine<> {
        std::string text;
        get_running_loop().call_soon([&] {
            Timeout cm = timeout(1s);
            try {
                cm.aenter().await_resume();
            } catch (const RuntimeError& e) {
                text = e.what();
            }
        });
        co_await sleep(0s);
        EXPECT_EQ(text, "Timeout should be used inside a task");
    });
}

TEST(Timeout, EnteredAndLeftByHand) {  // T-24
    run_virtual([]() -> Coroutine<> {
        Timeout cm = timeout(1s);
        Timeout& entered = co_await cm.aenter();
        EXPECT_EQ(&entered, &cm);
        auto r = co_await as_result(sleep(10s));
        auto left = co_await as_result(cm.aexit(r.error()));
        EXPECT_EQ(chain_of(left), "TimeoutError() from CancelledError()");
        left = co_await as_result(cm.aexit(nullptr));
        EXPECT_EQ(text_of(left), "RuntimeError('Cannot change state of expired Timeout')");
        Timeout other = timeout(1s);
        co_await other.aenter();
        EXPECT_FALSE(co_await other.aexit(std::make_exception_ptr(ValueError("v"))));
        EXPECT_EQ(repr(other), "<Timeout [finished]>");
    });
}

TEST(Timeout, RoundsWhenItPrints) {
    run_virtual([]() -> Coroutine<> {
        co_await with(timeout(1.23456s), [](Timeout& cm) -> Coroutine<> {
            EXPECT_EQ(repr(cm), "<Timeout [active] when=1.235>");
            co_return;
        });
    });
}

TEST(Timeout, AroundATaskCancelsIt) {  // S-41
    run_virtual([]() -> Coroutine<> {
        auto t = create_task(sleep(10s));
        auto r = co_await as_result(with(timeout(1s), [&]() -> Coroutine<> { co_await t; }));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_TRUE(t.cancelled());
    });
}

TEST(Timeout, AroundATaskGroup) {  // TI-09
    run_virtual([]() -> Coroutine<> {
        Task<> child;
        auto r = co_await as_result(with(timeout(1s), [&]() -> Coroutine<> {
            co_await with(TaskGroup{}, [&](TaskGroup& tg) -> Coroutine<> {
                child = tg.create_task(sleep(10s));
                co_return;
            });
        }));
        EXPECT_EQ(chain_of(r), "TimeoutError() from CancelledError()");
        EXPECT_TRUE(child.cancelled());
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(Timeout, SurvivesItsLoop) {
    std::optional<Timeout> cm;
    {
        auto loop = VirtualTimeEventLoop::create();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        loop->run_until_complete([&]() -> Coroutine<> {
            cm.emplace(timeout_at(get_running_loop().time() + 5s));
            create_task([&]() -> Coroutine<> {
                co_await with(*cm, []() -> Coroutine<> { co_await sleep(10s); });
            });
            co_await sleep(1s);
        });
    }
    EXPECT_EQ(repr(*cm), "<Timeout [active] when=5.0>");
    EXPECT_THROW(cm->reschedule(TimePoint()), RuntimeError);  // no running event loop
}

// ---- wait_for -----------------------------------------------------------------------------------

Coroutine<int> after(Duration d, int n) {
    co_await sleep(d);
    co_return n;
}

// Swallows the cancel, cleans up for `d`, and returns.
Coroutine<int> stubborn(Duration d, int n) {
    (void)co_await as_result(sleep(100s));
    co_await sleep(d);
    co_return n;
}

TEST(WaitFor, GivesTheResult) {  // T-20
    run_virtual([]() -> Coroutine<> {
        EXPECT_EQ(co_await wait_for(after(1s, 3), 2s), 3);
        EXPECT_EQ(co_await wait_for(after(1s, 4), std::nullopt), 4);
        auto t = create_task(after(1s, 5));
        EXPECT_EQ(co_await wait_for(t, 2s), 5);
        EXPECT_EQ(t.result(), 5);
        Future<std::string> f;
        get_running_loop().call_later(1s, [f] { f.set_result("text"); });
        const std::string text = co_await wait_for(f, 2s);
        EXPECT_EQ(text, "text");
        co_await wait_for(sleep(1s), 2s);
        EXPECT_EQ(co_await wait_for(sleep(1s, 6), 2s), 6);
        EXPECT_EQ(co_await wait_for([]() -> Coroutine<int> { co_return 7; }, 1s), 7);
        EXPECT_EQ(now(), 6s);
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(WaitFor, MovesResults) {  // api.md: a move-only result of a task that is named is moved
    run_virtual([]() -> Coroutine<> {
        const auto make = []() -> Coroutine<std::unique_ptr<int>> {
            co_await sleep(1s);
            co_return std::make_unique<int>(2);
        };
        auto p = co_await wait_for(make(), 2s);
        EXPECT_EQ(*p, 2);
        auto t = create_task(make());
        auto q = co_await wait_for(t, 2s);
        EXPECT_EQ(*q, 2);
        auto u = create_task(make());
        co_await sleep(5s);
        auto v = co_await wait_for(std::move(u), 0s);
        EXPECT_EQ(*v, 2);
        int there = 1;
        int& ref = co_await wait_for([&]() -> Coroutine<int&> { co_return there; }, 1s);
        EXPECT_EQ(&ref, &there);
        auto r = co_await as_result(wait_for([&]() -> Coroutine<int&> { co_return there; }, 1s));
        EXPECT_EQ(&r.value(), &there);
    });
}

TEST(WaitFor, TimesOut) {
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(after(10s, 1), 1s));
        EXPECT_EQ(chain_of(r), "TimeoutError() from CancelledError()");
        EXPECT_EQ(now(), 1s);
        auto t = create_task(after(10s, 1));
        r = co_await as_result(wait_for(t, 1s));
        EXPECT_EQ(chain_of(r), "TimeoutError() from CancelledError()");
        EXPECT_TRUE(t.cancelled());
        Future<> f;
        auto rf = co_await as_result(wait_for(f, 1s));
        EXPECT_EQ(text_of(rf), "TimeoutError()");
        EXPECT_TRUE(f.cancelled());
        EXPECT_EQ(cancelling(), 0u);
        // Thrown, not only given.
        EXPECT_EQ(now(), 3s);
        bool caught = false;
        try {
            co_await wait_for(after(10s, 1), 1s);
        } catch (const TimeoutError&) {
            caught = true;
        }
        EXPECT_TRUE(caught);
    });
}

TEST(WaitFor, CountsFromTheAwait) {
    run_virtual([]() -> Coroutine<> {
        auto limited = wait_for(after(2s, 1), 3s);
        co_await sleep(2s);
        EXPECT_EQ(co_await std::move(limited), 1);
        EXPECT_EQ(now(), 4s);
    });
}

TEST(WaitFor, RunsACoroutineInTheCallingTask) {  // B-21, S-87
    run_virtual([]() -> Coroutine<> {
        const auto me = current_task();
        co_await wait_for(
            [&]() -> Coroutine<> {
                EXPECT_EQ(current_task(), me);
                co_await sleep(0s);
                EXPECT_EQ(current_task(), me);
                EXPECT_EQ(all_tasks().size(), 1u);
            },
            1s);
    });
}

TEST(WaitFor, WhatNeverWaitsCostsNoIteration) {  // S-30
    run_virtual([]() -> Coroutine<> {
        const Ticker ticker;
        EXPECT_EQ(co_await wait_for(after(-1s, 0), 1s), 0);  // one, for the sleep
        EXPECT_EQ(ticker.count(), 1);
        const auto at_once = [](int n) -> Coroutine<int> { co_return n; };
        EXPECT_EQ(co_await wait_for(at_once(1), 1s), 1);
        EXPECT_EQ(co_await wait_for(at_once(2), std::nullopt), 2);
        Future<int> f;
        f.set_result(3);
        EXPECT_EQ(co_await wait_for(f, 1s), 3);
        EXPECT_EQ(co_await wait_for(f, 0s), 3);
        EXPECT_EQ(co_await wait_for(f, -1s), 3);
        EXPECT_EQ(ticker.count(), 1);
    });
}

TEST(WaitFor, ExceptionsPass) {
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(
            []() -> Coroutine<> {
                co_await sleep(1s);
                throw ValueError("v");
            },
            2s));
        EXPECT_EQ(chain_of(r), "ValueError('v')");
        Future<> f;
        f.set_exception(ValueError("f"));
        r = co_await as_result(wait_for(f, 0s));
        EXPECT_EQ(chain_of(r), "ValueError('f')");
    });
}

TEST(WaitFor, AnExceptionRaisedWhileItIsCancelledPasses) {  // S-87
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(
            []() -> Coroutine<> {
                auto cancelled = co_await as_result(sleep(10s));
                if (!cancelled) throw ValueError("clean-up");
            },
            1s));
        EXPECT_EQ(chain_of(r), "ValueError('clean-up')");
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(WaitFor, GivesTheValueOfWhatSuppressesTheCancel) {  // B-23, S-87
    run_virtual([]() -> Coroutine<> {
        EXPECT_EQ(co_await wait_for(stubborn(5s, 8), 1s), 8);
        EXPECT_EQ(now(), 6s);  // it was waited for
        EXPECT_EQ(cancelling(), 0u);
        auto t = create_task(stubborn(5s, 9));
        EXPECT_EQ(co_await wait_for(t, 1s), 9);
        EXPECT_EQ(now(), 12s);
    });
}

TEST(WaitFor, WaitsForSlowCleanUp) {  // T-20
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(
            []() -> Coroutine<> {
                auto cancelled = co_await as_result(sleep(10s));
                co_await sleep(3s);
                cancelled.value();
            },
            1s));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 4s);
    });
}

TEST(WaitFor, WithNoTimeACoroutineNeverStarts) {  // B-22, S-35
    run_virtual([]() -> Coroutine<> {
        for (const Delay d : {Delay(0s), Delay(-3s)}) {
            bool started = false;
            const Ticker ticker;
            auto r = co_await as_result(wait_for(
                [&]() -> Coroutine<int> {
                    started = true;
                    co_return 1;
                },
                d));
            EXPECT_EQ(chain_of(r), "TimeoutError() from CancelledError()");
            EXPECT_FALSE(started);
            EXPECT_EQ(ticker.count(), 3);
        }
        EXPECT_EQ(now(), 0s);
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(WaitFor, WithNoTimeAPendingFutureIsCancelled) {  // S-35
    run_virtual([]() -> Coroutine<> {
        Future<> f;
        const Ticker ticker;
        auto r = co_await as_result(wait_for(f, 0s));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(ticker.count(), 2);
        EXPECT_TRUE(f.cancelled());
    });
}

TEST(WaitFor, WithNoTimeARunningTaskIsCancelledAndWaitedFor) {  // T-20
    run_virtual([]() -> Coroutine<> {
        auto t = create_task(stubborn(5s, 6));
        co_await sleep(1s);
        EXPECT_EQ(co_await wait_for(t, 0s), 6);  // it suppressed the cancel
        EXPECT_EQ(now(), 6s);
        auto u = create_task(after(10s, 1));
        co_await sleep(1s);
        auto r = co_await as_result(wait_for(u, 0s));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 7s);
    });
}

TEST(WaitFor, WithNoTimeADoneCancelledFutureGivesCancelledError) {  // T-20: done: its own outcome
    run_virtual([]() -> Coroutine<> {
        Future<> f;
        f.cancel("c");
        auto r = co_await as_result(wait_for(f, 0s));
        EXPECT_EQ(chain_of(r), "CancelledError('c')");
    });
}

TEST(WaitForCancelled, BeforeItBegan) {  // S-43
    run_virtual([]() -> Coroutine<> {
        bool started = false;
        auto t = create_task(wait_for(
            [&]() -> Coroutine<> {
                started = true;
                co_return;
            },
            5s));
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_FALSE(started);
    });
}

TEST(WaitForCancelled, WhileItWaits) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        auto t = create_task(wait_for(
            [&]() -> Coroutine<> {
                auto r = co_await as_result(sleep(10s));
                log.push_back(text_of(r));
                r.value();
            },
            5s));
        co_await sleep(1s);
        t.cancel("c");
        EXPECT_EQ(chain_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_EQ(log, Lines{"CancelledError('c')"});
        EXPECT_EQ(now(), 1s);
    });
}

TEST(WaitForCancelled, InTheTickInWhichItCompletes) {  // B-24, S-87, W-21
    run_virtual([]() -> Coroutine<> {
        for (const bool cancel_first : {true, false}) {
            Future<int> f;
            auto t = create_task(wait_for(f, 5s));
            co_await sleep(1s);
            if (cancel_first) t.cancel("c");
            if (!f.done()) f.set_result(1);
            if (!cancel_first) t.cancel("c");
            EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
            EXPECT_EQ(f.cancelled(), cancel_first);
            if (!cancel_first) {
                EXPECT_EQ(f.result(), 1);  // kept in the future
            }
        }
    });
}

TEST(WaitForCancelled, InTheTickInWhichItTimesOut) {
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        for (const bool cancel_first : {true, false}) {
            Task<int> t;
            const auto cancel = [&] { t.cancel("c"); };
            if (cancel_first) loop.call_later(1s, cancel);
            t = create_task(wait_for(after(10s, 1), 1s));
            co_await sleep(0s);
            if (!cancel_first) loop.call_later(1s, cancel);
            auto r = co_await as_result(t);
            EXPECT_TRUE(r.holds<CancelledError>()) << text_of(r);
            EXPECT_EQ(t.cancelling(), 1u);
        }
    });
}

TEST(WaitForCancelled, ResultAndTimeoutInOneTick) {  // S-71, lessons: every same-tick pair
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        {
            Future<int> f;
            loop.call_later(1s, [f] { f.set_result(1); });
            auto r = co_await as_result(wait_for(f, 1s));  // its timer is the later one
            EXPECT_EQ(text_of(r), "TimeoutError()");
            EXPECT_EQ(f.result(), 1);
        }
        {
            Future<int> f;
            auto t = create_task(wait_for(f, 1s));
            co_await sleep(0s);
            loop.call_later(1s, [f] {
                if (!f.done()) f.set_result(1);
            });
            auto r = co_await as_result(t);  // its timer is the earlier one
            EXPECT_EQ(text_of(r), "TimeoutError()");
            EXPECT_TRUE(f.cancelled());
        }
        EXPECT_EQ(cancelling(), 0u);
    });
}

TEST(WaitForCancelled, WhileAFutureIsCancelledForNoTime) {  // T-20
    run_virtual([]() -> Coroutine<> {
        auto inner = create_task(stubborn(5s, 6));
        co_await sleep(1s);
        auto t = create_task(wait_for(inner, 0s));
        co_await sleep(1s);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
        EXPECT_EQ(now(), 2s);
        EXPECT_EQ(co_await inner, 6);  // it goes on
    });
}

TEST(WaitForCancelled, InTheTickInWhichTheFutureOfNoTimeEnds) {  // S-44
    run_virtual([]() -> Coroutine<> {
        Future<> f;
        auto t = create_task(wait_for(f, 0s));
        co_await sleep(0s);  // f is cancelled, the waiter is told in this iteration
        co_await sleep(0s);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
        Future<> g;
        auto u = create_task(wait_for(g, 0s));
        co_await sleep(0s);
        u.cancel("d");  // the entry for the waiter is in the ready queue
        EXPECT_EQ(text_of(co_await as_result(u)), "CancelledError('d')");
    });
}

TEST(WaitForCancelled, WithoutALimit) {
    run_virtual([]() -> Coroutine<> {
        auto t = create_task(wait_for(after(10s, 1), std::nullopt));
        co_await sleep(1s);
        t.cancel("c");
        EXPECT_EQ(text_of(co_await as_result(t)), "CancelledError('c')");
    });
}

TEST(WaitFor, ShieldedGoesOn) {
    run_virtual([]() -> Coroutine<> {
        auto inner = create_task(after(3s, 2));
        auto r = co_await as_result(wait_for(shield(inner), 1s));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(co_await inner, 2);
        EXPECT_EQ(now(), 3s);
    });
}

TEST(WaitFor, Nested) {
    run_virtual([]() -> Coroutine<> {
        auto r = co_await as_result(wait_for(wait_for(after(10s, 1), 5s), 1s));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 1s);
        r = co_await as_result(wait_for(wait_for(after(10s, 1), 1s), 5s));
        EXPECT_EQ(text_of(r), "TimeoutError()");
        EXPECT_EQ(now(), 2s);
        auto gathered = co_await gather(wait_for(after(1s, 1), 5s), wait_for(after(1s, 2), 5s));
        EXPECT_EQ(std::get<0>(gathered) + std::get<1>(gathered), 3);
    });
}

TEST(WaitFor, MayBeDroppedUnawaited) {
    run_virtual([]() -> Coroutine<> {
        auto t = create_task(after(1s, 1));
        (void)wait_for(t, 5s);
        EXPECT_EQ(co_await t, 1);
    });
}

TEST(WaitFor, AnEarlierAwaitedCoroutineIsRefused) {
    run_virtual([]() -> Coroutine<> {
        auto c = after(0s, 1);
        co_await c;
        auto r = co_await as_result(wait_for(c, 1s));
        EXPECT_EQ(text_of(r), "RuntimeError('cannot reuse already awaited coroutine')");
    });
}

TEST(WaitFor, IsDestroyedWithItsLoop) {
    auto loop = VirtualTimeEventLoop::create();
    loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
    loop->run_until_complete([&]() -> Coroutine<> {
        create_task(wait_for(after(10s, 1), 5s));
        create_task(wait_for(stubborn(10s, 1), 1s));
        auto t = create_task(stubborn(10s, 1));
        co_await sleep(0s);
        create_task(wait_for(t, 0s));
        co_await sleep(2s);
    });
    loop->close();
}

// ---- without memory -----------------------------------------------------------------------------

// What is made once a program: the first time is now, where this test is a process of its own, as
// under CTest. Those who ask for it are noexcept.
TEST(ErrorsWithoutText, NeedNoMemory) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const OSError no_text;
    support::blocks_left = 0;
    const std::exception_ptr error = detail::cancelled_error(nullptr);
    const std::string& text = no_text.strerror();
    const std::error_category* const categories[] = {&gai_category(), &ssl_category()};
    EXPECT_EQ(support::blocks_left.exchange(-1), 0);
    EXPECT_TRUE(detail::is_cancelled_error(error));
    EXPECT_EQ(text, "");
    EXPECT_NE(categories[0], categories[1]);
}

TEST(WaitFor, GivesTheBadAllocWhereThereIsNoMemoryForItsError) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    for (const auto limit : {Duration(1s), Duration(0s)}) {
        int refused = 0;
        bool enough = false;
        for (std::ptrdiff_t given = 0; !enough; ++given) {
            run_virtual([&]() -> Coroutine<> {
                Future<> never;
                // The limit's own entry comes first.
                get_running_loop().call_later(limit, [&] { support::blocks_left = given; });
                const auto r = co_await as_result(wait_for(never, limit));
                enough = support::blocks_left.exchange(-1) >= 0;
                if (r.holds<std::bad_alloc>()) {
                    ++refused;
                } else {
                    EXPECT_TRUE(r.holds<TimeoutError>());
                }
                EXPECT_EQ(current_task().cancelling(), 0u);
            });
        }
        EXPECT_GE(refused, 1);
    }
}

TEST(TimeoutScope, IsRescheduledWithoutMemory) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    run_virtual([]() -> Coroutine<> {
        const TimePoint begin = get_running_loop().time();
        const auto body = [&](Timeout& scope) -> Coroutine<> {
            support::blocks_left = 0;
            scope.reschedule(begin + 5s);
            scope.reschedule(begin + 2s);
            EXPECT_EQ(support::blocks_left.exchange(-1), 0);
            co_await sleep(1h);
        };
        EXPECT_TRUE((co_await as_result(with(timeout(1s), body))).holds<TimeoutError>());
        EXPECT_EQ(get_running_loop().time() - begin, 2s);
        const auto at_once = [&](Timeout& scope) -> Coroutine<> {
            support::blocks_left = 0;
            scope.reschedule(begin);
            EXPECT_EQ(support::blocks_left.exchange(-1), 0);
            // It is due by now, and a timer of its own takes its place, or it stays.
            support::blocks_left = 0;
            try {
                scope.reschedule(begin + 4s);
            } catch (const std::bad_alloc&) {
                EXPECT_EQ(scope.when(), begin);
            }
            support::blocks_left = -1;
            scope.reschedule(begin + 3s);
            co_await sleep(1h);
        };
        EXPECT_TRUE((co_await as_result(with(timeout(1s), at_once))).holds<TimeoutError>());
        EXPECT_EQ(get_running_loop().time() - begin, 3s);
    });
}

TEST(TimeoutScope, GivesTheBadAllocWhereThereIsNoMemoryForItsError) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    int refused = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run_virtual([&]() -> Coroutine<> {
            Timeout scope = timeout(1s);
            std::exception_ptr error = std::make_exception_ptr(CancelledError());
            co_await scope.aenter();
            const auto slept = co_await as_result(sleep(2s));
            EXPECT_TRUE(slept.holds<CancelledError>());
            support::blocks_left = given;
            const auto r = co_await as_result(scope.aexit(slept.error()));
            enough = support::blocks_left.exchange(-1) >= 0;
            if (r.holds<std::bad_alloc>()) {
                ++refused;
            } else {
                EXPECT_TRUE(r.holds<TimeoutError>());
            }
            EXPECT_EQ(current_task().cancelling(), 0u);
            EXPECT_TRUE(scope.expired());
        });
    }
    EXPECT_GE(refused, 1);
}

TEST(WaitFor, WithNoTimeAndNoMemoryTheCoroutineDoesNotBegin) {  // L25
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run_virtual([&]() -> Coroutine<> {
            bool began = false;
            auto body = [&]() -> Coroutine<> {
                began = true;
                co_return;
            };
            auto waiting = wait_for(body, 0s);
            support::blocks_left = given;
            const auto r = co_await as_result(std::move(waiting));
            enough = support::blocks_left.exchange(-1) >= 0;
            EXPECT_TRUE(r.holds<TimeoutError>() || r.holds<std::bad_alloc>());
            co_await sleep(0s);
            EXPECT_FALSE(began);
            EXPECT_EQ(all_tasks().size(), 1u);
        });
    }
}

// ---- of another loop
// -----------------------------------------------------------------------------

TEST(WaitFor, WithNoTimeAFutureOfAnotherLoopIsRefused) {  // L43
    const auto other = VirtualTimeEventLoop::create();
    run_virtual([&]() -> Coroutine<> {
        const auto foreign = other->create_future<int>();
        for (const Duration limit : {Duration(0s), Duration(-1s), Duration(1s)}) {
            const auto r = co_await as_result(wait_for(foreign, limit));
            EXPECT_NE(text_of(r).find("attached to a different loop"), std::string::npos)
                << text_of(r);
            EXPECT_FALSE(foreign.done());
        }
        // Cancelled meanwhile.
        const auto waiting =
            create_task([&]() -> Coroutine<> { (void)co_await wait_for(foreign, 0s); });
        co_await sleep(0s);
        waiting.cancel("cancelled");
        EXPECT_EQ(text_of(co_await as_result(waiting)), "CancelledError('cancelled')");
        // One that is done gives what it has.
        foreign.set_result(3);
        EXPECT_EQ(co_await wait_for(foreign, 0s), 3);
    });
}

// ---- due when it is armed, on the real loop (L38)
// ------------------------------------------------

// Counts iterations by a callback that queues itself again.
struct TickCounter {
    int count = 0;
    Handle handle;
    void operator()() {
        ++count;
        arm();
    }
    void arm() { handle = get_running_loop().call_soon(std::ref(*this)); }
    TickCounter() { arm(); }
    TickCounter(const TickCounter&) = delete;
    TickCounter& operator=(const TickCounter&) = delete;
    ~TickCounter() { handle.cancel(); }
};

struct SetFuture {
    Future<> future;
    void operator()() const { future.set_result(); }
};

struct AppendText {
    std::string* to;
    const char* text;
    void operator()() const { *to += text; }
};

// Iterations that go by until `x` is over, as CPython 3.11 counts them.
template <class A>
Coroutine<int> iterations_of(A x) {
    TickCounter counter;
    (void)co_await as_result(std::move(x));
    co_return counter.count;
}

TEST(TimeoutReal, WhatIsDueWhenItIsArmedIsOverInTheNextIteration) {  // L38, S-35, S-06
    asyncio::run([]() -> Coroutine<> {
        for (const Duration delay : {Duration(0s), Duration(-1s), Duration(1ns)}) {
            auto scope = [delay]() -> Coroutine<> {
                auto body = [](Timeout&) -> Coroutine<> { co_await sleep(10s); };
                co_await with(timeout(delay), body);
            };
            EXPECT_EQ(co_await iterations_of(scope()), 2) << delay.count();
            auto at = [delay]() -> Coroutine<> {
                auto body = [](Timeout&) -> Coroutine<> { co_await sleep(10s); };
                co_await with(timeout_at(get_running_loop().time() + delay), body);
            };
            EXPECT_EQ(co_await iterations_of(at()), 2) << delay.count();
            auto later = [delay]() -> Coroutine<> {
                Future<> f;
                get_running_loop().call_later(delay, SetFuture{f});
                co_await f;
            };
            EXPECT_EQ(co_await iterations_of(later()), 2) << delay.count();
            auto past = [delay]() -> Coroutine<> {
                Future<> f;
                get_running_loop().call_at(get_running_loop().time() - 5s + delay, SetFuture{f});
                co_await f;
            };
            EXPECT_EQ(co_await iterations_of(past()), 2) << delay.count();
            EXPECT_EQ(co_await iterations_of(sleep(delay)), delay > 0s ? 2 : 1) << delay.count();
            auto limited = [delay]() -> Coroutine<> { co_await wait_for(sleep(10s), delay); };
            EXPECT_LE(co_await iterations_of(limited()), 4) << delay.count();
        }
    });
}

TEST(TimeoutScope, SaysWhyItCannotBeLeft) {  // L43, L24
    run_virtual([]() -> Coroutine<> {
        Timeout scope = timeout(1s);
        EXPECT_EQ(text_of(co_await as_result(scope.aexit(nullptr))),
                  "RuntimeError('Timeout has not been entered')");
        co_await scope.aenter();
        co_await scope.aexit(nullptr);
        EXPECT_EQ(text_of(co_await as_result(scope.aexit(nullptr))),
                  "RuntimeError('Cannot change state of finished Timeout')");
    });
}

TEST(TimeoutReal, WhatIsOverdueComesBehindWhatIsReadyInTheOrderOfItsTimes) {  // L38, B-05, S-06
    std::string order;
    asyncio::run([&]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const auto note = [&](const char* text) { return AppendText{&order, text}; };
        const TimePoint now = loop.time();
        loop.call_later(0s, note("l "));
        loop.call_at(now - 1s, note("p1 "));
        loop.call_at(now - 2s, note("p2 "));
        loop.call_soon(note("s1 "));
        loop.call_later(-500ms, note("p-5 "));
        loop.call_soon(note("s2 "));
        loop.call_later(0s, note("m "));
        co_await sleep(0s);
        co_await sleep(0s);
    });
    EXPECT_EQ(order, "s1 s2 p2 p1 p-5 l m ");  // CPython 3.11's
}

}  // namespace

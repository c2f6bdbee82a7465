// run_on_threads and Channel: loops on several threads.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using asyncio::Channel;
using asyncio::Coroutine;
using asyncio::run_on_threads;
using support::raised;
using namespace std::chrono_literals;

template <class F>
auto run(F&& body) {
    return asyncio::run(std::forward<F>(body));
}

Coroutine<> iterations(int n) {
    for (int i = 0; i < n; ++i) co_await asyncio::sleep(0s);
}

// ---- run_on_threads ----------------------------------------------------------------------------

TEST(RunOnThreads, GivesTheResultsInOrder) {
    run([]() -> Coroutine<> {
        const auto here = std::this_thread::get_id();
        auto factory = [here](int index) -> Coroutine<int> {
            EXPECT_NE(std::this_thread::get_id(), here);
            co_await asyncio::sleep(1ms * (4 - index));
            co_return index * 10;
        };
        const std::vector<int> results = co_await run_on_threads(4, factory);
        EXPECT_EQ(results, (std::vector<int>{0, 10, 20, 30}));
    });
}

TEST(RunOnThreads, TakesItsNumberWholeOrRefusesIt) {  // L17
    const auto index = [](int i) -> Coroutine<int> { co_return i; };
    EXPECT_THROW((void)run_on_threads((std::uint64_t{1} << 32) + 1, index), asyncio::ValueError);
    EXPECT_THROW((void)run_on_threads(-(std::int64_t{1} << 32) + 1, index), asyncio::ValueError);
}

TEST(RunOnThreads, EachThreadHasALoopAndANameOfItsOwn) {
    run([]() -> Coroutine<> {
        std::mutex mutex;
        std::set<const void*> loops;
        std::set<std::string> names;
        auto factory = [&]() -> Coroutine<> {
            char name[16];
            ::pthread_getname_np(::pthread_self(), name, sizeof name);
            std::size_t seen = 0;
            while (seen < 3) {
                co_await asyncio::sleep(1ms);
                const std::lock_guard lock(mutex);
                loops.insert(&asyncio::get_running_loop());
                names.insert(name);
                seen = loops.size();
            }
        };
        co_await run_on_threads(3, factory, {.name = "a-very-long-name"});
        loops.insert(&asyncio::get_running_loop());
        EXPECT_EQ(loops.size(), 4u);
        EXPECT_EQ(names,
                  (std::set<std::string>{"a-very-long-n_0", "a-very-long-n_1", "a-very-long-n_2"}));
    });
}

TEST(RunOnThreads, ResultsMayBeMoveOnly) {
    run([]() -> Coroutine<> {
        auto factory = [](int index) -> Coroutine<std::unique_ptr<int>> {
            co_return std::make_unique<int>(index);
        };
        const auto results = co_await run_on_threads(2, factory);
        EXPECT_EQ(*results[0] + *results[1], 1);
        auto flags = [](int index) -> Coroutine<bool> { co_return index == 1; };
        const std::vector<bool> found = co_await run_on_threads(2, flags);
        EXPECT_EQ(found, (std::vector<bool>{false, true}));
    });
}

TEST(RunOnThreads, TheContextGoesAlong) {
    static asyncio::ContextVar<int> variable{"variable", 0};
    run([]() -> Coroutine<> {
        variable.set(5);
        auto factory = [](int index) -> Coroutine<int> {
            const int seen = variable.get();
            variable.set(index);
            co_await asyncio::sleep(0s);
            co_return seen;
        };
        const std::vector<int> seen = co_await run_on_threads(2, factory);
        EXPECT_EQ(seen, (std::vector<int>{5, 5}));
        EXPECT_EQ(variable.get(), 5);
    });
}

TEST(RunOnThreads, TheFirstErrorCancelsTheOthers) {
    run([]() -> Coroutine<> {
        std::atomic<int> cancelled = 0;
        auto factory = [&](int index) -> Coroutine<> {
            if (index == 1) throw asyncio::ValueError("broken");
            try {
                co_await asyncio::sleep(1h);
            } catch (const asyncio::CancelledError&) {
                ++cancelled;
                throw;
            }
        };
        const auto result = co_await asyncio::as_result(run_on_threads(3, factory));
        EXPECT_EQ(support::error_text<asyncio::ExceptionGroup>(result),
                  "unhandled errors in a TaskGroup (1 sub-exception)");
        // One of them may have been cancelled before it had begun.
        EXPECT_LE(cancelled, 2);
    });
}

TEST(RunOnThreads, ACancelReachesAllThreads) {
    run([]() -> Coroutine<> {
        std::atomic<int> running = 0;
        std::atomic<int> ended = 0;
        auto factory = [&](int) -> Coroutine<> {
            ++running;
            auto wait = [] { return asyncio::sleep(1h); };
            const auto result = co_await asyncio::as_result(wait());
            // A thread may take its time: it is waited for.
            co_await asyncio::sleep(20ms);
            ++ended;
            std::rethrow_exception(result.error());
        };
        auto task = asyncio::create_task(run_on_threads(3, factory));
        while (running < 3) co_await asyncio::sleep(1ms);
        task.cancel();
        EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        EXPECT_TRUE(task.cancelled());
        EXPECT_EQ(ended, 3);
    });
}

TEST(RunOnThreads, MayBeCancelledAtEveryPoint) {
    run([]() -> Coroutine<> {
        for (int after = -1; after < 10; ++after) {
            std::atomic<int> inside = 0;
            auto factory = [&](int) -> Coroutine<> {
                ++inside;
                co_await asyncio::sleep(1ms);
                --inside;
            };
            auto task = asyncio::create_task(run_on_threads(2, factory));
            for (int i = 0; i <= after; ++i) co_await asyncio::sleep(i > 5 ? 1ms : 0ms);
            task.cancel();
            const auto result = co_await asyncio::as_result(task);
            EXPECT_TRUE(result || result.holds<asyncio::CancelledError>());
            EXPECT_TRUE(!result || inside == 0);
        }
    });
}

TEST(RunOnThreads, RefusesANumberThatMakesNoSense) {
    auto factory = [](int) -> Coroutine<> { co_return; };
    EXPECT_EQ(raised<asyncio::ValueError>([&] { run_on_threads(0, factory).close(); }),
              "n must be at least 1");
}

TEST(RunOnThreads, TheCallingLoopIsFreeMeanwhile) {
    run([]() -> Coroutine<> {
        support::Iterations counter(asyncio::get_running_loop());
        auto factory = [](int) -> Coroutine<> { co_await asyncio::sleep(20ms); };
        co_await run_on_threads(2, factory);
        EXPECT_GT(counter.count(), 100);
    });
}

TEST(RunOnThreads, ALoopThatClosesLeavesItsThreads) {
    auto go_on = std::make_shared<std::atomic<bool>>(false);
    auto ended = std::make_shared<std::atomic<int>>(0);
    {
        const auto loop = asyncio::new_event_loop();
        auto factory = [=](int) -> Coroutine<> {
            while (!*go_on) co_await asyncio::sleep(1ms);
            ++*ended;
        };
        const support::LogCapture log;
        auto task = loop->create_task(run_on_threads(2, factory), {});
        loop->run_until_complete(asyncio::sleep(20ms));
        loop->close();
    }
    *go_on = true;
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (*ended < 2 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(*ended, 2);
}

// Every loop listens on the same port; the system spreads the connections.
TEST(RunOnThreads, ServersShareAPort) {
    run([]() -> Coroutine<> {
        Channel<int> ports(2);
        Channel<int> served(100);
        std::atomic<int> port = 0;
        auto serve = [&](int index) -> Coroutine<> {
            auto handle = [&served, index](asyncio::StreamReader reader,
                                           asyncio::StreamWriter writer) -> Coroutine<> {
                const std::string line = co_await reader.readline();
                writer.write(line);
                co_await writer.drain();
                writer.close();
                co_await served.send(index);
            };
            // The first one takes a port, the second one joins it.
            while (index == 1 && port == 0) co_await asyncio::sleep(1ms);
            asyncio::ServerOptions options;
            options.reuse_port = true;
            auto server = co_await asyncio::start_server(handle, "127.0.0.1", port, options);
            port = server.sockets()[0].getsockname().port();
            co_await ports.send(port);
            co_await server.serve_forever();
        };
        auto servers = asyncio::create_task(run_on_threads(2, serve));
        const auto first = co_await ports.receive();
        const auto second = co_await ports.receive();
        EXPECT_EQ(first, second);
        std::set<int> used;
        for (int i = 0; i < 40; ++i) {
            auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", *first);
            writer.write("hello\n");
            EXPECT_EQ(co_await reader.readline(), "hello\n");
            writer.close();
            const auto index = co_await served.receive();
            used.insert(*index);
        }
        EXPECT_EQ(used.size(), 2u);
        servers.cancel();
        EXPECT_TRUE((co_await asyncio::as_result(servers)).holds<asyncio::CancelledError>());
    });
}

// ---- Channel, in one loop ----------------------------------------------------------------------

TEST(Channels, WhatIsSentIsReceivedInOrder) {
    support::run_virtual([]() -> Coroutine<> {
        Channel<int> channel(2);
        auto send = [channel]() -> Coroutine<> {
            for (int i = 0; i < 10; ++i) co_await channel.send(i);
            channel.close();
        };
        auto sender = asyncio::create_task(send);
        std::vector<int> received;
        while (auto item = co_await channel.next()) received.push_back(*item);
        EXPECT_EQ(received, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
        EXPECT_FALSE(co_await channel.receive());
        EXPECT_TRUE(channel.closed());
        co_await sender;
    });
}

TEST(Channels, AFullOneMakesSendersWait) {
    support::run_virtual([]() -> Coroutine<> {
        Channel<int> channel(1);
        co_await channel.send(1);
        auto second = asyncio::create_task(channel.send(2));
        co_await iterations(5);
        EXPECT_FALSE(second.done());
        EXPECT_EQ(channel.size(), 1u);
        EXPECT_EQ(co_await channel.receive(), 1);
        co_await second;
        EXPECT_EQ(channel.try_receive(), 2);
        EXPECT_EQ(channel.try_receive(), std::nullopt);
    });
}

TEST(Channels, ClosingWakesAllAndKeepsWhatIsUnderWay) {
    support::run_virtual([]() -> Coroutine<> {
        Channel<int> channel(1);
        auto receiver = asyncio::create_task(channel.receive());
        auto other = asyncio::create_task(channel.receive());
        co_await iterations(3);
        channel.close();
        EXPECT_FALSE(co_await receiver);
        EXPECT_FALSE(co_await other);
        const std::string closed = "channel is closed";
        EXPECT_EQ(support::error_text<asyncio::QueueShutDown>(
                      co_await asyncio::as_result(channel.send(1))),
                  closed);
        EXPECT_EQ(raised<asyncio::QueueShutDown>([&] { channel.try_send(1); }), closed);

        Channel<int> full(1);
        co_await full.send(1);
        auto sender = asyncio::create_task(full.send(2));
        co_await iterations(3);
        full.close();
        EXPECT_EQ(support::error_text<asyncio::QueueShutDown>(co_await asyncio::as_result(sender)),
                  closed);
        EXPECT_EQ(co_await full.receive(), 1);
        EXPECT_FALSE(co_await full.receive());
    });
}

TEST(Channels, ObjectsMayBeMoveOnly) {
    support::run_virtual([]() -> Coroutine<> {
        Channel<std::unique_ptr<int>> channel;
        co_await channel.send(std::make_unique<int>(5));
        auto extra = std::make_unique<int>(6);
        EXPECT_FALSE(channel.try_send(std::move(extra)));
        EXPECT_EQ(*extra, 6);
        auto sending = asyncio::create_task(channel.send_from(extra));
        co_await iterations(3);
        EXPECT_EQ(*extra, 6);
        sending.cancel();
        static_cast<void>(co_await asyncio::as_result(sending));
        EXPECT_EQ(*extra, 6);
        auto received = co_await channel.receive();
        EXPECT_EQ(**received, 5);
        co_await channel.send_from(extra);
        EXPECT_EQ(extra, nullptr);
        channel.close();
        auto last = std::make_unique<int>(7);
        EXPECT_TRUE(
            (co_await asyncio::as_result(channel.send_from(last))).holds<asyncio::QueueShutDown>());
        EXPECT_EQ(*last, 7);
    });
}

// Throws when it is moved for the n-th time from now; 0: never.
struct Fragile {
    static inline std::atomic<int> fail_at = 0;
    static void step() {
        if (fail_at > 0 && --fail_at == 0) throw std::length_error("fragile");
    }
    Fragile() = default;
    Fragile(Fragile&& o) : value(o.value) { step(); }
    Fragile& operator=(Fragile&& o) {
        step();
        value = o.value;
        return *this;
    }
    int value = 3;
};

TEST(Channels, AMoveThatThrowsReachesItsCaller) {  // L15.
    run([]() -> Coroutine<> {
        for (int at = 0; at < 12; ++at) {
            Fragile::fail_at = at;
            const Channel<Fragile> channel(1);
            Fragile item;
            bool sent = false;
            try {
                co_await channel.send_from(item);
                sent = true;
            } catch (const std::length_error&) {
                EXPECT_GT(at, 0);
            }
            EXPECT_EQ(channel.size(), sent ? 1u : 0u);
            if (!sent) continue;
            try {
                EXPECT_EQ((co_await channel.receive())->value, 3);
            } catch (const std::length_error&) {
                EXPECT_GT(at, 0);
            }
            // The room is free, and a sender that waits for it would go on.
            EXPECT_EQ(channel.size(), 0u);
        }
        Fragile::fail_at = 0;
    });
}

TEST(Channels, ASenderWhoseMoveThrowsPassesItsRoomOn) {  // L15.
    run([]() -> Coroutine<> {
        const Channel<Fragile> channel(1);
        co_await channel.send(Fragile());
        auto send = [](Channel<Fragile> to) -> Coroutine<> {
            Fragile item;
            co_await to.send_from(item);
        };
        auto first = asyncio::create_task(send(channel));
        auto second = asyncio::create_task(send(channel));
        co_await iterations(3);
        EXPECT_TRUE(channel.try_receive().has_value());
        Fragile::fail_at = 1;  // in the first one's step
        EXPECT_TRUE((co_await asyncio::as_result(first)).holds<std::length_error>());
        co_await asyncio::wait_for(second, 20s);
        EXPECT_EQ(channel.size(), 1u);
        Fragile::fail_at = 0;
    });
}

TEST(RunOnThreads, AResultWhoseMoveThrowsReachesTheCaller) {  // L15.
    run([]() -> Coroutine<> {
        auto factory = []() -> Coroutine<Fragile> { co_return Fragile(); };
        for (int at = 0; at < 16; ++at) {
            Fragile::fail_at = at;
            try {
                const auto results = co_await run_on_threads(1, factory);
                EXPECT_EQ(results.at(0).value, 3);
            } catch (const std::length_error&) {
                EXPECT_GT(at, 0);
            } catch (const asyncio::ExceptionGroup& group) {
                EXPECT_GT(at, 0);
                EXPECT_TRUE(group.subgroup<std::length_error>().has_value());
            }
        }
        Fragile::fail_at = 0;
    });
}

TEST(Channels, RefusesNoCapacity) {
    EXPECT_EQ(raised<asyncio::ValueError>([] { Channel<int>(0); }), "capacity must be at least 1");
}

TEST(Channels, WhatIsLeftIsDestroyed) {
    const auto counted = std::make_shared<int>(1);
    {
        const Channel<std::shared_ptr<int>> channel(3);
        EXPECT_TRUE(channel.try_send(std::shared_ptr<int>(counted)));
        EXPECT_TRUE(channel.try_send(std::shared_ptr<int>(counted)));
        EXPECT_EQ(counted.use_count(), 3);
    }
    EXPECT_EQ(counted.use_count(), 1);
}

// Cancelled before it begins, while it waits, and in the tick in which it is woken.
TEST(Channels, ACancelledReceiveLosesNothing) {
    support::run_virtual([]() -> Coroutine<> {
        for (int when = 0; when < 6; ++when) {
            Channel<int> channel(4);
            auto first = asyncio::create_task(channel.receive());
            if (when > 0) co_await iterations(2);
            auto second = asyncio::create_task(channel.receive());
            if (when > 0) co_await iterations(2);
            if (when > 1) {
                EXPECT_TRUE(channel.try_send(7));
            }
            if (when > 2) co_await iterations(when - 2);
            first.cancel();
            const auto result = co_await asyncio::as_result(first);
            if (when < 2) {
                EXPECT_TRUE(channel.try_send(7));
            }
            if (result) {
                EXPECT_EQ(result.value(), 7);
                EXPECT_TRUE(channel.try_send(8));
            }
            EXPECT_EQ(co_await second, result ? 8 : 7);
        }
    });
}

TEST(Channels, ACancelledSendSendsNothing) {
    support::run_virtual([]() -> Coroutine<> {
        for (int when = 0; when < 6; ++when) {
            Channel<int> channel(1);
            EXPECT_TRUE(channel.try_send(0));
            auto first = asyncio::create_task(channel.send(1));
            if (when > 0) co_await iterations(2);
            auto second = asyncio::create_task(channel.send(2));
            if (when > 0) co_await iterations(2);
            if (when > 1) {
                EXPECT_EQ(channel.try_receive(), 0);
            }
            if (when > 2) co_await iterations(when - 2);
            first.cancel();
            const auto result = co_await asyncio::as_result(first);
            if (when < 2) {
                EXPECT_EQ(channel.try_receive(), 0);
            }
            if (result) {
                EXPECT_EQ(co_await channel.receive(), 1);
            }
            co_await second;
            EXPECT_EQ(co_await channel.receive(), 2);
            EXPECT_EQ(channel.size(), 0u);
        }
    });
}

TEST(Channels, AWaitThatTimesOutLeavesTheChannelAsItWas) {
    support::run_virtual([]() -> Coroutine<> {
        Channel<int> channel;
        const auto late = co_await asyncio::as_result(asyncio::wait_for(channel.receive(), 1s));
        EXPECT_TRUE(late.holds<asyncio::TimeoutError>());
        co_await channel.send(1);
        EXPECT_EQ(co_await channel.receive(), 1);
    });
}

// ---- Channel, between loops --------------------------------------------------------------------

TEST(Channels, CarryObjectsBetweenLoops) {
    run([]() -> Coroutine<> {
        Channel<std::string> questions(3);
        Channel<std::string> answers(3);
        auto work = [questions, answers]() -> Coroutine<> {
            while (auto question = co_await questions.receive()) {
                co_await answers.send(*question + '!');
            }
        };
        auto workers = asyncio::create_task(run_on_threads(2, work));
        auto send = [questions]() -> Coroutine<> {
            for (int i = 0; i < 1000; ++i) co_await questions.send(std::to_string(i));
            questions.close();
        };
        auto ask = asyncio::create_task(send);
        std::set<std::string> seen;
        for (int i = 0; i < 1000; ++i) seen.insert(*co_await answers.receive());
        EXPECT_EQ(seen.size(), 1000u);
        EXPECT_TRUE(seen.contains("999!"));
        co_await ask;
        co_await workers;
    });
}

TEST(Channels, APlainThreadMaySend) {
    run([]() -> Coroutine<> {
        Channel<int> channel(1000);
        std::jthread thread([channel] {
            for (int i = 0; i < 1000; ++i) EXPECT_TRUE(channel.try_send(int(i)));
            channel.close();
        });
        int expected = 0;
        while (auto item = co_await channel.receive()) EXPECT_EQ(*item, expected++);
        EXPECT_EQ(expected, 1000);
        thread.join();
    });
}

// Senders and receivers on several loops, receivers and senders that give up all the time.
TEST(Channels, NothingIsLostAndNothingComesTwice) {
    constexpr int kEach = 2000;
    run([]() -> Coroutine<> {
        Channel<int> channel(4);
        std::atomic<int> senders = 2;
        std::mutex mutex;
        std::vector<int> received;
        auto send = [&](int thread) -> Coroutine<> {
            for (int i = 0; i < kEach; ++i) {
                int item = thread * kEach + i;
                for (int attempt = i; item >= 0; ++attempt) {
                    auto sending = [&]() -> Coroutine<> {
                        co_await channel.send_from(item);
                        item = -1;
                    };
                    auto task = asyncio::create_task(sending);
                    co_await iterations(attempt % 4);
                    if (attempt % 3 == 0) task.cancel();
                    static_cast<void>(co_await asyncio::as_result(task));
                }
            }
            if (--senders == 0) channel.close();
        };
        auto receive = [&]() -> Coroutine<> {
            std::vector<int> mine;
            for (int i = 0;; ++i) {
                auto task = asyncio::create_task(channel.receive());
                co_await iterations(i % 4);
                if (i % 3 == 0) task.cancel();
                const auto result = co_await asyncio::as_result(task);
                if (!result) continue;
                if (!result.value()) break;
                mine.push_back(*result.value());
            }
            const std::lock_guard lock(mutex);
            received.insert(received.end(), mine.begin(), mine.end());
        };
        auto factory = [&](int index) -> Coroutine<> {
            if (index < 2) {
                co_await send(index);
            } else {
                co_await receive();
            }
        };
        co_await run_on_threads(4, factory);
        std::sort(received.begin(), received.end());
        std::vector<int> expected(2 * kEach);
        std::iota(expected.begin(), expected.end(), 0);
        EXPECT_EQ(received, expected);
    });
}

// A loop that closes while its tasks wait, or have just been woken, does not swallow the wake-up.
TEST(Channels, AClosedLoopPassesItsWakeUpOn) {
    run([]() -> Coroutine<> {
        for (int i = 0; i < 50; ++i) {
            Channel<int> channel;
            std::atomic<bool> waiting = false;
            std::thread thread([&] {
                const support::LogCapture log;
                const auto loop = asyncio::new_event_loop();
                auto task = loop->create_task(channel.receive(), {});
                loop->run_until_complete(asyncio::sleep(0s));
                loop->run_until_complete(asyncio::sleep(0s));
                waiting = true;
                loop->close();
            });
            while (!waiting) co_await asyncio::sleep(0s);
            auto receiver = asyncio::create_task(channel.receive());
            co_await iterations(i % 3);
            co_await channel.send(i);
            const auto item = co_await asyncio::wait_for(receiver, 10s);
            EXPECT_EQ(item, i);
            thread.join();
        }
    });
}

// ---- what throws passes its wake-up on (L19), numbers (L17)
// -----------------------------------------

struct Unmovable {
    int value = 0;
    bool stuck = false;
    Unmovable() = default;
    explicit Unmovable(int v) : value(v) {}
    Unmovable(const Unmovable& o) : value(o.value), stuck(o.stuck) {
        if (stuck) throw asyncio::ValueError("stuck");
    }
    Unmovable& operator=(const Unmovable&) = default;
};

TEST(Channel, ASendThatThrowsPassesTheRoomOn) {  // L19
    run([]() -> Coroutine<> {
        Channel<Unmovable> channel(1);
        co_await channel.send(Unmovable(1));
        Unmovable bad(13);
        auto first = asyncio::create_task(channel.send_from(bad));
        auto second = asyncio::create_task(channel.send(Unmovable(2)));
        co_await asyncio::sleep(1ms);
        bad.stuck = true;
        EXPECT_EQ((co_await channel.receive())->value, 1);
        const auto item = co_await asyncio::as_result(asyncio::wait_for(channel.receive(), 10s));
        EXPECT_EQ(item.has_value() ? item.value()->value : 0, 2);
        EXPECT_TRUE((co_await asyncio::as_result(first)).holds<asyncio::ValueError>());
        second.cancel();
    });
}

TEST(Channel, RefusesANegativeCapacity) {  // L17
    for (const long n : {-1L, 0L, std::numeric_limits<long>::min()}) {
        EXPECT_THROW(Channel<int>{n}, asyncio::ValueError) << n;
    }
    EXPECT_EQ(Channel<int>(std::uint64_t{1} << 40).capacity(), std::size_t{1} << 40);
    EXPECT_EQ(Channel<int>().capacity(), 1u);
}

}  // namespace

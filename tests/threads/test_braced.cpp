// Braces in what is awaited, of aggregates with a destructor: g++ 12 makes them wrong by itself.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
#include "tracked.hpp"

namespace {

using asyncio::AsyncGenerator;
using asyncio::Coroutine;
using asyncio::Queue;
using support::run_virtual;
using support::Tracked;

struct Job {
    Tracked id;
    std::size_t size = 0;
};
struct BySize {
    bool operator()(const Job& a, const Job& b) const { return a.size < b.size; }
};
struct Pointer {
    std::unique_ptr<int> value;
    int size = 0;
};
struct ToJob {
    operator Job() const { return {8, 80}; }
};

Coroutine<std::size_t> later(std::size_t size) {
    co_await asyncio::sleep(asyncio::Duration(1));
    co_return size;
}

template <class Q>
Coroutine<std::string> taken(Q& queue) {
    std::string items;
    while (!queue.empty()) {
        const Job job = co_await queue.get();
        items += std::to_string(job.id.value()) + ":" + std::to_string(job.size) + " ";
    }
    co_return items;
}

class Braced : public testing::Test {
  protected:
    void TearDown() override {
        EXPECT_EQ(Tracked::wrong, 0);
        EXPECT_EQ(Tracked::alive.size(), 0u);
        Tracked::wrong = 0;
    }
};

TEST_F(Braced, PutTakesBraces) {
    auto main = []() -> Coroutine<> {
        Queue<Job> queue;
        const Tracked id(3);
        co_await queue.put({1, 10});
        co_await queue.put({id, 20});
        co_await queue.put({id});
        co_await queue.put({});
        co_await queue.put({4, co_await later(40)});
        co_await (queue.put({5, 50}));
        EXPECT_EQ(co_await taken(queue), "1:10 3:20 3:0 0:0 4:40 5:50 ");
    };
    run_virtual(main);
}

TEST_F(Braced, PutTakesAllThatIsNotInBraces) {
    auto main = []() -> Coroutine<> {
        Queue<Job> queue;
        Job named{1, 10};
        const Job constant{2, 20};
        co_await queue.put(named);
        co_await queue.put(constant);
        co_await queue.put(std::move(named));
        co_await queue.put(asyncio::make<Job>(3, 30u));
        co_await queue.put(ToJob());
        co_await queue.emplace(4, 40u);
        EXPECT_EQ(co_await taken(queue), "1:10 2:20 1:10 3:30 8:80 4:40 ");
    };
    run_virtual(main);
}

TEST_F(Braced, BracesOutsideOfAnAwaitGoOnCompiling) {
    auto main = []() -> Coroutine<> {
        Queue<Job> queue;
        const Tracked id(1);
        auto put = queue.put({id, 10});
        co_await std::move(put);
        auto task = asyncio::create_task(queue.put({id, 20}));
        co_await task;
        queue.put_nowait({id, 30});
        queue.put_nowait({.id = id, .size = 40});
        queue.put_nowait(Job{id, 50});
        EXPECT_EQ(co_await taken(queue), "1:10 1:20 1:30 1:40 1:50 ");
    };
    run_virtual(main);
}

TEST_F(Braced, PutOfAFullQueueHoldsItsItemAndDropsItWhenCancelled) {
    auto main = []() -> Coroutine<> {
        Queue<Job> queue(1);
        co_await queue.put({1, 10});
        auto waits = asyncio::create_task(queue.put({2, 20}));
        auto cancelled = asyncio::create_task(queue.put({3, 30}));
        co_await later(0);
        cancelled.cancel();
        EXPECT_EQ((co_await queue.get()).size, 10u);
        co_await waits;
        EXPECT_TRUE(cancelled.cancelled());
        EXPECT_EQ(co_await taken(queue), "2:20 ");
    };
    run_virtual(main);
}

TEST_F(Braced, EachKindOfQueueTakesThem) {
    auto main = []() -> Coroutine<> {
        asyncio::LifoQueue<Job> lifo;
        co_await lifo.put({1, 10});
        co_await lifo.put({2, 20});
        EXPECT_EQ(co_await taken(lifo), "2:20 1:10 ");
        asyncio::PriorityQueue<Job, BySize> ordered;
        co_await ordered.put({1, 30});
        co_await ordered.put({2, 20});
        EXPECT_EQ(co_await taken(ordered), "2:20 1:30 ");
        Queue<Pointer> pointers;
        co_await pointers.put({std::make_unique<int>(5), 1});
        Pointer named{std::make_unique<int>(6), 1};
        co_await pointers.put(std::move(named));
        EXPECT_EQ(*(co_await pointers.get()).value, 5);
        EXPECT_EQ(*(co_await pointers.get()).value, 6);
        Queue<std::string> strings;
        co_await strings.put("text");
        co_await strings.put({"text", 2});
        EXPECT_EQ(co_await strings.get() + co_await strings.get(), "textte");
    };
    run_virtual(main);
}

TEST_F(Braced, ChannelTakesThem) {
    auto main = []() -> Coroutine<> {
        const asyncio::Channel<Job> channel(6);
        const Tracked id(1);
        Job named{2, 20};
        co_await channel.send({id, 10});
        co_await channel.send({});
        co_await channel.send(named);
        co_await channel.send(std::move(named));
        co_await channel.send(asyncio::make<Job>(3, 30u));
        EXPECT_TRUE(channel.try_send({.id = id, .size = 40}));
        channel.close();
        std::string items;
        while (auto job = co_await channel.next()) items += std::to_string(job->size) + " ";
        EXPECT_EQ(items, "10 0 20 20 30 40 ");
    };
    asyncio::run(main);
}

AsyncGenerator<Job> jobs() {
    Job named{2, 20};
    const Job constant{3, 30};
    co_yield {1, 10};
    co_yield {1, co_await later(15)};
    co_yield {};
    co_yield named;
    co_yield constant;
    co_yield std::move(named);
    co_yield asyncio::make<Job>(4, 40u);
    co_yield ToJob();
}

AsyncGenerator<int, Job> echo() {
    Job job = co_yield 0;
    while (true) job = co_yield static_cast<int>(job.size);
}

TEST_F(Braced, GeneratorsYieldAndAreSentThem) {
    auto main = []() -> Coroutine<> {
        auto generator = jobs();
        std::string items;
        while (auto job = co_await generator.next()) items += std::to_string(job->size) + " ";
        EXPECT_EQ(items, "10 15 0 20 30 20 40 80 ");

        auto echoes = echo();
        Job named{2, 20};
        co_await echoes.next();
        EXPECT_EQ(co_await echoes.asend({1, 10}), 10);
        EXPECT_EQ(co_await echoes.asend(named), 20);
        EXPECT_EQ(co_await echoes.asend(asyncio::make<Job>(3, 30u)), 30);
        co_await echoes.aclose();
    };
    run_virtual(main);
}

}  // namespace

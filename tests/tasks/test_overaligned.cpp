// L5. Results, parameters, items and captures that are aligned to more than the pool's blocks are,
// as vectors of AVX are.
#include <asyncio/coroutines.hpp>
#include <asyncio/generators.hpp>
#include <asyncio/parallel.hpp>
#include <asyncio/queues.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::run_virtual;

// Each object looks where it is whenever something is done with it.
struct alignas(64) Vector {
    std::array<double, 4> v;

    explicit Vector(double first = 0) : v{first} { look(); }
    Vector(const Vector& o) : v(o.v) { look(); }
    Vector& operator=(const Vector& o) {
        v = o.v;
        look();
        return *this;
    }
    ~Vector() { look(); }
    bool operator<(const Vector& o) const { return v[0] < o.v[0]; }
    double first() const {
        look();
        return v[0];
    }

    static inline int misplaced = 0;

  private:
    void look() const {
        if (reinterpret_cast<std::uintptr_t>(this) % alignof(Vector) != 0) ++misplaced;
    }
};

class OverAligned : public testing::Test {
  protected:
    void SetUp() override { Vector::misplaced = 0; }
    void TearDown() override { EXPECT_EQ(Vector::misplaced, 0); }
};

Coroutine<Vector> make(double first) {
    Vector made(first);  // the frame is aligned as its result is, and so is what it declares
    co_await sleep(1ms);
    co_return made;
}
Coroutine<double> first_of(Vector vector) {
    co_await sleep(1ms);
    co_return vector.first();
}

TEST_F(OverAligned, ResultsAndParameters) {
    run_virtual([]() -> Coroutine<> {
        for (int i = 0; i < 8; ++i) {
            // Blocks of several sizes, so that not all are where they should be by chance.
            auto other = create_task(sleep(1s));
            EXPECT_EQ((co_await make(i)).first(), i);
            auto vector = std::make_unique<Vector>(i);
            EXPECT_EQ(co_await first_of(*vector), i);
        }
    });
    EXPECT_EQ(run_virtual(make(3)).first(), 3);
    make(4).close();
}

TEST_F(OverAligned, TasksAndFutures) {
    run_virtual([]() -> Coroutine<> {
        auto task = create_task(make(1));
        auto called = std::make_shared<double>(0);
        task.add_done_callback([called, vector = Vector(5)](const Task<Vector>& t) {
            *called = t.result().first() + vector.first();
        });
        EXPECT_EQ((co_await task).first(), 1);
        Future<Vector> future;
        future.set_result(*std::make_unique<Vector>(2));
        EXPECT_EQ((co_await future).first(), 2);
        EXPECT_EQ((co_await wait_for(make(3), 1s)).first(), 3);
        EXPECT_EQ((co_await shield(make(4))).first(), 4);
        EXPECT_EQ(*called, 6);
        auto both = std::make_unique<std::pair<Vector, Vector>>();
        auto list = std::make_unique<std::vector<Vector>>();
        co_await first_of(*std::make_unique<Vector>());
        std::vector<Coroutine<Vector>> coroutines;
        coroutines.push_back(make(6));
        coroutines.push_back(make(7));
        *list = co_await gather(std::move(coroutines));
        EXPECT_EQ((*list)[1].first(), 7);
    });
}

Coroutine<double> gathered(Vector) {
    auto [first, second] = co_await gather(make(1), make(2));
    auto result = co_await as_result(make(4));
    co_return first.first() + second.first() + result.value().first();
}

TEST_F(OverAligned, LocalsOfAFrameWithSuchAParameter) {
    EXPECT_EQ(run_virtual(gathered(Vector())), 7);
}

Coroutine<double> queued(Vector item) {
    Queue<Vector> queue(2);
    auto late = create_task([&queue]() -> Coroutine<Vector> { co_return co_await queue.get(); });
    co_await sleep(1ms);
    co_await queue.put(item);
    co_await queue.put(Vector(2));
    co_await queue.emplace(4);
    double sum = (co_await late).first();
    sum += (co_await queue.get()).first() + (co_await queue.get()).first();
    PriorityQueue<Vector> ordered;
    co_await ordered.put(Vector(16));
    co_await ordered.put(Vector(8));
    co_return sum + (co_await ordered.get()).first();
}

TEST_F(OverAligned, Queues) { EXPECT_EQ(run_virtual(queued(Vector(1))), 15); }

AsyncGenerator<Vector> count(int n) {
    for (int i = 0; i < n; ++i) {
        co_yield Vector(i);
        const Vector kept(i);
        co_yield kept;
    }
}
AsyncGenerator<double, Vector> sums() {
    double sum = 0;
    while (true) {
        const Vector sent = co_yield sum;
        sum += sent.first();
    }
}
Coroutine<double> generated(Vector) {
    double sum = 0;
    auto numbers = count(4);
    while (auto item = co_await numbers.next()) sum += item->first();
    auto adding = sums();
    co_await adding.next();
    co_await adding.asend(Vector(1));
    sum += *co_await adding.asend(Vector(2));
    co_await adding.aclose();
    co_return sum;
}

TEST_F(OverAligned, Generators) { EXPECT_EQ(run_virtual(generated(Vector())), 15); }

TEST_F(OverAligned, Callables) {
    run_virtual([]() -> Coroutine<> {
        auto sum = std::make_shared<double>(0);
        auto& loop = get_running_loop();
        for (int i = 0; i < 4; ++i) {
            loop.call_soon([sum, vector = Vector(1)] { *sum += vector.first(); });
            loop.call_later(1ms, [sum, vector = Vector(1)] { *sum += vector.first(); });
            loop.call_soon_threadsafe([sum, vector = Vector(1)] { *sum += vector.first(); });
        }
        co_await sleep(1s);
        EXPECT_EQ(*sum, 12);
    });
}

Coroutine<double> called(Vector) {
    const auto work = [vector = Vector(1)]() -> Coroutine<double> {
        co_await sleep(1ms);
        co_return vector.first();
    };
    const double sum = co_await work() + co_await create_task(work);
    const auto job = [vector = Vector(4)] { return vector; };
    const Vector done = co_await to_thread(job);
    auto future = run_coroutine_threadsafe(make(8), get_running_loop());
    const Vector wrapped = co_await wrap_future(future);
    co_return sum + done.first() + wrapped.first();
}

TEST_F(OverAligned, CallablesThatMakeCoroutinesAndThreads) { EXPECT_EQ(run(called(Vector())), 14); }

Coroutine<double> sent(Vector item) {
    Channel<Vector> channel(2);
    co_await channel.send(Vector(1));
    co_await channel.send_from(item);
    auto first = co_await channel.receive();
    auto second = co_await channel.receive();
    co_return first->first() + second->first();
}

TEST_F(OverAligned, Channels) { EXPECT_EQ(run(sent(Vector(2))), 3); }

}  // namespace

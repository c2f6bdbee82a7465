// queues.hpp, S-38, S-54, X-07, B-49, B-50. Orders and texts were compared with
// CPython 3.13's.
// ctest: optimised
#include <asyncio/queues.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <limits>
#include <memory>
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

// The exception that `call` raises, as repr() prints it.
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

// repr() without the name and the address.
template <class Q>
std::string state_of(const Q& queue) {
    const std::string text = queue.repr();
    const std::size_t begin = text.find("maxsize");
    return text.substr(begin, text.rfind('>') - begin);
}

detail::Sleep tick() { return sleep(0s); }

// Waits until a task is done, however it ends.
template <class T>
Coroutine<> end_of(Task<T>& task) {
    const auto outcome = co_await as_result(task);
    EXPECT_TRUE(task.done());
}

// Getters and putters of one queue, and what happens to them.
template <class Q = Queue<int>>
class Players {
  public:
    template <class... Args>
    explicit Players(Args... args) : queue(args...) {}
    Players(const Players&) = delete;
    Players& operator=(const Players&) = delete;
    ~Players() {
        for (auto& t : tasks) EXPECT_TRUE(t.done());
    }

    // Starts a task that gets once.
    Task<> get(std::string name) { return add(get_one(std::move(name))); }
    // Starts a task that puts once.
    Task<> put(std::string name, int item) { return add(put_one(std::move(name), item)); }
    void note() { log.push_back(state_of(queue)); }
    // Ends the tasks that wait.
    Coroutine<> close() {
        for (auto& t : tasks) t.cancel();
        for (auto& t : tasks) co_await end_of(t);
    }

    Q queue;
    Lines log;
    std::vector<Task<>> tasks;

  private:
    Task<> add(Coroutine<> player) {
        tasks.push_back(create_task(std::move(player)));
        return tasks.back();
    }
    Coroutine<> get_one(std::string name) {
        auto r = co_await as_result(queue.get());
        log.push_back(r.has_value() ? name + '=' + std::to_string(r.value())
                                    : name + ": " + text_of(r));
        if (r.template holds<CancelledError>()) std::rethrow_exception(r.error());
    }
    Coroutine<> put_one(std::string name, int item) {
        auto r = co_await as_result(queue.put(item));
        log.push_back(r.has_value() ? name + " put " + std::to_string(item)
                                    : name + ": " + text_of(r));
        if (r.template holds<CancelledError>()) std::rethrow_exception(r.error());
    }
};

static_assert(!std::is_copy_constructible_v<Queue<int>>);
static_assert(!std::is_move_constructible_v<Queue<int>>);
static_assert(!std::is_convertible_v<int, Queue<int>>);
static_assert(std::is_same_v<await_result_t<decltype(std::declval<Queue<int>&>().get())>, int>);
static_assert(std::is_void_v<await_result_t<decltype(std::declval<Queue<int>&>().put(1))>>);
static_assert(std::is_void_v<await_result_t<decltype(std::declval<Queue<int>&>().join())>>);

// ---- what it holds --------------------------------------------------------------------------

TEST(Queue, PutTakesAllThatMakesAnItem) {
    auto main = []() -> Coroutine<> {
        Queue<int*> pointers;
        co_await pointers.put(0);  // NOLINT(modernize-use-nullptr)
        co_await pointers.put(nullptr);
        Queue<std::unique_ptr<int>> owners;
        co_await owners.put(nullptr);
        co_await owners.put({});
        Queue<std::string> texts;
        const std::string kept = "kept";
        co_await texts.put(kept);
        co_await texts.put("text");
        EXPECT_EQ(pointers.qsize() + owners.qsize() + texts.qsize(), 6u);
        EXPECT_EQ(kept, "kept");
        EXPECT_EQ(co_await texts.get(), "kept");
    };
    run_virtual(main());
}

TEST(Queue, KnowsItsSize) {
    Queue<int> queue{2};
    EXPECT_EQ(queue.maxsize(), 2U);
    EXPECT_TRUE(queue.empty());
    EXPECT_FALSE(queue.full());
    queue.put_nowait(1);
    EXPECT_FALSE(queue.empty() || queue.full());
    queue.put_nowait(2);
    EXPECT_TRUE(queue.full());
    EXPECT_EQ(queue.qsize(), 2U);
    EXPECT_EQ(raised([&] { queue.put_nowait(3); }), "QueueFull()");
    EXPECT_EQ(queue.get_nowait(), 1);
    EXPECT_EQ(queue.get_nowait(), 2);
    EXPECT_EQ(raised([&] { queue.get_nowait(); }), "QueueEmpty()");
}

TEST(Queue, WithoutALimitIsNeverFull) {
    Queue<int> none;
    Queue<int> zero(0);
    Queue<int> negative(-1);
    Queue<int> huge(std::numeric_limits<std::uint64_t>::max());
    for (auto* queue : {&none, &zero, &negative, &huge}) {
        EXPECT_EQ(queue->maxsize(), queue == &huge ? std::numeric_limits<std::size_t>::max() : 0U);
        for (int i = 0; i < 5000; ++i) queue->put_nowait(i);
        EXPECT_FALSE(queue->full());
        for (int i = 0; i < 5000; ++i) EXPECT_EQ(queue->get_nowait(), i);
    }
    Queue<int> small(std::uint8_t{200});
    EXPECT_EQ(small.maxsize(), 200U);
}

TEST(Queue, IsFirstInFirstOut) {
    Queue<std::string> queue;
    std::vector<std::string> expected;
    std::vector<std::string> got;
    int next = 0;
    // Grows while its ring is turned, runs empty, grows again.
    for (int round = 0; round < 40; ++round) {
        for (int i = 0; i < round * 7; ++i) {
            expected.push_back("a string that is too long for itself " + std::to_string(next));
            queue.put_nowait(expected.back());
            ++next;
        }
        for (int i = 0; i < round * 6; ++i) got.push_back(queue.get_nowait());
        if (round % 13 == 0) {
            while (!queue.empty()) got.push_back(queue.get_nowait());
        }
    }
    while (!queue.empty()) got.push_back(queue.get_nowait());
    EXPECT_EQ(got, expected);
}

// Counts those alive.
class Counted {
  public:
    explicit Counted(int value) : value_(value) { ++alive; }
    Counted(Counted&& o) noexcept : value_(o.value_) { ++alive; }
    Counted& operator=(Counted&& o) noexcept = default;
    ~Counted() { --alive; }
    int value() const { return value_; }
    bool operator<(const Counted& o) const { return value_ < o.value_; }

    static inline int alive = 0;

  private:
    int value_;
};

TEST(Queue, DestroysWhatIsLeftInIt) {
    {
        Queue<Counted> queue;
        PriorityQueue<Counted> priority;
        LifoQueue<Counted> lifo;
        for (int i = 0; i < 3000; ++i) {
            queue.put_nowait(Counted(i));
            priority.put_nowait(Counted(i));
            lifo.put_nowait(Counted(i));
        }
        for (int i = 0; i < 1000; ++i) {
            EXPECT_EQ(queue.get_nowait().value(), i);
            EXPECT_EQ(priority.get_nowait().value(), i);
            EXPECT_EQ(lifo.get_nowait().value(), 2999 - i);
        }
        EXPECT_EQ(Counted::alive, 6000);
        queue.shutdown(true);
        EXPECT_EQ(Counted::alive, 4000);
    }
    EXPECT_EQ(Counted::alive, 0);
}

TEST(Queue, TakesMoveOnlyItemsWithoutADefault) {
    class Item {
      public:
        Item(std::string name, int size) : name_(std::move(name)), size_(size) {}
        Item(Item&&) = default;
        Item& operator=(Item&&) = default;
        std::string text() const { return name_ + std::to_string(size_); }

      private:
        std::string name_;
        int size_;
    };
    auto main = []() -> Coroutine<> {
        Queue<Item> queue(2);
        co_await queue.emplace("a", 20);
        co_await queue.put(Item("b", 21));
        auto blocked = create_task(queue.emplace("c", 22));
        EXPECT_EQ((co_await queue.get()).text(), "a20");
        co_await blocked;
        EXPECT_EQ((co_await queue.get()).text(), "b21");
        EXPECT_EQ((co_await queue.get()).text(), "c22");

        Queue<std::unique_ptr<int>> pointers;
        auto getter = create_task(pointers.get());
        co_await tick();
        co_await pointers.put(std::make_unique<int>(5));
        EXPECT_EQ(*(co_await std::move(getter)), 5);
        auto r = co_await as_result(wait_for(pointers.get(), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());

        // Users' aggregates, which g++ 12 does not make right inside a co_await.
        struct Job {
            std::string name;
            int priority;
        };
        Queue<Job> jobs;
        co_await jobs.emplace("a name that is too long for itself", 3);
        EXPECT_EQ((co_await jobs.get()).name, "a name that is too long for itself");
    };
    run_virtual(main);
}

TEST(Queue, HoldsPointersAndItsOwnAwaitables) {
    auto main = []() -> Coroutine<> {
        int a = 1;
        int* pointer = &a;
        Queue<int*> queue(1);
        co_await queue.put_from(pointer);
        EXPECT_EQ(co_await queue.get(), &a);
        co_await queue.put(&a);
        EXPECT_EQ(co_await queue.get(), &a);
    };
    run_virtual(main);
}

// An item whose move fails when it is told to.
class Fragile {
  public:
    explicit Fragile(int value) : value_(value) {}
    Fragile(const Fragile& o) : value_(o.value_) { check(); }
    Fragile& operator=(const Fragile& o) {
        check();
        value_ = o.value_;
        return *this;
    }
    int value() const { return value_; }

    static inline int fails_after = -1;

  private:
    static void check() {
        if (fails_after < 0) return;
        if (fails_after-- == 0) throw ValueError("fragile");
    }
    int value_;
};

struct LessFragile {
    bool operator()(const Fragile& a, const Fragile& b) const { return a.value() < b.value(); }
};

// Each move of the put fails once.
TEST(PriorityQueue, StaysAsItIsWhenAnItemCannotBeMoved) {  // L19
    bool put = false;
    for (int fails_after = 0; !put; ++fails_after) {
        PriorityQueue<Fragile, LessFragile> queue;
        for (int i = 1; i <= 11; ++i) queue.put_nowait(Fragile(i));
        Fragile::fails_after = fails_after;
        try {
            queue.put_nowait(Fragile(0));
            put = true;
        } catch (const ValueError&) {
            // As is wanted.
        }
        Fragile::fails_after = -1;
        EXPECT_EQ(queue.qsize(), put ? 12U : 11U);
        for (int i = put ? 0 : 1; i <= 11; ++i) {
            EXPECT_EQ(queue.get_nowait().value(), i) << fails_after;
        }
        EXPECT_TRUE(queue.empty());
    }
}

TEST(Queue, StaysAsItIsWhenAnItemCannotBeMoved) {
    Queue<Fragile> queue;
    for (int i = 0; i < 4; ++i) queue.put_nowait(Fragile(i));
    Fragile::fails_after = 2;  // the ring grows and fails half-way
    EXPECT_EQ(raised([&] { queue.put_nowait(Fragile(9)); }), "ValueError('fragile')");
    Fragile::fails_after = 0;
    EXPECT_EQ(raised([&] { queue.get_nowait(); }), "ValueError('fragile')");
    Fragile::fails_after = -1;
    EXPECT_EQ(queue.qsize(), 4U);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(queue.get_nowait().value(), i);
}

TEST(Queue, PrintsAsPythons) {
    Queue<std::string> queue(3);
    EXPECT_EQ(queue.repr().find("<Queue at 0x"), 0U);
    EXPECT_EQ(asyncio::repr(queue), queue.repr());
    EXPECT_EQ(state_of(queue), "maxsize=3");
    queue.put_nowait("a");
    queue.put_nowait("b");
    EXPECT_EQ(state_of(queue), "maxsize=3 _queue=['a', 'b'] tasks=2");
    queue.shutdown();
    EXPECT_EQ(state_of(queue), "maxsize=3 _queue=['a', 'b'] tasks=2 shutdown");
    LifoQueue<int> lifo;
    lifo.put_nowait(1);
    EXPECT_EQ(lifo.repr().find("<LifoQueue at 0x"), 0U);
    EXPECT_EQ(state_of(lifo), "maxsize=0 _queue=[1] tasks=1");
    PriorityQueue<int> priority;
    EXPECT_EQ(priority.repr().find("<PriorityQueue at 0x"), 0U);
    for (int i : {5, 2, 8, 1, 9, 2, 0}) priority.put_nowait(i);
    EXPECT_EQ(state_of(priority), "maxsize=0 _queue=[0, 2, 1, 5, 9, 8, 2] tasks=7");
}

TEST(PriorityQueue, GivesTheLeastFirst) {
    auto main = []() -> Coroutine<> {
        PriorityQueue<std::pair<int, std::string>> queue;
        co_await queue.emplace(2, "b");
        co_await queue.emplace(1, "z");
        co_await queue.emplace(2, "a");
        co_await queue.emplace(3, "c");
        Lines got;
        while (!queue.empty()) got.push_back((co_await queue.get()).second);
        EXPECT_EQ(got, (Lines{"z", "a", "b", "c"}));
    };
    run_virtual(main);
}

// What CPython 3.13's heapq gives for these, by the first number only.
TEST(PriorityQueue, OrdersEqualItemsAsHeapq) {
    using Item = std::pair<int, int>;
    struct ByFirst {
        bool operator()(const Item& a, const Item& b) const { return a.first < b.first; }
    };
    PriorityQueue<Item, ByFirst> queue;
    for (int i = 0; i < 12; ++i) queue.put_nowait(Item(i * 5 % 3, i));
    std::vector<int> got;
    for (int i = 0; i < 6; ++i) got.push_back(queue.get_nowait().second);
    for (int i = 12; i < 18; ++i) queue.put_nowait(Item(i * 5 % 3, i));
    while (!queue.empty()) got.push_back(queue.get_nowait().second);
    EXPECT_EQ(got,
              (std::vector<int>{0, 6, 3, 9, 2, 11, 12, 15, 5, 17, 8, 14, 7, 10, 4, 1, 16, 13}));
}

TEST(PriorityQueue, TakesAComparisonWithState) {
    auto reversed = true;
    auto less = [&reversed](int a, int b) { return reversed ? b < a : a < b; };
    PriorityQueue<int, decltype(less)> queue(0, less);
    for (int i : {3, 1, 2}) queue.put_nowait(i);
    EXPECT_EQ(queue.get_nowait(), 3);
    EXPECT_EQ(queue.get_nowait(), 2);
    EXPECT_EQ(queue.get_nowait(), 1);
}

TEST(PriorityQueue, SortsManyMoveOnlyItems) {
    struct Less {
        bool operator()(const std::unique_ptr<int>& a, const std::unique_ptr<int>& b) const {
            return *a < *b;
        }
    };
    PriorityQueue<std::unique_ptr<int>, Less> queue;
    std::uint32_t x = 1;
    std::vector<int> expected;
    for (int i = 0; i < 1000; ++i) {
        x = x * 1664525 + 1013904223;
        expected.push_back(static_cast<int>(x >> 22));
        queue.put_nowait(std::make_unique<int>(expected.back()));
    }
    std::sort(expected.begin(), expected.end());
    for (int e : expected) EXPECT_EQ(*queue.get_nowait(), e);
}

TEST(PriorityQueue, StaysAsItIsWhenAComparisonFails) {
    int fails_after = -1;
    auto less = [&](int a, int b) {
        if (fails_after >= 0 && fails_after-- == 0) throw TypeError("'<' not supported");
        return a < b;
    };
    PriorityQueue<int, decltype(less)> queue(0, less);
    for (int i = 20; i > 0; --i) queue.put_nowait(i);
    for (int n = 0; n < 3; ++n) {
        fails_after = n;
        EXPECT_EQ(raised([&] { queue.put_nowait(0); }), "TypeError(\"'<' not supported\")");
        fails_after = n;
        EXPECT_EQ(raised([&] { queue.get_nowait(); }), "TypeError(\"'<' not supported\")");
    }
    fails_after = -1;
    EXPECT_EQ(queue.qsize(), 20U);
    for (int i = 1; i <= 20; ++i) EXPECT_EQ(queue.get_nowait(), i);
}

TEST(LifoQueue, GivesTheLastFirst) {
    auto main = []() -> Coroutine<> {
        LifoQueue<int> queue(2);
        co_await queue.put(1);
        co_await queue.put(2);
        auto third = create_task(queue.put(3));
        co_await tick();
        EXPECT_EQ(co_await queue.get(), 2);
        co_await third;
        EXPECT_EQ(co_await queue.get(), 3);
        EXPECT_EQ(co_await queue.get(), 1);
    };
    run_virtual(main);
}

// A store of a user's own: every second item first.
class OddFirst {
  public:
    using value_type = int;
    static constexpr const char* name = "OddFirstQueue";

    void push(int& item) { items_.insert(item % 2 ? items_.begin() : items_.end(), item); }
    int pop() {
        const int first = items_.front();
        items_.erase(items_.begin());
        return first;
    }
    template <class F>
    void each(F f) const {
        for (int i : items_) f(i);
    }

  private:
    std::vector<int> items_;
};

TEST(Queue, TakesAStoreOfOnesOwn) {
    auto main = []() -> Coroutine<> {
        Queue<int, OddFirst> queue;
        for (int i = 1; i < 5; ++i) co_await queue.put(i);
        EXPECT_EQ(state_of(queue), "maxsize=0 _queue=[3, 1, 2, 4] tasks=4");
        EXPECT_EQ(queue.repr().find("<OddFirstQueue at"), 0U);
        EXPECT_EQ(co_await queue.get(), 3);
    };
    run_virtual(main);
}

// ---- waiting --------------------------------------------------------------------------------

TEST(Queue, DoesNotSuspendWhenItNeedNot) {
    auto main = []() -> Coroutine<> {
        Queue<int> queue(2);
        bool ran = false;
        get_running_loop().call_soon([&] { ran = true; });
        co_await queue.put(1);
        co_await queue.put(2);
        EXPECT_EQ(co_await queue.get(), 1);
        EXPECT_EQ(co_await queue.get(), 2);
        EXPECT_FALSE(ran);
        co_await tick();
        EXPECT_TRUE(ran);
    };
    run_virtual(main);
}

TEST(Queue, GetWaitsForAnItem) {  // Q-04, S-38
    auto main = []() -> Coroutine<> {
        Players<> p;
        p.get("g1");
        p.get("g2");
        co_await tick();
        p.note();
        p.queue.put_nowait(1);
        p.note();
        co_await tick();
        p.queue.put_nowait(2);
        EXPECT_EQ(p.log.back(), "g1=1");
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=0 _getters[2]", "maxsize=0 _queue=[1] _getters[1] tasks=1",
                                "g1=1", "g2=2", "maxsize=0 tasks=2"}));
    };
    run_virtual(main);
}

TEST(Queue, PutWaitsForRoom) {  // Q-02, S-38
    auto main = []() -> Coroutine<> {
        Players<> p(1);
        p.queue.put_nowait(0);
        p.put("p1", 1);
        p.put("p2", 2);
        co_await tick();
        p.note();
        EXPECT_EQ(co_await p.queue.get(), 0);
        p.note();
        co_await tick();
        EXPECT_EQ(co_await p.queue.get(), 1);
        co_await tick();
        EXPECT_EQ(p.queue.get_nowait(), 2);
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=1 _queue=[0] _putters[2] tasks=1",
                                "maxsize=1 _putters[1] tasks=1", "p1 put 1", "p2 put 2",
                                "maxsize=1 tasks=3"}));
    };
    run_virtual(main);
}

TEST(Queue, OvertakenPutterWaitsAgainAtTheEndOfTheLine) {
    auto main = []() -> Coroutine<> {
        Players<> p(1);
        p.queue.put_nowait(0);
        p.put("p1", 1);
        p.put("p2", 2);
        co_await tick();
        p.queue.get_nowait();
        p.queue.put_nowait(9);
        p.note();
        co_await tick();
        p.note();
        for (int i = 0; i < 3; ++i) {
            p.log.push_back(std::to_string(co_await p.queue.get()));
            co_await tick();
        }
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=1 _queue=[9] _putters[1] tasks=2",
                                "maxsize=1 _queue=[9] _putters[2] tasks=2", "9", "p2 put 2", "2",
                                "p1 put 1", "1", "maxsize=1 tasks=4"}));
    };
    run_virtual(main);
}

TEST(Queue, OvertakenGetterWaitsAgainAtTheEndOfTheLine) {  // Q-04, B-49
    auto main = []() -> Coroutine<> {
        Players<> p;
        p.get("g1");
        p.get("g2");
        co_await tick();
        p.queue.put_nowait(1);
        p.note();
        p.queue.get_nowait();
        p.note();
        co_await tick();
        p.note();
        p.queue.put_nowait(2);
        co_await tick();
        p.queue.put_nowait(3);
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=0 _queue=[1] _getters[1] tasks=1",
                                "maxsize=0 _getters[1] tasks=1", "maxsize=0 _getters[2] tasks=1",
                                "g2=2", "g1=3", "maxsize=0 tasks=3"}));
    };
    run_virtual(main);
}

TEST(Queue, TwoGettersWokenForOneItem) {
    auto main = []() -> Coroutine<> {
        Players<> p(1);
        p.get("g1");
        p.get("g2");
        co_await tick();
        co_await p.queue.put(10);
        EXPECT_EQ(co_await p.queue.get(), 10);
        co_await p.queue.put(11);
        p.note();
        co_await tick();
        p.note();
        co_await p.close();
        EXPECT_EQ(p.log, (Lines{"maxsize=1 _queue=[11] tasks=2", "g1=11",
                                "maxsize=1 _getters[1] tasks=2", "g2: CancelledError()"}));
    };
    run_virtual(main);
}

TEST(Queue, OvertakenAgainAndAgain) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        p.get("g");
        for (int i = 0; i < 1000; ++i) {
            co_await tick();
            p.queue.put_nowait(i);
            EXPECT_EQ(p.queue.get_nowait(), i);
        }
        co_await tick();
        EXPECT_EQ(p.log, Lines{});
        EXPECT_EQ(p.tasks[0].get_stack().size(), 1U);
        p.queue.put_nowait(7);
        co_await tick();
        EXPECT_EQ(p.log, (Lines{"g=7"}));
    };
    run_virtual(main);
}

TEST(Queue, PassesEveryItemFromManyProducersToManyConsumers) {
    auto main = [](std::size_t maxsize) -> Coroutine<> {
        Queue<int> queue(maxsize);
        std::vector<int> got;
        auto producer = [&](int first) -> Coroutine<> {
            for (int i = 0; i < 100; ++i) {
                co_await queue.put(first + i);
                if (i % 7 == 0) co_await tick();
            }
        };
        auto consumer = [&](int pace) -> Coroutine<> {
            for (;;) {
                auto r = co_await as_result(queue.get());
                if (r.holds<QueueShutDown>()) co_return;
                got.push_back(r.value());
                queue.task_done();
                if (static_cast<int>(got.size()) % pace == 0) co_await tick();
            }
        };
        std::vector<Task<>> producers;
        std::vector<Task<>> consumers;
        for (int i = 0; i < 5; ++i) producers.push_back(create_task(producer(i * 100)));
        for (int i = 2; i < 6; ++i) consumers.push_back(create_task(consumer(i)));
        for (auto& t : producers) co_await t;
        co_await queue.join();
        queue.shutdown();
        for (auto& t : consumers) co_await t;
        EXPECT_EQ(got.size(), 500U);
        std::sort(got.begin(), got.end());
        for (int i = 0; i < 500; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
    };
    for (std::size_t maxsize : {1, 2, 3, 10, 0}) run_virtual(main(maxsize));
}

TEST(Queue, AnItemCostsNoAllocation) {
    auto main = []() -> Coroutine<> {
        Queue<int> queue(1);
        auto producer = [&]() -> Coroutine<> {
            for (int i = 0; i < 2000; ++i) co_await queue.put(i);
        };
        auto task = create_task(producer);
        int sum = 0;
        for (int i = 0; i < 500; ++i) sum += co_await queue.get();
        const std::size_t before = support::system_blocks;
        for (int i = 0; i < 1500; ++i) sum += co_await queue.get();
        EXPECT_EQ(support::system_blocks, before);
        EXPECT_EQ(sum, 1999 * 1000);
        co_await task;
    };
    run_virtual(main);
}

TEST(Queue, AwaitablesAreLikeAnyOther) {  // T-34
    auto main = []() -> Coroutine<> {
        Queue<int> queue(1);
        auto got = create_task(queue.get());
        co_await create_task(queue.put(1));
        EXPECT_EQ(co_await got, 1);
        auto pair = co_await gather(queue.put(2), queue.get());
        EXPECT_EQ(std::get<1>(pair), 2);
        auto r = co_await as_result(queue.put(3));
        EXPECT_TRUE(r.has_value());
        auto timed = co_await as_result(wait_for(queue.put(4), 1s));
        EXPECT_TRUE(timed.holds<TimeoutError>());
        EXPECT_EQ(state_of(queue), "maxsize=1 _queue=[3] tasks=3");

        auto getting = queue.get();
        EXPECT_EQ(co_await getting, 3);
        auto again = co_await as_result(getting);
        EXPECT_EQ(text_of(again), "RuntimeError('cannot reuse already awaited coroutine')");
        auto putting = queue.put(5);
        co_await putting;
        auto twice = co_await as_result(putting);
        EXPECT_EQ(text_of(twice), "RuntimeError('cannot reuse already awaited coroutine')");
        EXPECT_EQ(queue.qsize(), 1U);
    };
    run_virtual(main);
}

// ---- cancelling -----------------------------------------------------------------------------

TEST(Queue, WokenGetterThatIsCancelledWakesTheNext) {  // Q-06, S-54, B-49
    auto main = []() -> Coroutine<> {
        Players<> p;
        auto a = p.get("a");
        p.get("b");
        co_await tick();
        p.queue.put_nowait(1);
        a.cancel("x");
        co_await tick();
        p.note();
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"a: CancelledError('x')", "maxsize=0 _queue=[1] tasks=1", "b=1",
                                "maxsize=0 tasks=1"}));
    };
    run_virtual(main);
}

TEST(Queue, WokenGetterThatIsCancelledWakesNobodyForNothing) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        auto a = p.get("a");
        p.get("b");
        co_await tick();
        p.queue.put_nowait(1);
        a.cancel("x");
        p.queue.get_nowait();
        co_await tick();
        p.note();
        co_await tick();
        p.note();
        co_await p.close();
        EXPECT_EQ(p.log, (Lines{"a: CancelledError('x')", "maxsize=0 _getters[1] tasks=1",
                                "maxsize=0 _getters[1] tasks=1", "b: CancelledError()"}));
    };
    run_virtual(main);
}

TEST(Queue, PutSkipsACancelledGetter) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        auto a = p.get("a");
        p.get("b");
        co_await tick();
        a.cancel("x");
        p.note();
        p.queue.put_nowait(1);
        p.note();
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=0 _getters[2]", "maxsize=0 _queue=[1] tasks=1",
                                "a: CancelledError('x')", "b=1", "maxsize=0 tasks=1"}));
    };
    run_virtual(main);
}

TEST(Queue, OvertakenGetterCanBeCancelled) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        auto a = p.get("a");
        p.get("b");
        co_await tick();
        p.queue.put_nowait(1);
        p.queue.get_nowait();
        co_await tick();
        a.cancel("x");
        p.queue.put_nowait(2);
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"a: CancelledError('x')", "b=2", "maxsize=0 tasks=2"}));
    };
    run_virtual(main);
}

TEST(Queue, CancelledGettersLeaveTheLine) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        auto first = p.get("1");
        auto middle = p.get("2");
        auto last = p.get("3");
        p.get("4");
        co_await tick();
        for (auto* t : {&last, &first, &middle}) {
            t->cancel();
            co_await tick();
        }
        p.note();
        p.queue.put_nowait(5);
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"3: CancelledError()", "1: CancelledError()", "2: CancelledError()",
                                "maxsize=0 _getters[1]", "4=5", "maxsize=0 tasks=1"}));
    };
    run_virtual(main);
}

TEST(Queue, WokenPutterThatIsCancelledWakesTheNext) {  // Q-06, S-54, B-49
    auto main = []() -> Coroutine<> {
        Players<> p(1);
        p.queue.put_nowait(0);
        auto a = p.put("a", 1);
        p.put("b", 2);
        co_await tick();
        p.queue.get_nowait();
        a.cancel("x");
        co_await tick();
        p.note();
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"a: CancelledError('x')", "maxsize=1 tasks=1", "b put 2",
                                "maxsize=1 _queue=[2] tasks=2"}));
    };
    run_virtual(main);
}

TEST(Queue, WokenPutterThatIsCancelledWakesNobodyForNothing) {
    auto main = []() -> Coroutine<> {
        Players<> p(1);
        p.queue.put_nowait(0);
        auto a = p.put("a", 1);
        p.put("b", 2);
        co_await tick();
        p.queue.get_nowait();
        a.cancel("x");
        p.queue.put_nowait(7);
        co_await tick();
        p.note();
        co_await tick();
        p.note();
        co_await p.close();
        EXPECT_EQ(p.log,
                  (Lines{"a: CancelledError('x')", "maxsize=1 _queue=[7] _putters[1] tasks=2",
                         "maxsize=1 _queue=[7] _putters[1] tasks=2", "b: CancelledError()"}));
    };
    run_virtual(main);
}

TEST(Queue, GetSkipsACancelledPutter) {
    auto main = []() -> Coroutine<> {
        Players<> p(1);
        p.queue.put_nowait(0);
        auto a = p.put("a", 1);
        p.put("b", 2);
        co_await tick();
        a.cancel();
        EXPECT_EQ(co_await p.queue.get(), 0);
        co_await tick();
        EXPECT_EQ(co_await p.queue.get(), 2);
        EXPECT_EQ(p.log, (Lines{"a: CancelledError()", "b put 2"}));
    };
    run_virtual(main);
}

TEST(Queue, CancelThatIsDueIsDeliveredOnlyIfItMustWait) {  // S-45
    auto main = []() -> Coroutine<> {
        Queue<int> queue(1);
        Lines log;
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel("one");
            co_await queue.put(1);
            auto full = co_await as_result(queue.put(2));
            log.push_back(text_of(full));
            current_task().cancel("two");
            EXPECT_EQ(co_await queue.get(), 1);
            auto empty = co_await as_result(queue.get());
            log.push_back(text_of(empty));
        };
        auto task = create_task(itself);
        co_await task;
        EXPECT_EQ(log, (Lines{"CancelledError('one')", "CancelledError('two')"}));
        EXPECT_EQ(state_of(queue), "maxsize=1 tasks=1");
    };
    run_virtual(main);
}

TEST(Queue, CancelledPutFromLeavesTheItemWithTheCaller) {
    auto main = []() -> Coroutine<> {
        Queue<std::unique_ptr<int>> queue(1);
        auto item = std::make_unique<int>(1);
        co_await queue.put_from(item);
        EXPECT_FALSE(item);
        item = std::make_unique<int>(2);
        auto waiting = create_task(queue.put_from(item));
        co_await tick();
        waiting.cancel();
        co_await end_of(waiting);
        EXPECT_EQ(*item, 2);

        auto woken = create_task(queue.put_from(item));
        co_await tick();
        EXPECT_EQ(*(co_await queue.get()), 1);
        woken.cancel();
        co_await end_of(woken);
        EXPECT_TRUE(woken.cancelled());
        EXPECT_EQ(*item, 2);
        EXPECT_TRUE(queue.empty());

        auto succeeds = create_task(queue.put_from(item));
        co_await succeeds;
        EXPECT_FALSE(item);
        auto more = std::make_unique<int>(3);
        EXPECT_EQ(raised([&] { queue.put_nowait(std::move(more)); }), "QueueFull()");
        EXPECT_EQ(*more, 3);
        queue.shutdown();
        auto r = co_await as_result(queue.put_from(more));
        EXPECT_TRUE(r.holds<QueueShutDown>());
        EXPECT_EQ(*more, 3);
    };
    run_virtual(main);
}

TEST(Queue, CancelledPutDropsItsItem) {
    auto main = []() -> Coroutine<> {
        Queue<Counted> queue(1);
        co_await queue.emplace(1);
        {
            auto waiting = create_task(queue.put(Counted(2)));
            co_await tick();
            EXPECT_EQ(Counted::alive, 2);
            waiting.cancel();
            co_await end_of(waiting);
        }
        EXPECT_EQ(Counted::alive, 1);
    };
    run_virtual(main);
    EXPECT_EQ(Counted::alive, 0);
}

TEST(Queue, TimeoutsLoseNoItem) {
    auto main = []() -> Coroutine<> {
        Queue<int> queue;
        std::vector<int> got;
        auto producer = [&]() -> Coroutine<> {
            for (int i = 0; i < 50; ++i) {
                co_await sleep(1s);
                queue.put_nowait(i);
            }
        };
        auto task = create_task(producer);
        // The item and the timeout come in the same iteration now and then.
        while (got.size() < 50) {
            auto r = co_await as_result(wait_for(queue.get(), 500ms));
            if (r.has_value()) got.push_back(r.value());
        }
        for (int i = 0; i < 50; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
        co_await task;
    };
    run_virtual(main);
}

// ---- join and shutdown ----------------------------------------------------------------------

TEST(Queue, JoinWaitsUntilAllIsDone) {  // Q-07, S-38
    auto main = []() -> Coroutine<> {
        Queue<int> queue;
        co_await queue.join();  // nothing was put
        queue.put_nowait(1);
        queue.put_nowait(2);
        auto joined = create_task(queue.join());
        auto other = create_task(queue.join());
        co_await tick();
        EXPECT_EQ(queue.get_nowait(), 1);
        EXPECT_EQ(queue.get_nowait(), 2);
        queue.task_done();
        co_await tick();
        EXPECT_FALSE(joined.done());
        queue.task_done();
        queue.put_nowait(3);  // they were released all the same
        co_await tick();
        EXPECT_TRUE(joined.done() && other.done());
        EXPECT_EQ(state_of(queue), "maxsize=0 _queue=[3] tasks=1");
    };
    run_virtual(main);
}

TEST(Queue, TaskDoneTooOftenIsAnError) {  // Q-07, B-49
    Queue<int> queue;
    const std::string expected = "ValueError('task_done() called too many times')";
    EXPECT_EQ(raised([&] { queue.task_done(); }), expected);
    queue.put_nowait(1);
    queue.task_done();
    EXPECT_EQ(raised([&] { queue.task_done(); }), expected);
}

TEST(Queue, JoinCanBeCancelled) {  // Q-07, S-44
    auto main = []() -> Coroutine<> {
        Queue<int> queue;
        queue.put_nowait(1);
        auto waiting = create_task(queue.join());
        auto late = create_task(queue.join());
        co_await tick();
        waiting.cancel("x");
        auto r = co_await as_result(waiting);
        EXPECT_EQ(text_of(r), "CancelledError('x')");
        queue.task_done();
        late.cancel();
        co_await end_of(late);
        EXPECT_TRUE(late.cancelled());
        auto itself = [&]() -> Coroutine<> {
            current_task().cancel();
            queue.put_nowait(2);
            co_await queue.join();
        };
        auto own = create_task(itself);
        co_await end_of(own);
        EXPECT_TRUE(own.cancelled());
    };
    run_virtual(main);
}

TEST(Queue, ShutDownGivesWhatIsLeft) {
    auto main = []() -> Coroutine<> {
        Players<> p(2);
        p.queue.put_nowait(1);
        p.queue.put_nowait(2);
        p.put("p", 3);
        co_await tick();
        p.queue.shutdown();
        p.note();
        co_await tick();
        p.log.push_back(raised([&] { p.queue.put_nowait(4); }));
        EXPECT_EQ(p.queue.get_nowait(), 1);
        EXPECT_EQ(co_await p.queue.get(), 2);
        p.log.push_back(raised([&] { p.queue.get_nowait(); }));
        auto got = co_await as_result(p.queue.get());
        p.log.push_back(text_of(got));
        auto put = co_await as_result(p.queue.put(1));
        p.log.push_back(text_of(put));
        p.queue.shutdown();
        p.note();
        p.queue.task_done();
        p.queue.task_done();
        co_await p.queue.join();
        EXPECT_EQ(p.log, (Lines{"maxsize=2 _queue=[1, 2] tasks=2 shutdown", "p: QueueShutDown()",
                                "QueueShutDown()", "QueueShutDown()", "QueueShutDown()",
                                "QueueShutDown()", "maxsize=2 tasks=2 shutdown"}));
    };
    run_virtual(main);
}

TEST(Queue, ShutDownWakesAllWhoWait) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        p.get("g1");
        auto cancelled = p.get("g2");
        p.get("g3");
        co_await tick();
        cancelled.cancel();
        p.queue.shutdown();
        p.note();
        co_await tick();
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=0 shutdown", "g2: CancelledError()", "g1: QueueShutDown()",
                                "g3: QueueShutDown()", "maxsize=0 shutdown"}));
    };
    run_virtual(main);
}

TEST(Queue, ImmediateShutDownDropsTheItemsAndEndsJoin) {  // Q-08, B-50
    auto main = []() -> Coroutine<> {
        Players<> p(3);
        for (int i = 0; i < 3; ++i) p.queue.put_nowait(i);
        auto joined = create_task(p.queue.join());
        p.put("p", 9);
        co_await tick();
        p.queue.get_nowait();
        p.note();
        p.queue.shutdown(true);
        p.note();
        co_await tick();
        p.note();
        EXPECT_FALSE(joined.done());  // the item that was gotten is not done
        p.queue.task_done();
        co_await tick();
        EXPECT_TRUE(joined.done());
        p.note();
        EXPECT_EQ(p.log, (Lines{"maxsize=3 _queue=[1, 2] tasks=3", "maxsize=3 tasks=1 shutdown",
                                "p: QueueShutDown()", "maxsize=3 tasks=1 shutdown",
                                "maxsize=3 shutdown"}));

        Queue<int> queue;
        queue.put_nowait(1);
        auto all = create_task(queue.join());
        co_await tick();
        queue.shutdown(true);
        co_await all;
    };
    run_virtual(main);
}

TEST(Queue, ImmediateShutDownReachesAGetterThatWasWoken) {
    auto main = []() -> Coroutine<> {
        Players<> p;
        p.get("g");
        co_await tick();
        p.queue.put_nowait(1);
        p.queue.shutdown(true);
        co_await tick();
        EXPECT_EQ(p.log, (Lines{"g: QueueShutDown()"}));
        EXPECT_EQ(state_of(p.queue), "maxsize=0 shutdown");
    };
    run_virtual(main);
}

// ---- loops and lifetimes --------------------------------------------------------------------

TEST(Queue, WaitingInASecondLoopIsAnError) {
    Queue<int> queue(1);
    auto use = [&]() -> Coroutine<> {
        co_await queue.put(1);
        EXPECT_EQ(co_await queue.get(), 1);
    };
    run_virtual(use);
    auto bind = [&]() -> Coroutine<> {
        co_await use();
        auto r = co_await as_result(wait_for(queue.get(), 1s));
        EXPECT_TRUE(r.holds<TimeoutError>());
    };
    run_virtual(bind);
    auto second = [&]() -> Coroutine<> {
        co_await use();
        const std::string expected =
            "RuntimeError('" + queue.repr() + " is bound to a different event loop')";
        auto get = co_await as_result(queue.get());
        EXPECT_EQ(text_of(get), expected);
        co_await queue.put(2);
        auto put = co_await as_result(queue.put(3));
        EXPECT_NE(text_of(put).find("is bound to a different event loop"), std::string::npos);
        EXPECT_EQ(co_await queue.get(), 2);
        try {
            co_await queue.get();
            ADD_FAILURE() << "no error";
        } catch (const RuntimeError&) {
            EXPECT_TRUE(queue.empty());
        }
    };
    run_virtual(second);
}

TEST(Queue, ThatDiesLeavesItsWaitersToBeCancelled) {
    auto main = []() -> Coroutine<> {
        auto queue = std::make_unique<Queue<int>>(1);
        auto waiting = create_task(queue->get());
        auto never = create_task(queue->get());
        co_await tick();
        queue.reset();
        co_await tick();
        EXPECT_FALSE(waiting.done());
        waiting.cancel();
        auto w = co_await as_result(waiting);
        EXPECT_TRUE(w.holds<CancelledError>());
        never.cancel();
        co_await end_of(never);

        // Woken, but gone before they run.
        queue = std::make_unique<Queue<int>>(1);
        auto woken = create_task(queue->get());
        auto both = create_task(queue->get());
        co_await tick();
        queue->put_nowait(1);
        queue->get_nowait();
        queue->put_nowait(2);
        both.cancel();
        queue.reset();
        auto r = co_await as_result(woken);
        EXPECT_EQ(text_of(r),
                  "RuntimeError('Queue was destroyed before a task that it woke could run')");
        co_await end_of(both);
        EXPECT_TRUE(both.cancelled());

        queue = std::make_unique<Queue<int>>(1);
        queue->put_nowait(1);
        auto putter = create_task(queue->put(2));
        co_await tick();
        queue.reset();
        putter.cancel();
        co_await end_of(putter);
        EXPECT_TRUE(putter.cancelled());
    };
    run_virtual(main);
}

TEST(Queue, OutlivesTheTasksOfAClosedLoop) {
    Queue<int> queue(1);
    {
        auto loop = VirtualTimeEventLoop::create();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        auto waits = [&]() -> Coroutine<> { co_await queue.get(); };
        auto woken = [&]() -> Coroutine<> { co_await queue.get(); };
        auto a = loop->create_task(woken);
        auto b = loop->create_task(waits);
        auto c = loop->create_task(waits);
        loop->run_once(0s);
        EXPECT_EQ(state_of(queue), "maxsize=1 _getters[3]");
        queue.put_nowait(1);
        b.cancel();
        loop->close();
    }
    EXPECT_EQ(state_of(queue), "maxsize=1 _queue=[1] tasks=1");
    EXPECT_EQ(queue.get_nowait(), 1);
}

TEST(Queue, LoopsMayCloseWithADeepChainThatWaits) {
    Queue<int> queue;
    auto loop = VirtualTimeEventLoop::create();
    loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
    struct Chain {
        static Coroutine<int> wait(Queue<int>& queue, int depth) {
            if (depth == 0) co_return co_await queue.get();
            co_return co_await wait(queue, depth - 1) + 1;
        }
    };
    auto kept = loop->create_task(Chain::wait(queue, 50));
    auto closed = loop->create_task(Chain::wait(queue, 5000));
    loop->run_once(0s);
    queue.put_nowait(7);
    loop->run_once(0s);
    EXPECT_EQ(kept.result(), 57);
    loop->close();
    EXPECT_EQ(state_of(queue), "maxsize=0 tasks=1");
}

TEST(Queue, LoopsMayCloseWithATaskThatWasOvertaken) {
    Queue<int> queue;
    auto loop = VirtualTimeEventLoop::create();
    loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
    auto task = loop->create_task(queue.get());
    auto other = loop->create_task(queue.get());
    loop->run_once(0s);
    queue.put_nowait(1);
    queue.put_nowait(2);
    queue.get_nowait();
    queue.get_nowait();
    EXPECT_EQ(task.get_stack().size(),
              1U);  // the frame that looks again; none of the library's around it
    EXPECT_EQ(state_of(queue), "maxsize=0 tasks=2");
    loop->close();
    EXPECT_EQ(state_of(queue), "maxsize=0 tasks=2");
}

// ---- numbers (L17)
// -------------------------------------------------------------------------------

TEST(Queue, TakesItsMaxsizeWhole) {  // L17, Q-01
    EXPECT_EQ(Queue<int>(std::uint64_t{1} << 32).maxsize(), std::size_t{1} << 32);
    EXPECT_EQ(Queue<int>(std::numeric_limits<std::uint64_t>::max()).maxsize(),
              std::numeric_limits<std::size_t>::max());
    EXPECT_EQ(Queue<int>(std::numeric_limits<std::int64_t>::min()).maxsize(), 0u);
    EXPECT_EQ(LifoQueue<int>(std::int64_t{1} << 33).maxsize(), std::size_t{1} << 33);
}

// ---- what throws passes its wake-up on (L19)
// -----------------------------------------------------

struct LessBut13 {
    bool operator()(int a, int b) const {
        if (a == 13 || b == 13) throw ValueError("13 cannot be compared");
        return a < b;
    }
};

TEST(Queue, APutThatThrowsPassesTheRoomOn) {  // L19
    for (const bool as_results : {false, true}) {
        run_virtual([as_results]() -> Coroutine<> {
            PriorityQueue<int, LessBut13> queue(2);
            queue.put_nowait(1);
            queue.put_nowait(2);
            const auto put = [&](int n) -> Coroutine<> {
                if (as_results) {
                    (co_await as_result(queue.put(n))).value();
                } else {
                    co_await queue.put(n);
                }
            };
            const auto bad = create_task(put(13));
            const auto worse = create_task(put(13));
            const auto good = create_task(put(3));
            co_await sleep(1s);
            EXPECT_EQ(queue.get_nowait(), 1);
            co_await sleep(1s);
            EXPECT_EQ(text_of(co_await as_result(bad)), "ValueError('13 cannot be compared')");
            EXPECT_TRUE(worse.done());
            (void)co_await as_result(worse);
            EXPECT_TRUE(good.done());
            EXPECT_EQ(queue.qsize(), 2u);
            good.cancel();
        });
    }
}

// Cannot be moved for a while.
struct Stuck {
    static inline bool stuck = false;
    Stuck() = default;
    Stuck(const Stuck&) = default;
    Stuck(Stuck&&) {
        if (stuck) throw ValueError("stuck");
    }
    Stuck& operator=(Stuck&&) = default;
};

TEST(Queue, AShutdownThatThrowsLeavesNobodyWaiting) {  // L19
    run_virtual([]() -> Coroutine<> {
        Queue<Stuck> queue(1);
        queue.put_nowait(Stuck());
        const auto put = create_task([&]() -> Coroutine<> { co_await queue.put(Stuck()); });
        const auto join = create_task(queue.join());
        co_await sleep(1s);
        Stuck::stuck = true;
        EXPECT_THROW(queue.shutdown(true), ValueError);
        Stuck::stuck = false;
        co_await sleep(1s);
        EXPECT_TRUE(put.done());
        EXPECT_TRUE((co_await as_result(put)).holds<QueueShutDown>());
        // What it could not drop is there still.
        EXPECT_FALSE(join.done());
        queue.shutdown(true);
        co_await join;
    });
}

// Can be copied, but for so many times.
struct Sticky {
    static inline int refusals = 0;
    int value;
    explicit Sticky(int v) : value(v) {}
    Sticky(const Sticky& o) : value(o.value) { refuse(); }
    Sticky& operator=(const Sticky& o) {
        refuse();
        value = o.value;
        return *this;
    }
    static void refuse() {
        if (refusals == 0) return;
        --refusals;
        throw ValueError("stuck");
    }
};

TEST(Queue, AGetThatThrowsLeavesTheItemToTheNext) {  // L19
    run_virtual([]() -> Coroutine<> {
        Queue<Sticky> queue;
        const auto get = [&]() -> Coroutine<int> { co_return (co_await queue.get()).value; };
        const auto first = create_task(get());
        const auto second = create_task(get());
        co_await sleep(1s);
        queue.put_nowait(Sticky(5));
        Sticky::refusals = 1;
        const auto bad = co_await as_result(first);
        EXPECT_EQ(text_of(bad), "ValueError('stuck')");
        co_await sleep(1s);
        EXPECT_TRUE(second.done());
        second.cancel();  // if it is not
        EXPECT_EQ(text_of(co_await as_result(second)), "ok");
    });
}

TEST(Queue, ManyThatWereOvertakenInOneStepCostNoSquare) {  // L27
    static constexpr int kTasks = 50'000;
    run_virtual([]() -> Coroutine<> {
        Queue<int> queue(kTasks);
        for (int i = 0; i < kTasks; ++i) queue.put_nowait(i);
        std::vector<Task<void>> tasks;
        for (int i = 0; i < kTasks; ++i) {
            tasks.push_back(create_task([&queue, i]() -> Coroutine<> { co_await queue.put(i); }));
        }
        co_await sleep(1s);
        const std::clock_t begin = std::clock();
        for (int i = 0; i < kTasks; ++i) {
            queue.get_nowait();
            queue.put_nowait(i);
        }
        EXPECT_LT(std::clock() - begin, 5 * CLOCKS_PER_SEC);
        for (int i = 0; i < kTasks; ++i) queue.get_nowait();
        for (const auto& t : tasks) co_await t;
    });
}

}  // namespace

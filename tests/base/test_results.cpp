// What a coroutine may return, and how: constants, types with an `operator&` of their own, a
// co_return that is overtaken, a body that ends without one.
#include <asyncio/coroutines.hpp>
#include <asyncio/generators.hpp>
#include <asyncio/parallel.hpp>
#include <asyncio/queues.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;
using support::run_virtual;

// ---- a body that ends without co_return ----

// Flags of the library's make this an error (tests/consumer); a program may do without them.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"
Coroutine<std::string> greeting(bool polite) {
    co_await sleep(1ms);
    if (polite) co_return "good morning";
}
Coroutine<int&> reference(int* to) {
    if (to) co_return *to;
}
struct Host {
    Coroutine<std::unique_ptr<int>> greet(bool polite) {
        if (polite) co_return std::make_unique<int>(1);
    }
};
#pragma GCC diagnostic pop

// L31.
TEST(WithoutCoReturn, IsAnErrorThatNamesTheCoroutine) {
    const std::string text = "greeting() ended without co_return (FILE:LINE)";
    EXPECT_EQ(support::masked(raised<RuntimeError>([] { run_virtual(greeting(false)); })), text);
    run_virtual([&text]() -> Coroutine<> {
        EXPECT_EQ(co_await greeting(true), "good morning");
        auto awaited = co_await as_result(greeting(false));
        EXPECT_EQ(support::masked(support::error_text<RuntimeError>(awaited)), text);
        auto task = create_task(greeting(false));
        auto joined = co_await as_result(task);
        EXPECT_EQ(support::masked(support::error_text<RuntimeError>(joined)), text);
        auto of_reference = co_await as_result(reference(nullptr));
        EXPECT_EQ(support::masked(support::error_text<RuntimeError>(of_reference)),
                  "reference() ended without co_return (FILE:LINE)");
        Host host;
        auto of_member = co_await as_result(host.greet(false));
        EXPECT_EQ(support::masked(support::error_text<RuntimeError>(of_member)),
                  "Host::greet() ended without co_return (FILE:LINE)");
    });
}

// ---- a co_return that is overtaken ----

struct Counted {
    explicit Counted(int n) : number(n) { ++alive; }
    Counted(Counted&& o) noexcept : number(o.number) { ++alive; }
    Counted(const Counted&) = delete;
    ~Counted() { --alive; }
    int number;
    static inline int alive = 0;
};

struct ThrowsAtTheEnd {
    ThrowsAtTheEnd() = default;
    ~ThrowsAtTheEnd() noexcept(false) { throw std::runtime_error("close failed"); }
};

Coroutine<Counted> second_value() {
    try {
        const ThrowsAtTheEnd guard;
        co_return Counted(1);
    } catch (const std::runtime_error&) {
    }
    co_return Counted(2);
}
Coroutine<Counted> third_value() {
    for (int i = 1; i < 3; ++i) {
        try {
            const ThrowsAtTheEnd guard;
            co_return Counted(i);
        } catch (const std::runtime_error&) {
        }
    }
    co_return Counted(3);
}
Coroutine<Counted> error_instead() {
    try {
        const ThrowsAtTheEnd guard;
        co_return Counted(1);
    } catch (const std::runtime_error&) {
    }
    throw ValueError("instead");
}
struct Refuses {
    explicit Refuses(bool refuse) {
        if (refuse) throw ValueError("refused");
        ++alive;
    }
    Refuses(Refuses&&) noexcept { ++alive; }
    ~Refuses() { --alive; }
    static inline int alive = 0;
};
Coroutine<Refuses> refused_after_a_value() {
    try {
        const ThrowsAtTheEnd guard;
        co_return false;
    } catch (const std::runtime_error&) {
    }
    co_return true;
}

// L12.
TEST(OvertakenCoReturn, LeaksNothing) {
    EXPECT_EQ(run_virtual(second_value()).number, 2);
    EXPECT_EQ(run_virtual(third_value()).number, 3);
    EXPECT_EQ(raised<ValueError>([] { run_virtual(error_instead()); }), "instead");
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_EQ(raised<ValueError>([] { run_virtual(refused_after_a_value()); }), "refused");
    EXPECT_EQ(Refuses::alive, 0);
}

// ---- constants ----

Coroutine<const std::string> name() { co_return "name"; }
Coroutine<const std::vector<int>> numbers() { co_return std::vector<int>{1, 2}; }
Coroutine<const int> number() {
    co_await sleep(1ms);
    co_return 3;
}
AsyncGenerator<const std::string> names() {
    co_yield "a";
    const std::string b = "b";
    co_yield b;
}

// L23.
TEST(ConstResults, WorkWhereverOthersDo) {
    static_assert(std::is_same_v<decltype(create_task(name())), Task<const std::string>>);
    EXPECT_EQ(run_virtual(name()), "name");
    EXPECT_EQ(run(number()), 3);
    run_virtual([]() -> Coroutine<> {
        EXPECT_EQ(co_await name(), "name");
        auto task = create_task(name());
        EXPECT_EQ(co_await task, "name");
        EXPECT_EQ(task.result(), "name");
        EXPECT_EQ(AnyFuture(task).result<const std::string>(), "name");
        EXPECT_EQ(co_await std::move(task), "name");
        auto result = co_await as_result(name());
        EXPECT_EQ(result.value(), "name");
        auto [first, second] = co_await gather(name(), number());
        EXPECT_EQ(first, "name");
        EXPECT_EQ(second, 3);
        std::vector<Coroutine<const std::string>> many;
        many.push_back(name());
        auto all = co_await gather(std::move(many));
        EXPECT_EQ(all.at(0), "name");
        EXPECT_EQ(co_await wait_for(name(), 1s), "name");
        EXPECT_EQ(co_await shield(name()), "name");
        EXPECT_EQ((co_await numbers()).size(), 2u);
        Future<const int> future;
        future.set_result(4);
        EXPECT_EQ(co_await future, 4);
        auto generator = names();
        EXPECT_EQ(*co_await generator.next(), "a");
        EXPECT_EQ(*co_await generator.next(), "b");
        auto by_callable = create_task([] { return name(); });
        EXPECT_EQ(co_await by_callable, "name");
    });
    const auto loop = new_event_loop();
    auto threadsafe = run_coroutine_threadsafe(name(), *loop);
    loop->run_until_complete(sleep(1ms));
    EXPECT_EQ(threadsafe.result(), "name");
}

// ---- types with an operator& ----

struct Pointer {
    explicit Pointer(int value) : target(std::make_unique<int>(value)) {}
    std::unique_ptr<int> target;
    int* operator&() { return target.get(); }
    const int* operator&() const { return target.get(); }
    bool operator<(const Pointer& o) const { return *target < *o.target; }
};

Coroutine<Pointer> pointer(int value) { co_return Pointer(value); }
Coroutine<Pointer&> pointer_reference(Pointer& to) { co_return to; }
AsyncGenerator<Pointer> pointers() {
    co_yield Pointer(1);
    co_yield Pointer(2);
}
AsyncGenerator<Pointer&> pointer_references(Pointer& to) { co_yield to; }
AsyncGenerator<int, Pointer> taking() {
    int last = 0;
    while (true) {
        const Pointer sent = co_yield last;
        last = *sent.target;
    }
}

// L23.
TEST(OverloadedAddressOf, IsNeverCalled) {
    EXPECT_EQ(*run_virtual(pointer(1)).target, 1);
    run([]() -> Coroutine<> {
        EXPECT_EQ(*(co_await pointer(1)).target, 1);
        auto task = create_task(pointer(2));
        EXPECT_EQ(*(co_await task).target, 2);
        EXPECT_FALSE(repr(task).empty());
        EXPECT_EQ(*(co_await std::move(task)).target, 2);
        EXPECT_EQ(*(co_await as_result(pointer(3))).value().target, 3);
        auto [first, second] = co_await gather(pointer(4), pointer(5));
        EXPECT_EQ(*first.target + *second.target, 9);
        EXPECT_EQ(*(co_await wait_for(pointer(6), 1s)).target, 6);
        Pointer here(7);
        EXPECT_EQ(&co_await pointer_reference(here), here.target.get());
        Queue<Pointer> queue;
        co_await queue.put(std::move(here));
        co_await queue.emplace(8);
        Pointer from(9);
        co_await queue.put_from(from);
        EXPECT_EQ(*(co_await queue.get()).target, 7);
        PriorityQueue<Pointer> ordered;
        co_await ordered.emplace(10);
        EXPECT_EQ(*(co_await ordered.get()).target, 10);
        auto items = pointers();
        EXPECT_EQ(*(co_await items.next())->target, 1);
        Pointer target(11);
        auto references = pointer_references(target);
        EXPECT_EQ(*(co_await references.next())->target, 11);
        auto sink = taking();
        co_await sink.next();
        EXPECT_EQ(*co_await sink.asend(Pointer(12)), 12);
        co_await sink.aclose();
        EXPECT_EQ(*(co_await to_thread([] { return Pointer(13); })).target, 13);
        Channel<Pointer> channel(1);
        Pointer sent(14);
        co_await channel.send_from(sent);
        EXPECT_EQ(*(co_await channel.receive())->target, 14);
        Future<Pointer> future;
        future.set_result(Pointer(15));
        EXPECT_EQ(*(co_await future).target, 15);
        Future<Pointer&> to_here;
        to_here.set_result(target);
        EXPECT_EQ(*(co_await to_here).target, 11);
        EXPECT_EQ(*(co_await wait_for(pointer_reference(target), 1s)).target, 11);
        auto bounded = co_await as_result(wait_for(pointer_reference(target), 1s));
        EXPECT_EQ(*bounded.value().target, 11);
        EXPECT_EQ(*(co_await create_task(pointer_reference(target))).target, 11);
        const auto other = [&target]() -> Pointer& { return target; };
        EXPECT_EQ(*(co_await to_thread(other)).target, 11);
        auto concurrent = run_coroutine_threadsafe(pointer_reference(target), get_running_loop());
        EXPECT_EQ(*(co_await wrap_future(concurrent)).target, 11);
    });
}

}  // namespace

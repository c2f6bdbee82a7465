// contextvars.hpp: CV-01 to CV-06.
#include <asyncio/contextvars.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "counted_new.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;
using support::run_virtual;

ContextVar<int> number{"number", 1};
ContextVar<std::string> text{"text"};

TEST(ContextVar, HasADefaultOrRaisesLookupError) {  // CV-06
    EXPECT_EQ(number.get(), 1);
    EXPECT_EQ(number.name(), "number");
    EXPECT_EQ(text.get("given"), "given");
    const std::string message = raised<LookupError>([] { text.get(); });
    EXPECT_EQ(message.substr(0, 28), "<ContextVar name='text' at 0");
}

TEST(ContextVar, IsSetAndResetByItsToken) {  // CV-06
    const Context c = copy_context();
    c.run([] {
        const auto first = number.set(2);
        EXPECT_FALSE(first.old_value().has_value());
        const auto second = number.set(3);
        EXPECT_EQ(second.old_value(), 2);
        EXPECT_EQ(number.get(), 3);
        number.reset(second);
        EXPECT_EQ(number.get(), 2);
        number.reset(first);
        EXPECT_EQ(number.get(), 1);
    });
}

TEST(ContextVar, RefusesATokenThatIsUsedOrNotItsOwn) {  // CV-06
    ContextVar<int> other{"other", 0};
    copy_context().run([&] {
        const auto token = number.set(2);
        EXPECT_NE(raised<ValueError>([&] { other.reset(token); }), "");
        number.reset(token);
        EXPECT_NE(raised<RuntimeError>([&] { number.reset(token); }), "");
        const auto again = number.set(5);
        copy_context().run(
            [&] { EXPECT_NE(raised<ValueError>([&] { number.reset(again); }), ""); });
    });
}

TEST(Context, IsACopyOfItsOwn) {  // CV-06
    copy_context().run([] {
        number.set(10);
        const Context c = copy_context();
        EXPECT_EQ(c.get(number), 10);
        EXPECT_TRUE(c.contains(number));
        EXPECT_FALSE(c.contains(text));
        EXPECT_EQ(c.get(text), std::nullopt);
        EXPECT_EQ(c.size(), 1u);
        number.set(11);
        EXPECT_EQ(c.get(number), 10);
        c.run([] { number.set(12); });
        EXPECT_EQ(c.get(number), 12);
        EXPECT_EQ(number.get(), 11);
        const Context d = c.copy();
        EXPECT_FALSE(d == c);
        EXPECT_EQ(d.get(number), 12);
        EXPECT_EQ(Context().size(), 0u);
    });
}

TEST(Context, CannotBeEnteredTwice) {  // CV-06
    const Context c;
    c.run([&] {
        const std::string message = raised<RuntimeError>([&] { c.run([] {}); });
        EXPECT_NE(message.find("cannot enter context"), std::string::npos);
    });
    EXPECT_EQ(c.run([] { return 7; }), 7);
}

TEST(Context, GivesWhatItsFunctionThrows) {
    const Context c;
    EXPECT_EQ(raised<ValueError>([&] { c.run([] { throw ValueError("inside"); }); }), "inside");
    c.run([] {});  // it was left
}

Coroutine<> set_number(int value) {
    number.set(value);
    co_await sleep(0s);
    EXPECT_EQ(number.get(), value);
}

TEST(Context, OfATaskIsACopyOfItsMakers) {  // CV-01
    run_virtual([]() -> Coroutine<> {
        number.set(20);
        auto a = create_task(set_number(21));
        auto b = create_task(set_number(22));
        number.set(23);
        co_await gather(a, b);
        EXPECT_EQ(number.get(), 23);
        EXPECT_EQ(a.get_context().get(number), 21);
    });
}

TEST(Context, GivenToATaskIsUsedUncopied) {  // CV-01
    run_virtual([]() -> Coroutine<> {
        Context c = copy_context();
        auto task = create_task(set_number(30), {.context = &c});
        co_await task;
        EXPECT_EQ(c.get(number), 30);
        EXPECT_TRUE(task.get_context() == c);
        EXPECT_EQ(number.get(), 1);
    });
}

TEST(Context, OfACallbackIsCopiedWhenItIsRegistered) {  // CV-02
    run_virtual([]() -> Coroutine<> {
        auto& loop = get_running_loop();
        std::vector<int> seen;
        number.set(40);
        loop.call_soon([&] { seen.push_back(number.get()); });
        loop.call_later(1s, [&] { seen.push_back(number.get()); });
        auto f = loop.create_future<>();
        f.add_done_callback([&] { seen.push_back(number.get()); });
        number.set(41);
        f.set_result();
        Context c;
        c.run([] { number.set(42); });
        loop.call_soon([&] { seen.push_back(number.get()); }, {.context = &c});
        co_await sleep(2s);
        EXPECT_EQ(seen, (std::vector<int>{40, 40, 42, 40}));
    });
}

TEST(Context, OfAHandleCanBeAskedFor) {  // HD-02
    const auto loop = VirtualTimeEventLoop::create();
    Context c;
    const Handle h = loop->call_soon([] {}, {.context = &c});
    EXPECT_TRUE(h.get_context() == c);
}

TEST(Context, OfThreadsAreTheirOwn) {  // CV-04
    copy_context().run([] {
        number.set(50);
        const Context c = copy_context();
        int in_thread = 0;
        int in_context = 0;
        std::thread thread([&] {
            in_thread = number.get();
            c.run([&] { in_context = number.get(); });
        });
        thread.join();
        EXPECT_EQ(in_thread, 1);
        EXPECT_EQ(in_context, 50);
    });
}

TEST(ContextVar, HoldsMoveConstructibleObjectsAndLetsThemGo) {
    auto object = std::make_shared<int>(1);
    {
        ContextVar<std::shared_ptr<int>> var{"object"};
        Context c;
        c.run([&] { var.set(object); });
        EXPECT_EQ(object.use_count(), 2);
        c.run([&] { EXPECT_EQ(*var.get(), 1); });
    }
    EXPECT_EQ(object.use_count(), 1);
}

TEST(Context, RunPassesArgumentsOn) {
    const Context c = copy_context();
    const int sum = c.run(
        [](int a, std::unique_ptr<int> b) {
            number.set(a);
            return number.get() + *b;
        },
        2, std::make_unique<int>(3));
    EXPECT_EQ(sum, 5);
    EXPECT_EQ(number.get(), 1);
}

TEST(ContextVars, ASetWithoutMemoryChangesNothing) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const auto witness = std::make_shared<int>();
    ContextVar<std::shared_ptr<int>> first("first");
    ContextVar<int> second("second");
    const auto both = [&](std::ptrdiff_t given, bool& enough) {
        first.set(witness);
        support::blocks_left = given;
        try {
            second.set(1);
            EXPECT_EQ(second.get(), 1);
        } catch (const std::bad_alloc&) {
            EXPECT_EQ(second.get(2), 2);
        }
        enough = support::blocks_left.exchange(-1) >= 0;
    };
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        Context().run([&] { both(given, enough); });
        EXPECT_EQ(witness.use_count(), 1) << given;
    }
}

}  // namespace

// The header traceparent, and the variable that carries it from task to task.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <string>

#include "support.hpp"

namespace {

using namespace asyncio;
using inspect::TraceParent;

constexpr const char* kHeader = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceParent, IsReadAndWritten) {
    const auto parsed = TraceParent::parse(kHeader);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->trace_id[0], 0x4b);
    EXPECT_EQ(parsed->trace_id[15], 0x36);
    EXPECT_EQ(parsed->span_id[7], 0xb7);
    EXPECT_EQ(parsed->flags, 1);
    EXPECT_EQ(parsed->to_string(), kHeader);
}

TEST(TraceParent, WhatIsNoneIsRefused) {
    const std::string right = kHeader;
    for (std::size_t size = 0; size < right.size(); ++size) {
        EXPECT_FALSE(TraceParent::parse(right.substr(0, size))) << size;
    }
    for (std::size_t i = 0; i < right.size(); ++i) {
        for (const char c : {'x', 'F', ' ', '\0'}) {
            std::string wrong = right;
            wrong[i] = c;
            EXPECT_FALSE(TraceParent::parse(wrong)) << i << c;
        }
    }
    EXPECT_FALSE(TraceParent::parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
    EXPECT_FALSE(TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
    EXPECT_FALSE(TraceParent::parse("ff" + right.substr(2)));
    EXPECT_FALSE(TraceParent::parse(right + "-more"));
}

TEST(TraceParent, OfALaterVersionIsReadAsFarAsItIsKnown) {
    const std::string later = "01" + std::string(kHeader).substr(2);
    EXPECT_EQ(TraceParent::parse(later + "-what-the-future-holds")->to_string(), kHeader);
    EXPECT_TRUE(TraceParent::parse(later));
    EXPECT_FALSE(TraceParent::parse(later + "without a dash"));
}

TEST(TraceParent, IsMadeOfRandomNumbers) {
    const TraceParent one = TraceParent::make();
    const TraceParent two = TraceParent::make(false);
    EXPECT_NE(one.trace_id, two.trace_id);
    EXPECT_EQ(one.flags, 1);
    EXPECT_EQ(two.flags, 0);
    const TraceParent child = one.child();
    EXPECT_EQ(child.trace_id, one.trace_id);
    EXPECT_NE(child.span_id, one.span_id);
    EXPECT_EQ(*TraceParent::parse(child.to_string()), child);
}

TEST(TraceParent, GoesFromATaskToThoseThatItMakes) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    loop.run_until_complete([]() -> Coroutine<> {
        inspect::traceparent().set(*TraceParent::parse(kHeader));
        auto child = create_task([]() -> Coroutine<std::string> {
            std::string seen = inspect::traceparent().get().to_string();
            inspect::traceparent().set(inspect::traceparent().get().child());
            co_return seen;
        }());
        EXPECT_EQ(co_await child, kHeader);
        EXPECT_EQ(inspect::traceparent().get().to_string(), kHeader);
    });
    EXPECT_THROW((void)inspect::traceparent().get(), LookupError);
}

}  // namespace

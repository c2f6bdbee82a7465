// What a loop did, as a picture on a line of time.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <chrono>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using inspect::Trace;

// One event of the text: its members as they stand there, without the quotes.
using Event = std::map<std::string, std::string>;

// Reads as much JSON as the writer makes: an object of strings, numbers and one level of objects.
class Reading {
  public:
    explicit Reading(const std::string& text) : text_(text) {}

    std::vector<Event> events() {
        std::vector<Event> all;
        expect("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
        while (peek() == '{') {
            all.push_back(object());
            if (peek() == ',') ++at_;
        }
        expect("]}");
        EXPECT_EQ(peek(), '\0');
        return all;
    }

  private:
    char peek() {
        while (at_ < text_.size() && text_[at_] == '\n') ++at_;
        return at_ < text_.size() ? text_[at_] : '\0';
    }
    void expect(const std::string& what) {
        (void)peek();
        if (text_.compare(at_, what.size(), what) != 0) {
            throw std::runtime_error("no " + what + " at " + std::to_string(at_));
        }
        at_ += what.size();
    }
    std::string string() {
        expect("\"");
        std::string s;
        while (text_.at(at_) != '"') {
            if (text_[at_] == '\\') s += text_[at_++];
            s += text_.at(at_++);
        }
        ++at_;
        return s;
    }
    Event object() {
        Event event;
        expect("{");
        while (peek() != '}') {
            const std::string name = string();
            expect(":");
            if (peek() == '"') {
                event[name] = string();
            } else if (peek() == '{') {
                for (const auto& [key, value] : object()) event[name + '.' + key] = value;
            } else {
                const std::size_t end = text_.find_first_not_of("0123456789.-", at_);
                event[name] = text_.substr(at_, end - at_);
                at_ = end;
            }
            if (peek() == ',') ++at_;
        }
        ++at_;
        return event;
    }

    const std::string& text_;
    std::size_t at_ = 0;
};

// Microseconds with three places, as ns.
std::int64_t ns(const std::string& text) {
    const std::size_t point = text.find('.');
    return std::stoll(text.substr(0, point)) * 1000 + std::stoll(text.substr(point + 1));
}

// Slices of a track come one after the other, and each arrow leads from within one to another.
void check(const std::vector<Event>& events) {
    std::map<std::string, std::int64_t> over;  // by track
    std::map<std::string, std::vector<std::pair<std::int64_t, std::int64_t>>> slices;
    std::map<std::string, std::int64_t> begun;  // asynchronous slices, by their ids
    for (const Event& e : events) {
        if (e.at("ph") != "X") continue;
        const std::int64_t at = ns(e.at("ts"));
        const std::int64_t end = at + ns(e.at("dur"));
        EXPECT_GE(at, over[e.at("tid")]) << e.at("name");
        EXPECT_GE(end, at);
        over[e.at("tid")] = end;
        slices[e.at("tid")].emplace_back(at, end);
    }
    for (const Event& e : events) {
        if (e.at("ph") == "b") begun[e.at("id")] = ns(e.at("ts"));
        if (e.at("ph") == "e") {
            ASSERT_TRUE(begun.contains(e.at("id")));
            EXPECT_GE(ns(e.at("ts")), begun[e.at("id")]);
            begun.erase(e.at("id"));
        }
        if (e.at("ph") != "s" && e.at("ph") != "f") continue;
        const std::int64_t at = ns(e.at("ts"));
        bool inside = false;
        for (const auto& [begin, end] : slices[e.at("tid")]) inside |= begin <= at && at <= end;
        EXPECT_TRUE(inside) << e.at("ph") << ' ' << at;
    }
    EXPECT_TRUE(begun.empty());
}

std::size_t count(const std::vector<Event>& events, const std::string& kind,
                  const std::string& name) {
    std::size_t n = 0;
    for (const Event& e : events) n += e.at("ph") == kind && e.at("name") == name;
    return n;
}

Coroutine<> worker(int rounds) {
    for (int i = 0; i < rounds; ++i) co_await sleep(0s);
}

TEST(Trace, HasEachStepSleepAndTask) {
    auto loop = new_event_loop();
    std::string text;
    loop->run_until_complete(loop->create_task(
        [&]() -> Coroutine<> {
            Trace trace(get_running_loop());
            auto one = create_task(worker(2), {.name = "one"});
            auto two = create_task(worker(1), {.name = "two \"<quoted>\" \x01 \xff"});
            co_await one;
            co_await two;
            co_await sleep(2ms);
            EXPECT_EQ(trace.dropped(), 0u);
            text = trace.json();
        }(),
        {.name = "main"}));
    const auto events = Reading(text).events();
    check(events);
    EXPECT_EQ(count(events, "X", "one"), 3u);
    EXPECT_EQ(count(events, "b", "one"), 1u);
    EXPECT_EQ(count(events, "X", "asleep"), 1u);
    EXPECT_EQ(count(events, "s", "makes"), 0u);  // the step that made them had begun before
    std::size_t tasks = 0;
    for (const Event& e : events) {
        if (e.at("ph") != "e") continue;
        ++tasks;
        EXPECT_EQ(e.at("args.outcome"), e.at("name") == "main" ? "not done" : "returned");
    }
    EXPECT_EQ(tasks, 3u);
}

TEST(Trace, ArrowsLeadFromTheStepThatMakesATask) {
    auto loop = new_event_loop();
    Trace trace(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        co_await sleep(0s);
        for (int i = 0; i < 10; ++i) create_task(worker(3));
        co_await sleep(1ms);
    });
    const auto events = Reading(trace.json()).events();
    check(events);
    EXPECT_EQ(count(events, "s", "makes"), 10u);
    EXPECT_EQ(count(events, "f", "makes"), 10u);
}

TEST(Trace, KeepsNoMoreThanItMay) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Trace trace(loop, 100);
    loop.run_until_complete(worker(1000));
    const auto events = Reading(trace.json()).events();
    check(events);
    EXPECT_LE(events.size(), 110u);
    EXPECT_GT(trace.dropped(), 900u);
    EXPECT_THROW(Trace(loop, 0), ValueError);
}

TEST(Trace, TasksThatEndAfterItIsFullHaveAnEnd) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Trace trace(loop, 5);
    loop.run_until_complete(loop.create_task(worker(100), {.name = "long"}));
    for (const Event& e : Reading(trace.json()).events()) {
        if (e.at("ph") != "e") continue;
        EXPECT_EQ(e.at("args.outcome"), "returned");
    }
}

TEST(Trace, AnAddressThatComesAgainIsAnotherTask) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Trace trace(loop);
    for (int i = 0; i < 5; ++i) {
        loop.run_until_complete(loop.create_task(worker(1), {.name = std::to_string(i)}));
    }
    const auto events = Reading(trace.json()).events();
    check(events);
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(count(events, "b", std::to_string(i)), 1u);
        EXPECT_EQ(count(events, "X", std::to_string(i)), 2u);
    }
}

TEST(Trace, OfNothingIsEmpty) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    EXPECT_EQ(Reading(Trace(loop).json()).events().size(), 1u);
}

}  // namespace

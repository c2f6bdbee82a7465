// Tests of the kitchen, on virtual time: an hour passes in no time. See docs/tutorial.md.
#include "kitchen.hpp"

#include <iostream>
#include <sstream>
#include <string>

using asyncio::Coroutine, asyncio::TaskGroup;
using namespace std::chrono_literals;

int failures = 0;

template <class T>
void check_equal(const char* what, const T& is, const T& should_be) {
    if (is == should_be) return;
    std::cout << what << " is " << is << ", not " << should_be << "\n";
    ++failures;
}

// Gives a kitchen orders, which commas separate, and collects so many lines of what it tells.
Coroutine<std::string> told(std::string orders, int lines) {
    Kitchen kitchen;
    std::string all;
    auto body = [&](TaskGroup& group) -> Coroutine<> {
        std::istringstream text(orders);
        for (std::string order; std::getline(text, order, ',');) kitchen.obey(group, order);
        for (int i = 0; i < lines; ++i) all += co_await kitchen.news.get() + "; ";
    };
    co_await asyncio::with(TaskGroup{}, body);
    co_return all;
}

Coroutine<> timers_are_ready_in_the_order_of_their_times() {
    auto& loop = asyncio::get_running_loop();
    const auto begin = loop.time();
    const std::string all = co_await told("start 3600 cake, start 180 tea", 2);
    check_equal<std::string>("what was told", all, "tea is ready; cake is ready; ");
    check_equal<long>("seconds", (loop.time() - begin) / 1s, 3600);
}

Coroutine<> a_cancelled_timer_tells_nothing() {
    const std::string all = co_await told("start 60 tea, start 90 eggs, cancel tea", 1);
    check_equal<std::string>("what was told", all, "eggs is ready; ");
}

Coroutine<> a_name_is_free_again_after_a_cancel() {
    const auto begin = asyncio::get_running_loop().time();
    co_await told("start 60 tea, cancel tea, start 5 tea", 1);
    check_equal<long>("seconds", (asyncio::get_running_loop().time() - begin) / 1s, 5);
}

Coroutine<> what_makes_no_sense_is_a_value_error() {
    for (const char* order :
         {" ", "stop", "start tea", "start 0 tea", "start -1 tea", "cancel tea"}) {
        const auto outcome = co_await asyncio::as_result(told(order, 0));
        check_equal(order, outcome.holds<asyncio::ExceptionGroup>(), true);
    }
}

Coroutine<> all_tests() {
    co_await timers_are_ready_in_the_order_of_their_times();
    co_await a_cancelled_timer_tells_nothing();
    co_await a_name_is_free_again_after_a_cancel();
    co_await what_makes_no_sense_is_a_value_error();
}

int main() {
    asyncio::run(all_tests(), {.loop_factory = &asyncio::VirtualTimeEventLoop::create});
    std::cout << (failures == 0 ? "all is well" : "something is wrong") << "\n";
    return failures == 0 ? 0 : 1;
}

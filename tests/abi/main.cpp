// One ABI: this file is compiled by either compiler, with any options, and runs on a library built
// by either, with others. It uses what crosses the border: tasks, exceptions and groups thrown on
// one side and caught on the other, timers, locks, queues, threads, context variables.
//
// First it prints the sizes of the public types, which must be the same in every build.
#include <asyncio.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

using namespace std::chrono_literals;

namespace {

void check(bool good, const char* what) {
    if (good) return;
    std::printf("failed: %s\n", what);
    std::exit(EXIT_FAILURE);
}

template <class T>
void print_size(const char* name) {
    std::printf("%s %zu %zu\n", name, sizeof(T), alignof(T));
}

void print_sizes() {
    print_size<asyncio::Coroutine<int>>("Coroutine<int>");
    print_size<asyncio::Task<int>>("Task<int>");
    print_size<asyncio::Future<int>>("Future<int>");
    print_size<asyncio::AnyFuture>("AnyFuture");
    print_size<asyncio::TaskOptions>("TaskOptions");
    print_size<asyncio::Handle>("Handle");
    print_size<asyncio::TimerHandle>("TimerHandle");
    print_size<asyncio::Delay>("Delay");
    print_size<asyncio::Lock>("Lock");
    print_size<asyncio::Event>("Event");
    print_size<asyncio::Condition>("Condition");
    print_size<asyncio::Semaphore>("Semaphore");
    print_size<asyncio::Barrier>("Barrier");
    print_size<asyncio::Queue<int>>("Queue<int>");
    print_size<asyncio::TaskGroup>("TaskGroup");
    print_size<asyncio::Timeout>("Timeout");
    print_size<asyncio::Context>("Context");
    print_size<asyncio::RunOptions>("RunOptions");
    print_size<asyncio::Result<int>>("Result<int>");
    print_size<asyncio::CancelledError>("CancelledError");
    print_size<asyncio::ExceptionGroup>("ExceptionGroup");
    print_size<asyncio::OSError>("OSError");
}

asyncio::ContextVar<int> depth{"depth", 0};

asyncio::Coroutine<std::string> greet(std::string name) {
    depth.set(depth.get() + 1);
    co_await asyncio::sleep(1ms);
    co_return "hello " + name + " " + std::to_string(depth.get());
}

asyncio::Coroutine<int> fails() {
    co_await asyncio::sleep(0s);
    throw asyncio::ValueError("as planned");
}

asyncio::Coroutine<> tasks() {
    auto task = asyncio::create_task(greet("task"), {.name = "greeting"});
    check(co_await task == "hello task 1", "a task's result");
    check(asyncio::repr(task).find("name='greeting'") != std::string::npos, "a task's repr");
    auto [first, second] = co_await asyncio::gather(greet("a"), greet("b"));
    check(first == "hello a 1" && second == "hello b 1", "gather");
}

asyncio::Coroutine<> errors() {
    try {
        co_await fails();
        check(false, "an exception through a coroutine");
    } catch (const asyncio::ValueError& error) {
        check(std::string_view(error.what()) == "as planned", "its text");
    }
    try {
        co_await asyncio::with(asyncio::TaskGroup{},
                               [](asyncio::TaskGroup& group) -> asyncio::Coroutine<> {
                                   group.create_task(fails());
                                   group.create_task(fails());
                                   co_return;
                               });
        check(false, "a group of exceptions");
    } catch (const asyncio::ExceptionGroup& group) {
        check(group.exceptions().size() == 2, "all of the group");
        check(group.subgroup<asyncio::ValueError>().has_value(), "its classes");
    }
}

asyncio::Coroutine<> cancels() {
    auto sleeper = asyncio::create_task(asyncio::sleep(1h));
    co_await asyncio::sleep(0s);
    sleeper.cancel("enough");
    auto result = co_await asyncio::as_result(sleeper);
    check(result.holds<asyncio::CancelledError>(), "a cancelled task");
    try {
        co_await asyncio::wait_for(asyncio::sleep(1h), 1ms);
        check(false, "a timeout");
    } catch (const asyncio::TimeoutError&) {
    }
}

asyncio::Coroutine<> coordinates() {
    asyncio::Lock lock;
    asyncio::Queue<std::string> queue(1);
    asyncio::Event done;
    auto consumer = asyncio::create_task([&]() -> asyncio::Coroutine<int> {
        int received = 0;
        while (co_await queue.get() != "end") ++received;
        done.set();
        co_return received;
    });
    for (const char* item : {"one", "two", "end"}) {
        auto guard = co_await lock.scoped();
        co_await queue.put(item);
    }
    co_await done.wait();
    check(co_await consumer == 2, "a queue between tasks");
    check(co_await asyncio::to_thread([] { return 7; }) == 7, "a thread");
}

asyncio::Coroutine<> program() {
    co_await tasks();
    co_await errors();
    co_await cancels();
    co_await coordinates();
    std::printf("ok\n");
}

}  // namespace

int main() {
    print_sizes();
    return asyncio::run_main(program());
}

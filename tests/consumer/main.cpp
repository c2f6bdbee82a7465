// What a user's first program does: a coroutine, a task, an error that crosses the library.
#include <asyncio.hpp>

#include <cstdio>

using namespace std::chrono_literals;

asyncio::Coroutine<int> answer() {
    co_await asyncio::sleep(1ms);
    co_return 42;
}

asyncio::Coroutine<int> fails() {
    co_await asyncio::sleep(0s);
    throw asyncio::ValueError("as planned");
}

asyncio::Coroutine<> program() {
    auto task = asyncio::create_task(answer(), {.name = "answer"});
    auto failure = co_await asyncio::as_result(fails());
    const int value = co_await task;
    std::printf("%d %s\n", value, failure.holds<asyncio::ValueError>() ? "ValueError" : "?");
}

int main() { return asyncio::run_main(program()); }

// A task puts a coroutine on the loop at once: two of them wait at the same time, two seconds in
// all.
#include <asyncio.hpp>
#include <chrono>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

asyncio::Coroutine<std::string> func() {
    std::cout << 1 << '\n';
    co_await asyncio::sleep(2s);
    std::cout << 2 << '\n';
    co_return "Return value";
}

asyncio::Coroutine<> async_main() {
    std::cout << "main Begin\n";
    // Each is queued on the loop now, and begins when this coroutine first waits.
    auto task1 = asyncio::create_task(func());
    auto task2 = asyncio::create_task(func());
    std::cout << "main End\n";

    std::string ret1 = co_await task1;
    std::string ret2 = co_await task2;
    std::cout << ret1 << ' ' << ret2 << '\n';
}

int main() { asyncio::run(async_main()); }

// Awaiting another coroutine: it runs, and its return value is what co_await gives.
#include <asyncio.hpp>
#include <chrono>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

asyncio::Coroutine<std::string> others() {
    std::cout << "start\n";
    co_await asyncio::sleep(2s);
    std::cout << "end\n";
    co_return "Return value";
}

asyncio::Coroutine<> func() {
    std::cout << "In the coroutine function\n";
    // When the awaited coroutine has ended, its value is there and this one goes on.
    std::string response = co_await others();
    std::cout << "The awaited coroutine has ended, its result is: " << response << '\n';
}

int main() { asyncio::run(func()); }

// Two awaits in a row run one after the other: the second begins when the first has ended.
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
    std::string response1 = co_await others();
    std::cout << "The first has ended, its result is: " << response1 << '\n';

    std::string response2 = co_await others();
    std::cout << "The second has ended, its result is: " << response2 << '\n';
}

int main() { asyncio::run(func()); }

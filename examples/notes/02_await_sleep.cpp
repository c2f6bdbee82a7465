// co_await suspends a coroutine until what it waits for is there; the loop may run others
// meanwhile.
#include <asyncio.hpp>
#include <chrono>
#include <iostream>

using namespace std::chrono_literals;

asyncio::Coroutine<> func() {
    std::cout << "come and play\n";
    // sleep() gives nothing; as_result() makes a value even of that, and nothing prints as None.
    auto response = co_await asyncio::as_result(asyncio::sleep(2s));
    std::cout << "end " << asyncio::repr(response) << '\n';
}

int main() { asyncio::run(func()); }

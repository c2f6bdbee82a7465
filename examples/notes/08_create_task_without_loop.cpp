// What the notes warn of: create_task() needs a running loop to put the task on.
#include <asyncio.hpp>
#include <chrono>
#include <iostream>
#include <string>

using namespace std::chrono_literals;

asyncio::Coroutine<std::string> func() {
    co_await asyncio::sleep(2s);
    co_return "Return value";
}

int main() {
    auto coroutine = func();
    try {
        auto task = asyncio::create_task(coroutine);
    } catch (const asyncio::RuntimeError& error) {
        std::cout << "RuntimeError: " << error.what() << '\n';
    }
    // The coroutine has not begun: it is dropped here, or could be given to run().
    coroutine.close();
}

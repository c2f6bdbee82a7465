// A coroutine function, the coroutine object that calling it gives, and the loop that runs it.
#include <asyncio.hpp>
#include <iostream>

asyncio::Coroutine<> func() {
    std::cout << "Hello from a coroutine\n";
    co_return;
}

int main() {
    // Calling func() runs nothing: it makes a coroutine object, which a loop has to run.
    asyncio::EventLoop& loop = asyncio::get_event_loop();
    loop.run_until_complete(func());

    // The same in one call: a new loop, run, closed.
    asyncio::run(func());
}

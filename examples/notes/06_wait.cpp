// A list of named tasks, and wait(): which are done, which are pending, with and without a timeout.
#include <asyncio.hpp>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

using namespace std::chrono_literals;

asyncio::Coroutine<std::string> func() {
    std::cout << 1 << '\n';
    co_await asyncio::sleep(2s);
    std::cout << 2 << '\n';
    co_return "Return value";
}

asyncio::Coroutine<> wait_for_both(asyncio::Delay timeout) {
    std::cout << "main Begin\n";
    std::vector<asyncio::Task<std::string>> task_list;
    task_list.push_back(asyncio::create_task(func(), {.name = "n1"}));
    task_list.push_back(asyncio::create_task(func(), {.name = "n2"}));
    std::cout << "main End\n";

    auto result = co_await asyncio::wait(task_list, {.timeout = timeout});
    std::cout << result.done << '\n' << result.pending << '\n';
}

int main() {
    asyncio::run(wait_for_both(std::nullopt));
    // After one second nothing is done: both are in `pending`, and are cancelled when run() ends.
    asyncio::run(wait_for_both(1s));
}

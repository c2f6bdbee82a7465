// wait() over coroutines that are made before there is a loop: run() makes the loop, wait() the
// tasks.
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

int main() {
    std::vector<asyncio::Coroutine<std::string>> task_list;
    task_list.push_back(func());
    task_list.push_back(func());

    auto [done, pending] = asyncio::run(asyncio::wait(std::move(task_list)));
    std::cout << done.size() << " done, " << pending.size() << " pending\n";
    for (const auto& task : done) std::cout << task.result() << '\n';
}

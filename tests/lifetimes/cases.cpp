// One of them at a time, by -DCASE=N: 1 to 4 keep what is gone, 5 and 6 do not.
#include <asyncio.hpp>

#include <string>
#include <utility>

asyncio::Coroutine<int> length(const std::string& text) {
    co_await asyncio::sleep(asyncio::Duration(1));
    co_return static_cast<int>(text.size());
}
asyncio::Coroutine<int> size(std::string text) { co_return static_cast<int>(text.size()); }

asyncio::Coroutine<int> program() {
    std::string named = "named";
#if CASE == 1
    auto kept = length(std::string("a temporary"));
    co_return co_await kept;
#elif CASE == 2
    auto task = asyncio::create_task(length(std::string("a temporary")));
    co_return co_await task;
#elif CASE == 3
    auto kept = [named]() -> asyncio::Coroutine<int> {
        co_return static_cast<int>(named.size());
    }();
    co_return co_await kept;
#elif CASE == 4
    auto task = asyncio::create_task(
        [&named]() -> asyncio::Coroutine<int> { co_return static_cast<int>(named.size()); }());
    co_return co_await task;
#elif CASE == 5
    auto task = asyncio::create_task(size(std::string("a temporary")));
    co_return co_await task + co_await length(std::string("awaited at once"));
#elif CASE == 6
    auto lambda = [named]() -> asyncio::Coroutine<int> {
        co_return static_cast<int>(named.size());
    };
    auto task = asyncio::create_task(length(named));
    auto other = asyncio::create_task(lambda());
    auto third = asyncio::create_task(lambda);
    co_return co_await task + co_await other + co_await third;
#endif
}

int main() { return asyncio::run(program()) == 0; }

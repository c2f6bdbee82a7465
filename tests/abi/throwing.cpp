// Half of a program of which each compiler makes one: an error passes through coroutines of both in
// turn, and its traceback has them all. -DHERE=one -DTHERE=two, or the other way round with main().
#include <asyncio.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>

asyncio::Coroutine<int> THERE(int calls);
asyncio::Coroutine<int> HERE(int calls) {
    co_await asyncio::sleep(std::chrono::milliseconds(0));
    if (calls == 0) throw std::runtime_error("bad");
    auto task = asyncio::create_task(THERE(calls - 1));
    co_return co_await task;
}

#ifdef MAIN
int main() {
    for (int calls = 0; calls < 4; ++calls) {
        std::string names;
        for (int round = 0; round < 2; ++round) {  // the second on the addresses of the first
            names.clear();
            try {
                asyncio::run(HERE(calls));
            } catch (const std::runtime_error&) {
                for (const auto& frame : asyncio::traceback(std::current_exception())) {
                    names += frame.name + ' ';
                }
            }
        }
        const std::string expected = "two one two one ";
        if (names != expected.substr(0, 4 * static_cast<std::size_t>(calls + 1))) {
            std::printf("%d calls: %s\n", calls, names.c_str());
            return 1;
        }
    }
}
#endif

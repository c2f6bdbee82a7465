// Serves what it does for a moment, and is told what is wrong with a path.
#include <asyncio.hpp>
#include <asyncio/inspect_server.hpp>

#include <cstdio>

asyncio::Coroutine<> program() {
    const auto server = asyncio::inspect::serve("served");
    const bool right = server.path() == "served";
    try {
        (void)asyncio::inspect::serve("");
    } catch (const asyncio::ValueError&) {
        std::printf("%d ValueError\n", right ? 42 : 0);
    }
    co_return;
}

int main() { return asyncio::run_main(program()); }

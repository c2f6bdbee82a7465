// Gives orders to the server, and prints what it tells until all timers that were started are
// ready: client PORT "start 3 tea" "start 5 eggs". See docs/tutorial.md.
#include <asyncio.hpp>

#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

using namespace std::chrono_literals;

asyncio::Coroutine<> order(std::string port, std::vector<std::string> orders) {
    auto connecting = asyncio::open_connection("127.0.0.1", std::stoi(port));
    auto [reader, writer] = co_await asyncio::wait_for(std::move(connecting), 5s);
    for (const std::string& line : orders) writer.write(line + "\n");
    co_await writer.drain();

    // Each order has one answer, and each timer that was started has one line more.
    std::size_t expected = orders.size();
    while (expected > 0) {
        const std::string line = co_await reader.readline();
        if (line.empty()) throw asyncio::ConnectionError("the kitchen has closed");
        std::cout << line << std::flush;
        if (line.starts_with("cancelled ")) --expected;
        if (!line.starts_with("started ")) --expected;
    }
}

int main(int argc, char** argv) {
    if (argc < 3) {
        std::cerr << "usage: client PORT ORDER...\n";
        return 2;
    }
    return asyncio::run_main(order(argv[1], {argv + 2, argv + argc}));
}

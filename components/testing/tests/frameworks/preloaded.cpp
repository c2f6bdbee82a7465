// A program that knows nothing of libasyncio::testing: a server, a client, and an hour's sleep.
// With that library preloaded and ASYNCIO_BACKEND=simulated it has a network of its own, and takes
// no time. Linked to the shared library.
#include <asyncio.hpp>

#include <chrono>
#include <iostream>
#include <string>

using asyncio::Coroutine, asyncio::StreamReader, asyncio::StreamWriter;
using namespace std::chrono_literals;

namespace {

Coroutine<> sends_back(StreamReader reader, StreamWriter writer) {
    writer.write(co_await reader.readline());
    writer.close();
}

Coroutine<> program() {
    auto server = co_await asyncio::start_server(&sends_back, "127.0.0.1", 1);
    auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", 1);
    writer.write("an hour passes\n");
    const std::string answer = co_await reader.readline();
    co_await asyncio::sleep(1h);
    writer.close();
    co_await writer.wait_closed();
    server.close();
    co_await server.wait_closed();
    std::cout << answer;
}

}  // namespace

int main() { return asyncio::run_main(program()); }

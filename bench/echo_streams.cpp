// asyncio-echo-streams PORT: echoes what it gets, with streams, as a user would write it.
#include <asyncio.hpp>

#include <string>

#include "echo.hpp"

using namespace asyncio;

namespace {

Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    try {
        for (;;) {
            const std::string data = co_await reader.read(64 * 1024);
            if (data.empty()) break;
            writer.write(data);
            co_await writer.drain();
        }
    } catch (const ConnectionError&) {
        // A client that goes away in the middle is no news here.
    }
    writer.close();
}

Coroutine<> serve(int port) {
    auto server = co_await start_server(echo, "127.0.0.1", port, {.backlog = 4096});
    echo_bench::say_ready();
    co_await server.serve_forever();
}

}  // namespace

int main(int argc, char** argv) { return run_main(serve(echo_bench::port_of(argc, argv))); }

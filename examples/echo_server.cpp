// An echo server: echo_server [PORT]. Try it with `nc 127.0.0.1 8888`; Ctrl-C ends it.
#include <asyncio.hpp>

#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

using asyncio::Coroutine;
using asyncio::StreamReader;
using asyncio::StreamWriter;

// Runs once for each connection, as a task of its own.
Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    const auto peer = writer.get_extra_info<asyncio::SocketAddress>("peername");
    std::cout << "hello " << peer.value() << std::endl;
    try {
        for (;;) {
            // As much as has come, at most 64 KiB: a client that sends more waits for us.
            const std::string data = co_await reader.read(64 * 1024);
            if (data.empty()) break;  // it has sent its last byte
            writer.write(data);
            // Waits while too much of what we wrote is unsent: a client that does not read cannot
            // make us buffer without end.
            co_await writer.drain();
        }
    } catch (const asyncio::OSError& error) {
        std::cout << peer.value() << ": " << error.what() << std::endl;
    }
    writer.close();
    std::cout << "goodbye " << peer.value() << std::endl;
}

Coroutine<> serve(int port) {
    auto server = co_await asyncio::start_server(echo, "127.0.0.1", port);
    std::cout << "serving on " << server.sockets()[0].getsockname() << std::endl;
    // Until Ctrl-C cancels this task. The server goes with it, and run_main() ends the handlers:
    // serve_forever() would wait here until the last client has gone.
    co_await asyncio::sleep(std::nullopt);
}

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 8888;
    return asyncio::run_main(serve(port));
}

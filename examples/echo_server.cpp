// An echo server: echo_server [PORT]. Try it with `nc 127.0.0.1 8888`; Ctrl-C ends it.
#include <asyncio.hpp>

#include <optional>
#include <string>

#include "command_line.hpp"

using asyncio::Coroutine;
using asyncio::StreamReader;
using asyncio::StreamWriter;
using command::say;

// Runs once for each connection, as a task of its own.
Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    const auto peer = writer.get_extra_info<asyncio::SocketAddress>("peername");
    say("hello ", peer.value(), "\n");
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
        say(peer.value(), ": ", error.what(), "\n");
    }
    writer.close();
    say("goodbye ", peer.value(), "\n");
}

Coroutine<> serve(int port) {
    auto server = co_await asyncio::start_server(echo, "127.0.0.1", port);
    say("serving on ", server.sockets()[0].getsockname(), "\n");
    // Until Ctrl-C cancels this task. The server goes with it, and run_main() ends the handlers:
    // serve_forever() would wait here until the last client has gone.
    co_await asyncio::sleep(std::nullopt);
}

int main(int argc, char** argv) {
    return command::run("echo_server [PORT]", argc, argv, [](const command::Arguments& words) {
        words.expect(0, 1);
        return serve(words.port(0, 8888));
    });
}

// Serves the figures of its own event loop to Prometheus: metrics_server [PORT]. Try it with
// `curl http://127.0.0.1:9464/metrics`; Ctrl-C ends it.
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <chrono>
#include <optional>
#include <string>

#include "command_line.hpp"

using asyncio::Coroutine;
using asyncio::StreamReader;
using asyncio::StreamWriter;
using command::say;
using namespace std::chrono_literals;

std::string answer(const std::string& status, const std::string& type, const std::string& body) {
    return "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

// One question a connection, which is what Prometheus asks.
Coroutine<> serve_one(StreamReader reader, StreamWriter writer) {
    const std::string head = co_await asyncio::wait_for(reader.readuntil("\r\n\r\n"), 10s);
    if (head.starts_with("GET /metrics ")) {
        writer.write(answer("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8",
                            asyncio::inspect::metrics()));
    } else {
        writer.write(answer("404 Not Found", "text/plain", "see /metrics\n"));
    }
    co_await asyncio::wait_for(writer.drain(), 10s);
}

// A client that is slow, ends early or sends too much loses its own connection, and no more.
Coroutine<> serve_any(StreamReader reader, StreamWriter writer) {
    try {
        co_await serve_one(reader, writer);
    } catch (const asyncio::OSError& error) {  // TimeoutError, too
        say("a connection ended: ", error.what(), "\n");
    } catch (const asyncio::IncompleteReadError&) {
    } catch (const asyncio::LimitOverrunError&) {
    }
    writer.close();
}

Coroutine<> serve(int port) {
    const asyncio::inspect::Counting counting;  // busy and idle time, too
    auto server = co_await asyncio::start_server(serve_any, "127.0.0.1", port);
    say("serving on ", server.sockets()[0].getsockname(), "\n");
    co_await asyncio::sleep(std::nullopt);  // until Ctrl-C
}

int main(int argc, char** argv) {
    return command::run("metrics_server [PORT]", argc, argv, [](const command::Arguments& words) {
        words.expect(0, 1);
        return serve(words.port(0, 9464));
    });
}

// A server of greetings: a client sends names, a line each, and gets a greeting for each.
#pragma once

#include <asyncio.hpp>

#include <string>

using namespace std::chrono_literals;

// The greeting for `name`, which takes a second of thought.
inline asyncio::Coroutine<std::string> greeting(std::string name) {
    co_await asyncio::sleep(1s);
    co_return name.empty() ? "who are you?" : "hello, " + name;
}

// Serves one client until it has sent its last line. An error of its connection ends this task, is
// logged, and touches nobody else.
inline asyncio::Coroutine<> serve_client(asyncio::StreamReader reader,
                                         asyncio::StreamWriter writer) {
    for (;;) {
        std::string line = co_await reader.readline();
        if (line.empty()) break;
        while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
        writer.write(co_await greeting(line) + "\n");
        co_await writer.drain();
    }
    writer.close();
    co_await writer.wait_closed();
}

// Kitchen timers for everybody who connects: server [PORT]. Ctrl-C ends it. See docs/tutorial.md.
#include "kitchen.hpp"

#include <iostream>
#include <string>

using asyncio::Coroutine, asyncio::StreamReader, asyncio::StreamWriter;
using namespace std::chrono_literals;

// Sends what the kitchen has to tell.
Coroutine<> send_news(Kitchen& kitchen, StreamWriter writer) {
    while (true) {
        const std::string line = co_await kitchen.news.get();
        writer.write(line + "\n");
        // Waits while much is unsent. A client that takes nothing for so long is given up.
        co_await asyncio::wait_for(writer.drain(), 10s);
    }
}

// Does what the client says, until it leaves.
Coroutine<> take_orders(Kitchen& kitchen, asyncio::TaskGroup& group, StreamReader reader) {
    while (auto line = co_await reader.next()) {
        std::string answer;
        try {
            answer = kitchen.obey(group, *line);
        } catch (const asyncio::ValueError& error) {
            answer = std::string("error: ") + error.what();
        }
        co_await kitchen.news.put(std::move(answer));
    }
}

// Runs as a task for each client.
Coroutine<> serve_client(StreamReader reader, StreamWriter writer) {
    Kitchen kitchen;  // outside of the group, whose tasks use it
    auto session = [&](asyncio::TaskGroup& group) -> Coroutine<> {
        group.create_task(send_news(kitchen, writer));
        co_await take_orders(kitchen, group, reader);
        group.cancel();  // the client has left: its timers end, and so does send_news
    };
    try {
        co_await asyncio::with(asyncio::TaskGroup{}, session);
    } catch (const asyncio::ExceptionGroup& errors) {
        for (const auto& error : errors.exceptions()) {
            std::cout << "lost a client: " << asyncio::repr(error) << std::endl;
        }
    }
}  // the last handle of `writer` goes, and the connection closes

Coroutine<> serve(std::string port) {
    auto server = co_await asyncio::start_server(serve_client, "127.0.0.1", std::stoi(port));
    std::cout << "serving on " << server.sockets()[0].getsockname() << std::endl;
    co_await asyncio::sleep(std::nullopt);  // until Ctrl-C cancels this task
}

int main(int argc, char** argv) { return asyncio::run_main(serve(argc > 1 ? argv[1] : "8888")); }

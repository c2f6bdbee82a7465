// A chat server: chat_server [PORT]. Connect with `nc 127.0.0.1 8888`, type a name, then lines.
// Ctrl-C says goodbye to everybody and ends it.
//
// Each client has two tasks: one reads its lines, one sends what is in its queue. So one slow
// client holds up nobody; when its queue is full it is dropped.
#include <asyncio.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <utility>

using asyncio::Coroutine, asyncio::StreamReader, asyncio::StreamWriter;
using namespace std::chrono_literals;

namespace {

// Lines a client may be behind: some 20 KiB of memory for the slowest.
constexpr std::size_t kBehind = 256;

struct Client {
    std::string name;
    StreamWriter writer;
    asyncio::Queue<std::string> lines{kBehind};
};

class Room {
  public:
    // Gives a line to everybody but `from`.
    void tell(const std::string& line, const Client* from = nullptr) {
        std::cout << line << std::flush;
        for (Client* client : clients_) {
            const bool slow = client->lines.full();
            if (slow) client->writer.transport().abort();  // its tasks end, and it leaves
            if (!slow && client != from) client->lines.put_nowait(line);
        }
    }
    void enter(Client& client) {
        clients_.insert(&client);
        tell(client.name + " is here\n", &client);
    }
    void leave(Client& client) {
        clients_.erase(&client);
        tell(client.name + " has left\n");
    }
    void close() {
        tell("the room closes\n");
        for (Client* client : std::exchange(clients_, {})) client->lines.shutdown();
    }

  private:
    std::set<Client*> clients_;
};

// Until the queue is shut down and empty, or the client is gone.
Coroutine<> send_lines(Client& client) {
    auto lines = [&]() -> Coroutine<> {
        for (;;) {
            client.writer.write(co_await client.lines.get());
            co_await client.writer.drain();
        }
    };
    const auto ended = co_await asyncio::as_result(lines());
    client.writer.close();
    if (ended.holds<asyncio::CancelledError>()) std::rethrow_exception(ended.error());
}

Coroutine<> read_lines(Room& room, Client& client, StreamReader reader) {
    while (auto line = co_await reader.next()) {
        room.tell(client.name + ": " + *line, &client);
        co_await asyncio::sleep(0s);  // it is sent before the next one, of many that came at once
    }
}

Coroutine<> serve_client(Room& room, StreamReader reader, StreamWriter writer) {
    writer.write("your name? ");
    std::string name = co_await reader.readline();
    if (!name.empty() && name.back() == '\n') name.pop_back();
    if (name.empty()) co_return;  // the connection closes with its last writer
    Client client{.name = name, .writer = writer};
    room.enter(client);
    auto sending = asyncio::create_task(send_lines(client));
    // However the reading ends (the end, a line that is too long, a reset), the client leaves.
    const auto outcome = co_await asyncio::as_result(read_lines(room, client, reader));
    room.leave(client);
    client.lines.shutdown();
    const auto sent = co_await asyncio::as_result(asyncio::wait_for(sending, 10s));
    if (!sent.has_value()) writer.transport().abort();  // it does not take the rest
    if (outcome.holds<asyncio::CancelledError>()) std::rethrow_exception(outcome.error());
}

Coroutine<> serve(int port) {
    Room room;
    auto handler = [&room](StreamReader reader, StreamWriter writer) {
        return serve_client(room, std::move(reader), std::move(writer));
    };
    auto server = co_await asyncio::start_server(handler, "127.0.0.1", port);
    std::cout << "serving on " << server.sockets()[0].getsockname() << std::endl;
    // Ctrl-C cancels this task.
    const auto interrupted = co_await asyncio::as_result(asyncio::sleep(std::nullopt));
    server.close();
    room.close();
    // Who is still here in a second, or never gave a name, is not waited for.
    const auto empty = co_await asyncio::as_result(asyncio::wait_for(server.wait_closed(), 1s));
    if (!empty.has_value()) server.abort_clients();
    co_await server.wait_closed();
    std::rethrow_exception(interrupted.error());
}

}  // namespace

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 8888;
    return asyncio::run_main(serve(port));
}

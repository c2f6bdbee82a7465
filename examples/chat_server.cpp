// A chat server: chat_server [PORT]. Connect with `nc 127.0.0.1 8888`, type a name, then lines.
// Ctrl-C says goodbye to everybody and ends it.
//
// Each client has two tasks: one reads its lines, one sends what is in its queue. So one slow
// client holds up nobody; when its queue is full it is dropped. What the room sees on standard
// output has a queue, too: a terminal that stands still holds up nobody either.
#include <asyncio.hpp>

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <utility>

#include "command_line.hpp"

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

// Standard output.
class News {
  public:
    void tell(const std::string& line) {
        // Full: nobody reads them. Closed: who leaves last is no news.
        if (!closed_ && !lines_.full()) lines_.put_nowait(line);
    }
    void close() {
        closed_ = true;
        lines_.shutdown();
    }
    // Until it is closed and empty. Raises: OSError if standard output does not take it.
    Coroutine<> print() {
        auto stdio = co_await asyncio::stdio_streams();
        for (;;) {
            const auto line = co_await asyncio::as_result(lines_.get());
            if (line.holds<asyncio::QueueShutDown>()) break;
            stdio.stdout_.write(line.value());
            co_await stdio.stdout_.drain();
        }
    }

  private:
    asyncio::Queue<std::string> lines_{kBehind};
    bool closed_ = false;
};

class Room {
  public:
    explicit Room(News& news) : news_(news) {}

    // Gives a line to everybody but `from`.
    void tell(const std::string& line, const Client* from = nullptr) {
        news_.tell(line);
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

    bool has(const std::string& name) const {
        return std::ranges::any_of(clients_, [&](const Client* c) { return c->name == name; });
    }

  private:
    News& news_;
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

std::string without_end(std::string line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    return line;
}

// Why a name cannot be had; empty if it can. Without spaces and colons it cannot look like a
// message of the room or of somebody else.
std::string refusal(const Room& room, const std::string& name) {
    const bool plain = command::printable(name) == name && name.size() <= 40 &&
                       name.find_first_of(" :") == name.npos;
    if (!plain) return "a name has no spaces, colons or control characters, and at most 40 bytes\n";
    return room.has(name) ? "that name is taken\n" : "";
}

Coroutine<> read_lines(Room& room, Client& client, StreamReader reader) {
    while (auto line = co_await reader.next()) {
        // On a terminal a line shows what it is, and clears nothing.
        const std::string text = command::printable(without_end(*line));
        room.tell(client.name + ": " + text + "\n", &client);
        co_await asyncio::sleep(0s);  // it is sent before the next one, of many that came at once
    }
}

Coroutine<> serve_client(Room& room, StreamReader reader, StreamWriter writer) {
    std::string name;
    for (std::string why = "your name? "; !why.empty(); why = refusal(room, name)) {
        writer.write(why);
        const auto line = co_await asyncio::as_result(reader.readline());
        if (line.holds<asyncio::CancelledError>()) std::rethrow_exception(line.error());
        // Nobody is here yet who could leave by an error.
        name = line.has_value() ? without_end(line.value()) : "";
        if (name.empty()) co_return;  // the connection closes with its last writer
    }
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
    News news;
    Room room(news);
    auto handler = [&room](StreamReader reader, StreamWriter writer) {
        return serve_client(room, std::move(reader), std::move(writer));
    };
    auto server = co_await asyncio::start_server(handler, "127.0.0.1", port);
    command::say("serving on ", server.sockets()[0].getsockname(), "\n");
    auto printing = asyncio::create_task(news.print());
    // Ctrl-C cancels this task, and not the one that prints; that one ends only by an error.
    const auto ended = co_await asyncio::as_result(asyncio::shield(printing));
    server.close();
    room.close();
    news.close();
    // Who is still here in a second, or never gave a name, is not waited for.
    const auto empty = co_await asyncio::as_result(asyncio::wait_for(server.wait_closed(), 1s));
    if (!empty.has_value()) server.abort_clients();
    co_await server.wait_closed();
    [[maybe_unused]] const auto printed =
        co_await asyncio::as_result(asyncio::wait_for(printing, 1s));
    ended.value();  // raises what ended it
}

}  // namespace

int main(int argc, char** argv) {
    return command::run("chat_server [PORT]", argc, argv, [](const command::Arguments& words) {
        words.expect(0, 1);
        return serve(words.port(0, 8888));
    });
}

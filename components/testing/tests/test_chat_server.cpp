// examples/chat_server on a network that is made up: in many orders, with a cancel of a client at
// every point, and with each packet late.
//
// ctest: includes a program
#include <gtest/gtest.h>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_network.hpp>

#define main chat_server_main
#include "../../../examples/chat_server.cpp"
#undef main

#include <map>
#include <vector>

namespace {

using namespace asyncio::testing;

// What each client has heard.
using Heard = std::map<std::string, std::vector<std::string>>;

Coroutine<> listen_for(StreamReader reader, std::vector<std::string>& lines) {
    while (auto line = co_await reader.next()) lines.push_back(*line);
}

Coroutine<> talk(std::string name, std::vector<std::string>& heard) {
    auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", 8888);
    co_await reader.readuntil("your name? ");
    writer.write(name + "\n");
    writer.write("I am " + name + "\n");
    const auto listening =
        co_await asyncio::as_result(asyncio::wait_for(listen_for(reader, heard), 5s));
    writer.close();
    co_await writer.wait_closed();
    if (!listening.holds<asyncio::TimeoutError>()) listening.value();
}

// Nobody hears himself, and nobody hears a line twice.
void check(const Heard& heard) {
    for (const auto& [name, lines] : heard) {
        std::set<std::string> seen;
        for (const std::string& line : lines) {
            EXPECT_TRUE(seen.insert(line).second) << name << " hears twice: " << line;
            EXPECT_FALSE(line.starts_with(name + ": ")) << name << " hears himself";
        }
    }
}

Coroutine<> evening() {
    News news;
    Room room(news);
    auto handler = [&room](StreamReader reader, StreamWriter writer) {
        return serve_client(room, std::move(reader), std::move(writer));
    };
    auto server = co_await asyncio::start_server(handler, "127.0.0.1", 8888);
    Heard heard;
    std::vector<asyncio::Task<>> guests;
    for (const char* const name : {"alice", "bob", "carol"}) {
        guests.push_back(asyncio::create_task(talk(name, heard[name]), {.name = name}));
    }
    for (const auto& guest : guests) static_cast<void>(co_await asyncio::as_result(guest));
    server.close();
    server.abort_clients();
    co_await server.wait_closed();
    co_await settled();
    check(heard);
    for (const char* const name : {"alice", "bob", "carol"}) EXPECT_FALSE(room.has(name));
    sometimes("bob hears alice", std::ranges::count(heard["bob"], "alice: I am alice\n") == 1);
}

constexpr RunOptions kNetwork{.network = true};

TEST(ChatServer, IsFineInAnyOrder) {
    explore(evening, {.strategy = Random{}, .most = 200, .run = kNetwork});
    explore(evening, {.strategy = Delays{1}, .most = 200, .run = kNetwork});
}
TEST(ChatServer, GetsOverAClientThatEndsAnywhere) {
    EXPECT_GT(cancel_everywhere(evening, {.task = "alice", .run = kNetwork}).points, 5u);
}
TEST(ChatServer, GetsOverPacketsThatComeLate) { EXPECT_GT(drop_each_packet(evening).points, 20u); }

}  // namespace

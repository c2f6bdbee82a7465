// The C++ side of streams.py:
//     stream_peer serve HOST     echoes lines; prints its port
//     stream_peer serve PATH     the same on a unix socket
//     stream_peer client HOST PORT, client PATH    talks to such a server, compares every byte
#include <asyncio.hpp>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace asyncio;

namespace {

bool is_path(std::string_view name) { return name.starts_with('/'); }

Coroutine<> echo_lines(StreamReader reader, StreamWriter writer) {
    while (auto line = co_await reader.next()) {
        writer.write(*line);
        co_await writer.drain();
    }
    writer.close();
}

Coroutine<> serve(std::string where) {
    Server server;
    if (is_path(where)) {
        server = co_await start_unix_server(echo_lines, where, {.limit = 1 << 20});
        std::puts("0");
    } else {
        server = co_await start_server(echo_lines, where, 0, {.limit = 1 << 20});
        std::printf("%d\n", server.sockets()[0].getsockname().port());
    }
    std::fflush(stdout);
    co_await server.serve_forever();
}

void check(bool right, const char* what) {
    if (!right) throw std::runtime_error(what);
}

Coroutine<> send_lines(StreamWriter writer, const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
        writer.write(line);
        co_await writer.drain();
    }
    writer.write_eof();
}

Coroutine<> talk(std::string where, int port, unsigned seed) {
    StreamPair pair;
    if (is_path(where)) {
        pair = co_await open_unix_connection(where, {.limit = 1 << 20});
    } else {
        pair = co_await open_connection(where, port, {.limit = 1 << 20});
    }
    std::mt19937 random(seed);
    std::vector<std::string> lines;
    for (int i = 0; i < 300; ++i) {
        lines.push_back(std::string(random() % (i % 50 == 0 ? 200000 : 100), 'a' + i % 26) + '\n');
    }
    auto sending = create_task(send_lines(pair.second, lines));
    for (std::size_t i = 0; i < lines.size(); ++i) {
        std::string got;
        if (i % 3 == 0) {
            got = co_await pair.first.readline();
        } else if (i % 3 == 1) {
            got = co_await pair.first.readexactly(static_cast<std::ptrdiff_t>(lines[i].size()));
        } else {
            got = co_await pair.first.readuntil("\n");
        }
        check(got == lines[i], "another line came back");
    }
    check((co_await pair.first.read()).empty(), "more came back than was sent");
    co_await sending;
    pair.second.close();
    co_await pair.second.wait_closed();
}

Coroutine<> talk_all(std::string where, int port) {
    std::vector<Task<>> tasks;
    for (unsigned i = 0; i < 20; ++i) tasks.push_back(create_task(talk(where, port, i)));
    for (auto& task : tasks) co_await task;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const std::string where = argv[2];
    if (std::string_view(argv[1]) == "serve") return run_main(serve(where));
    return run_main(talk_all(where, argc > 3 ? std::atoi(argv[3]) : 0));
}

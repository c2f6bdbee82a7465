// The C++ side of streams.py and of what the commands curl and nc are tried against:
//     stream_peer serve HOST     echoes lines; prints its port
//     stream_peer serve PATH     the same on a unix socket
//     stream_peer client HOST PORT, client PATH    talks to such a server, compares every byte
//     stream_peer swap HOST PORT TEXT, swap PATH 0 TEXT    sends TEXT and the end, prints what
//     comes stream_peer https CERTIFICATE    answers requests over TLS; prints its port stream_peer
//     datagrams            echoes datagrams backwards; prints its port stream_peer ask HOST PORT
//     TEXT   sends one datagram and prints the answer
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

Coroutine<> swap_texts(std::string where, int port, std::string text) {
    StreamPair pair;
    if (is_path(where)) {
        pair = co_await open_unix_connection(where);
    } else {
        pair = co_await open_connection(where, port);
    }
    pair.second.write(text);
    pair.second.write_eof();
    std::fputs((co_await pair.first.read()).c_str(), stdout);
    pair.second.close();
    co_await pair.second.wait_closed();
}

Coroutine<> answer_requests(StreamReader reader, StreamWriter writer) {
    for (;;) {
        const auto head = co_await as_result(reader.readuntil("\r\n\r\n"));
        if (head.holds<IncompleteReadError>()) break;
        writer.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
        writer.write(head.value().substr(0, 6) + '\n');
        co_await writer.drain();
    }
    writer.close();
}

Coroutine<> serve_https(std::string certificate) {
    ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    context.load_cert_chain(certificate);
    auto server = co_await start_server(answer_requests, "localhost", 0, {.ssl = &context});
    std::printf("%d\n", server.sockets()[0].getsockname().port());
    std::fflush(stdout);
    co_await server.serve_forever();
}

Coroutine<> echo_datagrams() {
    DatagramOptions options;
    options.local_addr = {"127.0.0.1", 0};
    const auto endpoint = co_await open_datagram_endpoint(options);
    std::printf("%d\n", endpoint.getsockname().port());
    std::fflush(stdout);
    for (;;) {
        const Datagram got = co_await endpoint.receive();
        const std::string back(got.data.rbegin(), got.data.rend());
        co_await endpoint.send_to(back, got.address);
    }
}

Coroutine<> ask(std::string host, int port, std::string text) {
    DatagramOptions options;
    options.remote_addr = {host, port};
    const auto endpoint = co_await open_datagram_endpoint(options);
    co_await endpoint.send(text);
    const Datagram got = co_await endpoint.receive();
    std::fputs(got.data.c_str(), stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.empty()) return 2;
    const std::string& what = words[0];
    const std::string where = words.size() > 1 ? words[1] : "";
    const int port = words.size() > 2 ? std::atoi(words[2].c_str()) : 0;
    if (what == "datagrams") return run_main(echo_datagrams());
    if (what == "serve") return run_main(serve(where));
    if (what == "client") return run_main(talk_all(where, port));
    if (what == "https") return run_main(serve_https(where));
    if (words.size() < 4) return 2;
    if (what == "swap") return run_main(swap_texts(where, port, words[3]));
    if (what == "ask") return run_main(ask(where, port, words[3]));
    return 2;
}

// Streams under load, every byte compared: stream_stress MODE N.
//     connections N    N clients at once, all open together, each echoed twice
//     messages N       N short messages through ten connections, pipelined
//     chaos N          N clients through a proxy that splits, delays and resets
// The server is a process of its own.
#include <asyncio.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chaos.hpp"

using namespace asyncio;
using namespace stress;
using namespace std::chrono_literals;

namespace {

// ---- the server's process -----------------------------------------------------------------------

Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    try {
        for (;;) {
            const std::string data = co_await reader.read(64 * 1024);
            if (data.empty()) break;
            writer.write(data);
            co_await writer.drain();
        }
    } catch (const ConnectionError&) {
        // Chaos resets connections.
    }
    writer.close();
}

// Tells its port through `fd`.
Coroutine<> serve(int fd) {
    auto server = co_await start_server(echo, kHost, 0, {.backlog = 4096});
    const int port = server.sockets()[0].getsockname().port();
    check(::write(fd, &port, sizeof port) == sizeof port, "write");
    co_await server.serve_forever();
}

// ---- connections --------------------------------------------------------------------------------

Coroutine<> echo_once(const StreamPair& pair, const std::string& message) {
    pair.second.write(message);
    co_await pair.second.drain();
    const std::string back =
        co_await pair.first.readexactly(static_cast<std::ptrdiff_t>(message.size()));
    check(back == message, "another message came back");
}

Coroutine<> open_and_echo(int port, std::size_t i, StreamPair& pair, Semaphore& opening) {
    {
        const auto guard = co_await opening.scoped();
        pair = co_await open_connection(kHost, port);
    }
    co_await echo_once(pair, "first " + std::to_string(i));
}

Coroutine<> run_connections(int port, std::size_t n) {
    std::vector<StreamPair> pairs(n);
    Semaphore opening(500);
    std::vector<Task<>> tasks;
    for (std::size_t i = 0; i < n; ++i) {
        tasks.push_back(create_task(open_and_echo(port, i, pairs[i], opening)));
    }
    for (auto& task : tasks) co_await task;
    std::printf("%zu connections are open\n", n);
    for (std::size_t i = 0; i < n; ++i) {
        co_await echo_once(pairs[i], std::string(i % 300, 'x') + std::to_string(i));
    }
    for (auto& [reader, writer] : pairs) writer.close();
    for (auto& [reader, writer] : pairs) co_await writer.wait_closed();
}

// ---- messages -----------------------------------------------------------------------------------

std::string message(std::uint64_t number) {
    return std::to_string(number * 2654435761u) + std::string(number % 40, 'm') + '\n';
}

Coroutine<> send_messages(StreamWriter writer, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
        writer.write(message(i));
        if (i % 16 == 0) co_await writer.drain();
    }
    writer.write_eof();
}

Coroutine<> exchange_messages(int port, std::size_t from, std::size_t to) {
    const StreamPair pair = co_await open_connection(kHost, port);
    auto sending = create_task(send_messages(pair.second, from, to));
    for (std::size_t i = from; i < to; ++i) {
        const std::string line = co_await pair.first.readline();
        if (line != message(i))
            throw std::runtime_error("message " + std::to_string(i) + " is wrong");
    }
    check((co_await pair.first.read()).empty(), "more came back than was sent");
    co_await sending;
    pair.second.close();
}

Coroutine<> run_messages(int port, std::size_t n) {
    constexpr std::size_t kConnections = 10;
    std::vector<Task<>> tasks;
    for (std::size_t i = 0; i < kConnections; ++i) {
        tasks.push_back(
            create_task(exchange_messages(port, n * i / kConnections, n * (i + 1) / kConnections)));
    }
    for (auto& task : tasks) co_await task;
    std::printf("%zu messages came back\n", n);
}

// ---- chaos --------------------------------------------------------------------------------------

Coroutine<> send_all(StreamWriter writer, const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += 7001) {
        writer.write(std::string_view(bytes).substr(at, 7001));
        co_await writer.drain();
    }
    writer.write_eof();
}

// Returns whether all came back; what came must be right in any case.
Coroutine<bool> talk_through(int port, std::size_t seed) {
    const std::string sent = payload(seed);
    const StreamPair pair = co_await open_connection(kHost, port);
    auto sending = create_task(send_all(pair.second, sent));
    std::string got;
    bool ended = false;
    while (!ended) {
        const auto piece = co_await as_result(pair.first.read(10000));
        if (!piece.has_value() && !piece.holds<ConnectionError>()) piece.value();
        ended = !piece.has_value() || piece.value().empty();
        if (!ended) got += piece.value();
    }
    check(sent.compare(0, got.size(), got) == 0, "other bytes came back");
    if (got.size() < sent.size()) pair.second.transport().abort();
    const auto outcome = co_await as_result(sending);
    check(outcome.has_value() || outcome.holds<ConnectionError>(), "sending failed");
    pair.second.close();
    const auto closed = co_await as_result(pair.second.wait_closed());
    co_return closed.has_value() && got.size() == sent.size();
}

Coroutine<> talk_some(int port, std::size_t from, std::size_t to, std::size_t& whole) {
    for (std::size_t i = from; i < to; ++i) {
        if (co_await talk_through(port, i)) ++whole;
    }
}

Coroutine<> run_chaos(int port, std::size_t n) {
    Chaos chaos(port, {Chaos::Spoil::kReset});
    auto handler = [&chaos](StreamReader reader, StreamWriter writer) {
        return chaos.pass(std::move(reader), std::move(writer));
    };
    auto proxy = co_await start_server(handler, kHost, 0);
    const int proxy_port = proxy.sockets()[0].getsockname().port();
    constexpr std::size_t kAtOnce = 20;
    std::size_t whole = 0;
    std::vector<Task<>> tasks;
    for (std::size_t i = 0; i < kAtOnce; ++i) {
        tasks.push_back(
            create_task(talk_some(proxy_port, n * i / kAtOnce, n * (i + 1) / kAtOnce, whole)));
    }
    for (auto& task : tasks) co_await task;
    proxy.close();
    co_await proxy.wait_closed();
    while (chaos.running > 0) co_await sleep(1ms);
    std::printf("%zu of %zu came back whole, %d connections were reset\n", whole, n, chaos.spoilt);
    check(whole > n / 3 && whole + static_cast<std::size_t>(chaos.spoilt) >= n,
          "fewer came back whole than were not reset");
}

// As many as descriptors are allowed.
std::size_t affordable(std::size_t n) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return std::min<std::size_t>(n, limit.rlim_cur > 200 ? limit.rlim_cur - 100 : 100);
}

Coroutine<> run_mode(std::string mode, int port, std::size_t n) {
    if (mode == "connections") {
        co_await run_connections(port, n);
    } else if (mode == "messages") {
        co_await run_messages(port, n);
    } else if (mode == "chaos") {
        co_await run_chaos(port, n);
    } else {
        throw std::runtime_error("no such mode");
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s connections|messages|chaos N\n", argv[0]);
        return 2;
    }
    std::size_t n = std::strtoull(argv[2], nullptr, 10);
    const std::size_t most = affordable(n);
    if (std::string_view(argv[1]) == "connections") n = most;
    const ServerProcess server(serve);
    return run_main(run_mode(argv[1], server.port(), n));
}

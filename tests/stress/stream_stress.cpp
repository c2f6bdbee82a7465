// Streams under load, every byte compared: stream_stress MODE N.
//     connections N    N clients at once, all open together, each echoed twice
//     messages N       N short messages through ten connections, pipelined
//     chaos N          N clients through a proxy that splits, delays and resets
// The server is a process of its own.
#include <asyncio.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace asyncio;
using namespace std::chrono_literals;

namespace {

constexpr const char* kHost = "127.0.0.1";

void check(bool right, const char* what) {
    if (!right) throw std::runtime_error(what);
}

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

class ServerProcess {
  public:
    ServerProcess() {
        int ends[2];
        check(::pipe(ends) == 0, "pipe");
        child_ = ::fork();
        check(child_ >= 0, "fork");
        if (child_ == 0) {
            ::close(ends[0]);
            std::_Exit(run_main(serve(ends[1])));
        }
        ::close(ends[1]);
        check(::read(ends[0], &port_, sizeof port_) == sizeof port_, "the server did not start");
        ::close(ends[0]);
    }
    ServerProcess(const ServerProcess&) = delete;
    ServerProcess& operator=(const ServerProcess&) = delete;
    ~ServerProcess() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    int port() const { return port_; }

  private:
    pid_t child_ = -1;
    int port_ = 0;
};

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

class Chaos {
  public:
    explicit Chaos(int port) : port_(port) {}

    // The handler of the proxy.
    Coroutine<> pass(StreamReader reader, StreamWriter writer) {
        ++running;
        const StreamPair server = co_await open_connection(kHost, port_);
        // One in four is reset after some bytes.
        std::size_t left = random() % 4 == 0 ? random() % 40000 : SIZE_MAX;
        auto there = create_task(copy(reader, server.second, left, writer));
        auto back = create_task(copy(server.first, writer, left, writer));
        const auto first = co_await as_result(there);
        if (!first.has_value()) server.second.transport().abort();
        const auto second = co_await as_result(back);
        resets += first.has_value() && second.has_value() ? 0 : 1;
        writer.close();
        server.second.close();
        --running;
    }

    std::size_t random() { return static_cast<std::size_t>(engine_()); }
    int resets = 0;
    int running = 0;  // handlers, which may end after their connections

  private:
    Coroutine<> copy(StreamReader from, StreamWriter to, std::size_t& left, StreamWriter client) {
        for (;;) {
            const std::string data =
                co_await from.read(static_cast<std::ptrdiff_t>(1 + random() % 5000));
            if (data.empty()) break;
            for (std::size_t at = 0; at < data.size();) {
                const std::size_t n = std::min(1 + random() % 1500, data.size() - at);
                to.write(std::string_view(data).substr(at, n));
                at += n;
                if (random() % 3 == 0) co_await sleep(std::chrono::microseconds(random() % 500));
                co_await to.drain();
            }
            if (data.size() >= left) {
                const linger hard{.l_onoff = 1, .l_linger = 0};
                setsockopt(client.get_extra_info<int>("socket").value_or(-1), SOL_SOCKET, SO_LINGER,
                           &hard, sizeof hard);
                client.transport().abort();
                throw ConnectionAbortedError("reset");
            }
            if (left != SIZE_MAX) left -= data.size();
        }
        if (to.can_write_eof()) to.write_eof();
    }

    int port_;
    std::mt19937_64 engine_{12345};
};

std::string payload(std::size_t seed) {
    std::mt19937_64 engine(seed);
    std::string bytes(engine() % 60000, '\0');
    for (char& c : bytes) c = static_cast<char>(engine());
    return bytes;
}

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
    Chaos chaos(port);
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
    std::printf("%zu of %zu came back whole, %d connections were reset\n", whole, n, chaos.resets);
    check(whole > n / 3 && whole + static_cast<std::size_t>(chaos.resets) >= n,
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
    const ServerProcess server;
    return run_main(run_mode(argv[1], server.port(), n));
}

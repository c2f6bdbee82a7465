// How fast libasyncio::testing tries orders, and runs of a network that is made up.
//
//   asyncio-testing schedules N     N orders by chance of three tasks with two awaits each
//   asyncio-testing clients N       N runs of 200 clients of one server, over links with jitter and
//   loss
//
// Prints {"workload": ..., "n": N, "per_second": ...}.
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing_network.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

using asyncio::Coroutine;
using asyncio::StreamReader;
using asyncio::StreamWriter;
using namespace asyncio::testing;
using namespace std::chrono_literals;

namespace {

Coroutine<> two_awaits(int& sum) {
    co_await asyncio::sleep(0s);
    ++sum;
    co_await asyncio::sleep(0s);
    ++sum;
}

Coroutine<> three_tasks() {
    int sum = 0;
    const auto a = asyncio::create_task(two_awaits(sum));
    const auto b = asyncio::create_task(two_awaits(sum));
    co_await two_awaits(sum);
    co_await a;
    co_await b;
    if (sum != 6) throw asyncio::ValueError("a step is lost");
}

Coroutine<> sends_back(StreamReader reader, StreamWriter writer) {
    while (const auto line = co_await reader.next()) {
        writer.write(*line);
        co_await writer.drain();
    }
    writer.close();
}

Coroutine<> serves() {
    auto server = co_await asyncio::start_server(&sends_back, "0.0.0.0", 80);
    const auto ended = co_await asyncio::as_result(asyncio::Event().wait());
    server.close();
    co_await server.wait_closed();
    ended.value();
}

Coroutine<> asks(int& answers) {
    auto [reader, writer] = co_await asyncio::open_connection("server", 80);
    for (const std::string_view line : {"one\n", "two\n", "three\n"}) {
        writer.write(line);
        if (co_await reader.readline() != line) throw asyncio::ValueError("another answer");
    }
    writer.close();
    co_await writer.wait_closed();
    ++answers;
}

Coroutine<> two_hundred_clients() {
    network().set_links({.latency = 5ms, .jitter = 5ms, .loss = 0.1});
    const Host host = network().host("server");
    const auto server = asyncio::create_task(on(host, serves()));
    co_await settled();
    int answers = 0;
    std::vector<asyncio::Task<>> clients;
    for (int i = 0; i < 200; ++i) clients.push_back(asyncio::create_task(asks(answers)));
    for (const auto& client : clients) co_await client;
    server.cancel();
    static_cast<void>(co_await asyncio::as_result(server));
    co_await settled();
    if (answers != 200) throw asyncio::ValueError("a client has no answer");
}

std::uint64_t try_orders(std::uint64_t n) {
    return explore(three_tasks, {.strategy = Random{}, .most = n, .limit = 1h}).runs;
}

std::uint64_t run_seeds(std::uint64_t n) {
    for (std::uint64_t seed = 0; seed < n; ++seed) simulate(two_hundred_clients, {.seed = seed});
    return n;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view workload = argc == 3 ? argv[1] : "";
    if (workload != "schedules" && workload != "clients") {
        std::fprintf(stderr, "usage: asyncio-testing schedules|clients N\n");
        return 2;
    }
    const std::uint64_t n = std::strtoull(argv[2], nullptr, 10);
    const auto began = std::chrono::steady_clock::now();
    const std::uint64_t runs = workload == "schedules" ? try_orders(n) : run_seeds(n);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::printf("{\"workload\": \"%s\", \"n\": %llu, \"per_second\": %.0f}\n", argv[1],
                static_cast<unsigned long long>(runs), static_cast<double>(runs) / took.count());
}

// Finds the open TCP ports of a host: very many connections are tried, some hundred at a time, each
// with a timeout. For hosts of your own: others may take it for an attack.
//
//   port_scanner [HOST [FIRST [LAST]]]     default: 127.0.0.1 1 1024
#include <asyncio.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int kAtOnce = 256;       // a descriptor each: far below the usual limit of 1024
constexpr auto kPatience = 1s;     // a filtered port never answers
constexpr auto kGreeting = 300ms;  // servers that speak first do so soon

enum class State { kOpen, kClosed, kFiltered };

struct Finding {
    State state = State::kClosed;
    std::string greeting;
};

// What the server says first, if it does, on one line that a terminal can show.
asyncio::Coroutine<std::string> greeting_of(asyncio::StreamReader reader) {
    const auto bytes = co_await asyncio::as_result(asyncio::wait_for(reader.read(60), kGreeting));
    if (!bytes.has_value()) co_return "";
    std::string text = bytes.value();
    for (char& c : text) {
        if (c < 0x20 || c > 0x7e) c = ' ';
    }
    co_return text;
}

asyncio::Coroutine<Finding> try_port(std::string host, int port, asyncio::Semaphore& places) {
    const auto place = co_await places.scoped();
    Finding finding;
    auto connection = co_await asyncio::as_result(
        asyncio::wait_for(asyncio::open_connection(host, port), kPatience));
    if (connection.holds<asyncio::ConnectionRefusedError>()) co_return finding;
    if (connection.holds<asyncio::TimeoutError>()) {
        finding.state = State::kFiltered;
        co_return finding;
    }
    // Anything else (no route, no more descriptors) concerns more than this port.
    auto [reader, writer] = std::move(connection).value();
    finding.state = State::kOpen;
    finding.greeting = co_await greeting_of(reader);
    writer.close();
    co_return finding;
}

asyncio::Coroutine<> scan(std::string host, int first, int last) {
    asyncio::EventLoop& loop = asyncio::get_running_loop();
    const asyncio::TimePoint start = loop.time();
    // One look-up, not one for each port.
    const auto addresses = co_await loop.getaddrinfo(host, first);
    const std::string address(addresses.front().address.host());

    asyncio::Semaphore places(kAtOnce);
    std::vector<asyncio::Coroutine<Finding>> tries;
    for (int port = first; port <= last; ++port) tries.push_back(try_port(address, port, places));
    const auto findings = co_await asyncio::gather(std::move(tries));

    int filtered = 0;
    int open = 0;
    for (std::size_t i = 0; i < findings.size(); ++i) {
        const Finding& finding = findings[i];
        filtered += finding.state == State::kFiltered;
        if (finding.state != State::kOpen) continue;
        ++open;
        std::printf("%5d open  %s\n", first + static_cast<int>(i), finding.greeting.c_str());
    }
    const std::chrono::duration<double> seconds = loop.time() - start;
    std::printf("%s: %zu ports in %.2f s, %d open, %d without an answer\n", address.c_str(),
                findings.size(), seconds.count(), open, filtered);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string host = argc > 1 ? argv[1] : "127.0.0.1";
    const int first = argc > 2 ? std::atoi(argv[2]) : 1;
    const int last = argc > 3 ? std::atoi(argv[3]) : argc > 2 ? first : 1024;
    if (first < 1 || last > 65535 || first > last) {
        std::fprintf(stderr, "usage: port_scanner [HOST [FIRST [LAST]]], ports from 1 to 65535\n");
        return 2;
    }
    return asyncio::run_main(scan(host, first, last));
}

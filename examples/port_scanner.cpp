// Finds the open TCP ports of a host: very many connections are tried, some hundred at a time, each
// with a timeout. For hosts of your own: others may take it for an attack.
//
//   port_scanner [HOST [FIRST [LAST]]]     default: 127.0.0.1 1 1024
#include <asyncio.hpp>

#include <chrono>
#include <iomanip>
#include <string>
#include <utility>
#include <vector>

#include "command_line.hpp"

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

// What the server says first, if it does.
asyncio::Coroutine<std::string> greeting_of(asyncio::StreamReader reader) {
    const auto bytes = co_await asyncio::as_result(asyncio::wait_for(reader.read(60), kGreeting));
    if (!bytes.has_value()) co_return "";
    co_return bytes.value();
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
    const auto findings = co_await command::together(std::move(tries));

    int filtered = 0;
    int open = 0;
    for (std::size_t i = 0; i < findings.size(); ++i) {
        const Finding& finding = findings[i];
        filtered += finding.state == State::kFiltered;
        if (finding.state != State::kOpen) continue;
        ++open;
        command::say(std::setw(5), first + static_cast<int>(i), " open  ",
                     command::printable(finding.greeting), "\n");
    }
    const std::chrono::duration<double> seconds = loop.time() - start;
    command::say(address, ": ", findings.size(), " ports in ", std::fixed, std::setprecision(2),
                 seconds.count(), " s, ", open, " open, ", filtered, " without an answer\n");
}

}  // namespace

int main(int argc, char** argv) {
    const char* usage = "port_scanner [HOST [FIRST [LAST]]]   (ports from 1 to 65535)";
    return command::run(usage, argc, argv, [](const command::Arguments& words) {
        words.expect(0, 3);
        const int first = words.number(1, "FIRST", 1, 65535, 1);
        const int last = words.number(2, "LAST", first, 65535, words.size() > 1 ? first : 1024);
        return scan(words.size() > 0 ? words[0] : "127.0.0.1", first, last);
    });
}

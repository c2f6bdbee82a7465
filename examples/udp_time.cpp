// Asks a server for the time, over UDP, and says how far the own clock is from it. A datagram may
// be lost, doubled or late, so each question has a number, a timeout, and further attempts.
//
//   udp_time serve [PORT]            answers (default: port 3737)
//   udp_time ask HOST [PORT]         asks eight times, believes the quickest answer
//   udp_time                         both, in one program
#include <asyncio.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "command_line.hpp"

using namespace std::chrono_literals;

namespace {

constexpr int kPort = 3737;
constexpr auto kPatience = 500ms;
constexpr int kQuestions = 8;
constexpr int kAttempts = 3;

using Micros = std::int64_t;

Micros clock_now() {
    const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count();
}

// Answers "time? N" by "time N MICROSECONDS". What is no question is dropped: an answer to anything
// at all could be used to flood somebody else.
asyncio::Coroutine<> serve(asyncio::DatagramEndpoint endpoint) {
    for (;;) {
        const asyncio::Datagram question = co_await endpoint.receive();
        long number = 0;
        if (std::sscanf(question.data.c_str(), "time? %ld", &number) != 1) continue;
        const std::string answer =
            "time " + std::to_string(number) + ' ' + std::to_string(clock_now());
        co_await endpoint.send_to(answer, question.address);
    }
}

// The answer to question `number`; answers to earlier ones come late and are passed over.
asyncio::Coroutine<Micros> answer_to(asyncio::DatagramEndpoint endpoint, long number) {
    for (;;) {
        const asyncio::Datagram answer = co_await endpoint.receive();
        long to = 0;
        long long time = 0;
        if (std::sscanf(answer.data.c_str(), "time %ld %lld", &to, &time) == 2 && to == number) {
            co_return time;
        }
    }
}

struct Measurement {
    Micros round_trip = 0;
    Micros offset = 0;  // of the server's clock from ours
};

asyncio::Coroutine<std::optional<Measurement>> measure(asyncio::DatagramEndpoint endpoint,
                                                       long number) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const Micros sent = clock_now();
        const std::string question = "time? " + std::to_string(number);
        co_await endpoint.send(question);
        const auto answer =
            co_await asyncio::as_result(asyncio::wait_for(answer_to(endpoint, number), kPatience));
        if (answer.holds<asyncio::TimeoutError>()) continue;
        const Micros received = clock_now();
        // The answer was written halfway, if both ways take equally long.
        Measurement m;
        m.round_trip = received - sent;
        m.offset = answer.value() - (sent + received) / 2;
        co_return m;
    }
    co_return std::nullopt;
}

asyncio::Coroutine<> ask(std::string host, int port) {
    const auto endpoint = co_await asyncio::open_datagram_endpoint({.remote_addr = {host, port}});
    std::optional<Measurement> best;
    for (long number = 1; number <= kQuestions; ++number) {
        const auto m = co_await measure(endpoint, number);
        if (m && (!best || m->round_trip < best->round_trip)) best = m;
    }
    if (!best) throw asyncio::TimeoutError(host + " does not answer");
    command::say("round trip ", best->round_trip, " us, the other clock is ", std::showpos,
                 best->offset, " us from this one\n");
}

asyncio::Coroutine<> program(std::string what, std::string host, int port) {
    if (what == "ask") co_return co_await ask(host, port);
    const auto endpoint = co_await asyncio::open_datagram_endpoint({.local_addr = {host, port}});
    command::say("answering at ", endpoint.getsockname(), "\n");
    if (what == "serve") co_return co_await serve(endpoint);
    const auto server = asyncio::create_task(serve(endpoint));
    co_await ask("127.0.0.1", endpoint.getsockname().port());
    server.cancel();
}

}  // namespace

int main(int argc, char** argv) {
    const char* usage = "udp_time [serve [PORT] | ask HOST [PORT]]";
    return command::run(usage, argc, argv, [](const command::Arguments& words) {
        const std::string what = words.size() > 0 ? words[0] : "both";
        if (what == "serve") {
            words.expect(1, 2);
            return program(what, "", words.port(1, kPort));
        }
        if (what == "ask") {
            words.expect(2, 3);
            return program(what, words[1], words.number(2, "PORT", 1, 65535, kPort));
        }
        if (words.size() > 0) throw command::UsageError("'" + what + "' is neither serve nor ask");
        return program(what, "127.0.0.1", 0);
    });
}

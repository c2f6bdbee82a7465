// TLS through a proxy that splits, delays, resets, cuts off and changes: tls_stress N.
// Every byte is compared. What ends too early ends with an error, of the right class, and never
// with what looks like the end; nothing waits for ever. The server is a process of its own, and
// still serves at the end.
#include <asyncio.hpp>

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chaos.hpp"
#include "tls_support.hpp"

using namespace asyncio;
using namespace stress;
using namespace std::chrono_literals;

namespace {

// ---- the server's process -----------------------------------------------------------------------

// A line says how many bytes follow; they are sent back, and the connection is ended.
Coroutine<> echo_so_many(StreamReader reader, StreamWriter writer) {
    std::size_t left = std::stoul("0" + co_await reader.readline());
    writer.write("ok\n");
    while (left > 0) {
        const std::string data = co_await reader.read(64 * 1024);
        if (data.empty()) co_return writer.transport().abort();
        left -= data.size();
        writer.write(data);
        co_await writer.drain();
    }
    writer.close();
}

// What happens to one connection is the business of nobody else.
Coroutine<> serve_one(StreamReader reader, StreamWriter writer) {
    const auto outcome = co_await as_result(echo_so_many(reader, writer));
    if (!outcome.has_value() && !outcome.holds<OSError>()) outcome.value();
}

Coroutine<> serve(int fd, std::string certificate) {
    ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    context.load_cert_chain(certificate);
    context.strict_eof = true;
    ServerOptions options{.backlog = 1024, .ssl = &context};
    auto server = co_await start_server(serve_one, kHost, 0, options);
    const int port = server.sockets()[0].getsockname().port();
    check(::write(fd, &port, sizeof port) == sizeof port, "write");
    co_await server.serve_forever();
}

// ---- the clients --------------------------------------------------------------------------------

struct Totals {
    std::size_t whole = 0;
    std::size_t reset = 0;    // ConnectionError
    std::size_t refused = 0;  // SSLError: changed, or cut off
};

Coroutine<> send_payload(StreamWriter writer, const std::string& bytes) {
    writer.write(std::to_string(bytes.size()) + '\n');
    for (std::size_t at = 0; at < bytes.size(); at += 7001) {
        writer.write(std::string_view(bytes).substr(at, 7001));
        co_await writer.drain();
    }
}

// Raises: what ended the connection, unless all came back and then a clean end.
Coroutine<> exchange(int port, const ssl::SSLContext& context, const std::string& sent) {
    ConnectionOptions options{.ssl = &context, .server_hostname = "localhost"};
    const StreamPair pair = co_await open_connection(kHost, port, options);
    auto sending = create_task(send_payload(pair.second, sent));
    std::string got;
    const auto receive = [&]() -> Coroutine<> {
        for (;;) {
            const std::string data = co_await pair.first.read(10000);
            if (data.empty()) break;
            got += data;
        }
    };
    const auto received = co_await as_result(receive());
    check(("ok\n" + sent).starts_with(got), "other bytes came back");
    if (!received.has_value()) pair.second.transport().abort();
    const auto outcome = co_await as_result(sending);
    check(outcome.has_value() || outcome.holds<OSError>(), "sending failed");
    received.value();
    check(got.size() == sent.size() + 3, "a stream that was cut off looked as if it had ended");
    pair.second.close();
    co_await pair.second.wait_closed();
}

Coroutine<> exchange_some(int port, const ssl::SSLContext& context, std::size_t from,
                          std::size_t to, Totals& totals) {
    for (std::size_t i = from; i < to; ++i) {
        const std::string sent = payload(i);
        auto bounded = wait_for(exchange(port, context, sent), 60s);
        const auto outcome = co_await as_result(bounded);
        if (outcome.holds<SSLError>()) {
            ++totals.refused;
        } else if (outcome.holds<ConnectionError>()) {
            ++totals.reset;
        } else {
            outcome.value();
            ++totals.whole;
        }
    }
}

Coroutine<> run_chaos(int port, std::string authority, std::size_t n) {
    ssl::SSLContext context =
        ssl::create_default_context(ssl::Purpose::SERVER_AUTH, {.cafile = authority});
    context.strict_eof = true;
    Chaos chaos(port, {Chaos::Spoil::kReset, Chaos::Spoil::kEnd, Chaos::Spoil::kChange});
    auto handler = [&chaos](StreamReader reader, StreamWriter writer) {
        return chaos.pass(std::move(reader), std::move(writer));
    };
    auto proxy = co_await start_server(handler, kHost, 0);
    const int proxy_port = proxy.sockets()[0].getsockname().port();
    constexpr std::size_t kAtOnce = 20;
    Totals totals;
    std::vector<Task<>> tasks;
    for (std::size_t i = 0; i < kAtOnce; ++i) {
        tasks.push_back(create_task(
            exchange_some(proxy_port, context, n * i / kAtOnce, n * (i + 1) / kAtOnce, totals)));
    }
    for (auto& task : tasks) co_await task;
    proxy.close();
    co_await proxy.wait_closed();
    while (chaos.running > 0) co_await sleep(1ms);
    std::printf("%zu of %zu came back whole, %zu were reset, %zu refused; %d were spoilt\n",
                totals.whole, n, totals.reset, totals.refused, chaos.spoilt);
    check(totals.whole > n / 3, "too few came back whole");
    check(totals.whole + static_cast<std::size_t>(chaos.spoilt) >= n,
          "more failed than were spoilt");
    check(totals.reset > 0 && totals.refused > 0, "one kind of chaos did not happen");
    co_await exchange(port, context, payload(n));  // the server serves on
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s N\n", argv[0]);
        return 2;
    }
    const support::TestAuthority authority;
    const auto serve_with = [&](int fd) { return serve(fd, authority.server.file()); };
    const ServerProcess server(serve_with);
    return run_main(
        run_chaos(server.port(), authority.ca.file(), std::strtoull(argv[1], nullptr, 10)));
}

// TLS on a network that is made up: the same seed gives the same packets at the same times. Their
// sizes may differ by a byte or two, since an ECDSA signature has no fixed length.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_network.hpp>

#include <regex>
#include <string>

#include "tls_support.hpp"

namespace {

using asyncio::Coroutine;
using asyncio::StreamReader;
using asyncio::StreamWriter;
using namespace asyncio::testing;
using namespace std::chrono_literals;

struct Contexts {
    support::TestAuthority authority;
    asyncio::ssl::SSLContext server =
        asyncio::ssl::create_default_context(asyncio::ssl::Purpose::CLIENT_AUTH);
    Contexts() { server.load_cert_chain(authority.server.file()); }
};

Coroutine<> echoes(StreamReader reader, StreamWriter writer) {
    while (const auto line = co_await reader.next()) writer.write(*line);
    writer.close();
    co_await writer.wait_closed();
}

Coroutine<> talk(const Contexts& contexts, std::string& trace) {
    network().keep_trace();
    // What is written together is one packet, however long a signature in it is.
    network().set_links({.latency = 10ms, .jitter = 5ms, .loss = 0.1, .mtu = 64 * 1024});
    const Host host = network().host("localhost.test");
    const asyncio::ServerOptions serving{.ssl = &contexts.server};
    const auto serves = [&]() -> Coroutine<asyncio::Server> {
        co_return co_await asyncio::start_server(&echoes, "0.0.0.0", 443, serving);
    };
    auto server = co_await on(host, serves());
    // A context of its own, which remembers no session.
    const auto client = asyncio::ssl::create_default_context(
        asyncio::ssl::Purpose::SERVER_AUTH, {.cafile = contexts.authority.ca.file()});
    const asyncio::ConnectionOptions options{.ssl = &client, .server_hostname = "localhost"};
    auto [reader, writer] = co_await asyncio::open_connection("localhost.test", 443, options);
    for (int i = 0; i < 5; ++i) {
        writer.write("line\n");
        CO_ASSERT_EQ(co_await reader.readline(), "line\n");
    }
    writer.close();
    co_await writer.wait_closed();
    server.close();
    co_await server.wait_closed();
    co_await advance(5s);
    trace = std::regex_replace(network().trace(), std::regex(" [0-9]+ bytes"), " bytes");
}

TEST(NetworkTls, TheSameSeedHasTheSameTrace) {
    const Contexts contexts;
    const auto trace_of = [&](std::uint64_t seed) {
        std::string trace;
        simulate([&] { return talk(contexts, trace); }, {.seed = seed});
        return trace;
    };
    for (std::uint64_t seed = 0; seed < 5; ++seed) EXPECT_EQ(trace_of(seed), trace_of(seed));
    EXPECT_NE(trace_of(0), trace_of(1));
}

}  // namespace

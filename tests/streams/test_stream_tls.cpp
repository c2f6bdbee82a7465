// StreamWriter::start_tls, on both ends of a connection. ST-16.
//
// ctest: simulated
#include <asyncio/streams.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <asyncio/inspect.hpp>
#include <asyncio/locks.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/ssl.hpp>
#include <asyncio/timeouts.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "socket_calls.hpp"
#include "support.hpp"
#include "tls_support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;

constexpr const char* kHost = "127.0.0.1";

int port_of(const Server& server) { return server.sockets().at(0).getsockname().port(); }

// Runs `main()` on a loop of its own, at most 20 s.
template <class F>
void run_bounded(F main) {
    auto bounded = [&main]() -> Coroutine<> {
        auto body = main();
        co_await wait_for(std::move(body), 20s);
    };
    asyncio::run(bounded(), {.loop_factory = &EpollEventLoop::create});
}

TEST(StreamWriter, StartsTls) {  // ST-16
    const support::TestAuthority authority;
    ssl::SSLContext server_side = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    server_side.load_cert_chain(authority.server.file());
    const ssl::SSLContext client_side =
        ssl::create_default_context(ssl::Purpose::SERVER_AUTH, {.cafile = authority.ca.file()});
    run_bounded([&]() -> Coroutine<> {
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            EXPECT_EQ(co_await reader.readline(), "STARTTLS\n");
            // The client does not wait for an answer: its handshake is in the reader already.
            co_await sleep(20ms);
            co_await writer.start_tls(server_side);
            EXPECT_TRUE(writer.get_extra_info<ssl::SSLObject>("ssl_object").has_value());
            while (auto line = co_await reader.next()) writer.write("secret " + *line);
            writer.close();
        };
        auto server = co_await start_server(handler, kHost, 0);
        for (int i = 0; i < 3; ++i) {
            auto pair = co_await open_connection(kHost, port_of(server));
            const Transport plain = pair.second.transport();
            pair.second.write("STARTTLS\n");
            co_await pair.second.start_tls(client_side, {.server_hostname = "localhost"});
            EXPECT_FALSE(pair.second.transport() == plain);
            pair.second.write("one\ntwo\n");
            EXPECT_EQ(co_await pair.first.readline(), "secret one\n");
            EXPECT_EQ(co_await pair.first.readexactly(11), "secret two\n");
            pair.second.close();
            co_await pair.second.wait_closed();
        }
        // Each way to be cancelled leaves no connection open.
        for (int ticks = 0; ticks < 5; ++ticks) {
            auto pair = co_await open_connection(kHost, port_of(server));
            pair.second.write("STARTTLS\n");
            auto task =
                create_task(pair.second.start_tls(client_side, {.server_hostname = "localhost"}));
            for (int k = 0; k < ticks; ++k) co_await sleep(1ms);
            task.cancel();
            const auto outcome = co_await as_result(task);
            // On a busy machine the handshake may be over by then.
            EXPECT_TRUE(outcome.holds<CancelledError>() || (ticks > 0 && outcome.has_value()));
            pair.second.transport().abort();
            const auto closed = co_await as_result(pair.second.wait_closed());
            EXPECT_TRUE(pair.second.is_closing());
        }
        server.close();
        server.abort_clients();
        co_await server.wait_closed();
    });
}

struct Contexts {
    support::TestAuthority authority;
    ssl::SSLContext server = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    ssl::SSLContext client =
        ssl::create_default_context(ssl::Purpose::SERVER_AUTH, {.cafile = authority.ca.file()});
    Contexts() { server.load_cert_chain(authority.server.file()); }
};

// Somebody on the way adds commands to the client's plain request. They must not be carried out as
// if the client had sent them over TLS.
TEST(StreamWriter, ServerTakesNoPlainBytesForSecuredOnes) {  // ST-16
    const Contexts contexts;
    for (const std::string injected :
         {"MAIL FROM:<evil>\n", "x", "\x16\x03\x01MAIL FROM:<evil>\n"}) {
        run_bounded([&]() -> Coroutine<> {
            bool refused = false;
            const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
                EXPECT_EQ(co_await reader.readline(), "STARTTLS\n");
                co_await sleep(20ms);  // what was added is in the reader by now
                const auto outcome = co_await as_result(writer.start_tls(contexts.server));
                EXPECT_TRUE(outcome.holds<SSLError>());
                refused = true;
                const auto after = co_await as_result(reader.read());
                EXPECT_TRUE(!after.has_value() || after.value().empty());
                writer.close();
            };
            auto server = co_await start_server(handler, kHost, 0);
            auto pair = co_await open_connection(kHost, port_of(server));
            pair.second.write("STARTTLS\n" + injected);
            const auto outcome = co_await as_result(
                pair.second.start_tls(contexts.client, {.server_hostname = "localhost"}));
            EXPECT_TRUE(outcome.holds<OSError>());
            const auto closed = co_await as_result(pair.second.wait_closed());
            server.close();
            co_await server.wait_closed();
            EXPECT_TRUE(refused) << injected;
        });
    }
}

// The same to a client: an answer is added to the server's plain one.
TEST(StreamWriter, ClientTakesNoPlainBytesForSecuredOnes) {  // ST-16
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            EXPECT_EQ(co_await reader.readline(), "STARTTLS\n");
            writer.write("ready\n250 evil\n");
            const auto outcome = co_await as_result(writer.start_tls(contexts.server));
            EXPECT_TRUE(outcome.holds<ConnectionError>());
        };
        auto server = co_await start_server(handler, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        pair.second.write("STARTTLS\n");
        EXPECT_EQ(co_await pair.first.readline(), "ready\n");
        const auto outcome = co_await as_result(
            pair.second.start_tls(contexts.client, {.server_hostname = "localhost"}));
        const auto* error = detail::find<SSLError>(outcome.error());
        EXPECT_TRUE(error);
        if (!error) co_return;
        EXPECT_STREQ(error->what(), "9 bytes came before the TLS handshake and were not read");
        EXPECT_TRUE((co_await as_result(pair.first.read())).holds<SSLError>());
        EXPECT_TRUE(pair.second.is_closing());
        const auto closed = co_await as_result(pair.second.wait_closed());
        server.close();
        co_await server.wait_closed();
    });
}

TEST(StreamWriter, PlainBytesThatComeDuringTheHandshakeAreAnError) {  // ST-16
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            co_await reader.read(1);  // the client's handshake has begun
            writer.write("250 evil\n");
            co_await reader.read();
        };
        auto server = co_await start_server(handler, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        const auto outcome = co_await as_result(
            pair.second.start_tls(contexts.client, {.server_hostname = "localhost"}));
        EXPECT_TRUE(outcome.holds<SSLError>());
        const auto after = co_await as_result(pair.first.read());
        EXPECT_TRUE(!after.has_value() || after.value().empty());
        server.close();
        co_await server.wait_closed();
    });
}

// A handshake with nobody is not waited for.
TEST(StreamWriter, StartsNoTlsAfterTheEnd) {  // ST-16
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        int ended = 0;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            EXPECT_EQ(co_await reader.readline(), "STARTTLS\n");
            EXPECT_EQ(co_await reader.read(), "");
            const auto outcome = co_await as_result(writer.start_tls(contexts.server));
            EXPECT_TRUE(outcome.holds<ConnectionResetError>());
            ++ended;
        };
        auto server = co_await start_server(handler, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        pair.second.write("STARTTLS\n");
        pair.second.write_eof();
        EXPECT_EQ(co_await pair.first.read(), "");
        EXPECT_EQ(ended, 1);
        const auto outcome = co_await as_result(
            pair.second.start_tls(contexts.client, {.server_hostname = "localhost"}));
        EXPECT_TRUE(outcome.holds<ConnectionResetError>());
        server.close();
        co_await server.wait_closed();
    });
}

// The first bytes that a client of TLS sends.
Coroutine<std::string> client_hello(ssl::SSLContext context) {
    std::string hello;
    Event there;
    const auto handler = [&](StreamReader reader, StreamWriter) -> Coroutine<> {
        hello = co_await reader.read(4096);
        there.set();
    };
    auto server = co_await start_server(handler, kHost, 0);
    const ConnectionOptions options{.ssl = &context, .server_hostname = "localhost"};
    const auto outcome = co_await as_result(open_connection(kHost, port_of(server), options));
    EXPECT_TRUE(outcome.holds<OSError>());
    co_await there.wait();
    server.close();
    co_await server.wait_closed();
    co_return hello;
}

void reset(const StreamWriter& writer) {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    socket_calls::setsockopt(writer.get_extra_info<int>("socket").value(), SOL_SOCKET, SO_LINGER,
                             &hard, sizeof hard);
    writer.transport().abort();
}

// However far they get, clients that reset, end or fall silent are their own errors.
TEST(StreamsOverTls, ServerOutlivesClientsThatStopAtAnyByte) {  // TL-02 SV-04
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        const support::ErrorCapture errors(get_running_loop());
        int served = 0;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            ++served;
            writer.write(co_await reader.readline());
            writer.close();
        };
        ServerOptions serving{.ssl = &contexts.server};
        serving.ssl_handshake_timeout = 100ms;
        auto server = co_await start_server(handler, kHost, 0, serving);
        const std::string hello = co_await client_hello(contexts.client);
        EXPECT_GT(hello.size(), 100u);
        std::vector<StreamPair> silent;
        for (std::size_t bytes = 0; bytes <= hello.size(); bytes += bytes < 12 ? 1 : 37) {
            for (int how = 0; how < 3; ++how) {
                auto pair = co_await open_connection(kHost, port_of(server));
                pair.second.write(hello.substr(0, bytes));
                if (bytes % 2 == 0) co_await sleep(1ms);
                if (how == 0) reset(pair.second);
                if (how == 1) pair.second.close();
                if (how == 2) silent.push_back(std::move(pair));
            }
        }
        // The time limit of the handshake ends those that say no more.
        for (const auto& [reader, writer] : silent) {
            const auto rest = co_await as_result(reader.read());
            EXPECT_TRUE(rest.has_value() || rest.holds<ConnectionError>());
        }
        EXPECT_EQ(served, 0);
        const ConnectionOptions options{.ssl = &contexts.client, .server_hostname = "localhost"};
        const auto ask = [&]() -> Coroutine<std::string> {
            auto [reader, writer] = co_await open_connection(kHost, port_of(server), options);
            writer.write("still there\n");
            co_return co_await reader.read();
        };
        // The limit is short for a busy machine, and what it ends on the server's side alone is
        // seen by the client's next step.
        auto answer = co_await as_result(ask());
        while (!answer.has_value()) answer = co_await as_result(ask());
        EXPECT_EQ(answer.value(), "still there\n");
        server.close();
        silent.clear();
        co_await server.wait_closed();
        EXPECT_TRUE(errors.lines().empty()) << errors.lines().front();
    });
}

// Two tasks that drain one writer wait for the same buffer.
// As over TCP, for those who look from outside.
TEST(StreamsOverTls, AWaitTellsWhichDescriptorItIsFor) {
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        const auto handler = [](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            co_await reader.read();
            writer.close();
        };
        const ServerOptions serving{.ssl = &contexts.server};
        auto server = co_await start_server(handler, kHost, 0, serving);
        const ConnectionOptions options{.ssl = &contexts.client, .server_hostname = "localhost"};
        auto [reader, writer] = co_await open_connection(kHost, port_of(server), options);
        auto reads = [](StreamReader r) -> Coroutine<> { co_await r.readline(); };
        const auto reading = create_task(reads(reader), {.name = "reading"});
        co_await sleep(1ms);
        std::string waits_for;
        for (const auto& task : inspect::snapshot(get_running_loop()).tasks) {
            if (task.name == "reading") waits_for = task.waits_for;
        }
        const std::string begin = "StreamReader.read of descriptor ";
        EXPECT_EQ(waits_for.substr(0, begin.size()), begin);
        const int fd = std::stoi("0" + waits_for.substr(std::min(begin.size(), waits_for.size())));
        EXPECT_EQ(TransportSocket(fd).getpeername().port(), port_of(server));
        reading.cancel();
        writer.close();
        EXPECT_TRUE((co_await as_result(reading)).holds<CancelledError>());
        server.close();
        server.abort_clients();
        co_await server.wait_closed();
    });
}

TEST(StreamsOverTls, SeveralTasksDrainOneWriter) {  // ST-13
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        Event go_on;
        std::size_t sent = 0;
        int waiting = 0;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            co_await go_on.wait();
            for (std::size_t received = 0; received < sent;) {
                received += (co_await reader.readexactly(1000)).size();
            }
            writer.write("all");
            writer.close();
        };
        const ServerOptions serving{.ssl = &contexts.server};
        auto server = co_await start_server(handler, kHost, 0, serving);
        const ConnectionOptions options{.ssl = &contexts.client, .server_hostname = "localhost"};
        auto pair = co_await open_connection(kHost, port_of(server), options);
        const auto send = [&]() -> Coroutine<> {
            const std::string piece(10'000, 'x');
            while (!go_on.is_set()) {
                pair.second.write(piece);
                sent += piece.size();
                ++waiting;
                co_await pair.second.drain();
                --waiting;
            }
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(create_task(send()));
        for (std::size_t before = 0; waiting < 3 || sent != before;) {
            before = sent;
            co_await sleep(5ms);
        }
        go_on.set();
        for (auto& task : tasks) co_await task;
        EXPECT_EQ(co_await pair.first.read(), "all");
        pair.second.close();
        server.close();
        co_await server.wait_closed();
    });
}

// The transport below drops what is written after an error, so that the one above is never full: a
// task that writes and drains went on without end, and nothing else ran.
TEST(StreamsOverTls, DrainRaisesOnceASendBelowHasFailed) {  // ST-13
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        int written = 0;
        bool raised = false;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            co_await reader.readexactly(1);
            ::shutdown(writer.get_extra_info<int>("socket").value(),
                       SHUT_WR);  // the next send fails
            const std::string piece(10'000, 'x');
            try {
                for (; written < 1000; ++written) {
                    writer.write(piece);
                    co_await writer.drain();
                }
            } catch (const ConnectionError&) {
                raised = true;
            }
        };
        const ServerOptions serving{.ssl = &contexts.server};
        auto server = co_await start_server(handler, kHost, 0, serving);
        const ConnectionOptions options{.ssl = &contexts.client, .server_hostname = "localhost"};
        auto pair = co_await open_connection(kHost, port_of(server), options);
        pair.second.write("x");
        static_cast<void>(co_await as_result(pair.first.read()));
        pair.second.close();
        server.close();
        co_await server.wait_closed();
        EXPECT_TRUE(raised) << written;
    });
}

// The system cannot send a file encrypted: it is read and written.
TEST(StreamsOverTls, SendfileReadsAndWrites) {  // SF-01
    const Contexts contexts;
    run_bounded([&]() -> Coroutine<> {
        std::string content(3'000'000, '\0');
        for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i >> 3);
        std::FILE* const file = std::tmpfile();
        EXPECT_EQ(std::fwrite(content.data(), 1, content.size(), file), content.size());
        std::fflush(file);
        const auto handler = [&](StreamReader, StreamWriter writer) -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            const SendfileOptions natively{.fallback = false};
            const auto refused =
                co_await as_result(loop.sendfile(writer.transport(), ::fileno(file), natively));
            EXPECT_TRUE(refused.holds<RuntimeError>());
            writer.write("head ");
            const SendfileOptions part{.offset = 1000, .count = content.size() - 2000};
            const auto sent =
                co_await as_result(loop.sendfile(writer.transport(), ::fileno(file), part));
            EXPECT_EQ(sent.value(), content.size() - 2000);
            writer.write(" foot");
            writer.close();
        };
        const ServerOptions serving{.ssl = &contexts.server};
        auto server = co_await start_server(handler, kHost, 0, serving);
        const ConnectionOptions options{.ssl = &contexts.client, .server_hostname = "localhost"};
        auto pair = co_await open_connection(kHost, port_of(server), options);
        const std::string got = co_await pair.first.read();
        EXPECT_TRUE(got == "head " + content.substr(1000, content.size() - 2000) + " foot");
        pair.second.close();
        server.close();
        co_await server.wait_closed();
        std::fclose(file);
    });
}

TEST(StreamWriter, RefusesTlsWithoutAName) {  // ST-16
    const support::TestAuthority authority;
    const ssl::SSLContext client_side =
        ssl::create_default_context(ssl::Purpose::SERVER_AUTH, {.cafile = authority.ca.file()});
    run_bounded([&]() -> Coroutine<> {
        auto ends = Socket::pair();
        auto pair = co_await open_connection({.sock = ends.first});
        EXPECT_EQ(raised<ValueError>([&] { (void)pair.second.start_tls(client_side); }),
                  "check_hostname requires server_hostname");
        pair.second.close();
    });
}

}  // namespace

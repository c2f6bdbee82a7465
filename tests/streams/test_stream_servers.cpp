// Streams over sockets: open_connection, start_server, their unix forms. ST-*, and what users of
// other libraries stumble on (wait_closed, drain of a closed connection, a client that resets).
// ctest: timeout=120
// ctest: simulated
#include <asyncio/streams.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asyncio/contextvars.hpp>
#include <asyncio/datagrams.hpp>
#include <asyncio/locks.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/with.hpp>
#include <chrono>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "socket_calls.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::error_text;
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

Coroutine<> echo_lines(StreamReader reader, StreamWriter writer) {
    while (auto line = co_await reader.next()) {
        writer.write(*line);
        co_await writer.drain();
    }
    writer.close();
}

// Gives the connection to the test.
struct Accepted {
    StreamReader reader;
    StreamWriter writer;
    Event there;
    auto handler() {
        return [this](StreamReader r, StreamWriter w) {
            reader = std::move(r);
            writer = std::move(w);
            there.set();
        };
    }
};

Coroutine<> close_server(Server server) {
    server.close();
    co_await server.wait_closed();
}

// A folder of its own for a unix socket.
class Folder {
  public:
    Folder() { EXPECT_NE(mkdtemp(name_), nullptr); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        unlink(path().c_str());
        rmdir(name_);
    }
    std::string path() const { return std::string(name_) + "/socket"; }

  private:
    char name_[32] = "/tmp/asyncio-streams-XXXXXX";
};

TEST(OpenConnection, GivesAReaderAndAWriter) {  // ST-01, ST-02
    run_bounded([]() -> Coroutine<> {
        auto server = co_await start_server(echo_lines, kHost, 0);
        const int port = port_of(server);
        auto pair = co_await open_connection(kHost, port);
        auto& [reader, writer] = pair;
        EXPECT_EQ(writer.get_extra_info<SocketAddress>("peername"), SocketAddress(kHost, port));
        EXPECT_EQ(writer.get_extra_info<SocketAddress>("sockname")->host(), kHost);
        writer.write("one\ntwo\n");
        co_await writer.drain();
        EXPECT_EQ(co_await reader.readline(), "one\n");
        EXPECT_EQ(co_await reader.readline(), "two\n");
        writer.writelines({"th", "ree", "\n"});
        EXPECT_EQ(co_await reader.readuntil("ee\n"), "three\n");
        writer.write("rest");
        EXPECT_TRUE(writer.can_write_eof());
        writer.write_eof();
        EXPECT_EQ(co_await reader.read(), "rest");
        EXPECT_TRUE(reader.at_eof());
        writer.close();
        co_await writer.wait_closed();
        EXPECT_TRUE(writer.is_closing());
        co_await close_server(server);
    });
}

TEST(OpenConnection, RaisesWhatConnectingRaises) {  // ST-01
    run_bounded([]() -> Coroutine<> {
        int port = 0;
        {
            auto server = co_await start_server(echo_lines, kHost, 0);
            port = port_of(server);
            co_await close_server(server);
        }
        const auto r = co_await as_result(open_connection(kHost, port));
        EXPECT_EQ(error_text<ConnectionRefusedError>(r),
                  "[Errno 111] Connect call failed ('127.0.0.1', " + std::to_string(port) + ")");
        EXPECT_EQ(raised<ValueError>([&] { (void)open_connection(kHost, port, {.limit = 0}); }),
                  "Limit cannot be <= 0");
        EXPECT_EQ(
            raised<ValueError>([] { (void)start_server(echo_lines, kHost, 0, {.limit = 0}); }),
            "Limit cannot be <= 0");
    });
    EXPECT_EQ(raised<RuntimeError>([] { (void)open_connection(kHost, 1); }),
              "no running event loop");
}

// L28. A port is 0 to 65535 wherever one is taken: -1 is not "none".
TEST(OpenConnection, RefusesPortsThatAreNone) {
    run_bounded([]() -> Coroutine<> {
        constexpr int most = std::numeric_limits<int>::max();
        EventLoop& loop = get_running_loop();
        const auto handler = [](StreamReader, StreamWriter) {};
        const auto protocol = [] { return std::make_shared<Protocol>(); };
        const auto datagrams = [] { return std::make_shared<DatagramProtocol>(); };
        const Socket socket(2, 1);
        const Server server = co_await start_server(handler, kHost, 0);
        for (const int port : {-1, -2, 65536, -most - 1, most}) {
            const auto refuses = [&](const char* what, auto call) -> Coroutine<> {
                const auto r = co_await as_result(std::move(call));
                EXPECT_EQ(error_text<ValueError>(r), "port must be 0-65535.") << what << port;
            };
            const std::vector<std::string> hosts{kHost, "::1"};
            co_await refuses("start_server", start_server(handler, kHost, port));
            co_await refuses("start_server", start_server(handler, "", port));
            co_await refuses("start_server", start_server(handler, hosts, port));
            co_await refuses("create_server", loop.create_server(protocol, kHost, port));
            co_await refuses("create_server", loop.create_server(protocol, "", port));
            co_await refuses("open_connection", open_connection(kHost, port));
            co_await refuses("open_connection", open_connection("", port));
            co_await refuses("open_connection", open_connection("localhost", port));
            co_await refuses("create_connection", loop.create_connection(protocol, kHost, port));
            co_await refuses("sock_connect", loop.sock_connect(socket, kHost, port));
            co_await refuses("getaddrinfo", loop.getaddrinfo(kHost, port));
            co_await refuses("getaddrinfo", loop.getaddrinfo("", port));
            co_await refuses("getaddrinfo", loop.getaddrinfo("localhost", port));
            ConnectionOptions from;
            from.local_addr = {kHost, port};
            co_await refuses("local_addr", open_connection(kHost, port_of(server), from));
            from.local_addr = {"", port};
            co_await refuses("local_addr", open_connection(kHost, port_of(server), from));
            for (const char* host : {kHost, ""}) {
                DatagramOptions options;
                options.local_addr = {host, port};
                co_await refuses("datagrams", open_datagram_endpoint(options));
                co_await refuses("datagrams", loop.create_datagram_endpoint(datagrams, options));
                options.local_addr = {};
                options.remote_addr = {host, port};
                co_await refuses("datagrams", open_datagram_endpoint(options));
                co_await refuses("datagrams", loop.create_datagram_endpoint(datagrams, options));
            }
            EXPECT_EQ(raised<ValueError>([&] { SocketAddress address(kHost, port); }),
                      "port must be 0-65535.");
        }
        for (const char* service : {"65536", "4294967376", "99999999999999999999"}) {
            const auto r = co_await as_result(loop.getaddrinfo(kHost, service));
            EXPECT_EQ(error_text<ValueError>(r), "port must be 0-65535.") << service;
        }
        const auto none = co_await loop.getaddrinfo(kHost, std::nullopt);
        EXPECT_EQ(none.at(0).address.port(), 0);
    });
}

TEST(OpenConnection, ClosesTheSocketOfACallThatIsRefused) {  // ST-01
    auto ends = Socket::pair();
    const int taken = ends.first.fileno();
    EXPECT_EQ(raised<RuntimeError>([&] { (void)open_connection({.sock = ends.first}); }),
              "no running event loop");
    EXPECT_FALSE(socket_calls::is_open(taken)) << "it was taken over";
    run_bounded([&]() -> Coroutine<> {
        const int other = ends.second.fileno();
        EXPECT_EQ(raised<ValueError>(
                      [&] { (void)open_unix_connection({}, {.sock = ends.second, .limit = 0}); }),
                  "Limit cannot be <= 0");
        EXPECT_FALSE(socket_calls::is_open(other));
        co_return;
    });
}

TEST(OpenConnection, TakesASocketThatIsConnected) {  // ST-01
    run_bounded([]() -> Coroutine<> {
        auto ends = Socket::pair();
        auto left = co_await open_connection({.sock = ends.first});
        auto right = co_await open_unix_connection({}, {.sock = ends.second});
        left.second.write("over a pair\n");
        EXPECT_EQ(co_await right.first.readline(), "over a pair\n");
        right.second.close();
        EXPECT_EQ(co_await left.first.read(), "");
        left.second.close();
        co_await left.second.wait_closed();
        co_await right.second.wait_closed();
    });
}

TEST(OpenConnection, CancelledLeavesNothingOpen) {  // ST-01
    run_bounded([]() -> Coroutine<> {
        auto server = co_await start_server(echo_lines, kHost, 0);
        const int port = port_of(server);
        // At every tick on its way.
        support::LogCapture log;
        for (int ticks = 0; ticks < 6; ++ticks) {
            auto task = create_task(open_connection(kHost, port));
            for (int i = 0; i < ticks; ++i) co_await sleep(0s);
            const bool in_time = task.cancel();
            const auto r = co_await as_result(task);
            EXPECT_EQ(r.holds<CancelledError>(), in_time) << ticks;
            if (r.has_value()) r.value().second.close();
        }
        EXPECT_EQ(log.text(), "");
        co_await close_server(server);
    });
}

TEST(StartServer, OpensUnixSockets) {  // ST-03
    run_bounded([]() -> Coroutine<> {
        const Folder folder;
        auto server = co_await start_unix_server(echo_lines, folder.path());
        auto pair = co_await open_unix_connection(folder.path());
        pair.second.write("unix\n");
        EXPECT_EQ(co_await pair.first.readline(), "unix\n");
        pair.second.close();
        co_await close_server(server);

        const std::string abstract =
            std::string("\0asyncio-streams-", 17) + std::to_string(getpid());
        auto hidden = co_await start_unix_server(echo_lines, abstract);
        auto other = co_await open_unix_connection(abstract);
        other.second.write("abstract\n");
        EXPECT_EQ(co_await other.first.readline(), "abstract\n");
        other.second.close();
        co_await close_server(hidden);
    });
}

TEST(StartServer, RefusesWhatIsNoHandler) {  // ST-02
    static_assert(detail::StreamHandler<decltype(echo_lines)>);
    static_assert(detail::StreamHandler<void (*)(StreamReader, StreamWriter)>);
    static_assert(!detail::StreamHandler<void (*)(StreamReader)>);
    static_assert(!detail::StreamHandler<void (*)(StreamReader&, StreamWriter&)>);
}

TEST(StartServer, KeepsAHandlerWithCapturesAsLongAsItIsNeeded) {  // ST-02
    run_bounded([]() -> Coroutine<> {
        auto greeting = std::make_shared<std::string>("hello ");
        const std::weak_ptr<std::string> watch = greeting;
        StreamPair client;
        {
            auto handler = [greeting = std::move(greeting)](StreamReader reader,
                                                            StreamWriter writer) -> Coroutine<> {
                const std::string name = co_await reader.readline();
                writer.write(*greeting + name);
                co_await writer.drain();
            };
            Server server = co_await start_server(callable(std::move(handler)), kHost, 0);
            client = co_await open_connection(kHost, port_of(server));
            co_await sleep(10ms);
            server.close();
        }
        // The server is gone, its connection is not.
        EXPECT_FALSE(watch.expired());
        client.second.write("world\n");
        EXPECT_EQ(co_await client.first.read(), "hello world\n");
        client.second.close();
        co_await client.second.wait_closed();
        co_await sleep(10ms);
        EXPECT_TRUE(watch.expired());
    });
}

TEST(StartServer, HandlersRunInACopyOfItsContext) {  // ST-02
    run_bounded([]() -> Coroutine<> {
        static ContextVar<std::string> name{"name", "nobody"};
        name.set("the server's");
        const auto handler = [](StreamReader, StreamWriter writer) -> Coroutine<> {
            writer.write(name.get());
            name.set("the handler's");
            writer.close();
            co_return;
        };
        auto server = co_await start_server(handler, kHost, 0);
        name.set("the client's");
        for (int i = 0; i < 2; ++i) {
            auto pair = co_await open_connection(kHost, port_of(server));
            EXPECT_EQ(co_await pair.first.read(), "the server's");
            pair.second.close();
        }
        co_await close_server(server);
    });
}

TEST(StartServer, ReportsTheErrorOfAHandlerAndClosesItsConnection) {  // ST-02
    run_bounded([]() -> Coroutine<> {
        support::ErrorCapture errors(get_running_loop());
        const auto handler = [](StreamReader reader, StreamWriter) -> Coroutine<> {
            co_await reader.readexactly(3);
            throw ValueError("bad request");
        };
        auto server = co_await start_server(handler, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        pair.second.write("abc");
        EXPECT_EQ(co_await pair.first.read(), "");
        pair.second.close();
        co_await close_server(server);
        EXPECT_EQ(errors.lines().size(), 1U);
        const std::string line = errors.lines().empty() ? "" : errors.lines()[0];
        EXPECT_TRUE(line.starts_with("Unhandled exception in client_connected_cb for ")) << line;
        EXPECT_NE(line.find(kHost), std::string::npos) << line;
        EXPECT_TRUE(line.ends_with(": ValueError('bad request')")) << line;
    });
}

TEST(StartServer, TheReportOfAFailedHandlerNamesItAndItsPeer) {  // ST-02
    const support::LogCapture log;
    run_bounded([]() -> Coroutine<> {
        const auto handler = [](StreamReader, StreamWriter) -> Coroutine<> {
            throw ValueError("bad request");
            co_return;
        };
        auto server = co_await start_server(handler, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        EXPECT_EQ(co_await pair.first.read(), "");
        pair.second.close();
        co_await close_server(server);
    });
    const std::string text = log.text();
    EXPECT_NE(text.find("\ntask: <Task finished name="), std::string::npos) << text;
    EXPECT_NE(text.find("coro=<<lambda>() done, defined at "), std::string::npos) << text;
    EXPECT_NE(text.find("\nTraceback (most recent call last):\n  File \""), std::string::npos)
        << text;
    EXPECT_NE(text.find(", in <lambda>\nValueError: bad request\n"), std::string::npos) << text;
}

TEST(StartServer, AHandlerThatKeepsNoWriterClosesTheConnection) {  // ST-17
    run_bounded([]() -> Coroutine<> {
        const auto handler = [](StreamReader, StreamWriter writer) -> Coroutine<> {
            writer.write("bye");
            co_return;
        };
        auto server = co_await start_server(handler, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        EXPECT_EQ(co_await pair.first.read(), "bye");
        pair.second.close();
        co_await close_server(server);
    });
}

TEST(StartServer, ClosesItsClientsHandlers) {  // ST-02
    run_bounded([]() -> Coroutine<> {
        int ended = 0;
        const auto handler = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            const std::string all = co_await reader.read();
            EXPECT_EQ(all, "");
            ++ended;
            writer.close();
        };
        auto server = co_await start_server(handler, kHost, 0);
        std::vector<StreamPair> clients;
        for (int i = 0; i < 5; ++i) {
            clients.push_back(co_await open_connection(kHost, port_of(server)));
        }
        co_await sleep(20ms);
        server.close();
        server.close_clients();
        co_await server.wait_closed();
        for (auto& [reader, writer] : clients) {
            EXPECT_EQ(co_await reader.read(), "");
            writer.close();
            co_await writer.wait_closed();
        }
        co_await sleep(0s);
        EXPECT_EQ(ended, 5);
    });
}

TEST(Streams, PassOnABackPressure) {  // ST-04, ST-13
    run_bounded([]() -> Coroutine<> {
        Accepted end;
        auto server = co_await start_server(end.handler(), kHost, 0, {.limit = 1000});
        auto pair = co_await open_connection(kHost, port_of(server));
        co_await end.there.wait();
        // The server does not read: the client's drain comes to wait, with bounded memory.
        const std::string block(64 * 1024, 'x');
        std::size_t sent = 0;
        for (;;) {
            pair.second.write(block);
            sent += block.size();
            const auto r = co_await as_result(wait_for(pair.second.drain(), 100ms));
            if (!r.has_value()) {
                EXPECT_TRUE(r.holds<TimeoutError>());
                break;
            }
            EXPECT_LT(sent, 100U << 20);
        }
        EXPECT_LE(pair.second.transport().get_write_buffer_size(), 2 * block.size());
        EXPECT_FALSE(end.writer.transport().is_reading());
        auto draining = create_task(pair.second.drain());
        std::size_t got = 0;
        while (got < sent) {
            const std::string piece = co_await end.reader.read(1 << 20);
            EXPECT_EQ(piece.find_first_not_of('x'), std::string::npos);
            got += piece.size();
        }
        co_await draining;
        EXPECT_EQ(got, sent);
        pair.second.close();
        EXPECT_EQ(co_await end.reader.read(), "");
        end.writer.close();
        co_await close_server(server);
    });
}

// Resets the connection.
void reset(const StreamWriter& writer) {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    socket_calls::setsockopt(*writer.get_extra_info<int>("socket"), SOL_SOCKET, SO_LINGER, &hard,
                             sizeof hard);
    writer.transport().abort();
}

TEST(Streams, AResetIsAnErrorOfItsConnectionOnly) {  // ST-05, ST-13, ST-14
    run_bounded([]() -> Coroutine<> {
        Accepted end;
        auto server = co_await start_server(end.handler(), kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        co_await end.there.wait();
        auto reading = create_task(end.reader.readline());
        auto closed = create_task(end.writer.wait_closed());
        end.writer.transport().set_write_buffer_limits({.high = 0});
        reset(pair.second);
        EXPECT_TRUE((co_await as_result(reading)).holds<ConnectionResetError>());
        EXPECT_TRUE((co_await as_result(closed)).holds<ConnectionResetError>());
        EXPECT_TRUE((co_await as_result(end.writer.drain())).holds<ConnectionResetError>());
        end.writer.write("dropped");
        co_await pair.second.wait_closed();
        end.there.clear();
        auto again = co_await open_connection(kHost, port_of(server));
        co_await end.there.wait();
        again.second.close();
        end.writer.close();
        co_await close_server(server);
    });
}

TEST(Streams, WritingInALoopToAClosedConnectionEnds) {  // ST-13
    run_bounded([]() -> Coroutine<> {
        Accepted end;
        auto server = co_await start_server(end.handler(), kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        co_await end.there.wait();
        pair.second.close();
        bool lost = false;
        for (int i = 0; i < 1000 && !lost; ++i) {
            pair.second.write("x");
            lost = (co_await as_result(pair.second.drain())).holds<ConnectionResetError>();
        }
        EXPECT_TRUE(lost);
        end.writer.close();
        co_await close_server(server);
    });
}

TEST(Streams, WaitClosedEndsWhenThePeerReadsNothing) {  // ST-14
    run_bounded([]() -> Coroutine<> {
        Accepted end;
        auto server = co_await start_server(end.handler(), kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        co_await end.there.wait();
        end.writer.transport().pause_reading();
        pair.second.write(std::string(32 << 20, 'x'));
        pair.second.close();
        const auto r = co_await as_result(wait_for(pair.second.wait_closed(), 50ms));
        EXPECT_TRUE(r.holds<TimeoutError>());
        pair.second.transport().abort();
        co_await pair.second.wait_closed();
        end.writer.transport().abort();
        co_await close_server(server);
    });
}

TEST(Streams, CancellingAReadLosesNoByte) {  // ST-05 to ST-08
    run_bounded([]() -> Coroutine<> {
        const auto handler = [](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            for (int i = 0; i < 3000; ++i) {
                writer.write("line " + std::to_string(i) + '\n');
                if (i % 7 == 0) co_await sleep(0s);
                if (i % 100 == 0) co_await writer.drain();
            }
            writer.write_eof();
            co_await reader.read();
            writer.close();
        };
        auto server = co_await start_server(handler, kHost, 0, {.limit = 1000});
        auto pair = co_await open_connection(kHost, port_of(server), {.limit = 1000});
        StreamReader reader = pair.first;
        std::string memory(100, ' ');
        std::string got;
        const auto read_into = [](StreamReader from, std::string* to) -> Coroutine<std::string> {
            const std::size_t n = co_await from.read_into(std::span<char>(*to));
            co_return to->substr(0, n);
        };
        const auto read_line = [](StreamReader from) -> Coroutine<std::string> {
            co_return co_await from.readline();
        };
        const auto read_some = [](StreamReader from) -> Coroutine<std::string> {
            co_return co_await from.read(20);
        };
        for (int i = 0; !reader.at_eof(); ++i) {
            Task<std::string> task;
            if (i % 3 == 0) {
                task = create_task(read_line(reader));
            } else if (i % 3 == 1) {
                task = create_task(read_some(reader));
            } else {
                task = create_task(read_into(reader, &memory));
            }
            for (int k = i % 4; k > 0; --k) co_await sleep(0s);
            if (i % 2 == 0) task.cancel();
            const auto r = co_await as_result(task);
            if (r.has_value()) got += r.value();
        }
        std::string expected;
        for (int i = 0; i < 3000; ++i) expected += "line " + std::to_string(i) + '\n';
        EXPECT_EQ(got.size(), expected.size());
        EXPECT_TRUE(got == expected);
        pair.second.close();
        co_await pair.second.wait_closed();
        co_await close_server(server);
    });
}

TEST(Streams, SeveralTasksDrainOneWriter) {  // ST-13
    run_bounded([]() -> Coroutine<> {
        Accepted end;
        auto server = co_await start_server(end.handler(), kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        co_await end.there.wait();
        const std::string block(1 << 20, 'y');
        const auto send = [&]() -> Coroutine<> {
            for (int i = 0; i < 4; ++i) {
                pair.second.write(block);
                co_await pair.second.drain();
            }
        };
        std::vector<Task<>> senders;
        for (int i = 0; i < 5; ++i) senders.push_back(create_task(send()));
        std::size_t got = 0;
        while (got < 20 * block.size()) got += (co_await end.reader.read(1 << 20)).size();
        for (auto& task : senders) co_await task;
        pair.second.close();
        end.writer.close();
        co_await close_server(server);
    });
}

TEST(Streams, AreLeftBehindWhenTheLoopCloses) {  // ST-17
    support::LogCapture log;
    const auto loop = EpollEventLoop::create();
    auto main = [](StreamPair* out, Server* out_server) -> Coroutine<> {
        auto server = co_await start_server(echo_lines, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        pair.second.write("a\nb");
        EXPECT_EQ(co_await pair.first.readline(), "a\n");
        *out = pair;
        *out_server = server;
    };
    StreamPair pair;
    Server server;
    loop->run_until_complete(main(&pair, &server));
    loop->close();
    EXPECT_TRUE(pair.second.is_closing());
    pair.second.write("nowhere");
}

TEST(Streams, DeepPipelineOfLinesComesBackInOrder) {  // ST-06, ST-11
    run_bounded([]() -> Coroutine<> {
        auto server = co_await start_server(echo_lines, kHost, 0);
        auto pair = co_await open_connection(kHost, port_of(server));
        constexpr int kLines = 20000;
        const auto send = [&]() -> Coroutine<> {
            for (int i = 0; i < kLines; ++i) {
                pair.second.write(std::to_string(i) + '\n');
                if (i % 64 == 0) co_await pair.second.drain();
            }
            pair.second.write_eof();
        };
        auto sending = create_task(send());
        int expected = 0;
        while (auto line = co_await pair.first.next()) {
            if (*line != std::to_string(expected) + '\n') {
                ADD_FAILURE() << *line << " in place of " << expected;
                break;
            }
            ++expected;
        }
        EXPECT_EQ(expected, kLines);
        co_await sending;
        pair.second.close();
        co_await close_server(server);
    });
}

}  // namespace

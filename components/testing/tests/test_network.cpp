// Unmodified servers, streams and endpoints on a network that is made up.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_network.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace {

using asyncio::Coroutine;
using asyncio::create_task;
using asyncio::StreamReader;
using asyncio::StreamWriter;
using namespace asyncio::testing;
using namespace std::chrono_literals;

constexpr RunOptions kNetwork{.network = true};

// Sends back each line, until the client is gone.
Coroutine<> echo_lines(StreamReader reader, StreamWriter writer) {
    while (auto line = co_await reader.next()) {
        writer.write("echo " + *line);
        co_await writer.drain();
    }
}
Coroutine<> echoes(StreamReader reader, StreamWriter writer) {
    const auto ended = co_await asyncio::as_result(echo_lines(reader, writer));
    writer.close();
    if (ended.holds<asyncio::CancelledError>()) std::rethrow_exception(ended.error());
}

// A server on port 80 of this host, until it is cancelled.
Coroutine<> serve() {
    auto server = co_await asyncio::start_server(&echoes, "0.0.0.0", 80);
    const auto cancelled = co_await asyncio::as_result(asyncio::Event().wait());
    server.close();
    server.abort_clients();
    co_await server.wait_closed();
    std::rethrow_exception(cancelled.error());
}

Coroutine<> ask(std::string host, std::string line, std::string& answer) {
    auto [reader, writer] = co_await asyncio::open_connection(host, 80);
    writer.write(line + '\n');
    answer = co_await reader.readline();
    writer.close();
    co_await writer.wait_closed();
}

// A server on the host "db", which ends with what `client` does.
template <class F>
Coroutine<> with_server(F client) {
    const auto server = create_task(on(network().host("db"), serve()));
    co_await settled();
    std::exception_ptr error;
    try {
        co_await client();
    } catch (...) {
        error = std::current_exception();  // raised below
    }
    server.cancel();
    static_cast<void>(co_await asyncio::as_result(server));
    co_await settled();
    if (error) std::rethrow_exception(error);
}

ASYNC_TEST(Network, AServerAnswers, .run = kNetwork) {
    co_await with_server([]() -> Coroutine<> {
        std::string answer;
        co_await ask("db", "hello", answer);
        CO_ASSERT_EQ(answer, "echo hello\n");
        CO_ASSERT_EQ(elapsed(), 0s);
        co_await ask("10.0.0.2", "again", answer);
        CO_ASSERT_EQ(answer, "echo again\n");
    });
}

ASYNC_TEST(Network, LatencyIsOnTheWay, .run = kNetwork) {
    network().host("db");
    network().set_links({.latency = 5ms});
    co_await with_server([]() -> Coroutine<> {
        std::string answer;
        co_await ask("db", "hello", answer);
        // To connect: there and back; then a line and its answer, likewise; its end comes after.
        CO_ASSERT_GE(elapsed(), 20ms);
        CO_ASSERT_LE(elapsed(), 30ms);
    });
}

ASYNC_TEST(Network, NobodyListens, .run = kNetwork) {
    const Host db = network().host("db");
    network().link(network().here(), db).latency = 5ms;
    network().link(db, network().here()).latency = 5ms;
    CO_ASSERT_THROWS(asyncio::ConnectionRefusedError, asyncio::open_connection("db", 81));
    CO_ASSERT_EQ(elapsed(), 10ms);
    CO_ASSERT_THROWS(asyncio::gaierror, asyncio::open_connection("nobody", 80));
    CO_ASSERT_THROWS(asyncio::OSError, asyncio::open_connection("10.9.9.9", 80));
}

ASYNC_TEST(Network, APartitionHoldsAStreamAndGivesItBack, .run = kNetwork) {
    co_await with_server([]() -> Coroutine<> {
        const Host here = network().here(), db = network().host("db");
        auto [reader, writer] = co_await asyncio::open_connection("db", 80);
        network().partition(here, db);
        writer.write("held\n");
        CO_ASSERT_THROWS(asyncio::TimeoutError, asyncio::wait_for(reader.readline(), 30s));
        CO_ASSERT_EQ(elapsed(), 30s);
        network().heal(here, db);
        CO_ASSERT_EQ(co_await reader.readline(), "echo held\n");
        writer.close();
        co_await writer.wait_closed();
    });
}

ASYNC_TEST(Network, APartitionThatLastsEndsAStreamThatHasSentSomething, .run = kNetwork) {
    co_await with_server([]() -> Coroutine<> {
        const Host here = network().here(), db = network().host("db");
        auto [idle, idle_writer] = co_await asyncio::open_connection("db", 80);
        auto [reader, writer] = co_await asyncio::open_connection("db", 80);
        network().partition(here, db);
        writer.write("lost\n");
        const auto outcome = co_await asyncio::as_result(reader.readline());
        CO_ASSERT_TRUE(outcome.has_value() || outcome.error());
        CO_ASSERT_GT(elapsed(), 900s);
        network().heal(here, db);
        // The one that sent nothing goes on.
        idle_writer.write("still there\n");
        CO_ASSERT_EQ(co_await idle.readline(), "echo still there\n");
        writer.transport().abort();
        idle_writer.close();
        co_await idle_writer.wait_closed();
    });
}

ASYNC_TEST(Network, AResetIsAnError, .run = kNetwork) {
    co_await with_server([]() -> Coroutine<> {
        auto [reader, writer] = co_await asyncio::open_connection("db", 80);
        writer.write("x\n");
        CO_ASSERT_EQ(co_await reader.readline(), "echo x\n");
        network().reset(network().here(), network().host("db"));
        CO_ASSERT_THROWS(asyncio::ConnectionResetError, reader.readline());
        writer.close();
        static_cast<void>(co_await asyncio::as_result(writer.wait_closed()));
    });
}

ASYNC_TEST(Network, ASlowReaderGetsBackPressure, .run = kNetwork) {
    std::size_t received = 0;
    auto reads = [&received](StreamReader reader, StreamWriter writer) -> Coroutine<> {
        while (!reader.at_eof()) {
            received += (co_await reader.read(1000)).size();
            co_await asyncio::sleep(1s);
        }
        writer.close();
    };
    auto server = co_await asyncio::start_server(reads, "127.0.0.1", 80);
    network().link(network().here(), network().here()).window = 4096;
    auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", 80);
    writer.write(std::string(1 << 20, 'x'));
    CO_ASSERT_THROWS(asyncio::TimeoutError, asyncio::wait_for(writer.drain(), 10s));
    CO_ASSERT_LT(received, 20'000u);
    writer.transport().abort();
    server.close();
    server.abort_clients();
    co_await server.wait_closed();
    co_await advance(5min);  // its handler takes what had come
}

ASYNC_TEST(Network, DatagramsAreLostAndDoubled, .seeds = 5, .run = kNetwork) {
    const Host here = network().here(), db = network().host("db");
    auto receiver = [](std::vector<std::string>& got) -> Coroutine<> {
        auto endpoint = co_await asyncio::open_datagram_endpoint({.local_addr = {"0.0.0.0", 53}});
        for (;;) got.push_back(std::string((co_await endpoint.receive()).data));
    };
    std::vector<std::string> got;
    const auto task = create_task(on(db, receiver(got)));
    co_await settled();
    network().link(here, db) = {.latency = 1ms, .loss = 0.3, .duplicate = 0.2};
    auto endpoint = co_await asyncio::open_datagram_endpoint({.remote_addr = {"db", 53}});
    for (int i = 0; i < 200; ++i) co_await endpoint.send(std::to_string(i));
    co_await advance(1s);
    CO_ASSERT_GT(got.size(), 120u);
    CO_ASSERT_LT(got.size(), 220u);
    endpoint.close();
    task.cancel();
    static_cast<void>(co_await asyncio::as_result(task));
}

ASYNC_TEST(Network, ACrashIsNoticedByWhoSends, .run = kNetwork) {
    const Host db = network().host("db");
    const auto server = create_task(on(db, serve()));
    co_await settled();
    auto [reader, writer] = co_await asyncio::open_connection("db", 80);
    writer.write("x\n");
    CO_ASSERT_EQ(co_await reader.readline(), "echo x\n");
    server.cancel();
    network().crash(db);
    static_cast<void>(co_await asyncio::as_result(server));
    CO_ASSERT_THROWS(asyncio::TimeoutError, asyncio::wait_for(reader.readline(), 60s));
    writer.write("y\n");
    CO_ASSERT_THROWS(asyncio::ConnectionResetError, reader.readline());
    writer.close();
    static_cast<void>(co_await asyncio::as_result(writer.wait_closed()));
    // And it may be started again.
    const auto again = create_task(on(db, serve()));
    co_await settled();
    std::string answer;
    co_await ask("db", "back", answer);
    CO_ASSERT_EQ(answer, "echo back\n");
    again.cancel();
    static_cast<void>(co_await asyncio::as_result(again));
    co_await settled();
}

std::string trace_of(std::uint64_t seed) {
    std::string trace;
    simulate(
        [&trace]() -> Coroutine<> {
            network().keep_trace();
            network().host("db");
            network().set_links({.latency = 20ms, .jitter = 20ms, .loss = 0.1});
            co_await with_server([]() -> Coroutine<> {
                std::vector<asyncio::Task<>> tasks;
                static std::string answers[20];
                for (int i = 0; i < 20; ++i) {
                    tasks.push_back(create_task(ask("db", std::to_string(i), answers[i])));
                }
                for (const auto& task : tasks) co_await task;
            });
            trace = network().trace();
        },
        {.seed = seed});
    return trace;
}

TEST(Network, TheSameSeedIsTheSameTrace) {
    const std::string first = trace_of(1);
    EXPECT_GT(first.size(), 1000u);
    EXPECT_EQ(first, trace_of(1));
    EXPECT_NE(first, trace_of(2));
}

TEST(Network, IsThereOnlyInARun) {
    EXPECT_THROW((void)network(), asyncio::RuntimeError);
    // A socket of it is none of the system's.
    simulate([]() -> Coroutine<> {
        const asyncio::Socket socket(2, 1);
        EXPECT_GE(socket.fileno(), 1 << 24);
        co_return;
    });
    const asyncio::Socket real(2, 1);
    EXPECT_LT(real.fileno(), 1 << 24);
}

TEST(Network, TellsSocketsThatAreLeft) {
    try {
        static asyncio::Socket left;
        simulate([]() -> Coroutine<> {
            left = asyncio::Socket(2, 1);
            co_return;
        });
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_NE(std::string(failed.what()).find("left behind: 1 sockets"), std::string::npos)
            << failed.what();
    }
}

TEST(Network, HostsHaveAddresses) {
    simulate([]() -> Coroutine<> {
        Network& net = network();
        EXPECT_EQ(net.address_of(net.here()), "10.0.0.1");
        EXPECT_EQ(net.address_of(net.host("a")), "10.0.0.2");
        EXPECT_EQ(net.host("a"), net.host("a"));
        EXPECT_EQ(net.address_of(net.host("b", "192.168.7.7")), "192.168.7.7");
        EXPECT_THROW((void)net.host("c", "192.168.7.7"), asyncio::ValueError);
        EXPECT_THROW((void)net.host("d", "nonsense"), asyncio::ValueError);
        co_return;
    });
}

constexpr std::size_t kMuch = 8'000'000;  // bytes

// Both sides send more than fits on the way, and read meanwhile.
ASYNC_TEST(Network, MegabytesGoBothWays, .run = kNetwork) {
    const auto writes = [](StreamWriter to) -> Coroutine<> {
        to.write(std::string(kMuch, 'x'));
        co_await to.drain();
        to.write_eof();
    };
    const auto reads = [](StreamReader from) -> Coroutine<> {
        CO_ASSERT_EQ((co_await from.read()).size(), kMuch);
    };
    asyncio::Event ended;
    const auto serves = [&](StreamReader reader, StreamWriter writer) -> Coroutine<> {
        const auto writing = create_task(writes(writer));
        co_await reads(reader);
        co_await writing;
        writer.close();
        ended.set();
    };
    auto server = co_await asyncio::start_server(serves, "127.0.0.1", 0);
    auto [reader, writer] =
        co_await asyncio::open_connection("127.0.0.1", server.sockets()[0].getsockname().port());
    const auto writing = create_task(writes(writer));
    co_await reads(reader);
    co_await writing;
    writer.close();
    co_await ended.wait();
    server.close();
    co_await server.wait_closed();
}

// However busy the loop is.
ASYNC_TEST(Network, MegabytesComeBesideATaskThatNeverWaits, .run = kNetwork) {
    auto [left, right] = asyncio::Socket::pair();
    auto [from, unused] = co_await asyncio::open_connection({.sock = std::move(left)});
    auto [none, to] = co_await asyncio::open_connection({.sock = std::move(right)});
    to.write(std::string(kMuch, 'x'));
    to.close();
    const auto reads = [](StreamReader reader) -> Coroutine<> {
        CO_ASSERT_EQ((co_await reader.read()).size(), kMuch);
    };
    const auto reading = create_task(reads(from));
    for (int i = 0; i < 100'000 && !reading.done(); ++i) co_await asyncio::sleep(0s);
    CO_ASSERT_TRUE(reading.done());
    co_await reading;
    unused.close();
    co_await unused.wait_closed();
}

// A host that crashes before it has begun: nothing is told of the coroutine that never ran.
ASYNC_TEST(Network, ACrashBeforeItsTaskBeginsIsQuiet, .run = kNetwork) {
    ::testing::internal::CaptureStderr();
    const auto task = create_task(on(network().host("db"), serve()));
    task.cancel();
    static_cast<void>(co_await asyncio::as_result(task));
    const auto later = create_task(on(network().host("db"), serve()));
    co_await asyncio::sleep(0s);
    later.cancel();
    static_cast<void>(co_await asyncio::as_result(later));
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

// ---- a packet that is lost, at every point ------------------------------------------------------

TEST(DropEachPacket, AStreamLosesNothing) {
    const auto scenario = []() -> Coroutine<> {
        const Host db = network().host("db");
        const auto server = create_task(on(db, serve()));
        co_await settled();
        std::string answer;
        co_await ask("db", "hello", answer);
        if (answer != "echo hello\n") throw asyncio::ValueError("lost: " + answer);
        if (elapsed() > 1s) throw asyncio::ValueError("it takes too long");
        server.cancel();
        static_cast<void>(co_await asyncio::as_result(server));
        co_await settled();
    };
    EXPECT_GT(drop_each_packet(scenario).points, 4u);
}

TEST(DropEachPacket, FindsWhoTakesADatagramForGranted) {
    const auto scenario = []() -> Coroutine<> {
        const Host db = network().host("db");
        const auto answers = []() -> Coroutine<> {
            auto endpoint =
                co_await asyncio::open_datagram_endpoint({.local_addr = {"0.0.0.0", 53}});
            const auto question = co_await endpoint.receive();
            co_await endpoint.send_to("answer", question.address);
            endpoint.close();
        };
        const auto server = create_task(on(db, answers()));
        co_await settled();
        auto endpoint = co_await asyncio::open_datagram_endpoint({.remote_addr = {"db", 53}});
        co_await endpoint.send("question");
        const auto got = co_await asyncio::as_result(asyncio::wait_for(endpoint.receive(), 1s));
        endpoint.close();
        server.cancel();
        static_cast<void>(co_await asyncio::as_result(server));
        co_await settled();
        if (!got) throw asyncio::ValueError("no answer");
    };
    try {
        drop_each_packet(scenario);
        FAIL();
    } catch (const ScenarioFailed& failed) {
        EXPECT_NE(std::string(failed.what()).find("at point 1 of 2, whose packet is lost:"),
                  std::string::npos)
            << failed.what();
    }
}

}  // namespace

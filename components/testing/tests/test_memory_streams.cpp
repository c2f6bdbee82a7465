// Streams that are connected in memory.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_streams.hpp>

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

ASYNC_TEST(MemoryStreams, CarryBytesBothWays) {
    auto [client, server] = memory_streams();
    client.second.write("question\n");
    CO_ASSERT_EQ(co_await server.first.readline(), "question\n");
    server.second.writelines({"an", "swer\n"});
    CO_ASSERT_EQ(co_await client.first.readline(), "answer\n");
    client.second.close();
    server.second.close();
    co_await client.second.wait_closed();
    co_await server.second.wait_closed();
}

ASYNC_TEST(MemoryStreams, TheEndOfOneSideIsReadByTheOther) {
    auto [client, server] = memory_streams();
    client.second.write("last words");
    client.second.write_eof();
    CO_ASSERT_EQ(co_await server.first.read(), "last words");
    CO_ASSERT_THROWS(asyncio::RuntimeError, [](StreamWriter writer) -> Coroutine<> {
        writer.write("more");
        co_return;
    }(client.second));
    // The other direction stays open.
    server.second.write("thanks");
    server.second.close();
    CO_ASSERT_EQ(co_await client.first.read(), "thanks");
    client.second.close();
    co_await client.second.wait_closed();
}

ASYNC_TEST(MemoryStreams, TakeAsLongAsTheyAreTold) {
    auto [client, server] = memory_streams({.latency = 5s});
    client.second.write("a");
    client.second.write("b");
    CO_ASSERT_EQ(co_await server.first.readexactly(2), "ab");
    CO_ASSERT_EQ(elapsed(), 5s);
    client.second.close();
    co_await client.second.wait_closed();
    CO_ASSERT_EQ(elapsed(), 5s) << "as a socket is closed before its last bytes arrive";
    CO_ASSERT_EQ(co_await server.first.read(), "");
    CO_ASSERT_EQ(elapsed(), 10s);
    server.second.close();
}

ASYNC_TEST(MemoryStreams, ASlowReaderHoldsTheWriter) {
    auto [client, server] = memory_streams();
    client.second.write(std::string(1 << 20, 'x'));
    const auto drains = [](StreamWriter writer) -> Coroutine<> { co_await writer.drain(); };
    const auto drained = create_task(drains(client.second));
    co_await settled();
    CO_ASSERT_FALSE(drained.done());
    CO_ASSERT_TRUE(client.second.transport().get_write_buffer_size() > 0u);
    std::size_t got = 0;
    while (got < (1 << 20)) got += (co_await server.first.read(100'000)).size();
    co_await drained;
    CO_ASSERT_EQ(got, std::size_t{1} << 20);
    client.second.close();
    server.second.close();
    co_await settled();
}

ASYNC_TEST(MemoryStreams, WritingToAnEndThatIsClosedIsAReset) {
    auto [client, server] = memory_streams();
    server.second.close();
    co_await server.second.wait_closed();
    CO_ASSERT_EQ(co_await client.first.read(), "");
    client.second.write("anybody?");
    co_await settled();
    CO_ASSERT_THROWS(asyncio::ConnectionResetError, client.second.drain());
    CO_ASSERT_THROWS(asyncio::ConnectionResetError, client.second.wait_closed());
}

ASYNC_TEST(MemoryStreams, AnAbortLosesWhatIsOnItsWay) {
    auto [client, server] = memory_streams({.latency = 1s});
    client.second.write("never comes");
    client.second.transport().abort();
    co_await client.second.wait_closed();
    CO_ASSERT_EQ(co_await server.first.read(), "");
    server.second.close();
}

ASYNC_TEST(MemoryStreams, TheLimitOfAReaderHolds) {
    auto [client, server] = memory_streams({.limit = 16});
    client.second.write(std::string(100, 'x') + '\n');
    CO_ASSERT_THROWS(asyncio::ValueError, server.first.readline());
    client.second.close();
    server.second.close();
    co_await settled();
}

// What each side does in lockstep, in the order in which it does it.
Coroutine<> speaks(StreamWriter writer, std::vector<std::string>& told) {
    for (int i = 0; i < 3; ++i) {
        writer.write("line\n");
        co_await writer.drain();
        told.push_back("drained " + std::to_string(i));
    }
    writer.close();
}

ASYNC_TEST(MemoryStreams, InLockstepNothingArrivesBeforeItIsAskedFor) {
    auto [client, server] = memory_streams({.lockstep = true});
    std::vector<std::string> told;
    const auto speaker = create_task(speaks(client.second, told));
    co_await advance(1h);
    CO_ASSERT_TRUE(told.empty()) << "nobody has read";
    for (int i = 0; i < 3; ++i) {
        told.push_back("reads " + std::to_string(i));
        CO_ASSERT_EQ(co_await server.first.readline(), "line\n");
        co_await settled();
    }
    co_await speaker;
    CO_ASSERT_EQ(told, (std::vector<std::string>{"reads 0", "drained 0", "reads 1", "drained 1",
                                                 "reads 2", "drained 2"}));
    CO_ASSERT_EQ(co_await server.first.read(), "");
    server.second.close();
    co_await settled();
}

ASYNC_TEST(MemoryStreams, InLockstepAReadMayTakeSeveralWrites) {
    auto [client, server] = memory_streams({.lockstep = true});
    const auto pieces = [](StreamWriter writer) -> Coroutine<> {
        for (const char c : std::string("abcdef")) {
            writer.write(std::string(1, c));
            co_await writer.drain();
        }
        writer.close();
    };
    const auto writes = create_task(pieces(client.second));
    CO_ASSERT_EQ(co_await server.first.readexactly(6), "abcdef");
    co_await writes;
    server.second.close();
    co_await settled();
}

// ---- misuse -------------------------------------------------------------------------------------

TEST(MemoryStreams, NeedALoop) { EXPECT_THROW(memory_streams(), asyncio::RuntimeError); }

ASYNC_TEST(MemoryStreams, RefuseWhatMakesNoSense) {
    EXPECT_THROW(memory_streams({.latency = -1s}), asyncio::ValueError);
    EXPECT_THROW(memory_streams({.latency = asyncio::Delay(std::nullopt)}), asyncio::ValueError);
    EXPECT_THROW(memory_streams({.limit = 0}), asyncio::ValueError);
    co_return;
}

// A loop that closes with streams open, under way and in lockstep, takes them with it.
TEST(MemoryStreams, GoWithTheirLoop) {
    for (const bool lockstep : {false, true}) {
        const auto loop = asyncio::VirtualTimeEventLoop::create();
        std::vector<asyncio::StreamPair> kept;
        auto opens = [&]() -> Coroutine<> {
            auto [client, server] = memory_streams({.latency = 1s, .lockstep = lockstep});
            client.second.write("on its way");
            co_await asyncio::sleep(0s);
            kept.push_back(client);
            kept.push_back(server);
        };
        loop->run_until_complete(opens());
        loop->close();
        EXPECT_TRUE(kept[0].second.is_closing());
    }
}

// ---- attacks ------------------------------------------------------------------------------------

Coroutine<> asks_and_answers() {
    auto [client, server] = memory_streams();
    const auto answers = [](StreamReader reader, StreamWriter writer) -> Coroutine<> {
        while (const auto line = co_await reader.next()) {
            writer.write(*line);
            co_await writer.drain();
        }
        writer.close();
    };
    const auto answering = create_task(answers(server.first, server.second));
    std::exception_ptr error;
    try {
        client.second.write("one\ntwo\n");
        co_await client.second.drain();
        for (const char* const line : {"one\n", "two\n"}) {
            if (co_await client.first.readline() != line) throw asyncio::ValueError("lost");
        }
    } catch (const asyncio::CancelledError&) {
        error = std::current_exception();
    }
    client.second.close();
    co_await answering;
    co_await settled();
    if (error) std::rethrow_exception(error);
}

TEST(MemoryStreams, NoCancelAndNoOrderLeavesAnything) {
    EXPECT_GT(explore(asks_and_answers, {.strategy = Random{}, .most = 500}).runs, 100u);
}

}  // namespace

// The state machine of TLS, over transports in memory and over sockets. TL-01 to TL-06.
//
// ctest: simulated
#include <asyncio/base_events.hpp>
#include <asyncio/coroutines.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/sockets.hpp>
#include <asyncio/ssl.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/transports.hpp>

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "counted_new.hpp"
#include "support.hpp"
#include "tls/ssl_state.hpp"
#include "tls_support.hpp"
#include "tls_wire.hpp"

namespace {

using namespace tls;
using support::raised;
using support::run_virtual;

// ---- traffic ------------------------------------------------------------------------------------

TEST(SSLProtocol, DataGoesBothWaysAndCloseIsClean) {  // TL-02 TL-03
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        wire.client.handle().write("hello");
        wire.server.handle().write("world");
        co_await until(
            [&] { return wire.server.app().data == "hello" && wire.client.app().data == "world"; });
        wire.client.handle().close();
        EXPECT_TRUE(wire.client.handle().is_closing());
        co_await both_lost(wire);
        EXPECT_EQ(wire.client.app().events, (Events{"made", "eof", "lost"}));
        EXPECT_EQ(wire.server.app().events, (Events{"made", "eof", "lost"}));
        EXPECT_FALSE(wire.client.app().error);
        EXPECT_FALSE(wire.server.app().error);
    });
}

TEST(SSLProtocol, SplitAtEveryByteBoundary) {  // TL-02
    for (const std::size_t piece : {1, 2, 3, 5, 7, 64, 1000}) {
        run_virtual([piece]() -> Coroutine<> {
            Wire wire(get_running_loop());
            wire.below_client().piece = piece;
            wire.below_server().piece = piece;
            co_await handshaken(wire);
            const std::string sent = pattern(3000);
            wire.client.handle().write(sent);
            wire.server.handle().write(sent);
            co_await until(
                [&] { return wire.server.app().data == sent && wire.client.app().data == sent; });
            co_await closed(wire);
            EXPECT_FALSE(wire.client.app().error);
            EXPECT_FALSE(wire.server.app().error);
        });
    }
}

TEST(SSLProtocol, LateAndSlowTrafficArrives) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        wire.below_client().delay = 200ms;
        wire.below_server().delay = 300ms;
        wire.below_server().piece = 100;
        wire.begin();
        co_await wire.client.handshake;
        wire.client.handle().write("late");
        while (wire.server.app().data != "late") co_await sleep(100ms);
        wire.client.handle().close();
        while (!wire.client.app().lost || !wire.server.app().lost) co_await sleep(100ms);
        EXPECT_FALSE(wire.client.app().error);
    });
}

TEST(SSLProtocol, LargeWritesArriveWhole) {
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        const std::string sent = pattern(3'000'000);
        const std::size_t before = wire.below_client().writes;
        wire.client.handle().write(sent);
        // Several records go in one call to the transport below.
        EXPECT_LE(wire.below_client().writes - before, sent.size() / 65536 + 2);
        co_await until([&] { return wire.server.app().data.size() == sent.size(); });
        EXPECT_EQ(wire.server.app().data, sent);
        co_await closed(wire);
    });
}

TEST(SSLProtocol, WritelinesPutsPiecesIntoOneRecord) {  // TR-07
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        const std::string_view pieces[] = {"GET / HTTP/1.1\r\n", "", "Host: x\r\n", "\r\n"};
        const std::size_t before = wire.below_client().writes;
        wire.client.handle().writelines(pieces);
        EXPECT_EQ(wire.below_client().writes - before, 1U);
        const std::string large = pattern(100'000);
        const std::string_view more[] = {large, large, "end"};
        wire.client.handle().writelines(more);
        const std::string wanted = "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + large + large + "end";
        co_await until([&] { return wire.server.app().data.size() == wanted.size(); });
        EXPECT_EQ(wire.server.app().data, wanted);
        co_await closed(wire);
    });
}

TEST(SSLProtocol, ReadsIntoTheBuffersOfABufferedProtocol) {  // PR-06
    for (const std::size_t size : {1, 100, 20'000, 100'000}) {
        run_virtual([size]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            Wire wire(loop, End(loop, for_client()),
                      End(loop, for_server(), std::make_shared<BufferedRecorder>(size)));
            co_await handshaken(wire);
            const std::string sent = pattern(50'000);
            wire.client.handle().write(sent);
            co_await until([&] { return wire.server.app().data.size() == sent.size(); });
            EXPECT_EQ(wire.server.app().data, sent);
            wire.server.handle().write("thanks");
            co_await until([&] { return wire.client.app().data == "thanks"; });
            co_await closed(wire);
        });
    }
}

TEST(SSLProtocol, EmptyBufferOfABufferedProtocolIsAnError) {  // PR-06
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const support::ErrorCapture errors(loop);
        Wire wire(loop, End(loop, for_client()),
                  End(loop, for_server(), std::make_shared<BufferedRecorder>(0)));
        co_await handshaken(wire);
        wire.client.handle().write("x");
        co_await both_lost(wire);
        EXPECT_TRUE(detail::find<RuntimeError>(wire.server.app().error));
        EXPECT_EQ(errors.lines().size(), 1U);
    });
}

TEST(SSLProtocol, WhatIsWrittenInConnectionMadeArrives) {  // PR-01
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        wire.server.app().on_made = [](Record& r) { r.transport.write("220 ready"); };
        co_await handshaken(wire);
        co_await until([&] { return wire.client.app().data == "220 ready"; });
        co_await closed(wire);
    });
}

TEST(SSLProtocol, UserMayWriteCloseOrAbortWhileDataComes) {
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (int what = 0; what < 3; ++what) {
            Wire wire(loop);
            wire.server.app().on_data = [what](Record& r) {
                if (what == 0) r.transport.write("echo " + r.data);
                if (what < 2) r.transport.close();
                if (what == 2) r.transport.abort();
            };
            co_await handshaken(wire);
            wire.client.handle().write("one");
            wire.client.handle().write("two");
            co_await both_lost(wire);
            EXPECT_FALSE(wire.server.app().error);
            if (what == 0) {
                EXPECT_EQ(wire.client.app().data.substr(0, 8), "echo one");
            }
        }
    });
}

TEST(SSLProtocol, ProtocolMayBeReplacedWhileDataComes) {  // TR-04
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        const auto second = std::make_shared<Recorder>();
        wire.server.app().on_data = [&](Record& r) { r.transport.set_protocol(second); };
        co_await handshaken(wire);
        wire.client.handle().write("first");
        co_await until([&] { return !wire.server.app().data.empty(); });
        EXPECT_EQ(wire.server.handle().get_protocol(), second);
        wire.client.handle().write("second");
        co_await until([&] { return second->data == "second"; });
        EXPECT_EQ(wire.server.app().data, "first");
        struct Neither : DatagramProtocol {};
        EXPECT_THROW(wire.server.handle().set_protocol(std::make_shared<Neither>()), TypeError);
        wire.client.handle().close();
        co_await until([&] { return second->lost; });
        wire.server.app().transport = Transport();
    });
}

// ---- the handshake ------------------------------------------------------------------------------

TEST(SSLProtocol, HandshakeTimesOutAfterSixtySeconds) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto below = FakeTransport::pair(loop);
        End client(loop, for_client());
        below.first->begin(client.tls.protocol);
        const TimePoint start = loop.time();
        const auto result = co_await as_result(client.handshake);
        EXPECT_EQ(loop.time() - start, 60s);
        EXPECT_EQ(support::error_text<ConnectionAbortedError>(result),
                  "SSL handshake is taking longer than 60.0 seconds: aborting the connection");
        co_await until([&] { return below.first->lost; });
        EXPECT_TRUE(client.app().events.empty());
    });
}

TEST(SSLProtocol, HandshakeTimeoutIsTheOneGiven) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto below = FakeTransport::pair(loop);
        TlsSettings settings = for_server();
        settings.handshake_timeout = 1500ms;
        End server(loop, settings);
        below.first->begin(server.tls.protocol);
        const auto result = co_await as_result(server.handshake);
        EXPECT_EQ(support::error_text<ConnectionAbortedError>(result),
                  "SSL handshake is taking longer than 1.5 seconds: aborting the connection");
    });
}

TEST(SSLProtocol, TimeoutsMustBePositive) {  // TL-02
    TlsSettings settings = for_client();
    settings.handshake_timeout = 0s;
    EXPECT_EQ(raised<ValueError>([&] { detail::check_tls(settings); }),
              "ssl_handshake_timeout should be a positive number, got 0.0");
    settings.handshake_timeout = -10s;
    EXPECT_EQ(raised<ValueError>([&] { detail::check_tls(settings); }),
              "ssl_handshake_timeout should be a positive number, got -10.0");
    settings.handshake_timeout = 1s;
    settings.shutdown_timeout = 0s;
    EXPECT_EQ(raised<ValueError>([&] { detail::check_tls(settings); }),
              "ssl_shutdown_timeout should be a positive number, got 0.0");
}

TEST(SSLProtocol, EndInTheHandshakeIsConnectionReset) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (const std::size_t cut : {0, 1, 100, 300}) {
            Wire wire(loop);
            wire.below_client().cut_after = cut;
            wire.begin();
            if (cut == 0) wire.below_client().end();
            const auto result = co_await as_result(wire.client.handshake);
            EXPECT_TRUE(result.holds<ConnectionResetError>()) << cut;
            co_await until([&] { return wire.below_client().lost && wire.below_server().lost; });
            EXPECT_TRUE(wire.client.app().events.empty());
            (void)co_await as_result(wire.server.handshake);
        }
    });
}

TEST(SSLProtocol, ErrorBelowInTheHandshakeIsPassedOn) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto below = FakeTransport::pair(loop);
        End client(loop, for_client());
        below.first->begin(client.tls.protocol);
        co_await sleep(1s);
        below.first->lose(std::make_exception_ptr(ConnectionResetError("by peer")));
        const auto result = co_await as_result(client.handshake);
        EXPECT_EQ(support::error_text<ConnectionResetError>(result), "by peer");
    });
}

TEST(SSLProtocol, PlainTextPeerIsAnSSLError) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto below = FakeTransport::pair(loop);
        End client(loop, for_client());
        below.first->begin(client.tls.protocol);
        below.first->inject("SSH-2.0-OpenSSH_9.2\r\n");
        const auto result = co_await as_result(client.handshake);
        EXPECT_EQ(support::error_text<SSLError>(result),
                  "[SSL: WRONG_VERSION_NUMBER] wrong version number");
        co_await until([&] { return below.first->lost; });
    });
}

TEST(SSLProtocol, CloseInTheHandshakeAborts) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (const bool by_close : {true, false}) {
            auto below = FakeTransport::pair(loop);
            End client(loop, for_client());
            below.first->begin(client.tls.protocol);
            co_await sleep(1s);
            by_close ? client.handle().close() : client.handle().abort();
            const auto result = co_await as_result(client.handshake);
            EXPECT_TRUE(result.holds<ConnectionAbortedError>());
            EXPECT_TRUE(below.first->aborted);
            EXPECT_TRUE(client.app().events.empty());
        }
    });
}

TEST(SSLProtocol, CloseBeforeTheTransportBelowIsThere) {
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (const bool by_close : {true, false}) {
            auto below = FakeTransport::pair(loop);
            End client(loop, for_client());
            by_close ? client.handle().close() : client.handle().abort();
            below.first->begin(client.tls.protocol);
            const auto result = co_await as_result(client.handshake);
            EXPECT_TRUE(result.holds<ConnectionAbortedError>());
            EXPECT_TRUE(below.first->aborted);
        }
    });
}

TEST(SSLProtocol, CancelledHandshakeFutureIsLeftAlone) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        wire.client.handshake.cancel();
        wire.begin();
        co_await wire.server.handshake;
        co_await until([&] { return !wire.client.app().events.empty(); });
        co_await closed(wire);
    });
}

// ---- the end ------------------------------------------------------------------------------------

TEST(SSLProtocol, ShutdownTimesOutAfterThirtySeconds) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Wire wire(loop);
        co_await handshaken(wire);
        wire.below_server().pause_reading();  // the peer never answers
        const TimePoint start = loop.time();
        wire.client.handle().close();
        while (!wire.client.app().lost) co_await sleep(1s);
        EXPECT_EQ(wire.client.app().lost_at - start, 30s);
        const auto* error = detail::find<TimeoutError>(wire.client.app().error);
        EXPECT_TRUE(error && std::string(error->what()) == "SSL shutdown timed out");
        EXPECT_TRUE(wire.below_client().aborted);
        wire.server.handle().abort();
        co_await both_lost(wire);
    });
}

TEST(SSLProtocol, ShutdownEndsThoughTheTransportBelowNeverFlushes) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        TlsSettings settings = for_client();
        settings.shutdown_timeout = 2s;
        Wire wire(loop, settings, for_server());
        co_await handshaken(wire);
        wire.below_client().blocked = true;
        wire.client.handle().write(pattern(200'000));
        EXPECT_GT(wire.client.handle().get_write_buffer_size(), 0U);
        wire.server.handle().close();  // close_notify arrives; ours can never leave
        const TimePoint start = loop.time();
        while (!wire.client.app().lost) co_await sleep(1s);
        EXPECT_EQ(wire.client.app().lost_at - start, 2s);
        EXPECT_TRUE(detail::find<TimeoutError>(wire.client.app().error));
        while (!wire.server.app().lost) co_await sleep(1s);
    });
}

TEST(SSLProtocol, CloseFlushesFirst) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        wire.below_client().blocked = true;
        const std::string sent = pattern(400'000);
        wire.client.handle().write(sent);
        wire.client.handle().close();
        wire.client.handle().write("too late");
        co_await sleep(1s);
        EXPECT_FALSE(wire.client.app().lost);
        wire.below_client().unblock();
        co_await both_lost(wire);
        EXPECT_EQ(wire.server.app().data, sent);
        EXPECT_FALSE(wire.client.app().error);
        EXPECT_FALSE(wire.server.app().error);
    });
}

TEST(SSLProtocol, CloseDropsWhatStillComesAndEndsCleanly) {  // TL-03 TR-01
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        wire.server.handle().write(pattern(100'000));  // on its way
        wire.client.handle().close();
        co_await both_lost(wire);
        EXPECT_EQ(wire.client.app().data, "");
        EXPECT_FALSE(wire.client.app().error);
        EXPECT_FALSE(wire.server.app().error);
    });
}

TEST(SSLProtocol, CloseEndsThoughReadingIsPaused) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Wire wire(loop);
        co_await handshaken(wire);
        wire.client.handle().pause_reading();
        wire.server.handle().write(pattern(600'000));
        co_await until([&] { return wire.below_client().pauses > 0; });
        const TimePoint start = loop.time();
        wire.client.handle().close();
        co_await both_lost(wire);
        EXPECT_EQ(loop.time(), start);
        EXPECT_FALSE(wire.client.app().error);
    });
}

TEST(SSLProtocol, BothSidesMayCloseAtOnce) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        co_await closed(wire);
        EXPECT_FALSE(wire.client.app().error);
        EXPECT_FALSE(wire.server.app().error);
    });
}

TEST(SSLProtocol, WritesAfterTheEndAreDroppedAndTheSixthIsLogged) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        const support::LogCapture log;
        wire.client.handle().close();
        for (int i = 0; i < 5; ++i) wire.client.handle().write("dropped");
        EXPECT_TRUE(log.lines().empty());
        wire.client.handle().write("dropped");
        EXPECT_EQ(log.lines(), Events{"SSL connection is closed"});
        co_await both_lost(wire);
        wire.client.handle().write("dropped");
        EXPECT_EQ(wire.server.app().data, "");
    });
}

TEST(SSLProtocol, EndWithoutCloseNotifyIsTheEndOfTheStream) {  // TL-03
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        wire.server.handle().write("some");
        co_await until([&] { return wire.client.app().data == "some"; });
        wire.below_server().abort();
        co_await both_lost(wire);
        EXPECT_EQ(wire.client.app().events, (Events{"made", "eof", "lost"}));
        EXPECT_FALSE(wire.client.app().error);
    });
}

TEST(SSLProtocol, StrictEofTellsATruncatedStreamFromACleanEnd) {  // TL-03
    for (const bool truncated : {true, false}) {
        run_virtual([truncated]() -> Coroutine<> {
            ssl::SSLContext context = client_context();
            context.strict_eof = true;
            Wire wire(get_running_loop(), for_client(context), for_server());
            co_await handshaken(wire);
            wire.server.handle().write("some");
            co_await until([&] { return wire.client.app().data == "some"; });
            if (truncated) {
                wire.below_server().abort();
            } else {
                wire.server.handle().close();
            }
            co_await both_lost(wire);
            const auto* error = detail::find<SSLError>(wire.client.app().error);
            EXPECT_EQ(error != nullptr, truncated);
            if (!error) {
                EXPECT_EQ(wire.client.app().events, (Events{"made", "eof", "lost"}));
                co_return;
            }
            EXPECT_STREQ(error->what(), "EOF occurred in violation of protocol");
            EXPECT_EQ(error->code().value(), ssl::ERROR_EOF);
            EXPECT_EQ(wire.client.app().events, (Events{"made", "lost"}));
        });
    }
}

TEST(SSLProtocol, StrictEofFindsEveryCut) {  // TL-03
    // How many bytes the client receives after the handshake, then cut before each of them.
    std::size_t whole = 0;
    const auto attempt = [&](std::size_t cut) -> std::exception_ptr {
        return run_virtual([&]() -> Coroutine<std::exception_ptr> {
            ssl::SSLContext context = client_context();
            context.strict_eof = true;
            Wire wire(get_running_loop(), for_client(context), for_server());
            co_await handshaken(wire);
            co_await sleep(1s);  // the tickets are here
            const std::size_t before = wire.below_client().received;
            wire.below_client().cut_after = before + cut;
            wire.server.handle().write("0123456789");
            wire.server.handle().close();
            co_await both_lost(wire);
            whole = wire.below_client().received - before;
            co_return wire.client.app().error;
        });
    };
    EXPECT_FALSE(attempt(1'000'000));
    const std::size_t all = whole;
    EXPECT_GT(all, 50U);
    for (std::size_t cut = 0; cut < all; ++cut) {
        const std::exception_ptr error = attempt(cut);
        const auto* truncated = detail::find<SSLError>(error);
        EXPECT_TRUE(truncated && truncated->code().value() == ssl::ERROR_EOF) << cut;
    }
}

TEST(SSLProtocol, CorruptedDataIsAnSSLErrorOnBothSides) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        // Tickets arrive first.
        co_await sleep(1s);
        wire.below_client().corrupt_next();
        wire.server.handle().write("to be damaged");
        co_await both_lost(wire);
        EXPECT_EQ(wire.client.app().data, "");
        EXPECT_TRUE(detail::find<SSLError>(wire.client.app().error));
        const auto* theirs = detail::find<SSLError>(wire.server.app().error);
        EXPECT_TRUE(theirs &&
                    std::string(theirs->what()).find("BAD_RECORD_MAC") != std::string::npos);
    });
}

TEST(SSLProtocol, AbortReportsNoError) {  // TR-09
    run_virtual([]() -> Coroutine<> {
        ssl::SSLContext context = client_context();
        context.strict_eof = true;
        Wire wire(get_running_loop(), for_client(context), for_server());
        co_await handshaken(wire);
        wire.client.handle().abort();
        co_await both_lost(wire);
        EXPECT_EQ(wire.client.app().events, (Events{"made", "lost"}));
        EXPECT_FALSE(wire.client.app().error);
    });
}

TEST(SSLProtocol, ErrorBelowReachesTheUser) {  // PR-02
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        wire.below_client().lose(std::make_exception_ptr(ConnectionResetError("reset")));
        co_await both_lost(wire);
        EXPECT_TRUE(detail::find<ConnectionResetError>(wire.client.app().error));
    });
}

TEST(SSLProtocol, WhatDataReceivedThrowsEndsTheConnection) {  // TR-13
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const support::ErrorCapture errors(loop);
        Wire wire(loop);
        wire.server.app().on_data = [](Record&) { throw ValueError("no such command"); };
        co_await handshaken(wire);
        wire.client.handle().write("x");
        co_await both_lost(wire);
        EXPECT_TRUE(detail::find<ValueError>(wire.server.app().error));
        EXPECT_EQ(errors.lines().size(), 1U);
        EXPECT_EQ(errors.lines().at(0).find("Fatal error on SSL protocol"), 0U);
    });
}

TEST(SSLProtocol, TrueFromEofReceivedOnlyWarns) {  // TL-04
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        wire.server.app().eof_result = true;
        co_await handshaken(wire);
        const support::LogCapture log;
        wire.client.handle().close();
        co_await both_lost(wire);
        EXPECT_EQ(log.lines(),
                  Events{"returning true from eof_received() has no effect when using ssl"});
    });
}

TEST(SSLProtocol, ConnectionThatIsLeftOpenGoesWithItsLoop) {  // TR-02
    const std::unique_ptr<EventLoop> loop = new_event_loop();
    const auto app = std::make_shared<Recorder>();
    loop->run_until_complete([&]() -> Coroutine<> {
        auto [a, b] = Socket::pair();
        End client(*loop, for_client(), app);
        End server(*loop, for_server());
        detail::make_socket_transport(*loop, std::move(a), client.tls.protocol);
        detail::make_socket_transport(*loop, std::move(b), server.tls.protocol);
        co_await client.handshake;
    });
    loop->close();
    EXPECT_FALSE(app->lost);
    EXPECT_TRUE(app->transport.is_closing());
    app->transport.write("nobody is there");
    app->transport = Transport();
}

TEST(SSLProtocol, LoopThatClosesBeforeTheEndIsToldFreesEverything) {  // TR-02
    auto app = std::make_shared<Recorder>();
    const std::weak_ptr<Recorder> watched = app;
    {
        const std::unique_ptr<EventLoop> loop = VirtualTimeEventLoop::create();
        Wire wire(*loop, End(*loop, for_client(), app), End(*loop, for_server()));
        loop->run_until_complete(handshaken(wire));
        wire.below_client().lose(nullptr);
        wire.below_server().abort();
        while (!wire.below_client().lost) loop->run_once(0s);
        loop->close();
        EXPECT_FALSE(app->lost);
        EXPECT_TRUE(app->transport);  // which refers to the protocol
    }
    app.reset();
    EXPECT_TRUE(watched.expired());
}

// ---- flow control -------------------------------------------------------------------------------

TEST(SSLProtocol, WriteLimitsAreThoseOfTls) {  // TL-04 TR-10
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        const Transport transport = wire.client.handle();
        EXPECT_EQ(transport.get_write_buffer_limits(),
                  std::make_pair(std::size_t{128} * 1024, std::size_t{512} * 1024));
        transport.set_write_buffer_limits({.low = 10});
        EXPECT_EQ(transport.get_write_buffer_limits(),
                  std::make_pair(std::size_t{10}, std::size_t{40}));
        EXPECT_EQ(
            raised<ValueError>([&] { transport.set_write_buffer_limits({.high = 1, .low = 2}); }),
            "high (1) must be >= low (2) must be >= 0");
        transport.set_write_buffer_limits({});
        EXPECT_EQ(transport.get_write_buffer_limits().second, std::size_t{512} * 1024);
        EXPECT_FALSE(transport.can_write_eof());
        EXPECT_THROW(transport.write_eof(), NotImplementedError);
        co_await closed(wire);
    });
}

TEST(SSLProtocol, PausesWritingAtTheHighMark) {  // TL-04 TR-10
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        const Transport transport = wire.client.handle();
        wire.below_client().blocked = true;
        transport.write(pattern(70'000));  // the transport below asks for a pause
        EXPECT_EQ(transport.get_write_buffer_size(), 0U);
        transport.set_write_buffer_limits({.high = 1000, .low = 100});
        transport.write(pattern(999));
        EXPECT_EQ(transport.get_write_buffer_size(), 999U);
        EXPECT_EQ(wire.client.app().events, Events{"made"});
        transport.write("x");  // from the mark on, not above it
        EXPECT_EQ(wire.client.app().events, (Events{"made", "pause"}));
        wire.below_client().unblock();
        EXPECT_EQ(wire.client.app().events, (Events{"made", "pause", "resume"}));
        EXPECT_EQ(transport.get_write_buffer_size(), 0U);
        co_await until([&] { return wire.server.app().data.size() == 71'000; });
        co_await closed(wire);
    });
}

TEST(SSLProtocol, PausedReadingStopsTheTransportBelowAt256KiB) {  // TL-04 TR-05
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        const Transport transport = wire.client.handle();
        EXPECT_EQ(transport.get_read_buffer_limits(),
                  std::make_pair(std::size_t{64} * 1024, std::size_t{256} * 1024));
        transport.pause_reading();
        EXPECT_FALSE(transport.is_reading());
        wire.below_client().piece = 10'000;
        const std::string sent = pattern(600'000);
        wire.server.handle().write(sent);
        co_await until([&] { return wire.below_client().pauses == 1; });
        EXPECT_GE(transport.get_read_buffer_size(), std::size_t{256} * 1024);
        EXPECT_LT(transport.get_read_buffer_size(), std::size_t{256} * 1024 + 10'000);
        EXPECT_EQ(wire.client.app().data, "");
        transport.resume_reading();
        co_await until([&] { return wire.client.app().data.size() == sent.size(); });
        EXPECT_EQ(wire.client.app().data, sent);
        EXPECT_EQ(transport.get_read_buffer_size(), 0U);
        co_await closed(wire);
    });
}

TEST(SSLProtocol, TrailingDataComesBeforeTheEnd) {  // TL-03
    for (const bool close_notify : {true, false}) {
        run_virtual([close_notify]() -> Coroutine<> {
            Wire wire(get_running_loop());
            co_await handshaken(wire);
            wire.client.handle().pause_reading();
            const std::string sent = pattern(100'000);
            wire.server.handle().write(sent);
            co_await sleep(1s);
            if (close_notify) {
                wire.server.handle().close();
            } else {
                wire.below_server().abort();
            }
            co_await sleep(1s);
            EXPECT_EQ(wire.client.app().events, Events{"made"});
            wire.client.handle().resume_reading();
            co_await both_lost(wire);
            EXPECT_EQ(wire.client.app().data, sent);
            EXPECT_EQ(wire.client.app().events, (Events{"made", "eof", "lost"}));
        });
    }
}

TEST(SSLProtocol, PauseWithinDataReceivedHoldsTheRestBack) {  // TR-05
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        co_await handshaken(wire);
        std::size_t calls = 0;
        wire.client.app().on_data = [&](Record& r) {
            ++calls;
            r.transport.pause_reading();
        };
        const std::string sent = pattern(300'000);
        wire.server.handle().write(sent);
        while (wire.client.app().data.size() < sent.size()) {
            const std::size_t before = calls;
            co_await sleep(1s);
            EXPECT_LE(calls, before + 1);
            wire.client.handle().resume_reading();
        }
        EXPECT_EQ(wire.client.app().data, sent);
        co_await closed(wire);
    });
}

// ---- who the peer is ----------------------------------------------------------------------------

// What the client's handshake ends with, when the server has `certificate`.
std::exception_ptr verdict(const TestCertificate& certificate,
                           const std::optional<std::string>& host = "localhost",
                           std::optional<ssl::SSLContext> client = std::nullopt) {
    return run_virtual([&]() -> Coroutine<std::exception_ptr> {
        const ssl::SSLContext context = client ? *client : client_context();
        Wire wire(get_running_loop(), for_client(context, host),
                  for_server(server_context(certificate)));
        wire.begin();
        const auto result = co_await as_result(wire.client.handshake);
        const auto theirs = co_await as_result(wire.server.handshake);
        if (result.has_value()) {
            co_await closed(wire);
            co_return nullptr;
        }
        co_await until([&] { return wire.below_client().lost && wire.below_server().lost; });
        EXPECT_TRUE(wire.client.app().events.empty());
        EXPECT_FALSE(theirs.has_value());
        co_return result.error();
    });
}

std::string refusal(const std::exception_ptr& error) {
    const auto* refused = detail::find<SSLCertVerificationError>(error);
    return refused ? refused->what() : "not refused";
}

const char* const kFailed = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: ";

TEST(SSLVerify, GoodCertificateIsAccepted) {
    EXPECT_EQ(verdict(authority().server), nullptr);
    EXPECT_EQ(verdict(authority().server, "LOCALHOST"), nullptr);
    EXPECT_EQ(verdict(authority().server, "localhost."), nullptr);
}

TEST(SSLVerify, ExpiredCertificateIsRefused) {
    const TestCertificate expired = authority().make("expired", {.begins = -7200, .ends = -3600});
    EXPECT_EQ(refusal(verdict(expired)), std::string(kFailed) + "certificate has expired");
    const TestCertificate future = authority().make("future", {.begins = 3600, .ends = 7200});
    EXPECT_EQ(refusal(verdict(future)), std::string(kFailed) + "certificate is not yet valid");
}

TEST(SSLVerify, WrongHostIsRefused) {
    const TestCertificate other =
        authority().make("other", {.name = "other", .alternative_names = "DNS:other.example"});
    EXPECT_EQ(
        refusal(verdict(other)),
        std::string(kFailed) + "Hostname mismatch, certificate is not valid for 'localhost'.");
}

TEST(SSLVerify, SelfSignedCertificateIsRefused) {
    const TestCertificate own = authority().make_self_signed("own", {});
    EXPECT_EQ(refusal(verdict(own)), std::string(kFailed) + "self-signed certificate");
}

TEST(SSLVerify, UnknownRootIsRefused) {
    const TestCertificate root =
        authority().make_self_signed("root2", {.name = "Another Authority", .authority = true});
    const TestCertificate leaf = authority().make("leaf2", {.issuer = &root});
    EXPECT_EQ(refusal(verdict(leaf)),
              std::string(kFailed) + "unable to get local issuer certificate");
}

TEST(SSLVerify, CertificateForAnotherPurposeIsRefused) {
    const TestCertificate wrong = authority().make("wrong", {.usage = "clientAuth"});
    EXPECT_EQ(refusal(verdict(wrong)), std::string(kFailed) + "unsuitable certificate purpose");
}

TEST(SSLVerify, AddressIsMatchedAgainstAddresses) {
    EXPECT_EQ(verdict(authority().server, "127.0.0.1"), nullptr);
    EXPECT_EQ(verdict(authority().server, "::1"), nullptr);
    EXPECT_EQ(
        refusal(verdict(authority().server, "127.0.0.2")),
        std::string(kFailed) + "IP address mismatch, certificate is not valid for '127.0.0.2'.");
    // A name that looks like the address is no address.
    const TestCertificate name =
        authority().make("name", {.name = "127.0.0.1", .alternative_names = "DNS:127.0.0.1"});
    EXPECT_NE(refusal(verdict(name, "127.0.0.1")), "not refused");
}

TEST(SSLVerify, WildcardStandsForOneLabel) {
    const TestCertificate wild =
        authority().make("wild", {.name = "wild", .alternative_names = "DNS:*.example.org"});
    EXPECT_EQ(verdict(wild, "www.example.org"), nullptr);
    EXPECT_NE(refusal(verdict(wild, "a.b.example.org")), "not refused");
    EXPECT_NE(refusal(verdict(wild, "example.org")), "not refused");
}

TEST(SSLVerify, EmptyNameMeansThatTheHostIsNotChecked) {  // TL-05
    const TestCertificate other =
        authority().make("other2", {.name = "other", .alternative_names = "DNS:other.example"});
    EXPECT_EQ(verdict(other, ""), nullptr);
    // The chain still is.
    EXPECT_NE(refusal(verdict(authority().make_self_signed("own2", {}), "")), "not refused");
}

TEST(SSLVerify, SettingsSwitchItOff) {
    const TestCertificate own = authority().make_self_signed("own3", {});
    ssl::SSLContext context = client_context();
    context.check_hostname = false;
    context.verify_mode = ssl::CERT_NONE;
    EXPECT_EQ(verdict(own, "localhost", context), nullptr);
    EXPECT_EQ(verdict(own, std::nullopt, context), nullptr);
}

TEST(SSLVerify, StrictFlagIsHonoured) {
    ssl::SSLContext context = client_context();
    context.verify_flags |= ssl::VERIFY_X509_STRICT;
    EXPECT_EQ(verdict(authority().server, "localhost", context), nullptr);
}

TEST(SSLVerify, ArgumentsThatMakeNoSenseAreRefusedEarly) {  // TL-05
    ssl::SSLContext context = client_context();
    EXPECT_EQ(raised<ValueError>([&] { detail::check_tls(for_client(context, std::nullopt)); }),
              "check_hostname requires server_hostname");
    context.verify_mode = ssl::CERT_NONE;
    EXPECT_EQ(raised<ValueError>([&] { detail::check_tls(for_client(context)); }),
              "Cannot set verify_mode to CERT_NONE when check_hostname is enabled.");
    EXPECT_EQ(raised<SSLError>([&] { detail::check_tls(for_server(client_context())); }),
              "Cannot create a server socket with a PROTOCOL_TLS_CLIENT context");
    EXPECT_EQ(raised<SSLError>([&] { detail::check_tls(for_client(server_context())); }),
              "Cannot create a client socket with a PROTOCOL_TLS_SERVER context");
    EXPECT_THROW(detail::check_tls(for_client(client_context(), ".example.org")), ValueError);
    EXPECT_THROW(detail::check_tls(for_client(client_context(), std::string("a\0b", 3))),
                 ValueError);
    EXPECT_THROW(detail::check_tls(for_client(client_context(), "\xc3")), ValueError);
}

// Without it the resolver cannot encode names either.
bool have_idn() { return ::dlopen("libidn2.so.0", RTLD_NOW) != nullptr; }

constexpr const char* kBooks =
    "b\xc3\xbc"
    "cher.example";

// N7. As the resolver has it.
TEST(SSLVerify, NameBeyondAsciiIsEncoded) {
    if (!have_idn()) GTEST_SKIP() << "there is no libidn2, which encodes names";
    const TestCertificate books = authority().make(
        "books", {.name = "books", .alternative_names = "DNS:xn--bcher-kva.example"});
    for (const std::string& host : {std::string(kBooks), std::string(kBooks) + ".",
                                    std::string("B\xc3\x9c"
                                                "CHER.example"),
                                    std::string("bu\xcc\x88"
                                                "cher.example"),  // u and a combining diaeresis
                                    std::string("b\xc3\xbc"
                                                "cher\xe3\x80\x82"
                                                "example"),  // an ideographic full stop
                                    std::string("xn--bcher-kva.example")}) {
        EXPECT_EQ(verdict(books, host), nullptr) << host;
        EXPECT_EQ(refusal(verdict(authority().server, host)),
                  std::string(kFailed) +
                      "Hostname mismatch, certificate is not valid for "
                      "'xn--bcher-kva.example" +
                      (host.ends_with('.') ? "." : "") + "'.");
    }
    const TestCertificate wild = authority().make(
        "books2", {.name = "books", .alternative_names = "DNS:*.xn--bcher-kva.example"});
    EXPECT_EQ(verdict(wild, std::string("m\xc3\xbc"
                                        "nchen.") +
                                kBooks),
              nullptr);
    // Letters that stand for others.
    EXPECT_EQ(verdict(authority().server,
                      "\xef\xbd\x8c"
                      "ocalhost"),
              nullptr);
}

TEST(SSLVerify, NameBeyondAsciiIsTheServersToo) {  // N7
    if (!have_idn()) GTEST_SKIP() << "there is no libidn2, which encodes names";
    run_virtual([]() -> Coroutine<> {
        const TestCertificate books = authority().make(
            "books3", {.name = "books", .alternative_names = "DNS:xn--bcher-kva.example"});
        support::Lines asked;
        ssl::SSLContext server = server_context(books);
        server.sni_callback = [&](std::string_view name) -> std::optional<ssl::SSLContext> {
            asked.emplace_back(name);
            return std::nullopt;
        };
        Wire wire(get_running_loop(), for_client(client_context(), kBooks), for_server(server));
        co_await handshaken(wire);
        EXPECT_EQ(asked, (support::Lines{"xn--bcher-kva.example"}));
        const auto object = wire.client.handle().get_extra_info<ssl::SSLObject>("ssl_object");
        EXPECT_EQ(object->server_hostname(), "xn--bcher-kva.example");
        co_await closed(wire);
    });
}

TEST(SSLVerify, NameThatCannotBeEncodedIsAnError) {  // N7
    if (!have_idn()) GTEST_SKIP() << "there is no libidn2, which encodes names";
    const auto refused = [](const std::string& host) {
        return raised<ValueError>([&] { detail::check_tls(for_client(client_context(), host)); });
    };
    const std::string start = "server_hostname cannot be encoded (IDNA)";
    for (const std::string& host :
         {std::string("b\xc3"), std::string("\xff\xfe"), std::string("\xc2\xad"),  // a soft hyphen
          std::string("a\xe2\x80\xa8"
                      "b"),  // a line's end
          std::string(70, 'a') + "\xc3\xbc.example", std::string("\xed\xa0\x80.example")}) {
        EXPECT_TRUE(refused(host).starts_with(start)) << host << ": " << refused(host);
    }
    // What is encoded to nothing or to a leading dot must not pass for a name that is not checked.
    EXPECT_NE(refused("\xe3\x80\x82"
                      "example"),
              "");
    EXPECT_EQ(refused(std::string("b\xc3\xbc\0x", 5)), "embedded null character");
}

// ---- client certificates ------------------------------------------------------------------------

ssl::SSLContext demanding(ssl::VerifyMode mode, ssl::TLSVersion most) {
    ssl::SSLContext context = server_context();
    context.verify_mode = mode;
    context.maximum_version = most;
    context.load_verify_locations(authority().ca.file());
    return context;
}

TEST(SSLClientCertificate, IsVerifiedAndShown) {  // TL-06
    const TestCertificate own = authority().make(
        "alice", {.name = "alice", .alternative_names = "", .usage = "clientAuth"});
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        run_virtual([&]() -> Coroutine<> {
            const ssl::SSLContext context = client_context();
            context.load_cert_chain(own.file());
            Wire wire(get_running_loop(), for_client(context),
                      for_server(demanding(ssl::CERT_REQUIRED, version)));
            co_await handshaken(wire);
            const auto shown = wire.server.handle().get_extra_info<ssl::Certificate>("peercert");
            EXPECT_TRUE(shown && shown->subject_name("commonName") == "alice");
            co_await closed(wire);
        });
    }
}

TEST(SSLClientCertificate, MissingOneIsRefusedByTheServer) {
    // With TLS 1.3 the client learns of it only after its own handshake has succeeded.
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        run_virtual([&]() -> Coroutine<> {
            Wire wire(get_running_loop(), for_client(),
                      for_server(demanding(ssl::CERT_REQUIRED, version)));
            wire.begin();
            const auto ours = co_await as_result(wire.client.handshake);
            const auto theirs = co_await as_result(wire.server.handshake);
            EXPECT_EQ(support::error_text<SSLError>(theirs),
                      "[SSL: PEER_DID_NOT_RETURN_A_CERTIFICATE] peer did not return a "
                      "certificate");
            EXPECT_EQ(ours.has_value(), version == ssl::TLSVersion::TLSv1_3);
            co_await until([&] { return wire.below_client().lost; });
            if (!ours.has_value()) co_return;
            co_await until([&] { return wire.client.app().lost; });
            EXPECT_EQ(detail::describe(wire.client.app().error).find("SSLError"), 0U);
        });
    }
}

TEST(SSLClientCertificate, OptionalOneMayBeMissingButNotBad) {
    const TestCertificate bad =
        authority().make_self_signed("mallory", {.name = "mallory", .usage = "clientAuth"});
    for (const bool sent : {false, true}) {
        run_virtual([&]() -> Coroutine<> {
            const ssl::SSLContext context = client_context();
            if (sent) context.load_cert_chain(bad.file());
            Wire wire(
                get_running_loop(), for_client(context),
                for_server(demanding(ssl::CERT_OPTIONAL, ssl::TLSVersion::MAXIMUM_SUPPORTED)));
            wire.begin();
            const auto theirs = co_await as_result(wire.server.handshake);
            EXPECT_EQ(theirs.has_value(), !sent);
            (void)co_await as_result(wire.client.handshake);
            if (sent) {
                EXPECT_TRUE(theirs.holds<SSLCertVerificationError>());
                co_await until([&] { return wire.client.app().lost; });
                co_return;
            }
            EXPECT_FALSE(wire.server.handle().get_extra_info<ssl::Certificate>("peercert"));
            co_await closed(wire);
        });
    }
}

TEST(SSLClientCertificate, ForAnotherPurposeIsRefused) {
    run_virtual([]() -> Coroutine<> {
        const ssl::SSLContext context = client_context();
        context.load_cert_chain(authority().server.file());  // serverAuth only
        Wire wire(get_running_loop(), for_client(context),
                  for_server(demanding(ssl::CERT_REQUIRED, ssl::TLSVersion::TLSv1_2)));
        wire.begin();
        const auto theirs = co_await as_result(wire.server.handshake);
        EXPECT_EQ(refusal(theirs.error()), std::string(kFailed) + "unsuitable certificate purpose");
        (void)co_await as_result(wire.client.handshake);
    });
}

// ---- versions, ALPN, SNI ------------------------------------------------------------------------

TEST(SSLNegotiation, VersionsAreThoseOfTheSettings) {
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        run_virtual([&]() -> Coroutine<> {
            ssl::SSLContext context = client_context();
            context.minimum_version = version;
            context.maximum_version = version;
            Wire wire(get_running_loop(), for_client(context), for_server());
            co_await handshaken(wire);
            const auto object = wire.server.handle().get_extra_info<ssl::SSLObject>("ssl_object");
            EXPECT_EQ(object->version(),
                      version == ssl::TLSVersion::TLSv1_2 ? "TLSv1.2" : "TLSv1.3");
            co_await closed(wire);
        });
    }
}

TEST(SSLNegotiation, NoCommonVersionIsAnErrorOnBothSides) {
    run_virtual([]() -> Coroutine<> {
        ssl::SSLContext client = client_context();
        client.minimum_version = ssl::TLSVersion::TLSv1_3;
        ssl::SSLContext server = server_context();
        server.maximum_version = ssl::TLSVersion::TLSv1_2;
        Wire wire(get_running_loop(), for_client(client), for_server(server));
        wire.begin();
        const auto ours = co_await as_result(wire.client.handshake);
        const auto theirs = co_await as_result(wire.server.handshake);
        EXPECT_EQ(support::error_text<SSLError>(theirs),
                  "[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol");
        EXPECT_EQ(support::error_text<SSLError>(ours),
                  "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version");
    });
}

std::optional<std::string> alpn(std::vector<std::string> client, std::vector<std::string> server) {
    return run_virtual([&]() -> Coroutine<std::optional<std::string>> {
        const ssl::SSLContext ours = client_context();
        ours.set_alpn_protocols(client);
        const ssl::SSLContext theirs = server_context();
        theirs.set_alpn_protocols(server);
        Wire wire(get_running_loop(), for_client(ours), for_server(theirs));
        co_await handshaken(wire);
        const auto a = wire.client.handle().get_extra_info<ssl::SSLObject>("ssl_object");
        const auto b = wire.server.handle().get_extra_info<ssl::SSLObject>("ssl_object");
        EXPECT_EQ(a->selected_alpn_protocol(), b->selected_alpn_protocol());
        co_await closed(wire);
        co_return a->selected_alpn_protocol();
    });
}

TEST(SSLNegotiation, AlpnTakesWhatTheServerPrefers) {
    EXPECT_EQ(alpn({"http/1.1", "h2"}, {"h2", "http/1.1"}), "h2");
    EXPECT_EQ(alpn({"http/1.1"}, {"h2", "http/1.1"}), "http/1.1");
    EXPECT_EQ(alpn({"spdy"}, {"h2"}), std::nullopt);
    EXPECT_EQ(alpn({}, {"h2"}), std::nullopt);
    EXPECT_EQ(alpn({"h2"}, {}), std::nullopt);
}

TEST(SSLNegotiation, SniChoosesTheCertificate) {
    const TestCertificate other =
        authority().make("other3", {.name = "other", .alternative_names = "DNS:other.example"});
    const ssl::SSLContext second = server_context(other);
    support::Lines asked;
    ssl::SSLContext first = server_context();
    first.sni_callback = [&](std::string_view name) -> std::optional<ssl::SSLContext> {
        asked.emplace_back(name);
        if (name == "other.example") return second;
        return std::nullopt;
    };
    for (const char* host : {"localhost", "other.example", "127.0.0.1"}) {
        run_virtual([&]() -> Coroutine<> {
            Wire wire(get_running_loop(), for_client(client_context(), host), for_server(first));
            co_await handshaken(wire);
            const auto shown = wire.client.handle().get_extra_info<ssl::Certificate>("peercert");
            EXPECT_EQ(shown->subject_name("commonName"),
                      host == std::string("other.example") ? "other" : "localhost");
            const auto object = wire.server.handle().get_extra_info<ssl::SSLObject>("ssl_object");
            // An address is no name to ask for (RFC 6066, 3).
            EXPECT_EQ(object->server_hostname(), host == std::string("127.0.0.1") ? "" : host);
            co_await closed(wire);
        });
    }
    EXPECT_EQ(asked, (support::Lines{"localhost", "other.example", ""}));
}

TEST(SSLNegotiation, SniCallbackMayRefuse) {
    run_virtual([]() -> Coroutine<> {
        ssl::SSLContext context = server_context();
        context.sni_callback = [](std::string_view name) -> std::optional<ssl::SSLContext> {
            throw KeyError("no host " + std::string(name));
        };
        EventLoop& loop = get_running_loop();
        Wire wire(loop, for_client(), for_server(context));
        wire.begin();
        const auto theirs = co_await as_result(wire.server.handshake);
        EXPECT_EQ(support::error_text<KeyError>(theirs), "no host localhost");
        const auto ours = co_await as_result(wire.client.handshake);
        EXPECT_NE(support::error_text<SSLError>(ours).find("unrecognized name"), std::string::npos);
    });
}

// ---- sessions -----------------------------------------------------------------------------------

TEST(SSLProtocol, HandshakeTimesOutWithoutMemoryForItsError) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    if (support::kAddressSanitizer)
        GTEST_SKIP() << "without the pool the fake transport finds none";
    int refused = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run_virtual([&]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            auto below = FakeTransport::pair(loop);
            End client(loop, for_client());
            // Its own entry comes before the one of the handshake.
            loop.call_later(60s, [&] { support::blocks_left = given; });
            below.first->begin(client.tls.protocol);
            const TimePoint start = loop.time();
            const auto r = co_await as_result(wait_for(client.handshake, 100s));
            enough = support::blocks_left.exchange(-1) >= 0;
            EXPECT_EQ(loop.time() - start, 60s) << given;
            if (r.holds<std::bad_alloc>()) {
                ++refused;
            } else {
                EXPECT_TRUE(r.holds<ConnectionAbortedError>()) << given;
            }
            co_await until([&] { return below.first->lost; });
        });
    }
    EXPECT_GE(refused, 1);
}

TEST(SSLSession, IsNotKeptWithoutMemory) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const std::string key = "a key that is too long for the string itself";
    const ssl::SSLContext context = client_context();
    detail::SslContextState& state = context.state();
    for (std::ptrdiff_t given = 0;; ++given) {
        SSL_SESSION* const session = SSL_SESSION_new();
        support::blocks_left = given;
        bool kept = true;
        try {
            state.keep_session(key, session);
        } catch (const std::bad_alloc&) {
            kept = false;
            SSL_SESSION_free(session);
        }
        support::blocks_left = -1;
        SSL_SESSION* const found = state.find_session(key);
        EXPECT_EQ(found != nullptr, kept) << given;
        SSL_SESSION_free(found);
        if (kept) break;
    }
}

struct Reuse {
    ssl::SSLContext client = client_context();
    ssl::SSLContext server = server_context();
    std::any peername = SocketAddress("127.0.0.1", 443);

    bool connect(const std::string& host = "localhost", bool clean = true) const {
        return run_virtual([&]() -> Coroutine<bool> {
            Wire wire(get_running_loop(), for_client(client, host), for_server(server));
            wire.below_client().peername = peername;
            co_await handshaken(wire);
            wire.server.handle().write("x");
            co_await until([&] { return wire.client.app().data == "x"; });
            const auto ours = wire.client.handle().get_extra_info<ssl::SSLObject>("ssl_object");
            const auto theirs = wire.server.handle().get_extra_info<ssl::SSLObject>("ssl_object");
            EXPECT_EQ(ours->session_reused(), theirs->session_reused());
            // A resumed connection knows its peer, too.
            EXPECT_TRUE(ours->getpeercert().has_value());
            const bool reused = ours->session_reused();
            if (clean) {
                co_await closed(wire);
            } else {
                wire.client.handle().abort();
                co_await both_lost(wire);
            }
            co_return reused;
        });
    }
};

TEST(SSLSession, IsResumedByTheSameContextHostAndPort) {
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        Reuse reuse;
        reuse.client.maximum_version = version;
        EXPECT_FALSE(reuse.connect());
        EXPECT_TRUE(reuse.connect());
        EXPECT_TRUE(reuse.connect("localhost", false));
        EXPECT_TRUE(reuse.connect());
        EXPECT_EQ(reuse.client.session_hits(), 3U);
        EXPECT_FALSE(reuse.connect("127.0.0.1"));  // another name
        reuse.peername = SocketAddress("127.0.0.1", 444);
        EXPECT_FALSE(reuse.connect());
        reuse.client = client_context();
        EXPECT_FALSE(reuse.connect());
    }
}

TEST(SSLSession, OfAnUnverifiedConnectionIsNotUsedForAVerifiedOne) {
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        Reuse reuse;
        reuse.client.maximum_version = version;
        reuse.client.check_hostname = false;
        EXPECT_FALSE(reuse.connect());
        reuse.client.check_hostname = true;
        EXPECT_FALSE(reuse.connect());
        EXPECT_TRUE(reuse.connect());
        // Who is trusted has changed.
        reuse.client.load_verify_locations(authority().ca.file());
        EXPECT_FALSE(reuse.connect());
    }
}

// N1. Of a client: what it has loaded since, and what it demands now.
TEST(SSLSession, IsGoodForTheStateOfTheClientsContext) {
    const TestCertificate alice = authority().make("alice2", {.usage = "clientAuth"});
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        Reuse reuse;
        reuse.client.maximum_version = version;
        EXPECT_FALSE(reuse.connect());
        EXPECT_TRUE(reuse.connect());
        reuse.client.load_cert_chain(alice.file());  // who we are
        EXPECT_FALSE(reuse.connect());
        EXPECT_TRUE(reuse.connect());
        reuse.client.set_ciphers("ECDHE+AESGCM");
        EXPECT_FALSE(reuse.connect());
        EXPECT_TRUE(reuse.connect());
        reuse.client.verify_flags |= ssl::VERIFY_X509_STRICT;
        EXPECT_FALSE(reuse.connect());
        reuse.client.maximum_version = ssl::TLSVersion::MAXIMUM_SUPPORTED;
        reuse.client.minimum_version = ssl::TLSVersion::TLSv1_3;
        EXPECT_EQ(reuse.connect(), version == ssl::TLSVersion::TLSv1_3);
    }
}

// A connection from before may still be given tickets.
TEST(SSLSession, GivenLaterToAnEarlierConnectionIsOfItsTime) {
    const ssl::SSLContext client = client_context();
    const ssl::SSLContext server = server_context();
    const auto peer = std::any(SocketAddress("127.0.0.1", 443));
    run_virtual([&]() -> Coroutine<> {
        for (const bool first : {true, false}) {
            Wire wire(get_running_loop(), for_client(client), for_server(server));
            wire.below_client().peername = peer;
            co_await handshaken(wire);
            const auto ours = wire.client.handle().get_extra_info<ssl::SSLObject>("ssl_object");
            EXPECT_FALSE(ours->session_reused());
            // The tickets come with the first bytes that are read.
            if (first) client.load_verify_locations(authority().ca.file());
            wire.server.handle().write("x");
            co_await until([&] { return wire.client.app().data == "x"; });
            co_await closed(wire);
        }
    });
}

TEST(SSLSession, IsNotKeptIfNotWanted) {
    Reuse reuse;
    reuse.client.sessions = false;
    EXPECT_FALSE(reuse.connect());
    EXPECT_FALSE(reuse.connect());
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        Reuse other;
        other.client.maximum_version = version;
        other.server.sessions = false;
        EXPECT_FALSE(other.connect());
        EXPECT_FALSE(other.connect());
    }
}

TEST(SSLSession, WithAServerThatVerifiesItsClients) {
    const TestCertificate own = authority().make("bob", {.name = "bob", .usage = "clientAuth"});
    for (const auto version : {ssl::TLSVersion::TLSv1_2, ssl::TLSVersion::TLSv1_3}) {
        Reuse reuse;
        reuse.client.load_cert_chain(own.file());
        reuse.server.load_verify_locations(authority().ca.file());
        reuse.client.maximum_version = version;
        EXPECT_FALSE(reuse.connect());
        // A session from before the server asked is none afterwards.
        reuse.server.verify_mode = ssl::CERT_REQUIRED;
        EXPECT_FALSE(reuse.connect());
        EXPECT_TRUE(reuse.connect());
    }
}

// ---- what is known of a connection --------------------------------------------------------------

TEST(SSLInfo, IsThereAfterTheHandshakeAndAfterTheEnd) {  // TL-06 TR-03
    run_virtual([]() -> Coroutine<> {
        Wire wire(get_running_loop());
        const SocketAddress peer("127.0.0.1", 4433);
        wire.below_client().peername = peer;
        const Transport transport = wire.client.handle();
        EXPECT_TRUE(transport.get_extra_info<ssl::SSLContext>("sslcontext"));
        EXPECT_FALSE(transport.get_extra_info<ssl::SSLObject>("ssl_object"));
        EXPECT_FALSE(transport.get_extra_info<ssl::Certificate>("peercert"));
        co_await handshaken(wire);
        EXPECT_EQ(transport.get_extra_info<SocketAddress>("peername"), peer);
        const auto object = transport.get_extra_info<ssl::SSLObject>("ssl_object");
        EXPECT_EQ(object->version(), "TLSv1.3");
        EXPECT_EQ(object->server_hostname(), "localhost");
        EXPECT_FALSE(object->server_side());
        EXPECT_FALSE(object->compression());
        const auto cipher = transport.get_extra_info<ssl::Cipher>("cipher");
        EXPECT_EQ(cipher->name, object->cipher()->name);
        EXPECT_EQ(cipher->protocol, "TLSv1.3");
        EXPECT_GE(cipher->secret_bits, 128);
        EXPECT_FALSE(transport.get_extra_info<std::string>("compression"));
        EXPECT_FALSE(transport.get_extra_info<int>("no such thing"));

        const auto shown = transport.get_extra_info<ssl::Certificate>("peercert");
        EXPECT_EQ(shown->subject_name("commonName"), "localhost");
        EXPECT_EQ(shown->issuer.at(0).second, "Test Authority");
        EXPECT_EQ(shown->version, 3);
        EXPECT_FALSE(shown->serial_number.empty());
        EXPECT_NE(shown->not_after.find(" GMT"), std::string::npos);
        const ssl::Certificate::Names names = {
            {"DNS", "localhost"}, {"IP Address", "127.0.0.1"}, {"IP Address", "0:0:0:0:0:0:0:1"}};
        EXPECT_EQ(shown->subject_alt_name, names);
        EXPECT_EQ(shown->der, authority().server.der());

        EXPECT_EQ(transport.repr(), "<asyncio.SSLTransport open over <FakeTransport>>");
        co_await closed(wire);
        EXPECT_EQ(transport.repr(), "<asyncio.SSLTransport closed over <FakeTransport>>");
        EXPECT_EQ(object->version(), "TLSv1.3");
        EXPECT_TRUE(object->getpeercert());
        EXPECT_EQ(transport.get_extra_info<SocketAddress>("peername"), peer);
    });
}

TEST(SSLInfo, DebugModeTellsHowLongTheHandshakeTook) {
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        loop.set_debug(true);
        const support::LogCapture log;
        Wire wire(loop);
        co_await handshaken(wire);
        bool started = false;
        bool took = false;
        for (const std::string& line : log.lines(log::Level::DEBUG)) {
            started = started || line.find(" starts SSL handshake") != std::string::npos;
            took = took || line.find(": SSL handshake took 0.0 ms") != std::string::npos;
        }
        EXPECT_TRUE(started);
        EXPECT_TRUE(took);
        co_await closed(wire);
        loop.set_debug(false);
    });
}

// ---- start_tls ----------------------------------------------------------------------------------

// Two plain connections in memory, with protocols that have seen connection_made.
struct Plain {
    explicit Plain(EventLoop& loop) : below(FakeTransport::pair(loop)) {
        below.first->begin(client);
        below.second->begin(server);
    }
    std::pair<Ref<FakeTransport>, Ref<FakeTransport>> below;
    std::shared_ptr<Recorder> client = std::make_shared<Recorder>();
    std::shared_ptr<Recorder> server = std::make_shared<Recorder>();
};

Coroutine<Transport> upgrade_client(std::shared_ptr<Recorder> app) {
    const TlsOptions options{.server_hostname = "localhost"};
    co_return co_await get_running_loop().start_tls(app->transport, app, client_context(), options);
}
Coroutine<Transport> upgrade_server(std::shared_ptr<Recorder> app) {
    const TlsOptions options{.server_side = true};
    co_return co_await get_running_loop().start_tls(app->transport, app, server_context(), options);
}

TEST(StartTls, UpgradesBothEndsAndCallsConnectionMadeNoMore) {  // TL-01
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        plain.client->transport.write("STARTTLS");
        co_await until([&] { return plain.server->data == "STARTTLS"; });
        auto theirs = create_task(upgrade_server(plain.server));
        const Transport client = co_await upgrade_client(plain.client);
        const Transport server = co_await theirs;
        EXPECT_EQ(plain.client->events, Events{"made"});
        EXPECT_EQ(plain.server->events, Events{"made"});
        EXPECT_EQ(client.get_protocol(), plain.client);
        client.write(" secret");
        server.write("answer");
        co_await until([&] { return plain.client->data == "answer"; });
        EXPECT_EQ(plain.server->data, "STARTTLS secret");
        client.close();
        co_await until([&] { return plain.client->lost && plain.server->lost; });
        EXPECT_EQ(plain.client->events, (Events{"made", "eof", "lost"}));
        EXPECT_FALSE(plain.client->error);
    });
}

TEST(StartTls, TakesBytesThatWereReadAlready) {  // ST-16
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        auto ours = create_task(upgrade_client(plain.client));
        // The client's first flight is read before the server knows.
        co_await until([&] { return plain.server->data.size() > 100; });
        std::string early = std::exchange(plain.server->data, {});
        const Transport server = co_await detail::start_tls(plain.server->transport, plain.server,
                                                            for_server(), std::move(early));
        const Transport client = co_await ours;
        client.write("x");
        co_await until([&] { return plain.server->data == "x"; });
        server.close();
        co_await until([&] { return plain.client->lost && plain.server->lost; });
    });
}

TEST(StartTls, WorksWithinTls) {  // TL-01
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Plain plain(loop);
        co_await sleep(0s);
        for (int layer = 0; layer < 3; ++layer) {
            auto theirs = create_task(upgrade_server(plain.server));
            const Transport client = co_await upgrade_client(plain.client);
            plain.client->transport = client;
            plain.server->transport = co_await theirs;
        }
        const support::LogCapture log;
        const std::string sent = pattern(400'000);
        plain.client->transport.write(sent);
        plain.server->transport.write(sent);
        co_await until([&] {
            return plain.client->data.size() == sent.size() &&
                   plain.server->data.size() == sent.size();
        });
        EXPECT_EQ(plain.client->data, sent);
        EXPECT_EQ(plain.server->data, sent);
        plain.client->transport.close();
        co_await until([&] { return plain.client->lost && plain.server->lost; });
        EXPECT_FALSE(plain.client->error);
        EXPECT_FALSE(plain.server->error);
        EXPECT_TRUE(log.lines().empty()) << log.text();
    });
}

TEST(StartTls, FailedHandshakeRaisesAndEndsTheConnection) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        plain.server->on_data = [](Record& r) { r.transport.write("500 no TLS here\r\n"); };
        const auto result = co_await as_result(upgrade_client(plain.client));
        EXPECT_TRUE(result.holds<SSLError>());
        co_await until([&] { return plain.client->lost; });
        EXPECT_TRUE(detail::find<SSLError>(plain.client->error));
        EXPECT_EQ(plain.client->events, (Events{"made", "lost"}));
        co_await until([&] { return plain.server->lost; });
    });
}

TEST(StartTls, RefusesWhatMakesNoSenseAtOnce) {  // TL-01
    run_virtual([]() -> Coroutine<> {
        struct Deaf final : detail::TransportBase {
            EventLoop& loop() const override { return get_running_loop(); }
            void close() override {}
            bool is_closing() const override { return false; }
            std::string repr() const override { return "<deaf>"; }
        };
        EventLoop& loop = get_running_loop();
        const Transport deaf(Ref<detail::TransportBase>::adopt(new Deaf));
        const auto app = std::make_shared<Recorder>();
        EXPECT_EQ(raised<TypeError>([&] { (void)loop.start_tls(deaf, app, client_context()); }),
                  "transport <deaf> is not supported by start_tls()");
        Plain plain(loop);
        co_await sleep(0s);
        const Transport& transport = plain.client->transport;
        EXPECT_EQ(
            raised<ValueError>([&] { (void)loop.start_tls(transport, app, client_context()); }),
            "check_hostname requires server_hostname");
        const TlsOptions hurried{.server_hostname = "x", .ssl_shutdown_timeout = -1s};
        EXPECT_EQ(raised<ValueError>(
                      [&] { (void)loop.start_tls(transport, app, client_context(), hurried); }),
                  "ssl_shutdown_timeout should be a positive number, got -1.0");
        EXPECT_THROW((void)loop.start_tls(Transport(), app, client_context()), RuntimeError);
        plain.client->transport.close();
        co_await until([&] { return plain.client->lost && plain.server->lost; });
    });
}

TEST(StartTls, CopiesItsOptionsWhenItIsCalled) {  // TL-01
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        auto theirs = create_task(upgrade_server(plain.server));
        Coroutine<Transport> starting = [&] {
            std::string host = "localhost";
            ssl::SSLContext context = client_context();
            const TlsOptions options{.server_hostname = host};
            Coroutine<Transport> made = get_running_loop().start_tls(
                plain.client->transport, plain.client, context, options);
            host = "overwritten";
            context.minimum_version = ssl::TLSVersion::TLSv1;
            return made;
        }();
        const Transport client = co_await std::move(starting);
        co_await theirs;
        client.close();
        co_await until([&] { return plain.client->lost && plain.server->lost; });
    });
}

TEST(StartTls, OnAClosingTransportRaises) {  // TL-01
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        plain.client->transport.close();
        const auto result = co_await as_result(upgrade_client(plain.client));
        EXPECT_TRUE(result.holds<ConnectionResetError>());
        co_await until([&] { return plain.client->lost && plain.server->lost; });
    });
}

TEST(StartTls, CancelledBeforeItBegins) {  // TL-01
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        auto task = create_task(upgrade_client(plain.client));
        task.cancel();
        const auto result = co_await as_result(task);
        EXPECT_TRUE(result.holds<CancelledError>());
        // Nothing has happened to the connection.
        plain.client->transport.write("plain");
        co_await until([&] { return plain.server->data == "plain"; });
        plain.client->transport.close();
        co_await until([&] { return plain.client->lost && plain.server->lost; });
    });
}

TEST(StartTls, CancelledWhileItWaits) {  // TL-01 CN-10
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (const Duration after : {Duration(0), Duration(1s)}) {
            Plain plain(loop);
            co_await sleep(0s);
            auto task = create_task(upgrade_client(plain.client));
            co_await sleep(0s);
            if (after > 0s) co_await sleep(after);
            task.cancel();
            const auto result = co_await as_result(task);
            EXPECT_TRUE(result.holds<CancelledError>());
            co_await until([&] { return plain.client->lost && plain.server->lost; });
            // Neither "truncated" nor anything else: it was we who ended it.
            EXPECT_FALSE(plain.client->error);
        }
    });
}

TEST(StartTls, CancelledInTheTickInWhichItCompletes) {  // TL-01 S-44
    run_virtual([]() -> Coroutine<> {
        Plain plain(get_running_loop());
        co_await sleep(0s);
        auto theirs = create_task(upgrade_server(plain.server));
        auto task = create_task(upgrade_client(plain.client));
        // The client's Finished is what the server waits for: it is sent when the client is done.
        const std::size_t before = plain.below.first->writes;
        co_await until([&] { return plain.below.first->writes >= before + 2; });
        EXPECT_FALSE(task.done());
        task.cancel();
        const auto result = co_await as_result(task);
        EXPECT_TRUE(result.holds<CancelledError>());
        co_await until([&] { return plain.client->lost && plain.server->lost; });
        EXPECT_FALSE(plain.client->error);
        (void)co_await as_result(theirs);
    });
}

TEST(StartTls, TimeoutIsTheHandshakesNotTheStreams) {  // TL-02
    run_virtual([]() -> Coroutine<> {
        ssl::SSLContext context = client_context();
        context.strict_eof = true;
        Plain plain(get_running_loop());
        co_await sleep(0s);
        TlsSettings settings = for_client(context);
        settings.handshake_timeout = 3s;
        const auto result =
            co_await as_result(detail::start_tls(plain.client->transport, plain.client, settings));
        EXPECT_TRUE(result.holds<ConnectionAbortedError>());
        co_await until([&] { return plain.client->lost; });
        EXPECT_TRUE(detail::find<ConnectionAbortedError>(plain.client->error));
    });
}

// ---- sockets ------------------------------------------------------------------------------------

struct Sockets {
    explicit Sockets(EventLoop& loop) : client(loop, for_client()), server(loop, for_server()) {
        auto [a, b] = Socket::pair();
        detail::make_socket_transport(loop, std::move(a), client.tls.protocol);
        detail::make_socket_transport(loop, std::move(b), server.tls.protocol);
    }
    End client;
    End server;
};

void run_real(Coroutine<> main) {
    const std::unique_ptr<EventLoop> loop = new_event_loop();
    loop->run_until_complete(wait_for(std::move(main), 30s));
}

TEST(SSLSockets, MegabytesGoBothWaysUnderFlowControl) {  // TR-10
    run_real([]() -> Coroutine<> {
        Sockets s(get_running_loop());
        co_await s.client.handshake;
        co_await s.server.handshake;
        const std::string sent = pattern(8'000'000);
        s.client.handle().write(sent);
        s.server.handle().write(sent);
        co_await until([&] {
            return s.client.app().data.size() == sent.size() &&
                   s.server.app().data.size() == sent.size();
        });
        EXPECT_EQ(s.client.app().data, sent);
        EXPECT_EQ(s.server.app().data, sent);
        EXPECT_EQ(s.client.app().events.at(1), "pause");
        EXPECT_EQ(s.client.app().events.at(2), "resume");
        s.client.handle().close();
        co_await until([&] { return s.client.app().lost && s.server.app().lost; });
        EXPECT_FALSE(s.client.app().error);
        EXPECT_FALSE(s.server.app().error);
    }());
}

TEST(SSLSockets, ManyShortMessagesInTurn) {
    run_real([]() -> Coroutine<> {
        Sockets s(get_running_loop());
        s.server.app().on_data = [](Record& r) {
            r.transport.write(r.data);
            r.data.clear();
        };
        co_await s.client.handshake;
        std::string expected;
        for (int i = 0; i < 2000; ++i) {
            const std::string message = pattern(static_cast<std::size_t>(1 + i % 100));
            expected += message;
            s.client.handle().write(message);
            co_await until([&] { return s.client.app().data.size() == expected.size(); });
        }
        EXPECT_EQ(s.client.app().data, expected);
        s.client.handle().close();
        co_await until([&] { return s.client.app().lost && s.server.app().lost; });
    }());
}

TEST(SSLSockets, PeerThatResetsIsOneConnectionsError) {
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (const bool in_handshake : {true, false}) {
            Sockets s(loop);
            if (!in_handshake) {
                co_await s.client.handshake;
                co_await s.server.handshake;
            }
            s.server.handle().abort();
            if (in_handshake) {
                const auto result = co_await as_result(s.client.handshake);
                EXPECT_TRUE(result.holds<ConnectionError>());
                (void)co_await as_result(s.server.handshake);
                continue;
            }
            co_await until([&] { return s.client.app().lost && s.server.app().lost; });
        }
    }());
}

}  // namespace

// The socket transport, over pairs of connected sockets. TR-*, PR-*.
//
// ctest: simulated
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "net/make_transport.hpp"
#include "net/write_buffer.hpp"
#include "network.hpp"
#include "socket_calls.hpp"

namespace {

using namespace network;
using detail::make_socket_transport;
using detail::WriteBuffer;
using support::ErrorCapture;
using support::Iterations;
using support::LogCapture;
using support::raised;

// Two transports that are connected to one another.
struct Pair {
    std::shared_ptr<Recorder> a = std::make_shared<Recorder>();
    std::shared_ptr<Recorder> b = std::make_shared<Recorder>();

    Coroutine<> connect() {
        EventLoop& loop = get_running_loop();
        auto [left, right] = Socket::pair();
        Future<> ready_a;
        Future<> ready_b;
        make_socket_transport(loop, std::move(left), a, ready_a);
        make_socket_transport(loop, std::move(right), b, ready_b);
        co_await ready_a;
        co_await ready_b;
    }
    Coroutine<> close() {
        if (a->transport()) a->transport().impl().abort();
        if (b->transport()) b->transport().impl().abort();
        if (!a->lost.done()) co_await a->lost;
        if (!b->lost.done()) co_await b->lost;
    }
};

// One transport, whose peer is a plain socket.
struct OneSided {
    std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>();
    Socket peer;

    Coroutine<> connect() {
        auto [left, right] = Socket::pair();
        peer = std::move(right);
        Future<> ready;
        make_socket_transport(get_running_loop(), std::move(left), protocol, ready);
        co_await ready;
    }
    Transport& transport() { return protocol->transport(); }
};

// Two TCP sockets that are connected to one another.
std::pair<Socket, Socket> tcp_pair() {
    Socket listening(AF_INET, SOCK_STREAM);
    listening.bind(SocketAddress("127.0.0.1", 0));
    listening.listen();
    const SocketAddress at = listening.getsockname();
    const int fd = socket_calls::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Socket left(fd);
    EXPECT_EQ(socket_calls::connect(fd, static_cast<const sockaddr*>(at.data()),
                                    static_cast<socklen_t>(at.size())),
              0);
    Socket right;
    while (!right) right = Socket(socket_calls::accept4(listening.fileno(), SOCK_NONBLOCK));
    return {std::move(left), std::move(right)};
}

// Closing sends a reset.
void set_linger_zero(const Socket& socket) {
    const linger at_once{1, 0};
    socket.setsockopt(SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

// Reads what is there from a non-blocking socket.
std::string drain(const Socket& socket) {
    std::string all;
    std::vector<char> block(1 << 16);
    while (true) {
        const ssize_t n = socket_calls::recv(socket.fileno(), block.data(), block.size(), 0);
        if (n <= 0) return all;
        all.append(block.data(), static_cast<std::size_t>(n));
    }
}

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + (i >> 10));
    return text;
}

// ---- beginning and end --------------------------------------------------------------------------

TEST(Transport, CarriesBytesBothWaysAndEndsCleanly) {  // TR-06, PR-04, PR-09
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        p.b->on_data = [&](std::string_view data) { p.b->transport().write(data); };
        p.a->on_data = [&](std::string_view) { p.a->transport().close(); };
        p.a->transport().write("hello");
        co_await p.a->lost;
        co_await p.b->lost;
        EXPECT_EQ(p.a->received, "hello");
        EXPECT_EQ(p.a->events, (Lines{"made", "data", "lost"}));
        EXPECT_EQ(p.b->events, (Lines{"made", "data", "eof", "lost"}));
    });
}

TEST(Transport, CallsConnectionMadeThenReadsThenReleasesTheWaiter) {  // PR-01, S-14
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto [left, right] = Socket::pair();
        EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
        const auto protocol = std::make_shared<Recorder>();
        Future<> ready;
        Iterations iterations(loop);
        protocol->on_made = [&] {
            EXPECT_EQ(iterations.count(), 1);
            EXPECT_FALSE(ready.done());
        };
        const BaseTransport transport(
            make_socket_transport(loop, std::move(left), protocol, ready));
        EXPECT_TRUE(protocol->events.empty());
        co_await ready;
        EXPECT_EQ(iterations.count(), 2);
        EXPECT_EQ(protocol->events.at(0), "made");
        co_await until([&] { return protocol->received == "x"; });
        transport.close();
        co_await protocol->lost;
    });
}

TEST(Transport,
     CloseWithNothingBufferedLosesTheConnectionInTheNextIteration) {  // TR-01, TR-02, S-39e
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        Iterations iterations(get_running_loop());
        int lost_at = -1;
        p.a->on_lost = [&] { lost_at = iterations.count(); };
        co_await asyncio::sleep(0s);
        const int closed_at = iterations.count();
        p.a->transport().close();
        EXPECT_TRUE(p.a->transport().is_closing());  // TR-02
        p.a->transport().close();
        EXPECT_EQ(p.a->events, Lines{"made"});
        co_await p.a->lost;
        EXPECT_EQ(lost_at, closed_at + 1);
        co_await p.b->lost;
        EXPECT_EQ(p.a->events, (Lines{"made", "lost"}));
    });
}

TEST(Transport, CloseFlushesWhatIsBuffered) {  // TR-01
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        const std::string sent = pattern(8 << 20);
        p.b->transport().pause_reading();
        p.a->transport().write(sent);
        EXPECT_GT(p.a->transport().get_write_buffer_size(), 0u);
        p.a->transport().close();
        co_await asyncio::sleep(0s);
        EXPECT_FALSE(p.a->lost.done());
        p.b->transport().resume_reading();
        co_await p.b->lost;
        EXPECT_TRUE(p.b->received == sent);
        EXPECT_EQ(p.a->events, (Lines{"made", "pause", "resume", "lost"}));
    });
}

TEST(Transport, AbortDropsWhatIsBuffered) {  // TR-09
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        p.b->transport().pause_reading();
        const std::string sent = pattern(4 << 20);
        p.a->transport().write(sent);
        p.a->transport().abort();
        EXPECT_EQ(p.a->transport().get_write_buffer_size(), 0u);
        EXPECT_EQ(p.a->events, (Lines{"made", "pause"}));
        co_await p.a->lost;
        EXPECT_EQ(p.a->lost_error, nullptr);
        p.b->transport().resume_reading();
        co_await p.b->lost;
        EXPECT_LT(p.b->received.size(), sent.size());
    });
}

TEST(Transport, MayBeClosedBeforeConnectionMade) {  // PR-09
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const auto protocol = std::make_shared<Recorder>();
        Future<> ready;
        const BaseTransport transport(
            make_socket_transport(get_running_loop(), std::move(left), protocol, ready));
        transport.close();
        co_await protocol->lost;
        EXPECT_TRUE(ready.done());
        EXPECT_EQ(protocol->events, (Lines{"made", "lost"}));
    });
}

TEST(Transport, MayBeClosedInConnectionMade) {  // PR-09
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
        const auto protocol = std::make_shared<Recorder>();
        protocol->on_made = [&] { protocol->transport().close(); };
        make_socket_transport(get_running_loop(), std::move(left), protocol);
        co_await protocol->lost;
        EXPECT_EQ(protocol->events, (Lines{"made", "lost"}));
    });
}

TEST(Transport, LeavesACancelledWaiterAlone) {  // PR-01
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const auto protocol = std::make_shared<Recorder>();
        Future<> ready;
        const BaseTransport transport(
            make_socket_transport(get_running_loop(), std::move(left), protocol, ready));
        ready.cancel();
        co_await until([&] { return !protocol->events.empty(); });
        EXPECT_TRUE(ready.cancelled());
        transport.close();
        co_await protocol->lost;
    });
}

TEST(Transport, OutlivesItsLoopAsAHandle) {  // TR-15
    Transport kept;
    const LogCapture log;
    const auto protocol = std::make_shared<Recorder>();
    auto [left, right] = Socket::pair();
    run_briefly([&, l = left.detach()]() -> Coroutine<> {
        Future<> ready;
        make_socket_transport(get_running_loop(), Socket(l), protocol, ready);
        co_await ready;
        kept = protocol->transport();
        const std::string much = pattern(1 << 20);
        kept.write(much);
    });
    EXPECT_EQ(protocol->events, (Lines{"made", "pause"}));  // no connection_lost()
    EXPECT_TRUE(kept.is_closing());
    EXPECT_EQ(kept.repr(), "<asyncio.Transport closed>");
    kept.write("dropped");
    kept.close();
    EXPECT_EQ(kept.get_protocol(), nullptr);
    EXPECT_FALSE(kept.get_extra_info<int>("socket"));
    EXPECT_EQ(raised<RuntimeError>([&] { kept.get_loop(); }), "the loop of this transport is gone");
    const Lines lines = log.lines(log::Level::DEBUG);
    const auto unclosed = [](const std::string& line) {
        return line.starts_with("unclosed transport <asyncio.Transport fd=");
    };
    EXPECT_EQ(std::count_if(lines.begin(), lines.end(), unclosed), 1);
}

TEST(Transport, OfAClosedLoopRunsNoCallbackThatWasDue) {  // TR-15
    const auto loop = EpollEventLoop::create();
    set_event_loop(loop.get());
    auto [left, right] = Socket::pair();
    const auto protocol = std::make_shared<Recorder>();
    make_socket_transport(*loop, std::move(left), protocol);
    loop->run_once(0s);
    protocol->transport().close();  // connection_lost() would come in the next iteration
    loop->close();
    EXPECT_EQ(protocol->events, Lines{"made"});
    set_event_loop(nullptr);
}

TEST(Transport, RefusesAProtocolThatReadsNoStream) {  // TR-04
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        EventLoop& loop = get_running_loop();
        EXPECT_EQ(raised<TypeError>([&] {
                      make_socket_transport(loop, std::move(left),
                                            std::make_shared<DatagramProtocol>());
                  }),
                  "a stream transport needs a Protocol or a BufferedProtocol");
        EXPECT_EQ(left.fileno(), -1);
        EXPECT_EQ(
            raised<TypeError>([&] { make_socket_transport(loop, std::move(right), nullptr); }),
            "a stream transport needs a Protocol or a BufferedProtocol");
        co_return;
    });
}

TEST(Transport, OfVirtualTimeIsRefused) {
    const auto loop = VirtualTimeEventLoop::create();
    auto [left, right] = Socket::pair();
    EXPECT_EQ(raised<NotImplementedError>([&] {
                  make_socket_transport(*loop, std::move(left), std::make_shared<Recorder>());
              }),
              "a loop on virtual time watches no descriptors");
}

TEST(Transport, TellsWhatItIs) {  // TR-03, CN-09
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = tcp_pair();
        const SocketAddress here = left.getsockname();
        const SocketAddress there = left.getpeername();
        const int fd = left.fileno();
        const auto protocol = std::make_shared<Recorder>();
        Future<> ready;
        make_socket_transport(get_running_loop(), std::move(left), protocol, ready);
        co_await ready;
        const Transport t = protocol->transport();
        EXPECT_EQ(t.get_extra_info<SocketAddress>("sockname"), here);
        EXPECT_EQ(t.get_extra_info<SocketAddress>("peername"), there);
        EXPECT_EQ(t.get_extra_info<int>("socket"), fd);
        EXPECT_FALSE(t.get_extra_info<int>("peername"));
        EXPECT_FALSE(t.get_extra_info<int>("cipher"));
        EXPECT_EQ(TransportSocket(fd).getsockopt(IPPROTO_TCP, TCP_NODELAY), 1);  // CN-09
        EXPECT_EQ(t.repr(), "<asyncio.Transport fd=" + std::to_string(fd) + " open>");
        EXPECT_EQ(&t.get_loop(), &get_running_loop());
        EXPECT_EQ(t.get_protocol(), protocol);
        EXPECT_TRUE(t.can_write_eof());
        t.close();
        EXPECT_EQ(t.repr(), "<asyncio.Transport fd=" + std::to_string(fd) + " closing>");
        co_await protocol->lost;
        EXPECT_EQ(t.repr(), "<asyncio.Transport closed>");
        EXPECT_EQ(t.get_extra_info<SocketAddress>("peername"), there);
        EXPECT_FALSE(socket_calls::is_open(fd));
    });
}

TEST(Transport, KeepsOthersFromWatchingItsDescriptor) {  // FD-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Pair p;
        co_await p.connect();
        const int fd = *p.a->transport().get_extra_info<int>("socket");
        const std::string text =
            "File descriptor " + std::to_string(fd) +
            " is used by transport <asyncio.Transport fd=" + std::to_string(fd) + " open>";
        EXPECT_EQ(raised<RuntimeError>([&] { loop.add_reader(fd, [] {}); }), text);
        EXPECT_EQ(raised<RuntimeError>([&] { loop.add_writer(fd, [] {}); }), text);
        EXPECT_EQ(raised<RuntimeError>([&] { loop.remove_reader(fd); }), text);
        EXPECT_EQ(raised<RuntimeError>([&] {
                      make_socket_transport(loop, Socket(::dup2(fd, fd)),
                                            std::make_shared<Recorder>())
                          ->close();
                  }),
                  text);
        co_await p.close();
    });
}

TEST(Transport, TakesOverADescriptorThatWasWatched) {  // FD-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto [left, right] = Socket::pair();
        int calls = 0;
        loop.add_reader(left.fileno(), [&] { ++calls; });
        const auto protocol = std::make_shared<Recorder>();
        make_socket_transport(loop, std::move(left), protocol);
        EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
        co_await until([&] { return protocol->received == "x"; });
        EXPECT_EQ(calls, 0);
        protocol->transport().close();
        co_await protocol->lost;
    });
}

// ---- reading ------------------------------------------------------------------------------------

TEST(Transport, ReadsNothingWhilePaused) {  // TR-05
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        EXPECT_TRUE(p.a->transport().is_reading());
        p.a->transport().pause_reading();
        p.a->transport().pause_reading();
        EXPECT_FALSE(p.a->transport().is_reading());
        p.b->transport().write("one");
        co_await asyncio::sleep(10ms);
        EXPECT_EQ(p.a->received, "");
        p.a->transport().resume_reading();
        p.a->transport().resume_reading();
        co_await until([&] { return p.a->received == "one"; });
        p.a->on_data = [&](std::string_view) { p.a->transport().pause_reading(); };
        const std::string much = pattern(1 << 20);
        p.b->transport().write(much);
        co_await until([&] { return !p.a->transport().is_reading(); });
        const std::size_t after_one = p.a->received.size();
        EXPECT_LE(after_one, 3 + detail::Backend::kReceive);  // TR-12
        co_await asyncio::sleep(10ms);
        EXPECT_EQ(p.a->received.size(), after_one);
        p.a->on_data = nullptr;
        p.a->transport().resume_reading();
        co_await until([&] { return p.a->received.size() == 3 + much.size(); });
        EXPECT_TRUE(p.a->received == "one" + much);
        co_await p.close();
    });
}

TEST(Transport, HonoursAPauseBeforeConnectionMade) {  // TR-05
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
        const auto protocol = std::make_shared<Recorder>();
        const auto t = make_socket_transport(get_running_loop(), std::move(left), protocol);
        t->pause_reading();
        co_await asyncio::sleep(10ms);
        EXPECT_EQ(protocol->events, Lines{"made"});
        t->resume_reading();
        co_await until([&] { return protocol->received == "x"; });
        t->close();
        co_await protocol->lost;
    });
}

TEST(Transport, StaysOpenAfterTheEndIfTheProtocolSaysSo) {  // PR-05
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        s.protocol->keep_open = true;
        s.peer.shutdown(SHUT_WR);
        co_await until([&] { return s.protocol->events.back() == "eof"; });
        s.transport().pause_reading();
        s.transport().resume_reading();
        co_await asyncio::sleep(5ms);
        s.transport().write("still here");
        EXPECT_EQ(drain(s.peer), "still here");
        s.transport().close();
        co_await s.protocol->lost;
        EXPECT_EQ(s.protocol->events, (Lines{"made", "eof", "lost"}));
    });
}

TEST(Transport, ReadsWhatCameBeforeTheEnd) {  // PR-09
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "last words", 10), 10);
        s.peer.close();
        co_await s.protocol->lost;
        EXPECT_EQ(s.protocol->received, "last words");
        EXPECT_EQ(s.protocol->events, (Lines{"made", "data", "eof", "lost"}));
    });
}

TEST(Transport, GivesTheLoopBackAfterEachReceive) {  // TR-12
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        const int megabyte = 1 << 20;
        s.peer.setsockopt(SOL_SOCKET, SO_SNDBUF, 4 * megabyte);
        s.transport().pause_reading();
        const std::string sent = pattern(megabyte);
        std::size_t written = 0;
        while (written < sent.size()) {
            const ssize_t n =
                socket_calls::write(s.peer.fileno(), sent.data() + written, sent.size() - written);
            if (n < 0) break;
            written += static_cast<std::size_t>(n);
        }
        EXPECT_GT(written, 0u);
        Iterations iterations(get_running_loop());
        int last = -1;
        s.protocol->on_data = [&](std::string_view data) {
            EXPECT_LE(data.size(), detail::Backend::kReceive);
            EXPECT_GT(iterations.count(), last);
            last = iterations.count();
        };
        s.transport().resume_reading();
        co_await until([&] { return s.protocol->received.size() == written; });
        s.transport().close();
        co_await s.protocol->lost;
    });
}

class Buffered : public BufferedProtocol {
  public:
    void connection_made(Transport& t) override { transport = t; }
    std::span<char> get_buffer(std::size_t hint) override {
        EXPECT_EQ(hint, 0u);
        return std::span<char>(memory).first(room);
    }
    void buffer_updated(std::size_t n) override {
        received.append(memory, n);
        if (fail) throw std::logic_error("no");
    }
    bool eof_received() override { return false; }
    void connection_lost(std::exception_ptr error) override {
        lost_error = error;
        lost.set_result();
    }
    Transport transport;
    std::size_t room = 7;
    bool fail = false;
    std::string received;
    std::exception_ptr lost_error;
    Future<> lost;

  private:
    char memory[16] = {};
};

TEST(Transport, ReadsIntoTheMemoryOfABufferedProtocol) {  // PR-06
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const auto protocol = std::make_shared<Buffered>();
        make_socket_transport(get_running_loop(), std::move(left), protocol);
        const std::string sent = pattern(1000);
        EXPECT_EQ(socket_calls::write(right.fileno(), sent.data(), sent.size()), 1000);
        right.close();
        co_await protocol->lost;
        EXPECT_TRUE(protocol->received == sent);
        EXPECT_EQ(protocol->lost_error, nullptr);
    });
}

TEST(Transport, ReportsABufferedProtocolThatFails) {  // PR-06, TR-13
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const ErrorCapture errors(loop);
        for (const bool empty : {true, false}) {
            auto [left, right] = Socket::pair();
            const auto protocol = std::make_shared<Buffered>();
            protocol->room = empty ? 0 : 7;
            protocol->fail = !empty;
            make_socket_transport(loop, std::move(left), protocol);
            EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
            co_await protocol->lost;
            EXPECT_NE(protocol->lost_error, nullptr);
        }
        EXPECT_EQ(errors.lines(), (Lines{"Fatal error: protocol.get_buffer() call failed.: "
                                         "RuntimeError('get_buffer() returned an empty buffer')",
                                         "Fatal error: protocol.buffer_updated() call failed.: "
                                         "logic_error('no')"}));
    });
}

TEST(Transport, SwitchesProtocolsAtAnyTime) {  // TR-04
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        const Transport transport = s.transport();
        const auto second = std::make_shared<Buffered>();
        std::weak_ptr<Recorder> first = s.protocol;
        s.protocol->on_data = [&, t = transport](std::string_view data) {
            EXPECT_EQ(data, "one");
            // The protocol that is running now is kept until it has returned.
            s.protocol.reset();
            t.set_protocol(second);
            EXPECT_FALSE(first.expired());
        };
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "one", 3), 3);
        co_await until([&] { return first.expired(); });
        EXPECT_EQ(transport.get_protocol(), second);
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "two", 3), 3);
        co_await until([&] { return second->received == "two"; });
        EXPECT_EQ(raised<TypeError>([&] { transport.set_protocol(nullptr); }),
                  "a stream transport needs a Protocol or a BufferedProtocol");
        transport.close();
        co_await second->lost;
    });
}

// ---- writing ------------------------------------------------------------------------------------

TEST(Transport, SendsAtOnceWhatTheSocketTakes) {  // TR-06
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        s.transport().write("now");
        EXPECT_EQ(drain(s.peer), "now");
        s.transport().write("");
        const std::byte bytes[] = {std::byte{'b'}, std::byte{'y'}};
        s.transport().write(std::span<const std::byte>(bytes));
        EXPECT_EQ(drain(s.peer), "by");
        EXPECT_EQ(s.transport().get_write_buffer_size(), 0u);
        s.transport().close();
        co_await s.protocol->lost;
    });
}

TEST(Transport, BuffersWhatTheSocketDoesNotTake) {  // TR-06, TR-10
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        std::string sent;
        for (int i = 0; i < 40; ++i) {
            const std::string piece = pattern(50000 + static_cast<std::size_t>(i));
            s.transport().write(piece);
            sent += piece;
        }
        const std::size_t buffered = s.transport().get_write_buffer_size();
        EXPECT_GT(buffered, 0u);
        EXPECT_LT(buffered, sent.size());
        std::string received;
        while (received.size() < sent.size()) {
            received += drain(s.peer);
            co_await asyncio::sleep(0s);
        }
        EXPECT_TRUE(received == sent);
        EXPECT_EQ(s.transport().get_write_buffer_size(), 0u);
        EXPECT_EQ(s.protocol->events, (Lines{"made", "pause", "resume"}));
        s.transport().close();
        co_await s.protocol->lost;
    });
}

TEST(Transport, WritesManyPieces) {  // TR-07
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        std::vector<std::string> texts;
        std::string sent;
        for (std::size_t i = 0; i < 300; ++i) {
            texts.push_back(pattern(i % 7 == 0 ? 0 : i * 37));
            sent += texts.back();
        }
        std::vector<std::string_view> pieces(texts.begin(), texts.end());
        s.transport().writelines(pieces);
        s.transport().writelines({});
        const std::string_view last[] = {"", "the", " end"};
        s.transport().writelines(last);
        sent += "the end";
        std::string received;
        while (received.size() < sent.size()) {
            received += drain(s.peer);
            co_await asyncio::sleep(0s);
        }
        EXPECT_TRUE(received == sent);
        s.transport().close();
        co_await s.protocol->lost;
    });
}

TEST(Transport, EndsTheStreamAfterWhatIsBuffered) {  // TR-08
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        p.b->keep_open = true;
        const std::string sent = pattern(3 << 20);
        p.a->transport().write(sent);
        p.a->transport().write_eof();
        p.a->transport().write_eof();
        EXPECT_EQ(raised<RuntimeError>([&] { p.a->transport().write("more"); }),
                  "Cannot call write() after write_eof()");
        EXPECT_EQ(raised<RuntimeError>([&] { p.a->transport().writelines({}); }),
                  "Cannot call writelines() after write_eof()");
        co_await until([&] { return p.b->events.back() == "eof"; });
        EXPECT_TRUE(p.b->received == sent);
        p.b->transport().write("answer");
        co_await until([&] { return p.a->received == "answer"; });
        co_await p.close();
    });
}

TEST(Transport, PausesAndResumesTheWriterAtItsLimits) {  // TR-10, PR-03
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        const Transport t = s.transport();
        using Limits = std::pair<std::size_t, std::size_t>;
        EXPECT_EQ(t.get_write_buffer_limits(), (Limits{16 * 1024, 64 * 1024}));
        t.set_write_buffer_limits({.high = 1000});
        EXPECT_EQ(t.get_write_buffer_limits(), (Limits{250, 1000}));
        t.set_write_buffer_limits({.low = 1000});
        EXPECT_EQ(t.get_write_buffer_limits(), (Limits{1000, 4000}));
        EXPECT_EQ(raised<ValueError>([&] { t.set_write_buffer_limits({.high = 1, .low = 2}); }),
                  "high (1) must be >= low (2) must be >= 0");
        EXPECT_EQ(raised<ValueError>([&] { t.set_write_buffer_limits({.high = -3, .low = -3}); }),
                  "high (-3) must be >= low (-3) must be >= 0");

        while (t.get_write_buffer_size() == 0 && !t.is_closing()) t.write(pattern(100000));
        const std::size_t size = t.get_write_buffer_size();
        EXPECT_EQ(s.protocol->events, (Lines{"made", "pause"}));
        drain(s.peer);
        co_await until([&] { return t.get_write_buffer_size() == 0; });
        EXPECT_EQ(s.protocol->events, (Lines{"made", "pause", "resume"}));

        // Strictly above the mark pauses, and only a crossing does.
        while (t.get_write_buffer_size() == 0 && !t.is_closing()) {
            t.set_write_buffer_limits({.high = 1 << 30});
            t.write(pattern(100000));
        }
        const auto now = static_cast<std::ptrdiff_t>(t.get_write_buffer_size());
        t.set_write_buffer_limits({.high = now});
        EXPECT_EQ(s.protocol->events.size(), 3u);
        t.write("x");
        EXPECT_EQ(s.protocol->events.back(), "pause");
        t.write("y");
        EXPECT_EQ(s.protocol->events.size(), 4u);
        t.set_write_buffer_limits({.high = 0});
        EXPECT_EQ(s.protocol->events.size(), 4u);
        EXPECT_GT(size, 0u);
        t.abort();
        co_await s.protocol->lost;
    });
}

TEST(Transport, ResumedWriterMayWriteAtOnce) {  // TR-10, PR-03
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        const std::string block = pattern(300000);
        int rounds = 0;
        s.protocol->on_resume = [&] {
            if (++rounds < 20) s.transport().write(block);
        };
        std::size_t total = 0;
        while (s.protocol->events.back() != "pause" && !s.transport().is_closing()) {
            s.transport().write(block);
            total += block.size();
        }
        std::size_t received = 0;
        while (received < total + 19 * block.size()) {
            received += drain(s.peer).size();
            co_await asyncio::sleep(0s);
        }
        EXPECT_GE(rounds, 19);
        s.transport().close();
        co_await s.protocol->lost;
    });
}

TEST(Transport, HoldsNoMoreThanTheWriterPutsIn) {
    // A slow reader: a writer that heeds pause_writing() never has more than the mark and a write.
    run_briefly([]() -> Coroutine<> {
        OneSided s;
        co_await s.connect();
        bool may_write = true;
        s.protocol->on_pause = [&] { may_write = false; };
        s.protocol->on_resume = [&] { may_write = true; };
        const std::string block = pattern(10000);
        std::size_t most = 0;
        std::size_t received = 0;
        for (int i = 0; i < 2000; ++i) {
            while (may_write && !s.transport().is_closing()) s.transport().write(block);
            most = std::max(most, s.transport().get_write_buffer_size());
            char slowly[5000];
            const ssize_t n = socket_calls::recv(s.peer.fileno(), slowly, sizeof slowly, 0);
            if (n > 0) received += static_cast<std::size_t>(n);
            co_await asyncio::sleep(0s);
        }
        EXPECT_GT(received, 1u << 20);
        EXPECT_LE(most, 64 * 1024 + block.size());
        s.transport().abort();
        co_await s.protocol->lost;
    });
}

// One end of a connection that writes `text` in pieces of any size, reads in fits and starts, and
// ends its side when all is written.
class Restless : public Recorder {
  public:
    Restless(std::string text, unsigned seed) : random_(seed), text_(std::move(text)) {
        keep_open = true;
        on_pause = [this] { may_write_ = false; };
        on_resume = [this] {
            may_write_ = true;
            write_some();
        };
        on_made = [this] {
            transport().set_write_buffer_limits({.high = 20000});
            write_some();
        };
        on_data = [this](std::string_view) {
            if (random_() % 4 == 0) pause();
            write_some();
        };
    }

  private:
    void write_some() {
        while (may_write_ && !written_) {
            const std::size_t size = std::min<std::size_t>(random_() % 9000, text_.size() - at_);
            transport().write(std::string_view(text_).substr(at_, size));
            at_ += size;
            if (at_ < text_.size()) {
                if (random_() % 3 == 0) return later();
                continue;
            }
            written_ = true;
            transport().write_eof();
        }
    }
    void later() {
        get_running_loop().call_soon([this] { write_some(); });
    }
    void pause() {
        transport().pause_reading();
        const auto delay = std::chrono::microseconds(random_() % 300);
        get_running_loop().call_later(delay, [this] { transport().resume_reading(); });
    }

    std::minstd_rand random_;
    std::string text_;
    std::size_t at_ = 0;
    bool may_write_ = true;
    bool written_ = false;
};

TEST(Transport, LosesNothingOfRestlessTraffic) {  // TR-05, TR-06, TR-08, TR-10
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        struct Both {
            std::string to_b, to_a;
            std::shared_ptr<Restless> a, b;
        };
        std::vector<Both> all;
        for (unsigned i = 0; i < 12; ++i) {
            Both both;
            both.to_b = pattern(100000 + i * 9973);
            both.to_a = pattern(200000 - i * 7919);
            both.a = std::make_shared<Restless>(both.to_b, i);
            both.b = std::make_shared<Restless>(both.to_a, i + 100);
            auto [left, right] = i % 2 == 0 ? tcp_pair() : Socket::pair();
            make_socket_transport(loop, std::move(left), both.a);
            make_socket_transport(loop, std::move(right), both.b);
            all.push_back(std::move(both));
        }
        for (const Both& both : all) {
            co_await until([&] {
                return both.a->received.size() == both.to_a.size() &&
                       both.b->received.size() == both.to_b.size();
            });
            EXPECT_TRUE(both.a->received == both.to_a);
            EXPECT_TRUE(both.b->received == both.to_b);
            co_await asyncio::sleep(1ms);  // the last pauses are over
            both.a->transport().close();
            both.b->transport().close();
            co_await both.a->lost;
            co_await both.b->lost;
            EXPECT_EQ(both.a->lost_error, nullptr);
            EXPECT_EQ(both.b->lost_error, nullptr);
        }
    });
}

TEST(WriteBuffer, GivesBackWhatWasPutInAndFreesItself) {
    WriteBuffer buffer;
    std::string model;
    std::size_t step = 0;
    for (int i = 0; i < 20000; ++i) {
        step = (step * 1103515245 + 12345) % 0x7fffffff;
        const std::string piece = pattern(step % 900);
        buffer.append(piece);
        model += piece;
        const std::size_t taken = std::min(step / 900 % 1000, buffer.size());
        buffer.consume(taken);
        model.erase(0, taken);
        ASSERT_EQ(buffer.size(), model.size());
        ASSERT_TRUE(buffer.view() == model);
    }
    buffer.consume(buffer.size());
    EXPECT_TRUE(buffer.empty());
    EXPECT_EQ(buffer.view().data(), nullptr);
}

// ---- errors -------------------------------------------------------------------------------------

TEST(Transport, WarnsOfWritesToALostConnectionFromTheFifthOn) {  // TR-06
    run_briefly([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        const LogCapture log;
        p.a->transport().abort();
        for (int i = 0; i < 4; ++i) p.a->transport().write("dropped");
        EXPECT_TRUE(log.lines().empty());
        p.a->transport().write("dropped");
        EXPECT_EQ(log.lines(), Lines{"socket.send() raised exception."});
        co_await p.a->lost;
        co_await p.b->lost;
        EXPECT_EQ(p.b->received, "");
    });
}

TEST(Transport, WriteToAClosedPeerEndsOneConnectionAndNothingElse) {  // TR-13
    // SIGPIPE would kill the process.
    ASSERT_NE(::signal(SIGPIPE, SIG_DFL), SIG_ERR);
    run_briefly([]() -> Coroutine<> {
        const ErrorCapture errors(get_running_loop());
        OneSided s;
        co_await s.connect();
        s.peer.close();
        s.transport().write("anybody there?");
        s.transport().write("hello?");
        const std::string_view pieces[] = {"a", "b"};
        s.transport().writelines(pieces);
        co_await s.protocol->lost;
        EXPECT_EQ(s.protocol->events.back(), "lost BrokenPipeError");
        EXPECT_TRUE(errors.lines().empty());
    });
}

TEST(Transport, ResetIsTheErrorOfItsConnection) {  // TR-13, PR-02
    run_briefly([]() -> Coroutine<> {
        const ErrorCapture errors(get_running_loop());
        for (const std::size_t before : {0, 1, 100000}) {
            auto [left, right] = tcp_pair();
            set_linger_zero(right);
            const auto protocol = std::make_shared<Recorder>();
            Future<> ready;
            make_socket_transport(get_running_loop(), std::move(left), protocol, ready);
            co_await ready;
            const std::string some = pattern(before);
            protocol->transport().write(some);
            right.close();
            co_await protocol->lost;
            EXPECT_EQ(protocol->events, (Lines{"made", "lost ConnectionResetError"}));
        }
        EXPECT_TRUE(errors.lines().empty());
    });
}

TEST(Transport, ResetWhileMuchIsBufferedIsTheErrorOfItsConnection) {  // TR-13
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = tcp_pair();
        set_linger_zero(right);
        const auto protocol = std::make_shared<Recorder>();
        make_socket_transport(get_running_loop(), std::move(left), protocol);
        co_await until([&] { return !protocol->events.empty(); });
        protocol->transport().pause_reading();
        const auto write = [&] { protocol->transport().write(pattern(1 << 20)); };
        while (protocol->events.back() != "pause" && !protocol->transport().is_closing()) write();
        right.close();
        co_await protocol->lost;
        EXPECT_TRUE(detail::holds<ConnectionError>(protocol->lost_error));
        EXPECT_EQ(protocol->events.size(), 3u);
    });
}

TEST(Transport, ReportsWhatAProtocolThrowsAndAborts) {  // TR-13
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const ErrorCapture errors(loop);
        OneSided s;
        co_await s.connect();
        s.protocol->on_data = [](std::string_view) { throw std::runtime_error("data"); };
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "x", 1), 1);
        co_await s.protocol->lost;
        EXPECT_EQ(s.protocol->events.back(), "lost runtime_error");

        OneSided ends;
        co_await ends.connect();
        ends.protocol->on_eof = [] { throw std::runtime_error("eof"); };
        ends.peer.close();
        co_await ends.protocol->lost;
        EXPECT_EQ(errors.lines(), (Lines{"Fatal error: protocol.data_received() call failed.: "
                                         "runtime_error('data')",
                                         "Fatal error: protocol.eof_received() call failed.: "
                                         "runtime_error('eof')"}));
    });
}

TEST(Transport, NamesItselfInReports) {  // TR-13, EH-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        std::string told;
        loop.set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
            const BaseTransport transport = context.transport;
            told = context.transport.repr() + (transport ? " is known" : "");
        });
        OneSided s;
        co_await s.connect();
        s.protocol->on_data = [](std::string_view) { throw std::runtime_error("data"); };
        const std::string name = s.transport().repr();
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "x", 1), 1);
        co_await s.protocol->lost;
        EXPECT_EQ(told, name + " is known");
    });
}

TEST(Transport, GoesOnWhenConnectionMadeThrows) {  // PR-01
    run_briefly([]() -> Coroutine<> {
        const ErrorCapture errors(get_running_loop());
        auto [left, right] = Socket::pair();
        const auto protocol = std::make_shared<Recorder>();
        protocol->on_made = [] { throw std::runtime_error("no"); };
        Future<> ready;
        make_socket_transport(get_running_loop(), std::move(left), protocol, ready);
        co_await ready;
        EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
        co_await until([&] { return protocol->received == "x"; });
        protocol->on_lost = [] { throw std::runtime_error("lost, too"); };
        protocol->transport().close();
        const int fd = *protocol->transport().get_extra_info<int>("socket");
        co_await until([&] { return !socket_calls::is_open(fd); });
        EXPECT_EQ(errors.lines(),
                  (Lines{"Exception in callback protocol.connection_made(): runtime_error('no')",
                         "Exception in callback protocol.connection_lost(): "
                         "runtime_error('lost, too')"}));
    });
}

TEST(Transport, StaysWhenPauseOrResumeThrows) {  // TR-13
    run_briefly([]() -> Coroutine<> {
        const ErrorCapture errors(get_running_loop());
        OneSided s;
        co_await s.connect();
        s.protocol->on_pause = [] { throw std::runtime_error("pause"); };
        s.protocol->on_resume = [] { throw std::runtime_error("resume"); };
        const auto write = [&] { s.transport().write(pattern(100000)); };
        while (s.protocol->events.back() != "pause" && !s.transport().is_closing()) write();
        while (s.protocol->events.back() != "resume") {
            drain(s.peer);
            co_await asyncio::sleep(0s);
        }
        EXPECT_FALSE(s.transport().is_closing());
        EXPECT_EQ(errors.lines(), (Lines{"protocol.pause_writing() failed: runtime_error('pause')",
                                         "protocol.resume_writing() failed: "
                                         "runtime_error('resume')"}));
        s.transport().abort();
        co_await s.protocol->lost;
    });
}

TEST(Transport, LetsAnExitLeaveTheLoop) {  // S-60
    const auto loop = EpollEventLoop::create();
    auto [left, right] = Socket::pair();
    set_event_loop(loop.get());
    const auto protocol = std::make_shared<Recorder>();
    protocol->on_data = [](std::string_view) { throw SystemExit(7); };
    make_socket_transport(*loop, std::move(left), protocol);
    EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
    EXPECT_THROW(loop->run_forever(), SystemExit);
    protocol->on_data = nullptr;
    right.close();
    loop->run_until_complete(protocol->lost);
    set_event_loop(nullptr);
}

// L36: no read is lost that was under way as something left the loop.
TEST(Transport, ReadsOnAfterAnExitLeftTheLoop) {  // S-60
    class Exits : public BufferedProtocol {
      public:
        std::span<char> get_buffer(std::size_t) override {
            if (--exits_before > 0) throw SystemExit(7);
            return memory;
        }
        void buffer_updated(std::size_t n) override {
            received += n;
            if (--exits > 0) throw SystemExit(7);
        }
        void connection_lost(std::exception_ptr) override { lost.set_result(); }
        int exits_before = 3;
        int exits = 3;
        std::size_t received = 0;
        char memory[8];
        Future<> lost;
    };
    const auto loop = new_event_loop();
    auto [left, right] = Socket::pair();
    set_event_loop(loop.get());
    const auto protocol = std::make_shared<Exits>();
    make_socket_transport(*loop, std::move(left), protocol);
    EXPECT_EQ(socket_calls::write(right.fileno(), std::string(100, 'x').data(), 100), 100);
    for (int i = 0; i < 4; ++i) {
        EXPECT_THROW(loop->run_until_complete(wait_for(protocol->lost, 5s)), SystemExit);
    }
    right.close();
    loop->run_until_complete(wait_for(protocol->lost, 5s));
    EXPECT_EQ(protocol->received, 100U);
    set_event_loop(nullptr);
}

// L36: the same of a listener, whose further connections have arrived already.
TEST(Transport, AcceptsOnAfterAnExitLeftTheLoop) {  // S-60
    const auto loop = new_event_loop();
    set_event_loop(loop.get());
    int made = 0;
    const auto factory = [&] {
        if (++made == 1) throw SystemExit(7);
        return std::make_shared<Recorder>();
    };
    const Serving server = loop->run_until_complete(loop->create_server(factory, "127.0.0.1", 0));
    const SocketAddress at = server.sockets()[0].getsockname();
    std::vector<Socket> clients;
    for (int i = 0; i < 4; ++i) {
        clients.emplace_back(socket_calls::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(
            socket_calls::connect(clients.back().fileno(), static_cast<const sockaddr*>(at.data()),
                                  static_cast<socklen_t>(at.size())),
            0);
    }
    EXPECT_THROW(loop->run_forever(), SystemExit);
    loop->run_until_complete(wait_for(until([&] { return made == 4; }), 5s));
    set_event_loop(nullptr);
}

// L36: the memory belongs to the protocol that gave it, and a closed one is given nothing.
TEST(Transport, GetBufferMayChangeTheProtocol) {  // TR-04, PR-06
    class Gives : public BufferedProtocol {
      public:
        void connection_made(Transport& t) override { transport = t; }
        std::span<char> get_buffer(std::size_t) override {
            std::exchange(before, nullptr)();
            return memory;
        }
        void buffer_updated(std::size_t) override { ++updates; }
        Transport transport;
        std::function<void()> before;
        int updates = 0;
        char memory[8];
    };
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const auto gives = std::make_shared<Gives>();
        const auto next = std::make_shared<Recorder>();
        gives->before = [&] { gives->transport.set_protocol(next); };
        Future<> ready;
        const BaseTransport transport(
            make_socket_transport(get_running_loop(), std::move(left), gives, ready));
        co_await ready;
        EXPECT_EQ(socket_calls::write(right.fileno(), "bytes", 5), 5);
        co_await until([&] { return next->received == "bytes"; });
        EXPECT_EQ(gives->updates, 0);
        transport.close();
        co_await next->lost;
        gives->transport = Transport();
    });
}

TEST(Transport, CallsBackInTheContextItWasMadeIn) {  // SC-01
    static ContextVar<int> number{"number", 0};
    run_briefly([]() -> Coroutine<> {
        number.set(5);
        OneSided s;
        co_await s.connect();
        number.set(6);
        Lines seen;
        s.protocol->on_data = [&](std::string_view) {
            seen.push_back(std::to_string(number.get()));
            number.set(number.get() + 10);
        };
        s.protocol->on_lost = [&] { seen.push_back(std::to_string(number.get())); };
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "x", 1), 1);
        co_await until([&] { return seen.size() == 1; });
        EXPECT_EQ(socket_calls::write(s.peer.fileno(), "x", 1), 1);
        co_await until([&] { return seen.size() == 2; });
        s.transport().close();
        co_await s.protocol->lost;
        EXPECT_EQ(seen, (Lines{"5", "15", "25"}));
        EXPECT_EQ(number.get(), 6);
    });
}

TEST(Transport, EmptyHandlesSaySo) {
    const Transport empty;
    EXPECT_FALSE(empty);
    EXPECT_EQ(empty.repr(), "<asyncio.Transport empty>");
    EXPECT_EQ(raised<RuntimeError>([&] { empty.close(); }),
              "this transport handle is empty: it refers to no connection");
    EXPECT_FALSE(static_cast<ReadTransport>(empty));
}

}  // namespace

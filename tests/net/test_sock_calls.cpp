// The loop's calls on plain sockets: RS-01 to RS-06.
//
// ctest: simulated
#include <asyncio.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "socket_calls.hpp"
#include "support.hpp"

namespace {

using asyncio::Coroutine;
using asyncio::EventLoop;
using asyncio::OSError;
using asyncio::Socket;
using asyncio::SocketAddress;
using asyncio::Task;
using namespace std::chrono_literals;
using namespace std::string_view_literals;

// On a real loop, for 20 s at most: where a call fails, what a test waits for may never come.
template <class F>
auto run(F main) {
    const auto loop = asyncio::new_event_loop();
    return loop->run_until_complete(asyncio::wait_for(main(*loop), 20s));
}

struct Pair {
    Socket a;
    Socket b;
    explicit Pair(int type = SOCK_STREAM) {
        auto both = Socket::pair(AF_UNIX, type);
        a = std::move(both.first);
        b = std::move(both.second);
    }
    // What `b` has got; "" if nothing.
    std::string at_b() const {
        char text[4096];
        const ssize_t n = socket_calls::recv(b.fileno(), text, sizeof text, MSG_DONTWAIT);
        return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
    }
    void from_b(std::string_view text) const {
        EXPECT_EQ(socket_calls::send(b.fileno(), text.data(), text.size(), 0),
                  static_cast<ssize_t>(text.size()));
    }
};

Socket listener() {
    Socket server(AF_INET, SOCK_STREAM);
    server.bind(SocketAddress("127.0.0.1", 0));
    server.listen();
    return server;
}

// A port of loopback on which nobody listens.
int dead_port() {
    const Socket taken(AF_INET, SOCK_STREAM);
    taken.bind(SocketAddress("127.0.0.1", 0));
    return taken.getsockname().port();
}

// Fills what the socket can hold.
void fill(const Socket& socket) {
    const std::string block(65536, 'x');
    while (socket_calls::send(socket.fileno(), block.data(), block.size(), MSG_DONTWAIT) > 0)
        continue;
}

void drain(const Socket& socket) {
    std::string block(65536, 0);
    while (socket_calls::recv(socket.fileno(), block.data(), block.size(), MSG_DONTWAIT) > 0)
        continue;
}

// Waits until `task` waits for the socket.
Coroutine<> settle() {
    for (int i = 0; i < 3; ++i) co_await asyncio::sleep(0s);
}

template <class T>
Coroutine<> expect_cancelled(Task<T> task) {
    co_await asyncio::wait(task);
    EXPECT_TRUE(task.cancelled());
}

// ---- sock_recv, sock_recv_into -----------------------------------------------------------------

TEST(SockRecv, GivesAtOnceWhatIsThere) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        pair.from_b("hello");
        support::Iterations iterations(loop);
        EXPECT_EQ(co_await loop.sock_recv(pair.a, 3), "hel");
        EXPECT_EQ(co_await loop.sock_recv(pair.a.fileno(), 100), "lo");
        EXPECT_EQ(iterations.passed(), 0);
    });
}

// L44. As CPython's, which asks the system for nothing.
TEST(SockRecv, OfNoBytesGivesNoneAtOnce) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
            auto [mine, theirs] = Socket::pair(AF_UNIX, type);
            EXPECT_EQ(co_await wait_for(loop.sock_recv(mine, 0), 5s), "");
            EXPECT_EQ(co_await wait_for(loop.sock_recv_into(mine, std::span<char>()), 5s), 0u);
            EXPECT_EQ(co_await wait_for(loop.sock_recv_into(mine, std::span<std::byte>()), 5s), 0u);
            // What is there stays there.
            co_await loop.sock_sendall(theirs, "here");
            EXPECT_EQ(co_await loop.sock_recv(mine, 0), "");
            EXPECT_EQ(co_await loop.sock_recv(mine, 10), "here");
        }
    });
}

// L44. An empty datagram is one, and an empty string is sent at once.
TEST(SockSendTo, AnEmptyDatagramIsSent) {  // RS-03, RS-04
    run([](EventLoop& loop) -> Coroutine<> {
        Socket mine(AF_INET, SOCK_DGRAM);
        mine.bind(SocketAddress("127.0.0.1", 0));
        Socket theirs(AF_INET, SOCK_DGRAM);
        EXPECT_EQ(co_await loop.sock_sendto(theirs, "", mine.getsockname()), 0u);
        // Of no bytes at most it takes one all the same, as CPython's.
        EXPECT_EQ((co_await wait_for(loop.sock_recvfrom(mine, 0), 5s)).first, "");
        co_await loop.sock_connect(theirs, mine.getsockname());
        co_await loop.sock_sendall(theirs, "");
        char room[4];
        EXPECT_EQ((co_await wait_for(loop.sock_recvfrom_into(mine, room), 5s)).first, 0u);
        auto [one, other] = Socket::pair();
        co_await wait_for(loop.sock_sendall(one, ""), 5s);
    });
}

TEST(SockRecv, WaitsForData) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        EXPECT_FALSE(reading.done());
        pair.from_b("late");
        EXPECT_EQ(co_await reading, "late");
        // Nothing stays registered.
        EXPECT_FALSE(loop.remove_reader(pair.a.fileno()));
    });
}

TEST(SockRecv, EmptyAtTheEnd) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        Pair pair;
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        pair.b.close();
        EXPECT_EQ(co_await reading, "");
        EXPECT_EQ(co_await loop.sock_recv(pair.a, 100), "");
    });
}

TEST(SockRecv, TakesMoreThanFitsOnTheStack) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        const std::string sent(100'000, 'y');
        pair.from_b(sent);
        std::string got;
        while (got.size() < sent.size()) {
            got += co_await loop.sock_recv(pair.a, std::size_t{1} << 40);
        }
        EXPECT_EQ(got, sent);
    });
}

TEST(SockRecv, ErrorsReachTheCaller) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const auto bad = co_await asyncio::as_result(loop.sock_recv(-1, 1));
        EXPECT_EQ(support::error_text<OSError>(bad), "[Errno 9] Bad file descriptor");
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        const auto pipe = co_await asyncio::as_result(loop.sock_recv(ends[0], 1));
        EXPECT_EQ(support::error_text<OSError>(pipe), "[Errno 88] Socket operation on non-socket");
        ::close(ends[0]);
        ::close(ends[1]);
    });
}

TEST(SockRecv, CancelledBeforeItBegins) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        pair.from_b("kept");
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        reading.cancel();
        co_await expect_cancelled(reading);
        EXPECT_EQ(co_await loop.sock_recv(pair.a, 100), "kept");
    });
}

TEST(SockRecv, CancelledWhileWaitingUnregisters) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        reading.cancel();
        co_await expect_cancelled(reading);
        EXPECT_FALSE(loop.remove_reader(pair.a.fileno()));
        pair.from_b("kept");
        co_await settle();
        EXPECT_EQ(co_await loop.sock_recv(pair.a, 100), "kept");
    });
}

TEST(SockRecv, CancelledInTheTickInWhichDataComesLosesNone) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        // Another watch of the same readiness, which the kernel reports first: it was added first.
        const Pair other;
        loop.add_reader(other.a.fileno(), [&] {
            loop.remove_reader(other.a.fileno());
            loop.call_soon([&] { reading.cancel(); });
        });
        other.from_b("x");
        pair.from_b("kept");
        co_await asyncio::wait(reading);
        std::string got;
        if (!reading.cancelled()) got = reading.result();
        if (got.empty()) got = co_await loop.sock_recv(pair.a, 100);
        EXPECT_EQ(got, "kept");
    });
}

TEST(SockRecv, WokenAndThenCancelledLeavesTheDataThere) {  // RS-01, S-44
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        pair.from_b("kept");
        // Runs in the iteration between the event and the step of the task.
        bool cancelled = false;
        while (!cancelled) {
            co_await asyncio::sleep(0s);
            if (reading.done()) break;
            cancelled = reading.cancel();
        }
        co_await asyncio::wait(reading);
        EXPECT_TRUE(reading.cancelled());
        EXPECT_EQ(co_await loop.sock_recv(pair.a, 100), "kept");
    });
}

TEST(SockRecv, ALaterReaderTakesItsPlace) {  // RS-01, FD-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto first = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        auto second = loop.create_task(loop.sock_recv(pair.a, 100));
        const auto outcome = co_await asyncio::as_result(first);
        EXPECT_NE(support::error_text<asyncio::RuntimeError>(outcome).find("is no longer watched"),
                  std::string::npos);
        pair.from_b("for the second");
        EXPECT_EQ(co_await second, "for the second");
    });
}

TEST(SockRecv, RemoveReaderEndsTheWait) {  // RS-01, FD-02
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        co_await settle();
        EXPECT_TRUE(loop.remove_reader(pair.a.fileno()));
        const auto outcome = co_await asyncio::as_result(reading);
        EXPECT_TRUE(outcome.holds<asyncio::RuntimeError>());
    });
}

TEST(SockRecv, ReadsWhileAnotherTaskWrites) {  // RS-01, RS-03
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        fill(pair.a);
        auto reading = loop.create_task(loop.sock_recv(pair.a, 100));
        auto writing = loop.create_task(loop.sock_sendall(pair.a, "z"sv));
        co_await settle();
        EXPECT_FALSE(reading.done());
        EXPECT_FALSE(writing.done());
        drain(pair.b);
        co_await writing;
        pair.from_b("answer");
        EXPECT_EQ(co_await reading, "answer");
    });
}

TEST(SockRecv, TheLoopClosesWhileItWaits) {  // RS-01, LC-05
    const Pair pair;
    const auto loop = asyncio::new_event_loop();
    const support::LogCapture log;
    auto reading = loop->create_task(loop->sock_recv(pair.a, 100));
    loop->run_until_complete(settle());
    loop->close();
    EXPECT_FALSE(reading.done());
}

TEST(SockRecvInto, FillsTheBuffer) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        std::array<char, 4> chars{};
        auto reading = loop.create_task(loop.sock_recv_into(pair.a, std::span<char>(chars)));
        co_await settle();
        pair.from_b("abcdef");
        EXPECT_EQ(co_await reading, 4u);
        EXPECT_EQ(std::string_view(chars.data(), 4), "abcd");
        std::array<std::byte, 4> bytes{};
        EXPECT_EQ(co_await loop.sock_recv_into(pair.a, std::span<std::byte>(bytes)), 2u);
        EXPECT_EQ(bytes[1], std::byte{'f'});
    });
}

TEST(SockRecvInto, CancelledThreeWays) {  // RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        std::array<char, 8> buffer{};
        const std::span<char> room(buffer);
        auto before = loop.create_task(loop.sock_recv_into(pair.a, room));
        before.cancel();
        co_await expect_cancelled(before);
        auto waiting = loop.create_task(loop.sock_recv_into(pair.a, room));
        co_await settle();
        waiting.cancel();
        co_await expect_cancelled(waiting);
        auto woken = loop.create_task(loop.sock_recv_into(pair.a, room));
        co_await settle();
        pair.from_b("kept");
        woken.cancel();
        co_await expect_cancelled(woken);
        EXPECT_EQ(co_await loop.sock_recv_into(pair.a, room), 4u);
    });
}

// ---- sock_recvfrom, sock_sendto ----------------------------------------------------------------

struct Udp {
    Socket a{AF_INET, SOCK_DGRAM};
    Socket b{AF_INET, SOCK_DGRAM};
    Udp() {
        a.bind(SocketAddress("127.0.0.1", 0));
        b.bind(SocketAddress("127.0.0.1", 0));
    }
};

TEST(SockRecvFrom, GivesDataAndAddress) {  // RS-02, RS-04
    run([](EventLoop& loop) -> Coroutine<> {
        const Udp udp;
        auto reading = loop.create_task(loop.sock_recvfrom(udp.a, 100));
        co_await settle();
        EXPECT_EQ(co_await loop.sock_sendto(udp.b, "ping"sv, udp.a.getsockname()), 4u);
        const auto got = co_await reading;
        EXPECT_EQ(got.first, "ping");
        EXPECT_EQ(got.second, udp.b.getsockname());
        EXPECT_EQ(co_await loop.sock_sendto(udp.b, ""sv, udp.a.getsockname()), 0u);
        EXPECT_EQ((co_await loop.sock_recvfrom(udp.a, 100)).first, "");
    });
}

TEST(SockRecvFrom, IntoABuffer) {  // RS-02
    run([](EventLoop& loop) -> Coroutine<> {
        const Udp udp;
        std::array<char, 8> chars{};
        const std::span<char> room(chars);
        auto reading = loop.create_task(loop.sock_recvfrom_into(udp.a, room, 3));
        co_await settle();
        const std::array<std::byte, 4> ping{std::byte{'p'}, std::byte{'i'}, std::byte{'n'},
                                            std::byte{'g'}};
        const std::span<const std::byte> bytes(ping);
        co_await loop.sock_sendto(udp.b, bytes, udp.a.getsockname());
        const auto got = co_await reading;
        EXPECT_EQ(got.first, 3u);
        EXPECT_EQ(got.second, udp.b.getsockname());
        EXPECT_EQ(std::string_view(chars.data(), 4), "pin\0"sv);
        EXPECT_EQ(support::raised<asyncio::ValueError>(
                      [&] { (void)loop.sock_recvfrom_into(udp.a, room, 9); }),
                  "nbytes is greater than the length of the buffer");
        co_await loop.sock_sendto(udp.b, "x"sv, udp.a.getsockname());
        std::array<std::byte, 8> raw{};
        const std::span<std::byte> raw_room(raw);
        EXPECT_EQ((co_await loop.sock_recvfrom_into(udp.a, raw_room)).first, 1u);
    });
}

TEST(SockRecvFrom, CancelledThreeWays) {  // RS-02
    run([](EventLoop& loop) -> Coroutine<> {
        const Udp udp;
        auto before = loop.create_task(loop.sock_recvfrom(udp.a, 100));
        before.cancel();
        co_await expect_cancelled(before);
        auto waiting = loop.create_task(loop.sock_recvfrom(udp.a, 100));
        co_await settle();
        waiting.cancel();
        co_await expect_cancelled(waiting);
        auto woken = loop.create_task(loop.sock_recvfrom(udp.a, 100));
        co_await settle();
        co_await loop.sock_sendto(udp.b, "kept"sv, udp.a.getsockname());
        woken.cancel();
        co_await expect_cancelled(woken);
        EXPECT_EQ((co_await loop.sock_recvfrom(udp.a, 100)).first, "kept");
    });
}

TEST(SockSendTo, ErrorsAndCancel) {  // RS-04
    run([](EventLoop& loop) -> Coroutine<> {
        const Udp udp;
        const std::string huge(70'000, 'x');
        const auto to = udp.a.getsockname();
        const auto too_long = co_await asyncio::as_result(loop.sock_sendto(udp.b, huge, to));
        EXPECT_EQ(support::error_text<OSError>(too_long), "[Errno 90] Message too long");
        auto before = loop.create_task(loop.sock_sendto(udp.b, "x"sv, to));
        before.cancel();
        co_await expect_cancelled(before);
        char byte;
        EXPECT_EQ(socket_calls::recv(udp.a.fileno(), &byte, 1, MSG_DONTWAIT), -1);
    });
}

TEST(SockSendTo, WaitsForRoomAndCanBeCancelled) {  // RS-04
    run([](EventLoop& loop) -> Coroutine<> {
        // Datagrams of a unix socket are not dropped: the sender has to wait.
        const Socket receiver(AF_UNIX, SOCK_DGRAM);
        receiver.bind(SocketAddress::unix(""));
        const Socket sender(AF_UNIX, SOCK_DGRAM);
        const SocketAddress to = receiver.getsockname();
        int sent = 0;
        while (socket_calls::sendto(sender.fileno(), "x", 1, MSG_DONTWAIT,
                                    static_cast<const sockaddr*>(to.data()),
                                    static_cast<socklen_t>(to.size())) == 1) {
            ++sent;
        }
        EXPECT_GT(sent, 0);
        auto cancelled = loop.create_task(loop.sock_sendto(sender, "cancelled"sv, to));
        co_await asyncio::sleep(0s);
        cancelled.cancel();
        co_await expect_cancelled(cancelled);
        auto writing = loop.create_task(loop.sock_sendto(sender, "last"sv, to));
        co_await asyncio::sleep(0s);
        std::string got;
        for (; sent >= 0; --sent) got = co_await loop.sock_recv(receiver, 100);
        EXPECT_EQ(got, "last");
        EXPECT_EQ(co_await writing, 4u);
    });
}

// ---- sock_sendall ------------------------------------------------------------------------------

TEST(SockSendAll, AtOnce) {  // RS-03
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        support::Iterations iterations(loop);
        co_await loop.sock_sendall(pair.a, "hello"sv);
        const std::array<std::byte, 1> mark{std::byte{'!'}};
        const std::span<const std::byte> bytes(mark);
        co_await loop.sock_sendall(pair.a, bytes);
        co_await loop.sock_sendall(pair.a, ""sv);
        EXPECT_EQ(iterations.passed(), 0);
        EXPECT_EQ(pair.at_b(), "hello!");
    });
}

TEST(SockSendAll, SendsEverythingInPieces) {  // RS-03
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        std::string data;
        for (int i = 0; data.size() < 3'000'000; ++i) data += std::to_string(i) + ' ';
        auto writing = loop.create_task(loop.sock_sendall(pair.a, data));
        std::string got;
        while (got.size() < data.size()) got += co_await loop.sock_recv(pair.b, 65536);
        co_await writing;
        EXPECT_TRUE(got == data);
        EXPECT_FALSE(loop.remove_writer(pair.a.fileno()));
    });
}

TEST(SockSendAll, APeerThatIsGoneIsAnErrorAndNoSignal) {  // RS-03
    run([](EventLoop& loop) -> Coroutine<> {
        Pair pair;
        pair.b.close();
        const auto outcome = co_await asyncio::as_result(loop.sock_sendall(pair.a, "x"sv));
        EXPECT_EQ(support::error_text<asyncio::BrokenPipeError>(outcome), "[Errno 32] Broken pipe");
    });
}

TEST(SockSendAll, CancelledThreeWays) {  // RS-03
    run([](EventLoop& loop) -> Coroutine<> {
        const Pair pair;
        auto before = loop.create_task(loop.sock_sendall(pair.a, "before"sv));
        before.cancel();
        co_await expect_cancelled(before);
        EXPECT_EQ(pair.at_b(), "");
        fill(pair.a);
        auto waiting = loop.create_task(loop.sock_sendall(pair.a, "waiting"sv));
        co_await settle();
        waiting.cancel();
        co_await expect_cancelled(waiting);
        EXPECT_FALSE(loop.remove_writer(pair.a.fileno()));
        auto woken = loop.create_task(loop.sock_sendall(pair.a, "woken"sv));
        co_await settle();
        drain(pair.b);
        woken.cancel();
        co_await expect_cancelled(woken);
        EXPECT_EQ(pair.at_b(), "");
    });
}

// ---- sock_connect, sock_accept -----------------------------------------------------------------

TEST(SockConnect, ConnectsAndAccepts) {  // RS-05, RS-06
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server = listener();
        auto accepting = loop.create_task(loop.sock_accept(server));
        const Socket client(AF_INET, SOCK_STREAM);
        co_await loop.sock_connect(client, server.getsockname());
        const auto accepted = co_await std::move(accepting);
        EXPECT_EQ(accepted.second, client.getsockname());
        EXPECT_TRUE(::fcntl(accepted.first.fileno(), F_GETFL) & O_NONBLOCK);
        EXPECT_TRUE(::fcntl(accepted.first.fileno(), F_GETFD) & FD_CLOEXEC);
        co_await loop.sock_sendall(client, "hi"sv);
        EXPECT_EQ(co_await loop.sock_recv(accepted.first, 10), "hi");
    });
}

TEST(SockConnect, ResolvesNames) {  // RS-05
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server = listener();
        const Socket client(AF_INET, SOCK_STREAM);
        co_await loop.sock_connect(client, "localhost", server.getsockname().port());
        EXPECT_EQ(client.getpeername(), server.getsockname());
        const Socket six(AF_INET6, SOCK_STREAM);
        const auto outcome = co_await asyncio::as_result(loop.sock_connect(six, "127.0.0.1", 1));
        EXPECT_EQ(support::error_text<asyncio::gaierror>(outcome),
                  "[Errno -9] Address family for hostname not supported");
    });
}

TEST(SockConnect, RefusalNamesTheAddress) {  // RS-05, CN-03
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket client(AF_INET, SOCK_STREAM);
        const SocketAddress nobody("127.0.0.1", dead_port());
        const auto outcome = co_await asyncio::as_result(loop.sock_connect(client, nobody));
        EXPECT_EQ(support::error_text<asyncio::ConnectionRefusedError>(outcome),
                  "[Errno 111] Connect call failed " + nobody.repr());
    });
}

TEST(SockConnect, UnixPathThatIsNotThere) {  // RS-05
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket client(AF_UNIX, SOCK_STREAM);
        const auto outcome = co_await asyncio::as_result(
            loop.sock_connect(client, SocketAddress::unix("/nonexistent/socket")));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(outcome),
                  "[Errno 2] No such file or directory");
    });
}

TEST(SockConnect, WaitsForRoomInTheQueueOfAUnixServer) {  // RS-05
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server(AF_UNIX, SOCK_STREAM);
        server.bind(SocketAddress::unix(""));
        server.listen(0);
        const SocketAddress at = server.getsockname();
        std::vector<Socket> clients;
        for (int i = 0; i < 4; ++i) clients.emplace_back(AF_UNIX, SOCK_STREAM);
        auto connect_all = [&]() -> Coroutine<> {
            for (const Socket& client : clients) co_await loop.sock_connect(client, at);
        };
        auto connecting = loop.create_task(connect_all);
        co_await asyncio::sleep(5ms);
        EXPECT_FALSE(connecting.done());
        for (int i = 0; i < 4; ++i) co_await loop.sock_accept(server);
        co_await connecting;
    });
}

TEST(SockConnect, ABlockingSocketIsRefused) {  // RS-05, RS-06, DM-02
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket blocking(socket_calls::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const auto connecting =
            co_await asyncio::as_result(loop.sock_connect(blocking, SocketAddress("127.0.0.1", 1)));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(connecting),
                  "the socket must be non-blocking");
        const auto accepting = co_await asyncio::as_result(loop.sock_accept(blocking));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(accepting),
                  "the socket must be non-blocking");
        loop.set_debug(true);
        const auto receiving = co_await asyncio::as_result(loop.sock_recv(blocking, 1));
        loop.set_debug(false);
        EXPECT_EQ(support::error_text<asyncio::ValueError>(receiving),
                  "the socket must be non-blocking");
    });
}

TEST(SockConnect, CancelledThreeWays) {  // RS-05
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server = listener();
        const SocketAddress at = server.getsockname();
        const Socket client(AF_INET, SOCK_STREAM);
        auto before = loop.create_task(loop.sock_connect(client, at));
        before.cancel();
        co_await expect_cancelled(before);
        EXPECT_THROW((void)client.getpeername(), OSError);
        // The connection is made by the system, but the task is told only in its next step.
        auto woken = loop.create_task(loop.sock_connect(client, at));
        co_await asyncio::sleep(0s);
        EXPECT_FALSE(woken.done());
        woken.cancel();
        co_await expect_cancelled(woken);
        EXPECT_FALSE(loop.remove_writer(client.fileno()));
    });
}

TEST(SockConnect, CancelledWhileTheQueueIsFull) {  // RS-05
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server(AF_UNIX, SOCK_STREAM);
        server.bind(SocketAddress::unix(""));
        server.listen(0);
        const SocketAddress at = server.getsockname();
        const Socket first(AF_UNIX, SOCK_STREAM);
        co_await loop.sock_connect(first, at);
        const Socket second(AF_UNIX, SOCK_STREAM);
        auto waiting = loop.create_task(loop.sock_connect(second, at));
        co_await settle();
        EXPECT_FALSE(waiting.done());
        waiting.cancel();
        co_await expect_cancelled(waiting);
    });
}

TEST(SockAccept, CancelledThreeWaysLosesNoConnection) {  // RS-06
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server = listener();
        auto before = loop.create_task(loop.sock_accept(server));
        before.cancel();
        co_await asyncio::wait(before);
        EXPECT_TRUE(before.cancelled());
        auto waiting = loop.create_task(loop.sock_accept(server));
        co_await settle();
        waiting.cancel();
        co_await asyncio::wait(waiting);
        EXPECT_TRUE(waiting.cancelled());
        EXPECT_FALSE(loop.remove_reader(server.fileno()));
        auto woken = loop.create_task(loop.sock_accept(server));
        co_await settle();
        const Socket client(AF_INET, SOCK_STREAM);
        co_await loop.sock_connect(client, server.getsockname());
        woken.cancel();
        co_await asyncio::wait(woken);
        std::pair<Socket, SocketAddress> accepted;
        if (woken.cancelled()) {
            accepted = co_await loop.sock_accept(server);
        } else {
            accepted = co_await std::move(woken);
        }
        EXPECT_EQ(accepted.second, client.getsockname());
    });
}

TEST(SockAccept, OfAUnixSocketHasNoAddress) {  // RS-06
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server(AF_UNIX, SOCK_STREAM);
        server.bind(SocketAddress::unix(""));
        server.listen();
        const Socket client(AF_UNIX, SOCK_STREAM);
        co_await loop.sock_connect(client, server.getsockname());
        const auto accepted = co_await loop.sock_accept(server);
        EXPECT_EQ(accepted.second.path(), "");
        EXPECT_EQ(accepted.second.family(), AF_UNIX);
    });
}

TEST(SockCalls, OfAnotherLoopOrAClosedOneAreRefused) {  // RS-01
    const auto other = asyncio::new_event_loop();
    const auto closed = asyncio::new_event_loop();
    closed->close();
    run([&](EventLoop&) -> Coroutine<> {
        const Pair pair;
        const auto foreign = co_await asyncio::as_result(other->sock_recv(pair.a, 1));
        EXPECT_TRUE(foreign.holds<asyncio::RuntimeError>());
        const auto refused = co_await asyncio::as_result(closed->sock_recv(pair.a, 1));
        EXPECT_EQ(support::error_text<asyncio::RuntimeError>(refused), "Event loop is closed");
    });
}

}  // namespace

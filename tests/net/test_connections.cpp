// create_connection and its kin, over loopback. CN-*.
//
// ctest: simulated
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <asyncio/traceback.hpp>

#include "net/resolver.hpp"
#include "net/staggered.hpp"
#include "network.hpp"
#include "socket_calls.hpp"

namespace {

using namespace network;
using support::error_text;
using support::Iterations;

int port_of(const Server& server) { return server.sockets().at(0).getsockname().port(); }

// Listens, and never accepts.
Socket listener() {
    Socket s(AF_INET, SOCK_STREAM);
    s.bind(SocketAddress("127.0.0.1", 0));
    s.listen();
    return s;
}

// A port at which nobody listens.
int closed_port() {
    Socket s(AF_INET, SOCK_STREAM);
    s.bind(SocketAddress("127.0.0.1", 0));
    return s.getsockname().port();
}

// An address to which a connection is never answered: its queue of connections is full.
class FullListener {
  public:
    FullListener() : socket_(AF_INET, SOCK_STREAM) {
        socket_.bind(SocketAddress("127.0.0.1", 0));
        socket_.listen(0);
        const SocketAddress at = socket_.getsockname();
        for (int i = 0; i < 4; ++i) {
            fill_.emplace_back(AF_INET, SOCK_STREAM);
            socket_calls::connect(fill_.back().fileno(), static_cast<const sockaddr*>(at.data()),
                                  static_cast<socklen_t>(at.size()));
        }
    }
    int port() const { return socket_.getsockname().port(); }

  private:
    Socket socket_;
    std::vector<Socket> fill_;
};

// What getaddrinfo() answers while this lives, for every name.
class FakeNames {
  public:
    explicit FakeNames(std::vector<std::string> hosts) {
        answers() = std::move(hosts);
        detail::replace_ask_system(&FakeNames::answer);
    }
    FakeNames(const FakeNames&) = delete;
    FakeNames& operator=(const FakeNames&) = delete;
    ~FakeNames() { detail::replace_ask_system(nullptr); }

  private:
    static std::vector<std::string>& answers() {
        static std::vector<std::string> a;
        return a;
    }
    static void answer(const detail::NameQuery& query, detail::NameAnswer& answer) {
        for (const std::string& host : answers()) {
            const SocketAddress address(host, 0);
            if (query.family != 0 && query.family != address.family()) continue;
            AddrInfo info;
            info.family = address.family();
            info.type = SOCK_STREAM;
            info.proto = IPPROTO_TCP;
            info.address = address;
            answer.infos.push_back(info);
        }
    }
};

template <class A>
Coroutine<std::string> failure(A awaitable) {
    const auto result = co_await as_result(std::move(awaitable));
    if (!result.error()) co_return "no failure";
    const std::string text = asyncio::format_exception(result.error());
    co_return text.substr(text.rfind('\n') + 1);
}

// ---- the usual ----------------------------------------------------------------------------------

TEST(CreateConnection, GivesTransportAndProtocolAfterConnectionMade) {  // CN-01, CN-09, PR-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.1", 0);
        auto [transport, protocol] =
            co_await loop.create_connection(recorder, "127.0.0.1", port_of(server));
        static_assert(std::is_same_v<decltype(protocol), std::shared_ptr<Recorder>>);
        EXPECT_EQ(protocol->events, Lines{"made"});
        EXPECT_EQ(transport, protocol->transport());
        EXPECT_EQ(transport.get_extra_info<SocketAddress>("peername"),
                  server.sockets()[0].getsockname());
        const int fd = *transport.get_extra_info<int>("socket");
        EXPECT_EQ(TransportSocket(fd).getsockopt(IPPROTO_TCP, TCP_NODELAY), 1);
        transport.write("hello");
        co_await until([&] { return protocol->received == "hello"; });
        transport.close();
        co_await protocol->lost;
    });
}

TEST(CreateConnection, FindsAHostByName) {  // CN-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.1", 0);
        const auto made = co_await loop.create_connection(recorder, "localhost", port_of(server),
                                                          {.family = AF_INET});
        EXPECT_EQ(made.second->events, Lines{"made"});
        made.first.close();
        co_await made.second->lost;
    });
}

TEST(CreateConnection, WorksOverIPv6) {  // CN-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const auto server = co_await as_result(loop.create_server(echo, "::1", 0));
        if (server.error()) co_return;  // no IPv6 here
        const auto made = co_await loop.create_connection(recorder, "::1", port_of(server.value()));
        EXPECT_EQ(made.first.get_extra_info<SocketAddress>("peername")->host(), "::1");
        made.first.close();
        co_await made.second->lost;
    });
}

// A copy of the descriptor keeps its registration with the system: events that come then must not
// keep the loop busy, nor reach the next connection with that number.
TEST(CreateConnection, LeavesNothingBehindForACopyOfItsDescriptor) {
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto ends = Socket::pair();
        const int number = ends.first.fileno();
        const ConnectionOptions first{.sock = ends.first};
        const auto old = co_await loop.create_connection(recorder, first);
        const Socket copy(::dup(old.first.get_extra_info<int>("socket").value()));
        old.first.close();
        co_await old.second->lost;
        auto others = Socket::pair();
        const ConnectionOptions second{.sock = others.first};
        const auto next = co_await loop.create_connection(recorder, second);
        EXPECT_EQ(next.first.get_extra_info<int>("socket").value(), number);
        const std::clock_t before = std::clock();
        for (int i = 0; i < 10; ++i) {
            EXPECT_EQ(socket_calls::send(ends.second.fileno(), "old", 3, MSG_NOSIGNAL), 3);
            co_await asyncio::sleep(10ms);
        }
        EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 20);
        EXPECT_EQ(old.second->received, "");
        EXPECT_EQ(next.second->received, "");
        EXPECT_EQ(socket_calls::send(others.second.fileno(), "new", 3, MSG_NOSIGNAL), 3);
        co_await until([&] { return next.second->received == "new"; });
        next.first.close();
        co_await next.second->lost;
    });
}

TEST(CreateConnection, TakesAConnectedSocket) {  // CN-01
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const int flags = ::fcntl(left.fileno(), F_GETFL);
        EXPECT_EQ(::fcntl(left.fileno(), F_SETFL, flags & ~O_NONBLOCK), 0);
        auto [transport, protocol] =
            co_await get_running_loop().create_connection(recorder, {.sock = left});
        EXPECT_EQ(left.fileno(), -1);
        EXPECT_TRUE(::fcntl(*transport.get_extra_info<int>("socket"), F_GETFL) & O_NONBLOCK);
        EXPECT_EQ(socket_calls::write(right.fileno(), "x", 1), 1);
        co_await until([&] { return protocol->received == "x"; });
        transport.close();
        co_await protocol->lost;
    });
}

TEST(CreateConnection, BindsToALocalAddress) {  // CN-05
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.1", 0);
        const auto made = co_await loop.create_connection(recorder, "127.0.0.1", port_of(server),
                                                          {.local_addr = {"127.0.0.2", 0}});
        EXPECT_EQ(made.first.get_extra_info<SocketAddress>("sockname")->host(), "127.0.0.2");
        made.first.close();
        co_await made.second->lost;

        const Socket taken = listener();
        const int port = taken.getsockname().port();
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "127.0.0.1", port_of(server),
                                                          {.local_addr = {"127.0.0.1", port}})),
                  "AddressInUseError: [Errno 98] error while attempting to bind on address "
                  "('127.0.0.1', " +
                      std::to_string(port) + "): [errno 98] address already in use");
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "127.0.0.1", port_of(server),
                                                          {.local_addr = {"::1", 0}})),
                  "OSError: no matching local address with family=2 found");
    });
}

TEST(CreateConnection, ChecksItsArguments) {  // CN-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        EXPECT_EQ(co_await failure(
                      loop.create_connection(recorder, "127.0.0.1", 1, {.server_hostname = "a"})),
                  "ValueError: server_hostname is only meaningful with ssl");
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "127.0.0.1", 1,
                                                          {.ssl_handshake_timeout = 1s})),
                  "ValueError: ssl_handshake_timeout is only meaningful with ssl");
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "127.0.0.1", 1,
                                                          {.ssl_shutdown_timeout = 1s})),
                  "ValueError: ssl_shutdown_timeout is only meaningful with ssl");
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, ConnectionOptions())),
                  "ValueError: host and port was not specified and no sock specified");
        Socket both(AF_INET, SOCK_STREAM);
        EXPECT_EQ(
            co_await failure(loop.create_connection(recorder, "127.0.0.1", 1, {.sock = both})),
            "ValueError: host/port and sock can not be specified at the same time");
        EXPECT_EQ(both.fileno(), -1);
        Socket datagrams(AF_INET, SOCK_DGRAM);
        const std::string shown = datagrams.repr();
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, {.sock = datagrams})),
                  "ValueError: A Stream Socket was expected, got " + shown);
    });
}

TEST(CreateConnection, ClosesTheSocketOfACallThatIsNeverAwaited) {
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const int fd = left.fileno();
        const support::LogCapture log;
        {
            [[maybe_unused]] auto call =
                get_running_loop().create_connection(recorder, {.sock = left});
        }
        EXPECT_FALSE(socket_calls::is_open(fd));
        co_return;
    });
}

TEST(CreateConnection, ClosesTheSocketIfTheFactoryFails) {  // CN-10
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.1", 0);
        const auto fails = []() -> std::shared_ptr<Recorder> { throw RuntimeError("none"); };
        EXPECT_EQ(co_await failure(loop.create_connection(fails, "127.0.0.1", port_of(server))),
                  "RuntimeError: none");
        const auto null = []() -> std::shared_ptr<Recorder> { return nullptr; };
        EXPECT_EQ(co_await failure(loop.create_connection(null, "127.0.0.1", port_of(server))),
                  "TypeError: a stream transport needs a Protocol or a BufferedProtocol");
    });
}

// ---- failures -----------------------------------------------------------------------------------

TEST(CreateConnection, NamesTheAddressThatRefuses) {  // CN-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const int port = closed_port();
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "127.0.0.1", port)),
                  "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', " +
                      std::to_string(port) + ")");
    });
}

TEST(CreateConnection, JoinsTheErrorsOfSeveralAddresses) {  // CN-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const int port = closed_port();
        const std::string p = std::to_string(port);
        const FakeNames names({"127.0.0.1", "127.0.0.2"});
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "two.test", port)),
                  "OSError: Multiple exceptions: [Errno 111] Connect call failed ('127.0.0.1', " +
                      p + "), [Errno 111] Connect call failed ('127.0.0.2', " + p + ")");
        const auto all = co_await as_result(
            loop.create_connection(recorder, "two.test", port, {.all_errors = true}));
        const auto* group = detail::find<ExceptionGroup>(all.error());
        EXPECT_NE(group, nullptr);
        if (!group) co_return;
        EXPECT_EQ(group->message(), "create_connection failed");
        EXPECT_EQ(group->exceptions().size(), 2u);
    });
}

TEST(CreateConnection, RaisesOneOfErrorsThatSayTheSame) {  // CN-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const int port = closed_port();
        const FakeNames names({"127.0.0.1", "127.0.0.1"});
        EXPECT_EQ(co_await failure(loop.create_connection(recorder, "twice.test", port)),
                  "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', " +
                      std::to_string(port) + ")");
    });
}

TEST(CreateConnection, SaysThatANameHasNoAddress) {  // CN-03
    run_briefly([]() -> Coroutine<> {
        const FakeNames names({});
        EXPECT_EQ(co_await failure(get_running_loop().create_connection(recorder, "none.test", 80)),
                  "OSError: getaddrinfo() returned empty list");
    });
}

TEST(CreateConnection, TriesTheNextAddress) {  // CN-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.3", 0);
        const FakeNames names({"127.0.0.1", "127.0.0.2", "127.0.0.3"});
        const auto made = co_await loop.create_connection(recorder, "some.test", port_of(server));
        EXPECT_EQ(made.first.get_extra_info<SocketAddress>("peername")->host(), "127.0.0.3");
        made.first.close();
        co_await made.second->lost;
    });
}

// ---- happy eyeballs -----------------------------------------------------------------------------

TEST(CreateConnection, TriesTheNextAddressWhenOneTakesLong) {  // CN-04
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const FullListener full;
        Socket listening(AF_INET, SOCK_STREAM);
        listening.bind(SocketAddress("127.0.0.2", full.port()));
        const Serving server = co_await loop.create_server(echo, {.sock = listening});
        const FakeNames names({"127.0.0.1", "127.0.0.2"});
        const auto made = co_await loop.create_connection(recorder, "slow.test", full.port(),
                                                          {.happy_eyeballs_delay = 20ms});
        EXPECT_EQ(made.first.get_extra_info<SocketAddress>("peername")->host(), "127.0.0.2");
        EXPECT_EQ(all_tasks().size(), 1u);  // the loser is gone
        made.first.close();
        co_await made.second->lost;
    });
}

TEST(CreateConnection, DoesNotWaitWhenAnAttemptHasFailed) {  // CN-04
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.2", 0);
        const FakeNames names({"127.0.0.1", "127.0.0.2"});
        const TimePoint before = loop.time();
        const auto made = co_await loop.create_connection(recorder, "some.test", port_of(server),
                                                          {.happy_eyeballs_delay = 8s});
        EXPECT_LT(loop.time() - before, 4s);
        made.first.close();
        co_await made.second->lost;
        const FakeNames one({"127.0.0.1"});
        EXPECT_EQ((co_await failure(loop.create_connection(recorder, "one.test", closed_port(),
                                                           {.happy_eyeballs_delay = 1ms})))
                      .substr(0, 56),
                  "ConnectionRefusedError: [Errno 111] Connect call failed ");
    });
}

// Which of some addresses is tried in which place.
Coroutine<std::string> order_of(ConnectionOptions options) {
    const FakeNames names({"::1", "::1", "::1", "127.0.0.1", "127.0.0.2"});
    options.all_errors = true;
    const auto all = co_await as_result(
        get_running_loop().create_connection(recorder, "many.test", closed_port(), options));
    const auto* group = detail::find<ExceptionGroup>(all.error());
    if (!group) co_return "no group";
    std::string order;
    for (const std::exception_ptr& e : group->exceptions()) {
        order += detail::describe(e).find("'127") == std::string::npos ? '6' : '4';
    }
    co_return order;
}

TEST(CreateConnection, AlternatesTheFamilies) {  // CN-04
    run_briefly([]() -> Coroutine<> {
        EXPECT_EQ(co_await order_of({}), "66644");
        EXPECT_EQ(co_await order_of({.interleave = 1}), "64646");
        EXPECT_EQ(co_await order_of({.interleave = 2}), "66464");
        EXPECT_EQ(co_await order_of({.interleave = 9}), "66644");
        EXPECT_EQ(co_await order_of({.happy_eyeballs_delay = 1s}), "64646");
        EXPECT_EQ(co_await order_of({.happy_eyeballs_delay = 1s, .interleave = 0}), "66644");
    });
}

// Attempts that end as told: the number of milliseconds they take, negative: and fail then.
struct Plan {
    std::vector<int> attempts;
    Lines log = {};
    Coroutine<bool> run(std::size_t i) {
        const int ms = attempts[i];
        log.push_back("start " + std::to_string(i));
        const Result<void> slept =
            co_await as_result(asyncio::sleep(std::chrono::milliseconds(ms < 0 ? -ms : ms)));
        if (slept.error()) {
            log.push_back("cancel " + std::to_string(i));
            std::rethrow_exception(slept.error());
        }
        log.push_back((ms < 0 ? "fail " : "win ") + std::to_string(i));
        co_return ms > 0;
    }
    Coroutine<std::optional<std::size_t>> race(Delay delay) {
        detail::Function<Coroutine<bool>(std::size_t)> attempt = [this](std::size_t i) {
            return run(i);
        };
        return detail::staggered_race(attempts.size(), attempt, delay);
    }
};

TEST(StaggeredRace, StartsTheNextAfterADelayOrAFailure) {  // CN-04
    support::run_virtual([]() -> Coroutine<> {
        Plan late{{500, 300, 900}};
        EXPECT_EQ(co_await late.race(100ms), 1u);
        EXPECT_EQ(late.log,
                  (Lines{"start 0", "start 1", "start 2", "win 1", "cancel 0", "cancel 2"}));
        Plan fails{{-10, -10, 10}};
        EXPECT_EQ(co_await fails.race(100ms), 2u);
        EXPECT_EQ(fails.log, (Lines{"start 0", "fail 0", "start 1", "fail 1", "start 2", "win 2"}));
        Plan none{{-10, -10}};
        EXPECT_EQ(co_await none.race(std::nullopt), std::nullopt);
        EXPECT_EQ(none.log.size(), 4u);
        Plan forever{{10000, 10}};
        EXPECT_EQ(co_await forever.race(std::nullopt), 0u);
        EXPECT_EQ(forever.log, (Lines{"start 0", "win 0"}));
        Plan first{{50, 10}};
        EXPECT_EQ(co_await first.race(100ms), 0u);
        EXPECT_EQ(first.log, (Lines{"start 0", "win 0"}));
        Plan empty{{}};
        EXPECT_EQ(co_await empty.race(100ms), std::nullopt);
    });
}

TEST(StaggeredRace, CancelsItsAttemptsWhenItIsCancelled) {  // CN-10
    support::run_virtual([]() -> Coroutine<> {
        Plan plan{{500, 600}};
        auto task = create_task(plan.race(10ms));
        co_await asyncio::sleep(100ms);
        task.cancel();
        const auto ended = co_await as_result(task);
        EXPECT_TRUE(detail::is_cancelled_error(ended.error()));
        co_await asyncio::sleep(0s);
        EXPECT_EQ(plan.log, (Lines{"start 0", "start 1", "cancel 0", "cancel 1"}));
    });
}

TEST(StaggeredRace, RaisesWhatAnAttemptRaises) {
    support::run_virtual([]() -> Coroutine<> {
        detail::Function<Coroutine<bool>(std::size_t)> attempt =
            [](std::size_t) -> Coroutine<bool> { throw RuntimeError("broken"); };
        EXPECT_EQ(co_await failure(detail::staggered_race(2, attempt, 10ms)),
                  "RuntimeError: broken");
    });
}

// ---- cancelled ----------------------------------------------------------------------------------

// Cancels `task` after `iterations` of the loop; says how it ended.
template <class T>
Coroutine<bool> cancelled_after(Task<T> task, int iterations) {
    for (int i = 0; i < iterations && !task.done(); ++i) co_await asyncio::sleep(0s);
    const bool asked = task.cancel();
    const auto ended = co_await as_result(task);
    EXPECT_EQ(asked, detail::is_cancelled_error(ended.error()));
    co_return asked;
}

TEST(CreateConnection, CancelledInAnyIterationLeavesNothingOpen) {  // CN-10
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        std::vector<std::weak_ptr<Recorder>> served;
        const auto serve = [&] {
            auto protocol = recorder();
            served.push_back(protocol);
            return protocol;
        };
        const Serving server = co_await loop.create_server(serve, "127.0.0.1", 0);
        bool asked = true;
        int cancelled = 0;
        // 0: before it begins; the last: when it is done. In between lies every tick of it.
        for (int i = 0; asked && i < 100; ++i) {
            std::shared_ptr<Recorder> made;
            const auto factory = [&] { return made = recorder(); };
            auto task = create_task(loop.create_connection(factory, "127.0.0.1", port_of(server)));
            asked = co_await cancelled_after(task, i);
            cancelled += asked;
            if (!asked) task.result().first.close();
            if (made && !made->events.empty()) co_await made->lost;
        }
        EXPECT_FALSE(asked);
        EXPECT_GE(cancelled, 3);
        const auto over = [&] {
            for (const auto& weak : served) {
                const auto protocol = weak.lock();
                if (protocol && !protocol->lost.done()) return false;
            }
            return true;
        };
        co_await until(over);
        EXPECT_EQ(all_tasks().size(), 1u);
    });
}

// Cancels calls that `make` makes, one in its first iteration, one in its second, and so on until
// one is done before. Returns how many were cancelled.
template <class F>
Coroutine<int> cancel_in_each_iteration(F make) {
    int cancelled = 0;
    bool asked = true;
    for (int i = 0; asked && i < 100; ++i) {
        std::shared_ptr<Recorder> made;
        const auto factory = [&] { return made = recorder(); };
        auto task = create_task(make(factory));
        asked = co_await cancelled_after(task, i);
        cancelled += asked;
        if (!asked) task.result().first.close();
        if (made && !made->events.empty() && !made->lost.done()) co_await made->lost;
    }
    EXPECT_FALSE(asked);
    co_return cancelled;
}

TEST(CreateUnixConnection, CancelledInAnyIterationLeavesNothingOpen) {  // CN-07, CN-10
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TemporaryFolder folder;
        const std::string path = folder.path() + "/s";
        const Serving server = co_await loop.create_unix_server(echo, path);
        const auto make = [&](auto factory) { return loop.create_unix_connection(factory, path); };
        EXPECT_GE(co_await cancel_in_each_iteration(make), 2);
        server.close();
        co_await server.wait_closed();
    });
}

TEST(ConnectAcceptedSocket, CancelledInAnyIterationLeavesNothingOpen) {  // CN-08, CN-10
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        std::vector<Socket> peers;
        const auto make = [&](auto factory) {
            auto [left, right] = Socket::pair();
            peers.push_back(std::move(right));
            return loop.connect_accepted_socket(factory, left);
        };
        EXPECT_GE(co_await cancel_in_each_iteration(make), 2);
        for (const Socket& peer : peers) {
            char byte;
            EXPECT_EQ(socket_calls::recv(peer.fileno(), &byte, 1, MSG_DONTWAIT), 0);  // closed
        }
    });
}

TEST(CreateConnection, CancelledWhileItConnectsClosesTheSocket) {  // CN-10
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const FullListener full;
        for (const bool race : {false, true}) {
            ConnectionOptions options;
            if (race) options.happy_eyeballs_delay = 1ms;
            auto task =
                create_task(loop.create_connection(recorder, "127.0.0.1", full.port(), options));
            co_await asyncio::sleep(20ms);
            EXPECT_TRUE(co_await cancelled_after(task, 0));
        }
        co_await asyncio::sleep(0s);
        EXPECT_EQ(all_tasks().size(), 1u);
    });
}

TEST(CreateConnection, MayBeUnderWayWhenTheLoopCloses) {
    const FullListener full;
    const auto loop = EpollEventLoop::create();
    const support::LogCapture log;
    auto task = loop->create_task(loop->create_connection(recorder, "127.0.0.1", full.port()));
    for (int i = 0; i < 5; ++i) loop->run_once(1ms);
    EXPECT_FALSE(task.done());
    loop->close();
}

// ---- unix ---------------------------------------------------------------------------------------

TEST(CreateUnixConnection, ConnectsToAPathOrAnAbstractName) {  // CN-07
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TemporaryFolder folder;
        const std::string abstract = std::string(1, '\0') + folder.path() + "/abstract";
        for (const std::string& path : {folder.path() + "/s", abstract}) {
            const Serving server = co_await loop.create_unix_server(echo, path);
            const auto made = co_await loop.create_unix_connection(recorder, path);
            EXPECT_EQ(made.first.get_extra_info<SocketAddress>("peername")->path(), path);
            made.first.write("hello");
            co_await until([&] { return made.second->received == "hello"; });
            made.first.close();
            co_await made.second->lost;
        }
    });
}

TEST(CreateUnixConnection, ChecksItsArguments) {  // CN-07
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        EXPECT_EQ(co_await failure(loop.create_unix_connection(recorder, "")),
                  "ValueError: no path and sock were specified");
        EXPECT_EQ(
            co_await failure(loop.create_unix_connection(recorder, "/x", {.server_hostname = "a"})),
            "ValueError: server_hostname is only meaningful with ssl");
        EXPECT_EQ(co_await failure(
                      loop.create_unix_connection(recorder, "/x", {.ssl_handshake_timeout = 1s})),
                  "ValueError: ssl_handshake_timeout is only meaningful with ssl");
        Socket both(AF_UNIX, SOCK_STREAM);
        EXPECT_EQ(co_await failure(loop.create_unix_connection(recorder, "/x", {.sock = both})),
                  "ValueError: path and sock can not be specified at the same time");
        Socket internet(AF_INET, SOCK_STREAM);
        const std::string shown = internet.repr();
        EXPECT_EQ(co_await failure(loop.create_unix_connection(recorder, "", {.sock = internet})),
                  "ValueError: A UNIX Domain Stream Socket was expected, got " + shown);
        EXPECT_EQ(co_await failure(loop.create_unix_connection(recorder, "/no/such/path")),
                  "FileNotFoundError: [Errno 2] No such file or directory");
        EXPECT_EQ(co_await failure(loop.create_unix_connection(recorder, std::string(200, 'x'))),
                  "OSError: AF_UNIX path too long");
    });
}

TEST(CreateUnixConnection, TakesAConnectedSocket) {  // CN-07
    run_briefly([]() -> Coroutine<> {
        auto [left, right] = Socket::pair();
        const auto made =
            co_await get_running_loop().create_unix_connection(recorder, "", {.sock = left});
        EXPECT_EQ(made.second->events, Lines{"made"});
        right.close();
        co_await made.second->lost;
    });
}

TEST(ConnectAcceptedSocket, ServesASocketAcceptedElsewhere) {  // CN-08
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Socket listening = listener();
        auto connecting = create_task(
            loop.create_connection(recorder, "127.0.0.1", listening.getsockname().port()));
        auto accepted = co_await loop.sock_accept(listening);
        const auto served = co_await loop.connect_accepted_socket(echo, accepted.first);
        EXPECT_EQ(accepted.first.fileno(), -1);
        const auto made = co_await connecting;
        made.first.write("hello");
        co_await until([&] { return made.second->received == "hello"; });
        made.first.close();
        co_await made.second->lost;
        co_await until([&] { return served.first.is_closing(); });
    });
}

TEST(ConnectAcceptedSocket, ChecksItsArguments) {  // CN-08
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Socket datagrams(AF_INET, SOCK_DGRAM);
        const std::string shown = datagrams.repr();
        EXPECT_EQ(co_await failure(loop.connect_accepted_socket(echo, datagrams)),
                  "ValueError: A Stream Socket was expected, got " + shown);
        Socket stream(AF_INET, SOCK_STREAM);
        EXPECT_EQ(co_await failure(
                      loop.connect_accepted_socket(echo, stream, {.ssl_shutdown_timeout = 1s})),
                  "ValueError: ssl_shutdown_timeout is only meaningful with ssl");
        EXPECT_EQ(stream.fileno(), -1);
    });
}

}  // namespace

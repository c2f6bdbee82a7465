// Datagrams by transport and protocol (CN-06, TR-11, PR-07) and by awaitable endpoint.
//
// ctest: simulated
#include <asyncio.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "socket_calls.hpp"
#include "support.hpp"

namespace {

using asyncio::Coroutine;
using asyncio::Datagram;
using asyncio::DatagramEndpoint;
using asyncio::DatagramOptions;
using asyncio::DatagramTransport;
using asyncio::EventLoop;
using asyncio::HostPort;
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

// Writes down what happens; answers if it is asked to.
class Recorder : public asyncio::DatagramProtocol {
  public:
    void connection_made(DatagramTransport& t) override {
        transport = t;
        note("made");
    }
    void datagram_received(std::string_view data, const SocketAddress& from) override {
        note("got " + std::string(data));
        peer = from;
        if (echo) transport.sendto(data, from);
        if (fail) throw std::runtime_error("of the protocol");
        if (close_after && --close_after == 0) transport.close();
    }
    void error_received(std::exception_ptr error) override {
        note("error " + asyncio::detail::describe(error));
    }
    void connection_lost(std::exception_ptr error) override {
        note(error ? "lost " + asyncio::detail::describe(error) : "lost");
        transport = DatagramTransport();
    }
    void pause_writing() override { note("pause"); }
    void resume_writing() override { note("resume"); }

    void note(std::string line) { lines.push_back(std::move(line)); }
    std::size_t count(std::string_view line) const {
        std::size_t n = 0;
        for (const auto& l : lines) n += l == line;
        return n;
    }

    support::Lines lines;
    DatagramTransport transport;
    SocketAddress peer;
    bool echo = false;
    bool fail = false;
    int close_after = 0;
};

std::shared_ptr<Recorder> make_recorder() { return std::make_shared<Recorder>(); }

DatagramOptions local() {
    DatagramOptions options;
    options.local_addr = {"127.0.0.1", 0};
    return options;
}

// To that port of loopback.
DatagramOptions remote(int port) {
    DatagramOptions options;
    options.remote_addr = {"127.0.0.1", port};
    return options;
}

SocketAddress name_of(const DatagramTransport& transport) {
    return transport.get_extra_info<SocketAddress>("sockname").value();
}

int dead_port() {
    const Socket taken(AF_INET, SOCK_DGRAM);
    taken.bind(SocketAddress("127.0.0.1", 0));
    return taken.getsockname().port();
}

// Waits until `fn()`, for 20 seconds at most.
template <class F>
Coroutine<> until(F fn) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!fn()) {
        if (std::chrono::steady_clock::now() > end)
            throw asyncio::RuntimeError("it has never come");
        co_await asyncio::sleep(1ms);
    }
}

// A plain socket bound to loopback.
Socket plain() {
    Socket socket(AF_INET, SOCK_DGRAM);
    socket.bind(SocketAddress("127.0.0.1", 0));
    return socket;
}

void send_from(const Socket& from, std::string_view data, const SocketAddress& to) {
    EXPECT_EQ(socket_calls::sendto(from.fileno(), data.data(), data.size(), 0,
                                   static_cast<const sockaddr*>(to.data()),
                                   static_cast<socklen_t>(to.size())),
              static_cast<ssize_t>(data.size()));
}

std::string receive_at(const Socket& at) {
    char data[2048];
    const ssize_t n = socket_calls::recv(at.fileno(), data, sizeof data, MSG_DONTWAIT);
    return n < 0 ? "nothing" : std::string(data, static_cast<std::size_t>(n));
}

// A name for a socket in a folder of its own.
class TemporaryPath {
  public:
    TemporaryPath() {
        EXPECT_NE(::mkdtemp(folder_), nullptr);
        path_ = std::string(folder_) + "/socket";
    }
    TemporaryPath(const TemporaryPath&) = delete;
    TemporaryPath& operator=(const TemporaryPath&) = delete;
    ~TemporaryPath() {
        ::unlink(path_.c_str());
        ::rmdir(folder_);
    }
    const std::string& path() const { return path_; }

  private:
    char folder_[32] = "/tmp/asyncio-test-XXXXXX";
    std::string path_;
};

// ---- create_datagram_endpoint ------------------------------------------------------------------

TEST(DatagramEndpointOfProtocol, TalksBothWays) {  // CN-06, TR-11, PR-07
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        server.second->echo = true;
        const SocketAddress at = name_of(server.first);
        const auto client =
            co_await loop.create_datagram_endpoint(make_recorder, remote(at.port()));
        EXPECT_EQ(client.second->lines, (support::Lines{"made"}));
        client.first.sendto("ping");
        co_await until([&] { return client.second->count("got ping") == 1; });
        EXPECT_EQ(client.second->peer, at);
        EXPECT_EQ(server.second->peer, name_of(client.first));
        EXPECT_EQ(client.first.get_extra_info<SocketAddress>("peername"), at);
        EXPECT_FALSE(server.first.get_extra_info<SocketAddress>("peername"));
        EXPECT_TRUE(client.first.get_extra_info<int>("socket"));
        client.first.close();
        server.first.close();
        EXPECT_TRUE(client.first.is_closing());
        co_await until([&] { return server.second->count("lost") == 1; });
        EXPECT_EQ(client.second->lines, (support::Lines{"made", "got ping", "lost"}));
        EXPECT_FALSE(client.first.get_extra_info<int>("socket"));
    });
}

TEST(DatagramEndpointOfProtocol, EmptyDatagramsAreDatagrams) {  // TR-11
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        const auto client = co_await loop.create_datagram_endpoint(
            make_recorder, remote(name_of(server.first).port()));
        client.first.sendto("");
        co_await until([&] { return server.second->count("got ") == 1; });
        client.first.close();
        server.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, ManyWaitingDatagramsAreToldInOrder) {  // PR-07, TR-12
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        const Socket client = plain();
        for (int i = 0; i < 100; ++i) {
            send_from(client, std::to_string(i), name_of(server.first));
        }
        co_await until([&] { return server.second->lines.size() >= 101; });
        for (int i = 0; i < 100; ++i) {
            EXPECT_EQ(server.second->lines[static_cast<std::size_t>(i) + 1],
                      "got " + std::to_string(i));
        }
        server.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, NothingIsToldAfterClose) {  // PR-07, PR-09
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        server.second->close_after = 2;
        const Socket client = plain();
        for (int i = 0; i < 5; ++i) send_from(client, "x", name_of(server.first));
        co_await until([&] { return server.second->count("lost") == 1; });
        EXPECT_EQ(server.second->lines, (support::Lines{"made", "got x", "got x", "lost"}));
    });
}

TEST(DatagramEndpointOfProtocol, RefusalIsAnErrorReceivedAndTheEndpointStays) {  // PR-07
    run([](EventLoop& loop) -> Coroutine<> {
        const auto client =
            co_await loop.create_datagram_endpoint(make_recorder, remote(dead_port()));
        client.first.sendto("x");
        co_await until([&] { return client.second->lines.size() > 1; });
        EXPECT_EQ(client.second->lines.at(1).rfind("error ConnectionRefusedError", 0), 0u)
            << client.second->lines.at(1);
        EXPECT_FALSE(client.first.is_closing());
        client.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, ASendThatFailsIsAnErrorReceived) {  // TR-11, PR-07
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        server.first.sendto("nowhere");
        const std::string huge(70'000, 'x');
        server.first.sendto(huge, name_of(server.first));
        EXPECT_EQ(server.second->lines.size(), 3u);
        EXPECT_NE(server.second->lines.at(1).find("Destination address required"),
                  std::string::npos)
            << server.second->lines.at(1);
        EXPECT_NE(server.second->lines.at(2).find("Message too long"), std::string::npos);
        EXPECT_FALSE(server.first.is_closing());
        server.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, AConnectedOneSendsToItsPeerOnly) {  // TR-11
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server = plain();
        const SocketAddress at = server.getsockname();
        const auto client =
            co_await loop.create_datagram_endpoint(make_recorder, remote(at.port()));
        client.first.sendto("named", at);
        EXPECT_EQ(receive_at(server), "named");
        EXPECT_EQ(support::raised<asyncio::ValueError>(
                      [&] { client.first.sendto("x", SocketAddress("127.0.0.1", 1)); }),
                  "Invalid address: must be None or " + at.repr());
        client.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, BroadcastDoesNotConnect) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket server = plain();
        DatagramOptions options = remote(server.getsockname().port());
        options.allow_broadcast = true;
        const auto client = co_await loop.create_datagram_endpoint(make_recorder, options);
        EXPECT_FALSE(client.first.get_extra_info<SocketAddress>("peername"));
        const int fd = client.first.get_extra_info<int>("socket").value();
        EXPECT_EQ(asyncio::TransportSocket(fd).getsockopt(SOL_SOCKET, SO_BROADCAST), 1);
        client.first.sendto("x");
        EXPECT_EQ(receive_at(server), "x");
        // Another than the remote address may answer.
        const Socket other = plain();
        const SocketAddress to("127.0.0.1", name_of(client.first).port());
        send_from(other, "from another", to);
        co_await until([&] { return client.second->count("got from another") == 1; });
        client.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, BroadcastReachesWhoListensToAll) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        const Socket all(AF_INET, SOCK_DGRAM);
        all.bind(SocketAddress("0.0.0.0", 0));
        // Loopback's broadcast address.
        const SocketAddress everybody("127.255.255.255", all.getsockname().port());
        DatagramOptions options = local();
        const auto refused = co_await loop.create_datagram_endpoint(make_recorder, options);
        refused.first.sendto("not allowed", everybody);
        co_await until([&] { return refused.second->lines.size() > 1; });
        EXPECT_TRUE(refused.second->lines.back().starts_with("error PermissionError"));
        EXPECT_EQ(receive_at(all), "nothing");
        options.allow_broadcast = true;
        const auto client = co_await loop.create_datagram_endpoint(make_recorder, options);
        client.first.sendto("to everybody", everybody);
        std::string got;
        co_await until([&] {
            got = receive_at(all);
            return got != "nothing";
        });
        EXPECT_EQ(got, "to everybody");
        refused.first.close();
        client.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, ReusePort) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        DatagramOptions options = local();
        options.reuse_port = true;
        const auto first = co_await loop.create_datagram_endpoint(make_recorder, options);
        options.local_addr.port = name_of(first.first).port();
        const auto second = co_await loop.create_datagram_endpoint(make_recorder, options);
        EXPECT_EQ(name_of(first.first), name_of(second.first));
        options.reuse_port = false;
        const auto third =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_EQ(support::error_text<asyncio::AddressInUseError>(third),
                  "[Errno 98] Address already in use");
        first.first.close();
        second.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, ArgumentErrors) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        const auto nothing =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(nothing), "unexpected address family");

        DatagramOptions options;
        options.local_addr = {"127.0.0.1"};
        const auto no_port =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_EQ(support::error_text<asyncio::TypeError>(no_port), "2-tuple is expected");

        options.local_addr = {"/tmp/x", 1};
        options.family = AF_UNIX;
        const auto no_path =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_EQ(support::error_text<asyncio::TypeError>(no_path), "string is expected");

        options = DatagramOptions();
        options.local_addr = {"127.0.0.1", 0};
        options.remote_addr = {"::1", 1};
        const auto mixed =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(mixed),
                  "can not get address information");
    });
}

TEST(DatagramEndpointOfProtocol, WithASocketOfOnesOwn) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        Socket socket = plain();
        const SocketAddress at = socket.getsockname();
        DatagramOptions options;
        options.sock = socket;
        EXPECT_FALSE(socket) << "it is taken over";
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, options);
        EXPECT_EQ(name_of(server.first), at);
        server.first.close();

        Socket stream(AF_INET, SOCK_STREAM);
        const std::string repr = stream.repr();
        const int fd = stream.fileno();
        options.sock = stream;
        const auto refused =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(refused),
                  "A datagram socket was expected, got " + repr);
        EXPECT_FALSE(socket_calls::is_open(fd)) << "closed on failure too";

        options = remote(7);
        options.local_addr = {"127.0.0.1", 0};
        options.family = AF_INET;
        options.reuse_port = true;
        Socket third = plain();
        options.sock = third;
        const auto modified =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(modified),
                  "socket modifier keyword arguments can not be used when sock is specified. "
                  "(local_addr=('127.0.0.1', 0), remote_addr=('127.0.0.1', 7), family=2, "
                  "reuse_port=True)");
    });
}

TEST(DatagramEndpointOfProtocol, NoHostBindsEveryAddress) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        DatagramOptions options;
        options.local_addr = {"", 0};
        options.family = AF_INET;
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, options);
        EXPECT_EQ(name_of(server.first).host(), "0.0.0.0");
        server.first.close();
        options = DatagramOptions();
        options.family = AF_INET6;
        const auto unbound = co_await loop.create_datagram_endpoint(make_recorder, options);
        EXPECT_EQ(name_of(unbound.first).family(), AF_INET6);
        unbound.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, IPv6) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        DatagramOptions options;
        options.local_addr = {"::1", 0};
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, options);
        const Socket client(AF_INET6, SOCK_DGRAM);
        send_from(client, "six", name_of(server.first));
        co_await until([&] { return server.second->count("got six") == 1; });
        EXPECT_EQ(server.second->peer.host(), "::1");
        server.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, UnixSockets) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        const TemporaryPath there;
        const TemporaryPath here;
        DatagramOptions options;
        options.local_addr = {there.path()};
        options.family = AF_UNIX;
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, options);
        server.second->echo = true;
        options.local_addr = {here.path()};
        options.remote_addr = {there.path()};
        const auto client = co_await loop.create_datagram_endpoint(make_recorder, options);
        client.first.sendto("ping");
        co_await until([&] { return client.second->count("got ping") == 1; });
        EXPECT_EQ(client.second->peer.path(), there.path());
        EXPECT_EQ(server.second->peer.path(), here.path());
        client.first.close();
        server.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, RemovesAStaleUnixSocketAndNothingElse) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        const TemporaryPath place;
        {
            const Socket dead(AF_UNIX, SOCK_DGRAM);
            dead.bind(SocketAddress::unix(place.path()));
        }
        DatagramOptions options;
        options.local_addr = {place.path()};
        options.family = AF_UNIX;
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, options);
        server.first.close();
        co_await until([&] { return server.second->count("lost") == 1; });
        ::unlink(place.path().c_str());
        std::FILE* const file = std::fopen(place.path().c_str(), "w");
        EXPECT_NE(file, nullptr);
        if (file) std::fclose(file);
        const auto refused =
            co_await asyncio::as_result(loop.create_datagram_endpoint(make_recorder, options));
        EXPECT_TRUE(refused.holds<asyncio::AddressInUseError>());
        EXPECT_EQ(::access(place.path().c_str(), F_OK), 0);
    });
}

TEST(DatagramEndpointOfProtocol, FactoryErrorsAndNull) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        const auto fails = []() -> std::shared_ptr<Recorder> {
            throw std::runtime_error("no protocol today");
        };
        const auto failed =
            co_await asyncio::as_result(loop.create_datagram_endpoint(fails, local()));
        EXPECT_EQ(support::error_text<std::runtime_error>(failed), "no protocol today");
        const auto gives_null = [] { return std::shared_ptr<Recorder>(); };
        const auto null =
            co_await asyncio::as_result(loop.create_datagram_endpoint(gives_null, local()));
        EXPECT_TRUE(null.holds<asyncio::TypeError>());
    });
}

TEST(DatagramEndpointOfProtocol, ProtocolErrorsAreToldAndTheEndpointStays) {  // PR-07, TR-13
    run([](EventLoop& loop) -> Coroutine<> {
        const support::ErrorCapture errors(loop);
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        server.second->fail = true;
        const Socket client = plain();
        send_from(client, "1", name_of(server.first));
        send_from(client, "2", name_of(server.first));
        co_await until([&] { return server.second->count("got 2") == 1; });
        EXPECT_EQ(errors.lines().size(), 2u);
        EXPECT_EQ(errors.lines().at(0),
                  "Exception in callback protocol.datagram_received(): "
                  "runtime_error('of the protocol')");
        EXPECT_FALSE(server.first.is_closing());
        server.first.close();
    });
}

// L36.
TEST(DatagramEndpointOfProtocol, MayChangeItsProtocolInACallback) {  // TR-04
    class Leaves : public Recorder {
      public:
        explicit Leaves(bool& gone) : gone_(gone) {}
        ~Leaves() override { gone_ = true; }
        void pause_writing() override {
            const bool& gone = gone_;
            const DatagramTransport kept = transport;
            kept.set_protocol(std::move(next));
            EXPECT_FALSE(gone);
        }
        std::shared_ptr<Recorder> next;

      private:
        bool& gone_;
    };
    run([](EventLoop& loop) -> Coroutine<> {
        bool gone = false;
        const auto second = make_recorder();
        const auto factory = [&] {
            auto leaves = std::make_shared<Leaves>(gone);
            leaves->next = second;
            return leaves;
        };
        // A unix socket has room for so many datagrams only.
        auto [left, right] = Socket::pair(AF_UNIX, SOCK_DGRAM);
        DatagramOptions options;
        options.sock = left;
        DatagramTransport transport =
            (co_await loop.create_datagram_endpoint(factory, options)).first;
        while (transport.get_protocol() != second && !transport.is_closing()) {
            transport.sendto(std::string(10'000, 'x'));
        }
        EXPECT_FALSE(gone);
        while (!gone) co_await asyncio::sleep(0s);
        transport.abort();
        co_await until([&] { return second->count("lost") == 1; });
    });
}

TEST(DatagramEndpointOfProtocol, SetProtocol) {  // TR-04
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        const auto other = make_recorder();
        EXPECT_EQ(server.first.get_protocol(), server.second);
        server.first.set_protocol(other);
        const Socket client = plain();
        send_from(client, "x", name_of(server.first));
        co_await until([&] { return other->count("got x") == 1; });
        EXPECT_EQ(server.second->lines, (support::Lines{"made"}));
        EXPECT_THROW(server.first.set_protocol(std::make_shared<asyncio::Protocol>()),
                     asyncio::TypeError);
        server.first.abort();
        co_await until([&] { return other->count("lost") == 1; });
        server.first.abort();
        server.first.close();
        for (int i = 0; i < 3; ++i) server.first.sendto("dropped");
    });
}

TEST(DatagramEndpointOfProtocol, SendsToALostOneAreDroppedWithAWarning) {  // TR-11
    const support::LogCapture log;
    run([](EventLoop& loop) -> Coroutine<> {
        const auto client = co_await loop.create_datagram_endpoint(make_recorder, remote(9));
        client.first.close();
        for (int i = 0; i < 6; ++i) client.first.sendto("x");
        co_await until([&] { return client.second->count("lost") == 1; });
    });
    EXPECT_EQ(log.lines(), (support::Lines{"socket.send() raised exception.",
                                           "socket.send() raised exception."}));
}

// Sends to a unix socket that takes no more, so that datagrams are buffered.
struct Full {
    Socket receiver{AF_UNIX, SOCK_DGRAM};
    SocketAddress at;
    int taken = 0;
    Full() {
        receiver.bind(SocketAddress::unix(""));
        at = receiver.getsockname();
        const Socket sender(AF_UNIX, SOCK_DGRAM);
        while (socket_calls::sendto(sender.fileno(), "old", 3, MSG_DONTWAIT,
                                    static_cast<const sockaddr*>(at.data()),
                                    static_cast<socklen_t>(at.size())) == 3) {
            ++taken;
        }
    }
    // What has come besides; takes all.
    std::vector<std::string> take() const {
        std::vector<std::string> all;
        for (std::string data = receive_at(receiver); data != "nothing";
             data = receive_at(receiver)) {
            if (data != "old") all.push_back(data);
        }
        return all;
    }
};

DatagramOptions to_unix(const std::string& path, bool connect) {
    DatagramOptions options;
    options.family = AF_UNIX;
    if (connect) options.remote_addr = {path};
    return options;
}

TEST(DatagramEndpointOfProtocol, BuffersAndPauses) {  // TR-10, TR-11, PR-03
    run([](EventLoop& loop) -> Coroutine<> {
        for (const bool connect : {true, false}) {
            const Full full;
            const std::string path = full.at.path();
            const auto client =
                co_await loop.create_datagram_endpoint(make_recorder, to_unix(path, connect));
            client.first.set_write_buffer_limits({.high = 25, .low = 5});
            EXPECT_EQ(client.first.get_write_buffer_limits(),
                      (std::pair<std::size_t, std::size_t>(5, 25)));
            const auto send = [&](std::string_view data) {
                if (connect) {
                    client.first.sendto(data);
                } else {
                    client.first.sendto(data, full.at);
                }
            };
            send("1234");
            EXPECT_EQ(client.first.get_write_buffer_size(), 12u);
            send("");
            EXPECT_EQ(client.first.get_write_buffer_size(), 20u);
            EXPECT_EQ(client.second->count("pause"), 0u);
            send("567");
            EXPECT_EQ(client.first.get_write_buffer_size(), 31u);
            EXPECT_EQ(client.second->count("pause"), 1u);
            client.first.close();
            EXPECT_EQ(client.second->count("lost"), 0u);
            std::vector<std::string> came;
            while (came.size() < 3) {
                for (auto& data : full.take()) came.push_back(std::move(data));
                co_await asyncio::sleep(1ms);
            }
            EXPECT_EQ(came, (std::vector<std::string>{"1234", "", "567"}));
            co_await until([&] { return client.second->count("lost") == 1; });
            EXPECT_EQ(client.second->lines, (support::Lines{"made", "pause", "resume", "lost"}));
        }
    });
}

TEST(DatagramEndpointOfProtocol, ManyBufferedAreSentInOrder) {  // TR-11
    run([](EventLoop& loop) -> Coroutine<> {
        const Full full;
        const std::string path = full.at.path();
        const auto client =
            co_await loop.create_datagram_endpoint(make_recorder, to_unix(path, true));
        for (int i = 0; i < 200; ++i) client.first.sendto(std::to_string(i));
        std::vector<std::string> came;
        while (came.size() < 200) {
            for (auto& data : full.take()) came.push_back(std::move(data));
            co_await asyncio::sleep(0s);
        }
        for (std::size_t i = 0; i < 200; ++i) EXPECT_EQ(came[i], std::to_string(i));
        EXPECT_EQ(client.first.get_write_buffer_size(), 0u);
        client.first.close();
    });
}

TEST(DatagramEndpointOfProtocol, AbortDropsWhatIsBuffered) {  // TR-11, TR-09
    run([](EventLoop& loop) -> Coroutine<> {
        const Full full;
        const std::string path = full.at.path();
        const auto client =
            co_await loop.create_datagram_endpoint(make_recorder, to_unix(path, false));
        client.first.sendto("dropped", full.at);
        client.first.abort();
        EXPECT_EQ(client.first.get_write_buffer_size(), 0u);
        co_await until([&] { return client.second->count("lost") == 1; });
        EXPECT_TRUE(full.take().empty());
    });
}

TEST(DatagramEndpointOfProtocol, ItsDescriptorIsTaken) {  // FD-01, RS-01
    run([](EventLoop& loop) -> Coroutine<> {
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        const int fd = server.first.get_extra_info<int>("socket").value();
        const std::string text = "File descriptor " + std::to_string(fd) +
                                 " is used by transport " + server.first.repr();
        EXPECT_EQ(support::raised<asyncio::RuntimeError>([&] { loop.add_reader(fd, [] {}); }),
                  text);
        const auto refused = co_await asyncio::as_result(loop.sock_recvfrom(fd, 1));
        EXPECT_EQ(support::error_text<asyncio::RuntimeError>(refused), text);
        server.first.close();
    });
}

class Canceller : public Recorder {
  public:
    void connection_made(DatagramTransport& t) override {
        Recorder::connection_made(t);
        asyncio::get_running_loop().call_soon([this] { task.cancel(); });
    }
    asyncio::AnyTask task;
};

TEST(DatagramEndpointOfProtocol, CancelledThreeWays) {  // CN-06
    run([](EventLoop& loop) -> Coroutine<> {
        int made = 0;
        const auto factory = [&made] {
            ++made;
            return make_recorder();
        };
        auto before = loop.create_task(loop.create_datagram_endpoint(factory, local()));
        before.cancel();
        co_await asyncio::wait(before);
        EXPECT_TRUE(before.cancelled());
        EXPECT_EQ(made, 0);

        std::shared_ptr<Recorder> protocol;
        const auto keeping = [&protocol] { return protocol = make_recorder(); };
        auto waiting = loop.create_task(loop.create_datagram_endpoint(keeping, local()));
        co_await asyncio::sleep(0s);
        EXPECT_TRUE(protocol);
        waiting.cancel();
        co_await asyncio::wait(waiting);
        EXPECT_TRUE(waiting.cancelled());
        co_await until([&] { return protocol->count("lost") == 1; });
        EXPECT_EQ(protocol->lines, (support::Lines{"made", "lost"}));

        // In the tick in which the endpoint is ready: by its own connection_made().
        const auto canceller = std::make_shared<Canceller>();
        const auto given = [canceller] { return canceller; };
        auto woken = loop.create_task(loop.create_datagram_endpoint(given, local()));
        canceller->task = woken;
        co_await asyncio::wait(woken);
        if (woken.cancelled()) {
            co_await until([&] { return canceller->count("lost") == 1; });
        } else {
            woken.result().first.close();
        }
        canceller->task = asyncio::AnyTask();
    });
}

TEST(DatagramEndpointOfProtocol, DebugModeTellsOfIt) {  // CN-06
    const support::LogCapture log;
    run([](EventLoop& loop) -> Coroutine<> {
        loop.set_debug(true);
        const auto server = co_await loop.create_datagram_endpoint(make_recorder, local());
        const auto client = co_await loop.create_datagram_endpoint(make_recorder, remote(9));
        server.first.close();
        client.first.close();
        loop.set_debug(false);
    });
    support::Lines told;
    for (const std::string& line : log.lines(asyncio::log::Level::DEBUG)) {
        if (line.rfind("Datagram endpoint", 0) == 0) told.push_back(line);
    }
    EXPECT_EQ(told.size(), 2u);
    EXPECT_EQ(told.at(0).rfind("Datagram endpoint local_addr=('127.0.0.1', 0) remote_addr=None "
                               "created: <asyncio.DatagramTransport fd=",
                               0),
              0u)
        << told.at(0);
    EXPECT_EQ(told.at(1).rfind("Datagram endpoint remote_addr=('127.0.0.1', 9) created: ", 0), 0u)
        << told.at(1);
}

TEST(DatagramEndpointOfProtocol, TheLoopClosesWithItOpen) {  // TR-15
    const auto loop = asyncio::new_event_loop();
    DatagramTransport transport;
    loop->run_until_complete([&]() -> Coroutine<> {
        const auto server = co_await loop->create_datagram_endpoint(make_recorder, local());
        transport = server.first;
        server.second->transport = DatagramTransport();
    });
    loop->close();
    EXPECT_TRUE(transport.is_closing());
    transport.close();
}

// ---- the awaitable endpoint --------------------------------------------------------------------

TEST(DatagramEndpoint, TalksBothWays) {
    run([](EventLoop&) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        const SocketAddress at = server.getsockname();
        const DatagramEndpoint client = co_await asyncio::open_datagram_endpoint(remote(at.port()));
        EXPECT_EQ(client.getpeername(), at);
        co_await client.send("ping");
        const Datagram got = co_await server.receive();
        EXPECT_EQ(got.data, "ping");
        EXPECT_EQ(got.address, client.getsockname());
        co_await server.send_to("pong", got.address);
        const auto [data, from] = co_await client.receive();
        EXPECT_EQ(data, "pong");
        EXPECT_EQ(from, at);
        const std::array<std::byte, 1> mark{std::byte{'!'}};
        const std::span<const std::byte> bytes(mark);
        co_await client.send(bytes);
        EXPECT_EQ((co_await server.receive()).data, "!");
        co_await client.send("");
        EXPECT_EQ((co_await server.receive()).data, "");
    });
}

TEST(DatagramEndpoint, WaitingDatagramsComeInOrder) {
    run([](EventLoop&) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        const Socket client = plain();
        for (int i = 0; i < 100; ++i) send_from(client, std::to_string(i), server.getsockname());
        for (int i = 0; i < 100; ++i) {
            const Datagram got = co_await server.receive();
            EXPECT_EQ(got.data, std::to_string(i));
            EXPECT_EQ(got.address, client.getsockname());
        }
    });
}

TEST(DatagramEndpoint, ReceivesManyAtOnce) {
    run([](EventLoop&) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        const Socket client = plain();
        for (int i = 0; i < 20; ++i) send_from(client, std::to_string(i), server.getsockname());
        EXPECT_EQ((co_await server.receive()).data, "0");  // others are kept
        const auto some = co_await server.receive_many(5);
        EXPECT_EQ(some.size(), 5u);
        EXPECT_EQ(some.at(0).data, "1");
        std::size_t next = 6;
        while (next < 20) {
            for (const Datagram& d : co_await server.receive_many()) {
                EXPECT_EQ(d.data, std::to_string(next++));
            }
        }
        EXPECT_TRUE((co_await server.receive_many(0)).empty());
    });
}

TEST(DatagramEndpoint, SendsMany) {
    run([](EventLoop&) -> Coroutine<> {
        const DatagramEndpoint client = co_await asyncio::open_datagram_endpoint(local());
        const Socket a = plain();
        const Socket b = plain();
        std::vector<Datagram> datagrams;
        for (int i = 0; i < 40; ++i) {
            datagrams.emplace_back(std::to_string(i), (i % 2 ? b : a).getsockname());
        }
        co_await client.send_many(datagrams);
        for (int i = 0; i < 40; ++i) EXPECT_EQ(receive_at(i % 2 ? b : a), std::to_string(i));
        const DatagramEndpoint connected =
            co_await asyncio::open_datagram_endpoint(remote(a.getsockname().port()));
        std::vector<Datagram> plain_ones;
        plain_ones.emplace_back("x");
        co_await connected.send_many(plain_ones);
        EXPECT_EQ(receive_at(a), "x");
    });
}

TEST(DatagramEndpoint, RefusalIsRaised) {
    run([](EventLoop&) -> Coroutine<> {
        const DatagramEndpoint client =
            co_await asyncio::open_datagram_endpoint(remote(dead_port()));
        co_await client.send("x");
        const auto refused = co_await asyncio::as_result(client.receive());
        EXPECT_EQ(support::error_text<asyncio::ConnectionRefusedError>(refused),
                  "[Errno 111] Connection refused");
        EXPECT_FALSE(client.is_closing());
    });
}

TEST(DatagramEndpoint, TasksThatWaitAreServedInTurn) {
    run([](EventLoop& loop) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        std::vector<Task<Datagram>> tasks;
        for (int i = 0; i < 40; ++i) tasks.push_back(loop.create_task(server.receive()));
        co_await asyncio::sleep(0s);
        const Socket client = plain();
        for (int i = 0; i < 40; ++i) send_from(client, std::to_string(i), server.getsockname());
        for (int i = 0; i < 40; ++i) {
            EXPECT_EQ((co_await tasks[static_cast<std::size_t>(i)]).data, std::to_string(i));
        }
    });
}

TEST(DatagramEndpoint, ReceiveCancelledBeforeAndWhileWaiting) {
    run([](EventLoop& loop) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        const Socket client = plain();
        send_from(client, "kept", server.getsockname());
        auto before = loop.create_task(server.receive());
        before.cancel();
        co_await asyncio::wait(before);
        EXPECT_TRUE(before.cancelled());
        EXPECT_EQ((co_await server.receive()).data, "kept");
        auto waiting = loop.create_task(server.receive());
        co_await asyncio::sleep(1ms);
        waiting.cancel();
        co_await asyncio::wait(waiting);
        EXPECT_TRUE(waiting.cancelled());
        send_from(client, "later", server.getsockname());
        EXPECT_EQ((co_await server.receive()).data, "later");
    });
}

TEST(DatagramEndpoint, ReceiveCancelledInTheTickOfADatagramLosesNone) {
    run([](EventLoop& loop) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        const Socket client = plain();
        for (int round = 0; round < 20; ++round) {
            auto first = loop.create_task(server.receive());
            auto second = loop.create_task(server.receive());
            co_await asyncio::sleep(1ms);
            const std::string text = std::to_string(round);
            send_from(client, text, server.getsockname());
            // After so many iterations: before, at and after the wake-up.
            for (int i = 0; i < round % 5; ++i) co_await asyncio::sleep(0s);
            first.cancel();
            std::string got;
            co_await asyncio::wait(first);
            if (first.cancelled()) {
                got = (co_await second).data;
            } else {
                got = first.result().data;
                second.cancel();
                co_await asyncio::wait(second);
            }
            EXPECT_EQ(got, text);
        }
    });
}

TEST(DatagramEndpoint, ReceiveManyCancelledThreeWays) {
    run([](EventLoop& loop) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        auto before = loop.create_task(server.receive_many());
        before.cancel();
        co_await asyncio::wait(before);
        EXPECT_TRUE(before.cancelled());
        auto waiting = loop.create_task(server.receive_many());
        co_await asyncio::sleep(1ms);
        waiting.cancel();
        co_await asyncio::wait(waiting);
        EXPECT_TRUE(waiting.cancelled());
        auto woken = loop.create_task(server.receive_many());
        co_await asyncio::sleep(1ms);
        const Socket client = plain();
        send_from(client, "kept", server.getsockname());
        woken.cancel();
        co_await asyncio::wait(woken);
        EXPECT_TRUE(woken.cancelled());
        EXPECT_EQ((co_await server.receive_many()).at(0).data, "kept");
    });
}

TEST(DatagramEndpoint, SendWaitsForRoom) {
    run([](EventLoop& loop) -> Coroutine<> {
        for (const bool connect : {true, false}) {
            const Full full;
            const std::string path = full.at.path();
            const DatagramEndpoint client =
                co_await asyncio::open_datagram_endpoint(to_unix(path, connect));
            const SocketAddress to = connect ? SocketAddress() : full.at;
            auto before = loop.create_task(client.send_to("before", to));
            before.cancel();
            auto waiting = loop.create_task(client.send_to("waiting", to));
            auto kept = loop.create_task(client.send_to("kept", to));
            co_await asyncio::sleep(2ms);
            EXPECT_FALSE(kept.done());
            waiting.cancel();
            std::vector<std::string> came;
            while (came.empty()) {
                co_await asyncio::sleep(1ms);
                came = full.take();
            }
            co_await kept;
            co_await asyncio::wait(before, waiting);
            EXPECT_TRUE(before.cancelled());
            EXPECT_TRUE(waiting.cancelled());
            EXPECT_EQ(came, (std::vector<std::string>{"kept"}));
        }
    });
}

TEST(DatagramEndpoint, SendManyWaitsForRoomAndCanBeCancelled) {
    run([](EventLoop& loop) -> Coroutine<> {
        const Full full;
        const std::string path = full.at.path();
        const DatagramEndpoint client =
            co_await asyncio::open_datagram_endpoint(to_unix(path, true));
        std::vector<Datagram> datagrams;
        for (int i = 0; i < 100; ++i) datagrams.emplace_back(std::to_string(i));
        auto before = loop.create_task(client.send_many(datagrams));
        before.cancel();
        auto cancelled = loop.create_task(client.send_many(datagrams));
        co_await asyncio::sleep(1ms);
        cancelled.cancel();
        co_await asyncio::wait(before, cancelled);
        EXPECT_TRUE(cancelled.cancelled());
        EXPECT_TRUE(full.take().empty());
        auto sending = loop.create_task(client.send_many(datagrams));
        std::vector<std::string> came;
        while (came.size() < 100) {
            co_await asyncio::sleep(0s);
            for (auto& data : full.take()) came.push_back(std::move(data));
        }
        co_await sending;
        for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(came[i], std::to_string(i));
    });
}

TEST(DatagramEndpoint, CloseEndsThoseWhoWait) {
    run([](EventLoop& loop) -> Coroutine<> {
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(local());
        const int fd = server.fileno();
        auto waiting = loop.create_task(server.receive());
        co_await asyncio::sleep(1ms);
        server.close();
        server.close();
        EXPECT_TRUE(server.is_closing());
        EXPECT_FALSE(socket_calls::is_open(fd));
        const auto ended = co_await asyncio::as_result(waiting);
        EXPECT_EQ(support::error_text<asyncio::ConnectionAbortedError>(ended),
                  "the endpoint is closed");
        const auto late = co_await asyncio::as_result(server.send_to("x", SocketAddress("::1", 1)));
        EXPECT_TRUE(late.holds<asyncio::ConnectionAbortedError>());
        EXPECT_EQ(server.fileno(), -1);
        EXPECT_EQ(server.repr(), "<asyncio.DatagramEndpoint closed>");
    });
}

TEST(DatagramEndpoint, TheLastHandleClosesIt) {
    run([](EventLoop& loop) -> Coroutine<> {
        DatagramEndpoint first = co_await asyncio::open_datagram_endpoint(local());
        const int fd = first.fileno();
        DatagramEndpoint second = first;
        EXPECT_EQ(first, second);
        first = DatagramEndpoint();
        EXPECT_TRUE(socket_calls::is_open(fd));
        // A call that is under way keeps it.
        auto waiting = loop.create_task(second.receive());
        co_await asyncio::sleep(0s);
        second = DatagramEndpoint();
        EXPECT_TRUE(socket_calls::is_open(fd));
        waiting.cancel();
        co_await asyncio::wait(waiting);
        waiting = Task<Datagram>();
        co_await asyncio::sleep(0s);
        EXPECT_FALSE(socket_calls::is_open(fd));
        EXPECT_EQ(support::raised<asyncio::RuntimeError>([&] { (void)second.receive(); }),
                  "this handle is empty: it refers to no endpoint");
    });
}

TEST(DatagramEndpoint, DroppedOnAnotherThreadAndAfterItsLoop) {
    const auto loop = asyncio::new_event_loop();
    DatagramEndpoint outlives;
    loop->run_until_complete([&]() -> Coroutine<> {
        DatagramEndpoint moved = co_await asyncio::open_datagram_endpoint(local());
        const int fd = moved.fileno();
        auto drop = [gone = std::move(moved)]() mutable { gone = {}; };
        co_await asyncio::to_thread(asyncio::callable(std::move(drop)));
        co_await until([&] { return !socket_calls::is_open(fd); });
        outlives = co_await asyncio::open_datagram_endpoint(local());
    });
    loop->close();
    EXPECT_TRUE(outlives.is_closing());
}

TEST(DatagramEndpoint, WithClosesIt) {
    run([](EventLoop&) -> Coroutine<> {
        DatagramEndpoint endpoint = co_await asyncio::open_datagram_endpoint(local());
        auto body = [](DatagramEndpoint& inside) -> Coroutine<> {
            EXPECT_FALSE(inside.is_closing());
            co_return;
        };
        co_await asyncio::with(endpoint, body);
        EXPECT_TRUE(endpoint.is_closing());
    });
}

TEST(DatagramEndpoint, UnixDatagramsOfAnyLength) {
    run([](EventLoop&) -> Coroutine<> {
        DatagramOptions options;
        options.family = AF_UNIX;
        auto both = Socket::pair(AF_UNIX, SOCK_DGRAM);
        const int room = 1'000'000;
        both.second.setsockopt(SOL_SOCKET, SO_SNDBUF, room);
        options = DatagramOptions();
        options.sock = both.first;
        const DatagramEndpoint endpoint = co_await asyncio::open_datagram_endpoint(options);
        const std::string longest(200'000, 'l');
        EXPECT_EQ(socket_calls::send(both.second.fileno(), longest.data(), longest.size(), 0),
                  static_cast<ssize_t>(longest.size()));
        const Datagram got = co_await endpoint.receive();
        EXPECT_TRUE(got.data == longest);
        EXPECT_EQ(got.address.repr(), "None");
        // What does not fit into the room for it is an error of its own, and nothing else is lost.
        const std::string too_long(300'000, 't');
        if (socket_calls::send(both.second.fileno(), too_long.data(), too_long.size(), 0) > 0) {
            EXPECT_EQ(socket_calls::send(both.second.fileno(), "next", 4, 0), 4);
            const auto cut = co_await asyncio::as_result(endpoint.receive());
            EXPECT_EQ(support::error_text<OSError>(cut), "[Errno 90] Message too long");
            EXPECT_EQ((co_await endpoint.receive()).data, "next");
        }
    });
}

class Eager : public Recorder {
  public:
    void datagram_received(std::string_view data, const SocketAddress& from) override {
        if (inner && lines.size() == 1) {
            tasks.push_back(asyncio::create_task(inner.receive(), {.eager_start = true}));
        }
        Recorder::datagram_received(data, from);
    }
    DatagramEndpoint inner;
    std::vector<Task<Datagram>> tasks;
};

TEST(DatagramEndpoint, AReceiveInsideAProtocolsMethodSpoilsNothing) {
    // An eager task receives in the middle of another transport's batch.
    run([](EventLoop& loop) -> Coroutine<> {
        const DatagramEndpoint inner = co_await asyncio::open_datagram_endpoint(local());
        const Socket client = plain();
        send_from(client, "inner one", inner.getsockname());
        co_await asyncio::sleep(2ms);  // its event comes
        const auto eager = std::make_shared<Eager>();
        eager->inner = inner;
        const auto given = [eager] { return eager; };
        const auto outer = co_await loop.create_datagram_endpoint(given, local());
        send_from(client, "outer one", name_of(outer.first));
        send_from(client, "outer two", name_of(outer.first));
        co_await until([&] { return eager->lines.size() >= 3; });
        EXPECT_EQ(eager->lines, (support::Lines{"made", "got outer one", "got outer two"}));
        EXPECT_EQ((co_await eager->tasks.at(0)).data, "inner one");
        eager->inner = {};
        eager->tasks.clear();
        outer.first.close();
    });
}

TEST(DatagramEndpoint, OpenCancelledAndRefused) {
    run([](EventLoop& loop) -> Coroutine<> {
        auto before = loop.create_task(asyncio::open_datagram_endpoint(local()));
        before.cancel();
        co_await asyncio::wait(before);
        EXPECT_TRUE(before.cancelled());
        const auto nothing =
            co_await asyncio::as_result(asyncio::open_datagram_endpoint(DatagramOptions()));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(nothing), "unexpected address family");
        // Awaited in a loop that is gone, or never: the socket that it took over is closed.
        Socket socket = plain();
        const int fd = socket.fileno();
        DatagramOptions options;
        options.sock = socket;
        asyncio::open_datagram_endpoint(options).close();
        EXPECT_FALSE(socket_calls::is_open(fd));
    });
}

}  // namespace

// create_server, create_unix_server, Server. SV-*, SO-*.
//
// ctest: simulated
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <asyncio/traceback.hpp>

#include "network.hpp"
#include "socket_calls.hpp"
#include "support.hpp"

namespace {

using namespace network;
using support::ErrorCapture;
using support::Iterations;
using support::LogCapture;
using support::raised;

int port_of(const Server& server, std::size_t i = 0) {
    return server.sockets().at(i).getsockname().port();
}

template <class A>
Coroutine<std::string> failure(A awaitable) {
    const auto result = co_await as_result(std::move(awaitable));
    if (!result.error()) co_return "no failure";
    const std::string text = asyncio::format_exception(result.error());
    co_return text.substr(text.rfind('\n') + 1);
}

// Serves by recorders, and keeps them.
struct Served {
    std::vector<std::shared_ptr<Recorder>> all;
    auto factory() {
        return [this] { return all.emplace_back(recorder()); };
    }
    Coroutine<> over() {
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (!all[i]->lost.done()) co_await all[i]->lost;
        }
    }
};

Coroutine<std::shared_ptr<Recorder>> client_of(int port) {
    const auto made = co_await get_running_loop().create_connection(recorder, "127.0.0.1", port);
    co_return made.second;
}

// ---- listening ----------------------------------------------------------------------------------

TEST(CreateServer, ServesManyConnections) {  // SV-01, SV-04
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Served served;
        const Serving server = co_await loop.create_server(served.factory(), "127.0.0.1", 0);
        EXPECT_TRUE(server.is_serving());
        EXPECT_EQ(server.sockets().size(), 1u);
        EXPECT_EQ(&server.get_loop(), &loop);
        std::vector<std::shared_ptr<Recorder>> clients;
        for (int i = 0; i < 50; ++i) clients.push_back(co_await client_of(port_of(server)));
        for (const auto& c : clients) c->transport().write("hello");
        const auto all_served = [&] {
            return served.all.size() == 50 &&
                   std::all_of(served.all.begin(), served.all.end(),
                               [](const auto& p) { return p->received == "hello"; });
        };
        co_await until(all_served);
        for (const auto& c : clients) c->transport().close();
        co_await served.over();
        for (const auto& c : clients) co_await c->lost;
    });
}

TEST(CreateServer, TakesOneIteration) {  // S-31, SV-01, SO-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Iterations iterations(loop);
        co_await asyncio::sleep(0s);
        iterations.passed();
        Server server = co_await loop.create_server(echo, "127.0.0.1", 0);
        EXPECT_EQ(iterations.passed(), 1);
        server.close();
        server = co_await loop.create_server(echo, "127.0.0.1", 0, {.start_serving = false});
        EXPECT_EQ(iterations.passed(), 0);
        EXPECT_FALSE(server.is_serving());
        co_await server.start_serving();  // SO-03
        EXPECT_EQ(iterations.passed(), 1);
        EXPECT_TRUE(server.is_serving());
        co_await server.start_serving();
        const auto client = co_await client_of(port_of(server));
        client->transport().close();
        co_await client->lost;
    });
}

TEST(CreateServer, ListensAtSeveralHostsOnceEach) {  // SV-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::vector<std::string> hosts = {"127.0.0.1", "127.0.0.2", "127.0.0.1"};
        const Serving server = co_await loop.create_server(echo, hosts, 0);
        EXPECT_EQ(server.sockets().size(), 2u);
        if (server.sockets().size() != 2) co_return;
        EXPECT_EQ(server.sockets()[0].getsockname().host(), "127.0.0.1");
        EXPECT_EQ(server.sockets()[1].getsockname().host(), "127.0.0.2");
        EXPECT_NE(port_of(server, 0), port_of(server, 1));
        const auto made =
            co_await loop.create_connection(recorder, "127.0.0.2", port_of(server, 1));
        made.first.close();
        co_await made.second->lost;
    });
}

TEST(CreateServer, ListensAtEveryInterface) {  // SV-01
    run_briefly([]() -> Coroutine<> {
        const Serving server = co_await get_running_loop().create_server(echo, "", 0);
        EXPECT_GE(server.sockets().size(), 1u);
        for (const Socket& socket : server.sockets()) {
            if (socket.family() != AF_INET6) continue;
            EXPECT_EQ(socket.getsockopt(IPPROTO_IPV6, IPV6_V6ONLY), 1);
        }
    });
}

TEST(CreateServer, SetsTheOptionsOfItsSockets) {  // SV-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving plain = co_await loop.create_server(echo, "127.0.0.1", 0);
        const Socket& p = plain.sockets()[0];
        EXPECT_EQ(p.getsockopt(SOL_SOCKET, SO_REUSEADDR), 1);
        EXPECT_EQ(p.getsockopt(SOL_SOCKET, SO_REUSEPORT), 0);
        EXPECT_EQ(p.getsockopt(SOL_SOCKET, SO_KEEPALIVE), 0);
        const Serving other = co_await loop.create_server(
            echo, "127.0.0.1", 0, {.reuse_address = false, .reuse_port = true, .keep_alive = true});
        const Socket& o = other.sockets()[0];
        EXPECT_EQ(o.getsockopt(SOL_SOCKET, SO_REUSEADDR), 0);
        EXPECT_EQ(o.getsockopt(SOL_SOCKET, SO_REUSEPORT), 1);
        EXPECT_EQ(o.getsockopt(SOL_SOCKET, SO_KEEPALIVE), 1);
        // Two servers at one port.
        const Server twin =
            co_await loop.create_server(echo, "127.0.0.1", port_of(other), {.reuse_port = true});
        EXPECT_EQ(port_of(twin), port_of(other));
    });
}

TEST(CreateServer, TakesABoundSocket) {  // SV-01
    run_briefly([]() -> Coroutine<> {
        Socket socket(AF_INET, SOCK_STREAM);
        socket.bind(SocketAddress("127.0.0.1", 0));
        socket.listen();
        // A connection that was made before has TCP_NODELAY, too.
        Socket early(AF_INET, SOCK_STREAM);
        const SocketAddress at = socket.getsockname();
        socket_calls::connect(early.fileno(), static_cast<const sockaddr*>(at.data()),
                              static_cast<socklen_t>(at.size()));
        Served served;
        const Serving server =
            co_await get_running_loop().create_server(served.factory(), {.sock = socket});
        co_await until([&] { return !served.all.empty() && !served.all[0]->events.empty(); });
        const int fd = *served.all[0]->transport().get_extra_info<int>("socket");
        EXPECT_EQ(TransportSocket(fd).getsockopt(IPPROTO_TCP, 1), 1);
        early.close();
        co_await served.over();
    });
}

TEST(CreateServer, ChecksItsArguments) {  // SV-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        EXPECT_EQ(co_await failure(loop.create_server(echo, ServerOptions())),
                  "ValueError: Neither host/port nor sock were specified");
        Socket both(AF_INET, SOCK_STREAM);
        EXPECT_EQ(co_await failure(loop.create_server(echo, "127.0.0.1", 0, {.sock = both})),
                  "ValueError: host/port and sock can not be specified at the same time");
        Socket datagrams(AF_INET, SOCK_DGRAM);
        const std::string shown = datagrams.repr();
        EXPECT_EQ(co_await failure(loop.create_server(echo, {.sock = datagrams})),
                  "ValueError: A Stream Socket was expected, got " + shown);
        EXPECT_EQ(co_await failure(
                      loop.create_server(echo, "127.0.0.1", 0, {.ssl_handshake_timeout = 1s})),
                  "ValueError: ssl_handshake_timeout is only meaningful with ssl");
        EXPECT_EQ(co_await failure(
                      loop.create_server(echo, "127.0.0.1", 0, {.ssl_shutdown_timeout = 1s})),
                  "ValueError: ssl_shutdown_timeout is only meaningful with ssl");
    });
}

TEST(CreateServer, NamesTheAddressThatItCannotBind) {  // SV-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.1", 0);
        const int port = port_of(server);
        EXPECT_EQ(co_await failure(loop.create_server(echo, "127.0.0.1", port)),
                  "AddressInUseError: [Errno 98] error while attempting to bind on address "
                  "('127.0.0.1', " +
                      std::to_string(port) + "): [errno 98] address already in use");
        // 192.0.2.1 is nobody's: no socket is left.
        EXPECT_EQ(co_await failure(loop.create_server(echo, "192.0.2.1", 0)),
                  "OSError: could not bind on any address out of [('192.0.2.1', 0)]");
    });
}

TEST(CreateServer, CancelledLeavesNothingOpen) {  // SV-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        bool asked = true;
        for (int i = 0; asked; ++i) {
            auto task = create_task(loop.create_server(echo, "127.0.0.1", 0));
            for (int k = 0; k < i; ++k) co_await asyncio::sleep(0s);
            asked = task.cancel();
            const auto ended = co_await as_result(task);
            EXPECT_EQ(asked, detail::is_cancelled_error(ended.error()));
        }
    });
}

TEST(CreateServer, CallsProtocolsBackInItsOwnContext) {
    static ContextVar<int> number{"number", 0};
    run_briefly([]() -> Coroutine<> {
        number.set(5);
        int seen = 0;
        const auto factory = [&] {
            auto protocol = recorder();
            protocol->on_made = [&] { seen = number.get(); };
            return protocol;
        };
        const Serving server = co_await get_running_loop().create_server(factory, "127.0.0.1", 0);
        number.set(6);
        const auto client = co_await client_of(port_of(server));
        co_await until([&] { return seen != 0; });
        EXPECT_EQ(seen, 5);
        server.close_clients();
        co_await client->lost;
    });
}

TEST(CreateServer, TellsOfAFailedFactoryInDebugModeOnly) {  // SV-05
    for (const bool debug : {false, true}) {
        run_briefly([debug]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            loop.set_debug(debug);
            const ErrorCapture errors(loop);
            const auto factory = []() -> std::shared_ptr<Recorder> { throw RuntimeError("no"); };
            const Serving server = co_await loop.create_server(factory, "127.0.0.1", 0);
            const auto client = co_await client_of(port_of(server));
            co_await client->lost;
            const Lines expected{
                "Error on transport creation for incoming connection: RuntimeError('no')"};
            EXPECT_EQ(errors.lines(), debug ? expected : Lines());
        });
    }
}

// ---- Server -------------------------------------------------------------------------------------

TEST(Server, CloseStopsListeningAndKeepsConnections) {  // SO-01, SO-05
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server = co_await loop.create_server(echo, "127.0.0.1", 0);
        const int port = port_of(server);
        const int fd = server.sockets()[0].fileno();
        EXPECT_EQ(server.repr(),
                  "<Server sockets=(" + detail::socket_repr("TransportSocket", fd) + ",)>");
        const auto client = co_await client_of(port);
        server.close();
        server.close();
        EXPECT_FALSE(server.is_serving());
        EXPECT_TRUE(server.sockets().empty());
        EXPECT_EQ(server.repr(), "<Server sockets=()>");
        EXPECT_FALSE(socket_calls::is_open(fd));
        EXPECT_EQ((co_await failure(client_of(port))).substr(0, 22), "ConnectionRefusedError");
        EXPECT_EQ(co_await failure(server.start_serving()),
                  "RuntimeError: server <Server sockets=()> is closed");
        client->transport().write("still");
        co_await until([&] { return client->received == "still"; });
        client->transport().close();
        co_await client->lost;
        co_await server.wait_closed();
    });
}

TEST(Server, WaitClosedWaitsForCloseAndForConnections) {  // SO-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Served served;
        const Serving server = co_await loop.create_server(served.factory(), "127.0.0.1", 0);
        auto early = create_task(server.wait_closed());
        co_await asyncio::sleep(5ms);
        EXPECT_FALSE(early.done());  // it is not closed yet
        const auto client = co_await client_of(port_of(server));
        co_await until([&] { return served.all.size() == 1; });
        server.close();
        auto late = create_task(server.wait_closed());
        auto cancelled = create_task(server.wait_closed());
        co_await asyncio::sleep(5ms);
        EXPECT_FALSE(early.done());
        EXPECT_FALSE(late.done());
        cancelled.cancel();
        co_await end_of(cancelled);
        client->transport().close();
        co_await early;
        co_await late;
        EXPECT_TRUE(served.all[0]->lost.done());
        co_await server.wait_closed();
        co_await client->lost;
    });
}

TEST(Server, CancelledWaitsLeaveItAsItWas) {  // SO-02, SO-03
    run_briefly([]() -> Coroutine<> {
        const Serving server = co_await get_running_loop().create_server(echo, "127.0.0.1", 0);
        for (int kind = 0; kind < 2; ++kind) {
            for (int ticks = 0; ticks < 3; ++ticks) {
                auto task = create_task(kind ? server.start_serving() : server.wait_closed());
                for (int i = 0; i < ticks; ++i) co_await asyncio::sleep(0s);
                task.cancel();
                co_await end_of(task);
            }
        }
        EXPECT_TRUE(server.is_serving());
        const auto client = co_await client_of(port_of(server));
        // In the tick in which it completes.
        auto waiting = create_task(server.wait_closed());
        co_await asyncio::sleep(0s);
        client->on_lost = [&] { waiting.cancel(); };
        server.close();
        server.close_clients();
        co_await client->lost;
        co_await end_of(waiting);
        co_await server.wait_closed();
    });
}

TEST(Server, ServesForeverUntilItIsCancelled) {  // SO-04
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Served served;
        const Serving server =
            co_await loop.create_server(served.factory(), "127.0.0.1", 0, {.start_serving = false});
        auto forever = create_task(server.serve_forever());
        co_await asyncio::sleep(0s);
        EXPECT_TRUE(server.is_serving());
        EXPECT_EQ(co_await failure(server.serve_forever()),
                  "RuntimeError: server " + server.repr() +
                      " is already being awaited on serve_forever()");
        const auto client = co_await client_of(port_of(server));
        co_await until([&] { return served.all.size() == 1; });
        forever.cancel();
        co_await asyncio::sleep(5ms);
        EXPECT_FALSE(server.is_serving());
        EXPECT_FALSE(forever.done());  // it waits for its connection
        client->transport().close();
        const auto ended = co_await as_result(forever);
        EXPECT_TRUE(detail::is_cancelled_error(ended.error()));
        EXPECT_EQ(co_await failure(server.serve_forever()),
                  "RuntimeError: server <Server sockets=()> is closed");
        co_await client->lost;
    });
}

TEST(Server, ThatCannotListenDoesNotServeAndMayBeAskedAgain) {  // L32
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const auto descriptors = [] {
            return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
        };
        const ServerOptions later{.start_serving = false};
        Server first = co_await loop.create_server(echo, "127.0.0.1", 0, later);
        const int port = port_of(first);
        const auto before = descriptors();
        // Two sockets may have one address, until one of them listens.
        std::vector<Server> others;
        for (int i = 0; i < 2; ++i) {
            others.push_back(co_await loop.create_server(echo, "127.0.0.1", port, later));
        }
        co_await first.start_serving();
        for (const Server& other : others) {
            for (int i = 0; i < 2; ++i) {
                EXPECT_NE(co_await failure(other.start_serving()), "no failure");
                EXPECT_FALSE(other.is_serving());
            }
        }
        first.close();
        others.pop_back();  // the last handle goes, and with it the socket
        EXPECT_EQ(descriptors(), before);
        co_await others[0].start_serving();
        EXPECT_TRUE(others[0].is_serving());
        const auto client = co_await client_of(port);
        client->transport().write("hello");
        co_await until([&] { return client->received == "hello"; });
        client->transport().close();
        co_await client->lost;
        others[0].close();
        co_await others[0].wait_closed();
    });
}

TEST(Server, CloseEndsServeForever) {  // SO-01, SO-04
    run_briefly([]() -> Coroutine<> {
        const Serving server = co_await get_running_loop().create_server(echo, "127.0.0.1", 0);
        auto forever = create_task(server.serve_forever());
        co_await asyncio::sleep(0s);
        server.close();
        const auto ended = co_await as_result(forever);
        EXPECT_TRUE(detail::is_cancelled_error(ended.error()));
    });
}

TEST(Server, ServeForeverCancelledBeforeItBeginsServesOn) {  // SO-04
    run_briefly([]() -> Coroutine<> {
        const Serving server = co_await get_running_loop().create_server(echo, "127.0.0.1", 0);
        auto forever = create_task(server.serve_forever());
        forever.cancel();
        co_await end_of(forever);
        EXPECT_TRUE(server.is_serving());
        // In the tick in which it ends.
        auto other = create_task(server.serve_forever());
        co_await asyncio::sleep(0s);
        server.close();
        other.cancel();
        const auto ended = co_await as_result(other);
        EXPECT_TRUE(detail::is_cancelled_error(ended.error()));
    });
}

TEST(Server, ClosesAndAbortsItsClients) {  // SO-06
    for (const bool abort : {false, true}) {
        run_briefly([abort]() -> Coroutine<> {
            Served served;
            const Serving server =
                co_await get_running_loop().create_server(served.factory(), "127.0.0.1", 0);
            std::vector<std::shared_ptr<Recorder>> clients;
            for (int i = 0; i < 5; ++i) clients.push_back(co_await client_of(port_of(server)));
            co_await until([&] { return served.all.size() == 5; });
            co_await asyncio::sleep(0s);
            if (abort) {
                // What is buffered holds close() up, not abort().
                for (const auto& p : served.all) {
                    p->transport().write(std::string(8 << 20, 'x'));
                }
                for (const auto& c : clients) c->transport().pause_reading();
                server.abort_clients();
            } else {
                server.close_clients();
            }
            co_await served.over();
            server.close();
            co_await server.wait_closed();
            for (const auto& c : clients) c->transport().abort();
            for (const auto& c : clients) co_await c->lost;
        });
    }
}

TEST(Server, IsAContextManager) {  // SO-07
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Serving server =
            co_await loop.create_server(echo, "127.0.0.1", 0, {.start_serving = false});
        auto body = [&](Server& entered) -> Coroutine<int> {
            EXPECT_EQ(entered, server);
            EXPECT_FALSE(entered.is_serving());
            co_await entered.start_serving();
            co_return 7;
        };
        EXPECT_EQ(co_await with(server, body), 7);
        EXPECT_TRUE(server.sockets().empty());

        const Serving other = co_await loop.create_server(echo, "127.0.0.1", 0);
        auto fails = [](Server&) -> Coroutine<> {
            throw ValueError("body");
            co_return;
        };
        EXPECT_EQ(co_await failure(with(other, fails)), "ValueError: body");
        EXPECT_TRUE(other.sockets().empty());
    });
}

// L32.
TEST(Server, ServesOnWithoutAHandle) {  // SO-08
    for (const bool on_another_thread : {false, true}) {
        for (const bool debug : {false, true}) {
            const support::LogCapture log;
            run_briefly([&]() -> Coroutine<> {
                EventLoop& loop = get_running_loop();
                loop.set_debug(debug);
                Served served;
                Server server = co_await loop.create_server(served.factory(), "127.0.0.1", 0);
                const std::string shown = server.repr();
                const int port = port_of(server);
                const int fd = server.sockets()[0].fileno();
                Server copy = server;
                server = Server();
                EXPECT_FALSE(server);
                EXPECT_EQ(raised<RuntimeError>([&] { server.close(); }),
                          "this server handle is empty: it refers to no server");
                EXPECT_EQ(server.repr(), "<Server empty>");
                EXPECT_EQ(log.text(), "");
                if (on_another_thread) {
                    std::thread([moved = std::move(copy)] {}).join();
                } else {
                    copy = Server();
                }
                for (int i = 0; i < 3; ++i) {
                    const auto client = co_await client_of(port);
                    client->transport().write("served");
                    co_await until([&] { return !served.all.empty(); });
                    co_await until([&] { return served.all.back()->received == "served"; });
                    client->transport().close();
                    co_await client->lost;
                    co_await served.over();
                    served.all.clear();
                }
                EXPECT_EQ(log.text(), debug ? shown +
                                                  " serves on, and no handle is left to close "
                                                  "it\n"
                                            : "");
                EXPECT_TRUE(socket_calls::is_open(fd));
            });
        }
    }
}

// L32. The loop's end is the server's: the descriptor is closed, and a unix socket's file goes.
TEST(Server, WithoutAHandleEndsWithItsLoop) {  // SO-08
    const TemporaryFolder folder;
    const std::string path = folder.path() + "/s";
    int fd = -1;
    run_briefly([&]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        fd = (co_await loop.create_server(echo, "127.0.0.1", 0)).sockets()[0].fileno();
        EXPECT_TRUE(socket_calls::is_open(fd));
        co_await loop.create_unix_server(echo, path);
        struct stat found{};
        EXPECT_EQ(::stat(path.c_str(), &found), 0);
    });
    EXPECT_FALSE(socket_calls::is_open(fd));
    struct stat found{};
    EXPECT_EQ(::stat(path.c_str(), &found), -1);
}

// L32.
TEST(Server, GoesWithItsLastHandleIfItDoesNotServe) {  // SO-08
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Server server = co_await loop.create_server(echo, "127.0.0.1", 0, {.start_serving = false});
        int fd = server.sockets()[0].fileno();
        server = Server();
        EXPECT_FALSE(socket_calls::is_open(fd));
        server = co_await loop.create_server(echo, "127.0.0.1", 0, {.start_serving = false});
        fd = server.sockets()[0].fileno();
        std::thread([moved = std::move(server)] {}).join();
        co_await until([&] { return !socket_calls::is_open(fd); });
    });
}

TEST(Server, MayOutliveItsLoop) {  // SO-08
    Server server;
    run_briefly([&]() -> Coroutine<> {
        server = co_await get_running_loop().create_server(echo, "127.0.0.1", 0);
    });
    EXPECT_FALSE(server.is_serving());
    EXPECT_TRUE(server.sockets().empty());
    server.close();
    EXPECT_EQ(raised<RuntimeError>([&] { server.get_loop(); }), "the loop of this server is gone");
}

TEST(Server, MayBeClosedByItsOwnFactory) {  // SO-01
    run_briefly([]() -> Coroutine<> {
        Server server;
        int made = 0;
        const auto factory = [&] {
            ++made;
            server.close();
            server = Server();  // the last handle
            return recorder();
        };
        server = co_await get_running_loop().create_server(factory, "127.0.0.1", 0);
        const int port = port_of(server);
        const auto one = create_task(client_of(port));
        const auto two = create_task(client_of(port));
        co_await end_of(one);
        co_await end_of(two);
        co_await until([&] { return made > 0; });
        EXPECT_EQ(made, 1);
        // The loop closes the connection that is left.
        if (!two.exception()) co_await two.result()->lost;
    });
}

// ---- under pressure -----------------------------------------------------------------------------

TEST(Server, LimitsItsConnections) {  // SV-04
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Served served;
        const Serving server =
            co_await loop.create_server(served.factory(), "127.0.0.1", 0, {.max_connections = 2});
        std::vector<std::shared_ptr<Recorder>> clients;
        for (int i = 0; i < 5; ++i) clients.push_back(co_await client_of(port_of(server)));
        co_await until([&] { return served.all.size() == 2; });
        co_await asyncio::sleep(20ms);
        EXPECT_EQ(served.all.size(), 2u);
        clients[0]->transport().close();
        co_await until([&] { return served.all.size() == 3; });
        co_await asyncio::sleep(10ms);
        EXPECT_EQ(served.all.size(), 3u);
        for (const auto& c : clients) c->transport().close();
        co_await until([&] { return served.all.size() == 5; });
        co_await served.over();
    });
}

TEST(Server, AcceptsNoMoreThanItsBacklogAtOnce) {  // SV-04
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Served served;
        Socket socket(AF_INET, SOCK_STREAM);
        socket.bind(SocketAddress("127.0.0.1", 0));
        socket.listen(20);
        const SocketAddress at = socket.getsockname();
        std::vector<Socket> clients;
        for (int i = 0; i < 10; ++i) {
            clients.emplace_back(AF_INET, SOCK_STREAM);
            socket_calls::connect(clients.back().fileno(), static_cast<const sockaddr*>(at.data()),
                                  static_cast<socklen_t>(at.size()));
        }
        Iterations iterations(loop);
        std::multiset<int> at_once;
        const auto factory = [&] {
            at_once.insert(iterations.count());
            return served.all.emplace_back(recorder());
        };
        const Serving server = co_await loop.create_server(factory, {.sock = socket, .backlog = 3});
        co_await until([&] { return at_once.size() == 10; });
        for (const int i : at_once) EXPECT_LE(at_once.count(i), 3u);
        clients.clear();
        co_await served.over();
    });
}

TEST(Server, PausesOnceWhenDescriptorsRunOutAndRecovers) {  // SV-04
    if (support::kAddressSanitizer) GTEST_SKIP() << support::kNeedsDescriptors;
    // In a process of its own, whose limit it may lower.
    const auto child = [] {
        bool good = false;
        run_briefly([&]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            const ErrorCapture errors(loop);
            Served served;
            const Serving server = co_await loop.create_server(served.factory(), "127.0.0.1", 0);
            std::vector<Socket> clients;
            for (int i = 0; i < 3; ++i) clients.emplace_back(AF_INET, SOCK_STREAM);
            std::vector<Socket> fill;
            const int most = clients.back().fileno() + 8;
            const rlimit limit{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
            ::setrlimit(RLIMIT_NOFILE, &limit);
            for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) fill.emplace_back(fd);
            const SocketAddress at = server.sockets()[0].getsockname();
            for (const Socket& c : clients) {
                socket_calls::connect(c.fileno(), static_cast<const sockaddr*>(at.data()),
                                      static_cast<socklen_t>(at.size()));
            }
            Iterations iterations(loop);
            co_await asyncio::sleep(100ms);
            const bool none_yet = served.all.empty();
            fill.clear();
            const TimePoint before = loop.time();
            co_await until([&] { return served.all.size() == 3; });
            const bool waited = loop.time() - before > 500ms;
            const bool once = errors.lines() == Lines{
                                                    "socket.accept() out of system resource: "
                                                    "OSError(24, 'Too many open files')"};
            good = none_yet && waited && once;
            if (!once) {
                for (const std::string& line : errors.lines())
                    std::fprintf(stderr, "%s\n", line.c_str());
            }
            clients.clear();
            co_await served.over();
        });
        ::_exit(good ? 0 : 1);
    };
    EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

// From now on accept4() of this process fails with `error`. Not to be undone.
bool no_more_accepts(unsigned error) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{std::size(program), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Ends this process: 0 if a server that cannot accept says so once, and waits without work.
[[noreturn]] void accept_fails_with(int error) {
    const auto main = [error]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const ErrorCapture errors(loop);
        Served served;
        const Serving server = co_await loop.create_server(served.factory(), "127.0.0.1", 0);
        if (!no_more_accepts(static_cast<unsigned>(error))) std::_Exit(77);
        const Socket client(AF_INET, SOCK_STREAM);
        const SocketAddress at = server.sockets()[0].getsockname();
        socket_calls::connect(client.fileno(), static_cast<const sockaddr*>(at.data()),
                              static_cast<socklen_t>(at.size()));
        const std::clock_t before = std::clock();
        co_await asyncio::sleep(200ms);
        if (std::clock() - before > CLOCKS_PER_SEC / 10) std::_Exit(2);
        const Lines lines = errors.lines();
        const bool once = lines.size() == 1 && lines[0].starts_with(
                                                   "socket.accept() out of system resource: "
                                                   "OSError(" +
                                                   std::to_string(error) + ", ");
        std::_Exit(once ? 0 : 1);
    };
    asyncio::EpollEventLoop::create()->run_until_complete(main());
    std::_Exit(3);
}

TEST(Server, PausesWhateverTheSystemRunsOutOf) {  // SV-04
    if (support::kThreadSanitizer) GTEST_SKIP() << "the sanitizer makes system calls itself";
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
        const auto ended = [](int status) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
                std::fprintf(stderr, "errors cannot be injected here\n");
            }
            return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
        };
        EXPECT_EXIT(accept_fails_with(error), ended, "") << std::strerror(error);
    }
}

TEST(Server, ConnectionsThatResetAtOnceAreTheirOwnErrors) {  // SV-04, TR-13
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const ErrorCapture errors(loop);
        Served served;
        const Serving server = co_await loop.create_server(served.factory(), "127.0.0.1", 0);
        const SocketAddress at = server.sockets()[0].getsockname();
        for (int bytes = 0; bytes < 30; ++bytes) {
            Socket client(AF_INET, SOCK_STREAM);
            socket_calls::connect(client.fileno(), static_cast<const sockaddr*>(at.data()),
                                  static_cast<socklen_t>(at.size()));
            const std::string sent(static_cast<std::size_t>(bytes), 'x');
            [[maybe_unused]] const ssize_t n =
                socket_calls::send(client.fileno(), sent.data(), sent.size(), MSG_NOSIGNAL);
            if (bytes % 3 == 0) co_await asyncio::sleep(0s);
            const linger at_once{1, 0};
            client.setsockopt(SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
        const auto client = co_await client_of(port_of(server));
        client->transport().write("and all is well");
        co_await until([&] {
            return !served.all.empty() && served.all.back()->received == "and all is well";
        });
        client->transport().close();
        co_await served.over();
        EXPECT_TRUE(errors.lines().empty());
    });
}

// ---- unix ---------------------------------------------------------------------------------------

TEST(CreateUnixServer, RemovesAStaleSocketAndItsOwn) {  // SV-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TemporaryFolder folder;
        const std::string path = folder.path() + "/s";
        {
            Socket stale(AF_UNIX, SOCK_STREAM);
            stale.bind(SocketAddress::unix(path));
        }
        struct stat found{};
        EXPECT_EQ(::stat(path.c_str(), &found), 0);
        Server server = co_await loop.create_unix_server(echo, path);
        const auto made = co_await loop.create_unix_connection(recorder, path);
        made.first.close();
        co_await made.second->lost;
        server.close();
        EXPECT_NE(::stat(path.c_str(), &found), 0);

        server = co_await loop.create_unix_server(echo, path, {.cleanup_socket = false});
        server.close();
        EXPECT_EQ(::stat(path.c_str(), &found), 0);
    });
}

TEST(CreateUnixServer, CancelledLeavesNothingOpen) {  // SV-03
    run_briefly([]() -> Coroutine<> {
        const TemporaryFolder folder;
        const std::string path = folder.path() + "/s";
        bool asked = true;
        for (int i = 0; asked; ++i) {
            auto task = create_task(get_running_loop().create_unix_server(echo, path));
            for (int k = 0; k < i; ++k) co_await asyncio::sleep(0s);
            asked = task.cancel();
            const auto ended = co_await as_result(task);
            EXPECT_EQ(asked, detail::is_cancelled_error(ended.error()));
            struct stat found{};
            EXPECT_TRUE(!asked || ::stat(path.c_str(), &found) != 0);
        }
    });
}

TEST(Server, CancelledWhileItLeavesWithIsClosed) {  // SO-07
    run_briefly([]() -> Coroutine<> {
        for (int ticks = 0; ticks < 3; ++ticks) {
            Served served;
            const Serving server =
                co_await get_running_loop().create_server(served.factory(), "127.0.0.1", 0);
            const auto client = co_await client_of(port_of(server));
            co_await until([&] { return served.all.size() == 1; });
            auto body = []() -> Coroutine<> { co_return; };
            auto task = create_task(with(server, body));
            for (int i = 0; i < ticks; ++i) co_await asyncio::sleep(0s);
            EXPECT_TRUE(task.cancel());  // it waits for the connection
            const auto ended = co_await as_result(task);
            EXPECT_TRUE(detail::is_cancelled_error(ended.error()));
            EXPECT_EQ(server.sockets().empty(), ticks > 0);
            client->transport().close();
            co_await client->lost;
        }
    });
}

TEST(CreateUnixServer, LeavesTheFileOfAnother) {  // SV-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TemporaryFolder folder;
        const std::string path = folder.path() + "/s";
        const Server first = co_await loop.create_unix_server(echo, path);
        const Server second = co_await loop.create_unix_server(echo, path);
        first.close();
        struct stat found{};
        EXPECT_EQ(::stat(path.c_str(), &found), 0);
        const auto made = co_await loop.create_unix_connection(recorder, path);
        made.first.close();
        co_await made.second->lost;
        second.close();
        EXPECT_NE(::stat(path.c_str(), &found), 0);
        second.close();
    });
}

TEST(CreateUnixServer, ChecksItsArguments) {  // SV-03
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TemporaryFolder folder;
        const std::string file = folder.path() + "/file";
        std::ofstream(file) << "no socket";
        EXPECT_EQ(co_await failure(loop.create_unix_server(echo, file)),
                  "AddressInUseError: [Errno 98] Address '" + file + "' is already in use");
        EXPECT_EQ(co_await failure(loop.create_unix_server(echo, "")),
                  "ValueError: path was not specified, and no sock specified");
        Socket both(AF_UNIX, SOCK_STREAM);
        EXPECT_EQ(co_await failure(loop.create_unix_server(echo, file, {.sock = both})),
                  "ValueError: path and sock can not be specified at the same time");
        Socket internet(AF_INET, SOCK_STREAM);
        const std::string shown = internet.repr();
        EXPECT_EQ(co_await failure(loop.create_unix_server(echo, "", {.sock = internet})),
                  "ValueError: A UNIX Domain Stream Socket was expected, got " + shown);
        EXPECT_EQ(co_await failure(loop.create_unix_server(echo, folder.path() + "/no/such")),
                  "FileNotFoundError: [Errno 2] No such file or directory");
        const std::string name = std::string(1, '\0') + folder.path();
        const Serving server = co_await loop.create_unix_server(echo, name);
        EXPECT_EQ((co_await failure(loop.create_unix_server(echo, name))).substr(0, 38),
                  "AddressInUseError: [Errno 98] Address ");
    });
}

}  // namespace

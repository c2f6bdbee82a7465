// What both back ends do where something is wrong or seldom: descriptors that were closed too
// early, copies of descriptors, one thread after another, and a system that has none left.
#include <asyncio.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "loop/loop.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

class Backends : public testing::TestWithParam<const char*> {
  protected:
    void SetUp() override {
        if (loop_ = make(); std::string_view(loop_->backend()) != GetParam()) {
            GTEST_SKIP() << "no io_uring here";
        }
    }
    static std::unique_ptr<EventLoop> make() {
        if (std::string_view(GetParam()) == "epoll") return EpollEventLoop::create();
        return UringEventLoop::create();
    }
    // Runs the loop for a while.
    void spin(Delay delay = 5ms) { loop_->run_until_complete(sleep(delay)); }

    std::unique_ptr<EventLoop> loop_;
};

INSTANTIATE_TEST_SUITE_P(All, Backends, testing::Values("epoll", "io_uring"),
                         [](const auto& info) { return std::string(info.param); });

// What it raises is raised here.
template <class F>
void on_thread(F fn) {
    std::exception_ptr error;
    std::thread([&] {
        try {
            fn();
        } catch (...) {
            // Raised again below.
            error = std::current_exception();
        }
    }).join();
    if (error) std::rethrow_exception(error);
}

// Two ends that the test closes itself, or somebody did.
struct Ends {
    int one = -1;
    int other = -1;
    Ends() {
        int fds[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return;
        one = fds[0];
        other = fds[1];
    }
    Ends(const Ends&) = delete;
    Ends& operator=(const Ends&) = delete;
    ~Ends() {
        if (one >= 0) ::close(one);
        if (other >= 0) ::close(other);
    }
    void say(const char* text = "x") const { ASSERT_GT(::write(other, text, 1), 0); }
    void hear() const {
        char c;
        ASSERT_EQ(::read(one, &c, 1), 1);
    }
};

// ---- descriptors that were closed too early

// L9.
TEST_P(Backends, RemovalOfAClosedDescriptorIsAnErrorAndNothingElse) {
    Ends ends;
    Socket kept(::dup(ends.one));
    int called = 0;
    auto token = std::make_shared<int>(0);
    loop_->add_reader(ends.one, [&called, token] { ++called; });
    loop_->add_writer(ends.one, [&called, token] { ++called; });
    const int fd = std::exchange(ends.one, -1);
    ::close(fd);
    EXPECT_EQ(support::raised<OSError>([&] { loop_->remove_reader(fd); }),
              "[Errno 9] Bad file descriptor");
    EXPECT_EQ(token.use_count(), 1);  // both callables are gone
    EXPECT_FALSE(loop_->remove_reader(fd));
    EXPECT_FALSE(loop_->remove_writer(fd));
    ends.say();
    bool innocent = false;
    const auto timer = loop_->call_later(1h, [&] { innocent = true; });
    spin();
    EXPECT_EQ(called, 0);
    EXPECT_FALSE(innocent);
}

// L9.
TEST_P(Backends, AnAdditionToAClosedDescriptorIsAnErrorAndForgetsIt) {
    Ends ends;
    Socket kept(::dup(ends.one));
    int called = 0;
    loop_->add_reader(ends.one, [&] { ++called; });
    const int fd = std::exchange(ends.one, -1);
    ::close(fd);
    support::raised<OSError>([&] { loop_->add_writer(fd, [] {}); });
    EXPECT_FALSE(loop_->remove_reader(fd));
    // The number serves for what is opened next.
    ASSERT_EQ(::dup2(kept.fileno(), fd), fd);
    ends.one = fd;
    int called_anew = 0;
    loop_->add_reader(fd, [&] {
        ++called_anew;
        loop_->remove_reader(fd);
    });
    ends.say();
    spin();
    EXPECT_EQ(called, 0);
    EXPECT_EQ(called_anew, 1);
}

// L9. A waiting task is told rather than left.
TEST_P(Backends, ATaskWaitsForNoDescriptorThatIsForgotten) {
    Ends ends;
    Socket kept(::dup(ends.one));
    loop_->run_until_complete([&]() -> Coroutine<> {
        const int fd = ends.one;
        auto reading = create_task(loop_->sock_recv(fd, 10));
        co_await sleep(0s);
        ends.one = -1;
        ::close(fd);
        const auto add = [&] { loop_->add_writer(fd, [] {}); };
        support::raised<OSError>(add);
        const auto outcome = co_await as_result(wait_for(reading, 5s));
        EXPECT_TRUE(outcome.holds<RuntimeError>());
    });
}

// L9.
TEST_P(Backends, AClosedNumberThatIsOpenedAgainIsWatchedAnew) {
    Ends before;
    Ends after;
    Socket kept(::dup(before.one));
    std::string calls;
    loop_->add_reader(before.one, [&] { calls += 'b'; });
    spin();
    const int fd = before.one;
    ASSERT_EQ(::dup2(after.one, fd), fd);  // closes it, and gives its number away
    loop_->add_reader(fd, [&] {
        calls += 'a';
        loop_->remove_reader(fd);
    });
    before.say();
    spin();
    EXPECT_EQ(calls, "");
    after.say();
    spin();
    EXPECT_EQ(calls, "a");
}

// L9. What is left of a descriptor with the kernel is reported for ever.
TEST_P(Backends, ACopyOfAClosedDescriptorDoesNotKeepTheLoopBusy) {
    Ends ends;
    Ends others;
    Socket kept(::dup(ends.one));
    int called = 0;
    int others_called = 0;
    loop_->add_reader(ends.one, [&] { ++called; });
    loop_->add_reader(others.one, [&] {
        ++others_called;
        others.hear();
    });
    const int fd = std::exchange(ends.one, -1);
    ::close(fd);
    EXPECT_TRUE(loop_->remove_reader(fd));
    ends.say();
    spin();
    int waits = 0;
    loop_->set_wait_hooks([&] { ++waits; }, [] {});
    loop_->run_until_complete([&]() -> Coroutine<> {
        auto [mine, theirs] = Socket::pair();
        StreamReader reader;
        auto [r, w] = co_await open_connection({.sock = std::move(mine)});
        EXPECT_EQ(::write(theirs.fileno(), "line\n", 5), 5);
        EXPECT_EQ(co_await r.readline(), "line\n");
        others.say();
        co_await sleep(30ms);
        w.close();
    });
    EXPECT_LT(waits, 60);
    EXPECT_EQ(called, 0);
    EXPECT_EQ(others_called, 1);
    others.say();
    spin();
    EXPECT_EQ(others_called, 2);
}

// L9. No memory is set aside for them.
TEST_P(Backends, NumbersThatAreNoDescriptorsAreRefused) {
    for (const int fd : {INT_MAX, 1 << 30, 5000}) {
        EXPECT_EQ(support::raised<OSError>([&] { loop_->add_reader(fd, [] {}); }),
                  "[Errno 9] Bad file descriptor");
        EXPECT_FALSE(loop_->remove_reader(fd));
        EXPECT_FALSE(loop_->remove_writer(fd));
    }
}

// An exception leaves the loop while a reader's entry is queued, and a poll finds it ready again.
TEST_P(Backends, AnEntryThatIsLeftInTheQueueIsNotQueuedTwice) {
    Ends ends;
    Ends first;
    int called = 0;
    loop_->add_reader(first.one, [&] {
        first.hear();
        throw KeyboardInterrupt();
    });
    loop_->add_reader(ends.one, [&] { ++called; });
    first.say();
    ends.say();
    // The entry goes back to the front of the queue, and the kernel is asked after some turns.
    bool interrupted = false;
    try {
        loop_->run_until_complete(sleep(1s));
    } catch (const KeyboardInterrupt&) {
        interrupted = true;
    }
    EXPECT_TRUE(interrupted);
    auto& impl = loop_->impl();
    const int before = called;
    for (int i = 0; i < 3; ++i) impl.backend->wait(0, impl.ready);
    loop_->run_once(0s);
    EXPECT_EQ(called, before + 1);
    loop_->run_once(0s);
    EXPECT_LE(called, before + 2);
}

// ---- copies of descriptors

int listening(int& port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    // Safe because each is a sockaddr by its first member.
    auto* const name = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(fd, name, size), 0);
    EXPECT_EQ(::listen(fd, 10), 0);
    EXPECT_EQ(::getsockname(fd, name, &size), 0);
    port = ntohs(at.sin_port);
    return fd;
}

Coroutine<> greet(StreamReader, StreamWriter w) {
    w.write("hi\n");
    co_await w.drain();
    w.close();
}

// L41.
TEST_P(Backends, AListenerIsNotDeafOnceItsCopyIsClosed) {
    loop_->run_until_complete([&]() -> Coroutine<> {
        int port = 0;
        const int one = listening(port);
        const int two = ::dup(one);
        auto first = co_await start_server(greet, {.sock = Socket(one)});
        auto second = co_await start_server(greet, {.sock = Socket(two)});
        co_await sleep(5ms);
        first.close();
        co_await first.wait_closed();
        co_await sleep(5ms);
        auto [r, w] = co_await open_connection("127.0.0.1", port);
        EXPECT_EQ(co_await wait_for(r.readline(), 5s), "hi\n");
        w.close();
        second.close();
    });
}

// L41.
TEST_P(Backends, ADatagramEndpointIsNotDeafOnceItsCopyIsClosed) {
    loop_->run_until_complete([&]() -> Coroutine<> {
        auto [mine, theirs] = Socket::pair(AF_UNIX, SOCK_DGRAM);
        Socket copy = mine.dup();
        auto one = co_await open_datagram_endpoint({.sock = std::move(mine)});
        auto two = co_await open_datagram_endpoint({.sock = std::move(copy)});
        co_await sleep(5ms);
        one.close();
        co_await sleep(5ms);
        EXPECT_EQ(::send(theirs.fileno(), "hello", 5, 0), 5);
        const Datagram got = co_await wait_for(two.receive(), 5s);
        EXPECT_EQ(got.data, "hello");
        two.close();
    });
}

// L41.
TEST_P(Backends, AStreamGoesOnOnceItsCopyIsClosed) {
    loop_->run_until_complete([&]() -> Coroutine<> {
        auto [mine, theirs] = Socket::pair();
        Socket copy = mine.dup();
        auto [r1, w1] = co_await open_connection({.sock = std::move(mine)});
        auto [r2, w2] = co_await open_connection({.sock = std::move(copy)});
        co_await sleep(5ms);
        w1.transport().abort();
        co_await sleep(5ms);
        EXPECT_EQ(::send(theirs.fileno(), "line\n", 5, 0), 5);
        EXPECT_EQ(co_await wait_for(r2.readline(), 5s), "line\n");
        w2.close();
    });
}

// L41. Standard input and output may be one terminal.
TEST_P(Backends, RemovalOfAWriterDoesNotTouchTheReaderOfACopy) {
    Ends ends;
    const Socket copy(::dup(ends.one));
    int called = 0;
    loop_->add_reader(ends.one, [&] {
        ++called;
        ends.hear();
    });
    loop_->add_writer(copy.fileno(), [] {});
    spin();
    loop_->remove_writer(copy.fileno());
    loop_->add_reader(copy.fileno(), [] {});
    spin();
    loop_->remove_reader(copy.fileno());
    spin();
    EXPECT_EQ(called, 0);
    ends.say();
    spin();
    EXPECT_EQ(called, 1);
    loop_->remove_reader(ends.one);
}

// L41.
TEST_P(Backends, APipeGoesOnOnceItsCopyIsClosed) {
    loop_->run_until_complete([&]() -> Coroutine<> {
        int fds[2];
        EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
        const int copy = ::fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        struct Reads : Protocol {
            void connection_made(Transport& t) override { transport = t; }
            void data_received(std::string_view data) override { text += data; }
            Transport transport;
            std::string text;
        };
        auto one = std::make_shared<Reads>();
        auto two = std::make_shared<Reads>();
        co_await loop_->connect_read_pipe([&] { return one; }, OwnedDescriptor(fds[0]));
        co_await loop_->connect_read_pipe([&] { return two; }, OwnedDescriptor(copy));
        co_await sleep(5ms);
        one->transport.close();
        co_await sleep(5ms);
        EXPECT_EQ(::write(fds[1], "hello", 5), 5);
        co_await sleep(5ms);
        EXPECT_EQ(two->text, "hello");
        two->transport.close();
        ::close(fds[1]);
    });
}

// ---- threads

// L10. The C library gives a new thread the id of one that has ended.
TEST_P(Backends, ALoopRunsOnOneThreadAfterAnother) {
    int ran = 0;
    for (int i = 0; i < 10; ++i) {
        on_thread([&] {
            loop_->run_until_complete(sleep(1ms));
            ++ran;
        });
    }
    EXPECT_EQ(ran, 10);
    on_thread([&] { loop_->close(); });
}

// What is in flight when the loop moves.
struct InFlight {
    std::optional<Server> server;
    Socket peer;
    Socket datagrams_peer;
    Socket raw;
    Socket raw_peer;
    std::vector<Task<>> tasks;
    int readers = 0;
};

Coroutine<> begin_all(InFlight& f, EventLoop& loop) {
    auto [mine, theirs] = Socket::pair();
    f.peer = std::move(theirs);
    auto [r, w] = co_await open_connection({.sock = std::move(mine)});
    f.server.emplace(co_await start_server(greet, "127.0.0.1", 0));
    auto [datagrams, datagrams_peer] = Socket::pair(AF_UNIX, SOCK_DGRAM);
    f.datagrams_peer = std::move(datagrams_peer);
    auto endpoint = co_await open_datagram_endpoint({.sock = std::move(datagrams)});
    auto [raw, raw_peer] = Socket::pair();
    f.raw = std::move(raw);
    f.raw_peer = std::move(raw_peer);
    File file = co_await temporary_file();
    co_await file.write(std::string(60'000, 'x'));

    const auto reads = [](StreamReader from, StreamWriter to) -> Coroutine<> {
        EXPECT_EQ(co_await from.readline(), "one\n");
        EXPECT_EQ(co_await from.readline(), "two\n");
        to.close();
    };
    const auto hears = [](DatagramEndpoint e) -> Coroutine<> {
        const Datagram got = co_await e.receive();
        EXPECT_EQ(got.data, "datagram");
        e.close();
    };
    const auto receives = [](EventLoop& on, int fd) -> Coroutine<> {
        EXPECT_EQ(co_await on.sock_recv(fd, 10), "raw");
    };
    const auto writes = [](File to, std::int64_t i) -> Coroutine<> {
        const std::string data(60'000, static_cast<char>('a' + i));
        EXPECT_EQ(co_await to.pwrite(data, i * 60'000), data.size());
        EXPECT_EQ(co_await to.pread(60'000, i * 60'000), data);
        co_await to.sync();
    };
    const auto naps = []() -> Coroutine<> { co_await sleep(3ms); };
    f.tasks.push_back(create_task(reads(r, w)));
    f.tasks.push_back(create_task(hears(endpoint)));
    f.tasks.push_back(create_task(receives(loop, f.raw.fileno())));
    for (int i = 0; i < 8; ++i) f.tasks.push_back(create_task(writes(file, i)));
    f.tasks.push_back(create_task(naps));
    loop.add_reader(f.raw_peer.fileno(), [&f, &loop] {
        ++f.readers;
        loop.remove_reader(f.raw_peer.fileno());
    });
    co_await sleep(0s);
    co_await sleep(0s);
}

// L10, L42.
TEST_P(Backends, AllThatIsInFlightGoesOnOnTheNextThread) {
    for (int round = 0; round < 5; ++round) {
        InFlight f;
        on_thread([&] { loop_->run_until_complete(begin_all(f, *loop_)); });
        // The system has cancelled what the thread had in flight, and some of it comes meanwhile.
        EXPECT_EQ(::send(f.peer.fileno(), "one\n", 4, MSG_NOSIGNAL), 4);
        on_thread([&] {
            loop_->run_until_complete([&]() -> Coroutine<> {
                EXPECT_EQ(::send(f.raw.fileno(), "to the reader", 13, 0), 13);
                for (int i = 0; i < 500 && f.readers == 0; ++i) co_await sleep(1ms);
            });
        });
        EXPECT_EQ(f.readers, 1);
        EXPECT_EQ(::send(f.peer.fileno(), "two\n", 4, MSG_NOSIGNAL), 4);
        EXPECT_EQ(::send(f.datagrams_peer.fileno(), "datagram", 8, 0), 8);
        EXPECT_EQ(::send(f.raw_peer.fileno(), "raw", 3, 0), 3);
        const std::jthread waker([&] { loop_->call_soon_threadsafe([] {}); });
        on_thread([&] {
            loop_->run_until_complete([&]() -> Coroutine<> {
                const auto port = f.server->sockets().front().getsockname().port();
                auto [r, w] = co_await open_connection("127.0.0.1", port);
                EXPECT_EQ(co_await wait_for(r.readline(), 10s), "hi\n");
                w.close();
                for (auto& task : f.tasks) co_await wait_for(task, 10s);
                f.server->close();
                f.tasks.clear();
            });
        });
    }
    on_thread([&] { loop_->close(); });
}

// L10. What nobody runs any more is given back.
TEST_P(Backends, ALoopWithAllInFlightIsClosedOnAnotherThread) {
    loop_->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
    InFlight f;
    on_thread([&] { loop_->run_until_complete(begin_all(f, *loop_)); });
    EXPECT_EQ(::send(f.peer.fileno(), "one\n", 4, MSG_NOSIGNAL), 4);
    on_thread([&] { loop_->close(); });
    f.tasks.clear();
    char c;
    // Its socket is closed, with what nobody has read: soon, since io_uring tidies up by itself.
    ssize_t n;
    int tries = 0;
    do {
        n = ::recv(f.peer.fileno(), &c, 1, 0);
        if (n < 0 && errno == EAGAIN) ::usleep(1000);
    } while (n < 0 && errno == EAGAIN && ++tries < 5000);
    EXPECT_TRUE(n == 0 || (n < 0 && errno == ECONNRESET)) << errno;
}

// L10. More is asked for than the ring has places, on a thread that may not use it.
TEST_P(Backends, WhatAnotherThreadAsksForBeginsWhenTheLoopRuns) {
    spin();
    Ends ends;
    int called = 0;
    on_thread([&] {
        for (int i = 0; i < 3000; ++i) {
            loop_->add_reader(ends.one, [] {});
            loop_->remove_reader(ends.one);
        }
        loop_->add_reader(ends.one, [&] {
            ++called;
            ends.hear();
        });
    });
    ends.say();
    spin();
    EXPECT_EQ(called, 1);
    loop_->remove_reader(ends.one);
}

// ---- a system that has nothing left

class Limit {
  public:
    Limit(int what, rlim_t most) : what_(what) {
        ::getrlimit(static_cast<__rlimit_resource>(what_), &before_);
        const rlimit now{most, before_.rlim_max};
        ::setrlimit(static_cast<__rlimit_resource>(what_), &now);
    }
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
    ~Limit() { ::setrlimit(static_cast<__rlimit_resource>(what_), &before_); }

  private:
    int what_;
    rlimit before_{};
};

// L11.
TEST_P(Backends, WithoutDescriptorsALoopIsRefusedAndAMoveIsAnErrorThatPasses) {
    if (support::kAddressSanitizer) GTEST_SKIP() << support::kNeedsDescriptors;
    InFlight f;
    on_thread([&] { loop_->run_until_complete(begin_all(f, *loop_)); });
    {
        const Limit none(RLIMIT_NOFILE, 3);
        for (int i = 0; i < 3; ++i) {
            on_thread([&] {
                try {
                    loop_->run_until_complete(sleep(1ms));
                } catch (const OSError& e) {
                    EXPECT_EQ(e.code().value(), EMFILE);
                }
            });
        }
        support::raised<OSError>([] { make(); });
        // None of these needs any.
        f.server->close();
        loop_->remove_reader(f.raw_peer.fileno());
    }
    EXPECT_EQ(::send(f.peer.fileno(), "one\ntwo\n", 8, MSG_NOSIGNAL), 8);
    EXPECT_EQ(::send(f.datagrams_peer.fileno(), "datagram", 8, 0), 8);
    EXPECT_EQ(::send(f.raw_peer.fileno(), "raw", 3, 0), 3);
    on_thread([&] {
        loop_->run_until_complete([&]() -> Coroutine<> {
            for (auto& task : f.tasks) co_await wait_for(task, 10s);
            f.tasks.clear();
        });
    });
}

// L11.
TEST_P(Backends, WithoutDescriptorsALoopThatHasMovedCanBeClosed) {
    if (support::kAddressSanitizer) GTEST_SKIP() << support::kNeedsDescriptors;
    loop_->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
    InFlight f;
    on_thread([&] { loop_->run_until_complete(begin_all(f, *loop_)); });
    const Limit none(RLIMIT_NOFILE, 3);
    on_thread([&] { loop_->close(); });
    f.tasks.clear();
}

// ---- descriptors 0 to 2

int own_descriptors_below_three(const char* backend) {
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    ::setenv("ASYNCIO_BACKEND", backend, 1);
    int low = 0;
    const auto look = [&low] {
        for (int fd = 0; fd < 3; ++fd) low += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    };
    const auto loop = new_event_loop();
    look();
    loop->run_until_complete([&]() -> Coroutine<> {
        auto server = co_await start_server(greet, "127.0.0.1", 0);
        look();
        const auto port = server.sockets().front().getsockname().port();
        auto [r, w] = co_await open_connection("127.0.0.1", port);
        look();
        if (co_await r.readline() != "hi\n") low += 100;
        w.close();
        const auto pair = Socket::pair();
        const Socket copy = pair.first.dup();
        look();
        File file = co_await temporary_file();
        co_await file.write("text");
        co_await file.pread(4, 0);
        look();
        auto endpoint = co_await open_datagram_endpoint({.local_addr = HostPort("127.0.0.1", 0)});
        look();
        endpoint.close();
        SubprocessOptions pipes;
        pipes.stdin_ = subprocess::PIPE;
        pipes.stdout_ = subprocess::PIPE;
        pipes.stderr_ = subprocess::DEVNULL;
        auto process = co_await create_subprocess_exec(pipes, "cat");
        look();
        auto [out, err] = co_await process.communicate("through cat");
        if (out != "through cat") low += 1000;
        server.close();
        co_await server.wait_closed();
    });
    loop->add_signal_handler(SIGUSR1, [] {});
    loop->run_until_complete(sleep(1ms));
    look();
    std::thread([&] { loop->run_until_complete(sleep(1ms)); }).join();
    look();
    loop->close();
    return low > 255 ? 255 : low;
}

// N13. A program prints into them.
TEST_P(Backends, TheirDescriptorsAreNeverThoseOfTheStandardStreams) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(own_descriptors_below_three(GetParam()));
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace

// The io_uring back end at its limits. What it shares with epoll is tested by running all other
// tests with ASYNCIO_BACKEND=io_uring.
#include <asyncio.hpp>

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "loop.hpp"
#include "selector_events.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

struct LoopOn : EventLoop {
    explicit LoopOn(std::unique_ptr<detail::Backend> b)
        : EventLoop(new detail::Loop(std::move(b))) {}
};

// Null where the system has no io_uring.
std::unique_ptr<EventLoop> uring_loop(detail::UringSizes sizes = {}) {
    std::string why;
    auto backend = detail::make_uring_backend(why, sizes);
    return backend ? std::make_unique<LoopOn>(std::move(backend)) : nullptr;
}

#define NEED(loop) \
    if (!(loop)) GTEST_SKIP() << "no io_uring here"

// What came, and when it ended.
class Collector : public Protocol {
  public:
    void connection_made(Transport& t) override { transport = t; }
    void data_received(std::string_view data) override { text += data; }
    void connection_lost(std::exception_ptr e) override {
        error = std::move(e);
        lost.set_result();
    }
    Transport transport;
    std::string text;
    std::exception_ptr error;
    Future<> lost;
};

struct Link {
    std::shared_ptr<Collector> protocol = std::make_shared<Collector>();
    Socket peer;
};

Link link(EventLoop& loop) {
    Link l;
    auto [mine, theirs] = Socket::pair();
    l.peer = std::move(theirs);
    detail::make_socket_transport(loop, std::move(mine), l.protocol);
    return l;
}

void send_all(const Socket& s, std::string_view data) {
    while (!data.empty()) {
        const ssize_t n = ::send(s.fileno(), data.data(), data.size(), MSG_NOSIGNAL);
        ASSERT_GT(n, 0) << errno;
        data.remove_prefix(static_cast<std::size_t>(n));
    }
}

std::string letters(std::size_t n, std::size_t from) {
    std::string text(n, ' ');
    for (std::size_t i = 0; i < n; ++i) text[i] = static_cast<char>('a' + (i * 7 + from) % 26);
    return text;
}

TEST(Uring, NamesItself) {
    const auto loop = uring_loop();
    NEED(loop);
    EXPECT_STREQ(loop->backend(), "io_uring");
    EXPECT_EQ(repr(*loop), "<UringEventLoop running=False closed=False debug=False>");
}

TEST(Uring, MoreStreamsThanBuffersLoseNothing) {
    const auto loop = uring_loop({.buffers = 2});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        constexpr std::size_t kLinks = 40;
        std::vector<Link> links;
        for (std::size_t i = 0; i < kLinks; ++i) links.push_back(link(*loop));
        co_await sleep(0s);
        for (std::size_t i = 0; i < kLinks; ++i) {
            send_all(links[i].peer, letters(40'000, i));
            links[i].peer.close();
        }
        for (std::size_t i = 0; i < kLinks; ++i) {
            co_await links[i].protocol->lost;
            EXPECT_EQ(links[i].protocol->text, letters(40'000, i)) << i;
        }
    });
}

TEST(Uring, AFullCompletionQueueLosesNothing) {
    const auto loop = uring_loop({.entries = 4, .completions = 8, .buffers = 256});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        constexpr std::size_t kLinks = 200;
        std::vector<Link> links;
        for (std::size_t i = 0; i < kLinks; ++i) links.push_back(link(*loop));
        co_await sleep(0s);
        for (int round = 0; round < 5; ++round) {
            for (std::size_t i = 0; i < kLinks; ++i) send_all(links[i].peer, letters(10, i));
        }
        for (auto& l : links) l.peer.close();
        for (std::size_t i = 0; i < kLinks; ++i) {
            co_await links[i].protocol->lost;
            std::string expected;
            for (int round = 0; round < 5; ++round) expected += letters(10, i);
            EXPECT_EQ(links[i].protocol->text, expected) << i;
        }
    });
}

TEST(Uring, APausedStreamHoldsNoBufferAndPushesBack) {
    const auto loop = uring_loop({.buffers = 2});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        Link paused = link(*loop);
        Link other = link(*loop);
        co_await sleep(0s);
        paused.protocol->transport.pause_reading();
        const std::string data = letters(3'000'000, 3);
        std::size_t sent = 0;
        // As much as it takes, then as long as nothing more is taken.
        for (int idle = 0; idle < 20;) {
            const ssize_t n = ::send(paused.peer.fileno(), data.data() + sent, data.size() - sent,
                                     MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) sent += static_cast<std::size_t>(n);
            idle = n > 0 ? 0 : idle + 1;
            co_await sleep(1ms);
        }
        EXPECT_LT(sent, data.size()) << "memory must be bounded";
        send_all(other.peer, "served");
        other.peer.close();
        co_await other.protocol->lost;
        EXPECT_EQ(other.protocol->text, "served");
        EXPECT_EQ(paused.protocol->text, "");

        paused.protocol->transport.resume_reading();
        while (sent < data.size()) {
            const ssize_t n = ::send(paused.peer.fileno(), data.data() + sent, data.size() - sent,
                                     MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) sent += static_cast<std::size_t>(n);
            co_await sleep(0s);
        }
        paused.peer.close();
        co_await paused.protocol->lost;
        EXPECT_TRUE(paused.protocol->text == data);
    });
}

int bytes_in(int fd) {
    int n = 0;
    EXPECT_EQ(::ioctl(fd, FIONREAD, &n), 0);
    return n;
}

// Takes so much at a time, and then pauses.
class Portions : public Collector {
  public:
    void data_received(std::string_view data) override {
        Collector::data_received(data);
        if (text.size() >= portion) transport.pause_reading();
    }
    std::size_t portion = SIZE_MAX;
};

TEST(Uring, AReceiveThatIsCancelledAfterAllWasTakenBeginsAgain) {
    const auto loop = uring_loop();
    NEED(loop);
    constexpr std::size_t kStashed = 80'000;  // more than is kept of a paused stream
    loop->run_until_complete([&]() -> Coroutine<> {
        const auto protocol = std::make_shared<Portions>();
        auto [mine, peer] = Socket::pair();
        const int fd = mine.fileno();
        detail::make_socket_transport(*loop, std::move(mine), protocol);
        co_await sleep(0s);
        for (int round = 0; round < 10; ++round) {
            protocol->text.clear();
            protocol->portion = kStashed;
            protocol->transport.pause_reading();
            send_all(peer, letters(kStashed, 1));
            // Without waiting: the kernel is looked at once in many iterations.
            while (bytes_in(fd) > 0) co_await sleep(0s);
            // 1. It is taken in the iteration in which the cancel was asked for, 2. the protocol
            // pauses, 3. the receive ends, 4. and begins again here.
            protocol->transport.resume_reading();
            co_await sleep(1ms);
            protocol->portion = SIZE_MAX;
            protocol->transport.resume_reading();
            send_all(peer, "more");
            for (int i = 0; i < 2000 && protocol->text.size() < kStashed + 4; ++i) {
                co_await sleep(1ms);
            }
            if (protocol->text.size() != kStashed + 4) ADD_FAILURE() << "stopped in " << round;
            if (protocol->text.size() != kStashed + 4) break;
        }
        protocol->transport.close();
        co_await protocol->lost;
    });
}

TEST(Uring, ALoopThatMovesToAnotherThreadTakesItsConnectionsAlong) {
    const auto loop = uring_loop();
    NEED(loop);
    Link l;
    loop->run_until_complete([&]() -> Coroutine<> {
        l = link(*loop);
        co_await sleep(1ms);
        send_all(l.peer, "first ");
        while (l.protocol->text.empty()) co_await sleep(1ms);
        send_all(l.peer, "second ");
    });
    std::thread other([&] {
        loop->run_until_complete([&]() -> Coroutine<> {
            while (l.protocol->text != "first second ") co_await sleep(1ms);
            send_all(l.peer, "third");
            l.peer.close();
            co_await l.protocol->lost;
        });
    });
    other.join();
    EXPECT_EQ(l.protocol->text, "first second third");
}

TEST(Uring, AClosedTransportClosesItsSocketAtOnce) {
    const auto loop = uring_loop();
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        Link l = link(*loop);
        co_await sleep(1ms);
        l.protocol->transport.close();
        co_await l.protocol->lost;
        char c;
        EXPECT_EQ(::recv(l.peer.fileno(), &c, 1, MSG_DONTWAIT), 0) << "the end, not EAGAIN";
    });
}

TEST(Uring, ADescriptorNumberIsUsedAgainSafely) {
    const auto loop = uring_loop();
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        for (int i = 0; i < 200; ++i) {
            Link l = link(*loop);
            co_await sleep(0s);
            send_all(l.peer, "to the one before");
            l.protocol->transport.abort();
            co_await l.protocol->lost;
            Link next = link(*loop);
            send_all(next.peer, "x");
            next.peer.close();
            co_await next.protocol->lost;
            EXPECT_EQ(next.protocol->text, "x");
        }
    });
}

TEST(Uring, WatchedDescriptorsAreLevelTriggered) {  // FD-01
    const auto loop = uring_loop();
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        auto [a, b] = Socket::pair();
        int calls = 0;
        int writes = 0;
        Future<> enough;
        loop->add_reader(a.fileno(), [&] {
            if (++calls == 3) enough.set_result();
        });
        loop->add_writer(a.fileno(), [&] {
            if (++writes == 2) loop->remove_writer(a.fileno());
        });
        send_all(b, "one message, never read");
        co_await enough;
        EXPECT_EQ(writes, 2);
        EXPECT_TRUE(loop->remove_reader(a.fileno()));
        const int seen = calls;
        co_await sleep(5ms);
        EXPECT_EQ(calls, seen);
    });
}

TEST(Uring, AFileThatIsAlwaysReadyIsRefused) {  // as epoll does
    const auto loop = uring_loop();
    NEED(loop);
    std::FILE* file = std::tmpfile();
    EXPECT_THROW(loop->add_reader(fileno(file), [] {}), PermissionError);
    std::fclose(file);
    EXPECT_THROW(loop->add_reader(999'999, [] {}), OSError);
}

// ---- where the system refuses

std::string* messages = nullptr;

// In the child of a fork: io_uring_setup fails with EPERM from now on.
bool forbid_io_uring() {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{4, code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int refused() {
    if (!forbid_io_uring()) return 77;
    std::string text;
    messages = &text;
    log::set_sink([](log::Level, std::string_view line) { *messages += line; });
    const auto loop = UringEventLoop::create();
    if (std::string_view(loop->backend()) != "epoll") return 1;
    if (text.find("no io_uring, epoll serves: io_uring_setup") == std::string::npos) return 2;
    if (text.find("seccomp profile") == std::string::npos) return 3;
    return loop->run_until_complete([]() -> Coroutine<int> {
        co_await sleep(1ms);
        co_return 0;
    });
}

TEST(Uring, WhereItIsRefusedEpollServesAndALineSaysWhatToChange) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(refused());
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace

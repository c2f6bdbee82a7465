// The io_uring back end at its limits. What it shares with epoll is tested by running all other
// tests with ASYNCIO_BACKEND=io_uring.
#include <asyncio.hpp>

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "loop/loop.hpp"
#include "net/make_transport.hpp"
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
    int fd = -1;  // the other end
};

Link link(EventLoop& loop) {
    Link l;
    auto [mine, theirs] = Socket::pair();
    l.peer = std::move(theirs);
    l.fd = mine.fileno();
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

void raise_descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
std::size_t descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
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

// ---- buffers

// Whether all buffers are with the system again: with one less than two, two streams of which one
// is paused could not both go on.
Coroutine<> expect_buffers_back(EventLoop& loop) {
    Link first = link(loop);
    Link second = link(loop);
    send_all(first.peer, letters(100'000, 1));
    send_all(second.peer, letters(100'000, 2));
    first.peer.close();
    second.peer.close();
    co_await wait_for(first.protocol->lost, 10s);
    co_await wait_for(second.protocol->lost, 10s);
    EXPECT_TRUE(first.protocol->text == letters(100'000, 1));
    EXPECT_TRUE(second.protocol->text == letters(100'000, 2));
}

TEST(Uring, ACancelThatRacesWithACompletionGivesTheBufferBack) {
    const auto loop = uring_loop({.buffers = 2});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        for (int i = 0; i < 50; ++i) {
            Link l = link(*loop);
            co_await sleep(i % 2 ? 0ms : 1ms);  // in flight, or not yet submitted
            send_all(l.peer, letters(20'000, 0));
            // What has been received is not looked at before the cancel.
            l.protocol->transport.abort();
            co_await l.protocol->lost;
        }
        co_await expect_buffers_back(*loop);
    });
}

TEST(Uring, AnAbortedStreamGivesBackWhatNobodyHasRead) {
    const auto loop = uring_loop({.buffers = 2});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        for (int i = 0; i < 50; ++i) {
            Link l = link(*loop);
            co_await sleep(0s);
            if (i % 2) l.protocol->transport.pause_reading();
            send_all(l.peer, letters(20'000, 0));
            if (i % 3) l.peer.close();
            while (bytes_in(l.fd) > 0 && i % 3 == 0) co_await sleep(0s);
            co_await sleep(0s);
            l.protocol->transport.abort();
            co_await l.protocol->lost;
        }
        co_await expect_buffers_back(*loop);
    });
}

// Takes a few bytes at a time into memory of its own.
class Sipping : public BufferedProtocol {
  public:
    void connection_made(Transport& t) override { transport = t; }
    std::span<char> get_buffer(std::size_t) override { return buffer; }
    void buffer_updated(std::size_t n) override { text.append(buffer.data(), n); }
    void connection_lost(std::exception_ptr) override { lost.set_result(); }
    Transport transport;
    std::array<char, 777> buffer{};
    std::string text;
    Future<> lost;
};

TEST(Uring, ABufferIsGivenBackOnceItIsTakenInPieces) {
    const auto loop = uring_loop({.buffers = 2});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        const auto protocol = std::make_shared<Sipping>();
        auto [mine, peer] = Socket::pair();
        detail::make_socket_transport(*loop, std::move(mine), protocol);
        co_await sleep(0s);
        send_all(peer, letters(100'000, 5));
        peer.close();
        co_await wait_for(protocol->lost, 10s);
        EXPECT_TRUE(protocol->text == letters(100'000, 5));
        co_await expect_buffers_back(*loop);
    });
}

// ---- many operations

TEST(Uring, ThousandsOfOperationsInFlightOnARingThatHoldsFour) {
    raise_descriptor_limit();
    const auto loop = uring_loop({.entries = 4, .completions = 8, .buffers = 16});
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        const std::size_t n = std::min<std::size_t>(2000, descriptor_limit() / 2 - 100);
        std::vector<Link> links;
        for (std::size_t i = 0; i < n; ++i) links.push_back(link(*loop));
        co_await sleep(1ms);
        for (std::size_t i = 0; i < n; ++i) send_all(links[i].peer, letters(50, i));
        for (std::size_t i = 0; i < n; i += 2) links[i].peer.close();
        for (std::size_t i = 0; i < n; i += 2) {
            co_await wait_for(links[i].protocol->lost, 30s);
            EXPECT_EQ(links[i].protocol->text, letters(50, i)) << i;
        }
        for (std::size_t i = 1; i < n; i += 2) {
            EXPECT_EQ(links[i].protocol->text, letters(50, i)) << i;
            links[i].protocol->transport.abort();
        }
        for (std::size_t i = 1; i < n; i += 2) co_await wait_for(links[i].protocol->lost, 30s);
    });
}

// ---- how often the kernel is asked

// The calls that a child makes between its first and second getppid(2), by number. Empty where a
// process may not be traced.
std::map<long, int> traced_calls(void (*body)()) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
        ::raise(SIGSTOP);
        body();
        ::_exit(0);
    }
    std::map<long, int> calls;
    int status = 0;
    bool counts = false;
    bool entry = true;
    ::waitpid(child, &status, 0);
    if (WIFSTOPPED(status)) ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD);
    while (WIFSTOPPED(status)) {
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            __ptrace_syscall_info info{};
            ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
            const auto number = static_cast<long>(info.entry.nr);
            if (entry && number == SYS_getppid) counts = !counts;
            if (entry && counts) ++calls[number];
            entry = !entry;
        }
        if (::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) != 0) break;
        if (::waitpid(child, &status, 0) != child) break;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) calls.clear();
    return calls;
}

constexpr int kRounds = 50;

void many_streams() {
    const auto loop = uring_loop();
    if (!loop) ::_exit(77);
    loop->run_until_complete([&]() -> Coroutine<> {
        std::vector<Link> links;
        for (int i = 0; i < 20; ++i) links.push_back(link(*loop));
        co_await sleep(1ms);
        ::syscall(SYS_getppid);
        for (std::size_t round = 1; round <= kRounds; ++round) {
            for (const Link& l : links) send_all(l.peer, "x");
            // The 64 iterations in which the kernel is not asked are over after the second.
            while (links.back().protocol->text.size() < round) co_await sleep(1us);
        }
        ::syscall(SYS_getppid);
        for (const Link& l : links) {
            if (l.protocol->text.size() != kRounds) ::_exit(1);
            l.protocol->transport.abort();
        }
        co_await sleep(1ms);
    });
}

TEST(Uring, AsksTheKernelOnceAnIteration) {
    const auto calls = traced_calls(many_streams);
    if (calls.empty()) GTEST_SKIP() << "no io_uring here, or no tracing";
    EXPECT_EQ(calls.at(SYS_sendto), 20 * kRounds);
    // Each stream's receive goes on; nothing but the wait is a call.
    EXPECT_LE(calls.at(SYS_io_uring_enter), 4 * kRounds);
    EXPECT_EQ(calls.count(SYS_recvfrom), 0u);
    EXPECT_EQ(calls.count(SYS_epoll_pwait), 0u);
#ifdef SYS_epoll_wait  // not on aarch64
    EXPECT_EQ(calls.count(SYS_epoll_wait), 0u);
#endif
}

void many_timers() {
    const auto loop = uring_loop();
    if (!loop) ::_exit(77);
    loop->run_until_complete([&]() -> Coroutine<> {
        ::syscall(SYS_getppid);
        for (int i = 0; i < kRounds; ++i) co_await sleep(1ms);
        ::syscall(SYS_getppid);
    });
}

TEST(Uring, TimersAreTheTimeoutOfTheWait) {
    const auto calls = traced_calls(many_timers);
    if (calls.empty()) GTEST_SKIP() << "no io_uring here, or no tracing";
    // On a busy machine a millisecond may be over before the loop waits for it.
    EXPECT_GE(calls.at(SYS_io_uring_enter), kRounds / 2);
    EXPECT_LE(calls.at(SYS_io_uring_enter), 2 * kRounds);
    // The clock is read without a call, where the system offers that.
    EXPECT_EQ(calls.count(SYS_timerfd_settime), 0u);
    EXPECT_EQ(calls.count(SYS_timerfd_create), 0u);
    EXPECT_EQ(calls.count(SYS_read), 0u);
}

// ---- files

std::size_t file_threads() {
    std::size_t n = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream comm(thread.path() / "comm");
        std::string name;
        n += std::getline(comm, name) && name.starts_with("asyncio-file") ? 1 : 0;
    }
    return n;
}

// Of `blocks` blocks, none of which is in memory where the file system can let go of them.
Coroutine<File> cold_file(std::size_t blocks) {
    File file = co_await temporary_file();
    for (std::size_t i = 0; i < blocks; ++i) co_await file.write(letters(4096, i));
    co_await file.sync();
    ::posix_fadvise(file.fileno(), 0, 0, POSIX_FADV_DONTNEED);
    co_return file;
}

Coroutine<> read_block(File file, std::size_t i) {
    const std::string data = co_await file.pread(4096, static_cast<std::int64_t>(i) * 4096);
    EXPECT_TRUE(data == letters(4096, i)) << i;
}

Coroutine<> write_block(File file, std::size_t i) {
    std::string data = letters(4096, i);
    EXPECT_EQ(co_await file.pwrite(data, static_cast<std::int64_t>(i) * 4096), 4096u);
}

TEST(UringFiles, HundredsOfReadsAndWritesAtOnceNeedNoThread) {
    const auto loop = uring_loop();
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        constexpr std::size_t kBlocks = 600;  // more than the ring has places
        File file = co_await cold_file(kBlocks);
        const std::size_t threads = file_threads();  // they have made the file
        std::vector<Task<>> tasks;
        for (std::size_t i = 0; i < kBlocks; ++i) tasks.push_back(create_task(read_block(file, i)));
        for (auto& task : tasks) co_await task;
        tasks.clear();
        for (std::size_t i = 0; i < kBlocks; ++i) {
            tasks.push_back(create_task(write_block(file, i)));
        }
        for (auto& task : tasks) co_await task;
        co_await file.sync();
        co_await file.sync(true);
        EXPECT_EQ(file_threads(), threads);
        co_await file.seek(0);
        const std::string all = co_await file.read();
        for (std::size_t i = 0; i < kBlocks; ++i) {
            EXPECT_TRUE(all.substr(i * 4096, 4096) == letters(4096, i)) << i;
        }
    });
}

TEST(UringFiles, AnErrorIsTheOneThatAThreadGives) {
    const auto loop = uring_loop();
    NEED(loop);
    std::vector<std::string> errors;
    const auto program = [&]() -> Coroutine<> {
        File file = co_await temporary_file();
        const auto result = co_await as_result(file.pwrite("x", INT64_MAX - 1));
        EXPECT_FALSE(result.has_value());
        try {
            result.value();
        } catch (const OSError& e) {
            errors.emplace_back(e.what());
        }
    };
    loop->run_until_complete(program);
    EpollEventLoop::create()->run_until_complete(program);
    EXPECT_EQ(errors.size(), 2u);
    EXPECT_EQ(errors.front(), errors.back());
}

TEST(UringFiles, ACancelledReadLeavesThePositionAndACancelledWriteIsWhole) {
    const auto loop = uring_loop();
    NEED(loop);
    loop->run_until_complete([&]() -> Coroutine<> {
        File file = co_await cold_file(64);
        co_await file.seek(0);
        for (std::size_t i = 0; i < 64; ++i) {
            auto reading = create_task(file.read(4096));
            for (std::size_t turn = 0; turn <= i % 8; ++turn) co_await sleep(0s);
            if (reading.cancel()) {
                EXPECT_TRUE((co_await as_result(reading)).holds<CancelledError>());
                EXPECT_EQ(co_await file.read(4096), letters(4096, i));
            } else {
                EXPECT_EQ(reading.result(), letters(4096, i));
            }
        }
        co_await file.seek(0);
        std::size_t cancelled = 0;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::int64_t before = file.tell();
            auto writing = create_task(file.write(letters(10'000, i)));
            for (std::size_t turn = 0; turn <= i % 8; ++turn) co_await sleep(0s);
            writing.cancel();
            const auto outcome = co_await as_result(writing);
            cancelled += outcome.holds<CancelledError>() ? 1 : 0;
            co_await file.seek(0, SEEK_CUR);  // waits for its turn
            EXPECT_TRUE(file.tell() == before || file.tell() == before + 10'000);
            const std::string got = co_await file.pread(10'000, before);
            const bool whole = got == letters(10'000, i);
            EXPECT_TRUE(whole || file.tell() == before) << i;
        }
        EXPECT_GT(cancelled, 0u);
    });
}

TEST(UringFiles, ALoopThatClosesWaitsForWhatWorksOnItsMemory) {
    auto loop = uring_loop();
    NEED(loop);
    int fd = -1;
    std::size_t pending = 0;  // which the loop reports
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext&) { ++pending; });
    const std::string path = testing::TempDir() + "asyncio-uring-" + std::to_string(::getpid());
    loop->run_until_complete([&]() -> Coroutine<> {
        File file = co_await open_file(path, "w+");
        fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        ::unlink(path.c_str());
        std::vector<Task<>> tasks;
        for (std::size_t i = 0; i < 100; ++i) {
            tasks.push_back(create_task(write_block(file, i)));
        }
        co_await sleep(0s);
        co_await sleep(0s);
    });
    loop->close();
    std::string block(4096, ' ');
    for (std::size_t i = 0; i < 100; ++i) {
        const auto offset = static_cast<off_t>(i * block.size());
        if (::pread(fd, block.data(), block.size(), offset) <= 0) continue;
        EXPECT_TRUE(block == letters(4096, i) || block == std::string(4096, '\0')) << i;
    }
    ::close(fd);
}

TEST(UringFiles, WhatIsInFlightIsTakenAlongToAnotherThread) {
    const auto loop = uring_loop();
    NEED(loop);
    std::vector<Task<>> tasks;
    loop->run_until_complete([&]() -> Coroutine<> {
        File file = co_await cold_file(100);
        for (std::size_t i = 0; i < 100; ++i) tasks.push_back(create_task(read_block(file, i)));
        co_await sleep(0s);
        co_await sleep(0s);
    });
    std::thread other([&] {
        loop->run_until_complete([&]() -> Coroutine<> {
            for (auto& task : tasks) co_await task;
        });
    });
    other.join();
    EXPECT_TRUE(std::ranges::all_of(tasks, [](const auto& task) { return task.done(); }));
    tasks.clear();
}

// ---- where the system refuses

std::string* messages = nullptr;

// In the child of a fork: `call` fails with `error` from now on.
bool forbid(unsigned call, unsigned error) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{4, code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int refused(unsigned call, unsigned error, std::string_view where, std::string_view cure) {
    if (!forbid(call, error)) return 77;
    std::string text;
    messages = &text;
    log::set_sink([](log::Level level, std::string_view line) {
        *messages += line;
        if (level == log::Level::DEBUG) *messages += '\n';
    });
    const auto loop = UringEventLoop::create();
    if (std::string_view(loop->backend()) != "epoll") return 1;
    if (text.find("no io_uring, epoll serves: " + std::string(where)) == std::string::npos)
        return 2;
    if (text.find(cure) == std::string::npos) return 3;
    if (text.find('\n') != text.size() - 1) return 4;  // one line, for who debugs
    return loop->run_until_complete([]() -> Coroutine<int> {
        co_await sleep(1ms);
        co_return 0;
    });
}

// The loop has its ring, and files get none.
int refused_files(unsigned error) {
    const auto loop = uring_loop();
    if (!loop || !forbid(__NR_io_uring_setup, error)) return 77;
    loop->run_until_complete([]() -> Coroutine<> {
        File file = co_await cold_file(3);
        co_await read_block(file, 2);
    });
    return testing::Test::HasFailure() ? 1 : 0;
}

// The loop moves to a thread where there is no memory for its ring: an error that can be caught,
// and nothing that is lost (L11).
int refused_elsewhere() {
    const auto loop = uring_loop();
    if (!loop) return 77;
    loop->run_until_complete(sleep(1ms));
    int result = 0;
    std::thread([&] {
        if (!forbid(__NR_io_uring_setup, ENOMEM)) {
            result = 77;
            return;
        }
        try {
            loop->run_until_complete(sleep(1ms));
            result = 1;
        } catch (const OSError& error) {
            if (error.code().value() != ENOMEM) result = 2;
        }
    }).join();
    if (result != 0) return result;
    // Here it may.
    return loop->run_until_complete([]() -> Coroutine<int> {
        co_await sleep(1ms);
        co_return 0;
    });
}

// What `check` gives in a child, which the filter is the end of; 77: it cannot be checked here.
int in_filtered_child(const std::function<int()>& check) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(check());
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << status;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(UringFiles, WhereASecondRingIsRefusedThreadsServe) {
    for (const unsigned error : {EPERM, ENOMEM}) {
        const int status = in_filtered_child([&] { return refused_files(error); });
        if (status == 77) GTEST_SKIP() << "no io_uring or seccomp filters here";
        EXPECT_EQ(status, 0) << error;
    }
}

TEST(Uring, WithoutMemoryForItsRingOnAnotherThreadItSaysSo) {
    const int status = in_filtered_child(refused_elsewhere);
    if (status == 77) GTEST_SKIP() << "no io_uring or seccomp filters here";
    EXPECT_EQ(status, 0);
}

std::int64_t wait_ns(detail::Backend& backend, std::int64_t timeout) {
    detail::ReadyQueue ready;
    const std::int64_t before = backend.now();
    backend.wait(timeout, ready);
    return backend.now() - before;
}

TEST(Uring, TimersCloserThanTheThreadsSlackShareAWait) {
    std::string why;
    constexpr std::int64_t kMs = 1'000'000;
    // In a thread of its own, which keeps its slack to itself.
    std::thread([&] {
        ASSERT_EQ(::prctl(PR_SET_TIMERSLACK, 3 * kMs), 0);
        const auto backend = detail::make_uring_backend(why, {});
        NEED(backend);
        wait_ns(*backend, 0);
        EXPECT_GE(wait_ns(*backend, 1'000), 3 * kMs);
        EXPECT_GE(wait_ns(*backend, 4 * kMs), 4 * kMs);
        // One that is further away is not put off: of many tries one is in time.
        std::int64_t least = 1'000 * kMs;
        for (int i = 0; i < 50 && least >= 6 * kMs; ++i) {
            least = std::min(least, wait_ns(*backend, 4 * kMs));
        }
        EXPECT_LT(least, 6 * kMs);
        EXPECT_LT(wait_ns(*backend, 0), 1'000 * kMs);
    }).join();
}

TEST(Uring, TimersOfARealTimeThreadAreNotPutOff) {
    std::string why;
    constexpr std::int64_t kMs = 1'000'000;
    std::thread([&] {
        ASSERT_EQ(::prctl(PR_SET_TIMERSLACK, 3 * kMs), 0);
        const sched_param least_of_them{.sched_priority = 1};
        if (::sched_setscheduler(0, SCHED_FIFO, &least_of_them) != 0) {
            GTEST_SKIP() << "no real-time threads are allowed here";
        }
        const auto backend = detail::make_uring_backend(why, {});
        NEED(backend);
        std::int64_t least = 1'000 * kMs;
        for (int i = 0; i < 50 && least >= 3 * kMs; ++i) {
            least = std::min(least, wait_ns(*backend, 1'000));
        }
        EXPECT_LT(least, 3 * kMs);
    }).join();
}

TEST(Uring, WhereItIsRefusedEpollServesAndALineSaysWhatToChange) {
    const struct {
        unsigned call;
        unsigned error;
        const char* where;
        const char* cure;
    } cases[] = {
        {__NR_io_uring_setup, EPERM, "io_uring_setup: ", "seccomp profile"},
        {__NR_io_uring_setup, ENOSYS, "io_uring_setup: ", "Linux 6.0 or later is needed"},
        {__NR_io_uring_setup, ENOMEM,
         "io_uring_setup: ", "(raise the limit of locked memory, ulimit -l)"},
        {__NR_io_uring_register, ENOMEM,
         "io_uring_register of a buffer ring: ", "(raise the limit of locked memory, ulimit -l)"},
    };
    for (const auto& c : cases) {
        const int status =
            in_filtered_child([&] { return refused(c.call, c.error, c.where, c.cure); });
        if (status == 77) GTEST_SKIP() << "no seccomp filters here";
        EXPECT_EQ(status, 0) << c.where << c.error;
    }
}

// L1: all receive buffers are the loop's, and the busiest stream must not take each that comes
// back.
TEST(UringBuffers, AreLeftToOthersByABusyStream) {
    const auto loop = uring_loop({.buffers = 2});
    NEED(loop);
    const auto body = [&]() -> Coroutine<> {
        auto [busy, busy_peer] = Socket::pair();
        auto [quiet, quiet_peer] = Socket::pair();
        const std::string block(64 * 1024, 'x');
        const auto refill = [&] {
            while (::send(busy_peer.fileno(), block.data(), block.size(), MSG_DONTWAIT) > 0)
                continue;
        };
        int turns = 0;
        int waited = -1;
        class Calls final : public Protocol {
          public:
            explicit Calls(std::function<void()> f) : f_(std::move(f)) {}
            void connection_made(Transport& t) override { transport = t; }
            void data_received(std::string_view) override { f_(); }
            Transport transport;

          private:
            std::function<void()> f_;
        };
        auto uploads = std::make_shared<Calls>([&] {
            const auto end = std::chrono::steady_clock::now() + 60us;
            while (std::chrono::steady_clock::now() < end) continue;
            if (++turns == 20) {
                EXPECT_EQ(::send(quiet_peer.fileno(), "?", 1, 0), 1);
            }
            if (waited < 0) refill();
        });
        auto asks = std::make_shared<Calls>([&] { waited = turns - 20; });
        auto make_uploads = [&] { return uploads; };
        auto make_asks = [&] { return asks; };
        co_await loop->create_connection(make_asks, {.sock = std::move(quiet)});
        refill();
        co_await loop->create_connection(make_uploads, {.sock = std::move(busy)});
        while (waited < 0 && turns < 2000) co_await asyncio::sleep(1ms);
        uploads->transport.abort();
        asks->transport.abort();
        co_await asyncio::sleep(1ms);
        EXPECT_GE(waited, 0);
        EXPECT_LE(waited, 8);
    };
    loop->run_until_complete(body());
}

}  // namespace

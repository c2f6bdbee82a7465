// pipes.hpp: PI-01, PI-02, P-13, TR-01 to TR-10 as far as pipes have them. Orders were compared
// with CPython 3.13's.
#include <asyncio/pipes.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asyncio/locks.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "os/pipes.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::Lines;
using support::raised;

struct Ends {
    int read;
    int write;
};

Ends make_pipe(int flags = O_CLOEXEC) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, flags), 0);
    return {ends[0], ends[1]};
}

// A pair of a terminal: the program's end is `slave`.
Ends make_terminal() {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT_GE(master, 0);
    EXPECT_EQ(::grantpt(master), 0);
    EXPECT_EQ(::unlockpt(master), 0);
    char name[64];
    EXPECT_EQ(::ptsname_r(master, name, sizeof name), 0);
    const int slave = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT_GE(slave, 0);
    return {master, slave};
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
bool is_blocking(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

// Notes what happens to it.
class Notes : public Protocol {
  public:
    Lines lines;
    std::string data;
    Event lost;
    Event paused;
    Event resumed;
    Transport transport;
    bool data_lines = true;

    void connection_made(Transport& t) override {
        transport = t;
        lines.push_back("made");
    }
    void data_received(std::string_view d) override {
        data += d;
        if (data_lines) lines.push_back("data " + std::string(d));
    }
    bool eof_received() override {
        lines.push_back("eof");
        return true;  // counts for nothing
    }
    void connection_lost(std::exception_ptr e) override {
        lines.push_back("lost " + detail::describe(e));
        transport = Transport();
        lost.set();
    }
    void pause_writing() override {
        lines.push_back("pause");
        paused.set();
    }
    void resume_writing() override {
        lines.push_back("resume");
        resumed.set();
    }
};

std::shared_ptr<Notes> make_notes() { return std::make_shared<Notes>(); }

template <class F>
Coroutine<> with_limit(F main) {
    co_await wait_for(main(), 20s);
}

// On a loop that watches descriptors; for so long at most.
template <class F>
void run_real(F&& main) {
    asyncio::run(with_limit(std::forward<F>(main)));
}

// Sets another protocol, of which it is the last to know, and says whether it is gone then.
class Leaves : public Notes {
  public:
    explicit Leaves(bool& gone) : gone_(gone) {}
    ~Leaves() override { gone_ = true; }
    void data_received(std::string_view) override { leave(); }
    void pause_writing() override { leave(); }
    std::shared_ptr<Protocol> next;

  private:
    void leave() {
        const bool& gone = gone_;
        const Transport kept = transport;
        kept.set_protocol(std::move(next));
        EXPECT_FALSE(gone);
    }
    bool& gone_;
};

// ---- reading ------------------------------------------------------------------------------------

// L36.
TEST(ReadPipe, MayChangeItsProtocolInACallback) {  // TR-04
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Ends ends = make_pipe();
        bool gone = false;
        const auto second = make_notes();
        const auto factory = [&] {
            auto leaves = std::make_shared<Leaves>(gone);
            leaves->next = second;
            return leaves;
        };
        ReadTransport transport = (co_await loop.connect_read_pipe(factory, ends.read)).first;
        EXPECT_EQ(::write(ends.write, "one", 3), 3);
        while (!gone) co_await sleep(0s);
        EXPECT_EQ(::write(ends.write, "two", 3), 3);
        while (second->data != "two") co_await sleep(0s);
        ::close(ends.write);
        co_await second->lost.wait();
    });
}

// L36.
TEST(ReadPipe, GetBufferMayCloseItOrChangeTheProtocol) {  // TR-04, PR-06
    class Gives : public BufferedProtocol {
      public:
        std::span<char> get_buffer(std::size_t) override {
            before();
            return memory;
        }
        void buffer_updated(std::size_t) override { ++updates; }
        void connection_lost(std::exception_ptr) override { lost.set(); }
        Event lost;
        std::function<void()> before;
        int updates = 0;
        char memory[8];
    };
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const auto make = [] { return std::make_shared<Gives>(); };
        for (const bool closes : {true, false}) {
            const Ends ends = make_pipe();
            const auto made = co_await loop.connect_read_pipe(make, ends.read);
            const ReadTransport transport = made.first;
            const auto second = make_notes();
            made.second->before = [&] {
                closes ? transport.close() : transport.set_protocol(second);
            };
            EXPECT_EQ(::write(ends.write, "bytes", 5), 5);
            if (closes) {
                co_await made.second->lost.wait();
            } else {
                while (second->data != "bytes") co_await sleep(0s);
            }
            EXPECT_EQ(made.second->updates, 0);
            ::close(ends.write);
            if (!closes) co_await second->lost.wait();
        }
    });
}

// L36.
TEST(WritePipe, MayChangeItsProtocolInACallback) {  // TR-04
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Ends ends = make_pipe();
        bool gone = false;
        const auto second = make_notes();
        const auto factory = [&] {
            auto leaves = std::make_shared<Leaves>(gone);
            leaves->next = second;
            return leaves;
        };
        WriteTransport transport = (co_await loop.connect_write_pipe(factory, ends.write)).first;
        EXPECT_EQ(raised<TypeError>([&] { transport.set_protocol(nullptr); }),
                  "a pipe that is written needs a protocol");
        transport.write(std::string(1'000'000, 'x'));
        EXPECT_FALSE(gone);
        while (!gone) co_await sleep(0s);
        EXPECT_EQ(transport.get_protocol(), second);
        transport.abort();
        co_await second->lost.wait();
        ::close(ends.read);
    });
}

TEST(ReadPipe, ReadsUntilTheEnd) {  // PI-01, PR-01, PR-09
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_read_pipe(make_notes, ends.read);
        EXPECT_EQ(notes->lines, Lines{"made"});
        EXPECT_EQ(transport.get_extra_info<int>("pipe"), ends.read);
        EXPECT_TRUE(transport.is_reading());
        EXPECT_EQ(::write(ends.write, "hello", 5), 5);
        while (notes->data.empty()) co_await sleep(0s);
        ::close(ends.write);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines, (Lines{"made", "data hello", "eof", "lost None"}));
        EXPECT_TRUE(transport.is_closing());
        EXPECT_FALSE(transport.is_reading());
        EXPECT_FALSE(is_open(ends.read));
        transport.close();
        transport.resume_reading();
        transport.pause_reading();
        EXPECT_EQ(transport.repr(), "<asyncio.ReadPipeTransport closed>");
    });
}

TEST(ReadPipe, CloseReadsNoMore) {  // PI-01, TR-01
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_read_pipe(make_notes, ends.read);
        EXPECT_EQ(::write(ends.write, "hello", 5), 5);
        transport.close();
        transport.close();
        EXPECT_TRUE(is_open(ends.read));
        co_await sleep(0s);
        EXPECT_EQ(notes->lines, (Lines{"made", "lost None"}));
        EXPECT_FALSE(is_open(ends.read));
        ::close(ends.write);
    });
}

TEST(ReadPipe, Pauses) {  // TR-05
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_read_pipe(make_notes, ends.read);
        transport.pause_reading();
        transport.pause_reading();
        EXPECT_FALSE(transport.is_reading());
        EXPECT_EQ(::write(ends.write, "hello", 5), 5);
        co_await sleep(10ms);
        EXPECT_EQ(notes->data, "");
        transport.resume_reading();
        transport.resume_reading();
        while (notes->data.empty()) co_await sleep(0s);
        EXPECT_EQ(notes->data, "hello");
        transport.close();
        co_await notes->lost.wait();
        ::close(ends.write);
    });
}

TEST(ReadPipe, PausesBeforeItIsMade) {  // TR-05
    class Paused : public Notes {
        void connection_made(Transport& t) override {
            Notes::connection_made(t);
            t.pause_reading();
        }
    };
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        EXPECT_EQ(::write(ends.write, "x", 1), 1);
        const auto factory = [] { return std::make_shared<Paused>(); };
        auto [transport, notes] = co_await get_running_loop().connect_read_pipe(factory, ends.read);
        co_await sleep(10ms);
        EXPECT_EQ(notes->lines, Lines{"made"});
        transport.resume_reading();
        while (notes->data.empty()) co_await sleep(0s);
        transport.close();
        co_await notes->lost.wait();
        ::close(ends.write);
    });
}

TEST(ReadPipe, ServesABufferedProtocol) {  // PI-01, PR-06
    class Buffered : public BufferedProtocol {
      public:
        std::string all;
        Event lost;

      private:
        std::span<char> get_buffer(std::size_t) override { return memory_; }
        void buffer_updated(std::size_t n) override { all.append(memory_, n); }
        bool eof_received() override {
            all += '.';
            return false;
        }
        void connection_lost(std::exception_ptr) override { lost.set(); }
        char memory_[3];
    };
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        const auto factory = [] { return std::make_shared<Buffered>(); };
        auto [transport, protocol] =
            co_await get_running_loop().connect_read_pipe(factory, ends.read);
        EXPECT_EQ(::write(ends.write, "12345678", 8), 8);
        ::close(ends.write);
        co_await protocol->lost.wait();
        EXPECT_EQ(protocol->all, "12345678.");
    });
}

TEST(ReadPipe, RefusesOtherFiles) {  // PI-01
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        for (const char* path : {"/etc/passwd", "/tmp"}) {
            const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
            const auto r = co_await as_result(loop.connect_read_pipe(make_notes, fd));
            EXPECT_EQ(support::error_text<ValueError>(r),
                      "Pipe transport is for pipes/sockets only.");
            EXPECT_FALSE(is_open(fd));  // taken over on failure too
        }
        const auto closed = co_await as_result(loop.connect_read_pipe(make_notes, 9999));
        EXPECT_TRUE(closed.holds<OSError>());
        const Ends ends = make_pipe();
        const auto factory = [] { return std::make_shared<SubprocessProtocol>(); };
        const auto kind = co_await as_result(loop.connect_read_pipe(factory, ends.read));
        EXPECT_TRUE(kind.holds<TypeError>());
        EXPECT_FALSE(is_open(ends.read));
        ::close(ends.write);
    });
}

TEST(ReadPipe, IsClosedIfItIsNeverAwaited) {  // PI-01
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        get_running_loop().connect_read_pipe(make_notes, ends.read).close();
        EXPECT_FALSE(is_open(ends.read));
        ::close(ends.write);
        co_return;
    });
}

TEST(ReadPipe, IsClosedWhenItsMakingIsCancelled) {  // PI-01
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        const auto notes = make_notes();
        const auto factory = [notes] { return notes; };
        auto task = create_task(get_running_loop().connect_read_pipe(factory, ends.read));
        co_await sleep(0s);
        task.cancel();
        EXPECT_TRUE((co_await as_result(task)).holds<CancelledError>());
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines, (Lines{"made", "lost None"}));
        EXPECT_FALSE(is_open(ends.read));
        ::close(ends.write);
    });
}

TEST(ReadPipe, ReadsDevicesThatEpollRefuses) {  // PI-01
    run_real([]() -> Coroutine<> {
        const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        auto [transport, notes] = co_await get_running_loop().connect_read_pipe(make_notes, null);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines, (Lines{"made", "eof", "lost None"}));
        const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
        auto [zeros, endless] = co_await get_running_loop().connect_read_pipe(make_notes, zero);
        endless->data_lines = false;
        while (endless->data.size() < 1'000'000) co_await sleep(0s);
        zeros.pause_reading();
        const std::size_t size = endless->data.size();
        co_await sleep(1ms);
        EXPECT_EQ(endless->data.size(), size);
        zeros.close();
        co_await endless->lost.wait();
    });
}

TEST(ReadPipe, ATerminalThatIsHungUpIsNotReported) {  // PI-01
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        bool reported = false;
        loop.set_exception_handler([&](EventLoop&, const ExceptionContext&) { reported = true; });
        const Ends terminal = make_terminal();
        auto [transport, notes] = co_await loop.connect_read_pipe(make_notes, terminal.read);
        EXPECT_EQ(::write(terminal.write, "line\n", 5), 5);
        while (notes->data.empty()) co_await sleep(0s);
        EXPECT_EQ(notes->data, "line\r\n");
        ::close(terminal.write);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines.back(), "lost OSError(5, 'Input/output error')");
        EXPECT_FALSE(reported);
    });
}

TEST(ReadPipe, AProtocolThatRaisesIsReportedAndClosed) {  // TR-13
    class Bad : public Notes {
        void data_received(std::string_view) override { throw ValueError("bad data"); }
    };
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Lines reports;
        loop.set_exception_handler([&](EventLoop&, const ExceptionContext& c) {
            reports.push_back(c.message + ' ' + detail::describe(c.exception));
            EXPECT_TRUE(c.transport);
        });
        const Ends ends = make_pipe();
        const auto factory = [] { return std::make_shared<Bad>(); };
        auto [transport, notes] = co_await loop.connect_read_pipe(factory, ends.read);
        EXPECT_EQ(::write(ends.write, "x", 1), 1);
        co_await notes->lost.wait();
        EXPECT_EQ(reports, Lines{"Fatal error: protocol.data_received() call failed. "
                                 "ValueError('bad data')"});
        EXPECT_EQ(notes->lines.back(), "lost ValueError('bad data')");
        ::close(ends.write);
    });
}

TEST(ReadPipe, AnEndThatLeavesTheLoopIsFollowedByItsLoss) {  // TR-13, S-60
    class Exits : public Notes {
      public:
        int exits_at_data = 1;
        int exits_at_end = 1;
        void data_received(std::string_view d) override {
            Notes::data_received(d);
            if (--exits_at_data >= 0) throw SystemExit(7);
        }
        bool eof_received() override {
            if (--exits_at_end >= 0) throw SystemExit(7);
            return Notes::eof_received();
        }
    };
    const Ends ends = make_pipe();
    const auto loop = new_event_loop();
    set_event_loop(loop.get());
    auto [transport, notes] = loop->run_until_complete(
        loop->connect_read_pipe([] { return std::make_shared<Exits>(); }, ends.read));
    const auto lost = [](std::shared_ptr<Exits> n) -> Coroutine<> { co_await n->lost.wait(); };
    EXPECT_EQ(::write(ends.write, "x", 1), 1);
    EXPECT_THROW(loop->run_until_complete(wait_for(lost(notes), 5s)), SystemExit);
    EXPECT_FALSE(transport.is_closing());
    ::close(ends.write);
    EXPECT_THROW(loop->run_until_complete(wait_for(lost(notes), 5s)), SystemExit);
    EXPECT_TRUE(transport.is_closing());
    loop->run_until_complete(wait_for(lost(notes), 5s));
    EXPECT_EQ(notes->lines, (Lines{"made", "data x", "lost None"}));
    loop->close();
    set_event_loop(nullptr);
}

TEST(ReadPipe, IsClosedWithItsLoop) {  // TR-15
    const support::LogCapture log;
    const Ends ends = make_pipe();
    const auto notes = make_notes();
    run_real([&]() -> Coroutine<> {
        const auto factory = [notes] { return notes; };
        co_await get_running_loop().connect_read_pipe(factory, ends.read);
    });
    EXPECT_EQ(notes->lines, Lines{"made"});
    const std::string open =
        "<asyncio.ReadPipeTransport fd=" + std::to_string(ends.read) + " open>";
    EXPECT_EQ(notes.use_count(), 1);
    EXPECT_FALSE(is_open(ends.read));
    EXPECT_EQ(notes->transport.repr(), "<asyncio.ReadPipeTransport closed>");
    EXPECT_EQ(notes->transport.get_protocol(), nullptr);
    EXPECT_FALSE(notes->transport.get_extra_info<int>("pipe"));
    EXPECT_EQ(log.lines(log::Level::DEBUG), Lines{"unclosed transport " + open});
    notes->transport.close();
    ::close(ends.write);
}

TEST(ReadPipe, NotOnVirtualTime) {
    support::run_virtual([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        const auto r =
            co_await as_result(get_running_loop().connect_read_pipe(make_notes, ends.read));
        EXPECT_TRUE(r.holds<NotImplementedError>());
        co_await sleep(1s);
        EXPECT_FALSE(is_open(ends.read));
        ::close(ends.write);
    });
}

// ---- writing ------------------------------------------------------------------------------------

TEST(WritePipe, WritesAtOnceAndClosesAfterTheRest) {  // PI-02, TR-01, TR-06
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Ends ends = make_pipe();
        auto [reading, reader] = co_await loop.connect_read_pipe(make_notes, ends.read);
        auto [transport, notes] = co_await loop.connect_write_pipe(make_notes, ends.write);
        reader->data_lines = false;
        std::string all;
        for (int i = 0; all.size() < 3'000'000; ++i) all += std::to_string(i) + ' ';
        transport.write(all);
        EXPECT_GT(transport.get_write_buffer_size(), 2'000'000u);
        EXPECT_EQ(notes->lines, (Lines{"made", "pause"}));
        EXPECT_TRUE(transport.can_write_eof());
        transport.close();
        EXPECT_TRUE(transport.is_closing());
        co_await reader->lost.wait();
        EXPECT_TRUE(reader->data == all);
        EXPECT_EQ(notes->lines, (Lines{"made", "pause", "resume", "lost None"}));
        EXPECT_FALSE(is_open(ends.write));
    });
}

TEST(WritePipe, Writelines) {  // TR-07
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Ends ends = make_pipe();
        auto [reading, reader] = co_await loop.connect_read_pipe(make_notes, ends.read);
        auto [transport, notes] = co_await loop.connect_write_pipe(make_notes, ends.write);
        const std::string_view pieces[] = {"a", "", "bc"};
        transport.writelines(pieces);
        transport.write("");
        transport.write_eof();
        transport.write("dropped");
        co_await reader->lost.wait();
        EXPECT_EQ(reader->lines, (Lines{"made", "data abc", "eof", "lost None"}));
    });
}

TEST(WritePipe, AReaderThatGoesIsACleanEndIfNothingIsBuffered) {  // PI-02, P-13
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, ends.write);
        ::close(ends.read);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines, (Lines{"made", "lost None"}));
    });
}

TEST(WritePipe, AReaderThatGoesIsABrokenPipeIfSomethingIsBuffered) {  // PI-02
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, ends.write);
        transport.write(std::string(1'000'000, 'x'));
        const std::size_t unsent = transport.get_write_buffer_size();
        EXPECT_GT(unsent, 0u);
        const std::string head = "<asyncio.WritePipeTransport fd=" + std::to_string(ends.write);
        const std::string tail = " bufsize=" + std::to_string(unsent) + '>';
        EXPECT_EQ(transport.repr(), head + " open" + tail);
        transport.close();
        EXPECT_EQ(transport.repr(), head + " closing" + tail);
        ::close(ends.read);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines.back(), "lost BrokenPipeError()");
        EXPECT_EQ(transport.get_write_buffer_size(), 0u);
    });
}

TEST(WritePipe, AWriteToNobodyRaisesNoSignal) {  // PI-02, TR-06
    run_real([]() -> Coroutine<> {
        const support::LogCapture log;
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, ends.write);
        ::close(ends.read);
        for (int i = 0; i < 8; ++i) transport.write("x");
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines.back(), "lost BrokenPipeError(32, 'Broken pipe')");
        EXPECT_EQ(log.lines(), (Lines(3,
                                      "pipe closed by peer or os.write(pipe, data) raised "
                                      "exception.")));
    });
}

TEST(WritePipe, KernelsWithoutTheFlagRaiseNoSignalEither) {  // PI-02
    const Ends ends = make_pipe();
    ::close(ends.read);
    EXPECT_EQ(detail::write_with_signal_blocked(ends.write, "x"), -1);
    EXPECT_EQ(errno, EPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    EXPECT_FALSE(sigismember(&pending, SIGPIPE));
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    EXPECT_FALSE(sigismember(&mask, SIGPIPE));
    ::close(ends.write);
}

TEST(WritePipe, AbortDropsWhatIsBuffered) {  // TR-09
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, ends.write);
        transport.write(std::string(1'000'000, 'x'));
        transport.abort();
        EXPECT_EQ(transport.get_write_buffer_size(), 0u);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines, (Lines{"made", "pause", "lost None"}));
        ::close(ends.read);
    });
}

TEST(WritePipe, Limits) {  // TR-10
    run_real([]() -> Coroutine<> {
        const Ends ends = make_pipe();
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, ends.write);
        EXPECT_EQ(transport.get_write_buffer_limits(), std::pair(16384ul, 65536ul));
        EXPECT_EQ(
            raised<ValueError>([&] { transport.set_write_buffer_limits({.high = 1, .low = 2}); }),
            "high (1) must be >= low (2) must be >= 0");
        transport.write(std::string(65536, 'x'));  // the pipe is full
        transport.write("yy");
        EXPECT_EQ(transport.get_write_buffer_size(), 2u);
        EXPECT_EQ(notes->lines, Lines{"made"});
        transport.set_write_buffer_limits({.high = 1});
        EXPECT_EQ(notes->lines, (Lines{"made", "pause"}));
        transport.abort();
        co_await notes->lost.wait();
        ::close(ends.read);
    });
}

TEST(WritePipe, RefusesOtherFiles) {  // PI-02
    run_real([]() -> Coroutine<> {
        const int fd = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
        const auto r = co_await as_result(get_running_loop().connect_write_pipe(make_notes, fd));
        EXPECT_EQ(support::error_text<ValueError>(r),
                  "Pipe transport is only for pipes, sockets and character devices");
        EXPECT_FALSE(is_open(fd));
    });
}

TEST(WritePipe, WritesToDevicesThatEpollRefuses) {  // PI-02
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        auto [transport, notes] = co_await loop.connect_write_pipe(make_notes, null);
        transport.write(std::string(1'000'000, 'x'));
        EXPECT_EQ(transport.get_write_buffer_size(), 0u);
        transport.close();
        co_await notes->lost.wait();
        EXPECT_EQ(notes->lines, (Lines{"made", "lost None"}));
        const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
        auto [to_full, full_notes] = co_await loop.connect_write_pipe(make_notes, full);
        to_full.write("x");
        co_await full_notes->lost.wait();
        EXPECT_EQ(full_notes->lines.back(), "lost OSError(28, 'No space left on device')");
    });
}

TEST(WritePipe, ASocketsOtherEndMaySendToo) {  // PI-02, P-13
    run_real([]() -> Coroutine<> {
        int ends[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, ends[0]);
        EXPECT_EQ(::write(ends[1], "ignored", 7), 7);
        co_await sleep(5ms);
        EXPECT_FALSE(transport.is_closing());
        transport.write("out");
        char text[8] = {};
        EXPECT_EQ(::read(ends[1], text, sizeof text), 3);
        transport.close();
        co_await notes->lost.wait();
        ::close(ends[1]);
    });
}

TEST(WritePipe, ATerminal) {  // PI-02
    run_real([]() -> Coroutine<> {
        const Ends terminal = make_terminal();
        auto [transport, notes] =
            co_await get_running_loop().connect_write_pipe(make_notes, terminal.write);
        transport.write("hi\n");
        char text[16] = {};
        EXPECT_EQ(::read(terminal.read, text, sizeof text), 4);
        EXPECT_STREQ(text, "hi\r\n");
        transport.close();
        co_await notes->lost.wait();
        ::close(terminal.read);
    });
}

// ---- what stays ---------------------------------------------------------------------------------

TEST(Pipe, BlocksAgainForOthersOnceItIsClosed) {  // PI-01, PI-02
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Ends ends = make_pipe();
        const int reader = ::fcntl(ends.read, F_DUPFD_CLOEXEC, 0);
        const int writer = ::fcntl(ends.write, F_DUPFD_CLOEXEC, 0);
        auto [reading, one] = co_await loop.connect_read_pipe(make_notes, ends.read);
        auto [writing, two] = co_await loop.connect_write_pipe(make_notes, ends.write);
        EXPECT_FALSE(is_blocking(reader));
        EXPECT_FALSE(is_blocking(writer));
        reading.close();
        writing.close();
        co_await one->lost.wait();
        co_await two->lost.wait();
        EXPECT_TRUE(is_blocking(reader));
        EXPECT_TRUE(is_blocking(writer));
        ::close(reader);
        ::close(writer);
        const Ends other = make_pipe(O_CLOEXEC | O_NONBLOCK);
        const int copy = ::fcntl(other.read, F_DUPFD_CLOEXEC, 0);
        auto [third, three] = co_await loop.connect_read_pipe(make_notes, other.read);
        third.close();
        co_await three->lost.wait();
        EXPECT_FALSE(is_blocking(copy));  // it was so before
        ::close(copy);
        ::close(other.write);
    });
}

TEST(Pipe, AFifo) {  // PI-01, PI-02
    char directory[] = "/tmp/asyncio-fifo-XXXXXX";
    ASSERT_NE(::mkdtemp(directory), nullptr);
    const std::string path = std::string(directory) + "/fifo";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    run_real([&]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const int in = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        const int out = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        auto [reading, reader] = co_await loop.connect_read_pipe(make_notes, in);
        auto [writing, writer] = co_await loop.connect_write_pipe(make_notes, out);
        writing.write("through");
        writing.close();
        co_await reader->lost.wait();
        EXPECT_EQ(reader->lines, (Lines{"made", "data through", "eof", "lost None"}));
        // Opened both ways, what is written can be read here, too: that is no end.
        const int both = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
        auto [two_way, notes] = co_await loop.connect_write_pipe(make_notes, both);
        two_way.write("x");
        co_await sleep(5ms);
        EXPECT_FALSE(two_way.is_closing());
        two_way.close();
        co_await notes->lost.wait();
    });
    ::unlink(path.c_str());
    ::rmdir(directory);
}

TEST(Pipe, CallbacksRunInTheContextOfItsMaking) {
    static ContextVar<int> v{"v", 0};
    class InContext : public Notes {
      public:
        int seen = -1;

      private:
        void data_received(std::string_view) override { seen = v.get(); }
    };
    run_real([]() -> Coroutine<> {
        v.set(7);
        const Ends ends = make_pipe();
        const auto factory = [] { return std::make_shared<InContext>(); };
        auto [transport, notes] = co_await get_running_loop().connect_read_pipe(factory, ends.read);
        v.set(8);
        EXPECT_EQ(::write(ends.write, "x", 1), 1);
        ::close(ends.write);
        co_await notes->lost.wait();
        EXPECT_EQ(notes->seen, 7);
    });
}

}  // namespace

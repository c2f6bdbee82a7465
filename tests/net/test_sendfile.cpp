// sendfile and sock_sendfile. SF-*.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <asyncio/files.hpp>
#include <asyncio/traceback.hpp>

#include "net/make_transport.hpp"
#include "network.hpp"

namespace {

using namespace network;
using detail::make_socket_transport;
using support::raised;

template <class A>
Coroutine<std::string> failure(A awaitable) {
    const auto result = co_await as_result(std::move(awaitable));
    if (!result.error()) co_return "no failure";
    const std::string text = asyncio::format_exception(result.error());
    co_return text.substr(text.rfind('\n') + 1);
}

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + (i >> 10));
    return text;
}

// An open file with content, which has no name.
class File {
  public:
    explicit File(const std::string& content) {
        const TemporaryFolder folder;
        const std::string path = folder.path() + "/file";
        file_ = Socket(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        std::size_t done = 0;
        while (done < content.size()) {
            const ssize_t n = ::write(file_.fileno(), content.data() + done, content.size() - done);
            if (n <= 0) break;
            done += static_cast<std::size_t>(n);
        }
        ::lseek(file_.fileno(), 0, SEEK_SET);
    }
    int fd() const { return file_.fileno(); }
    std::int64_t position() const { return ::lseek(file_.fileno(), 0, SEEK_CUR); }

  private:
    Socket file_;
};

// Two transports that are connected to one another.
struct Connection {
    std::shared_ptr<Recorder> a = recorder();
    std::shared_ptr<Recorder> b = recorder();
    Coroutine<> connect() {
        EventLoop& loop = get_running_loop();
        auto [left, right] = Socket::pair();
        make_socket_transport(loop, std::move(left), a);
        make_socket_transport(loop, std::move(right), b);
        co_await until([this] { return !a->events.empty() && !b->events.empty(); });
    }
    Coroutine<> close() {
        a->transport().abort();
        b->transport().abort();
        if (!a->lost.done()) co_await a->lost;
        if (!b->lost.done()) co_await b->lost;
    }
};

// A transport that can only be written to, as TLS: what it is given goes through another one.
class OnlyWrites final : public detail::TransportBase {
  public:
    explicit OnlyWrites(Transport below, detail::SendfileMode mode)
        : below_(std::move(below)), mode_(mode) {}
    EventLoop& loop() const override { return below_.get_loop(); }
    void close() override { below_.close(); }
    bool is_closing() const override { return below_.is_closing(); }
    void set_protocol(std::shared_ptr<BaseProtocol> p) override { below_.set_protocol(p); }
    std::shared_ptr<BaseProtocol> get_protocol() const override { return below_.get_protocol(); }
    bool is_reading() const override { return below_.is_reading(); }
    void pause_reading() override { below_.pause_reading(); }
    void resume_reading() override { below_.resume_reading(); }
    void write(std::string_view data) override { below_.write(data); }
    bool writing_paused() const noexcept override { return below_.impl().writing_paused(); }
    detail::SendfileMode sendfile_mode() const noexcept override { return mode_; }
    std::string repr() const override { return "<only writes>"; }

  private:
    Transport below_;
    detail::SendfileMode mode_;
};

Transport only_writes(const Transport& below,
                      detail::SendfileMode mode = detail::SendfileMode::FALLBACK) {
    return Transport(detail::Ref<detail::TransportBase>::adopt(new OnlyWrites(below, mode)));
}

TEST(Sendfile, SendsAFileBehindWhatIsBuffered) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(5 << 20);
        const File file(content);
        Connection c;
        co_await c.connect();
        const std::string first = pattern(2 << 20);
        c.a->transport().write(first);
        EXPECT_EQ(co_await loop.sendfile(c.a->transport(), file.fd()), content.size());
        EXPECT_EQ(file.position(), static_cast<std::int64_t>(content.size()));
        c.a->transport().write("the end");
        co_await until([&] { return c.b->received.size() >= (7u << 20) + 7; });
        EXPECT_TRUE(c.b->received == first + content + "the end");
        co_await c.close();
    });
}

TEST(Sendfile, SendsAPart) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(100000);
        const File file(content);
        Connection c;
        co_await c.connect();
        for (const bool native : {true, false}) {
            c.b->received.clear();
            const Transport t = native ? c.a->transport() : only_writes(c.a->transport());
            EXPECT_EQ(co_await loop.sendfile(t, file.fd(), {.offset = 10, .count = 50000}), 50000u);
            EXPECT_EQ(file.position(), 50010);
            EXPECT_EQ(co_await loop.sendfile(t, file.fd(), {.offset = 99990, .count = 50}), 10u);
            EXPECT_EQ(file.position(), 100000);
            EXPECT_EQ(co_await loop.sendfile(t, file.fd(), {.offset = 200000}), 0u);
            EXPECT_EQ(file.position(), 100000);
            co_await until([&] { return c.b->received.size() == 50010; });
            EXPECT_TRUE(c.b->received == content.substr(10, 50000) + content.substr(99990));
        }
        co_await c.close();
    });
}

TEST(Sendfile, SendsNothingOfAnEmptyFile) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        const File file("");
        Connection c;
        co_await c.connect();
        EXPECT_EQ(co_await get_running_loop().sendfile(c.a->transport(), file.fd()), 0u);
        co_await c.close();
    });
}

TEST(Sendfile, KeepsOthersFromWritingAndReading) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const File file(pattern(4 << 20));
        Connection c;
        co_await c.connect();
        c.b->transport().pause_reading();
        auto sending = create_task(loop.sendfile(c.a->transport(), file.fd()));
        co_await asyncio::sleep(1ms);
        EXPECT_FALSE(sending.done());
        EXPECT_FALSE(c.a->transport().is_reading());
        EXPECT_EQ(raised<RuntimeError>([&] { c.a->transport().write("x"); }),
                  "unable to write; sendfile is in progress");
        const std::string_view pieces[] = {"x"};
        EXPECT_EQ(raised<RuntimeError>([&] { c.a->transport().writelines(pieces); }),
                  "unable to writelines; sendfile is in progress");
        EXPECT_EQ(co_await failure(loop.sendfile(c.a->transport(), file.fd())),
                  "RuntimeError: unable to sendfile; sendfile is in progress");
        c.b->transport().resume_reading();
        co_await sending;
        EXPECT_TRUE(c.a->transport().is_reading());
        co_await until([&] { return c.b->received.size() == 4u << 20; });
        co_await c.close();
    });
}

TEST(Sendfile, FallsBackForWhatTheSystemCannotSend) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Connection c;
        co_await c.connect();
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        const Socket reading(ends[0]);
        Socket writing(ends[1]);
        EXPECT_EQ(::write(writing.fileno(), "from a pipe", 11), 11);
        writing.close();
        EXPECT_EQ(co_await failure(
                      loop.sendfile(c.a->transport(), reading.fileno(), {.fallback = false})),
                  "SendfileNotAvailableError: not a regular file");
        EXPECT_EQ(co_await loop.sendfile(c.a->transport(), reading.fileno()), 11u);
        co_await until([&] { return c.b->received == "from a pipe"; });

        const File file("content");
        const Transport t = only_writes(c.a->transport());
        EXPECT_EQ(co_await failure(loop.sendfile(t, file.fd(), {.fallback = false})),
                  "RuntimeError: fallback is disabled and native sendfile is not supported for "
                  "transport <only writes>");
        co_await c.close();
    });
}

TEST(Sendfile, FallbackHeedsTheWriteBuffersLimits) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(3 << 20);
        const File file(content);
        Connection c;
        co_await c.connect();
        c.b->transport().pause_reading();
        auto sending = create_task(loop.sendfile(only_writes(c.a->transport()), file.fd()));
        co_await asyncio::sleep(50ms);
        EXPECT_FALSE(sending.done());
        EXPECT_LE(c.a->transport().get_write_buffer_size(), (64u + 16u) * 1024);
        c.b->transport().resume_reading();
        EXPECT_EQ(co_await sending, content.size());
        EXPECT_EQ(c.a->transport().get_protocol(), c.a);
        EXPECT_TRUE(c.a->transport().is_reading());
        co_await until([&] { return c.b->received.size() == content.size(); });
        EXPECT_TRUE(c.b->received == content);
        co_await c.close();
    });
}

TEST(Sendfile, ChecksItsArguments) {  // SF-01, SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const File file("content");
        Connection c;
        co_await c.connect();
        const Transport& t = c.a->transport();
        EXPECT_EQ(co_await failure(loop.sendfile(t, file.fd(), {.count = 0})),
                  "ValueError: count must be a positive integer (got 0)");
        EXPECT_EQ(co_await failure(loop.sendfile(t, file.fd(), {.offset = -1})),
                  "ValueError: offset must be a non-negative integer (got -1)");
        EXPECT_EQ(co_await failure(
                      loop.sendfile(only_writes(t, detail::SendfileMode::UNSUPPORTED), file.fd())),
                  "RuntimeError: sendfile is not supported for transport <only writes>");
        auto [left, right] = Socket::pair();
        EXPECT_EQ(co_await failure(loop.sock_sendfile(left, file.fd(), {.count = -5})),
                  "ValueError: count must be a positive integer (got -5)");
        const Socket datagrams(AF_INET, SOCK_DGRAM);
        EXPECT_EQ(co_await failure(loop.sock_sendfile(datagrams, file.fd())),
                  "ValueError: only SOCK_STREAM type sockets are supported");
        EXPECT_EQ(co_await failure(loop.sock_sendfile(*t.get_extra_info<int>("socket"), file.fd())),
                  "RuntimeError: File descriptor " +
                      std::to_string(*t.get_extra_info<int>("socket")) + " is used by transport " +
                      t.repr());
        loop.set_debug(true);
        const int flags = ::fcntl(left.fileno(), F_GETFL);
        ::fcntl(left.fileno(), F_SETFL, flags & ~O_NONBLOCK);
        EXPECT_EQ(co_await failure(loop.sock_sendfile(left, file.fd())),
                  "ValueError: the socket must be non-blocking");
        loop.set_debug(false);
        t.close();
        EXPECT_EQ(co_await failure(loop.sendfile(t, file.fd())),
                  "RuntimeError: Transport is closing");
        co_await c.close();
    });
}

TEST(Sendfile, EndsWhenTheConnectionIsLost) {  // SF-01
    ASSERT_NE(::signal(SIGPIPE, SIG_DFL), SIG_ERR);
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const File file(pattern(4 << 20));
        for (int way = 0; way < 4; ++way) {
            Connection c;
            co_await c.connect();
            c.b->transport().pause_reading();
            const Transport t = way < 2 ? c.a->transport() : only_writes(c.a->transport());
            auto sending = create_task(loop.sendfile(t, file.fd()));
            co_await asyncio::sleep(20ms);
            EXPECT_FALSE(sending.done());
            (way % 2 == 0 ? c.a : c.b)->transport().abort();
            const auto ended = co_await as_result(sending);
            EXPECT_TRUE(detail::holds<ConnectionError>(ended.error()))
                << way << ' ' << detail::describe(ended.error());
            EXPECT_GT(file.position(), 0);
            co_await c.close();
        }
    });
}

TEST(Sendfile, ToAPeerThatIsGoneRaisesNoSignal) {  // SF-02
    ASSERT_NE(::signal(SIGPIPE, SIG_DFL), SIG_ERR);
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const File file("content");
        auto [left, right] = Socket::pair();
        right.close();
        EXPECT_EQ(co_await failure(loop.sock_sendfile(left, file.fd())),
                  "BrokenPipeError: [Errno 32] Broken pipe");
    });
}

TEST(Sendfile, CancelledLeavesTheTransportUsable) {  // SF-01
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(1 << 20);
        const File file(content);
        for (const bool native : {true, false}) {
            Connection c;
            co_await c.connect();
            const Transport t = native ? c.a->transport() : only_writes(c.a->transport());
            bool asked = true;
            // 0: before it begins; the last: when it is done.
            for (int i = 0; asked; i = i * 2 + 1) {
                c.b->transport().pause_reading();
                auto sending = create_task(loop.sendfile(t, file.fd()));
                for (int k = 0; k < i && !sending.done(); ++k) {
                    if (k > 3) c.b->transport().resume_reading();
                    co_await asyncio::sleep(k > 20 ? 1ms : 0ms);
                }
                asked = sending.cancel();
                const auto ended = co_await as_result(sending);
                EXPECT_EQ(asked, detail::is_cancelled_error(ended.error()));
                EXPECT_EQ(t.get_protocol(), c.a);
                EXPECT_TRUE(t.is_reading());
                c.b->transport().resume_reading();
            }
            c.a->transport().write("done");
            co_await until([&] { return c.b->received.ends_with("done"); });
            co_await c.close();
        }
    });
}

TEST(SockSendfile, SendsAFile) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(3 << 20);
        const File file(content);
        auto [left, right] = Socket::pair();
        const auto protocol = recorder();
        make_socket_transport(loop, std::move(right), protocol);
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fd()), content.size());
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fd(), {.offset = 5, .count = 7}), 7u);
        EXPECT_EQ(file.position(), 12);
        co_await until([&] { return protocol->received.size() == content.size() + 7; });
        EXPECT_TRUE(protocol->received == content + content.substr(5, 7));
        left.close();
        co_await protocol->lost;
    });
}

TEST(SockSendfile, FallsBack) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        const Socket reading(ends[0]);
        Socket writing(ends[1]);
        EXPECT_EQ(::write(writing.fileno(), "from a pipe", 11), 11);
        writing.close();
        auto [left, right] = Socket::pair();
        EXPECT_EQ(co_await failure(loop.sock_sendfile(left, reading.fileno(), {.fallback = false})),
                  "SendfileNotAvailableError: not a regular file");
        EXPECT_EQ(co_await loop.sock_sendfile(left, reading.fileno()), 11u);
        char got[20];
        EXPECT_EQ(::read(right.fileno(), got, sizeof got), 11);
        EXPECT_EQ(std::string(got, 11), "from a pipe");
    });
}

// What has come to a socket of a pair, without waiting.
std::string arrived(const Socket& socket) {
    std::string all;
    char piece[65536];
    while (true) {
        const ssize_t n = ::read(socket.fileno(), piece, sizeof piece);
        if (n <= 0) return all;
        all.append(piece, static_cast<std::size_t>(n));
    }
}

TEST(SockSendfile, BeyondTheFileIsNothing) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(1000);
        const File file(content);
        auto [left, right] = Socket::pair();
        ::lseek(file.fd(), 7, SEEK_SET);
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fd(), {.offset = 1000}), 0u);
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fd(), {.offset = 1 << 30}), 0u);
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fd(), {.offset = 1001, .count = 5}), 0u);
        EXPECT_EQ(file.position(), 7) << "nothing was sent";
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fd(), {.offset = 990, .count = 1 << 30}),
                  10u);
        EXPECT_EQ(file.position(), 1000);
        EXPECT_EQ(arrived(right), content.substr(990));
        const File empty("");
        EXPECT_EQ(co_await loop.sock_sendfile(left, empty.fd()), 0u);
        EXPECT_EQ(co_await loop.sock_sendfile(left, empty.fd(), {.count = 5}), 0u);
        EXPECT_EQ(arrived(right), "");
    });
}

TEST(SockSendfile, AFileThatGrowsIsSentToItsEnd) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(3 << 20);
        const std::string more = pattern(1 << 20);
        for (const bool counted : {false, true}) {
            const File file(content);
            auto [left, right] = Socket::pair();
            asyncio::SendfileOptions options;
            if (counted) options.count = (3 << 20) + 1000;
            auto sending = create_task(loop.sock_sendfile(left, file.fd(), options));
            co_await asyncio::sleep(1ms);
            EXPECT_FALSE(sending.done()) << "the socket is full";
            EXPECT_EQ(::pwrite(file.fd(), more.data(), more.size(), 3 << 20), 1 << 20);
            std::string received;
            while (!sending.done()) {
                received += arrived(right);
                co_await asyncio::sleep(0s);
            }
            received += arrived(right);
            EXPECT_EQ(co_await sending, received.size());
            EXPECT_TRUE(received == (content + more).substr(0, received.size()));
            EXPECT_EQ(received.size(), counted ? (3u << 20) + 1000 : 4u << 20);
            EXPECT_EQ(file.position(), static_cast<std::int64_t>(received.size()));
        }
    });
}

TEST(SockSendfile, AFileThatShrinksEndsWhereItEnds) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(4 << 20);
        const File file(content);
        auto [left, right] = Socket::pair();
        auto sending = create_task(loop.sock_sendfile(left, file.fd(), {.count = 4 << 20}));
        co_await asyncio::sleep(1ms);
        EXPECT_EQ(::ftruncate(file.fd(), 2 << 20), 0);
        std::string received;
        while (!sending.done()) {
            received += arrived(right);
            co_await asyncio::sleep(0s);
        }
        received += arrived(right);
        EXPECT_EQ(co_await sending, 2u << 20);
        EXPECT_EQ(file.position(), 2 << 20);
        EXPECT_EQ(received.size(), 2u << 20);
    });
}

// The mode that a file was opened with matters only as far as it can be read.
TEST(SockSendfile, FilesThatAreAppendedTo) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TemporaryFolder folder;
        const std::string path = folder.path() + "/log";
        const Socket both(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        const Socket only(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
        EXPECT_EQ(::write(both.fileno(), "0123456789", 10), 10);
        auto [left, right] = Socket::pair();
        EXPECT_EQ(co_await loop.sock_sendfile(left, both.fileno(), {.offset = 4}), 6u);
        EXPECT_EQ(::write(both.fileno(), "ab", 2), 2);
        EXPECT_EQ(co_await loop.sock_sendfile(left, both.fileno(), {.offset = 8, .count = 3}), 3u);
        EXPECT_EQ(::lseek(both.fileno(), 0, SEEK_CUR), 11);
        EXPECT_EQ(arrived(right), "45678989a");
        EXPECT_EQ(co_await failure(loop.sock_sendfile(left, only.fileno(), {.fallback = false})),
                  "SendfileNotAvailableError: os.sendfile call failed");
        EXPECT_EQ(co_await failure(loop.sock_sendfile(left, only.fileno())),
                  "OSError: [Errno 9] Bad file descriptor");
        asyncio::File file = co_await asyncio::open_file(path, "a+");
        co_await file.write("!");
        EXPECT_EQ(co_await loop.sock_sendfile(left, file.fileno(), {.offset = 10}), 3u);
        EXPECT_EQ(arrived(right), "ab!");
        // Sending moves the system's position, which the file does not go by.
        EXPECT_EQ(file.tell(), 13);
        co_await file.write("");
        EXPECT_EQ(file.tell(), 13);
    });
}

// What the peer has got and the position are one number, whenever the cancel comes.
TEST(SockSendfile, CancelledLeavesThePositionBehindWhatWasSent) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const std::string content = pattern(1 << 20);
        int cancelled = 0;
        int completed = 0;
        for (int after = 0; after < 40; ++after) {
            const File file(content);
            auto [left, right] = Socket::pair();
            auto sending = create_task(loop.sock_sendfile(left, file.fd()));
            std::string received;
            for (int i = 0; i < after; ++i) {
                if (i > 3) received += arrived(right);
                co_await asyncio::sleep(0s);
            }
            const bool asked = sending.cancel();
            const auto ended = co_await as_result(sending);
            EXPECT_EQ(asked, detail::is_cancelled_error(ended.error()));
            ++(asked ? cancelled : completed);
            received += arrived(right);
            EXPECT_EQ(file.position(), static_cast<std::int64_t>(received.size())) << after;
            EXPECT_TRUE(received == content.substr(0, received.size()));
            // The socket is free for the next, which sends the rest.
            if (received.size() < content.size()) {
                asyncio::SendfileOptions rest;
                rest.offset = file.position();
                auto going_on = create_task(loop.sock_sendfile(left, file.fd(), rest));
                while (!going_on.done()) {
                    received += arrived(right);
                    co_await asyncio::sleep(0s);
                }
                co_await going_on;
                received += arrived(right);
            }
            EXPECT_TRUE(received == content);
        }
        EXPECT_GT(cancelled, 0);
        EXPECT_GT(completed, 0);
    });
}

// A thread reads from a pipe for it.
TEST(SockSendfile, TheFallbackIsCancelled) {  // SF-02
    for (int after = 0; after < 12; ++after) {
        run_briefly([after]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            int ends[2];
            EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
            const Socket reading(ends[0]);
            const Socket writing(ends[1]);
            auto [left, right] = Socket::pair();
            EXPECT_EQ(::write(writing.fileno(), "text", 4), 4);
            auto sending = create_task(loop.sock_sendfile(left, reading.fileno()));
            for (int i = 0; i < after; ++i) co_await asyncio::sleep(i % 3 == 2 ? 300us : 0us);
            EXPECT_TRUE(sending.cancel());
            EXPECT_TRUE(detail::is_cancelled_error((co_await as_result(sending)).error()));
            EXPECT_FALSE(loop.remove_writer(left.fileno()));
            const std::string got = arrived(right);
            EXPECT_TRUE(got.empty() || got == "text") << got;
            // A thread that still reads is to end before its descriptor is another's.
            EXPECT_EQ(::write(writing.fileno(), "x", 1), 1);
            co_await loop.shutdown_default_executor();
        });
    }
}

TEST(SockSendfile, EndsWhenThePeerGoes) {  // SF-02
    ASSERT_NE(::signal(SIGPIPE, SIG_DFL), SIG_ERR);
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const File file(pattern(4 << 20));
        auto [left, right] = Socket::pair();
        auto sending = create_task(loop.sock_sendfile(left, file.fd()));
        co_await asyncio::sleep(1ms);
        EXPECT_FALSE(sending.done());
        right.close();
        const auto ended = co_await as_result(sending);
        EXPECT_TRUE(detail::holds<ConnectionError>(ended.error()))
            << detail::describe(ended.error());
        EXPECT_GT(file.position(), 0);
    });
}

TEST(SockSendfile, CancelledUnregisters) {  // SF-02
    run_briefly([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const File file(pattern(4 << 20));
        auto [left, right] = Socket::pair();
        for (int ticks : {0, 1, 30}) {
            auto sending = create_task(loop.sock_sendfile(left, file.fd()));
            for (int i = 0; i < ticks; ++i) co_await asyncio::sleep(0s);
            EXPECT_TRUE(sending.cancel());
            const auto ended = co_await as_result(sending);
            EXPECT_TRUE(detail::is_cancelled_error(ended.error()));
            EXPECT_FALSE(loop.remove_writer(left.fileno()));
        }
    });
}

}  // namespace

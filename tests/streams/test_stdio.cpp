// stdio.hpp: the program's own standard streams, whatever they are.
#include <asyncio/stdio.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

bool is_blocking(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

// Descriptors 0 and 1 are others while this lives. It takes over what it is given.
class Redirected {
  public:
    Redirected(int in, int out) {
        std::fflush(stdout);
        place(in, 0);
        place(out, 1);
    }
    Redirected(const Redirected&) = delete;
    Redirected& operator=(const Redirected&) = delete;
    ~Redirected() {
        std::fflush(stdout);
        for (int fd = 0; fd < 2; ++fd) {
            ::dup2(kept_[fd], fd);
            ::close(kept_[fd]);
        }
    }

  private:
    void place(int from, int fd) {
        kept_[fd] = ::fcntl(fd, F_DUPFD_CLOEXEC, 10);
        ::dup2(from, fd);
        ::close(from);
    }
    int kept_[2] = {-1, -1};
};

// Copies lines from standard input to standard output, in capitals.
Coroutine<> shout() {
    auto stdio = co_await stdio_streams();
    while (auto line = co_await stdio.stdin_.next()) {
        for (char& c : *line) c = static_cast<char>(std::toupper(c));
        stdio.stdout_.write(*line);
        co_await stdio.stdout_.drain();
    }
    stdio.stdout_.close();
    co_await stdio.stdout_.wait_closed();
}

Coroutine<> with_limit() { co_await wait_for(shout(), 20s); }

std::string read_all(int fd) {
    std::string all;
    char piece[4096];
    for (ssize_t n = 0; (n = ::read(fd, piece, sizeof piece)) > 0;) {
        all.append(piece, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return all;
}

int file_with(const std::string& text) {
    char name[] = "/tmp/asyncio-stdio-XXXXXX";
    const int fd = ::mkostemp(name, O_CLOEXEC);
    EXPECT_GE(fd, 0);
    ::unlink(name);
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    return fd;
}

TEST(Stdio, Pipes) {  // PI-01, PI-02
    int in[2];
    int out[2];
    ASSERT_EQ(::pipe2(in, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
    ASSERT_EQ(::write(in[1], "one\ntwo\nlast", 12), 12);
    ::close(in[1]);
    {
        const Redirected redirected(in[0], out[1]);
        asyncio::run(with_limit());
        EXPECT_TRUE(is_blocking(0));
        EXPECT_TRUE(is_blocking(1));
        EXPECT_EQ(::write(1, "after\n", 6), 6);  // usable by others
    }
    EXPECT_EQ(read_all(out[0]), "ONE\nTWO\nLASTafter\n");
}

TEST(Stdio, IsNeverNonBlockingForOthers) {
    int in[2];
    int out[2];
    ASSERT_EQ(::pipe2(in, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
    {
        const Redirected redirected(in[0], out[1]);
        asyncio::run([]() -> Coroutine<> {
            auto stdio = co_await stdio_streams();
            EXPECT_TRUE(is_blocking(0));
            EXPECT_TRUE(is_blocking(1));
            EXPECT_TRUE(is_blocking(2));
        });
    }
    ::close(in[1]);
    ::close(out[0]);
}

TEST(Stdio, Files) {
    const int in = file_with("skipped\none\ntwo\n");
    ASSERT_EQ(::lseek(in, 8, SEEK_SET), 8);  // read from where the program stands
    const int out = file_with("kept\n");
    const int copy = ::fcntl(out, F_DUPFD_CLOEXEC, 0);
    {
        const Redirected redirected(in, out);
        asyncio::run(with_limit());
    }
    ASSERT_EQ(::lseek(copy, 0, SEEK_SET), 0);
    EXPECT_EQ(read_all(copy), "kept\nONE\nTWO\n");
}

TEST(Stdio, LongFiles) {
    std::string text;
    for (int i = 0; text.size() < 2'000'000; ++i) text += "line " + std::to_string(i) + "\n";
    const int in = file_with(text);
    ASSERT_EQ(::lseek(in, 0, SEEK_SET), 0);
    const int out = file_with("");
    const int copy = ::fcntl(out, F_DUPFD_CLOEXEC, 0);
    {
        const Redirected redirected(in, out);
        asyncio::run(with_limit());
    }
    EXPECT_EQ(::lseek(copy, 0, SEEK_END), static_cast<off_t>(text.size()));
    ::close(copy);
}

TEST(Stdio, Nothing) {
    const Redirected redirected(::open("/dev/null", O_RDONLY | O_CLOEXEC),
                                ::open("/dev/null", O_WRONLY | O_CLOEXEC));
    asyncio::run(with_limit());
}

TEST(Stdio, SocketsStayAsTheyAre) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ASSERT_EQ(::write(ends[1], "a\n", 2), 2);
    const int copy = ::fcntl(ends[0], F_DUPFD_CLOEXEC, 0);
    {
        const Redirected redirected(ends[0], copy);
        asyncio::run([]() -> Coroutine<> {
            auto stdio = co_await stdio_streams();
            EXPECT_EQ(co_await stdio.stdin_.readline(), "a\n");
            EXPECT_TRUE(is_blocking(0));
            stdio.stdout_.write(std::string(1'000'000, 'x'));
            EXPECT_GT(stdio.stdout_.transport().get_write_buffer_size(), 0u);
            stdio.stdout_.transport().abort();
        });
    }
    ::close(ends[1]);
}

TEST(Stdio, Terminals) {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_EQ(::grantpt(master), 0);
    ASSERT_EQ(::unlockpt(master), 0);
    char name[64];
    ASSERT_EQ(::ptsname_r(master, name, sizeof name), 0);
    const int in = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    const int out = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_EQ(::write(master, "hi\n\x04", 4), 4);  // Ctrl-D: the end
    {
        const Redirected redirected(in, out);
        asyncio::run(with_limit());
        EXPECT_TRUE(is_blocking(0));
    }
    std::string text;  // what was typed, then what was written
    while (text.find("HI\r\n") == std::string::npos) {
        char piece[64];
        const ssize_t n = ::read(master, piece, sizeof piece);
        ASSERT_GT(n, 0);
        text.append(piece, static_cast<std::size_t>(n));
    }
    EXPECT_EQ(text, "hi\r\nHI\r\n");
    ::close(master);
}

TEST(Stdio, OneThatIsClosed) {
    asyncio::run([]() -> Coroutine<> {
        const int kept = ::fcntl(0, F_DUPFD_CLOEXEC, 10);
        ::close(0);
        const auto r = co_await as_result(stdio_streams());
        ::dup2(kept, 0);
        ::close(kept);
        EXPECT_EQ(support::error_text<OSError>(r), "[Errno 9] Bad file descriptor");
    });
}

}  // namespace

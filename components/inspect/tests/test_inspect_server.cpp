// A program that tells of itself.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/inspect_server.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

// Whatever comes back to what is sent, up to the end.
std::string talk(const std::string& path, const std::string& text) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    // Safe because this is how addresses are given to sockets: sockaddr(3type).
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(fd);
        return "no connection";
    }
    EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    std::string all;
    char bytes[4096];
    for (ssize_t n; (n = ::recv(fd, bytes, sizeof bytes, 0)) > 0;) {
        all.append(bytes, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return all;
}

std::string get(const std::string& path, const std::string& target) {
    return talk(path, "GET /" + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

std::string status_of(const std::string& answer) { return answer.substr(0, 12); }

testing::AssertionResult has(const std::string& text, const std::string& part) {
    if (text.find(part) != text.npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << part << " is not in:\n" << text;
}

class InspectServer : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/asyncio-inspect-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        dir_ = name;
        path_ = dir_ + "/socket";
    }
    void TearDown() override { fs::remove_all(dir_); }

    std::string dir_, path_;
};

Coroutine<> nap() { co_await sleep(1h); }
Coroutine<> outer() { co_await nap(); }

TEST_F(InspectServer, TellsWhatTheToolTells) {
    asyncio::run([&]() -> Coroutine<> {
        const auto server = inspect::serve(path_);
        EXPECT_EQ(server.path(), path_);
        const auto sleeper = create_task(outer(), {.name = "a sleeper"});
        const auto ask = [&](std::string target) {
            auto job = [this, target = std::move(target)] { return get(path_, target); };
            return to_thread(job);
        };
        const std::string tree = co_await ask("pstree");
        EXPECT_EQ(status_of(tree), "HTTP/1.1 200");
        EXPECT_TRUE(has(tree, "a sleeper"));
        EXPECT_TRUE(has(tree, "nap()"));
        EXPECT_TRUE(has(tree, "test_inspect_server.cpp"));
        EXPECT_TRUE(has(tree, "sleep"));
        EXPECT_TRUE(has(co_await ask("ps?filter=sleeper"), "a sleeper"));
        EXPECT_FALSE(has(co_await ask("ps?filter=nothing"), "a sleeper"));
        EXPECT_TRUE(has(co_await ask("ps?json=1"), "\"name\":\"a sleeper\""));
        EXPECT_TRUE(has(co_await ask("stack?task=a%20sleeper"), "in outer"));
        EXPECT_EQ(status_of(co_await ask("stack?task=nobody")), "HTTP/1.1 404");
        EXPECT_EQ(status_of(co_await ask("ps?loop=x")), "HTTP/1.1 400");
        EXPECT_TRUE(has(co_await ask("metrics"), "asyncio_loop_steps_total{loop=\"1\"}"));
        EXPECT_TRUE(has(co_await ask("data?view=loops"), "application/json"));
    });
}

TEST_F(InspectServer, ServesThePage) {
    const auto server = inspect::serve(path_);
    const std::string page = get(path_, "");
    EXPECT_EQ(status_of(page), "HTTP/1.1 200");
    EXPECT_TRUE(has(page, "Content-Security-Policy: default-src 'none'; script-src 'nonce-"));
    EXPECT_TRUE(has(page, "<!doctype html>"));
    EXPECT_FALSE(has(page, "@NONCE@"));
}

TEST_F(InspectServer, AnswersWhileALoopIsStuck) {
    asyncio::run([&]() -> Coroutine<> {
        const auto server = inspect::serve(path_);
        const auto stuck = create_task(
            [](std::string path) -> Coroutine<> {
                EXPECT_TRUE(has(get(path, "ps"), "running"));
                EXPECT_TRUE(has(get(path, "ps"), "the one that does not give back"));
                co_return;
            }(path_),
            {.name = "the one that does not give back"});
        co_await stuck;
    });
}

Coroutine<> busy() {
    for (;;) co_await sleep(0s);
}

TEST_F(InspectServer, HoldsALoopThatNeverSleepsWhileItIsRead) {
    asyncio::run([&]() -> Coroutine<> {
        const auto server = inspect::serve(path_);
        std::vector<Task<>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(create_task(busy()));
        for (int i = 0; i < 10; ++i) {
            auto job = [this] { return get(path_, "ps?json=1"); };
            const std::string answer = co_await to_thread(job);
            EXPECT_TRUE(has(answer, "\"exact\":true"));
        }
    });
}

TEST_F(InspectServer, IsForItsUserAlone) {
    const auto server = inspect::serve(path_);
    EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(InspectServer, RemovesItsSocketAtTheEnd) {
    auto server = inspect::serve(path_);
    EXPECT_TRUE(fs::exists(path_));
    auto moved = std::move(server);
    EXPECT_TRUE(fs::exists(path_));
    server.close();
    EXPECT_TRUE(fs::exists(path_));
    moved.close();
    EXPECT_FALSE(fs::exists(path_));
    EXPECT_EQ(moved.path(), "");
    moved.close();
    moved = inspect::serve(path_);
    moved = inspect::serve(dir_ + "/other");
    EXPECT_FALSE(fs::exists(path_));
    EXPECT_EQ(status_of(get(dir_ + "/other", "ps")), "HTTP/1.1 200");
}

TEST_F(InspectServer, LeavesAnothersSocketWhereItIs) {
    auto server = inspect::serve(path_);
    fs::remove(path_);
    const auto other = inspect::serve(path_);
    server.close();
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
}

TEST_F(InspectServer, DoesNotTakeAPlaceThatIsTaken) {
    const auto server = inspect::serve(path_);
    try {
        const auto second = inspect::serve(path_);
        ADD_FAILURE() << "two serve at one place";
    } catch (const OSError& e) {
        EXPECT_EQ(e.code().value(), EADDRINUSE);
    }
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
    const std::string file = dir_ + "/file";
    std::ofstream(file) << "content";
    EXPECT_THROW((void)inspect::serve(file), OSError);
    EXPECT_EQ(fs::file_size(file), 7u);
    EXPECT_THROW((void)inspect::serve(dir_ + "/no/such/folder"), OSError);
}

TEST_F(InspectServer, TakesThePlaceOfAProgramThatHasEnded) {
    Socket(AF_UNIX, SOCK_STREAM).bind(SocketAddress::unix(path_));
    ASSERT_TRUE(fs::exists(path_));
    const auto server = inspect::serve(path_);
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
}

TEST_F(InspectServer, RemovesNoSocketThatIsNotKnownToBeLeft) {
    // Of another kind: whether somebody reads it is not to be found by connecting.
    const Socket datagrams(AF_UNIX, SOCK_DGRAM);
    datagrams.bind(SocketAddress::unix(path_));
    EXPECT_THROW((void)inspect::serve(path_), OSError);
    EXPECT_TRUE(fs::is_socket(path_));
}

TEST_F(InspectServer, SaysWhatIsWrongWithAPath) {
    EXPECT_THROW((void)inspect::serve(""), ValueError);
    EXPECT_THROW((void)inspect::serve(std::string("\0abstract", 9)), ValueError);
    EXPECT_THROW((void)inspect::serve(dir_ + '/' + std::string(200, 'x')), OSError);
    EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(InspectServer, AnswersWhatIsNoRequestOfIts) {
    const auto server = inspect::serve(path_);
    EXPECT_EQ(status_of(get(path_, "nothing")), "HTTP/1.1 404");
    EXPECT_EQ(status_of(talk(path_, "POST /ps HTTP/1.1\r\n\r\n")), "HTTP/1.1 405");
    EXPECT_EQ(status_of(talk(path_, "rubbish\r\n\r\n")), "HTTP/1.1 400");
    EXPECT_EQ(status_of(talk(path_, "GET /" + std::string(9000, 'x'))), "HTTP/1.1 431");
    EXPECT_EQ(status_of(get(path_, "ps?filter=%ff%00%1b&loop=18446744073709551615")),
              "HTTP/1.1 200");
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
}

TEST_F(InspectServer, ItsThreadsTakeNoSignals) {
    const auto server = inspect::serve(path_);
    (void)get(path_, "data");
    std::size_t found = 0;
    for (const auto& task : fs::directory_iterator("/proc/self/task")) {
        if (std::stoi(task.path().filename()) == ::getpid()) continue;
        std::ifstream status(task.path() / "status");
        for (std::string line; std::getline(status, line);) {
            if (!line.starts_with("SigBlk:")) continue;
            const auto blocked = std::stoull(line.substr(7), nullptr, 16);
            if ((blocked & (1ull << (SIGTERM - 1))) != 0) ++found;
        }
    }
    EXPECT_GE(found, 2u);
}

TEST_F(InspectServer, AChildOfForkServesNothing) {
    if (support::kThreadSanitizer) GTEST_SKIP() << "the sanitizer wants no threads at a fork";
    auto server = inspect::serve(path_);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        server.close();
        std::_Exit(fs::exists(path_) ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
}

TEST_F(InspectServer, LoopsComeAndGoMeanwhile) {
    const auto server = inspect::serve(path_);
    std::atomic<bool> stop{false};
    std::thread loops([&] {
        while (!stop) asyncio::run(sleep(0s));
    });
    for (int i = 0; i < 50; ++i) EXPECT_EQ(status_of(get(path_, "pstree")), "HTTP/1.1 200");
    stop = true;
    loops.join();
}

TEST_F(InspectServer, EndsBesideClientsThatSayNothing) {
    auto server = inspect::serve(path_);
    std::vector<Socket> silent;
    for (int i = 0; i < 100; ++i) {
        Socket& s = silent.emplace_back(AF_UNIX, SOCK_STREAM);
        const SocketAddress to = SocketAddress::unix(path_);
        // Safe because this is how addresses are given to sockets: sockaddr(3type).
        (void)::connect(s.fileno(), static_cast<const sockaddr*>(to.data()),
                        static_cast<socklen_t>(to.size()));
    }
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
    server.close();
}

TEST_F(InspectServer, RaisesWithoutDescriptors) {
    if (support::kAddressSanitizer || support::kThreadSanitizer) {
        GTEST_SKIP() << support::kNeedsDescriptors;
    }
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit few{64, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
    std::vector<Socket> all;
    for (int fd; (fd = ::dup(STDIN_FILENO)) >= 0;) all.emplace_back(fd);
    for (int i = 0; i < 6; ++i) {
        std::string raised;
        try {
            const auto server = inspect::serve(path_);
        } catch (const std::exception& e) {
            raised = e.what();
        }
        EXPECT_EQ(fs::exists(path_), false) << raised;
        all.pop_back();
    }
    all.clear();
    ::setrlimit(RLIMIT_NOFILE, &before);
    const auto server = inspect::serve(path_);
    EXPECT_EQ(status_of(get(path_, "ps")), "HTTP/1.1 200");
}

}  // namespace

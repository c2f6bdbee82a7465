// watch: file system changes as a generator.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support.hpp"

namespace {

using asyncio::Coroutine;
using asyncio::FileChange;
using asyncio::FileEvent;
using support::Lines;
using namespace std::chrono_literals;

namespace fs = std::filesystem;

class Watch : public testing::Test {
  protected:
    Watch() {
        std::string name = (fs::temp_directory_path() / "asyncio-watch-XXXXXX").string();
        dir_ = ::mkdtemp(name.data());
    }
    ~Watch() override { fs::remove_all(dir_); }

    std::string path(const std::string& name) const { return dir_ + '/' + name; }
    void append(const std::string& name, const std::string& text) const {
        std::ofstream(path(name), std::ios::app) << text;
    }
    // Without the directory's name.
    std::string brief(const FileEvent& event) const {
        std::string text = event.repr();
        for (std::size_t at = text.find(dir_); at != std::string::npos; at = text.find(dir_)) {
            text.erase(at, dir_.size());
        }
        return text;
    }
    // The next `n` events.
    Coroutine<Lines> take(asyncio::AsyncGenerator<FileEvent>& changes, std::size_t n) const {
        Lines lines;
        while (lines.size() < n) {
            const auto event = co_await asyncio::wait_for(changes.next(), 10s);
            if (!event) break;
            lines.push_back(brief(*event));
        }
        co_return lines;
    }

    std::string dir_;
};

TEST_F(Watch, TellsWhatHappensInADirectory) {
    asyncio::run([&]() -> Coroutine<> {
        auto changes = asyncio::watch(dir_);
        append("x", "1");
        Lines seen = co_await take(changes, 3);
        EXPECT_EQ(seen, (Lines{"CREATED '/x'", "MODIFIED '/x'", "CLOSED '/x'"}));
        fs::permissions(path("x"), fs::perms::owner_all);
        fs::rename(path("x"), path("y"));
        fs::create_directory(path("sub"));
        fs::rename(path("y"), path("sub/y"));
        fs::rename(path("sub/y"), path("z"));
        fs::remove(path("z"));
        seen = co_await take(changes, 6);
        EXPECT_EQ(seen, (Lines{"ATTRIBUTES '/x'", "MOVED '/x' to '/y'", "CREATED '/sub'",
                               "DELETED '/y'", "CREATED '/z'", "DELETED '/z'"}));
    });
}

TEST_F(Watch, WakesWhoWaits) {
    asyncio::run([&]() -> Coroutine<> {
        auto changes = asyncio::watch(dir_);
        auto next = asyncio::create_task(changes.next());
        co_await asyncio::sleep(5ms);
        EXPECT_FALSE(next.done());
        append("x", "");
        const auto event = co_await next;
        EXPECT_EQ(brief(*event), "CREATED '/x'");
    });
}

TEST_F(Watch, EndsWhenTheDirectoryIsRemoved) {
    asyncio::run([&]() -> Coroutine<> {
        fs::create_directory(path("sub"));
        append("sub/x", "");
        auto changes = asyncio::watch(path("sub"));
        auto next = asyncio::create_task(changes.next());
        co_await asyncio::sleep(1ms);
        fs::remove_all(path("sub"));
        const auto first = co_await next;
        EXPECT_EQ(brief(*first), "DELETED '/sub/x'");
        const Lines seen = co_await take(changes, 5);
        EXPECT_EQ(seen.back(), "GONE '/sub'");
        EXPECT_FALSE(co_await changes.next());
    });
}

TEST_F(Watch, EndsWhenWhatIsWatchedIsRenamed) {
    asyncio::run([&]() -> Coroutine<> {
        fs::create_directory(path("sub"));
        auto changes = asyncio::watch(path("sub"));
        fs::rename(path("sub"), path("other"));
        const Lines seen = co_await take(changes, 5);
        EXPECT_EQ(seen, (Lines{"GONE '/sub'"}));
    });
}

TEST_F(Watch, AFileIsWatchedUntilItIsRemovedThoughItIsOpen) {
    asyncio::run([&]() -> Coroutine<> {
        append("x", "1");
        auto changes = asyncio::watch(path("x"));
        const int fd = ::open(path("x").c_str(), O_WRONLY);
        EXPECT_EQ(::write(fd, "2", 1), 1);
        Lines seen = co_await take(changes, 1);
        EXPECT_EQ(seen, (Lines{"MODIFIED '/x'"}));
        fs::permissions(path("x"), fs::perms::owner_all);
        seen = co_await take(changes, 1);
        EXPECT_EQ(seen, (Lines{"ATTRIBUTES '/x'"}));
        fs::remove(path("x"));
        seen = co_await take(changes, 2);
        EXPECT_EQ(seen, (Lines{"GONE '/x'"}));
        ::close(fd);
    });
}

TEST_F(Watch, AFullQueueIsToldAndTheRestGoesOn) {
    asyncio::run([&]() -> Coroutine<> {
        int most = 0;
        std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> most;
        if (most > 100'000 || most == 0) {
            co_return;  // not worth the time here
        }
        auto changes = asyncio::watch(dir_);
        const int a = ::open(path("a").c_str(), O_CREAT | O_WRONLY, 0600);
        const int b = ::open(path("b").c_str(), O_CREAT | O_WRONLY, 0600);
        // Equal events that follow each other would count as one.
        for (int i = 0; i < most; ++i) EXPECT_EQ(::pwrite(i % 2 ? a : b, "x", 1, 0), 1);
        int before = 0;
        while (true) {
            const auto event = co_await asyncio::wait_for(changes.next(), 10s);
            if (event->kind == FileChange::LOST) break;
            ++before;
        }
        EXPECT_EQ(before, most);
        fs::create_directory(path("later"));
        const Lines seen = co_await take(changes, 1);
        EXPECT_EQ(seen, (Lines{"CREATED '/later'"}));
        ::close(a);
        ::close(b);
    });
}

TEST_F(Watch, ErrorsNameThePath) {
    EXPECT_EQ(support::raised<asyncio::FileNotFoundError>(
                  [&] { static_cast<void>(asyncio::watch(path("no"))); }),
              "[Errno 2] No such file or directory: '" + path("no") + "'");
    EXPECT_EQ(support::raised<asyncio::ValueError>(
                  [&] { static_cast<void>(asyncio::watch(std::string_view("a\0b", 3))); }),
              "embedded null byte");
}

TEST_F(Watch, ACancelEndsIt) {
    asyncio::run([&]() -> Coroutine<> {
        for (int when = -1; when < 4; ++when) {
            auto changes = asyncio::watch(dir_);
            auto next = asyncio::create_task(changes.next());
            if (when >= 0) co_await asyncio::sleep(0s);
            if (when >= 1) append("x", "");
            for (int i = 1; i < when; ++i) co_await asyncio::sleep(0s);
            next.cancel();
            const auto result = co_await asyncio::as_result(next);
            if (!result) {
                EXPECT_TRUE(result.holds<asyncio::CancelledError>());
            }
            co_await changes.aclose();
        }
    });
}

TEST_F(Watch, ALoopClosesWhileItWaits) {
    const support::LogCapture log;
    const auto loop = asyncio::new_event_loop();
    auto changes = asyncio::watch(dir_);
    auto task = loop->create_task(changes.next(), {});
    loop->run_until_complete(asyncio::sleep(1ms));
    EXPECT_FALSE(task.done());
    loop->close();
}

}  // namespace

// watch: file system changes as a generator.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "counted_new.hpp"
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
        // Memory, where there is such a place: thousands of directories take a disk long.
        const fs::path memory = "/dev/shm";
        const fs::path place = fs::is_directory(memory) ? memory : fs::temp_directory_path();
        std::string name = (place / "asyncio-watch-XXXXXX").string();
        dir_ = ::mkdtemp(name.data());
    }
    ~Watch() override {
        std::error_code ignored;
        fs::remove_all(dir_, ignored);
    }

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
            if (!event || event->kind == FileChange::LOST) break;
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

// N11. Raised where it is awaited.
TEST_F(Watch, ErrorsNameThePath) {
    asyncio::run([&]() -> Coroutine<> {
        auto missing = asyncio::watch(path("no"));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(
                      co_await asyncio::as_result(missing.next())),
                  "[Errno 2] No such file or directory: '" + path("no") + "'");
        EXPECT_FALSE(co_await missing.next());
        auto empty = asyncio::watch("");
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(
                      co_await asyncio::as_result(empty.next())),
                  "[Errno 2] No such file or directory: ''");
        auto null = asyncio::watch(std::string_view("a\0b", 3));
        EXPECT_EQ(
            support::error_text<asyncio::ValueError>(co_await asyncio::as_result(null.next())),
            "embedded null byte");
    });
}

// How many descriptors of this process lead to inotify.
std::ptrdiff_t instances() {
    std::ptrdiff_t n = 0;
    std::error_code vanished;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        n += fs::read_symlink(entry.path(), vanished).string().find("inotify") != std::string::npos;
    }
    return n;
}

// N8. And each is told what happens in it, and nothing else.
TEST_F(Watch, ThousandsOfDirectoriesNeedOneDescriptor) {
    constexpr std::size_t kDirectories = 1000;
    for (std::size_t i = 0; i < kDirectories; ++i) fs::create_directory(path(std::to_string(i)));
    asyncio::run([&]() -> Coroutine<> {
        EXPECT_EQ(instances(), 0);
        {
            std::vector<asyncio::AsyncGenerator<FileEvent>> changes;
            for (std::size_t i = 0; i < kDirectories; ++i) {
                changes.push_back(asyncio::watch(path(std::to_string(i))));
            }
            EXPECT_EQ(instances(), 1);
            auto last = asyncio::create_task(changes.back().next());
            co_await asyncio::sleep(1ms);
            for (std::size_t i = 0; i < kDirectories; ++i) {
                fs::create_directory(path(std::to_string(i) + "/x"));
            }
            const auto seen = co_await asyncio::wait_for(last, 10s);
            EXPECT_EQ(brief(*seen), "CREATED '/" + std::to_string(kDirectories - 1) + "/x'");
            for (std::size_t i = 0; i + 1 < kDirectories; ++i) {
                const Lines lines = co_await take(changes[i], 1);
                EXPECT_EQ(lines, (Lines{"CREATED '/" + std::to_string(i) + "/x'"}));
            }
        }
        // The loop closes what was dropped before its end.
        for (int i = 0; i < 100 && instances() > 0; ++i) co_await asyncio::sleep(0s);
        EXPECT_EQ(instances(), 0) << "nothing is watched any more";
    });
}

// N8.
TEST_F(Watch, TheSamePathMayBeWatchedTwice) {
    asyncio::run([&]() -> Coroutine<> {
        fs::create_directory(path("sub"));
        fs::create_directory_symlink("sub", path("link"));
        auto first = asyncio::watch(path("sub"));
        append("sub/a", "");
        auto second = asyncio::watch(path("sub"));
        auto by_link = asyncio::watch(path("link"));
        fs::create_directory(path("sub/b"));
        Lines seen = co_await take(first, 3);
        EXPECT_EQ(seen, (Lines{"CREATED '/sub/a'", "CLOSED '/sub/a'", "CREATED '/sub/b'"}));
        seen = co_await take(second, 1);
        EXPECT_EQ(seen, (Lines{"CREATED '/sub/b'"})) << "from the call on";
        seen = co_await take(by_link, 1);
        EXPECT_EQ(seen, (Lines{"CREATED '/link/b'"}));
        // One that ends leaves the others.
        auto waiting = asyncio::create_task(second.next());
        co_await asyncio::sleep(1ms);
        co_await first.aclose();
        fs::remove(path("link"));
        fs::create_directory(path("sub/c"));
        const auto event = co_await asyncio::wait_for(waiting, 10s);
        EXPECT_EQ(brief(*event), "CREATED '/sub/c'");
        seen = co_await take(by_link, 5);
        EXPECT_EQ(seen, (Lines{"GONE '/link'"})) << "the path leads nowhere";
        fs::remove_all(path("sub"));
        seen = co_await take(second, 9);
        EXPECT_EQ(seen.back(), "GONE '/sub'");
        // What is made there anew is another one.
        fs::create_directory(path("sub"));
        auto again = asyncio::watch(path("sub"));
        fs::create_directory(path("sub/d"));
        seen = co_await take(again, 1);
        EXPECT_EQ(seen, (Lines{"CREATED '/sub/d'"}));
    });
}

// N8. One that does not ask holds up no other, and is told when it has missed something.
TEST_F(Watch, ASlowWatchIsToldWhatItMissed) {
    asyncio::run([&]() -> Coroutine<> {
        fs::create_directory(path("slow"));
        fs::create_directory(path("fast"));
        auto slow = asyncio::watch(path("slow"));
        auto fast = asyncio::watch(path("fast"));
        const int a = ::open(path("slow/a").c_str(), O_CREAT | O_WRONLY, 0600);
        const int b = ::open(path("slow/b").c_str(), O_CREAT | O_WRONLY, 0600);
        for (int i = 0; i < 20; ++i) {
            for (int k = 0; k < 1000; ++k) EXPECT_EQ(::pwrite(k % 2 ? a : b, "x", 1, 0), 1);
            fs::create_directory(path("fast/" + std::to_string(i)));
            const Lines lines = co_await take(fast, 1);
            EXPECT_EQ(lines, (Lines{"CREATED '/fast/" + std::to_string(i) + "'"}));
        }
        int before = 0;
        while (true) {
            const auto event = co_await asyncio::wait_for(slow.next(), 10s);
            if (!event || event->kind == FileChange::LOST) break;
            ++before;
        }
        EXPECT_EQ(before, 16384);
        fs::create_directory(path("slow/later"));
        const Lines lines = co_await take(slow, 1);
        EXPECT_EQ(lines, (Lines{"CREATED '/slow/later'"}));
        ::close(a);
        ::close(b);
    });
}

// N9. The system says nothing of it.
TEST_F(Watch, EndsWhenADirectoryAboveIsRenamed) {
    asyncio::run([&]() -> Coroutine<> {
        fs::create_directories(path("old/deep/er"));
        append("old/deep/er/file", "1");
        auto busy = asyncio::watch(path("old/deep/er"));
        auto file = asyncio::watch(path("old/deep/er/file"));
        auto quiet = asyncio::watch(path("old/deep"));
        auto waiting = asyncio::create_task(quiet.next());
        co_await asyncio::sleep(1ms);
        fs::rename(path("old"), path("new"));
        append("new/deep/er/file", "2");
        append("new/deep/er/other", "3");
        Lines seen = co_await take(busy, 5);
        EXPECT_EQ(seen, (Lines{"GONE '/old/deep/er'"}));
        seen = co_await take(file, 5);
        EXPECT_EQ(seen, (Lines{"GONE '/old/deep/er/file'"}));
        const auto event = co_await asyncio::wait_for(waiting, 10s);
        EXPECT_EQ(brief(*event), "GONE '/old/deep'");
        EXPECT_FALSE(co_await quiet.next());
    });
}

// N9. Nor does it say that a directory is removed of which something is open.
TEST_F(Watch, EndsWhenTheDirectoryIsRemovedWhileAFileInItIsOpen) {
    asyncio::run([&]() -> Coroutine<> {
        fs::create_directory(path("sub"));
        const int fd = ::open(path("sub/x").c_str(), O_CREAT | O_WRONLY, 0600);
        auto changes = asyncio::watch(path("sub"));
        auto next = asyncio::create_task(changes.next());
        co_await asyncio::sleep(1ms);
        fs::remove(path("sub/x"));
        const auto first = co_await asyncio::wait_for(next, 10s);
        EXPECT_EQ(brief(*first), "DELETED '/sub/x'");
        fs::remove(path("sub"));
        const Lines seen = co_await take(changes, 5);
        EXPECT_EQ(seen, (Lines{"GONE '/sub'"}));
        ::close(fd);
    });
}

TEST_F(Watch, EndsWhenAFileIsReplacedOrItsLinkLeadsElsewhere) {
    asyncio::run([&]() -> Coroutine<> {
        append("x", "1");
        append("y", "1");
        fs::create_symlink("x", path("link"));
        auto file = asyncio::watch(path("x"));
        auto link = asyncio::watch(path("link"));
        append("x", "2");
        Lines seen = co_await take(file, 2);
        EXPECT_EQ(seen, (Lines{"MODIFIED '/x'", "CLOSED '/x'"}));
        seen = co_await take(link, 2);
        EXPECT_EQ(seen, (Lines{"MODIFIED '/link'", "CLOSED '/link'"}));
        fs::create_symlink("y", path("other"));
        fs::rename(path("other"), path("link"));
        seen = co_await take(link, 2);
        EXPECT_EQ(seen, (Lines{"GONE '/link'"}));
        fs::rename(path("y"), path("x"));
        seen = co_await take(file, 3);
        EXPECT_EQ(seen.back(), "GONE '/x'");
    });
}

// A program that is made for it may have its own limits: in a namespace of its own.
bool set_limit(const char* name, int most) {
    std::ofstream out(std::string("/proc/sys/user/") + name);
    out << most << std::flush;
    return out.good();
}

// N8. In a process of its own.
TEST_F(Watch, ALimitIsNamed) {
    std::vector<std::string> texts;
    ::chmod(dir_.c_str(), 0755);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::unshare(CLONE_NEWUSER) != 0 || !set_limit("max_inotify_watches", 3)) ::_exit(77);
        int code = asyncio::run([&]() -> Coroutine<int> {
            std::vector<asyncio::AsyncGenerator<FileEvent>> changes;
            for (int i = 0; i < 4; ++i) {
                fs::create_directory(path(std::to_string(i)));
                changes.push_back(asyncio::watch(path(std::to_string(i))));
            }
            const auto full = co_await asyncio::as_result(changes[3].next());
            if (support::error_text<asyncio::OSError>(full) !=
                "[Errno 28] No space left on device (the limit is fs.inotify.max_user_watches): '" +
                    path("3") + "'") {
                co_return 2;
            }
            // The others go on, and one that ends makes room.
            fs::create_directory(path("2/x"));
            if (!co_await changes[2].next()) co_return 3;
            co_await changes[0].aclose();
            changes.push_back(asyncio::watch(path("3")));
            fs::create_directory(path("3/x"));
            co_return co_await changes[4].next() ? 0 : 4;
        });
        if (code == 0 && !set_limit("max_inotify_instances", 0)) code = 5;
        const auto text = [&] {
            return asyncio::run([&]() -> Coroutine<std::string> {
                auto changes = asyncio::watch(dir_);
                co_return support::error_text<asyncio::OSError>(
                    co_await asyncio::as_result(changes.next()));
            });
        };
        if (code == 0 && text() !=
                             "[Errno 24] Too many open files (the limit is "
                             "fs.inotify.max_user_instances): '" +
                                 dir_ + "'") {
            code = 6;
        }
        ::_exit(code);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "limits cannot be set here";
    EXPECT_EQ(status, 0);
}

TEST_F(Watch, NoDescriptorLeftIsNoSuchLimit) {
    if (support::kAddressSanitizer) GTEST_SKIP() << support::kNeedsDescriptors;
    asyncio::run([&]() -> Coroutine<> {
        rlimit limit;
        EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
        const rlimit none{0, limit.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
        auto changes = asyncio::watch(dir_);
        EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
        EXPECT_EQ(
            support::error_text<asyncio::OSError>(co_await asyncio::as_result(changes.next())),
            "[Errno 24] Too many open files: '" + dir_ + "'");
    });
}

// N8. A child of fork() that drops its copy takes nothing from the parent.
TEST_F(Watch, AChildOfForkLeavesTheParentsWatches) {
    asyncio::run([&]() -> Coroutine<> {
        std::vector<asyncio::AsyncGenerator<FileEvent>> changes;
        changes.push_back(asyncio::watch(dir_));
        const pid_t child = ::fork();
        if (child == 0) {
            changes.clear();
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
        fs::create_directory(path("x"));
        const Lines seen = co_await take(changes[0], 1);
        EXPECT_EQ(seen, (Lines{"CREATED '/x'"}));
    });
}

TEST_F(Watch, MayBeMadeBeforeItsLoop) {
    std::vector<asyncio::AsyncGenerator<FileEvent>> changes;
    changes.push_back(asyncio::watch(dir_));
    asyncio::run([&]() -> Coroutine<> {
        changes.push_back(asyncio::watch(dir_));
        co_return;
    });
    fs::create_directory(path("x"));
    asyncio::run([&]() -> Coroutine<> {
        for (auto& each : changes) {
            const Lines seen = co_await take(each, 1);
            EXPECT_EQ(seen, (Lines{"CREATED '/x'"}));
        }
        auto next = asyncio::create_task(changes[0].next());
        co_await asyncio::sleep(1ms);
        fs::create_directory(path("y"));
        const auto event = co_await asyncio::wait_for(next, 10s);
        EXPECT_EQ(brief(*event), "CREATED '/y'");
    });
}

TEST_F(Watch, BelongsToItsLoop) {
    const auto loop = asyncio::new_event_loop();
    std::vector<asyncio::AsyncGenerator<FileEvent>> changes;
    loop->run_until_complete([&]() -> Coroutine<> {
        changes.push_back(asyncio::watch(dir_));
        co_return;
    });
    asyncio::run([&]() -> Coroutine<> {
        const auto foreign = co_await asyncio::as_result(changes[0].next());
        EXPECT_EQ(support::error_text<asyncio::RuntimeError>(foreign),
                  "this watch is bound to a different event loop");
    });
    loop->close();
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

// N8. The instance, which all of a loop share, forgets the one that could not be made.
TEST_F(Watch, WithoutMemoryForItNothingIsWatched) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    fs::create_directory(path("sub"));
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        asyncio::run([&]() -> Coroutine<> {
            auto other = asyncio::watch(dir_);
            auto make = [&]() -> Coroutine<> {
                support::blocks_left = given;
                auto changes = asyncio::watch(path("sub"));
                enough = support::blocks_left.exchange(-1) >= 0;
                co_await changes.next();
            };
            auto made = asyncio::create_task(make);
            co_await asyncio::sleep(0s);
            const bool refused = made.done();
            EXPECT_NE(refused, enough) << given;
            append("sub/x", "");
            append("x", "");
            const Lines seen = co_await take(other, 1);
            EXPECT_EQ(seen, (Lines{"CREATED '/x'"})) << given;
            const auto r = co_await asyncio::as_result(made);
            EXPECT_EQ(r.holds<std::bad_alloc>(), refused) << given;
            fs::remove(path("x"));
            fs::remove(path("sub/x"));
        });
    }
}

// N8. Events without memory are lost, and who waits is told so.
TEST_F(Watch, WithoutMemoryForEventsTheyAreLost) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const std::string name = "a name that is too long for the string itself";
    int lost = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        asyncio::run([&]() -> Coroutine<> {
            const support::ErrorCapture errors(asyncio::get_running_loop());
            auto changes = asyncio::watch(dir_);
            auto others = asyncio::watch(dir_);
            auto next = asyncio::create_task(changes.next());
            co_await asyncio::sleep(1ms);
            append(name, "");
            support::blocks_left = given;
            const auto slept = co_await asyncio::as_result(asyncio::sleep(1ms));
            enough = support::blocks_left.exchange(-1) >= 0;
            const auto first = co_await asyncio::as_result(asyncio::wait_for(next, 10s));
            EXPECT_TRUE(first.has_value() || first.holds<std::bad_alloc>()) << given;
            if (first.has_value() && first.value()->kind == FileChange::LOST) {
                ++lost;
                Lines seen = co_await take(others, 1);
                EXPECT_EQ(seen, (Lines{"LOST ''"})) << given;
                fs::remove(path(name));
                const Lines removed{"DELETED '/" + name + "'"};
                seen = co_await take(changes, 1);
                EXPECT_EQ(seen, removed) << given;
                seen = co_await take(others, 1);
                EXPECT_EQ(seen, removed) << given;
            }
            fs::remove(path(name));
        });
    }
    EXPECT_GE(lost, 5);
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

// Files: open_file and what is done with one, whole files, directories, temporaries.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <new>
#include <regex>
#include <sstream>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "counted_new.hpp"
#include "support.hpp"

namespace {

using asyncio::Coroutine;
using asyncio::File;
using asyncio::open_file;
using support::raised;
using namespace std::chrono_literals;

namespace fs = std::filesystem;

// A directory of its own for each test.
class Files : public testing::Test {
  protected:
    Files() {
        std::string name = (fs::temp_directory_path() / "asyncio-files-XXXXXX").string();
        dir_ = ::mkdtemp(name.data());
    }
    ~Files() override {
        // Where a test has failed a thread may still be writing there.
        std::error_code ignored;
        fs::remove_all(dir_, ignored);
    }

    std::string path(const std::string& name) const { return dir_ + '/' + name; }
    std::string make(const std::string& name, const std::string& text) const {
        std::ofstream(path(name), std::ios::binary) << text;
        return path(name);
    }
    static std::string content(const std::string& path) {
        std::ostringstream all;
        all << std::ifstream(path, std::ios::binary).rdbuf();
        return std::move(all).str();
    }
    std::string fifo() const {
        EXPECT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
        return path("fifo");
    }

    std::string dir_;
};

// Bytes that differ from place to place.
std::string pattern(std::size_t n) {
    std::string data(n, '\0');
    std::uint32_t x = 1;
    for (char& c : data) {
        x = x * 1664525 + 1013904223;
        c = static_cast<char>(x >> 24);
    }
    return data;
}

template <class F>
auto run(F&& body) {
    return asyncio::run(std::forward<F>(body));
}

Coroutine<> iterations(int n) {
    for (int i = 0; i < n; ++i) co_await asyncio::sleep(0s);
}

// Lets the loop run until `done()`, for ten seconds at most.
template <class F>
Coroutine<> until(F done) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!done() && std::chrono::steady_clock::now() < end) co_await asyncio::sleep(100us);
    EXPECT_TRUE(done());
}

// Runs `body` in a process of its own, which has nothing to do with this one's limits and rights.
// Returns what it returns.
template <class F>
int in_child(F body) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// ---- opening -----------------------------------------------------------------------------------

TEST_F(Files, WhatWasWrittenIsRead) {
    run([&]() -> Coroutine<> {
        File out = co_await open_file(path("x"), "w");
        EXPECT_EQ(co_await out.write("one\n"), 4u);
        EXPECT_EQ(co_await out.write(std::string("two\n")), 4u);
        EXPECT_EQ(out.tell(), 8);
        co_await out.close();
        EXPECT_EQ(content(path("x")), "one\ntwo\n");
        File in = co_await open_file(path("x"));
        EXPECT_EQ(co_await in.read(3), "one");
        EXPECT_EQ(in.tell(), 3);
        EXPECT_EQ(co_await in.read(), "\ntwo\n");
        EXPECT_EQ(co_await in.read(), "");
        EXPECT_EQ(co_await in.read(0), "");
    });
}

TEST_F(Files, ModesAreThoseOfPython) {
    const std::string x = make("x", "abc");
    run([&]() -> Coroutine<> {
        File both = co_await open_file(x, "r+b");
        EXPECT_TRUE(both.readable() && both.writable() && both.seekable());
        co_await both.write("X");
        EXPECT_EQ(co_await both.read(), "bc");
        File append = co_await open_file(x, "a+");
        EXPECT_EQ(append.tell(), 3);
        co_await append.seek(0);
        co_await append.write("d");
        EXPECT_EQ(append.tell(), 4);
        co_await append.seek(0);
        EXPECT_EQ(co_await append.read(), "Xbcd");
        File emptied = co_await open_file(x, "w+");
        EXPECT_EQ(co_await emptied.read(), "");
        const auto exists = co_await asyncio::as_result(open_file(x, "x"));
        EXPECT_EQ(support::error_text<asyncio::FileExistsError>(exists),
                  "[Errno 17] File exists: '" + x + "'");
        File made = co_await open_file(path("y"), "xb");
        EXPECT_FALSE(made.readable());
        EXPECT_EQ(made.mode(), "xb");
        EXPECT_EQ(made.repr(), "<File name='" + path("y") + "' mode='xb'>");
    });
}

TEST_F(Files, AModeThatIsNoneIsAValueError) {
    const auto refusal = [&](const char* mode) {
        return raised<asyncio::ValueError>(
            [&] { run([&]() -> Coroutine<> { co_await open_file(path("x"), mode); }); });
    };
    EXPECT_EQ(refusal("q"), "invalid mode: 'q'");
    EXPECT_EQ(refusal("r++"), "invalid mode: 'r++'");
    EXPECT_EQ(refusal("rr"), "invalid mode: 'rr'");
    EXPECT_EQ(refusal("rw"), "must have exactly one of create/read/write/append mode");
    EXPECT_EQ(refusal("bt"), "can't have text and binary mode at once");
    const std::string none =
        "Must have exactly one of create/read/write/append mode and at most one plus";
    EXPECT_EQ(refusal(""), none);
    EXPECT_EQ(refusal("+"), none);
    EXPECT_FALSE(fs::exists(path("x")));
}

// N11. A gather or as_result is told, as of any other error.
TEST_F(Files, WhatIsAwaitedRaisesWhenAwaited) {
    run([&]() -> Coroutine<> {
        const std::string_view null("a\0b", 3);
        const std::string bad = "embedded null byte";
        using asyncio::as_result;
        using asyncio::ValueError;
        using support::error_text;
        EXPECT_EQ(error_text<ValueError>(co_await as_result(open_file(path("x"), "q"))),
                  "invalid mode: 'q'");
        EXPECT_EQ(error_text<ValueError>(co_await as_result(open_file(null))), bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::read_file(null))), bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::write_file(null, "x"))), bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::replace_file(null, ""))), bad);
        const std::string x = make("x", "x");
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::copy_file(null, x))), bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::copy_file(x, null))), bad);
        auto entries = asyncio::list_dir(null);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(entries.next())), bad);
        auto places = asyncio::walk(null);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(places.next())), bad);
        asyncio::TemporaryOptions options;
        options.dir = null;
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::temporary_file(options))),
                  bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::temporary_directory(options))),
                  bad);
        options.dir = dir_;
        options.prefix = null;
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::temporary_directory(options))),
                  bad);
    });
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 1);
}

TEST_F(Files, ErrorsNameTheFile) {
    const std::string x = make("x", "abc");
    run([&]() -> Coroutine<> {
        const auto missing = co_await asyncio::as_result(open_file(path("no")));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(missing),
                  "[Errno 2] No such file or directory: '" + path("no") + "'");
        const auto directory = co_await asyncio::as_result(open_file(dir_));
        EXPECT_EQ(support::error_text<asyncio::IsADirectoryError>(directory),
                  "[Errno 21] Is a directory: '" + dir_ + "'");
        const auto written = co_await asyncio::as_result(open_file(dir_, "w"));
        EXPECT_TRUE(written.holds<asyncio::IsADirectoryError>());
        const auto below = co_await asyncio::as_result(open_file(x + "/y"));
        EXPECT_EQ(support::error_text<asyncio::NotADirectoryError>(below),
                  "[Errno 20] Not a directory: '" + x + "/y'");
    });
}

// N22. An empty path is one too.
TEST_F(Files, ErrorsNameAnEmptyPath) {
    const std::string x = make("x", "abc");
    run([&]() -> Coroutine<> {
        using asyncio::as_result;
        using asyncio::FileNotFoundError;
        using support::error_text;
        const std::string missing = "[Errno 2] No such file or directory: ''";
        for (const char* mode : {"r", "w", "a", "x", "r+"}) {
            const auto opened = co_await as_result(open_file("", mode));
            EXPECT_EQ(error_text<FileNotFoundError>(opened), missing) << mode;
        }
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(asyncio::read_file(""))),
                  missing);
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(asyncio::write_file("", "x"))),
                  missing);
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(asyncio::replace_file("", "x"))),
                  missing);
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(asyncio::copy_file(x, ""))),
                  missing);
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(asyncio::copy_file("", x))),
                  missing);
        auto entries = asyncio::list_dir("");
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(entries.next())), missing);
        auto places = asyncio::walk("");
        EXPECT_EQ(error_text<FileNotFoundError>(co_await as_result(places.next())), missing);
    });
}

TEST_F(Files, NoPermissionIsAPermissionError) {
    const std::string x = make("x", "abc");
    ::chmod(x.c_str(), 0);
    ::chmod(dir_.c_str(), 0755);
    const int code = in_child([&] {
        if (::getuid() == 0 && ::setuid(65534) != 0) return 2;
        return run([&]() -> Coroutine<int> {
            const auto opened = co_await asyncio::as_result(open_file(x));
            if (!opened.holds<asyncio::PermissionError>()) co_return 3;
            const auto made = co_await asyncio::as_result(asyncio::write_file(path("y"), "y"));
            co_return ::getuid() == 65534 && !made.holds<asyncio::PermissionError>() ? 4 : 0;
        });
    });
    EXPECT_EQ(code, 0);
}

TEST_F(Files, AnEmptyHandleIsRefused) {
    const File none;
    EXPECT_FALSE(none);
    EXPECT_EQ(raised<asyncio::RuntimeError>([&] { none.read().close(); }),
              "this handle is empty: it refers to no object");
}

// ---- reading, writing, seeking -----------------------------------------------------------------

TEST_F(Files, LinesEndWithTheirNewline) {
    const std::string x = make("x", "one\n\nthree\nlast");
    run([&]() -> Coroutine<> {
        for (const std::size_t buffer : {1u, 3u, 5u, 65536u}) {
            asyncio::OpenOptions options;
            options.buffer_size = buffer;
            File f = co_await open_file(x, "r", options);
            std::vector<std::string> lines;
            while (auto line = co_await f.next()) lines.push_back(*line);
            EXPECT_EQ(lines, (std::vector<std::string>{"one\n", "\n", "three\n", "last"}));
            EXPECT_EQ(co_await f.readline(), "");
            co_await f.seek(0);
            EXPECT_EQ(co_await f.readline(2), "on");
            EXPECT_EQ(co_await f.readline(100), "e\n");
            EXPECT_EQ(co_await f.readline(0), "");
            EXPECT_EQ(f.tell(), 4);
            EXPECT_EQ(co_await f.read(3), "\nth");
            EXPECT_EQ(co_await f.readline(), "ree\n");
            EXPECT_EQ(co_await f.read(), "last");
        }
    });
}

TEST_F(Files, WritingAfterReadingLinesGoesWhereTheLinesEnded) {
    const std::string x = make("x", "one\ntwo\nthree\n");
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x, "r+");
        EXPECT_EQ(co_await f.readline(), "one\n");
        co_await f.write("TWO");
        EXPECT_EQ(co_await f.readline(), "\n");
        EXPECT_EQ(co_await f.readline(), "three\n");
        EXPECT_EQ(content(x), "one\nTWO\nthree\n");
    });
}

TEST_F(Files, SeekAndTruncate) {
    const std::string x = make("x", "0123456789");
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x, "r+");
        EXPECT_EQ(co_await f.seek(4), 4);
        EXPECT_EQ(co_await f.seek(-1, SEEK_CUR), 3);
        EXPECT_EQ(co_await f.read(2), "34");
        EXPECT_EQ(co_await f.seek(-2, SEEK_END), 8);
        EXPECT_EQ(co_await f.read(), "89");
        const auto before = co_await asyncio::as_result(f.seek(-1));
        EXPECT_EQ(support::error_text<asyncio::OSError>(before), "[Errno 22] Invalid argument");
        const auto whence = co_await asyncio::as_result(f.seek(0, 9));
        EXPECT_EQ(support::error_text<asyncio::ValueError>(whence), "whence value 9 unsupported");
        co_await f.seek(4);
        EXPECT_EQ(co_await f.truncate(), 4);
        EXPECT_EQ(content(x), "0123");
        EXPECT_EQ(co_await f.truncate(6), 6);
        EXPECT_EQ(content(x), std::string("0123\0\0", 6));
        EXPECT_EQ(f.tell(), 4);
        const auto negative = co_await asyncio::as_result(f.truncate(-1));
        EXPECT_EQ(support::error_text<asyncio::OSError>(negative), "[Errno 22] Invalid argument");
        co_await f.sync();
        co_await f.sync(true);
    });
}

TEST_F(Files, PreadAndPwriteLeaveThePositionAlone) {
    const std::string x = make("x", "0123456789");
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x, "r+");
        EXPECT_EQ(co_await f.pread(3, 5), "567");
        EXPECT_EQ(co_await f.pread(100, 8), "89");
        EXPECT_EQ(co_await f.pread(5, 1000), "");
        EXPECT_EQ(co_await f.pwrite("ab", 1), 2u);
        EXPECT_EQ(f.tell(), 0);
        EXPECT_EQ(co_await f.read(), "0ab3456789");
        const auto negative = co_await asyncio::as_result(f.pread(1, -1));
        EXPECT_TRUE(negative.holds<asyncio::ValueError>());
    });
}

TEST_F(Files, StatIsTheSystems) {
    const std::string x = make("x", "0123456789");
    ::chmod(x.c_str(), 0640);
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x);
        const asyncio::FileStat s = co_await f.stat();
        EXPECT_EQ(s.size, 10);
        EXPECT_TRUE(s.is_file());
        EXPECT_EQ(s.permissions, 0640u);
        EXPECT_EQ(s.links, 1u);
        EXPECT_LT(std::chrono::system_clock::now() - s.modified, 1h);
    });
}

TEST_F(Files, ReadIntoFillsTheCallersMemory) {
    const std::string data = pattern(700'000);
    const std::string x = make("x", data);
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x);
        std::string small(1000, '\0');
        EXPECT_EQ(co_await f.read_into(std::span<char>(small)), 1000u);
        EXPECT_EQ(small, data.substr(0, 1000));
        std::vector<std::byte> large(1'000'000);
        EXPECT_EQ(co_await f.read_into(std::span<std::byte>(large)), 699'000u);
        EXPECT_EQ(std::memcmp(large.data(), data.data() + 1000, 699'000), 0);
        EXPECT_EQ(co_await f.read_into(std::span<char>(small)), 0u);
        EXPECT_EQ(f.tell(), 700'000);
    });
}

// More than is copied in the loop's thread, with and without a known size.
TEST_F(Files, LargeReadsAndWritesAreWhole) {
    const std::string data = pattern(3'000'000);
    run([&]() -> Coroutine<> {
        File f = co_await open_file(path("x"), "w+");
        EXPECT_EQ(co_await f.write(data), data.size());
        EXPECT_EQ(f.tell(), 3'000'000);
        co_await f.seek(1);
        EXPECT_EQ(co_await f.read(), data.substr(1));
        co_await f.seek(5);
        EXPECT_EQ(co_await f.read(2'000'000), data.substr(5, 2'000'000));
        EXPECT_EQ(co_await f.readline(1'500'000),
                  data.substr(2'000'005).substr(0, data.substr(2'000'005).find('\n') + 1));
        EXPECT_EQ(co_await f.pread(1'000'000, 7), data.substr(7, 1'000'000));
        EXPECT_EQ(co_await f.pwrite(data.substr(0, 1'000'000), 2'500'000), 1'000'000u);
        EXPECT_EQ((co_await f.stat()).size, 3'500'000);
        EXPECT_EQ(co_await asyncio::read_file(path("x")),
                  data.substr(0, 2'500'000) + data.substr(0, 1'000'000));
    });
}

Coroutine<> read_and_compare(const std::string& path, std::string expected) {
    const std::string got = co_await asyncio::read_file(path);
    EXPECT_TRUE(got == expected) << path;
}

TEST_F(Files, ManyTasksReadWholeFilesAtOnce) {
    constexpr std::size_t kFiles = 300;
    std::vector<std::string> names;
    std::vector<std::size_t> sizes;
    for (std::size_t i = 0; i < kFiles; ++i) {
        sizes.push_back(i % 50 == 7 ? 0 : i % 50 == 9 ? 300'000 : 100 + i * 61);
        names.push_back(make(std::to_string(i), pattern(sizes.back())));
    }
    asyncio::run([&]() -> Coroutine<> {
        for (int round = 0; round < 3; ++round) {
            std::vector<asyncio::Task<>> tasks;
            for (std::size_t i = 0; i < kFiles; ++i) {
                tasks.push_back(
                    asyncio::create_task(read_and_compare(names[i], pattern(sizes[i]))));
            }
            for (auto& task : tasks) co_await task;
        }
    });
}

Coroutine<> read_while_any(const std::string& path, std::size_t& left, std::size_t& mine) {
    while (left > 0) {
        --left;
        ++mine;
        co_await asyncio::read_file(path);
    }
}

// What the four of 64 readers that read the most have read of 20,000.
std::size_t read_by_four(const std::string& path) {
    std::size_t left = 20'000;
    std::vector<std::size_t> counts(64);
    asyncio::run([&]() -> Coroutine<> {
        std::vector<asyncio::Task<>> tasks;
        for (std::size_t& count : counts) {
            tasks.push_back(asyncio::create_task(read_while_any(path, left, count)));
        }
        for (auto& task : tasks) co_await task;
    });
    std::ranges::sort(counts, std::greater<>());
    return counts[0] + counts[1] + counts[2] + counts[3];
}

// Those that come back for more wait in line again: a few that read at once, one after the other,
// would leave the rest, and the second thread, nothing to do. Once in a while a few are all that is
// left, since the second thread was preempted with what it has read for the others: so not each
// try need succeed.
TEST_F(Files, OfManyReadersNoFewReadMost) {
    const std::string name = make("text", pattern(2000));
    std::size_t by_four = 20'000;
    for (int i = 0; i < 10 && by_four > 12'000; ++i) by_four = read_by_four(name);
    EXPECT_LE(by_four, 12'000u);
}

TEST_F(Files, OfManyReadersEachGetsTheErrorOfItsFile) {
    const std::string present = make("present", "text");
    asyncio::run([&]() -> Coroutine<> {
        std::vector<asyncio::Task<std::string>> tasks;
        for (std::size_t i = 0; i < 90; ++i) {
            tasks.push_back(asyncio::create_task(asyncio::read_file(i % 3 == 0   ? present
                                                                    : i % 3 == 1 ? path("missing")
                                                                                 : dir_)));
        }
        for (std::size_t i = 0; i < 90; ++i) {
            const auto result = co_await asyncio::as_result(tasks[i]);
            EXPECT_EQ(result.has_value(), i % 3 == 0) << i;
            EXPECT_EQ(result.holds<asyncio::FileNotFoundError>(), i % 3 == 1) << i;
            EXPECT_EQ(result.holds<asyncio::IsADirectoryError>(), i % 3 == 2) << i;
        }
    });
}

TEST_F(Files, ManyReadersAreCancelledInAnyIteration) {
    const std::string name = make("text", pattern(5000));
    asyncio::run([&]() -> Coroutine<> {
        for (int turns = 0; turns < 6; ++turns) {
            std::vector<asyncio::Task<std::string>> tasks;
            for (int i = 0; i < 100; ++i) {
                tasks.push_back(asyncio::create_task(asyncio::read_file(name)));
            }
            co_await iterations(turns);
            for (std::size_t i = 0; i < tasks.size(); i += 2) tasks[i].cancel();
            for (std::size_t i = 0; i < tasks.size(); ++i) {
                const auto result = co_await asyncio::as_result(tasks[i]);
                const bool cancelled = result.holds<asyncio::CancelledError>();
                EXPECT_TRUE(cancelled ? i % 2 == 0 : result.value() == pattern(5000));
            }
        }
    });
}

TEST_F(Files, ALoopMayCloseWhileManyRead) {
    const std::string name = make("text", pattern(5000));
    for (int turns = 0; turns < 6; ++turns) {
        const auto loop = asyncio::new_event_loop();
        loop->set_exception_handler([](auto&, const auto&) {});  // tasks that are pending
        std::vector<asyncio::Task<std::string>> tasks;
        loop->run_until_complete([&]() -> Coroutine<> {
            for (int i = 0; i < 200; ++i) {
                tasks.push_back(asyncio::create_task(asyncio::read_file(name)));
            }
            co_await iterations(turns);
        });
        loop->close();
    }
}

TEST_F(Files, AFileThatTheKernelMakesUpIsReadWhole) {
    run([&]() -> Coroutine<> {
        File f = co_await open_file("/proc/self/status");
        const std::string text = co_await f.read();
        EXPECT_EQ(text.substr(0, 5), "Name:");
        EXPECT_NE(text.find("voluntary_ctxt_switches"), std::string::npos);
        EXPECT_EQ((co_await asyncio::read_file("/proc/self/status")).substr(0, 5), "Name:");
        EXPECT_GT(co_await asyncio::copy_file("/proc/self/status", path("x")), 100);
        EXPECT_EQ(content(path("x")).substr(0, 5), "Name:");
    });
}

TEST_F(Files, WhatAFileIsNotOpenedForIsUnsupported) {
    const std::string x = make("x", "abc");
    run([&]() -> Coroutine<> {
        File in = co_await open_file(x);
        File out = co_await open_file(path("y"), "w");
        using asyncio::UnsupportedOperation;
        EXPECT_EQ(
            support::error_text<UnsupportedOperation>(co_await asyncio::as_result(in.write("x"))),
            "write");
        EXPECT_EQ(
            support::error_text<UnsupportedOperation>(co_await asyncio::as_result(in.truncate(0))),
            "truncate");
        EXPECT_EQ(
            support::error_text<UnsupportedOperation>(co_await asyncio::as_result(out.read())),
            "read");
        EXPECT_EQ(
            support::error_text<UnsupportedOperation>(co_await asyncio::as_result(out.next())),
            "read");
        EXPECT_EQ(
            support::error_text<asyncio::ValueError>(co_await asyncio::as_result(in.read(-2))),
            "read length must be non-negative or -1");
    });
}

TEST_F(Files, AClosedFileIsRefused) {
    const std::string x = make("x", "abc");
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x, "r+");
        const int fd = f.fileno();
        co_await f.close();
        co_await f.close();
        EXPECT_TRUE(f.closed());
        EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
        const std::string closed = "I/O operation on closed file";
        using asyncio::ValueError;
        EXPECT_EQ(support::error_text<ValueError>(co_await asyncio::as_result(f.read())), closed);
        EXPECT_EQ(support::error_text<ValueError>(co_await asyncio::as_result(f.write("x"))),
                  closed);
        EXPECT_EQ(support::error_text<ValueError>(co_await asyncio::as_result(f.pread(1, 0))),
                  closed);
        EXPECT_EQ(support::error_text<ValueError>(co_await asyncio::as_result(f.seek(0))), closed);
        EXPECT_EQ(support::error_text<ValueError>(co_await asyncio::as_result(f.stat())), closed);
        EXPECT_EQ(raised<ValueError>([&] { static_cast<void>(f.tell()); }), closed);
        EXPECT_EQ(raised<ValueError>([&] { static_cast<void>(f.fileno()); }), closed);
        EXPECT_EQ(f.repr(), "<File name='" + x + "' mode='r+' closed>");
    });
}

TEST_F(Files, WithClosesTheFile) {
    File kept;
    const auto result = run([&]() -> Coroutine<asyncio::Result<int>> {
        File f = co_await open_file(path("x"), "w");
        auto body = [&](File& inside) -> Coroutine<int> {
            kept = inside;
            co_await inside.write("abc");
            throw asyncio::ValueError("stop");
        };
        co_return co_await asyncio::as_result(asyncio::with(f, body));
    });
    EXPECT_EQ(support::error_text<asyncio::ValueError>(result), "stop");
    EXPECT_TRUE(kept.closed());
    EXPECT_EQ(content(path("x")), "abc");
}

TEST_F(Files, AFileBelongsToItsLoop) {
    const std::string x = make("x", "abc");
    File f;
    run([&]() -> Coroutine<> { f = co_await open_file(x); });
    EXPECT_NE(raised<asyncio::RuntimeError>([&] {
                  run([&]() -> Coroutine<> { co_await f.read(); });
              }).find("is bound to a different event loop"),
              std::string::npos);
}

TEST_F(Files, VirtualTimeWaitsForFiles) {
    const std::string x = make("x", pattern(1'000'000));
    support::run_virtual([&]() -> Coroutine<> {
        const auto start = asyncio::get_running_loop().time();
        File f = co_await open_file(path("y"), "w");
        co_await f.write(co_await asyncio::read_file(x));
        co_await f.close();
        EXPECT_EQ(asyncio::get_running_loop().time(), start);
    });
    EXPECT_EQ(content(path("y")), pattern(1'000'000));
}

// A thread that shares the reads may come when the loop has read all, and sleeps until it hears.
TEST_F(Files, VirtualTimeGoesOnWhoeverHasReadTheFiles) {  // N24
    const std::string x = make("x", "abc");
    support::run_virtual([&]() -> Coroutine<> {
        for (int round = 0; round < 100; ++round) {
            std::vector<asyncio::Task<std::string>> readers;
            for (int i = 0; i < 24; ++i) {
                readers.push_back(asyncio::create_task(asyncio::read_file(x)));
            }
            co_await asyncio::gather(readers);
            co_await asyncio::sleep(1h);
        }
        EXPECT_EQ(asyncio::get_running_loop().time(), asyncio::TimePoint(100h));
    });
}

TEST_F(Files, CallsOfManyTasksTakeTurns) {
    run([&]() -> Coroutine<> {
        File f = co_await open_file(path("x"), "w+");
        // Longer than what is written in the loop's thread.
        std::vector<asyncio::Task<std::size_t>> writers;
        for (char c = 'a'; c < 'i'; ++c) {
            writers.push_back(asyncio::create_task(f.write(std::string(300'000, c))));
        }
        co_await asyncio::gather(writers);
        const std::string data = content(path("x"));
        EXPECT_EQ(data.size(), 8u * 300'000);
        for (std::size_t i = 0; i < 8; ++i) {
            const std::string part = data.substr(i * 300'000, 300'000);
            EXPECT_EQ(part, std::string(300'000, static_cast<char>('a' + i)));
        }
    });
}

TEST_F(Files, ALoopOverCachedReadsLetsOthersRun) {
    const std::string x = make("x", pattern(200'000));
    run([&]() -> Coroutine<> {
        support::Iterations counter(asyncio::get_running_loop());
        File f = co_await open_file(x);
        for (int i = 0; i < 100; ++i) {
            co_await f.seek(0);
            EXPECT_EQ((co_await f.read(200'000)).size(), 200'000u);
        }
        EXPECT_GE(counter.count(), 50);
    });
}

// ---- faults ------------------------------------------------------------------------------------

TEST_F(Files, AFullDiskIsAnError) {
    run([&]() -> Coroutine<> {
        File f = co_await open_file("/dev/full", "w");
        const auto written = co_await asyncio::as_result(f.write("x"));
        EXPECT_EQ(support::error_text<asyncio::OSError>(written),
                  "[Errno 28] No space left on device");
        const auto whole = co_await asyncio::as_result(asyncio::write_file("/dev/full", "x"));
        EXPECT_EQ(support::error_text<asyncio::OSError>(whole),
                  "[Errno 28] No space left on device: '/dev/full'");
        const auto copied =
            co_await asyncio::as_result(asyncio::copy_file("/proc/self/status", "/dev/full"));
        EXPECT_TRUE(copied.holds<asyncio::OSError>());
    });
}

TEST_F(Files, TheLimitOfFileSizeIsAnErrorAndNoSignal) {
    const int code = in_child([&] {
        const rlimit limit{100'000, 100'000};
        if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
        return run([&]() -> Coroutine<int> {
            File f = co_await open_file(path("x"), "w");
            co_await f.write(std::string(60'000, 'x'));
            const auto written = co_await asyncio::as_result(f.write(std::string(60'000, 'y')));
            const auto* error = asyncio::detail::find<asyncio::OSError>(written.error());
            if (!error || error->code().value() != EFBIG) co_return 3;
            // What fitted was written, and the position is behind it.
            if (f.tell() != 100'000) co_return 4;
            const auto replaced = co_await asyncio::as_result(
                asyncio::replace_file(path("x"), std::string(200'000, 'z')));
            if (!replaced.holds<asyncio::OSError>()) co_return 5;
            co_return fs::file_size(path("x")) == 100'000 ? 0 : 6;
        });
    });
    EXPECT_EQ(code, 0);
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 1)
        << "the temporary file is gone";
}

TEST_F(Files, ABrokenFifoIsAnErrorAndNoSignal) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        const int reader = ::open(p.c_str(), O_RDONLY | O_NONBLOCK);
        File f = co_await open_file(p, "w");
        ::close(reader);
        const auto written = co_await asyncio::as_result(f.write("x"));
        EXPECT_TRUE(written.holds<asyncio::BrokenPipeError>());
    });
}

// N14. As CPython: an empty write in mode "a" moves nothing.
TEST_F(Files, AnEmptyAppendLeavesThePosition) {
    for (const char* mode : {"a", "a+", "ab", "r+", "w", "w+", "x"}) {
        const bool empties = mode[0] == 'w' || mode[0] == 'x';
        if (mode[0] == 'x') fs::remove(path("x"));
        const std::string x = mode[0] == 'x' ? path("x") : make("x", "hello world");
        run([&]() -> Coroutine<> {
            File f = co_await open_file(x, mode);
            if (empties) co_await f.write("hello world");
            if (mode[0] == 'r') co_await f.seek(0, SEEK_END);
            EXPECT_EQ(co_await f.write(""), 0u);
            EXPECT_EQ(co_await f.write(std::string()), 0u);
            EXPECT_EQ(co_await f.write(std::span<const std::byte>()), 0u);
            EXPECT_EQ(co_await f.pwrite("", 3), 0u);
            EXPECT_EQ(f.tell(), 11) << mode;
            EXPECT_EQ(co_await f.truncate(), 11) << mode;
            co_await f.seek(3);
            EXPECT_EQ(co_await f.write(""), 0u);
            EXPECT_EQ(f.tell(), 3) << mode;
            co_await f.seek(0, SEEK_END);
            co_await f.write("!");
            EXPECT_EQ(f.tell(), 12) << mode;
            EXPECT_EQ(co_await f.truncate(), 12) << mode;
        });
        EXPECT_EQ(content(x), "hello world!") << mode;
    }
}

// N14. What failed before its first byte has moved nothing, however long it was; what was written
// in part has moved the position behind that.
TEST_F(Files, AFailedAppendLeavesThePositionWhereTheFileEnds) {
    const std::string x = make("x", "hello world");
    const int code = in_child([&] {
        return run([&]() -> Coroutine<int> {
            File f = co_await open_file(x, "a+");
            File at = co_await open_file(x, "r+");
            co_await at.seek(5);
            rlimit limit{11, 11};
            if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) co_return 2;
            for (const std::size_t size : {1, 5000, 300'000}) {
                const auto failed = co_await asyncio::as_result(f.write(std::string(size, 'x')));
                const auto* error = asyncio::detail::find<asyncio::OSError>(failed.error());
                if (!error || error->code().value() != EFBIG) co_return 3;
                if (f.tell() != 11) co_return 4;
                if (co_await f.truncate() != 11) co_return 5;
            }
            // Six bytes are room enough for a part.
            const auto failed = co_await asyncio::as_result(at.write(std::string(300'000, 'y')));
            if (failed || at.tell() != 11) co_return 6;
            co_await f.truncate(3);
            const auto part = co_await asyncio::as_result(f.write(std::string(300'000, 'z')));
            if (part || f.tell() != 11) co_return 7;
            co_return co_await f.truncate() == 11 ? 0 : 8;
        });
    });
    EXPECT_EQ(code, 0);
    EXPECT_EQ(content(x), "helzzzzzzzz");
}

// N14. The same where the disk is full, which a small file system of the test's own is.
TEST_F(Files, AFullDiskLeavesThePositionWhereTheFileEnds) {
    if (::getuid() != 0) GTEST_SKIP() << "mounting needs the rights of root";
    const int code = in_child([&] {
        if (::unshare(CLONE_NEWNS) != 0) return 77;
        if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
        if (::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=64k") != 0) return 77;
        return run([&]() -> Coroutine<int> {
            File f = co_await open_file(path("x"), "a");
            co_await f.write("hello world");
            const auto part = co_await asyncio::as_result(f.write(std::string(500'000, 'x')));
            const auto* error = asyncio::detail::find<asyncio::OSError>(part.error());
            if (!error || error->code().value() != ENOSPC) co_return 3;
            const auto size = (co_await f.stat()).size;
            if (size <= 11 || f.tell() != size) co_return 4;
            for (const std::size_t more : {1, 5000, 300'000}) {
                const auto full = co_await asyncio::as_result(f.write(std::string(more, 'x')));
                if (full || f.tell() != size) co_return 5;
            }
            if (co_await f.truncate() != size) co_return 6;
            // The old one is there, and no other.
            const auto replaced = co_await asyncio::as_result(
                asyncio::replace_file(path("x"), std::string(500'000, 'y')));
            if (replaced || static_cast<std::int64_t>(fs::file_size(path("x"))) != size)
                co_return 7;
            const auto names = fs::directory_iterator(dir_);
            co_return std::distance(names, fs::directory_iterator()) == 1 ? 0 : 8;
        });
    });
    if (code == 77) GTEST_SKIP() << "nothing may be mounted here";
    EXPECT_EQ(code, 0);
}

TEST_F(Files, AFullDeviceIsAnError) {
    run([&]() -> Coroutine<> {
        File f = co_await open_file("/dev/full", "a");
        for (const std::size_t size : {1, 300'000}) {
            const auto full = co_await asyncio::as_result(f.write(std::string(size, 'x')));
            EXPECT_EQ(support::error_text<asyncio::OSError>(full),
                      "[Errno 28] No space left on device");
        }
        EXPECT_EQ(co_await f.write(""), 0u);
    });
}

// ---- streams -----------------------------------------------------------------------------------

TEST_F(Files, AFifoIsOpenedWhenBothEndsAreThere) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        auto reading = asyncio::create_task(open_file(p));
        co_await iterations(20);
        EXPECT_FALSE(reading.done());
        File out = co_await open_file(p, "w");
        File in = co_await reading;
        EXPECT_FALSE(in.seekable());
        co_await out.write("one\ntwo\nrest");
        EXPECT_EQ(co_await in.readline(), "one\n");
        EXPECT_EQ(co_await in.read(4), "two\n");
        co_await out.close();
        EXPECT_EQ(co_await in.read(), "rest");
        EXPECT_EQ(co_await in.read(), "");
        EXPECT_TRUE((co_await asyncio::as_result(in.seek(0))).holds<asyncio::OSError>());
        EXPECT_EQ(raised<asyncio::OSError>([&] { static_cast<void>(in.tell()); }),
                  "[Errno 29] Illegal seek");
    });
}

TEST_F(Files, ACancelledReadOfAStreamLosesNothing) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        // Cancelled so many iterations after a thread has taken the bytes, the same one among them.
        for (int late = 0; late < 6; ++late) {
            File f = co_await open_file(p, "r+");
            const int fd = f.fileno();
            auto reading = asyncio::create_task(f.read(5));
            co_await iterations(5);
            EXPECT_EQ(::write(fd, "hello", 5), 5);
            int left = 1;
            while (left > 0) EXPECT_EQ(::ioctl(fd, FIONREAD, &left), 0);
            co_await iterations(late);
            reading.cancel();
            const auto read = co_await asyncio::as_result(reading);
            if (read) {
                EXPECT_EQ(read.value(), "hello");
                EXPECT_EQ(::write(fd, "hello", 5), 5);
            }
            EXPECT_EQ(co_await f.read(5), "hello");
        }
    });
}

TEST_F(Files, ACancelledReadOfAStreamReturnsAtOnce) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        File f = co_await open_file(p, "r+");
        auto reading = asyncio::create_task(f.readline());
        co_await iterations(5);
        EXPECT_FALSE(reading.done());
        reading.cancel();
        EXPECT_TRUE((co_await asyncio::as_result(reading)).holds<asyncio::CancelledError>());
        // The next one waits for the thread's read, and gets its bytes.
        auto next = asyncio::create_task(f.readline());
        co_await iterations(5);
        EXPECT_FALSE(next.done());
        EXPECT_EQ(::write(f.fileno(), "line\n", 5), 5);
        EXPECT_EQ(co_await next, "line\n");
    });
}

// A thread hangs in the read of a stream; the loop closes all the same, and nothing leaks.
TEST_F(Files, ALoopClosesWhileAThreadReads) {
    const std::string p = fifo();
    const int keep = ::open(p.c_str(), O_RDWR);
    const auto before =
        std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
    {
        const auto loop = asyncio::new_event_loop();
        auto task = loop->create_task(
            [](std::string name) -> Coroutine<> {
                File f = co_await open_file(name);
                co_await f.read(5);
            }(p),
            {});
        loop->run_until_complete(asyncio::sleep(50ms));
        EXPECT_FALSE(task.done());
        loop->close();
    }
    EXPECT_EQ(::write(keep, "hello", 5), 5);
    const auto end = std::chrono::steady_clock::now() + 10s;
    auto now = before + 1;
    while (now != before && std::chrono::steady_clock::now() < end) {
        ::usleep(1000);
        now = std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
    }
    EXPECT_EQ(now, before);
    ::close(keep);
}

// Writes `text` to a FIFO in a process of its own, of which SIGPIPE is the end, `times` times, each
// time when a byte comes through `go`.
pid_t write_to_fifo(const std::string& name, const std::string& text, int times, int go) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::signal(SIGPIPE, SIG_DFL);
    char byte;
    for (int i = 0; i < times; ++i) {
        if (::read(go, &byte, 1) != 1) ::_exit(2);
        const int fd = ::open(name.c_str(), O_WRONLY);
        if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) ::_exit(3);
        ::close(fd);
    }
    ::_exit(0);
}

// N16. Who has waited for a reader must not see one come and go.
TEST_F(Files, AFifoIsReadWholeAndItsWriterSeesNoReaderGo) {
    const std::string p = fifo();
    int go[2];
    ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
    constexpr int kTimes = 300;
    const std::string text = pattern(100'000);
    const pid_t writer = write_to_fifo(p, text, kTimes, go[0]);
    run([&]() -> Coroutine<> {
        for (int i = 0; i < kTimes; ++i) {
            EXPECT_EQ(::write(go[1], "g", 1), 1);
            if (i % 3 == 1) ::usleep(300);  // the writer comes first
            const auto read = co_await asyncio::wait_for(asyncio::read_file(p), 10s);
            EXPECT_TRUE(read == text) << read.size();
        }
    });
    int status = 0;
    ::waitpid(writer, &status, 0);
    EXPECT_EQ(status, 0);
    ::close(go[0]);
    ::close(go[1]);
}

// N16. What is read while the other end is waited for is the copy's, too.
TEST_F(Files, AFifoIsCopiedWhole) {
    const std::string p = fifo();
    int go[2];
    ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
    constexpr int kTimes = 500;
    const pid_t writer = write_to_fifo(p, "some text", kTimes, go[0]);
    run([&]() -> Coroutine<> {
        for (int i = 0; i < kTimes; ++i) {
            EXPECT_EQ(::write(go[1], "g", 1), 1);
            if (i % 3 == 1) ::usleep(300);  // the writer comes first
            const auto copied = co_await asyncio::wait_for(asyncio::copy_file(p, path("x")), 10s);
            EXPECT_EQ(copied, 9);
            EXPECT_EQ(content(path("x")), "some text");
        }
    });
    int status = 0;
    ::waitpid(writer, &status, 0);
    EXPECT_EQ(status, 0);
    ::close(go[0]);
    ::close(go[1]);
}

// N16. So many at once that their reads are shared with a thread.
TEST_F(Files, ManyFifosAreReadAtOnce) {
    run([&]() -> Coroutine<> {
        constexpr int kFifos = 12;
        std::vector<std::string> names;
        std::vector<pid_t> writers;
        std::vector<asyncio::Task<std::string>> reads;
        for (int i = 0; i < kFifos; ++i) {
            names.push_back(path("fifo" + std::to_string(i)));
            EXPECT_EQ(::mkfifo(names.back().c_str(), 0600), 0);
        }
        int go[2];
        EXPECT_EQ(::pipe2(go, O_CLOEXEC), 0);
        for (int i = 0; i < kFifos; ++i) {
            writers.push_back(write_to_fifo(names[static_cast<std::size_t>(i)], "text", 1, go[0]));
        }
        EXPECT_EQ(::write(go[1], "gggggggggggg", kFifos), kFifos);
        for (const std::string& name : names) {
            reads.push_back(asyncio::create_task(asyncio::read_file(name)));
        }
        for (auto& read : reads) EXPECT_EQ(co_await asyncio::wait_for(read, 10s), "text");
        for (const pid_t writer : writers) {
            int status = 0;
            ::waitpid(writer, &status, 0);
            EXPECT_EQ(status, 0);
        }
        ::close(go[0]);
        ::close(go[1]);
    });
}

// Keeps all threads for files busy, each opening a FIFO that nobody reads, while it lives.
class NoThreadFree {
  public:
    explicit NoThreadFree(const std::string& name) : name_(name) {
        EXPECT_EQ(::mkfifo(name_.c_str(), 0600), 0);
        for (int i = 0; i < 16; ++i)
            opening_.push_back(asyncio::create_task(open_file(name_, "w")));
    }
    Coroutine<> release() {
        const int reader = ::open(name_.c_str(), O_RDONLY | O_NONBLOCK);
        for (auto& task : opening_) co_await task;
        ::close(reader);
    }

  private:
    std::string name_;
    std::vector<asyncio::Task<File>> opening_;
};

// N16. A writer comes, writes and goes before a thread gets to it.
TEST_F(Files, WhatWasWrittenToAFifoBeforeAThreadIsFreeIsNotLost) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        for (const bool whole : {true, false}) {
            NoThreadFree busy(path(whole ? "busy1" : "busy2"));
            co_await iterations(3);
            auto read = [&]() -> Coroutine<std::string> {
                if (whole) co_return co_await asyncio::read_file(p);
                File f = co_await open_file(p);
                co_return co_await f.read();
            };
            auto reading = asyncio::create_task(read);
            co_await iterations(5);
            const int writer = ::open(p.c_str(), O_WRONLY | O_NONBLOCK);
            EXPECT_GE(writer, 0) << "the reader is there";
            EXPECT_EQ(::write(writer, "text", 4), 4);
            ::close(writer);
            co_await busy.release();
            EXPECT_EQ(co_await asyncio::wait_for(reading, 10s), "text");
        }
    });
}

// N16. Nor does a FIFO that nobody writes to keep a thread for ever.
TEST_F(Files, CancelledOpensOfAFifoGiveTheirThreadsBack) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        std::vector<asyncio::Task<File>> opening;
        for (int i = 0; i < 20; ++i) opening.push_back(asyncio::create_task(open_file(p)));
        co_await iterations(5);
        for (auto& task : opening) task.cancel();
        for (auto& task : opening) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        std::vector<asyncio::Task<std::string>> reading;
        for (int i = 0; i < 20; ++i) reading.push_back(asyncio::create_task(asyncio::read_file(p)));
        co_await iterations(5);
        for (auto& task : reading) task.cancel();
        for (auto& task : reading) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        std::vector<asyncio::Task<std::int64_t>> copying;
        for (int i = 0; i < 20; ++i) {
            copying.push_back(asyncio::create_task(asyncio::copy_file(p, path("copy"))));
        }
        co_await asyncio::sleep(20ms);  // as many as there are threads have begun
        for (auto& task : copying) task.cancel();
        for (auto& task : copying) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        co_await asyncio::wait_for(asyncio::write_file(path("x"), "text"), 10s);
        EXPECT_FALSE(fs::exists(path("copy")));
        EXPECT_EQ(content(path("x")), "text");
    });
}

// N16. Nor one whose writer says nothing, and what it says later is there.
TEST_F(Files, CancelledReadsOfASilentFifoGiveTheirThreadsBack) {
    const std::string p = fifo();
    const int writer = ::open(p.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(writer, 0);
    run([&]() -> Coroutine<> {
        std::vector<File> files;
        std::vector<asyncio::Task<std::string>> reading;
        std::vector<asyncio::Task<std::int64_t>> copying;
        for (int i = 0; i < 20; ++i) files.push_back(co_await open_file(p));
        for (File& file : files) {
            reading.push_back(asyncio::create_task(file.read(10)));
            reading.push_back(asyncio::create_task(asyncio::read_file(p)));
            copying.push_back(asyncio::create_task(asyncio::copy_file(p, path("copy"))));
        }
        co_await asyncio::sleep(20ms);  // as many as there are threads have begun
        for (auto& task : reading) task.cancel();
        for (auto& task : copying) task.cancel();
        for (auto& task : reading) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        for (auto& task : copying) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        co_await asyncio::wait_for(asyncio::write_file(path("x"), "text"), 10s);
        EXPECT_EQ(::write(writer, "late", 4), 4);
        EXPECT_EQ(co_await asyncio::wait_for(files.front().read(4), 10s), "late");
    });
    ::close(writer);
}

// N16. Nor one that nobody reads.
TEST_F(Files, CancelledWritesToAFifoGiveTheirThreadsBack) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        std::vector<asyncio::Task<File>> opening;
        std::vector<asyncio::Task<void>> writing;
        std::vector<asyncio::Task<std::int64_t>> copying;
        for (int i = 0; i < 20; ++i) {
            copying.push_back(asyncio::create_task(asyncio::copy_file(make("y", "text"), p)));
            opening.push_back(asyncio::create_task(open_file(p, i % 2 == 0 ? "w" : "a")));
            writing.push_back(asyncio::create_task(asyncio::write_file(p, "text")));
        }
        co_await iterations(5);
        co_await asyncio::sleep(20ms);  // as many as there are threads have begun
        for (auto& task : opening) task.cancel();
        for (auto& task : writing) task.cancel();
        for (auto& task : copying) task.cancel();
        for (auto& task : copying) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        for (auto& task : opening) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        for (auto& task : writing) {
            EXPECT_TRUE((co_await asyncio::as_result(task)).holds<asyncio::CancelledError>());
        }
        co_await asyncio::wait_for(asyncio::write_file(path("x"), "text"), 10s);
        EXPECT_EQ(content(path("x")), "text");
    });
}

TEST_F(Files, AFifoIsWrittenWhenSomebodyReads) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        auto writing = asyncio::create_task(asyncio::write_file(p, pattern(200'000)));
        co_await iterations(20);
        EXPECT_FALSE(writing.done());
        const std::string read = co_await asyncio::wait_for(asyncio::read_file(p), 10s);
        EXPECT_TRUE(read == pattern(200'000));
        co_await writing;
        // A reader that is blocked in the system's own call.
        std::string got;
        std::thread reader([&] { got = content(p); });
        co_await asyncio::wait_for(asyncio::write_file(p, "text"), 10s);
        reader.join();
        EXPECT_EQ(got, "text");
        // A copy, too.
        auto copying = asyncio::create_task(asyncio::copy_file(make("x", pattern(200'000)), p));
        co_await iterations(20);
        EXPECT_FALSE(copying.done());
        EXPECT_TRUE((co_await asyncio::wait_for(asyncio::read_file(p), 10s)) == pattern(200'000));
        EXPECT_EQ(co_await copying, 200'000);
    });
}

// L26. Of many that read at once those are told for which there is none.
TEST_F(Files, ReadsThatAreSharedEndWithoutMemory) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    std::ofstream(path("x")) << "text";
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run([&]() -> Coroutine<> {
            const support::ErrorCapture errors(asyncio::get_running_loop());
            std::vector<asyncio::Task<std::string>> reads;
            for (int i = 0; i < 20; ++i) {
                reads.push_back(asyncio::create_task(asyncio::read_file(path("x"))));
            }
            support::blocks_left = given;
            for (int i = 0; i < 5; ++i) co_await asyncio::sleep(0s);  // takes no memory itself
            enough = support::blocks_left.exchange(-1) >= 0;
            for (auto& read : reads) {
                const auto r = co_await asyncio::as_result(asyncio::wait_for(read, 10s));
                if (r.has_value()) {
                    EXPECT_EQ(r.value(), "text") << given;
                } else {
                    EXPECT_TRUE(r.holds<std::bad_alloc>()) << given;
                }
            }
        });
    }
}

// L26. What a stream has given is kept, or it is an error.
TEST_F(Files, AStreamIsReadWithoutMemoryForWhatItGives) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const std::string p = fifo();
    const std::string text = pattern(1000);
    int refused = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run([&]() -> Coroutine<> {
            const int writer = ::open(p.c_str(), O_RDWR | O_CLOEXEC);
            const asyncio::OpenOptions options{.buffer_size = 1'000'000};
            File f = co_await open_file(p, "r", options);
            auto reading = asyncio::create_task(f.read(1'000'000));
            co_await asyncio::sleep(5ms);  // a thread waits for it
            support::blocks_left = given;
            EXPECT_EQ(::write(writer, text.data(), text.size()), 1000);
            // Where memory was refused it ends only when there is some again.
            const auto limit = std::chrono::steady_clock::now() + 2s;
            while (!reading.done() && std::chrono::steady_clock::now() < limit) {
                co_await asyncio::sleep(0s);  // takes no memory itself
            }
            enough = support::blocks_left.exchange(-1) >= 0;
            ::close(writer);
            const auto r = co_await asyncio::as_result(asyncio::wait_for(reading, 10s));
            if (r.has_value()) {
                EXPECT_TRUE(r.value() == text) << given;
            } else {
                EXPECT_TRUE(r.holds<std::bad_alloc>()) << given;
                ++refused;
            }
        });
    }
    EXPECT_GE(refused, 1);
}

TEST_F(Files, ADeviceIsReadAsItIs) {
    run([&]() -> Coroutine<> {
        EXPECT_EQ(co_await asyncio::read_file("/dev/null"), "");
        File zero = co_await open_file("/dev/zero", "r+");
        EXPECT_EQ(co_await zero.read(5), std::string(5, '\0'));
        EXPECT_EQ(co_await zero.write("x"), 1u);
        EXPECT_EQ(::fcntl(zero.fileno(), F_GETFL) & O_NONBLOCK, 0);
        EXPECT_FALSE(zero.seekable());
    });
}

TEST_F(Files, AFileTooLongForMemoryIsABadAlloc) {
    const std::string x = "/dev/shm/asyncio-long-" + std::to_string(::getpid());
    const int fd = ::open(x.c_str(), O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    for (const std::int64_t size : {std::int64_t{1} << 60, std::int64_t{INT64_MAX}}) {
        if (support::kAddressSanitizer || support::kThreadSanitizer)
            break;  // that ends the process
        ASSERT_EQ(::ftruncate(fd, size), 0);
        run([&]() -> Coroutine<> {
            EXPECT_TRUE(
                (co_await asyncio::as_result(asyncio::read_file(x))).holds<std::bad_alloc>());
            File f = co_await open_file(x);
            EXPECT_TRUE((co_await asyncio::as_result(f.read())).holds<std::bad_alloc>());
            EXPECT_EQ(f.tell(), 0);
            EXPECT_EQ(co_await f.read(3), std::string(3, '\0'));
        });
    }
    ::close(fd);
    fs::remove(x);
}

// ---- cancellation ------------------------------------------------------------------------------

// Runs `make()` as a task that is cancelled after 0, 1, 2, ... iterations, the one in which it
// completes among them; `check(was_cancelled)` looks at what is left.
template <class M, class C>
Coroutine<> cancel_at_each_point(M make, C check) {
    for (int after = -1; after < 12; ++after) {
        auto task = asyncio::create_task(make());
        if (after >= 0) co_await asyncio::sleep(0s);
        // Real time passes too, so that the thread gets to the end now and then.
        for (int i = 0; i < after; ++i) co_await asyncio::sleep(i % 3 == 2 ? 300us : 0us);
        task.cancel();
        const auto result = co_await asyncio::as_result(task);
        const bool cancelled = !result;
        EXPECT_EQ(cancelled, result.template holds<asyncio::CancelledError>());
        EXPECT_TRUE(cancelled || after >= 0);
        co_await check(cancelled);
    }
}

TEST_F(Files, ACancelledReadLeavesThePosition) {
    const std::string data = pattern(1'000'000);
    const std::string x = make("x", data);
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x);
        auto make = [&] { return f.read(600'000); };
        auto check = [&](bool cancelled) -> Coroutine<> {
            EXPECT_EQ(f.tell(), cancelled ? 0 : 600'000);
            EXPECT_EQ(co_await f.read(10), data.substr(cancelled ? 0 : 600'000, 10));
            co_await f.seek(0);
        };
        co_await cancel_at_each_point(make, check);
    });
}

TEST_F(Files, ACancelledReadIntoWritesNothingLater) {
    const std::string x = make("x", std::string(1'000'000, 'x'));
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x);
        std::string to(600'000, '-');
        auto make = [&] { return f.read_into(std::span<char>(to)); };
        auto check = [&](bool cancelled) -> Coroutine<> {
            const std::string seen = to;
            co_await f.seek(0);  // waits for what runs
            EXPECT_EQ(to, seen);
            EXPECT_EQ(std::count(to.begin(), to.end(), 'x'), cancelled ? 0 : 600'000);
            std::fill(to.begin(), to.end(), '-');
        };
        co_await cancel_at_each_point(make, check);
    });
}

TEST_F(Files, ACancelledWriteIsWholeOrNotMade) {
    run([&]() -> Coroutine<> {
        File f = co_await open_file(path("x"), "w+");
        auto make = [&] { return f.write(std::string(600'000, 'x')); };
        auto check = [&](bool cancelled) -> Coroutine<> {
            const auto size = co_await f.seek(0, SEEK_END);
            EXPECT_TRUE(size == 600'000 || (cancelled && size == 0)) << size;
            co_await f.truncate(0);
            co_await f.seek(0);
        };
        co_await cancel_at_each_point(make, check);
    });
}

TEST_F(Files, ACancelledWriteMovesThePositionIfItHasBegun) {
    run([&]() -> Coroutine<> {
        File f = co_await open_file(path("x"), "w+");
        auto make = [&] { return f.write(std::string(600'000, 'x')); };
        auto check = [&](bool) -> Coroutine<> {
            co_await f.write("end");
            const std::string data = content(path("x"));
            EXPECT_TRUE(data == "end" || data == std::string(600'000, 'x') + "end") << data.size();
            co_await f.truncate(0);
            co_await f.seek(0);
        };
        co_await cancel_at_each_point(make, check);
    });
}

TEST_F(Files, EveryOtherCallMayBeCancelled) {
    const std::string x = make("x", pattern(1'000'000));
    run([&]() -> Coroutine<> {
        File f = co_await open_file(x, "r+");
        auto check = [&](bool) -> Coroutine<> {
            EXPECT_EQ(f.tell(), 0);
            EXPECT_EQ((co_await f.stat()).size, 1'000'000);
        };
        auto pread = [&] { return f.pread(700'000, 1); };
        auto pwrite = [&] { return f.pwrite(pattern(1'000'000), 0); };
        auto sync = [&] { return f.sync(); };
        auto stat = [&] { return f.stat(); };
        auto truncate = [&] { return f.truncate(1'000'000); };
        auto open = [&] { return open_file(x, "a"); };
        auto read = [&] { return asyncio::read_file(x); };
        auto write = [&] { return asyncio::write_file(path("y"), pattern(500'000)); };
        auto replace = [&] { return asyncio::replace_file(path("z"), "z"); };
        auto copy = [&] { return asyncio::copy_file(x, path("c")); };
        auto file = [&] { return asyncio::temporary_file(); };
        co_await cancel_at_each_point(pread, check);
        co_await cancel_at_each_point(pwrite, check);
        co_await cancel_at_each_point(sync, check);
        co_await cancel_at_each_point(stat, check);
        co_await cancel_at_each_point(truncate, check);
        co_await cancel_at_each_point(open, check);
        co_await cancel_at_each_point(read, check);
        co_await cancel_at_each_point(write, check);
        co_await cancel_at_each_point(replace, check);
        co_await cancel_at_each_point(copy, check);
        co_await cancel_at_each_point(file, check);
        EXPECT_EQ(content(x), pattern(1'000'000));
    });
}

TEST_F(Files, ACancelledCloseClosesNevertheless) {
    run([&]() -> Coroutine<> {
        for (int after = -1; after < 6; ++after) {
            File f = co_await open_file(path("x"), "w");
            const int fd = f.fileno();
            auto closing = asyncio::create_task(f.close());
            co_await asyncio::sleep(0s);
            for (int i = 0; i < after; ++i) co_await asyncio::sleep(0s);
            closing.cancel();
            const auto closed = co_await asyncio::as_result(closing);
            EXPECT_TRUE(closed || closed.holds<asyncio::CancelledError>());
            EXPECT_TRUE(f.closed());
            co_await until([fd] { return ::fcntl(fd, F_GETFD) == -1; });
        }
    });
}

TEST_F(Files, ClosingWaitsForTheCallThatRunsAndRefusesThoseBehindIt) {
    const std::string p = fifo();
    run([&]() -> Coroutine<> {
        File f = co_await open_file(p, "r+");
        const int fd = f.fileno();
        auto first = asyncio::create_task(f.read(5));
        auto second = asyncio::create_task(f.read(5));
        co_await iterations(5);
        auto closing = asyncio::create_task(f.close());
        co_await iterations(5);
        EXPECT_FALSE(closing.done());
        EXPECT_EQ(::write(fd, "hello", 5), 5);
        EXPECT_EQ(co_await first, "hello");
        EXPECT_EQ(support::error_text<asyncio::ValueError>(co_await asyncio::as_result(second)),
                  "I/O operation on closed file");
        co_await closing;
        EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
    });
}

// ---- whole files -------------------------------------------------------------------------------

TEST_F(Files, WholeFiles) {
    run([&]() -> Coroutine<> {
        for (const std::size_t size : {0, 1, 4096, 262'143, 262'144, 262'145, 1'000'000}) {
            const std::string data = pattern(size);
            co_await asyncio::write_file(path("x"), data);
            EXPECT_EQ(content(path("x")), data);
            EXPECT_EQ(co_await asyncio::read_file(path("x")), data);
        }
        const auto missing = co_await asyncio::as_result(asyncio::read_file(path("no")));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(missing),
                  "[Errno 2] No such file or directory: '" + path("no") + "'");
        const auto directory = co_await asyncio::as_result(asyncio::read_file(dir_));
        EXPECT_TRUE(directory.holds<asyncio::IsADirectoryError>());
    });
}

TEST_F(Files, ReplaceKeepsPermissionsAndLeavesNoTemporary) {
    const std::string x = make("x", "old");
    ::chmod(x.c_str(), 0604);
    run([&]() -> Coroutine<> {
        co_await asyncio::replace_file(x, "new");
        EXPECT_EQ(content(x), "new");
        EXPECT_EQ(fs::status(x).permissions(), static_cast<fs::perms>(0604));
        fs::create_symlink("x", path("link"));
        co_await asyncio::replace_file(path("link"), "by link");
        EXPECT_TRUE(fs::is_symlink(path("link")));
        EXPECT_EQ(content(x), "by link");
        co_await asyncio::replace_file(path("fresh"), "", {.permissions = 0600, .sync = false});
        EXPECT_EQ(fs::status(path("fresh")).permissions(), static_cast<fs::perms>(0600));
        const auto directory = co_await asyncio::as_result(asyncio::replace_file(dir_, "x"));
        EXPECT_TRUE(directory.holds<asyncio::IsADirectoryError>());
        const auto nowhere = co_await asyncio::as_result(asyncio::replace_file(path("no/x"), "x"));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(nowhere),
                  "[Errno 2] No such file or directory: '" + path("no/x") + "'");
    });
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 3);
}

// The names in a directory that are those of temporary files.
std::vector<std::string> temporaries(const std::string& dir) {
    std::vector<std::string> names;
    std::error_code vanished;
    for (const auto& entry : fs::directory_iterator(dir, vanished)) {
        const std::string name = entry.path().filename();
        if (name.starts_with('.') && name.ends_with(".tmp")) names.push_back(name);
    }
    return names;
}

// N15. Nobody who could not read the old file may read the new one, not even for a moment.
TEST_F(Files, ReplaceHidesWhatTheOldFileHid) {
    const std::string x = make("x", "secret");
    ::chmod(x.c_str(), 0600);
    std::atomic<int> seen{0};
    std::atomic<int> open{0};
    std::jthread observer([&](const std::stop_token& over) {
        while (!over.stop_requested()) {
            for (const std::string& name : temporaries(dir_)) {
                struct stat s{};
                if (::stat(path(name).c_str(), &s) != 0) continue;
                ++seen;
                if ((s.st_mode & 077) != 0) ++open;
            }
        }
    });
    run([&]() -> Coroutine<> {
        const std::string data = pattern(2'000'000);
        const auto end = std::chrono::steady_clock::now() + 10s;
        while (seen < 20 && std::chrono::steady_clock::now() < end) {
            co_await asyncio::replace_file(x, data, {.sync = false});
        }
    });
    observer.request_stop();
    observer.join();
    EXPECT_GT(seen, 0);
    EXPECT_EQ(open, 0);
    EXPECT_EQ(fs::status(x).permissions(), static_cast<fs::perms>(0600));
}

// N15.
TEST_F(Files, ReplaceKeepsOwnerAndSetUserId) {
    if (::getuid() != 0) GTEST_SKIP() << "only root may give files away";
    const std::string x = make("x", "old");
    ASSERT_EQ(::chown(x.c_str(), 12345, 54321), 0);
    ::chmod(x.c_str(), 06750);
    run([&]() -> Coroutine<> { co_await asyncio::replace_file(x, "new"); });
    struct stat s{};
    ASSERT_EQ(::stat(x.c_str(), &s), 0);
    EXPECT_EQ(s.st_uid, 12345u);
    EXPECT_EQ(s.st_gid, 54321u);
    EXPECT_EQ(s.st_mode & 07777, 06750u);
    EXPECT_EQ(content(x), "new");
}

// N15. Whose group cannot be kept: another group gets no rights that all others have not.
TEST_F(Files, ReplaceByAnotherUserOpensNothing) {
    if (::getuid() != 0) GTEST_SKIP() << "files of two users need root";
    ::chmod(dir_.c_str(), 0777);
    const struct {
        unsigned before, after;
    } cases[] = {{0640, 0600}, {0664, 0644}, {0666, 0666}, {06755, 0755}, {0604, 0604}};
    for (const auto& c : cases) {
        const std::string x = make("x", "old");
        ::chmod(x.c_str(), c.before);
        const int code = in_child([&] {
            if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 2;
            return run([&]() -> Coroutine<int> {
                co_await asyncio::replace_file(x, "new");
                co_return 0;
            });
        });
        EXPECT_EQ(code, 0);
        struct stat s{};
        ASSERT_EQ(::stat(x.c_str(), &s), 0);
        EXPECT_EQ(s.st_uid, 65534u);
        EXPECT_EQ(s.st_mode & 07777, c.after);
        fs::remove(x);
    }
}

// A list that gives user 1000 the right to read and write: in the system's form.
std::string access_list(std::uint16_t user_rights) {
    const auto entry = [](std::uint16_t tag, std::uint16_t rights, std::uint32_t id) {
        std::string e(8, '\0');
        std::memcpy(e.data(), &tag, 2);
        std::memcpy(e.data() + 2, &rights, 2);
        std::memcpy(e.data() + 4, &id, 4);
        return e;
    };
    const std::uint32_t none = 0xffffffff;
    return std::string("\2\0\0\0", 4) + entry(1, 6, none) + entry(2, user_rights, 1000) +
           entry(4, 0, none) + entry(0x10, user_rights, none) + entry(0x20, 0, none);
}

// N15. With such a list the bits of the group are not the group's.
TEST_F(Files, ReplaceKeepsTheAccessList) {
    const std::string x = make("x", "old");
    const std::string list = access_list(6);
    const char* const name = "system.posix_acl_access";
    if (::setxattr(x.c_str(), name, list.data(), list.size(), 0) != 0) {
        GTEST_SKIP() << "this file system has no access lists";
    }
    run([&]() -> Coroutine<> { co_await asyncio::replace_file(x, "new"); });
    char kept[256];
    const ssize_t size = ::getxattr(x.c_str(), name, kept, sizeof kept);
    EXPECT_EQ(std::string(kept, static_cast<std::size_t>(std::max<ssize_t>(size, 0))), list);
    // A directory's default is not for what had no list before.
    const std::string plain = make("plain", "old");
    ::chmod(plain.c_str(), 0660);
    ASSERT_EQ(::setxattr(dir_.c_str(), "system.posix_acl_default", list.data(), list.size(), 0), 0);
    run([&]() -> Coroutine<> { co_await asyncio::replace_file(plain, "new"); });
    EXPECT_LT(::getxattr(plain.c_str(), name, kept, sizeof kept), 0);
    EXPECT_EQ(fs::status(plain).permissions(), static_cast<fs::perms>(0660));
}

// N17. A directory that may be written to and not read.
TEST_F(Files, ReplaceInADirectoryThatCannotBeRead) {
    fs::create_directory(path("sub"));
    const std::string x = make("sub/x", "old");
    ::chmod(dir_.c_str(), 0777);
    ::chmod(x.c_str(), 0666);
    ::chmod(path("sub").c_str(), 0333);
    const int code = in_child([&] {
        if (::getuid() == 0 && ::setuid(65534) != 0) return 2;
        return run([&]() -> Coroutine<int> {
            co_await asyncio::replace_file(x, "new");
            co_await asyncio::replace_file(path("sub/y"), "made");
            co_return 0;
        });
    });
    EXPECT_EQ(code, 0);
    ::chmod(path("sub").c_str(), 0755);
    EXPECT_EQ(content(x), "new");
    EXPECT_EQ(content(path("sub/y")), "made");
    EXPECT_EQ(temporaries(path("sub")), std::vector<std::string>());
}

// N17.
TEST_F(Files, ReplaceRefusesWhatIsNoRegularFile) {
    const std::string p = fifo();
    fs::create_symlink("fifo", path("link"));
    std::vector<std::string> names{p, path("link")};
    // As /dev/full.
    if (::mknod(path("full").c_str(), S_IFCHR | 0666, makedev(1, 7)) == 0) {
        names.push_back(path("full"));
    }
    asyncio::Socket listener(AF_UNIX, SOCK_STREAM);
    listener.bind(asyncio::SocketAddress::unix(path("socket")));
    names.push_back(path("socket"));
    run([&]() -> Coroutine<> {
        for (const std::string& name : names) {
            const auto type = fs::symlink_status(name).type();
            const auto result = co_await asyncio::as_result(asyncio::replace_file(name, "x"));
            EXPECT_EQ(support::error_text<asyncio::OSError>(result),
                      "[Errno 22] Not a regular file: '" + name + "'");
            EXPECT_EQ(fs::symlink_status(name).type(), type);
        }
    });
    EXPECT_EQ(temporaries(dir_), std::vector<std::string>());
}

// N17. As write_file: what a link names is made.
TEST_F(Files, ReplaceMakesWhatADanglingLinkNames) {
    fs::create_directory(path("sub"));
    fs::create_symlink("sub/one", path("relative"));
    fs::create_symlink(path("sub/two"), path("absolute"));
    fs::create_symlink("chain2", path("chain1"));
    fs::create_symlink("sub/three", path("chain2"));
    fs::create_symlink("../four", path("sub/up"));
    fs::create_symlink("loop2", path("loop1"));
    fs::create_symlink("loop1", path("loop2"));
    fs::create_symlink("no/such", path("nowhere"));
    run([&]() -> Coroutine<> {
        for (const char* link : {"relative", "absolute", "chain1", "sub/up"}) {
            co_await asyncio::replace_file(path(link), link);
            EXPECT_TRUE(fs::is_symlink(path(link)));
            EXPECT_EQ(content(path(link)), link);
        }
        EXPECT_TRUE(fs::is_regular_file(path("four")));
        EXPECT_TRUE(fs::is_regular_file(path("sub/three")));
        const auto loop = co_await asyncio::as_result(asyncio::replace_file(path("loop1"), "x"));
        EXPECT_EQ(support::error_text<asyncio::OSError>(loop),
                  "[Errno 40] Too many levels of symbolic links: '" + path("loop1") + "'");
        const auto nowhere =
            co_await asyncio::as_result(asyncio::replace_file(path("nowhere"), "x"));
        EXPECT_TRUE(nowhere.holds<asyncio::FileNotFoundError>());
        const auto empty = co_await asyncio::as_result(asyncio::replace_file("", "x"));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(empty),
                  "[Errno 2] No such file or directory: ''");
        const auto below = co_await asyncio::as_result(asyncio::replace_file(path("four/"), "x"));
        EXPECT_TRUE(below.holds<asyncio::NotADirectoryError>());
    });
}

TEST_F(Files, ReplaceTakesTheLongestName) {
    std::string name;
    while (name.size() < 255) name += "\u00e4\u20ac";
    name.resize(255);
    run([&]() -> Coroutine<> {
        co_await asyncio::replace_file(path(name), "one");
        co_await asyncio::replace_file(path(name), "two");
        EXPECT_EQ(content(path(name)), "two");
    });
}

// N17. What a killed process leaves has a name by which it can be swept away.
TEST_F(Files, AKilledReplaceLeavesANameThatTellsWhatItIs) {
    const std::string x = make("x", "old");
    const pid_t child = ::fork();
    if (child == 0) {
        run([&]() -> Coroutine<> {
            const std::string data = pattern(5'000'000);
            while (true) co_await asyncio::replace_file(x, data);
        });
    }
    std::vector<std::string> left;
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (left.empty() && std::chrono::steady_clock::now() < end) left = temporaries(dir_);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ASSERT_EQ(left.size(), 1u);
    EXPECT_TRUE(std::regex_match(left[0], std::regex("\\.x\\.[0-9a-f]{16}\\.tmp"))) << left[0];
    const std::string now = content(x);
    EXPECT_TRUE(now == "old" || now == pattern(5'000'000)) << now.size();
}

TEST_F(Files, ReadersOfAReplacedFileSeeOldOrNew) {
    const std::string x = make("x", std::string(100'000, 'a'));
    run([&]() -> Coroutine<> {
        auto replacing = asyncio::create_task([&]() -> Coroutine<> {
            for (int i = 0; i < 50; ++i) {
                const std::string data(100'000, i % 2 ? 'a' : 'b');
                co_await asyncio::replace_file(x, data, {.sync = false});
            }
        });
        while (!replacing.done()) {
            const std::string seen = co_await asyncio::read_file(x);
            EXPECT_EQ(seen, std::string(100'000, seen[0]));
            co_await asyncio::sleep(0s);
        }
    });
}

TEST_F(Files, CopyIsWholeAndKeepsPermissions) {
    const std::string data = pattern(20'000'000);
    const std::string x = make("x", data);
    ::chmod(x.c_str(), 0750);
    run([&]() -> Coroutine<> {
        EXPECT_EQ(co_await asyncio::copy_file(x, path("y")), 20'000'000);
        EXPECT_EQ(content(path("y")), data);
        EXPECT_EQ(fs::status(path("y")).permissions(), static_cast<fs::perms>(0750));
        // Over a longer one, and to another file system.
        make("short", "abc");
        EXPECT_EQ(co_await asyncio::copy_file(path("short"), path("y")), 3);
        EXPECT_EQ(content(path("y")), "abc");
        const std::string elsewhere = "/dev/shm/asyncio-copy-" + std::to_string(::getpid());
        EXPECT_EQ(co_await asyncio::copy_file(x, elsewhere), 20'000'000);
        EXPECT_EQ(content(elsewhere), data);
        fs::remove(elsewhere);
        EXPECT_EQ(co_await asyncio::copy_file(path("short"), path("e"), {.permissions = false}), 3);
        make("empty", "");
        EXPECT_EQ(co_await asyncio::copy_file(path("empty"), path("y")), 0);
        EXPECT_EQ(content(path("y")), "");
    });
}

// 100 MB, of which the disk holds nothing but the two ends.
TEST_F(Files, ALongSparseFileIsCopied) {
    const std::string x = make("x", "begin");
    fs::resize_file(x, 100'000'000);
    std::fstream(x, std::ios::in | std::ios::out).seekp(99'999'997).write("end", 3);
    run([&]() -> Coroutine<> {
        support::Iterations counter(asyncio::get_running_loop());
        EXPECT_EQ(co_await asyncio::copy_file(x, path("y")), 100'000'000);
        EXPECT_GT(counter.count(), 3);
        File f = co_await open_file(path("y"));
        EXPECT_EQ(co_await f.pread(5, 0), "begin");
        EXPECT_EQ(co_await f.pread(100, 99'999'997), "end");
    });
}

// How much the disk holds of a file; 0 as its size, of a file system that keeps no holes.
std::int64_t blocks_of(const std::string& path) {
    struct stat s{};
    EXPECT_EQ(::stat(path.c_str(), &s), 0);
    return s.st_blocks;
}

TEST_F(Files, CopyKeepsHoles) {
    const std::string data = pattern(300'000);
    const auto make_sparse = [&](const std::string& name, std::int64_t begin, std::int64_t size) {
        const std::string file = make(name, "");
        fs::resize_file(file, static_cast<std::uintmax_t>(size));
        std::fstream(file, std::ios::in | std::ios::out | std::ios::binary)
            .seekp(begin)
            .write(data.data(), static_cast<std::streamsize>(data.size()));
        return file;
    };
    // Holes before the data, behind them, on both sides, and nothing but a hole.
    const std::string files[] = {make_sparse("a", 16 << 20, (16 << 20) + 300'000),
                                 make_sparse("b", 0, 32 << 20), make_sparse("c", 8 << 20, 32 << 20),
                                 make("d", "")};
    fs::resize_file(files[3], 32 << 20);
    if (blocks_of(files[3]) > 1000) GTEST_SKIP() << "this file system keeps no holes";
    run([&]() -> Coroutine<> {
        for (const std::string& file : files) {
            const auto size = static_cast<std::int64_t>(fs::file_size(file));
            EXPECT_EQ(co_await asyncio::copy_file(file, path("copy")), size);
            EXPECT_EQ(content(path("copy")), content(file));
            EXPECT_LE(blocks_of(path("copy")), blocks_of(file) + 16) << file;
        }
    });
}

TEST_F(Files, CopyOfASparseFileThatIsCutMeanwhileEnds) {
    const std::string x = make("x", "");
    const std::string data = pattern(64 << 10);
    {
        std::fstream out(x, std::ios::in | std::ios::out | std::ios::binary);
        for (int i = 0; i < 64; ++i) {
            out.seekp(std::streamoff{i} << 20)
                .write(data.data(), static_cast<std::streamsize>(data.size()));
        }
    }
    run([&]() -> Coroutine<> {
        for (const std::uintmax_t left : {std::uintmax_t{0}, std::uintmax_t{10} << 20}) {
            auto copying = asyncio::create_task(asyncio::copy_file(x, path("y")));
            for (int i = 0; i < 4; ++i) co_await asyncio::sleep(0s);
            fs::resize_file(x, left);
            const auto copied = co_await asyncio::wait_for(copying, 30s);
            EXPECT_LE(copied, std::int64_t{64} << 20);
            EXPECT_EQ(static_cast<std::int64_t>(fs::file_size(path("y"))), copied);
            fs::resize_file(x, std::uintmax_t{64} << 20);
        }
    });
}

TEST_F(Files, TakeAFilesystemPath) {
    const fs::path x = path("x");
    const fs::path null = std::string("a\0b", 3);
    run([&]() -> Coroutine<> {
        using asyncio::as_result;
        using asyncio::ValueError;
        using support::error_text;
        co_await asyncio::write_file(x, "text");
        // The path may go before the call is awaited.
        std::string name = x.string();
        auto reading = asyncio::read_file(fs::path(name));
        name.assign(name.size(), '#');
        EXPECT_EQ(co_await std::move(reading), "text");
        File f = co_await open_file(x, "r+");
        EXPECT_EQ(f.name(), x.string());
        co_await f.close();
        co_await asyncio::replace_file(x, "more");
        EXPECT_EQ(co_await asyncio::copy_file(x, fs::path(path("y"))), 4);
        auto list = asyncio::list_dir(fs::path(dir_));
        int entries = 0;
        while (auto entry = co_await list.next()) ++entries;
        EXPECT_EQ(entries, 2);
        auto walking = asyncio::walk(fs::path(dir_));
        EXPECT_TRUE(co_await walking.next());
        co_await walking.aclose();
        co_await (co_await asyncio::temporary_file({.dir = fs::path(dir_)})).close();
        const std::string bad = "embedded null byte";
        EXPECT_EQ(error_text<ValueError>(co_await as_result(open_file(null))), bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::read_file(null))), bad);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(asyncio::copy_file(x, null))), bad);
        auto bad_list = asyncio::list_dir(null);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(bad_list.next())), bad);
        auto bad_watch = asyncio::watch(null);
        EXPECT_EQ(error_text<ValueError>(co_await as_result(bad_watch.next())), bad);
    });
}

TEST_F(Files, CopyRefusesWhatItCannotDo) {
    const std::string x = make("x", "abc");
    run([&]() -> Coroutine<> {
        const auto same = co_await asyncio::as_result(asyncio::copy_file(x, x));
        EXPECT_EQ(support::error_text<asyncio::OSError>(same),
                  "'" + x + "' and '" + x + "' are the same file");
        EXPECT_EQ(content(x), "abc");
        const auto missing = co_await asyncio::as_result(asyncio::copy_file(path("no"), x));
        EXPECT_TRUE(missing.holds<asyncio::FileNotFoundError>());
        EXPECT_EQ(content(x), "abc");
        make("y", "y");
        const auto exists =
            co_await asyncio::as_result(asyncio::copy_file(x, path("y"), {.overwrite = false}));
        EXPECT_TRUE(exists.holds<asyncio::FileExistsError>());
        const auto directory = co_await asyncio::as_result(asyncio::copy_file(dir_, x));
        EXPECT_TRUE(directory.holds<asyncio::IsADirectoryError>());
    });
}

// N14. A limit is an error, and not the end of the process; so is a pipe that nobody reads.
TEST_F(Files, ACopyThatIsTooLongIsAnErrorAndNoSignal) {
    const std::string x = make("x", pattern(200'000));
    const std::string p = fifo();
    const int code = in_child([&] {
        ::signal(SIGXFSZ, SIG_DFL);
        ::signal(SIGPIPE, SIG_DFL);
        rlimit limit{100'000, 100'000};
        if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
        return run([&]() -> Coroutine<int> {
            const auto copied = co_await asyncio::as_result(asyncio::copy_file(x, path("y")));
            const auto* error = asyncio::detail::find<asyncio::OSError>(copied.error());
            if (!error || error->code().value() != EFBIG) co_return 3;
            const int reader = ::open(p.c_str(), O_RDONLY | O_NONBLOCK);
            auto piping = asyncio::create_task(asyncio::copy_file(x, p));
            char byte;
            while (::read(reader, &byte, 1) != 1) co_await asyncio::sleep(1ms);
            ::close(reader);
            const auto piped = co_await asyncio::as_result(piping);
            co_return piped.holds<asyncio::BrokenPipeError>() ? 0 : 4;
        });
    });
    EXPECT_EQ(code, 0);
}

// N15. Never more open than it will be, and with all its bits in the end.
TEST_F(Files, ACopyHasAllPermissionsOfTheOriginal) {
    const std::string x = make("x", "text");
    ::chmod(dir_.c_str(), 0777);
    ::chmod(x.c_str(), 04755);
    if (::getuid() == 0) {
        EXPECT_EQ(::chown(x.c_str(), 65534, 65534), 0);
    }
    ::chmod(x.c_str(), 04755);
    const int code = in_child([&] {
        if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 2;
        return run([&]() -> Coroutine<int> {
            co_await asyncio::copy_file(x, path("y"));
            co_return 0;
        });
    });
    EXPECT_EQ(code, 0);
    EXPECT_EQ(fs::status(path("y")).permissions(), static_cast<fs::perms>(04755));
}

// N14. A copy that cannot be made as it should leaves the old one alone.
TEST_F(Files, ACopyThatMayNotSetPermissionsEmptiesNothing) {
    if (::getuid() != 0) GTEST_SKIP() << "files of two users need root";
    const std::string x = make("x", "new");
    const std::string y = make("y", "old");
    ::chmod(dir_.c_str(), 0777);
    ::chmod(x.c_str(), 0644);
    ::chmod(y.c_str(), 0666);
    const int code = in_child([&] {
        if (::setuid(65534) != 0) return 2;
        return run([&]() -> Coroutine<int> {
            const auto copied = co_await asyncio::as_result(asyncio::copy_file(x, y));
            if (!copied.holds<asyncio::PermissionError>() || content(y) != "old") co_return 3;
            co_await asyncio::copy_file(x, y, {.permissions = false});
            co_return content(y) == "new" ? 0 : 4;
        });
    });
    EXPECT_EQ(code, 0);
}

// ---- directories -------------------------------------------------------------------------------

TEST_F(Files, ListDirGivesEveryEntryOnce) {
    std::vector<std::string> expected;
    for (int i = 0; i < 1500; ++i) expected.push_back("f" + std::to_string(i));
    for (const std::string& name : expected) make(name, "");
    fs::create_directory(path("sub"));
    fs::create_symlink("sub", path("link"));
    run([&]() -> Coroutine<> {
        std::vector<std::string> found;
        auto entries = asyncio::list_dir(dir_);
        while (auto entry = co_await entries.next()) {
            EXPECT_EQ(entry->path, path(entry->name));
            if (entry->name == "sub") {
                EXPECT_TRUE(entry->is_directory());
            } else if (entry->name == "link") {
                EXPECT_TRUE(entry->is_symlink());
            } else {
                EXPECT_TRUE(entry->is_file());
                found.push_back(entry->name);
            }
        }
        std::sort(found.begin(), found.end());
        std::sort(expected.begin(), expected.end());
        EXPECT_EQ(found, expected);
        auto missing = asyncio::list_dir(path("no"));
        EXPECT_EQ(support::error_text<asyncio::FileNotFoundError>(
                      co_await asyncio::as_result(missing.next())),
                  "[Errno 2] No such file or directory: '" + path("no") + "'");
    });
}

std::string listed(const asyncio::WalkEntry& entry, const std::string& top) {
    std::string text = entry.path.substr(top.size()) + ':';
    for (const std::string& d : entry.directories) text += ' ' + d + '/';
    for (const std::string& f : entry.files) text += ' ' + f;
    return text;
}

TEST_F(Files, WalkGoesThroughTheTree) {
    fs::create_directories(path("a/b"));
    fs::create_directories(path("c"));
    make("a/1", "");
    make("a/b/2", "");
    fs::create_symlink("a", path("link"));
    run([&]() -> Coroutine<> {
        std::vector<std::string> seen;
        auto down = asyncio::walk(dir_);
        while (auto entry = co_await down.next()) seen.push_back(listed(*entry, dir_));
        EXPECT_EQ(seen, (std::vector<std::string>{": a/ c/ link", "/a: b/ 1", "/a/b: 2", "/c:"}));
        seen.clear();
        auto up = asyncio::walk(dir_, {.top_down = false});
        while (auto entry = co_await up.next()) seen.push_back(listed(*entry, dir_));
        EXPECT_EQ(seen, (std::vector<std::string>{"/a/b: 2", "/a: b/ 1", "/c:", ": a/ c/ link"}));
        seen.clear();
        auto pruned = asyncio::walk(dir_, {.follow_links = true});
        while (auto entry = co_await pruned.next()) {
            seen.push_back(listed(*entry, dir_));
            std::erase(entry->directories, "a");
            std::erase(entry->directories, "b");
        }
        EXPECT_EQ(seen, (std::vector<std::string>{": a/ c/ link/", "/c:", "/link: b/ 1"}));
        auto missing = asyncio::walk(path("no"));
        EXPECT_TRUE(
            (co_await asyncio::as_result(missing.next())).holds<asyncio::FileNotFoundError>());
        auto ignored = asyncio::walk(path("no"), {.ignore_errors = true});
        EXPECT_FALSE(co_await ignored.next());
    });
}

TEST_F(Files, ACancelledNextEndsAWalk) {
    fs::create_directories(path("a/b"));
    run([&]() -> Coroutine<> {
        auto entries = asyncio::list_dir(dir_);
        auto next = asyncio::create_task(entries.next());
        co_await asyncio::sleep(0s);
        next.cancel();
        EXPECT_TRUE((co_await asyncio::as_result(next)).holds<asyncio::CancelledError>());
        EXPECT_FALSE(co_await entries.next());
        auto places = asyncio::walk(dir_);
        EXPECT_TRUE(co_await places.next());
        co_await places.aclose();
    });
}

// ---- temporary ---------------------------------------------------------------------------------

TEST_F(Files, ATemporaryFileHasNoName) {
    run([&]() -> Coroutine<> {
        File f = co_await asyncio::temporary_file({.dir = dir_});
        co_await f.write("abc");
        co_await f.seek(0);
        EXPECT_EQ(co_await f.read(), "abc");
        EXPECT_EQ((co_await f.stat()).links, 0u);
        EXPECT_TRUE(fs::is_empty(dir_));
        const auto nowhere =
            co_await asyncio::as_result(asyncio::temporary_file({.dir = "/no/such"}));
        EXPECT_TRUE(nowhere.holds<asyncio::FileNotFoundError>());
    });
}

TEST_F(Files, ATemporaryDirectoryIsRemovedWithWhatIsInIt) {
    run([&]() -> Coroutine<> {
        auto temporary = co_await asyncio::temporary_directory({.dir = dir_, .prefix = "t-"});
        const std::string place = temporary.path();
        EXPECT_EQ(place.substr(0, dir_.size() + 3), dir_ + "/t-");
        EXPECT_EQ(fs::status(place).permissions(), fs::perms::owner_all);
        fs::create_directories(place + "/a/b");
        co_await asyncio::write_file(place + "/a/x", "x");
        co_await temporary.cleanup();
        EXPECT_FALSE(fs::exists(place));
        EXPECT_EQ(temporary.path(), "");
        co_await temporary.cleanup();

        std::string inside;
        auto body = [&](std::string& name) -> Coroutine<> {
            inside = name;
            co_await asyncio::write_file(name + "/x", "x");
        };
        auto scoped = co_await asyncio::temporary_directory({.dir = dir_});
        co_await asyncio::with(std::move(scoped), body);
        EXPECT_FALSE(fs::exists(inside));
        {
            const auto dropped = co_await asyncio::temporary_directory({.dir = dir_});
        }
        EXPECT_TRUE(fs::is_empty(dir_));
        auto kept = co_await asyncio::temporary_directory({.dir = dir_});
        EXPECT_TRUE(fs::exists(kept.release()));
    });
}

TEST_F(Files, ATemporaryDirectoryIsRemovedThoughFilesAreStillMadeInIt) {
    run([&]() -> Coroutine<> {
        for (int i = 0; i < 20; ++i) {
            auto temporary = co_await asyncio::temporary_directory({.dir = dir_});
            std::thread maker([place = temporary.path()] {
                for (int n = 0; n < 500; ++n) std::ofstream(place + '/' + std::to_string(n));
            });
            const auto removed = co_await asyncio::as_result(temporary.cleanup());
            EXPECT_FALSE(removed.error());
            maker.join();
        }
    });
    EXPECT_TRUE(fs::is_empty(dir_));
}

// Runs `body`, which is given a new temporary directory, as a user who is not root.
template <class F>
int with_directory_of_a_user(const std::string& dir, F body) {
    ::chmod(dir.c_str(), 0777);
    return in_child([&] {
        if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return 2;
        return run([&]() -> Coroutine<int> {
            asyncio::TemporaryOptions options;
            options.dir = dir;
            auto temporary = co_await asyncio::temporary_directory(options);
            co_return co_await body(temporary);
        });
    });
}

// N18. As CPython: its owner may change it, so that it can be removed.
TEST_F(Files, ATemporaryDirectoryWithReadOnlyFoldersIsRemoved) {
    auto body = [&](asyncio::TemporaryDirectory& temporary) -> Coroutine<int> {
        const std::string top = temporary.path();
        for (const char* name : {"/read", "/none", "/write", "/deep/er/still"}) {
            fs::create_directories(top + name);
            std::ofstream(top + name + "/x") << "x";
        }
        ::chmod((top + "/read/x").c_str(), 0);
        ::chmod((top + "/read").c_str(), 0555);
        ::chmod((top + "/none").c_str(), 0);
        ::chmod((top + "/write").c_str(), 0333);
        for (const char* name : {"/deep/er/still", "/deep/er", "/deep"}) {
            ::chmod((top + name).c_str(), 0500);
        }
        ::chmod(top.c_str(), 0500);
        co_await temporary.cleanup();
        co_return temporary.path().empty() && !fs::exists(top) ? 0 : 3;
    };
    EXPECT_EQ(with_directory_of_a_user(dir_, body), 0);
    EXPECT_TRUE(fs::is_empty(dir_));
}

// N18. Another one's folder cannot be removed: then the path stays, all else is gone, and a later
// try succeeds.
TEST_F(Files, AFailedCleanupKeepsThePath) {
    if (::getuid() != 0) GTEST_SKIP() << "files of two users need root";
    int ready[2];
    int done[2];
    ASSERT_EQ(::pipe(ready), 0);
    ASSERT_EQ(::pipe(done), 0);
    // Root, at the right moments. A process, since the one that forks below must have one thread:
    // the address sanitizer's locks are not free in a child of several.
    const auto help = [&] {
        ::close(ready[1]);
        char byte;
        if (::read(ready[0], &byte, 1) != 1) return 1;
        const std::string top = fs::directory_iterator(dir_)->path();
        fs::create_directory(top + "/theirs");
        std::ofstream(top + "/theirs/x") << "x";
        if (::write(done[1], "d", 1) != 1 || ::read(ready[0], &byte, 1) != 1) return 2;
        if (!fs::exists(top + "/theirs/x")) return 3;
        fs::remove_all(top + "/theirs");
        return ::write(done[1], "d", 1) == 1 ? 0 : 4;
    };
    const pid_t helper = ::fork();
    if (helper == 0) ::_exit(help());
    auto body = [&](asyncio::TemporaryDirectory& temporary) -> Coroutine<int> {
        const std::string top = temporary.path();
        std::ofstream(top + "/mine") << "x";
        char byte;
        if (::write(ready[1], "r", 1) != 1 || ::read(done[0], &byte, 1) != 1) co_return 3;
        const auto failed = co_await asyncio::as_result(temporary.cleanup());
        if (support::error_text<asyncio::PermissionError>(failed) !=
            "[Errno 13] Permission denied: '" + top + "/theirs/x'") {
            co_return 4;
        }
        if (temporary.path() != top || fs::exists(top + "/mine")) co_return 5;
        if (!(co_await asyncio::as_result(temporary.cleanup())).holds<asyncio::PermissionError>()) {
            co_return 6;
        }
        if (::write(ready[1], "r", 1) != 1 || ::read(done[0], &byte, 1) != 1) co_return 7;
        co_await temporary.cleanup();
        co_return temporary.path().empty() && !fs::exists(top) ? 0 : 8;
    };
    EXPECT_EQ(with_directory_of_a_user(dir_, body), 0);
    for (const int fd : {ready[0], ready[1], done[0], done[1]}) ::close(fd);
    int status = -1;
    EXPECT_EQ(::waitpid(helper, &status, 0), helper);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(fs::is_empty(dir_));
}

// N18. Neither what a link names is removed or made changeable, nor what is mounted there.
TEST_F(Files, CleanupStaysInItsDirectory) {
    const std::string outside = make("outside", "x");
    fs::create_directory(path("folder"));
    make("folder/x", "x");
    ::chmod(outside.c_str(), 0400);
    ::chmod(path("folder").c_str(), 0500);
    const int code = in_child([&] {
        const bool mounts = ::getuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
        return run([&]() -> Coroutine<int> {
            auto temporary = co_await asyncio::temporary_directory({.dir = dir_});
            const std::string top = temporary.path();
            fs::create_symlink(outside, top + "/file");
            fs::create_symlink(path("folder"), top + "/directory");
            const std::string place = top + "/mounted";
            fs::create_directory(place);
            std::ofstream(top + "/other") << "x";
            const bool mounted = mounts && ::mount(path("folder").c_str(), place.c_str(), nullptr,
                                                   MS_BIND, nullptr) == 0;
            if (mounted) {
                const auto busy = co_await asyncio::as_result(temporary.cleanup());
                if (support::error_text<asyncio::OSError>(busy) !=
                    "[Errno 16] Device or resource busy: '" + place + "'") {
                    co_return 3;
                }
                if (fs::exists(top + "/other") || temporary.path() != top) co_return 4;
                ::umount(place.c_str());
            }
            co_await temporary.cleanup();
            co_return fs::exists(top) ? 5 : 0;
        });
    });
    EXPECT_EQ(code, 0);
    EXPECT_TRUE(fs::exists(path("folder/x")));
    EXPECT_EQ(fs::status(path("folder")).permissions(), static_cast<fs::perms>(0500));
    EXPECT_EQ(fs::status(outside).permissions(), static_cast<fs::perms>(0400));
    ::chmod(path("folder").c_str(), 0700);
}

// Deeper than the process has descriptors, and longer than a path may be.
TEST_F(Files, ADeepTemporaryDirectoryIsRemoved) {
    const int code = in_child([&] {
        rlimit limit{40, 40};
        if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
        return run([&]() -> Coroutine<int> {
            auto temporary = co_await asyncio::temporary_directory({.dir = dir_});
            const std::string top = temporary.path();
            int at = ::open(top.c_str(), O_RDONLY | O_DIRECTORY);
            for (int i = 0; i < 1000; ++i) {
                if (::mkdirat(at, "directory", 0700) != 0) co_return 3;
                const int below = ::openat(at, "directory", O_RDONLY | O_DIRECTORY);
                ::close(::openat(at, "file", O_CREAT | O_WRONLY, 0600));
                ::close(at);
                at = below;
            }
            ::close(at);
            co_await temporary.cleanup();
            co_return fs::exists(top) ? 4 : 0;
        });
    });
    EXPECT_EQ(code, 0);
}

TEST_F(Files, ATemporaryDirectoryThatHasVanishedIsRemoved) {
    run([&]() -> Coroutine<> {
        auto temporary = co_await asyncio::temporary_directory({.dir = dir_});
        fs::remove(temporary.path());
        co_await temporary.cleanup();
        EXPECT_EQ(temporary.path(), "");
        // While others take from it what is there.
        for (int i = 0; i < 20; ++i) {
            auto shared = co_await asyncio::temporary_directory({.dir = dir_});
            const std::string top = shared.path();
            for (int k = 0; k < 50; ++k) {
                fs::create_directories(top + "/" + std::to_string(k));
                std::ofstream(top + "/" + std::to_string(k) + "/x") << "x";
            }
            auto first = asyncio::create_task(shared.cleanup());
            auto second = asyncio::create_task(shared.cleanup());
            co_await first;
            co_await second;
            EXPECT_FALSE(fs::exists(top));
        }
        // Something else has its name.
        auto replaced = co_await asyncio::temporary_directory({.dir = dir_});
        fs::remove(replaced.path());
        fs::create_directory_symlink(dir_, replaced.path());
        make("kept", "x");
        const auto refused = co_await asyncio::as_result(replaced.cleanup());
        EXPECT_TRUE(refused.holds<asyncio::NotADirectoryError>());
        EXPECT_EQ(content(path("kept")), "x");
        fs::remove(replaced.release());
    });
}

TEST_F(Files, ACancelledTemporaryDirectoryIsGone) {
    run([&]() -> Coroutine<> {
        auto make = [&]() -> Coroutine<> {
            const auto temporary = co_await asyncio::temporary_directory({.dir = dir_});
        };
        auto check = [&](bool) -> Coroutine<> {
            co_await until([&] { return fs::is_empty(dir_); });
        };
        co_await cancel_at_each_point(make, check);
        auto clean = [&]() -> Coroutine<> {
            auto temporary = co_await asyncio::temporary_directory({.dir = dir_});
            co_await temporary.cleanup();
        };
        co_await cancel_at_each_point(clean, check);
    });
}

}  // namespace

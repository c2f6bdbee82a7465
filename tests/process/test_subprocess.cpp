// subprocess.hpp: P-01 to P-13, PR-08, TR-16, and the lessons of others' issues. Orders were
// compared with CPython 3.13's.
#include <asyncio/subprocess.hpp>

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asyncio/files.hpp>
#include <asyncio/locks.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/streams.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/tasks/gather.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/watch.hpp>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "counted_new.hpp"
#include "os/processes.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::Lines;

constexpr SubprocessOptions kPipes{
    .stdin_ = subprocess::PIPE, .stdout_ = subprocess::PIPE, .stderr_ = subprocess::PIPE};
constexpr SubprocessOptions kOutput{.stdout_ = subprocess::PIPE};

std::ptrdiff_t open_descriptors() {
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return std::distance(begin(descriptors), end(descriptors));
}

// Children that were not reaped, dead or alive.
bool has_children() {
    siginfo_t info{};
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

template <class F>
Coroutine<> with_limit(F main) {
    co_await wait_for(main(), 50s);
}

// Runs `main` on a loop that watches descriptors, for so long at most; afterwards there are as many
// descriptors as before and no children.
template <class F>
void run_real(F&& main) {
    const std::ptrdiff_t before = open_descriptors();
    asyncio::run(with_limit(std::forward<F>(main)));
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_FALSE(has_children());
}

// What the child of `co_await create_subprocess_exec(...)` writes.
Coroutine<std::string> output_of(Process process) {
    auto result = co_await process.communicate();
    EXPECT_EQ(process.returncode(), 0);
    co_return result.stdout_;
}

// Sets it to other than the kernel's pidfd, while it lives.
class WithoutPidfd {
  public:
    WithoutPidfd() { detail::use_pidfd = false; }
    WithoutPidfd(const WithoutPidfd&) = delete;
    WithoutPidfd& operator=(const WithoutPidfd&) = delete;
    ~WithoutPidfd() { detail::use_pidfd = true; }
};

class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        char name[] = "/tmp/asyncio-subprocess-XXXXXX";
        EXPECT_NE(::mkdtemp(name), nullptr);
        path_ = std::filesystem::canonical(name).string();
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

// ---- starting -----------------------------------------------------------------------------------

TEST(Exec, RunsAProgram) {  // P-01, P-04, P-06
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_exec(kPipes, "/bin/echo", "hello", "world");
        EXPECT_GT(process.pid(), 0);
        EXPECT_TRUE(process.stdin_);
        const auto result = co_await process.communicate();
        EXPECT_EQ(result.stdout_, "hello world\n");
        EXPECT_EQ(result.stderr_, "");
        EXPECT_EQ(process.returncode(), 0);
        EXPECT_EQ(process.repr(), "<Process " + std::to_string(process.pid()) + ">");
    });
}

TEST(Exec, TakesTextsAndRanges) {  // P-01
    run_real([]() -> Coroutine<> {
        const std::vector<std::string> command{"echo", "a", "b"};
        Process range = co_await create_subprocess_exec(kOutput, command);
        EXPECT_EQ(co_await output_of(range), "a b\n");
        const std::filesystem::path echo = "/bin/echo";
        const std::string c = "c";
        Process mixed = co_await create_subprocess_exec(kOutput, echo, c, std::string_view("d"));
        EXPECT_EQ(co_await output_of(mixed), "c d\n");
        const std::vector<std::string> alone{"false"};
        Process none = co_await create_subprocess_exec("true");
        EXPECT_EQ(co_await none.wait(), 0);
        EXPECT_FALSE(none.stdin_);
        EXPECT_FALSE(none.stdout_);
        EXPECT_FALSE(none.stderr_);
        Process all = co_await create_subprocess_exec(alone);
        EXPECT_EQ(co_await all.wait(), 1);
    });
}

TEST(Exec, ArgumentsMayDieAfterTheCall) {  // P-01
    run_real([]() -> Coroutine<> {
        auto text = std::make_unique<std::string>(1000, 'x');
        auto map = std::make_unique<std::map<std::string, std::string>>();
        (*map)["A"] = "b";
        SubprocessOptions options = kOutput;
        options.env = map.get();
        auto call = create_subprocess_exec(options, "/bin/sh", "-c", "echo $A $0", *text);
        std::string expected = "b " + *text + "\n";
        text.reset();
        map.reset();
        Process process = co_await std::move(call);
        EXPECT_EQ(co_await output_of(process), expected);
    });
}

TEST(Exec, RaisesWhatIsWrong) {  // P-01
    run_real([]() -> Coroutine<> {
        TemporaryDirectory directory;
        const std::string file = directory.path() + "/file";
        std::ofstream(file) << "text";
        const auto error = [](auto call) -> Coroutine<std::string> {
            const auto r = co_await as_result(std::move(call));
            co_return detail::describe(r.error());
        };
        EXPECT_EQ(co_await error(create_subprocess_exec(kPipes, "no-such-program")),
                  "FileNotFoundError(2, 'No such file or directory')");
        EXPECT_EQ(co_await error(create_subprocess_exec(kPipes, directory.path())),
                  "PermissionError(13, 'Permission denied')");
        EXPECT_EQ(co_await error(create_subprocess_exec(kPipes, file)),
                  "PermissionError(13, 'Permission denied')");
        EXPECT_EQ(co_await error(create_subprocess_exec(kPipes, file + "/x")),
                  "NotADirectoryError(20, 'Not a directory')");
        ::chmod(file.c_str(), 0755);
        EXPECT_EQ(co_await error(create_subprocess_exec(kPipes, file)),
                  "OSError(8, 'Exec format error')");
        EXPECT_EQ(co_await error(create_subprocess_exec({.cwd = "/no/such"}, "true")),
                  "FileNotFoundError(2, 'No such file or directory')");
        EXPECT_EQ(co_await error(create_subprocess_exec({.cwd = "/etc/passwd"}, "true")),
                  "NotADirectoryError(20, 'Not a directory')");
        const auto named = co_await as_result(create_subprocess_exec("no-such-program"));
        EXPECT_EQ(support::error_text<FileNotFoundError>(named),
                  "[Errno 2] No such file or directory: 'no-such-program'");
        const auto cwd = co_await as_result(create_subprocess_exec({.cwd = "/no/such"}, "true"));
        EXPECT_EQ(support::error_text<FileNotFoundError>(cwd),
                  "[Errno 2] No such file or directory: '/no/such'");
        EXPECT_FALSE(has_children());
    });
}

TEST(Exec, RefusesNonsense) {  // P-01, P-02, P-03
    run_real([]() -> Coroutine<> {
        const auto error = [](SubprocessOptions o, std::string arg) -> Coroutine<std::string> {
            const auto r = co_await as_result(create_subprocess_exec(o, "true", arg));
            co_return detail::describe(r.error());
        };
        const std::string nul("a\0b", 3);
        EXPECT_EQ(co_await error({}, nul), "ValueError('embedded null byte')");
        EXPECT_EQ(co_await error({.cwd = nul}, ""), "ValueError('embedded null byte')");
        const std::vector<std::pair<std::string, std::string>> bad_name{{"A=B", "c"}};
        EXPECT_EQ(co_await error({.env = &bad_name}, ""),
                  "ValueError('illegal environment variable name')");
        EXPECT_EQ(co_await error({.stdout_ = subprocess::STDOUT}, ""),
                  "ValueError('STDOUT can only be used for stderr')");
        EXPECT_EQ(co_await error({.stdin_ = -17}, ""),
                  "ValueError('Invalid file descriptor: -17')");
        const int fds[] = {-1};
        EXPECT_EQ(co_await error({.pass_fds = fds}, ""), "ValueError('bad value(s) in pass_fds')");
        EXPECT_EQ(co_await error({.user = "no-such-user"}, ""),
                  "KeyError(\"getpwnam(): name not found: 'no-such-user'\")");
        EXPECT_EQ(co_await error({.group = "no-such-group"}, ""),
                  "KeyError(\"getgrnam(): name not found: 'no-such-group'\")");
        EXPECT_EQ(co_await error({.user = -7}, ""),
                  "ValueError('User ID cannot be negative, got -7')");
        EXPECT_EQ(co_await error({.stdin_ = 9999}, ""), "OSError(9, 'Bad file descriptor')");
        const auto empty = co_await as_result(create_subprocess_exec(std::vector<std::string>()));
        EXPECT_EQ(support::error_text<ValueError>(empty), "a program to run is needed");
    });
}

TEST(Exec, FindsTheProgramInThePathOfItsEnvironment) {  // P-01
    run_real([]() -> Coroutine<> {
        TemporaryDirectory directory;
        const std::string file = directory.path() + "/only-here";
        std::ofstream(file) << "#!/bin/sh\necho found $A\n";
        ::chmod(file.c_str(), 0755);
        const std::map<std::string, std::string> env{{"PATH", "/no/such:" + directory.path()},
                                                     {"A", "it"}};
        SubprocessOptions options = kOutput;
        options.env = &env;
        Process process = co_await create_subprocess_exec(options, "only-here");
        EXPECT_EQ(co_await output_of(process), "found it\n");
        const auto r = co_await as_result(create_subprocess_exec("only-here"));
        EXPECT_TRUE(r.holds<FileNotFoundError>());
    });
}

TEST(Exec, Options) {  // P-01
    run_real([]() -> Coroutine<> {
        TemporaryDirectory directory;
        const auto shell = [](SubprocessOptions o,
                              std::string_view command) -> Coroutine<std::string> {
            o.stdout_ = subprocess::PIPE;
            Process process = co_await create_subprocess_exec(o, "/bin/sh", "-c", command);
            co_return co_await output_of(process);
        };
        EXPECT_EQ(co_await shell({.cwd = directory.path()}, "pwd"), directory.path() + "\n");
        EXPECT_EQ(co_await shell({.umask = 027}, "umask"), "0027\n");
        const std::map<std::string, std::string> env{{"ONLY", "this"}};
        EXPECT_EQ(co_await shell({.env = &env}, "/usr/bin/env | grep -c ONLY=this"), "1\n");
        const std::map<std::string, std::string> nothing;
        EXPECT_EQ(co_await shell({.env = &nothing}, "echo \"[$HOME]\""), "[]\n");
        EXPECT_EQ(co_await shell({.executable = "/bin/sh"}, "echo $0"), "/bin/sh\n");
        // Fields of /proc/self/stat: 5 is the process group, 6 the session.
        EXPECT_EQ(co_await shell({.start_new_session = true},
                                 "read a b c d e f g < /proc/$$/stat; [ $e = $$ ] && [ $f = $$ ] "
                                 "&& echo leader"),
                  "leader\n");
        EXPECT_EQ(co_await shell({.process_group = 0},
                                 "read a b c d e f g < /proc/$$/stat; [ $e = $$ ] && [ $f != $$ ] "
                                 "&& echo group"),
                  "group\n");
        const auto told = co_await as_result(shell({.process_group = 999999}, "true"));
        EXPECT_TRUE(told.holds<OSError>());
    });
}

TEST(Exec, ChangesUserAndGroup) {  // P-01
    if (::geteuid() != 0) GTEST_SKIP() << "only root may";
    run_real([]() -> Coroutine<> {
        const int groups[] = {7, 8};
        SubprocessOptions options = kOutput;
        options.user = 12345;
        options.group = 23456;
        options.extra_groups = groups;
        Process process =
            co_await create_subprocess_exec(options, "/bin/sh", "-c", "id -u; id -g; id -G");
        EXPECT_EQ(co_await output_of(process), "12345\n23456\n23456 7 8\n");
        SubprocessOptions named = kOutput;
        named.user = "nobody";
        Process nobody = co_await create_subprocess_exec(named, "id", "-un");
        EXPECT_EQ(co_await output_of(nobody), "nobody\n");
    });
}

TEST(Exec, GivesItsChildrenDefaultSignals) {  // P-01
    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    run_real([]() -> Coroutine<> {
        get_running_loop().add_signal_handler(SIGUSR2, [] {});
        Process process = co_await create_subprocess_exec(kOutput, "cat", "/proc/self/status");
        const std::string status = co_await output_of(process);
        // Only SIGHUP, which was ignored as nohup(1) does it, stays as it was.
        EXPECT_NE(status.find("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n"
                              "SigCgt:\t0000000000000000\n"),
                  std::string::npos)
            << status;
    });
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGHUP, SIG_DFL);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Exec, ChildrenGetNoDescriptorsButTheirOwn) {  // P-01
    run_real([]() -> Coroutine<> {
        const int loose = ::open("/dev/null", O_RDONLY);  // not close-on-exec
        const int other = ::fcntl(loose, F_DUPFD, 100);
        const std::string list =
            "i=0; while [ $i -lt 120 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i + 1)); done; :";
        Process process = co_await create_subprocess_shell(list, kPipes);
        EXPECT_EQ(co_await output_of(process), "0\n1\n2\n");
        const int fds[] = {other, loose};
        SubprocessOptions passing = kPipes;
        passing.pass_fds = fds;
        Process some = co_await create_subprocess_shell(list, passing);
        EXPECT_EQ(co_await output_of(some),
                  "0\n1\n2\n" + std::to_string(loose) + "\n" + std::to_string(other) + "\n");
        SubprocessOptions open = kPipes;
        open.close_fds = false;
        Process all = co_await create_subprocess_shell(list, open);
        const std::string fds_of_all = co_await output_of(all);
        EXPECT_NE(fds_of_all.find(std::to_string(other)), std::string::npos);
        ::close(loose);
        ::close(other);
    });
}

TEST(Exec, NothingThatTheLibraryOpensIsLeftToOthersChildren) {  // P-01: close-on-exec
    for (const bool uring : {false, true}) {
        std::set<int> before;
        for (int fd = 0; fd < 200; ++fd) {
            if (::fcntl(fd, F_GETFD) >= 0) before.insert(fd);
        }
        const auto loop = uring ? UringEventLoop::create() : EpollEventLoop::create();
        loop->run_until_complete([&]() -> Coroutine<> {
            TemporaryDirectory directory;
            Process process = co_await create_subprocess_exec(kPipes, "cat");
            File file = co_await open_file(directory.path() + "/file", "w+");
            File nameless = co_await temporary_file();
            auto changes = watch(directory.path());
            Server server =
                co_await start_server([](StreamReader, StreamWriter) {}, "127.0.0.1", 0);
            auto streams = co_await open_connection("127.0.0.1",
                                                    server.sockets().front().getsockname().port());
            int opened = 0;
            for (int fd = 0; fd < 200; ++fd) {
                const int flags = ::fcntl(fd, F_GETFD);
                if (flags < 0 || before.contains(fd)) continue;
                ++opened;
                EXPECT_NE(flags & FD_CLOEXEC, 0) << fd;
            }
            EXPECT_GE(opened, 10);
            streams.second.close();
            server.close();
            server.close_clients();
            co_await changes.aclose();
            co_await file.close();
            co_await nameless.close();
            process.kill();
            co_await process.wait();
        });
        loop->close();
    }
}

TEST(Exec, StandardStreamsMayBeAnything) {  // P-03
    run_real([]() -> Coroutine<> {
        TemporaryDirectory directory;
        const std::string path = directory.path() + "/out";
        const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        SubprocessOptions to_file{.stdin_ = subprocess::DEVNULL, .stdout_ = file};
        to_file.stderr_ = subprocess::STDOUT;
        Process process = co_await create_subprocess_shell("cat; echo out; echo err >&2", to_file);
        EXPECT_EQ(co_await process.wait(), 0);
        ::close(file);
        std::ifstream in(path);
        const std::string text(std::istreambuf_iterator<char>(in), {});
        EXPECT_EQ(text, "out\nerr\n");

        SubprocessOptions both = kOutput;
        both.stderr_ = subprocess::STDOUT;
        Process joined = co_await create_subprocess_shell("echo out; echo err >&2", both);
        EXPECT_EQ(co_await output_of(joined), "out\nerr\n");
        SubprocessOptions apart = kPipes;
        Process separate = co_await create_subprocess_shell("echo out; echo err >&2", apart);
        const auto result = co_await separate.communicate();
        EXPECT_EQ(result.stdout_, "out\n");
        EXPECT_EQ(result.stderr_, "err\n");
        // A swap: 0 is given as 1 and 1 as 0.
        const int zero = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        SubprocessOptions swapped{.stdin_ = 1, .stdout_ = zero, .stderr_ = 0};
        Process odd = co_await create_subprocess_exec(swapped, "true");
        EXPECT_EQ(co_await odd.wait(), 0);
        ::close(zero);
    });
}

TEST(Exec, PipesArePipes) {  // P-03: not socket pairs, so that the child can open /proc/self/fd/1
    run_real([]() -> Coroutine<> {
        Process process =
            co_await create_subprocess_shell("echo through > /proc/self/fd/1", kOutput);
        EXPECT_EQ(co_await output_of(process), "through\n");
    });
}

TEST(Shell, RunsACommand) {  // P-02
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell("echo $((6 * 7)); exit 3", kOutput);
        const auto result = co_await process.communicate();
        EXPECT_EQ(result.stdout_, "42\n");
        EXPECT_EQ(process.returncode(), 3);
        Process missing = co_await create_subprocess_shell("no-such-command 2>/dev/null");
        EXPECT_EQ(co_await missing.wait(), 127);
    });
}

// ---- wait, communicate --------------------------------------------------------------------------

TEST(Wait, GivesTheReturncodeToAllWhoWait) {  // P-04, P-05
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell("read line; exit 7", kPipes);
        EXPECT_FALSE(process.returncode().has_value());
        std::vector<Task<int>> waiting;
        for (int i = 0; i < 3; ++i) waiting.push_back(create_task(process.wait()));
        auto cancelled = create_task(process.wait());
        co_await sleep(0s);
        cancelled.cancel();
        process.stdin_.write("go\n");
        for (auto& w : waiting) EXPECT_EQ(co_await w, 7);
        EXPECT_TRUE(cancelled.cancelled());
        EXPECT_EQ(co_await process.wait(), 7);
        EXPECT_EQ(process.returncode(), 7);
    });
}

TEST(Wait, ASignalIsANegativeNumber) {  // P-04, P-07
    run_real([]() -> Coroutine<> {
        for (const int signal : {SIGTERM, SIGKILL, SIGUSR1}) {
            Process process = co_await create_subprocess_exec("sleep", "1000");
            process.send_signal(signal);
            EXPECT_EQ(co_await process.wait(), -signal);
        }
    });
}

TEST(Wait, DoesNotWaitForAGrandchildThatHoldsThePipes) {  // P-05
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell("sleep 1000 & echo $!", kOutput);
        EXPECT_EQ(co_await process.wait(), 0);
        const std::string line = co_await process.stdout_.readline();
        EXPECT_FALSE(process.stdout_.at_eof());
        ::kill(std::stoi(line), SIGKILL);
        EXPECT_EQ(co_await process.stdout_.read(), "");
    });
}

TEST(Wait, AChildMayCloseItsPipesAndLiveOn) {  // P-05
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell(
            "exec >&- 2>&-; while read line; do [ \"$line\" = end ] && exit 4; done", kPipes);
        EXPECT_EQ(co_await process.stdout_.read(), "");
        EXPECT_EQ(co_await process.stderr_.read(), "");
        EXPECT_FALSE(process.returncode().has_value());
        process.stdin_.write("end\n");
        EXPECT_EQ(co_await process.wait(), 4);
    });
}

TEST(Wait, AChildMayLiveOnAfterItsPipesAreClosedHere) {  // P-05, P-09
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell(
            "trap 'exit 6' TERM; trap '' PIPE; echo ready; while read line; do :; done; exec <&-; "
            "echo nobody reads this; while :; do sleep 0.01; done",
            kPipes);
        EXPECT_EQ(co_await process.stdout_.readline(), "ready\n");
        process.stdin_.close();
        const SubprocessTransport transport = process.transport();
        transport.get_pipe_transport(1).close();
        transport.get_pipe_transport(2).close();
        const auto r = co_await as_result(wait_for(process.wait(), 30ms));
        EXPECT_TRUE(r.holds<TimeoutError>());
        EXPECT_FALSE(process.returncode().has_value());
        process.terminate();
        EXPECT_EQ(co_await process.wait(), 6);
    });
}

TEST(Communicate, MegabytesBothWays) {  // P-06
    run_real([]() -> Coroutine<> {
        std::string input;
        for (int i = 0; input.size() < 8'000'000; ++i) input += std::to_string(i) + ' ';
        Process process = co_await create_subprocess_shell("tee /proc/self/fd/2", kPipes);
        const auto result = co_await process.communicate(input);
        EXPECT_TRUE(result.stdout_ == input);
        EXPECT_TRUE(result.stderr_ == input);
        EXPECT_EQ(process.returncode(), 0);
    });
}

TEST(Communicate, AChildNeedNotReadItsInput) {  // P-06
    run_real([]() -> Coroutine<> {
        const std::string input(5'000'000, 'x');
        Process process = co_await create_subprocess_shell("exec <&-; echo done", kPipes);
        const auto result = co_await process.communicate(input);
        EXPECT_EQ(result.stdout_, "done\n");
        Process nothing = co_await create_subprocess_exec(kPipes, "cat");
        const auto empty = co_await nothing.communicate();  // closes its input all the same
        EXPECT_EQ(empty.stdout_, "");
        Process twice = co_await create_subprocess_exec(kPipes, "true");
        EXPECT_EQ(co_await twice.wait(), 0);
        EXPECT_EQ((co_await twice.communicate(input)).stdout_, "");
    });
}

TEST(Communicate, MayBeCancelledAtEveryAwait) {  // P-06
    run_real([]() -> Coroutine<> {
        const std::string input(1'000'000, 'x');
        for (int after = 0; after < 12; ++after) {
            // Reads slowly at first, so that each part has to wait.
            Process process = co_await create_subprocess_shell("head -c 1000; cat >&2", kPipes);
            auto talk = create_task(process.communicate(input));
            for (int i = 0; i < after; ++i) co_await sleep(0s);
            talk.cancel();
            const auto r = co_await as_result(talk);
            EXPECT_TRUE(r.holds<CancelledError>());
            if (!process.returncode()) process.kill();
            EXPECT_LE(co_await process.wait(), 0);
        }
        Process quiet = co_await create_subprocess_exec(kPipes, "sleep", "1000");
        const auto late = co_await as_result(wait_for(quiet.communicate(), 10ms));
        EXPECT_TRUE(late.holds<TimeoutError>());
        quiet.kill();
        EXPECT_EQ(co_await quiet.wait(), -SIGKILL);
    });
}

// The last awaits of communicate(), one by one: cancelled there, the process runs on.
TEST(Communicate, MayBeCancelledWhereverAChildKeepsIt) {  // P-06
    run_real([]() -> Coroutine<> {
        const std::string input(1'000'000, 'x');
        const char* const holding[] = {
            "exec >&- 2>&-; sleep 1000",                     // the input is not read
            "cat > /dev/null; exec 2>&-; sleep 1000",        // the output stays open
            "cat > /dev/null; exec >&-; sleep 1000",         // the error stays open
            "cat > /dev/null; exec >&- 2>&- ; sleep 1000"};  // only its end is missing
        for (const char* command : holding) {
            Process process = co_await create_subprocess_shell(command, kPipes);
            auto talk = create_task(process.communicate(input));
            // Until it cannot get any further: what is done is done within the loop's turns.
            co_await sleep(50ms);
            EXPECT_FALSE(talk.done()) << command;
            talk.cancel();
            EXPECT_TRUE((co_await as_result(talk)).holds<CancelledError>()) << command;
            EXPECT_FALSE(process.returncode().has_value()) << command;
            process.kill();
            EXPECT_EQ(co_await process.wait(), -SIGKILL) << command;
            process.stdin_.close();
        }
    });
}

TEST(Streams, ALineAtATime) {  // P-04, P-13
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_exec(kPipes, "cat");
        for (int i = 0; i < 100; ++i) {
            const std::string line = "line " + std::to_string(i) + "\n";
            process.stdin_.write(line);
            co_await process.stdin_.drain();
            EXPECT_EQ(co_await process.stdout_.readline(), line);
        }
        process.stdin_.close();
        co_await process.stdin_.wait_closed();
        EXPECT_EQ(co_await process.stdout_.read(), "");
        EXPECT_EQ(co_await process.wait(), 0);
    });
}

TEST(Streams, StdinIsLostWhenTheChildClosesIt) {  // P-13
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell("exec <&-; sleep 1000", kPipes);
        while (!process.stdin_.is_closing()) co_await sleep(1ms);
        const auto r = co_await as_result(process.stdin_.drain());
        EXPECT_TRUE(r.holds<ConnectionResetError>());
        EXPECT_FALSE(process.returncode().has_value());
        process.kill();
        co_await process.wait();
    });
}

TEST(Streams, Limit) {  // P-01
    run_real([]() -> Coroutine<> {
        SubprocessOptions options = kOutput;
        options.limit = 16;
        Process process = co_await create_subprocess_exec(options, "echo", std::string(100, 'x'));
        EXPECT_TRUE((co_await as_result(process.stdout_.readline())).holds<ValueError>());
        co_await process.wait();
        // L17, L43.
        options.limit = 0;
        auto none = co_await as_result(create_subprocess_exec(options, "echo"));
        EXPECT_EQ(support::error_text<ValueError>(none), "Limit cannot be <= 0");
        options.limit = std::numeric_limits<std::size_t>::max();
        process = co_await create_subprocess_exec(options, "echo", std::string(100'000, 'x'));
        EXPECT_EQ((co_await process.stdout_.readline()).size(), 100'001U);
        co_await process.wait();
    });
}

// ---- signals ------------------------------------------------------------------------------------

TEST(Signals, TerminateAndKill) {  // P-07
    run_real([]() -> Coroutine<> {
        Process stubborn = co_await create_subprocess_shell(
            "trap '' TERM; echo ready; while :; do sleep 0.01; done", kOutput);
        EXPECT_EQ(co_await stubborn.stdout_.readline(), "ready\n");
        stubborn.terminate();
        const auto r = co_await as_result(wait_for(stubborn.wait(), 30ms));
        EXPECT_TRUE(r.holds<TimeoutError>());
        stubborn.kill();
        EXPECT_EQ(co_await stubborn.wait(), -SIGKILL);
        Process trapping = co_await create_subprocess_shell(
            "trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.01; done", kOutput);
        EXPECT_EQ(co_await trapping.stdout_.readline(), "ready\n");
        trapping.send_signal(SIGUSR1);
        EXPECT_EQ(co_await trapping.stdout_.read(), "got it\n");
        EXPECT_EQ(co_await trapping.wait(), 9);
    });
}

TEST(Signals, AfterTheEndAreRefused) {  // P-07
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_exec("true");
        co_await process.wait();
        // What wakes wait() also puts connection_lost() into the queue.
        co_await sleep(0s);
        co_await sleep(0s);
        const auto after = [&](auto f) { return support::raised<ProcessLookupError>(f); };
        EXPECT_EQ(after([&] { process.terminate(); }), "ProcessLookupError");
        EXPECT_EQ(after([&] { process.kill(); }), "ProcessLookupError");
        EXPECT_EQ(after([&] { process.send_signal(SIGUSR1); }), "ProcessLookupError");
        Process wrong = co_await create_subprocess_exec("sleep", "1000");
        EXPECT_THROW(wrong.send_signal(1000), OSError);
        wrong.kill();
        co_await wrong.wait();
    });
}

TEST(Signals, JustBeforeItsEndIsKnownAreIgnored) {  // P-07
    run_real([]() -> Coroutine<> {
        // The loop does not look between its end and the signal.
        Process process = co_await create_subprocess_exec("sleep", "1000");
        const auto pid = static_cast<id_t>(process.pid());
        siginfo_t info{};
        EXPECT_EQ(::kill(process.pid(), SIGKILL), 0);
        EXPECT_EQ(::waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        process.terminate();
        EXPECT_FALSE(process.returncode());
        EXPECT_EQ(co_await process.wait(), -SIGKILL);
    });
}

TEST(Signals, WhileOthersHoldItsPipesAreIgnored) {  // P-07
    run_real([]() -> Coroutine<> {
        Process process = co_await create_subprocess_shell("sleep 1000 & echo $!", kOutput);
        const pid_t holder = std::stoi(co_await process.stdout_.readline());
        EXPECT_EQ(co_await process.wait(), 0);
        co_await sleep(0s);
        co_await sleep(0s);
        process.terminate();
        process.kill();
        EXPECT_EQ(::kill(holder, SIGKILL), 0);
        EXPECT_EQ(co_await process.stdout_.read(), "");
    });
}

TEST(Signals, NoHandlerForTheEndOfChildren) {  // P-12
    struct sigaction now = {};
    run_real([&]() -> Coroutine<> {
        Process process = co_await create_subprocess_exec("true");
        ::sigaction(SIGCHLD, nullptr, &now);
        co_await process.wait();
    });
    EXPECT_EQ(now.sa_handler, SIG_DFL);
}

// ---- protocols ----------------------------------------------------------------------------------

class Notes : public SubprocessProtocol {
  public:
    Lines lines;
    Event done;
    SubprocessTransport transport;

    void connection_made(SubprocessTransport& t) override {
        transport = t;
        lines.push_back("made");
    }
    void pipe_data_received(int fd, std::string_view data) override {
        lines.push_back("data " + std::to_string(fd) + ' ' + std::string(data));
    }
    void pipe_connection_lost(int fd, std::exception_ptr error) override {
        lines.push_back("lost " + std::to_string(fd) + ' ' + detail::describe(error));
    }
    void process_exited() override { lines.push_back("exited"); }
    void connection_lost(std::exception_ptr error) override {
        lines.push_back("end " + detail::describe(error));
        done.set();
    }
    bool has(std::string_view line) const {
        return std::find(lines.begin(), lines.end(), line) != lines.end();
    }
};
std::shared_ptr<Notes> make_notes() { return std::make_shared<Notes>(); }

TEST(SubprocessTransport, TellsItsProtocolInOrder) {  // P-08, P-09, P-10, PR-08, TR-16
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto [transport, notes] =
            co_await loop.subprocess_exec(make_notes, "/bin/sh", "-c", "read a; echo $a; exit 5");
        EXPECT_EQ(notes->lines, Lines{"made"});
        EXPECT_GT(transport.get_pid(), 0);
        EXPECT_EQ(transport.get_extra_info<int>("subprocess"), transport.get_pid());
        EXPECT_EQ(transport.get_returncode(), std::nullopt);
        EXPECT_FALSE(transport.get_pipe_transport(3));
        EXPECT_TRUE(transport.get_pipe_transport(1));
        EXPECT_TRUE(transport.get_pipe_transport(2));
        transport.get_pipe_transport(0).write("hello\n");
        co_await notes->done.wait();
        EXPECT_EQ(notes->lines.front(), "made");
        EXPECT_EQ(notes->lines.back(), "end None");
        for (const char* line :
             {"data 1 hello\n", "lost 0 None", "lost 1 None", "lost 2 None", "exited"}) {
            EXPECT_TRUE(notes->has(line)) << line;
        }
        EXPECT_EQ(notes->lines.size(), 7u);
        EXPECT_EQ(transport.get_returncode(), 5);
        EXPECT_FALSE(transport.get_pipe_transport(1));
        EXPECT_THROW(transport.kill(), ProcessLookupError);
        EXPECT_TRUE(transport.is_closing());
        transport.close();
    });
}

TEST(SubprocessTransport, Shell) {  // P-08
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        auto [transport, notes] = co_await loop.subprocess_shell(make_notes, "echo out");
        co_await notes->done.wait();
        EXPECT_TRUE(notes->has("data 1 out\n"));
        SubprocessOptions none{.stdin_ = subprocess::INHERIT, .stdout_ = subprocess::DEVNULL};
        none.stderr_ = subprocess::STDOUT;
        auto [quiet, nothing] = co_await loop.subprocess_shell(make_notes, "echo out", none);
        EXPECT_FALSE(quiet.get_pipe_transport(0));
        co_await nothing->done.wait();
        EXPECT_EQ(nothing->lines, (Lines{"made", "exited", "end None"}));
        const std::vector<std::string> command{"echo", "range"};
        auto [third, range] =
            co_await loop.subprocess_exec(make_notes, SubprocessOptions(), command);
        co_await range->done.wait();
        EXPECT_TRUE(range->has("data 1 range\n"));
    });
}

TEST(SubprocessTransport, CloseKills) {  // P-09
    run_real([]() -> Coroutine<> {
        auto [transport, notes] =
            co_await get_running_loop().subprocess_exec(make_notes, "sleep", "1000");
        EXPECT_EQ(transport.repr().find("<asyncio.SubprocessTransport pid="), 0u);
        transport.close();
        transport.close();
        EXPECT_TRUE(transport.is_closing());
        co_await notes->done.wait();
        EXPECT_EQ(transport.get_returncode(), -SIGKILL);
        EXPECT_EQ(notes->lines.back(), "end None");
    });
}

TEST(SubprocessTransport, ReportsWhatItsProtocolRaises) {  // SC-07
    class Bad : public Notes {
        void process_exited() override { throw ValueError("bad"); }
    };
    run_real([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Lines reports;
        loop.set_exception_handler([&](EventLoop&, const ExceptionContext& c) {
            reports.push_back(detail::describe(c.exception));
        });
        const auto factory = [] { return std::make_shared<Bad>(); };
        auto [transport, notes] = co_await loop.subprocess_exec(factory, "true");
        co_await notes->done.wait();
        EXPECT_EQ(reports, Lines{"ValueError('bad')"});
    });
}

TEST(SubprocessTransport, AFailureLeavesNothing) {  // P-08
    run_real([]() -> Coroutine<> {
        const auto notes = make_notes();
        const auto factory = [notes] { return notes; };
        for (int i = 0; i < 20; ++i) {
            const auto r =
                co_await as_result(get_running_loop().subprocess_exec(factory, "no-such-program"));
            EXPECT_TRUE(r.holds<FileNotFoundError>());
        }
        EXPECT_EQ(notes->lines, Lines());
    });
}

// ---- cancelling, closing, limits ----------------------------------------------------------------

TEST(Cancel, WhileItIsMadeKillsIt) {  // P-11
    run_real([]() -> Coroutine<> {
        auto before = create_task(create_subprocess_exec("sleep", "1000"));
        before.cancel();
        EXPECT_TRUE((co_await as_result(before)).holds<CancelledError>());
        EXPECT_FALSE(has_children());
        for (const SubprocessOptions& o : {SubprocessOptions(), kPipes}) {
            auto waiting = create_task(create_subprocess_exec(o, "sleep", "1000"));
            co_await sleep(0s);
            EXPECT_TRUE(has_children());
            waiting.cancel();
            EXPECT_TRUE((co_await as_result(waiting)).holds<CancelledError>());
            EXPECT_FALSE(has_children());
        }
        const auto notes = make_notes();
        const auto factory = [notes] { return notes; };
        auto low = create_task(get_running_loop().subprocess_exec(factory, "sleep", "1000"));
        co_await sleep(0s);
        low.cancel();
        EXPECT_TRUE((co_await as_result(low)).holds<CancelledError>());
        co_await notes->done.wait();
        EXPECT_EQ(notes->lines.back(), "end None");
    });
}

TEST(Close, ALoopThatClosesKillsAndBuriesItsChildren) {  // P-12
    const std::ptrdiff_t before = open_descriptors();
    for (const bool pidfd : {true, false}) {
        detail::use_pidfd = pidfd;
        Process kept;
        asyncio::run([&]() -> Coroutine<> {
            for (int i = 0; i < 3; ++i) {
                kept = co_await create_subprocess_exec(kPipes, "sleep", "1000");
            }
            static_cast<void>(co_await create_subprocess_exec("true"));
        });
        EXPECT_FALSE(has_children());
        EXPECT_EQ(kept.returncode(), -SIGKILL);
        EXPECT_THROW(kept.kill(), ProcessLookupError);
        kept.stdin_.write("x");
        kept.stdin_.close();
    }
    detail::use_pidfd = true;
    EXPECT_EQ(open_descriptors(), before);
}

TEST(Close, AHandleMayGoBeforeItsProcess) {  // P-12
    run_real([]() -> Coroutine<> {
        {
            Process process = co_await create_subprocess_exec("sleep", "0.01");
        }
        while (has_children()) co_await sleep(1ms);
    });
}

TEST(Limits, NoDescriptorsLeft) {  // P-01
    if (support::kAddressSanitizer) GTEST_SKIP() << support::kNeedsDescriptors;
    run_real([]() -> Coroutine<> {
        rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        const auto used = static_cast<rlim_t>(open_descriptors());
        int failures = 0;
        for (rlim_t more = 0; more < 10; ++more) {
            rlimit few = before;
            few.rlim_cur = used - 1 + more;
            ::setrlimit(RLIMIT_NOFILE, &few);
            const auto r = co_await as_result(create_subprocess_exec(kPipes, "true"));
            ::setrlimit(RLIMIT_NOFILE, &before);
            if (r.has_value()) {
                co_await r.value().wait();
            } else {
                ++failures;
                EXPECT_EQ(support::error_text<OSError>(r), "[Errno 24] Too many open files");
            }
            for (int i = 0; i < 4; ++i) co_await sleep(0s);
            EXPECT_EQ(static_cast<rlim_t>(open_descriptors()), used);
        }
        EXPECT_GE(failures, 6);
        EXPECT_LT(failures, 10);
    });
}

TEST(Limits, NoProcessesLeft) {  // P-01
    if (::geteuid() != 0) GTEST_SKIP() << "only root may become another user";
    // In a child of our own that drops root: a limit of processes binds others only.
    EXPECT_EXIT(
        {
            rlimit none{};
            ::setrlimit(RLIMIT_NPROC, &none);
            if (::setuid(54321) != 0) std::_Exit(2);
            asyncio::run([]() -> Coroutine<> {
                const auto r = co_await as_result(create_subprocess_exec(kPipes, "true"));
                std::_Exit(r.holds<BlockingIOError>() ? 0 : 1);
            });
        },
        testing::ExitedWithCode(0), "");
}

// From now on the system call `number` of this process fails with `error`. Not to be undone.
bool inject(unsigned number, unsigned error) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{std::size(program), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Ends this process: 0 if starting a child fails with `error`, and nothing is left of it; 77 if the
// system does not let errors be injected.
[[noreturn]] void fail_at(unsigned number, int error) {
    asyncio::run([=]() -> Coroutine<> {
        const std::ptrdiff_t before = open_descriptors();
        if (!inject(number, static_cast<unsigned>(error))) std::_Exit(77);
        for (int i = 0; i < 3; ++i) {
            const auto r = co_await as_result(create_subprocess_exec(kPipes, "/bin/true"));
            const auto* e = detail::find<OSError>(r.error());
            if (!e || e->code().value() != error) std::_Exit(1);
            for (int turn = 0; turn < 4; ++turn) co_await sleep(0s);
            if (open_descriptors() != before) std::_Exit(2);
            if (has_children()) std::_Exit(3);
        }
        std::_Exit(0);
    });
    std::_Exit(4);
}

TEST(Limits, EachStepOfAStartMayFail) {  // P-01
    if (support::kThreadSanitizer) GTEST_SKIP() << "the sanitizer makes system calls itself";
    const struct {
        unsigned number;
        int error;
    } steps[] = {{SYS_clone, ENOMEM},  {SYS_clone, EAGAIN},  {SYS_execve, ENOMEM},
                 {SYS_execve, E2BIG},  {SYS_pipe2, ENFILE},  {SYS_dup3, EBUSY},
                 {SYS_execve, EACCES}, {SYS_execve, ETXTBSY}};
    const auto done = [](int status) {
        return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
    };
    for (const auto& step : steps) {
        // The sanitizer needs pipes itself (kNeedsDescriptors).
        if (support::kAddressSanitizer && step.number == SYS_pipe2) continue;
        SCOPED_TRACE(std::to_string(step.number) + " fails with " + std::to_string(step.error));
        EXPECT_EXIT(fail_at(step.number, step.error), done, "");
    }
}

Coroutine<Process> start_sleeping() {
    co_return co_await create_subprocess_exec(kPipes, "sleep", "1000");
}

TEST(Limits, EachBlockOfMemoryMayBeMissing) {  // P-01
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    run_real([]() -> Coroutine<> {
        static_cast<void>(co_await (co_await create_subprocess_exec("true")).wait());
        for (int turn = 0; turn < 4; ++turn) co_await sleep(0s);
        const std::ptrdiff_t before = open_descriptors();
        std::ptrdiff_t given = 0;
        for (bool enough = false; !enough; ++given) {
            auto call = start_sleeping();  // its frame may be such a block too
            support::blocks_left = given;
            auto r = co_await as_result(std::move(call));
            enough = support::blocks_left.exchange(-1) >= 0;
            if (r.has_value()) {
                r.value().transport().close();
                co_await r.value().wait();
            } else {
                EXPECT_TRUE(r.holds<std::bad_alloc>());
            }
            for (int turn = 0; turn < 4; ++turn) co_await sleep(0s);
            EXPECT_FALSE(has_children()) << given;
            EXPECT_EQ(open_descriptors(), before) << given;
        }
        EXPECT_GT(given, 10);
    });
}

TEST(Limits, AFullDiskIsTheChildsToReport) {  // P-03
    run_real([]() -> Coroutine<> {
        const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
        SubprocessOptions to_full{.stdout_ = full, .stderr_ = subprocess::PIPE};
        Process process = co_await create_subprocess_exec(to_full, "cat", "/proc/self/status");
        const auto result = co_await process.communicate();
        EXPECT_EQ(process.returncode(), 1);
        EXPECT_NE(result.stderr_.find("No space left on device"), std::string::npos)
            << result.stderr_;
        ::close(full);
    });
}

TEST(Limits, TheLimitOfFileSizeEndsAChildByItsSignal) {  // P-04
    run_real([]() -> Coroutine<> {
        TemporaryDirectory directory;
        rlimit before{};
        ::getrlimit(RLIMIT_FSIZE, &before);
        rlimit small = before;
        small.rlim_cur = 1000;
        const std::string path = directory.path() + "/out";
        const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ::setrlimit(RLIMIT_FSIZE, &small);
        Process process =
            co_await create_subprocess_exec({.stdout_ = file}, "head", "-c", "100000", "/dev/zero");
        ::setrlimit(RLIMIT_FSIZE, &before);
        EXPECT_EQ(co_await process.wait(), -SIGXFSZ);
        EXPECT_EQ(std::filesystem::file_size(path), 1000u);
        ::close(file);
    });
}

TEST(Limits, ReapedBySomebodyElse) {  // P-04
    ::signal(SIGCHLD, SIG_IGN);       // then the system reaps
    run_real([]() -> Coroutine<> {
        const support::LogCapture log;
        Process process = co_await create_subprocess_exec("true");
        EXPECT_EQ(co_await process.wait(), 255);
        EXPECT_EQ(log.lines(), Lines{"child process pid " + std::to_string(process.pid()) +
                                     " exit status already read:  will report returncode 255"});
    });
    ::signal(SIGCHLD, SIG_DFL);
}

TEST(Limits, NotOnVirtualTime) {
    support::run_virtual([]() -> Coroutine<> {
        const auto r = co_await as_result(create_subprocess_exec(kPipes, "true"));
        EXPECT_EQ(support::error_text<NotImplementedError>(r),
                  "a loop on virtual time starts no child processes");
    });
}

// ---- threads, many ------------------------------------------------------------------------------

TEST(Many, AThousandAtOnce) {  // P-12
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    rlimit enough = before;
    enough.rlim_cur = std::min<rlim_t>(before.rlim_max, 8192);
    if (enough.rlim_cur < 4096) GTEST_SKIP() << "needs four descriptors for each";
    ::setrlimit(RLIMIT_NOFILE, &enough);
    run_real([]() -> Coroutine<> {
        // All are there before the first may end: they wait for what is written to them.
        std::vector<Process> all;
        for (int i = 0; i < 1000; ++i) {
            const std::string script = "read line; echo $line; exit " + std::to_string(i % 8);
            SubprocessOptions talking{.stdin_ = subprocess::PIPE, .stdout_ = subprocess::PIPE};
            all.push_back(co_await create_subprocess_shell(script, talking));
        }
        std::vector<Coroutine<CommunicateResult>> talks;
        for (std::size_t i = 0; i < all.size(); ++i) {
            EXPECT_FALSE(all[i].returncode().has_value());
            talks.push_back(all[i].communicate("line " + std::to_string(i) + "\n"));
        }
        const std::vector<CommunicateResult> results = co_await gather(std::move(talks));
        for (std::size_t i = 0; i < all.size(); ++i) {
            EXPECT_EQ(results[i].stdout_, "line " + std::to_string(i) + "\n");
            EXPECT_EQ(all[i].returncode(), static_cast<int>(i % 8));
        }
    });
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(Many, AThousandShortLivedChildren) {  // P-12
    run_real([]() -> Coroutine<> {
        Semaphore at_once{200};
        int running = 0;
        int most = 0;
        const auto one = [&](int i) -> Coroutine<int> {
            auto guard = co_await at_once.scoped();
            most = std::max(most, ++running);
            Process process =
                co_await create_subprocess_exec("/bin/sh", "-c", "exit " + std::to_string(i % 8));
            const int code = co_await process.wait();
            --running;
            co_return code;
        };
        std::vector<Coroutine<int>> all;
        for (int i = 0; i < 1000; ++i) all.push_back(one(i));
        const std::vector<int> codes = co_await gather(std::move(all));
        for (int i = 0; i < 1000; ++i) {
            EXPECT_EQ(codes[static_cast<std::size_t>(i)], i % 8);
        }
        EXPECT_GT(most, 1);
        EXPECT_LE(most, 200);
    });
}

TEST(Many, AnyThreadsLoop) {  // P-12
    const auto work = [] {
        asyncio::run([]() -> Coroutine<> {
            for (int i = 0; i < 20; ++i) {
                Process process = co_await create_subprocess_exec(kPipes, "cat");
                const auto result = co_await process.communicate("text");
                EXPECT_EQ(result.stdout_, "text");
                EXPECT_EQ(process.returncode(), 0);
            }
        });
    };
    // A loop that fails fails the test, not the process.
    std::vector<std::future<void>> threads;
    for (int i = 0; i < 4; ++i) threads.push_back(std::async(std::launch::async, work));
    for (std::future<void>& t : threads) EXPECT_NO_THROW(t.get());
    EXPECT_FALSE(has_children());
}

TEST(Many, WithoutPidfd) {  // P-12
    const WithoutPidfd fallback;
    run_real([]() -> Coroutine<> {
        const auto one = [](int i) -> Coroutine<int> {
            Process process = co_await create_subprocess_exec(kOutput, "/bin/sh", "-c",
                                                              "echo x; exit " + std::to_string(i));
            const auto result = co_await process.communicate();
            EXPECT_EQ(result.stdout_, "x\n");
            co_return co_await process.wait();
        };
        std::vector<Coroutine<int>> all;
        for (int i = 0; i < 20; ++i) all.push_back(one(i));
        const std::vector<int> codes = co_await gather(std::move(all));
        for (int i = 0; i < 20; ++i) EXPECT_EQ(codes[static_cast<std::size_t>(i)], i);
        Process process = co_await create_subprocess_exec("sleep", "1000");
        process.terminate();
        EXPECT_EQ(co_await process.wait(), -SIGTERM);
    });
}

}  // namespace

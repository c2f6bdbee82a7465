// A program that tells of its own tasks: asyncio_dump_tasks(), ASYNCIO_DUMP_SIGNAL.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

std::string dumped() {
    testing::internal::CaptureStderr();
    asyncio_dump_tasks();
    return testing::internal::GetCapturedStderr();
}

Coroutine<> nap() { co_await sleep(3600s); }
Coroutine<> outer() { co_await create_task(nap(), {.name = "inner"}); }

Coroutine<std::string> told_by_itself() {
    const auto task = create_task(outer(), {.name = "outer"});
    co_await sleep(0s);
    co_await sleep(0s);
    std::string text = dumped();
    task.cancel();
    (void)co_await as_result(task);
    co_return text;
}

TEST(Dump, TellsWhereTasksWaitAndWhoWaitsForThem) {
    const std::string text = run(told_by_itself());
    EXPECT_NE(text.find("* outer\n"), text.npos) << text;
    EXPECT_NE(text.find("    * inner\n"), text.npos) << text;
    EXPECT_NE(text.find("nap()  "), text.npos) << text;
    EXPECT_NE(text.find("waits for sleep, 3"), text.npos) << text;
    EXPECT_NE(text.find("* Task-"), text.npos) << text;
    EXPECT_NE(text.find(" (running)\n"), text.npos) << text;
    EXPECT_EQ(text.find("while it was read"), text.npos) << text;  // nothing changes meanwhile
}

TEST(Dump, OfAProcessWithoutLoopsIsEmpty) { EXPECT_EQ(dumped(), ""); }

// As a watchdog does it, on a thread of its own.
TEST(Dump, TellsOfALoopThatIsStuck) {
    std::string text;
    run([](std::string& text) -> Coroutine<> {
        std::thread([&] { text = dumped(); }).join();  // the step waits for it
        co_return;
    }(text));
    EXPECT_NE(text.find("(running)\n"), text.npos) << text;
    EXPECT_NE(text.find("it ran while it was read"), text.npos) << text;
}

TEST(Dump, NamesCannotSpeakToTheTerminal) {
    const std::string text = run([]() -> Coroutine<std::string> {
        const auto task = create_task(nap(), {.name = "\x1b[31mred\n"});
        co_await sleep(0s);
        std::string text = dumped();
        task.cancel();
        (void)co_await as_result(task);
        co_return text;
    }());
    EXPECT_NE(text.find("* \\x1b[31mred\\x0a\n"), text.npos) << text;
}

// What a child process prints to standard error until it ends.
template <class F>
std::string printed_by_child(F child, int& status) {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(20);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        child();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, n);
    ::close(ends[0]);
    ::waitpid(pid, &status, 0);
    return text;
}

// Sends itself the signal, and gives the thread that tells of it time to do so.
Coroutine<> signals_itself(int signal) {
    ::raise(signal);
    co_await sleep(500ms);
}

TEST(DumpSignal, TellsOfTheTasks) {
    for (const char* const name : {"USR1", "SIGUSR1", "10"}) {
        int status = -1;
        const std::string text = printed_by_child(
            [name] {
                ::setenv("ASYNCIO_DUMP_SIGNAL", name, 1);
                run(signals_itself(SIGUSR1));
            },
            status);
        EXPECT_EQ(status, 0) << name << text;
        EXPECT_NE(text.find("* Task-"), text.npos) << name << text;
        EXPECT_NE(text.find("signals_itself()"), text.npos) << name << text;
    }
}

TEST(DumpSignal, InAChildOfAForkToo) {
    if (support::kAddressSanitizer || support::kThreadSanitizer) {
        GTEST_SKIP() << "the sanitizer starts no threads in a child of several threads";
    }
    int status = -1;
    const std::string text = printed_by_child(
        [] {
            ::setenv("ASYNCIO_DUMP_SIGNAL", "USR1", 1);
            run([]() -> Coroutine<> { co_return; }());
            if (const pid_t grandchild = ::fork()) {
                int code = -1;
                ::waitpid(grandchild, &code, 0);
                ::_exit(code == 0 ? 0 : 1);
            }
            ::alarm(20);
            run(signals_itself(SIGUSR1));
        },
        status);
    EXPECT_EQ(status, 0) << text;
    EXPECT_NE(text.find("signals_itself()"), text.npos) << text;
}

TEST(DumpSignal, ThatDoesNotExistIsAWarning) {
    for (const char* const name : {"USR3", "99", "-1", "KILL", "9", "1e1", "10x"}) {
        int status = -1;
        const std::string text = printed_by_child(
            [name] {
                ::setenv("ASYNCIO_DUMP_SIGNAL", name, 1);
                for (int i = 0; i < 3; ++i) run([]() -> Coroutine<> { co_return; }());
            },
            status);
        EXPECT_EQ(status, 0) << name;
        // However many loops there are.
        EXPECT_EQ(text.find("ASYNCIO_DUMP_SIGNAL="), text.rfind("ASYNCIO_DUMP_SIGNAL=")) << text;
        EXPECT_NE(text.find(std::string("ASYNCIO_DUMP_SIGNAL=") + name + ": "), text.npos) << text;
    }
}

TEST(DumpSignal, IsNotTakenFromAProgramThatHandlesIt) {
    int status = -1;
    const std::string text = printed_by_child(
        [] {
            ::setenv("ASYNCIO_DUMP_SIGNAL", "USR1", 1);
            ::signal(SIGUSR1, [](int) { ::_exit(7); });
            run(signals_itself(SIGUSR1));
        },
        status);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status << text;
    EXPECT_NE(text.find("the program handles it itself"), text.npos) << text;
}

TEST(DumpSignal, IsNoneUnlessAskedFor) {
    int status = -1;
    printed_by_child([] { run(signals_itself(SIGUSR1)); }, status);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1) << status;
}

}  // namespace

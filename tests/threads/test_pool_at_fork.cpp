// A pool of threads and fork(2), in a program that uses nothing else which crosses threads: of an
// archive the linker takes only what is asked for, so that what guards the pool must come with it.
// The rest is in tests/os/test_fork.cpp.
#include <asyncio/runners.hpp>
#include <asyncio/threads/to_thread.hpp>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

TEST(PoolAtFork, ItsLocksAreFreeInTheChild) {  // L45.
    if (support::kAddressSanitizer || support::kThreadSanitizer) {
        GTEST_SKIP() << "the sanitizer starts no threads in a child of several threads";
    }
    std::atomic<bool> held{false};
    // As a thread does, for a moment, that joins those of a pool.
    std::thread joins([&] {
        ThreadPoolExecutor::lock_joiners();
        held = true;
        std::this_thread::sleep_for(50ms);
        ThreadPoolExecutor::unlock_joiners();
    });
    while (!held) std::this_thread::yield();
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);  // ends it if it hangs
        std::_Exit(asyncio::run(to_thread([] { return 5; })));
    }
    joins.join();
    int status = -1;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), 5);
}

}  // namespace

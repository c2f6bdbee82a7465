// The main of every test binary: runs the tests, then checks that the process has given back every
// descriptor, thread and child. The check runs at exit, when the main thread's own objects (the
// event loop that get_event_loop() made for it above all) have been destroyed.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "faults/install.hpp"

namespace {

// What a process has of the system.
struct Holdings {
    std::ptrdiff_t descriptors = 0;
    std::ptrdiff_t threads = 0;
    bool children = false;  // one at least, dead (a zombie) or alive
    bool operator==(const Holdings&) const = default;
};

pid_t test_process = 0;
Holdings at_start;

// The thread sanitizer has a thread of its own, which it starts with the first one of the program.
void start_sanitizer_thread() {
#if defined(__SANITIZE_THREAD__)
    std::thread([] {}).join();
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    std::thread([] {}).join();
#endif
#endif
}

std::ptrdiff_t open_descriptors() {
    // The iterator's own descriptor is counted each time, which does not change a comparison.
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return std::distance(begin(descriptors), end(descriptors));
}

// All but those that look names up: nothing can end one that waits for a server's answer.
std::ptrdiff_t running_threads() {
    std::ptrdiff_t count = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string name;
        std::getline(std::ifstream(thread.path() / "comm"), name);
        if (!name.starts_with("asyncio-dns")) ++count;
    }
    return count;
}

bool has_children() {
    siginfo_t info{};
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

Holdings holdings() {
    Holdings now;
    now.descriptors = open_descriptors();
    now.threads = running_threads();
    now.children = has_children();
    return now;
}

void check_holdings() {
    // A child that a death test forked has descriptors of its own.
    if (getpid() != test_process) return;
    Holdings now = holdings();
    // A thread that nobody waits for may be about to end: it gets two seconds.
    for (int i = 0; i < 200 && now != at_start; ++i) {
        usleep(10'000);
        now = holdings();
    }
    if (now == at_start) return;
    std::fprintf(stderr,
                 "leaked: %td descriptors were open at the start, %td are at the end; %td threads "
                 "ran, %td do; children: %s\n",
                 at_start.descriptors, now.descriptors, at_start.threads, now.threads,
                 now.children ? "some" : "none");
    std::_Exit(EXIT_FAILURE);
}

}  // namespace

int main(int argc, char** argv) {
    test_process = getpid();
    faults::install();
    testing::InitGoogleTest(&argc, argv);
    start_sanitizer_thread();
    at_start = holdings();
    if (std::atexit(check_holdings) != 0) return EXIT_FAILURE;
    return RUN_ALL_TESTS();
}

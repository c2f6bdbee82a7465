// The main of every test binary: runs the tests, then checks that the process has given back every
// descriptor. The check runs at exit, when the main thread's own objects (the event loop that
// get_event_loop() made for it above all) have been destroyed.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace {

pid_t test_process = 0;
std::ptrdiff_t descriptors_at_start = 0;

std::ptrdiff_t open_descriptors() {
    // The iterator's own descriptor is counted each time, which does not change a comparison.
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return std::distance(begin(descriptors), end(descriptors));
}

void check_descriptors() {
    // A child that a death test forked has descriptors of its own.
    if (getpid() != test_process) return;
    std::ptrdiff_t now = open_descriptors();
    // A thread that nobody waits for may be about to close one: it gets two seconds.
    for (int i = 0; i < 200 && now != descriptors_at_start; ++i) {
        usleep(10'000);
        now = open_descriptors();
    }
    if (now == descriptors_at_start) return;
    std::fprintf(stderr, "descriptors leaked: %td were open at the start, %td are at the end\n",
                 descriptors_at_start, now);
    std::_Exit(EXIT_FAILURE);
}

}  // namespace

int main(int argc, char** argv) {
    test_process = getpid();
    testing::InitGoogleTest(&argc, argv);
    descriptors_at_start = open_descriptors();
    if (std::atexit(check_descriptors) != 0) return EXIT_FAILURE;
    return RUN_ALL_TESTS();
}

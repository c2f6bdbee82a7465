// Gives a fuzzer random inputs: `PROGRAM [SECONDS [SEED]]`. Prints the seed of an input before it
// is played only if that fails, so that it can be played again.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

volatile std::uint64_t current_seed = 0;

void on_abort(int) {
    std::fprintf(stderr, "the input was that of seed %llu\n",
                 static_cast<unsigned long long>(current_seed));
}

void play(std::uint64_t seed) {
    current_seed = seed;
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> input(random() % 400);
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGABRT, on_abort);
    const double seconds = argc > 1 ? std::atof(argv[1]) : 3.0;
    if (argc > 2) {
        play(std::strtoull(argv[2], nullptr, 10));
        return 0;
    }
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    std::uint64_t seed = 0;
    do {
        for (int i = 0; i < 100; ++i) play(seed++);
    } while (Clock::now() < end);
    std::printf("%llu inputs\n", static_cast<unsigned long long>(seed));
    return seed >= 100 ? 0 : 1;
}

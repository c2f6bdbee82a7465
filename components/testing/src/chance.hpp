// What is random in one run, and what happens only sometimes.
#pragma once

#include <cstdint>
#include <map>
#include <source_location>
#include <string>
#include <string_view>
#include <unordered_map>

namespace asyncio {
inline namespace v1 {
namespace testing {

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same numbers on every machine.
class Numbers {
  public:
    explicit Numbers(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    // Less than `limit`, which is not 0.
    std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }
    // In [0, 1).
    double part() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  private:
    std::uint64_t state_;
};

// Which names sometimes() was told of in all runs of one exploration, and whether they happened.
using Happenings = std::map<std::string, bool, std::less<>>;

// Of the run that this thread is in, while it lives.
class Chance {
  public:
    Chance(std::uint64_t seed, Happenings* happenings) noexcept;
    Chance(const Chance&) = delete;
    Chance& operator=(const Chance&) = delete;
    ~Chance();

    // Null outside of a run.
    static Chance* current() noexcept;
    Numbers& numbers() noexcept { return numbers_; }
    bool buggify(double probability, const std::source_location& where);
    void happened(std::string_view name, bool is);

  private:
    Numbers numbers_;
    Happenings* happenings_;
    Chance* outer_;
    std::unordered_map<std::uint64_t, bool> active_;  // places, by what they are called
};

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

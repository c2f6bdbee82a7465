// What a loop and its tasks did between two looks, while steps are counted.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// Of one look what the next one is compared with.
struct Counted {
    std::optional<LoopCounts> loop;
    // By the task's id; with its name, as another one may get its memory.
    std::unordered_map<Address, std::pair<std::string, Counts>> tasks;
};

Counted counted_of(const Loop& loop);

class Change {
  public:
    // `before`: none, or what is too old, stands for when counting began.
    Change(const Loop& now, const Counted* before);

    double seconds() const { return seconds_; }
    // Of a loop that counts.
    Counts all() const;
    // The part of the time in which it did not sleep. Of a loop that counts.
    double busy() const;
    // None: no step of it was counted.
    std::optional<Counts> of(const Task& task) const;

  private:
    const Loop& now_;
    const Counted* before_;
    double seconds_;
};

// How late the timers came: half of them by at most so much, s. 0: none came.
double median_late(const std::vector<std::uint64_t>& late);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

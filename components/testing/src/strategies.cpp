#include "strategies.hpp"

#include <algorithm>
#include <deque>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "chance.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

// Each order once, those with the fewest delays first: an order is the one before it in which one
// more choice is another, behind the last that was. So none comes twice, and nothing has to be
// remembered of those that have run.
class Bounded final : public Search {
  public:
    Bounded(std::uint64_t most_delays, std::uint64_t most_runs)
        : most_delays_(most_delays), most_runs_(most_runs) {
        waiting_.emplace_back().push_back({});
    }

    Source* next() override {
        while (!waiting_.empty() && waiting_.front().empty()) {
            waiting_.pop_front();
            ++delays_;
        }
        if (waiting_.empty()) return nullptr;
        prefix_ = std::move(waiting_.front().back());
        waiting_.front().pop_back();
        --count_;
        source_.emplace(prefix_);
        return &*source_;
    }

    void ran(std::span<const Choice> choices) override {
        ++runs_;
        for (std::size_t at = prefix_.size(); at < choices.size(); ++at) {
            for (std::uint32_t index = 1; index < choices[at].of; ++index) {
                if (delays_ + index > most_delays_ || !make_room(index)) break;
                std::vector<std::uint32_t> following(at + 1);
                for (std::size_t i = 0; i < at; ++i) following[i] = choices[i].index;
                following[at] = index;
                waiting_[index].push_back(std::move(following));
                ++count_;
            }
        }
    }

  private:
    // For one more with `index` delays more than the present one. What would never have its turn is
    // not kept: those with the most delays go first.
    bool make_room(std::uint32_t index) {
        while (waiting_.size() <= index) waiting_.emplace_back();
        if (runs_ + count_ < most_runs_) return true;
        while (waiting_.size() > index + std::size_t{1} && waiting_.back().empty()) {
            waiting_.pop_back();
        }
        if (waiting_.size() == index + std::size_t{1}) return false;
        waiting_.back().pop_back();
        --count_;
        return true;
    }

    const std::uint64_t most_delays_, most_runs_;
    std::uint64_t runs_ = 0;
    std::uint64_t count_ = 1;                                      // of all that wait
    std::uint64_t delays_ = 0;                                     // of those in front
    std::deque<std::vector<std::vector<std::uint32_t>>> waiting_;  // by how many delays more
    std::vector<std::uint32_t> prefix_;
    std::optional<Fixed> source_;
};

class RandomSource final : public Source {
  public:
    explicit RandomSource(Numbers& numbers) : numbers_(numbers) {}
    std::uint32_t choose(std::span<component::Node* const> entries, std::size_t) override {
        return static_cast<std::uint32_t>(numbers_.below(entries.size()));
    }

  private:
    Numbers& numbers_;
};

class Randomly final : public Search {
  public:
    explicit Randomly(std::uint64_t seed) : numbers_(seed), source_(numbers_) {}
    Source* next() override { return &source_; }
    void ran(std::span<const Choice>) override {}

  private:
    Numbers numbers_;
    RandomSource source_;
};

// Highest priority first. At each of the places where that changes, who has just been chosen gets
// a lower one than all others.
class Priorities final : public Source {
  public:
    Priorities(Numbers& numbers, std::vector<std::size_t> changes)
        : numbers_(numbers), changes_(std::move(changes)) {}

    std::uint32_t choose(std::span<component::Node* const> entries, std::size_t choice) override {
        std::uint32_t best = 0;
        for (std::uint32_t i = 1; i < entries.size(); ++i) {
            if (priority(*entries[i]) > priority(*entries[best])) best = i;
        }
        const std::uint64_t chosen = identity(*entries[best]);
        repeats_ = chosen == last_ ? repeats_ + 1 : 0;
        last_ = chosen;
        // One that goes on and on waits for the others, which it does not let run.
        const bool circles = repeats_ >= kMostRepeats;
        if (circles || std::find(changes_.begin(), changes_.end(), choice) != changes_.end()) {
            priorities_[chosen] = --lowest_;
            repeats_ = 0;
        }
        return best;
    }

  private:
    static constexpr int kMostRepeats = 64;

    static std::uint64_t identity(component::Node& entry) {
        const std::uint64_t task = component::task_of_entry(entry);
        // Safe because it is only a number.
        return task ? task : reinterpret_cast<std::uintptr_t>(&entry);
    }
    std::int64_t priority(component::Node& entry) {
        const auto [place, is_new] = priorities_.try_emplace(identity(entry), 0);
        if (is_new) place->second = static_cast<std::int64_t>(numbers_.next() >> 1);
        return place->second;
    }

    Numbers& numbers_;
    std::vector<std::size_t> changes_;
    std::unordered_map<std::uint64_t, std::int64_t> priorities_;
    std::int64_t lowest_ = 0;
    std::uint64_t last_ = 0;
    int repeats_ = 0;
};

class ByPriority final : public Search {
  public:
    ByPriority(std::uint32_t depth, std::uint64_t seed) : depth_(depth), numbers_(seed) {}
    Source* next() override {
        std::vector<std::size_t> changes;
        for (std::uint32_t i = 1; i < depth_; ++i) {
            changes.push_back(numbers_.below(std::max<std::size_t>(longest_, 1)));
        }
        source_.emplace(numbers_, std::move(changes));
        return &*source_;
    }
    void ran(std::span<const Choice> choices) override {
        longest_ = std::max(longest_, choices.size());
    }

  private:
    std::uint32_t depth_;
    Numbers numbers_;
    std::size_t longest_ = 0;
    std::optional<Priorities> source_;
};

}  // namespace

std::unique_ptr<Search> make_search(const Strategy& strategy, std::uint64_t seed,
                                    std::uint64_t most) {
    if (const auto* delays = std::get_if<Delays>(&strategy)) {
        return std::make_unique<Bounded>(delays->most, most);
    }
    if (const auto* pct = std::get_if<Pct>(&strategy)) {
        return std::make_unique<ByPriority>(pct->depth, seed);
    }
    if (std::holds_alternative<Random>(strategy)) return std::make_unique<Randomly>(seed);
    return std::make_unique<Bounded>(std::numeric_limits<std::uint64_t>::max(), most);
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

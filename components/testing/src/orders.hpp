// An order in which a test ran, and as a text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/component/scheduling.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// Where more than one entry was ready: which of them ran, and of how many. 0 is the oldest.
struct Choice {
    std::uint32_t index = 0;
    std::uint32_t of = 0;
};

// "1:s=7;4a2bc/8f01c3a2": the format, the seed if it is not 0, the choices, and a sum of how many
// there were to choose from, by which a test is known that goes another way than it did. A number
// stands for as many of the oldest entry, a letter for one of the others, (N) for one beyond z.
// What follows the last letter is the oldest each time.
struct Order {
    std::uint64_t seed = 0;
    std::vector<std::uint32_t> choices;
    std::uint32_t sum = 0;
};
std::string to_text(const Order& order);
// Raises: ValueError.
Order order_of(std::string_view text);

// FNV-1a of the numbers of entries.
std::uint32_t sum_of(std::span<const Choice> choices) noexcept;

// Says which entry is next.
class Source {
  public:
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;

    // More than one entry is ready; `choice` is how often that was so before.
    virtual std::uint32_t choose(std::span<component::Node* const> entries, std::size_t choice) = 0;
};

// First these choices, then always the oldest.
class Fixed final : public Source {
  public:
    explicit Fixed(std::vector<std::uint32_t> choices) : choices_(std::move(choices)) {}
    std::uint32_t choose(std::span<component::Node* const> entries, std::size_t choice) override;
    // There were not as many entries as a choice needs: at that choice, from 1 on. 0: there were.
    std::size_t departed() const { return departed_; }

  private:
    std::vector<std::uint32_t> choices_;
    std::size_t departed_ = 0;
};

// Runs what a source chooses, and notes it.
class Recorder final : public component::Chooser {
  public:
    // `tells`: it notes what was chosen in words, too, where that is not the oldest.
    Recorder(Source& source, std::uint64_t most_steps, bool tells = false)
        : source_(source), most_steps_(most_steps), tells_(tells) {}

    std::size_t choose(std::span<component::Node* const> entries) override;
    const std::vector<Choice>& choices() const { return choices_; }
    const std::string& told() const { return told_; }

  private:
    void tell(std::span<component::Node* const> entries, std::uint32_t index);

    Source& source_;
    std::uint64_t most_steps_;
    std::uint64_t steps_ = 0;
    bool tells_;
    std::vector<Choice> choices_;
    std::string told_;
};

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

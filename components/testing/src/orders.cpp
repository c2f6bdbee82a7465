#include "orders.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

constexpr std::uint32_t kLetters = 26;
constexpr std::uint64_t kMostChoices = 10'000'000;

[[noreturn]] void no_order(std::string_view text) {
    throw ValueError("this is no order of a test: " + std::string(text));
}

// Takes a number from the front of `text`.
template <class N>
N take_number(std::string_view& text, std::string_view whole, int base = 10) {
    N number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
    if (error != std::errc()) no_order(whole);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

bool take(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

}  // namespace

std::string to_text(const Order& order) {
    std::string text = "1:";
    if (order.seed != 0) text += "s=" + std::to_string(order.seed) + ';';
    std::uint64_t oldest = 0;
    for (const std::uint32_t index : order.choices) {
        if (index == 0) {
            ++oldest;
            continue;
        }
        if (oldest != 0) text += std::to_string(std::exchange(oldest, 0));
        if (index <= kLetters) {
            text += static_cast<char>('a' + index - 1);
        } else {
            text += '(' + std::to_string(index) + ')';
        }
    }
    char sum[16];
    std::snprintf(sum, sizeof sum, "/%08x", order.sum);
    return text + sum;
}

Order order_of(std::string_view whole) {
    std::string_view text = whole;
    Order order;
    if (!take(text, "1:")) no_order(whole);
    if (take(text, "s=")) {
        order.seed = take_number<std::uint64_t>(text, whole);
        if (!take(text, ";")) no_order(whole);
    }
    while (!take(text, "/")) {
        if (text.empty()) no_order(whole);
        const char c = text.front();
        if (c >= 'a' && c <= 'z') {
            text.remove_prefix(1);
            order.choices.push_back(static_cast<std::uint32_t>(c - 'a' + 1));
        } else if (take(text, "(")) {
            order.choices.push_back(take_number<std::uint32_t>(text, whole));
            if (!take(text, ")")) no_order(whole);
        } else {
            const auto oldest = take_number<std::uint64_t>(text, whole);
            if (oldest > kMostChoices - order.choices.size()) no_order(whole);
            order.choices.resize(order.choices.size() + oldest);
        }
    }
    order.sum = take_number<std::uint32_t>(text, whole, 16);
    if (!text.empty()) no_order(whole);
    return order;
}

std::uint32_t sum_of(std::span<const Choice> choices) noexcept {
    std::uint32_t sum = 0x811c9dc5;
    for (const Choice& choice : choices) sum = (sum ^ choice.of) * 0x01000193;
    return sum;
}

std::uint32_t Fixed::choose(std::span<component::Node* const> entries, std::size_t choice) {
    if (choice >= choices_.size()) return 0;
    const std::uint32_t index = choices_[choice];
    if (index < entries.size()) return index;
    if (departed_ == 0) departed_ = choice + 1;
    return 0;
}

std::size_t Recorder::choose(std::span<component::Node* const> entries) {
    if (++steps_ > most_steps_) {
        throw RuntimeError("it ran " + std::to_string(most_steps_) + " steps and has no end");
    }
    if (entries.size() == 1) return 0;
    const std::uint32_t index = source_.choose(entries, choices_.size());
    if (tells_ && index != 0) tell(entries, index);
    choices_.push_back({index, static_cast<std::uint32_t>(entries.size())});
    return index;
}

void Recorder::tell(std::span<component::Node* const> entries, std::uint32_t index) {
    const auto named = [](component::Node& entry) {
        const component::EntryInfo info = component::entry_info(entry);
        return info.place.empty() ? info.name : info.name + " at " + info.place;
    };
    told_ += "\n  choice " + std::to_string(choices_.size() + 1) + ": " + named(*entries[index]) +
             " runs before " + named(*entries[0]);
    if (index > 1) told_ += " and " + std::to_string(index - 1) + " more";
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

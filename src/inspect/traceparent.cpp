// W3C Trace Context: the header traceparent.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "asyncio/inspect.hpp"

namespace asyncio {
inline namespace v1 {
namespace inspect {

namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

template <std::size_t kSize>
bool is_zero(const std::array<std::uint8_t, kSize>& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

template <std::size_t kSize>
void put(std::string& text, const std::array<std::uint8_t, kSize>& bytes) {
    for (const std::uint8_t b : bytes) {
        text += kDigits[b >> 4];
        text += kDigits[b & 15];
    }
}

// The hexadecimal digits, in lower case as the standard has them, that `text` begins with.
template <std::size_t kSize>
bool take(std::string_view text, std::array<std::uint8_t, kSize>& bytes) {
    for (std::size_t i = 0; i < kSize; ++i) {
        const std::size_t high = kDigits.find(text[2 * i]);
        const std::size_t low = kDigits.find(text[2 * i + 1]);
        if (high == kDigits.npos || low == kDigits.npos) return false;
        bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return true;
}

// Not all zero, which means that there is none.
template <std::size_t kSize>
void make_up(std::array<std::uint8_t, kSize>& bytes) {
    std::random_device random;
    do {
        for (std::uint8_t& b : bytes) b = static_cast<std::uint8_t>(random());
    } while (is_zero(bytes));
}

}  // namespace

TraceParent TraceParent::make(bool sampled) {
    TraceParent made;
    make_up(made.trace_id);
    make_up(made.span_id);
    made.flags = sampled ? 1 : 0;
    return made;
}

TraceParent TraceParent::child() const {
    TraceParent made = *this;
    make_up(made.span_id);
    return made;
}

std::string TraceParent::to_string() const {
    std::string text = "00-";
    put(text, trace_id);
    text += '-';
    put(text, span_id);
    text += '-';
    put(text, std::array{flags});
    return text;
}

std::optional<TraceParent> TraceParent::parse(std::string_view text) noexcept {
    constexpr std::size_t kSize = 55;
    if (text.size() < kSize) return std::nullopt;
    if (text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
    std::array<std::uint8_t, 1> version{};
    std::array<std::uint8_t, 1> flags{};
    TraceParent parsed;
    const bool right = take(text, version) && take(text.substr(3), parsed.trace_id) &&
                       take(text.substr(36), parsed.span_id) && take(text.substr(53), flags);
    if (!right || version[0] == 0xff) return std::nullopt;
    // A later version may have more, after another dash.
    if (text.size() > kSize && (version[0] == 0 || text[kSize] != '-')) return std::nullopt;
    if (is_zero(parsed.trace_id) || is_zero(parsed.span_id)) return std::nullopt;
    parsed.flags = flags[0];
    return parsed;
}

ContextVar<TraceParent>& traceparent() {
    static ContextVar<TraceParent> variable("traceparent");
    return variable;
}

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio

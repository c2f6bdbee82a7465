#include "text.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

}  // namespace

bool is_token(std::string_view text) noexcept {
    constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               kOthers.find(c) != std::string_view::npos;
    });
}

bool same_name(std::string_view a, std::string_view b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) noexcept {
    constexpr std::string_view kBlank = " \t";
    const std::size_t first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::vector<std::string_view> split_list(std::string_view text) {
    std::vector<std::string_view> members;
    for (;;) {
        const std::size_t comma = text.find(',');
        members.push_back(trimmed(text.substr(0, comma)));
        if (comma == std::string_view::npos) return members;
        text.remove_prefix(comma + 1);
    }
}

std::string shown(std::string_view text) {
    constexpr std::size_t kMost = 100;
    if (text.size() <= kMost) return asyncio::detail::quoted(text);
    return asyncio::detail::quoted(std::string(text.substr(0, kMost)) + "...");
}

std::string seconds_text(Delay delay) {
    char text[32];
    const double seconds = static_cast<double>(delay.count()) / 1e9;
    const auto end = std::to_chars(text, text + sizeof text, seconds).ptr;
    return std::string(text, end) + " s";
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

// Text that is safe to show.
#include <cstdint>
#include <cstdio>

#include "inspect/output.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// The number of bytes of the character that `text` begins with, and that character; 0 if it is no
// UTF-8 (RFC 3629).
std::size_t decode(std::string_view text, std::uint32_t& character) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t size = first < 0x80   ? 1
                             : first < 0xc2 ? 0
                             : first < 0xe0 ? 2
                             : first < 0xf0 ? 3
                             : first < 0xf5 ? 4
                                            : 0;
    if (size == 0 || text.size() < size) return 0;
    static constexpr unsigned char kMask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    character = first & kMask[size];
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
        character = character << 6 | (byte(i) & 0x3fu);
    }
    static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = character >= 0xd800 && character < 0xe000;
    return character < kLeast[size] || character > 0x10ffff || surrogate ? 0 : size;
}

// It would move the cursor, or reorder the line (bidirectional controls).
bool is_control(std::uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string shown;
    while (!text.empty()) {
        std::uint32_t character = 0;
        const std::size_t size = decode(text, character);
        if (size != 0 && !is_control(character)) {
            shown += text.substr(0, size);
        } else {
            for (std::size_t i = 0; i < (size ? size : 1); ++i) {
                char escaped[8];
                std::snprintf(escaped, sizeof escaped, "\\x%02x",
                              static_cast<unsigned>(static_cast<unsigned char>(text[i])));
                shown += escaped;
            }
        }
        text.remove_prefix(size ? size : 1);
    }
    return shown;
}

std::string json_string(std::string_view text) {
    std::string json = "\"";
    while (!text.empty()) {
        std::uint32_t c = 0;
        const std::size_t size = decode(text, c);
        if (size == 0) {
            json += "\\ufffd";
        } else if (c == '"' || c == '\\') {
            json += {'\\', static_cast<char>(c)};
        } else if (is_control(c) || c == '<' || c == '>' || c == '&') {
            // Also what ends a script element, where the JSON stands in a page.
            char escaped[8];
            std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
            json += escaped;
        } else {
            json += text.substr(0, size);
        }
        text.remove_prefix(size ? size : 1);
    }
    return json + '"';
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

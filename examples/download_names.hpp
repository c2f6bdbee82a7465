// File names from URLs. A server, or whoever wrote the list, chooses a URL freely; what comes out
// here is always one plain name, so that a file can never leave its folder, hide itself, or play
// tricks with the terminal it is printed on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>

namespace download {

// File systems allow 255 bytes; the rest is room for a number and the name of the unfinished file.
inline constexpr std::size_t kLongestName = 120;

inline int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// "%41" becomes "A", once: what that may give again ("%252e") stays as it is.
inline std::string percent_decoded(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool room = text[i] == '%' && i + 2 < text.size();
        const int high = room ? hex_digit(text[i + 1]) : -1;
        const int low = room ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0) {
            plain += text[i];
            continue;
        }
        plain += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return plain;
}

// The part of the path after its last slash, still encoded.
inline std::string_view last_segment(std::string_view url) {
    url = url.substr(0, url.find_first_of("?#"));
    const std::size_t scheme = url.find("://");
    if (scheme != std::string_view::npos) {
        const std::size_t path = url.find('/', scheme + 3);
        url = path == std::string_view::npos ? std::string_view() : url.substr(path);
    }
    return url.substr(url.rfind('/') + 1);
}

// Slashes that were encoded, what shells and other systems take for something else, and control
// characters, of which some have two bytes in UTF-8 (C2 80 to C2 9F).
inline std::string harmless(std::string name) {
    constexpr std::string_view kSpecial = "/\\<>:\"|?*";
    for (std::size_t i = 0; i < name.size(); ++i) {
        const auto byte = static_cast<unsigned char>(name[i]);
        const bool second = i > 0 && static_cast<unsigned char>(name[i - 1]) == 0xC2;
        if (byte < 0x20 || byte == 0x7F || kSpecial.find(name[i]) != std::string_view::npos) {
            name[i] = '_';
        } else if (second && byte >= 0x80 && byte < 0xA0) {
            name[i - 1] = name[i] = '_';
        }
    }
    return name;
}

// At most `most` bytes, the extension kept, no UTF-8 character cut in two.
inline std::string shortened(const std::string& name, std::size_t most) {
    if (name.size() <= most) return name;
    const std::size_t dot = name.rfind('.');
    const bool has_extension = dot != std::string::npos && name.size() - dot <= 10;
    const std::string extension = has_extension ? name.substr(dot) : "";
    std::size_t end = most - extension.size();
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;
    return name.substr(0, end) + extension;
}

// Never empty, never "." or "..", without a slash, not longer than kLongestName.
inline std::string file_name_of(std::string_view url) {
    std::string name = harmless(percent_decoded(last_segment(url)));
    while (!name.empty() && (name.back() == '.' || name.back() == ' ')) name.pop_back();
    if (name.empty()) return "picture";
    // No hidden file, and nothing that a command would take for an option.
    if (name.front() == '.' || name.front() == '-' || name.front() == ' ') name.front() = '_';
    return shortened(name, kLongestName);
}

// Hands out each name once; on some file systems "A" and "a" are one.
class Names {
  public:
    std::string unique_name_of(std::string_view url) {
        const std::string name = file_name_of(url);
        const std::size_t dot = std::min(name.rfind('.'), name.size());
        std::string unique = name;
        for (int n = 2; !taken_.insert(folded(unique)).second; ++n) {
            unique = name.substr(0, dot) + '-' + std::to_string(n) + name.substr(dot);
        }
        return unique;
    }

  private:
    static std::string folded(std::string name) {
        for (char& c : name) {
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        }
        return name;
    }
    std::set<std::string> taken_;
};

}  // namespace download

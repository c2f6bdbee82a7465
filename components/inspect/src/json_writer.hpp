// JSON, member by member, with the commas where they belong.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

#include "inspect/output.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

class JsonWriter {
  public:
    JsonWriter& begin(char bracket) {
        separate();
        text_ += bracket;
        first_ = true;
        return *this;
    }
    JsonWriter& end(char bracket) {
        text_ += bracket;
        first_ = false;
        return *this;
    }
    JsonWriter& key(const char* name) {
        separate();
        (text_ += '"') += name;
        text_ += "\":";
        first_ = true;
        return *this;
    }
    JsonWriter& value(std::string_view text) { return raw(reading::json_string(text)); }
    JsonWriter& value(const char* text) { return value(std::string_view(text)); }
    JsonWriter& value(bool yes) { return raw(yes ? "true" : "false"); }
    JsonWriter& value(std::integral auto n) { return raw(std::to_string(n)); }
    JsonWriter& value(double n) {
        if (!std::isfinite(n)) return null();
        char digits[64];
        // Microseconds are as much as anybody wants to know.
        std::snprintf(digits, sizeof digits, "%.6f", n);
        return raw(digits);
    }
    JsonWriter& null() { return raw("null"); }
    template <class T>
    JsonWriter& member(const char* name, const T& is) {
        return key(name).value(is);
    }
    // An address is too large for a number of JavaScript.
    JsonWriter& address(const char* name, reading::Address is) {
        char digits[24];
        std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(is));
        return key(name).value(std::string_view(digits));
    }

    std::size_t size() const { return text_.size(); }
    std::string take() { return std::move(text_); }

  private:
    JsonWriter& raw(std::string_view text) {
        separate();
        text_ += text;
        return *this;
    }
    void separate() {
        if (!first_) text_ += ',';
        first_ = false;
    }

    std::string text_;
    bool first_ = true;
};

// At most about `most` bytes of it, in whole characters.
inline std::string shortened(std::string_view text, std::size_t most) {
    if (text.size() <= most) return std::string(text);
    std::size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    return std::string(text.substr(0, end)) + "...";
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

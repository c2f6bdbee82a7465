// Small pieces of the grammar of HTTP, and of messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

// The name of a header, or the like (RFC 9110, 5.6.2).
bool is_token(std::string_view text) noexcept;
// In whatever case.
bool same_name(std::string_view a, std::string_view b) noexcept;
// Without the blanks at its ends, which are spaces and tabs, nothing else.
std::string_view trimmed(std::string_view text) noexcept;
// The members of a list with commas, trimmed, empty ones too.
std::vector<std::string_view> split_list(std::string_view text);
// Quoted for a message, its beginning if it is long.
std::string shown(std::string_view text);
// "2.5 s".
std::string seconds_text(Delay delay);

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

// Names of functions as people write them, from what the compilers put into a source_location.
#pragma once

#include <string>
#include <string_view>

namespace asyncio::inline v1::detail {

// `asyncio::Coroutine<int> app::C::f(int) [with T = int]` -> `C::f`; a lambda -> `<lambda>`.
std::string function_name(std::string_view pretty);

}  // namespace asyncio::inline v1::detail

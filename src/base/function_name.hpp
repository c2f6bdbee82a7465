// Names of functions as people write them, from what the compilers put into a source_location.
#pragma once

#include <string>
#include <string_view>

namespace asyncio {
inline namespace v1 {
namespace detail {

// `asyncio::Coroutine<int> app::C::f(int) [with T = int]` -> `C::f`; a lambda -> `<lambda>`.
std::string function_name(std::string_view pretty);
// Whether the function is the library's, or of a component.
bool is_of_library(std::string_view pretty) noexcept;

// A frame of the library's around what a user gave it: a callable, or an awaitable that is no
// coroutine. People are not to see it.
bool is_helper(std::string_view pretty) noexcept;
// What the helper `pretty` was given: `<lambda>`, the name of a class. `place` is where a lambda
// stands, as FILE:LINE, if the compiler says so.
struct Given {
    std::string name;
    std::string place;
};
Given given_to_helper(std::string_view pretty);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

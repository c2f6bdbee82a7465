// Parameters that may be written in braces inside a co_await expression: `put({id, now})`.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The compiler copies a T that is made by braces inside a co_await expression bit by bit, and then
// destroys it twice.
template <class T>
inline constexpr bool kMadeWrong =
    ASYNCIO_COPIES_CLOSURES_BITWISE && std::is_aggregate_v<T> && !std::is_trivially_copyable_v<T>;

// Takes the braces for such a T: a class with a constructor is made right, and its constructor is
// outside of that expression. What is no constructor's call (`.name = ...`, nested braces) it
// cannot take. A function that awaits has three forms for a T that is made wrong: one for
// Braced<T>, one for all that is not in braces, and one that refuses the rest.
template <class T>
class Braced {
  public:
    template <class... Args>
        requires(std::is_constructible_v<T, Args...>)
    Braced(Args&&... args) : value(std::forward<Args>(args)...) {}

    T value;
};

// What the third one says: `static_assert(kBracesAreSafe<Refused>, ...)`.
template <class Refused>
inline constexpr bool kBracesAreSafe = !std::is_void_v<Refused>;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#define ASYNCIO_BRACES_ARE_REFUSED                                                           \
    "this compiler makes an aggregate wrong beside co_await and co_yield: name it first (T " \
    "item{...}),"                                                                            \
    " then move it, or use asyncio::make<T>(...) (docs/traps.md)"

// What is compiled for a call that cannot be right: one sentence that says what to write.
//
// A function that people get wrong has a last overload, for all arguments that the others do not
// take. Its body has a static_assert, which fails only where it is called, and is the only error:
// what the overload returns fits everywhere.
#pragma once

#include <cstddef>
#include <exception>
#include <type_traits>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// False, for such a static_assert.
template <class... T>
inline constexpr bool kRight = false;

// May be awaited, and is whatever is asked for.
class Refused {
  public:
    using asyncio_native = void;
    ~Refused();  // so that no compiler warns of an unused variable
    bool await_ready() const noexcept;
    template <class H>
    void await_suspend(H) const noexcept;
    Refused await_resume() const noexcept;
    Refused& aenter() noexcept;
    bool aexit(const std::exception_ptr& error) noexcept;
    template <class T>
    ASYNCIO_CORO_WRAPPER operator T() const noexcept;
};

// A braced list, where none is taken: an overload for all other arguments cannot see it.
class Braces {
  public:
    template <class... T>
    Braces(T&&...) noexcept;
};

// Whether a T cannot be made of what is given, for an overload of a function that takes one. (0
// makes a pointer, which nobody can ask for.)
template <class U, class T>
inline constexpr bool kNoItem =
    !std::is_convertible_v<U, T> &&
    !(std::is_integral_v<U> && std::is_convertible_v<std::nullptr_t, T>);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

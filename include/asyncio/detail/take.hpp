// take and trade: std::exchange(p, nullptr) and std::swap for plain pointers. They compile in a
// fraction of the time, which counts in headers that every file includes.
#pragma once

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Returns what `p` held, which is null from then on.
template <class T>
constexpr T* take(T*& p) noexcept {
    T* const held = p;
    p = nullptr;
    return held;
}

template <class T>
constexpr void trade(T*& a, T*& b) noexcept {
    T* const held = a;
    a = b;
    b = held;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// An error that is made where nothing may be raised.
#pragma once

#include <exception>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {

// The exception that `make` gives, or that there is no memory for it.
template <class F>
std::exception_ptr error_from(F&& make) noexcept {
    try {
        return std::make_exception_ptr(std::forward<F>(make)());
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Errors: one that is made where nothing may be raised, and texts within their messages.
#pragma once

#include <exception>
#include <utility>

#include "asyncio/detail/exception_ptr.hpp"

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

namespace component {

using asyncio::detail::error_from;
using asyncio::detail::quoted;

}  // namespace component
}  // namespace v1
}  // namespace asyncio

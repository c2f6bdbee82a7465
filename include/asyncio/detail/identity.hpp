// std::hash for handles, by what they refer to.
#pragma once

#include <cstddef>
#include <memory>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A handle that says so; it has id() and ==, and hashes by identity.
template <class H>
concept Identified = requires { typename H::asyncio_identified; };

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

template <asyncio::detail::Identified H>
struct std::hash<H> {
    std::size_t operator()(const H& handle) const noexcept {
        return std::hash<const void*>()(handle.id());
    }
};

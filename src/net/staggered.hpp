// Several attempts at one thing, each begun when the one before it fails or takes too long: RFC
// 8305, "Happy Eyeballs".
#pragma once

#include <cstddef>
#include <optional>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Runs `attempt(0)`, `attempt(1)`, ... as tasks: the next one begins when the last one gave false
// or has taken `delay` (nullopt: only then). The first that gives true wins; the others are
// cancelled and waited for. Returns the winner's number, nothing if none won.
// Raises: what an attempt raises.
// If cancelled: all attempts are cancelled.
Coroutine<std::optional<std::size_t>> staggered_race(std::size_t count,
                                                     Function<Coroutine<bool>(std::size_t)> attempt,
                                                     Delay delay);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "asyncio/time.hpp"

#include <cmath>

#include "asyncio/exceptions.hpp"

namespace asyncio::inline v1::detail {

void throw_nan_delay() { throw ValueError("Invalid delay: NaN (not a number)"); }

std::int64_t nanoseconds_from(long double value, long double unit_in_ns) {
    if (std::isnan(value)) throw_nan_delay();
    const long double ns = std::ceil(value * unit_in_ns);
    // Compared as long double, which holds every 64-bit integer: no overflow in the cast below.
    if (ns >= static_cast<long double>(kNever)) return kNever;
    if (ns <= -static_cast<long double>(kNever)) return -kNever;
    return static_cast<std::int64_t>(ns);
}

}  // namespace asyncio::inline v1::detail

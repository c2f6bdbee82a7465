#include "asyncio/time.hpp"

#include <cmath>
#include <ostream>

#include "asyncio/exceptions.hpp"
#include "asyncio/repr.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void throw_nan_delay() { throw ValueError("Invalid delay: NaN (not a number)"); }

std::int64_t nanoseconds_from(long double value, std::intmax_t numerator, std::intmax_t denominator,
                              long double epsilon) {
    if (std::isnan(value)) throw_nan_delay();
    const long double exact =
        value * static_cast<long double>(numerator) / static_cast<long double>(denominator);
    const long double nearest = std::round(exact);
    const bool whole = std::fabs(exact - nearest) <= std::fabs(exact) * epsilon;
    const long double ns = whole ? nearest : std::ceil(exact);
    // Compared as long double, which holds every 64-bit integer: no overflow in the cast below.
    if (ns >= static_cast<long double>(kNever)) return kNever;
    if (ns <= -static_cast<long double>(kNever)) return -kNever;
    return static_cast<std::int64_t>(ns);
}

}  // namespace detail

std::string Delay::repr() const {
    return none_ ? "None" : detail::repr_double(static_cast<double>(ns_) / 1e9);
}

std::ostream& Delay::print(std::ostream& out) const { return out << repr(); }

}  // namespace v1
}  // namespace asyncio

// Durations, points in time, and the two argument types that every timed call takes.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <iosfwd>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/refused.hpp"

namespace asyncio {
inline namespace v1 {

// What the loop's clock counts in.
using Duration = std::chrono::nanoseconds;

// A point of the loop's clock: steady on a real loop, virtual (from 0) on `VirtualTimeEventLoop`.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

namespace detail {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// Raises: ValueError "Invalid delay: NaN (not a number)" (T-14).
[[noreturn]] ASYNCIO_API void throw_nan_delay();

// `value` times `numerator / denominator` ns, rounded up (a timer is never early) and clamped to
// what 64 bits hold; infinity is never. What is a whole number but for the error of `epsilon` that
// the type of `value` makes is that number: 0.1s is 100 ms, though no floating 0.1 is exact.
ASYNCIO_API std::int64_t nanoseconds_from(long double value, std::intmax_t numerator,
                                          std::intmax_t denominator, long double epsilon);

template <class Rep, class Period>
constexpr std::int64_t to_nanoseconds(std::chrono::duration<Rep, Period> d) {
    using Unit = std::ratio_divide<Period, std::nano>;
    if constexpr (std::is_integral_v<Rep> && sizeof(Rep) <= sizeof(std::int64_t) &&
                  Unit::den == 1) {
        constexpr std::int64_t most = kNever / Unit::num;
        if constexpr (std::is_signed_v<Rep>) {
            if (d.count() < -most) return -kNever;
            if (d.count() > most) return kNever;
        } else {
            if (d.count() > static_cast<std::uint64_t>(most)) return kNever;
        }
        return static_cast<std::int64_t>(d.count()) * Unit::num;
    } else {
        constexpr long double epsilon =
            std::is_integral_v<Rep> ? 0
                                    : static_cast<long double>(std::numeric_limits<Rep>::epsilon());
        return nanoseconds_from(static_cast<long double>(d.count()), Unit::num, Unit::den, epsilon);
    }
}

// The sum of a point in time and a delay, clamped: a huge delay is never, not the past.
constexpr std::int64_t saturating_add(std::int64_t a, std::int64_t b) {
    if (b > 0 && a > kNever - b) return kNever;
    if (b < 0 && a < -kNever - b) return -kNever;
    return a + b;
}

}  // namespace detail

// How long to wait: any `std::chrono::duration`, floating ones included, or `std::nullopt`
// (Python's None: no limit). Trivially copyable, so it is safe in option structs inside `co_await`.
// A negative one is over at once, and counts from then: `call_later(-1s)` is due a second ago,
// before what is due now (S-06, SC-03). Raises: ValueError for NaN.
class Delay {
  public:
    // Made implicitly from what is given for it.
    constexpr Delay(std::nullopt_t) noexcept : ns_(detail::kNever), none_(true) {}
    template <class Rep, class Period>
    constexpr Delay(std::chrono::duration<Rep, Period> d)
        : ns_(detail::to_nanoseconds(d)), none_(false) {}
    // Whatever else is given is refused by a sentence.
    template <class T>
    constexpr Delay(const T&) : Delay(std::nullopt) {
        static_assert(detail::kRight<T>, "write the unit: 1s, 500ms or std::chrono::seconds(n)");
    }
    template <class C, class D>
    constexpr Delay(std::chrono::time_point<C, D>) : Delay(std::nullopt) {
        static_assert(detail::kRight<D>,
                      "this is a point in time, and a delay is needed: give the difference, or use "
                      "timeout_at() or call_at()");
    }

    // True if made from `std::nullopt`.
    constexpr bool is_none() const noexcept { return none_; }
    // Nanoseconds, negative ones included; the largest number for "never".
    constexpr std::int64_t count() const noexcept { return ns_; }
    // The same as a duration.
    constexpr Duration duration() const noexcept { return Duration(ns_); }

    friend constexpr bool operator==(const Delay& a, const Delay& b) noexcept {
        return a.ns_ == b.ns_ && a.none_ == b.none_;
    }
    // Seconds as Python prints them, `0.25`, and `None`.
    ASYNCIO_API std::string repr() const;
    friend std::ostream& operator<<(std::ostream& out, const Delay& delay) {
        return delay.print(out);
    }

  private:
    ASYNCIO_API std::ostream& print(std::ostream& out) const;

    std::int64_t ns_;
    bool none_;
};

// When: any time point of the loop's clock, floating ones included (`loop.time() + 0.5s`), or
// `std::nullopt` for no deadline. Trivially copyable.
class Deadline {
  public:
    // Made implicitly from what is given for it.
    constexpr Deadline(std::nullopt_t) noexcept : ns_(detail::kNever), none_(true) {}
    template <class D>
    constexpr Deadline(std::chrono::time_point<std::chrono::steady_clock, D> t)
        : ns_(detail::to_nanoseconds(t.time_since_epoch())), none_(false) {}
    // A std::optional<TimePoint>, as a template: nothing of it is compiled where nobody has one.
    template <std::same_as<std::optional<TimePoint>> O>
    constexpr Deadline(const O& t)
        : ns_(t ? t->time_since_epoch().count() : detail::kNever), none_(!t) {}
    // Whatever else is given is refused by a sentence.
    template <class T>
        requires(!std::same_as<T, std::optional<TimePoint>>)
    constexpr Deadline(const T&) : Deadline(std::nullopt) {
        static_assert(detail::kRight<T>,
                      "a point in time is needed, of the loop's clock: loop.time() + 5s");
    }

    // True if made from `std::nullopt`.
    constexpr bool is_none() const noexcept { return none_; }
    // Nanoseconds of the loop's clock; the largest number for "never".
    constexpr std::int64_t count() const noexcept { return ns_; }
    // The same as a point in time.
    constexpr TimePoint time_point() const noexcept { return TimePoint(Duration(ns_)); }

  private:
    std::int64_t ns_;
    bool none_;
};

}  // namespace v1
}  // namespace asyncio

// A test that is run again and again, with something else going wrong in each run.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>

#include "asyncio/testing.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// A run in which something was to go wrong at one point.
struct Tried {
    std::string failed;        // empty: it is fine
    std::uint64_t points = 0;  // that it has come to
    std::string what;          // what went wrong there, "the call of fsync failed"
};

// Whether `fine(error)`, or of a group so for each error in it.
bool each_error(const std::exception_ptr& error,
                const std::function<bool(const std::exception_ptr&)>& fine);

// How often, and how its results are told.
struct EachPoint {
    std::uint64_t most = 0;      // points that are tried
    bool leaves_nothing = true;  // of all runs together
    const char* none = "";       // what the run without a fault is called, "with all its memory"
};

// `run(k)` lets something go wrong at the point k; at none if that is 0, as in the first run. Until
// a run does not come so far. Raises: ScenarioFailed.
Report at_each_point(const EachPoint& each, const std::function<Tried(std::uint64_t)>& run);

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// Holding this process's own loops, as no process can stop its threads by ptrace(2).
#pragma once

#include <memory>

#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// Between two steps, so that it holds no lock: for at most 90 ms, which a loop in debug mode does
// not call slow. Null: it did not come to an end of its step in 100 ms. Raises: std::bad_alloc.
std::unique_ptr<Hold> hold_own(const Loop& loop);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

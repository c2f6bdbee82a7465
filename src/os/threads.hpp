// What the standard library does not say of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// As debuggers and ps(1) show it: pthread_setname_np(3). A name of more than kLongestThreadName
// bytes is not set.
ASYNCIO_API void name_this_thread(const char* name) noexcept;
inline constexpr std::size_t kLongestThreadName = 15;

// The kernel's number of this thread: gettid(2).
std::int32_t thread_id() noexcept;

// That of this process: getpid(2).
std::int32_t process_id() noexcept;

// Whether this is the thread on which main() runs: gettid(2).
bool in_main_thread() noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

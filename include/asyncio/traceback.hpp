// What an error tells of where it was raised, as Python's traceback module does.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/exception_ptr.hpp"

namespace asyncio {
inline namespace v1 {

// One frame of a traceback: a coroutine or an asynchronous generator that the error has left.
struct FrameSummary {
    std::string filename;      // as the compiler was given it
    std::uint32_t lineno = 0;  // of the co_await or co_yield where it was, or had last been
    std::string name;          // of the function: `fetch`, `Server::handle`, `<lambda>`
    std::string task;          // the task that ran it; empty while the error has not left that
    // How many frames between this one and the next are left out: of a long way the two ends are
    // kept.
    std::uint64_t omitted = 0;
};

// The frames that `error` has left so far, the last of them first, as in Python's "most recent call
// last". Frames of the library itself are left out. Empty for an error that has left none, for
// null, for a CancelledError without a message (of which there is one for all), and with
// ASYNCIO_TRACEBACK=0 in the environment.
ASYNCIO_API std::vector<FrameSummary> traceback(const std::exception_ptr& error);

// The error as Python prints it: causes, the traceback if there is one, and "ValueError: msg"; a
// group with its members below. Lines are separated by newlines, with none at the end.
ASYNCIO_API std::string format_exception(const std::exception_ptr& error);

// Returns the error that `error` holds, if a `catch (const E&)` would catch it, else null; nothing
// is thrown. The pointer is good for as long as an exception_ptr to the object exists. (C++26 has
// it in std.)
template <class E>
const E* exception_ptr_cast(const std::exception_ptr& error) noexcept {
    return detail::find<E>(error);
}

}  // namespace v1
}  // namespace asyncio

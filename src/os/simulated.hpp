// Where calls on sockets leave for those that are simulated:
// asyncio/component/simulated_sockets.hpp.
#pragma once

#include <errno.h>

#include <utility>

#include "asyncio/component/simulated_sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Of this thread; null: it makes the system's.
extern constinit thread_local component::SimulatedSockets* simulated_sockets;

// Whose `fd` is; null: the system's, also where nobody simulates any more, which says EBADF.
inline component::SimulatedSockets* simulated(int fd) noexcept {
    if (fd < component::SimulatedSockets::kFirst) [[likely]]
        return nullptr;
    return simulated_sockets;
}

// As the system returns it: -1 and errno.
template <class N>
N as_call(N result) noexcept {
    if (result >= 0) return result;
    errno = static_cast<int>(-result);
    return -1;
}

// The result of `call`, which raises only std::bad_alloc, in a function that raises nothing.
template <class Call>
auto without_raising(Call call) noexcept -> decltype(call()) {
    try {
        return call();
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Signals of the system as something to await: signals::wait and signals::watch. The callback form
// is EventLoop::add_signal_handler. SG-01 to SG-03.
//
// While a signal is awaited, watched or handled by some loop the process catches it; each loop that
// asks for it gets it, on whatever thread it runs. What the process did with it before is restored
// when the last one has left. As with the system's own signals, several that come before they are
// looked at may count as one. Signal numbers are those of <csignal>: SIGTERM, SIGINT, ...
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "asyncio/coroutines.hpp"
#include "asyncio/generators.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Signals, one bit each.
struct SignalSet {
    std::uint64_t bits = 0;
};

// Raises: ValueError "invalid signal number N".
ASYNCIO_API SignalSet signal_set(const int* signals, std::size_t count);
ASYNCIO_API Coroutine<int> wait_for_signal(SignalSet signals);
ASYNCIO_API AsyncGenerator<int> watch_signals(SignalSet signals);

}  // namespace detail

namespace signals {

// Waits until the process gets one of the signals; gives its number (the lowest if there are
// several). It is caught from the moment when this is awaited until it ends, so `while (true)
// co_await wait(SIGHUP)` has gaps: use watch() for more than one. A signal that comes in the
// meantime is not lost by a cancel of others that wait for it: each gets it.
// Raises: ValueError "invalid signal number N"; when awaited, RuntimeError "sig N cannot be
// caught". If cancelled: the signal is caught no more.
template <std::convertible_to<int>... S>
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] Coroutine<int> wait(int signal, S... more) {
    const int all[] = {signal, static_cast<int>(more)...};
    return detail::wait_for_signal(detail::signal_set(all, 1 + sizeof...(S)));
}

// Yields the number of each signal of these that the process gets, from this call on, until the
// generator is closed or goes; then they are caught no more:
// `while (auto sig = co_await hups.next()) reload();`
// Raises: ValueError "invalid signal number N"; RuntimeError "sig N cannot be caught", "no running
// event loop".
// If cancelled: a next() that is cancelled ends the generator, as it does with every generator.
template <std::convertible_to<int>... S>
[[nodiscard("drive it: while (auto x = co_await generator.next())")]] AsyncGenerator<int> watch(
    int signal, S... more) {
    const int all[] = {signal, static_cast<int>(more)...};
    return detail::watch_signals(detail::signal_set(all, 1 + sizeof...(S)));
}

}  // namespace signals
}  // namespace v1
}  // namespace asyncio

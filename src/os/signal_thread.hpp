// A thread that does on a signal what a handler may not.
#pragma once

namespace asyncio {
inline namespace v1 {
namespace detail {

// From now on `work` is called once for each time that the signal comes, on a thread of its own,
// which handles no signals. One signal of a process: a second call changes nothing, but in a child
// of fork(2), which has no thread until it calls. 0 or an errno: EINVAL: it cannot be caught;
// EBUSY: the program catches or ignores it already.
int start_signal_thread(int signal, void (*work)() noexcept) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

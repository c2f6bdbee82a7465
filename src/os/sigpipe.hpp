// A system call that raises SIGPIPE where nobody reads, and has no flag against it, made harmless:
// the signal is blocked in this thread, and taken back if the call has raised it. A handler that
// the program has for SIGPIPE is not touched.
#pragma once

#include <errno.h>
#include <signal.h>
#include <time.h>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Returns what `call()` returns; errno is that of the call.
template <class Call>
auto without_sigpipe(Call call) noexcept {
    sigset_t pipe_signal;
    sigset_t before;
    sigset_t pending;
    ::sigemptyset(&pipe_signal);
    ::sigaddset(&pipe_signal, SIGPIPE);
    ::sigpending(&pending);
    const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const auto result = call();
    const int error = errno;
    if (result < 0 && error == EPIPE && !was_pending) {
        const timespec at_once{};
        while (::sigtimedwait(&pipe_signal, nullptr, &at_once) < 0 && errno == EINTR) {
        }
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return result;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

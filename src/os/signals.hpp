// Signals of the process: sigaction(2), signal-safety(7).
#pragma once

#include <signal.h>

namespace asyncio {
inline namespace v1 {
namespace detail {

inline constexpr int kSignals = 65;  // numbers are 1 to 64

// Whether a program may use that number: some are the C library's own.
bool is_signal(int number) noexcept;

// Called on whatever thread, in the middle of anything, so that it may use nothing but lock-free
// atomics and what signal-safety(7) lists. errno is kept.
using SignalHandler = void (*)(int signal) noexcept;

// From now on the process gives the signal to `handler`, which is the same for all, and what it did
// before is noted. But not a fault of the program itself (SIGSEGV...), which has its default effect
// when the instruction runs again. 0 or an errno. EINVAL: it cannot be caught.
int catch_signal(int signal, SignalHandler handler) noexcept;
// What the process did before comes back, unless somebody else has put something there since.
void leave_signal(int signal) noexcept;
// Whether nobody catches or ignores it.
bool has_default_effect(int signal) noexcept;

// It has its default effect on the process once this handler has returned.
void send_uncaught(int signal) noexcept;
// The process ends by the signal, for the shell to see, and without a core of SIGINT.
[[noreturn]] void die_of(int signal) noexcept;

// No signal is handled on this thread while it lives, nor ever on the threads that it starts
// meanwhile.
class SignalsBlocked {
  public:
    SignalsBlocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

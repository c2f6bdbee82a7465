#include "os/signals.hpp"

#include <errno.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

std::atomic<SignalHandler> handler{nullptr};
static_assert(std::atomic<SignalHandler>::is_always_lock_free);

struct sigaction before[kSignals];

// A fault of the program itself, which would happen again for ever if it were only noted.
bool is_fault(int signal, const siginfo_t* info) noexcept {
    const bool kind = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
    return kind && info->si_code > 0;
}

void on_signal(int signal, siginfo_t* info, void*) {
    const int error = errno;
    if (is_fault(signal, info)) {
        ::signal(signal, SIG_DFL);  // the faulting instruction runs again, and ends the process
    } else {
        handler.load()(signal);
    }
    errno = error;
}

bool is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == &on_signal;
}

}  // namespace

bool is_signal(int number) noexcept {
    const bool reserved = number >= 32 && number < SIGRTMIN;
    return number >= 1 && number <= SIGRTMAX && !reserved;
}

int catch_signal(int signal, SignalHandler called) noexcept {
    handler.store(called);
    struct sigaction action{};
    action.sa_sigaction = &on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return ::sigaction(signal, &action, &before[signal]) == 0 ? 0 : errno;
}

void leave_signal(int signal) noexcept {
    struct sigaction now{};
    if (::sigaction(signal, nullptr, &now) == 0 && is_ours(now)) {
        ::sigaction(signal, &before[signal], nullptr);
    }
}

bool has_default_effect(int signal) noexcept {
    struct sigaction now{};
    if (::sigaction(signal, nullptr, &now) != 0) return false;
    return (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
}

void send_uncaught(int signal) noexcept {
    ::signal(signal, SIG_DFL);
    ::kill(::getpid(), signal);
}

void die_of(int signal) noexcept {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    ::signal(signal, SIG_DFL);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    ::raise(signal);
    std::_Exit(128 + signal);  // the first process of a container, which no signal ends
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// A child of fork(2) has one thread, and a copy of each loop of its parent. The copies are left as
// they are: nothing in them is run, closed or destroyed, since that would act on what the parent
// and the child share (the epoll instance, the ring, the wake-up descriptor, the parent's own
// children). Their descriptors are closed here, and whatever is asked of them raises RuntimeError.
#include "fork.hpp"

#include <pthread.h>
#include <signal.h>

#include <atomic>

namespace asyncio::inline v1::detail {
namespace {

std::atomic<unsigned> count{0};

// What the forking thread had blocked. While it forks it blocks all, so that a signal of the child
// comes when that has its own handlers, and is not taken for the parent's.
sigset_t blocked;

void before() noexcept {
    lock_loops();
    lock_signals();
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &blocked);
}

void in_parent() noexcept {
    const sigset_t own = blocked;
    unlock_signals();
    unlock_loops();
    ::pthread_sigmask(SIG_SETMASK, &own, nullptr);
}

void in_child() noexcept {
    count.fetch_add(1, std::memory_order_relaxed);
    leave_signals_to_parent();
    leave_loops_to_parent();
    in_parent();  // this thread holds the locks
}

}  // namespace

unsigned forks() noexcept {
    [[maybe_unused]] static const int prepared = ::pthread_atfork(before, in_parent, in_child);
    return count.load(std::memory_order_relaxed);
}

}  // namespace asyncio::inline v1::detail

// A child of fork(2) has one thread, and a copy of each loop of its parent. The copies are left as
// they are: nothing in them is run, closed or destroyed, since that would act on what the parent
// and the child share (the epoll instance, the ring, the wake-up descriptor, the parent's own
// children). Their descriptors are closed here, and whatever is asked of them raises RuntimeError.
//
// Other threads may be anywhere while this one forks, so that each lock of the process is taken
// before: in the child what it guards is whole, and it can be given up. These are all; a new one
// gets a guard, or is one of shared_mutex():
//   shared_mutex()    channels, sessions of TLS contexts, the start of libcurl
//   guard_at_fork()   what a module of ours guards, by ForkRank
//   lock_traces()     through which frames exceptions have passed
//   lock_blocks()     memory that threads share
//
// What stays with the parent keeps its locks, which nobody takes here: those of a pool of threads
// (of_parent()), of a lookup's threads, of a thread of run_on_threads, of a loop. Variables of a
// function are made by the first call, and a child would wait for a thread that was about to make
// one: before() has all of the library's made, but for some of TLS, which need no guard.
#include "asyncio/component/process.hpp"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <iterator>

#include "asyncio/exceptions.hpp"
#include "base/slabs.hpp"
#include "base/traces.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

std::atomic<unsigned> count{0};

// What the forking thread had blocked. While it forks it blocks all, so that a signal of the child
// comes when that has its own handlers, and is not taken for the parent's.
sigset_t blocked;

// On cache lines of their own.
struct alignas(64) SharedMutex {
    std::mutex mutex;
};
constinit SharedMutex shared[16];

constinit std::atomic<const ForkGuard*> guards[kForkRanks]{};
// Those whose locks this thread took.
const ForkGuard* held[kForkRanks]{};

void make_statics() noexcept {
    gai_category();
    ssl_category();
    cancelled_error(nullptr);
    BaseException().message();
}

void before() noexcept {
    make_statics();
    for (SharedMutex& m : shared) m.mutex.lock();
    for (std::size_t i = 0; i < kForkRanks; ++i) {
        held[i] = guards[i].load(std::memory_order_acquire);
        if (held[i]) held[i]->lock();
    }
    lock_traces();
    lock_blocks();
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &blocked);
}

void in_parent() noexcept {
    const sigset_t own = blocked;
    unlock_blocks();
    unlock_traces();
    for (std::size_t i = kForkRanks; i-- > 0;) {
        if (held[i]) held[i]->unlock();
    }
    for (SharedMutex& m : shared) m.mutex.unlock();
    ::pthread_sigmask(SIG_SETMASK, &own, nullptr);
}

void in_child() noexcept {
    count.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = kForkRanks; i-- > 0;) {
        if (held[i]) held[i]->leave_to_parent();
    }
    in_parent();  // this thread holds the locks
}

// At the start, since a process may fork before it has a loop.
[[maybe_unused]] const int prepared = ::pthread_atfork(before, in_parent, in_child);

}  // namespace

bool guard_at_fork(ForkRank rank, const ForkGuard& guard) noexcept {
    guards[static_cast<std::size_t>(rank)].store(&guard, std::memory_order_release);
    return true;
}

unsigned forks() noexcept { return count.load(std::memory_order_relaxed); }

std::mutex& shared_mutex(const void* object) noexcept {
    // Safe because the number only picks one: it is not used as an address.
    return shared[reinterpret_cast<std::uintptr_t>(object) / 64 % std::size(shared)].mutex;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "os/signal_thread.hpp"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "os/signals.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

// A semaphore, since sem_post(3) may be called in a handler.
sem_t came;
std::atomic<pid_t> started_by{0};
void (*work_of_thread)() noexcept = nullptr;
std::atomic<bool> caught{false};  // by signal_came

void signal_came(int) {
    const int error = errno;
    ::sem_post(&came);
    errno = error;
}

void* wait_for_signals(void*) {
    name_this_thread("asyncio-dump");
    for (;;) {
        if (::sem_wait(&came) == 0) work_of_thread();
    }
}

int start_thread() noexcept {
    const SignalsBlocked blocked;
    pthread_attr_t detached;
    if (const int error = ::pthread_attr_init(&detached)) return error;
    ::pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    const int error = ::pthread_create(&thread, &detached, wait_for_signals, nullptr);
    ::pthread_attr_destroy(&detached);
    return error;
}

}  // namespace

int start_signal_thread(int signal, void (*work)() noexcept) noexcept {
    pid_t before = started_by.load();
    const pid_t self = ::getpid();
    if (before == self || !started_by.compare_exchange_strong(before, self)) return 0;
    if (before != 0 && !caught) return 0;  // it was refused in the parent already
    work_of_thread = work;
    ::sem_init(&came, 0, 0);  // in a child: what came for its parent is not its own
    struct sigaction action{};
    if (before == 0) {
        if (::sigaction(signal, nullptr, &action) != 0) return errno;
        if (action.sa_handler != SIG_DFL) return EBUSY;
    }
    if (const int error = start_thread()) {
        started_by.store(before);
        return error;
    }
    if (before != 0) return 0;
    action = {};
    action.sa_handler = signal_came;
    action.sa_flags = SA_RESTART;
    if (::sigaction(signal, &action, nullptr) != 0) return errno;
    caught = true;
    return 0;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

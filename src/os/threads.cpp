#include "os/threads.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace asyncio {
inline namespace v1 {
namespace detail {

void name_this_thread(const char* name) noexcept { ::pthread_setname_np(::pthread_self(), name); }

bool in_main_thread() noexcept { return ::getpid() == ::syscall(SYS_gettid); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

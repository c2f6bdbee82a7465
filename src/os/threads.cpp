#include "os/threads.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace asyncio {
inline namespace v1 {
namespace detail {

void name_this_thread(const char* name) noexcept { ::pthread_setname_np(::pthread_self(), name); }

std::int32_t thread_id() noexcept { return static_cast<std::int32_t>(::syscall(SYS_gettid)); }

std::int32_t process_id() noexcept { return static_cast<std::int32_t>(::getpid()); }

bool in_main_thread() noexcept { return process_id() == thread_id(); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

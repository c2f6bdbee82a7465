#include "os/own_memory.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace asyncio {
inline namespace v1 {
namespace detail {

std::size_t read_own_memory(const void* from, void* to, std::size_t size) noexcept {
    const iovec local{to, size};
    // Safe because the kernel reads there, and says if it cannot.
    const iovec remote{const_cast<void*>(from), size};
    const ssize_t n = ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
}

void write_to_standard_error(const char* text, std::size_t size) noexcept {
    const int error = errno;
    while (size > 0) {
        const ssize_t n = ::write(STDERR_FILENO, text, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;  // there is nobody to tell
        text += n;
        size -= static_cast<std::size_t>(n);
    }
    errno = error;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

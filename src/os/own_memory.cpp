#include "os/own_memory.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace asyncio {
inline namespace v1 {
namespace detail {

OwnMemoryReader::~OwnMemoryReader() {
    if (file_ >= 0) ::close(file_);
}

std::size_t OwnMemoryReader::read(const void* from, void* to, std::size_t size) noexcept {
    if (refused_) return read_file(from, to, size);
    const iovec local{to, size};
    // Safe because the kernel reads there, and says if it cannot. Called by its number, since a
    // sanitizer takes the library's function for one that reads and writes all of it in this
    // thread; its arguments are longs, since the last one goes over the stack.
    const iovec remote{const_cast<void*>(from), size};
    const long n = ::syscall(SYS_process_vm_readv, ::getpid(), &local, 1UL, &remote, 1UL, 0UL);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != ENOSYS && errno != EPERM) return 0;
    refused_ = true;
    return read_file(from, to, size);
}

std::size_t OwnMemoryReader::read_file(const void* from, void* to, std::size_t size) noexcept {
    if (file_ < 0) file_ = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    // Safe because an address is a place in this file.
    const auto place = reinterpret_cast<std::uintptr_t>(from);
    const ssize_t n = ::pread(file_, to, size, static_cast<off_t>(place));
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

// Calls of the kernel, without their traps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Raises: the OSError of errno.
[[noreturn]] void fail();
// Descriptors 0 to 2 are the program's standard input, output and error, whether or not they are
// open: what the library opens for itself is above them, since a program prints into them.
inline constexpr int kFirstOwn = 3;
// The same as `fd`, close-on-exec and not below kFirstOwn: that number is then closed. -1 and errno
// if there is none. `fd` may be -1.
ASYNCIO_API int above_standard(int fd) noexcept;
// The same. Raises: the OSError of errno for a descriptor that is none.
int checked(int fd);

class Descriptor {
  public:
    explicit Descriptor(int fd) noexcept : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { close(); }
    int get() const noexcept { return fd_; }
    void close() noexcept;  // then get() is -1
    void replace(int fd) noexcept {
        close();
        fd_ = fd;
    }

  private:
    int fd_;
};

// An eventfd(2) that ends a wait. Edge-triggered: each write is one event, and nobody need read the
// counter (which a program would have to wake 2^64 times to fill).
class WakeEvent {
  public:
    // Raises: OSError.
    WakeEvent();
    int fd() const noexcept { return event_.get(); }
    // From any thread, and from signal handlers.
    void wake() noexcept;
    void close() noexcept { event_.close(); }  // wake() does nothing then

  private:
    Descriptor event_;
};

std::int64_t monotonic_ns() noexcept;

// Lets every process of this user trace this one: PR_SET_PTRACER of prctl(2).
void allow_tracing() noexcept;
// A variable of the environment; null if it is not set, or if this program runs with more rights
// than whoever set it (secure_getenv(3)).
const char* environment_if_safe(const char* name) noexcept;

// Memory that begins with a page, for what the kernel copies in bulk: to an address that is no
// multiple of 64 that takes twice as long on some processors (AMD Zen 3: 16 KiB in 1.8 times).
struct FreePages {
    void operator()(char* memory) const noexcept;
};
using Pages = std::unique_ptr<char[], FreePages>;
// Raises: std::bad_alloc.
Pages make_pages(std::size_t bytes);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

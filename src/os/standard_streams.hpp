// Libraries that open descriptors themselves, where a program has closed its standard streams: what
// it prints would go into theirs.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// While it lives, what others open is above the standard streams.
class StandardStreamsTaken {
  public:
    StandardStreamsTaken() noexcept {
        int fd;
        do {
            fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
            if (fd >= 0) fds_[count_++] = fd;
        } while (fd >= 0 && fd < kFirstOwn);
    }
    StandardStreamsTaken(const StandardStreamsTaken&) = delete;
    StandardStreamsTaken& operator=(const StandardStreamsTaken&) = delete;
    ~StandardStreamsTaken() {
        for (std::size_t i = 0; i < count_; ++i) ::close(fds_[i]);
    }

  private:
    // One more than there are: the first of the others says that all are taken.
    std::array<int, kFirstOwn + 1> fds_{};
    std::size_t count_ = 0;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

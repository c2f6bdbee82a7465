#include "os/sendfile.hpp"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/posix.hpp"
#include "os/sigpipe.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

std::int64_t send_file(int socket, int file, std::int64_t position, std::size_t size) noexcept {
    off_t offset = position;
    const ssize_t n = without_sigpipe([&] { return ::sendfile(socket, file, &offset, size); });
    return n < 0 ? -errno : n;
}

bool means_unavailable(int error) noexcept {
    return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == ESPIPE ||
           error == EOVERFLOW || error == EBADF || error == EISDIR || error == EPERM;
}

bool is_regular_file(int file) noexcept {
    struct stat found{};
    return ::fstat(file, &found) == 0 && S_ISREG(found.st_mode);
}

std::string read_block(int file, std::int64_t position, std::size_t size) {
    std::string block(size, '\0');
    ssize_t n = ::pread(file, block.data(), size, position);
    if (n < 0 && errno == ESPIPE) n = ::read(file, block.data(), size);
    if (n < 0) fail();
    block.resize(static_cast<std::size_t>(n));
    return block;
}

void set_position(int file, std::int64_t position) noexcept { ::lseek(file, position, SEEK_SET); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

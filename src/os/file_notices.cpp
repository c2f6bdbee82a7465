#include "os/file_notices.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr std::uint32_t kInterest = IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE |
                                    IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF;

// Raises: OSError that says which limit was reached.
[[noreturn]] void throw_limit(int error, const char* what, const std::string& path) {
    const std::string text = std::generic_category().message(error) + " (" + what + ")";
    std::rethrow_exception(make_os_error(error, text, path));
}

}  // namespace

int open_notices(const std::string& path) {
    const int fd = above_standard(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (fd >= 0) return fd;
    const int error = errno;
    // Too many of these, or of all descriptors?
    const int other = error == EMFILE ? ::open("/", O_PATH | O_CLOEXEC) : -1;
    if (other < 0) throw_file_error(error, path);
    ::close(other);
    throw_limit(error, "the limit is fs.inotify.max_user_instances", path);
}

int watch_file(int notices, const std::string& path) noexcept {
    return ::inotify_add_watch(notices, path.c_str(), kInterest);
}

void throw_watch_error(int error, const std::string& path) {
    if (error == ENOSPC) throw_limit(error, "the limit is fs.inotify.max_user_watches", path);
    throw_file_error(error, path);
}

void unwatch_file(int notices, int watch) noexcept { ::inotify_rm_watch(notices, watch); }

bool read_notices(int notices, std::vector<FileNotice>& told) {
    alignas(inotify_event) char buffer[16 * 1024];
    ssize_t n;
    do {
        n = ::read(notices, buffer, sizeof buffer);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) throw_file_error(errno);
    for (std::size_t at = 0; n > 0 && at < static_cast<std::size_t>(n);) {
        inotify_event head;
        std::memcpy(&head, buffer + at, sizeof head);
        FileNotice notice;
        notice.watch = head.wd;
        notice.mask = head.mask;
        notice.cookie = head.cookie;
        // Padded with zeros.
        if (head.len > 0) notice.name = buffer + at + sizeof head;
        told.push_back(std::move(notice));
        at += sizeof head + head.len;
    }
    return n > 0;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

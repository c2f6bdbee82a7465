#include "os/files.hpp"

#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <system_error>
#include <utility>

#include "asyncio/component/file_faults.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {

namespace {
constinit std::atomic<component::FileHook> file_hook = nullptr;
}

component::FileHook component::set_file_hook(FileHook hook) noexcept {
    return file_hook.exchange(hook, std::memory_order_relaxed);
}

namespace detail {

bool has_file_hook() noexcept { return file_hook.load(std::memory_order_relaxed) != nullptr; }

bool refused(const char* call) noexcept {
    const component::FileHook hook = file_hook.load(std::memory_order_relaxed);
    if (!hook) [[likely]]
        return false;
    const int error = hook(call);
    if (error != 0) errno = error;
    return error != 0;
}

Ref<SharedDescriptor> SharedDescriptor::own(int fd) {
    try {
        return Ref<SharedDescriptor>::adopt(new SharedDescriptor(fd));
    } catch (...) {
        ::close(fd);
        throw;
    }
}

int SharedDescriptor::close() noexcept {
    const int fd = std::exchange(fd_, -1);
    if (fd < 0) return 0;
    const int error = ::close(fd) != 0 && errno != EINTR ? errno : 0;
    return refused("close") ? errno : error;
}

void throw_file_error(int error) { std::rethrow_exception(make_os_error(error)); }

void throw_file_error(int error, const std::string& path) {
    std::rethrow_exception(make_os_error(error, std::generic_category().message(error), path));
}

std::string joined(const std::string& path, const std::string& name) {
    return path.ends_with('/') ? path + name : path + '/' + name;
}

// ---- opening -----------------------------------------------------------------------------------

int open_descriptor(const std::string& path, int flags, unsigned permissions) noexcept {
    if (refused("open")) return -1;
    int fd;
    do {
        fd = above_standard(
            ::open(path.c_str(), flags | O_CLOEXEC, static_cast<mode_t>(permissions)));
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int open_cached(const std::string& path, int flags) noexcept {
    if (!opens_existing(flags) || has_file_hook()) return -1;
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NONBLOCK);
    how.resolve = RESOLVE_CACHED;
    return above_standard(
        static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
}

bool opens_existing(int flags) noexcept { return (flags & (O_CREAT | O_TRUNC | O_TMPFILE)) == 0; }

int open_place(const std::string& directory) noexcept {
    if (refused("open")) return -1;
    return above_standard(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

int open_unnamed(const std::string& directory) {
    if (refused("open")) throw_file_error(errno, directory);
    const int fd = above_standard(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd >= 0) return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
        throw_file_error(errno, directory);
    }
    std::string name = joined(directory, "tmpXXXXXX");
    const int named = above_standard(::mkostemp(name.data(), O_CLOEXEC));
    if (named < 0) throw_file_error(errno, directory);
    ::unlink(name.c_str());
    return named;
}

// ---- reading and writing -----------------------------------------------------------------------

std::int64_t read_cached(int fd, void* to, std::size_t size, std::int64_t offset) noexcept {
    if (has_file_hook()) {
        errno = EAGAIN;
        return -1;
    }
    const iovec piece{to, size};
    return ::preadv2(fd, &piece, 1, offset, RWF_NOWAIT);
}

std::int64_t write_cached(int fd, const void* from, std::size_t size,
                          std::int64_t offset) noexcept {
    if (has_file_hook() || is_size_limited()) {
        errno = EAGAIN;
        return -1;
    }
    const iovec piece{const_cast<void*>(from), size};
    return ::pwritev2(fd, &piece, 1, offset, RWF_NOWAIT);
}

bool is_size_limited() noexcept {
    rlimit limit;
    return ::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

void block_write_signals() noexcept {
    static thread_local const bool blocked = [] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGXFSZ);
        ::sigaddset(&set, SIGPIPE);
        return ::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0;
    }();
    static_cast<void>(blocked);
}

std::int64_t known_size(int fd) noexcept {
    struct statx s;
    const int how = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    return ::statx(fd, "", how, STATX_SIZE, &s) == 0 ? static_cast<std::int64_t>(s.stx_size) : -1;
}

int sync_file_system(int fd) noexcept { return refused("syncfs") ? -1 : ::syncfs(fd); }

ssize_t copy_by_file_system(int from, int to, std::size_t most) noexcept {
    if (refused("copy_file_range")) return -1;
    return ::copy_file_range(from, nullptr, to, nullptr, most, 0);
}

ssize_t copy_by_kernel(int from, int to, std::size_t most) noexcept {
    if (refused("sendfile")) return -1;
    return ::sendfile(to, from, nullptr, most);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

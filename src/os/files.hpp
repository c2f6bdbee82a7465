// Files. What POSIX has is called by its own name (open, fstat, fsync...), and its headers come
// from here; what only some systems have is a function.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/thread_state.hpp"
#include "os/descriptors.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A descriptor that requests and a file share; closed with the last of them.
class SharedDescriptor final : public Pooled {
  public:
    // Takes `fd` over. Raises: std::bad_alloc, and then it is closed.
    static Ref<SharedDescriptor> own(int fd);
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }
    bool unique() const noexcept { return refs_.unique(); }
    int get() const noexcept { return fd_; }
    // Closes it now, by the only owner; gives errno. (Linux has closed it even if it was EINTR.)
    int close() noexcept;

  private:
    explicit SharedDescriptor(int fd) noexcept : fd_(fd) {}
    ~SharedDescriptor() { close(); }

    RefCount refs_{1};
    int fd_;
};

// Whether the call of this name is to fail, with errno: component/file_faults.hpp.
bool refused(const char* call) noexcept;
// Whether somebody may want calls to fail.
bool has_file_hook() noexcept;

// Raises: the OSError of `error`, with the path, which may be empty.
[[noreturn]] void throw_file_error(int error);
[[noreturn]] void throw_file_error(int error, const std::string& path);

// `name` in directory `path`.
std::string joined(const std::string& path, const std::string& name);

// ---- opening -----------------------------------------------------------------------------------

// Each gives a descriptor that is close-on-exec and above the standard ones, or -1 and errno.

// open(2) that is not interrupted.
int open_descriptor(const std::string& path, int flags, unsigned permissions) noexcept;
// open(2) of an existing file if that needs no disk, else -1. The descriptor is O_NONBLOCK.
// (openat2(2), RESOLVE_CACHED)
int open_cached(const std::string& path, int flags) noexcept;
// Whether these flags of open(2) are for a file that exists, and is to stay as it is.
bool opens_existing(int flags) noexcept;
// A directory as a place for names, which need not be readable. (open(2), O_PATH)
int open_place(const std::string& directory) noexcept;
// A file without a name, to read and write, in that directory; unlinked at once where the file
// system has none without a name. Raises: OSError. (open(2), O_TMPFILE; mkostemp(3))
int open_unnamed(const std::string& directory);

// ---- reading and writing -----------------------------------------------------------------------

// preadv2(2) of what is in memory: the number of bytes, or -1 and errno (EAGAIN: a thread must do
// it; EOPNOTSUPP: so always for this file). (RWF_NOWAIT)
std::int64_t read_cached(int fd, void* to, std::size_t size, std::int64_t offset) noexcept;
std::int64_t write_cached(int fd, const void* from, std::size_t size, std::int64_t offset) noexcept;
// Whether files may only be so long. Beyond that a write raises SIGXFSZ, which ends the process.
// (getrlimit(2), RLIMIT_FSIZE)
bool is_size_limited() noexcept;
// A write beyond RLIMIT_FSIZE is EFBIG, and one to a pipe that nobody reads is EPIPE: neither is
// the end of the process. For good: the thread is one that does nothing else.
void block_write_signals() noexcept;
// How long a file is, as far as this system knows without asking another one; -1 and errno.
// (statx(2), AT_STATX_DONT_SYNC)
std::int64_t known_size(int fd) noexcept;
// All that the file system of `fd` has to write goes to the disk: 0, or -1 and errno. (syncfs(2))
int sync_file_system(int fd) noexcept;

// Both copy up to `most` bytes from where one file stands to where the other does, and give how
// many, or -1 and errno. By the file systems, which may share the blocks (copy_file_range(2)):
ssize_t copy_by_file_system(int from, int to, std::size_t most) noexcept;
// or by the kernel, through its memory (sendfile(2)).
ssize_t copy_by_kernel(int from, int to, std::size_t most) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

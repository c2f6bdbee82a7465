#include "os/replacing.hpp"

#include <sys/xattr.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// A name that nobody else has, `.NAME.0123456789abcdef.tmp`: so that what a killed process has left
// is known for what it is.
std::string temporary_name(std::string_view name) {
    static std::atomic<std::uint64_t> counter{
        static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count())};
    // Odd, so that no number comes twice; mixed, so that two processes seldom try the same.
    const std::uint64_t n =
        (counter.fetch_add(1) + (static_cast<std::uint64_t>(::getpid()) << 40)) *
        0x9e3779b97f4a7c15U;
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(n));
    std::size_t length = std::min<std::size_t>(name.size(), 200);
    // No part of a UTF-8 character, which some file systems refuse.
    while (length < name.size() && length > 0 && (name[length] & 0xc0) == 0x80) --length;
    return "." + std::string(name.substr(0, length)) + "." + digits + ".tmp";
}

}  // namespace

Temporary::Temporary(const std::string& target, unsigned permissions) : target_(target) {
    const std::size_t slash = target.rfind('/');
    const bool bare = slash == std::string::npos;
    base_ = bare ? target : target.substr(slash + 1);
    directory_ = bare ? "." : target.substr(0, slash + 1);
    const int dir = open_place(directory_);
    if (dir < 0) throw_file_error(errno, target);
    place_ = SharedDescriptor::own(dir);
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    for (int attempt = 0;; ++attempt) {
        name_ = temporary_name(base_);
        if (refused("open")) throw_file_error(errno, target);
        const int fd = above_standard(
            ::openat(dir, name_.c_str(), kFlags, static_cast<mode_t>(permissions & 07777)));
        if (fd >= 0) {
            try {
                file_ = SharedDescriptor::own(fd);
            } catch (...) {
                // The destructor of what is not made yet does not run.
                ::unlinkat(dir, name_.c_str(), 0);
                throw;
            }
            return;
        }
        if (errno != EEXIST || attempt == 100) {
            const int error = errno;
            // It was made, if only its number was none to keep.
            if (error != EEXIST) ::unlinkat(dir, name_.c_str(), 0);
            throw_file_error(error, target);
        }
    }
}

Temporary::~Temporary() {
    if (!name_.empty()) ::unlinkat(place_->get(), name_.c_str(), 0);
}

void Temporary::sync() {
    if (refused("fsync") || ::fsync(file_->get()) != 0) throw_file_error(errno, target_);
    int how = above_standard(::openat(place_->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    whole_system_ = how < 0;
    // A directory that may not be read: all that its file system has to write, then.
    if (how < 0) how = duplicate(file_->get());
    if (how < 0) throw_file_error(errno, directory_);
    synced_by_ = SharedDescriptor::own(how);
}

void Temporary::rename() {
    const Ref<SharedDescriptor> file = std::move(file_);
    if (const int error = file->close()) throw_file_error(error, target_);
    if (refused("rename") ||
        ::renameat(place_->get(), name_.c_str(), place_->get(), base_.c_str()) != 0) {
        throw_file_error(errno, target_);
    }
    name_.clear();
}

void Temporary::sync_rename() const {
    if (!synced_by_) return;
    const int fd = synced_by_->get();
    const int failed = whole_system_ ? sync_file_system(fd) : refused("fsync") ? -1 : ::fsync(fd);
    // Not every file system can: then there is nothing to wait for.
    if (failed != 0 && errno != EINVAL) throw_file_error(errno, directory_);
}

std::string resolve_link(const std::string& path) {
    constexpr int kMostLinks = 40;  // as the system
    std::string at = path;
    for (int i = 0; i < kMostLinks; ++i) {
        std::string to(PATH_MAX, '\0');
        const ssize_t n = ::readlink(at.c_str(), to.data(), to.size());
        if (n < 0) return at;  // none; what else is wrong the next call says
        to.resize(static_cast<std::size_t>(n));
        const std::size_t slash = at.rfind('/');
        const bool relative = !to.starts_with('/') && slash != std::string::npos;
        if (relative) to.insert(0, at, 0, slash + 1);
        at = std::move(to);
    }
    throw_file_error(ELOOP, path);
}

namespace {

constexpr const char* kAccessList = "system.posix_acl_access";

// The access list of `from` to `fd`, or that there is none. Returns false if it cannot be given.
bool copy_access_list(const std::string& from, int fd) {
    char list[4096];
    const ssize_t size = ::getxattr(from.c_str(), kAccessList, list, sizeof list);
    if (size >= 0) {
        return ::fsetxattr(fd, kAccessList, list, static_cast<std::size_t>(size), 0) == 0;
    }
    if (errno == ERANGE) return false;
    ::fremovexattr(fd, kAccessList);  // which a directory's default may have given
    return true;
}

}  // namespace

mode_t take_access(int fd, const std::string& target, const struct stat& before) {
    struct stat mine{};
    if (::fstat(fd, &mine) != 0) throw_file_error(errno, target);
    if (mine.st_uid != before.st_uid || mine.st_gid != before.st_gid) {
        if (::fchown(fd, before.st_uid, before.st_gid) != 0) {
            // Perhaps the group alone may be given.
            static_cast<void>(!::fchown(fd, static_cast<uid_t>(-1), before.st_gid));
        }
        if (::fstat(fd, &mine) != 0) throw_file_error(errno, target);
    }
    mode_t mode = before.st_mode & 07777;
    if (mine.st_uid != before.st_uid) mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);
    bool group = mine.st_gid == before.st_gid;
    const auto restricted = [&] {
        const mode_t others = (mode & S_IRWXO) << 3;
        return mode & ~static_cast<mode_t>(S_ISGID | (S_IRWXG & ~others));
    };
    if (!group) mode = restricted();
    // Not yet those bits that a write takes away again.
    if (::fchmod(fd, mode & 0777) != 0) throw_file_error(errno, target);
    if (group && !copy_access_list(target, fd)) {
        // Of a file with a list these bits are the most that anybody on it may do.
        mode = restricted();
        if (::fchmod(fd, mode & 0777) != 0) throw_file_error(errno, target);
    }
    return mode;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "os/directories.hpp"

#include <linux/openat2.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

const dirent* next_entry(DIR* directory) noexcept {
    while (true) {
        errno = 0;
        const dirent* const entry = ::readdir(directory);
        if (!entry) return nullptr;
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") return entry;
    }
}

mode_t type_of_entry(DIR* directory, const dirent& entry) noexcept {
    struct stat s{};
    // Not every file system says what an entry is.
    if (entry.d_type == DT_UNKNOWN &&
        ::fstatat(::dirfd(directory), entry.d_name, &s, AT_SYMLINK_NOFOLLOW) == 0) {
        return s.st_mode;
    }
    return DTTOIF(entry.d_type);
}

namespace {

class TreeRemover {
  public:
    explicit TreeRemover(std::string root) : path_(std::move(root)) {}
    // Raises: OSError, of the first that could not be removed, when all else is.
    void run() {
        const std::size_t slash = path_.rfind('/');
        const std::string above = path_.substr(0, slash + 1);  // absolute, so that there is one
        const Descriptor place(open_place(above));
        const int fd = place.get();
        if (fd < 0 && errno == ENOENT) return;
        if (fd < 0) throw_file_error(errno, path_);
        const std::string name = path_.substr(slash + 1);
        path_.resize(slash);
        if (enter(fd, name)) work();
        if (entered_ && !lost_) remove(fd, name, AT_REMOVEDIR);
        if (error_ != 0) throw_file_error(error_, failed_);
    }

  private:
    struct Level {
        std::string name;
        dev_t device = 0;
        ino_t inode = 0;
        bool opened_up = false;
        std::vector<std::string> left;  // directories in it
    };

    void work() {
        while (true) {
            if (!levels_.back().left.empty()) {
                const std::string name = std::move(levels_.back().left.back());
                levels_.back().left.pop_back();
                enter(fd(), name);
                continue;
            }
            const std::string name = levels_.back().name;
            if (levels_.size() == 1) break;
            levels_.pop_back();
            if (!go_up()) return;
            path_.resize(path_.size() - name.size() - 1);
            remove(fd(), name, AT_REMOVEDIR);
        }
        path_.resize(path_.size() - levels_.back().name.size() - 1);
        levels_.clear();
    }
    int fd() const noexcept { return ::dirfd(dir_.get()); }
    std::string path_of(const std::string& name) const { return path_ + '/' + name; }
    void failed(int error, const std::string& path) {
        if (error_ != 0) return;
        error_ = error;
        failed_ = path;
    }

    // Makes directory `name` in `place` the one that is worked on. Returns false if it cannot be.
    bool enter(int place, const std::string& name) {
        int child = open_directory(place, name);
        if (child < 0 && (errno == EACCES || errno == EPERM)) {
            open_up();
            ::fchmodat(place, name.c_str(), S_IRWXU, AT_SYMLINK_NOFOLLOW);
            child = open_directory(place, name);
        }
        if (child < 0 && errno == ENOENT) return false;
        if (child < 0 && (errno == ENOTDIR || errno == ELOOP) && !levels_.empty()) {
            remove(place, name, 0);  // it has become something else
            return false;
        }
        if (child < 0) {
            failed(errno == EXDEV ? EBUSY : errno, path_of(name));
            return false;
        }
        struct stat s{};
        DIR* const dir = ::fstat(child, &s) == 0 ? ::fdopendir(child) : nullptr;
        if (!dir) {
            failed(errno, path_of(name));
            ::close(child);
            return false;
        }
        dir_.reset(dir);
        path_ = path_of(name);
        Level level;
        level.name = name;
        level.device = s.st_dev;
        level.inode = s.st_ino;
        levels_.push_back(std::move(level));
        entered_ = true;
        remove_files();
        return true;
    }
    static int open_directory(int place, const std::string& name) noexcept {
        open_how how{};
        how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        how.resolve = RESOLVE_NO_XDEV;
        const auto fd = above_standard(
            static_cast<int>(::syscall(SYS_openat2, place, name.c_str(), &how, sizeof how)));
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return fd;
        // A sandbox that does not know this call.
        return open_on_device(place, name);
    }
    // Where the system tells, as it does since Linux 5.8.
    static bool is_mounted(int fd) noexcept {
        struct statx s{};
        return ::statx(fd, "", AT_EMPTY_PATH, 0, &s) == 0 &&
               (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    }
    static int open_on_device(int place, const std::string& name) noexcept {
        constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        const int fd = above_standard(::openat(place, name.c_str(), kFlags));
        struct stat outer{};
        struct stat inner{};
        if (fd < 0 || (::fstat(place, &outer) == 0 && ::fstat(fd, &inner) == 0 &&
                       outer.st_dev == inner.st_dev && !is_mounted(fd))) {
            return fd;
        }
        ::close(fd);
        errno = EXDEV;
        return -1;
    }
    // By what it is in, and not by its path, which may lead elsewhere by now.
    bool go_up() {
        const int above = above_standard(::openat(fd(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        struct stat s{};
        const bool same = above >= 0 && ::fstat(above, &s) == 0 &&
                          s.st_dev == levels_.back().device && s.st_ino == levels_.back().inode;
        DIR* const dir = same ? ::fdopendir(above) : nullptr;
        if (!dir) {
            // Somebody has moved the directory away.
            failed(above < 0 || same ? errno : ENOENT, path_);
            if (above >= 0) ::close(above);
            lost_ = true;
            return false;
        }
        dir_.reset(dir);
        return true;
    }
    // Removes all that is no directory, and notes the others.
    void remove_files() {
        while (const dirent* const entry = next_entry(dir_.get())) {
            const std::string name = entry->d_name;
            if (entry->d_type == DT_DIR) {
                levels_.back().left.push_back(name);
            } else {
                remove(fd(), name, 0);
            }
        }
        if (errno != 0) failed(errno, path_);
    }
    void remove(int place, const std::string& name, int how) {
        if (refused("unlink")) return failed(errno, path_of(name));
        if (::unlinkat(place, name.c_str(), how) == 0) return;
        if ((errno == EACCES || errno == EPERM) && open_up()) {
            if (::unlinkat(place, name.c_str(), how) == 0) return;
        }
        if (errno == ENOENT) return;
        // Where the directory does not say what its entries are.
        if (errno == EISDIR) return levels_.back().left.push_back(name);
        failed(errno, path_of(name));
    }
    // Lets its owner change the directory that is worked on. Returns whether that may help.
    bool open_up() noexcept {
        if (levels_.empty() || std::exchange(levels_.back().opened_up, true)) return false;
        const int error = errno;
        const bool done = ::fchmod(fd(), S_IRWXU) == 0;
        errno = error;
        return done;
    }

    std::string path_;  // of what is worked on
    std::vector<Level> levels_;
    Directory dir_;
    bool entered_ = false;
    bool lost_ = false;
    int error_ = 0;
    std::string failed_;
};

}  // namespace

void remove_tree(const std::string& path, std::chrono::milliseconds patience) {
    for (std::chrono::milliseconds rest{1};; rest *= 2) {
        try {
            return TreeRemover(path).run();
        } catch (const OSError& e) {
            if (e.code().value() != ENOTEMPTY || patience.count() <= 0) throw;
        }
        rest = std::min(rest, patience);
        std::this_thread::sleep_for(rest);
        patience -= rest;
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

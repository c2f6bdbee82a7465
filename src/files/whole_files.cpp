// Whole files, directories and temporaries: what files.hpp offers that is made of several calls.
// Each is a function that a thread for files calls and that owns all it works on, so that nothing
// is left behind, and nobody waits, when the caller is cancelled.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <memory>

#include "asyncio/files.hpp"
#include "asyncio/tasks.hpp"
#include "files/file_requests.hpp"
#include "files/shared_reads.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

bool read_small_file(const std::string& path, std::string& data, FileOpening& opened) {
    opened = open_here(path, O_RDONLY);
    const struct stat& s = opened.stat;
    if (!opened.ready) return false;
    // Others are opened again, so that those that wait for a thread hold no descriptors.
    const Ref<SharedDescriptor> file = std::move(opened.file);
    const auto size = static_cast<std::size_t>(s.st_size);
    if (!S_ISREG(s.st_mode) || size == 0 || size > kMostInline) return false;
    // As long as it was when it was opened: what is appended meanwhile is another reader's.
    data.resize(size);
    return read_cached(file->get(), data.data(), size, 0) == s.st_size;
}

// In files.cpp. Raises: OSError.
File make_temporary(Ref<SharedDescriptor> fd, const std::string& dir);

// A directory that is to be removed. Of the thread that has it: others are given its path.
struct TemporaryTree {
    TemporaryTree() = default;
    TemporaryTree(const TemporaryTree&) = delete;
    TemporaryTree& operator=(const TemporaryTree&) = delete;
    ~TemporaryTree();
    std::string path;  // empty: nothing is to be done any more
};

namespace {

using Descriptor = Ref<SharedDescriptor>;

// Raises: OSError.
void perform_opening(FileRequest& opening) {
    opening.perform();
    if (opening.error != 0) throw_file_error(opening.error, opening.path);
}

struct stat stat_of(const Descriptor& file, const std::string& path) {
    struct stat s{};
    if (::fstat(file->get(), &s) != 0) throw_file_error(errno, path);
    return s;
}

// Raises: IsADirectoryError.
void refuse_directory(const struct stat& s, const std::string& path) {
    if (S_ISDIR(s.st_mode)) throw_file_error(EISDIR, path);
}

// Raises: OSError, for what the system could not write.
void close_or_throw(Descriptor file, const std::string& path) {
    if (const int error = file->close()) throw_file_error(error, path);
}

// ---- whole files -------------------------------------------------------------------------------

constexpr std::size_t kStreamPiece = 64 * 1024;  // what a pipe holds

// All of the file that `opening` opens. Raises: OSError.
std::string read_whole(const Ref<FileRequest>& opening) {
    const std::string& path = opening->path;
    perform_opening(*opening);
    const struct stat& s = opening->stat;
    refuse_directory(s, path);
    // One of no size may be made up by the kernel, and then a stream, or as long as it likes.
    const bool sized = S_ISREG(s.st_mode) && s.st_size > 0;
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kRead));
    request->file = opening->file;
    request->offset = sized ? 0 : FileRequest::kNoOffset;
    request->most = static_cast<std::size_t>(-1);
    std::string data = std::move(opening->data);
    while (true) {
        if (!sized && !opening->await_bytes()) throw_file_error(opening->error, path);
        request->expect = sized ? static_cast<std::size_t>(s.st_size) + 1 : kStreamPiece;
        request->data.clear();
        request->perform();
        if (request->failure) std::rethrow_exception(request->failure);
        if (request->error != 0) throw_file_error(request->error, path);
        if (sized) return std::move(request->data);
        if (request->data.empty()) return data;
        data += request->data;  // a stream gives some at a time
    }
}

// When its caller has gone.
class Abandon {
  public:
    explicit Abandon(const Ref<FileRequest>& request) noexcept : request_(request) {}
    Abandon(const Abandon&) = delete;
    Abandon& operator=(const Abandon&) = delete;
    ~Abandon() { request_->abandon(); }

  private:
    const Ref<FileRequest> request_;
};

Coroutine<std::string> read_path(std::string path) {
    check_path(path);
    if (FileCourtesy(4096).due()) co_await sleep(std::chrono::seconds(0));
    FileBackend& files = file_backend();
    if (!files.shared) {
        auto& loop = static_cast<Loop&>(running_core());
        files.shared = std::make_unique<SharedReads>(loop, files.threads());
    }
    FileOpening opened;
    if (files.shared->alone()) {
        std::string data;
        if (read_small_file(path, data, opened)) co_return data;
    } else {
        const auto read = Ref<SharedRead>::adopt(new SharedRead(std::move(path)));
        SharedReadWait wait(*files.shared, *read);
        co_await wait;
        if (read->failure) std::rethrow_exception(read->failure);
        if (read->found) co_return std::move(read->data);
        path = std::move(read->path);
        opened = std::move(read->opened);
    }
    const auto opening = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    opening->path = std::move(path);
    opening->flags = O_RDONLY;
    opening->file = std::move(opened.file);
    opening->stat = opened.stat;
    const Abandon at_end(opening);
    auto whole = [opening] { return read_whole(opening); };
    co_return co_await on_file_thread(std::move(whole));
}

void write_whole(const Descriptor& file, const std::string& path, std::string data) {
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kWrite));
    request->file = file;
    request->data = std::move(data);
    request->perform();
    if (request->error != 0) throw_file_error(request->error, path);
}

Coroutine<> write_path(std::string path, std::string data) {
    check_path(path);
    const auto opening = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    opening->path = std::move(path);
    opening->flags = O_WRONLY | O_CREAT | O_TRUNC;
    opening->permissions = 0666;
    const Abandon at_end(opening);
    auto write = [opening, data = std::move(data)]() mutable {
        perform_opening(*opening);
        write_whole(opening->file, opening->path, std::move(data));
        close_or_throw(std::move(opening->file), opening->path);
    };
    co_await on_file_thread(std::move(write));
}

// ---- atomic replacement ------------------------------------------------------------------------

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

// A temporary file beside `target`, unlinked unless it was renamed. Its directory is held, and may
// be renamed meanwhile.
class Temporary {
  public:
    Temporary(const std::string& target, unsigned permissions) : target_(target) {
        const std::size_t slash = target.rfind('/');
        const bool bare = slash == std::string::npos;
        base_ = bare ? target : target.substr(slash + 1);
        directory_ = bare ? "." : target.substr(0, slash + 1);
        const int dir =
            above_standard(::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (dir < 0) throw_file_error(errno, target);
        place_ = SharedDescriptor::own(dir);
        constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        for (int attempt = 0;; ++attempt) {
            name_ = temporary_name(base_);
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
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() {
        if (!name_.empty()) ::unlinkat(place_->get(), name_.c_str(), 0);
    }
    const Descriptor& file() const noexcept { return file_; }
    // To the disk, with what rename() will need for its own part: nothing that could be refused is
    // left for afterwards. Raises: OSError.
    void sync() {
        if (::fsync(file_->get()) != 0) throw_file_error(errno, target_);
        int how = above_standard(::openat(place_->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        whole_system_ = how < 0;
        // A directory that may not be read: all that its file system has to write, then.
        if (how < 0) how = ::fcntl(file_->get(), F_DUPFD_CLOEXEC, kFirstOwn);
        if (how < 0) throw_file_error(errno, directory_);
        synced_by_ = SharedDescriptor::own(how);
    }
    // Raises: OSError; then the target is as it was.
    void rename() {
        close_or_throw(std::move(file_), target_);
        if (::renameat(place_->get(), name_.c_str(), place_->get(), base_.c_str()) != 0) {
            throw_file_error(errno, target_);
        }
        name_.clear();
    }
    // The rename itself reaches the disk, if sync() was called. Raises: OSError for a disk that
    // fails.
    void sync_rename() const {
        if (!synced_by_) return;
        const int fd = synced_by_->get();
        const int failed = whole_system_ ? ::syncfs(fd) : ::fsync(fd);
        // Not every file system can: then there is nothing to wait for.
        if (failed != 0 && errno != EINVAL) throw_file_error(errno, directory_);
    }

  private:
    std::string target_;
    std::string directory_;
    std::string base_;
    std::string name_;  // empty: there is none, or it was renamed
    Descriptor place_;  // the directory, O_PATH
    Descriptor file_;
    Descriptor synced_by_;  // the directory, or a file in it
    bool whole_system_ = false;
};

// Where a link leads, at the end of a chain of them, be there a file or not. Raises: OSError ELOOP.
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
        at = relative ? at.substr(0, slash + 1) + to : to;
    }
    throw_file_error(ELOOP, path);
}

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

// Gives a new and still empty file the owner, group, permissions and access list of the one that it
// is to replace, as far as this user may. Where the group cannot be kept, it gets no rights that
// all others have not. Returns the permissions. Raises: OSError.
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

void replace_whole(const std::string& path, std::string data, ReplaceOptions options) {
    if (path.empty()) throw_file_error(ENOENT, path);
    // The system says first whether its links may be followed at all.
    struct stat before{};
    const bool exists = ::stat(path.c_str(), &before) == 0;
    if (!exists && errno != ENOENT) throw_file_error(errno, path);
    const std::string target = resolve_link(path);
    // A link of /proc leads to what no longer has that name.
    if (exists && ::stat(target.c_str(), &before) != 0) throw_file_error(errno, path);
    if (exists) refuse_directory(before, path);
    if (exists && !S_ISREG(before.st_mode)) {
        std::rethrow_exception(make_os_error(EINVAL, "Not a regular file", path));
    }
    // Nobody else may read it before it is as closed as the old one.
    Temporary temporary(target, exists ? 0600 : options.permissions);
    const int fd = temporary.file()->get();
    const mode_t mode = exists ? take_access(fd, target, before) : 0;
    write_whole(temporary.file(), path, std::move(data));
    if ((mode & ~mode_t{0777}) != 0 && ::fchmod(fd, mode) != 0) throw_file_error(errno, path);
    if (options.sync) temporary.sync();
    temporary.rename();
    temporary.sync_rename();
}

Coroutine<> replace_path(std::string path, std::string data, ReplaceOptions options) {
    check_path(path);
    auto replace = [path = std::move(path), data = std::move(data), options]() mutable {
        replace_whole(path, std::move(data), options);
    };
    co_await on_file_thread(std::move(replace));
}

// ---- copying -----------------------------------------------------------------------------------

// A copy under way, shared with the thread that works on it.
class Copy {
  public:
    Copy(std::string from, std::string to, CopyOptions options)
        : from_(std::move(from)), to_(std::move(to)), options_(options) {
        opening_->path = from_;
        opening_->flags = O_RDONLY;
        making_->path = to_;
        making_->flags = O_WRONLY | O_CREAT | (options.overwrite ? 0 : O_EXCL);
    }

    // What waits for the other end of a FIFO, as long as somebody wants it.
    const Ref<FileRequest>& opening() const noexcept { return opening_; }
    const Ref<FileRequest>& making() const noexcept { return making_; }
    // Raises: OSError.
    void begin() {
        check_path(from_);
        perform_opening(*opening_);
        in_ = opening_->file;
        const struct stat source = stat_of(in_, from_);
        refuse_directory(source, from_);
        stream_ = !S_ISREG(source.st_mode);
        check_path(to_);
        making_->permissions = options_.permissions ? source.st_mode & 0777 : 0666;
        // Emptied only when it is known to be another file, and one that can have the permissions.
        perform_opening(*making_);
        out_ = std::move(making_->file);
        const struct stat target = stat_of(out_, to_);
        if (source.st_dev == target.st_dev && source.st_ino == target.st_ino) {
            throw OSError(detail::quoted(from_) + " and " + detail::quoted(to_) +
                          " are the same file");
        }
        if (!S_ISREG(target.st_mode)) return;
        if (options_.permissions && (source.st_mode & 07777) != (target.st_mode & 07777)) {
            mode_ = source.st_mode & 07777;
            // Not yet those bits that a write takes away again.
            if (::fchmod(out_->get(), mode_ & 0777) != 0) throw_file_error(errno, to_);
        }
        if (::ftruncate(out_->get(), 0) != 0) throw_file_error(errno, to_);
    }
    // Copies some more; gives how much, 0 at the end. Raises: OSError.
    std::int64_t step() {
        block_write_signals();
        // Read already, while a FIFO's other end was waited for.
        if (std::string& first = opening_->data; !first.empty()) {
            const std::size_t size = first.size();
            write_whole(out_, to_, std::exchange(first, {}));
            return static_cast<std::int64_t>(size);
        }
        if (stream_ && !opening_->await_bytes()) throw_file_error(opening_->error, from_);
        while (true) {
            const ssize_t n = method_ == Method::kRange  ? copy_range()
                              : method_ == Method::kSend ? send()
                                                         : through_memory();
            if (n >= 0) return n;
        }
    }
    void end() {
        if ((mode_ & ~mode_t{0777}) != 0 && ::fchmod(out_->get(), mode_) != 0) {
            throw_file_error(errno, to_);
        }
        close_or_throw(std::move(out_), to_);
    }

  private:
    enum class Method : std::uint8_t { kRange, kSend, kMemory };
    // So much that a thread is not asked often, so little that a cancel is not late.
    static constexpr std::size_t kPiece = 8 * 1024 * 1024;

    // -1: tries again, perhaps another way.
    ssize_t copy_range() {
        const ssize_t n = ::copy_file_range(in_->get(), nullptr, out_->get(), nullptr, kPiece, 0);
        if (n > 0) {
            moved_ = true;
            return n;
        }
        if (n == 0 && moved_) return 0;
        // Nothing at all: a file that the kernel makes up says that its size is 0.
        return n < 0 ? fail_over(Method::kSend) : change_to(Method::kMemory);
    }
    ssize_t send() {
        const ssize_t n = ::sendfile(out_->get(), in_->get(), nullptr, kPiece);
        return n < 0 ? fail_over(Method::kMemory) : n;
    }
    ssize_t through_memory() {
        buffer_.resize(256 * 1024);
        const ssize_t n = ::read(in_->get(), buffer_.data(), buffer_.size());
        if (n < 0 && errno != EINTR) throw_file_error(errno, from_);
        if (n > 0) write_whole(out_, to_, buffer_.substr(0, static_cast<std::size_t>(n)));
        return n;
    }
    ssize_t change_to(Method method) noexcept {
        method_ = method;
        return -1;
    }
    // What these two files cannot do this way; other errors are the files'.
    ssize_t fail_over(Method next) {
        switch (errno) {
            case EINTR:
                return -1;
            case EXDEV:
            case EINVAL:
            case EBADF:  // append mode
            case ENOSYS:
            case EOPNOTSUPP:
            case EPERM:
            case ETXTBSY:
                return change_to(next);
            default:
                throw_file_error(errno, to_);
        }
    }

    const std::string from_;
    const std::string to_;
    const CopyOptions options_;
    const Ref<FileRequest> opening_ =
        Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    const Ref<FileRequest> making_ =
        Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    Descriptor in_;
    Descriptor out_;
    mode_t mode_ = 0;  // that the copy is to get, if it has not
    Method method_ = Method::kRange;
    bool moved_ = false;
    bool stream_ = false;  // it gives bytes when it has some
    std::string buffer_;
};

Coroutine<std::int64_t> copy_path(std::shared_ptr<Copy> copy) {
    const Abandon at_end(copy->opening());
    const Abandon at_end_too(copy->making());
    auto begin = [copy] { copy->begin(); };
    co_await on_file_thread(std::move(begin));
    std::int64_t total = 0;
    while (true) {
        auto step = [copy] { return copy->step(); };
        const std::int64_t n = co_await on_file_thread(std::move(step));
        if (n == 0) break;
        total += n;
    }
    auto end = [copy] { copy->end(); };
    co_await on_file_thread(std::move(end));
    co_return total;
}

// ---- directories -------------------------------------------------------------------------------

// A directory that is being read, shared with the thread that does so.
class Listing {
  public:
    explicit Listing(std::string path) : path_(std::move(path)) {}
    Listing(const Listing&) = delete;
    Listing& operator=(const Listing&) = delete;
    ~Listing() {
        if (dir_) ::closedir(dir_);
    }
    // Some more entries; none: the end. Raises: OSError.
    std::vector<DirEntry> more() {
        if (!dir_) open();
        std::vector<DirEntry> found;
        while (found.size() < kBatch) {
            errno = 0;
            const dirent* const entry = ::readdir(dir_);
            if (!entry && errno != 0) throw_file_error(errno, path_);
            if (!entry) break;
            const std::string_view name = entry->d_name;
            if (name == "." || name == "..") continue;
            found.push_back(describe(*entry));
        }
        return found;
    }

  private:
    static constexpr std::size_t kBatch = 512;

    void open() {
        dir_ = ::opendir(path_.c_str());
        if (!dir_) throw_file_error(errno, path_);
    }
    DirEntry describe(const dirent& entry) const {
        DirEntry found;
        found.name = entry.d_name;
        found.path = path_;
        if (!found.path.ends_with('/')) found.path += '/';
        found.path += found.name;
        found.type = file_type(DTTOIF(entry.d_type));
        struct stat s{};
        // Not every file system says what an entry is.
        if (entry.d_type == DT_UNKNOWN &&
            ::fstatat(::dirfd(dir_), entry.d_name, &s, AT_SYMLINK_NOFOLLOW) == 0) {
            found.type = file_type(s.st_mode);
        }
        return found;
    }

    const std::string path_;
    DIR* dir_ = nullptr;
};

AsyncGenerator<DirEntry> entries_of(std::string path) {
    check_path(path);
    const auto listing = std::make_shared<Listing>(std::move(path));
    while (true) {
        auto more = [listing] { return listing->more(); };
        std::vector<DirEntry> entries = co_await on_file_thread(std::move(more));
        if (entries.empty()) break;
        for (DirEntry& entry : entries) co_yield std::move(entry);
    }
}

bool is_directory(const DirEntry& entry, bool follow) {
    if (entry.is_directory()) return true;
    if (!follow || !entry.is_symlink()) return false;
    struct stat s{};
    return ::stat(entry.path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

// Null: it has vanished, or is left out.
std::unique_ptr<WalkEntry> read_for_walk(const std::string& path, bool top, WalkOptions options) {
    auto found = std::make_unique<WalkEntry>();
    found->path = path;
    try {
        Listing listing(path);
        while (true) {
            const std::vector<DirEntry> entries = listing.more();
            if (entries.empty()) break;
            for (const DirEntry& entry : entries) {
                const bool directory = is_directory(entry, options.follow_links);
                (directory ? found->directories : found->files).push_back(entry.name);
            }
        }
    } catch (const OSError& error) {
        const int number = error.code().value();
        const bool vanished = !top && (number == ENOENT || number == ENOTDIR);
        if (!vanished && !options.ignore_errors) throw;
        return nullptr;
    }
    std::sort(found->directories.begin(), found->directories.end());
    std::sort(found->files.begin(), found->files.end());
    return found;
}

std::string joined(const std::string& path, const std::string& name) {
    return path.ends_with('/') ? path + name : path + '/' + name;
}

// A stack in place of recursion: trees may be deep.
AsyncGenerator<WalkEntry&> entries_below(std::string path, WalkOptions options) {
    struct Place {
        std::string path;
        std::unique_ptr<WalkEntry> entry;  // bottom-up: what is yielded after those below it
    };
    check_path(path);
    std::vector<Place> left;
    left.push_back(Place{path, nullptr});
    bool top = true;
    while (!left.empty()) {
        Place place = std::move(left.back());
        left.pop_back();
        if (place.entry) {
            co_yield *place.entry;
            continue;
        }
        auto read = [path = place.path, top, options] { return read_for_walk(path, top, options); };
        std::unique_ptr<WalkEntry> entry = co_await on_file_thread(std::move(read));
        top = false;
        if (!entry) continue;
        if (options.top_down) co_yield *entry;
        std::vector<Place> below;
        for (const std::string& name : entry->directories) {
            below.push_back(Place{joined(place.path, name), nullptr});
        }
        if (!options.top_down) left.push_back(Place{place.path, std::move(entry)});
        std::move(below.rbegin(), below.rend(), std::back_inserter(left));
    }
}

// ---- temporary ---------------------------------------------------------------------------------

std::string temporary_root(std::string_view given) {
    if (!given.empty()) return std::string(given);
    const char* const set = ::getenv("TMPDIR");
    return set && *set ? set : "/tmp";
}

// Without a name from the start where the file system can, else unlinked at once.
Descriptor open_temporary(const std::string& dir) {
    const int fd = above_standard(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd >= 0) return SharedDescriptor::own(fd);
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) throw_file_error(errno, dir);
    std::string name = joined(dir, "tmpXXXXXX");
    const int named = above_standard(::mkostemp(name.data(), O_CLOEXEC));
    if (named < 0) throw_file_error(errno, dir);
    ::unlink(name.c_str());
    return SharedDescriptor::own(named);
}

Coroutine<File> make_temporary_file(std::string dir) {
    check_path(dir);
    auto open = [dir] { return open_temporary(dir); };
    Descriptor file = co_await on_file_thread(std::move(open));
    co_return make_temporary(std::move(file), dir);
}

// Removes a directory and all that is in it, as far as it can. Neither follows a link nor enters
// what is mounted there; a directory that its owner may not change is changed so that he may. Holds
// few descriptors, however deep it is.
class TreeRemover {
  public:
    explicit TreeRemover(std::string root) : path_(std::move(root)) {}
    // Raises: OSError, of the first that could not be removed, when all else is.
    void run() {
        const std::size_t slash = path_.rfind('/');
        const std::string above = path_.substr(0, slash + 1);  // absolute, so that there is one
        const int fd = above_standard(::open(above.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (fd < 0 && errno == ENOENT) return;
        if (fd < 0) throw_file_error(errno, path_);
        const auto place = SharedDescriptor::own(fd);
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
    struct Close {
        void operator()(DIR* dir) const noexcept { ::closedir(dir); }
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
        while (true) {
            errno = 0;
            const dirent* const entry = ::readdir(dir_.get());
            if (!entry) break;
            const std::string name = entry->d_name;
            if (name == "." || name == "..") continue;
            if (entry->d_type == DT_DIR) {
                levels_.back().left.push_back(name);
            } else {
                remove(fd(), name, 0);
            }
        }
        if (errno != 0) failed(errno, path_);
    }
    void remove(int place, const std::string& name, int how) {
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
    std::unique_ptr<DIR, Close> dir_;
    bool entered_ = false;
    bool lost_ = false;
    int error_ = 0;
    std::string failed_;
};

// Raises: OSError.
void remove_tree(const std::string& path) { TreeRemover(path).run(); }

// Raises: OSError.
std::string absolute_path(const std::string& path) {
    if (path.starts_with('/')) return path;
    const std::unique_ptr<char, decltype(&::free)> here(::getcwd(nullptr, 0), &::free);
    if (!here) throw_file_error(errno, path);
    return joined(here.get(), path);
}

// The path stays until nothing is there any more.
Coroutine<> remove_directory(std::shared_ptr<TemporaryTree> tree) {
    if (!tree || tree->path.empty()) co_return;
    auto remove = [path = tree->path] { remove_tree(path); };
    co_await on_file_thread(std::move(remove));
    tree->path.clear();
}

Coroutine<TemporaryDirectory> make_directory(std::string root, std::string prefix) {
    check_path(root);
    check_path(prefix);
    auto make = [root = std::move(root), prefix = std::move(prefix)] {
        std::string path = absolute_path(joined(root, prefix + "XXXXXX"));
        if (!::mkdtemp(path.data())) throw_file_error(errno, path);
        return TemporaryDirectory(std::move(path));
    };
    co_return co_await on_file_thread(std::move(make));
}

Coroutine<std::string> give_path(std::string path) { co_return path; }

Coroutine<bool> leave_directory(Coroutine<> cleanup) {
    co_await std::move(cleanup);
    co_return false;
}

}  // namespace

// By the last one that knows of it, if nobody has done so before.
TemporaryTree::~TemporaryTree() {
    if (path.empty()) return;
    try {
        remove_tree(path);
    } catch (const std::exception&) {
        // A destructor has nobody to tell.
    }
}

}  // namespace detail

Coroutine<std::string> read_file(std::string_view path) {
    return detail::read_path(std::string(path));
}

Coroutine<> write_file(std::string_view path, std::string data) {
    return detail::write_path(std::string(path), std::move(data));
}

Coroutine<> replace_file(std::string_view path, std::string data, ReplaceOptions options) {
    return detail::replace_path(std::string(path), std::move(data), options);
}

Coroutine<std::int64_t> copy_file(std::string_view from, std::string_view to, CopyOptions options) {
    return detail::copy_path(
        std::make_shared<detail::Copy>(std::string(from), std::string(to), options));
}

AsyncGenerator<DirEntry> list_dir(std::string_view path) {
    return detail::entries_of(std::string(path));
}

AsyncGenerator<WalkEntry&> walk(std::string_view path, WalkOptions options) {
    return detail::entries_below(std::string(path), options);
}

Coroutine<File> temporary_file(TemporaryOptions options) {
    return detail::make_temporary_file(detail::temporary_root(options.dir));
}

Coroutine<TemporaryDirectory> temporary_directory(TemporaryOptions options) {
    return detail::make_directory(detail::temporary_root(options.dir), std::string(options.prefix));
}

TemporaryDirectory::TemporaryDirectory(std::string path)
    : tree_(std::make_shared<detail::TemporaryTree>()) {
    tree_->path = std::move(path);
}
TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& o) noexcept = default;
TemporaryDirectory& TemporaryDirectory::operator=(TemporaryDirectory&& o) noexcept {
    std::swap(tree_, o.tree_);
    return *this;
}
TemporaryDirectory::~TemporaryDirectory() = default;

const std::string& TemporaryDirectory::path() const noexcept {
    static const std::string none;
    return tree_ ? tree_->path : none;
}

std::string TemporaryDirectory::release() noexcept {
    return tree_ ? std::exchange(tree_->path, {}) : std::string();
}

Coroutine<> TemporaryDirectory::cleanup() { return detail::remove_directory(tree_); }

Coroutine<std::string> TemporaryDirectory::aenter() { return detail::give_path(path()); }

Coroutine<bool> TemporaryDirectory::aexit(std::exception_ptr) {
    return detail::leave_directory(cleanup());
}

}  // namespace v1
}  // namespace asyncio

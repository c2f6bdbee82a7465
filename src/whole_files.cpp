// Whole files, directories and temporaries: what files.hpp offers that is made of several calls.
// Each is a function that a thread for files calls and that owns all it works on, so that nothing
// is left behind, and nobody waits, when the caller is cancelled.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>

#include "asyncio/files.hpp"
#include "asyncio/tasks.hpp"
#include "backend/posix.hpp"
#include "file_requests.hpp"
#include "shared_reads.hpp"

namespace asyncio::inline v1 {
namespace detail {

bool read_small_file(const std::string& path, std::string& data) {
    const int fd = open_cached(path, O_RDONLY);
    if (fd < 0) return false;
    const auto file = Ref<SharedDescriptor>::adopt(new SharedDescriptor(fd));
    struct stat s{};
    if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return false;
    const auto size = static_cast<std::size_t>(s.st_size);
    if (size == 0 || size > kMostInline) return false;
    // As long as it was when it was opened: what is appended meanwhile is another reader's.
    data.resize(size);
    return read_cached(fd, data.data(), size, 0) == s.st_size;
}

// In files.cpp. Raises: OSError.
File make_temporary(Ref<SharedDescriptor> fd, const std::string& dir);

namespace {

using Descriptor = Ref<SharedDescriptor>;

// Raises: OSError.
Descriptor open_or_throw(const std::string& path, int flags, unsigned permissions = 0) {
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
    request->path = path;
    request->flags = flags;
    request->permissions = permissions;
    request->perform();
    if (request->error != 0) throw_file_error(request->error, path);
    return request->file;
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

std::string read_whole(const std::string& path) {
    const Descriptor file = open_or_throw(path, O_RDONLY);
    const struct stat s = stat_of(file, path);
    refuse_directory(s, path);
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kRead));
    request->file = file;
    request->offset = S_ISREG(s.st_mode) ? 0 : FileRequest::kNoOffset;
    request->most = static_cast<std::size_t>(-1);
    request->expect = S_ISREG(s.st_mode) ? static_cast<std::size_t>(s.st_size) + 1 : 0;
    std::string data;
    do {
        request->data.clear();
        request->perform();
        if (request->failure) std::rethrow_exception(request->failure);
        if (request->error != 0) throw_file_error(request->error, path);
        data = data.empty() ? std::move(request->data) : data + request->data;
        // A stream gives some at a time.
    } while (!S_ISREG(s.st_mode) && !request->data.empty());
    return data;
}

Coroutine<std::string> read_path(std::string path) {
    if (FileCourtesy(4096).due()) co_await sleep(std::chrono::seconds(0));
    FileBackend& files = file_backend();
    if (!files.shared) {
        auto& loop = static_cast<Loop&>(running_core());
        files.shared = std::make_unique<SharedReads>(loop, files.threads());
    }
    if (files.shared->alone()) {
        std::string data;
        if (read_small_file(path, data)) co_return data;
    } else {
        const auto read = Ref<SharedRead>::adopt(new SharedRead(std::move(path)));
        SharedReadWait wait(*files.shared, *read);
        co_await wait;
        if (read->failure) std::rethrow_exception(read->failure);
        if (read->found) co_return std::move(read->data);
        path = std::move(read->path);
    }
    auto whole = [path = std::move(path)] { return read_whole(path); };
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
    auto write = [path = std::move(path), data = std::move(data)]() mutable {
        Descriptor file = open_or_throw(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        write_whole(file, path, std::move(data));
        close_or_throw(std::move(file), path);
    };
    co_await on_file_thread(std::move(write));
}

// ---- atomic replacement ------------------------------------------------------------------------

// A name that nobody else has.
std::string unique_name(const std::string& before) {
    static std::atomic<std::uint64_t> counter{
        static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count())};
    // Odd, so that no number comes twice; mixed, so that two processes seldom try the same.
    const std::uint64_t n =
        (counter.fetch_add(1) + (static_cast<std::uint64_t>(::getpid()) << 40)) *
        0x9e3779b97f4a7c15U;
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(n));
    return before + digits;
}

// Unlinks a temporary file, unless it was renamed.
class Temporary {
  public:
    explicit Temporary(const std::string& target, unsigned permissions) : target_(target) {
        const std::size_t slash = target.rfind('/');
        directory_ = slash == std::string::npos ? "." : target.substr(0, slash + 1);
        const std::string base = slash == std::string::npos ? target : target.substr(slash + 1);
        const std::string before = slash == std::string::npos ? "" : directory_;
        constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        for (int attempt = 0;; ++attempt) {
            path_ = unique_name(before + '.' + base.substr(0, 200) + '.');
            const int fd =
                above_standard(::open(path_.c_str(), kFlags, static_cast<mode_t>(permissions)));
            if (fd >= 0) {
                file_ = Descriptor::adopt(new SharedDescriptor(fd));
                return;
            }
            if (errno != EEXIST || attempt == 100) throw_file_error(errno, target);
        }
    }
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    const Descriptor& file() const noexcept { return file_; }
    void close() { close_or_throw(std::move(file_), target_); }
    void rename() {
        if (::rename(path_.c_str(), target_.c_str()) != 0) throw_file_error(errno, target_);
        path_.clear();
    }
    // The rename itself reaches the disk.
    void sync_directory() const {
        const Descriptor dir = open_or_throw(directory_, O_RDONLY | O_DIRECTORY);
        // Not every file system can: then there is nothing to wait for.
        if (::fsync(dir->get()) != 0 && errno != EINVAL) throw_file_error(errno, directory_);
    }

  private:
    std::string target_;
    std::string directory_;
    std::string path_;
    Descriptor file_;
};

// The file that a link names, at the end of a chain of them.
std::string resolve_link(const std::string& path) {
    struct stat s{};
    if (::lstat(path.c_str(), &s) != 0 || !S_ISLNK(s.st_mode)) return path;
    const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
    if (!real) throw_file_error(errno, path);
    return real.get();
}

void replace_whole(const std::string& path, std::string data, ReplaceOptions options) {
    const std::string target = resolve_link(path);
    struct stat before{};
    const bool exists = ::stat(target.c_str(), &before) == 0;
    if (exists) refuse_directory(before, path);
    Temporary temporary(target, options.permissions & 07777);
    write_whole(temporary.file(), path, std::move(data));
    const int fd = temporary.file()->get();
    if (exists && ::fchmod(fd, before.st_mode & 07777) != 0) throw_file_error(errno, path);
    if (options.sync && ::fsync(fd) != 0) throw_file_error(errno, path);
    temporary.close();
    temporary.rename();
    if (options.sync) temporary.sync_directory();
}

Coroutine<> replace_path(std::string path, std::string data, ReplaceOptions options) {
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
        : from_(std::move(from)), to_(std::move(to)), options_(options) {}

    // Raises: OSError.
    void begin() {
        in_ = open_or_throw(from_, O_RDONLY);
        const struct stat source = stat_of(in_, from_);
        refuse_directory(source, from_);
        const int exclusive = options_.overwrite ? 0 : O_EXCL;
        const unsigned permissions = options_.permissions ? source.st_mode & 0777 : 0666;
        // Emptied only when it is known to be another file.
        out_ = open_or_throw(to_, O_WRONLY | O_CREAT | exclusive, permissions);
        const struct stat target = stat_of(out_, to_);
        if (source.st_dev == target.st_dev && source.st_ino == target.st_ino) {
            throw OSError(detail::quoted(from_) + " and " + detail::quoted(to_) +
                          " are the same file");
        }
        if (S_ISREG(target.st_mode) && ::ftruncate(out_->get(), 0) != 0) {
            throw_file_error(errno, to_);
        }
        if (options_.permissions && S_ISREG(target.st_mode) &&
            ::fchmod(out_->get(), source.st_mode & 07777) != 0) {
            throw_file_error(errno, to_);
        }
    }
    // Copies some more; gives how much, 0 at the end. Raises: OSError.
    std::int64_t step() {
        while (true) {
            const ssize_t n = method_ == Method::kRange  ? copy_range()
                              : method_ == Method::kSend ? send()
                                                         : through_memory();
            if (n >= 0) return n;
        }
    }
    void end() { close_or_throw(std::move(out_), to_); }

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
    Descriptor in_;
    Descriptor out_;
    Method method_ = Method::kRange;
    bool moved_ = false;
    std::string buffer_;
};

Coroutine<std::int64_t> copy_path(std::shared_ptr<Copy> copy) {
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
        const bool vanished = !top && error.code().value() == ENOENT;
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
    if (!given.empty()) return checked_path(given);
    const char* const set = ::getenv("TMPDIR");
    return set && *set ? set : "/tmp";
}

// Without a name from the start where the file system can, else unlinked at once.
Descriptor open_temporary(const std::string& dir) {
    const int fd = above_standard(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd >= 0) return Descriptor::adopt(new SharedDescriptor(fd));
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) throw_file_error(errno, dir);
    std::string name = joined(dir, "tmpXXXXXX");
    const int named = above_standard(::mkostemp(name.data(), O_CLOEXEC));
    if (named < 0) throw_file_error(errno, dir);
    ::unlink(name.c_str());
    return Descriptor::adopt(new SharedDescriptor(named));
}

Coroutine<File> make_temporary_file(std::string dir) {
    auto open = [dir] { return open_temporary(dir); };
    Descriptor file = co_await on_file_thread(std::move(open));
    co_return make_temporary(std::move(file), dir);
}

// Raises: OSError.
void remove_tree(const std::string& path) {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) throw_file_error(error.value(), path);
}

// One that is dropped uncalled removes it all the same, as every TemporaryDirectory does.
Coroutine<> remove_directory(TemporaryDirectory directory) {
    auto remove = [directory = std::move(directory)]() mutable {
        remove_tree(directory.release());
    };
    co_await on_file_thread(std::move(remove));
}

Coroutine<TemporaryDirectory> make_directory(std::string root, std::string prefix) {
    auto make = [root = std::move(root), prefix = std::move(prefix)] {
        std::string path = std::filesystem::absolute(joined(root, prefix + "XXXXXX")).string();
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

Coroutine<> nothing_to_do() { co_return; }

}  // namespace
}  // namespace detail

Coroutine<std::string> read_file(std::string_view path) {
    return detail::read_path(detail::checked_path(path));
}

Coroutine<> write_file(std::string_view path, std::string data) {
    return detail::write_path(detail::checked_path(path), std::move(data));
}

Coroutine<> replace_file(std::string_view path, std::string data, ReplaceOptions options) {
    return detail::replace_path(detail::checked_path(path), std::move(data), options);
}

Coroutine<std::int64_t> copy_file(std::string_view from, std::string_view to, CopyOptions options) {
    return detail::copy_path(std::make_shared<detail::Copy>(detail::checked_path(from),
                                                            detail::checked_path(to), options));
}

AsyncGenerator<DirEntry> list_dir(std::string_view path) {
    return detail::entries_of(detail::checked_path(path));
}

AsyncGenerator<WalkEntry&> walk(std::string_view path, WalkOptions options) {
    return detail::entries_below(detail::checked_path(path), options);
}

Coroutine<File> temporary_file(TemporaryOptions options) {
    return detail::make_temporary_file(detail::temporary_root(options.dir));
}

Coroutine<TemporaryDirectory> temporary_directory(TemporaryOptions options) {
    return detail::make_directory(detail::temporary_root(options.dir),
                                  detail::checked_path(options.prefix));
}

TemporaryDirectory::TemporaryDirectory(std::string path) noexcept : path_(std::move(path)) {}
TemporaryDirectory::TemporaryDirectory(TemporaryDirectory&& o) noexcept
    : path_(std::exchange(o.path_, {})) {}
TemporaryDirectory& TemporaryDirectory::operator=(TemporaryDirectory&& o) noexcept {
    std::swap(path_, o.path_);
    return *this;
}

TemporaryDirectory::~TemporaryDirectory() {
    if (path_.empty()) return;
    std::error_code ignored;  // a destructor has nobody to tell
    std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::release() noexcept { return std::exchange(path_, {}); }

Coroutine<> TemporaryDirectory::cleanup() {
    if (path_.empty()) return detail::nothing_to_do();
    return detail::remove_directory(std::move(*this));
}

Coroutine<std::string> TemporaryDirectory::aenter() { return detail::give_path(path_); }

Coroutine<bool> TemporaryDirectory::aexit(std::exception_ptr) {
    return detail::leave_directory(cleanup());
}

}  // namespace asyncio::inline v1

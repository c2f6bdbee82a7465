// Which calls may be made on the loop's thread. None that waits for a disk: reading with
// RWF_NOWAIT (a page that is not in memory is EAGAIN), opening with RESOLVE_CACHED (a name that is
// not in memory is EAGAIN). All else goes to threads of the loop's own for files: not to_thread's,
// whose long jobs would hold up every read, nor the resolver's.
#include "files/file_requests.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <string_view>

#include "asyncio/exceptions.hpp"
#include "files/shared_reads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- doing it ----------------------------------------------------------------------------------

namespace {

constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;  // the system's own limit is 2 GiB

constexpr int kLongestPause = 50;  // ms, between two looks at a FIFO's other end

bool names_fifo(const std::string& path) noexcept {
    struct stat s{};
    return ::stat(path.c_str(), &s) == 0 && S_ISFIFO(s.st_mode);
}

ssize_t read_some(int fd, const FilePiece& p) noexcept {
    if (refused("read")) return -1;
    return p.offset == FileRequest::kNoOffset ? ::read(fd, p.memory, p.size)
                                              : ::pread(fd, p.memory, p.size, p.offset);
}

ssize_t write_some(int fd, const FilePiece& p) noexcept {
    if (refused("write")) return -1;
    return p.offset == FileRequest::kNoOffset ? ::write(fd, p.memory, p.size)
                                              : ::pwrite(fd, p.memory, p.size, p.offset);
}

}  // namespace

void FileRequest::perform() noexcept {
    performed_ = true;
    const int fd = file ? file->get() : -1;
    int failed = 0;
    switch (op) {
        case Op::kOpen:
            return open();
        case Op::kWrite:
            block_write_signals();
            [[fallthrough]];
        case Op::kRead:
            return move_pieces();
        case Op::kTruncate:
            block_write_signals();
            do {
                failed = refused("ftruncate") ? -1 : ::ftruncate(fd, offset);
            } while (failed != 0 && errno == EINTR);
            break;
        case Op::kSync:
            do {
                failed = refused("fsync") ? -1 : ::fsync(fd);
            } while (failed != 0 && errno == EINTR);
            break;
        case Op::kDataSync:
            do {
                failed = refused("fdatasync") ? -1 : ::fdatasync(fd);
            } while (failed != 0 && errno == EINTR);
            break;
        case Op::kStat:
            failed = refused("fstat") ? -1 : ::fstat(fd, &stat);
            break;
        case Op::kClose:
            error = file->close();
            return;
    }
    if (failed != 0) error = errno;
}

void FileRequest::open() noexcept {
    if ((flags & O_ACCMODE) == O_WRONLY && names_fifo(path) && !open_for_reader()) return;
    // As open_here() does it, where it has not: a thread that waits for the other end of a FIFO is
    // to look up now and then, whether anybody still wants it.
    if (!file && opens_existing(flags) && !open_as(flags | O_NONBLOCK)) {
        if (error != EAGAIN) return;
        error = 0;  // somebody has a lease on it, which is to be waited for
    }
    if (file && use_opened()) return;
    open_as(flags);
}

// Opens `file` anew. Returns false if that is an error.
bool FileRequest::open_as(int how) noexcept {
    const int fd = open_descriptor(path, how, permissions);
    if (fd < 0 || ::fstat(fd, &stat) != 0) {
        error = errno;
        if (fd >= 0) ::close(fd);
        return false;
    }
    try {
        file = SharedDescriptor::own(fd);
    } catch (const std::bad_alloc&) {
        error = ENOMEM;
        return false;
    }
    return true;
}

// Opens a FIFO to write, once somebody has opened it to read: so that a thread can look up now and
// then, whether anybody still wants it. Returns false if that is an error.
bool FileRequest::open_for_reader() noexcept {
    for (int pause = 0; !left_.load(std::memory_order_relaxed);
         pause = std::min(2 * pause + 1, kLongestPause)) {
        if (open_as(flags | O_NONBLOCK)) return true;
        if (error != ENXIO) return false;
        error = 0;
        ::poll(nullptr, 0, pause);
    }
    error = ECANCELED;  // whom nobody hears
    return false;
}

// Makes of what open_here() has opened what open(2) would have given. False: it is to be opened
// again, while this descriptor stays open.
bool FileRequest::use_opened() noexcept {
    const int fd = file->get();
    const bool fifo = S_ISFIFO(stat.st_mode);
    const bool plain = S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode);
    // Opening a terminal waits for its line, and a disk for its medium. Of other devices there may
    // be some that can be opened only once.
    if (!fifo && !plain && (!S_ISCHR(stat.st_mode) || ::isatty(fd))) return false;
    if (fifo && (flags & O_ACCMODE) == O_RDONLY) await_writer();
    const int now = ::fcntl(fd, F_GETFL);
    if (error == 0 && (now < 0 || ::fcntl(fd, F_SETFL, now & ~O_NONBLOCK) != 0)) error = errno;
    return true;
}

// Until somebody has opened the other end of a FIFO. To open it again and let the system wait would
// be to wait for another writer, if one came and went since this end was opened: so it is asked.
void FileRequest::await_writer() noexcept {
    const int fd = file->get();
    int pause = 0;
    while (!left_.load(std::memory_order_relaxed)) {
        pollfd wanted{fd, POLLIN, 0};
        // Bytes, or a writer that has gone. One that has not written yet is not told of.
        if (::poll(&wanted, 1, pause) > 0) return;
        char byte;
        const ssize_t n = ::read(fd, &byte, 1);
        if (n > 0) data.assign(1, byte);
        if (n != 0 && !(n < 0 && errno == EINTR)) return;
        pause = std::min(2 * pause + 1, kLongestPause);
    }
    error = ECANCELED;  // whom nobody hears
}

// The thread looks up now and then, whether anybody still wants what it waits for.
bool FileRequest::await_bytes() noexcept {
    pollfd wanted{file->get(), POLLIN, 0};
    for (;;) {
        const int n = ::poll(&wanted, 1, kLongestPause);
        if (left_.load(std::memory_order_relaxed)) break;     // the bytes are for others
        if (n > 0 || (n < 0 && errno != EINTR)) return true;  // what is wrong, read(2) says
    }
    error = ECANCELED;
    return false;
}

void FileRequest::move_pieces() noexcept {
    if (op == Op::kWrite && written == data.size()) return;
    got_ = 0;
    if (op == Op::kRead && offset == kNoOffset && !await_bytes()) {
        data.clear();
        return;
    }
    FilePiece piece{};
    ssize_t n = 0;
    do {
        if (!next_piece(piece)) return;
        const int fd = file->get();
        n = op == Op::kRead ? read_some(fd, piece) : write_some(fd, piece);
    } while (piece_ended(n < 0 ? -errno : n));
}

bool FileRequest::next_piece(FilePiece& piece) noexcept {
    performed_ = true;
    const std::size_t done = op == Op::kRead ? got_ : written;
    try {
        if (op == Op::kRead && got_ == data.size()) {
            const std::size_t more = std::max({expect, got_, std::size_t{4096}});
            data.resize(got_ + std::min(more, most - got_));
        }
    } catch (const std::exception&) {
        // Not length_error: so long a file and too little memory are one thing to the caller.
        failure = std::make_exception_ptr(std::bad_alloc());
        return false;
    }
    piece.memory = data.data() + done;
    piece.size = std::min(data.size() - done, kMostAtOnce);
    piece.offset = offset == kNoOffset ? kNoOffset : offset + static_cast<std::int64_t>(done);
    return true;
}

bool FileRequest::piece_ended(std::int64_t n) noexcept {
    if (n == -EINTR) return true;
    if (n < 0) error = static_cast<int>(-n);
    return op == Op::kRead ? has_read(n) : has_written(n);
}

bool FileRequest::has_read(std::int64_t n) noexcept {
    if (n > 0) got_ += static_cast<std::size_t>(n);
    expect = 0;
    // What a stream has is enough.
    if (n > 0 && got_ < most && offset != kNoOffset) return true;
    data.resize(got_);
    return false;
}

bool FileRequest::has_written(std::int64_t n) noexcept {
    if (n == 0) error = EIO;
    if (n <= 0) return false;
    written += static_cast<std::size_t>(n);
    return written < data.size();
}

// ---- from the loop to a thread and back --------------------------------------------------------

FileRequest::~FileRequest() {
    if (core_) core_->detach();
}

void FileRequest::begin(Loop& loop) noexcept {
    loop.attach();
    awaited_ = !loop.own_jobs;
    if (awaited_) loop.begin_external();
    core_ = &loop;
    // A write that is partly done is not left so.
    must_run_ = written > 0 || op == Op::kClose;
    retain();
}

void FileRequest::begin_here(Loop& loop) noexcept {
    begin(loop);
    claim();
}

void FileRequest::lose() noexcept {
    end_wait();
    orphan();
    release();
}

bool FileRequest::leave() noexcept {
    waiter_ = nullptr;
    if (done_) return true;
    if (must_run_ || !claim()) {
        abandon();
        // Of a closed loop nobody waits for a turn, and the thread may be in orphan() just now.
        if (!core_->closed) run_on();
        return false;
    }
    end();
    settle();
    return true;
}

void FileRequest::end_wait() noexcept {
    if (awaited_) static_cast<Loop*>(core_)->end_external();
}

void FileRequest::end() noexcept {
    done_ = true;
    end_wait();
}

void FileRequest::execute() noexcept {
    if (claim()) {
        perform();
        if (push_threadsafe(*core_, this)) return;
        // A loop that is closed has nobody to tell.
        orphan();
    }
    release();
}

void FileRequest::discard() noexcept {
    if (claim()) {
        end_wait();
        orphan();
    }
    release();
}

void FileRequest::run() {
    end();
    settle();
    if (waiter_ && !waiter_->done()) waiter_->set();
    release();
}

void FileRequest::drop() noexcept {
    end();
    settle();
    release();
}

// ---- the loop's threads ------------------------------------------------------------------------

namespace {

class ThreadFileBackend final : public FileBackend {
  public:
    explicit ThreadFileBackend(Loop& loop) : loop_(loop), pool_(kThreads, "asyncio-file") {}
    // What has not begun is dropped; nobody waits for what runs.
    ~ThreadFileBackend() override {
        pool_.shutdown(false, true);
        pool_.leave_threads();
    }
    void start(FileRequest& request) override {
        request.begin(loop_);
        pool_.add(Executor::Job(&request));
    }
    Executor& threads() override { return pool_; }

  private:
    // As many as keep a disk's queue busy; idle ones end.
    static constexpr int kThreads = 16;

    Loop& loop_;
    ThreadPoolExecutor pool_;
};

// The loop's own thread does it: component/jobs.hpp.
class OwnFileBackend final : public FileBackend {
  public:
    OwnFileBackend(Loop& loop, Executor& jobs) noexcept : loop_(loop), jobs_(jobs) {}
    void start(FileRequest& request) override {
        request.begin(loop_);
        jobs_.add(Executor::Job(&request));
    }
    Executor& threads() override { return jobs_; }

  private:
    Loop& loop_;
    Executor& jobs_;
};

}  // namespace

FileBackend::FileBackend() = default;
FileBackend::~FileBackend() = default;

namespace {

// What does the operations on the files of one loop.
class LoopFiles final : public LoopService {
  public:
    static const ServiceKey key;
    explicit LoopFiles(LoopCore& core) : LoopService(ServiceRank::kSystem) {
        auto& loop = static_cast<Loop&>(core);
        if (loop.own_jobs) {
            backend = std::make_shared<OwnFileBackend>(loop, *loop.own_jobs);
            return;
        }
        backend = std::make_shared<ThreadFileBackend>(loop);
        if (auto ring = make_ring_files(loop, backend)) backend = std::move(ring);
    }
    void loop_closed() noexcept override { backend = nullptr; }
    void left_to_parent() noexcept override { backend->leave_to_parent(); }

    std::shared_ptr<FileBackend> backend;
};

const ServiceKey LoopFiles::key;

}  // namespace

FileBackend& file_backend() { return *service<LoopFiles>(running_core()).backend; }

// ---- without a thread --------------------------------------------------------------------------

FileCourtesy::FileCourtesy(std::size_t bytes) noexcept {
    static thread_local std::size_t moved = 0;
    moved += std::min(bytes, kMostInline) + 1024;  // a small call takes its time too
    due_ = moved > kMostInline;
    if (due_) moved = 0;
}

FileOpening open_here(const std::string& path, int flags) {
    FileOpening opened;
    const int fd = open_cached(path, flags);
    if (fd < 0) return opened;
    opened.file = SharedDescriptor::own(fd);
    if (::fstat(fd, &opened.stat) != 0) {
        opened.file = nullptr;
        return opened;
    }
    opened.ready = S_ISREG(opened.stat.st_mode) || S_ISDIR(opened.stat.st_mode);
    return opened;
}

// ---- odds and ends -----------------------------------------------------------------------------

void check_path(const std::string& path) {
    if (path.find('\0') != std::string::npos) throw ValueError("embedded null byte");
}

FileType file_type(unsigned mode) noexcept {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return FileType::REGULAR;
        case S_IFDIR:
            return FileType::DIRECTORY;
        case S_IFLNK:
            return FileType::SYMLINK;
        case S_IFIFO:
            return FileType::FIFO;
        case S_IFSOCK:
            return FileType::SOCKET;
        case S_IFCHR:
            return FileType::CHARACTER_DEVICE;
        case S_IFBLK:
            return FileType::BLOCK_DEVICE;
        default:
            return FileType::UNKNOWN;
    }
}

namespace {

FileStat::Time time_of(const timespec& t) noexcept {
    return FileStat::Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

}  // namespace

FileStat file_stat(const struct stat& s) noexcept {
    FileStat result;
    result.size = s.st_size;
    result.type = file_type(s.st_mode);
    result.permissions = s.st_mode & 07777;
    result.uid = s.st_uid;
    result.gid = s.st_gid;
    result.device = s.st_dev;
    result.inode = s.st_ino;
    result.links = s.st_nlink;
    result.allocated = std::int64_t{s.st_blocks} * 512;
    result.accessed = time_of(s.st_atim);
    result.modified = time_of(s.st_mtim);
    result.changed = time_of(s.st_ctim);
    return result;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Operations on files that may block, and what does them: the seam between files.cpp and the
// system. Threads do them; on an io_uring loop the kernel's ring does what gains by it
// (file_ring.cpp).
#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/files.hpp"
#include "asyncio/threads/to_thread.hpp"
#include "loop/loop.hpp"
#include "os/files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What one call of read(2) or write(2) is given.
struct FilePiece {
    char* memory;
    std::size_t size;
    std::int64_t offset;  // or FileRequest::kNoOffset
};

// One operation, with all it works on: it lives until the operation has ended, whoever waits.
// Made on the loop's thread, done on another, and back.
class FileRequest : public Node, public JobBase, public Pooled {
  public:
    enum class Op : std::uint8_t {
        kOpen,      // path, flags, permissions, what open_here() gave -> file, stat, data
        kRead,      // file, offset, most -> data
        kWrite,     // file, offset, data, written -> written
        kTruncate,  // file, offset: the new size
        kSync,      // file
        kDataSync,  // file
        kStat,      // file -> stat
        kClose,     // file
    };
    // For kRead and kWrite: at the position that the system keeps.
    static constexpr std::int64_t kNoOffset = -1;

    explicit FileRequest(Op what) noexcept : op(what) {}
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    const Op op;
    Ref<SharedDescriptor> file;
    std::string path;
    int flags = 0;
    unsigned permissions = 0;
    std::int64_t offset = kNoOffset;
    std::size_t most = 0;     // kRead: ends with so many bytes or at the end of the file
    std::size_t expect = 0;   // kRead: how many there probably are
    std::size_t written = 0;  // kWrite: how much of `data`
    std::string data;
    struct stat stat{};
    int error = 0;
    std::exception_ptr failure;  // no memory for what was read
    bool regular = false;        // `file` is a regular file

    bool done() const noexcept { return done_; }
    // Whether it was done at all, rather than given up before it began.
    bool performed() const noexcept { return performed_; }

    // Does it, and blocks. Any thread.
    void perform() noexcept;
    // In pieces, for a ring: the next one of kRead or kWrite, of which memory stays where it is
    // until it ends. False: there is no memory for it, and the request has ended.
    bool next_piece(FilePiece& piece) noexcept;
    // A piece has moved `n` bytes, or `n` is an errno as a negative number. Returns whether there
    // is more to do.
    bool piece_ended(std::int64_t n) noexcept;

    // On the loop's thread, once, before it is handed to an executor.
    void begin(Loop& loop) noexcept;
    // In place of it, where the loop's thread itself starts it: it is not given up any more.
    void begin_here(Loop& loop) noexcept;
    // After that: the loop is closed, and nobody is to be told.
    void lose() noexcept;
    void set_waiter(Waiter* waiter) noexcept { waiter_ = waiter; }
    // Nobody waits any more. Returns true if it has ended or will not begin; else it runs on.
    bool leave() noexcept;

    // Until `file`, a stream, has bytes or ends. Returns false if nobody waits any more: `error` is
    // ECANCELED then.
    bool await_bytes() noexcept;

    // Nobody waits any more: a thread that would wait for ever need not. Any thread. Relaxed, since
    // nothing is passed on by it: the thread looks again after a while, and what it has done comes
    // back as ever.
    void abandon() noexcept { left_.store(true, std::memory_order_relaxed); }

    void execute() noexcept override;
    void discard() noexcept override;
    void run() override;
    void drop() noexcept override;

  protected:
    virtual ~FileRequest();
    // Its end, on the loop's thread, whether or not somebody still waits.
    virtual void settle() noexcept {}
    // Nobody waits, and it runs on.
    virtual void run_on() noexcept {}
    // Its end when the loop is gone, on any thread.
    virtual void orphan() noexcept {}

  private:
    bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_acq_rel); }
    void end() noexcept;
    void end_wait() noexcept;
    void open() noexcept;
    bool open_as(int how) noexcept;
    bool open_for_reader() noexcept;
    bool use_opened() noexcept;
    void await_writer() noexcept;
    void move_pieces() noexcept;
    bool has_read(std::int64_t n) noexcept;
    bool has_written(std::int64_t n) noexcept;

    std::size_t got_ = 0;  // kRead: how much of `data` is filled
    RefCount refs_{1};
    std::atomic<bool> claimed_{false};  // by the thread that does it or the loop that gives it up
    std::atomic<bool> left_{false};     // abandon() was called
    bool must_run_ = false;             // it is not given up, even if no thread has begun
    bool done_ = false;
    bool performed_ = false;
    bool awaited_ = false;  // virtual time stands still for it
    LoopCore* core_ = nullptr;
    Waiter* waiter_ = nullptr;
};

class SharedReads;

// What does the operations of one loop.
class FileBackend {
  public:
    FileBackend();
    FileBackend(const FileBackend&) = delete;
    FileBackend& operator=(const FileBackend&) = delete;
    virtual ~FileBackend();
    // Begins `request`; it ends on the loop's thread, by FileRequest::run or drop.
    // Raises: RuntimeError "can't start new thread".
    virtual void start(FileRequest& request) = 0;
    // Threads for what is made of several operations.
    virtual Executor& threads() = 0;
    // This process is a child of fork(2), see Backend.
    virtual void leave_to_parent() noexcept {}

    std::unique_ptr<SharedReads> shared;  // made by the first that is read whole
};
// The running loop's, made by its first file. Raises: RuntimeError "no running event loop".
FileBackend& file_backend();

// One that gives what a ring of the kernel does well to it, and the rest to `threads`; null where
// there is none.
std::shared_ptr<FileBackend> make_ring_files(Loop& loop, std::shared_ptr<FileBackend> threads);

// Starts a request and suspends the task until it ends.
class FileWait {
  public:
    using asyncio_native = void;

    explicit FileWait(FileRequest& request) : request_(Ref<FileRequest>::share(&request)) {
        file_backend().start(request);
    }
    FileWait(const FileWait&) = delete;
    FileWait& operator=(const FileWait&) = delete;
    ~FileWait() { request_->leave(); }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        request_->set_waiter(&waiter_);
        waiter_.suspend(h.promise());
    }
    void await_resume() {
        if (std::exception_ptr error = waiter_.resume()) std::rethrow_exception(error);
    }

  private:
    Ref<FileRequest> request_;
    Waiter waiter_{WaitKind::kFile};
};

// What `fn` gives, called on a thread for files. It owns all that it works on. A cancelled caller
// goes on at once; what has begun goes on too, and its result is destroyed.
template <class F>
auto on_file_thread(F fn) -> Coroutine<JobResult<F>> {
    auto future =
        start_job(running_core(), &file_backend().threads(), ContextSlot(), false, std::move(fn));
    co_return co_await std::move(future);
}

// Lets other tasks run now and then in a loop over calls that need not wait, since the system has
// the bytes in memory. `bytes`: about how many the next call will move.
class FileCourtesy {
  public:
    explicit FileCourtesy(std::size_t bytes) noexcept;
    bool due() const noexcept { return due_; }

  private:
    bool due_;
};

// Raises: ValueError "embedded null byte".
void check_path(const std::string& path);
FileStat file_stat(const struct stat& s) noexcept;
FileType file_type(unsigned mode) noexcept;
// A temporary file of directory `dir` as a File of the running loop. Raises: OSError.
File make_temporary(Ref<SharedDescriptor> fd, const std::string& dir);

// What opening a file without waiting has come to.
struct FileOpening {
    Ref<SharedDescriptor> file;  // null: nothing was opened
    struct stat stat{};          // of `file`
    bool ready = false;          // `file` is as open(2) gives it; else a request must finish it
};
// Opens an existing file whose name is in memory. What is no regular file is not ready: a thread
// must wait for the other end of a FIFO, but the descriptor is to be kept, since who is at that end
// has seen this one come, and may have written to it already.
FileOpening open_here(const std::string& path, int flags);
// More than this is not copied in the loop's thread.
inline constexpr std::size_t kMostInline = 256 * 1024;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

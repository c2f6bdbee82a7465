// Open files. What a file knows of itself (position, buffer) belongs to the loop's thread; what may
// block is a FileRequest, which owns its bytes and shares the descriptor.
//
// Turns. Calls that use the position hold the file's lock. When one is cancelled whose request runs
// on a thread, the request takes the lock over and gives it back at its end (StateRequest::run_on),
// so that the next call finds the position as it then is, while the cancelled caller has long gone.
#include "asyncio/files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <ostream>

#include "asyncio/locks.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/tasks.hpp"
#include "files/file_requests.hpp"

namespace asyncio {
inline namespace v1 {

using detail::FileCourtesy;
using detail::FileRequest;
using detail::FileState;
using detail::FileWait;
using detail::Ref;
using detail::SharedDescriptor;

const char* UnsupportedOperation::what() const noexcept { return OSError::what(); }

namespace detail {

class FileState final : public Pooled {
  public:
    FileState(Ref<SharedDescriptor> fd, const struct stat& stat, std::string path, std::string how,
              int flags, std::size_t buffer_size);
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    enum class Use : std::uint8_t { kRead, kWrite, kTruncate, kOther };
    // Raises: ValueError if it is closed; UnsupportedOperation; RuntimeError in another loop.
    void check(Use use) const;
    bool closed() const noexcept { return closing || !descriptor; }

    int fd() const noexcept { return descriptor->get(); }
    std::string_view buffered() const noexcept { return std::string_view(buffer).substr(begin); }
    // `n` bytes were handed out, those in the buffer first.
    void advance(std::size_t n) noexcept;
    void drop_buffer() noexcept;
    void wrote(std::size_t n) noexcept;
    std::int64_t write_offset() const noexcept {
        return append || !seekable ? FileRequest::kNoOffset : position;
    }
    // Where reading goes on after what is buffered and `more` bytes.
    std::int64_t read_offset(std::size_t more) const noexcept {
        if (!seekable) return FileRequest::kNoOffset;
        return position + static_cast<std::int64_t>(buffered().size() + more);
    }
    // How many bytes are probably left of a file of known size.
    std::size_t likely_left() const noexcept;

    const std::string name;
    const std::string mode;
    Ref<SharedDescriptor> descriptor;  // null once closed
    bool readable;
    bool writable;
    bool append;
    bool regular;
    bool seekable;  // a regular file or a disk; else a stream: pipe, terminal, device
    bool closing = false;
    bool cached_reads;  // the file system knows RWF_NOWAIT
    bool cached_writes;
    std::int64_t position = 0;  // of the next byte to hand out; unused for streams
    std::string buffer;         // what readline() has read ahead, and what a stream has given
    std::size_t begin = 0;      // of what is left in it
    const std::size_t buffer_size;
    Lock lock;

  private:
    ~FileState() { core_->detach(); }

    RefCount refs_{1};
    LoopCore* core_;
};

namespace {

[[noreturn]] void throw_closed() { throw ValueError("I/O operation on closed file"); }

// The right to use the position.
class Turn {
  public:
    Turn() noexcept = default;
    // The lock is held.
    explicit Turn(Ref<FileState> state) noexcept : state_(std::move(state)) {}
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&& o) noexcept {
        std::swap(state_, o.state_);
        return *this;
    }
    ~Turn() {
        if (!state_) return;
        if (state_->closing) state_->descriptor = nullptr;
        if (state_->lock.locked()) state_->lock.release();
    }
    // The loop is gone, and with it all that wait.
    void forget() noexcept { state_ = nullptr; }

  private:
    Ref<FileState> state_;
};

// A request on an open file.
class StateRequest final : public FileRequest {
  public:
    StateRequest(Op what, Ref<FileState> state, Turn* turn) noexcept
        : FileRequest(what), state_(std::move(state)), lent_(turn) {
        file = state_->descriptor;
        regular = state_->regular;
    }
    void begin_at(std::size_t n) noexcept { before_ = written = n; }

  private:
    void settle() noexcept override {
        if (performed()) keep_effect();
        taken_ = Turn();
    }
    void keep_effect() noexcept {
        if (!lent_) return;
        if (op == Op::kWrite) state_->wrote(written - before_);
        if (op == Op::kRead && !state_->seekable) keep_read();
    }
    // What a stream has given cannot be read again.
    void keep_read() noexcept {
        try {
            state_->buffer.append(data);
        } catch (const std::bad_alloc&) {
            failure = std::current_exception();  // and not as if nothing were missing
        }
    }
    void run_on() noexcept override {
        if (lent_) taken_ = std::move(*lent_);
    }
    void orphan() noexcept override { taken_.forget(); }

    Ref<FileState> state_;
    Turn* const lent_;  // of the caller, while it waits; null: it uses no position
    Turn taken_;
    std::size_t before_ = 0;  // kWrite: written before the request
};

Ref<StateRequest> make_request(FileRequest::Op op, const Ref<FileState>& state, Turn* turn) {
    return Ref<StateRequest>::adopt(new StateRequest(op, state, turn));
}

// Raises: what the request ended with.
void check_request(const FileRequest& request) {
    if (request.failure) std::rethrow_exception(request.failure);
    if (request.error != 0) throw_file_error(request.error);
}

bool is_unsupported(int error) noexcept {
    return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL || error == EPERM;
}

// Some that the kernel makes up say that they are regular files, and are streams.
bool is_regular(int fd, const struct stat& s) noexcept {
    return S_ISREG(s.st_mode) && (s.st_size > 0 || ::lseek(fd, 0, SEEK_CUR) >= 0);
}

}  // namespace

FileState::FileState(Ref<SharedDescriptor> fd, const struct stat& stat, std::string path,
                     std::string how, int flags, std::size_t size)
    : name(std::move(path)),
      mode(std::move(how)),
      descriptor(std::move(fd)),
      readable((flags & O_ACCMODE) != O_WRONLY),
      writable((flags & O_ACCMODE) != O_RDONLY),
      append((flags & O_APPEND) != 0),
      regular(is_regular(descriptor->get(), stat)),
      seekable(regular || S_ISBLK(stat.st_mode)),
      cached_reads(true),
      cached_writes(regular),
      position(append ? stat.st_size : 0),
      buffer_size(std::max<std::size_t>(size, 1)),
      core_(&running_core()) {
    core_->attach();
}

void FileState::check(Use use) const {
    if (closed()) throw_closed();
    if (thread_state.loop != core_) {
        throw RuntimeError("<File name=" + quoted(name) + "> is bound to a different event loop");
    }
    if (use == Use::kRead && !readable) throw UnsupportedOperation("read");
    if (use == Use::kWrite && !writable) throw UnsupportedOperation("write");
    if (use == Use::kTruncate && !writable) throw UnsupportedOperation("truncate");
}

void FileState::advance(std::size_t n) noexcept {
    position += static_cast<std::int64_t>(n);
    begin += std::min(n, buffered().size());
    if (begin == buffer.size()) {
        buffer.clear();
        begin = 0;
    }
}

void FileState::drop_buffer() noexcept {
    if (!seekable) return;
    buffer.clear();
    begin = 0;
}

void FileState::wrote(std::size_t n) noexcept {
    // Nothing was written, so that the system has not moved its own position to the end either.
    if (!seekable || n == 0) return;
    position = append ? ::lseek(fd(), 0, SEEK_CUR) : position + static_cast<std::int64_t>(n);
}

std::size_t FileState::likely_left() const noexcept {
    const std::int64_t left = seekable ? known_size(fd()) - read_offset(0) : 0;
    return left > 0 ? static_cast<std::size_t>(left) : 0;
}

namespace {

// ---- reading -----------------------------------------------------------------------------------

// What is in memory, into `to`. Returns how many bytes; `end`: that is the end of the file.
std::size_t read_here(FileState& f, char* to, std::size_t size, std::int64_t offset, bool& end) {
    std::size_t got = 0;
    end = false;
    while (got < size && f.cached_reads) {
        const std::int64_t at = offset < 0 ? offset : offset + static_cast<std::int64_t>(got);
        const std::int64_t n = read_cached(f.fd(), to + got, size - got, at);
        if (n < 0) {
            if (is_unsupported(errno)) f.cached_reads = false;
            break;
        }
        end = n == 0;
        if (end) break;
        got += static_cast<std::size_t>(n);
        if (!f.seekable) break;
    }
    return got;
}

// On a thread: up to `most` bytes from `offset` on, fewer only at the end of the file.
Coroutine<std::string> read_on_thread(Ref<FileState> f, Turn* turn, std::int64_t offset,
                                      std::size_t most, std::size_t expect) {
    const auto request = make_request(FileRequest::Op::kRead, f, turn);
    request->offset = offset;
    request->most = most;
    request->expect = expect;
    FileWait wait(*request);
    co_await wait;
    check_request(*request);
    co_return std::move(request->data);
}

// Adds what comes next, about `size` bytes, to the buffer. Returns false at the end of the file.
Coroutine<bool> fill_buffer(Ref<FileState> f, Turn& turn, std::size_t size) {
    f->buffer.erase(0, f->begin);
    f->begin = 0;
    const std::size_t had = f->buffer.size();
    bool end = false;
    if (size <= kMostInline) {
        f->buffer.resize(had + size);
        const std::size_t got = read_here(
            *f, f->buffer.data() + had, size,
            f->seekable ? f->position + static_cast<std::int64_t>(had) : FileRequest::kNoOffset,
            end);
        f->buffer.resize(had + got);
        if (got > 0 || end) co_return !end || got > 0;
    }
    const std::int64_t offset = f->read_offset(0);
    // Of a stream one call's worth, which the request itself adds to the buffer.
    const std::string data = co_await read_on_thread(f, &turn, offset, size, size);
    if (f->seekable) f->buffer.append(data);
    co_return f->buffer.size() > had;
}

// Into `to`, from what is buffered and then from the file; the caller advances.
Coroutine<std::size_t> read_span(Ref<FileState> f, Turn& turn, char* to, std::size_t size) {
    if (!f->seekable) {
        while (f->buffered().size() < size) {
            if (!co_await fill_buffer(f, turn, size - f->buffered().size())) break;
        }
    }
    const std::string_view buffered = f->buffered().substr(0, size);
    std::size_t got = buffered.size();
    if (got > 0) std::memcpy(to, buffered.data(), got);
    if (got == size || !f->seekable) co_return got;
    bool end = false;
    const std::int64_t start = f->position;
    if (size - got <= kMostInline) {
        got += read_here(*f, to + got, size - got, start + static_cast<std::int64_t>(got), end);
    }
    if (got == size || end) co_return got;
    const std::string rest = co_await read_on_thread(
        f, &turn, start + static_cast<std::int64_t>(got), size - got, size - got);
    if (!rest.empty()) std::memcpy(to + got, rest.data(), rest.size());
    co_return got + rest.size();
}

Coroutine<std::string> read_bounded(Ref<FileState> f, Turn& turn, std::size_t n) {
    std::string data(n, '\0');
    data.resize(co_await read_span(f, turn, data.data(), n));
    co_return data;
}

// Up to `most` bytes, or as many as there are.
Coroutine<std::string> read_unbounded(Ref<FileState> f, Turn& turn, std::size_t most) {
    if (!f->seekable) {
        while (f->buffered().size() < most) {
            if (!co_await fill_buffer(f, turn, f->buffer_size)) break;
        }
        co_return std::string(f->buffered().substr(0, most));
    }
    std::string data(f->buffered().substr(0, most));
    const std::size_t likely = f->likely_left();
    std::size_t here = std::min(most - data.size(), likely + 1);
    bool end = false;
    if (here <= kMostInline && likely > 0) {
        const std::size_t had = data.size();
        data.resize(had + here);
        const std::int64_t offset = f->position + static_cast<std::int64_t>(had);
        data.resize(had + read_here(*f, data.data() + had, here, offset, end));
    }
    if (end || data.size() == most) co_return data;
    const std::int64_t offset = f->position + static_cast<std::int64_t>(data.size());
    std::string rest = co_await read_on_thread(f, &turn, offset, most - data.size(), likely + 1);
    if (data.empty()) co_return rest;
    data += rest;
    co_return data;
}

Coroutine<std::string> read_string(Ref<FileState> f, std::int64_t n) {
    if (n < -1) throw ValueError("read length must be non-negative or -1");
    f->check(FileState::Use::kRead);
    const std::size_t most =
        n < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(n);
    if (FileCourtesy(most).due()) co_await sleep(std::chrono::seconds(0));
    co_await f->lock.acquire();
    Turn turn(f);
    f->check(FileState::Use::kRead);
    std::string data;
    if (most <= kMostInline) {
        data = co_await read_bounded(f, turn, most);
    } else {
        data = co_await read_unbounded(f, turn, most);
    }
    f->advance(data.size());
    co_return data;
}

Coroutine<std::size_t> read_into_span(Ref<FileState> f, char* to, std::size_t size) {
    f->check(FileState::Use::kRead);
    if (FileCourtesy(size).due()) co_await sleep(std::chrono::seconds(0));
    co_await f->lock.acquire();
    Turn turn(f);
    f->check(FileState::Use::kRead);
    const std::size_t n = co_await read_span(f, turn, to, size);
    f->advance(n);
    co_return n;
}

Coroutine<std::string> read_line(Ref<FileState> f, std::int64_t limit) {
    f->check(FileState::Use::kRead);
    co_await f->lock.acquire();
    Turn turn(f);
    f->check(FileState::Use::kRead);
    const std::size_t most =
        limit < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(limit);
    std::size_t seen = 0;
    while (seen < most) {
        const std::string_view have = f->buffered();
        const std::size_t newline = have.find('\n', seen);
        if (newline != std::string_view::npos) {
            seen = newline + 1;
            break;
        }
        seen = have.size();
        if (seen >= most) break;
        if (FileCourtesy(f->buffer_size).due()) co_await sleep(std::chrono::seconds(0));
        if (!co_await fill_buffer(f, turn, f->buffer_size)) break;
    }
    std::string line(f->buffered().substr(0, std::min(seen, most)));
    f->advance(line.size());
    co_return line;
}

Coroutine<std::optional<std::string>> next_line(Ref<FileState> f) {
    std::optional<std::string> line = co_await read_line(std::move(f), -1);
    if (line->empty()) line.reset();
    co_return line;
}

void check_offset(std::int64_t offset) {
    if (offset < 0) throw ValueError("negative offset");
}

Coroutine<std::string> read_at(Ref<FileState> f, std::size_t n, std::int64_t offset) {
    f->check(FileState::Use::kRead);
    check_offset(offset);
    if (FileCourtesy(n).due()) co_await sleep(std::chrono::seconds(0));
    f->check(FileState::Use::kRead);
    std::string data;
    bool end = false;
    if (n <= kMostInline && f->seekable) {
        data.resize(n);
        data.resize(read_here(*f, data.data(), n, offset, end));
    }
    if (end || data.size() == n) co_return data;
    const std::int64_t at = offset + static_cast<std::int64_t>(data.size());
    const std::size_t left = n - data.size();
    const std::size_t expect = std::min(left, kMostInline);
    data += co_await read_on_thread(f, nullptr, at, left, expect);
    co_return data;
}

// ---- writing -----------------------------------------------------------------------------------

// What the system takes into memory at once.
std::size_t write_here(FileState& f, std::string_view data, std::int64_t offset) noexcept {
    if (!f.cached_writes || data.empty() || data.size() > kMostInline) return 0;
    const std::int64_t n = write_cached(f.fd(), data.data(), data.size(), offset);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n < 0 && is_unsupported(errno)) f.cached_writes = false;
    return 0;
}

Coroutine<> write_rest(Ref<FileState> f, Turn* turn, std::string data, std::size_t written,
                       std::int64_t offset) {
    const auto request = make_request(FileRequest::Op::kWrite, f, turn);
    request->data = std::move(data);
    request->offset = offset;
    request->begin_at(written);
    FileWait wait(*request);
    co_await wait;
    check_request(*request);
}

Coroutine<std::size_t> write_string(Ref<FileState> f, std::string data) {
    f->check(FileState::Use::kWrite);
    if (FileCourtesy(data.size()).due()) co_await sleep(std::chrono::seconds(0));
    co_await f->lock.acquire();
    Turn turn(f);
    f->check(FileState::Use::kWrite);
    f->drop_buffer();
    const std::size_t size = data.size();
    const std::int64_t offset = f->write_offset();
    const std::size_t written = write_here(*f, data, offset);
    f->wrote(written);
    if (written < size) co_await write_rest(f, &turn, std::move(data), written, offset);
    co_return size;
}

Coroutine<std::size_t> write_at(Ref<FileState> f, std::string data, std::int64_t offset) {
    f->check(FileState::Use::kWrite);
    check_offset(offset);
    if (FileCourtesy(data.size()).due()) co_await sleep(std::chrono::seconds(0));
    f->check(FileState::Use::kWrite);
    f->drop_buffer();
    const std::size_t size = data.size();
    const std::size_t written = write_here(*f, data, offset);
    if (written < size) co_await write_rest(f, nullptr, std::move(data), written, offset);
    co_return size;
}

// ---- the rest ----------------------------------------------------------------------------------

Coroutine<FileStat> state_stat(Ref<FileState> f, Turn* turn) {
    const auto request = make_request(FileRequest::Op::kStat, f, turn);
    FileWait wait(*request);
    co_await wait;
    check_request(*request);
    co_return file_stat(request->stat);
}

Coroutine<FileStat> checked_stat(Ref<FileState> f) {
    f->check(FileState::Use::kOther);
    co_return co_await state_stat(std::move(f), nullptr);
}

std::int64_t checked_sum(std::int64_t base, std::int64_t offset) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(base, offset, &sum) || sum < 0) throw_file_error(EINVAL);
    return sum;
}

Coroutine<std::int64_t> seek_to(Ref<FileState> f, std::int64_t offset, int whence) {
    f->check(FileState::Use::kOther);
    if (whence < SEEK_SET || whence > SEEK_END) {
        throw ValueError("whence value " + std::to_string(whence) + " unsupported");
    }
    if (!f->seekable) throw_file_error(ESPIPE);
    co_await f->lock.acquire();
    Turn turn(f);
    f->check(FileState::Use::kOther);
    std::int64_t base = 0;
    if (whence == SEEK_CUR) base = f->position;
    if (whence == SEEK_END) base = (co_await state_stat(f, &turn)).size;
    const std::int64_t target = checked_sum(base, offset);
    f->drop_buffer();
    f->position = target;
    co_return target;
}

Coroutine<std::int64_t> truncate_to(Ref<FileState> f, std::optional<std::int64_t> size) {
    f->check(FileState::Use::kTruncate);
    co_await f->lock.acquire();
    Turn turn(f);
    f->check(FileState::Use::kTruncate);
    f->drop_buffer();
    const auto request = make_request(FileRequest::Op::kTruncate, f, &turn);
    request->offset = size.value_or(f->position);
    FileWait wait(*request);
    co_await wait;
    check_request(*request);
    co_return request->offset;
}

Coroutine<> sync_state(Ref<FileState> f, bool data_only) {
    f->check(FileState::Use::kOther);
    {
        // After the calls made before it, and beside those made later.
        co_await f->lock.acquire();
        const Turn turn(f);
    }
    f->check(FileState::Use::kOther);
    const auto op = data_only ? FileRequest::Op::kDataSync : FileRequest::Op::kSync;
    const auto request = make_request(op, f, nullptr);
    FileWait wait(*request);
    co_await wait;
    check_request(*request);
}

Coroutine<> close_state(Ref<FileState> f) {
    if (f->closed()) co_return;
    f->check(FileState::Use::kOther);
    f->closing = true;
    co_await f->lock.acquire();
    Turn turn(f);
    if (!f->descriptor) co_return;
    if (!f->writable || !f->seekable || !f->descriptor->unique()) co_return;
    // A file system on a network says here what became of the writes.
    const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kClose));
    request->file = std::exchange(f->descriptor, nullptr);
    FileWait wait(*request);
    co_await wait;
    check_request(*request);
}

Coroutine<File> enter_file(File file) { co_return file; }

Coroutine<bool> leave_file(Ref<FileState> f) {
    co_await close_state(std::move(f));
    co_return false;
}

// ---- opening -----------------------------------------------------------------------------------

bool is_once_in(std::string_view text, char c) noexcept {
    return text.find(c) != std::string_view::npos;
}

// What open(2) is to be given. Raises: ValueError, as Python's open().
int open_flags(std::string_view mode) {
    const auto invalid = [&] { return ValueError("invalid mode: " + quoted(mode)); };
    for (std::size_t i = 0; i < mode.size(); ++i) {
        if (!is_once_in("rwaxbt+", mode[i])) throw invalid();
        if (mode.find(mode[i], i + 1) != std::string_view::npos) throw invalid();
    }
    const bool text = is_once_in(mode, 't');
    if (text && is_once_in(mode, 'b')) {
        throw ValueError("can't have text and binary mode at once");
    }
    int kinds = 0;
    for (const char c : {'r', 'w', 'a', 'x'}) kinds += is_once_in(mode, c);
    if (kinds > 1) throw ValueError("must have exactly one of create/read/write/append mode");
    if (kinds == 0) {
        throw ValueError(
            "Must have exactly one of create/read/write/append mode and at most one plus");
    }
    int flags = is_once_in(mode, '+') ? O_RDWR : is_once_in(mode, 'r') ? O_RDONLY : O_WRONLY;
    if (is_once_in(mode, 'w')) flags |= O_CREAT | O_TRUNC;
    if (is_once_in(mode, 'a')) flags |= O_CREAT | O_APPEND;
    if (is_once_in(mode, 'x')) flags |= O_CREAT | O_EXCL;
    return flags;
}

Coroutine<File> open_path(std::string path, std::string mode, OpenOptions options) {
    const int flags = open_flags(mode);
    check_path(path);
    const std::size_t buffer_size = options.buffer_size;
    if (FileCourtesy(0).due()) co_await sleep(std::chrono::seconds(0));
    FileOpening opened = open_here(path, flags);
    std::string given;
    if (opened.ready) {
        // Others may be given the descriptor, and are to find it as open(2) makes it.
        ::fcntl(opened.file->get(), F_SETFL, flags & O_APPEND);
    } else {
        const auto request = Ref<FileRequest>::adopt(new FileRequest(FileRequest::Op::kOpen));
        request->path = path;
        request->flags = flags;
        request->permissions = options.permissions;
        request->file = std::move(opened.file);
        request->stat = opened.stat;
        FileWait wait(*request);
        co_await wait;
        if (request->error != 0) throw_file_error(request->error, path);
        opened.file = std::move(request->file);
        opened.stat = request->stat;
        given = std::move(request->data);
    }
    if (S_ISDIR(opened.stat.st_mode)) throw_file_error(EISDIR, path);
    auto state = Ref<FileState>::adopt(new FileState(
        std::move(opened.file), opened.stat, std::move(path), std::move(mode), flags, buffer_size));
    state->buffer = std::move(given);
    co_return File(std::move(state));
}

}  // namespace

File make_temporary(Ref<SharedDescriptor> fd, const std::string& dir) {
    struct stat stat{};
    if (::fstat(fd->get(), &stat) != 0) throw_file_error(errno, dir);
    const std::size_t buffer_size = OpenOptions().buffer_size;
    return File(
        Ref<FileState>::adopt(new FileState(std::move(fd), stat, dir, "w+", O_RDWR, buffer_size)));
}

}  // namespace detail

// ---- File --------------------------------------------------------------------------------------

File::File() noexcept = default;
File::File(const File&) noexcept = default;
File::File(File&&) noexcept = default;
File& File::operator=(const File&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;
File::File(Ref<FileState> state) noexcept : state_(std::move(state)) {}

FileState& File::state() const {
    if (!state_) throw RuntimeError("this handle is empty: it refers to no object");
    return *state_;
}

Coroutine<std::string> File::read(std::int64_t n) const {
    return detail::read_string(Ref<FileState>::share(&state()), n);
}
Coroutine<std::size_t> File::read_into(std::span<char> to) const {
    return detail::read_into_span(Ref<FileState>::share(&state()), to.data(), to.size());
}
Coroutine<std::size_t> File::read_into(std::span<std::byte> to) const {
    // Safe because every object may be written through a char*.
    return read_into(std::span<char>(reinterpret_cast<char*>(to.data()), to.size()));
}
Coroutine<std::string> File::readline(std::int64_t limit) const {
    return detail::read_line(Ref<FileState>::share(&state()), limit);
}
Coroutine<std::optional<std::string>> File::next() const {
    return detail::next_line(Ref<FileState>::share(&state()));
}
Coroutine<std::size_t> File::write(std::string&& data) const {
    return detail::write_string(Ref<FileState>::share(&state()), std::move(data));
}
Coroutine<std::size_t> File::write(std::string_view data) const { return write(std::string(data)); }
Coroutine<std::size_t> File::write(const char* data) const { return write(std::string(data)); }
Coroutine<std::size_t> File::write(std::span<const std::byte> data) const {
    // Safe because every object may be read through a char*.
    return write(std::string(reinterpret_cast<const char*>(data.data()), data.size()));
}
Coroutine<std::string> File::pread(std::size_t n, std::int64_t offset) const {
    return detail::read_at(Ref<FileState>::share(&state()), n, offset);
}
Coroutine<std::size_t> File::pwrite(std::string_view data, std::int64_t offset) const {
    return detail::write_at(Ref<FileState>::share(&state()), std::string(data), offset);
}
Coroutine<std::int64_t> File::seek(std::int64_t offset, int whence) const {
    return detail::seek_to(Ref<FileState>::share(&state()), offset, whence);
}
std::int64_t File::tell() const {
    const FileState& f = state();
    if (f.closed()) detail::throw_closed();
    if (!f.seekable) detail::throw_file_error(ESPIPE);
    return f.position;
}
Coroutine<std::int64_t> File::truncate(std::optional<std::int64_t> size) const {
    return detail::truncate_to(Ref<FileState>::share(&state()), size);
}
Coroutine<> File::sync(bool data_only) const {
    return detail::sync_state(Ref<FileState>::share(&state()), data_only);
}
Coroutine<FileStat> File::stat() const {
    return detail::checked_stat(Ref<FileState>::share(&state()));
}
Coroutine<> File::close() const { return detail::close_state(Ref<FileState>::share(&state())); }

bool File::closed() const { return state().closed(); }
bool File::readable() const { return state().readable; }
bool File::writable() const { return state().writable; }
bool File::seekable() const { return state().seekable; }
int File::fileno() const {
    if (closed()) detail::throw_closed();
    return state().fd();
}
const std::string& File::name() const { return state().name; }
const std::string& File::mode() const { return state().mode; }

std::string File::repr() const {
    if (!state_) return "<File>";
    return "<File name=" + detail::quoted(name()) + " mode=" + detail::quoted(mode()) +
           (closed() ? " closed>" : ">");
}
std::ostream& operator<<(std::ostream& out, const File& file) { return out << file.repr(); }

Coroutine<File> File::aenter() const {
    state();
    return detail::enter_file(*this);
}
Coroutine<bool> File::aexit(std::exception_ptr) const {
    return detail::leave_file(Ref<FileState>::share(&state()));
}

Coroutine<File> open_file(PathView path, std::string_view mode, OpenOptions options) {
    return detail::open_path(std::string(path.text()), std::string(mode), options);
}

}  // namespace v1
}  // namespace asyncio

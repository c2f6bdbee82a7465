// Copies of files, in pieces: between two of them the copy may be given up.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/files.hpp"
#include "files/whole_files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

struct stat stat_of(const Ref<SharedDescriptor>& file, const std::string& path) {
    struct stat s{};
    if (::fstat(file->get(), &s) != 0) throw_file_error(errno, path);
    return s;
}

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
        sparse_ = !stream_ && source.st_blocks * std::int64_t{512} < source.st_size;
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
        std::int64_t hole = 0;
        std::size_t most = kPiece;
        if (sparse_) {
            hole = skip_hole();
            if (at_end_) return hole;
            most = data_ahead();
        }
        const std::int64_t n = copy_some(most);
        // Cut short meanwhile: what was skipped is not there any more.
        if (n == 0) return 0;
        place_ += hole + n;
        return hole + n;
    }
    void end() {
        // A hole at the end is made by the size alone.
        if (sparse_ && ::ftruncate(out_->get(), place_) != 0) throw_file_error(errno, to_);
        if ((mode_ & ~mode_t{0777}) != 0 && ::fchmod(out_->get(), mode_) != 0) {
            throw_file_error(errno, to_);
        }
        close_or_throw(std::move(out_), to_);
    }

  private:
    enum class Method : std::uint8_t { kRange, kSend, kMemory };
    // So much that a thread is not asked often, so little that a cancel is not late.
    static constexpr std::size_t kPiece = 8 * 1024 * 1024;

    // From `place_` on: gives how long the hole there is, and has both files stand behind it.
    // Raises: OSError.
    std::int64_t skip_hole() {
        off_t data = ::lseek(in_->get(), place_, SEEK_DATA);
        at_end_ = data < 0 && errno == ENXIO;
        if (at_end_) {
            // Nothing but a hole is left, if anything: another one may have cut the file short.
            data = std::max<off_t>(::lseek(in_->get(), 0, SEEK_END), place_);
            return data - std::exchange(place_, data);
        }
        if (data < 0) data = place_;  // this file system tells of no holes
        if (::lseek(in_->get(), data, SEEK_SET) < 0) throw_file_error(errno, from_);
        if (::lseek(out_->get(), data, SEEK_SET) < 0) throw_file_error(errno, to_);
        return data - place_;
    }
    // How much may be copied at once, where the data begin.
    std::size_t data_ahead() {
        const off_t data = ::lseek(in_->get(), 0, SEEK_CUR);
        const off_t end = ::lseek(in_->get(), data, SEEK_HOLE);
        if (::lseek(in_->get(), data, SEEK_SET) < 0) throw_file_error(errno, from_);
        return end <= data ? kPiece : std::min(kPiece, static_cast<std::size_t>(end - data));
    }

    // Up to `most` bytes; 0 at the end. Raises: OSError.
    std::int64_t copy_some(std::size_t most) {
        while (true) {
            const ssize_t n = method_ == Method::kRange  ? copy_range(most)
                              : method_ == Method::kSend ? send(most)
                                                         : through_memory(most);
            if (n >= 0) return n;
        }
    }
    // -1: tries again, perhaps another way.
    ssize_t copy_range(std::size_t most) {
        const ssize_t n = copy_by_file_system(in_->get(), out_->get(), most);
        if (n > 0) {
            moved_ = true;
            return n;
        }
        if (n == 0 && moved_) return 0;
        // Nothing at all: a file that the kernel makes up says that its size is 0.
        return n < 0 ? fail_over(Method::kSend) : change_to(Method::kMemory);
    }
    ssize_t send(std::size_t most) {
        const ssize_t n = copy_by_kernel(in_->get(), out_->get(), most);
        return n < 0 ? fail_over(Method::kMemory) : n;
    }
    ssize_t through_memory(std::size_t most) {
        buffer_.resize(std::min<std::size_t>(most, 256 * 1024));
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
    Ref<SharedDescriptor> in_;
    Ref<SharedDescriptor> out_;
    mode_t mode_ = 0;  // that the copy is to get, if it has not
    Method method_ = Method::kRange;
    bool moved_ = false;
    bool stream_ = false;  // it gives bytes when it has some
    bool sparse_ = false;  // it may have holes
    bool at_end_ = false;  // no data are left
    off_t place_ = 0;      // how far the copy is, if sparse_
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

}  // namespace
}  // namespace detail

Coroutine<std::int64_t> copy_file(PathView from, PathView to, CopyOptions options) {
    return detail::copy_path(
        std::make_shared<detail::Copy>(std::string(from.text()), std::string(to.text()), options));
}

}  // namespace v1
}  // namespace asyncio

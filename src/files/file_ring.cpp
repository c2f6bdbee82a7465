// Reading and writing of regular files, and fsync(2), by an io_uring(7) of its own.
//
// Not by the loop's: that belongs to one thread, and is made anew where the loop moves to another
// one, while the kernel may still write to the memory of what was in flight. This ring may be used
// by any thread, one at a time; the loop watches it as it watches a descriptor that is added.
//
// What is started in an iteration is submitted at the beginning of the next one, all at once. The
// rest is better done by threads: opening, statx and truncating would always be given to a thread
// of the kernel, and closing the last descriptor of a large file that was removed would hold up the
// loop. Reading from a stream may take for ever, and a ring that is closed must wait for it.
#include <liburing.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "files/file_requests.hpp"
#include "loop/loop.hpp"
#include "os/files.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr unsigned kEntries = 256;

class RingFiles;

// Submits what was started in the iteration before.
class SubmitNode : public Node {
  public:
    void run() final;
    void drop() noexcept final;
};
// Something has completed.
class ReapNode : public Node {
  public:
    bool queued() noexcept final { return !std::exchange(queued_, true); }
    void run() final;
    void drop() noexcept final { queued_ = false; }

  private:
    bool queued_ = false;
};

class RingFiles final : public FileBackend, public SubmitNode, public ReapNode {
  public:
    RingFiles(Loop& loop, std::shared_ptr<FileBackend> threads) noexcept
        : loop_(loop), threads_(std::move(threads)) {}
    RingFiles(const RingFiles&) = delete;
    RingFiles& operator=(const RingFiles&) = delete;
    // The loop closes. What is in flight works on memory of its requests: it is waited for.
    ~RingFiles() override {
        if (!open_) return;
        closing_ = true;
        while (in_flight_ > 0) {
            ::io_uring_submit_and_wait(&ring_, 1);
            reap();
        }
        ::io_uring_queue_exit(&ring_);
    }

    // Returns false where the system refuses.
    bool open() {
        if (::io_uring_queue_init(kEntries, &ring_, 0) != 0) return false;
        open_ = true;
        if (ring_.ring_fd < kFirstOwn) {
            ring_.ring_fd = ring_.enter_ring_fd = above_standard(ring_.ring_fd);
            if (ring_.ring_fd < 0) return false;
        }
        io_uring_probe* const probe = ::io_uring_get_probe_ring(&ring_);
        if (!probe) return false;
        reads_ = ::io_uring_opcode_supported(probe, IORING_OP_READ);
        writes_ = ::io_uring_opcode_supported(probe, IORING_OP_WRITE);
        syncs_ = ::io_uring_opcode_supported(probe, IORING_OP_FSYNC);
        ::io_uring_free_probe(probe);
        try {
            loop_.watch_nodes(ring_.ring_fd, static_cast<ReapNode*>(this), nullptr);
        } catch (const OSError&) {
            return false;  // threads do it
        }
        return true;
    }

    void start(FileRequest& request) override {
        if (!takes(request)) return threads_->start(request);
        request.begin_here(loop_);
        ++in_flight_;
        submit(request);
    }
    Executor& threads() override { return threads_->threads(); }
    void leave_to_parent() noexcept override {
        if (std::exchange(open_, false)) ::io_uring_queue_exit(&ring_);
    }

    void submit_now() noexcept {
        submit_queued_ = false;
        ::io_uring_submit(&ring_);
        // The system has no memory for some of them: they are tried again in the next iteration.
        if (::io_uring_sq_ready(&ring_) > 0) queue_submit();
        reap();
    }
    void forget_submit() noexcept { submit_queued_ = false; }
    void reap() noexcept {
        io_uring_cqe* cqe = nullptr;
        while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
            // Safe because this is what submit() has stored.
            auto& request = *static_cast<FileRequest*>(::io_uring_cqe_get_data(cqe));
            const int result = cqe->res;
            ::io_uring_cqe_seen(&ring_, cqe);
            completed(request, result);
        }
    }

  private:
    // What is in memory is copied by the loop's thread: not much of it at a time.
    bool takes(const FileRequest& request) const noexcept {
        if (!request.regular) return false;
        switch (request.op) {
            case FileRequest::Op::kRead:
                return reads_ && request.most <= kMostInline;
            case FileRequest::Op::kWrite:
                return writes_ && request.data.size() <= kMostInline && !is_size_limited();
            case FileRequest::Op::kSync:
            case FileRequest::Op::kDataSync:
                return syncs_;
            default:
                return false;
        }
    }

    // Queues the next piece of `request`, or ends it if there is no memory for one.
    void submit(FileRequest& request) noexcept {
        FilePiece piece{};
        const bool moves =
            request.op == FileRequest::Op::kRead || request.op == FileRequest::Op::kWrite;
        if (moves && !request.next_piece(piece)) return end(request);
        io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
        while (!sqe) {
            ::io_uring_submit(&ring_);
            sqe = ::io_uring_get_sqe(&ring_);
        }
        prepare(*sqe, request, piece);
        ::io_uring_sqe_set_data(sqe, &request);
        queue_submit();
    }
    void queue_submit() noexcept {
        if (submit_queued_ || closing_) return;
        submit_queued_ = true;
        loop_.push_ready(static_cast<SubmitNode*>(this));
    }
    static void prepare(io_uring_sqe& sqe, const FileRequest& request,
                        const FilePiece& piece) noexcept {
        const int fd = request.file->get();
        const auto size = static_cast<unsigned>(piece.size);
        const auto offset = static_cast<std::uint64_t>(piece.offset);
        switch (request.op) {
            case FileRequest::Op::kRead:
                return ::io_uring_prep_read(&sqe, fd, piece.memory, size, offset);
            case FileRequest::Op::kWrite:
                return ::io_uring_prep_write(&sqe, fd, piece.memory, size, offset);
            case FileRequest::Op::kDataSync:
                return ::io_uring_prep_fsync(&sqe, fd, IORING_FSYNC_DATASYNC);
            default:
                return ::io_uring_prep_fsync(&sqe, fd, 0);
        }
    }

    void completed(FileRequest& request, int result) noexcept {
        const bool moves =
            request.op == FileRequest::Op::kRead || request.op == FileRequest::Op::kWrite;
        // A regular file is never not ready: the kernel asks to be asked again. Nobody here cancels
        // anything: the kernel does it for a thread that ends, and another one runs the loop now.
        if (result == -EAGAIN || result == -ECANCELED) result = -EINTR;
        if (moves && request.piece_ended(result)) return submit(request);
        if (!moves && result == -EINTR) return submit(request);
        if (!moves && result < 0) request.error = -result;
        end(request);
    }
    void end(FileRequest& request) noexcept {
        --in_flight_;
        if (closing_) return request.lose();
        request.run();
    }

    Loop& loop_;
    const std::shared_ptr<FileBackend> threads_;
    io_uring ring_{};
    std::size_t in_flight_ = 0;
    bool open_ = false;
    bool closing_ = false;
    bool submit_queued_ = false;
    bool reads_ = false;
    bool writes_ = false;
    bool syncs_ = false;
};

void SubmitNode::run() { static_cast<RingFiles*>(this)->submit_now(); }
void SubmitNode::drop() noexcept { static_cast<RingFiles*>(this)->forget_submit(); }
void ReapNode::run() {
    queued_ = false;
    static_cast<RingFiles*>(this)->reap();
}

}  // namespace

std::shared_ptr<FileBackend> make_ring_files(Loop& loop, std::shared_ptr<FileBackend> threads) {
    if (std::string_view(loop.backend->name()) != "io_uring") return nullptr;
    auto ring = std::make_shared<RingFiles>(loop, std::move(threads));
    return ring->open() ? ring : nullptr;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

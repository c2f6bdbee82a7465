#include "backend/ring.hpp"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "asyncio/exceptions.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr unsigned kFlags =
    IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN;
constexpr unsigned kSingleFlags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
                                  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                  IORING_SETUP_R_DISABLED;

constexpr int kMostTries = 1000;  // to submit

std::string reason(const char* call, int error) {
    std::string text = std::string(call) + ": " + ::strerror(error);
    if (error == EPERM || error == EACCES) {
        return text +
               " (allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp "
               "profile, or set the sysctl kernel.io_uring_disabled to 0)";
    }
    if (error == ENOMEM) return text + " (raise the limit of locked memory, ulimit -l)";
    if (error == ENOSYS || error == EINVAL) return text + " (Linux 6.0 or later is needed)";
    return text;
}

// This thread's number, which no other thread ever has. The system and the C library give the names
// of threads that have ended to new ones, and the kernel takes a ring's thread for no other.
std::uint64_t this_thread() noexcept {
    static std::atomic<std::uint64_t> last{0};
    thread_local std::uint64_t number = 0;
    if (number == 0) number = last.fetch_add(1, std::memory_order_relaxed) + 1;
    return number;
}

std::size_t offers_size(unsigned buffers) { return buffers * sizeof(io_uring_buf); }

}  // namespace

std::unique_ptr<Ring> Ring::make(UringSizes sizes, std::string& why) {
    auto ring = std::unique_ptr<Ring>(new Ring);
    ring->sizes_ = sizes;
    if (const int error = ring->open_ring()) {
        why = reason("io_uring_setup", error);
        return nullptr;
    }
    if (const int error = ring->open_buffers()) {
        why = reason("io_uring_register of a buffer ring", error);
        return nullptr;
    }
    return ring;
}

Ring::~Ring() {
    close_ring();
    if (offers_) ::munmap(offers_, offers_size(sizes_.buffers));
    if (memory_) ::munmap(memory_, sizes_.buffers * kBufferSize);
}

// Returns 0 or an errno.
int Ring::open_ring() noexcept {
    io_uring_params p{};
    p.cq_entries = sizes_.completions;
    p.flags = kSingleFlags;
    single_ = true;
    int error = -::io_uring_queue_init_params(sizes_.entries, &ring_, &p);
    if (error == EINVAL) {  // Linux 6.0
        p = {};
        p.cq_entries = sizes_.completions;
        p.flags = kFlags;
        single_ = false;
        error = -::io_uring_queue_init_params(sizes_.entries, &ring_, &p);
    }
    if (error) return error;
    open_ = true;
    enabled_ = false;
    if (ring_.ring_fd < kFirstOwn) {
        const int moved = above_standard(ring_.ring_fd);
        ring_.ring_fd = ring_.enter_ring_fd = moved;  // the old one is closed
        if (moved < 0) return errno;
    }
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL;
    return (p.features & needed) == needed ? 0 : EINVAL;
}

int Ring::open_buffers() noexcept {
    if (!out_) out_.reset(new (std::nothrow) bool[sizes_.buffers]());
    if (!out_) return ENOMEM;
    if (!memory_) {
        void* offers = ::mmap(nullptr, offers_size(sizes_.buffers), PROT_READ | PROT_WRITE,
                              MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
        if (offers == MAP_FAILED) return errno;
        offers_ = static_cast<io_uring_buf_ring*>(offers);
        void* memory = ::mmap(nullptr, sizes_.buffers * kBufferSize, PROT_READ | PROT_WRITE,
                              MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return errno;
        memory_ = static_cast<char*>(memory);
    }
    io_uring_buf_reg reg{};
    // Safe because the kernel takes the address as a number.
    reg.ring_addr = reinterpret_cast<std::uintptr_t>(offers_);
    reg.ring_entries = sizes_.buffers;
    reg.bgid = kGroup;
    if (const int error = -::io_uring_register_buf_ring(&ring_, &reg, 0)) return error;
    ::io_uring_buf_ring_init(offers_);
    for (unsigned id = 0; id < sizes_.buffers; ++id) {
        if (!out_[id]) offer(id);
    }
    return 0;
}

void Ring::close_ring() noexcept {
    if (std::exchange(open_, false)) ::io_uring_queue_exit(&ring_);
}

void Ring::leave_to_parent() noexcept {
    close_ring();
    left_ = true;
}

bool Ring::mine() const noexcept {
    return open_ && enabled_ && (!single_ || owner_ == this_thread());
}

void Ring::take() {
    if (open_ && enabled_) close_ring();
    int error = 0;
    if (!open_) {
        error = open_ring();
        if (!error) error = open_buffers();
    }
    // Not io_uring_enable_rings(3), which the library of Debian 12 declares and does not have.
    if (!error && single_ &&
        ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr,
                  0) != 0) {
        error = errno;
    }
    if (error) {
        close_ring();
        std::rethrow_exception(make_os_error(error, "io_uring"));
    }
    enabled_ = true;
    owner_ = this_thread();
}

io_uring_sqe* Ring::next() noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    for (int tries = 0; !sqe && tries < kMostTries; ++tries) {
        // Completions that find no room stay with the kernel (NODROP): submitting does not fail for
        // long, since they are fetched by the same call.
        ::io_uring_submit_and_get_events(&ring_);
        sqe = ::io_uring_get_sqe(&ring_);
    }
    return sqe;
}

int Ring::submit_and_wait(std::int64_t timeout) noexcept {
    if (!open_) return -EBADF;
    if (timeout == 0) return std::min(0, ::io_uring_submit_and_get_events(&ring_));
    if (timeout < 0) return std::min(0, ::io_uring_submit_and_wait(&ring_, 1));
    __kernel_timespec t{timeout / 1'000'000'000, timeout % 1'000'000'000};
    io_uring_cqe* first = nullptr;
    return std::min(0, ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &t, nullptr));
}

bool Ring::cancel(std::uint64_t name) noexcept {
    for (int tries = 0; ::io_uring_sq_ready(&ring_) > 0; ++tries) {
        if (tries == kMostTries) return false;
        ::io_uring_submit(&ring_);
    }
    io_uring_sync_cancel_reg request{};
    request.addr = name;
    request.timeout.tv_sec = -1;  // as long as it takes
    request.timeout.tv_nsec = -1;
    int result;
    do {
        result = ::io_uring_register_sync_cancel(&ring_, &request);
    } while (result == -EINTR);
    // What was cancelled lets its file go when it completes, which is in this thread's own time.
    ::io_uring_get_events(&ring_);
    return result >= 0 || result == -ENOENT;  // it has completed
}

void Ring::offer(unsigned id) noexcept {
    ::io_uring_buf_ring_add(offers_, buffer(id), kBufferSize, static_cast<unsigned short>(id),
                            ::io_uring_buf_ring_mask(sizes_.buffers), 0);
    ::io_uring_buf_ring_advance(offers_, 1);
}

void Ring::give_back(unsigned id) noexcept {
    out_[id] = false;
    offer(id);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

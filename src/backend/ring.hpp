// An io_uring(7) with a ring of provided buffers, and who may use it.
//
// With SINGLE_ISSUER and DEFER_TASKRUN, which are the fastest way (completions are made when the
// thread asks for them, in its own time), only one thread may use a ring. A loop is used by one
// thread at a time, but it may be made by one, run by a second and closed by a third: the ring
// begins disabled and belongs to the first thread that takes it; for another one it is made anew.
// What needs neither memory nor descriptors, giving it up, never fails; a new ring may be refused,
// and is asked for again whenever the loop waits.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Ring {
  public:
    static constexpr std::size_t kBufferSize = std::size_t{16} * 1024;
    static constexpr int kGroup = 0;  // of the provided buffers

    // Null where the system refuses; `why` then says what and how to change that.
    static std::unique_ptr<Ring> make(UringSizes sizes, std::string& why);
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring();

    // True if this thread may use the ring as it is.
    bool mine() const noexcept;
    // True if another thread may have something in flight.
    bool foreign() const noexcept { return open_ && enabled_ && !mine(); }
    // This thread may use it from now on. A ring that was given up is made anew, with the same
    // buffers: those not given back stay out. Raises: OSError; then it is as it was.
    void take();
    // Closes it, from any thread: what is in flight is cancelled.
    void give_up() noexcept { close_ring(); }

    // This process is a child of fork(2), which shares the ring's memory with its parent: it is
    // unmapped, and what is asked from now on is not done.
    void leave_to_parent() noexcept;
    bool left() const noexcept { return left_; }

    // ---- for the thread whose ring it is
    // A place for an operation. Submits what is there if there is no room. Null: the system takes
    // none, whatever is tried.
    io_uring_sqe* next() noexcept;
    // Submits, and waits at most `timeout` ns (-1: for ever) for a completion.
    // Returns 0 or an errno as a negative number.
    int submit_and_wait(std::int64_t timeout) noexcept;
    // Submits, then waits until the operation of that name has been cancelled. Not all those of a
    // descriptor: that would be all of its file, and a copy of the descriptor may be in use too.
    // False: the system failed to.
    bool cancel(std::uint64_t name) noexcept;
    // Calls `each(const io_uring_cqe&)`, which does not throw, for all completions that are there.
    // Any thread, while no other uses the ring.
    template <class Each>
    void take_completions(Each each) noexcept {
        if (!open_) return;
        unsigned head;
        unsigned n = 0;
        io_uring_cqe* cqe;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            each(*cqe);
            ++n;
        }
        ::io_uring_cq_advance(&ring_, n);
    }

    char* buffer(unsigned id) const noexcept { return memory_ + id * kBufferSize; }
    // The system has filled it; whoever reads it gives it back.
    void took(unsigned id) noexcept { out_[id] = true; }
    void give_back(unsigned id) noexcept;

  private:
    Ring() = default;
    int open_ring() noexcept;
    int open_buffers() noexcept;
    void close_ring() noexcept;
    void offer(unsigned id) noexcept;

    UringSizes sizes_;
    io_uring ring_{};
    bool open_ = false;
    bool single_ = false;  // only owner_ may use it
    bool enabled_ = false;
    bool left_ = false;  // to the parent
    std::uint64_t owner_ = 0;
    io_uring_buf_ring* offers_ = nullptr;  // the buffers that the system may fill
    char* memory_ = nullptr;
    std::unique_ptr<bool[]> out_;  // by buffer: it is not with the system
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

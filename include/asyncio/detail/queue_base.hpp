// What a queue is besides its items: who waits for it, how many items there are and may be, and
// whether it is shut down.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <limits>
#include <string>
#include <utility>

#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/wait_slot.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/locks.hpp"

namespace asyncio::inline v1::detail {

[[noreturn]] ASYNCIO_API void throw_queue_empty();
[[noreturn]] ASYNCIO_API void throw_queue_full();
[[noreturn]] ASYNCIO_API void throw_queue_shut_down();

struct QueueLink {
    QueueLink* previous;
    QueueLink* following;
};

// The tasks that wait to get, or to put, in the order they came, until they run again. Those before
// `next` have been woken or cancelled: for CPython they are not in the line any more.
class ASYNCIO_API QueueLine {
  public:
    QueueLine() noexcept : ends_{&ends_, &ends_}, next_(&ends_) {}
    QueueLine(const QueueLine&) = delete;
    QueueLine& operator=(const QueueLine&) = delete;
    // Tells those in it that the queue is gone.
    ~QueueLine();

    bool waiting() const noexcept { return next_ != &ends_; }
    // How many have not been taken out by `next`.
    std::size_t size() const noexcept;
    // The first one that has not; there must be one.
    QueueLink& next() noexcept { return *std::exchange(next_, next_->following); }

    void push_back(QueueLink& w) noexcept {
        w.previous = ends_.previous;
        w.following = &ends_;
        ends_.previous->following = &w;
        ends_.previous = &w;
        if (next_ == &ends_) next_ = &w;
    }
    void remove(QueueLink& w) noexcept {
        if (next_ == &w) next_ = w.following;
        w.previous->following = w.following;
        w.following->previous = w.previous;
    }

  private:
    QueueLink ends_;
    QueueLink* next_;
};

class ASYNCIO_API QueueBase {
  public:
    static constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

    QueueBase(const QueueBase&) = delete;
    QueueBase& operator=(const QueueBase&) = delete;

    // How many items it holds. Q-01.
    std::size_t qsize() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    // True if it holds maxsize() items; never if it is unbounded.
    bool full() const noexcept { return size_ >= capacity_; }
    // How many items it may hold; 0: any number.
    std::size_t maxsize() const noexcept { return capacity_ == kUnbounded ? 0 : capacity_; }

    // Says that an item that was gotten is dealt with. Q-07.
    // Raises: ValueError "task_done() called too many times".
    void task_done();
    // Waits until every item that was put has had its task_done(). None is missing: no suspension.
    //
    // Raises: RuntimeError if it must wait in another loop than others did.
    // If cancelled: it leaves the line.
    auto join() noexcept { return EventWait<Event, void>(finished_); }

  protected:
    explicit QueueBase(std::size_t capacity) noexcept : capacity_(capacity) { finished_.set(); }
    ~QueueBase() = default;

    template <std::integral N>
    static std::size_t capacity_of(N maxsize) noexcept {
        return maxsize > 0 ? static_cast<std::size_t>(maxsize) : kUnbounded;
    }

    // Accounts for an item that was put, or taken, and wakes who waits for that.
    void added() noexcept {
        ++size_;
        ++unfinished_;
        finished_.clear();
        if (getters_.waiting()) wake_next(getters_);
    }
    void taken() noexcept {
        --size_;
        if (putters_.waiting()) wake_next(putters_);
    }
    void dropped() noexcept {
        --size_;
        if (unfinished_ > 0) --unfinished_;
    }
    // Ends shutdown(): everybody looks again.
    void shut_down(bool immediate) noexcept;

    std::string repr_with(const char* name, const std::string& items) const;

    bool shutdown_ = false;

  private:
    friend class QueueWait;

    static void wake_next(QueueLine& line) noexcept;
    static void wake_all(QueueLine& line) noexcept;

    std::size_t size_ = 0;
    std::size_t capacity_;
    std::size_t unfinished_ = 0;
    QueueLine getters_;
    QueueLine putters_;
    Event finished_;
    LoopBound loop_;
};

// The head of a coroutine frame whose body is a plain function; see detail/promise.hpp for the
// layout.
struct FrameHead {
    struct Promise : PromiseBase {
        explicit Promise(std::source_location where) noexcept : PromiseBase(where) {}
    };

    void (*resume)(void*) noexcept;
    void (*destroy)(void*) noexcept;
    Promise promise;
};
static_assert(offsetof(FrameHead, promise) == PromiseBase::kHead);

// A wait of a getter or putter. The task's step does not resume the frame that waits but this one:
// a task that finds itself overtaken joins the end of the line again without its
// coroutine having run, and no frame is made for that.
class ASYNCIO_API QueueWait : private FrameHead, private QueueLink {
  public:
    enum class Kind : bool { kGet, kPut };

    QueueWait(QueueBase& queue, Kind kind) noexcept;
    QueueWait(const QueueWait&) = delete;
    QueueWait& operator=(const QueueWait&) = delete;
    ~QueueWait() {
        if (queue_) leave_line();
    }

    // Joins the line of `queue` and suspends the task of `frame`. Returns false if the queue is
    // bound to another loop.
    static bool begin(WaitSlot<QueueWait>& slot, QueueBase& queue, Kind kind,
                      PromiseBase& frame) noexcept;
    // When `frame` runs again. True: the queue has an item or room, or is shut down.
    bool granted() const noexcept { return granted_; }
    // If not: the exception to raise.
    std::exception_ptr error() noexcept;

  private:
    friend class QueueBase;
    friend class QueueLine;

    static void step(void* frame) noexcept;
    static void ignore(void*) noexcept {}

    QueueLine& line() const noexcept {
        return kind_ == Kind::kGet ? queue_->getters_ : queue_->putters_;
    }
    void leave_line() noexcept {
        line().remove(*this);
        queue_ = nullptr;
    }
    // There is an item to get, or room to put one.
    bool may_go() const noexcept {
        return kind_ == Kind::kGet ? !queue_->empty() : !queue_->full();
    }

    QueueBase* queue_;  // null when it is not in line, and once the queue is gone
    Waiter waiter_;
    Kind kind_;
    bool granted_ = false;
};

inline void QueueBase::wake_next(QueueLine& line) noexcept {
    while (line.waiting()) {
        // Safe because only a QueueWait joins a line.
        Waiter& w = static_cast<QueueWait&>(line.next()).waiter_;
        if (w.done()) continue;
        w.set();
        return;
    }
}

}  // namespace asyncio::inline v1::detail

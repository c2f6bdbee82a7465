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

namespace asyncio {
inline namespace v1 {
namespace detail {

[[noreturn]] ASYNCIO_API void throw_queue_empty();
[[noreturn]] ASYNCIO_API void throw_queue_full();
[[noreturn]] ASYNCIO_API void throw_queue_shut_down();

class QueueBase;
class QueueWait;

struct QueueLink {
    QueueLink* previous;
    QueueLink* following;
};

// The tasks that wait to get, or to put, in the order they came, until they run again. Those before
// `next` have been woken or cancelled: for CPython they are not in the line any more.
class ASYNCIO_API QueueLine {
  public:
    enum class Kind : bool { kGet, kPut };

    QueueLine(QueueBase& queue, Kind kind) noexcept
        : ends_{&ends_, &ends_}, next_(&ends_), fresh_(&ends_), queue_(&queue), kind_(kind) {}
    QueueLine(const QueueLine&) = delete;
    QueueLine& operator=(const QueueLine&) = delete;
    // Tells those in it that the queue is gone.
    ~QueueLine();

    QueueBase& queue() const noexcept { return *queue_; }
    Kind kind() const noexcept { return kind_; }
    // How many tasks wait that no wake-up has passed.
    std::size_t size() const noexcept;
    bool waiting() const noexcept { return next_ != &ends_; }
    // True if some have been woken, or cancelled, and have not run yet.
    bool woken() const noexcept { return ends_.following != next_; }

    // Wakes the first one that is not cancelled.
    void wake_next() noexcept;
    // What was there for the ones that have been woken is not there any more: each is to look again
    // when it runs.
    void overtake_woken() noexcept;

    void push_back(QueueLink& w) noexcept {
        w.previous = ends_.previous;
        w.following = &ends_;
        ends_.previous->following = &w;
        ends_.previous = &w;
        if (next_ == &ends_) next_ = &w;
        if (fresh_ == &ends_) fresh_ = &w;
    }
    void remove(QueueLink& w) noexcept {
        if (next_ == &w) next_ = w.following;
        if (fresh_ == &w) fresh_ = w.following;
        w.previous->following = w.following;
        w.following->previous = w.previous;
    }

  private:
    QueueLink ends_;
    QueueLink* next_;
    QueueLink* fresh_;  // those before it have been overtaken, or cancelled
    QueueBase* queue_;
    Kind kind_;
};

class ASYNCIO_API QueueBase {
  public:
    QueueBase(const QueueBase&) = delete;
    QueueBase& operator=(const QueueBase&) = delete;

    // How many items it holds. Q-01.
    std::size_t qsize() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    // True if it holds maxsize() items; never if it is unbounded.
    bool full() const noexcept { return size_ >= capacity_; }
    // How many items it may hold; 0: any number.
    std::size_t maxsize() const noexcept { return maxsize_; }

    // Says that an item that was gotten is dealt with. Q-07.
    // Raises: ValueError "task_done() called too many times".
    void task_done();
    // Waits until every item that was put has had its task_done(). None is missing: no suspension.
    // Raises: RuntimeError if it must wait in another loop than others did. If cancelled: it
    // leaves the line.
    auto join() noexcept { return EventWait<Event, void>(finished_); }

  protected:
    // In debug mode. Raises: RuntimeError on another thread than that of a loop whose tasks have
    // waited for it, by join() too.
    void check_thread() const {
        if (debug_seen.load(std::memory_order_relaxed)) [[unlikely]]
            check_threads();
    }

    // `maxsize`: 0: any number.
    explicit QueueBase(std::size_t maxsize) noexcept
        : capacity_(maxsize > 0 ? maxsize : std::numeric_limits<std::size_t>::max()),
          maxsize_(maxsize) {
        finished_.raise_flag();
    }
    ~QueueBase() = default;

    template <std::integral N>
    static std::size_t checked(N maxsize) noexcept {
        return maxsize > 0 ? static_cast<std::size_t>(maxsize) : 0;
    }

    // Accounts for an item that was put, or taken, and wakes who waits for that. check_thread()
    // comes before.
    void added() noexcept {
        ++size_;
        ++unfinished_;
        finished_.set_ = false;
        if (size_ == capacity_ && putters_.woken()) putters_.overtake_woken();
        if (getters_.waiting()) getters_.wake_next();
    }
    void taken() noexcept {
        --size_;
        if (size_ == 0 && getters_.woken()) getters_.overtake_woken();
        if (putters_.waiting()) putters_.wake_next();
    }
    void dropped() noexcept {
        --size_;
        if (unfinished_ > 0) --unfinished_;
    }
    // A task that was woken for it has put nothing, or taken nothing: the next one may.
    void pass_on_room() noexcept {
        if (!full()) putters_.wake_next();
    }
    void pass_on_item() noexcept {
        if (!empty()) getters_.wake_next();
    }
    // Ends shutdown(): everybody looks again.
    void shut_down(bool immediate) noexcept;

    std::string repr_with(const char* name, const std::string& items) const;

    bool shutdown_ = false;

  private:
    friend class QueueWait;

    void check_threads() const;
    // A getter, or a putter, finds an item, or room.
    bool may_go(QueueLine::Kind kind) const noexcept {
        return kind == QueueLine::Kind::kGet ? !empty() : !full();
    }

    std::size_t size_ = 0;
    std::size_t capacity_;
    std::size_t maxsize_;
    std::size_t unfinished_ = 0;
    QueueLine getters_{*this, QueueLine::Kind::kGet};
    QueueLine putters_{*this, QueueLine::Kind::kPut};
    Event finished_;
    LoopBound loop_;
};

// A wait of a getter or putter.
//
// A task that was woken and then overtaken has to wait again, at the end of the line,
// and its awaiter cannot suspend twice. Hence whoever overtakes it gives its task another frame to
// resume, which looks whether there is something for it, and if not joins the line again; its
// coroutine never knows. As long as nobody is overtaken nobody looks: a task that was woken finds
// its item, or room, when it runs.
class ASYNCIO_API QueueWait : private QueueLink {
  public:
    QueueWait() noexcept {}
    QueueWait(const QueueWait&) = delete;
    QueueWait& operator=(const QueueWait&) = delete;
    ~QueueWait() {
        if (line_) leave_line();
    }

    // Joins the line and suspends the task of `frame`, on the thread of `t`. Returns false if the
    // queue is bound to another loop.
    static bool begin(WaitSlot<QueueWait>& slot, QueueBase& queue, QueueLine::Kind kind,
                      PromiseBase& frame, ThreadState& t) noexcept;
    // When `frame` runs again. True: the queue has an item or room, or is shut down. False: `error`
    // has what to raise.
    bool granted() noexcept {
        if (!line_ || waiter_.cancelled() || waiter_.task()->resumed()) return false;
        leave_line();
        return true;
    }
    std::exception_ptr error() noexcept;

  private:
    friend class QueueLine;

    // A coroutine frame whose body is a plain function; see detail/promise.hpp for the layout.
    struct Frame {
        struct Promise : PromiseBase {
            explicit Promise(std::source_location where) noexcept : PromiseBase(where) {}
        };
        void (*resume)(void*) noexcept;
        void (*destroy)(void*) noexcept;
        Promise promise;
        QueueWait* wait;
    };
    static_assert(offsetof(Frame, promise) == PromiseBase::kHead);

    void overtake() noexcept;
    static void look_again(void* frame) noexcept;

    void leave_line() noexcept {
        line_->remove(*this);
        line_ = nullptr;
    }

    QueueLine* line_ = nullptr;  // null when it is not in line, and once the queue is gone
    Waiter waiter_;
    bool overtaken_ = false;
    union {
        Frame frame_;  // if it is overtaken
    };
};

inline void QueueLine::wake_next() noexcept {
    while (next_ != &ends_) {
        // Safe because only a QueueWait joins a line.
        Waiter& w = static_cast<QueueWait*>(next_)->waiter_;
        next_ = next_->following;
        if (w.done()) continue;
        w.set();
        return;
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

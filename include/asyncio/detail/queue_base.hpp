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
// The tasks that wait to get, or to put, until they run again. Those that a wake-up has passed are,
// for CPython, not in the line any more.
class QueueLine : public WaitingLine {
  public:
    explicit QueueLine(QueueBase& queue) noexcept : queue_(&queue) {}
    QueueBase& queue() const noexcept { return *queue_; }
    // What was there for the ones that have been woken is not there any more: each is to look again
    // when it runs.
    ASYNCIO_API void overtake_woken() noexcept;

  private:
    QueueBase* queue_;
};

class ASYNCIO_API QueueBase {
  public:
    QueueBase(const QueueBase&) = delete;
    QueueBase& operator=(const QueueBase&) = delete;

    // How many items it holds. Q-01.
    std::size_t qsize() const noexcept { return size_; }
    // True if that is none.
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
        if (size_ == capacity_ && putters_.any_passed()) putters_.overtake_woken();
        if (getters_.waiting()) getters_.wake_next();
    }
    void taken() noexcept {
        --size_;
        if (size_ == 0 && getters_.any_passed()) getters_.overtake_woken();
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
    template <class>
    friend struct DebugLayout;

    void check_threads() const;
    // A getter, or a putter, finds an item, or room.
    bool may_go(WaitKind kind) const noexcept {
        return kind == WaitKind::kQueueGet ? !empty() : !full();
    }

    std::size_t size_ = 0;
    std::size_t capacity_;
    std::size_t maxsize_;
    std::size_t unfinished_ = 0;
    QueueLine getters_{*this};
    QueueLine putters_{*this};
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
class ASYNCIO_API QueueWait final : public Waiter {
  public:
    explicit QueueWait(WaitKind kind) noexcept : Waiter(kind) {}

    // Joins the line of `kind` (kQueueGet, kQueuePut) and suspends the task of `frame`, on the
    // thread of `t`. Returns false if the queue is bound to another loop.
    static bool begin(WaitSlot<QueueWait>& slot, QueueBase& queue, WaitKind kind,
                      PromiseBase& frame, ThreadState& t) noexcept;
    // When `frame` runs again. True: the queue has an item or room, or is shut down. False: `error`
    // has what to raise.
    bool granted() noexcept {
        QueueLine* const line = queue_line();
        if (!line || cancelled() || task()->resumed()) return false;
        line->remove(*this);
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

    // Null when it is not in line, and once the queue is gone.
    QueueLine* queue_line() const noexcept {
        // Safe because it stands in a queue's lines only.
        return static_cast<QueueLine*>(line());
    }

    bool overtaken_ = false;
    union {
        Frame frame_;  // if it is overtaken
    };
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What of the queues does not depend on their items. The order of wake-ups is CPython's
// (asyncio/queues.py): a Waiter stands for the future that a task there awaits; a wake-up takes it
// out of its line.
#include "asyncio/queues.hpp"

#include <cstdio>

namespace asyncio {
inline namespace v1 {
namespace detail {

void throw_queue_empty() { throw QueueEmpty(); }
void throw_queue_full() { throw QueueFull(); }
void throw_queue_shut_down() { throw QueueShutDown(); }

// ---- the queue ------------------------------------------------------------------------------

void QueueBase::task_done() {
    check_thread();
    if (unfinished_ == 0) throw ValueError("task_done() called too many times");
    if (--unfinished_ == 0) finished_.raise_flag();
}

void QueueBase::check_threads() const {
    loop_.check_thread();
    finished_.loop_.check_thread();
}

void QueueBase::shut_down(bool immediate) noexcept {
    if (immediate && unfinished_ == 0) finished_.raise_flag();
    while (getters_.waiting()) getters_.wake_next();
    while (putters_.waiting()) putters_.wake_next();
}

std::string QueueBase::repr_with(const char* name, const std::string& items) const {
    char address[32];
    std::snprintf(address, sizeof address, "%p", static_cast<const void*>(this));
    std::string text =
        std::string("<") + name + " at " + address + " maxsize=" + std::to_string(maxsize());
    if (!empty()) text += " _queue=[" + items + ']';
    if (getters_.waiting()) text += " _getters[" + std::to_string(getters_.size()) + ']';
    if (putters_.waiting()) text += " _putters[" + std::to_string(putters_.size()) + ']';
    if (unfinished_ > 0) text += " tasks=" + std::to_string(unfinished_);
    if (shutdown_) text += " shutdown";
    return text + '>';
}

// ---- waiting for it -------------------------------------------------------------------------

QueueLine::~QueueLine() {
    for (QueueLink* w = ends_.following; w != &ends_; w = w->following) {
        // Safe because only a QueueWait joins a line.
        static_cast<QueueWait*>(w)->line_ = nullptr;
    }
}

std::size_t QueueLine::size() const noexcept {
    std::size_t n = 0;
    for (const QueueLink* w = next_; w != &ends_; w = w->following) ++n;
    return n;
}

void QueueLine::overtake_woken() noexcept {
    for (; fresh_ != next_; fresh_ = fresh_->following) {
        static_cast<QueueWait*>(fresh_)->overtake();
    }
}

namespace {

// What a task's stack says that it is in.
std::source_location get() noexcept { return std::source_location::current(); }
std::source_location put() noexcept { return std::source_location::current(); }

void ignore(void*) noexcept {}

}  // namespace

bool QueueWait::begin(WaitSlot<QueueWait>& slot, QueueBase& queue, QueueLine::Kind kind,
                      PromiseBase& frame, ThreadState& t) noexcept {
    if (!queue.loop_.bind(t.loop)) {
        slot.refuse();
        return false;
    }
    QueueWait& wait = slot.wait();
    wait.line_ = kind == QueueLine::Kind::kGet ? &queue.getters_ : &queue.putters_;
    wait.line_->push_back(wait);
    wait.waiter_.suspend(frame, *t.task);
    return true;
}

// Its task has been woken, and is in the ready queue.
void QueueWait::overtake() noexcept {
    if (overtaken_ || waiter_.cancelled()) return;
    overtaken_ = true;
    TaskBase& task = *waiter_.task();
    const auto place = line_->kind() == QueueLine::Kind::kGet ? get() : put();
    std::construct_at(&frame_, Frame{&look_again, &ignore, Frame::Promise(place), this});
    frame_.promise.set_parent(*task.leaf_);
    frame_.promise.link &= ~PromiseBase::kNested;  // nobody waits for it on the machine stack
    task.leaf_ = &frame_.promise;
}

// The step of a task that was overtaken.
void QueueWait::look_again(void* frame) noexcept {
    QueueWait& w = *static_cast<Frame*>(frame)->wait;
    PromiseBase& parent = *w.frame_.promise.parent();
    w.overtaken_ = false;
    const bool cancelled = (w.waiter_.task()->flags_ & FutureBase::kMustCancel) != 0;
    if (cancelled || !w.line_ || w.line_->queue().shutdown_ ||
        w.line_->queue().may_go(w.line_->kind())) {
        thread_state.next = &parent;
        return;
    }
    w.line_->remove(w);
    w.line_->push_back(w);
    w.waiter_.reset();
    w.waiter_.suspend(parent);
}

std::exception_ptr QueueWait::error() noexcept {
    std::exception_ptr error = waiter_.resume();
    if (!line_) return error ? error : destroyed_meanwhile("Queue");
    // S-54: woken, but cancelled before it ran: the next one can have what is there.
    if (!waiter_.cancelled() && line_->queue().may_go(line_->kind())) line_->wake_next();
    leave_line();
    return error;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

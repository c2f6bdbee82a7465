// What of the queues does not depend on their items. The order of wake-ups is CPython's
// (asyncio/queues.py): a Waiter stands for the future that a task there awaits; a wake-up takes it
// out of its line.
#include "asyncio/queues.hpp"

#include <cstdio>

namespace asyncio::inline v1::detail {

void throw_queue_empty() { throw QueueEmpty(); }
void throw_queue_full() { throw QueueFull(); }
void throw_queue_shut_down() { throw QueueShutDown(); }

// ---- the queue ------------------------------------------------------------------------------

void QueueBase::task_done() {
    if (unfinished_ == 0) throw ValueError("task_done() called too many times");
    if (--unfinished_ == 0) finished_.set();
}

void QueueBase::shut_down(bool immediate) noexcept {
    if (immediate && unfinished_ == 0) finished_.set();
    wake_all(getters_);
    wake_all(putters_);
}

void QueueBase::wake_all(QueueLine& line) noexcept {
    while (line.waiting()) wake_next(line);
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
        static_cast<QueueWait*>(w)->queue_ = nullptr;
    }
}

std::size_t QueueLine::size() const noexcept {
    std::size_t n = 0;
    for (const QueueLink* w = next_; w != &ends_; w = w->following) ++n;
    return n;
}

namespace {

// What a task's stack says that it is in.
std::source_location get() noexcept { return std::source_location::current(); }
std::source_location put() noexcept { return std::source_location::current(); }

}  // namespace

QueueWait::QueueWait(QueueBase& queue, Kind kind) noexcept
    : FrameHead{&step, &ignore, Promise(kind == Kind::kGet ? get() : put())},
      queue_(&queue),
      kind_(kind) {}

bool QueueWait::begin(WaitSlot<QueueWait>& slot, QueueBase& queue, Kind kind,
                      PromiseBase& frame) noexcept {
    if (!queue.loop_.bind()) {
        slot.refuse();
        return false;
    }
    QueueWait& wait = slot.wait(queue, kind);
    wait.promise.set_parent(frame);
    wait.promise.link &= ~PromiseBase::kNested;  // nobody waits for it on the machine stack
    wait.line().push_back(wait);
    wait.waiter_.suspend(wait.promise);
    return true;
}

// The task's step, in place of the frame that waits.
void QueueWait::step(void* frame) noexcept {
    auto& w = *static_cast<QueueWait*>(static_cast<FrameHead*>(frame));
    TaskBase& task = *w.waiter_.task();
    thread_state.next = w.promise.parent();
    if (!w.queue_ || w.waiter_.cancelled() || (task.flags_ & FutureBase::kMustCancel)) return;
    if (w.may_go() || w.queue_->shutdown_) {
        task.resumed();
        w.leave_line();
        w.granted_ = true;
        return;
    }
    // It was overtaken.
    thread_state.next = nullptr;
    w.line().remove(w);
    w.line().push_back(w);
    w.waiter_.reset();
    w.waiter_.suspend(w.promise);
}

std::exception_ptr QueueWait::error() noexcept {
    std::exception_ptr error = waiter_.resume();
    if (!queue_) return error ? error : destroyed_meanwhile("Queue");
    // S-54: woken, but cancelled before it ran: the next one can have what is there.
    if (!waiter_.cancelled() && may_go()) QueueBase::wake_next(line());
    leave_line();
    return error;
}

}  // namespace asyncio::inline v1::detail

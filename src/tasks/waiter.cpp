#include "asyncio/detail/waiter.hpp"

#include <cassert>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

bool SoleWaiter::cancel_wait(const std::exception_ptr& error) {
    if (done()) return false;
    state_ = State::kCancelled;
    error_ = error;
    task_->wake();
    return true;
}

bool Waiter::cancel_wait(const std::exception_ptr& error) {
    if (!SoleWaiter::cancel_wait(error)) return false;
    if (line_) --line_->not_cancelled_;
    return true;
}

std::exception_ptr SoleWaiter::resume_error() noexcept {
    assert(done());  // else the wait has ended by itself: the task was queued twice
    const bool due = (task_->flags_ & FutureBase::kMustCancel) != 0;
    std::exception_ptr cancel;
    if (due) cancel = task_->take_cancel();
    if (state_ != State::kCancelled) return cancel;
    return error_ ? error_ : cancelled_error(nullptr);
}

const char* name_of(WaitKind kind) noexcept {
    switch (kind) {
        case WaitKind::kSleep:
            return "sleep";
        case WaitKind::kLock:
            return "Lock.acquire";
        case WaitKind::kEvent:
            return "Event.wait";
        case WaitKind::kCondition:
            return "Condition.wait";
        case WaitKind::kSemaphore:
            return "Semaphore.acquire";
        case WaitKind::kQueueGet:
            return "Queue.get";
        case WaitKind::kQueuePut:
            return "Queue.put";
        case WaitKind::kQueueJoin:
            return "Queue.join";
        case WaitKind::kTaskGroup:
            return "the tasks of a TaskGroup";
        case WaitKind::kWait:
            return "wait";
        case WaitKind::kAsCompleted:
            return "as_completed";
        case WaitKind::kCancelledFuture:
            return "the end of what it has cancelled";
        case WaitKind::kStreamRead:
            return "StreamReader.read";
        case WaitKind::kStreamDrain:
            return "StreamWriter.drain";
        case WaitKind::kStreamClosed:
            return "StreamWriter.wait_closed";
        case WaitKind::kDatagramReceive:
            return "DatagramEndpoint.receive";
        case WaitKind::kDatagramSend:
            return "DatagramEndpoint.send";
        case WaitKind::kConnection:
            return "a connection";
        case WaitKind::kDescriptor:
            return "a descriptor";
        case WaitKind::kSignal:
            return "a signal";
        case WaitKind::kName:
            return "getaddrinfo";
        case WaitKind::kFile:
            return "a file";
        case WaitKind::kChannel:
            return "Channel";
        case WaitKind::kOther:
            break;
    }
    return nullptr;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

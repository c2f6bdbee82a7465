#include "asyncio/coroutines.hpp"

#include <cstdio>
#include <ostream>
#include <string>

#include "asyncio/log.hpp"
#include "base/function_name.hpp"
#include "base/traces.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void throw_already_awaited() { throw RuntimeError("cannot reuse already awaited coroutine"); }

std::exception_ptr take_error_of(const PromiseBase& promise, std::exception_ptr* error) noexcept {
    if (error) return std::move(*error);
    try {
        return std::make_exception_ptr(RuntimeError(
            function_name(promise.place.function_name()) + "() ended without co_return (" +
            promise.place.file_name() + ':' + std::to_string(promise.place.line()) + ')'));
    } catch (const std::bad_alloc&) {
        return std::current_exception();
    }
}

namespace {

TraceTask trace_name(const TaskBase& task) noexcept {
    if (task.name_ & 1) return {task.name_ >> 1, {}};
    // Safe because bit 0 is clear only for the pointer that extra() stored.
    const auto& extra = *reinterpret_cast<const TaskExtra*>(task.name_);
    if (extra.named) return {0, extra.name};
    return {extra.number, {}};
}

}  // namespace

std::exception_ptr leave_frame(const PromiseBase& p) noexcept {
    std::exception_ptr error = std::current_exception();
    if (p.is_root()) {
        note_frame(error, p.place, trace_name(*p.task()));
    } else {
        note_frame(error, p.place);
    }
    return error;
}

void drop_never_awaited(PromiseBase& promise) noexcept {
    try {
        const std::string text = "coroutine '" + function_name(promise.place.function_name()) +
                                 "' was never awaited (made by the function at " +
                                 promise.place.file_name() + ':' +
                                 std::to_string(promise.place.line()) + ')';
        log::write(log::Level::WARNING, text);
    } catch (const std::bad_alloc&) {
        // Out of memory: the coroutine is dropped all the same.
    }
    // Safe because the frame has not begun, and the caller's handle is its only owner.
    destroy_frame(promise.handle());
}

std::string repr_coroutine(const PromiseBase* promise) {
    if (!promise) return "<coroutine object (awaited)>";
    char address[2 + 2 * sizeof(void*) + 1];
    std::snprintf(address, sizeof address, "%p", static_cast<const void*>(promise));
    return "<coroutine object " + function_name(promise->place.function_name()) + " at " + address +
           '>';
}

std::ostream& print_coroutine(std::ostream& out, const PromiseBase* promise) {
    return out << repr_coroutine(promise);
}

void destroy_chain(PromiseBase* innermost) noexcept {
    const PromiseBase* child = nullptr;
    for (PromiseBase* p = innermost; p;) {
        PromiseBase* parent = p->parent();
        // The awaiter of `child` in this frame finds that it is gone.
        thread_state.destroyed = child;
        // Safe because every frame of the chain is suspended: the innermost at what it waits for,
        // the others at the co_await of the next; each has its awaiter in the next as only owner.
        destroy_frame(p->handle());
        child = p;
        p = parent;
    }
    thread_state.destroyed = nullptr;
}

namespace {

// The coroutine that a foreign awaiter resumes in place of the one that awaits.
struct WakerFrame {
    struct promise_type {
        WakerFrame get_return_object() noexcept {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_always final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }  // wake() is noexcept
    };
    std::coroutine_handle<promise_type> handle;
};

WakerFrame wake_task(TaskBase* task) {
    task->wake();
    co_return;
}

}  // namespace

std::coroutine_handle<> Waker::handle_for(TaskBase& task) {
    const std::coroutine_handle<> h = wake_task(&task).handle;
    frame_ = h.address();
    return h;
}

Waker::~Waker() {
    // Safe because the frame is suspended: before its start, or at its end.
    if (frame_) std::coroutine_handle<>::from_address(frame_).destroy();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

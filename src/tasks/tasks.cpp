// Steps of a task: how it starts, is resumed, is cancelled and ends. See detail/promise.hpp for how
// frames call one another within a step.
#include "asyncio/tasks.hpp"

#include <atomic>
#include <cassert>
#include <iostream>

#include "asyncio/log.hpp"
#include "base/function_name.hpp"
#include "base/prefetch.hpp"
#include "loop/loop.hpp"
#include "os/probes.hpp"

namespace asyncio {
inline namespace v1 {
std::string log::task_name() {
    const detail::TaskBase* const task =
        detail::running_loop() ? detail::thread_state.task : nullptr;
    return task ? task->name() : std::string();
}

void eager_task_factory(EventLoop&, TaskOptions& options) {
    if (!options.eager_start) options.eager_start = true;
}

namespace detail {

std::atomic<std::uint64_t> task_counter{0};

namespace {

TaskBase& task_of(const FutureBase& f) {
    if (!f.is_task()) throw TypeError("a task is needed, not a plain future");
    // Safe because the flag is set by TaskBase's constructor only.
    return const_cast<TaskBase&>(static_cast<const TaskBase&>(f));
}

}  // namespace

void TaskBase::delete_extra() noexcept { delete reinterpret_cast<TaskExtra*>(name_); }

TaskExtra& TaskBase::extra() {
    if (name_ & 1) {
        auto* made = new TaskExtra;
        made->number = name_ >> 1;
        // Safe because new gives an aligned address: bit 0 is clear, which says that it is a
        // pointer.
        name_ = reinterpret_cast<std::uintptr_t>(made);
    }
    // Safe because bit 0 is clear only for the pointer stored above.
    return *reinterpret_cast<TaskExtra*>(name_);
}

std::string TaskBase::name() const {
    if (name_ & 1) return "Task-" + std::to_string(name_ >> 1);
    const auto& e = *reinterpret_cast<const TaskExtra*>(name_);
    return e.named ? e.name : "Task-" + std::to_string(e.number);
}

void TaskBase::set_name(std::string_view name) {
    TaskExtra& e = extra();
    e.name = name;
    e.named = true;
}

// ---- steps --------------------------------------------------------------------------------------

// Eager first steps that make eager tasks are calls within calls. CPython ends such a tower with
// RecursionError, at about this height; here the next floor is started by the loop.
constexpr std::uint32_t kMaxEager = 400;

void TaskBase::start(bool eager) {
    link();
    if (!eager || thread_state.eager == kMaxEager) {
        core_->push_ready(this);
        return;
    }
    struct Floor {
        Floor() : outer(thread_state.task) { ++thread_state.eager; }
        ~Floor() {
            --thread_state.eager;
            thread_state.task = outer;
        }
        TaskBase* outer;
    } const floor;
    flags_ |= kEager;
    run();
}

void TaskBase::run() {
    // Not by its name: finding that costs more in code that may be part of a shared object.
    ThreadState& t = *core_->thread;
    ContextSlot* const context = t.context;
    t.task = this;
    t.context = &context_;
    const bool begins = (flags_ & kStarted) == 0;
    if (begins && (flags_ & kMustCancel)) [[unlikely]] {
        cancel_before_start();
    } else {
        if (begins) {
            flags_ |= kStarted;
            probe_task_begins(this);
        }
        // While it runs it is suspended nowhere: what it stood at may be gone before it stands
        // again. Between two frames nobody is named as the next.
        PromiseBase* frame = std::exchange(leaf_, nullptr);
        frame->handle().resume();
        while ((frame = std::exchange(t.next, nullptr))) frame->handle().resume();
    }
    if (done()) {
        // Safe because the root is at its final suspend, or has not begun, and the task is its only
        // owner. Its parameters are destroyed here, still in the task's context.
        destroy_frame(std::exchange(leaf_, nullptr)->handle());
        t.task = nullptr;
        t.context = context;
        probe_task_ended(this);
        unlink();
        if (flags_ & (kExit | kWatched)) [[unlikely]]
            tell_ended();
        release_on(t);  // the loop's
        return;
    }
    t.task = nullptr;  // as the loop has it between steps; start() puts back its own
    t.context = context;
}

void TaskBase::drop() noexcept {
    // The loop owns the task and destroys its frames when it closes.
}

[[gnu::cold]] void TaskBase::tell_made() noexcept {
    flags_ |= kWatched;
    static_cast<Loop&>(core()).tell_watches([this](StepWatch& w) { w.task_made(*this); });
}

// S-60: KeyboardInterrupt and SystemExit leave the loop too, whose reference goes.
[[gnu::cold]] void TaskBase::tell_ended() {
    static_cast<Loop&>(core()).tell_watches([this](StepWatch& w) { w.task_ended(*this); });
    if ((flags_ & kExit) == 0) return;
    std::exception_ptr leave = exc_;
    release();
    std::rethrow_exception(std::move(leave));
}

void* TaskBase::room(std::size_t size, std::size_t alignment, LoopCore& core, PromiseBase& root) {
    try {
        return alignment > kBlockUnit ? ::operator new(size, std::align_val_t(alignment))
                                      : allocate_slow(size);
    } catch (...) {
        // Raised again.
        core.detach();
        // Safe because the frame has not begun, and the task would have been its only owner.
        destroy_frame(root.handle());
        throw;
    }
}

void TaskBase::copy_context() noexcept { context_ = ContextSlot::copy_current(); }

// S-43: the body is never entered. Out of line, since each step would save two registers for it.
[[gnu::cold, gnu::noinline]] void TaskBase::cancel_before_start() noexcept {
    flags_ |= kStarted | kCancelOnce;
    ++static_cast<Loop&>(core()).tasks_cancelled;
    std::exception_ptr error = take_cancel();
    finish_cancelled(std::move(error));
}

void TaskBase::end_cancelled(PromiseBase& root) noexcept {
    leaf_ = &root;
    ++static_cast<Loop&>(core()).tasks_cancelled;
    std::exception_ptr error = take_cancel();
    finish_cancelled(std::move(error));
}

void TaskBase::finish_from_error(PromiseBase& root, std::exception_ptr* kept) noexcept {
    leaf_ = &root;
    std::exception_ptr error = take_error_of(root, kept);
    if (is_cancelled_error(error)) {
        flags_ |= kCancelOnce;
        ++static_cast<Loop&>(core()).tasks_cancelled;
        finish_cancelled(std::move(error));
        return;
    }
    ++static_cast<Loop&>(core()).tasks_failed;
    if (is_exit_error(error)) flags_ |= kExit;
    finish_error(std::move(error));
}

// ---- cancelling
// -----------------------------------------------------------------------------------

std::exception_ptr TaskBase::take_cancel() noexcept {
    flags_ &= static_cast<std::uint16_t>(~kMustCancel);
    return last_cancel_error();
}

std::exception_ptr TaskBase::last_cancel_error() const noexcept {
    std::exception_ptr error;
    // Safe because bit 0 is clear only for the pointer that extra() stored.
    if ((name_ & 1) == 0) error = reinterpret_cast<TaskExtra*>(name_)->cancel_error;
    return error ? error : cancelled_error(nullptr);
}

std::exception_ptr TaskBase::take_await_error() noexcept {
    // Safe because bit 0 is clear only for the pointer that extra() stored.
    return std::exchange(reinterpret_cast<TaskExtra*>(name_)->await_error, nullptr);
}

void TaskBase::must_cancel(const std::exception_ptr& error) noexcept {
    flags_ |= kMustCancel;
    if (error || (name_ & 1) == 0) {
        try {
            extra().cancel_error = error;
        } catch (const std::bad_alloc&) {
            // No memory for the message: a cancel without it is better than none.
        }
    }
}

std::uint32_t cancelling(const FutureBase& f) { return task_of(f).cancel_requests_; }

std::uint32_t uncancel(FutureBase& f) {
    TaskBase& t = task_of(f);
    if (t.cancel_requests_ > 0 && --t.cancel_requests_ == 0) {
        t.flags_ &= static_cast<std::uint16_t>(~FutureBase::kMustCancel);
    }
    return t.cancel_requests_;
}

// ---- making them
// ------------------------------------------------------------------------------------

TaskOptions factory_options(LoopCore& core, TaskOptions options) {
    auto& loop = static_cast<Loop&>(core);
    if (!loop.task_factory) return options;
    const Loop::Stays stays(loop);  // the factory may close it, and destroy the public object
    loop.task_factory(*loop.loop, options);
    loop.check_open();
    return options;
}

namespace {

// A task that never was: its frame goes unbegun, and so does the count that the loop was to have.
void discard(TaskBase& task) noexcept {
    // Safe because the frame has not begun, and the task is its only owner.
    destroy_frame(std::exchange(task.leaf_, nullptr)->handle());
    task.release();
}

}  // namespace

void launch(TaskBase& task, const TaskOptions& options) {
    if (options.name.empty()) {
        task.name_ = next_task_number() << 1 | 1;
    } else {
        try {
            task.set_name(options.name);
        } catch (const std::bad_alloc&) {
            discard(task);
            throw;
        }
    }
    task.context_ = ContextSlot::use(options.context);
    if (task.core().tells_of_tasks) [[unlikely]]
        task.tell_made();
    const bool running = thread_state.loop == &task.core();
    task.start(options.eager_start.value_or(false) && running);
}

std::string task_name(const FutureBase& f) { return task_of(f).name(); }
void set_task_name(FutureBase& f, std::string_view name) { task_of(f).set_name(name); }
Context task_context(FutureBase& f) { return Context::of(task_of(f).context_); }

// ---- sleep
// -----------------------------------------------------------------------------------------

SleepTimer::SleepTimer(LoopCore& core, std::int64_t delay_ns)
    : SoleWaiter(WaitKind::kSleep), core_(core) {
    timer_.owner = this;
    timer_.when = saturating_add(loop_now(core), delay_ns);
    add_timer(core, timer_);
}

void Sleep::start_timer(PromiseBase& frame) {
    auto* timer = new SleepTimer(*thread_state.loop, -state_);
    // Safe because user addresses are positive, as the delay's negative is not.
    state_ = reinterpret_cast<std::intptr_t>(timer);
    timer->suspend(frame);
}

std::exception_ptr Sleep::error() noexcept {
    if (SleepTimer* t = timer()) return t->resume();
    TaskBase* task = thread_state.task;
    return task->resumed() ? task->take_cancel() : std::exception_ptr();
}

void Sleep::check() {
    if (std::exception_ptr e = error()) std::rethrow_exception(std::move(e));
}

void SleepTimer::run() {
    timer_.index = TimerEntry::kNotQueued;
    if (abandoned_) {
        delete this;
        return;
    }
    if (done()) return;
    set();
    // Where the sleeper goes on in the next iteration, with the frame's begin before its promise.
    if (const TaskBase* t = task()) prefetch<-64, 192>(t->leaf_);
}

void SleepTimer::drop() noexcept {
    timer_.index = TimerEntry::kNotQueued;
    if (abandoned_) delete this;
}

void SleepTimer::abandon() noexcept {
    if (timer_.due()) {
        abandoned_ = true;  // it is in the ready queue, whose turn comes
        return;
    }
    remove_timer(core_, timer_);
    delete this;
}

// ---- introspection
// ------------------------------------------------------------------------------------

std::vector<std::source_location> task_stack(const FutureBase& f, int limit) {
    TaskBase& t = task_of(f);
    std::vector<std::source_location> frames;
    for (PromiseBase* p = t.done() ? nullptr : t.leaf_; p; p = p->parent()) {
        if (limit > 0 && frames.size() == static_cast<std::size_t>(limit)) break;
        if (is_helper(p->place.function_name())) continue;
        frames.push_back(p->place);
    }
    std::vector<std::source_location> outermost_first(frames.rbegin(), frames.rend());
    return outermost_first;
}

void print_task_stack(const AnyFuture& f, int limit, std::ostream* out) {
    std::ostream& to = out ? *out : std::cerr;
    const auto frames = task_stack(*f.state(), limit);
    const std::string who = asyncio::repr(f);
    if (frames.empty()) {
        to << "No stack for " << who << '\n';
        return;
    }
    to << "Stack for " << who << " (most recent call last):\n";
    for (const auto& place : frames) {
        to << "  File \"" << place.file_name() << "\", line " << place.line() << ", in "
           << function_name(place.function_name()) << '\n';
    }
}

}  // namespace detail

AnyTask as_task(const AnyFuture& future) {
    const auto& s = future.state();
    if (!s || !s->is_task()) return AnyTask();
    return AnyTask::from_state(s);
}

AnyTask current_task() {
    detail::running_core();
    auto* task = detail::thread_state.task;
    return AnyTask::from_state(detail::Ref<detail::FutureBase>::share(task));
}

AnyTask current_task(EventLoop& loop) {
    if (detail::running_loop() != &loop.core()) return AnyTask();
    return current_task();
}

std::vector<AnyTask> all_tasks(EventLoop& loop) {
    std::vector<AnyTask> tasks;
    for (auto* t = loop.core().first_task; t; t = t->following_) {
        if (t->done()) continue;
        tasks.push_back(AnyTask::from_state(detail::Ref<detail::FutureBase>::share(t)));
    }
    return tasks;
}

std::vector<AnyTask> all_tasks() { return all_tasks(get_running_loop()); }

}  // namespace v1
}  // namespace asyncio

// The tasks of a loop, together: who waits when nothing can happen any more, and their end.
#include <string>
#include <utility>

#include "asyncio/detail/debug_block.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "base/function_name.hpp"
#include "loop/loop.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

extern "C" const DebugBlock asyncio_debug_block;

namespace {

// Each program with a loop has this file, and so the block.
[[gnu::used]] const DebugBlock* const block_of_tasks = &asyncio_debug_block;

// Where each frame waits, innermost last; the outermost is in the task's repr. Then what for, if it
// is neither a future nor a task, which the repr shows.
void append_stack(std::string& text, const TaskBase& task) {
    constexpr int kInnermost = 10;
    auto places = task_stack(task, kInnermost + 1);
    if (places.size() > kInnermost) {
        text += "\n    ...";
    }
    for (std::size_t i = 1; i < places.size(); ++i) {
        text += std::string("\n    in ") + function_name(places[i].function_name()) + "() at " +
                places[i].file_name() + ':' + std::to_string(places[i].line());
    }
    const auto* waiter = dynamic_cast<const SoleWaiter*>(task.waiting_);
    if (!waiter) return;
    if (const char* name = name_of(waiter->kind())) text += std::string("\n    waits for ") + name;
}

}  // namespace

void report_deadlock(Loop& loop) {
    constexpr int kMostTasks = 100;
    std::string text = "Deadlock: nothing is ready and no timer is left. Waiting tasks:";
    if (!loop.first_task) text += " none";
    std::size_t more = 0;
    int shown = 0;
    for (TaskBase* t = loop.first_task; t; t = t->following_) {
        if (++shown > kMostTasks) {
            ++more;
            continue;
        }
        text += "\n  " + asyncio::repr(AnyFuture::from_state(Ref<FutureBase>::share(t)));
        append_stack(text, *t);
    }
    if (more > 0) text += "\n  and " + std::to_string(more) + " more";
    throw DeadlockError(text);
}

// Destroys what is suspended. Each task's state outlives all frames, since a destructor that runs
// in one frame may wake the task of another (a lock released, a future set).
void destroy_tasks(Loop& loop) noexcept {
    for (TaskBase* t = loop.first_task; t; t = t->following_) {
        if (!(t->flags_ & FutureBase::kLogDestroyed)) continue;
        constexpr const char* kText = "Task was destroyed but it is pending!";
        report_or_log(loop, kText, [t](ExceptionContext& context) {
            context.message = kText;
            context.task = AnyFuture::from_state(Ref<FutureBase>::share(t));
        });
    }
    for (TaskBase* t = loop.first_task; t; t = t->following_) {
        // Safe because nothing runs any more: whatever waits in these lists is dropped unrun.
        t->drop_callbacks();
        if (FutureBase* f = t->waiting_ ? t->waiting_->as_future() : nullptr) f->drop_callbacks();
    }
    for (TaskBase* t = loop.first_task; t; t = t->following_) {
        PromiseBase* leaf = t->leaf_;
        t->leaf_ = nullptr;
        t->waiting_ = nullptr;
        TaskBase* const outer = std::exchange(thread_state.task, nullptr);
        ContextSlot* const context = std::exchange(thread_state.context, &t->context_);
        destroy_chain(leaf);
        thread_state.task = outer;
        thread_state.context = context;
    }
    while (!loop.ready.empty()) loop.ready.pop()->drop();
    while (TaskBase* t = loop.first_task) {
        t->unlink();
        t->release();
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

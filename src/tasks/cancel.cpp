// A request to cancel on its way: down the chain of awaited tasks to what the last one waits for
// (S-41), and into every child of a gather (T-16). By a loop, since both may be nested deeply;
// where it is, is noted in the gathers themselves, so that it needs no memory and cannot fail.
//
// What is on the way is marked (kCancelling). A request that comes to where it has been before has
// found tasks that await one another in a circle: none of them can end, and no cancel could end
// them, since each passes it on. Then the last await of the way raises an error that names the
// circle. A task that awaits the one whose TaskGroup waits for it is in such a circle, too; one
// that leads through more groups is found when the request has gone round it: see circles.hpp.
#include <algorithm>
#include <vector>

#include "asyncio/futures.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/tasks/gather.hpp"
#include "tasks/awaiters.hpp"
#include "tasks/circles.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr auto kNotCancelling = static_cast<std::uint16_t>(~FutureBase::kCancelling);

TaskBase* awaited_task(const TaskBase& t) noexcept {
    return t.waiting_ ? t.waiting_->as_task() : nullptr;
}

}  // namespace

class CancelWalk {
  public:
    explicit CancelWalk(const std::exception_ptr& error) noexcept : error_(error) {}

    // Returns what `start.cancel()` returns: false if it is done already.
    bool run(FutureBase& start) noexcept { return run(&start); }

    // The same for a task that was asked before it began to wait.
    void go_on(TaskBase& task) noexcept {
        task.flags_ |= FutureBase::kCancelling;
        first_ = last_ = &task;
        run(task.waiting_);
    }

  private:
    bool run(Waitable* next) noexcept {
        for (;;) {
            bool accepted = false;
            next = descend(*next, accepted);
            while (!next) {
                leave_tasks(accepted);
                if (!gather_) return accepted;
                next = leave_child(accepted);
            }
        }
    }

    // Passes one thing. Returns what the request goes on to, or null: it has ended here, and was
    // accepted or not.
    Waitable* descend(Waitable& w, bool& accepted) noexcept {
        FutureBase* const future = w.as_future();
        if (future && future->done()) {
            future->mark_retrieved();
            return nullptr;
        }
        TaskBase* const task = w.as_task();
        GatherBase* const gather = task ? nullptr : w.as_gather();
        if (!future || (!task && !gather)) {
            accepted = w.cancel_wait(error_);
            return nullptr;
        }
        accepted = true;
        if (closes_circle(*future)) {
            break_circle(*future);
            return nullptr;
        }
        future->flags_ |= FutureBase::kCancelling;
        future->mark_retrieved();
        if (gather) return enter_gather(*gather);
        if ((task->flags_ & FutureBase::kGroupParent) && last_task()) {
            task->flags_ |= FutureBase::kPassedOn;
        }
        if (!first_) first_ = task;
        last_ = task;
        ++task->cancel_requests_;
        if (!task->waiting_) accepted = false;
        return task->waiting_;
    }

    Waitable* enter_gather(GatherBase& gather) noexcept {
        gather.walk_ = {first_, last_, gather_, 0, false};
        gather_ = &gather;
        first_ = last_ = nullptr;
        return next_child();
    }

    Waitable* next_child() noexcept {
        GatherBase& gather = *gather_;
        return gather.children_[gather.walk_.next++].get();
    }

    // The last of the tasks since the innermost gather has asked what it waits for.
    void leave_tasks(bool& accepted) noexcept {
        if (!last_) return;
        if (!accepted) last_->must_cancel(error_);
        accepted = true;
        for (TaskBase* t = first_;; t = awaited_task(*t)) {
            t->flags_ &= kNotCancelling;
            if (t == last_) break;
        }
        first_ = last_ = nullptr;
    }

    // A child of the innermost gather has answered. Returns the next one, or null: then the gather
    // has its answer, too.
    Waitable* leave_child(bool& accepted) noexcept {
        GatherBase& gather = *gather_;
        gather.walk_.any = gather.walk_.any || accepted;
        if (gather.walk_.next < gather.children_.size()) return next_child();
        accepted = gather.walk_.any;
        if (accepted) gather.cancel_requested_ = true;
        gather.flags_ &= kNotCancelling;
        first_ = gather.walk_.first;
        last_ = gather.walk_.last;
        gather_ = gather.walk_.outer;
        return nullptr;
    }

    // The last task on the way, be it before a gather; null if there is none.
    TaskBase* last_task() const noexcept {
        if (last_) return last_;
        for (const GatherBase* g = gather_; g; g = g->walk_.outer) {
            if (g->walk_.last) return g->walk_.last;
        }
        return nullptr;
    }

    bool closes_circle(const FutureBase& future) const noexcept {
        if (future.flags_ & FutureBase::kCancelling) return true;
        if ((future.flags_ & FutureBase::kGroupParent) == 0) return false;
        const TaskBase* const last = last_task();
        if (!last) return false;
        return has_group_ancestor(*last, future) ||
               (first_ && first_ != last && has_group_ancestor(*first_, future));
    }

    void break_circle(const FutureBase& closing) noexcept {
        TaskBase* const task = last_task();
        if (!task || !task->waiting_ || task->core().closed) return;
        try {
            const std::vector<const TaskBase*> circle = circle_from(closing);
            // A mark of another request, on whose way this one was made, is no circle.
            if (!circle.empty()) take_out(*task, circle);
        } catch (const std::bad_alloc&) {
            // Nobody could be told.
        }
    }

    // The tasks of the way from `closing` on; none if it is not on the way. If it is the parent of
    // a group: itself, and those from the member on.
    std::vector<const TaskBase*> circle_from(const FutureBase& closing) const {
        std::vector<const TaskBase*> way;  // innermost first
        add_reversed(way, first_, last_);
        if (cut(way, 0, closing)) return way;
        for (const GatherBase* g = gather_; g; g = g->walk_.outer) {
            if (g == &closing) {
                std::reverse(way.begin(), way.end());
                return way;
            }
            const std::size_t inner = way.size();
            add_reversed(way, g->walk_.first, g->walk_.last);
            if (cut(way, inner, closing)) return way;
        }
        std::reverse(way.begin(), way.end());
        if ((closing.flags_ & FutureBase::kGroupParent) == 0) return {};
        const auto member = std::find_if(way.begin(), way.end(), [&](const TaskBase* t) {
            return has_group_ancestor(*t, closing);
        });
        way.erase(way.begin(), member);
        // Safe because only a task has the flag.
        if (!way.empty()) way.push_back(static_cast<const TaskBase*>(&closing));
        return way;
    }

    static void add_reversed(std::vector<const TaskBase*>& way, const TaskBase* first,
                             const TaskBase* last) {
        const auto begin = static_cast<std::ptrdiff_t>(way.size());
        for (const TaskBase* t = first; t; t = t == last ? nullptr : awaited_task(*t)) {
            way.push_back(t);
        }
        std::reverse(way.begin() + begin, way.end());
    }

    // If `closing` is among those from `begin` on: leaves those up to it, outermost first.
    static bool cut(std::vector<const TaskBase*>& way, std::size_t begin,
                    const FutureBase& closing) {
        const auto found =
            std::find(way.begin() + static_cast<std::ptrdiff_t>(begin), way.end(), &closing);
        if (found == way.end()) return false;
        way.erase(found + 1, way.end());
        std::reverse(way.begin(), way.end());
        return true;
    }

    const std::exception_ptr& error_;
    TaskBase* first_ = nullptr;  // tasks on the way since the innermost gather
    TaskBase* last_ = nullptr;
    GatherBase* gather_ = nullptr;  // the innermost gather on the way
};

// S-45: a cancel was due when the task began to wait.
void TaskBase::cancel_now() noexcept {
    std::exception_ptr error;
    // Safe because bit 0 is clear only for the pointer that extra() stored.
    if ((name_ & 1) == 0) error = reinterpret_cast<TaskExtra*>(name_)->cancel_error;
    flags_ &= static_cast<std::uint16_t>(~kMustCancel);  // due again if nothing takes it
    CancelWalk(error).go_on(*this);
}

bool TaskBase::cancel_wait(const std::exception_ptr& error) { return CancelWalk(error).run(*this); }

bool GatherBase::cancel_wait(const std::exception_ptr& error) {
    return CancelWalk(error).run(*this);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

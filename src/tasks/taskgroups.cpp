// The state of a TaskGroup is shared by the group and by one node for each child, which is that
// child's done callback: a child may outlive the group's scope when a loop is closed.
//
// What cancels whom, and who counts it (S-77 to S-81):
//   1. the first child that fails calls abort(), which cancels all other children once, and cancels
//      the parent, noting that it was the group (parent_cancel_requested_);
//   2. the body or the wait in aexit() gets CancelledError, and aexit() waits on;
//   3. when no child is left, aexit() takes the group's own request back by uncancel(). If that was
//      the only one, the CancelledError was the group's and goes no further; else it is somebody
//      else's, and is raised, or asked for again behind the group of errors.
#include "asyncio/taskgroups.hpp"

#include <ostream>
#include <vector>

#include "asyncio/detail/waiter.hpp"
#include "asyncio/events.hpp"
#include "loop/loop.hpp"
#include "tasks/awaiters.hpp"
#include "tasks/circles.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class GroupChild;

class GroupState : public Pooled {
  public:
    GroupState() = default;
    GroupState(const GroupState&) = delete;
    GroupState& operator=(const GroupState&) = delete;
    ~GroupState() { drop_errors(); }

    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    std::string repr() const;
    void enter();
    std::exception_ptr refuse() const;
    void add(GroupChild& child, FutureBase& task);
    void cancel();
    // Cancels the children that are not done.
    void abort();
    // The child's done callback.
    void child_done(GroupChild& child, FutureBase& task);
    void remove(GroupChild& child) noexcept;

    bool empty() const noexcept { return first_ == nullptr; }
    LoopCore& core() const noexcept { return *core_; }
    bool has_parent() const noexcept { return static_cast<bool>(parent_); }
    TaskBase& parent() const noexcept { return static_cast<TaskBase&>(*parent_); }
    // Serves::kFutureAt.
    const Ref<FutureBase>* place_of_parent() const noexcept { return &parent_; }

    // For aexit().
    void check_can_exit() const;
    std::exception_ptr begin_exit(const std::exception_ptr& error);
    std::exception_ptr end_exit(const std::exception_ptr& error, std::exception_ptr cancelled,
                                std::exception_ptr last_cancelled);
    void forget() noexcept {
        parent_ = nullptr;
        drop_errors();
        base_error_ = nullptr;
        waiter = nullptr;
    }
    bool aborting() const noexcept { return aborting_; }
    void add_members(std::vector<FutureBase*>& found) const;
    // A cancel of `leaving`, which waits for the children, changes nothing.
    void on_vain_cancel(TaskBase& leaving) const noexcept;

    Waiter* waiter = nullptr;  // of aexit(), while it waits

  private:
    void report(const char* message, const std::exception_ptr& error, FutureBase* task) const;
    void keep_error(GroupChild& child, const std::exception_ptr& error) noexcept;
    std::vector<std::exception_ptr> take_errors();
    void drop_errors() noexcept;

    RefCount refs_{1};
    bool entered_ = false;
    bool exiting_ = false;
    bool aborting_ = false;
    bool parent_cancel_requested_ = false;
    bool cancel_on_enter_ = false;
    LoopCore* core_ = nullptr;
    Ref<FutureBase> parent_;
    GroupChild* first_ = nullptr;  // children whose callback has not run, in the order added
    GroupChild* last_ = nullptr;
    std::size_t size_ = 0;
    // Those that failed, in that order. An error stays in its child's node: to keep it takes no
    // memory, and so cannot fail.
    GroupChild* first_failed_ = nullptr;
    GroupChild* last_failed_ = nullptr;
    std::size_t error_count_ = 0;
    std::exception_ptr base_error_;
};

class GroupChild final : public Serving<Node>, public Pooled {
  public:
    // Whoever made it waits for its task from the start on, as in Python: also while the body of
    // the group still runs.
    explicit GroupChild(GroupState& group) noexcept
        : Serving(Serves::kFutureAt, group.place_of_parent()),
          group_(Ref<GroupState>::share(&group)) {}

    void scheduled(FutureBase& task) noexcept override { done_ = Ref<FutureBase>::share(&task); }
    void run() override {
        const auto group = group_;
        const auto task = done_;
        group->remove(*this);
        group->child_done(*this, *task);
    }
    void drop() noexcept override {
        group_->remove(*this);
        delete this;
    }
    // Safe to use until the callback is queued, since the loop owns a task that is not done, and
    // from then on since done_ does.
    FutureBase& task() const noexcept { return *task_; }

    GroupState& group() const noexcept { return *group_; }

    GroupChild* previous = nullptr;
    GroupChild* following = nullptr;

  private:
    friend class GroupState;
    Ref<GroupState> group_;
    FutureBase* task_ = nullptr;
    Ref<FutureBase> done_;
    std::exception_ptr error_;  // once it failed
};

TaskBase* group_parent(const FutureBase& member) noexcept {
    Node* const last = member.callbacks_;
    if (member.done() || !last || (member.flags_ & FutureBase::kGroupMember) == 0) return nullptr;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a ring has no null in it.
    for (Node* n = last->next_;; n = n->next_) {
        if (auto* const child = dynamic_cast<GroupChild*>(n)) {
            return child->group().has_parent() ? &child->group().parent() : nullptr;
        }
        if (n == last) return nullptr;
    }
}

bool has_group_ancestor(const FutureBase& member, const FutureBase& task) noexcept {
    for (const TaskBase* t = group_parent(member); t; t = group_parent(*t)) {
        if (t == &task) return true;
    }
    return false;
}

std::string GroupState::repr() const {
    std::string text = "<TaskGroup";
    if (size_ > 0) text += " tasks=" + std::to_string(size_);
    if (error_count_ > 0) text += " errors=" + std::to_string(error_count_);
    if (aborting_) {
        text += " cancelling";
    } else if (entered_) {
        text += " entered";
    }
    return text + '>';
}

void GroupState::enter() {
    if (entered_) throw RuntimeError("TaskGroup " + repr() + " has already been entered");
    LoopCore& core = running_core();
    if (!thread_state.task) {
        throw RuntimeError("TaskGroup " + repr() + " cannot determine the parent task");
    }
    core_ = &core;
    parent_ = Ref<FutureBase>::share(thread_state.task);
    parent_->flags_ |= FutureBase::kGroupParent;
    entered_ = true;
    if (cancel_on_enter_) cancel();
}

std::exception_ptr GroupState::refuse() const {
    const char* why = nullptr;
    if (!entered_) {
        why = " has not been entered";
    } else if (exiting_ && empty()) {
        why = " is finished";
    } else if (aborting_) {
        why = " is shutting down";
    }
    if (!why) return nullptr;
    return std::make_exception_ptr(RuntimeError("TaskGroup " + repr() + why));
}

// The callback is queued even for a task that is done already: a child that fails at once must not
// cancel the task that is just making it (EG-08; CPython since 3.14).
void GroupState::add(GroupChild& child, FutureBase& task) {
    child.task_ = &task;
    task.flags_ |= FutureBase::kGroupMember;
    child.previous = last_;
    (last_ ? last_->following : first_) = &child;
    last_ = &child;
    ++size_;
    task.add_node(&child, true);
    // An eager child may have cancelled the group before it was a member.
    if (aborting_ && !task.done()) task.cancel_wait(nullptr);
}

void GroupState::remove(GroupChild& child) noexcept {
    (child.previous ? child.previous->following : first_) = child.following;
    (child.following ? child.following->previous : last_) = child.previous;
    --size_;
}

void GroupState::abort() {
    aborting_ = true;
    // A cancel runs nothing of the user's, so the list stays as it is.
    for (GroupChild* c = first_; c; c = c->following) {
        FutureBase& task = c->task();
        if (task.done()) continue;
        if (task.flags_ & FutureBase::kGroupParent) task.flags_ |= FutureBase::kPassedOn;
        task.cancel_wait(nullptr);
    }
}

void GroupState::add_members(std::vector<FutureBase*>& found) const {
    for (const GroupChild* c = first_; c; c = c->following) found.push_back(&c->task());
}

// If it has come here through others, it may have gone round: the children were asked before.
void GroupState::on_vain_cancel(TaskBase& leaving) const noexcept {
    if ((leaving.flags_ & FutureBase::kPassedOn) == 0) return;
    leaving.flags_ &= static_cast<std::uint16_t>(~FutureBase::kPassedOn);
    try {
        std::vector<FutureBase*> members;
        add_members(members);
        break_circles(leaving, members);
    } catch (const std::bad_alloc&) {
        // A circle is not found: the next cancel may find it.
    }
}

void GroupState::cancel() {
    if (!entered_) {
        cancel_on_enter_ = true;
        return;
    }
    if ((exiting_ && empty()) || aborting_) return;
    abort();
    if (!parent_ || parent_cancel_requested_) return;
    parent_cancel_requested_ = true;
    parent().cancel_wait(nullptr);
}

void GroupState::keep_error(GroupChild& child, const std::exception_ptr& error) noexcept {
    if (!base_error_ && is_exit_error(error)) base_error_ = error;
    child.error_ = error;
    child.group_ = nullptr;  // which owns the child from now on
    child.done_ = nullptr;
    child.following = nullptr;
    (last_failed_ ? last_failed_->following : first_failed_) = &child;
    last_failed_ = &child;
    ++error_count_;
}

std::vector<std::exception_ptr> GroupState::take_errors() {
    std::vector<std::exception_ptr> errors;
    errors.reserve(error_count_ + 1);
    for (GroupChild* c = first_failed_; c; c = c->following) errors.push_back(c->error_);
    return errors;
}

void GroupState::drop_errors() noexcept {
    while (first_failed_) delete std::exchange(first_failed_, first_failed_->following);
    last_failed_ = nullptr;
    error_count_ = 0;
}

void GroupState::check_can_exit() const {
    const char* why = nullptr;
    if (!entered_) {
        why = " has not been entered";
    } else if (!parent_) {
        why = " is finished";
    } else if (exiting_) {
        why = " is being left already";
    }
    if (why) throw RuntimeError("TaskGroup " + repr() + why);
}

void GroupState::report(const char* message, const std::exception_ptr& error,
                        FutureBase* task) const {
    tell_handler(*core_, message, [&](ExceptionContext& context) {
        context.message = message;
        context.exception = error;
        if (task) context.task = AnyFuture::from_state(Ref<FutureBase>::share(task));
    });
}

// S-77, S-78.
void GroupState::child_done(GroupChild& child, FutureBase& task) {
    if (waiter && empty() && !waiter->done()) waiter->set();
    const std::exception_ptr error = task.cancelled() ? nullptr : task.take_error();
    if (!error) {
        delete &child;
        return;
    }
    keep_error(child, error);
    if (!parent_) return;
    if (parent_->done()) {
        const auto print = [](FutureBase& f) {
            return asyncio::repr(AnyFuture::from_state(Ref<FutureBase>::share(&f)));
        };
        const char* const brief = "A task has errored out but its parent task is already completed";
        tell_handler(*core_, brief, [&](ExceptionContext& context) {
            context.message = "Task " + print(task) + " has errored out but its parent task " +
                              print(*parent_) + " is already completed";
            context.exception = error;
            context.task = AnyFuture::from_state(Ref<FutureBase>::share(&task));
        });
        return;
    }
    if (aborting_ || parent_cancel_requested_) return;
    abort();
    parent_cancel_requested_ = true;
    parent().cancel_wait(nullptr);
}

// Returns the CancelledError that the body ended with, if it did.
std::exception_ptr GroupState::begin_exit(const std::exception_ptr& error) {
    exiting_ = true;
    if (!error) return nullptr;
    if (!base_error_ && is_exit_error(error)) base_error_ = error;
    if (!aborting_) abort();
    return is_cancelled_error(error) ? error : nullptr;
}

// S-81. Returns what to raise.
std::exception_ptr GroupState::end_exit(const std::exception_ptr& error,
                                        std::exception_ptr cancelled,
                                        std::exception_ptr last_cancelled) {
    if (base_error_) {
        // S-85: the others would be lost without a word.
        for (const GroupChild* c = first_failed_; c; c = c->following) {
            report(
                "TaskGroup task exception was not propagated because the TaskGroup body is "
                "being closed with a BaseException",
                c->error_, nullptr);
        }
        return base_error_;
    }
    if (parent_cancel_requested_) {
        if (uncancel(*parent_) == 0) {
            cancelled = nullptr;
        } else if (!cancelled) {
            cancelled = std::move(last_cancelled);  // not the group's own, so it goes on
        }
    }
    if (cancelled && error_count_ == 0) return cancelled;
    std::vector<std::exception_ptr> errors = take_errors();
    if (error && !is_cancelled_error(error)) errors.push_back(error);
    if (errors.empty()) return nullptr;
    if (parent().cancel_requests_ > 0) {
        // The count stays, and the cancel reaches the next await after the group of errors (S-83).
        uncancel(*parent_);
        parent().cancel_wait(nullptr);
    }
    if (errors.size() == 1 && error && holds<GeneratorExit>(error)) return error;
    return BaseExceptionGroup::make("unhandled errors in a TaskGroup", std::move(errors));
}

namespace {

class GroupWaiter final : public Waiter {
  public:
    explicit GroupWaiter(const GroupState& group) noexcept
        : Waiter(WaitKind::kTaskGroup), group_(group) {}
    const GroupState& group() const noexcept { return group_; }

  private:
    const GroupState& group_;
};

// CPython's on_completed future: suspends the parent until it is set or cancelled.
class GroupWait {
  public:
    using asyncio_native = void;
    explicit GroupWait(GroupState& group) noexcept : group_(group), waiter_(group) {}
    GroupWait(const GroupWait&) = delete;
    GroupWait& operator=(const GroupWait&) = delete;
    ~GroupWait() { group_.waiter = nullptr; }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        group_.waiter = &waiter_;
        waiter_.suspend(h.promise());
    }
    std::exception_ptr await_resume() noexcept { return waiter_.resume(); }

  private:
    GroupState& group_;
    GroupWaiter waiter_;
};

Coroutine<bool> leave_group(Ref<GroupState> group, std::exception_ptr error) {
    struct Forget {
        GroupState& group;
        ~Forget() { group.forget(); }
    };
    group->check_can_exit();
    const Forget forget{*group};
    // Mostly the parent; whoever leaves the group waits for its tasks.
    TaskBase& leaving = *thread_state.task;
    leaving.flags_ |= FutureBase::kGroupParent;
    std::exception_ptr cancelled = group->begin_exit(error);
    std::exception_ptr last_cancelled;
    while (!group->empty()) {
        std::exception_ptr cancel;
        {
            GroupWait wait(*group);
            cancel = co_await wait;
        }
        if (!cancel) continue;
        last_cancelled = cancel;
        if (group->aborting()) {
            group->on_vain_cancel(leaving);
            continue;
        }
        cancelled = std::move(cancel);
        group->abort();
    }
    if (std::exception_ptr e =
            group->end_exit(error, std::move(cancelled), std::move(last_cancelled))) {
        std::rethrow_exception(std::move(e));
    }
    co_return true;
}

[[noreturn]] void throw_moved_from() { throw RuntimeError("this TaskGroup has been moved from"); }

}  // namespace

void add_group_members(Waitable& what, std::vector<FutureBase*>& found) {
    if (const auto* waiter = dynamic_cast<GroupWaiter*>(&what)) waiter->group().add_members(found);
}

GroupPlace::~GroupPlace() { delete child_; }

std::exception_ptr GroupPlace::take(GroupState* group) noexcept {
    try {
        if (!group) throw_moved_from();
        if (std::exception_ptr refusal = group->refuse()) return refusal;
        child_ = new GroupChild(*group);
    } catch (...) {
        // The caller raises it, once it has closed the coroutine.
        return std::current_exception();
    }
    return nullptr;
}

void GroupPlace::fill(FutureBase& task) {
    GroupChild& child = *detail::take(child_);
    child.group().add(child, task);
}

}  // namespace detail

TaskGroup::TaskGroup() : state_(detail::Ref<detail::GroupState>::adopt(new detail::GroupState)) {}
TaskGroup::TaskGroup(TaskGroup&&) noexcept = default;
TaskGroup& TaskGroup::operator=(TaskGroup&&) noexcept = default;
TaskGroup::~TaskGroup() = default;

detail::GroupState& TaskGroup::state() const {
    if (!state_) detail::throw_moved_from();
    return *state_;
}

void TaskGroup::enter() { state().enter(); }
detail::LoopCore& TaskGroup::core() const noexcept { return state_->core(); }
void TaskGroup::cancel() { state().cancel(); }
std::string TaskGroup::repr() const { return state().repr(); }

Coroutine<bool> TaskGroup::aexit(std::exception_ptr error) {
    detail::GroupState& s = state();
    try {
        return detail::leave_group(detail::Ref<detail::GroupState>::share(&s), std::move(error));
    } catch (const std::bad_alloc&) {
        // Nobody can wait for the tasks: they are not to go on as if the scope were still there.
        if (s.has_parent()) s.abort();
        throw;
    }
}

std::ostream& operator<<(std::ostream& out, const TaskGroup& group) { return out << group.repr(); }

}  // namespace v1
}  // namespace asyncio

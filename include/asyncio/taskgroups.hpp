// TaskGroup: tasks that end together with a scope. T-25 to T-28, S-76 to S-86.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <iosfwd>
#include <string>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/tasks/task.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class GroupChild;
class GroupState;

// Room for a task in a group, taken before the task is made: without memory for it no task begins.
class ASYNCIO_API GroupPlace {
  public:
    GroupPlace() noexcept = default;
    GroupPlace(const GroupPlace&) = delete;
    GroupPlace& operator=(const GroupPlace&) = delete;
    // Gives the room back if no task has it.
    ~GroupPlace();
    // Returns why the group takes no more, or null. `group` may be null: moved from.
    std::exception_ptr take(GroupState* group) noexcept;
    void fill(FutureBase& task);

  private:
    GroupChild* child_ = nullptr;
};

}  // namespace detail

// A scope that owns tasks: leaving it waits for all of them. Used with `with`:
//     co_await with(TaskGroup{}, [&](TaskGroup& tg) -> Coroutine<> { tg.create_task(f()); ... });
// When a task fails (with anything but CancelledError), the others and the body are cancelled, and
// once all have ended the errors are raised together as ExceptionGroup (BaseExceptionGroup if one
// of them is a BaseException) "unhandled errors in a TaskGroup", in the order in which they
// happened, the body's last. KeyboardInterrupt and SystemExit are raised alone. To be used once.
class ASYNCIO_API TaskGroup {
  public:
    TaskGroup();
    TaskGroup(TaskGroup&& o) noexcept;
    TaskGroup& operator=(TaskGroup&& o) noexcept;
    ~TaskGroup();

    // Runs `awaitable` as a task of this group; see asyncio::create_task. Children may add more,
    // also while the scope is being left. T-26.
    // Raises: RuntimeError "TaskGroup ... has not been entered", "... is finished", "... is
    // shutting down", and of a group that was moved from; std::bad_alloc. The coroutine is closed
    // then.
    template <class A>
    auto create_task(A&& awaitable, const TaskOptions& options) {
        detail::GroupPlace place;
        if (std::exception_ptr refusal = place.take(state_.get())) {
            if constexpr (CoroutineLike<A>) awaitable.close();
            std::rethrow_exception(std::move(refusal));
        }
        auto task = detail::start_task(core(), std::forward<A>(awaitable), options);
        place.fill(*task.state());
        return task;
    }
    template <class A>
    auto create_task(A&& awaitable) {
        if constexpr (Awaitable<A>) {
            return create_task(std::forward<A>(awaitable), TaskOptions());
        } else {
            static_assert(detail::kRight<A>,
                          "create_task() takes a coroutine, or a function without parameters that "
                          "returns one: create_task(f(x))");
            return Task<>();
        }
    }
    // Cancels the tasks and the body; the scope then ends without CancelledError, unless the task
    // was cancelled by others too. Before it is entered: takes effect when it is. After the end:
    // does nothing. May be called again. T-28.
    void cancel();
    // `<TaskGroup tasks=2 errors=1 cancelling>`; `entered` in place of `cancelling`.
    std::string repr() const;

    class Enter;
    // Enters; gives this object. Never suspends. S-76.
    // Raises: RuntimeError "TaskGroup ... has already been entered", "... cannot determine the
    // parent task". If cancelled: nothing happens, since it does not wait.
    Enter aenter() noexcept;
    // Waits until no task is left (S-80), then gives true: what is to be raised it raises itself.
    // Raises: ExceptionGroup, BaseExceptionGroup; KeyboardInterrupt, SystemExit; CancelledError.
    // If cancelled: the tasks are cancelled, once, and waited for all the same; then CancelledError
    // is raised, or first the group if there are errors (S-83).
    Coroutine<bool> aexit(std::exception_ptr error);

  private:
    detail::GroupState& state() const;
    void enter();
    detail::LoopCore& core() const noexcept;

    detail::Ref<detail::GroupState> state_;
};

class [[nodiscard("co_await it")]] TaskGroup::Enter {
  public:
    using asyncio_native = void;
    explicit Enter(TaskGroup& g) noexcept : group_(g) {}
    bool await_ready() const noexcept { return true; }
    template <std::derived_from<detail::PromiseBase> P>
    void await_suspend(std::coroutine_handle<P>) const noexcept {}
    TaskGroup& await_resume() {
        group_.enter();
        return group_;
    }

  private:
    TaskGroup& group_;
};

inline TaskGroup::Enter TaskGroup::aenter() noexcept { return Enter(*this); }

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const TaskGroup& group);

}  // namespace v1
}  // namespace asyncio

// Who waits for a future, as its callbacks know it.
#pragma once

#include <vector>

#include "asyncio/detail/future_base.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Awaiters {
  public:
    // Notes `waiter`, once.
    void add(FutureBase* waiter);
    // Notes those that wait for `future`: what a callback does that stands for another future.
    void add_those_of(const FutureBase& future);

    const std::vector<FutureBase*>& all() const noexcept { return all_; }

  private:
    std::vector<FutureBase*> all_;
};

// The parent of the TaskGroup that `member` belongs to; null if there is none, or `member` is done.
TaskBase* group_parent(const FutureBase& member) noexcept;

// If who waits for `what` leaves a TaskGroup: adds the tasks that are left in it.
void add_group_members(Waitable& what, std::vector<FutureBase*>& found);

// Whether `task` is the parent of a TaskGroup that `member` belongs to, or of one that such a
// parent belongs to, and so on: it cannot end before `member` has.
bool has_group_ancestor(const FutureBase& member, const FutureBase& task) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

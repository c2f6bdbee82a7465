#include "tasks/circles.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "asyncio/futures.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/tasks/gather.hpp"
#include "base/function_name.hpp"
#include "loop/loop.hpp"
#include "tasks/awaiters.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// Where the program stands, not the library's own frames: a group is left in several of them.
const PromiseBase* frame_of(const TaskBase& t) noexcept {
    for (const PromiseBase* p = t.leaf_; p; p = p->parent()) {
        const std::string_view name = p->place.function_name();
        if (name.find("asyncio::detail::") != name.npos) continue;
        if (name.find("asyncio::v1::detail::") == name.npos) return p;
    }
    return nullptr;
}

std::string text_of(const TaskBase& t) {
    std::string text = quoted(t.name());
    const PromiseBase* const frame = frame_of(t);
    if (!frame) return text;
    const auto place = frame->place;
    return text + " in " + function_name(place.function_name()) + "() at " + place.file_name() +
           ':' + std::to_string(place.line());
}

// `'a' in f() at x.cpp:1 -> 'b' in g() at x.cpp:2 -> 'a'`
std::string circle_text(const std::vector<const TaskBase*>& circle) {
    constexpr std::size_t kMost = 20;
    std::string text;
    for (std::size_t i = 0; i < circle.size(); ++i) {
        const bool shown = i < kMost / 2 || i + kMost / 2 >= circle.size();
        if (shown) text += text_of(*circle[i]) + " -> ";
        if (i == kMost / 2 && !shown) {
            text += "(" + std::to_string(circle.size() - kMost) + " more) -> ";
        }
    }
    return text + quoted(circle.front()->name());
}

}  // namespace

void take_out(TaskBase& task, const std::vector<const TaskBase*>& circle) {
    FutureBase* const awaited = task.waiting_ ? task.waiting_->as_future() : nullptr;
    if (!awaited) return;
    TaskExtra& extra = task.extra();
    auto error = std::make_exception_ptr(
        RuntimeError("Tasks await one another in a circle: " + circle_text(circle)));
    if (!awaited->remove_node(&task)) return;
    if (GatherBase* const gather = awaited->as_gather()) gather->given_up_ = true;
    extra.await_error = std::move(error);
    task.waiting_ = nullptr;
    task.wake();
}

// From the members along what each waits for, breadth first, each task once. A circle closes where
// the parent is awaited, or the parent of a group that this one is in.
class CircleSearch {
  public:
    explicit CircleSearch(TaskBase& parent) {
        for (const TaskBase* t = &parent; t; t = group_parent(*t)) {
            places_[t] = ancestors_.size();
            ancestors_.push_back(t);
        }
    }

    void run(const std::vector<FutureBase*>& members) {
        for (FutureBase* m : members) visit(*m, kNone);
        for (std::size_t i = 0; i < steps_.size(); ++i) expand(i);
    }

  private:
    static constexpr std::size_t kNone = SIZE_MAX;
    struct Step {
        FutureBase* future;  // a task or a gather
        std::size_t from;    // the step that waits for it
    };

    // `from` waits for `future`.
    void visit(FutureBase& future, std::size_t from) {
        if (future.done() || !leads_on(future)) return;
        const auto [place, is_new] = places_.try_emplace(&future, kNone);
        if (is_new) {
            steps_.push_back({&future, from});
        } else if (place->second != kNone) {
            break_at(from, place->second);
        }
    }

    static bool leads_on(FutureBase& future) noexcept {
        TaskBase* const task = future.as_task();
        if (!task) return future.as_gather() != nullptr;
        if (task->flags_ & FutureBase::kGroupParent) return true;
        return task->waiting_ && task->waiting_->as_future();
    }

    void expand(std::size_t i) {
        FutureBase& future = *steps_[i].future;
        if (GatherBase* const gather = future.as_gather()) {
            for (const auto& child : gather->children_) visit(*child, i);
            return;
        }
        TaskBase& task = *future.as_task();
        if (!task.waiting_) return;
        if (FutureBase* const awaited = task.waiting_->as_future()) return visit(*awaited, i);
        std::vector<FutureBase*> members;
        add_group_members(*task.waiting_, members);
        for (FutureBase* m : members) visit(*m, i);
    }

    // The task that is or serves step `i` awaits the ancestor `which`.
    void break_at(std::size_t i, std::size_t which) {
        TaskBase* last = nullptr;
        std::vector<const TaskBase*> circle;
        for (; i != kNone; i = steps_[i].from) {
            TaskBase* const task = steps_[i].future->as_task();
            if (!task) continue;
            if (!last) last = task;
            circle.push_back(task);
        }
        if (!last) return;
        std::reverse(circle.begin(), circle.end());
        for (std::size_t a = which + 1; a > 0; --a) circle.push_back(ancestors_[a - 1]);
        take_out(*last, circle);
    }

    std::vector<const TaskBase*> ancestors_;  // the parent first
    std::vector<Step> steps_;
    // Where an ancestor stands; kNone for what is or was a step.
    std::unordered_map<const FutureBase*, std::size_t> places_;
};

void break_circles(TaskBase& parent, const std::vector<FutureBase*>& members) noexcept {
    try {
        CircleSearch(parent).run(members);
    } catch (const std::bad_alloc&) {
        // Nobody could be told.
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

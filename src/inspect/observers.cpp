// Who is told of the steps and tasks of a loop.
#include <atomic>
#include <memory>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/inspect.hpp"
#include "asyncio/tasks.hpp"
#include "loop/loop.hpp"
#include "tasks/node_kinds.hpp"

namespace asyncio {
inline namespace v1 {
namespace inspect {

std::uint64_t TaskInfo::id() const noexcept {
    // Safe because it is only a number.
    return reinterpret_cast<std::uintptr_t>(&task_);
}
std::string TaskInfo::name() const { return task_.name(); }
std::source_location TaskInfo::place() const noexcept { return task_.place(); }
std::source_location TaskInfo::where() const noexcept {
    const detail::PromiseBase* const leaf = task_.leaf_;
    const bool begun = leaf && (task_.flags_ & detail::FutureBase::kStarted) != 0;
    return begun ? leaf->place : task_.place();
}

Observer::~Observer() = default;
void Observer::task_made(const TaskInfo&, const TaskInfo*) noexcept {}
void Observer::step_begins(const TaskInfo&) noexcept {}
void Observer::step_ends(const TaskInfo&, Duration) noexcept {}
void Observer::task_ended(const TaskInfo&, Outcome) noexcept {}
void Observer::loop_waits(EventLoop&) noexcept {}
void Observer::loop_woke(EventLoop&, Duration) noexcept {}

namespace {

Outcome outcome_of(const detail::TaskBase& task) noexcept {
    if (task.cancelled()) return Outcome::CANCELLED;
    return task.state_ == detail::FutureState::kFailed ? Outcome::RAISED : Outcome::RETURNED;
}

}  // namespace

// One observer of one loop. It keeps the loop, and the loop's list keeps it while it is there.
class Subscription::Watch final : public detail::StepWatch {
  public:
    Watch(detail::Loop& loop, Observer& observer) noexcept : loop_(loop), observer_(observer) {}

    // In the loop's step, or while nobody runs it.
    static void begin(const std::shared_ptr<Watch>& watch) noexcept {
        watch->listed_ = watch;
        watch->loop_.begin_watch(*watch, true);
        for (detail::TaskBase* t = watch->loop_.first_task; t; t = t->following_) {
            t->flags_ |= detail::FutureBase::kWatched;
        }
    }

    // On any thread.
    void end() noexcept {
        over_.store(true, std::memory_order_relaxed);
        const detail::Loop::Idle idle(loop_);
        if (loop_.runs_here() || !loop_.is_running()) leave();
        // Else the thread that runs the loop takes it from the list, at the next step.
    }

    void step_begins(detail::Node& node) noexcept override {
        const auto stays = listed_;
        if (!is_on()) return;
        running_ = kinds_.task_of(node);
        if (!running_) return;
        observer_.step_begins(TaskInfo(*running_));
        began_ = detail::monotonic_ns();
    }
    void step_ended() noexcept override {
        const auto stays = listed_;
        if (is_on()) tell_step();
    }
    void task_made(detail::TaskBase& task) noexcept override {
        const auto stays = listed_;
        if (!is_on()) return;
        const detail::TaskBase* const maker =
            loop_.runs_here() ? detail::thread_state.task : nullptr;
        if (!maker) return observer_.task_made(TaskInfo(task), nullptr);
        const TaskInfo by(*maker);
        observer_.task_made(TaskInfo(task), &by);
    }
    void task_ended(detail::TaskBase& task) noexcept override {
        const auto stays = listed_;
        if (!is_on()) return;
        if (&task == running_) tell_step();
        if (is_on()) observer_.task_ended(TaskInfo(task), outcome_of(task));
    }
    void wait_begins() noexcept override {
        const auto stays = listed_;
        if (!is_on() || !loop_.loop) return;
        observer_.loop_waits(*loop_.loop);
        wait_began_ = detail::monotonic_ns();
    }
    void wait_ended() noexcept override {
        const auto stays = listed_;
        const std::int64_t began = std::exchange(wait_began_, 0);
        if (!is_on() || began == 0 || !loop_.loop) return;
        observer_.loop_woke(*loop_.loop, Duration(detail::monotonic_ns() - began));
    }
    void timer_is_due(std::int64_t) noexcept override {}

  private:
    // Ended on another thread: from now on the loop does not know it.
    bool is_on() noexcept {
        if (!over_.load(std::memory_order_relaxed)) return true;
        leave();
        return false;
    }
    void leave() noexcept {
        running_ = nullptr;
        if (std::exchange(left_, true)) return;
        loop_.end_watch(*this, true);
        listed_.reset();  // may destroy this
    }
    void tell_step() noexcept {
        const detail::TaskBase* const task = std::exchange(running_, nullptr);
        if (!task) return;
        observer_.step_ends(TaskInfo(*task), Duration(detail::monotonic_ns() - began_));
    }

    detail::Loop& loop_;
    const detail::Loop::Stays loop_stays_{loop_};
    Observer& observer_;
    std::shared_ptr<Watch> listed_;  // itself, while it is in the list
    std::atomic<bool> over_{false};
    bool left_ = false;
    detail::NodeKinds kinds_;
    const detail::TaskBase* running_ = nullptr;  // whose step was told
    std::int64_t began_ = 0;
    std::int64_t wait_began_ = 0;
};

Subscription::Subscription(std::shared_ptr<Watch> watch) noexcept : watch_(std::move(watch)) {}
Subscription::Subscription(Subscription&&) noexcept = default;
Subscription& Subscription::operator=(Subscription&& other) noexcept {
    if (this == &other) return *this;
    end();
    watch_ = std::move(other.watch_);
    return *this;
}
Subscription::~Subscription() { end(); }
void Subscription::end() noexcept {
    if (const auto watch = std::exchange(watch_, nullptr)) watch->end();
}

Subscription observe(EventLoop& loop, Observer& observer) {
    detail::Loop& inner = loop.impl();
    inner.check_open();
    const detail::Loop::Idle idle(inner);
    if (!idle && !inner.runs_here()) {
        throw RuntimeError("a loop is observed on its own thread, or while it does not run");
    }
    auto watch = std::make_shared<Subscription::Watch>(inner, observer);
    Subscription::Watch::begin(watch);
    return Subscription(std::move(watch));
}

Counting::Counting() noexcept {
    detail::counting_wanted.fetch_add(1);
    detail::watch_until.fetch_add(1);
}
Counting::~Counting() { detail::counting_wanted.fetch_sub(1); }

}  // namespace inspect
}  // namespace v1
}  // namespace asyncio

// A cancel at each point of a test.
#include <limits>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

#include "asyncio/inspect.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/testing.hpp"
#include "one_run.hpp"
#include "points.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

// Cancels one task at one point.
class CancelsAt final : public inspect::Observer {
  public:
    CancelsAt(EventLoop& loop, AnyTask scenario, const std::string& name, std::uint64_t point)
        : loop_(loop), scenario_(std::move(scenario)), name_(name), point_(point) {
        subscription_ = inspect::observe(loop, *this);
    }

    void step_begins(const inspect::TaskInfo& task) noexcept override {
        if (suspended_ > 0) look_at(task, "woken");
    }
    void step_ends(const inspect::TaskInfo& task, Duration) noexcept override {
        look_at(task, "waiting");
    }
    std::uint64_t points() const { return points_; }
    const std::string& what() const { return what_; }

  private:
    void look_at(const inspect::TaskInfo& info, const char* how) noexcept {
        if (point_ > 0 && points_ >= point_) return;
        try {
            count(info, how);
        } catch (const std::bad_alloc&) {
            // Then this point is not tried, and the run says so by having none.
        }
    }
    void count(const inspect::TaskInfo& info, const char* how) {
        const AnyTask task = wanted(info);
        if (!task || task.done()) return;
        ++suspended_;
        if (++points_ != point_) return;
        const std::source_location place = info.where();
        what_ = std::string("cancelled while it is ") + how + " at " + place.file_name() + ':' +
                std::to_string(place.line());
        task.cancel();
    }
    // The task that ran, if it is the one that is meant.
    AnyTask wanted(const inspect::TaskInfo& info) const {
        if (name_.empty()) return is(scenario_, info) ? scenario_ : AnyTask();
        if (info.name() != name_) return {};
        for (const AnyTask& task : all_tasks(loop_)) {
            if (is(task, info)) return task;
        }
        return {};
    }
    static bool is(const AnyTask& task, const inspect::TaskInfo& info) {
        // Safe because it is only a number.
        return reinterpret_cast<std::uintptr_t>(task.id()) == info.id();
    }

    EventLoop& loop_;
    AnyTask scenario_;
    const std::string& name_;
    const std::uint64_t point_;
    std::uint64_t suspended_ = 0, points_ = 0;
    std::string what_;
    inspect::Subscription subscription_;
};

Tried cancel_at(const Scenario& scenario, const CancelOptions& options, std::uint64_t point) {
    std::shared_ptr<CancelsAt> observer;
    Tried tried;
    Setting setting;
    setting.may_raise = [](const std::exception_ptr& error) {
        try {
            std::rethrow_exception(error);
        } catch (const CancelledError&) {
            return true;
        } catch (...) {
            return false;  // run_once() tells it
        }
    };
    setting.watch = [&](EventLoop& loop, const AnyTask& main) {
        auto watch = std::make_shared<CancelsAt>(loop, main, options.task, point);
        // What it has seen, before it goes.
        return std::shared_ptr<void>(watch.get(), [watch, &tried](void*) {
            tried.points = watch->points();
            tried.what = watch->what();
        });
    };
    tried.failed = run_once(scenario, options.run, setting);
    return tried;
}

}  // namespace

Report cancel_everywhere(const Scenario& scenario, const CancelOptions& options) {
    CancelOptions seeded = options;
    seeded.run = with_seed(options.run);
    const EachPoint each{std::numeric_limits<std::uint64_t>::max(), options.run.leaves_nothing,
                         "without a cancel"};
    const Report report = at_each_point(
        each, [&](std::uint64_t point) { return cancel_at(scenario, seeded, point); });
    if (report.points == 0 && !options.task.empty()) {
        throw ScenarioFailed("no task called " + options.task + " was ever suspended");
    }
    return report;
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

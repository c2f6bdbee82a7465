#include "one_run.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "asyncio/component/jobs.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/traceback.hpp"
#include "network/simulation.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

Expectations* current_expectations = nullptr;

std::size_t entries_of(const char* folder) {
    std::error_code ignored;
    std::filesystem::directory_iterator entries(folder, ignored);
    return static_cast<std::size_t>(
        std::distance(begin(entries), std::filesystem::directory_iterator()));
}

std::string shown(const std::source_location& place) {
    const char* const slash = std::strrchr(place.file_name(), '/');
    return std::string(slash ? slash + 1 : place.file_name()) + ':' + std::to_string(place.line());
}

void add(std::string& text, std::string_view line) {
    if (line.empty()) return;
    if (!text.empty() && text.back() != '\n') text += '\n';
    text += line;
}

// Names of tasks begin at Task-1 in each run, so that what fails twice reads the same.
class OwnNames {
  public:
    OwnNames() : before_(asyncio::detail::task_counter.exchange(0)) {}
    OwnNames(const OwnNames&) = delete;
    OwnNames& operator=(const OwnNames&) = delete;
    ~OwnNames() {
        asyncio::detail::task_counter.store(
            std::max(before_, asyncio::detail::task_counter.load()));
    }

  private:
    std::uint64_t before_;
};

// Calls jobs on the loop's thread, each after a while.
class TimedJobs final : public Executor {
  public:
    TimedJobs(EventLoop& loop, Delay most) noexcept : loop_(loop), most_(most.count()) {}
    void add(Job job) override {
        const std::uint64_t limit = most_ > 0 ? static_cast<std::uint64_t>(most_) : 0;
        const auto after = static_cast<std::int64_t>(limit > 0 ? random() % limit : 0);
        loop_.call_later(Duration(after),
                         [job = std::move(job)]() mutable { component::call_job(std::move(job)); });
    }

  private:
    EventLoop& loop_;
    std::int64_t most_;  // ns
};

class OneRun {
  public:
    OneRun(const RunOptions& options, const Setting& setting)
        : options_(options), setting_(setting), chance_(options.seed, setting.happenings) {}

    std::string play(const Scenario& scenario) {
        const OwnNames names;
        if (current_expectations) current_expectations->begin();
        std::unique_ptr<Simulation> simulation;
        if (options_.network) simulation = std::make_unique<Simulation>(options_.seed);
        loop_ = simulation ? simulation->make_loop() : VirtualTimeEventLoop::create();
        loop_->set_exception_handler(
            [this](EventLoop&, const ExceptionContext& context) { note(context); });
        if (setting_.chooser) {
            component::set_chooser(*loop_, setting_.chooser);
        } else {
            loop_->set_pick_next([this](std::size_t) { return count_step(); });
        }
        if (!options_.jobs_take.is_none()) {
            jobs_ = std::make_unique<TimedJobs>(*loop_, options_.jobs_take);
            component::set_jobs(*loop_, *jobs_);
        }
        run_main(scenario);
        end_threads();
        if (setting_.chooser) component::set_chooser(*loop_, nullptr);
        over_ = true;
        watch_.reset();
        loop_->close();
        loop_.reset();
        if (simulation && options_.leaves_nothing) add(failed_, simulation->left_behind());
        simulation.reset();
        if (current_expectations) add(failed_, current_expectations->end());
        return std::move(failed_);
    }

  private:
    std::size_t count_step() {
        if (++steps_ > options_.most_steps) {
            throw RuntimeError("it ran " + std::to_string(options_.most_steps) +
                               " steps and has no end");
        }
        return 0;
    }

    void run_main(const Scenario& scenario) {
        std::exception_ptr error;
        try {
            Coroutine<> body = scenario();
            const Task<> main = loop_->create_task(std::move(body));
            if (setting_.watch) watch_ = setting_.watch(*loop_, main);
            loop_->run_until_complete(main);
        } catch (...) {
            error = std::current_exception();  // told below
        }
        if (setting_.ended) setting_.ended();
        if (!error || (setting_.may_raise && setting_.may_raise(error))) return look_for_tasks();
        tell(error);
    }

    void tell(const std::exception_ptr& error) {
        // What the framework's assertion throws; why it failed is told by end().
        const bool told = current_expectations && current_expectations->is_abort(error);
        add(failed_, told ? "an assertion has failed" : format_exception(error));
    }

    // What still runs when the test is over and everything that could go on has done so.
    void look_for_tasks() {
        if (!options_.leaves_nothing) return;
        try {
            loop_->run_until_complete(settled());
        } catch (...) {
            add(failed_, format_exception(std::current_exception()));
        }
        for (const AnyTask& task : all_tasks(*loop_)) {
            std::string line = "left behind: the task " + task.get_name();
            const auto stack = task.get_stack();
            if (!stack.empty()) line += ", at " + shown(stack.back());
            add(failed_, line);
        }
    }

    // As asyncio.run() does it, so that tasks end before what they use in the frames of others.
    void cancel_what_is_left() {
        const auto left = all_tasks(*loop_);
        if (left.empty()) return;
        over_ = true;
        // One that goes on all the same is not waited for without an end.
        steps_ = 0;
        loop_->set_pick_next([this](std::size_t) { return count_step(); });
        for (const AnyTask& task : left) task.cancel();
        loop_->run_until_complete(settled());
        loop_->set_pick_next({});
    }

    void end_threads() {
        try {
            if (setting_.chooser) component::set_chooser(*loop_, nullptr);
            loop_->set_pick_next({});
            cancel_what_is_left();
            loop_->run_until_complete(loop_->shutdown_asyncgens());
            loop_->run_until_complete(loop_->shutdown_default_executor());
        } catch (const std::exception& e) {
            add(failed_, std::string("at the end: ") + e.what());
        }
    }

    // An error that nobody looks at, a callback that raised.
    void note(const ExceptionContext& context) {
        // The tasks that were left are destroyed with the loop, and were told of.
        if (over_ || !options_.leaves_nothing) return;
        std::string line = context.message;
        if (context.exception) line += '\n' + format_exception(context.exception);
        add(failed_, line);
    }

    const RunOptions& options_;
    const Setting& setting_;
    Chance chance_;
    std::unique_ptr<TimedJobs> jobs_;
    std::unique_ptr<EventLoop> loop_;
    std::shared_ptr<void> watch_;
    std::uint64_t steps_ = 0;
    std::string failed_;
    bool over_ = false;
};

}  // namespace

Expectations::~Expectations() = default;
bool Expectations::is_abort(const std::exception_ptr&) const { return false; }

Expectations* set_expectations(Expectations* expectations) noexcept {
    return std::exchange(current_expectations, expectations);
}

std::string run_once(const Scenario& scenario, const RunOptions& options, const Setting& setting) {
    return OneRun(options, setting).play(scenario);
}

LeftBehind::LeftBehind()
    : descriptors_(entries_of("/proc/self/fd")), threads_(entries_of("/proc/self/task")) {}

std::string LeftBehind::since() const {
    std::string lines;
    const auto tell = [&lines](std::size_t now, std::size_t before, const char* what) {
        if (now <= before) return;
        add(lines, "left behind: " + std::to_string(now - before) + ' ' + what);
    };
    tell(entries_of("/proc/self/fd"), descriptors_, "descriptors");
    tell(entries_of("/proc/self/task"), threads_, "threads");
    return lines;
}

RunOptions with_seed(RunOptions options) {
    const char* const text = std::getenv("ASYNCIO_SEED");
    if (!text || !*text) return options;
    const char* const end = text + std::strlen(text);
    const auto [rest, error] = std::from_chars(text, end, options.seed);
    if (error != std::errc() || rest != end) {
        throw ValueError(std::string("ASYNCIO_SEED is no number: ") + text);
    }
    return options;
}

void run(const Scenario& scenario, const RunOptions& options) {
    const RunOptions seeded = with_seed(options);
    const LeftBehind before;
    std::string failed = run_once(scenario, seeded, {});
    if (options.leaves_nothing) add(failed, before.since());
    if (failed.empty()) return;
    throw ScenarioFailed(failed + "\nASYNCIO_SEED=" + std::to_string(seeded.seed) +
                         " shows it again");
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// What run() and Runner do around a loop, above all at its end. The order of close() is Python's
// tasks first, since they may use generators and threads; then generators; then threads.
// Each phase is a run of the loop of its own, so callbacks that one leaves behind run in the next.
#include "asyncio/runners.hpp"

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "asyncio/log.hpp"
#include "asyncio/traceback.hpp"
#include "loop/loop.hpp"
#include "tasks/reports.hpp"
#include "tasks/signals.hpp"

namespace asyncio {
inline namespace v1 {
namespace {

// How long the default executor's jobs may take to end.
constexpr std::chrono::seconds kThreadJoinTimeout{300};

}  // namespace

namespace detail {

void check_no_running_loop(const char* text) {
    if (running_loop()) throw RuntimeError(text);
}

namespace {

void print_line(const std::string& text) noexcept {
    std::fflush(stdout);
    std::fputs((text + '\n').c_str(), stderr);
    std::fflush(stderr);
}

// Ends `all` when the last of several futures has ended: what gather() would do, without results.
struct Countdown {
    Ref<FutureBase> all;
    std::size_t left;
};

class CountdownNode final : public DoneNode, public Pooled {
  public:
    explicit CountdownNode(std::shared_ptr<Countdown> c) : countdown_(std::move(c)) {}
    void run() override {
        if (--countdown_->left == 0 && !countdown_->all->done()) countdown_->all->finish_value();
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    std::shared_ptr<Countdown> countdown_;
};

// Raises: what leaves the loop meanwhile (S-60).
void wait_for_all(EventLoop& loop, const std::vector<AnyTask>& tasks) {
    auto countdown = std::make_shared<Countdown>();
    countdown->all = Ref<FutureBase>::adopt(new FutureStateOf<void>(loop.core()));
    countdown->left = tasks.size();
    for (const AnyTask& t : tasks) t.state()->add_node(new CountdownNode(countdown), true);
    run_until_done(loop, *countdown->all, true);
}

// R-09, S-91: tasks in the order they were made.
void cancel_all_tasks(EventLoop& loop) {
    const std::vector<AnyTask> tasks = all_tasks(loop);
    if (tasks.empty()) return;
    for (const AnyTask& t : tasks) t.cancel();
    wait_for_all(loop, tasks);
    for (const AnyTask& t : tasks) {
        if (t.cancelled()) continue;
        std::exception_ptr error = t.exception();
        if (!error) continue;
        const char* const text = "unhandled exception during asyncio.run() shutdown";
        tell_handler(loop.core(), text, [&](ExceptionContext& context) {
            context.message = text;
            context.exception = std::move(error);
            context.task = t;
        });
    }
}

}  // namespace

int report_uncaught(const std::exception_ptr& error) noexcept {
    try {
        if (const auto* exit = find<SystemExit>(error)) {
            if (exit->has_text()) print_line(exit->message());
            return exit->code();
        }
        print_line(format_exception(error));
        return holds<KeyboardInterrupt>(error) ? 130 : 1;
    } catch (const std::exception&) {
        // Out of memory: the exit code alone tells of it.
        return 1;
    }
}

}  // namespace detail

Runner::Runner(Runner&& o) noexcept
    : options_(o.options_),
      state_(std::exchange(o.state_, State::kClosed)),
      is_current_(std::exchange(o.is_current_, false)),
      loop_(std::move(o.loop_)),
      context_(std::move(o.context_)) {}

Runner& Runner::operator=(Runner&& o) noexcept {
    std::swap(options_, o.options_);
    std::swap(state_, o.state_);
    std::swap(is_current_, o.is_current_);
    std::swap(loop_, o.loop_);
    std::swap(context_, o.context_);
    return *this;
}

Runner::~Runner() {
    // std::exit() in a task, say: the stack below uses the loop, which is left as it is.
    if (loop_ && loop_->is_running()) return;
    try {
        close();
    } catch (...) {
        // A destructor has nobody to raise it to.
        detail::log_current_exception("Exception while a Runner closed its loop:\n");
    }
}

EventLoop& Runner::get_loop() {
    if (state_ == State::kClosed) throw RuntimeError("Runner is closed");
    if (state_ == State::kInitialized) return *loop_;
    if (options_.loop_factory) {
        loop_ = detail::Owned(options_.loop_factory().release());
        if (!loop_) throw TypeError("loop_factory returned no loop");
    } else {
        loop_ = detail::Owned(new_event_loop().release());
        set_event_loop(loop_.get());
        is_current_ = true;
    }
    if (options_.debug) loop_->set_debug(*options_.debug);
    context_ = detail::Owned(new Context(copy_context()));
    state_ = State::kInitialized;
    return *loop_;
}

void Runner::run_task(detail::FutureBase& task) {
    detail::InterruptScope scope(loop_->impl());
    run_interruptible(task, scope);
}

void Runner::run_interruptible(detail::FutureBase& task, detail::InterruptScope& scope) {
    struct Main {
        detail::InterruptScope& scope;
        ~Main() { scope.set_main(nullptr); }
    } main{scope};
    scope.set_main(&task);
    try {
        detail::run_until_done(*loop_, task, false);
    } catch (...) {
        // What left the loop is the task's own exception, if it ended with one that does (S-60).
        if (task.done() && task.exc_ && detail::is_exit_error(task.exc_)) task.mark_retrieved();
        throw;
    }
    task.mark_retrieved();  // the caller takes its result or exception
    // a cancel that Ctrl-C asked for is a KeyboardInterrupt, unless others asked for it too.
    const bool cancelled = task.cancelled() && scope.count() > 0 && detail::uncancel(task) == 0;
    // One that came when the task was done: S-97.
    if (scope.take_unanswered() || cancelled) throw KeyboardInterrupt();
}

void Runner::run_task_and_close(detail::FutureBase& task) {
    detail::InterruptScope scope(loop_->impl());
    std::exception_ptr error;
    try {
        run_interruptible(task, scope);
    } catch (...) {
        // Raised again below, unless closing fails: then that error goes on, as in Python.
        error = std::current_exception();
    }
    try {
        close_interruptible(scope);
    } catch (const DeadlockError&) {
        // The first deadlock names the tasks as the program left them.
        if (!detail::holds<DeadlockError>(error)) throw;
    }
    if (error) std::rethrow_exception(std::move(error));
}

void Runner::shut_down() {
    detail::cancel_all_tasks(*loop_);
    loop_->run_until_complete(loop_->shutdown_asyncgens());
    loop_->run_until_complete(loop_->shutdown_default_executor(kThreadJoinTimeout));
}

void Runner::close() {
    if (state_ != State::kInitialized) return;
    detail::InterruptScope scope(loop_->impl());
    close_interruptible(scope);
}

void Runner::close_interruptible(detail::InterruptScope& scope) {
    if (state_ != State::kInitialized) return;
    if (loop_->is_running()) throw RuntimeError("Cannot close a running event loop");
    // Whatever a phase raises, the loop is closed.
    struct Finish {
        Runner& runner;
        detail::InterruptScope& scope;
        ~Finish() {
            scope.leave();
            if (std::exchange(runner.is_current_, false)) set_event_loop(nullptr);
            runner.state_ = State::kClosed;
            runner.loop_->close();
            runner.loop_ = {};
            runner.context_ = {};
        }
    } finish{*this, scope};
    shut_down();
    if (scope.take_unanswered()) throw KeyboardInterrupt();
}

}  // namespace v1
}  // namespace asyncio

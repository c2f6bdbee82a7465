// The pool of a loop, unless another is named: made when it is needed, replaced, shut down.
#include "threads/default_executor.hpp"

#include <cstdio>
#include <system_error>
#include <thread>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/threads/to_thread.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

namespace {

// Gives up the loop's share. A pool that nobody else has ends by itself, since a loop must not
// wait.
void leave_executor(std::shared_ptr<ThreadPoolExecutor> executor) noexcept {
    if (executor && executor.use_count() == 1) executor->leave_threads();
}

}  // namespace

const ServiceKey DefaultExecutor::key;

DefaultExecutor::DefaultExecutor(LoopCore&) noexcept : LoopService(ServiceRank::kThreads) {}

void DefaultExecutor::loop_closed() noexcept {
    auto executor = shut_down();
    pool_ = nullptr;
    if (!executor) return;
    // What nobody will be told of need not run; another owner's jobs are not the loop's to cancel.
    executor->shutdown(false, executor.use_count() == 1);
    leave_executor(std::move(executor));
}

ThreadPoolExecutor& DefaultExecutor::get() {
    if (shut_down_) throw RuntimeError("Executor shutdown has been called");
    if (!pool_) pool_ = std::make_shared<ThreadPoolExecutor>();
    return *pool_;
}

void DefaultExecutor::replace(std::shared_ptr<ThreadPoolExecutor> executor) noexcept {
    leave_executor(std::exchange(pool_, std::move(executor)));
}

std::shared_ptr<ThreadPoolExecutor> DefaultExecutor::shut_down() noexcept {
    shut_down_ = true;
    return pool_;
}

namespace {

// Calls its one job on a thread of its own.
class OneThread final : public Executor {
  public:
    ~OneThread() override {
        if (thread_.joinable()) thread_.detach();
    }
    void add(Job job) override {
        try {
            // If there is no thread, or no memory, the job goes with the function.
            thread_ = std::thread([owned = std::move(job)]() mutable { owned(); });
        } catch (const std::system_error&) {
            throw RuntimeError("can't start new thread");
        }
    }
    void join() { thread_.join(); }

  private:
    std::thread thread_;
};

void warn_of_timeout(Delay timeout) {
    char text[128];
    std::snprintf(text, sizeof text,
                  "The executor did not finishing joining its threads within %g seconds.",
                  static_cast<double>(timeout.count()) / 1e9);
    log::write(log::Level::WARNING, text);
}

}  // namespace
}  // namespace detail

void EventLoop::set_default_executor(std::shared_ptr<ThreadPoolExecutor> executor) {
    if (!executor) throw TypeError("executor must be ThreadPoolExecutor instance");
    // As in CPython, a closed loop takes it: nothing will ever be run there.
    if (impl_->closed) return;
    detail::service<detail::DefaultExecutor>(*impl_).replace(std::move(executor));
}

Coroutine<void> EventLoop::shutdown_default_executor(Delay timeout) {
    if (impl_->closed) co_return;
    const std::shared_ptr<ThreadPoolExecutor> executor =
        detail::service<detail::DefaultExecutor>(*impl_).shut_down();
    if (!executor) co_return;
    // The helper waits for this thread, which may be one of that pool.
    struct ForThisThread {
        std::shared_ptr<ThreadPoolExecutor::Joiner> joiner =
            ThreadPoolExecutor::joiner_of_this_thread();
        ~ForThisThread() { ThreadPoolExecutor::forget(*joiner); }
    } waits;
    detail::OneThread helper;
    auto join = [executor, joiner = waits.joiner] { executor->shutdown_for(*joiner); };
    Future<void> joined = run_in_executor(&helper, join);
    bool late = false;
    TimerHandle timer;
    if (!timeout.is_none()) {
        timer = call_later(timeout, [&late, joined] {
            if (joined.done()) return;
            late = true;
            joined.set_result();
        });
    }
    const auto outcome = co_await as_result(joined);
    timer.cancel();
    if (!outcome) std::rethrow_exception(outcome.error());
    if (!late) {
        helper.join();
        co_return;
    }
    detail::warn_of_timeout(timeout);
}

}  // namespace v1
}  // namespace asyncio

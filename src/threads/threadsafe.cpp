// run_coroutine_threadsafe() and wrap_future(): what leads from one thread to another's loop.
#include "asyncio/threads/threadsafe.hpp"

#include <chrono>

#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- a coroutine of another thread's loop ------------------------------------------------------

class CancelTaskWith final : public ConcurrentCallback, public Node {
  public:
    explicit CancelTaskWith(Ref<FutureBase> task) noexcept : task_(std::move(task)) {}
    void forget() noexcept { task_ = nullptr; }

    void call(ConcurrentBase& future) noexcept override {
        if (!future.cancelled()) {
            delete this;
        } else if (thread_state.loop == &task_->core()) {
            run();
        } else if (!push_threadsafe(task_->core(), this)) {
            delete this;
        }
    }
    // On the loop's thread.
    void run() override {
        task_->cancel({});
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Ref<FutureBase> task_;
};

CancelTaskWith* cancel_task_with(ConcurrentBase& future, Ref<FutureBase> task) {
    auto* callback = new CancelTaskWith(std::move(task));
    future.add_callback(callback);
    return callback;
}

// Safe because nobody else calls or frees it: the caller has claimed the future.
void forget_task(CancelTaskWith& callback) noexcept { callback.forget(); }

// ---- a future for a future ---------------------------------------------------------------------

void WeakConcurrent::cancel() const noexcept {
    if (!future_->retain_if_alive()) return;
    const auto future = Ref<ConcurrentBase>::adopt(future_);
    future->cancel();
}

WrapBridge::WrapBridge(const ConcurrentBase& from, Ref<FutureBase> to) noexcept
    : to_(std::move(to)), awaited_(from.source() != nullptr && from.source() != &to_->core()) {
    if (awaited_) static_cast<Loop&>(to_->core()).begin_external();
}

WrapBridge::~WrapBridge() {
    if (awaited_) static_cast<Loop&>(to_->core()).end_external();
}

void WrapBridge::call(ConcurrentBase& from) noexcept {
    from_ = Ref<ConcurrentBase>::share(&from);
    // A loop that is closed has nobody to tell: the result is dropped silently.
    if (!push_threadsafe(to_->core(), this)) delete this;
}

void WrapBridge::drop() noexcept { delete this; }

void WrapBridge::run() {
    if (!to_->done()) copy_end();
    delete this;
}

void WrapBridge::copy_end() {
    if (from_->cancelled()) {
        to_->cancel({});
        return;
    }
    if (std::exception_ptr error = from_->exception(Delay(std::chrono::seconds(0)))) {
        to_->finish_error(std::move(error));
        return;
    }
    try {
        copy_value(*from_, *to_);
    } catch (...) {
        // A result whose copy throws ends the future with that exception.
        to_->finish_error(std::current_exception());
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// run_until_complete(): the loop runs until a future is done.
#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

// Stops the loop when the future is done (S-11). KeyboardInterrupt and SystemExit stop it by
// themselves (S-61).
class StopWhenDone final : public DoneNode {
  public:
    StopWhenDone(Loop& loop, FutureBase& future) : loop_(loop), future_(future) {}
    void run() override {
        fired_ = true;
        if (future_.state_ == FutureState::kFailed && is_exit_error(future_.exc_)) return;
        loop_.stop();
    }
    void drop() noexcept override { fired_ = true; }
    const char* label() const noexcept override { return "run_until_complete()"; }
    bool fired() const noexcept { return fired_; }

  private:
    Loop& loop_;
    FutureBase& future_;
    bool fired_ = false;
};

}  // namespace

void check_can_run(EventLoop& loop) { loop.impl().check_can_run(); }

void check_same_loop(const FutureBase& future, const LoopCore& core) {
    if (&future.core() == &core) return;
    throw ValueError(
        "The future belongs to a different loop than the one specified as the loop argument");
}

void run_until_done(EventLoop& loop, FutureBase& future, bool hidden) {
    check_same_loop(future, loop.core());
    if (hidden) future.flags_ &= static_cast<std::uint16_t>(~FutureBase::kLogDestroyed);
    StopWhenDone stop(loop.impl(), future);
    future.add_node(&stop, true);
    // The node must leave the future or the queue before this frame goes.
    struct Remove {
        Loop& loop;
        FutureBase& future;
        StopWhenDone& stop;
        ~Remove() {
            if (stop.fired() || future.remove_node(&stop)) return;
            loop.forget(stop);
        }
    } remove{loop.impl(), future, stop};
    try {
        loop.run_forever();
    } catch (...) {
        // The exception that leaves the loop is also the task's: it has been seen.
        if (hidden && future.done() && !future.cancelled()) future.mark_retrieved();
        throw;
    }
    if (!future.done()) throw RuntimeError("Event loop stopped before Future completed.");
}

}  // namespace detail

}  // namespace v1
}  // namespace asyncio

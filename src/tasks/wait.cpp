#include "asyncio/tasks/wait.hpp"

#include <memory>
#include <string>

#include "asyncio/detail/call_timer.hpp"
#include "tasks/awaiters.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void check_return_when(ReturnWhen value) {
    switch (value) {
        case ReturnWhen::kAllCompleted:
        case ReturnWhen::kFirstCompleted:
        case ReturnWhen::kFirstException:
            return;
    }
    throw ValueError("Invalid return_when value: " + std::to_string(static_cast<int>(value)));
}

// Shared by the awaiter and by those of its nodes that are in the ready queue: those may run after
// the awaiter has gone.
class WaitState {
  public:
    WaitState(std::size_t n, ReturnWhen when) : left_(n), when_(when), nodes_(new FutureNode[n]) {}

    void watch(std::size_t i, FutureBase& f) { nodes_[i].watch(*this, f); }
    void stop_watching(std::size_t i, FutureBase& f) noexcept { f.remove_node(&nodes_[i]); }
    void set_timeout(LoopCore& core, std::int64_t delay) {
        const std::int64_t when = saturating_add(loop_now(core), delay);
        timer_ = new CallTimer(
            core, when, false, [](void* self) { static_cast<WaitState*>(self)->release_waiter(); },
            this);
    }
    void cancel_timeout() noexcept {
        if (CallTimer* t = std::exchange(timer_, nullptr)) t->abandon();
    }
    // The awaiter goes.
    void close() noexcept {
        cancel_timeout();
        open_ = false;
        release();
    }

    Waiter waiter{WaitKind::kWait};

  private:
    class FutureNode final : public Serving<Node> {
      public:
        void watch(WaitState& s, FutureBase& f) {
            state_ = &s;
            serve(Serves::kWaiter, static_cast<const SoleWaiter*>(&s.waiter));
            future_ = &f;
            f.add_node(this, true);
        }
        void scheduled(FutureBase&) noexcept override {
            ++state_->uses_;
            held_ = true;
        }
        void run() override {
            if (state_->open_) state_->on_done(*future_);
            drop();
        }
        void drop() noexcept override {
            if (std::exchange(held_, false)) state_->release();  // may destroy this
        }
        const char* label() const noexcept override { return "wait()"; }

      private:
        WaitState* state_ = nullptr;
        FutureBase* future_ = nullptr;  // kept alive by the awaiter, which on_done needs anyway
        bool held_ = false;
    };

    ~WaitState() = default;
    void release() noexcept {
        if (--uses_ == 0) delete this;
    }
    void release_waiter() noexcept {
        if (!waiter.done()) waiter.set();
    }
    void on_done(FutureBase& f) {
        --left_;
        bool enough = left_ == 0 || when_ == ReturnWhen::kFirstCompleted;
        if (!enough && when_ == ReturnWhen::kFirstException && f.state_ == FutureState::kFailed) {
            f.mark_retrieved();
            enough = true;
        }
        if (!enough) return;
        cancel_timeout();
        release_waiter();
    }

    std::size_t uses_ = 1;
    bool open_ = true;  // the awaiter is there
    std::size_t left_;
    ReturnWhen when_;
    std::unique_ptr<FutureNode[]> nodes_;
    CallTimer* timer_ = nullptr;
};

void throw_nothing_to_wait_for() { throw ValueError("Set of Tasks/Futures is empty."); }

WaitAwaiter::WaitAwaiter(FutureList futures, WaitOptions options)
    : futures_(std::move(futures)), options_(options) {}

WaitAwaiter::~WaitAwaiter() {
    if (!state_) return;
    for (std::size_t i = 0; i < futures_.size(); ++i) state_->stop_watching(i, *futures_[i]);
    state_->close();
}

void WaitAwaiter::suspend(PromiseBase& frame) {
    LoopCore& core = thread_state.task->core();
    state_ = new WaitState(futures_.size(), options_.return_when);
    if (!options_.timeout.is_none()) state_->set_timeout(core, options_.timeout.count());
    for (std::size_t i = 0; i < futures_.size(); ++i) state_->watch(i, *futures_[i]);
    state_->waiter.suspend(frame);
}

void WaitAwaiter::await_resume() {
    if (std::exception_ptr e = state_->waiter.resume()) std::rethrow_exception(std::move(e));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

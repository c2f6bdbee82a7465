#include "asyncio/tasks/shield.hpp"

#include "loop/loop.hpp"
#include "tasks/awaiters.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

// Stays with the inner future after the outer one was cancelled: tells of an exception that nobody
// else will see (T-17).
class LogNode final : public DoneNode, public Pooled {
  public:
    void scheduled(FutureBase& future) noexcept override {
        future_ = Ref<FutureBase>::share(&future);
    }
    void run() override {
        const auto future = std::move(future_);
        delete this;
        if (future->state_ != FutureState::kFailed) return;
        future->mark_retrieved();
        report_or_log(
            future->core(), "exception in shielded future", [&](ExceptionContext& context) {
                context.message = type_name(future->exc_) + " exception in shielded future";
                context.exception = future->exc_;
                context.future = AnyFuture::from_state(future);
            });
    }
    void drop() noexcept override { delete this; }
    // All of them are alike: a future has at most one.
    std::uint64_t key() const noexcept override { return kKey; }
    static constexpr std::uint64_t kKey = ~std::uint64_t{1};

  private:
    Ref<FutureBase> future_;
};

// Puts a LogNode at the end, where CPython moves it.
void log_errors_of(FutureBase& inner) noexcept {
    Node* node = nullptr;
    if (inner.flags_ & FutureBase::kShieldLog) node = inner.take_latest(LogNode::kKey);
    try {
        if (!node) node = new LogNode;
    } catch (const std::bad_alloc&) {
        return;  // An exception is reported as one that was never retrieved.
    }
    inner.flags_ |= FutureBase::kShieldLog;
    inner.add_node(node, true);
}

}  // namespace

void ShieldBase::watch() {
    inner_->add_node(&on_inner_, true);
    add_node(&on_outer_, true);
    // A task will surely end: until then the outer future lives, whoever still looks at it. A plain
    // future, which may never be set, keeps it only from the moment when it is done.
    if (inner_->is_task()) on_inner_.hold();
}

ShieldBase::~ShieldBase() {
    inner_->remove_node(&on_inner_);
    if (!done()) drop_callbacks();  // one of them is on_outer_, which goes now
}

void ShieldBase::InnerNode::hold() noexcept {
    if (std::exchange(held_, true)) return;
    shield_.retain();
}

void ShieldBase::InnerNode::scheduled(FutureBase&) noexcept { hold(); }

void ShieldBase::InnerNode::run() {
    shield_.mirror();
    drop();
}

void ShieldBase::InnerNode::drop() noexcept {
    if (std::exchange(held_, false)) shield_.release();  // may destroy this
}

void ShieldBase::OuterNode::scheduled(FutureBase&) noexcept {
    held_ = true;
    shield_.retain();
}

void ShieldBase::OuterNode::run() {
    FutureBase& inner = *shield_.inner_;
    if (!inner.done()) {
        if (shield_.cancelled()) log_errors_of(inner);
        if (inner.remove_node(&shield_.on_inner_)) shield_.on_inner_.drop();
    }
    drop();
}

void ShieldBase::OuterNode::drop() noexcept {
    if (std::exchange(held_, false)) shield_.release();  // may destroy this
}

void ShieldBase::mirror() noexcept {
    FutureBase& inner = *inner_;
    if (done()) return;  // cancelled just before: an exception stays unseen, and is reported
    if (inner.cancelled()) {
        finish_cancelled(nullptr);
    } else if (inner.state_ == FutureState::kFailed) {
        finish_error(inner.take_error());
    } else {
        try {
            copy_value(inner);
        } catch (...) {
            // A result whose copy throws: that is the outcome.
            finish_error(std::current_exception());
            return;
        }
        finish_value();
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

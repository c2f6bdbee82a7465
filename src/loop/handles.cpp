// Handles: what call_soon(), call_later() and call_at() give.
#include "asyncio/events/handles.hpp"

#include <new>
#include <ostream>
#include <string>
#include <utility>

#include "asyncio/repr.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

HandleState::HandleState(LoopCore& core, ContextSlot context, std::source_location where,
                         bool timer)
    : is_timer_(timer), core_(core), context_(std::move(context)), where_(where) {
    timer_.owner = this;
    core.attach();
}

HandleState::~HandleState() { core_.detach(); }

void HandleState::run() {
    timer_.index = TimerEntry::kNotQueued;
    queued_ = false;
    struct Enter {
        ContextSlot* outer;
        HandleState* self;
        ~Enter() {
            thread_state.context = outer;
            self->called_ = false;
            if (!self->repeated_ || self->cancelled()) self->clear();
            self->release();
        }
    } enter{thread_state.context, this};
    if (cancelled()) return;
    called_ = true;
    thread_state.context = &context_;
    try {
        invoke();
    } catch (...) {
        // SC-07: the handler is told, the loop goes on; what is to leave the loop does so.
        report_callback_error(core_, where_, Handle(Ref<HandleState>::share(this)));
    }
}

void HandleState::drop() noexcept {
    timer_.index = TimerEntry::kNotQueued;
    queued_ = false;
    clear();
    release();
}

namespace {

// Takes a timer that another thread has cancelled out of the heap, on the loop's thread.
class TakeOut final : public Node {
  public:
    explicit TakeOut(Ref<HandleState> handle) noexcept : handle_(std::move(handle)) {}
    void run() override {
        handle_->withdraw();
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Ref<HandleState> handle_;
};

}  // namespace

void HandleState::cancel() noexcept {
    if (cancelled_.exchange(true)) return;
    if (core_.runs_here()) return withdraw();
    if (const Loop::Idle idle(static_cast<Loop&>(core_)); idle) return withdraw();
    // The loop is another thread's. An entry of the ready queue is skipped when its turn comes.
    if (!is_timer_) return;
    Node* const node = new (std::nothrow) TakeOut(Ref<HandleState>::share(this));
    if (node && !push_threadsafe(core_, node)) node->drop();
}

void HandleState::withdraw() noexcept {
    const auto self = Ref<HandleState>::share(this);
    if (timer_.queued()) {
        remove_timer(core_, timer_);
        release();
    }
    if (!called_) clear();
}

}  // namespace detail

std::string Handle::repr() const {
    if (!state_) return "<Handle empty>";
    std::string text = state_->is_timer() ? "<TimerHandle" : "<Handle";
    if (state_->cancelled()) text += " cancelled";
    if (state_->is_timer()) {
        text += " when=" + detail::repr_double(static_cast<double>(state_->timer().when) / 1e9);
    }
    const auto place = state_->place();
    return text + " callback at " + place.file_name() + ':' + std::to_string(place.line()) + '>';
}

std::ostream& operator<<(std::ostream& out, const Handle& handle) { return out << handle.repr(); }

}  // namespace v1
}  // namespace asyncio

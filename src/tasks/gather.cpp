#include "asyncio/tasks/gather.hpp"

#include <algorithm>
#include <unordered_set>

#include "tasks/awaiters.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

FutureList::FutureList(const FutureList& o) {
    reserve(o.size_);
    for (const auto& f : o) add(f);
}

FutureList::FutureList(FutureList&& o) noexcept
    : items_(std::exchange(o.items_, nullptr)),
      size_(std::exchange(o.size_, 0)),
      capacity_(std::exchange(o.capacity_, 0)) {}

FutureList& FutureList::operator=(FutureList o) noexcept {
    std::swap(items_, o.items_);
    std::swap(size_, o.size_);
    std::swap(capacity_, o.capacity_);
    return *this;
}

FutureList::~FutureList() { delete[] items_; }

void FutureList::reserve(std::size_t n) {
    if (n <= capacity_) return;
    auto* items = new Ref<FutureBase>[n];
    std::move(items_, items_ + size_, items);
    delete[] items_;
    items_ = items;
    capacity_ = n;
}

void FutureList::add(Ref<FutureBase> future) {
    if (size_ == capacity_) reserve(capacity_ ? 2 * capacity_ : 4);
    items_[size_++] = std::move(future);
}

void FutureList::add_state(const Ref<FutureBase>& state) {
    if (!state) throw_empty_handle();
    add(state);
}

void FutureList::cancel_made() const noexcept {
    for (const auto& f : *this) {
        const bool made = f->is_task() && (f->flags_ & FutureBase::kLogDestroyed) == 0;
        if (made) f->cancel_wait(nullptr);
    }
}

void FutureList::remove_duplicates() {
    std::unordered_set<const FutureBase*> seen;
    Ref<FutureBase>* last = std::remove_if(
        items_, items_ + size_, [&](const auto& f) { return !seen.insert(f.get()).second; });
    std::fill(last, items_ + size_, nullptr);
    size_ = static_cast<std::size_t>(last - items_);
}

void check_same_loop(const FutureList& states) {
    if (states.empty()) return;
    const LoopCore& core = thread_state.loop ? *thread_state.loop : states[0]->core();
    for (const auto& s : states) check_same_loop(*s, core);
}

std::exception_ptr gathered_error(FutureBase& child) {
    if (child.state_ == FutureState::kFailed) return child.take_error();
    if (child.state_ != FutureState::kCancelled) return nullptr;
    // A task's own CancelledError stays for the first who asks the task; its message is not shown.
    if ((child.flags_ & FutureBase::kCancelOnce) || !child.exc_) return cancelled_error(nullptr);
    return child.exc_;
}

// In the callback list of one child. It keeps the gather alive while a task will surely end; for a
// plain future, which may never be set, only from the moment when it is done.
class GatherBase::ChildNode final : public Serving<Node> {
  public:
    void watch(GatherBase& gather, FutureBase& child) {
        gather_ = &gather;
        serve(Serves::kThoseOf, static_cast<const FutureBase*>(&gather));
        child_ = &child;
        if (child.is_task() && !child.done()) hold();
        linked_ = !child.done();
        child.add_node(this, true);
    }
    void unlink() noexcept {
        if (linked_ && !held_) child_->remove_node(this);
    }

    void scheduled(FutureBase&) noexcept override {
        linked_ = false;
        if (!held_) hold();
    }
    void run() override {
        gather_->on_child(*child_);
        let_go();
    }
    void drop() noexcept override {
        linked_ = false;
        if (held_) let_go();
    }
    const char* label() const noexcept override { return "gather()"; }

  private:
    void hold() noexcept {
        held_ = true;
        gather_->retain();
    }
    void let_go() noexcept {
        held_ = false;
        gather_->release();  // may destroy this
    }

    GatherBase* gather_ = nullptr;
    FutureBase* child_ = nullptr;
    bool linked_ = false;
    bool held_ = false;
};

GatherBase::GatherBase(LoopCore& core, FutureList children, bool keep_errors)
    : FutureBase(core, kOther, 1, {}), children_(std::move(children)), keep_errors_(keep_errors) {}

GatherBase::~GatherBase() {
    for (std::size_t i = 0; i < distinct_; ++i) nodes_[i].unlink();
    delete[] nodes_;
    if (!given_up_ || done()) return;
    for (const auto& c : children_) {
        if (GatherBase* const inner = c->as_gather()) inner->given_up_ = true;
    }
}

void GatherBase::watch() {
    try {
        watch_children();
    } catch (const std::bad_alloc&) {
        children_.cancel_made();
        throw;
    }
}

void GatherBase::watch_children() {
    FutureList distinct = children_;
    if (distinct.size() > 1) distinct.remove_duplicates();
    for (const auto& c : distinct) check_same_loop(*c, *core_);
    if (distinct.empty()) {
        collect();
        finish_value();
        return;
    }
    nodes_ = new ChildNode[distinct.size()];
    distinct_ = distinct.size();
    const auto self = Ref<FutureBase>::share(this);
    // Those that are done already count now, after all others are watched (T-15).
    for (std::size_t i = 0; i < distinct.size(); ++i) {
        if (!distinct[i]->done()) nodes_[i].watch(*this, *distinct[i]);
    }
    for (const auto& c : distinct) {
        if (c->done()) on_child(*c);
    }
}

namespace {

// What a cancelled gather ends with: the message is that of the last argument, whichever was the
// last to end, and even if that one got over its cancel.
std::exception_ptr cancel_error(FutureBase& last) noexcept {
    if (last.cancelled()) return last.take_error();
    TaskBase* task = last.as_task();
    return task ? task->last_cancel_error() : cancelled_error(nullptr);
}

}  // namespace

void GatherBase::on_child(FutureBase& child) noexcept {
    ++finished_;
    if (done()) {
        // Somebody else's exception was delivered: this one is not to be reported (B-14).
        child.mark_retrieved();
        return;
    }
    if (!keep_errors_ && child.state_ != FutureState::kFinished) {
        finish_failed(child.take_error());
        return;
    }
    if (finished_ == distinct_) finish_all();
}

void GatherBase::finish_all() noexcept {
    if (cancel_requested_) {
        for (const auto& child : children_) child->mark_retrieved();
        finish_failed(cancel_error(*children_[children_.size() - 1]));
        return;
    }
    try {
        collect();
    } catch (...) {
        // A result whose copy throws: that is gather's outcome.
        finish_failed(std::current_exception());
        return;
    }
    finish_value();
}

void GatherBase::finish_failed(std::exception_ptr error) noexcept {
    finish_error(std::move(error));
    if (given_up_) mark_retrieved();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

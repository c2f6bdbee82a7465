#include "asyncio/futures.hpp"

#include <atomic>
#include <ostream>

#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "base/traces.hpp"
#include "loop/loop.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Futures that hold futures (a gather, a shield, a result) go one after another from here on, so
// that a long chain of them needs no stack.
constexpr std::uint32_t kMostNested = 50;

// What most are at their end: done on their own thread, with a value of a simple kind, and nothing
// that few have. What its destructor would do is known then, and that nothing in it destroys
// others.
inline bool FutureBase::needs_no_destructor(const ThreadState& here) const noexcept {
    if (units_ == 0 || state_ != FutureState::kFinished || here.loop != core_) return false;
    if (!is_task()) return true;
    // Safe because the flag is set by TaskBase's constructor only.
    const auto& task = static_cast<const TaskBase&>(*this);
    return (task.name_ & 1) != 0 && task.context_.bits == 0;
}

void FutureBase::destroy(ThreadState& here) noexcept {
    if (!needs_no_destructor(here)) return destroy_slow(here);
    const std::size_t units = units_;
    --core_->live;
    if (!keep_block(here, this, units)) deallocate_slow(this, units * kBlockUnit);
}

[[gnu::noinline]] void FutureBase::destroy_slow(ThreadState& t) noexcept {
    if (flags_ & kUnretrieved) {
        report_unretrieved();
        return;
    }
    if (t.dying == kMostNested) [[unlikely]] {
        // Safe because nobody refers to it any more: it is in no list, and its link is free.
        next_ = std::exchange(t.doomed, this);
        return;
    }
    ++t.dying;
    delete this;
    if (--t.dying == 0 && t.doomed) [[unlikely]]
        destroy_doomed();
}

// Out of line, since destroy_slow() would save one register more for it.
[[gnu::cold, gnu::noinline]] void FutureBase::destroy_doomed() noexcept {
    ThreadState& t = thread_state;
    ++t.dying;
    // Safe because only destroy() lists them.
    while (t.doomed) delete static_cast<FutureBase*>(std::exchange(t.doomed, t.doomed->next_));
    --t.dying;
}

namespace {

// Carries a future to its loop's thread, to be reported there.
class ReportOnLoop final : public Node {
  public:
    explicit ReportOnLoop(Ref<FutureBase> f) : future_(std::move(f)) {}
    void run() override { delete this; }
    void drop() noexcept override { delete this; }

  private:
    Ref<FutureBase> future_;
};

}  // namespace

// The last handle is gone, and nobody looked at the exception (F-12, S-63). The handler gets a
// handle again, so the state lives until that goes.
void FutureBase::report_unretrieved() noexcept {
    refs_.revive();
    auto self = Ref<FutureBase>::adopt(this);
    if (!core_->runs_here() && !core_->on_owner_thread() && !core_->closed) {
        // It goes the same way again there, or here if the loop closes meanwhile.
        if (auto* node = new (std::nothrow) ReportOnLoop(self)) {
            LoopCore& core = *core_;
            self = nullptr;
            if (!push_threadsafe(core, node)) node->drop();
            return;
        }
    }
    mark_retrieved();
    report_or_log(*core_, "Future exception was never retrieved", [&](ExceptionContext& context) {
        context.message = std::string(class_name()) + " exception was never retrieved";
        context.exception = exc_;
        context.future = AnyFuture::from_state(self);
    });
}

bool FutureBase::cancel(std::string_view message) {
    if (core_->debug) check_thread(*core_);
    if (message.empty()) return cancel_wait(nullptr);
    const std::string text(message);
    return cancel_wait(cancelled_error(&text));
}

bool FutureBase::cancel_wait(const std::exception_ptr& error) {
    mark_retrieved();
    if (done()) return false;
    finish_cancelled(error);
    return true;
}

std::exception_ptr FutureBase::take_error() noexcept {
    switch (state_) {
        case FutureState::kFailed:
            mark_retrieved();
            // F-02: whoever takes it has its own way on from here.
            cut_trace(exc_, traced_);
            return exc_;
        case FutureState::kCancelled:
            if (!exc_) return cancelled_error(nullptr);
            if (flags_ & kCancelOnce) return std::exchange(exc_, nullptr);
            return exc_;
        default:
            return nullptr;
    }
}

void FutureBase::check_result() {
    if (!done()) throw InvalidStateError("Result is not set.");
    if (std::exception_ptr e = take_error()) std::rethrow_exception(std::move(e));
}

std::exception_ptr FutureBase::exception() {
    if (!done()) throw InvalidStateError("Exception is not set.");
    std::exception_ptr e = take_error();
    if (cancelled()) std::rethrow_exception(std::move(e));
    return e;
}

void FutureBase::check_pending() const {
    // A Task<T> is a Future<T> too, and its own handle refuses when compiled (T-12).
    if (is_task()) throw RuntimeError("Task does not support set_result operation");
    if (core_->debug) check_thread(*core_);
    if (done()) throw InvalidStateError("invalid state");
}

void FutureBase::set_exception(std::exception_ptr error) {
    if (is_task()) throw RuntimeError("Task does not support set_exception operation");
    check_pending();
    if (!error) throw TypeError("invalid exception object");
    finish_error(std::move(error));
}

inline void FutureBase::schedule_callbacks() noexcept {
    Node* const last = callbacks_;
    if (!last) return;
    if ((flags_ & kDoneNodes) || core_->closed.load(std::memory_order_relaxed)) {
        return schedule_done_nodes();
    }
    callbacks_ = nullptr;
    core_->ready.push_ring(last);
}

inline void FutureBase::finish(FutureState state) noexcept {
    std::construct_at(&exc_);  // ends the life of waiting_
    state_ = state;
    schedule_callbacks();
}

void FutureBase::finish_value() noexcept { finish(FutureState::kFinished); }

void TaskBase::finish_from_value(PromiseBase& root) noexcept {
    leaf_ = &root;
    finish(FutureState::kFinished);
}

void FutureBase::finish_error(std::exception_ptr error) noexcept {
    traced_ = frames_noted(error);
    std::construct_at(&exc_, std::move(error));
    state_ = FutureState::kFailed;
    flags_ |= kUnretrieved;
    schedule_callbacks();
}

void FutureBase::finish_cancelled(std::exception_ptr error) noexcept {
    std::construct_at(&exc_, std::move(error));
    state_ = FutureState::kCancelled;
    schedule_callbacks();
}

void FutureBase::schedule_done_nodes() noexcept {
    if (core_->closed) {
        drop_callbacks();
        return;
    }
    for (Node* n = callbacks_->next_;; n = n->next_) {
        n->scheduled(*this);
        if (n == callbacks_) break;
    }
    core_->ready.push_ring(std::exchange(callbacks_, nullptr));
}

void FutureBase::add_node(Node* node, bool is_done_node) noexcept {
    if (done()) {
        if (core_->closed) {
            node->drop();
            return;
        }
        node->scheduled(*this);
        core_->push_ready(node);
        return;
    }
    if (is_done_node) {
        flags_ |= kDoneNodes;
        if (Node** const back = node->link_back()) *back = callbacks_;
    }
    if (callbacks_) {
        node->next_ = callbacks_->next_;
        callbacks_->next_ = node;
    } else {
        node->next_ = node;
    }
    callbacks_ = node;
}

bool FutureBase::remove_node(Node* node) noexcept {
    // One that has left the ring, or was in none, points nowhere.
    if (done() || !callbacks_ || !node->next_) return false;
    Node* before = callbacks_;  // of the first one, whose own note may be old
    if (before->next_ != node) {
        Node** const back = node->link_back();
        if (back) {
            before = *back;
        } else {
            while (before->next_ != node) {
                before = before->next_;
                if (before == callbacks_) return false;
            }
        }
    }
    unlink_after(before);
    return true;
}

// Unlinks the node that follows `before`.
void FutureBase::unlink_after(Node* before) noexcept {
    Node* const node = before->next_;
    Node* const after = node->next_;
    node->next_ = nullptr;
    if (before == node) {
        callbacks_ = nullptr;
        return;
    }
    before->next_ = after;
    if (callbacks_ == node) {
        callbacks_ = before;
    } else if (Node** const back = after->link_back()) {
        *back = before;
    }
}

// From both ends at once.
Node* FutureBase::find_unique(std::uint64_t key) const noexcept {
    Node* front = callbacks_->next_;
    Node* back = callbacks_;
    for (;;) {
        if (front->key() == key) return front;
        if (back->key() == key) return back;
        if (front == back) return nullptr;
        front = front->next_;
        if (front == back) return nullptr;
        if (Node** const before = back->link_back()) back = *before;
    }
}

std::size_t FutureBase::remove_callbacks(std::uint64_t key) noexcept {
    if (done() || key == 0 || !callbacks_) return 0;
    if (key & 1) {  // one that new_key() gave
        Node* const node = find_unique(key);
        if (!node) return 0;
        remove_node(node);
        node->drop();
        return 1;
    }
    NodeQueue removed;
    Node* before = callbacks_;
    for (Node* n = before->next_;; n = before->next_) {
        const bool last = n == callbacks_;
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): a ring has no null in it.
        if (n->key() == key) {
            unlink_after(before);
            removed.push(n);
        } else {
            before = n;
        }
        if (last) break;
    }
    // Now that the list is whole again: what they captured may use this future when it dies.
    std::size_t count = 0;
    for (; !removed.empty(); ++count) removed.pop()->drop();
    return count;
}

// From the end on, where it is likely to be.
Node* FutureBase::take_latest(std::uint64_t key) noexcept {
    if (done() || !callbacks_) return nullptr;
    Node* const first = callbacks_->next_;
    Node* n = callbacks_;
    while (n->key() != key) {
        if (n == first) return nullptr;
        Node** const back = n->link_back();
        if (back) {
            n = *back;
            continue;
        }
        // A task, which knows nothing of the one before it.
        Node* before = first;
        while (before->next_ != n) before = before->next_;
        n = before;
    }
    remove_node(n);
    return n;
}

void FutureBase::drop_callbacks() noexcept {
    Node* last = std::exchange(callbacks_, nullptr);
    if (!last) return;
    Node* n = last->next_;
    for (bool more = true; more;) {
        more = n != last;
        Node* next = std::exchange(n->next_, nullptr);
        n->drop();
        n = next;
    }
}

// ---- done callbacks
// -------------------------------------------------------------------------------

DoneCallback::DoneCallback(std::uint64_t key, ContextSlot context,
                           std::source_location where) noexcept
    : key_(key), context_(std::move(context)), where_(where) {}

DoneCallback::~DoneCallback() = default;

std::uint64_t DoneCallback::new_key() noexcept {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(2, std::memory_order_relaxed);
}

void DoneCallback::scheduled(FutureBase& future) noexcept {
    future.retain();
    future_ = &future;
}

void DoneCallback::drop() noexcept {
    if (future_) future_->release();
    delete this;
}

void DoneCallback::run() {
    auto future = Ref<FutureBase>::adopt(std::exchange(future_, nullptr));
    LoopCore& core = future->core();
    struct Enter {
        ContextSlot* outer;
        DoneCallback* self;
        ~Enter() {
            thread_state.context = outer;
            delete self;
        }
    } enter{std::exchange(thread_state.context, &context_), this};
    try {
        invoke(std::move(future));
    } catch (...) {
        // S-65: the handler is told, the loop goes on; what is to leave the loop does so.
        report_callback_error(core, where_, Handle());
    }
}

// ---- waiting for one
// ------------------------------------------------------------------------------

void throw_empty_handle() { throw RuntimeError("this handle is empty: it refers to no object"); }

void check_can_schedule(const FutureBase& future) { check_usable(future.core()); }

void suspend_badly(TaskBase& task, PromiseBase& frame, Ref<FutureBase>& future) {
    task.leaf_ = &frame;  // its text says where it is
    const std::string who = asyncio::repr(AnyFuture::from_state(Ref<FutureBase>::share(&task)));
    std::string text = "Task cannot await on itself: " + who;
    if (future.get() != &task) {
        text = "Task " + who + " got Future " + asyncio::repr(AnyFuture::from_state(future)) +
               " attached to a different loop";
    }
    auto failed = Ref<FutureBase>::adopt(new FutureStateOf<void>(task.core()));
    failed->finish_error(std::make_exception_ptr(RuntimeError(text)));
    failed->mark_retrieved();  // a cancel may take its place
    future = std::move(failed);
    task.suspend_yield(frame);
}

std::exception_ptr resume_error(TaskBase* task, FutureBase& future) {
    if (!task) return future.take_error();
    if (!future.done()) [[unlikely]] {
        // Taken out of a circle. A cancel that came meanwhile is due at the next await.
        return task->take_await_error();
    }
    const bool due = (task->flags_ & FutureBase::kMustCancel) != 0;
    std::exception_ptr error = future.take_error();
    if (!due) return error;
    std::exception_ptr cancel = task->take_cancel();
    // A gather ends with a CancelledError as its exception: that counts as well.
    return is_cancelled_error(error) ? error : cancel;
}

void raise_resume_error(TaskBase* task, FutureBase& future) {
    std::rethrow_exception(resume_error(task, future));
}

}  // namespace detail

EventLoop& AnyFuture::get_loop() const {
    EventLoop* loop = base().core().loop;
    if (!loop) throw RuntimeError("the event loop of this future is gone");
    return *loop;
}

void AnyFuture::check_type(const std::type_info& type) const {
    if (base().value_type() == type) return;
    throw TypeError("the result of this future is a " + detail::repr_type(base().value_type()) +
                    ", not a " + detail::repr_type(type));
}

std::ostream& operator<<(std::ostream& out, const AnyFuture& future) {
    return out << detail::repr_future(future);
}

}  // namespace v1
}  // namespace asyncio

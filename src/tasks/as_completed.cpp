#include "asyncio/tasks/as_completed.hpp"

#include <memory>

#include "asyncio/detail/call_timer.hpp"
#include "tasks/awaiters.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The futures that are watched, and those that have ended and were not taken.
class CompletionQueue {
  public:
    CompletionQueue(FutureList futures, Delay timeout)
        : futures_(std::move(futures)),
          nodes_(new FutureNode[futures_.size()]),
          watched_(futures_.size()),
          unasked(futures_.size()) {
        // Now, since later nobody could be told that there is no memory.
        ended_.reserve(futures_.size());
        if (!futures_.empty() && !timeout.is_none()) {
            LoopCore& core = futures_[0]->core();
            timer_ = new CallTimer(
                core, saturating_add(loop_now(core), timeout.count()), false,
                [](void* self) { static_cast<CompletionQueue*>(self)->on_timeout(); }, this);
        }
        // Last, since nothing may fail once the futures know the nodes.
        for (std::size_t i = 0; i < futures_.size(); ++i) nodes_[i].watch(*this, *futures_[i]);
    }

    void retain() noexcept { uses_.add(); }
    void release() noexcept {
        if (!uses_.drop()) return;
        delete this;
    }

    bool has_items() const noexcept { return taken_ < ended_.size(); }
    Ref<FutureBase> pop() { return std::move(ended_[taken_++]); }
    void wake_next() noexcept { getters.wake_next(); }

    WaitingLine getters;

  private:
    class FutureNode final : public Serving<Node> {
      public:
        void watch(CompletionQueue& q, FutureBase& f) {
            queue_ = &q;
            serve(Serves::kLine, &q.getters);
            future_ = &f;
            linked_ = !f.done();
            f.add_node(this, true);
        }
        void unlink() noexcept {
            if (std::exchange(linked_, false)) future_->remove_node(this);
        }
        void scheduled(FutureBase&) noexcept override {
            linked_ = false;
            held_ = true;
            queue_->retain();
        }
        void run() override {
            queue_->on_done(*future_);
            drop();
        }
        void drop() noexcept override {
            linked_ = false;
            if (std::exchange(held_, false)) queue_->release();  // may destroy this
        }
        const char* label() const noexcept override { return "as_completed()"; }

      private:
        CompletionQueue* queue_ = nullptr;
        FutureBase* future_ = nullptr;
        bool linked_ = false;
        bool held_ = false;
    };

    ~CompletionQueue() {
        stop_watching();
        cancel_timeout();
    }
    void stop_watching() noexcept {
        for (std::size_t i = 0; i < futures_.size(); ++i) nodes_[i].unlink();
    }
    void cancel_timeout() noexcept {
        if (CallTimer* t = std::exchange(timer_, nullptr)) t->abandon();
    }
    void on_done(FutureBase& f) {
        if (watched_ == 0) return;  // the timeout came first
        --watched_;
        ended_.push_back(Ref<FutureBase>::share(&f));
        wake_next();
        if (watched_ == 0) cancel_timeout();
    }
    void on_timeout() {
        stop_watching();
        // An empty item raises TimeoutError: one for each that is left.
        for (; watched_ > 0; --watched_) {
            ended_.emplace_back();
            wake_next();
        }
    }

    RefCount uses_{1};
    FutureList futures_;
    std::unique_ptr<FutureNode[]> nodes_;
    std::vector<Ref<FutureBase>> ended_;  // each once; an empty one: the timeout
    std::size_t taken_ = 0;               // how many of them were given
    std::size_t watched_;
    CallTimer* timer_ = nullptr;

  public:
    std::size_t unasked;  // how many the iteration has not asked for
};

CompletionQueueRef::CompletionQueueRef(FutureList futures, Delay timeout)
    : queue_(new CompletionQueue(std::move(futures), timeout)) {}

CompletionQueueRef::CompletionQueueRef(const CompletionQueueRef& o) noexcept : queue_(o.queue_) {
    if (queue_) queue_->retain();
}

CompletionQueueRef::~CompletionQueueRef() {
    if (queue_) queue_->release();
}

bool CompletionQueueRef::empty() const noexcept { return !queue_ || queue_->unasked == 0; }

bool CompletionQueueRef::take_one() noexcept {
    if (empty()) return false;
    --queue_->unasked;
    return true;
}

namespace {

class NextCompletion {
  public:
    using asyncio_native = void;
    explicit NextCompletion(CompletionQueue& q) : queue_(q) {}
    bool await_ready() const noexcept { return queue_.has_items(); }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        suspended_ = true;
        queue_.getters.push_back(waiter_);
        waiter_.suspend(h.promise());
    }
    void await_resume() {
        if (!suspended_) return;
        std::exception_ptr e = waiter_.resume();
        if (!e) return;
        // As Queue.get: a wake-up that this task will not use goes to the next.
        if (queue_.has_items() && !waiter_.cancelled()) queue_.wake_next();
        std::rethrow_exception(std::move(e));
    }

  private:
    CompletionQueue& queue_;
    Waiter waiter_{WaitKind::kAsCompleted};
    bool suspended_ = false;
};

}  // namespace

Coroutine<Ref<FutureBase>> CompletionQueueRef::get() const {
    // The caller's frame keeps a handle, and this one need not.
    CompletionQueue& queue = *queue_;
    while (!queue.has_items()) {
        NextCompletion next(queue);
        co_await next;
    }
    Ref<FutureBase> f = queue.pop();
    if (!f) throw TimeoutError();
    co_return f;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

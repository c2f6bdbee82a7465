// Loops on several threads, and channels between them.
//
// A channel is a list of objects behind a mutex, which nobody holds for longer than it takes to
// link one. A task that must wait leaves a ChannelWait; whoever makes room, or brings an object,
// takes the first one out of its list and sends it, as an entry of the ready queue, to its loop.
// The object itself stays in the channel until the woken task takes it in its own step, so that a
// cancel cannot lose it. A wake-up that finds its task cancelled, or its loop closed, goes on to
// the next one in the list:
//   1. notify() takes the wait out of the list and marks it as woken;
//   2a. the task runs: it tries again (another one may have been quicker), waiting in front if
//       need be;
//   2b. the task is cancelled or destroyed: leave() finds the mark and notifies the next;
//   2c. its loop is closed: push_threadsafe() says so, and notify() takes the next.
#include "asyncio/parallel.hpp"

#include <algorithm>
#include <mutex>
#include <system_error>
#include <thread>

#include "asyncio/component/process.hpp"
#include "asyncio/detail/waiter.hpp"
#include "loop/loop.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- threads with loops ------------------------------------------------------------------------

struct LoopThread::State {
    std::string name;
    std::thread thread;
    std::mutex mutex;
    EventLoop* loop = nullptr;  // while the main task runs
    AnyTask task;
    bool cancelled = false;
};

void LoopThread::release() noexcept {
    if (refs_.drop()) delete this;
}

LoopThread::LoopThread(std::string name) : state_(new State) { state_->name = std::move(name); }

LoopThread::~LoopThread() {
    // Nobody waits for it: the loop that would have is closed.
    if (state_->thread.joinable()) state_->thread.detach();
}

void LoopThread::add(Job job) {
    try {
        // If there is no thread, or no memory, the job goes with the function.
        state_->thread = std::thread([owned = std::move(job), name = state_->name]() mutable {
            name_this_thread(name.c_str());
            owned();
        });
    } catch (const std::system_error&) {
        throw RuntimeError("can't start new thread");
    }
}

void LoopThread::join() noexcept {
    if (state_->thread.joinable()) state_->thread.join();
}

void LoopThread::cancel() {
    const std::lock_guard lock(state_->mutex);
    state_->cancelled = true;
    if (!state_->loop) return;
    // The loop is there: the task that names it cannot end meanwhile.
    state_->loop->call_soon_threadsafe([task = state_->task] { task.cancel(); });
}

LoopThread::Inside::Inside(LoopThread& thread) : thread_(thread) {
    State& state = *thread_.state_;
    const std::lock_guard lock(state.mutex);
    state.loop = &get_running_loop();
    state.task = current_task();
    if (state.cancelled) state.task.cancel();
}

LoopThread::Inside::~Inside() {
    State& state = *thread_.state_;
    AnyTask task;
    const std::lock_guard lock(state.mutex);
    state.loop = nullptr;
    std::swap(task, state.task);
}

std::string loop_thread_name(std::string_view name, int index) {
    const std::string tail = '_' + std::to_string(index);
    return std::string(name.substr(0, 15 - std::min<std::size_t>(15, tail.size()))) + tail;
}

void check_thread_count(int n) {
    if (n < 1) throw ValueError("n must be at least 1");
}

Coroutine<> wait_for_thread(AnyFuture ended, Ref<LoopThread> thread) {
    const auto done = std::make_shared<Event>();
    ended.add_done_callback([done] { done->set(); });
    std::exception_ptr cancelled;
    while (!done->is_set()) {
        const auto waited = co_await as_result(done->wait());
        if (waited) continue;
        cancelled = waited.error();
        thread->cancel();
    }
    thread->join();
    // What the thread made of the cancel counts; only a cancelled thread is this task's cancel.
    if (!cancelled) co_return;
    if (ended.cancelled() || is_cancelled_error(ended.exception())) {
        std::rethrow_exception(cancelled);
    }
}

// ---- channels ----------------------------------------------------------------------------------

class ChannelWaits;

// A task that waits for a channel.
class ChannelWait final : public Node, public Pooled {
  public:
    ChannelWait(Ref<ChannelCore> channel, ChannelWaits& list) noexcept
        : channel_(std::move(channel)), list_(list), core_(thread_state.loop) {
        core_->attach();
    }
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }
    LoopCore& core() const noexcept { return *core_; }

    void set_waiter(Waiter* waiter) noexcept { waiter_ = waiter; }
    // The task goes on or is gone; `served`: it looks at the channel now.
    void leave(bool served) noexcept;

    void run() override {
        if (waiter_ && !waiter_->done()) waiter_->set();
        release();
    }
    void drop() noexcept override { release(); }

  private:
    friend class ChannelWaits;
    ~ChannelWait() { core_->detach(); }

    RefCount refs_{1};
    Ref<ChannelCore> channel_;
    ChannelWaits& list_;
    LoopCore* core_;
    Waiter* waiter_ = nullptr;  // on the loop's thread
    // Guarded by the channel's mutex.
    bool queued_ = false;
    ChannelWait* previous_ = nullptr;
    ChannelWait* following_ = nullptr;
};

// Those that wait for one thing, each counted. Guarded by the channel's mutex.
class ChannelWaits {
  public:
    bool empty() const noexcept { return first_ == nullptr; }
    void push(ChannelWait& w, bool front) noexcept {
        w.retain();
        w.queued_ = true;
        ChannelWait* const before = front ? nullptr : last_;
        ChannelWait* const after = front ? first_ : nullptr;
        w.previous_ = before;
        w.following_ = after;
        (before ? before->following_ : first_) = &w;
        (after ? after->previous_ : last_) = &w;
    }
    // Gives up the list's count to the caller. Returns false if it is not here.
    bool remove(ChannelWait& w) noexcept {
        if (!w.queued_) return false;
        w.queued_ = false;
        (w.previous_ ? w.previous_->following_ : first_) = w.following_;
        (w.following_ ? w.following_->previous_ : last_) = w.previous_;
        return true;
    }
    // With the list's count; null if there is none.
    ChannelWait* pop() noexcept {
        ChannelWait* const w = first_;
        if (w) remove(*w);
        return w;
    }

  private:
    ChannelWait* first_ = nullptr;
    ChannelWait* last_ = nullptr;
};

struct ChannelCore::State {
    explicit State(std::size_t most) : capacity(most) {}

    const std::size_t capacity;
    std::mutex& mutex = shared_mutex(this);
    ChannelItem* first = nullptr;
    ChannelItem* last = nullptr;
    std::size_t size = 0;
    bool closed = false;
    ChannelWaits senders;
    ChannelWaits receivers;

    bool may_go_on(const ChannelWaits& list) const noexcept {
        if (closed) return true;
        return &list == &senders ? size < capacity : size > 0;
    }
    // Wakes one that waits, if there is one and reason to.
    void notify(ChannelWaits& list) noexcept {
        while (true) {
            ChannelWait* woken = nullptr;
            {
                const std::lock_guard lock(mutex);
                if (may_go_on(list)) woken = list.pop();
            }
            if (!woken || send(*woken)) return;
        }
    }
    void notify_all(ChannelWaits& list) noexcept {
        while (true) {
            ChannelWait* woken = nullptr;
            {
                const std::lock_guard lock(mutex);
                woken = list.pop();
            }
            if (!woken) return;
            send(*woken);
        }
    }

  private:
    // To its loop, with the count. Returns false if that is closed.
    static bool send(ChannelWait& woken) noexcept {
        LoopCore& core = woken.core();
        // Of a parent's loop that this thread seems to run, in a child of fork(2), too (PX-04).
        if (core.closed.load(std::memory_order_relaxed)) {
            woken.release();
            return false;
        }
        if (core.runs_here()) {
            core.push_ready(&woken);
            return true;
        }
        if (push_threadsafe(core, &woken)) return true;
        woken.release();
        return false;
    }
};

void ChannelWait::leave(bool served) noexcept {
    waiter_ = nullptr;
    ChannelCore::State& state = *channel_->state_;
    bool was_queued = false;
    {
        const std::lock_guard lock(state.mutex);
        was_queued = list_.remove(*this);
    }
    if (was_queued) return release();
    if (!served) state.notify(list_);
}

namespace {

// Suspends the task until it is woken.
class ChannelAwaiter {
  public:
    using asyncio_native = void;

    explicit ChannelAwaiter(Ref<ChannelWait> wait) noexcept : wait_(std::move(wait)) {
        wait_->set_waiter(&waiter_);
    }
    ChannelAwaiter(const ChannelAwaiter&) = delete;
    ChannelAwaiter& operator=(const ChannelAwaiter&) = delete;
    ~ChannelAwaiter() { wait_->leave(served_); }

    // There is no need to wait.
    void skip() noexcept { served_ = true; }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        waiter_.suspend(h.promise());
    }
    void await_resume() {
        if (std::exception_ptr error = waiter_.resume()) std::rethrow_exception(error);
        served_ = true;
    }

  private:
    Ref<ChannelWait> wait_;
    Waiter waiter_{WaitKind::kChannel};
    bool served_ = false;
};

}  // namespace

ChannelCore::ChannelCore(std::size_t capacity) {
    if (capacity == 0) throw ValueError("capacity must be at least 1");
    state_ = Owned(new State(capacity));
}

// Nobody waits: a wait keeps the channel.
ChannelCore::~ChannelCore() {
    if (!state_) return;
    while (ChannelItem* item = state_->first) {
        state_->first = item->next_;
        item->dispose();
    }
}

bool ChannelCore::try_push(ChannelItem* item) {
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->closed) throw QueueShutDown("channel is closed");
        if (state_->size == state_->capacity) return false;
        item->next_ = nullptr;
        (state_->first ? state_->last->next_ : state_->first) = item;
        state_->last = item;
        ++state_->size;
        if (state_->receivers.empty()) return true;
    }
    state_->notify(state_->receivers);
    return true;
}

ChannelItem* ChannelCore::try_pop(bool& closed) noexcept {
    ChannelItem* item = nullptr;
    {
        const std::lock_guard lock(state_->mutex);
        closed = state_->closed;
        item = state_->first;
        if (!item) return nullptr;
        state_->first = item->next_;
        --state_->size;
        if (state_->senders.empty()) return item;
    }
    state_->notify(state_->senders);
    return item;
}

namespace {

// Waits in `list`, unless `go_on()` is true, which is asked with `mutex` held.
template <class G>
Coroutine<> wait_in(Ref<ChannelCore> channel, std::mutex& mutex, ChannelWaits& list, bool front,
                    G go_on) {
    const auto wait = Ref<ChannelWait>::adopt(new ChannelWait(std::move(channel), list));
    ChannelAwaiter awaiter(wait);
    {
        const std::lock_guard lock(mutex);
        if (go_on()) {
            awaiter.skip();
            co_return;
        }
        list.push(*wait, front);
    }
    co_await awaiter;
}

}  // namespace

Coroutine<> ChannelCore::wait_for_room(bool again) {
    State& s = *state_;
    return wait_in(Ref<ChannelCore>::share(this), s.mutex, s.senders, again,
                   [&s] { return s.may_go_on(s.senders); });
}

Coroutine<> ChannelCore::wait_for_item(bool again) {
    State& s = *state_;
    return wait_in(Ref<ChannelCore>::share(this), s.mutex, s.receivers, again,
                   [&s] { return s.may_go_on(s.receivers); });
}

void ChannelCore::pass_room() noexcept { state_->notify(state_->senders); }

void ChannelCore::close() noexcept {
    {
        const std::lock_guard lock(state_->mutex);
        state_->closed = true;
    }
    state_->notify_all(state_->senders);
    state_->notify_all(state_->receivers);
}

bool ChannelCore::closed() const noexcept {
    const std::lock_guard lock(state_->mutex);
    return state_->closed;
}

std::size_t ChannelCore::size() const noexcept {
    const std::lock_guard lock(state_->mutex);
    return state_->size;
}

std::size_t ChannelCore::capacity() const noexcept { return state_->capacity; }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

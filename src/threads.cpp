#include "asyncio/threads.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "fork.hpp"
#include "look_around.hpp"
#include "loop.hpp"

namespace asyncio::inline v1 {

Executor::~Executor() = default;

// ---- the pool ----------------------------------------------------------------------------------

namespace {

using Clock = std::chrono::steady_clock;

// The point that many nanoseconds from now; at most some centuries, where the clock ends.
Clock::time_point after(std::int64_t ns) {
    const auto now = Clock::now();
    const auto room = Clock::time_point::max() - now;
    return now + std::min<Clock::duration>(std::chrono::nanoseconds(ns), room);
}

// The system takes 15 characters: the number counts, the prefix is cut.
void name_this_thread(const std::string& prefix, unsigned number) {
    const std::string tail = '_' + std::to_string(number);
    const std::string name = prefix.substr(0, 15 - std::min<std::size_t>(15, tail.size())) + tail;
    ::pthread_setname_np(::pthread_self(), name.c_str());
}

int default_workers() {
    return static_cast<int>(std::min(32u, std::thread::hardware_concurrency() + 4));
}

}  // namespace

// One thread. While it has nothing to do it waits in a stack: the one that was busy last is used
// first, so that those which are not needed get old and end.
struct ThreadPoolExecutor::Worker {
    std::thread thread;
    std::condition_variable called;
    std::atomic<detail::JobBase*> job{nullptr};  // given to it while it waits
    bool asleep = false;                         // it must be called
    detail::LookAround look_around;
    Worker* below = nullptr;  // in the stack of idle ones
    bool detached = false;    // nobody will join it: it frees itself
    bool ended = false;       // it has nothing left to do but end
};

// What the threads share; it outlives the executor if they do.
struct ThreadPoolExecutor::Pool {
    Pool(int max, std::string_view name_prefix, std::int64_t idle)
        : max_workers(max), prefix(name_prefix), idle_ns(idle) {}

    // In a child of fork(2): the threads, and who held the mutex, are not here (PX-04).
    bool of_parent() const noexcept { return made_after != detail::forks(); }

    const unsigned made_after = detail::forks();

    const int max_workers;
    const std::string prefix;
    const std::int64_t idle_ns;

    std::mutex mutex;
    std::condition_variable joined;
    detail::JobBase* first = nullptr;  // jobs that found no thread
    detail::JobBase* last = nullptr;
    Worker* idle = nullptr;
    std::vector<Worker*> workers;  // owned, but for those that run detached
    int joining = 0;               // taken out of `workers` by threads that join them
    unsigned started = 0;
    bool shut_down = false;

    void push(detail::JobBase* job) noexcept {
        job->following_ = nullptr;
        (first ? last->following_ : first) = job;
        last = job;
    }
    detail::JobBase* pop() noexcept {
        detail::JobBase* job = first;
        if (job) first = job->following_;
        return job;
    }

    static void start(const std::shared_ptr<Pool>& pool);
    static void work(std::shared_ptr<Pool> pool, Worker* self, unsigned number);
    detail::JobBase* next_job(Worker& self);
    detail::JobBase* wait_for_job(std::unique_lock<std::mutex>& lock, Worker& self);
    static bool look(Worker& self, Clock::time_point begin) noexcept;
    void sleep(std::unique_lock<std::mutex>& lock, Worker& self);
    void leave_idle(const Worker& self) noexcept;
    void end(Worker& self) noexcept;
    void detach(Worker& worker) noexcept;
    void call_idle() noexcept;
    void join();
};

// With the mutex held. Raises: std::system_error if the system has no thread to give.
void ThreadPoolExecutor::Pool::start(const std::shared_ptr<Pool>& pool) {
    auto worker = std::make_unique<Worker>();
    pool->workers.reserve(pool->workers.size() + 1);
    worker->thread = std::thread(&Pool::work, pool, worker.get(), pool->started);
    ++pool->started;
    pool->workers.push_back(worker.release());
}

void ThreadPoolExecutor::Pool::work(std::shared_ptr<Pool> pool, Worker* self, unsigned number) {
    name_this_thread(pool->prefix, number);
    while (detail::JobBase* job = pool->next_job(*self)) job->execute();
    const std::lock_guard lock(pool->mutex);
    pool->end(*self);
}

// Null: the thread is to end.
detail::JobBase* ThreadPoolExecutor::Pool::next_job(Worker& self) {
    std::unique_lock lock(mutex);
    if (detail::JobBase* job = pop()) return job;
    if (shut_down) return nullptr;
    return wait_for_job(lock, self);
}

detail::JobBase* ThreadPoolExecutor::Pool::wait_for_job(std::unique_lock<std::mutex>& lock,
                                                        Worker& self) {
    self.below = idle;
    idle = &self;
    const auto begin = Clock::now();
    if (self.look_around.pays()) {
        lock.unlock();
        if (look(self, begin)) return self.job.exchange(nullptr, std::memory_order_acquire);
        lock.lock();
    }
    sleep(lock, self);
    detail::JobBase* job = self.job.exchange(nullptr, std::memory_order_relaxed);
    if (job) self.look_around.slept((Clock::now() - begin).count());
    return job;
}

// True if a job comes in a moment.
bool ThreadPoolExecutor::Pool::look(Worker& self, Clock::time_point begin) noexcept {
    return self.look_around.look(
        [&] { return self.job.load(std::memory_order_relaxed) != nullptr; },
        [] { return Clock::now().time_since_epoch().count(); },
        begin.time_since_epoch().count() + detail::LookAround::kLook);
}

// Until there is a job, the pool is shut down, or the thread has been idle for too long; then it is
// detached.
void ThreadPoolExecutor::Pool::sleep(std::unique_lock<std::mutex>& lock, Worker& self) {
    const auto called = [&] {
        return self.job.load(std::memory_order_relaxed) != nullptr || shut_down;
    };
    self.asleep = true;
    bool in_time = true;
    if (idle_ns == detail::kNever) {
        self.called.wait(lock, called);
    } else {
        in_time = self.called.wait_until(lock, after(idle_ns), called);
    }
    self.asleep = false;
    if (in_time) return;
    leave_idle(self);
    detach(self);
}

// Takes it out of the stack.
void ThreadPoolExecutor::Pool::leave_idle(const Worker& self) noexcept {
    for (Worker** at = &idle; *at; at = &(*at)->below) {
        if (*at != &self) continue;
        *at = self.below;
        return;
    }
}

// With the mutex held: the thread touches nothing of the pool after this.
void ThreadPoolExecutor::Pool::end(Worker& self) noexcept {
    self.ended = true;
    if (self.detached) delete &self;
}

// With the mutex held: the thread ends by itself, and nobody will join it.
void ThreadPoolExecutor::Pool::detach(Worker& worker) noexcept {
    std::erase(workers, &worker);
    if (worker.ended) {
        worker.thread.join();
        delete &worker;
        return;
    }
    worker.detached = true;
    worker.thread.detach();
}

// Calls all threads that wait, since the pool is shut down.
void ThreadPoolExecutor::Pool::call_idle() noexcept {
    for (Worker* w = std::exchange(idle, nullptr); w;) {
        Worker* below = w->below;
        w->called.notify_one();
        w = below;
    }
}

// Joins all threads but the calling one. Several threads may do so: each returns when all are gone.
void ThreadPoolExecutor::Pool::join() {
    std::unique_lock lock(mutex);
    while (!workers.empty()) {
        Worker* worker = workers.back();
        if (worker->thread.get_id() == std::this_thread::get_id()) {
            detach(*worker);
            continue;
        }
        workers.pop_back();
        ++joining;
        lock.unlock();
        worker->thread.join();
        delete worker;
        lock.lock();
        --joining;
        joined.notify_all();
    }
    joined.wait(lock, [this] { return joining == 0; });
}

ThreadPoolExecutor::ThreadPoolExecutor(int max_workers, std::string_view thread_name_prefix,
                                       Delay idle_time) {
    if (max_workers < 0) throw ValueError("max_workers must be greater than 0");
    pool_ =
        std::make_shared<Pool>(max_workers > 0 ? max_workers : default_workers(),
                               thread_name_prefix, std::max<std::int64_t>(0, idle_time.count()));
}

ThreadPoolExecutor::~ThreadPoolExecutor() {
    if (pool_) shutdown();
}

// Safe because the constructor makes nothing else.
ThreadPoolExecutor::Pool& ThreadPoolExecutor::pool() const noexcept {
    return *static_cast<Pool*>(pool_.get());
}

void ThreadPoolExecutor::add(Job job) {
    Pool& pool = this->pool();
    if (pool.of_parent()) throw RuntimeError("the threads of this executor are the parent's");
    const std::lock_guard lock(pool.mutex);
    if (pool.shut_down) throw RuntimeError("cannot schedule new futures after shutdown");
    if (Worker* worker = pool.idle) {
        pool.idle = worker->below;
        const bool asleep = worker->asleep;
        // From here on a worker that is awake may be gone.
        worker->job.store(job.release(), std::memory_order_release);
        if (asleep) worker->called.notify_one();
        return;
    }
    if (static_cast<int>(pool.workers.size()) < pool.max_workers) {
        try {
            Pool::start(std::static_pointer_cast<Pool>(pool_));
        } catch (const std::system_error&) {
            // Those that run will do it, if there are any.
            if (pool.workers.empty()) throw RuntimeError("can't start new thread");
        }
    }
    pool.push(job.release());
}

void ThreadPoolExecutor::shutdown(bool wait, bool cancel_futures) {
    // Nothing to tell and nobody to join; each thread that there was keeps the pool for ever.
    if (pool().of_parent()) return;
    detail::JobBase* dropped = nullptr;
    {
        const std::lock_guard lock(pool().mutex);
        pool().shut_down = true;
        if (cancel_futures) dropped = std::exchange(pool().first, nullptr);
        pool().call_idle();
    }
    while (dropped) {
        detail::JobBase* job = dropped;
        dropped = job->following_;
        job->discard();
    }
    if (wait) pool().join();
}

int ThreadPoolExecutor::max_workers() const noexcept { return pool().max_workers; }

int ThreadPoolExecutor::thread_count() const {
    if (pool().of_parent()) return 0;
    const std::lock_guard lock(pool().mutex);
    return static_cast<int>(pool().workers.size()) + pool().joining;
}

void ThreadPoolExecutor::leave_threads() noexcept {
    if (pool().of_parent()) return;
    shutdown(false);
    const std::lock_guard lock(pool().mutex);
    while (!pool().workers.empty()) pool().detach(*pool().workers.back());
}

// ---- jobs of a loop ----------------------------------------------------------------------------

namespace detail {

void LoopJob::begin() noexcept {
    auto& loop = static_cast<Loop&>(future_.core());
    loop.begin_external();
    awaited_ = true;
}

void LoopJob::end_wait() noexcept {
    if (std::exchange(awaited_, false)) static_cast<Loop&>(future_.core()).end_external();
}

void LoopJob::deliver() noexcept {
    // A loop that is closed has nobody to tell: the result is dropped silently.
    if (!push_threadsafe(future_.core(), &future_)) future_.release();
}

void LoopJob::give_up() noexcept { future_.release(); }

Executor& executor_for(LoopCore& core, Executor* executor) {
    auto& loop = static_cast<Loop&>(core);
    loop.check_open();
    if (executor) return *executor;
    if (loop.executor_shut_down) throw RuntimeError("Executor shutdown has been called");
    if (!loop.default_executor) loop.default_executor = std::make_shared<ThreadPoolExecutor>();
    return *loop.default_executor;
}

namespace {

// Gives up the loop's share. A pool that nobody else has ends by itself, since a loop must not
// wait.
void leave_executor(std::shared_ptr<ThreadPoolExecutor> executor) noexcept {
    if (executor && executor.use_count() == 1) executor->leave_threads();
}

}  // namespace

void close_executor(Loop& loop) noexcept {
    loop.executor_shut_down = true;
    auto executor = std::exchange(loop.default_executor, nullptr);
    if (!executor) return;
    // What nobody will be told of need not run; another owner's jobs are not the loop's to cancel.
    executor->shutdown(false, executor.use_count() == 1);
    leave_executor(std::move(executor));
}

namespace {

// Calls its one job on a thread of its own.
class OneThread final : public Executor {
  public:
    ~OneThread() override {
        if (thread_.joinable()) thread_.detach();
    }
    void add(Job job) override {
        JobBase* const taken = job.release();
        try {
            thread_ = std::thread([taken] { taken->execute(); });
        } catch (const std::system_error&) {
            taken->discard();
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
    detail::leave_executor(std::exchange(impl_->default_executor, std::move(executor)));
}

Coroutine<void> EventLoop::shutdown_default_executor(Delay timeout) {
    impl_->executor_shut_down = true;
    const std::shared_ptr<ThreadPoolExecutor> executor = impl_->default_executor;
    if (!executor) co_return;
    detail::OneThread helper;
    auto join = [executor] { executor->shutdown(true); };
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

// ---- futures that cross threads ----------------------------------------------------------------

namespace detail {

namespace {

// Where threads sleep until a future is done: few do at a time, so that a mutex in every future
// would be wasted. Never destroyed, since threads may outlive the objects of main's thread.
struct Place {
    std::mutex mutex;
    std::condition_variable ended;
};

Place& place_of(const void* future) {
    static Place* const places = new Place[16];
    // Safe because the number only picks a place: it is not used as an address.
    return places[reinterpret_cast<std::uintptr_t>(future) / 64 % 16];
}

// Stands in callbacks_ for "done".
class DoneMark final : public ConcurrentCallback {
  public:
    void call(ConcurrentBase&) noexcept override {}
    void drop() noexcept override {}
};
DoneMark done_mark;

}  // namespace

const char ConcurrentBase::kJob = 0;

ConcurrentBase::~ConcurrentBase() {
    ConcurrentCallback* c = callbacks_.load(std::memory_order_acquire);
    while (c && c != &done_mark) {
        ConcurrentCallback* next = c->next_;
        c->drop();
        c = next;
    }
}

// Changes the state from `from` to `to`, whether somebody waits or not.
bool ConcurrentBase::move_to(State from, State to) noexcept {
    std::uint32_t old = state_.load(std::memory_order_acquire);
    while ((old & kStateBits) == from) {
        if (state_.compare_exchange_weak(old, (old & kWaited) | to)) return true;
    }
    return false;
}

bool ConcurrentBase::cancel() noexcept {
    if (!move_to(kPending, kCancelled)) return cancelled();
    was_cancelled();
    finish(kCancelled);
    return true;
}

bool ConcurrentBase::set_running_or_notify_cancel() {
    if (move_to(kPending, kRunning)) return true;
    if (cancelled()) return false;
    throw RuntimeError("Future in unexpected state");
}

void ConcurrentBase::begin_end() {
    if (move_to(kRunning, kEnding) || move_to(kPending, kEnding)) return;
    throw InvalidStateError((cancelled() ? "CANCELLED: " : "FINISHED: ") + repr());
}

void ConcurrentBase::set_exception(std::exception_ptr error) {
    if (!error) throw TypeError("invalid exception object");
    begin_end();
    finish_error(std::move(error));
}

void ConcurrentBase::finish_error(std::exception_ptr error) noexcept {
    error_ = std::move(error);
    finish(kFailed);
}

// By the one who has made it kEnding or kCancelled and holds a reference.
void ConcurrentBase::finish(State state) noexcept {
    if (state_.exchange(state) & kWaited) {
        Place& place = place_of(this);
        const std::lock_guard lock(place.mutex);
        place.ended.notify_all();
    }
    ConcurrentCallback* stack = callbacks_.exchange(&done_mark);
    ConcurrentCallback* in_order = nullptr;
    while (stack) {
        ConcurrentCallback* next = stack->next_;
        stack->next_ = in_order;
        in_order = stack;
        stack = next;
    }
    while (in_order) {
        ConcurrentCallback* next = in_order->next_;
        in_order->call(*this);
        in_order = next;
    }
}

void ConcurrentBase::add_callback(ConcurrentCallback* callback) noexcept {
    ConcurrentCallback* head = callbacks_.load(std::memory_order_acquire);
    do {
        if (head == &done_mark) return callback->call(*this);
        callback->next_ = head;
    } while (!callbacks_.compare_exchange_weak(head, callback));
}

bool ConcurrentBase::wait_until_done(std::int64_t timeout) const {
    if (done()) return true;
    if (timeout <= 0) return false;
    Place& place = place_of(this);
    std::unique_lock lock(place.mutex);
    state_.fetch_or(kWaited);
    const auto ended = [this] { return done(); };
    if (timeout != kNever) return place.ended.wait_until(lock, after(timeout), ended);
    place.ended.wait(lock, ended);
    return true;
}

void ConcurrentBase::wait(Delay timeout) const {
    if (timeout.is_none() && !done() && source_ && source_ == thread_state.loop) {
        throw RuntimeError(
            "this thread runs the loop that the result comes from: "
            "it would wait for ever");
    }
    if (!wait_until_done(timeout.count())) throw TimeoutError();
}

std::exception_ptr ConcurrentBase::exception(Delay timeout) const {
    wait(timeout);
    if (cancelled()) throw CancelledError();
    return state() == kFailed ? error_ : nullptr;
}

void ConcurrentBase::check(Delay timeout) const {
    if (std::exception_ptr e = exception(timeout)) std::rethrow_exception(std::move(e));
}

std::string ConcurrentBase::repr() const {
    std::ostringstream text;
    text << "<Future at " << static_cast<const void*>(this) << " state=";
    switch (state()) {
        case kPending:
            text << "pending";
            break;
        case kRunning:
        case kEnding:
            text << "running";
            break;
        case kFinished:
            text << "finished returned " << value_repr();
            break;
        case kFailed:
            text << "finished raised " << type_name(error_);
            break;
        case kCancelled:
            text << "cancelled";
            break;
    }
    return text.str() + '>';
}

void report_callback_error(ConcurrentBase& future, const std::exception_ptr& error) {
    log::write(log::Level::ERROR,
               "exception calling callback for " + future.repr() + '\n' + format_exception(error));
}

void throw_empty_concurrent() {
    throw RuntimeError("this handle is empty: it refers to no object");
}

// ---- a coroutine of another thread's loop ------------------------------------------------------

namespace {

// Cancels a task on its loop's thread.
class CancelTask final : public Node, public Pooled {
  public:
    explicit CancelTask(Ref<FutureBase> task) noexcept : task_(std::move(task)) {}
    void run() override {
        task_->cancel({});
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Ref<FutureBase> task_;
};

class CancelTaskWith final : public ConcurrentCallback {
  public:
    explicit CancelTaskWith(Ref<FutureBase> task) noexcept : task_(std::move(task)) {}
    void call(ConcurrentBase& future) noexcept override {
        if (future.cancelled()) cancel_task();
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    void cancel_task() noexcept {
        if (thread_state.loop == &task_->core()) {
            task_->cancel({});
            return;
        }
        auto* node = new CancelTask(task_);
        if (!push_threadsafe(task_->core(), node)) delete node;
    }

    Ref<FutureBase> task_;
};

}  // namespace

void cancel_task_with(ConcurrentBase& future, Ref<FutureBase> task) {
    future.add_callback(new CancelTaskWith(std::move(task)));
}

// ---- a future for a future ---------------------------------------------------------------------

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
}  // namespace asyncio::inline v1

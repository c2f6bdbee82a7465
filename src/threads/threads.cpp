#include "asyncio/threads.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <limits>
#include <mutex>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "os/fork.hpp"
#include "loop/look_around.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {

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
struct ThreadPoolExecutor::Worker : std::enable_shared_from_this<Worker> {
    std::thread thread;
    std::condition_variable called;
    std::atomic<detail::JobBase*> job{nullptr};  // given to it while it waits
    bool asleep = false;                         // it must be called
    detail::LookAround look_around;
    Worker* below = nullptr;    // in the stack of idle ones
    bool ended = false;         // it has nothing left to do but end
    bool being_joined = false;  // some thread is at it
    bool joined = false;

    static thread_local Worker* here;  // null on a thread of no pool
};
thread_local ThreadPoolExecutor::Worker* ThreadPoolExecutor::Worker::here = nullptr;

// Who waits for the end of a pool's threads. A thread of a pool that does so can be waited for
// itself, so that a circle of threads that wait for one another would close: it is left open where
// it would. A thread waits for one other at a time, and
//   1. with the mutex held it looks whether that one waits, through whatever others, for itself;
//   2. only if not, it notes whom it waits for, before it gives up the mutex;
//   3. so of two that would close a circle together the second sees what the first has noted.
struct ThreadPoolExecutor::Joiner {
    explicit Joiner(Worker* worker)
        : self(worker ? worker->shared_from_this() : std::shared_ptr<Worker>()) {}

    std::shared_ptr<Worker> self;     // the thread of a pool that waits, or that is waited for
    std::shared_ptr<Worker> awaited;  // whose end it waits for now
    Joiner* following = nullptr;

    // True: `worker` is waited for from here on, until leave().
    bool enter(Worker& worker);
    void leave() noexcept;
    // Its thread does not wait any more, though somebody still waits for it.
    void forget_self() noexcept;

    // Those that wait, of all pools.
    struct All {
        std::mutex mutex;
        Joiner* first = nullptr;

        bool waits(const Worker& who, const Worker& whom) const noexcept;
    };
    static All& all() {
        static All* const a = new All;  // outlives every thread
        return *a;
    }
};

// Whether `who` is `whom`, or waits for it. Ends, since there is no circle.
bool ThreadPoolExecutor::Joiner::All::waits(const Worker& who, const Worker& whom) const noexcept {
    if (&who == &whom) return true;
    for (const Joiner* j = first; j; j = j->following) {
        if (j->self.get() == &who && waits(*j->awaited, whom)) return true;
    }
    return false;
}

bool ThreadPoolExecutor::Joiner::enter(Worker& worker) {
    All& a = all();
    const std::lock_guard lock(a.mutex);
    if (self && a.waits(worker, *self)) return false;
    awaited = worker.shared_from_this();
    following = std::exchange(a.first, this);
    return true;
}

void ThreadPoolExecutor::Joiner::leave() noexcept {
    All& a = all();
    const std::lock_guard lock(a.mutex);
    Joiner** at = &a.first;
    while (*at != this) at = &(*at)->following;
    *at = following;
    awaited.reset();
}

void ThreadPoolExecutor::Joiner::forget_self() noexcept {
    const std::lock_guard lock(all().mutex);
    self.reset();
}

// What the threads share; it outlives the executor if they do.
struct ThreadPoolExecutor::Pool {
    Pool(int max, std::string_view name_prefix, std::int64_t idle)
        : max_workers(max), prefix(name_prefix), idle_ns(idle) {}
    ~Pool();

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
    std::vector<std::shared_ptr<Worker>> workers;  // until they are joined or detached
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
    static void work(std::shared_ptr<Pool> pool, std::shared_ptr<Worker> self, unsigned number);
    detail::JobBase* next_job(Worker& self);
    detail::JobBase* wait_for_job(std::unique_lock<std::mutex>& lock, Worker& self);
    static bool look(Worker& self, Clock::time_point begin) noexcept;
    void sleep(std::unique_lock<std::mutex>& lock, Worker& self);
    void leave_idle(const Worker& self) noexcept;
    void detach(Worker& worker) noexcept;
    void remove(const Worker& worker) noexcept;
    void call_idle() noexcept;
    std::shared_ptr<Worker> next_to_join(Joiner& joiner);
    void join(Joiner& joiner);
};

// Nobody has joined these, since a thread of the pool has shut it down; that may be this one. All
// have left the pool, so that they are at their ends.
ThreadPoolExecutor::Pool::~Pool() {
    if (of_parent()) {
        // Safe to keep for ever: what stands for a thread that is not here cannot be given back.
        new std::vector(std::move(workers));
        return;
    }
    for (const auto& worker : workers) {
        if (worker->thread.get_id() == std::this_thread::get_id()) {
            worker->thread.detach();
        } else {
            worker->thread.join();
        }
    }
}

// With the mutex held. Raises: std::system_error if the system has no thread to give.
void ThreadPoolExecutor::Pool::start(const std::shared_ptr<Pool>& pool) {
    auto worker = std::make_shared<Worker>();
    pool->workers.reserve(pool->workers.size() + 1);
    worker->thread = std::thread(&Pool::work, pool, worker, pool->started);
    ++pool->started;
    pool->workers.push_back(std::move(worker));
}

void ThreadPoolExecutor::Pool::work(std::shared_ptr<Pool> pool, std::shared_ptr<Worker> self,
                                    unsigned number) {
    name_this_thread(pool->prefix, number);
    Worker::here = self.get();
    while (detail::JobBase* job = pool->next_job(*self)) {
        job->execute();
        // A child that was forked in the job, and has nothing else to do: it ends with its thread.
        if (pool->of_parent()) return;
    }
    Worker::here = nullptr;
    const std::lock_guard lock(pool->mutex);
    self->ended = true;
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

// With the mutex held: the thread ends by itself, and nobody will join it.
void ThreadPoolExecutor::Pool::detach(Worker& worker) noexcept {
    if (worker.ended) {
        worker.thread.join();
    } else {
        worker.thread.detach();
    }
    remove(worker);
}

void ThreadPoolExecutor::Pool::remove(const Worker& worker) noexcept {
    std::erase_if(workers, [&](const auto& w) { return w.get() == &worker; });
}

// Calls all threads that wait, since the pool is shut down.
void ThreadPoolExecutor::Pool::call_idle() noexcept {
    for (Worker* w = std::exchange(idle, nullptr); w;) {
        Worker* below = w->below;
        w->called.notify_one();
        w = below;
    }
}

// With the mutex held. Null if none is left that `joiner` may wait for; else it waits already.
std::shared_ptr<ThreadPoolExecutor::Worker> ThreadPoolExecutor::Pool::next_to_join(Joiner& joiner) {
    for (auto w = workers.rbegin(); w != workers.rend(); ++w) {
        if (joiner.enter(**w)) return *w;
    }
    return nullptr;
}

// Joins all threads but those that wait for the joiner, and itself. Several threads may do so: each
// returns when all are gone.
void ThreadPoolExecutor::Pool::join(Joiner& joiner) {
    std::unique_lock lock(mutex);
    while (const std::shared_ptr<Worker> worker = next_to_join(joiner)) {
        if (worker->being_joined) {
            joined.wait(lock, [&] { return worker->joined; });
        } else {
            worker->being_joined = true;
            lock.unlock();
            worker->thread.join();
            lock.lock();
            worker->joined = true;
            remove(*worker);
            joined.notify_all();
        }
        joiner.leave();
    }
}

void detail::throw_too_many(const char* what) {
    throw ValueError(std::string(what) +
                     " must be <= " + std::to_string(std::numeric_limits<int>::max()));
}

ThreadPoolExecutor::ThreadPoolExecutor(Checked checked, std::string_view thread_name_prefix,
                                       Delay idle_time) {
    const int max_workers = checked.max_workers;
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
    // A job that is dropped here may be what has kept the executor.
    const auto pool = std::static_pointer_cast<Pool>(pool_);
    // Nothing to tell and nobody to join; each thread that there was keeps the pool for ever.
    if (pool->of_parent()) return;
    detail::JobBase* dropped = nullptr;
    {
        const std::lock_guard lock(pool->mutex);
        pool->shut_down = true;
        if (cancel_futures) dropped = std::exchange(pool->first, nullptr);
        pool->call_idle();
    }
    while (dropped) {
        detail::JobBase* job = dropped;
        dropped = job->following_;
        job->discard();
    }
    if (!wait) return;
    Joiner joiner(Worker::here);
    pool->join(joiner);
}

std::shared_ptr<ThreadPoolExecutor::Joiner> ThreadPoolExecutor::joiner_of_this_thread() {
    return std::make_shared<Joiner>(Worker::here);
}

void ThreadPoolExecutor::shutdown_for(Joiner& joiner) {
    const auto pool = std::static_pointer_cast<Pool>(pool_);
    shutdown(false);
    if (!pool->of_parent()) pool->join(joiner);
}

void ThreadPoolExecutor::forget(Joiner& joiner) noexcept { joiner.forget_self(); }

void ThreadPoolExecutor::lock_joiners() noexcept { Joiner::all().mutex.lock(); }
void ThreadPoolExecutor::unlock_joiners() noexcept { Joiner::all().mutex.unlock(); }

void ThreadPoolExecutor::forget_joiners() noexcept {
    Joiner::all().first = nullptr;
    Worker::here = nullptr;  // this thread is not one of a pool here
}

int ThreadPoolExecutor::max_workers() const noexcept { return pool().max_workers; }

int ThreadPoolExecutor::thread_count() const {
    if (pool().of_parent()) return 0;
    const std::lock_guard lock(pool().mutex);
    return static_cast<int>(pool().workers.size());
}

void ThreadPoolExecutor::leave_threads() noexcept {
    if (pool().of_parent()) return;
    shutdown(false);
    const std::lock_guard lock(pool().mutex);
    auto& workers = pool().workers;
    for (std::size_t i = workers.size(); i-- > 0;) {
        if (!workers[i]->being_joined) pool().detach(*workers[i]);
    }
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
        try {
            // If there is no thread, or no memory, the job goes with the function.
            thread_ = std::thread([owned = std::move(job)]() mutable { owned(); });
        } catch (const std::system_error&) {
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
    // The helper waits for this thread, which may be one of that pool.
    struct ForThisThread {
        std::shared_ptr<ThreadPoolExecutor::Joiner> joiner =
            ThreadPoolExecutor::joiner_of_this_thread();
        ~ForThisThread() { ThreadPoolExecutor::forget(*joiner); }
    } waits;
    detail::OneThread helper;
    auto join = [executor, joiner = waits.joiner] { executor->shutdown_for(*joiner); };
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

constexpr std::size_t kPlaces = 16;

Place* places() {
    static Place* const all = new Place[kPlaces];
    return all;
}

Place& place_of(const void* future) {
    // Safe because the number only picks a place: it is not used as an address.
    return places()[reinterpret_cast<std::uintptr_t>(future) / 64 % kPlaces];
}

// Stands in callbacks_ for "done".
class DoneMark final : public ConcurrentCallback {
  public:
    void call(ConcurrentBase&) noexcept override {}
    void drop() noexcept override {}
};
DoneMark done_mark;

}  // namespace

void lock_threads() noexcept {
    ThreadPoolExecutor::lock_joiners();
    for (std::size_t i = 0; i < kPlaces; ++i) places()[i].mutex.lock();
}

void unlock_threads() noexcept {
    for (std::size_t i = 0; i < kPlaces; ++i) places()[i].mutex.unlock();
    ThreadPoolExecutor::unlock_joiners();
}

void leave_threads_to_parent() noexcept {
    ThreadPoolExecutor::forget_joiners();
    // Safe because nobody waits in them here: they count threads of the parent.
    for (std::size_t i = 0; i < kPlaces; ++i) std::construct_at(&places()[i].ended);
}

const char ConcurrentBase::kJob = 0;

ConcurrentBase::ConcurrentBase() noexcept : made_after_(forks()) {}

void ConcurrentBase::check_has_source() const {
    if (!source_ || made_after_ == forks() || done()) return;
    throw RuntimeError("the thread that this result comes from is the parent's");
}

ConcurrentBase::~ConcurrentBase() = default;

bool ConcurrentBase::retain_if_alive() noexcept {
    std::uint32_t refs = refs_.load(std::memory_order_relaxed);
    while (refs > 0) {
        if (refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_relaxed)) return true;
    }
    return false;
}

// All handles are gone: nobody will end it, and nothing calls its callbacks.
void ConcurrentBase::abandon() noexcept {
    ConcurrentCallback* c = callbacks_.exchange(&done_mark);
    while (c && c != &done_mark) {
        ConcurrentCallback* next = c->next_;
        c->drop();
        c = next;
    }
    release_object();
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
    check_has_source();
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

// The pool of threads: its workers, how they are called and joined.
//
// A job goes from add() to a worker in one of two ways, and what was written before add() is seen
// by it in both:
//   1. the worker sleeps, or is not there yet: both hold the mutex, whatever the orders of `job`;
//   2. the worker looks around without the mutex: add() releases the job, and the exchange by which
//      the worker takes it acquires it. The look is relaxed, since it only says when to take.
// After 2 the worker may run the job, and be gone, before add() returns: add() reads `asleep`
// before it stores.
#include "asyncio/threads/executors.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <ranges>
#include <system_error>
#include <thread>
#include <vector>

#include "asyncio/component/process.hpp"
#include "asyncio/exceptions.hpp"
#include "loop/look_around.hpp"
#include "loop/loop.hpp"
#include "os/threads.hpp"
#include "threads/pool_figures.hpp"
#include "threads/time_after.hpp"

namespace asyncio {
inline namespace v1 {

constinit detail::PoolFigures detail::pool_figures;

Executor::~Executor() = default;

// ---- the pool ----------------------------------------------------------------------------------

namespace {

using Clock = std::chrono::steady_clock;

// The number counts, the prefix is cut.
void name_this_thread(const std::string& prefix, unsigned number) {
    const std::string tail = '_' + std::to_string(number);
    const std::size_t room =
        detail::kLongestThreadName - std::min(detail::kLongestThreadName, tail.size());
    detail::name_this_thread((prefix.substr(0, room) + tail).c_str());
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
        detail::pool_figures.queued.fetch_add(1, std::memory_order_relaxed);
        job->following_ = nullptr;
        (first ? last->following_ : first) = job;
        last = job;
    }
    detail::JobBase* pop() noexcept {
        detail::JobBase* job = first;
        if (!job) return nullptr;
        detail::pool_figures.queued.fetch_sub(1, std::memory_order_relaxed);
        first = job->following_;
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
    detail::pool_figures.threads.fetch_add(1, std::memory_order_relaxed);
    ++pool->started;
    pool->workers.push_back(std::move(worker));
}

void ThreadPoolExecutor::Pool::work(std::shared_ptr<Pool> pool, std::shared_ptr<Worker> self,
                                    unsigned number) {
    struct Ends {
        ~Ends() { detail::pool_figures.threads.fetch_sub(1, std::memory_order_relaxed); }
    } const ends;
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
        in_time = self.called.wait_until(lock, detail::time_after(idle_ns), called);
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
    for (const auto& w : std::views::reverse(workers)) {
        if (joiner.enter(*w)) return w;
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

namespace {

constexpr detail::ForkGuard kPoolGuard{ThreadPoolExecutor::lock_joiners,
                                       ThreadPoolExecutor::unlock_joiners,
                                       ThreadPoolExecutor::forget_joiners};
[[maybe_unused]] const bool guarded = detail::guard_at_fork(detail::ForkRank::kPools, kPoolGuard);

}  // namespace

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

}  // namespace v1
}  // namespace asyncio

// The loop itself, behind EventLoop: ready queue, timers, other threads' entries, and one
// iteration.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "asyncio/events.hpp"
#include "asyncio/time.hpp"
#include "backend/backend.hpp"
#include "loop/bulk_reads.hpp"
#include "loop/look_around.hpp"
#include "loop/ready_nodes.hpp"
#include "loop/services.hpp"
#include "loop/step_watch.hpp"
#include "loop/timers.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {

class Executor;

namespace component {
class Chooser;
}

namespace detail {

class DatagramRoom;

// What must be told when its loop closes: an open pipe, a child process. Listed from join() until
// leave(), or until loop_closed() is called.
class LoopMember {
  public:
    void join(Loop& loop) noexcept;
    void leave() noexcept;
    bool joined() const noexcept { return loop_ != nullptr; }
    // Not listed any more: what it holds of the system is to be given back, and no user's code is
    // to be called.
    virtual void loop_closed() noexcept = 0;

  protected:
    LoopMember() = default;
    LoopMember(const LoopMember&) = delete;
    LoopMember& operator=(const LoopMember&) = delete;
    ~LoopMember() = default;

  private:
    Loop* loop_ = nullptr;
    LoopMember* previous_ = nullptr;
    LoopMember* following_ = nullptr;
};

class Loop final : public LoopCore, public Pooled {
  public:
    explicit Loop(std::unique_ptr<Backend> b);
    ~Loop();

    // Raises: see EventLoop.
    void check_open() const {
        if (closed.load(std::memory_order_relaxed)) [[unlikely]]
            throw_closed();
    }
    [[noreturn]] void throw_closed() const;
    // In debug mode (DM-02). Raises: RuntimeError if the loop runs on another thread.
    void check_thread() const;
    void check_can_run() const;
    void run_forever();
    bool run_once(std::int64_t timeout);
    void close();
    bool is_running() const noexcept { return running_.load(std::memory_order_relaxed); }
    // The loop's clock, ns. On any thread.
    std::int64_t now() noexcept;
    // To be called when debug mode or a hook has changed.
    void update_mode() noexcept {
        watched_ = debug || !step_watches_.empty();
        plain_ = !backend->is_virtual() && !watched_ && !pick_next && !chooser_ && !stopping;
        look_at_ = 0;  // run_plain() ends with this iteration
    }
    // asyncio/component/jobs.hpp: calls jobs on this thread; null: pools of threads do.
    Executor* own_jobs = nullptr;

    // asyncio/component/scheduling.hpp
    void choose_by(component::Chooser* chooser) noexcept {
        chooser_ = chooser;
        if (backend) update_mode();
    }
    // `node` is queued once nothing else is ready.
    void queue_when_settled(Node& node) noexcept { settled_.push(&node); }
    // `watch`, which stays until end_watch(), is told of the steps from now on; `of_tasks`: also of
    // tasks that are made from now on. On the loop's thread.
    void begin_watch(StepWatch& watch, bool of_tasks) noexcept;
    void end_watch(StepWatch& watch, bool of_tasks) noexcept;
    // To be called when the factory, or who is told of tasks, has changed.
    void update_tells() noexcept { tells_of_tasks = task_factory || told_of_tasks_ > 0; }
    template <class Call>
    void tell_watches(const Call& call) noexcept {
        step_watches_.each(call);
    }
    // The current iteration is the last (LC-03).
    void stop() noexcept {
        stopping = true;
        plain_ = false;
        look_at_ = 0;
    }

    // Takes an entry out of the ready queue, if it is there.
    void forget(Node& node) noexcept { ready.remove(&node); }
    // False if closed. The caller keeps the loop alive meanwhile (see push_threadsafe).
    bool push_from_thread(Node& node) noexcept;
    // From a signal handler, in the middle of anything, on any thread. The back end must stay
    // meanwhile (see signals.cpp).
    void push_from_signal(Node& node) noexcept;
    // A look at a loop that does not run. While it lives no thread begins to run or close the loop,
    // and the public object stays. True on the owner's thread, which may then change the loop.
    class Idle {
      public:
        explicit Idle(Loop& loop)
            : lock_(loop.idle_mutex_), mine_(!loop.is_running() && loop.on_owner_thread()) {}
        explicit operator bool() const noexcept { return mine_; }

      private:
        std::lock_guard<std::recursive_mutex> lock_;
        bool mine_;
    };
    // The loop itself stays while this lives, even if user's code destroys the public object.
    class Stays {
      public:
        explicit Stays(Loop& loop) noexcept : loop_(loop) {
            loop.foreign.fetch_add(1, std::memory_order_relaxed);
        }
        Stays(const Stays&) = delete;
        Stays& operator=(const Stays&) = delete;
        ~Stays() { loop_.detach_foreign(1); }

      private:
        Loop& loop_;
    };
    // This process is a child of fork(2), and the loop is a copy of its parent's (see fork.cpp).
    void leave_to_parent() noexcept;
    // The public object goes: from now on nothing reports to it.
    void forget_public_object() noexcept;

    // Raises: std::bad_alloc.
    void add_timer(TimerEntry& entry) {
        timers.push(entry);
        look_again();
        if (entry.when <= saturating_add(clock_.load(std::memory_order_relaxed), kSoon)) {
            look_at_ = 0;
        }
    }

    // Jobs on other threads that will push an entry: virtual time waits for them in real time.
    void begin_external() noexcept { external_.fetch_add(1, std::memory_order_relaxed); }
    void end_external() noexcept { external_.fetch_sub(1, std::memory_order_relaxed); }

    std::unique_ptr<Backend> backend;
    TimerHeap timers;
    BulkReads bulk_reads;
    bool stopping = false;
    ExceptionHandler exception_handler;
    TaskFactory task_factory;
    Function<void()> before_wait;
    Function<void()> after_wait;
    Function<std::size_t(std::size_t)> pick_next;

    // Queues an entry right after the one that runs now, before the rest of the iteration: for the
    // task that waits for the bytes that have just been received, while they are in the cache.
    // Where order is looked at (debug mode, hooks, virtual time), and after stop(), it is
    // push_ready().
    void run_next(Node& node) noexcept {
        if (!plain_ || !runs_here()) return push_ready(&node);
        ready.note(&node);
        node.next_ = batch_;
        batch_ = &node;
    }

    // add_reader and add_writer, by descriptor.
    struct Watched {
        Ref<HandleState> reader;
        Ref<HandleState> writer;
    };
    std::unordered_map<int, Watched> watched;
    void watch(int fd, bool write, Ref<HandleState> handle);
    bool unwatch(int fd, bool write);
    // Opens `channel` for `fd`, which may not be watched any more. Raises: OSError; RuntimeError.
    void open_channel(IoChannel& channel, int fd, ChannelKind kind);
    // Backend::watch, for the nodes of a transport. Raises: OSError.
    void watch_nodes(int fd, Node* on_read, Node* on_write);
    // Raises: RuntimeError "File descriptor N is used by transport ..." (FD-01).
    void check_no_channel(int fd) const;

    // In the list of the process's loops (list_loop).
    Loop* previous_loop = nullptr;
    Loop* following_loop = nullptr;
    std::uint64_t number = 0;  // 1 for the first that was made; 0: not listed
    const char* const backend_name;

    // Of tasks that are done: how many ended so. In all.
    std::uint64_t tasks_failed = 0;
    std::uint64_t tasks_cancelled = 0;

    LoopMember* first_member = nullptr;
    Pages pipe_memory;  // what pipes are read into: one for all

    // Set by a signal handler: KeyboardInterrupt is to be raised before the next callback.
    std::atomic<bool> interrupted{false};

    ServiceList services;
    std::shared_ptr<DatagramRoom> datagram_room;  // made by the first receive; null while lent

  private:
    class Running;
    struct StopOver;
    using WatchedPlace = std::unordered_map<int, Watched>::iterator;
    void tell_watched(WatchedPlace place, HandleState* reader, HandleState* writer);
    void own(bool running) noexcept;

    // How long, ns, the kernel is not asked while callbacks are ready (S-04). The clock tells, and
    // it is looked at after 1, 2, 4, 8 and 16 iterations and then after each 16: 8 times in 64.
    static constexpr std::int64_t kMostUnpolled = 50'000;
    static constexpr std::uint32_t kMostUnlooked = 16;
    // The same while there is no timer and nothing is watched: what comes ends it.
    static constexpr std::uint32_t kMostWithoutNeed = 1024;
    // A timer this close, ns, is looked for in each iteration: CPython's clock would have passed it
    // by the next one (S-06).
    static constexpr std::int64_t kSoon = 1'000;

    // Something to look for has come.
    void look_again() noexcept {
        if (!unlooked_) return;
        unlooked_ = false;
        look_at_ = 0;
    }

    void run_plain();
    void iterate(std::int64_t limit);
    void wait(std::int64_t limit);
    void wait_with_hooks(std::int64_t limit);
    void wait_now(std::int64_t limit);
    std::int64_t time_to_wait(std::int64_t limit);
    void look();
    void poll(std::int64_t timeout);
    void queue_due_timers(std::int64_t now);
    friend struct LoopCore;
    template <class>
    friend struct DebugLayout;
    void take_inbox() noexcept;
    void sleep(std::int64_t timeout);
    void sleep_watched(std::int64_t timeout);
    bool expect_post(std::int64_t timeout) noexcept;
    bool push_inbox(Node& node) noexcept;
    void check_interrupt();
    void run_batch();
    void run_node(Node& node);
    void run_watched_node(Node& node);
    bool counting_asked() const noexcept;
    void see_lease() noexcept;
    void run_picked();
    void run_chosen();
    void drop_queued() noexcept;

#ifdef ASYNCIO_READY_ONCE
    ReadyNodes ready_nodes_;
#endif
    std::atomic<bool> running_{false};
    bool of_parent_ = false;          // see leave_to_parent()
    std::int64_t stopped_clock_ = 0;  // virtual time of a closed loop
    // The clock as it was last looked at. Atomic, since time() may be called on any thread.
    std::atomic<std::int64_t> clock_{0};
    bool virtual_ = false;     // kept, since the back end goes when the loop closes
    bool plain_ = false;       // no virtual time, debug mode, watch, hook or stop: run_plain serves
    bool watched_ = false;     // debug mode, or step_watches_
    Node* batch_ = nullptr;    // what is left of the current iteration
    std::uint64_t steps_ = 0;  // entries that began to run, in all: a tool looks at them
    std::uint64_t rounds_ = 0;      // iterations before the last poll
    std::uint32_t iterations_ = 0;  // since the last poll
    std::uint32_t look_at_ = 0;     // the iteration after which the clock is looked at
    bool unlooked_ = false;         // there was nothing to look for
    std::int64_t polled_at_ = 0;    // when the last poll ended, ns
    bool posts_ = false;            // another thread has posted an entry
    LookAround look_around_;
    StepWatches step_watches_;
    std::uint32_t told_of_tasks_ = 0;            // how many of them are told of tasks
    std::unique_ptr<StepCounter> step_counter_;  // one of them; null: nobody asks
    std::unique_ptr<StepWatch> step_ring_;       // the same; only beside step_counter_
    component::Chooser* chooser_ = nullptr;
    std::vector<Node*> bag_;  // what it chooses from
    NodeQueue settled_;       // what waits until nothing is ready

    // See LoopCore::apart.
    [[maybe_unused]] char apart_[64];
    std::atomic<std::int64_t> external_{0};
    static Node* const kInboxClosed;   // what `inbox` is once the loop is closed
    std::atomic<bool> asleep_{false};  // in, or about to enter, a wait that `wake` must end
    std::mutex wake_mutex_;            // no `wake` while the back end is closed
    std::recursive_mutex idle_mutex_;  // see Idle; an exception handler may run the loop
};

// What is above a loop, and that a loop always has: defined there.
// tasks/signals.cpp: the loop was interrupted. Raises: KeyboardInterrupt.
[[noreturn]] void throw_interrupt();
// tasks/of_loop.cpp: the loop closes. Destroys what is suspended.
void destroy_tasks(Loop& loop) noexcept;
// tasks/of_loop.cpp: nothing will ever be ready. Raises: DeadlockError, which tells who waits.
[[noreturn]] void report_deadlock(Loop& loop);
// tasks/reports.cpp: in debug mode, runs an entry and tells if that took long.
void run_watched(Loop& loop, Node& node);
// tasks/reports.cpp: to be called where an exception came out of a callback that `where`
// registered; tells the handler (EH-05). Raises: that exception if it is to leave the loop (S-60);
// what the handler raises that is (EH-04).
void report_callback_error(LoopCore& core, std::source_location where, const Handle& handle);

// Logs `text` and the exception that is being handled; without memory `text` alone.
void log_current_exception(const char* text) noexcept;

// The loops of the process that are not closed, in the order they were made. At a fixed address and
// without a constructor, so that a tool outside of the process finds them (IN-05).
struct LoopList {
    Loop* first = nullptr;
    Loop* last = nullptr;
    std::uint64_t count = 0;
    std::uint64_t made = 0;  // in all
};
extern constinit LoopList loop_list;

// asyncio/inspect.hpp
void allow_tools_if_asked() noexcept;
// inspect/dump.cpp
void dump_on_signal_if_asked() noexcept;
// inspect/watchdog.cpp
void watch_if_asked() noexcept;

// all_loops().
void list_loop(Loop& loop);
void unlist_loop(Loop& loop) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

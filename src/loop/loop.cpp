// One iteration of the loop, and its end.
//
// An iteration (S-02): if nothing is ready, wait for I/O, another thread or the next timer; append
// what that made ready, then the due timers; run as many entries as the queue holds now. What they
// queue runs in the next iteration.
//
// While entries are ready the kernel is not asked in every iteration, as CPython does: a step costs
// nanoseconds, a system call hundreds. What bounds it is time (kMostUnpolled), never a count: a
// step may also compute for milliseconds. So an iteration that received something is followed by a
// poll, since then one call more is little, and after others the clock is looked at now and then.
// With virtual time every iteration looks at the timers, since looking costs nothing there.
//
// Other threads push onto `inbox`, and wake the loop if it sleeps. No wake-up is lost:
//   1. the loop sets asleep_, then looks at the inbox; only if that is empty does it wait;
//   2. a thread pushes, then looks at asleep_; all four are sequentially consistent;
//   3. so either the loop sees the entry at 1 or the thread sees asleep_ at 2, and wakes it.
// Weaker orders would not do, on x86 neither: each side stores and then loads something else.
//
// What a thread wrote before it pushed is seen by what runs its entry: the push is a release, and
// the exchange by which the loop takes all entries acquires it, that of every thread, since pushes
// are read-modify-writes of one variable, and so of one release sequence. Relaxed are the looks at
// `inbox` that only decide whether to take now or in a moment; what other threads write and nobody
// follows from there to other memory (clock_, running_, owner_thread, which a thread compares with
// its own address alone); and external_, which the loop's thread alone changes while it is open.
//
// Entries are moved to the ready queue after each one that has run and by each task that yields, so
// that they wait one iteration at most, however long its steps compute, as CPython's do (SC-02).
#include "loop/loop.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <exception>
#include <memory>
#include <string>

#include "asyncio/component/scheduling.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "base/prefetch.hpp"
#include "os/probes.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

class Sentinel final : public Node {
  public:
    void run() override {}
    void drop() noexcept override {}
};
Sentinel closed_inbox;

}  // namespace

Node* const Loop::kInboxClosed = &closed_inbox;

constinit std::atomic<std::int64_t> watch_until{0};
constinit std::atomic<std::int64_t> trace_until{0};
constinit std::atomic<std::int64_t> counting_wanted{0};

Loop::Loop(std::unique_ptr<Backend> b)
    : backend(std::move(b)), backend_name(backend->name()), virtual_(backend->is_virtual()) {
#ifdef ASYNCIO_READY_ONCE
    ready.look_with(ready_nodes_);
#endif
    owner_thread.store(&thread_state, std::memory_order_relaxed);
}

Loop::~Loop() = default;

// This thread takes the loop over.
void Loop::own(bool running) noexcept {
    const std::lock_guard lock(idle_mutex_);
    owner_thread.store(&thread_state, std::memory_order_relaxed);
    if (running) {
        thread = &thread_state;
        if (thread_state.id == 0) thread_state.id = thread_id();
    }
    running_.store(running, std::memory_order_relaxed);
}

void Loop::forget_public_object() noexcept {
    const std::lock_guard lock(idle_mutex_);
    loop = nullptr;
    // Here, and not on the thread that drops the last handle of a future.
    exception_handler = nullptr;
    task_factory = nullptr;
    before_wait = nullptr;
    after_wait = nullptr;
    pick_next = nullptr;
}

void LoopCore::detach_foreign(std::int64_t count) noexcept {
    // Only the one that brings it to 0 may look at the core again: for others it may be gone.
    if (foreign.fetch_sub(count, std::memory_order_acq_rel) == count) {
        delete static_cast<Loop*>(this);
    }
}

// What a run of the loop changes in its thread, put back at its end.
class Loop::Running {
  public:
    explicit Running(Loop& loop)
        : loop_(loop),
          outer_(thread_state.loop),
          task_(thread_state.task),
          context_(thread_state.context) {
        loop.own(true);
        thread_state.loop = &loop;
        thread_state.task = nullptr;
        loop.update_mode();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
        // What is left of an iteration when an exception leaves the loop goes back to the front
        // (S-60).
        loop_.ready.put_back(NodeQueue::from_chain(std::exchange(loop_.batch_, nullptr)));
        thread_state.loop = outer_;
        thread_state.task = task_;
        thread_state.context = context_;
        loop_.own(false);
    }

  private:
    Loop& loop_;
    LoopCore* outer_;  // null, or the parent's (PX-04)
    TaskBase* task_;
    ContextSlot* context_;
};

// A stop() is for one run, however that ends.
struct Loop::StopOver {
    Loop& loop;
    ~StopOver() { loop.stopping = false; }
};

void Loop::throw_closed() const {
    if (!of_parent_) throw RuntimeError("Event loop is closed");
    throw RuntimeError(
        "this event loop belongs to the parent process: a child of fork() needs a loop of its own");
}

void Loop::leave_to_parent() noexcept {
    of_parent_ = true;
    closed.store(true);
    interrupted.store(true);                  // if it runs: it leaves before its next callback
    if (backend) backend->leave_to_parent();  // none: another thread was just closing it
    services.leave_to_parent();
    // Other threads' entries stay with the others, which never run here.
    take_posted();
    inbox.store(kInboxClosed);
    // Safe because nobody is left who could hold one of them: their owners are in the parent, and
    // this thread holds none while it forks.
    std::construct_at(&wake_mutex_);
    std::construct_at(&idle_mutex_);
}

void Loop::check_thread() const {
    if (!debug || !is_running() || on_owner_thread()) return;
    throw RuntimeError(
        "Non-thread-safe operation invoked on an event loop other than the current one");
}

std::int64_t Loop::now() noexcept {
    if (backend) {
        const std::int64_t time = backend->now();
        clock_.store(time, std::memory_order_relaxed);
        return time;
    }
    if (virtual_) return stopped_clock_;
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

void Loop::check_can_run() const {
    check_open();
    if (is_running()) throw RuntimeError("This event loop is already running");
    if (running_loop()) {
        throw RuntimeError("Cannot run the event loop while another loop is running");
    }
}

void Loop::run_forever() {
    check_can_run();
    const Running running(*this);
    const StopOver over{*this};
    if (stopping) iterate(kNever);  // asked to stop before: exactly one iteration (B-07)
    while (!stopping) {
        if (plain_) run_plain();
        if (stopping) return;
        iterate(kNever);
    }
}

// Before each callback. Raises: KeyboardInterrupt.
inline void Loop::check_interrupt() {
    if (!interrupted.load(std::memory_order_relaxed)) [[likely]]
        return;
    interrupted.store(false);
    check_open();
    throw_interrupt();
}

// Iterations in which nobody need look at the clock, the kernel or a hook: the hot loop.
void Loop::run_plain() {
    // Safe because the back end stays while the loop runs.
    const Backend& b = *backend;
    std::uint32_t iterations = iterations_;
    take_posted();
    while (!ready.empty() && iterations < look_at_ && !b.called()) {
        ++iterations;
        Node* n = batch_ = ready.take_chain();
        do {
            check_interrupt();
            batch_ = n->next_;
            if (batch_) prefetch<0, 128>(batch_);
            ready.leaves(n);
            ++steps_;
            probe_step(this, n);
            n->run();
            take_posted();
            n = batch_;
        } while (n);
    }
    iterations_ = iterations;
}

bool Loop::run_once(std::int64_t timeout) {
    check_can_run();
    const Running running(*this);
    const StopOver over{*this};
    iterate(timeout);
    return !ready.empty() || !bulk_reads.empty();
}

void Loop::iterate(std::int64_t limit) {
    check_open();  // the process may have become a child meanwhile
    if (counting_asked()) [[unlikely]]
        see_lease();
    take_posted();
    if (ready.empty()) {
        wait(stopping ? 0 : limit);
    } else if (backend->is_virtual()) {
        if (backend->watches()) {
            backend->wait(0, ready);
            bulk_reads.next_round(0, ready);
        }
        queue_due_timers(now());
    } else {
        look();
    }
    ++iterations_;
    run_batch();
}

// While something is ready: asks the kernel if an iteration has received something, or if it was
// not asked for long.
void Loop::look() {
    if (backend->called()) return poll(0);
    if (iterations_ < look_at_) return;
    if (timers.empty() && !backend->watches()) {
        // Nothing but tasks: what time it is matters to nobody until a timer or a descriptor comes.
        unlooked_ = true;
        rounds_ += iterations_;
        iterations_ = 0;
        look_at_ = kMostWithoutNeed;
        return;
    }
    const std::int64_t time = now();
    if (time - polled_at_ >= kMostUnpolled) return poll(0);
    look_at_ = iterations_ + std::clamp<std::uint32_t>(iterations_, 1, kMostUnlooked);
    queue_due_timers(time);
}

// How long to wait until the next timer is due, ns, at most `limit`.
std::int64_t Loop::time_to_wait(std::int64_t limit) {
    if (!bulk_reads.empty()) return 0;
    if (timers.empty() || timers.earliest() == kNever) return limit;
    const std::int64_t time = now();
    // Compared before it is subtracted: a timer may be overdue for as long as 64 bits can say.
    if (timers.earliest() <= time) return 0;
    return std::min(limit, timers.earliest() - time);
}

// Waits at most `limit` ns for something to become ready.
void Loop::wait(std::int64_t limit) {
    if (!settled_.empty()) [[unlikely]]
        return ready.push(settled_.pop());
    if ((before_wait || after_wait) && time_to_wait(limit) > 0) return wait_with_hooks(limit);
    wait_now(limit);
}

// The hook comes first: what it makes ready, schedules or stops counts for this wait. Each call of
// before_wait that returns is followed by one of after_wait.
void Loop::wait_with_hooks(std::int64_t limit) {
    if (before_wait) before_wait();
    std::exception_ptr error;
    try {
        take_posted();
        wait_now(stopping || !ready.empty() ? 0 : limit);
    } catch (...) {
        error = std::current_exception();  // raised below
    }
    if (after_wait) after_wait();
    if (error) std::rethrow_exception(std::move(error));
}

void Loop::wait_now(std::int64_t limit) {
    std::int64_t timeout = time_to_wait(limit);
    if (backend->is_virtual() && timeout > 0) {
        const std::int64_t event = backend->next_event();
        if (event != kNever) timeout = std::min(timeout, std::max<std::int64_t>(event - now(), 0));
        if (external_.load(std::memory_order_relaxed) > 0) {
            timeout = kNever;  // until the thread answers: virtual time stands still for it
        } else if (timeout == kNever) {
            report_deadlock(*this);
        }
    }
    if (timeout > 0 && look_around_.pays()) {
        look();
        if (!ready.empty()) return;
        if (expect_post(timeout)) {
            take_posted();
            queue_due_timers(now());
            return;
        }
    }
    poll(timeout == kNever ? Backend::kForever : timeout);
}

void Loop::poll(std::int64_t timeout) {
    rounds_ += iterations_;
    iterations_ = 0;
    look_at_ = 1;
    backend->forget_calls();
    if (timeout == 0) {
        if (backend->watches()) backend->wait(0, ready);
    } else {
        asleep_.store(true);
        if (inbox.load() == nullptr) {
            probe_wait(this, timeout);
            step_watches_.empty() ? sleep(timeout) : sleep_watched(timeout);
            probe_woke(this);
        } else if (backend->watches()) {
            backend->wait(0, ready);
        }
        asleep_.store(false);
    }
    take_posted();
    const std::int64_t time = now();
    bulk_reads.next_round(timeout == 0 ? time - polled_at_ : 0, ready);
    polled_at_ = time;
    queue_due_timers(time);
}

// Sleeps in the back end; where other threads post at all, notes how long until the next post.
void Loop::sleep(std::int64_t timeout) {
    if (!posts_) return backend->wait(timeout, ready);
    const std::int64_t before = backend->now();
    backend->wait(timeout, ready);
    if (inbox.load(std::memory_order_relaxed) != nullptr) {
        look_around_.slept(backend->now() - before);
    }
}

void Loop::sleep_watched(std::int64_t timeout) {
    step_watches_.each([](StepWatch& w) { w.wait_begins(); });
    sleep(timeout);
    step_watches_.each([](StepWatch& w) { w.wait_ended(); });
}

// Looks whether another thread's entry comes in a moment.
bool Loop::expect_post(std::int64_t timeout) noexcept {
    if (backend->is_virtual()) return false;
    const std::int64_t look = std::min(timeout, LookAround::kLook);
    return look_around_.look([this] { return inbox.load(std::memory_order_relaxed) != nullptr; },
                             [this] { return backend->now(); }, backend->now() + look);
}

void Loop::queue_due_timers(std::int64_t now) {
    if (timers.empty()) return;
    if (!step_watches_.empty() && timers.earliest() <= now) [[unlikely]] {
        const std::int64_t late = now - timers.earliest();
        step_watches_.each([late](StepWatch& w) { w.timer_is_due(late); });
    }
    while (timers.earliest() <= now) {
        push_ready(timers.pop().owner);
        if (timers.empty()) return;
    }
    if (timers.earliest() <= saturating_add(now, kSoon)) look_at_ = 0;
}

void LoopCore::drain_inbox() noexcept { static_cast<Loop*>(this)->take_inbox(); }

void Loop::take_inbox() noexcept {
    // Closed: this process is a child, and the step that runs is the parent's.
    if (inbox.load(std::memory_order_relaxed) == kInboxClosed) return;
    Node* stack = inbox.exchange(nullptr, std::memory_order_acquire);
    Node* in_order = nullptr;
    posts_ = true;
    while (stack) {
        Node* next = stack->next_;
        stack->next_ = in_order;
        in_order = stack;
        stack = next;
    }
    while (in_order) {
        Node* next = in_order->next_;
        push_ready(in_order);
        in_order = next;
    }
}

bool Loop::push_inbox(Node& node) noexcept {
    Node* head = inbox.load(std::memory_order_relaxed);
    do {
        if (head == kInboxClosed) return false;
        node.next_ = head;
    } while (!inbox.compare_exchange_weak(head, &node));
    return true;
}

bool Loop::push_from_thread(Node& node) noexcept {
    if (!push_inbox(node)) return false;
    if (asleep_.load() && asleep_.exchange(false)) {
        const std::lock_guard lock(wake_mutex_);
        if (backend) backend->wake();
    }
    return true;
}

void Loop::push_from_signal(Node& node) noexcept {
    // No lock: the thread that holds it may be the one that the handler interrupts.
    if (push_inbox(node) && asleep_.load() && asleep_.exchange(false)) backend->wake();
}

void Loop::run_batch() {
    check_interrupt();
    if (chooser_) [[unlikely]]
        return run_chosen();
    if (pick_next) [[unlikely]] {
        run_picked();
        return;
    }
    batch_ = ready.empty() ? nullptr : ready.take_chain();
    while (Node* n = batch_) {
        check_interrupt();
        batch_ = n->next_;
        if (batch_) prefetch<0, 192>(batch_);
        run_node(*n);
    }
}

void Loop::run_node(Node& node) {
    ready.leaves(&node);
    ++steps_;
    probe_step(this, &node);
    if (watched_) [[unlikely]] {
        run_watched_node(node);
    } else {
        node.run();
    }
    take_posted();
}

void Loop::run_watched_node(Node& node) {
    step_watches_.each([&node](StepWatch& w) { w.step_begins(node); });
    // However it ends: KeyboardInterrupt leaves the loop.
    struct Ended {
        StepWatches& watches;
        ~Ended() {
            watches.each([](StepWatch& w) { w.step_ended(); });
        }
    } const ended{step_watches_};
    if (debug) return run_watched(*this, node);
    node.run();
}

void Loop::begin_watch(StepWatch& watch, bool of_tasks) noexcept {
    step_watches_.add(watch);
    if (of_tasks) ++told_of_tasks_;
    update_tells();
    if (backend) update_mode();
}

void Loop::end_watch(StepWatch& watch, bool of_tasks) noexcept {
    step_watches_.remove(watch);
    if (of_tasks) --told_of_tasks_;
    update_tells();
    if (backend) update_mode();
}

// Whether it is to be looked at who wants steps counted.
inline bool Loop::counting_asked() const noexcept {
    return watch_until.load(std::memory_order_relaxed) != 0 || step_counter_ != nullptr;
}

// Begins to count the steps, or stops, as tools and the program itself ask for it.
void Loop::see_lease() noexcept {
    std::int64_t until = watch_until.load(std::memory_order_relaxed);
    const std::int64_t time = monotonic_ns();
    const auto is_ahead = [time](std::int64_t lease) {
        return lease > time && lease - time <= kLongestLease;
    };
    const bool wanted = counting_wanted.load() > 0 || is_ahead(until);
    // Over, so that the next iterations need not look at the clock. What a tool, or this program,
    // has just written stays.
    if (!wanted && until != 0) watch_until.compare_exchange_strong(until, 0);
    const bool traced = wanted && is_ahead(trace_until.load(std::memory_order_relaxed));
    if (traced != (step_ring_ != nullptr)) {
        if (step_ring_) end_watch(*step_ring_, false);
        step_ring_ = traced ? make_step_ring() : nullptr;
        if (step_ring_) begin_watch(*step_ring_, false);
    }
    if (wanted == (step_counter_ != nullptr)) {
        if (step_counter_) step_counter_->look();
        return;
    }
    if (step_counter_) end_watch(*step_counter_, false);
    step_counter_ = wanted ? make_step_counts() : nullptr;
    if (step_counter_) begin_watch(*step_counter_, false);
}

// One entry of all that are ready. What it makes ready is among those of the next iteration.
void Loop::run_chosen() {
    if (ready.empty()) return;
    NodeQueue bag = ready.take();
    batch_ = bag.front();  // where an exception of the chooser finds it
    bag_.clear();
    for (Node* n = batch_; n; n = n->next_) bag_.push_back(n);
    component::Chooser& chooser = *chooser_;
    const std::size_t choice = chooser.choose(bag_);
    assert(choice < bag_.size());
    Node* const n = bag.remove_after(choice == 0 ? nullptr : bag_[choice - 1]);
    batch_ = nullptr;
    ready.put_back(bag);
    run_node(*n);
    if (chooser_ == &chooser) chooser.ran();
}

void Loop::run_picked() {
    NodeQueue batch = ready.take();
    std::size_t count = 0;
    for (Node* e = batch.front(); e; e = e->next_) ++count;
    batch_ = batch.front();  // where an exception of the hook finds it
    for (; count > 0; --count) {
        check_interrupt();
        // A hook that was taken off meanwhile: the rest goes in order.
        const std::size_t choice = pick_next ? pick_next(count) % count : 0;
        Node* before = nullptr;
        for (std::size_t i = 0; i < choice; ++i) before = before ? before->next_ : batch.front();
        Node* n = batch.remove_after(before);
        batch_ = batch.front();
        run_node(*n);
    }
    batch_ = nullptr;
}

void LoopMember::join(Loop& loop) noexcept {
    loop_ = &loop;
    previous_ = nullptr;
    following_ = loop.first_member;
    if (following_) following_->previous_ = this;
    loop.first_member = this;
}

void LoopMember::leave() noexcept {
    if (!loop_) return;
    (previous_ ? previous_->following_ : loop_->first_member) = following_;
    if (following_) following_->previous_ = previous_;
    loop_ = nullptr;
}

void Loop::close() {
    if (is_running()) throw RuntimeError("Cannot close a running event loop");
    if (closed.exchange(true)) return;
    const Stays stays(*this);  // whatever is called meanwhile
    own(false);
    services.close(ServiceRank::kThreads);
    services.close(ServiceRank::kSignals);
    Node* left = inbox.exchange(kInboxClosed);
    while (left) {
        Node* next = left->next_;
        left->drop();
        left = next;
    }
    drop_queued();
    watched.clear();
    destroy_tasks(*this);
    services.close(ServiceRank::kTasks);
    drop_queued();
    backend->close_channels();
    while (LoopMember* member = first_member) {
        member->leave();
        member->loop_closed();
    }
    drop_queued();
    services.close(ServiceRank::kComponents);
    services.close(ServiceRank::kSystem);
    {
        const std::lock_guard lock(wake_mutex_);
        stopped_clock_ = backend->now();
        backend.reset();
    }
    services.clear();
    unlist_loop(*this);
    release_free_blocks();
}

void Loop::check_no_channel(int fd) const {
    const IoChannel* const channel = backend->channel_of(fd);
    if (!channel || !channel->in_use()) return;
    throw RuntimeError("File descriptor " + std::to_string(fd) + " is used by " +
                       channel->describe());
}

void Loop::open_channel(IoChannel& channel, int fd, ChannelKind kind) {
    check_open();
    check_no_channel(fd);
    if (!watched.empty() && watched.contains(fd)) {
        unwatch(fd, false);
        unwatch(fd, true);
    }
    backend->open(channel, fd, kind);
    look_again();
}

void Loop::watch_nodes(int fd, Node* on_read, Node* on_write) {
    backend->watch(fd, on_read, on_write);
    look_again();
}

void Loop::watch(int fd, bool write, Ref<HandleState> handle) {
    check_open();
    check_no_channel(fd);
    const auto place = watched.try_emplace(fd).first;
    HandleState* reader = place->second.reader.get();
    HandleState* writer = place->second.writer.get();
    (write ? writer : reader) = handle.get();
    tell_watched(place, reader, writer);
    handle->set_repeated();
    Watched& w = place->second;
    std::swap(write ? w.writer : w.reader, handle);  // `handle` is now the one before
    if (handle) handle->cancel();
}

bool Loop::unwatch(int fd, bool write) {
    if (closed) return false;
    check_no_channel(fd);
    const auto place = watched.find(fd);
    if (place == watched.end()) return false;
    Watched& w = place->second;
    if (!(write ? w.writer : w.reader)) return false;
    tell_watched(place, write ? w.reader.get() : nullptr, write ? nullptr : w.writer.get());
    const Ref<HandleState> handle = std::move(write ? w.writer : w.reader);
    if (!w.reader && !w.writer) watched.erase(place);
    handle->cancel();
    return true;
}

// Where the back end fails it has forgotten the descriptor: nothing of it is called any more.
void Loop::tell_watched(WatchedPlace place, HandleState* reader, HandleState* writer) {
    try {
        watch_nodes(place->first, reader, writer);
    } catch (...) {
        // Raised again, once nobody is left who waits for it.
        const Watched lost = std::move(place->second);
        watched.erase(place);
        if (lost.reader) lost.reader->cancel();
        if (lost.writer) lost.writer->cancel();
        throw;
    }
}

void Loop::drop_queued() noexcept {
    while (!timers.empty()) {
        TimerEntry& e = timers.pop();
        e.index = TimerEntry::kNotQueued;
        e.owner->drop();
    }
    while (!ready.empty()) ready.pop()->drop();
    while (!settled_.empty()) settled_.pop()->drop();
    while (!bulk_reads.empty()) bulk_reads.waiting().pop()->drop();
}

// ---- what templates and awaiters call ----------------------------------------------------------

void add_timer(LoopCore& core, TimerEntry& entry) { static_cast<Loop&>(core).add_timer(entry); }

void remove_timer(LoopCore& core, TimerEntry& entry) noexcept {
    if (entry.queued()) static_cast<Loop&>(core).timers.remove(entry);
}

std::int64_t loop_now(LoopCore& core) noexcept { return static_cast<Loop&>(core).now(); }

bool push_threadsafe(LoopCore& core, Node* node) noexcept {
    core.attach();  // once pushed the entry may be run, and the loop be closed and gone
    const bool pushed = static_cast<Loop&>(core).push_from_thread(*node);
    core.detach();
    return pushed;
}

void throw_no_running_loop() { throw RuntimeError("no running event loop"); }

LoopCore& current_core() {
    if (LoopCore* const core = running_loop()) return *core;
    return get_event_loop().core();
}

void check_open(const LoopCore& core) { static_cast<const Loop&>(core).check_open(); }

void check_usable(const LoopCore& core) {
    static_cast<const Loop&>(core).check_open();
    static_cast<const Loop&>(core).check_thread();
}

std::atomic<bool> debug_seen{false};

void check_thread(const LoopCore& core) { static_cast<const Loop&>(core).check_thread(); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

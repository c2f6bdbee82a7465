// The part of a loop that templates and awaiters touch: the ready queue and its nodes.
//
// An entry of the ready queue is a `Node`: a task, a callback, a timer's owner. The link is inside
// the object, so that a wake-up allocates nothing and cannot fail, and so that all callbacks of a
// future move to the queue at once. A node is in one list at a time: a task either waits (in the
// list of the future it awaits) or is ready.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include "asyncio/detail/thread_state.hpp"

namespace asyncio {
inline namespace v1 {

class EventLoop;

namespace detail {

class Awaiters;
class DebugHooks;
// Knows where members lie (detail/debug_block.hpp); each room of src/ has one of its own.
template <class Room>
struct DebugLayout;
class FutureBase;
class GatherBase;

// An entry of the ready queue, embedded in what it runs.
class Node {
  public:
    // The loop reached this entry: run it. An exception leaves the loop (S-60): only
    // KeyboardInterrupt and SystemExit may come out.
    virtual void run() = 0;
    // The entry leaves the queue unrun, since its loop closes.
    virtual void drop() noexcept = 0;
    // It was in the list of `future`, which is done, and goes to the ready queue: take a reference
    // if it needs the future later.
    virtual void scheduled(FutureBase& /*future*/) noexcept {}
    // A back end wants to queue it, since a watched descriptor is ready: it must live until it has
    // run. False: it is queued already (an exception may leave the loop before it has run).
    virtual bool queued() noexcept { return true; }
    // What a future's repr says of it, as a done callback.
    virtual const char* label() const noexcept { return "callback"; }
    // As a callback of a future: adds the tasks that it will wake, or what it stands for (IN-01).
    virtual void awaiters(Awaiters& /*found*/) {}
    // Identity of a user's done callback; 0 for the library's own nodes.
    virtual std::uint64_t key() const noexcept { return 0; }
    // Where it notes the node before it in a future's list, so that it leaves at once however long
    // that is; null: it must be looked for.
    virtual Node** link_back() noexcept { return nullptr; }

    // The next one of the list that it is in, for that list alone.
    Node* next_ = nullptr;

  protected:
    Node() = default;
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    ~Node() = default;
};

// A done callback: leaves the list of its future at once.
template <class Base>
class Linked : public Base {
  public:
    Node** link_back() noexcept override { return &previous_; }

  protected:
    Linked() = default;
    ~Linked() = default;

  private:
    Node* previous_ = nullptr;
};
using DoneNode = Linked<Node>;

// How a done callback leads to the tasks that the end of its future will wake.
enum class Serves : std::uint8_t {
    kNobody,
    kFuture,    // a FutureBase, which waits
    kFutureAt,  // a pointer to one; null: nobody
    kThoseOf,   // a FutureBase: those who wait for it
    kWaiter,    // a SoleWaiter: its task
    kLine,      // a WaitingLine: the tasks of those in it that are not done
};
// Adds those that `how` and `at` lead to.
ASYNCIO_API void add_served(Awaiters& found, Serves how, const void* at);

// A done callback that stands for others who wait. It says so in data and not in code, so that a
// tool can follow it from outside of the process, too (IN-01, IN-05).
template <class Base>
class Serving : public Linked<Base> {
  public:
    void awaiters(Awaiters& found) final { add_served(found, how_, at_); }

  protected:
    Serving() = default;
    Serving(Serves how, const void* at) noexcept : at_(at), how_(how) {}
    ~Serving() = default;

    void serve(Serves how, const void* at) noexcept {
        at_ = at;
        how_ = how;
    }

  private:
    template <class>
    friend struct DebugLayout;

    const void* at_ = nullptr;  // what `how_` says
    Serves how_ = Serves::kNobody;
};

// What a task can wait for, seen from a cancel.
class Waitable : public Node {
  public:
    // Asks what is waited for to end with CancelledError. `error` carries the message; null: none.
    // Returns false if it has ended already (T-03).
    virtual bool cancel_wait(const std::exception_ptr& error) = 0;
    // The task behind it, for walking a chain of awaits without recursion; null if none.
    virtual TaskBase* as_task() noexcept { return nullptr; }
    // The future behind it; null if it is something else.
    virtual FutureBase* as_future() noexcept { return nullptr; }
    // The same for a gather.
    virtual GatherBase* as_gather() noexcept { return nullptr; }

  protected:
    ~Waitable() = default;
};

// FIFO of nodes, linked through themselves.
class NodeQueue {
  public:
    bool empty() const noexcept { return head_ == nullptr; }
    Node* front() const noexcept { return head_; }

    void push(Node* n) noexcept {
        n->next_ = nullptr;
        if (tail_) {
            tail_->next_ = n;
        } else {
            head_ = n;
        }
        tail_ = n;
    }

    Node* pop() noexcept {
        Node* n = head_;
        head_ = n->next_;
        if (!head_) tail_ = nullptr;
        return n;
    }

    // Appends a ring of nodes given by its last one (a future's callbacks), in order.
    void push_ring(Node* last) noexcept {
        Node* first = last->next_;
        last->next_ = nullptr;
        if (tail_) {
            tail_->next_ = first;
        } else {
            head_ = first;
        }
        tail_ = last;
    }

    // Puts all of `other` in front of this.
    void prepend(NodeQueue& other) noexcept {
        if (other.empty()) return;
        other.tail_->next_ = head_;
        if (!tail_) tail_ = other.tail_;
        head_ = other.head_;
        other.head_ = other.tail_ = nullptr;
    }

    // Moves everything out, as a chain that ends with null. Must not be empty.
    Node* take_chain() noexcept {
        Node* first = head_;
        head_ = tail_ = nullptr;
        return first;
    }
    static NodeQueue from_chain(Node* first) noexcept {
        NodeQueue q;
        q.head_ = q.tail_ = first;
        while (q.tail_ && q.tail_->next_) q.tail_ = q.tail_->next_;
        return q;
    }
    // Moves everything out.
    NodeQueue take() noexcept {
        NodeQueue q = *this;
        head_ = tail_ = nullptr;
        return q;
    }

    // Removes the node after `before` (null: the first). Used by the pick-next hook only.
    Node* remove_after(Node* before) noexcept {
        if (!before) return pop();
        Node* n = before->next_;
        before->next_ = n->next_;
        if (tail_ == n) tail_ = before;
        return n;
    }

    // Removes a node, wherever it is. Returns false if it is not here.
    bool remove(Node* node) noexcept {
        Node* before = nullptr;
        for (Node* n = head_; n; before = n, n = n->next_) {
            if (n != node) continue;
            remove_after(before);
            return true;
        }
        return false;
    }

  private:
    Node* head_ = nullptr;
    Node* tail_ = nullptr;
};

class ReadyNodes;

// A loop's ready queue. Where ASYNCIO_READY_ONCE is defined (debug builds of this project, never an
// installed header) it ends the program if a node enters that has neither run nor been dropped
// since it entered before. The layout is the same everywhere; the functions that look have names of
// their own for the linker, so that code with and without them may meet in one program.
#ifdef ASYNCIO_READY_ONCE
class [[gnu::abi_tag("once")]] ReadyQueue : public NodeQueue {
#else
class ReadyQueue : public NodeQueue {
#endif
  public:
    // Appends an entry that is in no list.
    void push(Node* n) noexcept {
        note(n);
        NodeQueue::push(n);
    }
    // Appends a ring of them, given by its last one, in order.
    void push_ring(Node* last) noexcept {
#ifdef ASYNCIO_READY_ONCE
        for (Node* n = last->next_; n != last; n = n->next_) note(n);
        note(last);
#endif
        NodeQueue::push_ring(last);
    }
    // Puts all of `other` in front of this.
    void prepend(NodeQueue& other) noexcept {
#ifdef ASYNCIO_READY_ONCE
        for (Node* n = other.front(); n; n = n->next_) note(n);
#endif
        NodeQueue::prepend(other);
    }
    // What was taken out and did not run goes back to the front.
    void put_back(NodeQueue nodes) noexcept { NodeQueue::prepend(nodes); }
    // Takes the first one out, to be dropped.
    Node* pop() noexcept {
        Node* const n = NodeQueue::pop();
        leaves(n);
        return n;
    }
    // Takes `node` out, wherever it stands. False if it is not there.
    bool remove(Node* node) noexcept {
        if (!NodeQueue::remove(node)) return false;
        leaves(node);
        return true;
    }

    // `node` enters in another way than by the functions above.
    void note([[maybe_unused]] Node* node) noexcept {
#ifdef ASYNCIO_READY_ONCE
        if (nodes_) note_in(*nodes_, *node);
#endif
    }
    // `node`, which was taken out with the others, is about to run.
    void leaves([[maybe_unused]] Node* node) noexcept {
#ifdef ASYNCIO_READY_ONCE
        if (nodes_) leaves_from(*nodes_, *node);
#endif
    }
#ifdef ASYNCIO_READY_ONCE
    // Looks from now on. `nodes` stays as long as this.
    void look_with(ReadyNodes& nodes) noexcept { nodes_ = &nodes; }
#endif

  private:
#ifdef ASYNCIO_READY_ONCE
    ASYNCIO_API static void note_in(ReadyNodes& nodes, Node& node) noexcept;
    ASYNCIO_API static void leaves_from(ReadyNodes& nodes, Node& node) noexcept;
#endif

    [[maybe_unused]] ReadyNodes* nodes_ = nullptr;  // null: nobody looks
};

// A timer: embedded in what it wakes. Sorted by (when, sequence): equal deadlines are FIFO (S-07).
struct TimerEntry {
    static constexpr std::uint32_t kNotQueued = 0xffffffff;
    static constexpr std::uint32_t kDue = 0xfffffffe;  // its owner is in the ready queue
    Node* owner = nullptr;                             // pushed to the ready queue when due
    std::int64_t when = 0;                             // loop time, ns
    std::uint64_t sequence = 0;                        // set when it is queued
    std::uint32_t index = kNotQueued;                  // place in the heap

    bool queued() const noexcept { return index < kDue; }
    bool due() const noexcept { return index == kDue; }
};

struct LoopCore {
    ReadyQueue ready;
    std::atomic<bool> closed{false};
    bool debug = false;
    bool tells_of_tasks = false;     // a factory, or who watches steps, is told of each new task
    EventLoop* loop = nullptr;       // the public object; null once it is destroyed
    DebugHooks* hooks = nullptr;     // debug mode's; the core checks it and never looks inside
    TaskBase* first_task = nullptr;  // not-done tasks, in the order they were made
    TaskBase* last_task = nullptr;
    std::uint64_t tasks_made = 0;
    ThreadState* thread = nullptr;  // of the thread that runs it, or ran it last

    // Futures and handles refer to the core after the loop is gone, on any thread. Those made and
    // freed while the loop runs, on its thread, are counted plainly, all others by the atomic.
    // While the public object lives the atomic is far from 0; then orphan() adds up both, and the
    // core goes with the one that brings the sum to 0.
    std::int64_t live = 0;

    // What other threads write is kept off the cache lines that the loop's own thread lives on.
    char apart[64];
    static constexpr std::int64_t kAlive = std::int64_t{1} << 62;
    std::atomic<std::int64_t> foreign{kAlive};
    // &thread_state of the thread that runs it or, while none does, has run, made or closed it.
    std::atomic<const void*> owner_thread{nullptr};
    // Entries of other threads, which the loop moves to the ready queue: a stack, the last one
    // first. Not null for good once the loop is closed.
    std::atomic<Node*> inbox{nullptr};

    // In a step or a callback of this loop. Unlike the owner of a loop that does not run, which a
    // new run on another thread changes, this cannot change while the caller looks.
    bool runs_here() const noexcept { return thread_state.loop == this; }
    bool on_owner_thread() const noexcept {
        return owner_thread.load(std::memory_order_relaxed) == &thread_state;
    }

    // By what the loop's own step makes.
    void attach_here() noexcept { ++live; }
    void attach() noexcept {
        if (runs_here()) {
            attach_here();
        } else {
            foreign.fetch_add(1, std::memory_order_relaxed);
        }
    }
    void detach() noexcept {
        if (runs_here()) {
            --live;
        } else {
            detach_foreign(1);
        }
    }
    // The public object is gone.
    void orphan() noexcept { detach_foreign(kAlive - live); }

    void push_ready(Node* n) noexcept { ready.push(n); }
    // On the loop's thread: what other threads have pushed comes before what is pushed next
    // (SC-02).
    void take_posted() noexcept {
        if (inbox.load(std::memory_order_relaxed) != nullptr) [[unlikely]]
            drain_inbox();
    }
    ASYNCIO_API void drain_inbox() noexcept;

    ASYNCIO_API void detach_foreign(std::int64_t count) noexcept;

  protected:
    LoopCore() = default;
    ~LoopCore() = default;
};

// The loop that runs on this thread; null outside of one. A child that was forked inside a loop has
// none: the parent's, which its thread state still names, counts as closed (PX-04).
inline LoopCore* running_loop() noexcept {
    LoopCore* const core = thread_state.loop;
    return core && !core->closed.load(std::memory_order_relaxed) ? core : nullptr;
}

// Raises: RuntimeError "Event loop is closed".
ASYNCIO_API void check_open(const LoopCore& core);
// The same; in debug mode also RuntimeError if the loop runs on another thread (DM-02).
ASYNCIO_API void check_usable(const LoopCore& core);
// In debug mode (DM-02). Raises: RuntimeError if the loop runs on another thread.
ASYNCIO_API void check_thread(const LoopCore& core);
// The same for what has no loop at hand in a hot path.
inline void check_thread_if_debug(const LoopCore& core) {
    if (core.debug) [[unlikely]]
        check_thread(core);
}
// Set once a loop of the process is in debug mode.
extern ASYNCIO_API std::atomic<bool> debug_seen;

// Timers of a core. Deadlines in ns of the loop's clock.
ASYNCIO_API void add_timer(LoopCore& core, TimerEntry& entry);
ASYNCIO_API void remove_timer(LoopCore& core, TimerEntry& entry) noexcept;
// The loop's clock, ns.
ASYNCIO_API std::int64_t loop_now(LoopCore& core) noexcept;
// Appends to the ready queue from any thread and wakes the loop. Returns false if it is closed. The
// core must be alive when this is called; the entry may be run, and what it kept alive be gone,
// when it returns.
ASYNCIO_API bool push_threadsafe(LoopCore& core, Node* node) noexcept;
[[noreturn]] ASYNCIO_API void throw_no_running_loop();
// The core of the loop that runs on this thread.
// Raises: RuntimeError "no running event loop".
inline LoopCore& running_core() {
    LoopCore* const core = running_loop();
    if (!core) throw_no_running_loop();
    return *core;
}
// The core of the running loop or of the thread's current one (get_event_loop).
ASYNCIO_API LoopCore& current_core();

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

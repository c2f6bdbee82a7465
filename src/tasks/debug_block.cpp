// The block, and the note that leads to it.
//
// The note stands in the object file that defines the block, and of_loop.cpp, which each program
// with a loop has, refers to it: so it is in every program, however that is linked. Linkers keep
// notes when they drop what nobody uses (--gc-sections), and the note holds the block. The block is
// hidden, as the distance to a symbol that another library may replace is not a constant.
#include "tasks/debug_block.hpp"

#include <source_location>
#include <stdexcept>

#include "asyncio/detail/promise.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/version.hpp"
#include "base/slabs.hpp"
#include "loop/loop.hpp"
#include "tasks/step_counts.hpp"
#include "tasks/step_ring.hpp"

#define AT ASYNCIO_DEBUG_OFFSET

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

// A name that is too long does not compile.
consteval DebugWait named(const char* name, DebugEnds ends = kDebugOutside) {
    DebugWait wait{{},         kDebugNone, kDebugNone, kDebugNone, kDebugNone,
                   kDebugNone, kDebugNone, ends,       0};
    for (std::size_t i = 0; name[i]; ++i) wait.name[i] = name[i];
    if (wait.name[sizeof wait.name - 1] != 0) throw std::length_error(name);
    return wait;
}

}  // namespace

struct OfTasks;
template <>
struct DebugLayout<OfTasks> {
    static consteval DebugWait sleep() {
        DebugWait wait = named("sleep");
        wait.when =
            static_cast<std::uint16_t>(offsetof(SleepTimer, timer_) + offsetof(TimerEntry, when));
        return wait;
    }

    static constexpr DebugBlock::Loop loop() {
        DebugBlock::Loop l{};
        l.following = AT(Loop, following_loop);
        l.number = AT(Loop, number);
        l.closed = AT(Loop, closed);
        l.debug = AT(Loop, debug);
        l.running = AT(Loop, running_);
        l.asleep = AT(Loop, asleep_);
        l.first_task = AT(Loop, first_task);
        l.ready = AT(Loop, ready);  // its first node
        l.batch = AT(Loop, batch_);
        l.inbox = AT(Loop, inbox);
        l.timers = AT(Loop, timers);  // of {when, entry}: begin, end
        l.timer_size = sizeof(TimerHeap::Item);
        l.owner = AT(Loop, thread);
        l.steps = AT(Loop, steps_);
        l.rounds = AT(Loop, rounds_);
        l.iterations = AT(Loop, iterations_);
        l.clock = AT(Loop, clock_);
        l.backend_name = AT(Loop, backend_name);
        static_assert(offsetof(TimerHeap, heap_) == 0);
        return l;
    }

    static constexpr DebugBlock::Counts counts() {
        using Count = StepCount;
        DebugBlock::Counts c{};
        c.of_loop = AT(Loop, step_counter_);
        c.began_ns = AT(StepCounts, began_ns_);
        c.began = AT(StepCounts, began_);
        c.seen_ns = AT(StepCounts, seen_ns_);
        c.seen = AT(StepCounts, seen_);
        c.step_began = AT(StepCounts, step_began_);
        c.wait_began = AT(StepCounts, wait_began_);
        c.idle = AT(StepCounts, idle_);
        c.steps = AT(StepCounts, steps_);
        c.busy = AT(StepCounts, busy_);
        c.longest = AT(StepCounts, longest_);
        c.late = AT(StepCounts, late_);
        c.late_count = StepCounts::kTimes;
        c.tasks = AT(StepCounts, tasks_);
        c.tasks_count = StepCounts::kTasks;
        c.task_size = sizeof(Count);
        c.task = AT(Count, task);
        c.task_name = AT(Count, name);
        c.task_steps = AT(Count, steps);
        c.task_busy = AT(Count, busy);
        c.task_longest = AT(Count, longest);
        c.task_ended = AT(Count, ended);
        return c;
    }

    static constexpr DebugBlock::Totals totals() {
        DebugBlock::Totals t{};
        t.tasks_made = AT(Loop, tasks_made);
        t.tasks_failed = AT(Loop, tasks_failed);
        t.tasks_cancelled = AT(Loop, tasks_cancelled);
        t.late_ns = AT(StepCounts, late_ns_);
        return t;
    }

    static constexpr DebugBlock::Ring ring() {
        DebugBlock::Ring r{};
        r.of_loop = AT(Loop, step_ring_);
        r.written = AT(StepRing, written_);
        r.notes = AT(StepRing, notes_);
        r.note_size = sizeof(StepNote);
        r.notes_count = StepRing::kNotes;
        r.task = AT(StepNote, task);
        r.name = AT(StepNote, name);
        r.place = AT(StepNote, place);
        r.began = AT(StepNote, began);
        r.ended = AT(StepNote, ended);
        return r;
    }

    static constexpr DebugBlock::Future future() {
        DebugBlock::Future f{};
        f.state = AT(FutureBase, state_);
        f.flags = AT(FutureBase, flags_);
        f.callbacks = AT(FutureBase, callbacks_);
        f.waiting = AT(FutureBase, waiting_);
        f.place = AT(FutureBase, place_);
        f.next = AT(Node, next_);
        f.is_task = FutureBase::kTask;
        f.must_cancel = FutureBase::kMustCancel;
        f.started = FutureBase::kStarted;
        f.done_nodes = FutureBase::kDoneNodes;
        f.pending = static_cast<std::uint8_t>(FutureState::kPending);
        f.finished = static_cast<std::uint8_t>(FutureState::kFinished);
        f.failed = static_cast<std::uint8_t>(FutureState::kFailed);
        f.cancelled = static_cast<std::uint8_t>(FutureState::kCancelled);
        return f;
    }

    static constexpr DebugBlock::Waiter waiter() {
        DebugBlock::Waiter w{};
        w.task = AT(SoleWaiter, task_);
        w.state = AT(SoleWaiter, state_);
        w.kind = AT(SoleWaiter, kind_);
        w.line = AT(Waiter, line_);
        w.pending = static_cast<std::uint16_t>(SoleWaiter::State::kPending);
        w.line_first = static_cast<std::uint16_t>(offsetof(WaitingLine, ends_) +
                                                  offsetof(LineLink, following));
        w.following = AT(LineLink, following);
        w.waiter = AT(Waiter, previous);
        return w;
    }

    static constexpr DebugBlock::Serving serving() {
        using Any = Serving<Node>;
        DebugBlock::Serving s{};
        s.how = AT(Any, how_);
        s.at = AT(Any, at_);
        static_assert(offsetof(Any, at_) == offsetof(Serving<Waitable>, at_));
        s.future = static_cast<std::uint8_t>(Serves::kFuture);
        s.future_at = static_cast<std::uint8_t>(Serves::kFutureAt);
        s.those_of = static_cast<std::uint8_t>(Serves::kThoseOf);
        s.waiter = static_cast<std::uint8_t>(Serves::kWaiter);
        s.line = static_cast<std::uint8_t>(Serves::kLine);
        return s;
    }

    static constexpr DebugBlock::Gather gather() {
        DebugBlock::Gather g{};
        g.items = static_cast<std::uint16_t>(offsetof(GatherBase, children_) +
                                             offsetof(FutureList, items_));
        g.count = static_cast<std::uint16_t>(offsetof(GatherBase, children_) +
                                             offsetof(FutureList, size_));
        g.finished = AT(GatherBase, finished_);
        return g;
    }
};

namespace {

constexpr DebugWait other = named("");
constexpr DebugWait sleeping = DebugLayout<OfTasks>::sleep();
constexpr DebugWait task_group = named("the tasks of a TaskGroup", kDebugTasks);
constexpr DebugWait wait = named("wait");  // of futures, too, which anyone may end
constexpr DebugWait as_completed_wait = named("as_completed");
constexpr DebugWait cancelled_future = named("the end of what it has cancelled", kDebugTasks);
constexpr DebugWait datagram_receive = named("DatagramEndpoint.receive");
constexpr DebugWait datagram_send = named("DatagramEndpoint.send");
constexpr DebugWait connection = named("a connection");
constexpr DebugWait look_up = named("getaddrinfo");
constexpr DebugWait file = named("a file");
constexpr DebugWait signal_wait = named("a signal");
constexpr DebugWait channel = named("Channel");

constexpr std::size_t kKinds = static_cast<std::size_t>(WaitKind::kChannel) + 1;

// By WaitKind.
constexpr const DebugWait* waits[] = {
    &other,
    &sleeping,
    &DebugWaits::lock,
    &DebugWaits::event,
    &DebugWaits::condition,
    &DebugWaits::semaphore,
    &DebugWaits::queue_get,
    &DebugWaits::queue_put,
    &DebugWaits::queue_join,
    &task_group,
    &wait,
    &as_completed_wait,
    &cancelled_future,
    &DebugWaits::stream_read,
    &DebugWaits::stream_drain,
    &DebugWaits::stream_closed,
    &datagram_receive,
    &datagram_send,
    &connection,
    &DebugWaits::descriptor,
    &look_up,
    &file,
    &signal_wait,
    &channel,
};
static_assert(sizeof waits / sizeof waits[0] == kKinds);

constexpr std::uint8_t kPointerThenSize =
#ifdef __GLIBCXX__
    1;
#else
    0;
#endif

constexpr DebugBlock make_block() {
    DebugBlock b{};
    for (std::size_t i = 0; i < sizeof b.magic; ++i) b.magic[i] = kDebugMagic[i];
    b.size = sizeof b;
    b.format = kDebugFormat;
    b.minor = kDebugMinor;
    b.library = ASYNCIO_VERSION_MAJOR << 16 | ASYNCIO_VERSION_MINOR << 8 | ASYNCIO_VERSION_PATCH;
    b.pointer = sizeof(void*);
    b.long_name = kPointerThenSize;
    b.waits_count = kKinds;
    b.waits_size = sizeof(DebugWait);
    b.waits = waits;
    b.loops = &loop_list;
    b.loop = DebugLayout<OfTasks>::loop();
    b.thread = {AT(ThreadState, loop), AT(ThreadState, task), AT(ThreadState, id)};
    b.future = DebugLayout<OfTasks>::future();
    b.task = {AT(TaskBase, leaf_),
              AT(TaskBase, name_),
              AT(TaskBase, following_),
              AT(TaskBase, previous_),
              AT(TaskBase, cancel_requests_),
              AT(TaskExtra, name)};
    b.frame = {AT(PromiseBase, link), AT(PromiseBase, place), PromiseBase::kHead,
               PromiseBase::kBits,    PromiseBase::kNested,   PromiseBase::kRoot,
               PromiseBase::kOutcome, PromiseBase::kGenerator};
    // As both compilers' libraries lay out what a source_location points to; a test compares.
    b.place = {0, sizeof(void*), 2 * sizeof(void*), 2 * sizeof(void*) + sizeof(unsigned)};
    b.waiter = DebugLayout<OfTasks>::waiter();
    b.serving = DebugLayout<OfTasks>::serving();
    b.gather = DebugLayout<OfTasks>::gather();
    const auto put = [](char* to, const char* name) {
        while (*name) *to++ = *name++;
    };
    put(b.task_type, "N7asyncio2v16detail8TaskBaseE");
    put(b.future_type, "N7asyncio2v16detail10FutureBaseE");
    put(b.waiter_type, "N7asyncio2v16detail10SoleWaiterE");
    put(b.lined_type, "N7asyncio2v16detail6WaiterE");
    put(b.serving_type, "N7asyncio2v16detail7ServingI");  // of whatever
    put(b.gather_type, "N7asyncio2v16detail10GatherBaseE");
    b.watch_until = &watch_until;
    b.counts = DebugLayout<OfTasks>::counts();
    b.pool = {Slab::kMark,          kSlabSize,    AT(Slab, mark),
              AT(Slab, block_size), sizeof(Slab), AT(ThreadState, free),
              kBlockClasses};
    b.totals = DebugLayout<OfTasks>::totals();
    b.trace_until = &trace_until;
    b.ring = DebugLayout<OfTasks>::ring();
    return b;
}

}  // namespace

extern "C" {
extern const DebugBlock asyncio_debug_block __attribute__((visibility("hidden")));
constinit const DebugBlock asyncio_debug_block = make_block();
}

// NOLINTNEXTLINE(hicpp-no-assembler): there is no other way to make a note.
asm(".pushsection .note.asyncio,\"a\",@note\n"
    ".balign 4\n"
    ".long 8, 8, 1\n"
    ".asciz \"asyncio\"\n"
    "0: .quad asyncio_debug_block - 0b\n"
    ".popsection\n");

// gdb runs this as it loads the program, where `set auto-load safe-path` allows it: it gets the
// commands from where the packages, or `cmake --install`, have put them, or from beside the
// program. Not in memory, and gone when the program is stripped. Kind 4 is a text of Python:
// https://sourceware.org/gdb/current/onlinedocs/gdb.html/dotdebug_005fgdb_005fscripts-section.html
// NOLINTNEXTLINE(hicpp-no-assembler): there is no other way to make such a section.
asm(".pushsection .debug_gdb_scripts,\"MS\",@progbits,1\n"
    ".byte 4\n"
    ".ascii \"asyncio_gdb.py\\n\"\n"
    ".ascii \"import gdb, os\\n\"\n"
    ".ascii \"def load_asyncio():\\n\"\n"
    ".ascii \"    program = os.path.dirname(gdb.current_objfile().filename)\\n\"\n"
    ".ascii \"    for share in (program + '/../share', '/usr/local/share', '/usr/share'):\\n\"\n"
    ".ascii \"        script = share + '/libasyncio/asyncio_gdb.py'\\n\"\n"
    ".ascii \"        if os.path.exists(script):\\n\"\n"
    ".ascii \"            return gdb.execute('source ' + script)\\n\"\n"
    ".ascii \"load_asyncio()\\n\"\n"
    ".byte 0\n"
    ".popsection\n");

const DebugWait& debug_wait(WaitKind kind) noexcept {
    return *waits[static_cast<std::size_t>(kind)];
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

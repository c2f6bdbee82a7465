// How the loops and tasks of a process lie in its memory, as a table of offsets that is in every
// program: a tool outside of the process (`asyncio ps`), a debugger or a reader of a core file
// needs nothing else, and works on a stripped program (IN-05, IN-06).
//
// An ELF note leads to it: owner "asyncio", type 1; its content is one 64-bit distance from that
// content to the block, so that it needs no symbol and no relocation. The tool uses the offsets of
// the block and never its own. `format` changes where the meaning of something does, and then a
// tool refuses; what is added comes at the end of a struct, and `minor` grows.
#pragma once

#include <cstdint>

namespace asyncio {
inline namespace v1 {
namespace detail {

inline constexpr char kDebugMagic[16] = "asyncio.debug\n\x1a";
inline constexpr std::uint16_t kDebugFormat = 1;
inline constexpr std::uint16_t kDebugMinor = 2;

inline constexpr std::uint16_t kDebugNone = 0xffff;  // an offset: there is none

// What a kind of wait stands on. Offsets in bytes.
struct DebugWait {
    char name[48];                  // "Queue.get"; empty: the kind says nothing
    std::uint16_t object;           // of the waiter's line in its object: Queue, Lock
    std::uint16_t size;             // in the object, 64 bits: how many are in it
    std::uint16_t capacity;         // the same: how many may be; 0: any number
    std::uint16_t flag;             // the same, one byte: locked, set
    std::uint16_t when;             // from the waiter: 64 bits, ns of the loop's clock
    std::uint16_t fd;               // from the waiter: an int
    std::uint16_t ends = 0;         // minor 1: who ends it, one of DebugEnds
    std::uint16_t object_size = 0;  // the same: of the object, bytes
    // Minor 2: where a descriptor is found that `fd` does not reach, if via is not 0.
    std::int16_t via = 0;          // from the waiter: a pointer to an object
    std::uint16_t via_object = 0;  // in that: a pointer to another one
    std::uint16_t via_fd = 0;      // in that: an int; -1: none
};

enum DebugEnds : std::uint16_t {
    kDebugOutside,  // time, a descriptor, another thread
    kDebugObject,   // whoever uses the object
    kDebugTasks,    // the tasks that it awaits
};

struct DebugBlock {
    char magic[16];          // kDebugMagic
    std::uint32_t size;      // of this struct: what is beyond an older one's end is absent
    std::uint16_t format;    // kDebugFormat
    std::uint16_t minor;     // kDebugMinor
    std::uint32_t library;   // 0x00MMmmpp
    std::uint8_t pointer;    // bytes
    std::uint8_t long_name;  // how a std::string lies there. 1: pointer, then size
    std::uint16_t reserved;
    std::uint32_t waits_count;  // kinds of waits, from 0 on
    std::uint32_t waits_size;   // of a DebugWait
    const DebugWait* const* waits;

    // The loops of the process: {first, last, count, made}, 64 bits each.
    const void* loops;

    struct Loop {
        std::uint16_t following, number, closed, debug, running, asleep, first_task, ready, batch,
            inbox, timers, timer_size, owner, steps, rounds, iterations, clock, backend_name;
    };
    Loop loop;
    struct Thread {  // what `owner` of a loop leads to
        std::uint16_t loop, task, id;
    };
    Thread thread;
    struct Future {
        std::uint16_t state, flags, callbacks, waiting, place, next;
        std::uint16_t is_task, must_cancel, started, done_nodes;  // bits of flags
        std::uint8_t pending, finished, failed, cancelled;        // values of state
    };
    Future future;
    struct Task {
        std::uint16_t leaf, name, following, previous, cancels, extra_name;
    };
    Task task;
    struct Frame {
        std::uint16_t link, place, head;
        std::uint16_t bits, nested, root, outcome, generator;  // of link
    };
    Frame frame;
    struct Place {  // what a frame's and a future's place lead to
        std::uint16_t file, function, line, column;
    };
    Place place;
    struct Waiter {
        std::uint16_t task, state, kind, line, pending;  // line: of one that may stand in a line
        std::uint16_t line_first, following, waiter;     // of a line, of a link; link to waiter
    };
    Waiter waiter;
    struct Serving {
        std::uint16_t how, at;
        std::uint8_t future, future_at, those_of, waiter, line, reserved;  // values of how
    };
    Serving serving;
    struct Gather {
        std::uint16_t items, count, finished;
    };
    Gather gather;
    // Mangled names by which a node is known: its type or a base of that; of serving_type, which is
    // a template, how they begin.
    char task_type[48], future_type[48], waiter_type[48], lined_type[48], serving_type[64],
        gather_type[48];

    // Minor 1. Until when tools want steps counted: 64 bits, ns of CLOCK_MONOTONIC, of at most a
    // minute from now; the one thing that a tool writes. What `of_loop` of a loop leads to, while
    // they are, has its times in ticks; two looks at the clock and the ticks tell how long one is.
    void* watch_until;
    struct Counts {
        std::uint16_t of_loop;                         // a pointer; null: nothing is counted
        std::uint16_t began_ns, began, seen_ns, seen;  // 64 bits each
        // The same, of the loop. When the present step, or sleep, began: 0: there is none.
        std::uint16_t step_began, wait_began, steps, busy, longest, idle;
        std::uint16_t late, late_count;               // timers by bits of the ns they came late
        std::uint16_t tasks, tasks_count, task_size;  // a table
        std::uint16_t task, task_name, task_steps, task_busy, task_longest,
            task_ended;  // in a place of it
    };
    Counts counts;
    // The pool of frames and tasks: slabs of slab_size bytes, aligned to that, each of which begins
    // with pool_mark. After head bytes come blocks of block_size bytes (32 bits in the slab's head;
    // 0: none). Free ones are in lists of a thread, linked by their first word: free_count lists,
    // one pointer each.
    struct Pool {
        std::uint64_t mark;
        std::uint32_t slab_size;
        std::uint16_t mark_at, block_size, head, free, free_count;
    };
    Pool pool;

    // Minor 2. Of a loop, 64 bits each: tasks that were made, and of those that are done how many
    // raised and were cancelled. Of its counts: ns that timers were late, in all.
    struct Totals {
        std::uint16_t tasks_made, tasks_failed, tasks_cancelled, late_ns;
    };
    Totals totals;
    // As `watch_until`, which must be ahead too: until when each step is kept. What `of_loop` of a
    // loop then leads to: `written` (64 bits) of the steps and sleeps that ended, of which the last
    // `notes_count` are in `notes`. A sleep's `place` is the ring itself.
    void* trace_until;
    struct Ring {
        std::uint16_t of_loop, written, notes, note_size;
        std::uint32_t notes_count;
        std::uint16_t task, name, place, began, ended;  // in a note, 64 bits each
    };
    Ring ring;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

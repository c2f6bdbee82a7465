// Follows the pointers of one copy of the library.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/debug_block.hpp"
#include "inspect/memory.hpp"
#include "inspect/snapshot.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

using Block = DebugBlock;

class ASYNCIO_API Reader {
  public:
    Reader(Memory& memory, const Block& block, const Reading& reading)
        : memory_(memory), block_(block), reading_(reading) {}

    // Reads all loops, in the order they were made.
    void read_loops(std::vector<Loop>& loops);
    // Whether one is as it was when it was read: it sleeps, or runs nowhere, and has run nothing.
    bool unchanged(const Loop& loop);
    // Appends what has ended since `cursor` was read up to. Nothing while steps are not kept.
    void read_steps(Address loop, StepCursor& cursor, std::vector<Step>& to);

  private:
    // What a node is, as its type and the bases of that tell.
    struct Kind {
        bool task = false, future = false, waiter = false, lined = false, serving = false,
             gather = false;
        std::string name;  // of its class
    };
    template <class T>
    T value(Address object, std::uint16_t offset) {
        return memory_.get<T>(object + offset).value_or(T());
    }
    Address pointer(Address object, std::uint16_t offset) { return value<Address>(object, offset); }

    Loop read_loop(Address loop);
    // How the ticks of a loop's clock are told as ns.
    struct Clock {
        std::int64_t began_ns;
        std::uint64_t began;
        double ns_a_tick;
        std::int64_t ns(std::uint64_t at) const;
    };
    std::optional<Clock> clock_of(Address counts);
    void read_counts(Address at, Loop& loop);
    std::string name_of_step(Address task, std::uint64_t name, StepCursor& cursor);
    void read_totals(Address at, Loop& loop);
    TaskState state_of(Address task, Address running, Address waiting);
    void count_task(Task& task);
    void read_timers(Address at, Loop& loop, std::int64_t now);
    std::int64_t now_of(Address loop);
    void read_ready(Address first);
    Task read_task(Address at, Address running, std::int64_t now);
    std::string name_of_task(Address task);
    void read_stack(Address task, Address leaf, Task& into);
    Place place(Address at);
    void describe_wait(Address waiting, Task& task, std::int64_t now);
    void describe_waiter(Address waiter, const Kind& kind, Task& task, std::int64_t now);
    std::string describe_object(Address waiter, const DebugWait& wait, Task& task);
    bool gathers_tasks(Address gather);
    const std::optional<DebugWait>& wait_of(std::uint8_t kind);
    std::optional<DebugWait> read_wait(std::uint8_t kind);
    bool is_done(Address future);
    const Kind& kind_of(Address node);
    Kind read_kind(Address type);
    Address base_of(Address type);
    void awaiters(Address future, std::vector<Address>& found, int depth);
    void awaiters_of_node(Address node, std::vector<Address>& found, int depth);
    void add(Address waiter, std::vector<Address>& found);

    Memory& memory_;
    const Block& block_;
    const Reading& reading_;
    std::unordered_map<Address, Kind> kinds_;  // by virtual table
    std::unordered_map<std::uint8_t, std::optional<DebugWait>> waits_;
    std::unordered_map<Address, Place> places_;  // by what a source_location points to
    std::unordered_set<Address> ready_;          // nodes that are about to run
    struct Counted {
        std::uint64_t name;
        Counts counts;
    };
    std::unordered_map<Address, Counted> counted_;  // by task
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Where snapshots come from: a process that runs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "inspect/memory.hpp"
#include "inspect/snapshot.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// A range of the process, and what stands behind it.
struct Mapping {
    Address begin = 0;
    Address end = 0;
    std::uint64_t offset = 0;  // in `file`
    std::string file;          // empty: none
    bool writable = false;
};

// The memory of a process, and where it has any.
class ProcessMemory : public Memory {
  public:
    virtual const std::vector<Mapping>& mappings() const = 0;
};

// Of a process that runs. Raises: Failure.
std::unique_ptr<ProcessMemory> live_memory(int pid);

struct TakeOptions {
    bool stop = false;     // at once, without a try on the running loop
    bool no_stop = false;  // never
    int retries = 3;
};

// A loop that is held between two steps, until this is destroyed.
class Hold {
  public:
    Hold() = default;
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    virtual ~Hold() = default;

    // Whether it has not gone on by itself meanwhile.
    virtual bool holds() const = 0;
};
// Null: it could not be held.
using HoldLoop = std::function<std::unique_ptr<Hold>(const Loop&)>;

// A process that runs. A loop that sleeps is read as it is; one that runs is tried a few times, and
// then its thread, and no other, is stopped for as long as it takes to copy what is read.
class Live {
  public:
    // `hold`: in place of stopping threads by ptrace(2), which a process cannot do to its own.
    // Raises: Failure.
    explicit Live(int pid, HoldLoop hold = {});
    Live(const Live&) = delete;
    Live& operator=(const Live&) = delete;
    ~Live();

    // Raises: Failure.
    Snapshot take(const TakeOptions& options);
    // The loops alone, and of their tasks those that run just now: a look that costs little, stops
    // nobody, and may be torn. Raises: Failure.
    Snapshot glance();
    // All loops, and how many of their tasks are in each state: never stops anything. Raises:
    // Failure.
    Snapshot take_states();
    // The same as take(), and which tasks are lost: nothing that can still run leads to what they
    // wait for. By their ids. Raises: Failure.
    Snapshot take_lost(const TakeOptions& options, std::vector<Address>& lost);
    // Lets the process count the steps of its loops, for the next `seconds`, at most a minute, and
    // from then on no more. Raises: Failure.
    void count_for(double seconds);
    // The same, and lets it keep each step. Raises: Failure.
    void trace_for(double seconds);
    // Appends the steps of `loop` that have ended since `cursor`. Raises: Failure.
    void read_steps(const Loop& loop, StepCursor& cursor, std::vector<Step>& to);

  private:
    class Taking;
    std::unique_ptr<Taking> taking_;
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

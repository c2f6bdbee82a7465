// A process reads itself as the tool does from outside: through the table of offsets, by a call of
// the system that says where an address is wrong. So it needs nothing of the loop's thread, which
// may be stuck, and cannot crash on what that changes meanwhile.
#include "inspect/own_tasks.hpp"

#include "inspect/memory.hpp"
#include "inspect/reader.hpp"
#include "os/own_memory.hpp"
#include "os/posix.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

extern "C" const DebugBlock asyncio_debug_block __attribute__((visibility("hidden")));

namespace reading {

namespace {

class OwnMemory final : public Memory {
    std::uint32_t fetch(Address address, char* to) override {
        std::uint32_t pages = 0;
        for (std::size_t i = 0; i < kPages; ++i) {
            // Safe because the kernel looks at this address, and nobody here.
            const auto* const from = reinterpret_cast<const void*>(address + i * kPage);
            if (reader_.read(from, to + i * kPage, kPage) == kPage) pages |= 1u << i;
        }
        return pages;
    }

    OwnMemoryReader reader_;
};

}  // namespace

Snapshot own_snapshot() {
    OwnMemory memory;
    const Reading reading{monotonic_ns()};
    Snapshot snapshot;
    snapshot.library = asyncio_debug_block.library;
    Reader reader(memory, asyncio_debug_block, reading);
    reader.read_loops(snapshot.loops);
    // Those that ran meanwhile may be told wrong; this thread's own stands still.
    memory.forget();
    for (Loop& loop : snapshot.loops) {
        loop.torn = loop.thread != thread_id() && !reader.unchanged(loop);
    }
    return snapshot;
}

namespace {

Snapshot read(const Reading& reading) {
    OwnMemory memory;
    Snapshot snapshot;
    snapshot.library = asyncio_debug_block.library;
    Reader(memory, asyncio_debug_block, reading).read_loops(snapshot.loops);
    return snapshot;
}

}  // namespace

Snapshot own_running() {
    Reading reading{monotonic_ns()};
    reading.only_running = true;
    return read(reading);
}

Snapshot own_states() {
    Reading reading{monotonic_ns()};
    reading.only_states = true;
    return read(reading);
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

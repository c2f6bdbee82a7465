// What a program tells of its own tasks.
//
// It reads itself as the tool does from outside: through the table of offsets, by a call of the
// system that says where an address is wrong. So it needs nothing of the loop's thread, which may
// be stuck, and cannot crash on what that changes meanwhile.
#include <atomic>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>

#include "asyncio/inspect.hpp"
#include "asyncio/log.hpp"
#include "inspect/memory.hpp"
#include "inspect/output.hpp"
#include "inspect/reader.hpp"
#include "loop/loop.hpp"
#include "os/own_memory.hpp"
#include "os/posix.hpp"
#include "os/signal_thread.hpp"
#include "os/signals.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

extern "C" const DebugBlock asyncio_debug_block __attribute__((visibility("hidden")));

namespace {

using namespace reading;

class OwnMemory final : public Memory {
    std::uint32_t fetch(Address address, char* to) override {
        std::uint32_t pages = 0;
        for (std::size_t i = 0; i < kPages; ++i) {
            // Safe because the kernel looks at this address, and nobody here.
            const auto* const from = reinterpret_cast<const void*>(address + i * kPage);
            if (read_own_memory(from, to + i * kPage, kPage) == kPage) pages |= 1u << i;
        }
        return pages;
    }
};

std::string own_tasks() {
    OwnMemory memory;
    const Reading reading{monotonic_ns()};
    Snapshot snapshot;
    snapshot.library = asyncio_debug_block.library;
    Reader reader(memory, asyncio_debug_block, reading);
    reader.read_loops(snapshot.loops);
    // Those that ran meanwhile may be told wrong; this thread's own stands still.
    memory.forget();
    for (reading::Loop& loop : snapshot.loops) {
        loop.torn = loop.thread != thread_id() && !reader.unchanged(loop);
    }
    std::ostringstream out;
    print_tree(out, snapshot, {});
    return out.str();
}

void dump() noexcept {
    std::string_view text = "asyncio: no memory to tell of the tasks\n";
    std::string told;
    try {
        told = own_tasks();
        text = told;
    } catch (const std::exception& e) {
        // There is nobody to raise it to: this is a signal's thread, or a debugger's call.
        try {
            told = std::string("asyncio: ") + e.what() + '\n';
            text = told;
        } catch (const std::bad_alloc&) {
            // What it says without.
        }
    }
    write_to_standard_error(text.data(), text.size());
}

// "USR1", "SIGUSR1" or a number; 0: none of these.
int signal_number(std::string_view name) noexcept {
    if (name.starts_with("SIG")) name.remove_prefix(3);
    static constexpr struct {
        std::string_view name;
        int number;
    } kNames[] = {{"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"HUP", SIGHUP},    {"QUIT", SIGQUIT},
                  {"PWR", SIGPWR},   {"IO", SIGIO},     {"WINCH", SIGWINCH}};
    for (const auto& known : kNames) {
        if (name == known.name) return known.number;
    }
    int number = 0;
    for (const char c : name) {
        if (c < '0' || c > '9' || number > 100) return 0;
        number = number * 10 + (c - '0');
    }
    return is_signal(number) ? number : 0;
}

}  // namespace

void dump_on_signal_if_asked() noexcept {
    const char* const value = environment_if_safe("ASYNCIO_DUMP_SIGNAL");
    if (!value || !*value || std::string_view(value) == "0") return;
    const int signal = signal_number(value);
    const int error = signal ? start_signal_thread(signal, dump) : EINVAL;
    static std::atomic<bool> told{false};  // once is enough, however many loops are made
    if (error == 0 || told.exchange(true)) return;
    try {
        log::write(log::Level::WARNING, std::string("ASYNCIO_DUMP_SIGNAL=") + value + ": " +
                                            (signal == 0      ? "there is no such signal"
                                             : error == EBUSY ? "the program handles it itself"
                                                              : std::strerror(error)));
    } catch (const std::bad_alloc&) {
        // No memory to say so.
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

void asyncio_dump_tasks() noexcept { asyncio::detail::dump(); }

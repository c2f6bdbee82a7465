// What a program tells of its own tasks.
#include <atomic>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>

#include "asyncio/inspect.hpp"
#include "asyncio/log.hpp"
#include "inspect/output.hpp"
#include "inspect/own_tasks.hpp"
#include "loop/loop.hpp"
#include "os/own_memory.hpp"
#include "os/posix.hpp"
#include "os/signal_thread.hpp"
#include "os/signals.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

using namespace reading;

std::string own_tasks() {
    std::ostringstream out;
    print_tree(out, own_snapshot(), {});
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

#include "asyncio/log.hpp"

#include <atomic>
#include <cstdio>
#include <string>

#include "asyncio/detail/destroy.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace log {
namespace {

std::atomic<Sink> current{nullptr};

void to_standard_error(Level level, std::string_view message) {
    if (level < Level::WARNING) return;
    std::string line(message);
    line += '\n';
    // One call, so that lines of several threads do not mix.
    std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

Sink set_sink(Sink sink) noexcept { return current.exchange(sink); }

bool enabled(Level level) noexcept { return current.load() || level >= Level::WARNING; }

void write(Level level, std::string_view message) noexcept {
    const Sink sink = current.load();
    try {
        if (sink) {
            sink(level, message);
        } else {
            to_standard_error(level, message);
        }
    } catch (...) {
        // A report that cannot be made must not end the program that it is about.
    }
}

}  // namespace log
}  // namespace v1
}  // namespace asyncio

namespace asyncio {
inline namespace v1 {
namespace detail {

void log_thrown_by_destructor() noexcept {
    try {
        log::write(log::Level::ERROR,
                   "Exception ignored in a destructor: " + describe(std::current_exception()));
    } catch (...) {
        // No memory for the text, and nobody else to tell.
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Where the library's messages go (Python's logger "asyncio").
#pragma once

#include <string>
#include <string_view>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace log {

// How much a message matters; the numbers are those of Python's logging.
enum class Level {
    DEBUG = 10,     // what happens, for who looks for a fault
    INFO = 20,      // what may be worth knowing
    WARNING = 30,   // something is not as it should be; from here on it is shown by default
    ERROR = 40,     // something has failed, and nobody else is told
    CRITICAL = 50,  // the program cannot go on
};

// What takes messages, on whichever thread writes them.
using Sink = void (*)(Level level, std::string_view message);

// Sends every message to `sink`, from whichever thread; null: back to standard error, from WARNING
// up. Returns the sink before it (null: the default).
ASYNCIO_API Sink set_sink(Sink sink) noexcept;

// The name of the task that runs on this thread, for a sink to add; empty if there is none. IN-07.
ASYNCIO_API std::string task_name();

// Whether a message of `level` would go anywhere: not worth making otherwise.
ASYNCIO_API bool enabled(Level level) noexcept;

// Writes a message. Never throws: what a sink throws is dropped, since there is nobody to tell.
ASYNCIO_API void write(Level level, std::string_view message) noexcept;

}  // namespace log
}  // namespace v1
}  // namespace asyncio

// Where the library's messages go (Python's logger "asyncio").
#pragma once

#include <string>
#include <string_view>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace log {

enum class Level { DEBUG = 10, INFO = 20, WARNING = 30, ERROR = 40, CRITICAL = 50 };

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

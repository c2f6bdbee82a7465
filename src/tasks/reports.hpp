// What is told to the exception handler of a loop, and to the log.
#pragma once

#include <new>

#include "asyncio/events.hpp"
#include "asyncio/log.hpp"
#include "asyncio/tasks/task.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The exception handler of the loop, from any thread; the loop may be closed.
void report_exception(LoopCore& core, const ExceptionContext& context) noexcept;
// As report_exception, of what `fill(context)` notes. Without memory for that the log gets `text`
// alone.
template <class F>
void report_or_log(LoopCore& core, const char* text, F fill) noexcept {
    try {
        ExceptionContext context;
        fill(context);
        report_exception(core, context);
    } catch (const std::bad_alloc&) {
        log::write(log::Level::ERROR, text);
    }
}
// As call_exception_handler() of the loop, which is open, of what `fill(context)` notes. Without
// memory for that the log gets `text` alone. Raises: what the handler raises that is to leave the
// loop.
template <class F>
void tell_handler(LoopCore& core, const char* text, F fill) {
    ExceptionContext context;
    try {
        fill(context);
    } catch (const std::bad_alloc&) {
        log::write(log::Level::ERROR, text);
        return;
    }
    core.loop->call_exception_handler(context);
}
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

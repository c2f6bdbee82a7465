// Through which frames an exception has passed.
//
// Each coroutine's frame that an exception leaves is noted for that exception, in a table whose key
// is the exception object: the object itself has no room. An entry goes with its exception, whose
// destructor it has put its own in front of. So no exception lives longer for its trace, and an
// address that is used again shows no old one.
//
// Noting never fails: what there is no memory for is counted only. docs/decisions/033-tracebacks.md
#pragma once

#include <cstdint>
#include <exception>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// A task's frame of which no other frame of the task is further out: how the task is called.
// A task that was given a name has that, any other one its number.
struct TraceTask {
    std::uint64_t number = 0;
    std::string_view name;
};

// Notes that `error` leaves a frame at `place`; of the outermost one of a task, which.
void note_frame(const std::exception_ptr& error, std::source_location place) noexcept;
void note_frame(const std::exception_ptr& error, std::source_location place,
                TraceTask task) noexcept;

// How many frames are noted for `error`, to be given to cut_trace(). At most kMostCut.
std::uint8_t frames_noted(const std::exception_ptr& error) noexcept;
// Forgets all but the `count` frames noted first, unless that is kMostCut: an exception that
// several tasks have taken from one future went its own way in each.
void cut_trace(const std::exception_ptr& error, std::uint8_t count) noexcept;
inline constexpr std::uint8_t kMostCut = 255;

// `error` is one object for many: nothing is noted for it.
void never_trace(const std::exception_ptr& error) noexcept;

struct NotedFrame {
    std::uint64_t left_out = 0;  // frames between this one and the next, of which nothing is known
    const char* file;
    const char* function;  // as the compiler writes it
    std::uint32_t line;
    bool is_root = false;  // no frame of its task is further out
    std::string task;      // its name then
};
// In the order in which they were noted: innermost first. Raises: std::bad_alloc.
std::vector<NotedFrame> noted_frames(const std::exception_ptr& error);

// The locks of the table, held while the process forks.
void lock_traces() noexcept;
void unlock_traces() noexcept;

// Whether ASYNCIO_TRACEBACK lets it be. Like the next two the system's own affair, so that
// os/loaded.cpp defines it.
bool traces_wanted() noexcept;
// Has this code stay in memory until the process ends: destructors of exceptions lead here. False
// if the system does not grant it.
bool keep_loaded() noexcept;
// After keep_loaded(): whether the constant at `p` is of a program or library that stays, too.
bool stays_loaded(const void* p) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The order in which a loop runs what is ready, chosen by somebody else: for tests that try many
// orders. A loop that nobody chooses for pays nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <span>
#include <string>
#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/events.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

using asyncio::detail::Node;

// Chooses among what is ready in one loop, on its thread. While it is set, all that is ready is one
// bag: what an entry makes ready may be chosen right after it, before what was there already.
class ASYNCIO_API Chooser {
  public:
    Chooser() = default;
    Chooser(const Chooser&) = delete;
    Chooser& operator=(const Chooser&) = delete;
    virtual ~Chooser();

    // Which of `entries`, the oldest first, runs next: less than their number, which is never 0. An
    // entry is the same for as long as it is ready. It may raise: then the loop is left, and all
    // entries stay.
    virtual std::size_t choose(std::span<Node* const> entries) = 0;
    // What was chosen has run; it may be gone.
    virtual void ran() {}
};

// `chooser` null: the loop runs what is ready in its own order again. On the loop's thread, also
// while it runs; `chooser` stays until then. Raises: RuntimeError if the loop is closed.
ASYNCIO_API void set_chooser(EventLoop& loop, Chooser* chooser);

// What an entry is.
struct EntryInfo {
    std::uint64_t task = 0;  // the address of the task; 0: a callback
    std::string name;        // of the task, "Task-7"; of what kind the callback is
    std::string place;       // "file.cpp:12", where the task goes on; empty: not known
};
// Tells what `entry` is. Raises: std::bad_alloc.
ASYNCIO_API EntryInfo entry_info(Node& entry);
// The first member alone, which costs less.
ASYNCIO_API std::uint64_t task_of_entry(Node& entry) noexcept;

}  // namespace component

namespace detail {
// Takes a reference of `state`. Raises: RuntimeError if the loop is closed.
ASYNCIO_API void push_settled(LoopCore& core, HandleState& state);
}  // namespace detail

namespace component {

// Calls `fn()` on the loop's thread, in an empty context, once nothing is ready: just before the
// loop would wait for the system, or move virtual time. Several are called in that order, each when
// nothing is ready again. On the loop's thread. Raises: RuntimeError if the loop is closed;
// std::bad_alloc.
template <class F>
Handle call_when_settled(EventLoop& loop, F fn,
                         std::source_location where = std::source_location::current()) {
    using State = asyncio::detail::HandleStateOf<F, true>;
    const auto state = asyncio::detail::Ref<asyncio::detail::HandleState>::adopt(
        new State(loop.core(), {}, where, false, std::move(fn)));
    asyncio::detail::push_settled(loop.core(), *state);
    return Handle(state);
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

// Work that other threads give to a loop: a library's callbacks, a pool of one's own.
//
//     const asyncio::component::Poster poster(loop);
//     library.on_message([poster](Message m) { poster.post([m] { handle(m); }); });
#pragma once

#include <cstdint>
#include <source_location>
#include <utility>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/events.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// Posts to one loop, from any thread, whether that loop runs, is closed or is gone: unlike
// call_soon_threadsafe(), whose loop must live. Cheap to copy. For a signal handler there is
// EventLoop::add_signal_handler(); nothing here is safe in one.
class Poster {
  public:
    // `loop`: on its thread, or while it lives.
    explicit Poster(asyncio::detail::LoopCore& loop) noexcept : core_(&loop) { core_->attach(); }
    // The same.
    explicit Poster(EventLoop& loop) noexcept : Poster(loop.core()) {}
    Poster(const Poster& other) noexcept : Poster(*other.core_) {}
    Poster& operator=(const Poster& other) noexcept {
        Poster copy(other);
        std::swap(core_, copy.core_);
        return *this;
    }
    ~Poster() { core_->detach(); }

    // Calls `fn()` on the loop's thread in its next iteration, in an empty context; what one thread
    // posts runs in that order. True: it runs, or, if the loop closes before, is destroyed by that
    // unrun. False: the loop is closed, and `fn` was destroyed here. So nothing is lost unseen:
    // what must happen in any case, the destructor of something in `fn` does. What `fn` raises goes
    // to the loop's exception handler, with `where`. Raises: std::bad_alloc.
    template <class F>
    bool post(F fn, std::source_location where = std::source_location::current()) const {
        using State = asyncio::detail::HandleStateOf<F, true>;
        const auto state = asyncio::detail::Ref<asyncio::detail::HandleState>::adopt(
            new State(*core_, {}, where, false, std::move(fn)));
        state->retain_new();
        if (asyncio::detail::push_threadsafe(*core_, state.get())) return true;
        state->release();
        return false;
    }

    // Which loop it is: the id that `asyncio ps --json` tells.
    std::uint64_t id() const noexcept;

  private:
    asyncio::detail::LoopCore* core_;
};

// Those of all loops of the process that are not closed, from any thread: they come and go
// meanwhile. Raises: std::bad_alloc.
ASYNCIO_API std::vector<Poster> posters();

// Safe because the address is only compared and shown.
inline std::uint64_t Poster::id() const noexcept { return reinterpret_cast<std::uintptr_t>(core_); }

}  // namespace component
}  // namespace v1
}  // namespace asyncio

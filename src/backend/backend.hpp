// What a loop asks of the system: the time, and to wait until something happens or it is due.
//
// A back end belongs to one loop and is used on its thread, but for `wake`. It hands what has
// happened to the loop as nodes for the ready queue. The interface speaks of operations (poll a
// descriptor, and with sockets: receive into, send, accept, connect), not of readiness, so that
// io_uring can batch them.
#pragma once

#include <cstdint>
#include <memory>

#include "asyncio/detail/loop_core.hpp"

namespace asyncio::inline v1::detail {

class Backend {
  public:
    static constexpr std::int64_t kForever = -1;

    virtual ~Backend() = default;

    // Waits for events, at most `timeout` ns (kForever: no limit; 0: only looks), and appends what
    // they made ready to `ready`. May return early. Raises: OSError.
    virtual void wait(std::int64_t timeout, NodeQueue& ready) = 0;
    // Appends `on_read` / `on_write` to `ready` in each wait in which `fd` is readable / writable,
    // at most once each (level-triggered, FD-01); null: not watched for that. Both null: forgets
    // `fd`. Raises: OSError; ValueError for a negative descriptor.
    virtual void watch(int fd, Node* on_read, Node* on_write) = 0;
    // Ends a `wait` that is under way or the next one. From any thread, and from signal handlers.
    virtual void wake() noexcept = 0;
    // The clock, ns.
    virtual std::int64_t now() noexcept = 0;
    // False if `wait` has nothing to look for but `wake`.
    virtual bool watches() const noexcept = 0;
    // True if time is virtual: then nothing is ever late.
    virtual bool is_virtual() const noexcept { return false; }
    virtual const char* name() const noexcept = 0;
    // As repr() names the loop: "EpollEventLoop".
    virtual const char* class_name() const noexcept = 0;
};

// Raises: OSError.
std::unique_ptr<Backend> make_epoll_backend();
std::unique_ptr<Backend> make_virtual_backend();

}  // namespace asyncio::inline v1::detail

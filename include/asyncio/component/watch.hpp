// Descriptors of a library that says which of them it wants to hear of, and for what, as libcurl
// and libpq do: it changes its mind, closes them, and opens others under the same numbers.
#pragma once

#include <unordered_map>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/events.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// What is wanted of a descriptor, or has come.
struct Interest {
    bool readable = false;  // data, a connection, the end or an error
    bool writable = false;  // room to send, or an error

    friend bool operator==(const Interest&, const Interest&) = default;
};

// The descriptors of one library's object, on one loop and its thread. They are borrowed. The
// library's reader and writer take the place of those of add_reader() and add_writer().
class ASYNCIO_API Watches {
  public:
    // What is called: any callable that can be copied.
    using Callback = asyncio::detail::Function<void(int fd, Interest ready)>;

    // `ready(fd, what)` is called in each iteration in which a descriptor has what is wanted of it,
    // once for each of both. It may call all functions here, and destroy this. What it raises goes
    // to the loop's exception handler. Raises: std::bad_alloc.
    Watches(EventLoop& loop, Callback ready);
    Watches(const Watches&) = delete;
    Watches& operator=(const Watches&) = delete;
    ~Watches();

    // From now on `fd` is watched for `wanted` and for nothing else; for nothing: it is forgotten,
    // which must be done before it is closed, and a call that is due already is not made. Does
    // nothing once the loop is closed.
    // Raises: OSError; ValueError for a negative descriptor; std::bad_alloc. Then it is forgotten.
    void set(int fd, Interest wanted);
    // `fd` was closed, and another one has got its number: watched as the one before.
    // Raises: as set(); then it is forgotten.
    void renew(int fd);
    // What `fd` is watched for.
    Interest what(int fd) const noexcept;
    // Forgets all of them.
    void clear() noexcept;

  private:
    bool open() const noexcept { return !core_.closed && core_.loop; }
    void call(int fd, Interest ready) const;
    void drop(int fd, Interest what) noexcept;

    asyncio::detail::LoopCore& core_;  // kept alive
    Callback ready_;
    std::unordered_map<int, Interest> watched_;
};

}  // namespace component
}  // namespace v1
}  // namespace asyncio

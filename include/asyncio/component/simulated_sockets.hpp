// Sockets that are none of the system's: for tests on a network that is made up. Their numbers
// begin where those of descriptors have long ended, and each call on such a number goes to whoever
// simulates them. A call of the program's own on one fails with EBADF, so that it shows itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "asyncio/detail/config.hpp"
#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// What the calls of the library are, for sockets of one thread. Each does what that of the system
// does on a non-blocking socket, and returns what that does, or an errno as a negative number.
class ASYNCIO_API SimulatedSockets {
  public:
    // The number of the first one, which grows from there on: none is used twice.
    static constexpr int kFirst = 1 << 24;

    SimulatedSockets() = default;
    SimulatedSockets(const SimulatedSockets&) = delete;
    SimulatedSockets& operator=(const SimulatedSockets&) = delete;
    virtual ~SimulatedSockets();

    // socket(2), and each of the others by its name.
    virtual int make(int family, int type, int protocol) = 0;
    virtual int make_pair(int family, int type, int (&fds)[2]) = 0;
    virtual int duplicate(int fd) = 0;
    virtual int close(int fd) noexcept = 0;
    virtual int bind(int fd, const SocketAddress& address) = 0;
    virtual int connect(int fd, const SocketAddress& address) = 0;
    virtual int listen(int fd, int backlog) = 0;
    virtual int accept(int fd, SocketAddress& from) = 0;
    // getsockname(2), or getpeername(2).
    virtual int name(int fd, bool of_peer, SocketAddress& name) const = 0;
    virtual int get_option(int fd, int level, int option, std::span<char> value,
                           std::size_t& size) = 0;
    virtual int set_option(int fd, int level, int option, std::span<const char> value) = 0;
    virtual int shutdown(int fd, int how) = 0;
    // `from`: who sent it; null: it is not asked for.
    virtual std::int64_t receive(int fd, std::span<char> memory, SocketAddress* from) = 0;
    // The address of a host by its name, as text; empty: there is no such host.
    virtual std::string address_of_name(std::string_view name) const = 0;
    // `to`: null, or whom a datagram is for.
    virtual std::int64_t send(int fd, std::span<const std::string_view> pieces,
                              const SocketAddress* to) = 0;
};

// All sockets that this thread makes from now on are `sockets`'; null: the system's. Returns what
// was set before.
ASYNCIO_API SimulatedSockets* set_simulated_sockets(SimulatedSockets* sockets) noexcept;

}  // namespace component
}  // namespace v1
}  // namespace asyncio

// The system's calls on sockets, by their names, for tests that play a peer: on a network that is
// made up they are calls on that, so that the same test runs on both.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>

#include <asyncio/sockets.hpp>

#include "os/simulated.hpp"

namespace socket_calls {

using namespace asyncio::detail;

inline ssize_t send(int fd, const void* data, std::size_t size, int flags) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::send(fd, data, size, flags);
    const std::string_view piece(static_cast<const char*>(data), size);
    return as_call(sockets->send(fd, {&piece, 1}, nullptr));
}
inline ssize_t write(int fd, const void* data, std::size_t size) {
    return simulated(fd) ? send(fd, data, size, 0) : ::write(fd, data, size);
}
inline ssize_t sendto(int fd, const void* data, std::size_t size, int flags, const sockaddr* to,
                      socklen_t to_size) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::sendto(fd, data, size, flags, to, to_size);
    const std::string_view piece(static_cast<const char*>(data), size);
    const auto address = asyncio::SocketAddress::from(to, to_size);
    return as_call(sockets->send(fd, {&piece, 1}, &address));
}
inline ssize_t recv(int fd, void* to, std::size_t size, int flags) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::recv(fd, to, size, flags);
    return as_call(sockets->receive(fd, {static_cast<char*>(to), size}, nullptr));
}
inline int socket(int family, int type, int protocol) {
    if (!simulated_sockets) return ::socket(family, type, protocol);
    return as_call(simulated_sockets->make(family, type, protocol));
}
inline int connect(int fd, const sockaddr* to, socklen_t size) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::connect(fd, to, size);
    // Where the system's would wait it is under way, and what is sent is sent then.
    const int done = sockets->connect(fd, asyncio::SocketAddress::from(to, size));
    return as_call(done == -EINPROGRESS ? 0 : done);
}
inline int accept4(int fd, int flags) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::accept4(fd, nullptr, nullptr, flags);
    asyncio::SocketAddress from;
    return as_call(sockets->accept(fd, from));
}
inline int setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::setsockopt(fd, level, option, value, size);
    return as_call(sockets->set_option(fd, level, option, {static_cast<const char*>(value), size}));
}
// Whether there is such a descriptor.
inline bool is_open(int fd) {
    auto* const sockets = simulated(fd);
    if (!sockets) return ::fcntl(fd, F_GETFD) != -1;
    asyncio::SocketAddress name;
    return sockets->name(fd, false, name) != -EBADF;
}

}  // namespace socket_calls

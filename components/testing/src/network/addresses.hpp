// What an address of a made-up network is: by its bytes, since it is asked for each packet.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
inline constexpr std::size_t kHeader = 60;  // bytes of a packet without data

// Of an IPv4 address. Safe because one of this family is a sockaddr_in; so is the next one.
inline in_addr_t v4_of(const SocketAddress& address) {
    return ntohl(static_cast<const sockaddr_in*>(address.data())->sin_addr.s_addr);
}
inline const in6_addr& v6_of(const SocketAddress& address) {
    return static_cast<const sockaddr_in6*>(address.data())->sin6_addr;
}

// Whether it stands for every address of its host.
inline bool is_any(const SocketAddress& address) {
    if (address.family() == AF_INET) return v4_of(address) == INADDR_ANY;
    return address.family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6_of(address));
}
// Whether it leads to the host that uses it.
inline bool is_loopback(const SocketAddress& address) {
    constexpr unsigned kNet = 127;
    if (address.family() == AF_INET) return v4_of(address) >> 24 == kNet;
    if (address.family() != AF_INET6) return false;
    const in6_addr& six = v6_of(address);
    return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == kNet);
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

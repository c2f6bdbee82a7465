// Datagrams of a made-up network.
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "addresses.hpp"
#include "world.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

constexpr std::size_t kLongestDatagram = 65507;  // of UDP over IPv4

}  // namespace

std::int64_t SimulatedWorld::send_datagram(const EndpointRef& from, std::string data,
                                           const SocketAddress& to) {
    if (from->ends) return -EPIPE;
    const auto size = static_cast<std::int64_t>(data.size());
    if (from->family == AF_UNIX) {
        // Of a pair there is no name.
        const EndpointRef pair = from->peer.lock();
        const EndpointRef other = pair ? pair : bound_at(*from, to, from->host);
        if (!other || other->state == Endpoint::State::kDead) {
            return pair || from->connected ? -ECONNREFUSED : -ENOENT;
        }
        if (other->datagrams.size() >= kMostDatagrams) return -EAGAIN;
        other->datagrams.push_back({std::move(data), from->own});
        changed(other);
        return size;
    }
    if (to.family() != from->family) return -EAFNOSUPPORT;
    if (data.size() > kLongestDatagram) return -EMSGSIZE;
    if (from->own.port() == 0) {
        if (const int error = bind_to_free_port(from, from->host)) return error;
    }
    // One that is bound to no address sends from the one that leads there.
    const std::string leads = is_loopback(to) ? to.host() : hosts_[from->host].address;
    const SocketAddress own =
        is_any(from->own) ? SocketAddress(leads, from->own.port()) : from->own;
    const auto host = host_of(to, from->host);
    if (!host) return -EHOSTUNREACH;
    Direction& way = direction(from->host, *host);
    if (way.held()) return size;  // datagrams are lost then
    const Arrival arrival = [this, from, to, own, data = std::move(data), host = *host] {
        if (direction(from->host, host).held()) return;
        const EndpointRef other = bound_at(*from, to, host);
        if (!other) {
            if (from->connected) from->error = ECONNREFUSED;
            return changed(from);
        }
        const bool wanted = !other->connected || other->peer_name == own;
        if (!wanted || other->datagrams.size() >= kMostDatagrams) return;
        tell(*other,
             [&] { return "receives a datagram of " + std::to_string(data.size()) + " bytes"; });
        other->datagrams.push_back({data, own});
        changed(other);
    };
    const int copies = way.duplicates(numbers_) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        const std::int64_t when =
            way.alone(now_, kHeader + static_cast<std::size_t>(size), numbers_);
        if (when == Direction::kNever || loses_this()) {
            tell(*from, [&] { return "loses a datagram of " + std::to_string(size) + " bytes"; });
        } else if (from->host == *host) {
            arrival();  // within a machine there is no way
        } else {
            at(when, arrival);
        }
    }
    return size;
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

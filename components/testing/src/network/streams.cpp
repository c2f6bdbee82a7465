// Streams of a made-up network: how they are connected, carry bytes, and end.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "addresses.hpp"
#include "world.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

constexpr std::int64_t kUntilUnreachable = 3'000'000'000;  // ns: nobody answers for an address
constexpr std::int64_t kConnectAgain = 1'000'000'000;      // a full backlog is tried again

}  // namespace

// ---- connecting ---------------------------------------------------------------------------------

std::optional<std::uint32_t> SimulatedWorld::host_of(const SocketAddress& address,
                                                     std::uint32_t asks) const {
    if (address.family() == AF_UNIX || is_loopback(address) || is_any(address)) return asks;
    return find_host(address.host());
}

int SimulatedWorld::connect(int fd, const SocketAddress& address) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (endpoint->kind == Endpoint::Kind::kDatagrams) {
        if (address.family() != AF_UNSPEC && address.family() != endpoint->family) {
            return -EAFNOSUPPORT;
        }
        endpoint->connected = address.family() != AF_UNSPEC;
        endpoint->peer_name = address;
        if (endpoint->family == AF_UNIX) {
            return bound_at(*endpoint, address, endpoint->host) ? 0 : -ECONNREFUSED;
        }
        if (endpoint->own.port() != 0) return 0;
        endpoint->own = SocketAddress(
            is_loopback(address) ? address.host() : hosts_[endpoint->host].address, 0);
        return bind_to_free_port(endpoint, endpoint->host);
    }
    if (endpoint->state == Endpoint::State::kConnecting) return -EALREADY;
    if (endpoint->state == Endpoint::State::kOpen) return -EISCONN;
    if (endpoint->state != Endpoint::State::kFresh) return -EINVAL;
    if (address.family() != endpoint->family) return -EAFNOSUPPORT;
    endpoint->peer_name = address;
    if (endpoint->family == AF_UNIX) {
        const EndpointRef listener = bound_at(*endpoint, address, endpoint->host);
        if (!listener) return address.path().empty() ? -EINVAL : -ENOENT;
        if (listener->state != Endpoint::State::kListening) return -ECONNREFUSED;
        if (listener->accepted.size() > listener->backlog) return -EAGAIN;
        endpoint->state = Endpoint::State::kConnecting;
        syn_arrived(endpoint, address, endpoint->host);
        endpoint->state = Endpoint::State::kOpen;
        return 0;
    }
    if (endpoint->own.port() == 0) {
        const bool near = is_loopback(address) || is_any(address);
        if (is_any(endpoint->own)) {
            endpoint->own = SocketAddress(near ? (endpoint->family == AF_INET ? "127.0.0.1" : "::1")
                                               : hosts_[endpoint->host].address,
                                          0);
        }
        if (const int error = bind_to_free_port(endpoint, endpoint->host)) return error;
    }
    endpoint->state = Endpoint::State::kConnecting;
    tell(*endpoint, [&] { return "connects to " + address.repr(); });
    const EndpointPtr weak = endpoint;
    const auto end_by = [this, weak](int error) {
        return [this, weak, error] {
            const EndpointRef still = weak.lock();
            if (still && still->state == Endpoint::State::kConnecting) fail(still, error);
        };
    };
    const auto host = host_of(address, endpoint->host);
    if (!host) {
        at(now_ + kUntilUnreachable, end_by(EHOSTUNREACH));
        return -EINPROGRESS;
    }
    at(now_ + connecting_timeout_, end_by(ETIMEDOUT));
    send_in_order(endpoint, *host, kHeader, [this, endpoint, address, host = *host] {
        syn_arrived(endpoint, address, host);
    });
    return -EINPROGRESS;
}

void SimulatedWorld::syn_arrived(const EndpointRef& client, const SocketAddress& to,
                                 std::uint32_t host) {
    if (client->state != Endpoint::State::kConnecting) return;
    const EndpointRef listener = bound_at(*client, to, host);
    const EndpointPtr weak = client;
    const bool near = client->family == AF_UNIX;
    if (!listener || listener->state != Endpoint::State::kListening) {
        Endpoint refuses;
        refuses.host = host;
        send_in_order(std::make_shared<Endpoint>(refuses), client->host, kHeader, [this, weak] {
            const EndpointRef still = weak.lock();
            if (still && still->state == Endpoint::State::kConnecting) fail(still, ECONNREFUSED);
        });
        return;
    }
    if (listener->accepted.size() > listener->backlog) {
        at(now_ + kConnectAgain, [this, client, to, host] { syn_arrived(client, to, host); });
        return;
    }
    const auto server = std::make_shared<Endpoint>(*listener);
    server->state = Endpoint::State::kOpen;
    server->accepted.clear();
    server->numbers = 0;
    server->own =
        is_any(listener->own) && !near ? SocketAddress(to.host(), to.port()) : listener->own;
    server->peer_name = client->own;
    server->peer = client;
    server->peer_host = client->host;
    client->peer = server;
    client->peer_host = host;
    listener->accepted.push_back(server);
    tell(*server, [&] { return "is connected by " + client->own.repr(); });
    changed(listener);
    if (near) return;
    send_in_order(server, client->host, kHeader, [this, weak] {
        const EndpointRef still = weak.lock();
        if (!still || still->state != Endpoint::State::kConnecting) return;
        still->state = Endpoint::State::kOpen;
        changed(still);
    });
}

int SimulatedWorld::listen(int fd, int backlog) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (endpoint->kind != Endpoint::Kind::kStream) return -EOPNOTSUPP;
    const bool fresh = endpoint->state == Endpoint::State::kFresh;
    if (!fresh && endpoint->state != Endpoint::State::kListening) return -EINVAL;
    if (endpoint->family == AF_UNIX && endpoint->own.path().empty()) return -EINVAL;
    if (endpoint->family != AF_UNIX && endpoint->own.port() == 0) {
        if (const int error = bind_to_free_port(endpoint, endpoint->host)) return error;
    }
    endpoint->state = Endpoint::State::kListening;
    endpoint->backlog = static_cast<std::size_t>(std::max(backlog, 0));
    return 0;
}

int SimulatedWorld::accept(int fd, SocketAddress& from) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (endpoint->state != Endpoint::State::kListening) return -EINVAL;
    // One that is called in a loop, as a blocking one would wait, sees what is due.
    if (endpoint->accepted.empty()) let_happen(now_);
    if (endpoint->accepted.empty()) return -EAGAIN;
    const EndpointRef accepted = std::move(endpoint->accepted.front());
    endpoint->accepted.pop_front();
    from = accepted->peer_name;
    return add(accepted);
}

int SimulatedWorld::shutdown(int fd, int how) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (endpoint->kind == Endpoint::Kind::kDatagrams) {
        if (!endpoint->connected) return -ENOTCONN;
    } else if (endpoint->state != Endpoint::State::kOpen) {
        return -ENOTCONN;
    }
    if (how != SHUT_WR) endpoint->no_reading = true;
    if (how != SHUT_RD) {
        endpoint->ends = true;
        pump(endpoint);
    }
    changed(endpoint);
    return 0;
}

// ---- streams ------------------------------------------------------------------------------------

void SimulatedWorld::send_in_order(const EndpointRef& from, std::uint32_t to, std::size_t bytes,
                                   Arrival arrival) {
    Direction& way = direction(from->host, to);
    // It leaves when it may, and is on the way from then on.
    if (way.held()) {
        way.wait([this, from, to, bytes, arrival = std::move(arrival)] {
            send_in_order(from, to, bytes, arrival);
        });
        return;
    }
    const std::int64_t when = way.in_order(now_, bytes, loses_this(), numbers_);
    if (when == Direction::kNever) return;  // whoever waits for an answer has a limit of time
    way.left();
    at(when, [this, from, to, bytes, arrival = std::move(arrival)] {
        // What is on the way while the way is cut comes later, too.
        Direction& now = direction(from->host, to);
        now.arrived();
        if (now.held()) {
            now.wait([this, from, to, bytes, arrival] { send_in_order(from, to, bytes, arrival); });
        } else {
            arrival();
        }
    });
}

// Within a machine there is no way: what is written is there when the call returns.
void SimulatedWorld::hand_on(const EndpointRef& from, std::uint32_t to, std::size_t bytes,
                             Arrival arrival) {
    const bool near = from->host == to && direction(to, to).idle();
    if (near && packets_ + 1 != lost_packet_) {
        ++packets_;
        return arrival();
    }
    send_in_order(from, to, bytes, std::move(arrival));
}

void SimulatedWorld::pump(const EndpointRef& from) {
    if (from->state != Endpoint::State::kOpen) return;
    const EndpointRef to = from->peer.lock();
    if (!to) return send_to_nobody(from);
    const LinkOptions& link = direction(from->host, to->host).options();
    while (from->unsent_bytes > 0 && from->in_flight < link.window) {
        const std::size_t most = std::min({link.window - from->in_flight, from->unsent_bytes,
                                           std::max<std::size_t>(link.mtu, 1)});
        std::string piece;
        while (piece.size() < most) {
            std::string& first = from->unsent.front();
            const std::size_t n = std::min(most - piece.size(), first.size());
            piece.append(first, 0, n);
            if (n == first.size()) {
                from->unsent.pop_front();
            } else {
                first.erase(0, n);
            }
        }
        from->unsent_bytes -= most;
        from->in_flight += most;
        if (from->unanswered == 0) watch_answer(from);
        from->unanswered += most;
        hand_on(from, to->host, kHeader + most,
                [this, to, from, most, piece = std::move(piece)]() mutable {
                    arrived(to, piece);
                    hand_on(to, from->host, kHeader, [this, from, most] { answered(from, most); });
                });
    }
    if (from->unsent_bytes == 0 && from->ends && !from->fin_sent) {
        from->fin_sent = true;
        hand_on(from, to->host, kHeader, [this, to] { fin_arrived(to); });
        orphans_.erase(from);
    }
}

// The other end is gone without a word: its machine does not know the stream, and says so.
void SimulatedWorld::send_to_nobody(const EndpointRef& from) {
    if (from->unsent_bytes == 0) return;
    from->unsent.clear();
    from->unsent_bytes = 0;
    Endpoint nobody;
    nobody.host = from->peer_host;
    const auto answers = std::make_shared<Endpoint>(nobody);
    hand_on(from, from->peer_host, kHeader, [this, from, answers] {
        hand_on(answers, from->host, kHeader, [this, from] { fail(from, ECONNRESET); });
    });
}

// For as long as anything is unanswered, something has to be within the time.
void SimulatedWorld::watch_answer(const EndpointRef& sender) {
    const EndpointPtr weak = sender;
    at(now_ + sending_timeout_, [this, weak, seen = sender->sends] {
        const EndpointRef still = weak.lock();
        if (!still || still->unanswered == 0 || still->state != Endpoint::State::kOpen) return;
        if (still->sends == seen) return fail(still, ETIMEDOUT);
        watch_answer(still);
    });
}

void SimulatedWorld::answered(const EndpointRef& sender, std::size_t bytes) {
    sender->unanswered -= std::min(bytes, sender->unanswered);
    ++sender->sends;
}

void SimulatedWorld::arrived(const EndpointRef& to, std::string data) {
    if (to->state != Endpoint::State::kOpen || to->numbers == 0) {
        // Not accepted yet is not closed.
        if (to->state == Endpoint::State::kOpen && !to->ends) {
            to->received_bytes += data.size();
            to->received.push_back(std::move(data));
            return;
        }
        return send_reset(to);
    }
    tell(*to, [&] { return "receives " + std::to_string(data.size()) + " bytes"; });
    if (to->no_reading) return read_by_user(to, data.size());
    to->received_bytes += data.size();
    to->received.push_back(std::move(data));
    changed(to);
}

void SimulatedWorld::fin_arrived(const EndpointRef& to) {
    to->fin_received = true;
    tell(*to, [&] { return std::string("is at the end"); });
    changed(to);
}

void SimulatedWorld::fail(const EndpointRef& endpoint, int error) {
    if (endpoint->state == Endpoint::State::kDead) return;
    tell(*endpoint, [&] { return "fails: " + std::string(std::strerror(error)); });
    endpoint->state = Endpoint::State::kDead;
    // As Linux does it: whoever has had the end of what comes reads that end, and hears of a reset
    // when it writes.
    endpoint->ended = endpoint->fin_received;
    endpoint->error = error == ECONNRESET && endpoint->ended ? EPIPE : error;
    endpoint->fin_received = endpoint->ends = endpoint->fin_sent = true;
    endpoint->unsent.clear();
    endpoint->unsent_bytes = endpoint->in_flight = endpoint->unanswered = 0;
    orphans_.erase(endpoint);
    changed(endpoint);
}

void SimulatedWorld::send_reset(const EndpointRef& from) {
    const EndpointRef to = from->peer.lock();
    from->state = Endpoint::State::kDead;
    from->unsent.clear();
    from->unsent_bytes = 0;
    orphans_.erase(from);
    if (!to) return;
    hand_on(from, to->host, kHeader, [this, to] { fail(to, ECONNRESET); });
}

// The sender hears of the room that there is now.
void SimulatedWorld::read_by_user(const EndpointRef& reader, std::size_t bytes) {
    const EndpointRef sender = reader->peer.lock();
    if (!sender) return;
    hand_on(reader, sender->host, kHeader, [this, sender, bytes] {
        sender->in_flight -= std::min(bytes, sender->in_flight);
        pump(sender);
        changed(sender);
    });
}

std::int64_t SimulatedWorld::receive(int fd, std::span<char> memory, SocketAddress* from) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (endpoint->kind == Endpoint::Kind::kDatagrams) {
        if (endpoint->error != 0) return -std::exchange(endpoint->error, 0);
        if (endpoint->datagrams.empty()) return endpoint->no_reading ? 0 : -EAGAIN;
        const Endpoint::Datagram datagram = std::move(endpoint->datagrams.front());
        endpoint->datagrams.pop_front();
        const std::size_t n = std::min(memory.size(), datagram.data.size());
        std::copy_n(datagram.data.begin(), n, memory.begin());
        if (from) *from = datagram.from;
        return static_cast<std::int64_t>(n);
    }
    if (from) *from = SocketAddress();
    if (endpoint->received_bytes == 0) {
        if (endpoint->ended) return 0;
        if (endpoint->error != 0) return -std::exchange(endpoint->error, 0);
        if (endpoint->fin_received || endpoint->no_reading) return 0;
        if (endpoint->state == Endpoint::State::kFresh ||
            endpoint->state == Endpoint::State::kListening) {
            return -ENOTCONN;
        }
        return endpoint->state == Endpoint::State::kDead ? 0 : -EAGAIN;
    }
    std::size_t n = 0;
    while (n < memory.size() && endpoint->received_bytes > 0) {
        const std::string& first = endpoint->received.front();
        const std::size_t some = std::min(memory.size() - n, first.size() - endpoint->taken);
        std::copy_n(first.begin() + static_cast<std::ptrdiff_t>(endpoint->taken), some,
                    memory.begin() + static_cast<std::ptrdiff_t>(n));
        n += some;
        endpoint->taken += some;
        endpoint->received_bytes -= some;
        if (endpoint->taken == first.size()) {
            endpoint->received.pop_front();
            endpoint->taken = 0;
        }
    }
    if (n > 0) read_by_user(endpoint, n);
    return static_cast<std::int64_t>(n);
}

std::int64_t SimulatedWorld::send(int fd, std::span<const std::string_view> pieces,
                                  const SocketAddress* to) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (endpoint->kind == Endpoint::Kind::kDatagrams) {
        if (endpoint->error != 0) return -std::exchange(endpoint->error, 0);
        if (!to && !endpoint->connected) return -EDESTADDRREQ;
        std::string data;
        for (const std::string_view piece : pieces) data += piece;
        return send_datagram(endpoint, std::move(data), to ? *to : endpoint->peer_name);
    }
    if (endpoint->error != 0) return -std::exchange(endpoint->error, 0);
    if (endpoint->state == Endpoint::State::kConnecting) return -EAGAIN;
    if (endpoint->state != Endpoint::State::kOpen || endpoint->ends) return -EPIPE;
    if (endpoint->family == AF_UNIX) {
        const EndpointRef peer = endpoint->peer.lock();
        if (!peer || peer->gone) return -EPIPE;
    }
    std::size_t n = 0;
    for (const std::string_view piece : pieces) {
        const std::size_t some = std::min(piece.size(), endpoint->room());
        if (some == 0 && !piece.empty()) break;
        if (some > 0) endpoint->unsent.emplace_back(piece.substr(0, some));
        endpoint->unsent_bytes += some;
        n += some;
        if (some < piece.size()) break;
    }
    bool empty = true;
    for (const std::string_view piece : pieces) empty = empty && piece.empty();
    if (n == 0 && !empty) return -EAGAIN;
    pump(endpoint);
    return static_cast<std::int64_t>(n);
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

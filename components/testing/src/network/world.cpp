#include "world.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kHeader = 60;                        // bytes of a packet without data
constexpr std::size_t kLongestDatagram = 65507;            // of UDP over IPv4
constexpr std::int64_t kUntilUnreachable = 3'000'000'000;  // ns: nobody answers for an address
constexpr std::int64_t kConnectAgain = 1'000'000'000;      // a full backlog is tried again

bool is_any(const SocketAddress& address) {
    return address.host() == "0.0.0.0" || address.host() == "::";
}
bool is_loopback(const SocketAddress& address) {
    return address.host().starts_with("127.") || address.host() == "::1" ||
           address.host().starts_with("::ffff:127.");
}
SocketAddress any_of(int family) {
    if (family == AF_INET) return SocketAddress("0.0.0.0", 0);
    if (family == AF_INET6) return SocketAddress("::", 0);
    return SocketAddress::unix("");
}

template <class T>
int give(std::span<char> value, std::size_t& size, const T& is) {
    size = std::min(value.size(), sizeof is);
    std::memcpy(value.data(), &is, size);
    return 0;
}

}  // namespace

// ---- endpoints ----------------------------------------------------------------------------------

bool Endpoint::readable() const {
    if (error != 0) return true;
    if (kind == Kind::kDatagrams) return !datagrams.empty() || no_reading;
    if (state == State::kListening) return !accepted.empty();
    return received_bytes > 0 || fin_received || no_reading || state == State::kDead;
}

bool Endpoint::writable() const {
    if (error != 0 || kind == Kind::kDatagrams || state == State::kDead) return true;
    return state == State::kOpen && (ends || room() > 0);
}

std::size_t Endpoint::room() const {
    return unsent_bytes >= kSendBuffer ? 0 : kSendBuffer - unsent_bytes;
}

// ---- time ---------------------------------------------------------------------------------------

SimulatedWorld::SimulatedWorld(std::uint64_t seed) : network_(*this), numbers_(seed) {
    hosts_.push_back({"here", "10.0.0.1"});
}
SimulatedWorld::~SimulatedWorld() = default;

std::int64_t SimulatedWorld::next_event() const noexcept {
    return events_.empty() ? kNever : events_.begin()->first;
}

void SimulatedWorld::let_happen(std::int64_t now) {
    now_ = now;
    std::vector<Arrival> due;
    while (!events_.empty() && events_.begin()->first <= now) {
        due.push_back(std::move(events_.begin()->second));
        events_.erase(events_.begin());
    }
    for (const Arrival& arrival : due) arrival();
}

void SimulatedWorld::at(std::int64_t when, Arrival arrival) {
    events_.emplace(std::max(when, now_), std::move(arrival));
}

void SimulatedWorld::write_trace(const Endpoint& endpoint, std::string_view what) {
    char time[32];
    std::snprintf(time, sizeof time, "%.6f ", static_cast<double>(now_) * 1e-9);
    trace_ += time;
    trace_ += hosts_[endpoint.host].name + ' ' + endpoint.own.repr() + ' ';
    trace_ += what;
    trace_ += '\n';
}

void SimulatedWorld::changed(const EndpointRef& endpoint) {
    if (changed_ && endpoint) changed_(*endpoint);
}

// ---- numbers ------------------------------------------------------------------------------------

EndpointRef SimulatedWorld::find(int fd) const {
    const auto found = sockets_.find(fd);
    return found == sockets_.end() ? nullptr : found->second;
}

int SimulatedWorld::add(EndpointRef endpoint) {
    ++endpoint->numbers;
    sockets_.emplace(next_number_, std::move(endpoint));
    return next_number_++;
}

EndpointRef SimulatedWorld::make_endpoint(int family, int type, int protocol) {
    auto endpoint = std::make_shared<Endpoint>();
    endpoint->family = family;
    endpoint->type = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    endpoint->kind =
        endpoint->type == SOCK_DGRAM ? Endpoint::Kind::kDatagrams : Endpoint::Kind::kStream;
    endpoint->protocol = protocol != 0 || family == AF_UNIX ? protocol
                         : endpoint->type == SOCK_DGRAM     ? IPPROTO_UDP
                                                            : IPPROTO_TCP;
    endpoint->host = current_host().get(0);
    endpoint->own = any_of(family);
    return endpoint;
}

int SimulatedWorld::make(int family, int type, int protocol) {
    const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) return -EAFNOSUPPORT;
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM) return -ESOCKTNOSUPPORT;
    return add(make_endpoint(family, type, protocol));
}

int SimulatedWorld::make_pair(int family, int type, int (&fds)[2]) {
    if (family != AF_UNIX) return -EOPNOTSUPP;
    const EndpointRef one = make_endpoint(family, type, 0);
    const EndpointRef other = make_endpoint(family, type, 0);
    one->peer = other;
    other->peer = one;
    one->state = other->state = Endpoint::State::kOpen;
    one->connected = other->connected = true;
    fds[0] = add(one);
    fds[1] = add(other);
    return 0;
}

int SimulatedWorld::duplicate(int fd) {
    const EndpointRef endpoint = find(fd);
    return endpoint ? add(endpoint) : -EBADF;
}

int SimulatedWorld::close(int fd) noexcept {
    const auto found = sockets_.find(fd);
    if (found == sockets_.end()) return -EBADF;
    const EndpointRef endpoint = found->second;
    sockets_.erase(found);
    try {
        if (--endpoint->numbers == 0) closed(endpoint);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;  // what it has to tell others is not told
    }
    return 0;
}

void SimulatedWorld::closed(const EndpointRef& endpoint) {
    for (auto entry = bound_.begin(); entry != bound_.end();) {
        entry = entry->second.lock() == endpoint ? bound_.erase(entry) : std::next(entry);
    }
    if (endpoint->state == Endpoint::State::kListening) {
        for (const EndpointRef& waiting : std::exchange(endpoint->accepted, {})) {
            send_reset(waiting);
        }
    } else if (endpoint->kind == Endpoint::Kind::kStream &&
               endpoint->state == Endpoint::State::kOpen) {
        // What came and was not read is not to be lost silently.
        if (endpoint->received_bytes > 0 || endpoint->linger_reset) {
            send_reset(endpoint);
        } else {
            endpoint->ends = true;
            pump(endpoint);
            if (!endpoint->fin_sent) orphans_.insert(endpoint);
        }
        return;
    }
    endpoint->state = Endpoint::State::kDead;
}

// ---- names --------------------------------------------------------------------------------------

std::string SimulatedWorld::key_of(const Endpoint& endpoint, const SocketAddress& address,
                                   std::uint32_t host) const {
    std::string key = std::to_string(host) + (endpoint.kind == Endpoint::Kind::kStream ? 't' : 'u');
    if (address.family() == AF_UNIX) return key + 'x' + address.path();
    key += std::to_string(address.port()) + ' ';
    if (is_any(address)) return key + '*';
    // Whatever address of itself a host is called by.
    return key + (is_loopback(address) ? "lo" : address.host());
}

EndpointRef SimulatedWorld::bound_at(const Endpoint& like, const SocketAddress& address,
                                     std::uint32_t host) const {
    const auto look = [&](const std::string& key) {
        const auto found = bound_.find(key);
        return found == bound_.end() ? nullptr : found->second.lock();
    };
    if (const EndpointRef exact = look(key_of(like, address, host))) return exact;
    if (address.family() == AF_UNIX) return nullptr;
    return look(key_of(like, SocketAddress("0.0.0.0", address.port()), host));
}

int SimulatedWorld::bind_to_free_port(const EndpointRef& endpoint, std::uint32_t host) {
    for (int tries = 0; tries < 65536; ++tries) {
        int& next = hosts_[host].next_port;
        const int port = next++;
        if (next > 60999) next = 32768;
        const SocketAddress address(endpoint->own.host(), port);
        if (bound_at(*endpoint, address, host)) continue;
        endpoint->own = address;
        bound_[key_of(*endpoint, address, host)] = endpoint;
        return 0;
    }
    return -EADDRINUSE;
}

int SimulatedWorld::bind(int fd, const SocketAddress& address) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (address.family() != endpoint->family) return -EINVAL;
    if (address.family() == AF_UNIX) {
        if (!endpoint->own.path().empty()) return -EINVAL;
        if (bound_at(*endpoint, address, endpoint->host)) return -EADDRINUSE;
        endpoint->own = address;
        bound_[key_of(*endpoint, address, endpoint->host)] = endpoint;
        return 0;
    }
    if (endpoint->own.port() != 0) return -EINVAL;
    const auto host = is_any(address) ? endpoint->host : host_of(address, endpoint->host);
    if (!host || *host != endpoint->host) return -EADDRNOTAVAIL;
    if (address.port() == 0) {
        endpoint->own = address;
        return bind_to_free_port(endpoint, *host);
    }
    if (bound_at(*endpoint, address, *host)) return -EADDRINUSE;
    endpoint->own = address;
    bound_[key_of(*endpoint, address, *host)] = endpoint;
    return 0;
}

int SimulatedWorld::name(int fd, bool of_peer, SocketAddress& name) const {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (!of_peer) {
        name = endpoint->own;
        return 0;
    }
    const bool there = endpoint->connected || endpoint->state == Endpoint::State::kOpen;
    if (!there) return -ENOTCONN;
    name = endpoint->peer_name ? endpoint->peer_name : any_of(endpoint->family);
    return 0;
}

// ---- options ------------------------------------------------------------------------------------

int SimulatedWorld::get_option(int fd, int level, int option, std::span<char> value,
                               std::size_t& size) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (level == SOL_SOCKET) {
        switch (option) {
            case SO_ERROR:
                return give(value, size, std::exchange(endpoint->error, 0));
            case SO_DOMAIN:
                return give(value, size, endpoint->family);
            case SO_TYPE:
                return give(value, size, endpoint->type);
            case SO_PROTOCOL:
                return give(value, size, endpoint->protocol);
            case SO_ACCEPTCONN:
                return give(value, size, int{endpoint->state == Endpoint::State::kListening});
            default:
                break;
        }
    }
    const auto set = endpoint->options.find({level, option});
    if (set == endpoint->options.end()) {
        return give(value, size, level == SOL_SOCKET && option == SO_SNDBUF ? int{kSendBuffer} : 0);
    }
    size = std::min(value.size(), set->second.size());
    std::memcpy(value.data(), set->second.data(), size);
    return 0;
}

int SimulatedWorld::set_option(int fd, int level, int option, std::span<const char> value) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (level == SOL_SOCKET && option == SO_LINGER) {
        ::linger linger{};
        if (value.size() < sizeof linger) return -EINVAL;
        std::memcpy(&linger, value.data(), sizeof linger);
        endpoint->linger_reset = linger.l_onoff != 0 && linger.l_linger == 0;
    }
    endpoint->options[{level, option}] = std::string(value.begin(), value.end());
    return 0;
}

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
    at(when, [this, from, to, bytes, arrival = std::move(arrival)] {
        // What is on the way while the way is cut comes later, too.
        Direction& now = direction(from->host, to);
        if (now.held()) {
            now.wait([this, from, to, bytes, arrival] { send_in_order(from, to, bytes, arrival); });
        } else {
            arrival();
        }
    });
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
        send_in_order(from, to->host, kHeader + most,
                      [this, to, from, most, piece = std::move(piece)]() mutable {
                          arrived(to, piece);
                          send_in_order(to, from->host, kHeader,
                                        [this, from, most] { answered(from, most); });
                      });
    }
    if (from->unsent_bytes == 0 && from->ends && !from->fin_sent) {
        from->fin_sent = true;
        send_in_order(from, to->host, kHeader, [this, to] { fin_arrived(to); });
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
    send_in_order(from, from->peer_host, kHeader, [this, from, answers] {
        send_in_order(answers, from->host, kHeader, [this, from] { fail(from, ECONNRESET); });
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
    send_in_order(from, to->host, kHeader, [this, to] { fail(to, ECONNRESET); });
}

// The sender hears of the room that there is now.
void SimulatedWorld::read_by_user(const EndpointRef& reader, std::size_t bytes) {
    const EndpointRef sender = reader->peer.lock();
    if (!sender) return;
    send_in_order(reader, sender->host, kHeader, [this, sender, bytes] {
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

// ---- datagrams ----------------------------------------------------------------------------------

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
    const int copies = way.duplicates(numbers_) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        const std::int64_t when = way.alone(now_, kHeader + data.size(), numbers_);
        if (when == Direction::kNever || loses_this()) {
            tell(*from, [&] { return "loses a datagram of " + std::to_string(size) + " bytes"; });
            continue;
        }
        at(when, [this, from, to, own, data, host = *host] {
            if (direction(from->host, host).held()) return;
            const EndpointRef other = bound_at(*from, to, host);
            if (!other) {
                if (from->connected) from->error = ECONNREFUSED;
                return changed(from);
            }
            const bool wanted = !other->connected || other->peer_name == own;
            if (!wanted || other->datagrams.size() >= kMostDatagrams) return;
            tell(*other, [&] {
                return "receives a datagram of " + std::to_string(data.size()) + " bytes";
            });
            other->datagrams.push_back({data, own});
            changed(other);
        });
    }
    return size;
}

// ---- hosts --------------------------------------------------------------------------------------

std::optional<std::uint32_t> SimulatedWorld::find_host(std::string_view name) const {
    for (std::uint32_t i = 0; i < hosts_.size(); ++i) {
        if (hosts_[i].name == name || hosts_[i].address == name) return i;
    }
    return std::nullopt;
}

std::string SimulatedWorld::address_of_name(std::string_view name) const {
    if (name == "localhost") return "127.0.0.1";
    const auto host = find_host(name);
    return host ? hosts_[*host].address : std::string();
}

std::uint32_t SimulatedWorld::host(std::string_view name, std::string_view address) {
    if (const auto known = find_host(name)) return *known;
    std::string own(address);
    const std::size_t number = hosts_.size() + 1;
    if (own.empty()) {
        own = "10.0." + std::to_string(number / 256) + '.' + std::to_string(number % 256);
    }
    if (SocketAddress(own, 0).family() != AF_INET) {
        throw ValueError("a host has an IPv4 address, not " + own);
    }
    if (find_host(own)) throw ValueError("another host has the address " + own);
    hosts_.push_back({std::string(name), std::move(own)});
    return static_cast<std::uint32_t>(hosts_.size() - 1);
}

Direction& SimulatedWorld::direction(std::uint32_t from, std::uint32_t to) {
    const auto found = links_.find({from, to});
    if (found != links_.end()) return found->second;
    // A host's way to itself has nothing on it.
    return links_
        .emplace(std::pair(from, to), Direction(from == to ? LinkOptions() : link_options_))
        .first->second;
}

void SimulatedWorld::set_links(const LinkOptions& options) {
    link_options_ = options;
    for (auto& [ends, way] : links_) {
        if (ends.first != ends.second) way.options() = options;
    }
}

void SimulatedWorld::hold(std::uint32_t from, std::uint32_t to) { direction(from, to).hold(); }

void SimulatedWorld::release(std::uint32_t from, std::uint32_t to) {
    for (const Arrival& leaves : direction(from, to).release()) leaves();
}

void SimulatedWorld::reset(std::uint32_t one, std::uint32_t other) {
    for (const auto& [fd, endpoint] : std::map(sockets_)) {
        const EndpointRef peer = endpoint->peer.lock();
        if (endpoint->kind != Endpoint::Kind::kStream || !peer) continue;
        const bool between = (endpoint->host == one && peer->host == other) ||
                             (endpoint->host == other && peer->host == one);
        if (between) fail(endpoint, ECONNRESET);
    }
}

void SimulatedWorld::crash(std::uint32_t host) {
    for (auto entry = bound_.begin(); entry != bound_.end();) {
        const EndpointRef endpoint = entry->second.lock();
        entry = !endpoint || endpoint->host == host ? bound_.erase(entry) : std::next(entry);
    }
    for (const auto& [fd, endpoint] : std::map(sockets_)) {
        if (endpoint->host != host) continue;
        endpoint->accepted.clear();
        endpoint->received.clear();
        endpoint->received_bytes = endpoint->taken = 0;
        fail(endpoint, ECONNABORTED);
    }
}

void SimulatedWorld::set_timeouts(std::int64_t sending, std::int64_t connecting) {
    sending_timeout_ = sending;
    connecting_timeout_ = connecting;
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

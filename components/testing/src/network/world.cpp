#include "world.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>

#include "addresses.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

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
    if (!endpoint) return;
    for (const auto& [who, changed] : changed_) changed(*endpoint);
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
    endpoint->gone = true;
    // What a listener has accepted has its name, and not its place.
    const auto place = bound_.find(key_of(*endpoint, endpoint->own, endpoint->host));
    if (place != bound_.end() && place->second.lock() == endpoint) bound_.erase(place);
    if (endpoint->state == Endpoint::State::kListening) {
        for (const EndpointRef& waiting : std::exchange(endpoint->accepted, {})) {
            send_reset(waiting);
        }
        endpoint->state = Endpoint::State::kDead;
        return;
    }
    // Within a machine a connection stands before its socket hears of that.
    const EndpointRef peer = endpoint->peer.lock();
    const bool near = peer && peer->host == endpoint->host;
    if (endpoint->state == Endpoint::State::kConnecting && near) {
        endpoint->state = Endpoint::State::kOpen;
    }
    if (endpoint->kind == Endpoint::Kind::kStream && endpoint->state == Endpoint::State::kOpen) {
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
    if (endpoint->state == Endpoint::State::kConnecting) {
        // Whoever has accepted it already is told when its answer comes back to nobody.
        return send_reset(endpoint);
    }
    endpoint->state = Endpoint::State::kDead;
}

// ---- names --------------------------------------------------------------------------------------

std::string SimulatedWorld::key_of(const Endpoint& endpoint, const SocketAddress& address,
                                   std::uint32_t host) const {
    std::string key = std::to_string(host) + (endpoint.kind == Endpoint::Kind::kStream ? 't' : 'u');
    // Safe because these are the bytes of the name, of which an abstract one may be any.
    const std::string_view bytes(static_cast<const char*>(address.data()), address.size());
    if (address.family() == AF_UNIX) return key.append(1, 'x').append(bytes);
    key += std::to_string(address.port()) + ' ';
    return key + (is_any(address) ? "*" : address.host());
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

// As the system chooses one: five hexadecimal digits, unix(7).
SocketAddress SimulatedWorld::next_abstract_name() {
    char digits[8];
    std::snprintf(digits, sizeof digits, "%05x", ++abstract_names_ & 0xfffff);
    return SocketAddress::unix(std::string(1, '\0') + digits);
}

int SimulatedWorld::bind(int fd, const SocketAddress& address) {
    const EndpointRef endpoint = find(fd);
    if (!endpoint) return -EBADF;
    if (address.family() != endpoint->family) return -EINVAL;
    if (address.family() == AF_UNIX) {
        if (!endpoint->own.path().empty()) return -EINVAL;
        const SocketAddress name = address.path().empty() ? next_abstract_name() : address;
        if (bound_at(*endpoint, name, endpoint->host)) return -EADDRINUSE;
        endpoint->own = name;
        bound_[key_of(*endpoint, name, endpoint->host)] = endpoint;
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

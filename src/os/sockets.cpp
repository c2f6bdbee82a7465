// Addresses and sockets as values, over the system's own structures, and the calls that the loop
// uses.
#include "os/sockets.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ostream>
#include <string>
#include <type_traits>

#include "asyncio/exceptions.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
// g++ copies what it passes to a coroutine bitwise, now and then: such a copy must do no harm.
static_assert(std::is_trivially_copyable_v<SocketAddress> &&
              std::is_trivially_copyable_v<OwnedDescriptor>);

namespace {

constexpr std::size_t kPathOffset = offsetof(sockaddr_un, sun_path);

void check(int result) {
    if (result < 0) detail::fail();
}

template <class S>
S read_as(const SocketAddress& address) noexcept {
    static_assert(std::is_trivially_copyable_v<S>);
    S s{};
    std::memcpy(&s, address.data(), std::min(sizeof s, address.size()));
    return s;
}

[[noreturn]] void refuse_host(std::string_view host) {
    throw ValueError(detail::quoted(host) + " does not appear to be an IPv4 or IPv6 address");
}

// The part of an IPv6 host after '%': the name or the number of an interface.
std::uint32_t scope_of(std::string_view host, std::string_view zone) {
    std::uint32_t number = 0;
    const char* const begin = zone.data();
    const char* const end = begin + zone.size();
    const auto parsed = std::from_chars(begin, end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) return number;
    number = ::if_nametoindex(std::string(zone).c_str());
    if (number == 0) refuse_host(host);
    return number;
}

// Bytes as Python prints them: b'\x00name'.
std::string bytes_repr(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text = "b'";
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\\' || c == '\'') {
            text += '\\';
            text += c;
        } else if (byte < 0x20 || byte >= 0x7f) {
            text += "\\x";
            text += kDigits[byte >> 4];
            text += kDigits[byte & 15];
        } else {
            text += c;
        }
    }
    return text + '\'';
}

enum class Whose : bool { kOwn, kPeers };

// getsockname(2), getpeername(2): 0, or -1 and errno.
int find_name(int fd, Whose whose, SocketAddress& found) noexcept {
    const bool of_peer = whose == Whose::kPeers;
    if (auto* const sockets = detail::simulated(fd)) {
        return detail::as_call(
            detail::without_raising([&] { return sockets->name(fd, of_peer, found); }));
    }
    detail::NameRoom name;
    const int result = of_peer ? ::getpeername(fd, name.data(), name.size())
                               : ::getsockname(fd, name.data(), name.size());
    if (result == 0) found = name.address();
    return result;
}

SocketAddress name_of(int fd, Whose whose) {
    SocketAddress name;
    check(find_name(fd, whose, name));
    return name;
}

// getsockopt(2) of a number: 0, or -1 and errno.
int get_option(int fd, int level, int option, int& value) noexcept {
    value = 0;
    if (auto* const sockets = detail::simulated(fd)) {
        std::size_t size = sizeof value;
        // Safe because bytes of a number are written as the system would write them.
        const std::span<char> bytes(reinterpret_cast<char*>(&value), sizeof value);
        return detail::as_call(detail::without_raising(
            [&] { return sockets->get_option(fd, level, option, bytes, size); }));
    }
    socklen_t size = sizeof value;
    return ::getsockopt(fd, level, option, &value, &size);
}

int set_option(int fd, int level, int option, const void* value, std::size_t size) noexcept {
    if (auto* const sockets = detail::simulated(fd)) {
        const std::span<const char> bytes(static_cast<const char*>(value), size);
        return detail::as_call(
            detail::without_raising([&] { return sockets->set_option(fd, level, option, bytes); }));
    }
    return ::setsockopt(fd, level, option, value, static_cast<socklen_t>(size));
}

int close_socket(int fd) noexcept {
    if (auto* const sockets = detail::simulated(fd)) return detail::as_call(sockets->close(fd));
    return ::close(fd);
}

int shut_down(int fd, int how) noexcept {
    if (auto* const sockets = detail::simulated(fd)) {
        return detail::as_call(detail::without_raising([&] { return sockets->shutdown(fd, how); }));
    }
    return ::shutdown(fd, how);
}

int socket_option(int fd, int option) {
    int value = 0;
    check(get_option(fd, SOL_SOCKET, option, value));
    return value;
}

// " laddr=('127.0.0.1', 80)"; nothing if there is no such address.
std::string name_part(int fd, const char* label, Whose whose) {
    try {
        const SocketAddress name = name_of(fd, whose);
        if (!name) return {};
        return std::string(", ") + label + '=' + name.repr();
    } catch (const OSError&) {
        return {};  // It is not connected, or no longer a socket: a repr does not fail.
    }
}

}  // namespace

void detail::PortNumber::throw_bad_port() { throw ValueError("port must be 0-65535."); }

SocketAddress::SocketAddress(std::string_view host, int port, std::uint32_t flowinfo,
                             std::uint32_t scope_id) {
    detail::PortNumber(port).check();
    const std::string_view number = host.substr(0, host.find('%'));
    const std::string text(number);
    if (text.find('\0') != std::string::npos) refuse_host(host);

    sockaddr_in v4{};
    if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
        if (number.size() != host.size()) refuse_host(host);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(static_cast<std::uint16_t>(port));
        std::memcpy(bytes_, &v4, sizeof v4);
        size_ = sizeof v4;
        return;
    }
    sockaddr_in6 v6{};
    if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) != 1) refuse_host(host);
    if (flowinfo > 0xfffff) throw ValueError("flowinfo must be 0-1048575.");
    if (number.size() != host.size()) scope_id = scope_of(host, host.substr(number.size() + 1));
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<std::uint16_t>(port));
    v6.sin6_flowinfo = htonl(flowinfo);
    v6.sin6_scope_id = scope_id;
    std::memcpy(bytes_, &v6, sizeof v6);
    size_ = sizeof v6;
}

SocketAddress SocketAddress::unix(std::string_view path) {
    sockaddr_un un{};
    const bool abstract = !path.empty() && path[0] == '\0';
    // The name of a file ends with a NUL, an abstract one with its length.
    const std::size_t room = abstract ? sizeof un.sun_path : sizeof un.sun_path - 1;
    if (path.size() > room) throw OSError("AF_UNIX path too long");
    if (!abstract && path.find('\0') != path.npos) throw ValueError("embedded null byte");
    un.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), un.sun_path);
    SocketAddress address;
    std::memcpy(address.bytes_, &un, sizeof un);
    address.size_ = static_cast<std::uint32_t>(kPathOffset + path.size());
    if (!path.empty() && !abstract) ++address.size_;
    return address;
}

SocketAddress SocketAddress::from(const void* sockaddr, std::size_t size) noexcept {
    static_assert(sizeof bytes_ >= sizeof(sockaddr_un) && sizeof bytes_ >= sizeof(sockaddr_in6));
    SocketAddress address;
    if (size < sizeof(sa_family_t)) return address;
    // The system may count the NUL after the longest path, which is in no structure.
    const std::size_t kept = std::min(size, sizeof(sockaddr_un));
    std::memcpy(address.bytes_, sockaddr, kept);
    address.size_ = static_cast<std::uint32_t>(kept);
    return address;
}

int SocketAddress::family() const noexcept {
    return size_ == 0 ? AF_UNSPEC : read_as<sockaddr_un>(*this).sun_family;
}

std::string SocketAddress::host() const {
    char text[INET6_ADDRSTRLEN] = {};
    if (family() == AF_INET) {
        const auto v4 = read_as<sockaddr_in>(*this);
        ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    } else if (family() == AF_INET6) {
        const auto v6 = read_as<sockaddr_in6>(*this);
        ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    }
    return text;
}

int SocketAddress::port() const noexcept {
    if (family() == AF_INET) return ntohs(read_as<sockaddr_in>(*this).sin_port);
    if (family() == AF_INET6) return ntohs(read_as<sockaddr_in6>(*this).sin6_port);
    return 0;
}

std::uint32_t SocketAddress::flowinfo() const noexcept {
    return family() == AF_INET6 ? ntohl(read_as<sockaddr_in6>(*this).sin6_flowinfo) : 0;
}

std::uint32_t SocketAddress::scope_id() const noexcept {
    return family() == AF_INET6 ? read_as<sockaddr_in6>(*this).sin6_scope_id : 0;
}

std::string SocketAddress::path() const {
    if (family() != AF_UNIX || size_ <= kPathOffset) return {};
    const auto un = read_as<sockaddr_un>(*this);
    const std::size_t size = size_ - kPathOffset;
    if (un.sun_path[0] == '\0') return {un.sun_path, size};
    return {un.sun_path, ::strnlen(un.sun_path, size)};
}

std::string SocketAddress::repr() const {
    const std::string start = "('" + host() + "', " + std::to_string(port());
    switch (family()) {
        case AF_INET:
            return start + ')';
        case AF_INET6:
            return start + ", " + std::to_string(flowinfo()) + ", " + std::to_string(scope_id()) +
                   ')';
        case AF_UNIX: {
            const std::string name = path();
            return !name.empty() && name[0] == '\0' ? bytes_repr(name) : detail::quoted(name);
        }
        case AF_UNSPEC:
            return "None";
        default: {
            // Safe because bytes may be read as chars.
            const std::string_view raw(reinterpret_cast<const char*>(bytes_), size_);
            return '(' + std::to_string(family()) + ", " +
                   bytes_repr(raw.substr(sizeof(sa_family_t))) + ')';
        }
    }
}

namespace {

// The address alone, of one of IPv4 or IPv6.
std::string_view ip_bytes(const SocketAddress& a) noexcept {
    const bool v4 = a.family() == AF_INET;
    // Safe because bytes may be read as chars.
    return {reinterpret_cast<const char*>(a.data()) +
                (v4 ? offsetof(sockaddr_in, sin_addr) : offsetof(sockaddr_in6, sin6_addr)),
            v4 ? sizeof(in_addr) : sizeof(in6_addr)};
}

}  // namespace

bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept {
    if (a.family() != b.family()) return false;
    switch (a.family()) {
        case AF_INET: {
            const auto x = read_as<sockaddr_in>(a);
            const auto y = read_as<sockaddr_in>(b);
            return x.sin_port == y.sin_port && x.sin_addr.s_addr == y.sin_addr.s_addr;
        }
        case AF_INET6: {
            const auto x = read_as<sockaddr_in6>(a);
            const auto y = read_as<sockaddr_in6>(b);
            return x.sin6_port == y.sin6_port && x.sin6_flowinfo == y.sin6_flowinfo &&
                   x.sin6_scope_id == y.sin6_scope_id &&
                   std::memcmp(&x.sin6_addr, &y.sin6_addr, sizeof x.sin6_addr) == 0;
        }
        case AF_UNIX:
            return a.path() == b.path();
        default:
            return a.size_ == b.size_ && std::memcmp(a.bytes_, b.bytes_, a.size_) == 0;
    }
}

std::strong_ordering operator<=>(const SocketAddress& a, const SocketAddress& b) noexcept {
    if (a.family() != b.family()) return a.family() <=> b.family();
    switch (a.family()) {
        case AF_INET:
        case AF_INET6: {
            const int bytes = ip_bytes(a).compare(ip_bytes(b));
            if (bytes != 0) return bytes <=> 0;
            if (a.port() != b.port()) return a.port() <=> b.port();
            if (a.flowinfo() != b.flowinfo()) return a.flowinfo() <=> b.flowinfo();
            return a.scope_id() <=> b.scope_id();
        }
        case AF_UNIX:
            return a.path() <=> b.path();
        default: {
            const std::size_t shared = std::min(a.size(), b.size());
            const int bytes = shared == 0 ? 0 : std::memcmp(a.data(), b.data(), shared);
            return bytes != 0 ? bytes <=> 0 : a.size() <=> b.size();
        }
    }
}

std::size_t SocketAddress::hash() const noexcept {
    const std::hash<std::string_view> of_text;
    switch (family()) {
        case AF_INET:
        case AF_INET6:
            return of_text(ip_bytes(*this)) * 31 + static_cast<std::size_t>(port());
        case AF_UNIX:
            return of_text(path());
        default:
            // Safe because bytes may be read as chars.
            return of_text({reinterpret_cast<const char*>(bytes_), size_});
    }
}

std::ostream& operator<<(std::ostream& out, const SocketAddress& address) {
    return out << address.repr();
}

// ---- Socket ------------------------------------------------------------------------------------

Socket::Socket(int family, int type, int protocol)
    : fd_(detail::open_socket(family, type | SOCK_NONBLOCK, protocol)) {
    check(fd_);
}

std::pair<Socket, Socket> Socket::pair(int family, int type, int protocol) {
    int fds[2];
    if (auto* const sockets = detail::simulated_sockets) {
        check(detail::as_call(sockets->make_pair(family, type | SOCK_NONBLOCK, fds)));
        return {Socket(fds[0]), Socket(fds[1])};
    }
    check(::socketpair(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol, fds));
    for (int& fd : fds) fd = detail::above_standard(fd);
    Socket one(fds[0]);
    Socket other(fds[1]);
    for (const int fd : fds) check(fd);
    return {std::move(one), std::move(other)};
}

// An error of close() is of no use to anybody: the descriptor is gone all the same.
void Socket::reset(int fd) noexcept {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) close_socket(old);
}

Socket Socket::dup() const {
    const int copy = detail::duplicate_socket(fd_);
    check(copy);
    return Socket(copy);
}

SocketAddress Socket::getsockname() const { return name_of(fd_, Whose::kOwn); }
SocketAddress Socket::getpeername() const { return name_of(fd_, Whose::kPeers); }
int Socket::family() const { return socket_option(fd_, SO_DOMAIN); }
int Socket::type() const { return socket_option(fd_, SO_TYPE); }
int Socket::proto() const { return socket_option(fd_, SO_PROTOCOL); }

void Socket::bind(const SocketAddress& address) const {
    if (const int error = detail::bind_to(fd_, address)) {
        errno = error;
        detail::fail();
    }
}

void Socket::listen(int backlog) const { detail::listen_on(fd_, std::max(backlog, 0)); }
void Socket::shutdown(int how) const { check(shut_down(fd_, how)); }

void Socket::setsockopt(int level, int option, int value) const {
    setsockopt(level, option, &value, sizeof value);
}

void Socket::setsockopt(int level, int option, const void* value, std::size_t size) const {
    check(set_option(fd_, level, option, value, size));
}

int Socket::getsockopt(int level, int option) const {
    int value = 0;
    check(get_option(fd_, level, option, value));
    return value;
}

std::string Socket::repr() const { return detail::socket_repr("asyncio.Socket", fd_); }

std::ostream& operator<<(std::ostream& out, const Socket& socket) { return out << socket.repr(); }

// ---- TransportSocket ---------------------------------------------------------------------------

namespace {

// A Socket that does not own: for the methods that both classes have.
class Borrowed {
  public:
    explicit Borrowed(int fd) noexcept : socket_(fd) {}
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() { socket_.detach(); }
    const Socket* operator->() const noexcept { return &socket_; }

  private:
    Socket socket_;
};

}  // namespace

int TransportSocket::family() const { return Borrowed(fd_)->family(); }
int TransportSocket::type() const { return Borrowed(fd_)->type(); }
int TransportSocket::proto() const { return Borrowed(fd_)->proto(); }
Socket TransportSocket::dup() const { return Borrowed(fd_)->dup(); }
SocketAddress TransportSocket::getsockname() const { return name_of(fd_, Whose::kOwn); }
SocketAddress TransportSocket::getpeername() const { return name_of(fd_, Whose::kPeers); }
void TransportSocket::shutdown(int how) const { check(shut_down(fd_, how)); }

void TransportSocket::setsockopt(int level, int option, int value) const {
    Borrowed(fd_)->setsockopt(level, option, value);
}

int TransportSocket::getsockopt(int level, int option) const {
    return Borrowed(fd_)->getsockopt(level, option);
}

bool TransportSocket::get_inheritable() const {
    if (detail::simulated(fd_)) return false;
    const int flags = ::fcntl(fd_, F_GETFD);
    check(flags);
    return (flags & FD_CLOEXEC) == 0;
}

void TransportSocket::setblocking(bool blocking) const {
    if (blocking) throw ValueError("setblocking(): transport sockets cannot be blocking");
}

void TransportSocket::settimeout(Delay timeout) const {
    if (timeout.is_none() || timeout.count() != 0) {
        throw ValueError("settimeout(): only 0 timeout is allowed on transport sockets");
    }
}

std::string TransportSocket::repr() const {
    return detail::socket_repr("asyncio.TransportSocket", fd_);
}

std::ostream& operator<<(std::ostream& out, const TransportSocket& socket) {
    return out << socket.repr();
}

namespace detail {

std::string socket_repr(const char* class_name, int fd) {
    std::string text = std::string("<") + class_name;
    if (fd < 0) return text + " [closed] fd=-1>";
    text += " fd=" + std::to_string(fd);
    try {
        text += ", family=" + std::to_string(socket_option(fd, SO_DOMAIN)) +
                ", type=" + std::to_string(socket_option(fd, SO_TYPE)) +
                ", proto=" + std::to_string(socket_option(fd, SO_PROTOCOL));
    } catch (const OSError&) {
        return text + '>';  // It is no socket: a repr does not fail.
    }
    return text + name_part(fd, "laddr", Whose::kOwn) + name_part(fd, "raddr", Whose::kPeers) + '>';
}

// ---- names --------------------------------------------------------------------------------------

SocketAddress with_port(const SocketAddress& address, PortNumber port) noexcept {
    // Of IPv4 and IPv6 the port is at the same place.
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    if (!port.given() || (address.family() != AF_INET && address.family() != AF_INET6))
        return address;
    unsigned char raw[sizeof(sockaddr_in6)] = {};
    std::memcpy(raw, address.data(), std::min(sizeof raw, address.size()));
    const std::uint16_t number = htons(static_cast<std::uint16_t>(port));
    std::memcpy(raw + offsetof(sockaddr_in, sin_port), &number, sizeof number);
    return SocketAddress::from(raw, address.size());
}

bool peer_of(int fd, SocketAddress& peer) noexcept {
    return find_name(fd, Whose::kPeers, peer) == 0;
}

int duplicate_socket(int fd) noexcept {
    if (auto* const sockets = simulated(fd)) {
        return as_call(without_raising([&] { return sockets->duplicate(fd); }));
    }
    return ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstOwn);
}

// ---- receiving and sending ----------------------------------------------------------------------

namespace {

constexpr std::size_t kMostPieces = 64;  // of a send: more are not worth their stack

Transferred transferred(std::int64_t result) noexcept {
    if (result < 0) return {0, static_cast<int>(-result)};
    return {static_cast<std::size_t>(result), 0};
}

}  // namespace

Transferred simulated_receive(component::SimulatedSockets& sockets, int fd, std::span<char> memory,
                              SocketAddress* from) noexcept {
    return transferred(without_raising([&] { return sockets.receive(fd, memory, from); }));
}
Transferred simulated_send(component::SimulatedSockets& sockets, int fd,
                           std::span<const std::string_view> pieces,
                           const SocketAddress* to) noexcept {
    return transferred(without_raising([&] { return sockets.send(fd, pieces, to); }));
}

Transferred send_some(int fd, std::span<const std::string_view> pieces,
                      std::size_t& wanted) noexcept {
    iovec vectors[kMostPieces];
    const std::size_t count = std::min(pieces.size(), kMostPieces);
    wanted = 0;
    for (std::size_t i = 0; i < count; ++i) {
        // Safe because sending does not write to it.
        vectors[i] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
        wanted += pieces[i].size();
    }
    if (auto* const sockets = simulated(fd)) {
        return simulated_send(*sockets, fd, pieces.first(count), nullptr);
    }
    msghdr message{};
    message.msg_iov = vectors;
    message.msg_iovlen = count;
    return uninterrupted([&] { return ::sendmsg(fd, &message, kQuietly); });
}

Transferred receive_from(int fd, std::span<char> memory, SocketAddress& from) noexcept {
    if (auto* const sockets = simulated(fd)) return simulated_receive(*sockets, fd, memory, &from);
    NameRoom name;
    const Transferred got = uninterrupted([&] {
        return ::recvfrom(fd, memory.data(), memory.size(), MSG_DONTWAIT, name.data(), name.size());
    });
    if (got.error == 0) from = name.address();
    return got;
}

Transferred send_to(int fd, std::string_view data, const SocketAddress& to) noexcept {
    if (auto* const sockets = simulated(fd)) return simulated_send(*sockets, fd, {&data, 1}, &to);
    return uninterrupted([&] {
        return ::sendto(fd, data.data(), data.size(), kQuietly, sockaddr_of(to), socklen_of(to));
    });
}

// ---- connecting and listening -------------------------------------------------------------------

int bind_to(int fd, const SocketAddress& address) noexcept {
    if (auto* const sockets = simulated(fd)) {
        return -without_raising([&] { return sockets->bind(fd, address); });
    }
    return ::bind(fd, sockaddr_of(address), socklen_of(address)) == 0 ? 0 : errno;
}

int begin_connect(int fd, const SocketAddress& address) noexcept {
    if (auto* const sockets = simulated(fd)) {
        return -without_raising([&] { return sockets->connect(fd, address); });
    }
    return ::connect(fd, sockaddr_of(address), socklen_of(address)) == 0 ? 0 : errno;
}

int pending_error(int fd) noexcept {
    int error = 0;
    return get_option(fd, SOL_SOCKET, SO_ERROR, error) == 0 ? error : -1;
}

void listen_on(int fd, int backlog) {
    auto* const sockets = simulated(fd);
    check(sockets ? as_call(sockets->listen(fd, backlog)) : ::listen(fd, backlog));
}

int accept_one(int fd, SocketAddress& from) noexcept {
    if (auto* const sockets = simulated(fd)) {
        return without_raising([&] { return sockets->accept(fd, from); });
    }
    NameRoom name;
    const int accepted =
        above_standard(::accept4(fd, name.data(), name.size(), SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted < 0) return -errno;
    from = name.address();
    return accepted;
}

bool concerns_one_connection(int error) noexcept {
    switch (error) {
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
            return true;
        default:
            return false;
    }
}

void set_no_delay(int fd) noexcept {
    const int on = 1;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// ---- what a unix socket leaves in the file system -----------------------------------------------

std::optional<SocketFile> file_of(const Socket& socket) {
    const std::string path = socket.getsockname().path();
    struct stat found{};
    const bool abstract = path.empty() || path[0] == '\0';
    if (abstract || ::stat(path.c_str(), &found) != 0) return std::nullopt;
    return SocketFile{path, found.st_ino};
}

int remove_file(const SocketFile& file) noexcept {
    struct stat found{};
    if (::stat(file.path.c_str(), &found) != 0 || found.st_ino != file.inode) return 0;
    return ::unlink(file.path.c_str()) == 0 || errno == ENOENT ? 0 : errno;
}

int remove_stale_file(const std::string& path) noexcept {
    struct stat found{};
    const bool there = ::stat(path.c_str(), &found) == 0;
    if (there && (!S_ISSOCK(found.st_mode) || ::unlink(path.c_str()) == 0)) return 0;
    return errno == ENOENT ? 0 : errno;
}

}  // namespace detail

}  // namespace v1
}  // namespace asyncio

// Sockets and their addresses as values, and the loop's methods on plain descriptors: sock_*,
// getaddrinfo, getnameinfo. RS-*, DN-*.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/time.hpp"

// Compilers in GNU mode define it as 1.
#undef unix

namespace asyncio {
inline namespace v1 {

// The address of an end of a connection: IPv4, IPv6 with flow label and scope, a unix path or an
// abstract name (its first byte is NUL), or nothing. Trivially copyable; prints as Python's tuple
// or path.
class ASYNCIO_API SocketAddress {
  public:
    // Of no family: of an unnamed unix socket, say.
    constexpr SocketAddress() noexcept = default;
    // `host`: numeric, "127.0.0.1", "::1", "fe80::1%eth0"; names are for getaddrinfo().
    // Raises: ValueError "'name' does not appear to be an IPv4 or IPv6 address", "port must be
    // 0-65535.", "flowinfo must be 0-1048575.".
    SocketAddress(std::string_view host, int port, std::uint32_t flowinfo = 0,
                  std::uint32_t scope_id = 0);
    // `path`: of a file; an abstract name, which begins with NUL; "": the system chooses an
    // abstract name when it is bound. unix(7).
    // Raises: OSError "AF_UNIX path too long"; ValueError "embedded null byte".
    static SocketAddress unix(std::string_view path);
    // Takes a `sockaddr` of the system. `size`: its bytes. Of families other than the above the
    // first 110 bytes are kept, which is more than any has.
    static SocketAddress from(const void* sockaddr, std::size_t size) noexcept;

    // AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC (0).
    int family() const noexcept;
    std::string host() const;                 // "" if it is no IP address
    int port() const noexcept;                // 0 if it is no IP address
    std::string path() const;                 // "" if it is no unix address
    std::uint32_t flowinfo() const noexcept;  // of IPv6
    std::uint32_t scope_id() const noexcept;  // of IPv6
    explicit operator bool() const noexcept { return size_ != 0; }

    // For the system's calls: a `const sockaddr*` and its size.
    const void* data() const noexcept { return bytes_; }
    std::size_t size() const noexcept { return size_; }

    // `('127.0.0.1', 80)`, `('::1', 80, 0, 0)`, `'/path'`, `b'\x00name'`.
    std::string repr() const;
    friend ASYNCIO_API bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept;
    // By family, then by address, port, flow label and scope, or by path.
    friend ASYNCIO_API std::strong_ordering operator<=>(const SocketAddress& a,
                                                        const SocketAddress& b) noexcept;
    // What std::hash gives.
    std::size_t hash() const noexcept;

  private:
    alignas(8) unsigned char bytes_[112] = {};
    std::uint32_t size_ = 0;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const SocketAddress& address);

namespace detail {

// A port that may be absent: a number that is given is one, even -1, and then refused.
class PortNumber {
  public:
    constexpr PortNumber() noexcept = default;
    constexpr PortNumber(int number) noexcept : number_(number), given_(true) {}
    constexpr bool given() const noexcept { return given_; }
    // Without an absent one's -1, to be used after check().
    constexpr operator int() const noexcept { return number_; }
    // Raises: ValueError "port must be 0-65535." if it is given and none.
    void check() const {
        if (given_ && (number_ < 0 || number_ > 0xffff)) throw_bad_port();
    }

  private:
    [[noreturn]] ASYNCIO_API static void throw_bad_port();

    int number_ = -1;
    bool given_ = false;
};

}  // namespace detail

// An address in options: `{.local_addr = {"127.0.0.1", 0}}`. Without a port: `{"/path"}`.
struct HostPort {
    std::string_view host = {};    // a name or an address; a unix socket's path
    detail::PortNumber port = {};  // an int; none: of a unix socket
    // Whether there is anything in it.
    constexpr bool given() const noexcept { return port.given() || !host.empty(); }
};

// Owns the descriptor of a socket; closes it when it goes. One that is made here is non-blocking
// and close-on-exec.
class ASYNCIO_API Socket {
  public:
    Socket() noexcept = default;
    // Takes `fd` over, blocking or not, as it is.
    explicit Socket(int fd) noexcept : fd_(fd) {}
    // A new one. Raises: OSError.
    Socket(int family, int type, int protocol = 0);
    Socket(Socket&& other) noexcept : fd_(other.detach()) {}
    Socket& operator=(Socket&& other) noexcept {
        if (this != &other) reset(other.detach());
        return *this;
    }
    ~Socket() { close(); }
    // Two that are connected to one another. Raises: OSError.
    static std::pair<Socket, Socket> pair(int family = 1, int type = 1, int protocol = 0);

    // -1 if closed.
    int fileno() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    // Closes it, if it is not closed.
    void close() noexcept { reset(-1); }
    // Gives the descriptor away.
    int detach() noexcept {
        const int fd = fd_;
        fd_ = -1;
        return fd;
    }
    // The system's calls of these names. Raises: OSError.
    Socket dup() const;
    SocketAddress getsockname() const;
    SocketAddress getpeername() const;
    // AF_INET, SOCK_STREAM, IPPROTO_TCP and their kin. Raises: OSError.
    int family() const;
    int type() const;
    int proto() const;
    // The system's calls of these names. Raises: OSError.
    void bind(const SocketAddress& address) const;
    void listen(int backlog = 100) const;
    void shutdown(int how) const;
    void setsockopt(int level, int option, int value) const;
    void setsockopt(int level, int option, const void* value, std::size_t size) const;
    int getsockopt(int level, int option) const;
    // `<asyncio.Socket fd=7, family=2, type=1, proto=6, laddr=('127.0.0.1', 80)>`.
    std::string repr() const;

  private:
    void reset(int fd) noexcept;
    int fd_ = -1;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const Socket& socket);

// A look at the socket of a transport, which stays its owner: TransportSocket(fd), with the int of
// get_extra_info<int>("socket"). Valid while that transport is open. TR-14.
class ASYNCIO_API TransportSocket {
  public:
    // `fd`: the transport's own, borrowed.
    explicit constexpr TransportSocket(int fd) noexcept : fd_(fd) {}

    // The number that it was made from.
    constexpr int fileno() const noexcept { return fd_; }
    // AF_INET, SOCK_STREAM, IPPROTO_TCP and their kin. Raises: OSError.
    int family() const;
    int type() const;
    int proto() const;
    // The system's calls of these names. Raises: OSError.
    Socket dup() const;
    SocketAddress getsockname() const;
    SocketAddress getpeername() const;
    void setsockopt(int level, int option, int value) const;
    int getsockopt(int level, int option) const;
    void shutdown(int how) const;
    // Whether programs that are started get it. Raises: OSError.
    bool get_inheritable() const;

    // Never blocking: 0.
    constexpr double gettimeout() const noexcept { return 0; }
    // Does nothing. Raises: ValueError "setblocking(): transport sockets cannot be blocking" if
    // `blocking`.
    void setblocking(bool blocking) const;
    // Does nothing. Raises: ValueError "settimeout(): only 0 timeout is allowed on transport
    // sockets" but for 0.
    void settimeout(Delay timeout) const;

    // `<asyncio.TransportSocket fd=7, family=2, type=1, proto=6, laddr=('127.0.0.1', 80)>`.
    std::string repr() const;

  private:
    int fd_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const TransportSocket& socket);

namespace detail {
// `<NAME fd=7, family=2, ...>`; never fails.
ASYNCIO_API std::string socket_repr(const char* class_name, int fd);
}  // namespace detail

// A descriptor that a call borrows: an int or a Socket.
class FileDescriptor {
  public:
    // Made implicitly from either.
    constexpr FileDescriptor(int fd) noexcept : fd_(fd) {}
    FileDescriptor(const Socket& s) noexcept : fd_(s.fileno()) {}
    // Its number.
    constexpr int fileno() const noexcept { return fd_; }

  private:
    int fd_;
};

// A descriptor that a call takes over, on failure too: an int, or a Socket, which is empty
// afterwards. Trivially copyable, so it may stand in options.
class OwnedDescriptor {
  public:
    // None; or made implicitly from either.
    constexpr OwnedDescriptor() noexcept = default;
    constexpr OwnedDescriptor(int fd) noexcept : fd_(fd) {}
    OwnedDescriptor(Socket&& s) noexcept : fd_(s.detach()) {}
    OwnedDescriptor(Socket& s) noexcept : fd_(s.detach()) {}
    // Its number; -1: none.
    constexpr int fileno() const noexcept { return fd_; }
    // Whether there is one.
    constexpr bool given() const noexcept { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

// Of getaddrinfo(): what the addresses are for, as getaddrinfo(3) has it; 0: any.
struct AddrInfoOptions {
    int family = 0;  // AF_INET, AF_INET6
    int type = 0;    // SOCK_STREAM, SOCK_DGRAM
    int proto = 0;   // IPPROTO_TCP, IPPROTO_UDP
    int flags = 0;   // AI_PASSIVE and its kin
};

// One answer of getaddrinfo().
struct AddrInfo {
    int family = 0;         // AF_INET, AF_INET6
    int type = 0;           // SOCK_STREAM, SOCK_DGRAM
    int proto = 0;          // IPPROTO_TCP, IPPROTO_UDP
    std::string canonname;  // the host's own name, with AI_CANONNAME; else ""
    SocketAddress address;  // with the port
};

}  // namespace v1
}  // namespace asyncio

template <>
struct std::hash<asyncio::SocketAddress> {
    std::size_t operator()(const asyncio::SocketAddress& address) const noexcept {
        return address.hash();
    }
};

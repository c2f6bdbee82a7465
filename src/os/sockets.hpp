// Calls on sockets that the loop uses. What POSIX names (AF_*, SOL_*, sockaddr ...) comes with this
// header; an errno stays an errno here, and whoever calls makes an exception of it.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "asyncio/component/io_channels.hpp"
#include "asyncio/sockets.hpp"
#include "os/posix.hpp"
#include "os/simulated.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// socket(2), close-on-exec and above the standard streams: -1 and errno if there is none.
inline int open_socket(int family, int type, int protocol) noexcept {
    if (simulated_sockets) [[unlikely]] {
        return as_call(
            without_raising([&] { return simulated_sockets->make(family, type, protocol); }));
    }
    return above_standard(::socket(family, type | SOCK_CLOEXEC, protocol));
}

// ---- names --------------------------------------------------------------------------------------

inline const sockaddr* sockaddr_of(const SocketAddress& address) noexcept {
    return static_cast<const sockaddr*>(address.data());
}
inline socklen_t socklen_of(const SocketAddress& address) noexcept {
    return static_cast<socklen_t>(address.size());
}

// Where the system writes the name of a socket.
class NameRoom {
  public:
    // Safe because the system writes a sockaddr of whatever family into that storage.
    sockaddr* data() noexcept { return reinterpret_cast<sockaddr*>(&storage_); }
    socklen_t* size() noexcept { return &size_; }
    SocketAddress address() const noexcept { return SocketAddress::from(&storage_, size_); }

  private:
    sockaddr_storage storage_;
    socklen_t size_ = sizeof storage_;
};

// The same address with another port; as it is if it has none.
SocketAddress with_port(const SocketAddress& address, PortNumber port) noexcept;

// getpeername(2). False, and `peer` as it was, if nothing is connected.
bool peer_of(int fd, SocketAddress& peer) noexcept;

// F_DUPFD_CLOEXEC of fcntl(2): another number for the same. -1 and errno if there is none.
int duplicate_socket(int fd) noexcept;

// ---- receiving and sending ----------------------------------------------------------------------

// Each is called again while signals interrupt it, never waits, and raises no SIGPIPE: another
// process that shares the descriptor may have made it a blocking one.
inline constexpr int kQuietly = MSG_NOSIGNAL | MSG_DONTWAIT;

template <class Call>
Transferred uninterrupted(Call call) noexcept {
    ssize_t n;
    do {
        n = call();
    } while (n < 0 && errno == EINTR);
    if (n < 0) return {0, errno};
    return {static_cast<std::size_t>(n), 0};
}

// The same of a simulated socket. `to`, `from`: of datagrams; may be null.
Transferred simulated_receive(component::SimulatedSockets& sockets, int fd, std::span<char> memory,
                              SocketAddress* from) noexcept;
Transferred simulated_send(component::SimulatedSockets& sockets, int fd,
                           std::span<const std::string_view> pieces,
                           const SocketAddress* to) noexcept;

inline Transferred receive_some(int fd, std::span<char> memory) noexcept {
    if (auto* const sockets = simulated(fd))
        return simulated_receive(*sockets, fd, memory, nullptr);
    return uninterrupted([&] { return ::recv(fd, memory.data(), memory.size(), MSG_DONTWAIT); });
}
inline Transferred send_some(int fd, std::string_view data) noexcept {
    if (auto* const sockets = simulated(fd))
        return simulated_send(*sockets, fd, {&data, 1}, nullptr);
    return uninterrupted([&] { return ::send(fd, data.data(), data.size(), kQuietly); });
}
// sendmsg(2). `wanted`: what was to be sent, bytes; of many pieces only the first ones are.
Transferred send_some(int fd, std::span<const std::string_view> pieces,
                      std::size_t& wanted) noexcept;
// A datagram, with who sent it or whom it is sent to.
Transferred receive_from(int fd, std::span<char> memory, SocketAddress& from) noexcept;
Transferred send_to(int fd, std::string_view data, const SocketAddress& to) noexcept;
// shutdown(2): nothing more is sent. It fails if the peer has reset the connection, which is found
// when it is read.
inline void end_sending(int fd) noexcept {
    if (auto* const sockets = simulated(fd)) {
        without_raising([&] { return sockets->shutdown(fd, SHUT_WR); });
    } else {
        ::shutdown(fd, SHUT_WR);
    }
}

// ---- connecting and listening -------------------------------------------------------------------

// bind(2): 0 or an errno.
int bind_to(int fd, const SocketAddress& address) noexcept;
// connect(2): 0 or an errno. EINPROGRESS and EINTR: it goes on by itself until the socket is
// writable, and pending_error() says how it ended.
int begin_connect(int fd, const SocketAddress& address) noexcept;
// SO_ERROR: 0 or an errno; -1 and errno if it cannot be asked.
int pending_error(int fd) noexcept;
// listen(2). Raises: OSError.
void listen_on(int fd, int backlog);
// accept4(2), non-blocking and close-on-exec: the descriptor, or an errno as a negative number.
int accept_one(int fd, SocketAddress& from) noexcept;
// Whether an errno of accept(2) is one connection's that came before it could be accepted: the
// next one may be fine.
bool concerns_one_connection(int error) noexcept;
// TCP_NODELAY, which accepted sockets inherit. Does nothing where it is no TCP socket.
void set_no_delay(int fd) noexcept;

// ---- what a unix socket leaves in the file system -----------------------------------------------

// The file that a unix socket is bound to.
struct SocketFile {
    std::string path;
    std::uint64_t inode = 0;
};
// None of an abstract name. Raises: OSError if it is no socket.
ASYNCIO_API std::optional<SocketFile> file_of(const Socket& socket);
// Unlinks it, if it is still the one that was bound. 0 or an errno.
ASYNCIO_API int remove_file(const SocketFile& file) noexcept;
// Unlinks what a program that has ended left there; files of other kinds stay. 0 or an errno.
ASYNCIO_API int remove_stale_file(const std::string& path) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

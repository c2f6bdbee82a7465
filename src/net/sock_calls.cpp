// The loop's calls on plain sockets, sock_*: RS-01 to RS-06. Each is tried at once, and again
// whenever the socket is ready, in the step of the task that awaits it.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/transports.hpp"
#include "net/fd_wait.hpp"
#include "net/resolver.hpp"
#include "os/blocking.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- waiting for a descriptor ------------------------------------------------------------------

void check_awaited_here(EventLoop& loop) {
    loop.impl().check_open();
    if (loop.core().runs_here()) return;
    throw RuntimeError("this loop does not run in the task that awaits its call");
}

void refuse_blocking(int fd) {
    if (is_blocking(fd)) throw ValueError("the socket must be non-blocking");
}

// The loop's end of an FdWait, which may go while this is in the ready queue.
class FdWatch final : public HandleState {
  public:
    FdWatch(Loop& loop, FdWait& owner)
        : HandleState(loop, ContextSlot(), std::source_location::current(), false),
          owner_(&owner) {}
    void abandon() noexcept { owner_ = nullptr; }

  private:
    void invoke() override {
        if (owner_) owner_->wake();
    }
    // Cancelled by add_reader for another, or by remove_reader.
    void clear() noexcept override {
        FdWait* const owner = std::exchange(owner_, nullptr);
        if (!owner) return;
        owner->replaced_ = true;
        owner->wake();
    }

    FdWait* owner_;
};

FdWait::FdWait(Loop& loop, int fd, bool write)
    : loop_(loop),
      watch_(Ref<HandleState>::adopt(new FdWatch(loop, *this))),
      fd_(fd),
      write_(write) {
    loop_.watch(fd, write, watch_);
}

FdWait::~FdWait() {
    // Safe because the constructor made it of that class.
    static_cast<FdWatch&>(*watch_).abandon();
    if (watch_->cancelled()) return;
    try {
        loop_.unwatch(fd_, write_);
    } catch (const std::exception&) {
        // The descriptor was closed meanwhile: nothing watches it.
    }
}

void FdWait::await_resume() {
    if (std::exception_ptr error = waiter_.resume()) std::rethrow_exception(std::move(error));
    if (!replaced_) return;
    throw RuntimeError("File descriptor " + std::to_string(fd_) +
                       " is no longer watched for this call: another one took its place, or "
                       "remove_reader or remove_writer was called");
}

namespace {

// ---- what all calls have -----------------------------------------------------------------------

// What a call gave; nothing if it would block. Raises: OSError.
std::optional<std::size_t> bytes_of(Transferred transferred) {
    if (transferred.error == 0) return transferred.size;
    if (transferred.error == EAGAIN || transferred.error == EWOULDBLOCK) return std::nullopt;
    std::rethrow_exception(make_os_error(transferred.error));
}

// Awaits until `tries()` gives something, once now and then whenever `fd` is ready.
template <class Tries>
auto operate(EventLoop& loop, int fd, bool write, Tries tries)
    -> Coroutine<typename decltype(tries())::value_type> {
    check_awaited_here(loop);
    loop.impl().check_no_channel(fd);
    if (loop.get_debug()) refuse_blocking(fd);
    if (auto result = tries()) co_return std::move(*result);
    FdWait ready(loop.impl(), fd, write);
    for (;;) {
        co_await ready;
        if (auto result = tries()) co_return std::move(*result);
    }
}

// ---- receiving ---------------------------------------------------------------------------------

// A call may ask for up to a huge number of bytes: that many are not set aside for what is smaller.
// No datagram is as long as that.
constexpr std::size_t kMostReceived = std::size_t{16} << 20;
constexpr std::size_t kOnStack = std::size_t{64} << 10;

// Receives into memory of its own and copies what came: a string as long as that, and nothing is
// held while the call waits.
template <class Receive>
std::optional<std::string> receive_string(std::size_t n, Receive receive) {
    n = std::min(n, kMostReceived);
    char small[kOnStack];
    std::unique_ptr<char[]> large;
    if (n > sizeof small) large = std::make_unique_for_overwrite<char[]>(n);
    char* const at = large ? large.get() : small;
    const auto received = bytes_of(receive(std::span<char>(at, n)));
    if (!received) return std::nullopt;
    return std::string(at, *received);
}

// Of no bytes it asks for nothing, as CPython's: the system would wait until there are some.
std::optional<std::string> try_recv(int fd, std::size_t n) {
    if (n == 0) return std::string();
    return receive_string(n, [fd](std::span<char> at) { return receive_some(fd, at); });
}

std::optional<std::size_t> try_recv_into(int fd, std::span<char> buffer) {
    if (buffer.empty()) return 0;
    return bytes_of(receive_some(fd, buffer));
}

std::optional<std::pair<std::string, SocketAddress>> try_recvfrom(int fd, std::size_t n) {
    SocketAddress from;
    auto data = receive_string(n, [&](std::span<char> at) { return receive_from(fd, at, from); });
    if (!data) return std::nullopt;
    return std::pair(std::move(*data), from);
}

std::optional<std::pair<std::size_t, SocketAddress>> try_recvfrom_into(int fd,
                                                                       std::span<char> buffer) {
    SocketAddress from;
    const auto n = bytes_of(receive_from(fd, buffer, from));
    if (!n) return std::nullopt;
    return std::pair(*n, from);
}

std::span<char> writable_chars(std::span<std::byte> bytes) noexcept {
    // Safe because bytes may be written as chars.
    return {reinterpret_cast<char*>(bytes.data()), bytes.size()};
}

std::span<char> first_bytes(std::span<char> buffer, std::size_t n) {
    if (n == 0) return buffer;
    if (n > buffer.size()) throw ValueError("nbytes is greater than the length of the buffer");
    return buffer.first(n);
}

Coroutine<std::pair<std::size_t, SocketAddress>> recvfrom_into(EventLoop& loop, int fd,
                                                               std::span<char> buffer,
                                                               std::size_t nbytes) {
    const std::span<char> room = first_bytes(buffer, nbytes);
    return operate(loop, fd, false, [fd, room] { return try_recvfrom_into(fd, room); });
}

// ---- sending -----------------------------------------------------------------------------------

// Sends what is left of `data`; true once that is all.
std::optional<bool> try_send(int fd, std::string_view& data) {
    const auto n = bytes_of(send_some(fd, data));
    if (!n) return std::nullopt;
    data.remove_prefix(*n);
    if (!data.empty()) return std::nullopt;
    return true;
}

Coroutine<void> sendall(EventLoop& loop, int fd, std::string_view data) {
    co_await operate(loop, fd, true, [fd, data]() mutable { return try_send(fd, data); });
}

std::optional<std::size_t> try_sendto(int fd, std::string_view data, const SocketAddress& to) {
    return bytes_of(send_to(fd, data, to));
}

constexpr auto kLongestRetry = std::chrono::milliseconds(64);

// The receiver's queue of an unconnected unix socket is full: nothing tells when it has room, and
// the socket itself is always writable.
Coroutine<std::size_t> sendto_unix(EventLoop& loop, int fd, std::string_view data,
                                   SocketAddress to) {
    check_awaited_here(loop);
    loop.impl().check_no_channel(fd);
    if (loop.get_debug()) refuse_blocking(fd);
    auto sent = try_sendto(fd, data, to);
    for (auto delay = std::chrono::milliseconds(1); !sent;
         delay = std::min(2 * delay, kLongestRetry)) {
        co_await sleep(delay);
        sent = try_sendto(fd, data, to);
    }
    co_return *sent;
}

// ---- connections -------------------------------------------------------------------------------

[[noreturn]] void fail_connect(int error, const SocketAddress& address) {
    std::rethrow_exception(make_os_error(error, "Connect call failed " + address.repr()));
}

bool is_internet(const SocketAddress& address) noexcept {
    return address.family() == AF_INET || address.family() == AF_INET6;
}

Coroutine<void> connect(EventLoop& loop, int fd, SocketAddress address) {
    check_awaited_here(loop);
    loop.impl().check_no_channel(fd);
    refuse_blocking(fd);
    int error = begin_connect(fd, address);
    // The queue of a unix server is full, and nothing tells when it has room.
    for (auto delay = std::chrono::milliseconds(1); error == EAGAIN;
         delay = std::min(2 * delay, kLongestRetry)) {
        co_await sleep(delay);
        error = begin_connect(fd, address);
    }
    // Interrupted, it goes on by itself.
    if (error == EINPROGRESS || error == EINTR) {
        FdWait ready(loop.impl(), fd, true);
        co_await ready;
        error = pending_error(fd);
        if (error < 0) fail();
        if (error > 0) fail_connect(error, address);
    }
    if (error == 0) co_return;
    if (is_internet(address)) fail_connect(error, address);
    std::rethrow_exception(make_os_error(error));
}

Coroutine<void> connect_to_host(EventLoop& loop, int fd, std::string host, int port) {
    check_awaited_here(loop);
    const TransportSocket socket(fd);
    const auto found =
        co_await resolve(loop, host, port, socket.family(), socket.type(), socket.proto());
    if (found.empty()) throw OSError("getaddrinfo() returned empty list");
    co_await connect(loop, fd, found.front().address);
}

std::optional<std::pair<Socket, SocketAddress>> try_accept(int fd) {
    SocketAddress from;
    int accepted;
    do {
        accepted = accept_one(fd, from);
    } while (accepted == -EINTR);
    if (accepted >= 0) return std::pair(Socket(accepted), from);
    if (accepted == -EAGAIN || accepted == -EWOULDBLOCK) return std::nullopt;
    std::rethrow_exception(make_os_error(-accepted));
}

}  // namespace
}  // namespace detail

using detail::operate;

Coroutine<std::string> EventLoop::sock_recv(FileDescriptor sock, std::size_t n) {
    const int fd = sock.fileno();
    return operate(*this, fd, false, [fd, n] { return detail::try_recv(fd, n); });
}

Coroutine<std::size_t> EventLoop::sock_recv_into(FileDescriptor sock, std::span<char> buffer) {
    const int fd = sock.fileno();
    return operate(*this, fd, false, [fd, buffer] { return detail::try_recv_into(fd, buffer); });
}

Coroutine<std::size_t> EventLoop::sock_recv_into(FileDescriptor sock, std::span<std::byte> buffer) {
    return sock_recv_into(sock, detail::writable_chars(buffer));
}

Coroutine<std::pair<std::string, SocketAddress>> EventLoop::sock_recvfrom(FileDescriptor sock,
                                                                          std::size_t n) {
    const int fd = sock.fileno();
    return operate(*this, fd, false, [fd, n] { return detail::try_recvfrom(fd, n); });
}

Coroutine<std::pair<std::size_t, SocketAddress>> EventLoop::sock_recvfrom_into(
    FileDescriptor sock, std::span<char> buffer, std::size_t nbytes) {
    return detail::recvfrom_into(*this, sock.fileno(), buffer, nbytes);
}

Coroutine<std::pair<std::size_t, SocketAddress>> EventLoop::sock_recvfrom_into(
    FileDescriptor sock, std::span<std::byte> buffer, std::size_t nbytes) {
    return detail::recvfrom_into(*this, sock.fileno(), detail::writable_chars(buffer), nbytes);
}

Coroutine<void> EventLoop::sock_sendall(FileDescriptor sock, std::string_view data) {
    return detail::sendall(*this, sock.fileno(), data);
}

Coroutine<void> EventLoop::sock_sendall(FileDescriptor sock, std::span<const std::byte> data) {
    return detail::sendall(*this, sock.fileno(), detail::as_chars(data));
}

Coroutine<std::size_t> EventLoop::sock_sendto(FileDescriptor sock, std::string_view data,
                                              const SocketAddress& address) {
    const int fd = sock.fileno();
    if (address.family() == AF_UNIX) return detail::sendto_unix(*this, fd, data, address);
    return operate(*this, fd, true,
                   [fd, data, address] { return detail::try_sendto(fd, data, address); });
}

Coroutine<std::size_t> EventLoop::sock_sendto(FileDescriptor sock, std::span<const std::byte> data,
                                              const SocketAddress& address) {
    return sock_sendto(sock, detail::as_chars(data), address);
}

Coroutine<void> EventLoop::sock_connect(FileDescriptor sock, const SocketAddress& address) {
    return detail::connect(*this, sock.fileno(), address);
}

Coroutine<void> EventLoop::sock_connect(FileDescriptor sock, std::string_view host, int port) {
    return detail::connect_to_host(*this, sock.fileno(), std::string(host), port);
}

Coroutine<std::pair<Socket, SocketAddress>> EventLoop::sock_accept(FileDescriptor sock) {
    const int fd = sock.fileno();
    return operate(*this, fd, false, [fd] {
        detail::refuse_blocking(fd);
        return detail::try_accept(fd);
    });
}

}  // namespace v1
}  // namespace asyncio

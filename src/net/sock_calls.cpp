// The loop's calls on plain sockets, sock_*: RS-01 to RS-06. Each is tried at once, and again
// whenever the socket is ready, in the step of the task that awaits it.
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
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
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- waiting for a descriptor ------------------------------------------------------------------

void check_awaited_here(EventLoop& loop) {
    loop.impl().check_open();
    if (loop.core().runs_here()) return;
    throw RuntimeError("this loop does not run in the task that awaits its call");
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

bool would_block() noexcept { return errno == EAGAIN || errno == EWOULDBLOCK; }

bool is_blocking(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) == 0;
}

void refuse_blocking(int fd) {
    if (is_blocking(fd)) throw ValueError("the socket must be non-blocking");
}

// Calls `call()` until no signal interrupts it. Returns what it gave; nothing if it would block.
template <class Call>
auto attempt(Call call) -> std::optional<decltype(call())> {
    for (;;) {
        const auto result = call();
        if (result >= 0) return result;
        if (would_block()) return std::nullopt;
        if (errno != EINTR) fail();
    }
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

// Where the system writes an address.
class AddressRoom {
  public:
    sockaddr* data() noexcept {
        size_ = sizeof storage_;
        // Safe because the system writes a sockaddr of whatever family into that storage.
        return reinterpret_cast<sockaddr*>(&storage_);
    }
    socklen_t* size() noexcept { return &size_; }
    SocketAddress address() const noexcept { return SocketAddress::from(&storage_, size_); }

  private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

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
    const auto received = attempt([&] { return receive(at, n); });
    if (!received) return std::nullopt;
    return std::string(at, static_cast<std::size_t>(*received));
}

// Of no bytes it asks for nothing, as CPython's: the system would wait until there are some.
std::optional<std::string> try_recv(int fd, std::size_t n) {
    if (n == 0) return std::string();
    return receive_string(
        n, [fd](char* at, std::size_t size) { return ::recv(fd, at, size, MSG_DONTWAIT); });
}

std::optional<std::size_t> try_recv_into(int fd, std::span<char> buffer) {
    if (buffer.empty()) return 0;
    const auto n = attempt([&] { return ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT); });
    if (!n) return std::nullopt;
    return static_cast<std::size_t>(*n);
}

std::optional<std::pair<std::string, SocketAddress>> try_recvfrom(int fd, std::size_t n) {
    AddressRoom from;
    auto data = receive_string(n, [&](char* at, std::size_t size) {
        sockaddr* const where = from.data();
        return ::recvfrom(fd, at, size, MSG_DONTWAIT, where, from.size());
    });
    if (!data) return std::nullopt;
    return std::pair(std::move(*data), from.address());
}

std::optional<std::pair<std::size_t, SocketAddress>> try_recvfrom_into(int fd,
                                                                       std::span<char> buffer) {
    AddressRoom from;
    const auto n = attempt([&] {
        sockaddr* const where = from.data();
        return ::recvfrom(fd, buffer.data(), buffer.size(), MSG_DONTWAIT, where, from.size());
    });
    if (!n) return std::nullopt;
    return std::pair(static_cast<std::size_t>(*n), from.address());
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
    const auto n =
        attempt([&] { return ::send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
    if (!n) return std::nullopt;
    data.remove_prefix(static_cast<std::size_t>(*n));
    if (!data.empty()) return std::nullopt;
    return true;
}

Coroutine<void> sendall(EventLoop& loop, int fd, std::string_view data) {
    co_await operate(loop, fd, true, [fd, data]() mutable { return try_send(fd, data); });
}

std::optional<std::size_t> try_sendto(int fd, std::string_view data, const SocketAddress& to) {
    const auto n = attempt([&] {
        return ::sendto(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                        static_cast<const sockaddr*>(to.data()), static_cast<socklen_t>(to.size()));
    });
    if (!n) return std::nullopt;
    return static_cast<std::size_t>(*n);
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

// How a connection that was under way has ended.
int pending_error(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) fail();
    return error;
}

bool is_internet(const SocketAddress& address) noexcept {
    return address.family() == AF_INET || address.family() == AF_INET6;
}

// Begins to connect; 0 or an errno.
int begin_connect(int fd, const SocketAddress& address) noexcept {
    const int result = ::connect(fd, static_cast<const sockaddr*>(address.data()),
                                 static_cast<socklen_t>(address.size()));
    return result == 0 ? 0 : errno;
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
        if (error != 0) fail_connect(error, address);
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
    AddressRoom from;
    const auto accepted = attempt([&] {
        sockaddr* const where = from.data();
        return above_standard(::accept4(fd, where, from.size(), SOCK_NONBLOCK | SOCK_CLOEXEC));
    });
    if (!accepted) return std::nullopt;
    return std::pair(Socket(*accepted), from.address());
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

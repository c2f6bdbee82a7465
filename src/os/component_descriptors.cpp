#include <cerrno>

#include "asyncio/component/descriptors.hpp"
#include "os/descriptors.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

// Always one of the system's, since the library that asks for it calls the system itself.
int open_socket(int family, int type, int protocol) noexcept {
    return asyncio::detail::above_standard(::socket(family, type | SOCK_CLOEXEC, protocol));
}

// After EINTR the number may be another's already.
int close_descriptor(int fd) noexcept { return ::close(fd); }

SocketAddress peer_address(int fd) noexcept {
    asyncio::detail::NameRoom name;
    return ::getpeername(fd, name.data(), name.size()) == 0 ? name.address() : SocketAddress();
}

SocketAddress own_address(int fd) noexcept {
    asyncio::detail::NameRoom name;
    return ::getsockname(fd, name.data(), name.size()) == 0 ? name.address() : SocketAddress();
}

bool has_input(int fd) noexcept {
    pollfd input{fd, POLLIN, 0};
    int ready;
    do {
        ready = ::poll(&input, 1, 0);
    } while (ready < 0 && errno == EINTR);
    return ready == 1;
}

StandardStreamsTaken::StandardStreamsTaken() noexcept {
    static_assert(asyncio::detail::kFirstOwn < std::tuple_size_v<decltype(fds_)>);
    int fd;
    do {
        fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd >= 0) fds_[count_++] = fd;
    } while (fd >= 0 && fd < asyncio::detail::kFirstOwn);
}

StandardStreamsTaken::~StandardStreamsTaken() {
    for (std::size_t i = 0; i < count_; ++i) ::close(fds_[i]);
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

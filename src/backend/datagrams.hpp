// Datagrams of a channel, several for one system call: recvmmsg(2) and sendmmsg(2).
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "asyncio/component/io_channels.hpp"
#include "asyncio/sockets.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Where datagrams are received: a loop has one, which is lent out for as long as somebody looks at
// what came. Room for 32 of the internet's, the longest, or for 8 of others, whose length is only
// bounded by socket buffers. Its 2 MiB are set aside with the first receive, and the system gives
// them memory page by page as datagrams fill them: 4 KiB for each short one.
class DatagramRoom {
  public:
    static constexpr std::size_t kMost = 32;

    DatagramRoom();
    DatagramRoom(const DatagramRoom&) = delete;
    DatagramRoom& operator=(const DatagramRoom&) = delete;

    // Receives up to `most` datagrams, at least one; never waits. A call that gave fewer than
    // asked() has found the socket empty.
    ReceivedDatagrams receive(int fd, bool internet, std::size_t most) noexcept;
    // How many the last receive asked for.
    std::size_t asked() const noexcept { return asked_; }

  private:
    static constexpr std::size_t kBytes = std::size_t{2} << 20;
    static constexpr std::size_t kInternet = std::size_t{64} << 10;
    static constexpr std::size_t kOther = std::size_t{256} << 10;

    void lay_out(std::size_t slot) noexcept;
    void prepare(std::size_t i) noexcept;

    Pages memory_;
    std::size_t slot_ = 0;
    std::size_t asked_ = 0;
    mmsghdr headers_[kMost];
    iovec slots_[kMost];
    sockaddr_storage names_[kMost];
    ReceivedDatagram received_[kMost];
};

// Sends as many as can be sent at once, 32 at most; never waits. Returns how many, or, if the first
// could not be sent, an errno as a negative number.
int send_datagrams(int fd, std::span<const DatagramToSend> datagrams) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

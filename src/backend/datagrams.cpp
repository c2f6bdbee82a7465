#include "backend/datagrams.hpp"

#include <errno.h>

#include <algorithm>

namespace asyncio {
inline namespace v1 {
namespace detail {

DatagramRoom::DatagramRoom() : memory_(make_pages(kBytes)) {}

// Divides the memory into slots of that many bytes.
void DatagramRoom::lay_out(std::size_t slot) noexcept {
    slot_ = slot;
    for (std::size_t i = 0; i < std::min(kMost, kBytes / slot); ++i) {
        slots_[i] = {memory_.get() + i * slot, slot};
        prepare(i);
    }
}

// What a receive has changed is put back.
void DatagramRoom::prepare(std::size_t i) noexcept {
    headers_[i] = {};
    headers_[i].msg_hdr.msg_name = &names_[i];
    headers_[i].msg_hdr.msg_namelen = sizeof names_[i];
    headers_[i].msg_hdr.msg_iov = &slots_[i];
    headers_[i].msg_hdr.msg_iovlen = 1;
}

ReceivedDatagrams DatagramRoom::receive(int fd, bool internet, std::size_t most) noexcept {
    const std::size_t slot = internet ? kInternet : kOther;
    if (slot != slot_) lay_out(slot);
    asked_ = std::clamp<std::size_t>(most, 1, std::min(kMost, kBytes / slot));
    int n;
    do {
        n = ::recvmmsg(fd, headers_, static_cast<unsigned>(asked_), MSG_DONTWAIT, nullptr);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return {{}, errno};
    const auto count = static_cast<std::size_t>(n);
    for (std::size_t i = 0; i < count; ++i) {
        const msghdr& h = headers_[i].msg_hdr;
        received_[i].data = {memory_.get() + i * slot_, headers_[i].msg_len};
        received_[i].from = SocketAddress::from(h.msg_name, h.msg_namelen);
        received_[i].cut = (h.msg_flags & MSG_TRUNC) != 0;
        prepare(i);
    }
    return {{received_, count}, 0};
}

namespace {

constexpr int kSendFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

// As the calls give it: how many, or -1.
int send_one(int fd, const DatagramToSend& d) noexcept {
    const ssize_t n =
        ::sendto(fd, d.data.data(), d.data.size(), kSendFlags, static_cast<const sockaddr*>(d.to),
                 static_cast<socklen_t>(d.to_size));
    return n < 0 ? -1 : 1;
}

int send_several(int fd, std::span<const DatagramToSend> datagrams) noexcept {
    mmsghdr headers[DatagramRoom::kMost];
    iovec data[DatagramRoom::kMost];
    const std::size_t count = std::min(datagrams.size(), DatagramRoom::kMost);
    for (std::size_t i = 0; i < count; ++i) {
        const DatagramToSend& d = datagrams[i];
        // Safe because sending writes neither to the bytes nor to the address.
        data[i] = {const_cast<char*>(d.data.data()), d.data.size()};
        headers[i] = {};
        // Safe for the same reason.
        headers[i].msg_hdr.msg_name = const_cast<void*>(d.to);
        headers[i].msg_hdr.msg_namelen = static_cast<socklen_t>(d.to_size);
        headers[i].msg_hdr.msg_iov = &data[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    return ::sendmmsg(fd, headers, static_cast<unsigned>(count), kSendFlags);
}

}  // namespace

int send_datagrams(int fd, std::span<const DatagramToSend> datagrams) noexcept {
    for (;;) {
        const int n =
            datagrams.size() == 1 ? send_one(fd, datagrams[0]) : send_several(fd, datagrams);
        if (n >= 0) return n;
        if (errno != EINTR) return -errno;
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

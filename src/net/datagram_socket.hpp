// What the datagram transport and the awaitable endpoint share: the loop's room for what is
// received, and datagrams kept in one block.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "asyncio/datagrams.hpp"
#include "backend/datagrams.hpp"
#include "loop/loop.hpp"
#include "net/write_buffer.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The loop's room, while one looks at what was received in it. Whoever receives meanwhile (a task
// that a protocol starts eagerly, say) gets another.
class RoomLease {
  public:
    explicit RoomLease(Loop& loop) : loop_(loop), room_(std::move(loop.datagram_room)) {
        if (!room_) room_ = std::make_shared<DatagramRoom>();
    }
    RoomLease(const RoomLease&) = delete;
    RoomLease& operator=(const RoomLease&) = delete;
    ~RoomLease() { loop_.datagram_room = std::move(room_); }
    DatagramRoom& operator*() const noexcept { return *room_; }

  private:
    Loop& loop_;
    std::shared_ptr<DatagramRoom> room_;
};

// A FIFO of datagrams with their addresses, as one block of bytes: none while it is empty.
class DatagramQueue {
  public:
    struct Item {
        std::string_view data;
        const void* name;  // the address, unaligned
        std::size_t name_size;
        bool cut;
        SocketAddress address() const noexcept { return SocketAddress::from(name, name_size); }
    };

    bool empty() const noexcept { return bytes_.empty(); }
    // What asyncio counts: the bytes, and 8 for each datagram (TR-11).
    std::size_t size() const noexcept { return size_; }

    // Raises: std::bad_alloc, and then nothing has changed.
    void push(std::string_view data, const SocketAddress* address, bool cut = false) {
        Head head;
        head.size = static_cast<std::uint32_t>(data.size());
        head.name_size = static_cast<std::uint16_t>(address ? address->size() : 0);
        head.cut = cut;
        char bytes[sizeof head];
        std::memcpy(bytes, &head, sizeof head);
        bytes_.reserve(sizeof bytes + head.name_size + data.size());
        bytes_.append({bytes, sizeof bytes});
        if (address) bytes_.append({static_cast<const char*>(address->data()), head.name_size});
        bytes_.append(data);
        size_ += data.size() + sizeof head;
    }

    // Calls `look(item)` for the first ones, while it gives true.
    template <class F>
    void look(F look) const {
        std::string_view left = bytes_.view();
        while (!left.empty()) {
            const Item item = first_of(left);
            if (!look(item)) return;
            left.remove_prefix(length_of(item));
        }
    }
    Item front() const noexcept { return first_of(bytes_.view()); }
    void pop() noexcept {
        const Item item = front();
        size_ -= item.data.size() + sizeof(Head);
        bytes_.consume(length_of(item));
    }
    void clear() noexcept {
        bytes_.clear();
        size_ = 0;
    }

  private:
    struct Head {
        std::uint32_t size;
        std::uint16_t name_size;
        bool cut;
        bool unused = false;
    };
    static_assert(sizeof(Head) == 8);

    static Item first_of(std::string_view bytes) noexcept {
        Head head;
        std::memcpy(&head, bytes.data(), sizeof head);
        const char* const name = bytes.data() + sizeof head;
        return {{name + head.name_size, head.size}, name, head.name_size, head.cut};
    }
    static std::size_t length_of(const Item& item) noexcept {
        return sizeof(Head) + item.name_size + item.data.size();
    }

    WriteBuffer bytes_;
    std::size_t size_ = 0;
};

// Whether the system may be silent when there is room again: an unconnected unix socket is told
// nothing of its receiver's queue.
inline bool room_is_silent(int family, std::size_t name_size) noexcept {
    return family == AF_UNIX && name_size > 0;
}

// Of an open socket for datagrams. `remote`: where all is sent to; not given if `connected`.
struct DatagramSocket {
    Socket socket;
    SocketAddress remote;
};

// Makes and binds, or takes, the socket that `request` asks for (CN-06).
// If cancelled: the socket is closed.
Coroutine<DatagramSocket> open_datagram_socket(EventLoop& loop, DatagramRequest request);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

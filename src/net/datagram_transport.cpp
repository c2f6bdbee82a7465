#include "net/datagram_transport.hpp"

#include <cerrno>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- beginning and end --------------------------------------------------------------------------

DatagramChannel::DatagramChannel(EventLoop& loop, std::shared_ptr<DatagramProtocol> protocol,
                                 Future<> waiter, const SocketAddress& remote)
    : DescriptorOwner(loop, std::move(waiter)),
      remote_(remote ? std::make_unique<SocketAddress>(remote) : nullptr) {
    protocol_ = std::move(protocol);
}

void DatagramChannel::open(Socket socket) {
    family_ = socket.family();
    SocketAddress peer;
    connected_ = peer_of(socket.fileno(), peer);
    engine().open_channel(*this, socket.fileno(), ChannelKind::kDatagrams);
    own(socket.detach());
}

void DatagramChannel::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
    auto datagrams = std::dynamic_pointer_cast<DatagramProtocol>(std::move(protocol));
    if (!datagrams) throw TypeError("a datagram transport needs a DatagramProtocol");
    LateDrop before(core_);
    std::swap(protocol_, datagrams);
    before.take(std::move(datagrams));
}

// Calls connection_made(), then lets reading start, then releases who waits for the endpoint.
void DatagramChannel::begin() {
    const InContext scope(*this);
    made_ = true;
    // What leaves the loop does so when the rest is done.
    struct Rest {
        DatagramChannel& self;
        ~Rest() {
            if (!self.closing_) self.start_reading(self.core_.ready);
            const Future<> waiter = std::exchange(self.waiter_, Future<>(nullptr));
            if (waiter && !waiter.done()) waiter.set_result();
            if (self.lost_ > 0) self.queue_life();
        }
    } rest{*this};
    call_protocol("connection_made", [this](DatagramProtocol& p) { p.connection_made(handle_); });
}

// Calls a method of the protocol. What it throws is told to the exception handler; the endpoint
// stays open. Raises: what leaves the loop (S-60).
template <class Call>
void DatagramChannel::call_protocol(const char* name, Call call) {
    const std::shared_ptr<DatagramProtocol> protocol = protocol_;  // it may set another
    try {
        call(*protocol);
    } catch (...) {
        // Raised again if it is to leave the loop.
        const std::string text = std::string("Exception in callback protocol.") + name + "()";
        report_transport_error(*this, text.c_str(), std::current_exception());
    }
}

void DatagramChannel::drop_unsent() noexcept {
    queue_.clear();
    end_retry();
}

std::any DatagramChannel::peername() const {
    return fd_ >= 0 && connected_ ? TransportSocket(fd_).getpeername() : std::any();
}

// ---- receiving ----------------------------------------------------------------------------------

void DatagramChannel::read_ready() {
    read_runs();
    if (gone_) return let_go();
    if (!wants_read()) return;
    const InContext scope(*this);
    // At the end of this, whatever leaves the loop.
    struct Again {
        DatagramChannel& self;
        ~Again() { self.read_again(self.core_.ready); }
    } again{*this};
    const RoomLease room(engine());
    const bool internet = family_ == AF_INET || family_ == AF_INET6;
    const ReceivedDatagrams got =
        backend().receive_datagrams(*this, *room, internet, DatagramRoom::kMost);
    if (got.error != 0) {
        if (got.error != EAGAIN) tell_error(got.error);
        return;
    }
    deliver(got.datagrams);
}

// All of them, even if a protocol's method raises what leaves the loop.
void DatagramChannel::deliver(std::span<const ReceivedDatagram> datagrams) {
    std::exception_ptr leaves_loop;
    for (const ReceivedDatagram& datagram : datagrams) {
        if (closing_) break;
        try {
            tell(datagram);
        } catch (...) {
            // Raised below, when the rest is delivered.
            leaves_loop = std::current_exception();
        }
    }
    if (leaves_loop) std::rethrow_exception(std::move(leaves_loop));
}

void DatagramChannel::tell(const ReceivedDatagram& datagram) {
    if (datagram.cut) return tell_error(EMSGSIZE);
    call_protocol("datagram_received",
                  [&](DatagramProtocol& p) { p.datagram_received(datagram.data, datagram.from); });
}

// PR-07.
void DatagramChannel::tell_error(int error) {
    call_protocol("error_received",
                  [&](DatagramProtocol& p) { p.error_received(make_os_error(error)); });
}

// ---- sending ------------------------------------------------------------------------------------

// Where a datagram goes; null: to the peer that the system knows. Raises: ValueError.
const SocketAddress* DatagramChannel::destination(const SocketAddress* to) const {
    if (!remote_) return to;
    if (to && !(*to == *remote_)) {
        throw ValueError("Invalid address: must be None or " + remote_->repr());
    }
    return connected_ ? nullptr : remote_.get();
}

void DatagramChannel::sendto(std::string_view data, const SocketAddress* to) {
    to = destination(to);
    if (lost_ > 0) {
        if (lost_ >= kWarnFrom) {
            log::write(log::Level::WARNING, "socket.send() raised exception.");
        }
        ++lost_;
        return;
    }
    if (queue_.empty()) {
        DatagramToSend datagram{data};
        if (to) datagram = {data, to->data(), to->size()};
        const Transferred sent = backend().send_datagrams(*this, {&datagram, 1});
        if (sent.error == 0) return;
        if (sent.error != EAGAIN) {
            const InContext scope(*this);
            return tell_error(sent.error);
        }
        if (room_is_silent(family_, datagram.to_size)) retry_later();
    }
    queue_.push(data, to);
    flow_.grown(queue_.size(), *this, protocol_.get());
}

void DatagramChannel::write_ready() {
    write_runs();
    if (gone_) return let_go();
    if (lost_ > 0) return;
    const InContext scope(*this);
    flush();
}

// Sends what waits, as far as there is room.
void DatagramChannel::flush() {
    while (!queue_.empty() && send_some()) continue;
    if (lost_ > 0) return;
    // At the end of this, whatever leaves the loop.
    struct Rest {
        DatagramChannel& self;
        ~Rest() {
            if (self.queue_.empty() && self.closing_ && self.lost_ == 0) self.schedule_lost();
        }
    } const rest{*this};
    flow_.shrunk(queue_.size(), *this, protocol_.get());  // may send more
}

// The next ones, with one system call. False if there is no room for more.
bool DatagramChannel::send_some() {
    DatagramToSend batch[DatagramRoom::kMost];
    std::size_t count = 0;
    queue_.look([&](const DatagramQueue::Item& item) {
        batch[count] = {item.data, item.name_size > 0 ? item.name : nullptr, item.name_size};
        return ++count < DatagramRoom::kMost;
    });
    const Transferred sent = backend().send_datagrams(*this, {batch, count});
    for (std::size_t i = 0; i < sent.size; ++i) queue_.pop();
    if (sent.error == 0) return true;
    if (sent.error == EAGAIN) {
        if (room_is_silent(family_, batch[0].to_size)) retry_later();
        return false;
    }
    queue_.pop();  // the one that could not be sent
    tell_error(sent.error);
    return lost_ == 0;
}

void DatagramChannel::retry_later() {
    if (retry_) return;
    retry_ = new CallTimer(core_, loop_now(core_) + kRetry, false, &DatagramChannel::retry, this);
}

void DatagramChannel::retry(void* self) {
    // Safe because retry_later() gave the timer a DatagramChannel, which ends it before it goes.
    auto& transport = *static_cast<DatagramChannel*>(self);
    transport.end_retry();
    const auto kept = Ref<DatagramChannel>::share(&transport);
    const InContext scope(transport);
    transport.flush();
}

void DatagramChannel::end_retry() noexcept {
    if (retry_) std::exchange(retry_, nullptr)->abandon();
}

void DatagramChannel::set_write_buffer_limits(WriteBufferLimits limits) {
    flow_.set_limits(limits);
    flow_.grown(queue_.size(), *this, protocol_.get());
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include <utility>

#include "asyncio/component/backends.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

ForwardingBackend::ForwardingBackend(std::unique_ptr<Backend> real) : real_(std::move(real)) {
    if (!real_) throw ValueError("there is no back end to pass calls on to");
}

// What the other one has called counts as this one's.
void ForwardingBackend::take_calls() noexcept {
    called_ = called_ || real_->called();
    real_->forget_calls();
}
template <class R>
R ForwardingBackend::with_calls(R result) noexcept {
    take_calls();
    return result;
}

void ForwardingBackend::wait(std::int64_t timeout, ReadyQueue& ready) {
    real_->wait(timeout, ready);
    take_calls();
}
void ForwardingBackend::watch(int fd, Node* on_read, Node* on_write) {
    real_->watch(fd, on_read, on_write);
}
void ForwardingBackend::open(IoChannel& channel, int fd, ChannelKind kind) {
    real_->open(channel, fd, kind);
}
void ForwardingBackend::hand_over(IoChannel& from, IoChannel& to, ChannelKind kind) noexcept {
    real_->hand_over(from, to, kind);
}
void ForwardingBackend::close(IoChannel& channel) noexcept { real_->close(channel); }
IoChannel* ForwardingBackend::channel_of(int fd) const noexcept { return real_->channel_of(fd); }
void ForwardingBackend::close_channels() noexcept { real_->close_channels(); }
void ForwardingBackend::await_room(IoChannel& channel) noexcept { real_->await_room(channel); }
Received ForwardingBackend::receive(IoChannel& channel, std::size_t most) noexcept {
    return with_calls(real_->receive(channel, most));
}
Transferred ForwardingBackend::receive_into(IoChannel& channel, std::span<char> memory) noexcept {
    return with_calls(real_->receive_into(channel, memory));
}
Transferred ForwardingBackend::send(IoChannel& channel, std::string_view data) noexcept {
    return real_->send(channel, data);
}
Transferred ForwardingBackend::send(IoChannel& channel,
                                    std::span<const std::string_view> pieces) noexcept {
    return real_->send(channel, pieces);
}
ReceivedDatagrams ForwardingBackend::receive_datagrams(IoChannel& channel, DatagramRoom& room,
                                                       bool internet, std::size_t most) noexcept {
    return with_calls(real_->receive_datagrams(channel, room, internet, most));
}
Transferred ForwardingBackend::send_datagrams(IoChannel& channel,
                                              std::span<const DatagramToSend> datagrams) noexcept {
    return real_->send_datagrams(channel, datagrams);
}
int ForwardingBackend::accept(IoChannel& channel, SocketAddress& from) noexcept {
    return with_calls(real_->accept(channel, from));
}
void ForwardingBackend::wake() noexcept { real_->wake(); }
void ForwardingBackend::leave_to_parent() noexcept { real_->leave_to_parent(); }
std::int64_t ForwardingBackend::now() noexcept { return real_->now(); }
bool ForwardingBackend::watches() const noexcept { return real_->watches(); }
bool ForwardingBackend::is_virtual() const noexcept { return real_->is_virtual(); }
const char* ForwardingBackend::name() const noexcept { return real_->name(); }
const char* ForwardingBackend::class_name() const noexcept { return real_->class_name(); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

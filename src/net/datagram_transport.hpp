// The transport of datagrams: TR-11, PR-07. As asyncio's, but that up to 32 datagrams are received
// by one system call, and told in one iteration.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "asyncio/detail/call_timer.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "net/channel_owner.hpp"
#include "net/datagram_socket.hpp"
#include "net/flow_control.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class DatagramChannel final
    : public ChannelOwner<DatagramChannel, DatagramProtocol, DatagramTransport> {
  public:
    DatagramChannel(EventLoop& loop, std::shared_ptr<DatagramProtocol> protocol, Future<> waiter,
                    const SocketAddress& remote);
    // From here on the loop keeps it. Raises: OSError, RuntimeError.
    void open(Socket socket);

    static constexpr const char* kName = "DatagramTransport";
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;

    void sendto(std::string_view data, const SocketAddress* to) override;
    std::size_t get_write_buffer_size() const override { return queue_.size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return flow_.limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) override;

    // ---- called by the nodes
    void read_ready();
    void write_ready();

  private:
    friend DescriptorOwner;
    friend ChannelRegistration;
    static constexpr std::int64_t kRetry = 1'000'000;  // ns, where room is silent

    // ---- of its life
    void begin();
    std::size_t unsent() const noexcept { return queue_.size(); }
    void drop_unsent() noexcept;
    std::any peername() const;
    void will_be_lost() noexcept {
        forget_room();
        end_retry();
    }

    void deliver(std::span<const ReceivedDatagram> datagrams);
    void tell(const ReceivedDatagram& datagram);
    void tell_error(int error);
    template <class Call>
    void call_protocol(const char* name, Call call);
    const SocketAddress* destination(const SocketAddress* to) const;
    void flush();
    bool send_some();
    void retry_later();
    static void retry(void* self);
    void end_retry() noexcept;

    DatagramQueue queue_;  // what waits to be sent
    FlowControl flow_;
    std::unique_ptr<SocketAddress> remote_;  // where all is sent to; null: wherever sendto() says
    CallTimer* retry_ = nullptr;
    int family_ = 0;
    bool connected_ = false;  // the system knows the peer
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

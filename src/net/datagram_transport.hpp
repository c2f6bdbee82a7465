// The transport of datagrams: TR-11, PR-07. As asyncio's, but that up to 32 datagrams are received
// by one system call, and told in one iteration.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "asyncio/detail/call_timer.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "backend/channel.hpp"
#include "loop/loop.hpp"
#include "net/datagram_socket.hpp"
#include "net/flow_control.hpp"
#include "net/socket_transport.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class DatagramChannel final : public TransportBase,
                              public Channel,
                              public ReadNode<DatagramChannel>,
                              public WriteNode<DatagramChannel>,
                              public LifeNode<DatagramChannel> {
  public:
    DatagramChannel(EventLoop& loop, std::shared_ptr<DatagramProtocol> protocol, Future<> waiter,
                    const SocketAddress& remote);
    ~DatagramChannel() override;
    // From here on the loop keeps it. Raises: OSError, RuntimeError.
    void open(Socket socket);

    EventLoop& loop() const override;
    void close() override;
    void abort() override { force_close(nullptr); }
    bool is_closing() const override { return closing_; }
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
    std::shared_ptr<BaseProtocol> get_protocol() const override { return protocol_; }
    std::any get_extra_info(std::string_view name) const override;

    void sendto(std::string_view data, const SocketAddress* to) override;
    std::size_t get_write_buffer_size() const override { return queue_.size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return flow_.limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) override;
    std::string repr() const override;

    // ---- called by the nodes and the back end
    void read_ready();
    void write_ready();
    void life_ready();
    void read_dropped() noexcept;
    void write_dropped() noexcept;
    void life_dropped() noexcept;
    std::string describe() const override { return "transport " + repr(); }
    bool in_use() const noexcept override { return !closing_; }
    void loop_closed() noexcept override;

  private:
    static constexpr std::uint32_t kWarnFrom = 5;      // sends of a lost transport
    static constexpr std::int64_t kRetry = 1'000'000;  // ns, where room is silent

    // What runs in the context that was current when the transport was made.
    class InContext {
      public:
        explicit InContext(DatagramChannel& t) noexcept
            : outer_(std::exchange(thread_state.context, &t.context_)) {}
        InContext(const InContext&) = delete;
        InContext& operator=(const InContext&) = delete;
        ~InContext() { thread_state.context = outer_; }

      private:
        ContextSlot* outer_;
    };

    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }
    Backend& backend() const noexcept { return *static_cast<Loop&>(core_).backend; }
    bool node_queued() const noexcept { return Channel::node_queued() || life_queued_; }

    void begin();
    void lost();
    void let_go();
    void schedule_lost();
    void force_close(std::exception_ptr error);
    void close_socket() noexcept;
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

    LoopCore& core_;
    std::shared_ptr<DatagramProtocol> protocol_;
    DatagramQueue queue_;  // what waits to be sent
    FlowControl flow_;
    DatagramTransport handle_;  // what connection_made() is given, until connection_lost() returned
    Future<> waiter_;
    std::exception_ptr error_;  // for connection_lost()
    ContextSlot context_;
    std::unique_ptr<SocketAddress> remote_;  // where all is sent to; null: wherever sendto() says
    CallTimer* retry_ = nullptr;
    int socket_ = -1;
    int family_ = 0;
    std::uint32_t lost_ = 0;  // connection_lost() is due; then counts further sends
    bool connected_ = false;  // the system knows the peer
    bool made_ = false;       // connection_made() was called
    bool closing_ = false;
    bool gone_ = false;  // connection_lost() was called, or never will be
    bool life_queued_ = false;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

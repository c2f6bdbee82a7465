// The transport of a connected stream socket: one pooled object a connection, no allocation a
// message. Its contract is make_socket_transport's (make_transport.hpp).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "net/channel_owner.hpp"
#include "net/flow_control.hpp"
#include "net/make_transport.hpp"
#include "net/write_buffer.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class SocketTransport final : public ChannelOwner<SocketTransport, BaseProtocol, Transport>,
                              public ServerClient {
  public:
    SocketTransport(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                    TransportServer* server);
    // Opens the channel; from here on the loop keeps it. Raises: OSError, RuntimeError.
    void open(Socket socket, const SocketTransportOptions& options);

    static constexpr const char* kName = "Transport";
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;

    void expect_reader(const void* read, const void* task) noexcept override {
        expected_read_ = read;
        expected_task_ = task;
    }
    bool is_reading() const override { return !closing_ && !paused_; }
    void pause_reading() override;
    void resume_reading() override;

    void write(std::string_view data) override;
    void writelines(std::span<const std::string_view> pieces) override;
    void write_eof() override;
    bool can_write_eof() const override { return true; }
    std::size_t get_write_buffer_size() const override { return buffer_.size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return flow_.limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) override;
    bool writing_paused() const noexcept override { return flow_.paused(); }
    bool start_tls_compatible() const noexcept override { return true; }
    SendfileMode sendfile_mode() const noexcept override { return SendfileMode::TRY_NATIVE; }

    // ---- sendfile (SF-01): from begin to end nothing may be written, and the returned future is
    // set, or fails if the connection is lost, once nothing is buffered.
    // Raises: RuntimeError if one is under way.
    Future<> begin_sendfile();
    // A future of the same kind, set once there may be room to send again.
    Future<> await_room_to_send();
    void end_sendfile() noexcept;

    // ---- called by the nodes and the server
    void read_ready();
    void write_ready();
    TransportBase& as_transport() noexcept override { return *this; }

  private:
    friend DescriptorOwner;
    friend ChannelRegistration;

    // ---- of its life
    void begin();
    std::size_t unsent() const noexcept { return buffer_.size(); }
    void drop_unsent() noexcept { buffer_.clear(); }
    std::any peername() const;
    void will_be_lost() noexcept { forget_room(); }
    void went() noexcept;
    void loop_went() noexcept;

    void adopt(std::shared_ptr<BaseProtocol> protocol);
    void made();
    void prefetch_receiver() const noexcept;
    void receive_into_protocol();
    void receiver_failed(const char* message);
    void received_nothing(int error);
    void received_end();
    void after_flush();
    class BulkTime;
    void read_on(std::size_t received) noexcept;
    bool refuse_write(const char* name);
    void shut_down();
    using DescriptorOwner::fatal_error;
    void fatal_error(const char* message, std::exception_ptr error);
    void wake_sendfile(std::exception_ptr error) noexcept;
    void leave_server() noexcept;

    // What each message looks at comes first: a line of the cache.
    Protocol* stream_ = nullptr;  // this or buffered_: what protocol_ is
    // What expect_reader() said: prefetched, never looked at.
    const void* expected_read_ = nullptr;
    const void* expected_task_ = nullptr;
    WriteBuffer buffer_;
    Future<> sendfile_{nullptr};  // not empty: a sendfile is under way and waits, or has waited
    bool paused_ = false;
    bool end_seen_ = false;  // the peer's end: eof_received() was called
    bool eof_ = false;       // write_eof() was called
    unsigned char peer_size_ = 0;
    unsigned char peer_[28];  // the peer's IP address, as a sockaddr
    BufferedProtocol* buffered_ = nullptr;
    FlowControl flow_;
    TransportServer* server_;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The transport of a connected stream socket: one pooled object a connection, no allocation a
// message. Its contract is make_socket_transport's (make_transport.hpp).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "asyncio/futures.hpp"
#include "asyncio/protocols.hpp"
#include "backend/channel.hpp"
#include "loop/loop.hpp"
#include "net/flow_control.hpp"
#include "net/make_transport.hpp"
#include "net/write_buffer.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The entry of the ready queue by which connection_made() and connection_lost() are called.
template <class Owner>
class LifeNode : public Node {
  public:
    void run() final { static_cast<Owner&>(*this).life_ready(); }
    void drop() noexcept final { static_cast<Owner&>(*this).life_dropped(); }
    const char* label() const noexcept final { return "connection_made() or connection_lost()"; }

  protected:
    LifeNode() = default;
    ~LifeNode() = default;
};

class SocketTransport final : public TransportBase,
                              public ServerClient,
                              public Channel,
                              public ReadNode<SocketTransport>,
                              public WriteNode<SocketTransport>,
                              public LifeNode<SocketTransport> {
  public:
    SocketTransport(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                    TransportServer* server);
    ~SocketTransport() override;
    // Opens the channel; from here on the loop keeps it. Raises: OSError, RuntimeError.
    void open(Socket socket, const SocketTransportOptions& options);

    EventLoop& loop() const override;
    void close() override;
    void abort() override { force_close(nullptr); }
    bool is_closing() const override { return closing_; }
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
    std::shared_ptr<BaseProtocol> get_protocol() const override { return protocol_; }
    std::any get_extra_info(std::string_view name) const override;

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
    std::string repr() const override;

    // ---- sendfile (SF-01): from begin to end nothing may be written, and the returned future is
    // set, or fails if the connection is lost, once nothing is buffered.
    // Raises: RuntimeError if one is under way.
    Future<> begin_sendfile();
    // A future of the same kind, set once there may be room to send again.
    Future<> await_room_to_send();
    void end_sendfile() noexcept;

    // ---- called by the nodes, the server and the back end
    void read_ready();
    void write_ready();
    void life_ready();
    void read_dropped() noexcept;
    void write_dropped() noexcept;
    void life_dropped() noexcept;
    TransportBase& as_transport() noexcept override { return *this; }
    std::string describe() const override { return "transport " + repr(); }
    bool in_use() const noexcept override { return !closing_; }
    void loop_closed() noexcept override;

  private:
    static constexpr std::uint32_t kWarnFrom = 5;  // writes to a lost connection (TR-06)

    // What runs in the context that was current when the connection was made.
    class InContext {
      public:
        explicit InContext(SocketTransport& t) noexcept
            : outer_(std::exchange(thread_state.context, &t.context_)) {}
        InContext(const InContext&) = delete;
        InContext& operator=(const InContext&) = delete;
        ~InContext() { thread_state.context = outer_; }

      private:
        ContextSlot* outer_;
    };

    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }
    Backend& backend() const noexcept { return *static_cast<Loop&>(core_).backend; }
    bool debug() const noexcept { return core_.debug; }

    void adopt(std::shared_ptr<BaseProtocol> protocol);
    void begin();
    void made();
    void schedule_lost();
    void lost();
    void let_go();
    bool node_queued() const noexcept { return Channel::node_queued() || life_queued_; }
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
    void fatal_error(const char* message, std::exception_ptr error);
    void force_close(std::exception_ptr error);
    void wake_sendfile(std::exception_ptr error) noexcept;
    void close_socket() noexcept;

    LoopCore& core_;
    std::shared_ptr<BaseProtocol> protocol_;
    // One of both: what protocol_ is.
    Protocol* stream_ = nullptr;
    // What expect_reader() said: prefetched, never looked at.
    const void* expected_read_ = nullptr;
    const void* expected_task_ = nullptr;
    BufferedProtocol* buffered_ = nullptr;
    WriteBuffer buffer_;
    FlowControl flow_;
    Transport handle_;  // what connection_made() is given, until connection_lost() has returned
    Future<> waiter_;
    Future<> sendfile_{nullptr};  // not empty: a sendfile is under way and waits, or has waited
    std::exception_ptr error_;    // for connection_lost()
    ContextSlot context_;
    TransportServer* server_;
    int socket_ = -1;
    std::uint32_t lost_ = 0;  // connection_lost() is due; then counts further writes
    bool made_ = false;       // connection_made() was called
    bool closing_ = false;
    bool paused_ = false;
    bool end_seen_ = false;  // the peer's end: eof_received() was called
    bool eof_ = false;       // write_eof() was called
    bool gone_ = false;      // connection_lost() was called, or never will be
    bool life_queued_ = false;
    unsigned char peer_size_ = 0;
    unsigned char peer_[28];  // the peer's IP address, as a sockaddr
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

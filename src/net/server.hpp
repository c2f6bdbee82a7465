// A server's state: listening sockets, the list of its connections, and who waits for their end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "asyncio/base_events.hpp"
#include "asyncio/detail/call_timer.hpp"
#include "asyncio/tasks.hpp"
#include "loop/loop.hpp"
#include "net/make_transport.hpp"
#include "net/ssl_factory.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class ServerState;

// One listening socket. SV-04.
class Listener final : public IoChannel, public ReadNode<Listener> {
  public:
    Listener(ServerState& server, int fd, bool no_delay) noexcept
        : IoChannel(static_cast<ReadNode&>(*this), static_cast<ReadNode&>(*this)),
          server_(server),
          fd_(fd),
          no_delay_(no_delay) {}

    // Raises: OSError.
    void start(int backlog);
    // Forgets the descriptor, which the server then closes.
    void stop() noexcept;
    // There is room for further connections, or none.
    void set_full(bool full) noexcept;

    void read_ready();
    void read_dropped() noexcept;
    std::string describe() const override;
    void loop_closed() noexcept override;

  private:
    bool accept_failed(int error);
    void pause(const char* message, int error);
    void set_reading() noexcept;

    ServerState& server_;
    Ref<ServerState> kept_;  // while the node is queued after the end
    int fd_;
    bool no_delay_;  // accepted sockets need TCP_NODELAY: they may be older than this
    bool full_ = false;
    bool troubled_ = false;  // out of descriptors or memory, and reported
    CallTimer* retry_ = nullptr;
};

struct ServerSettings {
    ProtocolFactory factory;
    int backlog = 100;
    std::size_t max_connections = 0;
    std::optional<TlsSettings> tls;
    std::optional<SocketFile> cleanup;
    bool given_socket = false;  // the caller's own, which may listen already
};

class ServerState final : public TransportServer, public Pooled {
  public:
    ServerState(EventLoop& loop, std::vector<Socket> sockets, ServerSettings settings);
    ~ServerState();
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    // Raises: RuntimeError if it is closed; OSError.
    void start_serving();
    void close() noexcept;
    void last_handle_gone() noexcept;
    bool closed() const noexcept { return closed_; }
    bool serving() const noexcept { return serving_; }
    const std::vector<Socket>& sockets() const noexcept { return sockets_; }
    std::vector<BaseTransport> clients() const;
    std::string repr() const;
    EventLoop& loop() const;
    LoopCore& core() const noexcept { return core_; }
    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }
    ContextSlot& context() noexcept { return context_; }
    int backlog() const noexcept { return settings_.backlog; }

    // Makes the transport and the protocol of a connection.
    // Raises: KeyboardInterrupt, SystemExit of the factory.
    void serve(Socket socket, const SocketAddress& peer, bool no_delay);
    void attach(ServerClient& client) noexcept override;
    void detach(ServerClient& client) noexcept override;

    // Done once it is closed and without connections; empty if it is already.
    Future<> closed_future();
    Future<> serving_forever{nullptr};  // what serve_forever() waits for

  private:
    bool full() const noexcept {
        return settings_.max_connections > 0 && clients_ >= settings_.max_connections;
    }
    void set_full(bool full) noexcept;
    void wake_waiters() noexcept;
    void remove_file() noexcept;
    void make_transport(Socket socket, const SocketAddress& peer, bool no_delay);

    RefCount refs_{1};
    LoopCore& core_;
    ContextSlot context_;  // of the call that made it: its connections' callbacks run in copies
    ServerSettings settings_;
    std::vector<Socket> sockets_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::vector<Future<>> waiters_;
    ServerClient* first_client_ = nullptr;
    std::size_t clients_ = 0;
    bool serving_ = false;
    bool closed_ = false;
};

class LastHandleGone;

// What the users' handles share: its end tells the server, on whatever thread it comes.
class ServerHandle {
  public:
    explicit ServerHandle(Ref<ServerState> state);
    ServerHandle(const ServerHandle&) = delete;
    ServerHandle& operator=(const ServerHandle&) = delete;
    ~ServerHandle();
    ServerState& state() const noexcept { return *state_; }

  private:
    Ref<ServerState> state_;
    LastHandleGone* gone_;  // made with it, since its end may find no memory
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

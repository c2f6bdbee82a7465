// The life of a descriptor that a transport owns: from the first entry of the ready queue, which
// calls connection_made(), over close(), abort() and errors, to connection_lost() and the last
// count. The transports of streams and of datagrams are such; what their bytes do is their own.
#pragma once

#include <any>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/component/io_channels.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/log.hpp"
#include "asyncio/transports.hpp"
#include "loop/loop.hpp"
#include "net/flow_control.hpp"

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

// `Self`, which derives from this, has
//   kName                            "Transport": what repr() calls it
//   begin()                          connection_made(), and what follows it
//   unsent(), drop_unsent()          bytes that wait to be sent
//   peername()                       what get_extra_info("peername") gives
//   will_be_lost()                   nothing is sent any more
//   went()                           connection_lost() was called
//   loop_went()                      it never will be: the loop is closed
// and what its nodes for reading and writing do. `P` is its protocol's class, `Handle` what a user
// has.
template <class Self, class P, class Handle>
class ChannelOwner : public TransportBase,
                     public IoChannel,
                     public ReadNode<Self>,
                     public WriteNode<Self>,
                     public LifeNode<Self> {
  public:
    EventLoop& loop() const final {
        if (!core_.loop) throw RuntimeError("the loop of this transport is gone");
        return *core_.loop;
    }
    void close() final {
        if (closing_) return;
        closing_ = true;
        stop_reading();
        if (self().unsent() == 0) schedule_lost();
    }
    void abort() final { force_close(nullptr); }
    bool is_closing() const final { return closing_; }
    std::shared_ptr<BaseProtocol> get_protocol() const final { return protocol_; }
    std::any get_extra_info(std::string_view name) const final;
    std::string repr() const final;

    // ---- called by the nodes and the back end
    void life_ready();
    void read_dropped() noexcept {
        read_runs();
        if (gone_) let_go();
    }
    void write_dropped() noexcept {
        write_runs();
        if (gone_) let_go();
    }
    void life_dropped() noexcept {
        life_queued_ = false;
        if (gone_) let_go();
    }
    std::string describe() const final { return "transport " + repr(); }
    bool in_use() const noexcept final { return !closing_; }
    void loop_closed() noexcept final;

  protected:
    static constexpr std::uint32_t kWarnFrom = 5;  // writes to a lost connection (TR-06)

    ChannelOwner(EventLoop& loop, Future<> waiter)
        : IoChannel(static_cast<ReadNode<Self>&>(*this), static_cast<WriteNode<Self>&>(*this)),
          core_(loop.core()),
          waiter_(std::move(waiter)),
          context_(ContextSlot::copy_current()) {
        core_.attach();
    }
    ~ChannelOwner() override { core_.detach(); }

    // What runs in the context that was current when the connection was made.
    class InContext {
      public:
        explicit InContext(ChannelOwner& owner) noexcept
            : outer_(std::exchange(thread_state.context, &owner.context_)) {}
        InContext(const InContext&) = delete;
        InContext& operator=(const InContext&) = delete;
        ~InContext() { thread_state.context = outer_; }

      private:
        ContextSlot* outer_;
    };

    Self& self() noexcept { return static_cast<Self&>(*this); }
    const Self& self() const noexcept { return static_cast<const Self&>(*this); }
    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }
    Backend& backend() const noexcept { return *engine().backend; }
    bool debug() const noexcept { return core_.debug; }

    // The channel is open for this descriptor: from here on the loop keeps the transport.
    void own(int fd) {
        socket_ = fd;
        handle_ = Handle(Ref<TransportBase>::share(this));
        retain();  // the loop's, until let_go()
        queue_life();
    }
    void queue_life() noexcept {
        if (std::exchange(life_queued_, true)) return;
        core_.push_ready(static_cast<LifeNode<Self>*>(this));
    }
    // connection_lost() is due in the next iteration; connection_made() comes first.
    void schedule_lost() noexcept {
        ++lost_;
        forget_room();
        self().will_be_lost();
        queue_life();
    }
    // It is closed with what waits to be sent.
    void force_close(std::exception_ptr error) noexcept {
        if (lost_ > 0) return;
        self().drop_unsent();
        closing_ = true;
        stop_reading();
        error_ = std::move(error);
        schedule_lost();
    }
    // Calls connection_lost().
    void lost();
    // The loop's reference goes, once none of the nodes is queued any more.
    void let_go() {
        if (!node_queued() && !life_queued_) release();
    }
    void close_socket() noexcept {
        if (socket_ < 0) return;
        backend().close(*this);
        Socket(std::exchange(socket_, -1)).close();
    }

    LoopCore& core_;
    std::shared_ptr<P> protocol_;
    Handle handle_;  // what connection_made() is given, until connection_lost() has returned
    Future<> waiter_;
    std::exception_ptr error_;  // for connection_lost()
    ContextSlot context_;
    int socket_ = -1;
    std::uint32_t lost_ = 0;  // connection_lost() is due; then counts further writes
    bool made_ = false;       // connection_made() was called
    bool closing_ = false;
    bool gone_ = false;  // connection_lost() was called, or never will be
    bool life_queued_ = false;
};

template <class Self, class P, class Handle>
void ChannelOwner<Self, P, Handle>::life_ready() {
    life_queued_ = false;
    if (gone_) return let_go();
    if (made_) return lost();
    self().begin();
}

template <class Self, class P, class Handle>
void ChannelOwner<Self, P, Handle>::lost() {
    const auto kept = Ref<Self>::share(&self());
    const InContext scope(*this);
    const std::shared_ptr<P> protocol = protocol_;
    std::exception_ptr failure;
    try {
        protocol->connection_lost(std::exchange(error_, nullptr));
    } catch (...) {
        // Reported below, when the connection is closed.
        failure = std::current_exception();
    }
    close_socket();
    gone_ = true;
    protocol_ = nullptr;
    handle_ = Handle();
    self().went();
    let_go();
    if (!failure) return;
    report_transport_error(*this, "Exception in callback protocol.connection_lost()",
                           std::move(failure));
}

template <class Self, class P, class Handle>
void ChannelOwner<Self, P, Handle>::loop_closed() noexcept {
    const auto kept = Ref<Self>::share(&self());
    log::write(log::Level::DEBUG, "unclosed transport " + repr());  // TR-15
    ++lost_;
    closing_ = true;
    self().drop_unsent();
    close_socket();
    gone_ = true;
    handle_ = Handle();
    waiter_ = nullptr;
    self().loop_went();
    std::exchange(protocol_, nullptr).reset();
    let_go();
}

template <class Self, class P, class Handle>
std::any ChannelOwner<Self, P, Handle>::get_extra_info(std::string_view name) const {
    const bool open = socket_ >= 0;
    if (name == "socket") return open ? std::any(socket_) : std::any();
    try {
        if (name == "sockname") return open ? TransportSocket(socket_).getsockname() : std::any();
        if (name == "peername") return self().peername();
    } catch (const OSError&) {
        return {};  // As in Python, an address that the system no longer knows is None.
    }
    return {};
}

template <class Self, class P, class Handle>
std::string ChannelOwner<Self, P, Handle>::repr() const {
    std::string text = std::string("<asyncio.") + Self::kName;
    if (socket_ >= 0) text += " fd=" + std::to_string(socket_);
    const char* const state = gone_ ? " closed" : closing_ ? " closing" : " open";
    text += state;
    if (const std::size_t n = self().unsent(); n > 0) text += " bufsize=" + std::to_string(n);
    return text + '>';
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

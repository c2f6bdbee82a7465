// The life of a descriptor that a transport owns: from the first entry of the ready queue, which
// calls connection_made(), over close(), abort() and errors, to connection_lost() and the last
// count. The transports of streams, of datagrams and of pipes are such; what their bytes do is
// their own, and how the loop knows the descriptor is a base (channel_owner.hpp, pipe_owner.hpp).
#pragma once

#include <any>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/log.hpp"
#include "asyncio/traceback.hpp"
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

// What each message looks at. A base, so that it shares a line of the cache with the nodes in front
// of it, and the rest does not (script/bench lines).
class OwnerState {
  protected:
    OwnerState(LoopCore& core, ContextSlot context) noexcept
        : core_(core), context_(std::move(context)) {}

    LoopCore& core_;
    ContextSlot context_;
    int fd_ = -1;
    std::uint32_t lost_ = 0;  // connection_lost() is due; then counts further writes
    bool made_ = false;       // connection_made() was called
    bool closing_ = false;
    bool gone_ = false;  // connection_lost() was called, or never will be
    bool life_queued_ = false;
};

// `Self`, which derives from this, has
//   kName                            "Transport": what repr() calls it
//   begin()                          connection_made(), and what follows it
//   stop_reading()
//   unsent(), drop_unsent()          bytes that wait to be sent
// and what its nodes do. It may have those that do nothing here: see below. `P` is its protocol's
// class, `Handle` what a user has. `Registration` is how the loop knows the descriptor, and has
//   kInfo                            "socket": by which name get_extra_info() gives the descriptor
//   address(name, fd)                what it gives for other names. Raises: OSError
//   node_queued(), read_runs(), write_runs()    of its nodes
//   give_back(loop, fd)              forgets the descriptor and closes it
//   loop_closed()                    as a virtual function, which the loop calls
template <class Self, class P, class Handle, class Registration>
class DescriptorOwner : public TransportBase,
                        public Registration,
                        protected OwnerState,
                        public LifeNode<Self> {
  public:
    EventLoop& loop() const final {
        if (!core_.loop) throw RuntimeError("the loop of this transport is gone");
        return *core_.loop;
    }
    void close() final {
        if (closing_) return;
        closing_ = true;
        self().stop_reading();
        if (self().unsent() == 0) schedule_lost();
    }
    void abort() final { force_close(nullptr); }
    bool is_closing() const final { return closing_; }
    std::shared_ptr<BaseProtocol> get_protocol() const final { return protocol_; }
    std::any get_extra_info(std::string_view name) const final;
    std::string repr() const final;

    // ---- called by the nodes and the loop
    void life_ready();
    void read_dropped() noexcept {
        this->read_runs();
        if (gone_) let_go();
    }
    void write_dropped() noexcept {
        this->write_runs();
        if (gone_) let_go();
    }
    void life_dropped() noexcept {
        life_queued_ = false;
        if (gone_) let_go();
    }
    void loop_closed() noexcept final;

  protected:
    static constexpr std::uint32_t kWarnFrom = 5;  // writes to a lost connection (TR-06)

    DescriptorOwner(EventLoop& loop, Future<> waiter)
        : OwnerState(loop.core(), ContextSlot::copy_current()), waiter_(std::move(waiter)) {
        core_.attach();
    }
    ~DescriptorOwner() override { core_.detach(); }

    // What runs in the context that was current when the connection was made.
    class InContext {
      public:
        explicit InContext(DescriptorOwner& owner) noexcept
            : outer_(std::exchange(thread_state.context, &owner.context_)) {}
        InContext(const InContext&) = delete;
        InContext& operator=(const InContext&) = delete;
        ~InContext() { thread_state.context = outer_; }

      private:
        ContextSlot* outer_;
    };

    // ---- what `Self` may have of its own
    void ending() {}                 // connection_lost() is called next
    void will_be_lost() noexcept {}  // nothing is sent any more
    void went() noexcept {}          // connection_lost() was called
    void loop_went() noexcept {}     // it never will be: the loop is closed

    Self& self() noexcept { return static_cast<Self&>(*this); }
    const Self& self() const noexcept { return static_cast<const Self&>(*this); }
    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }
    Backend& backend() const noexcept { return *engine().backend; }
    bool debug() const noexcept { return core_.debug; }

    // The loop knows this descriptor: from here on it keeps the transport.
    void own(int fd) {
        fd_ = fd;
        show_descriptor(fd);
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
        self().will_be_lost();
        queue_life();
    }
    // It is closed with what waits to be sent.
    void force_close(std::exception_ptr error) noexcept {
        if (lost_ > 0) return;
        self().drop_unsent();
        closing_ = true;
        self().stop_reading();
        error_ = std::move(error);
        schedule_lost();
    }
    // TR-13: it is closed by an error, of which the exception handler is told if `report`.
    // Raises: `error` if that leaves the loop (S-60); then it is not closed.
    void fatal_error(const char* message, std::exception_ptr error, bool report);
    // Calls connection_lost().
    void lost();
    // The loop's reference goes, once none of the nodes is queued any more.
    void let_go() {
        if (!this->node_queued() && !life_queued_) release();
    }
    void close_descriptor() noexcept {
        if (fd_ < 0) return;
        show_descriptor(-1);
        this->give_back(engine(), std::exchange(fd_, -1));
    }

    std::shared_ptr<P> protocol_;
    Handle handle_;  // what connection_made() is given, until connection_lost() has returned
    Future<> waiter_;
    std::exception_ptr error_;  // for connection_lost()
};

template <class Self, class P, class Handle, class Registration>
void DescriptorOwner<Self, P, Handle, Registration>::life_ready() {
    life_queued_ = false;
    if (gone_) return let_go();
    if (made_) return lost();
    self().begin();
}

template <class Self, class P, class Handle, class Registration>
void DescriptorOwner<Self, P, Handle, Registration>::lost() {
    const auto kept = Ref<Self>::share(&self());
    const InContext scope(*this);
    self().ending();
    const std::shared_ptr<P> protocol = protocol_;
    std::exception_ptr failure;
    try {
        protocol->connection_lost(std::exchange(error_, nullptr));
    } catch (...) {
        // Reported below, when the connection is closed.
        failure = std::current_exception();
    }
    close_descriptor();
    gone_ = true;
    protocol_ = nullptr;
    handle_ = Handle();
    self().went();
    let_go();
    if (!failure) return;
    report_transport_error(*this, "Exception in callback protocol.connection_lost()",
                           std::move(failure));
}

template <class Self, class P, class Handle, class Registration>
void DescriptorOwner<Self, P, Handle, Registration>::fatal_error(const char* message,
                                                                 std::exception_ptr error,
                                                                 bool report) {
    if (report) {
        report_transport_error(*this, message, error);
    } else if (debug()) {
        log::write(log::Level::DEBUG, repr() + ": " + message + '\n' + format_exception(error));
    }
    force_close(std::move(error));
}

template <class Self, class P, class Handle, class Registration>
void DescriptorOwner<Self, P, Handle, Registration>::loop_closed() noexcept {
    const auto kept = Ref<Self>::share(&self());
    log::write(log::Level::DEBUG, "unclosed transport " + repr());  // TR-15
    ++lost_;
    closing_ = true;
    self().drop_unsent();
    close_descriptor();
    gone_ = true;
    handle_ = Handle();
    waiter_ = nullptr;
    self().loop_went();
    std::exchange(protocol_, nullptr).reset();
    let_go();
}

template <class Self, class P, class Handle, class Registration>
std::any DescriptorOwner<Self, P, Handle, Registration>::get_extra_info(
    std::string_view name) const {
    try {
        if (name != Registration::kInfo) return this->address(name, fd_);
        if (fd_ >= 0) return fd_;
    } catch (const OSError&) {
        return {};  // As in Python, an address that the system no longer knows is None.
    }
    return {};
}

template <class Self, class P, class Handle, class Registration>
std::string DescriptorOwner<Self, P, Handle, Registration>::repr() const {
    std::string text = std::string("<asyncio.") + Self::kName;
    if (fd_ >= 0) text += " fd=" + std::to_string(fd_);
    const char* const state = gone_ ? " closed" : closing_ ? " closing" : " open";
    text += state;
    if (const std::size_t n = self().unsent(); n > 0) text += " bufsize=" + std::to_string(n);
    return text + '>';
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The socket transport. A readable descriptor costs one entry of the ready queue, one recv and one
// virtual call of the protocol; a write is tried at once, and only what the socket does not take is
// copied. Order and texts are asyncio's (selector_events.py): PR-01, TR-01 to TR-15.
#include "net/make_transport.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "base/prefetch.hpp"
#include "net/socket_transport.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

std::exception_ptr connection_closed() {
    return std::make_exception_ptr(ConnectionError("Connection is closed by peer"));
}

}  // namespace

Ref<TransportBase> make_socket_transport(EventLoop& loop, Socket socket,
                                         std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                         SocketTransportOptions options) {
    auto transport = Ref<SocketTransport>::adopt(
        new SocketTransport(loop, std::move(protocol), std::move(waiter), options.server));
    transport->open(std::move(socket), options);
    return Ref<TransportBase>::adopt(transport.detach());
}

// ---- beginning and end --------------------------------------------------------------------------

SocketTransport::SocketTransport(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol,
                                 Future<> waiter, TransportServer* server)
    : DescriptorOwner(loop, std::move(waiter)), server_(server) {
    adopt(std::move(protocol));
}

void SocketTransport::open(Socket socket, const SocketTransportOptions& options) {
    SocketAddress asked;
    const SocketAddress* peer = options.peer;
    if (!peer) {
        peer_of(socket.fileno(), asked);  // none if it has none
        peer = &asked;
    }
    if (peer->size() <= sizeof peer_ && peer->family() != AF_UNIX) {
        peer_size_ = static_cast<unsigned char>(peer->size());
        std::memcpy(peer_, peer->data(), peer_size_);
    }
    if (options.no_delay && peer->family() != AF_UNIX) set_no_delay(socket.fileno());  // CN-09
    if (options.opened) {
        backend().hand_over(*options.opened, *this, ChannelKind::kStream);
    } else {
        engine().open_channel(*this, socket.fileno(), ChannelKind::kStream);
    }
    const int fd = socket.detach();
    if (server_) server_->attach(*this);
    own(fd);
}

void SocketTransport::adopt(std::shared_ptr<BaseProtocol> protocol) {
    auto* const stream = dynamic_cast<Protocol*>(protocol.get());
    auto* const buffered = dynamic_cast<BufferedProtocol*>(protocol.get());
    if (!stream && !buffered) {
        throw TypeError("a stream transport needs a Protocol or a BufferedProtocol");
    }
    stream_ = stream;
    buffered_ = stream ? nullptr : buffered;
    protocol_ = std::move(protocol);
}

void SocketTransport::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
    LateDrop before(core_);
    std::shared_ptr<BaseProtocol> replaced = protocol_;
    adopt(std::move(protocol));
    before.take(std::move(replaced));
}

// Calls connection_made(), then lets reading start, then releases who waits for the connection
// (PR-01). What connection_made() throws is reported; the connection goes on.
void SocketTransport::begin() {
    const InContext scope(*this);
    const bool lost_before = lost_ > 0;
    std::exception_ptr leaves_loop;
    try {
        made();
    } catch (...) {
        // Raised below, when the rest is done.
        leaves_loop = std::current_exception();
    }
    if (is_reading()) start_reading(core_.ready);
    if (const Future<> waiter = std::exchange(waiter_, Future<>(nullptr)); waiter) {
        if (!waiter.done()) waiter.set_result();
    }
    if (!lost_before) {
        if (leaves_loop) std::rethrow_exception(std::move(leaves_loop));
        return;
    }
    if (!leaves_loop) return lost();
    queue_life();
    std::rethrow_exception(std::move(leaves_loop));
}

void SocketTransport::made() {
    made_ = true;
    try {
        if (stream_) return stream_->connection_made(handle_);
        buffered_->connection_made(handle_);
    } catch (...) {
        // Raised again if it is to leave the loop.
        report_transport_error(*this, "Exception in callback protocol.connection_made()",
                               std::current_exception());
    }
}

void SocketTransport::went() noexcept {
    stream_ = nullptr;
    buffered_ = nullptr;
    if (sendfile_) wake_sendfile(connection_closed());
    leave_server();
}

void SocketTransport::loop_went() noexcept {
    sendfile_ = nullptr;
    stream_ = nullptr;
    buffered_ = nullptr;
    leave_server();
}

void SocketTransport::leave_server() noexcept {
    if (server_) std::exchange(server_, nullptr)->detach(*this);
}

// TR-13: OSErrors are told to connection_lost() alone. To be called in a catch block, or with an
// errno's exception.
void SocketTransport::fatal_error(const char* message, std::exception_ptr error) {
    const bool report = !holds<OSError>(error);
    fatal_error(message, std::move(error), report);
}

std::any SocketTransport::peername() const {
    if (peer_size_ > 0) return SocketAddress::from(peer_, peer_size_);
    return fd_ >= 0 ? TransportSocket(fd_).getpeername() : std::any();
}

// ---- reading ------------------------------------------------------------------------------------

void SocketTransport::pause_reading() {
    if (!is_reading()) return;
    paused_ = true;
    stop_reading();
    if (debug()) log::write(log::Level::DEBUG, repr() + " pauses reading");
}

void SocketTransport::resume_reading() {
    if (closing_ || !paused_) return;
    paused_ = false;
    if (made_ && !end_seen_) start_reading(core_.ready);
    if (debug()) log::write(log::Level::DEBUG, repr() + " resumes reading");
}

// What data_received() touches, for the time of the system call.
void SocketTransport::prefetch_receiver() const noexcept {
    prefetch<0, 192>(stream_);
    prefetch<-128, 256>(expected_read_);  // the begin of its frame is in front of it
    prefetch<0, 128>(expected_task_);
}

// The time that a receive of an upload takes, and what its bytes are for.
class SocketTransport::BulkTime {
  public:
    explicit BulkTime(SocketTransport& self) noexcept
        : loop_(self.engine()), begin_(self.takes_turns() ? loop_.backend->now() : 0) {}
    BulkTime(const BulkTime&) = delete;
    BulkTime& operator=(const BulkTime&) = delete;
    ~BulkTime() {
        if (begin_ != 0) loop_.bulk_reads.ran(loop_.backend->now() - begin_);
    }

  private:
    Loop& loop_;
    const std::int64_t begin_;  // 0: it is none
};

void SocketTransport::read_ready() {
    read_runs();
    if (gone_) return let_go();
    if (!wants_read()) return;
    const InContext scope(*this);
    if (!stream_) return receive_into_protocol();
    prefetch_receiver();
    const BulkTime time(*this);
    const std::size_t most = engine().bulk_reads.most();
    const Received got = backend().receive(*this, most);
    if (got.size == 0) return received_nothing(got.error);
    try {
        stream_->data_received({got.data, got.size});
    } catch (...) {
        // Reported, and raised again if it is to leave the loop.
        receiver_failed("Fatal error: protocol.data_received() call failed.");
    }
    read_on(got.size);
}

void SocketTransport::receive_into_protocol() {
    std::span<char> memory;
    BufferedProtocol* const asked = buffered_;
    try {
        memory = asked->get_buffer(0);
        if (memory.empty()) throw RuntimeError("get_buffer() returned an empty buffer");
    } catch (...) {
        // Reported, and raised again if it is to leave the loop.
        return receiver_failed("Fatal error: protocol.get_buffer() call failed.");
    }
    if (!wants_read()) return;                               // it has closed or paused it
    if (buffered_ != asked) return read_again(core_.ready);  // it has set another protocol
    const BulkTime time(*this);
    const std::size_t most = engine().bulk_reads.most();
    memory = memory.first(std::min(memory.size(), most));
    const Transferred got = backend().receive_into(*this, memory);
    if (got.size == 0) return received_nothing(got.error);
    try {
        buffered_->buffer_updated(got.size);
    } catch (...) {
        // Reported, and raised again if it is to leave the loop.
        receiver_failed("Fatal error: protocol.buffer_updated() call failed.");
    }
    read_on(got.size);
}

// There may be more. Whoever receives much takes turns with the others that do.
void SocketTransport::read_on(std::size_t received) noexcept {
    BulkReads& bulk = engine().bulk_reads;
    if (received >= BulkReads::kMuch || has_much()) {
        take_turns(&bulk.waiting());
    } else if (received < BulkReads::kLittle) {
        take_turns(nullptr);
    }
    read_again(core_.ready);
}

// In a catch block. Raises: what leaves the loop; if that is run again, reading goes on.
void SocketTransport::receiver_failed(const char* message) {
    struct Again {
        SocketTransport& self;
        ~Again() { self.read_again(self.core_.ready); }
    } const again{*this};
    fatal_error(message, std::current_exception());
}

void SocketTransport::received_nothing(int error) {
    if (error == 0) return received_end();
    if (error == EAGAIN) return;
    fatal_error("Fatal read error on socket transport", make_os_error(error));
}

// The peer sends no more. PR-05.
void SocketTransport::received_end() {
    if (debug()) log::write(log::Level::DEBUG, repr() + " received EOF");
    end_seen_ = true;
    stop_reading();
    bool keep_open = false;
    try {
        keep_open = stream_ ? stream_->eof_received() : buffered_->eof_received();
    } catch (...) {
        // Reported, and raised again if it is to leave the loop: there is no second end.
        const std::exception_ptr error = std::current_exception();
        if (is_exit_error(error)) {
            close();
            throw;
        }
        return fatal_error("Fatal error: protocol.eof_received() call failed.", error);
    }
    if (!keep_open) close();
}

// ---- writing ------------------------------------------------------------------------------------

// Whether nothing is to be written: the connection is lost.
// Raises: RuntimeError after write_eof() and while a file is sent.
bool SocketTransport::refuse_write(const char* name) {
    if (eof_) throw RuntimeError(std::string("Cannot call ") + name + "() after write_eof()");
    if (sendfile_) {
        throw RuntimeError(std::string("unable to ") + name + "; sendfile is in progress");
    }
    return lost_ > 0;
}

void SocketTransport::write(std::string_view data) {
    const bool refused = refuse_write("write");
    if (data.empty()) return;
    if (refused) {
        if (lost_ >= kWarnFrom) {
            log::write(log::Level::WARNING, "socket.send() raised exception.");
        }
        ++lost_;
        return;
    }
    if (buffer_.empty()) {
        const Transferred sent = backend().send(*this, data);
        if (sent.size == data.size()) return;
        if (sent.error != 0 && sent.error != EAGAIN) {
            return fatal_error("Fatal write error on socket transport", make_os_error(sent.error));
        }
        data.remove_prefix(sent.size);
    }
    buffer_.append(data);
    flow_.grown(buffer_.size(), *this, protocol_.get());
}

void SocketTransport::writelines(std::span<const std::string_view> pieces) {
    if (refuse_write("writelines")) return;
    while (buffer_.empty() && !pieces.empty()) {
        const Transferred sent = backend().send(*this, pieces);
        if (sent.error != 0 && sent.error != EAGAIN) {
            return fatal_error("Fatal write error on socket transport", make_os_error(sent.error));
        }
        std::size_t left = sent.size;
        while (!pieces.empty() && left >= pieces.front().size()) {
            left -= pieces.front().size();
            pieces = pieces.subspan(1);
        }
        if (pieces.empty()) return;
        if (!awaits_room()) continue;  // more pieces than one call takes
        buffer_.append(pieces.front().substr(left));
        pieces = pieces.subspan(1);
        break;
    }
    for (const std::string_view piece : pieces) buffer_.append(piece);
    flow_.grown(buffer_.size(), *this, protocol_.get());
}

void SocketTransport::write_eof() {
    if (closing_ || eof_) return;
    eof_ = true;
    if (buffer_.empty()) shut_down();
}

void SocketTransport::shut_down() { end_sending(fd_); }

void SocketTransport::set_write_buffer_limits(WriteBufferLimits limits) {
    flow_.set_limits(limits);
    flow_.grown(buffer_.size(), *this, protocol_.get());
}

void SocketTransport::write_ready() {
    write_runs();
    if (gone_) return let_go();
    if (lost_ > 0) return;
    const InContext scope(*this);
    if (buffer_.empty()) return wake_sendfile(nullptr);
    const Transferred sent = backend().send(*this, buffer_.view());
    if (sent.error == EAGAIN) return;
    if (sent.error != 0) {
        std::exception_ptr error = make_os_error(sent.error);
        buffer_.clear();
        wake_sendfile(error);
        return fatal_error("Fatal write error on socket transport", std::move(error));
    }
    buffer_.consume(sent.size);
    try {
        flow_.shrunk(buffer_.size(), *this, protocol_.get());  // may write again
    } catch (...) {
        // It leaves the loop; what was to come after this comes if that is run again.
        if (buffer_.empty() && lost_ == 0) {
            wake_sendfile(nullptr);
            if (closing_) {
                schedule_lost();
            } else if (eof_) {
                shut_down();
            }
        }
        throw;
    }
    if (buffer_.empty()) after_flush();
}

void SocketTransport::after_flush() {
    wake_sendfile(nullptr);
    if (lost_ > 0) return;
    if (closing_) {
        ++lost_;
        return lost();
    }
    if (eof_) shut_down();
}

// ---- sendfile -----------------------------------------------------------------------------------

Future<> SocketTransport::begin_sendfile() {
    if (sendfile_) throw RuntimeError("unable to sendfile; sendfile is in progress");
    sendfile_ = loop().create_future<void>();
    if (buffer_.empty()) sendfile_.set_result();
    return sendfile_;
}

Future<> SocketTransport::await_room_to_send() {
    sendfile_ = loop().create_future<void>();
    if (lost_ > 0) {
        sendfile_.set_exception(connection_closed());
    } else {
        backend().await_room(*this);
    }
    return sendfile_;
}

void SocketTransport::end_sendfile() noexcept { sendfile_ = nullptr; }

void SocketTransport::wake_sendfile(std::exception_ptr error) noexcept {
    if (!sendfile_ || sendfile_.done()) return;
    if (error) {
        sendfile_.set_exception(std::move(error));
    } else {
        sendfile_.set_result();
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

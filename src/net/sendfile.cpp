// Sending a file: by the system's sendfile where that can be, else by reading it on a thread and
// writing. SF-01, SF-02.
#include <algorithm>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>

#include "asyncio/base_events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/threads/to_thread.hpp"
#include "net/fd_wait.hpp"
#include "net/socket_transport.hpp"
#include "os/sendfile.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;  // of one system call, bytes
constexpr std::int64_t kTransportBlock = 16 * 1024;    // of the fallbacks, bytes
constexpr std::int64_t kSocketBlock = std::int64_t{256} * 1024;

// Raises: ValueError.
void check_options(const SendfileOptions& options) {
    if (options.count && *options.count <= 0) {
        throw ValueError("count must be a positive integer (got " + std::to_string(*options.count) +
                         ')');
    }
    if (options.offset < 0) {
        throw ValueError("offset must be a non-negative integer (got " +
                         std::to_string(options.offset) + ')');
    }
}

// How far a file has been sent. At the end, however it comes, the file's position is behind what
// was sent.
class Progress {
  public:
    Progress(int file, const SendfileOptions& options) noexcept
        : file_(file), start_(options.offset), left_(options.count.value_or(kUnlimited)) {}
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress() {
        if (sent_ > 0) set_position(file_, start_ + sent_);
    }

    int file() const noexcept { return file_; }
    std::int64_t position() const noexcept { return start_ + sent_; }
    std::int64_t sent() const noexcept { return sent_; }
    bool over() const noexcept { return left_ == 0; }
    // How much to send next, at most `most`.
    std::int64_t next(std::int64_t most) const noexcept { return std::min(left_, most); }
    void advance(std::int64_t n) noexcept {
        sent_ += n;
        if (left_ != kUnlimited) left_ -= n;
    }

  private:
    static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

    int file_;
    std::int64_t start_;
    std::int64_t left_;
    std::int64_t sent_ = 0;
};

// Bytes, or an errno as a negative number.
std::int64_t send_next(int socket, const Progress& progress) noexcept {
    const auto size = static_cast<std::size_t>(progress.next(kMost));
    return send_file(socket, progress.file(), progress.position(), size);
}

// Raises: SendfileNotAvailableError, OSError.
[[noreturn]] void fail(int error, const Progress& progress) {
    if (progress.sent() == 0 && means_unavailable(error)) {
        throw SendfileNotAvailableError("os.sendfile call failed");
    }
    std::rethrow_exception(make_os_error(error));
}

// Raises: SendfileNotAvailableError for what is no regular file.
void check_regular(int file) {
    if (!is_regular_file(file)) throw SendfileNotAvailableError("not a regular file");
}

// Reads on a thread of the loop's pool. "": the end. Raises: OSError.
Coroutine<std::string> read_on(EventLoop& loop, const Progress& progress, std::int64_t most) {
    const int file = progress.file();
    const std::int64_t position = progress.position();
    const auto size = static_cast<std::size_t>(progress.next(most));
    auto read = [file, position, size] { return read_block(file, position, size); };
    co_return co_await loop.run_in_executor(nullptr, read);
}

// ---- through a transport ------------------------------------------------------------------------

// While a file is sent: reading is paused, and nobody else may write.
class Sending {
  public:
    explicit Sending(Ref<SocketTransport> transport)
        : transport_(std::move(transport)), was_reading_(transport_->is_reading()) {
        empty = transport_->begin_sendfile();
        transport_->pause_reading();
    }
    Sending(const Sending&) = delete;
    Sending& operator=(const Sending&) = delete;
    ~Sending() {
        transport_->end_sendfile();
        if (was_reading_) transport_->resume_reading();
    }

    Future<> empty{nullptr};  // done when nothing is buffered any more

  private:
    Ref<SocketTransport> transport_;
    bool was_reading_;
};

Coroutine<std::size_t> send_native(Ref<SocketTransport> transport, int file,
                                   SendfileOptions options) {
    check_regular(file);
    const Sending sending(transport);
    co_await sending.empty;
    Progress progress(file, options);
    while (!progress.over()) {
        if (transport->is_closing()) throw ConnectionError("Connection is closed by peer");
        const std::int64_t n = send_next(transport->fd(), progress);
        if (n == 0) break;
        if (n > 0) {
            progress.advance(n);
            co_await sleep(Duration(0));
            continue;
        }
        if (n == -EINTR) continue;
        if (n != -EAGAIN) fail(static_cast<int>(-n), progress);
        const Future<> room = transport->await_room_to_send();
        co_await room;
    }
    co_return static_cast<std::size_t>(progress.sent());
}

// Takes the place of a transport's protocol while a file is written to it.
class SendfileProtocol final : public Protocol {
  public:
    explicit SendfileProtocol(TransportBase& transport)
        : transport_(transport),
          before_(transport.get_protocol()),
          was_reading_(transport.is_reading()),
          was_paused_(transport.writing_paused()) {
        if (was_paused_) pause_writing();
    }

    // Raises: ConnectionError.
    Coroutine<> drain() {
        if (transport_.is_closing()) throw ConnectionError("Connection closed by peer");
        const Future<> room = room_;
        if (room) co_await room;
    }
    void restore() {
        transport_.set_protocol(before_);
        if (was_reading_ && !transport_.is_closing()) transport_.resume_reading();
        if (was_paused_ && !room_) before_->resume_writing();
        if (!was_paused_ && room_) before_->pause_writing();
    }

    void pause_writing() override {
        if (!room_) room_ = transport_.loop().create_future<void>();
    }
    void resume_writing() override {
        if (const Future<> room = std::exchange(room_, Future<>(nullptr)); room && !room.done()) {
            room.set_result();
        }
    }
    void connection_lost(std::exception_ptr error) override {
        if (const Future<> room = std::exchange(room_, Future<>(nullptr)); room && !room.done()) {
            room.set_exception(
                error ? error
                      : std::make_exception_ptr(ConnectionError("Connection is closed by peer")));
        }
        before_->connection_lost(error);
    }
    bool eof_received() override { return true; }

  private:
    TransportBase& transport_;
    std::shared_ptr<BaseProtocol> before_;
    Future<> room_{nullptr};  // not empty: writing is paused
    bool was_reading_;
    bool was_paused_;
};

class InPlace {
  public:
    explicit InPlace(TransportBase& transport)
        : protocol(std::make_shared<SendfileProtocol>(transport)), transport_(transport) {
        transport.pause_reading();
        transport.set_protocol(protocol);
    }
    InPlace(const InPlace&) = delete;
    InPlace& operator=(const InPlace&) = delete;
    ~InPlace() {
        // Not if the connection is lost meanwhile, or the protocol was replaced.
        if (transport_.get_protocol() == protocol) protocol->restore();
    }
    const std::shared_ptr<SendfileProtocol> protocol;

  private:
    TransportBase& transport_;
};

Coroutine<std::size_t> send_by_writing(Ref<TransportBase> transport, int file,
                                       SendfileOptions options) {
    EventLoop& loop = transport->loop();
    const InPlace place(*transport);
    Progress progress(file, options);
    while (!progress.over()) {
        const std::string block = co_await read_on(loop, progress, kTransportBlock);
        if (block.empty()) break;
        co_await place.protocol->drain();
        transport->write(block);
        progress.advance(static_cast<std::int64_t>(block.size()));
    }
    co_return static_cast<std::size_t>(progress.sent());
}

Coroutine<std::size_t> send_through(Ref<TransportBase> transport, int file,
                                    SendfileOptions options) {
    check_options(options);
    if (transport->is_closing()) throw RuntimeError("Transport is closing");
    const SendfileMode mode = transport->sendfile_mode();
    if (mode == SendfileMode::UNSUPPORTED) {
        throw RuntimeError("sendfile is not supported for transport " + transport->repr());
    }
    if (mode == SendfileMode::TRY_NATIVE) {
        // Safe because only the socket transport has that mode.
        auto socket = Ref<SocketTransport>::share(static_cast<SocketTransport*>(transport.get()));
        Result<std::size_t> sent =
            co_await as_result(send_native(std::move(socket), file, options));
        if (sent.has_value()) co_return sent.value();
        if (!options.fallback || !holds<SendfileNotAvailableError>(sent.error())) {
            std::rethrow_exception(sent.error());
        }
    } else if (!options.fallback) {
        throw RuntimeError(
            "fallback is disabled and native sendfile is not supported for transport " +
            transport->repr());
    }
    co_return co_await send_by_writing(std::move(transport), file, options);
}

// ---- through a plain socket ---------------------------------------------------------------------

Coroutine<std::size_t> sock_send_native(EventLoop& loop, int sock, int file,
                                        SendfileOptions options) {
    check_regular(file);
    Progress progress(file, options);
    while (!progress.over()) {
        const std::int64_t n = send_next(sock, progress);
        if (n == 0) break;
        if (n > 0) {
            progress.advance(n);
            co_await sleep(Duration(0));
            continue;
        }
        if (n == -EINTR) continue;
        if (n != -EAGAIN) fail(static_cast<int>(-n), progress);
        FdWait room(loop.impl(), sock, true);
        co_await room;
    }
    co_return static_cast<std::size_t>(progress.sent());
}

Coroutine<std::size_t> sock_send_by_writing(EventLoop& loop, int sock, int file,
                                            SendfileOptions options) {
    Progress progress(file, options);
    while (!progress.over()) {
        const std::string block = co_await read_on(loop, progress, kSocketBlock);
        if (block.empty()) break;
        co_await loop.sock_sendall(sock, block);
        progress.advance(static_cast<std::int64_t>(block.size()));
    }
    co_return static_cast<std::size_t>(progress.sent());
}

Coroutine<std::size_t> send_through_socket(EventLoop& loop, int sock, int file,
                                           SendfileOptions options) {
    check_awaited_here(loop);
    if (loop.get_debug()) refuse_blocking(sock);
    if (TransportSocket(sock).type() != SOCK_STREAM) {
        throw ValueError("only SOCK_STREAM type sockets are supported");
    }
    check_options(options);
    loop.impl().check_no_channel(sock);
    Result<std::size_t> sent = co_await as_result(sock_send_native(loop, sock, file, options));
    if (sent.has_value()) co_return sent.value();
    if (!options.fallback || !holds<SendfileNotAvailableError>(sent.error())) {
        std::rethrow_exception(sent.error());
    }
    co_return co_await sock_send_by_writing(loop, sock, file, options);
}

}  // namespace
}  // namespace detail

Coroutine<std::size_t> EventLoop::sendfile(const BaseTransport& transport, FileDescriptor file,
                                           SendfileOptions options) {
    auto kept = detail::Ref<detail::TransportBase>::share(&transport.impl());
    return detail::send_through(std::move(kept), file.fileno(), options);
}
Coroutine<std::size_t> EventLoop::sendfile(const BaseTransport& transport, FileDescriptor file) {
    return sendfile(transport, file, SendfileOptions());
}

Coroutine<std::size_t> EventLoop::sock_sendfile(FileDescriptor sock, FileDescriptor file,
                                                SendfileOptions options) {
    return detail::send_through_socket(*this, sock.fileno(), file.fileno(), options);
}
Coroutine<std::size_t> EventLoop::sock_sendfile(FileDescriptor sock, FileDescriptor file) {
    return sock_sendfile(sock, file, SendfileOptions());
}

}  // namespace v1
}  // namespace asyncio

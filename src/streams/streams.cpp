// Streams: the protocol below them, the writer, connections and servers, and the handles. How bytes
// are read: stream_reading.cpp.
#include "asyncio/streams.hpp"

#include <algorithm>
#include <any>
#include <new>
#include <ostream>

#include "asyncio/log.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/ssl.hpp"
#include "loop/loop.hpp"
#include "net/ssl_factory.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- Stream: the protocol -----------------------------------------------------------------------

namespace {

template <class T>
struct PoolAllocator {
    using value_type = T;
    PoolAllocator() noexcept = default;
    template <class U>
    PoolAllocator(const PoolAllocator<U>&) noexcept {}
    T* allocate(std::size_t n) { return static_cast<T*>(detail::allocate(n * sizeof(T))); }
    void deallocate(T* p, std::size_t n) noexcept { detail::deallocate(p, n * sizeof(T)); }
    friend bool operator==(PoolAllocator, PoolAllocator) noexcept { return true; }
};

}  // namespace

StreamServer::StreamServer(std::size_t limit) : limit_(limit) {}
StreamServer::~StreamServer() = default;

std::shared_ptr<Stream> Stream::make(LoopCore& core, std::size_t limit) {
    return std::allocate_shared<Stream>(PoolAllocator<Stream>(), core, limit);
}

std::shared_ptr<Stream> Stream::make(LoopCore& core, Ref<StreamServer> server) {
    auto stream = make(core, server->limit());
    stream->server_ = std::move(server);
    stream->server_side_ = true;
    return stream;
}

Stream::Stream(LoopCore& core, std::size_t limit) : core_(core), limit_(limit) { core.attach(); }

Stream::~Stream() {
    // Nobody is left who could feed it. When a loop closes, nobody is woken.
    const bool running = core_.runs_here();
    if (StreamRead* r = reader_) {
        if (running) wake_reader();
        r->stream_ = nullptr;
    }
    while (Waiter* w = waiters_ ? waiters_->pop_front() : nullptr) {
        // Safe because only StreamWaiters are put in.
        static_cast<StreamWaiter*>(w)->stream = nullptr;
        if (running && !w->done()) w->set();
    }
    core_.detach();
}

void Stream::connection_made(Transport& transport) {
    transport_ = Ref<TransportBase>::share(&transport.impl());
    if (server_) serve(std::move(server_));
}

void Stream::replace_transport(Ref<TransportBase> transport) noexcept {
    transport_ = std::move(transport);
    reading_paused_ = false;
    cannot_pause_ = false;
}

void Stream::serve(Ref<StreamServer> server) {
    server_ = std::move(server);
    server_side_ = true;
    auto self = shared_from_this();
    const Ref<FutureBase> task = server_->call(StreamReader(self), StreamWriter(self));
    if (!task) return;
    handler_end_.stream = std::move(self);
    task->add_node(&handler_end_, true);
}

void Stream::HandlerEnd::scheduled(FutureBase& done) noexcept {
    task = Ref<FutureBase>::share(&done);
}

namespace {

// " for ('127.0.0.1', 50122)"; empty for a transport without a name at its other end.
std::string peer_text(Stream& stream) {
    const std::any peer = stream.transport().get_extra_info("peername");
    const auto* const address = std::any_cast<SocketAddress>(&peer);
    return address ? " for " + address->repr() : std::string();
}

}  // namespace

// ST-02. The handler has ended; that alone does not close the connection.
void Stream::HandlerEnd::run() {
    const std::shared_ptr<Stream> s = std::move(stream);
    const Ref<FutureBase> ended = std::move(task);
    s->server_ = nullptr;
    if (ended->cancelled()) {
        s->transport().close();
        return;
    }
    const std::exception_ptr error = ended->take_error();
    if (!error) return;
    const char* const text = "Unhandled exception in client_connected_cb";
    tell_handler(s->core_, text, [&](ExceptionContext& context) {
        context.message = text + peer_text(*s);
        context.exception = error;
        // Which names the handler.
        context.task = AnyFuture::from_state(ended);
        context.transport = BaseTransport(s->transport_ref());
    });
    s->transport().close();
}

void Stream::HandlerEnd::drop() noexcept {
    task = nullptr;
    // The stream goes last: this is a part of it.
    const std::shared_ptr<Stream> s = std::move(stream);
    if (s) s->server_ = nullptr;
}

// ST-18: the other direction stays open, but not over TLS.
bool Stream::eof_received() {
    feed_eof();
    return !transport_->get_extra_info("sslcontext").has_value();
}

void Stream::connection_lost(std::exception_ptr error) {
    if (lost_) return;
    lost_ = true;
    failed_ = error != nullptr;
    if (error) {
        set_exception(std::move(error));
    } else {
        feed_eof();
    }
    wake_waiters(WaitKind::kStreamClosed);
    if (writing_paused_) wake_waiters(WaitKind::kStreamDrain);
}

void Stream::resume_writing() {
    writing_paused_ = false;
    wake_waiters(WaitKind::kStreamDrain);
}

void Stream::wake_waiters(WaitKind kind) noexcept {
    if (!waiters_) return;
    waiters_->for_each([kind](Waiter& w) {
        if (!w.done() && w.kind() == kind) w.set();
    });
}

// ---- Stream: the writer -------------------------------------------------------------------------

// Closes a connection whose last writer went on another thread.
class Stream::LateClose final : public Node, public Pooled {
  public:
    explicit LateClose(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
    void run() override {
        stream_->close_unclosed();
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    ~LateClose() = default;
    std::shared_ptr<Stream> stream_;
};

void Stream::first_writer() noexcept {
    if (std::exchange(has_writer_, true)) {
        writers_.add();
    } else {
        writers_.revive();
    }
}

void Stream::last_writer_gone() noexcept {
    if (!transport_) return;
    if (core_.closed) {
        if (!transport_->is_closing()) log::write(log::Level::DEBUG, "loop is closed");
        return;
    }
    if (core_.on_owner_thread()) {
        close_unclosed();
        return;
    }
    // Its loop runs on another thread, which alone may close the transport.
    try {
        auto late = new LateClose(shared_from_this());
        if (!push_threadsafe(core_, late)) late->drop();
    } catch (const std::bad_alloc&) {
        log::write(log::Level::ERROR, "no memory to close a stream that was left open");
    }
}

// ST-17.
void Stream::close_unclosed() noexcept {
    has_writer_ = false;
    try {
        if (transport_->is_closing()) return;
        if (log::enabled(log::Level::DEBUG)) {
            log::write(log::Level::DEBUG, "unclosed " + writer_repr());
        }
        transport_->close();
    } catch (...) {
        // A destructor may be the caller: it is reported, not raised.
        log::write(log::Level::ERROR, "a stream that was left open could not be closed: " +
                                          describe(std::current_exception()));
    }
}

bool Drain::look() {
    const Stream& s = *stream_;
    if (s.exception_) {
        state_ = State::kFails;
        return true;
    }
    if (s.writing_paused_ && !s.lost_) {
        state_ = State::kWaits;
        return false;
    }
    if (s.transport().is_closing()) {
        state_ = State::kYields;
        wait();
        return false;
    }
    if (s.lost_) state_ = State::kFails;
    return true;
}

bool WaitClosed::await_ready() {
    begin();
    if (!stream_->lost_) state_ = State::kWaits;
    if (stream_->failed_) state_ = State::kFails;
    return stream_->lost_;
}

StreamWaiter& StreamWait::wait() {
    Owned<WaitingLine>& line = stream_->waiters_;
    if (!line) line = Owned(new WaitingLine);
    waiter_ = new StreamWaiter(stream_, kind_);
    line->push_back(*waiter_);
    return *waiter_;
}

// The error to raise, or null.
std::exception_ptr StreamWait::settle() {
    if (state_ == State::kFails) return stream_->failure(kind_);
    if (state_ == State::kYields) {
        TaskBase* const task = thread_state.task;
        if (task->resumed()) return task->take_cancel();
    } else if (std::exception_ptr e = waiter_->resume()) {
        return e;
    }
    if (!waiter_->stream) return Stream::went_away();
    const Stream& s = *stream_;
    if (!s.lost_) return nullptr;
    return state_ == State::kYields ? s.failure(kind_) : s.lost_error();
}

// To whom uses a stream that nothing keeps any more.
std::exception_ptr Stream::went_away() {
    return std::make_exception_ptr(RuntimeError("the stream went away while a task used it"));
}

// What drain() and wait_closed() raise where they need not wait.
std::exception_ptr Stream::failure(WaitKind kind) const {
    if (kind == WaitKind::kStreamClosed) return lost_error();
    if (exception_) return exception_;
    return std::make_exception_ptr(ConnectionResetError("Connection lost"));
}

// ---- how they print -----------------------------------------------------------------------------

std::string Stream::reader_repr() const {
    std::string text = "<StreamReader";
    if (!buffer_.empty()) text += ' ' + std::to_string(buffer_.size()) + " bytes";
    if (eof_) text += " eof";
    if (limit_ != DEFAULT_STREAM_LIMIT) text += " limit=" + std::to_string(limit_);
    if (waiting()) text += " waiting";
    if (exception_) text += " exception=" + describe(exception_);
    if (transport_) text += " transport=" + transport_->repr();
    if (reading_paused_) text += " paused";
    return text + '>';
}

std::string Stream::writer_repr() const {
    std::string text = "<StreamWriter";
    if (transport_) text += " transport=" + transport_->repr();
    return text + " reader=" + reader_repr() + '>';
}

// ---- connections and servers --------------------------------------------------------------------

namespace {

// What a call on the running loop does before it hands the socket of its options on: the socket is
// closed if that fails.
class SocketCall {
  public:
    template <class Options>
    explicit SocketCall(const Options& options) : kept_(options.sock.fileno()) {
        if (options.limit == 0) throw ValueError("Limit cannot be <= 0");
        core_ = &running_core();
    }
    LoopCore& core() const noexcept { return *core_; }
    EventLoop& loop() const noexcept { return *core_->loop; }
    // For the function that takes over the socket: all else is done.
    ProtocolFactory hand_over(ProtocolFactory factory) noexcept {
        kept_.detach();
        return factory;
    }

  private:
    Socket kept_;
    LoopCore* core_ = nullptr;
};

ProtocolFactory factory_of(const std::shared_ptr<Stream>& stream) {
    return [stream]() -> std::shared_ptr<BaseProtocol> { return stream; };
}
ProtocolFactory factory_of(LoopCore& core, Ref<StreamServer> server) {
    return [&core, server = std::move(server)]() -> std::shared_ptr<BaseProtocol> {
        return Stream::make(core, server);
    };
}

// A call that is dropped without a report if the one that it is a part of never begins.
class PartOfCall {
  public:
    explicit PartOfCall(Coroutine<Connected> call) noexcept : call(std::move(call)) {}
    PartOfCall(PartOfCall&&) noexcept = default;
    PartOfCall& operator=(PartOfCall&&) = delete;
    ~PartOfCall() { call.close(); }

    Coroutine<Connected> call;
};

Coroutine<StreamPair> opened(std::shared_ptr<Stream> stream, PartOfCall connecting) {
    const Connected connected = co_await std::move(connecting.call);
    co_return StreamPair(StreamReader(stream), StreamWriter(stream));
}

Coroutine<StreamPair> open_stream(std::string_view host, PortNumber port,
                                  const ConnectionOptions& options) {
    SocketCall call(options);
    auto stream = Stream::make(call.core(), options.limit);
    PartOfCall connecting(
        create_connection(call.loop(), call.hand_over(factory_of(stream)), host, port, options));
    return opened(std::move(stream), std::move(connecting));
}

// What was received before the handshake and not read. Whoever could put it there had no key: it
// must not be read as if it had come secured.
std::string take_early(const StreamWriter& writer, bool server_side) {
    Stream& stream = *writer.state();
    std::string early = stream.take_buffered();
    std::exception_ptr error;
    if (!early.empty() && !server_side) {
        // A server says nothing before the client does, so none of it belongs to the handshake.
        error = std::make_exception_ptr(
            SSLError(std::to_string(early.size()) +
                     " bytes came before the TLS handshake and were not read"));
    } else if (stream.ended()) {
        error = std::make_exception_ptr(ConnectionResetError("Connection lost"));
    }
    if (!error) return early;
    stream.set_exception(error);
    writer.transport().abort();
    std::rethrow_exception(error);
}

// The writer stays open as long as this runs.
Coroutine<> upgraded(StreamWriter writer, TlsSettings settings) {
    co_await writer.drain();
    Stream& stream = *writer.state();
    // gh-142352: a client may have sent the start of the handshake along with its request. If it is
    // something else, the handshake fails.
    std::string early = take_early(writer, settings.server_side);
    std::shared_ptr<BaseProtocol> protocol = stream.transport().get_protocol();
    const Transport secured = co_await start_tls(writer.transport(), std::move(protocol),
                                                 std::move(settings), std::move(early));
    stream.replace_transport(Ref<TransportBase>::share(&secured.impl()));
}

}  // namespace

Coroutine<Server> start_server(Ref<StreamServer> handler, std::vector<std::string> hosts,
                               PortNumber port, const ServerOptions& options) {
    SocketCall call(options);
    return create_server(call.loop(), call.hand_over(factory_of(call.core(), std::move(handler))),
                         std::move(hosts), port, options);
}

Coroutine<Server> start_unix_server(Ref<StreamServer> handler, std::string_view path,
                                    const UnixServerOptions& options) {
    SocketCall call(options);
    return create_unix_server(
        call.loop(), call.hand_over(factory_of(call.core(), std::move(handler))), path, options);
}

}  // namespace detail

Coroutine<StreamPair> open_connection(std::string_view host, int port, ConnectionOptions options) {
    return detail::open_stream(host, port, options);
}

Coroutine<StreamPair> open_connection(ConnectionOptions options) {
    return detail::open_stream({}, {}, options);
}

Coroutine<StreamPair> open_unix_connection(std::string_view path, UnixConnectionOptions options) {
    detail::SocketCall call(options);
    auto stream = detail::Stream::make(call.core(), options.limit);
    detail::PartOfCall connecting(detail::create_unix_connection(
        call.loop(), call.hand_over(detail::factory_of(stream)), path, options));
    return detail::opened(std::move(stream), std::move(connecting));
}

// ---- handles ------------------------------------------------------------------------------------

StreamReader::StreamReader(detail::StreamLimit limit) {
    if (limit.bytes == 0) throw ValueError("Limit cannot be <= 0");
    stream_ = detail::Stream::make(detail::current_core(), limit.bytes);
}

void StreamReader::set_transport(const BaseTransport& transport) const {
    stream().set_transport(detail::Ref<detail::TransportBase>::share(&transport.impl()));
}

void StreamReader::throw_negative_size() {
    throw ValueError("readexactly size can not be less than zero");
}

std::string StreamReader::repr() const {
    return stream_ ? stream_->reader_repr() : "<StreamReader empty>";
}

StreamWriter::StreamWriter(const BaseTransport& transport,
                           const std::shared_ptr<StreamReaderProtocol>& protocol)
    : stream_(protocol->state()) {
    stream_->set_transport(detail::Ref<detail::TransportBase>::share(&transport.impl()));
    stream_->first_writer();
}

Coroutine<> StreamWriter::start_tls(const ssl::SSLContext& context, StartTlsOptions options) const {
    detail::TlsSettings settings{.context = context,
                                 .server_side = stream().server_side(),
                                 .server_hostname = std::nullopt,
                                 .handshake_timeout = options.ssl_handshake_timeout,
                                 .shutdown_timeout = options.ssl_shutdown_timeout};
    if (options.server_hostname) settings.server_hostname = std::string(*options.server_hostname);
    detail::check_tls(settings);
    return detail::upgraded(*this, std::move(settings));
}

std::string StreamWriter::repr() const {
    return stream_ ? stream_->writer_repr() : "<StreamWriter empty>";
}

std::ostream& operator<<(std::ostream& out, const StreamReader& reader) {
    return out << reader.repr();
}
std::ostream& operator<<(std::ostream& out, const StreamWriter& writer) {
    return out << writer.repr();
}

// ---- StreamReaderProtocol -----------------------------------------------------------------------

StreamReaderProtocol::StreamReaderProtocol(StreamReader reader) : stream_(reader.state()) {
    if (!stream_) stream_ = detail::Stream::make(detail::current_core(), DEFAULT_STREAM_LIMIT);
}
StreamReaderProtocol::~StreamReaderProtocol() = default;

void StreamReaderProtocol::connection_made(Transport& transport) {
    stream_->connection_made(transport);
    if (server_) stream_->serve(std::move(server_));
}
void StreamReaderProtocol::data_received(std::string_view data) { stream_->feed_data(data); }
bool StreamReaderProtocol::eof_received() { return stream_->eof_received(); }
void StreamReaderProtocol::connection_lost(std::exception_ptr error) {
    stream_->connection_lost(std::move(error));
}
void StreamReaderProtocol::pause_writing() { stream_->pause_writing(); }
void StreamReaderProtocol::resume_writing() { stream_->resume_writing(); }

}  // namespace v1
}  // namespace asyncio

// TLS over any transport: a protocol for the transport below, a transport for the protocol above,
// and the state machine between them. TL-01 to TL-04.
//
//     UNWRAPPED -> DO_HANDSHAKE -> WRAPPED -> FLUSHING -> SHUTDOWN        (and UNWRAPPED from all)
//
// Reading. The transport below hands over a view of what it received, OpenSSL reads from that view,
// and the plaintext goes through a block of the thread's to the user: an idle connection has no
// buffer of ours. Only while the user has paused reading does what comes wait, still encrypted, in
// `incoming_`; from 256 KiB on the transport below is paused, too.
//
// Writing. What fits into one record is encrypted at once and goes from OpenSSL's buffer to the
// transport below; longer data is encrypted record by record into a block, for fewer system calls.
// While the transport below has asked for a pause, plaintext waits in `backlog_`, and from 512 KiB
// on the user is asked for one.
//
// Closing. Our close() flushes, sends close_notify, and waits for the peer's (what else it sends is
// decrypted and dropped: OpenSSL takes no shortcut there). The peer's close_notify or EOF ends the
// stream for the user and starts the same. The timer of the shutdown runs until the transport below
// has reported the end, so that this always comes.
//
// Only the first reason for an end counts: what follows from it (a truncated stream after a cancel
// or a timeout, say) is not told to anybody.
#include <algorithm>
#include <any>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "asyncio/component/errors.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/detail/call_timer.hpp"
#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/tasks.hpp"
#include "net/flow_control.hpp"
#include "net/ssl_factory.hpp"
#include "net/write_buffer.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr std::int64_t kHandshakeTimeout = 60'000'000'000;  // ns
constexpr std::int64_t kShutdownTimeout = 30'000'000'000;   // ns
constexpr std::size_t kWriteHigh = std::size_t{512} * 1024;
constexpr std::size_t kReadHigh = std::size_t{256} * 1024;
constexpr std::size_t kRecord = 16384;  // the most plaintext of a record
constexpr unsigned kQuietWrites = 5;    // after the end, before the log is told

// ---- blocks -------------------------------------------------------------------------------------

// Room for a few records. Blocks belong to the thread and are lent for the length of a call: calls
// nest (TLS in TLS, a write within data_received), but seldom more than two deep.
class Scratch {
  public:
    // Four records, encrypted or not, and one more that has begun.
    static constexpr std::size_t kSize = std::size_t{84} * 1024;

    Scratch() : block_(spare().take()) {}
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { spare().give(std::move(block_)); }

    char* data() noexcept { return block_.get(); }
    std::size_t size() const noexcept { return size_; }
    std::size_t room() const noexcept { return kSize - size_; }
    char* end() noexcept { return block_.get() + size_; }
    void grow(std::size_t n) noexcept { size_ += n; }
    void clear() noexcept { size_ = 0; }
    std::string_view view() const noexcept { return {block_.get(), size_}; }
    void append(std::string_view bytes) noexcept {
        std::memcpy(end(), bytes.data(), bytes.size());
        size_ += bytes.size();
    }

  private:
    using Block = std::unique_ptr<char[]>;
    struct Spare {
        static constexpr std::size_t kMost = 3;
        Block blocks[kMost];
        std::size_t count = 0;

        Block take() {
            if (count > 0) return std::move(blocks[--count]);
            return std::make_unique_for_overwrite<char[]>(kSize);
        }
        void give(Block block) noexcept {
            if (count < kMost) blocks[count++] = std::move(block);
        }
    };
    static Spare& spare() {
        static thread_local Spare spare;
        return spare;
    }

    Block block_;
    std::size_t size_ = 0;
};

std::string seconds_text(std::int64_t ns) { return repr_double(static_cast<double>(ns) / 1e9); }

}  // namespace

// ---- the transport ------------------------------------------------------------------------------

class TlsProtocol;

class TlsTransport final : public TransportBase, private SslSink {
  public:
    TlsTransport(EventLoop& loop, const TlsSettings& settings, Future<void> handshake,
                 bool call_connection_made);
    ~TlsTransport() override;

    // Of the protocol for the transport below.
    void connected(Transport& below);
    void received(std::string_view data) { process(data); }
    bool ended();
    void lost(std::exception_ptr error);
    void pause_below() noexcept { below_paused_ = true; }
    void resume_below();
    // The transport below lets go of its protocol, which it does without connection_lost() when the
    // loop is closed.
    void forgotten() noexcept;

    // Of the user.
    EventLoop& loop() const override;
    void close() override;
    void abort() override { force_close(nullptr); }
    // What is written to a connection that has failed is dropped below, so that nothing pauses: a
    // writer learns of it here, and lets the loop tell (TR-02).
    bool is_closing() const override { return closed_ || (below_ && below_->is_closing()); }
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
    std::shared_ptr<BaseProtocol> get_protocol() const override { return app_; }
    std::any get_extra_info(std::string_view name) const override;
    bool is_reading() const override { return !app_paused_; }
    void pause_reading() override { app_paused_ = true; }
    void resume_reading() override;
    void write(std::string_view data) override;
    void writelines(std::span<const std::string_view> pieces) override;
    void write_eof() override;
    std::size_t get_write_buffer_size() const override { return backlog_.size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return flow_.limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) override;
    std::size_t get_read_buffer_size() const override {
        return incoming_.size() + ssl_->input.size();
    }
    std::pair<std::size_t, std::size_t> get_read_buffer_limits() const override {
        return read_limits_.limits();
    }
    void set_read_buffer_limits(WriteBufferLimits limits) override;
    bool writing_paused() const noexcept override { return flow_.paused(); }
    bool start_tls_compatible() const noexcept override { return true; }
    SendfileMode sendfile_mode() const noexcept override { return SendfileMode::FALLBACK; }
    std::string repr() const override;

  private:
    enum class State : std::uint8_t { kUnwrapped, kDoHandshake, kWrapped, kFlushing, kShutdown };
    // Of the user's protocol: before connection_made, between, after eof_received, after
    // connection_lost.
    enum class App : std::uint8_t { kInit, kMade, kEof, kLost };

    void encrypted(std::string_view bytes) override;

    // Incoming
    void process(std::string_view data);
    void keep_rest(std::string_view held);
    bool step();
    bool read_step();
    bool after_read(SslStatus status);
    bool discard_step();
    SslStatus read_to(char* to, std::size_t room, std::size_t& total);
    SslStatus read_for_stream();
    SslStatus read_for_buffered();
    void process_soon();
    void control_reading();

    // Handshake
    bool handshake_step();
    void handshake_done();
    void handshake_failed(std::exception_ptr error);
    void wake_handshake(std::exception_ptr error) noexcept;

    // Outgoing
    bool refuse_write();
    std::size_t encrypt(std::string_view data);
    std::size_t encrypt_records(std::string_view data);
    bool encrypt_record(std::string_view data, std::size_t& taken);
    void write_now_or_later(std::string_view data);
    void flush();
    void control_writing();

    // The end
    void end_of_stream(bool clean);
    void call_eof_received();
    void start_shutdown();
    void enter_shutdown();
    void complete_shutdown();
    void force_close(std::exception_ptr error);
    void fatal(std::exception_ptr error, const char* message);
    void tell_lost(const std::exception_ptr& error);
    void let_go() noexcept;

    // Calls connection_lost() in the next iteration, if there is one.
    class TellLost {
      public:
        TellLost(Ref<TlsTransport> transport, std::exception_ptr error) noexcept
            : transport_(std::move(transport)), error_(std::move(error)) {}
        TellLost(TellLost&&) noexcept = default;
        TellLost& operator=(TellLost&&) = delete;
        ~TellLost() {
            if (transport_) transport_->let_go();
        }
        void operator()() { std::exchange(transport_, nullptr)->tell_lost(error_); }

      private:
        Ref<TlsTransport> transport_;
        std::exception_ptr error_;
    };

    void arm(std::int64_t delay, CallTimer::Function fn);
    void disarm() noexcept;
    void debug(std::string_view text) const;
    template <class F>
    bool call_app(F&& call);

    LoopCore& core_;
    Ref<TransportBase> below_;
    Ref<SslState> ssl_;
    std::shared_ptr<BaseProtocol> app_;
    Protocol* stream_ = nullptr;            // app_, if it is one
    BufferedProtocol* buffered_ = nullptr;  // app_, if it is one
    Transport handle_;                      // what connection_made gets; until connection_lost
    Future<void> handshake_;
    CallTimer* timer_ = nullptr;  // of the handshake or of the shutdown
    std::int64_t handshake_timeout_;
    std::int64_t shutdown_timeout_;
    std::int64_t started_ = 0;  // the handshake, in debug mode, ns
    WriteBuffer backlog_;
    std::string incoming_;
    std::exception_ptr error_;       // why it was closed by force
    std::exception_ptr sink_error_;  // of a write to the transport below, amid OpenSSL
    Scratch* batch_ = nullptr;       // where encrypted records are collected; null: nowhere
    FlowControl flow_{kWriteHigh, kWriteHigh / 4};
    FlowControl read_limits_{kReadHigh, kReadHigh / 4};
    unsigned writes_after_end_ = 0;
    State state_ = State::kUnwrapped;
    App app_state_;
    bool app_paused_ = false;         // the user reads no more, for now
    bool below_paused_ = false;       // the transport below asked for a pause
    bool reading_stopped_ = false;    // we have paused the transport below
    bool below_ended_ = false;        // EOF from below
    bool closed_ = false;             // from close() on
    bool failed_ = false;             // closed by force, for the reason error_
    bool lost_ = false;               // the transport below is gone
    bool processing_ = false;         // process() is on the stack
    bool shutdown_complete_ = false;  // only the transport below is left to be closed
};

class TlsProtocol final : public Protocol {
  public:
    explicit TlsProtocol(Ref<TlsTransport> transport) noexcept : transport_(std::move(transport)) {}
    ~TlsProtocol() override { transport_->forgotten(); }

    void connection_made(Transport& below) override { transport_->connected(below); }
    void data_received(std::string_view data) override { transport_->received(data); }
    bool eof_received() override { return transport_->ended(); }
    void connection_lost(std::exception_ptr error) override { transport_->lost(std::move(error)); }
    void pause_writing() override { transport_->pause_below(); }
    void resume_writing() override { transport_->resume_below(); }

  private:
    Ref<TlsTransport> transport_;
};

TlsTransport::TlsTransport(EventLoop& loop, const TlsSettings& settings, Future<void> handshake,
                           bool call_connection_made)
    : core_(loop.core()),
      ssl_(Ref<SslState>::adopt(new SslState(settings))),
      handshake_(std::move(handshake)),
      handshake_timeout_(settings.handshake_timeout.is_none() ? kHandshakeTimeout
                                                              : settings.handshake_timeout.count()),
      shutdown_timeout_(settings.shutdown_timeout.is_none() ? kShutdownTimeout
                                                            : settings.shutdown_timeout.count()),
      app_state_(call_connection_made ? App::kInit : App::kMade) {
    ssl_->sink = this;
    core_.attach();
}

TlsTransport::~TlsTransport() {
    disarm();
    ssl_->finish();
    core_.detach();
}

EventLoop& TlsTransport::loop() const {
    if (!core_.loop) throw RuntimeError("the loop of this transport is gone");
    return *core_.loop;
}

void TlsTransport::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
    auto* stream = dynamic_cast<Protocol*>(protocol.get());
    auto* buffered = dynamic_cast<BufferedProtocol*>(protocol.get());
    if (!stream && !buffered) {
        throw TypeError("a TLS transport needs a Protocol or a BufferedProtocol");
    }
    LateDrop before(core_);
    std::swap(app_, protocol);
    stream_ = stream;
    buffered_ = buffered;
    before.take(std::move(protocol));
}

std::any TlsTransport::get_extra_info(std::string_view name) const {
    if (name == "sslcontext") return ssl_->context();
    const bool secured = app_state_ != App::kInit && SSL_is_init_finished(ssl_->ssl());
    if (name == "ssl_object" || name == "peercert" || name == "cipher" || name == "compression") {
        if (!secured) return {};
        ssl::SSLObject object(ssl_);
        if (name == "ssl_object") return object;
        if (name == "peercert") {
            auto certificate = object.getpeercert();
            return certificate ? std::any(*std::move(certificate)) : std::any();
        }
        if (name == "cipher") {
            auto cipher = object.cipher();
            return cipher ? std::any(*std::move(cipher)) : std::any();
        }
        return {};
    }
    return below_ ? below_->get_extra_info(name) : std::any();
}

std::string TlsTransport::repr() const {
    std::string text = "<asyncio.SSLTransport";
    if (lost_) {
        text += " closed";
    } else {
        text += closed_ ? " closing" : " open";
    }
    if (below_) text += " over " + below_->repr();
    return text + '>';
}

void TlsTransport::debug(std::string_view text) const {
    if (core_.debug) log::write(log::Level::DEBUG, repr().append(text));
}

void TlsTransport::arm(std::int64_t delay, CallTimer::Function fn) {
    disarm();
    timer_ = new CallTimer(core_, saturating_add(loop_now(core_), delay), false, fn, this);
}

void TlsTransport::disarm() noexcept {
    if (timer_) std::exchange(timer_, nullptr)->abandon();
}

// Runs the user's code. Returns false if it failed, which closes the connection.
template <class F>
bool TlsTransport::call_app(F&& call) {
    // The protocol may be replaced by what it does itself.
    const std::shared_ptr<BaseProtocol> stays = app_;
    try {
        call();
        return true;
    } catch (...) {
        // Raised again by fatal() if it is to leave the loop.
        fatal(std::current_exception(), "Fatal error on SSL protocol");
        return false;
    }
}

// ---- what the transport below says --------------------------------------------------------------

void TlsTransport::connected(Transport& below) {
    below_ = Ref<TransportBase>::share(&below.impl());
    show_descriptor(below_->shown_descriptor());
    if (closed_) {  // before it was there
        below_->abort();
        return;
    }
    if (core_.debug) {
        debug(" starts SSL handshake");
        started_ = loop_now(core_);
    }
    state_ = State::kDoHandshake;
    arm(handshake_timeout_, [](void* self) {
        auto& t = *static_cast<TlsTransport*>(self);
        t.handshake_failed(error_from([&] {
            return ConnectionAbortedError("SSL handshake is taking longer than " +
                                          seconds_text(t.handshake_timeout_) +
                                          " seconds: aborting the connection");
        }));
    });
    std::string port;
    const std::any peer = below_->get_extra_info("peername");
    if (const auto* address = std::any_cast<SocketAddress>(&peer)) {
        port = address->port() != 0 ? std::to_string(address->port()) : address->path();
    }
    ssl_->choose_session(port);
    process({});
}

bool TlsTransport::ended() {
    below_ended_ = true;
    debug(" received EOF");
    switch (state_) {
        case State::kDoHandshake:
            handshake_failed(std::make_exception_ptr(
                ConnectionResetError("Connection lost during the SSL handshake")));
            break;
        case State::kWrapped:
            // What waits for the user to read on comes first.
            if (!app_paused_ || (incoming_.empty() && !ssl_->pending())) end_of_stream(false);
            break;
        case State::kShutdown:
            complete_shutdown();
            break;
        case State::kFlushing:
        case State::kUnwrapped:
            break;
    }
    return true;  // it is we who close the transport below
}

void TlsTransport::lost(std::exception_ptr error) {
    const auto keep = Ref<TlsTransport>::share(this);
    const bool in_handshake = state_ == State::kDoHandshake || app_state_ == App::kInit;
    lost_ = true;
    closed_ = true;
    ++writes_after_end_;
    state_ = State::kUnwrapped;
    disarm();
    backlog_.clear();
    incoming_ = std::string();
    ssl_->finish();
    if (failed_) error = error_;
    if (in_handshake && !error) {
        wake_handshake(std::make_exception_ptr(
            ConnectionAbortedError("Connection closed during the SSL handshake")));
    } else {
        wake_handshake(error);
    }
    if (app_state_ == App::kInit || app_state_ == App::kLost) {
        app_state_ = App::kLost;
        app_ = nullptr;
        return;
    }
    app_state_ = App::kLost;
    core_.loop->call_soon(TellLost(keep, std::move(error)));
}

void TlsTransport::tell_lost(const std::exception_ptr& error) {
    const std::shared_ptr<BaseProtocol> app = app_;
    if (app) app->connection_lost(error);
    let_go();
}

// The user's protocol may hold a handle of this.
void TlsTransport::let_go() noexcept {
    handle_ = Transport();
    std::exchange(app_, nullptr).reset();
}

void TlsTransport::forgotten() noexcept {
    if (lost_) return;
    lost_ = true;
    closed_ = true;
    state_ = State::kUnwrapped;
    disarm();
    ssl_->finish();
    // These may be all that keeps this alive, but for the protocol that calls here.
    show_descriptor(-1);
    below_ = nullptr;
    let_go();
}

void TlsTransport::resume_below() {
    below_paused_ = false;
    flush();
}

// ---- incoming -----------------------------------------------------------------------------------

void TlsTransport::process(std::string_view data) {
    if (processing_) {  // from within a callback of the user
        incoming_.append(data);
        return;
    }
    if (state_ == State::kWrapped && app_paused_) {
        incoming_.append(data);
        control_reading();
        return;
    }
    struct Processing {
        explicit Processing(TlsTransport& t) : self(Ref<TlsTransport>::share(&t)) {
            self->processing_ = true;
        }
        ~Processing() {
            self->processing_ = false;
            self->ssl_->input = {};
        }
        const Ref<TlsTransport> self;
    };
    const Processing scope(*this);
    std::string held = std::exchange(incoming_, {});
    if (!held.empty()) data = held.append(data);
    ssl_->input = data;
    while (step()) {
    }
    if (sink_error_) fatal(std::exchange(sink_error_, nullptr), "Fatal error on SSL protocol");
    keep_rest(ssl_->input);
    ssl_->input = {};
    if (below_ended_ && state_ == State::kWrapped && incoming_.empty() && !ssl_->pending()) {
        end_of_stream(false);
    }
    if (!backlog_.empty()) flush();
    control_reading();
}

void TlsTransport::keep_rest(std::string_view rest) {
    if (closed_ || state_ == State::kUnwrapped) {
        incoming_ = std::string();
    } else if (!rest.empty()) {
        incoming_.insert(0, rest);
    }
}

// One step of what the bytes received cause. Returns whether to go on.
bool TlsTransport::step() {
    switch (state_) {
        case State::kDoHandshake:
            return handshake_step();
        case State::kWrapped:
            return read_step();
        case State::kFlushing:
        case State::kShutdown:
            return discard_step();
        case State::kUnwrapped:
            break;
    }
    return false;
}

bool TlsTransport::read_step() {
    if (app_paused_ || (ssl_->input.empty() && !ssl_->pending())) return false;
    return after_read(buffered_ ? read_for_buffered() : read_for_stream());
}

// Reads records until `room` is full or nothing is left.
SslStatus TlsTransport::read_to(char* to, std::size_t room, std::size_t& total) {
    SslStatus status = SslStatus::kOk;
    do {
        std::size_t got = 0;
        status = ssl_->read(to + total, room - total, got);
        if (status != SslStatus::kOk) break;
        total += got;
    } while (total < room && (!ssl_->input.empty() || ssl_->pending()));
    return status;
}

SslStatus TlsTransport::read_for_stream() {
    Scratch block;
    std::size_t total = 0;
    const SslStatus status = read_to(block.data(), 4 * kRecord, total);
    if (total > 0) call_app([&] { stream_->data_received({block.data(), total}); });
    return status;
}

SslStatus TlsTransport::read_for_buffered() {
    std::size_t total = 0;
    SslStatus status = SslStatus::kOk;
    call_app([&] {
        BufferedProtocol* const asked = buffered_;
        const std::span<char> buffer = asked->get_buffer(get_read_buffer_size());
        if (buffer.empty()) throw RuntimeError("get_buffer() returned an empty buffer");
        // It has closed or paused the connection, or set another protocol.
        if (buffered_ != asked || app_paused_ || state_ != State::kWrapped) return;
        status = read_to(buffer.data(), buffer.size(), total);
        if (total > 0) buffered_->buffer_updated(total);
    });
    return status;
}

// The user's code has run since, and may have closed the connection.
bool TlsTransport::after_read(SslStatus status) {
    switch (status) {
        case SslStatus::kOk:
            return true;
        case SslStatus::kWantRead:
            return false;
        case SslStatus::kClosed:
            ssl_->input = {};
            if (state_ == State::kWrapped) end_of_stream(true);
            if (state_ == State::kShutdown) complete_shutdown();
            return false;
        case SslStatus::kError:
            fatal(ssl_->take_error(), "Fatal error on SSL protocol");
            return false;
    }
    return false;
}

// We have closed: only the peer's close_notify is of interest.
bool TlsTransport::discard_step() {
    if (shutdown_complete_ || (ssl_->input.empty() && !ssl_->pending())) return false;
    Scratch block;
    std::size_t got = 0;
    return after_read(ssl_->read(block.data(), kRecord, got));
}

void TlsTransport::process_soon() {
    core_.loop->call_soon([self = Ref<TlsTransport>::share(this)] {
        if (!self->lost_) self->process({});
    });
}

void TlsTransport::resume_reading() {
    if (!std::exchange(app_paused_, false) || lost_) return;
    if (!incoming_.empty() || ssl_->pending() || below_ended_ || reading_stopped_) process_soon();
}

// Flow control of the transport below. "Pause when size >= high", unlike plain transports (TL-04).
void TlsTransport::control_reading() {
    if (!below_ || lost_ || failed_) return;
    const auto [low, high] = read_limits_.limits();
    const std::size_t size = incoming_.size();
    if (!reading_stopped_ && size >= high && app_paused_ && !closed_) {
        reading_stopped_ = true;
        below_->pause_reading();
    } else if (reading_stopped_ && (size <= low || closed_)) {
        reading_stopped_ = false;
        below_->resume_reading();
    }
}

void TlsTransport::set_read_buffer_limits(WriteBufferLimits limits) {
    read_limits_.set_limits(limits, kReadHigh);
    control_reading();
}

// ---- handshake ----------------------------------------------------------------------------------

bool TlsTransport::handshake_step() {
    switch (ssl_->handshake()) {
        case SslStatus::kOk:
            handshake_done();
            return true;
        case SslStatus::kWantRead:
            return false;
        case SslStatus::kClosed:
            handshake_failed(std::make_exception_ptr(
                ConnectionResetError("Connection closed by the peer during the SSL handshake")));
            return false;
        case SslStatus::kError:
            handshake_failed(ssl_->take_error());
            return false;
    }
    return false;
}

void TlsTransport::handshake_done() {
    disarm();
    state_ = State::kWrapped;
    if (core_.debug) {
        const double ms = static_cast<double>(loop_now(core_) - started_) / 1e6;
        debug(": SSL handshake took " + repr_double(ms) + " ms");
    }
    if (app_state_ == App::kInit) {
        app_state_ = App::kMade;
        handle_ = Transport(Ref<TransportBase>::share(this));
        const bool made = call_app([&] {
            buffered_ ? buffered_->connection_made(handle_) : stream_->connection_made(handle_);
        });
        if (!made) {
            wake_handshake(error_);
            return;
        }
    }
    wake_handshake(nullptr);
    flush();
}

void TlsTransport::handshake_failed(std::exception_ptr error) {
    debug(find<SSLCertVerificationError>(error)
              ? ": SSL handshake failed on verifying the certificate"
              : ": SSL handshake failed");
    // Only now, as it is told to whom it concerns, and not also as the end of the connection.
    const auto keep = Ref<TlsTransport>::share(this);
    force_close(error);
    wake_handshake(std::move(error));
}

void TlsTransport::wake_handshake(std::exception_ptr error) noexcept {
    const Future<void> waiting = std::exchange(handshake_, Future<void>(nullptr));
    if (!waiting || waiting.done()) return;
    if (error) {
        waiting.set_exception(std::move(error));
    } else {
        waiting.set_result();
    }
}

// ---- outgoing -----------------------------------------------------------------------------------

void TlsTransport::encrypted(std::string_view bytes) {
    try {
        if (batch_) {
            batch_->append(bytes);
        } else if (below_ && !lost_) {
            below_->write(bytes);
        }
    } catch (...) {
        // Raised when OpenSSL, whose frames it must not cross, has returned.
        sink_error_ = std::current_exception();
    }
}

// Whether the connection takes no more data. TL-03.
bool TlsTransport::refuse_write() {
    if (state_ == State::kWrapped || state_ == State::kDoHandshake) return false;
    if (writes_after_end_ >= kQuietWrites) {
        log::write(log::Level::WARNING, "SSL connection is closed");
    }
    ++writes_after_end_;
    return true;
}

void TlsTransport::write(std::string_view data) {
    if (data.empty() || refuse_write()) return;
    write_now_or_later(data);
    control_writing();
}

// Pieces share records: a record for each would cost more than copying them.
void TlsTransport::writelines(std::span<const std::string_view> pieces) {
    if (refuse_write()) return;
    Scratch block;
    for (std::string_view piece : pieces) {
        while (!piece.empty()) {
            const std::size_t part = std::min(piece.size(), 4 * kRecord - block.size());
            block.append(piece.substr(0, part));
            piece.remove_prefix(part);
            if (block.size() < 4 * kRecord) continue;
            write_now_or_later(block.view());
            block.clear();
        }
    }
    if (block.size() > 0) write_now_or_later(block.view());
    control_writing();
}

void TlsTransport::write_now_or_later(std::string_view data) {
    if (state_ == State::kWrapped && backlog_.empty()) data.remove_prefix(encrypt(data));
    if (!data.empty() && !failed_) backlog_.append(data);
}

void TlsTransport::write_eof() { throw NotImplementedError("write_eof() is not supported by TLS"); }

// Encrypts and passes on as much of `data` as the transport below wants now. Returns how much.
std::size_t TlsTransport::encrypt(std::string_view data) {
    if (below_paused_) return 0;
    if (data.size() > kRecord) return encrypt_records(data);
    std::size_t taken = 0;
    encrypt_record(data, taken);
    return taken;
}

std::size_t TlsTransport::encrypt_records(std::string_view data) {
    Scratch block;
    std::size_t done = 0;
    bool going = true;
    while (going && done < data.size() && !below_paused_ && !failed_) {
        batch_ = &block;
        while (going && done < data.size() &&
               block.room() > kRecord + SSL3_RT_MAX_ENCRYPTED_OVERHEAD) {
            std::size_t taken = 0;
            going = encrypt_record(data.substr(done, kRecord), taken);
            done += taken;
        }
        batch_ = nullptr;
        if (block.size() > 0 && !failed_) below_->write(block.view());
        block.clear();
    }
    return done;
}

// Returns false if no more can be written now.
bool TlsTransport::encrypt_record(std::string_view data, std::size_t& taken) {
    const SslStatus status = ssl_->write(data, taken);
    if (sink_error_) {
        fatal(std::exchange(sink_error_, nullptr), "Fatal error on SSL protocol");
        return false;
    }
    if (status == SslStatus::kOk) return true;
    taken = 0;
    // kWantRead: the peer has begun a renegotiation, after which process() goes on.
    if (status == SslStatus::kError) fatal(ssl_->take_error(), "Fatal error on SSL protocol");
    return false;
}

void TlsTransport::flush() {
    const bool may_write = state_ == State::kWrapped || state_ == State::kFlushing;
    if (!may_write) return;
    if (!backlog_.empty()) {
        backlog_.consume(encrypt(backlog_.view()));
        control_writing();
    }
    if (state_ == State::kFlushing && backlog_.empty()) enter_shutdown();
}

// Flow control of the user. TL-04.
void TlsTransport::control_writing() {
    const std::size_t size = backlog_.size();
    if (!flow_.paused() && size >= flow_.limits().second) {
        flow_.pause(*this, app_.get());
    } else {
        flow_.shrunk(size, *this, app_.get());
    }
}

void TlsTransport::set_write_buffer_limits(WriteBufferLimits limits) {
    flow_.set_limits(limits, kWriteHigh);
    control_writing();
}

// ---- the end ------------------------------------------------------------------------------------

// The peer sends no more. `clean`: it said so within TLS.
void TlsTransport::end_of_stream(bool clean) {
    if (!clean && ssl_->context().strict_eof) {
        fatal(std::make_exception_ptr(
                  SSLError(ssl::ERROR_EOF, "EOF occurred in violation of protocol")),
              "Fatal error on SSL protocol");
        return;
    }
    call_eof_received();
    start_shutdown();
}

void TlsTransport::call_eof_received() {
    if (app_state_ != App::kMade || !app_) return;
    app_state_ = App::kEof;
    call_app([&] {
        const bool stays = buffered_ ? buffered_->eof_received() : stream_->eof_received();
        // TLS within this one says so to the plain transports below.
        if (!stays || dynamic_cast<TlsProtocol*>(app_.get())) return;
        log::write(log::Level::WARNING,
                   "returning true from eof_received() has no effect when using ssl");
    });
}

void TlsTransport::close() {
    if (closed_) return;
    closed_ = true;
    if (state_ == State::kDoHandshake) {
        force_close(nullptr);
        return;
    }
    start_shutdown();
    control_reading();
    // What has come already may be the peer's close_notify.
    if (!incoming_.empty() || ssl_->pending()) process({});
}

void TlsTransport::start_shutdown() {
    if (state_ != State::kWrapped) return;
    closed_ = true;
    state_ = State::kFlushing;
    arm(shutdown_timeout_, [](void* self) {
        auto& t = *static_cast<TlsTransport*>(self);
        t.force_close(error_from([] { return TimeoutError("SSL shutdown timed out"); }));
    });
    flush();
}

void TlsTransport::enter_shutdown() {
    state_ = State::kShutdown;
    const SslStatus status = ssl_->shutdown();
    if (status == SslStatus::kOk || below_ended_) complete_shutdown();
}

void TlsTransport::complete_shutdown() {
    if (std::exchange(shutdown_complete_, true)) return;
    call_eof_received();
    core_.loop->call_soon([self = Ref<TlsTransport>::share(this)] {
        if (!self->lost_) self->below_->close();
    });
}

// Closes at once. What is reported is the first reason.
void TlsTransport::force_close(std::exception_ptr error) {
    if (failed_ || lost_) return;
    const auto keep = Ref<TlsTransport>::share(this);
    failed_ = true;
    closed_ = true;
    error_ = std::move(error);
    state_ = State::kUnwrapped;
    disarm();
    backlog_.clear();
    if (below_) below_->abort();
}

void TlsTransport::fatal(std::exception_ptr error, const char* message) {
    const auto keep = Ref<TlsTransport>::share(this);
    const bool first = !failed_ && !lost_;
    force_close(error);
    if (find<OSError>(error)) {
        if (first && core_.debug) debug(std::string(": ") + message + ": " + describe(error));
        return;
    }
    if (!is_cancelled_error(error)) report_transport_error(*this, message, std::move(error));
}

// ---- making them --------------------------------------------------------------------------------

TlsConnection make_tls_connection(EventLoop& loop, const TlsSettings& settings,
                                  std::shared_ptr<BaseProtocol> user, Future<void> handshake,
                                  bool call_connection_made) {
    auto transport = Ref<TlsTransport>::adopt(
        new TlsTransport(loop, settings, std::move(handshake), call_connection_made));
    transport->set_protocol(std::move(user));
    TlsConnection made;
    made.protocol = std::make_shared<TlsProtocol>(transport);
    made.transport = Ref<TransportBase>::share(transport.get());
    return made;
}

Coroutine<Transport> start_tls(Transport transport, std::shared_ptr<BaseProtocol> protocol,
                               TlsSettings settings, std::string early) {
    EventLoop& loop = transport.get_loop();
    if (transport.is_closing()) throw ConnectionResetError("Connection lost");
    Future<void> handshake = loop.create_future<void>();
    TlsConnection tls = make_tls_connection(loop, settings, std::move(protocol), handshake, false);
    // The transport reads no more until the protocol of TLS is there to read.
    transport.pause_reading();
    transport.set_protocol(tls.protocol);
    const Handle begin =
        loop.call_soon([below = tls.protocol, transport, early = std::move(early)]() mutable {
            auto& tls_protocol = static_cast<TlsProtocol&>(*below);
            tls_protocol.connection_made(transport);
            if (!early.empty()) tls_protocol.data_received(early);
        });
    const Handle resume = loop.call_soon([transport] { transport.resume_reading(); });
    try {
        co_await handshake;
    } catch (...) {
        tls.transport->abort();
        transport.abort();
        begin.cancel();
        resume.cancel();
        throw;
    }
    co_return Transport(tls.transport);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// Pipes, FIFOs, terminals and other character devices as transports. PI-01, PI-02, P-13.
//
// A pipe is watched level-triggered, by the back end's watch(): its reading end while it is read,
// its writing end for the reader's going away (epoll reports that as an error of the writing end)
// and, while something is buffered, for room. What epoll refuses to watch (a regular file,
// /dev/null) never blocks: such a descriptor is taken as always ready and looked at once an
// iteration.
//
// O_NONBLOCK belongs to the open file, which other processes may share (a terminal, the standard
// output of a shell's pipeline). Where a transport had to set it, it takes it away again before it
// closes. A socket can be asked not to wait call by call, and is left as it is.
#include "net/pipes.hpp"

#include <any>
#include <cerrno>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/pipes.hpp"
#include "asyncio/traceback.hpp"
#include "loop/loop.hpp"
#include "net/flow_control.hpp"
#include "net/write_buffer.hpp"
#include "os/blocking.hpp"
#include "os/descriptors.hpp"
#include "os/pipes.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

// ---- what both directions share ----------------------------------------------------------------

class PipeTransport : public TransportBase, public LoopMember {
  public:
    PipeTransport(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter)
        : core_(loop.core()),
          protocol_(std::move(protocol)),
          waiter_(std::move(waiter)),
          context_(ContextSlot::copy_current()),
          ready_(*this),
          life_(*this) {
        core_.attach();
    }
    ~PipeTransport() override { core_.detach(); }

    // Takes `pipe`; from here on the loop keeps the transport.
    void open(Socket pipe, PipeKind kind, const char* refusal) {
        engine().check_open();
        if (kind != PipeKind::kOwn) examine(pipe.fileno(), kind, refusal);
        fd_ = pipe.detach();
        retain();
        join(engine());
        handle_ = Transport(Ref<TransportBase>::share(this));
        queue_life();
    }

    EventLoop& loop() const override {
        if (!core_.loop) throw RuntimeError("the loop of this transport is gone");
        return *core_.loop;
    }
    bool is_closing() const override { return closing_; }
    std::shared_ptr<BaseProtocol> get_protocol() const override { return protocol_; }
    std::any get_extra_info(std::string_view name) const override {
        if (name == "pipe" && fd_ >= 0) return fd_;
        return {};
    }

    void loop_closed() noexcept final {
        const auto self = Ref<PipeTransport>::adopt(this);  // the loop's count
        if (core_.debug) log::write(log::Level::WARNING, "unclosed transport " + repr());
        closing_ = true;
        lost_ = true;
        shut();
        forget();
    }

  protected:
    // Entries of the ready queue; each holds a count of the transport while it is queued.
    class ReadyNode final : public Node {
      public:
        explicit ReadyNode(PipeTransport& t) noexcept : pipe_(t) {}
        bool queued() noexcept override {
            if (queued_) return false;
            pipe_.retain();
            return queued_ = true;
        }
        void run() override {
            const auto self = Ref<PipeTransport>::adopt(&pipe_);
            queued_ = false;
            pipe_.again_ = false;
            if (pipe_.fd_ < 0) return;
            const InContext scope(pipe_);
            pipe_.ready();
        }
        void drop() noexcept override {
            queued_ = false;
            pipe_.release();
        }
        const char* label() const noexcept override { return "pipe is ready"; }

      private:
        PipeTransport& pipe_;
        bool queued_ = false;
    };
    class LifeNode final : public Node {
      public:
        explicit LifeNode(PipeTransport& t) noexcept : pipe_(t) {}
        void run() override {
            const auto self = Ref<PipeTransport>::adopt(&pipe_);
            pipe_.life_queued_ = false;
            if (pipe_.fd_ < 0) return;
            const InContext scope(pipe_);
            pipe_.life();
        }
        void drop() noexcept override {
            pipe_.life_queued_ = false;
            pipe_.release();
        }
        const char* label() const noexcept override {
            return "connection_made() or connection_lost()";
        }

      private:
        PipeTransport& pipe_;
    };
    // Callbacks run in the context that was current when the transport was made.
    class InContext {
      public:
        explicit InContext(PipeTransport& t) noexcept
            : outer_(std::exchange(thread_state.context, &t.context_)) {}
        InContext(const InContext&) = delete;
        InContext& operator=(const InContext&) = delete;
        ~InContext() { thread_state.context = outer_; }

      private:
        ContextSlot* outer_;
    };

    // The descriptor is ready. begin(): connection_made() was called.
    virtual void ready() = 0;
    virtual void begin() = 0;
    // Tells the protocol of the connection.
    virtual void tell_made(Transport& handle) = 0;
    // Just before connection_lost().
    virtual void ending() {}

    Loop& engine() const noexcept { return static_cast<Loop&>(core_); }

    // Looks at what it is. Raises: ValueError(refusal), OSError.
    void examine(int fd, PipeKind kind, const char* refusal) {
        const FileKind found = kind_of(fd);
        is_file_ = found == FileKind::kRegular && kind == PipeKind::kFile;
        is_device_ = found == FileKind::kDevice;
        is_socket_ = found == FileKind::kSocket;
        if (found != FileKind::kPipe && !is_socket_ && !is_device_ && !is_file_) {
            throw ValueError(refusal);
        }
        // Each call on a socket says that it does not wait.
        if (!is_socket_ && !is_file_) was_blocking_ = make_non_blocking(fd);
    }

    // Asks to be told in each iteration in which the descriptor is ready for one of these.
    // Raises: OSError; NotImplementedError on virtual time.
    void watch(bool read, bool write) {
        if (always_ready_) {
            wants_ = read || write;
            if (wants_) look_again();
            return;
        }
        try {
            engine().watch_nodes(fd_, read ? &ready_ : nullptr, write ? &write_node() : nullptr);
        } catch (const PermissionError&) {
            if (!is_file_ && !is_device_) throw;  // epoll(7) watches neither: they never block
            always_ready_ = true;
            return watch(read, write);
        }
        watched_ = read || write;
    }
    virtual Node& write_node() noexcept { return ready_; }

    // For what is always ready: looks at it in the next iteration.
    void look_again() {
        if (!always_ready_ || !wants_ || std::exchange(again_, true)) return;
        retain();
        core_.push_ready(&ready_);
    }

    void stop_watching() noexcept {
        wants_ = false;
        if (!std::exchange(watched_, false)) return;
        try {
            engine().watch_nodes(fd_, nullptr, nullptr);
        } catch (const std::exception&) {
            // It is closed next, which removes it as well.
        }
    }

    // connection_lost(error) in the next iteration.
    void close_with(std::exception_ptr error) {
        closing_ = true;
        if (std::exchange(lost_, true)) return;
        stop_watching();
        error_ = std::move(error);
        queue_life();
    }

    // TR-13: OSErrors are told to connection_lost() alone.
    void fatal_error(const char* message, std::exception_ptr error, bool report) {
        close_with(error);
        if (report) {
            report_transport_error(*this, message, std::move(error));
        } else if (core_.debug) {
            log::write(log::Level::DEBUG, repr() + ": " + message + '\n' + format_exception(error));
        }
    }

    void end_connection() {
        lost_ = true;
        const std::shared_ptr<BaseProtocol> protocol = protocol_;
        struct Close {
            PipeTransport& pipe;
            ~Close() {
                pipe.shut();
                pipe.leave();
                pipe.forget();
                pipe.release();  // the loop's count; whoever runs this holds another one
            }
        } const close{*this};
        ending();
        try {
            protocol->connection_lost(std::exchange(error_, nullptr));
        } catch (...) {
            // Raised again if it is to leave the loop.
            report_transport_error(*this, "protocol.connection_lost() failed",
                                   std::current_exception());
        }
    }

    std::string describe(const char* kind, const std::string& more) const {
        std::string text = std::string("<asyncio.") + kind;
        if (fd_ < 0) {
            text += " closed";
        } else if (closing_) {
            text += " closing";
        }
        text += " fd=" + std::to_string(fd_);
        return text + more + '>';
    }

    LoopCore& core_;
    std::shared_ptr<BaseProtocol> protocol_;
    Future<> waiter_;
    ContextSlot context_;
    Transport handle_;  // what connection_made() is given
    std::exception_ptr error_;
    ReadyNode ready_;
    LifeNode life_;
    int fd_ = -1;
    bool made_ = false;     // connection_made() was called
    bool closing_ = false;  // close() was called, or the end has come
    bool lost_ = false;     // connection_lost() is due, or was called
    bool life_queued_ = false;
    bool watched_ = false;  // the back end knows the descriptor
    bool is_file_ = false;
    bool is_device_ = false;
    bool is_socket_ = false;
    bool was_blocking_ = false;
    bool always_ready_ = false;
    bool wants_ = false;  // while always ready: to be told
    bool again_ = false;  // while always ready: is queued

  private:
    void queue_life() {
        if (std::exchange(life_queued_, true)) return;
        retain();
        core_.push_ready(&life_);
    }

    void life() {
        if (!made_) return make();
        end_connection();
    }

    void make() {
        made_ = true;
        std::exception_ptr leaves_loop;
        try {
            tell_made(handle_);
        } catch (...) {
            // Reported, or raised below when the rest is done.
            leaves_loop = std::current_exception();
            if (!is_exit_error(leaves_loop)) {
                report_transport_error(*this, "protocol.connection_made() failed",
                                       std::exchange(leaves_loop, nullptr));
            }
        }
        try {
            if (!lost_) begin();
        } catch (const std::exception&) {
            // The descriptor cannot be watched: that is what the waiter is told.
            const std::exception_ptr error = std::current_exception();
            if (waiter_ && !waiter_.done()) {
                waiter_.set_exception(error);
                close_with(nullptr);
            } else {
                close_with(error);
            }
        }
        if (const Future<> waiter = std::exchange(waiter_, Future<>(nullptr)); waiter) {
            if (!waiter.done()) waiter.set_result();
        }
        // It was closed meanwhile: connection_lost() is due, and was not queued while this was.
        if (lost_) queue_life();
        if (leaves_loop) std::rethrow_exception(std::move(leaves_loop));
    }

    void shut() noexcept {
        if (fd_ < 0) return;
        stop_watching();
        if (was_blocking_) make_blocking(fd_);
        ::close(std::exchange(fd_, -1));
    }

    void forget() noexcept {
        handle_ = Transport();
        waiter_ = nullptr;
        forget_protocol();
        std::exchange(protocol_, nullptr).reset();
    }
    virtual void forget_protocol() noexcept {}
};

// ---- reading -----------------------------------------------------------------------------------

class ReadPipe final : public PipeTransport {
  public:
    // Bytes that one iteration reads at most.
    static constexpr std::size_t kReceive = std::size_t{256} * 1024;

    ReadPipe(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter)
        : PipeTransport(loop, std::move(protocol), std::move(waiter)) {
        look_at_protocol();
    }

    void close() override {
        if (!closing_) close_with(nullptr);
    }
    void abort() override { close(); }
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override {
        LateDrop before(core_);
        std::swap(protocol_, protocol);
        try {
            look_at_protocol();
        } catch (const TypeError&) {
            std::swap(protocol_, protocol);
            look_at_protocol();
            throw;
        }
        before.take(std::move(protocol));
    }
    bool is_reading() const override { return !closing_ && !paused_; }
    void pause_reading() override {
        if (!is_reading()) return;
        paused_ = true;
        if (made_) stop_watching();
    }
    void resume_reading() override {
        if (closing_ || !paused_) return;
        paused_ = false;
        if (made_) watch(true, false);
    }
    std::string repr() const override {
        return describe("ReadPipeTransport", fd_ < 0 ? "" : watched_ ? " polling" : " idle");
    }

  private:
    void look_at_protocol() {
        stream_ = dynamic_cast<Protocol*>(protocol_.get());
        buffered_ = stream_ ? nullptr : dynamic_cast<BufferedProtocol*>(protocol_.get());
        if (!stream_ && !buffered_) {
            throw TypeError("a pipe is read by a Protocol or a BufferedProtocol");
        }
    }
    void forget_protocol() noexcept override {
        stream_ = nullptr;
        buffered_ = nullptr;
    }
    void tell_made(Transport& handle) override {
        if (stream_) return stream_->connection_made(handle);
        buffered_->connection_made(handle);
    }
    void begin() override {
        if (is_reading()) watch(true, false);
    }

    void ready() override {
        if (!is_reading()) return;
        try {
            buffered_ ? read_into_protocol() : read_some();
        } catch (...) {
            // Reported, and raised again if it is to leave the loop.
            fatal_error("Fatal error: protocol.data_received() call failed.",
                        std::current_exception(), true);
        }
        if (is_reading()) look_again();
    }

    void read_some() {
        Pages& memory = engine().pipe_memory;
        if (!memory) memory = make_pages(kReceive);
        const ssize_t n = receive(memory.get(), kReceive);
        if (n <= 0) return read_nothing(n);
        stream_->data_received({memory.get(), static_cast<std::size_t>(n)});
    }

    void read_into_protocol() {
        BufferedProtocol* const asked = buffered_;
        const std::span<char> memory = asked->get_buffer(0);
        if (memory.empty()) throw RuntimeError("get_buffer() returned an empty buffer");
        // It has closed or paused the pipe, or set another protocol.
        if (!is_reading() || buffered_ != asked) return;
        const ssize_t n = receive(memory.data(), memory.size());
        if (n <= 0) return read_nothing(n);
        buffered_->buffer_updated(static_cast<std::size_t>(n));
    }

    ssize_t receive(char* memory, std::size_t size) noexcept {
        return is_socket_ ? ::recv(fd_, memory, size, MSG_DONTWAIT) : ::read(fd_, memory, size);
    }

    void read_nothing(ssize_t n) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n < 0) {
            // EIO: the other end of a terminal was closed, which is an end like any other (PI-01).
            const int error = errno;
            return fatal_error("Fatal read error on pipe transport", make_os_error(error),
                               error != EIO);
        }
        if (core_.debug) log::write(log::Level::INFO, repr() + " was closed by peer");
        // The end: eof_received(), whose answer counts for nothing here, then connection_lost().
        at_end_ = true;
        close_with(nullptr);
    }

    void ending() override {
        if (!at_end_) return;
        try {
            if (stream_) {
                stream_->eof_received();
            } else {
                buffered_->eof_received();
            }
        } catch (...) {
            // Raised again if it is to leave the loop.
            report_transport_error(*this, "protocol.eof_received() failed",
                                   std::current_exception());
        }
    }

    Protocol* stream_ = nullptr;  // one of both: what protocol_ is
    BufferedProtocol* buffered_ = nullptr;
    bool paused_ = false;
    bool at_end_ = false;
};

// ---- writing -----------------------------------------------------------------------------------

class WritePipe final : public PipeTransport {
  public:
    WritePipe(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter)
        : PipeTransport(loop, std::move(protocol), std::move(waiter)), room_(*this) {
        check_protocol(protocol_.get());
    }

    void close() override { write_eof(); }
    void abort() override {
        buffer_.clear();
        close_with(nullptr);
    }
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override {
        check_protocol(protocol.get());
        LateDrop before(core_);
        std::swap(protocol_, protocol);
        before.take(std::move(protocol));
    }
    void write(std::string_view data) override {
        if (data.empty() || refuses()) return;
        if (buffer_.empty()) data.remove_prefix(send(data));
        if (data.empty() || closing_) return;
        buffer_.append(data);
        if (made_ && !room_watched_) watch_room(true);
        flow_.grown(buffer_.size(), *this, protocol_.get());
    }
    void writelines(std::span<const std::string_view> pieces) override {
        std::string all;
        for (const std::string_view p : pieces) all += p;
        write(all);
    }
    void write_eof() override {
        if (closing_) return;
        closing_ = true;
        if (buffer_.empty()) close_with(nullptr);
    }
    bool can_write_eof() const override { return true; }
    std::size_t get_write_buffer_size() const override { return buffer_.size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return flow_.limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) override {
        flow_.set_limits(limits);
        flow_.grown(buffer_.size(), *this, protocol_.get());
    }
    std::string repr() const override {
        return describe("WritePipeTransport",
                        fd_ < 0 ? ""
                                : (room_watched_ ? " polling" : " idle") +
                                      (" bufsize=" + std::to_string(buffer_.size())));
    }

  private:
    static constexpr int kWarnFrom = 5;  // writes to a lost connection

    class RoomNode final : public Node {
      public:
        explicit RoomNode(WritePipe& t) noexcept : pipe_(t) {}
        bool queued() noexcept override {
            if (queued_) return false;
            pipe_.retain();
            return queued_ = true;
        }
        void run() override {
            const auto self = Ref<WritePipe>::adopt(&pipe_);
            queued_ = false;
            if (pipe_.fd_ < 0 || pipe_.lost_) return;
            const InContext scope(pipe_);
            pipe_.flush();
        }
        void drop() noexcept override {
            queued_ = false;
            pipe_.release();
        }
        const char* label() const noexcept override { return "pipe has room"; }

      private:
        WritePipe& pipe_;
        bool queued_ = false;
    };

    static void check_protocol(const BaseProtocol* protocol) {
        if (!protocol) throw TypeError("a pipe that is written needs a protocol");
    }
    Node& write_node() noexcept override { return room_; }
    void tell_made(Transport& handle) override {
        if (auto* p = dynamic_cast<Protocol*>(protocol_.get())) {
            p->connection_made(handle);
        } else if (auto* b = dynamic_cast<BufferedProtocol*>(protocol_.get())) {
            b->connection_made(handle);
        }
    }
    void begin() override { watch_room(!buffer_.empty()); }

    void watch_room(bool on) {
        room_watched_ = on;
        const bool peer = !peer_is_readable_ && !is_device_ && !is_file_;
        if (peer || on || watched_) watch(peer, on);
    }

    // The other end is gone, or (of a socket, a FIFO opened both ways) something can be read here,
    // which is none of our business.
    void ready() override {
        if (lost_) return;
        if (always_ready_) return flush();
        if (!peer_is_gone(fd_)) {
            peer_is_readable_ = true;
            return watch_room(room_watched_);
        }
        if (core_.debug) log::write(log::Level::INFO, repr() + " was closed by peer");
        const bool unsent = !buffer_.empty();
        buffer_.clear();
        close_with(unsent ? std::make_exception_ptr(BrokenPipeError()) : nullptr);
    }

    // Bytes taken; an error closes.
    std::size_t send(std::string_view data) {
        const long n = write_some(data);
        if (n >= 0) return static_cast<std::size_t>(n);
        if (errno == EAGAIN || errno == EINTR) return 0;
        ++refused_;
        buffer_.clear();
        fatal_error("Fatal write error on pipe transport", make_os_error(errno), false);
        return 0;
    }

    long write_some(std::string_view data) noexcept {
        if (is_socket_) {
            return ::send(fd_, data.data(), data.size(), kQuietly);
        }
        // Nobody reads the other end of a terminal or a file, so that none is missed.
        if (is_device_ || is_file_) return ::write(fd_, data.data(), data.size());
        return write_quietly(fd_, data);
    }

    void flush() {
        if (buffer_.empty()) return watch_room(false);
        buffer_.consume(send(buffer_.view()));
        if (lost_) return;
        if (!buffer_.empty()) return look_again();
        watch_room(false);
        try {
            flow_.shrunk(0, *this, protocol_.get());  // may write again
        } catch (...) {
            // It leaves the loop; the end comes if that is run again.
            if (buffer_.empty() && closing_) close_with(nullptr);
            throw;
        }
        if (buffer_.empty() && closing_ && !lost_) end_connection();
    }

    bool refuses() {
        if (!closing_ && !lost_) return false;
        if (refused_ >= kWarnFrom) {
            log::write(log::Level::WARNING,
                       "pipe closed by peer or os.write(pipe, data) raised exception.");
        }
        ++refused_;
        return true;
    }

    RoomNode room_;
    WriteBuffer buffer_;
    FlowControl flow_;
    int refused_ = 0;
    bool room_watched_ = false;
    bool peer_is_readable_ = false;
};

}  // namespace

Ref<TransportBase> make_read_pipe(EventLoop& loop, Socket pipe,
                                  std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                  PipeKind kind) {
    auto t = Ref<ReadPipe>::adopt(new ReadPipe(loop, std::move(protocol), std::move(waiter)));
    t->open(std::move(pipe), kind, "Pipe transport is for pipes/sockets only.");
    return Ref<TransportBase>::adopt(t.detach());
}

Ref<TransportBase> make_write_pipe(EventLoop& loop, Socket pipe,
                                   std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                   PipeKind kind) {
    auto t = Ref<WritePipe>::adopt(new WritePipe(loop, std::move(protocol), std::move(waiter)));
    t->open(std::move(pipe), kind,
            "Pipe transport is only for pipes, sockets and character devices");
    return Ref<TransportBase>::adopt(t.detach());
}

ReadTransport open_read_pipe(EventLoop& loop, Socket pipe, std::shared_ptr<BaseProtocol> protocol,
                             Future<> waiter) {
    return ReadTransport(make_read_pipe(loop, std::move(pipe), std::move(protocol),
                                        std::move(waiter), PipeKind::kAny));
}

WriteTransport open_write_pipe(EventLoop& loop, Socket pipe, std::shared_ptr<BaseProtocol> protocol,
                               Future<> waiter) {
    return WriteTransport(make_write_pipe(loop, std::move(pipe), std::move(protocol),
                                          std::move(waiter), PipeKind::kAny));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The reading end of a pipe, a FIFO, a terminal or another character device. PI-01.
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/pipes.hpp"
#include "net/flow_control.hpp"
#include "net/pipe_owner.hpp"
#include "net/pipes.hpp"
#include "os/pipes.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

class ReadPipe final : public PipeOwner<ReadPipe> {
  public:
    // Bytes that one iteration reads at most.
    static constexpr std::size_t kReceive = std::size_t{256} * 1024;
    static constexpr const char* kName = "ReadPipeTransport";

    ReadPipe(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter)
        : PipeOwner(loop, std::move(waiter)) {
        protocol_ = std::move(protocol);
        look_at_protocol();
    }

    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
    bool is_reading() const override { return !closing_ && !paused_; }
    void pause_reading() override {
        if (!is_reading()) return;
        paused_ = true;
        if (made_) stop_watching();
    }
    void resume_reading() override {
        if (closing_ || !paused_) return;
        paused_ = false;
        if (made_) watch(true, nullptr);
    }

    // ---- called by the node
    void read_ready();

  private:
    friend DescriptorOwner;
    friend PipeOwner;

    // ---- of its life
    void tell_made();
    void begin_watching() {
        if (is_reading()) watch(true, nullptr);
    }
    void stop_reading() noexcept { stop_watching(); }
    std::size_t unsent() const noexcept { return 0; }
    void drop_unsent() noexcept {}
    void ending();
    void went() noexcept {
        stream_ = nullptr;
        buffered_ = nullptr;
    }
    void loop_went() noexcept { went(); }

    void look_at_protocol();
    void read_some();
    void read_into_protocol();
    ssize_t receive(char* memory, std::size_t size) noexcept {
        return is_socket() ? ::recv(fd_, memory, size, MSG_DONTWAIT) : ::read(fd_, memory, size);
    }
    void read_nothing(ssize_t n);

    Protocol* stream_ = nullptr;  // one of both: what protocol_ is
    BufferedProtocol* buffered_ = nullptr;
    bool paused_ = false;
    bool at_end_ = false;  // eof_received() is due
};

void ReadPipe::look_at_protocol() {
    stream_ = dynamic_cast<Protocol*>(protocol_.get());
    buffered_ = stream_ ? nullptr : dynamic_cast<BufferedProtocol*>(protocol_.get());
    if (!stream_ && !buffered_) {
        throw TypeError("a pipe is read by a Protocol or a BufferedProtocol");
    }
}

void ReadPipe::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
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

void ReadPipe::tell_made() {
    if (stream_) return stream_->connection_made(handle_);
    buffered_->connection_made(handle_);
}

void ReadPipe::read_ready() {
    read_runs();
    if (gone_) return let_go();
    if (!is_reading()) return;
    const InContext scope(*this);
    // At the end of this, whatever leaves the loop.
    struct Again {
        ReadPipe& self;
        ~Again() {
            if (self.is_reading()) self.look_again();
        }
    } const again{*this};
    try {
        buffered_ ? read_into_protocol() : read_some();
    } catch (...) {
        // Reported, and raised again if it is to leave the loop.
        fatal_error("Fatal error: protocol.data_received() call failed.", std::current_exception(),
                    true);
    }
}

void ReadPipe::read_some() {
    Pages& memory = engine().pipe_memory;
    if (!memory) memory = make_pages(kReceive);
    const ssize_t n = receive(memory.get(), kReceive);
    if (n <= 0) return read_nothing(n);
    stream_->data_received({memory.get(), static_cast<std::size_t>(n)});
}

void ReadPipe::read_into_protocol() {
    BufferedProtocol* const asked = buffered_;
    const std::span<char> memory = asked->get_buffer(0);
    if (memory.empty()) throw RuntimeError("get_buffer() returned an empty buffer");
    // It has closed or paused the pipe, or set another protocol.
    if (!is_reading() || buffered_ != asked) return;
    const ssize_t n = receive(memory.data(), memory.size());
    if (n <= 0) return read_nothing(n);
    buffered_->buffer_updated(static_cast<std::size_t>(n));
}

void ReadPipe::read_nothing(ssize_t n) {
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {
        // EIO: the other end of a terminal was closed, which is an end like any other (PI-01).
        const int error = errno;
        return fatal_error("Fatal read error on pipe transport", make_os_error(error),
                           error != EIO);
    }
    if (debug()) log::write(log::Level::INFO, repr() + " was closed by peer");
    // The end: eof_received(), whose answer counts for nothing here, then connection_lost().
    at_end_ = true;
    force_close(nullptr);
}

void ReadPipe::ending() {
    if (!std::exchange(at_end_, false)) return;
    try {
        stream_ ? stream_->eof_received() : buffered_->eof_received();
    } catch (...) {
        // Raised again if it is to leave the loop: connection_lost() comes if that is run again.
        if (is_exit_error(std::current_exception())) queue_life();
        report_transport_error(*this, "protocol.eof_received() failed", std::current_exception());
    }
}

}  // namespace

Ref<TransportBase> make_read_pipe(EventLoop& loop, Socket pipe,
                                  std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                  PipeKind kind) {
    auto t = Ref<ReadPipe>::adopt(new ReadPipe(loop, std::move(protocol), std::move(waiter)));
    t->open(std::move(pipe), kind, "Pipe transport is for pipes/sockets only.");
    return Ref<TransportBase>::adopt(t.detach());
}

ReadTransport open_read_pipe(EventLoop& loop, Socket pipe, std::shared_ptr<BaseProtocol> protocol,
                             Future<> waiter) {
    return ReadTransport(make_read_pipe(loop, std::move(pipe), std::move(protocol),
                                        std::move(waiter), PipeKind::kAny));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

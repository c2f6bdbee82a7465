// The writing end of a pipe, a FIFO, a terminal or another character device. PI-02, P-13.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/pipes.hpp"
#include "net/flow_control.hpp"
#include "net/pipe_owner.hpp"
#include "net/pipes.hpp"
#include "net/write_buffer.hpp"
#include "os/pipes.hpp"
#include "os/sockets.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

class WritePipe final : public PipeOwner<WritePipe>, public WatchedWriteNode<WritePipe> {
  public:
    static constexpr const char* kName = "WritePipeTransport";

    WritePipe(EventLoop& loop, std::shared_ptr<BaseProtocol> protocol, Future<> waiter)
        : PipeOwner(loop, std::move(waiter)) {
        check_protocol(protocol.get());
        protocol_ = std::move(protocol);
    }

    void set_protocol(std::shared_ptr<BaseProtocol> protocol) override {
        check_protocol(protocol.get());
        LateDrop before(core_);
        std::swap(protocol_, protocol);
        before.take(std::move(protocol));
    }
    void write(std::string_view data) override;
    void writelines(std::span<const std::string_view> pieces) override {
        std::string all;
        for (const std::string_view p : pieces) all += p;
        write(all);
    }
    void write_eof() override { close(); }
    bool can_write_eof() const override { return true; }
    std::size_t get_write_buffer_size() const override { return buffer_.size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return flow_.limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) override {
        flow_.set_limits(limits);
        flow_.grown(buffer_.size(), *this, protocol_.get());
    }

    // ---- called by the nodes and the back end
    void read_ready();
    void write_ready();

  private:
    friend DescriptorOwner;
    friend PipeOwner;

    // ---- of its life
    void tell_made();
    void begin_watching() { watch_room(!buffer_.empty()); }
    void stop_reading() noexcept {}  // it reads nothing
    std::size_t unsent() const noexcept { return buffer_.size(); }
    void drop_unsent() noexcept { buffer_.clear(); }

    static void check_protocol(const BaseProtocol* protocol) {
        if (!protocol) throw TypeError("a pipe that is written needs a protocol");
    }
    void watch_room(bool on);
    std::size_t send(std::string_view data);
    long write_some(std::string_view data) noexcept;
    void flush();
    bool refuses();

    WriteBuffer buffer_;
    FlowControl flow_;
    std::uint32_t refused_ = 0;  // writes after close(), or since it is lost
    bool room_watched_ = false;
    bool peer_is_readable_ = false;
};

void WritePipe::tell_made() {
    if (auto* p = dynamic_cast<Protocol*>(protocol_.get())) {
        p->connection_made(handle_);
    } else if (auto* b = dynamic_cast<BufferedProtocol*>(protocol_.get())) {
        b->connection_made(handle_);
    }
}

void WritePipe::write(std::string_view data) {
    if (data.empty() || refuses()) return;
    if (buffer_.empty()) data.remove_prefix(send(data));
    if (data.empty() || closing_) return;
    buffer_.append(data);
    if (made_ && !room_watched_) watch_room(true);
    flow_.grown(buffer_.size(), *this, protocol_.get());
}

bool WritePipe::refuses() {
    if (!closing_) return false;
    if (refused_ >= kWarnFrom) {
        log::write(log::Level::WARNING,
                   "pipe closed by peer or os.write(pipe, data) raised exception.");
    }
    ++refused_;
    return true;
}

void WritePipe::watch_room(bool on) {
    room_watched_ = on;
    const bool peer = !peer_is_readable_ && has_other_end();
    if (peer || on || watched()) watch(peer, on ? static_cast<WatchedWriteNode*>(this) : nullptr);
}

// The other end is gone, or (of a socket, a FIFO opened both ways) something can be read here,
// which is none of our business.
void WritePipe::read_ready() {
    read_runs();
    if (gone_) return let_go();
    if (lost_ > 0) return;
    const InContext scope(*this);
    if (always_ready()) return flush();
    if (!peer_is_gone(fd_)) {
        peer_is_readable_ = true;
        return watch_room(room_watched_);
    }
    if (debug()) log::write(log::Level::INFO, repr() + " was closed by peer");
    force_close(buffer_.empty() ? nullptr : std::make_exception_ptr(BrokenPipeError()));
}

void WritePipe::write_ready() {
    write_runs();
    if (gone_) return let_go();
    if (lost_ > 0) return;
    const InContext scope(*this);
    flush();
}

// Bytes taken; an error closes.
std::size_t WritePipe::send(std::string_view data) {
    const long n = write_some(data);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EAGAIN || errno == EINTR) return 0;
    ++refused_;
    fatal_error("Fatal write error on pipe transport", make_os_error(errno), false);
    return 0;
}

long WritePipe::write_some(std::string_view data) noexcept {
    if (is_socket()) return ::send(fd_, data.data(), data.size(), kQuietly);
    if (!has_other_end()) return ::write(fd_, data.data(), data.size());
    return write_quietly(fd_, data);
}

void WritePipe::flush() {
    if (buffer_.empty()) return watch_room(false);
    buffer_.consume(send(buffer_.view()));
    if (lost_ > 0) return;
    if (!buffer_.empty()) return look_again();
    watch_room(false);
    try {
        flow_.shrunk(0, *this, protocol_.get());  // may write again
    } catch (...) {
        // It leaves the loop; the end comes if that is run again.
        if (buffer_.empty() && closing_) force_close(nullptr);
        throw;
    }
    if (!buffer_.empty() || !closing_ || lost_ > 0) return;
    ++lost_;
    lost();
}

}  // namespace

Ref<TransportBase> make_write_pipe(EventLoop& loop, Socket pipe,
                                   std::shared_ptr<BaseProtocol> protocol, Future<> waiter,
                                   PipeKind kind) {
    auto t = Ref<WritePipe>::adopt(new WritePipe(loop, std::move(protocol), std::move(waiter)));
    t->open(std::move(pipe), kind,
            "Pipe transport is only for pipes, sockets and character devices");
    return Ref<TransportBase>::adopt(t.detach());
}

WriteTransport open_write_pipe(EventLoop& loop, Socket pipe, std::shared_ptr<BaseProtocol> protocol,
                               Future<> waiter) {
    return WriteTransport(make_write_pipe(loop, std::move(pipe), std::move(protocol),
                                          std::move(waiter), PipeKind::kAny));
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

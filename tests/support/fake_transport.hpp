// Two transports that are connected in memory, for what is built on transports: traffic arrives in
// pieces of any size, late, not at all, cut off or changed.
#pragma once

#include <asyncio/events.hpp>
#include <asyncio/protocols.hpp>
#include <asyncio/transports.hpp>

#include <algorithm>
#include <any>
#include <cstddef>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "net/flow_control.hpp"

namespace support {

namespace detail = asyncio::detail;

class FakeTransport final : public detail::TransportBase {
  public:
    explicit FakeTransport(asyncio::EventLoop& loop) : loop_(loop) {}

    // ---- how its traffic comes in
    std::size_t piece = std::numeric_limits<std::size_t>::max();  // most bytes at once
    std::optional<asyncio::Duration> delay;  // of each piece; unset: the next iteration
    // The bytes after so many are lost, and the stream ends there. Counts from the beginning.
    std::size_t cut_after = std::numeric_limits<std::size_t>::max();
    bool blocked = false;  // what is written stays in the buffer; see unblock()
    std::any peername;

    // ---- what happened
    std::size_t received = 0;  // bytes given to the protocol
    std::size_t writes = 0;    // calls that reached the other side
    int pauses = 0;            // of reading
    bool lost = false;
    bool aborted = false;

    static std::pair<detail::Ref<FakeTransport>, detail::Ref<FakeTransport>> pair(
        asyncio::EventLoop& loop) {
        auto a = detail::Ref<FakeTransport>::adopt(new FakeTransport(loop));
        auto b = detail::Ref<FakeTransport>::adopt(new FakeTransport(loop));
        a->peer_ = b;
        b->peer_ = a;
        return {std::move(a), std::move(b)};
    }

    // Calls connection_made() in the next iteration.
    void begin(std::shared_ptr<asyncio::BaseProtocol> protocol) {
        set_protocol(std::move(protocol));
        soon([](FakeTransport& t) {
            t.handle_ = asyncio::Transport(detail::Ref<TransportBase>::share(&t));
            if (t.stream_) t.stream_->connection_made(t.handle_);
            if (t.buffered_) t.buffered_->connection_made(t.handle_);
            t.made_ = true;
            t.pump();
        });
    }
    void unblock() {
        blocked = false;
        flush();
        flow_.shrunk(outbox_.size(), *this, protocol_.get());
        if (closing_ && !lost) schedule_lost(nullptr);
    }
    // Puts bytes into what comes in, as if the peer had sent them.
    void inject(std::string_view data) { deliver(data); }
    // Changes the next byte that comes in.
    void corrupt_next() { corrupt_ = true; }
    void lose(std::exception_ptr error) {
        closing_ = true;
        schedule_lost(std::move(error));
    }
    void end() {
        ended_ = true;
        pump_soon();
    }

    asyncio::EventLoop& loop() const override { return loop_; }
    void close() override {
        if (std::exchange(closing_, true)) return;
        if (outbox_.empty()) schedule_lost(nullptr);
    }
    void abort() override {
        if (lost_due_) return;
        closing_ = true;
        aborted = true;
        outbox_.clear();
        schedule_lost(nullptr);
    }
    bool is_closing() const override { return closing_; }
    void set_protocol(std::shared_ptr<asyncio::BaseProtocol> protocol) override {
        protocol_ = std::move(protocol);
        stream_ = dynamic_cast<asyncio::Protocol*>(protocol_.get());
        buffered_ = dynamic_cast<asyncio::BufferedProtocol*>(protocol_.get());
    }
    std::shared_ptr<asyncio::BaseProtocol> get_protocol() const override { return protocol_; }
    std::any get_extra_info(std::string_view name) const override {
        return name == "peername" ? peername : std::any();
    }
    bool is_reading() const override { return !paused_; }
    void pause_reading() override {
        paused_ = true;
        ++pauses;
    }
    void resume_reading() override {
        paused_ = false;
        pump_soon();
    }
    void write(std::string_view data) override {
        if (lost_due_ || data.empty()) return;
        outbox_.append(data);
        if (!blocked) flush();
        flow_.grown(outbox_.size(), *this, protocol_.get());
    }
    std::size_t get_write_buffer_size() const override { return outbox_.size(); }
    bool start_tls_compatible() const noexcept override { return true; }
    std::string repr() const override { return "<FakeTransport>"; }

  private:
    template <class F>
    void soon(F fn) {
        loop_.call_soon([self = detail::Ref<FakeTransport>::share(this), fn] { fn(*self); });
    }

    void flush() {
        ++writes;
        if (peer_ && !outbox_.empty()) peer_->deliver(outbox_);
        outbox_.clear();
    }

    void deliver(std::string_view data) {
        inbox_.append(data);
        pump_soon();
    }

    void pump_soon() {
        if (!made_ || std::exchange(pumping_, true)) return;
        if (delay) {
            loop_.call_later(*delay, [self = detail::Ref<FakeTransport>::share(this)] {
                self->pumping_ = false;
                self->pump();
            });
            return;
        }
        soon([](FakeTransport& t) {
            t.pumping_ = false;
            t.pump();
        });
    }

    void pump() {
        if (paused_ || lost_due_ || closing_ || end_seen_) return;
        std::size_t n = std::min(piece, inbox_.size());
        if (received + n > cut_after) {
            n = cut_after - received;
            inbox_.resize(n);
            ended_ = true;
        }
        if (n == 0) {
            if (ended_) receive_end();
            return;
        }
        std::string data = inbox_.substr(0, n);
        inbox_.erase(0, n);
        if (std::exchange(corrupt_, false)) data.back() = static_cast<char>(data.back() ^ 0x55);
        received += n;
        give(data);
        if (!inbox_.empty() || ended_) pump_soon();
    }

    void give(std::string_view data) {
        const auto stays = protocol_;
        if (stream_) {
            stream_->data_received(data);
            return;
        }
        while (!data.empty()) {
            const std::span<char> to = buffered_->get_buffer(data.size());
            const std::size_t n = std::min(to.size(), data.size());
            std::copy_n(data.data(), n, to.data());
            buffered_->buffer_updated(n);
            data.remove_prefix(n);
        }
    }

    void receive_end() {
        end_seen_ = true;
        const auto stays = protocol_;
        const bool keep = stream_ ? stream_->eof_received() : buffered_->eof_received();
        if (!keep) close();
    }

    void schedule_lost(std::exception_ptr error) {
        if (std::exchange(lost_due_, true)) return;
        loop_.call_soon([self = detail::Ref<FakeTransport>::share(this), error] {
            self->lost = true;
            if (self->peer_) self->peer_->end();
            self->peer_ = nullptr;
            const auto protocol = self->protocol_;
            if (protocol) protocol->connection_lost(error);
            self->set_protocol(nullptr);
            self->handle_ = asyncio::Transport();
        });
    }

    asyncio::EventLoop& loop_;
    detail::Ref<FakeTransport> peer_;
    std::shared_ptr<asyncio::BaseProtocol> protocol_;
    asyncio::Protocol* stream_ = nullptr;
    asyncio::BufferedProtocol* buffered_ = nullptr;
    asyncio::Transport handle_;
    detail::FlowControl flow_;
    std::string inbox_;
    std::string outbox_;
    bool made_ = false;
    bool paused_ = false;
    bool pumping_ = false;
    bool corrupt_ = false;
    bool ended_ = false;
    bool end_seen_ = false;
    bool closing_ = false;
    bool lost_due_ = false;
};

}  // namespace support

// Two streams that are connected in memory.
//
// What one end writes stands on its way_ until the other end's protocol has got it. An end is an
// entry of its loop: when it runs, it gives what is due to the other end, and then ends itself if
// it was closed.
#include "asyncio/testing_streams.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/component/services.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

using namespace asyncio::detail;

class MemoryEnd;

// The ends that are open: the loop keeps them.
class MemoryEnds final : public component::LoopService {
  public:
    static const component::ServiceKey key;
    explicit MemoryEnds(LoopCore&) noexcept : LoopService(component::ServiceRank::kComponents) {}
    void loop_closed() noexcept override;

    std::vector<Ref<MemoryEnd>> open;
};
const component::ServiceKey MemoryEnds::key;

class MemoryEnd final : public TransportBase, private Node {
  public:
    MemoryEnd(LoopCore& core, std::shared_ptr<Stream> stream, const MemoryStreamOptions& options)
        : core_(core),
          stream_(std::move(stream)),
          latency_(options.latency.count()),
          window_(options.lockstep ? 0 : options.window),
          lockstep_(options.lockstep) {
        entry_.owner = this;
        if (lockstep_) high_ = low_ = 0;
    }
    void meet(MemoryEnd& peer) { peer_ = Ref<MemoryEnd>::share(&peer); }
    void begin() {
        Transport transport(Ref<TransportBase>::share(this));
        stream_->connection_made(transport);
    }
    // Nobody is told.
    void loop_closed() noexcept {
        lost_ = closing_ = true;
        peer_ = nullptr;
        way_.clear();
        stream_ = nullptr;
    }

    // ---- a transport
    EventLoop& loop() const override { return *core_.loop; }
    bool is_closing() const override { return closing_; }
    void close() override {
        if (std::exchange(closing_, true)) return;
        end_writing();
        queue();
    }
    void abort() override {
        if (lost_) return;
        closing_ = true;
        way_.clear();
        size_ = 0;
        eof_ = false;
        end_writing();
        queue();
    }
    void write(std::string_view data) override {
        if (eof_ && !closing_) throw RuntimeError("Cannot call write() after write_eof()");
        if (closing_ || data.empty()) return;
        for (std::size_t at = 0; at < data.size(); at += kMostAtOnce) {
            way_.push_back({due(), std::string(data.substr(at, kMostAtOnce)), false});
        }
        size_ += data.size();
        if (!paused_ && get_write_buffer_size() > high_) {
            paused_ = true;
            stream_->pause_writing();
        }
        queue();
    }
    void writelines(std::span<const std::string_view> pieces) override {
        std::string all;
        for (const std::string_view piece : pieces) all += piece;
        write(all);
    }
    bool can_write_eof() const override { return true; }
    void write_eof() override {
        if (closing_) return;
        end_writing();
        queue();
    }
    std::size_t get_write_buffer_size() const override {
        return size_ > window_ ? size_ - window_ : 0;
    }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const override {
        return {low_, high_};
    }
    bool writing_paused() const noexcept override { return paused_; }

    bool is_reading() const override { return !closing_ && !reading_paused_; }
    void pause_reading() override { reading_paused_ = true; }
    void resume_reading() override {
        reading_paused_ = false;
        if (peer_) peer_->queue();
    }
    void expect_reader(const void*, const void*) noexcept override {
        if (lockstep_ && peer_) peer_->queue();
    }
    std::any get_extra_info(std::string_view) const override { return {}; }
    std::string repr() const override {
        return std::string("<MemoryTransport") + (lost_      ? " closed>"
                                                  : closing_ ? " closing>"
                                                             : " open>");
    }

  private:
    static constexpr std::size_t kMostAtOnce = std::size_t{64} * 1024;  // bytes

    struct Piece {
        std::int64_t when;
        std::string data;
        bool end;  // there is nothing behind it
    };

    std::int64_t due() const {
        const std::int64_t now = loop_now(core_);
        return latency_ > std::numeric_limits<std::int64_t>::max() - now
                   ? std::numeric_limits<std::int64_t>::max()
                   : now + latency_;
    }
    void end_writing() {
        if (std::exchange(eof_, true)) return;
        way_.push_back({due(), {}, true});
    }

    // Runs in the next iteration.
    void queue() noexcept {
        if (entry_.due() || core_.closed.load(std::memory_order_relaxed)) return;
        if (entry_.queued()) {
            remove_timer(core_, entry_);
        } else {
            retain();
        }
        entry_.index = TimerEntry::kDue;
        core_.push_ready(this);
    }
    void queue_at(std::int64_t when) {
        if (entry_.due() || entry_.queued()) return;
        entry_.when = when;
        add_timer(core_, entry_);
        retain();
    }
    void run() override {
        entry_.index = TimerEntry::kNotQueued;
        const auto self = Ref<MemoryEnd>::adopt(this);
        try {
            deliver();
        } catch (const std::bad_alloc&) {
            return lose(std::current_exception());
        }
        // As a socket is closed once the system has what is to be sent.
        if (closing_ && !lost_ && size_ <= window_) lose(nullptr);
        if (lost_ && way_.empty()) leave();
    }
    void drop() noexcept override {
        entry_.index = TimerEntry::kNotQueued;
        release();
    }

    // Gives the peer what is due, as far as it takes it.
    void deliver() {
        while (!way_.empty()) {
            Piece& first = way_.front();
            if (first.when > loop_now(core_)) return queue_at(first.when);
            if (!peer_ || peer_->closing_) return refuse();
            if (first.end) {
                way_.pop_front();
                if (!peer_->stream_->eof_received()) peer_->close();
                continue;
            }
            if (!peer_->takes_more()) return;
            const std::string data = std::move(first.data);
            way_.pop_front();
            size_ -= data.size();
            peer_->stream_->data_received(data);
            if (paused_ && get_write_buffer_size() <= low_) {
                paused_ = false;
                if (stream_) stream_->resume_writing();
            }
        }
    }
    // Nobody is there to read this.
    void refuse() {
        const bool data = size_ > 0;
        way_.clear();
        size_ = 0;
        if (!data || lost_) return;
        lose(std::make_exception_ptr(ConnectionResetError(ECONNRESET, "Connection reset by peer")));
    }
    bool takes_more() const noexcept {
        return !reading_paused_ && (!lockstep_ || stream_->awaits_bytes());
    }

    void lose(std::exception_ptr error) {
        if (std::exchange(lost_, true)) return;
        closing_ = true;
        if (error) way_.clear();
        stream_->connection_lost(std::move(error));
        if (way_.empty()) leave();
    }
    // The other end no longer has anything of this one, nor this one of it.
    void leave() noexcept {
        const auto self = Ref<MemoryEnd>::share(this);
        stream_ = nullptr;
        if (MemoryEnds* const ends = component::find_service<MemoryEnds>(core_)) {
            std::erase_if(ends->open, [this](const auto& end) { return end.get() == this; });
        }
        if (peer_ && peer_->lost_ && !peer_->stream_) {
            peer_->peer_ = nullptr;
            peer_ = nullptr;
        }
    }

    LoopCore& core_;
    std::shared_ptr<Stream> stream_;  // null: it is over
    Ref<MemoryEnd> peer_;
    std::deque<Piece> way_;  // to the peer
    std::size_t size_ = 0;   // of the bytes on it
    std::int64_t latency_;   // ns
    std::size_t window_;
    std::size_t high_ = std::size_t{64} * 1024, low_ = std::size_t{16} * 1024;
    TimerEntry entry_;
    bool lockstep_;
    bool reading_paused_ = false;
    bool paused_ = false;  // the protocol was told to
    bool eof_ = false;     // its end is on the way
    bool closing_ = false;
    bool lost_ = false;
};

void MemoryEnds::loop_closed() noexcept {
    for (const auto& end : open) end->loop_closed();
    open.clear();
}

}  // namespace

std::pair<StreamPair, StreamPair> memory_streams(const MemoryStreamOptions& options) {
    if (options.latency.is_none() || options.latency.count() < 0) {
        throw ValueError("latency must not be negative");
    }
    if (options.limit == 0) throw ValueError("Limit cannot be <= 0");
    LoopCore& core = running_core();
    auto& open = component::service<MemoryEnds>(core).open;
    open.reserve(open.size() + 2);
    const auto make = [&](const std::shared_ptr<Stream>& stream) {
        return Ref<MemoryEnd>::adopt(new MemoryEnd(core, stream, options));
    };
    const auto one = Stream::make(core, options.limit);
    const auto other = Stream::make(core, options.limit);
    const auto first = make(one), second = make(other);
    first->meet(*second);
    second->meet(*first);
    open.push_back(first);
    open.push_back(second);
    first->begin();
    second->begin();
    return {{StreamReader(one), StreamWriter(one)}, {StreamReader(other), StreamWriter(other)}};
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

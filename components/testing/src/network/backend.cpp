#include "backend.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

using namespace asyncio::detail;

constexpr std::int64_t kLatest = std::numeric_limits<std::int64_t>::max() - 1;

class SimulatedBackend final : public Backend {
  public:
    explicit SimulatedBackend(SimulatedWorld& world) : world_(world), now_(world.now()) {
        world_.tell_changes(this, [this](Endpoint& endpoint) { note(endpoint); });
    }
    SimulatedBackend(const SimulatedBackend&) = delete;
    SimulatedBackend& operator=(const SimulatedBackend&) = delete;
    ~SimulatedBackend() override { world_.tell_no_more(this); }

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        // What the tasks have done since is told first, and then time need not move.
        if (tell(ready)) return;
        if (timeout == kForever) {
            wait_for_thread();
        } else if (timeout > 0) {
            now_ = std::max(now_, std::min(later(now_, timeout), world_.next_event()));
        }
        world_.let_happen(now_);
        tell(ready);
    }
    std::int64_t next_event() const noexcept override {
        // What is to be told is due.
        return changed_.empty() && !all_changed_ ? world_.next_event() : now_;
    }

    void watch(int fd, Node* on_read, Node* on_write) override {
        if (fd < 0) throw ValueError("Invalid file descriptor: " + std::to_string(fd));
        if (!on_read && !on_write) {
            watched_.erase(fd);
            return;
        }
        if (!world_.find(fd)) throw_bad_descriptor();
        watched_[fd] = {on_read, on_write};
    }

    // ---- channels
    void open(IoChannel& channel, int fd, ChannelKind kind) override {
        const EndpointRef endpoint = world_.find(fd);
        if (!endpoint) throw_bad_descriptor();
        if (channels_.contains(fd)) throw FileExistsError("the descriptor is used already");
        channels_[fd] = {&channel, kind};
        numbers_.emplace(endpoint.get(), fd);
        state_of(channel) = ChannelState();
        state_of(channel).fd = fd;
        if (kind == ChannelKind::kConnecting) state_of(channel).awaits_room = true;
        note(*endpoint);
    }
    void hand_over(IoChannel& from, IoChannel& to, ChannelKind kind) noexcept override {
        ChannelState& old = state_of(from);
        ChannelState& state = state_of(to);
        state = ChannelState();
        state.fd = std::exchange(old.fd, -1);
        state.readable = old.readable;
        state.hung_up = old.hung_up;
        channels_[state.fd] = {&to, kind};
    }
    void close(IoChannel& channel) noexcept override {
        ChannelState& state = state_of(channel);
        const int fd = std::exchange(state.fd, -1);
        channels_.erase(fd);
        forget_number(fd);
        state.readable = state.hung_up = state.wants_read = state.awaits_room = false;
    }
    IoChannel* channel_of(int fd) const noexcept override {
        const auto found = channels_.find(fd);
        return found == channels_.end() ? nullptr : found->second.channel;
    }
    void close_channels() noexcept override {
        while (!channels_.empty()) {
            IoChannel* const channel = channels_.begin()->second.channel;
            close(*channel);
            channel->loop_closed();
        }
    }
    void await_room(IoChannel& channel) noexcept override {
        ChannelState& state = state_of(channel);
        state.awaits_room = true;
        if (const EndpointRef endpoint = world_.find(state.fd)) note(*endpoint);
    }

    Received receive(IoChannel& channel, std::size_t most) noexcept override {
        memory_.resize(std::min(most, kReceive));
        const Transferred got = receive_into(channel, memory_);
        return {memory_.data(), got.size, got.error};
    }
    Transferred receive_into(IoChannel& channel, std::span<char> memory) noexcept override {
        const int fd = channel.fd();
        const Transferred got = transferred([&] { return world_.receive(fd, memory, nullptr); });
        called_ = called_ || got.error == 0;
        const EndpointRef endpoint = world_.find(fd);
        if (!endpoint || !endpoint->readable()) state_of(channel).readable = false;
        return got;
    }
    Transferred send(IoChannel& channel, std::string_view data) noexcept override {
        return send(channel, std::span<const std::string_view>(&data, 1));
    }
    Transferred send(IoChannel& channel,
                     std::span<const std::string_view> pieces) noexcept override {
        std::size_t wanted = 0;
        for (const std::string_view piece : pieces) wanted += piece.size();
        const int fd = channel.fd();
        const Transferred sent = transferred([&] { return world_.send(fd, pieces, nullptr); });
        if (sent.error == EAGAIN || (sent.error == 0 && sent.size < wanted)) {
            state_of(channel).awaits_room = true;
        }
        return sent;
    }
    ReceivedDatagrams receive_datagrams(IoChannel& channel, DatagramRoom& room, bool,
                                        std::size_t most) noexcept override {
        try {
            return take_datagrams(channel, batches_[&room], most);
        } catch (const std::bad_alloc&) {
            return {{}, ENOMEM};
        }
    }
    Transferred send_datagrams(IoChannel& channel,
                               std::span<const DatagramToSend> datagrams) noexcept override {
        std::size_t sent = 0;
        for (const DatagramToSend& datagram : datagrams) {
            const Transferred one = transferred([&] {
                const SocketAddress to = SocketAddress::from(datagram.to, datagram.to_size);
                return world_.send(channel.fd(), {&datagram.data, 1}, datagram.to ? &to : nullptr);
            });
            if (one.error != 0) {
                if (one.error == EAGAIN) state_of(channel).awaits_room = true;
                return sent > 0 ? Transferred{sent, 0} : one;
            }
            ++sent;
        }
        return {sent, 0};
    }
    int accept(IoChannel& channel, SocketAddress& from) noexcept override {
        try {
            const int fd = world_.accept(channel.fd(), from);
            if (fd >= 0) called_ = true;
            if (fd == -EAGAIN) state_of(channel).readable = false;
            return fd;
        } catch (const std::bad_alloc&) {
            return -ENOMEM;
        }
    }

    void wake() noexcept override {
        const std::lock_guard lock(mutex_);
        woken_ = true;
        wakes_.notify_one();
    }
    void leave_to_parent() noexcept override {}
    std::int64_t now() noexcept override { return now_; }
    bool watches() const noexcept override {
        return !watched_.empty() || !channels_.empty() || world_.next_event() != kNone;
    }
    bool is_virtual() const noexcept override { return true; }
    const char* name() const noexcept override { return "simulated"; }
    const char* class_name() const noexcept override { return "SimulatedEventLoop"; }

  private:
    struct Opened {
        IoChannel* channel = nullptr;
        ChannelKind kind = ChannelKind::kStream;
    };
    struct Watched {
        Node* on_read = nullptr;
        Node* on_write = nullptr;
    };
    // What one receiver was given. Another may receive while it looks at that, and has its own.
    struct Batch {
        std::vector<std::string> texts;
        std::vector<ReceivedDatagram> datagrams;
    };
    static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

    static std::int64_t later(std::int64_t now, std::int64_t by) {
        return by > kLatest - now ? kLatest : now + by;
    }
    [[noreturn]] static void throw_bad_descriptor() { throw OSError(EBADF, "Bad file descriptor"); }
    template <class Call>
    static Transferred transferred(Call call) noexcept {
        try {
            const std::int64_t result = call();
            if (result < 0) return {0, static_cast<int>(-result)};
            return {static_cast<std::size_t>(result), 0};
        } catch (const std::bad_alloc&) {
            return {0, ENOMEM};
        }
    }

    void forget_number(int fd) noexcept {
        const EndpointRef endpoint = world_.find(fd);
        auto [first, last] = endpoint ? numbers_.equal_range(endpoint.get())
                                      : std::pair(numbers_.begin(), numbers_.end());
        const auto found =
            std::find_if(first, last, [fd](const auto& entry) { return entry.second == fd; });
        if (found != last) numbers_.erase(found);
    }

    // Its channels are looked at. By their numbers, in whose order they are told: an address is
    // another one in each run.
    void note(const Endpoint& endpoint) noexcept {
        try {
            const auto [first, last] = numbers_.equal_range(&endpoint);
            for (auto entry = first; entry != last; ++entry) changed_.insert(entry->second);
        } catch (const std::bad_alloc&) {
            all_changed_ = true;
        }
    }

    // Only a thread can end this: the loop asks for it while some are at work for it.
    void wait_for_thread() {
        std::unique_lock lock(mutex_);
        wakes_.wait(lock, [this] { return woken_; });
        woken_ = false;
    }

    ReceivedDatagrams take_datagrams(IoChannel& channel, Batch& batch, std::size_t most) {
        batch.datagrams.clear();
        batch.texts.clear();
        const EndpointRef endpoint = world_.find(channel.fd());
        if (!endpoint) return {{}, EBADF};
        int error = 0;
        while (batch.texts.size() < most) {
            if (endpoint->error == 0 && endpoint->datagrams.empty()) break;
            std::string text(65536, '\0');
            SocketAddress from;
            const std::int64_t n = world_.receive(channel.fd(), text, &from);
            if (n < 0) {
                error = static_cast<int>(-n);
                break;
            }
            text.resize(static_cast<std::size_t>(n));
            batch.texts.push_back(std::move(text));
            batch.datagrams.push_back({{}, from, false});
        }
        if (batch.texts.size() < most) state_of(channel).readable = endpoint->readable();
        if (batch.texts.empty()) return {{}, error != 0 ? error : EAGAIN};
        if (error != 0) endpoint->error = error;  // for the next call
        for (std::size_t i = 0; i < batch.texts.size(); ++i)
            batch.datagrams[i].data = batch.texts[i];
        called_ = true;
        return {batch.datagrams, 0};
    }

    // Queues what waits for what has changed. Returns whether there was anything.
    bool tell(ReadyQueue& ready) {
        bool told = false;
        if (std::exchange(all_changed_, false)) {
            for (const auto& [fd, opened] : channels_) changed_.insert(fd);
        }
        for (const int fd : std::exchange(changed_, {})) {
            const auto opened = channels_.find(fd);
            const EndpointRef endpoint = world_.find(fd);
            if (opened == channels_.end() || !endpoint) continue;
            told = tell_channel(*opened->second.channel, *endpoint, ready) || told;
        }
        for (const auto& [fd, watched] : watched_) {
            const EndpointRef endpoint = world_.find(fd);
            if (!endpoint) continue;
            if (watched.on_read && endpoint->readable() && watched.on_read->queued()) {
                ready.push(watched.on_read);
                told = true;
            }
            if (watched.on_write && endpoint->writable() && watched.on_write->queued()) {
                ready.push(watched.on_write);
                told = true;
            }
        }
        if (told) called_ = true;
        return told;
    }
    bool tell_channel(IoChannel& channel, Endpoint& endpoint, ReadyQueue& ready) {
        bool told = false;
        ChannelState& state = state_of(channel);
        if (endpoint.readable()) {
            state.readable = true;
            state.hung_up = state.hung_up || endpoint.fin_received || endpoint.error != 0;
            if (state.wants_read) {
                queue_read(channel, ready);
                told = true;
            }
        }
        if (state.awaits_room && endpoint.writable()) {
            state.awaits_room = false;
            queue_write(channel, ready);
            told = true;
        }
        return told;
    }

    SimulatedWorld& world_;
    std::int64_t now_;
    std::map<int, Opened> channels_;
    std::map<int, Watched> watched_;
    std::unordered_multimap<const Endpoint*, int> numbers_;  // of the channels of a socket
    std::set<int> changed_;
    bool all_changed_ = false;
    std::string memory_;
    std::map<const DatagramRoom*, Batch> batches_;
    std::mutex mutex_;
    std::condition_variable wakes_;
    bool woken_ = false;
};

}  // namespace

std::unique_ptr<component::Backend> make_simulated_backend(SimulatedWorld& world) {
    return std::make_unique<SimulatedBackend>(world);
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// All sockets of a network that is made up, and what is on the way between them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../chance.hpp"
#include "asyncio/component/simulated_sockets.hpp"
#include "asyncio/testing_network.hpp"
#include "link.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

struct Endpoint;
using EndpointRef = std::shared_ptr<Endpoint>;
using EndpointPtr = std::weak_ptr<Endpoint>;

// A socket. It outlives its last number where bytes of it are still on the way.
struct Endpoint {
    enum class Kind : std::uint8_t { kStream, kDatagrams };
    enum class State : std::uint8_t { kFresh, kListening, kConnecting, kOpen, kDead };

    Kind kind = Kind::kStream;
    State state = State::kFresh;
    int family = 0, type = 0, protocol = 0;
    std::uint32_t host = 0;
    int numbers = 0;  // that are open
    SocketAddress own, peer_name;
    std::map<std::pair<int, int>, std::string> options;
    int error = 0;  // that the next call gives, and SO_ERROR

    // A stream.
    EndpointPtr peer;
    std::uint32_t peer_host = 0;
    std::deque<std::string> received;
    std::size_t received_bytes = 0;  // of the first piece some may be taken already
    std::size_t taken = 0;           // of the first piece
    std::deque<std::string> unsent;
    std::size_t unsent_bytes = 0;
    std::size_t in_flight = 0;   // sent, and not read by the peer
    std::size_t unanswered = 0;  // sent, and not arrived
    std::uint64_t sends = 0;     // counts what arrived: a timeout knows by it that something did
    bool ends = false;           // shut down for writing: FIN goes behind what is unsent
    bool fin_sent = false;
    bool fin_received = false;
    bool ended = false;       // that came before it failed
    bool gone = false;        // nobody has a number of it any more
    bool no_reading = false;  // shut down for reading
    bool linger_reset = false;

    // A listener.
    std::deque<EndpointRef> accepted;
    std::size_t backlog = 0;

    // Datagrams.
    struct Datagram {
        std::string data;
        SocketAddress from;
    };
    std::deque<Datagram> datagrams;
    bool connected = false;

    bool readable() const;
    bool writable() const;
    std::size_t room() const;  // for what is sent
};

// Bytes that a socket keeps for sending, beyond what is in flight.
inline constexpr std::size_t kSendBuffer = 64 * 1024;
inline constexpr std::size_t kMostDatagrams = 256;

class SimulatedWorld final : public component::SimulatedSockets {
  public:
    // Told of each socket whose state may have changed.
    using Changed = std::function<void(Endpoint&)>;

    explicit SimulatedWorld(std::uint64_t seed);
    ~SimulatedWorld() override;

    Network& network() noexcept { return network_; }
    // `who`: whose it is; several loops may be there, one after the other or nested.
    void tell_changes(const void* who, Changed changed) { changed_[who] = std::move(changed); }
    void tell_no_more(const void* who) noexcept { changed_.erase(who); }

    // ---- time
    std::int64_t now() const noexcept { return now_; }
    // When something happens next; the largest number: never.
    std::int64_t next_event() const noexcept;
    // Lets all happen that is due at `now`; what that brings about is for the next time.
    void let_happen(std::int64_t now);

    // ---- sockets
    EndpointRef find(int fd) const;
    int make(int family, int type, int protocol) override;
    int make_pair(int family, int type, int (&fds)[2]) override;
    int duplicate(int fd) override;
    int close(int fd) noexcept override;
    int bind(int fd, const SocketAddress& address) override;
    int connect(int fd, const SocketAddress& address) override;
    int listen(int fd, int backlog) override;
    int accept(int fd, SocketAddress& from) override;
    int name(int fd, bool of_peer, SocketAddress& name) const override;
    int get_option(int fd, int level, int option, std::span<char> value,
                   std::size_t& size) override;
    int set_option(int fd, int level, int option, std::span<const char> value) override;
    int shutdown(int fd, int how) override;
    std::int64_t receive(int fd, std::span<char> memory, SocketAddress* from) override;
    std::int64_t send(int fd, std::span<const std::string_view> pieces,
                      const SocketAddress* to) override;
    std::string address_of_name(std::string_view name) const override;
    // How many are open.
    std::size_t open() const noexcept { return sockets_.size(); }

    // ---- hosts
    std::uint32_t host(std::string_view name, std::string_view address);
    const std::string& address_of(std::uint32_t host) const { return hosts_[host].address; }
    // The host whose name, or one of whose addresses, this is; none: no such host.
    std::optional<std::uint32_t> find_host(std::string_view name) const;
    Direction& direction(std::uint32_t from, std::uint32_t to);
    void set_links(const LinkOptions& options);
    void hold(std::uint32_t from, std::uint32_t to);
    void release(std::uint32_t from, std::uint32_t to);
    void reset(std::uint32_t one, std::uint32_t other);
    void crash(std::uint32_t host);
    void set_timeouts(std::int64_t sending, std::int64_t connecting);
    // The packet of this number is lost, the first being 1; 0: none.
    void lose(std::uint64_t packet) noexcept { lost_packet_ = packet; }
    std::uint64_t packets() const noexcept { return packets_; }
    void keep_trace() noexcept { keeps_trace_ = true; }
    const std::string& trace() const noexcept { return trace_; }

  private:
    struct HostEntry {
        std::string name, address;
        int next_port = 32768;
    };
    // Where a socket is bound: of IPv4, IPv6 or a unix path, with the kind.
    using Bound = std::string;

    int add(EndpointRef endpoint);
    EndpointRef make_endpoint(int family, int type, int protocol);
    void changed(const EndpointRef& endpoint);
    void at(std::int64_t when, Arrival arrival);
    // Sends in order, or lets it wait where nothing gets through.
    void send_in_order(const EndpointRef& from, std::uint32_t to, std::size_t bytes,
                       Arrival arrival);
    void hand_on(const EndpointRef& from, std::uint32_t to, std::size_t bytes, Arrival arrival);
    void pump(const EndpointRef& from);
    void send_to_nobody(const EndpointRef& from);
    void arrived(const EndpointRef& to, std::string data);
    void fin_arrived(const EndpointRef& to);
    void fail(const EndpointRef& endpoint, int error);
    void send_reset(const EndpointRef& from);
    void answered(const EndpointRef& sender, std::size_t bytes);
    void read_by_user(const EndpointRef& reader, std::size_t bytes);
    void watch_answer(const EndpointRef& sender);
    void closed(const EndpointRef& endpoint);
    void syn_arrived(const EndpointRef& client, const SocketAddress& to, std::uint32_t host);
    std::int64_t send_datagram(const EndpointRef& from, std::string data, const SocketAddress& to);
    SocketAddress next_abstract_name();
    bool loses_this() noexcept { return ++packets_ == lost_packet_; }
    int bind_to_free_port(const EndpointRef& endpoint, std::uint32_t host);
    std::string key_of(const Endpoint& endpoint, const SocketAddress& address,
                       std::uint32_t host) const;
    EndpointRef bound_at(const Endpoint& like, const SocketAddress& address,
                         std::uint32_t host) const;
    std::optional<std::uint32_t> host_of(const SocketAddress& address, std::uint32_t asks) const;
    // `what()`: the text, which is made only where the trace is kept.
    template <class What>
    void tell(const Endpoint& endpoint, const What& what) {
        if (keeps_trace_) write_trace(endpoint, what());
    }
    void write_trace(const Endpoint& endpoint, std::string_view what);

    Network network_;
    Numbers numbers_;
    std::map<const void*, Changed> changed_;
    std::int64_t now_ = 0;
    std::multimap<std::int64_t, Arrival> events_;  // those of one time in the order they came
    std::map<int, EndpointRef> sockets_;
    int next_number_ = kFirst;
    unsigned abstract_names_ = 0;
    std::vector<HostEntry> hosts_;
    std::map<std::pair<std::uint32_t, std::uint32_t>, Direction> links_;
    LinkOptions link_options_;
    std::map<Bound, EndpointPtr> bound_;
    std::set<EndpointRef> orphans_;                      // closed, with bytes that have not left
    std::int64_t sending_timeout_ = 924'600'000'000;     // tcp(7): tcp_retries2 of 15
    std::int64_t connecting_timeout_ = 127'000'000'000;  // tcp_syn_retries of 6
    std::uint64_t packets_ = 0, lost_packet_ = 0;
    bool keeps_trace_ = false;
    std::string trace_;
};

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

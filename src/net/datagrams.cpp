// The endpoint for datagrams whose methods are awaited.
#include "asyncio/datagrams.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <ostream>

#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "net/channel_owner.hpp"
#include "net/datagram_socket.hpp"
#include "net/fd_wait.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// The state of a DatagramEndpoint. Its handles and the calls under way own it together.
//
// Tasks that receive wait in a line. When something may be there, the first is woken, receives in
// its own step and wakes the next if there is more; one that is cancelled after it was woken wakes
// the next in its place. So no wake-up is lost, and a cancelled task has received nothing.
class Endpoint final : public IoChannel,
                       public ReadNode<Endpoint>,
                       public WriteNode<Endpoint>,
                       public LifeNode<Endpoint>,
                       public Pooled {
  public:
    Endpoint(EventLoop& loop, DatagramSocket opened);
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) abandon();
    }

    EventLoop& loop() const;
    bool is_closed() const noexcept { return !socket_; }
    int fileno() const noexcept { return socket_.fileno(); }
    const Socket& socket() const noexcept { return socket_; }
    std::string repr() const;
    void close() noexcept;
    // Raises: ConnectionAbortedError.
    void check_open() const;

    // The next datagram that is there, if there is one. Raises: OSError.
    std::optional<Datagram> take();
    // The same for up to `most`, appended to `to`.
    void take_many(std::vector<Datagram>& to, std::size_t most);
    // Whether others wait, who came before.
    bool others_wait() const noexcept { return !readers_.empty(); }
    // After a task has received: the next one may.
    void pass_on() noexcept;

    // Sends one datagram. Returns an errno; EAGAIN: there is no room.
    int send(const DatagramToSend& datagram) noexcept;
    Transferred send(std::span<const DatagramToSend> datagrams) noexcept {
        return backend().send_datagrams(*this, datagrams);
    }
    int family() const noexcept { return family_; }
    // Where a datagram goes. Raises: ValueError if that is not where all must go.
    DatagramToSend addressed(std::string_view data, const SocketAddress& to) const;

    // ---- called by the nodes and the back end
    void read_ready();
    void write_ready();
    void life_ready();
    void read_dropped() noexcept;
    void write_dropped() noexcept;
    void life_dropped() noexcept { destroy(); }
    // In debug mode. Raises: RuntimeError on another thread than the loop's.
    void check_thread() const { check_thread_if_debug(core_); }
    std::string describe() const override { return "endpoint " + repr(); }
    void loop_closed() noexcept override { close(); }

  private:
    friend class EndpointWait;

    static constexpr std::size_t kBatch = 16;  // how many are received at once; the rest is kept

    ~Endpoint() { core_.detach(); }
    Backend& backend() const noexcept { return *static_cast<Loop&>(core_).backend; }
    void abandon() noexcept;
    void destroy() noexcept;
    template <class Taken>
    void receive(std::size_t most, Taken taken);
    Datagram take_kept();

    RefCount refs_{1};
    LoopCore& core_;
    Socket socket_;
    int family_;
    bool abandoned_ = false;  // nobody has it any more: it goes when no node is queued
    std::unique_ptr<SocketAddress> remote_;
    bool connected_ = false;
    DatagramQueue kept_;  // received with an earlier one
    WaitingLine readers_;
    WaitingLine writers_;
};

// Waits in one of the lines of an endpoint.
class EndpointWait {
  public:
    using asyncio_native = void;

    EndpointWait(Endpoint& endpoint, bool read) noexcept
        : endpoint_(endpoint),
          waiter_(read ? WaitKind::kDatagramReceive : WaitKind::kDatagramSend),
          read_(read) {
        line().push_back(waiter_);
        if (read) endpoint.start_reading(endpoint.core_.ready);
    }
    EndpointWait(const EndpointWait&) = delete;
    EndpointWait& operator=(const EndpointWait&) = delete;
    ~EndpointWait() {
        line().remove(waiter_);
        if (!served_ && waiter_.done()) line().wake_next();
        if (read_ && line().empty()) endpoint_.stop_reading();
    }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        waiter_.suspend(h.promise());
    }
    void await_resume() {
        if (std::exception_ptr e = waiter_.resume()) std::rethrow_exception(std::move(e));
        served_ = true;
    }

  private:
    WaitingLine& line() noexcept { return read_ ? endpoint_.readers_ : endpoint_.writers_; }

    Endpoint& endpoint_;
    Waiter waiter_;
    bool read_;
    bool served_ = false;
};

// ---- beginning and end

Endpoint::Endpoint(EventLoop& loop, DatagramSocket opened)
    : IoChannel(static_cast<ReadNode&>(*this), static_cast<WriteNode&>(*this)),
      core_(loop.core()),
      family_(opened.socket.family()) {
    if (opened.remote) remote_ = std::make_unique<SocketAddress>(opened.remote);
    SocketAddress peer;
    connected_ = peer_of(opened.socket.fileno(), peer);
    loop.impl().open_channel(*this, opened.socket.fileno(), ChannelKind::kDatagrams);
    socket_ = std::move(opened.socket);
    core_.attach();
}

EventLoop& Endpoint::loop() const {
    if (!core_.loop) throw RuntimeError("the loop of this endpoint is gone");
    return *core_.loop;
}

void Endpoint::check_open() const {
    if (is_closed()) throw ConnectionAbortedError("the endpoint is closed");
}

void Endpoint::close() noexcept {
    if (is_closed()) return;
    backend().close(*this);
    socket_.close();
    kept_.clear();
    readers_.wake_all();
    writers_.wake_all();
}

// The last handle is gone. On another thread than the loop's, that is where the rest is done.
void Endpoint::abandon() noexcept {
    abandoned_ = true;
    if (core_.runs_here() || core_.closed) return destroy();
    if (const Loop::Idle idle(static_cast<Loop&>(core_)); idle) return destroy();
    if (!push_threadsafe(core_, static_cast<LifeNode*>(this))) destroy();
}

void Endpoint::destroy() noexcept {
    close();
    if (!node_queued()) delete this;
}

void Endpoint::life_ready() { destroy(); }

void Endpoint::read_dropped() noexcept {
    read_runs();
    if (abandoned_) destroy();
}
void Endpoint::write_dropped() noexcept {
    write_runs();
    if (abandoned_) destroy();
}

std::string Endpoint::repr() const {
    if (is_closed()) return "<asyncio.DatagramEndpoint closed>";
    return "<asyncio.DatagramEndpoint fd=" + std::to_string(fileno()) + " open>";
}

// ---- receiving

void Endpoint::read_ready() {
    read_runs();
    if (abandoned_) return destroy();
    readers_.wake_next();
}

void Endpoint::write_ready() {
    write_runs();
    if (abandoned_) return destroy();
    writers_.wake_all();
}

void Endpoint::pass_on() noexcept {
    if (readers_.empty()) return;
    if (kept_.empty()) return read_again(core_.ready);
    readers_.wake_next();
}

// Raises: OSError if it was too long.
Datagram Endpoint::take_kept() {
    const DatagramQueue::Item item = kept_.front();
    const bool cut = item.cut;
    Datagram datagram(std::string(item.data), item.address());
    kept_.pop();
    if (cut) std::rethrow_exception(make_os_error(EMSGSIZE));
    return datagram;
}

std::optional<Datagram> Endpoint::take() {
    std::optional<Datagram> first;
    if (kept_.empty() && readable()) {
        receive(kBatch, [&](const ReceivedDatagram& d) {
            if (first) return false;
            first.emplace(std::string(d.data), d.from);
            return true;
        });
    }
    if (!first && !kept_.empty()) first = take_kept();
    return first;
}

void Endpoint::take_many(std::vector<Datagram>& to, std::size_t most) {
    if (kept_.empty() && readable()) {
        receive(most, [&](const ReceivedDatagram& d) {
            to.emplace_back(std::string(d.data), d.from);
            return true;
        });
    }
    while (!kept_.empty() && to.size() < most) {
        if (kept_.front().cut && !to.empty()) return;  // the next call raises
        to.push_back(take_kept());
    }
}

// Receives up to `most` and gives them to `taken(datagram)`. What that refuses, by giving false, is
// kept, and so is everything from one on that was too long: its turn is an error's.
template <class Taken>
void Endpoint::receive(std::size_t most, Taken taken) {
    const RoomLease room(static_cast<Loop&>(core_));
    const bool internet = family_ == AF_INET || family_ == AF_INET6;
    const ReceivedDatagrams got = backend().receive_datagrams(*this, *room, internet, most);
    if (got.error == EAGAIN) return;
    if (got.error != 0) std::rethrow_exception(make_os_error(got.error));
    bool keep = false;
    for (const ReceivedDatagram& d : got.datagrams) {
        keep |= d.cut;
        if (keep || !taken(d)) kept_.push(d.data, &d.from, d.cut);
    }
}

// ---- sending

DatagramToSend Endpoint::addressed(std::string_view data, const SocketAddress& to) const {
    if (!remote_) {
        if (!to) return {data};
        return {data, to.data(), to.size()};
    }
    if (to && !(to == *remote_)) {
        throw ValueError("Invalid address: must be None or " + remote_->repr());
    }
    if (connected_) return {data};
    return {data, remote_->data(), remote_->size()};
}

int Endpoint::send(const DatagramToSend& datagram) noexcept {
    return backend().send_datagrams(*this, {&datagram, 1}).error;
}

namespace {

constexpr auto kLongestRetry = std::chrono::milliseconds(16);

// Waits until there may be room to send more. `retry`: how long, where the system is silent.
Coroutine<void> await_room(Endpoint& endpoint, const DatagramToSend& next,
                           std::chrono::milliseconds& retry) {
    if (room_is_silent(endpoint.family(), next.to_size)) {
        co_await sleep(retry);
        retry = std::min(2 * retry, kLongestRetry);
        co_return;
    }
    EndpointWait wait(endpoint, false);
    co_await wait;
}

Coroutine<void> send_one(Ref<Endpoint> endpoint, std::string_view data, SocketAddress to) {
    check_awaited_here(endpoint->loop());
    auto retry = std::chrono::milliseconds(1);
    const DatagramToSend datagram = endpoint->addressed(data, to);
    for (;;) {
        endpoint->check_open();
        const int error = endpoint->send(datagram);
        if (error == 0) co_return;
        if (error != EAGAIN) std::rethrow_exception(make_os_error(error));
        co_await await_room(*endpoint, datagram, retry);
    }
}

Coroutine<void> send_all(Ref<Endpoint> endpoint, std::span<const Datagram> datagrams) {
    check_awaited_here(endpoint->loop());
    auto retry = std::chrono::milliseconds(1);
    DatagramToSend batch[DatagramRoom::kMost];
    while (!datagrams.empty()) {
        endpoint->check_open();
        const std::size_t count = std::min(datagrams.size(), DatagramRoom::kMost);
        for (std::size_t i = 0; i < count; ++i) {
            batch[i] = endpoint->addressed(datagrams[i].data, datagrams[i].address);
        }
        const Transferred sent = endpoint->send({batch, count});
        datagrams = datagrams.subspan(sent.size);
        if (sent.error == 0) continue;
        if (sent.error != EAGAIN) std::rethrow_exception(make_os_error(sent.error));
        co_await await_room(*endpoint, batch[0], retry);
    }
}

Coroutine<Datagram> receive_one(Ref<Endpoint> endpoint) {
    check_awaited_here(endpoint->loop());
    bool woken = false;
    for (;;) {
        endpoint->check_open();
        if (woken || !endpoint->others_wait()) {
            // Whoever comes next is woken even if this raises.
            const struct PassOn {
                Endpoint& endpoint;
                ~PassOn() { endpoint.pass_on(); }
            } pass_on{*endpoint};
            if (auto datagram = endpoint->take()) co_return std::move(*datagram);
        }
        EndpointWait wait(*endpoint, true);
        co_await wait;
        woken = true;
    }
}

Coroutine<std::vector<Datagram>> receive_several(Ref<Endpoint> endpoint, std::size_t most) {
    check_awaited_here(endpoint->loop());
    std::vector<Datagram> datagrams;
    bool woken = false;
    while (most > 0) {
        endpoint->check_open();
        if (woken || !endpoint->others_wait()) {
            const struct PassOn {
                Endpoint& endpoint;
                ~PassOn() { endpoint.pass_on(); }
            } pass_on{*endpoint};
            endpoint->take_many(datagrams, most);
            if (!datagrams.empty()) break;
        }
        EndpointWait wait(*endpoint, true);
        co_await wait;
        woken = true;
    }
    co_return datagrams;
}

Coroutine<DatagramEndpoint> open_endpoint(DatagramRequest request) {
    EventLoop& loop = get_running_loop();
    DatagramSocket opened = co_await open_datagram_socket(loop, std::move(request));
    DatagramEndpoint endpoint(new Endpoint(loop, std::move(opened)));
    co_return endpoint;
}

}  // namespace
}  // namespace detail

Coroutine<DatagramEndpoint> open_datagram_endpoint(DatagramOptions options) {
    return detail::open_endpoint(detail::DatagramRequest(options));
}

DatagramEndpoint::DatagramEndpoint(const DatagramEndpoint& other) noexcept
    : endpoint_(other.endpoint_) {
    if (endpoint_) endpoint_->retain();
}

DatagramEndpoint::~DatagramEndpoint() {
    if (endpoint_) endpoint_->release();
}

detail::Endpoint& DatagramEndpoint::endpoint() const {
    if (!endpoint_) throw RuntimeError("this handle is empty: it refers to no endpoint");
    return *endpoint_;
}

Coroutine<Datagram> DatagramEndpoint::receive() const {
    return detail::receive_one(detail::Ref<detail::Endpoint>::share(&endpoint()));
}

Coroutine<std::vector<Datagram>> DatagramEndpoint::receive_many(std::size_t most) const {
    return detail::receive_several(detail::Ref<detail::Endpoint>::share(&endpoint()), most);
}

Coroutine<void> DatagramEndpoint::send(std::string_view data) const {
    return send_to(data, SocketAddress());
}
Coroutine<void> DatagramEndpoint::send(std::span<const std::byte> data) const {
    return send_to(detail::as_chars(data), SocketAddress());
}
Coroutine<void> DatagramEndpoint::send_to(std::string_view data,
                                          const SocketAddress& address) const {
    return detail::send_one(detail::Ref<detail::Endpoint>::share(&endpoint()), data, address);
}
Coroutine<void> DatagramEndpoint::send_to(std::span<const std::byte> data,
                                          const SocketAddress& address) const {
    return send_to(detail::as_chars(data), address);
}
Coroutine<void> DatagramEndpoint::send_many(std::span<const Datagram> datagrams) const {
    return detail::send_all(detail::Ref<detail::Endpoint>::share(&endpoint()), datagrams);
}

void DatagramEndpoint::close() const {
    endpoint().check_thread();
    endpoint().close();
}
bool DatagramEndpoint::is_closing() const { return endpoint().is_closed(); }
int DatagramEndpoint::fileno() const { return endpoint().fileno(); }
SocketAddress DatagramEndpoint::getsockname() const { return endpoint().socket().getsockname(); }
SocketAddress DatagramEndpoint::getpeername() const { return endpoint().socket().getpeername(); }
EventLoop& DatagramEndpoint::get_loop() const { return endpoint().loop(); }

std::string DatagramEndpoint::repr() const {
    return endpoint_ ? endpoint_->repr() : "<asyncio.DatagramEndpoint empty>";
}

std::ostream& operator<<(std::ostream& out, const DatagramEndpoint& endpoint) {
    return out << endpoint.repr();
}

}  // namespace v1
}  // namespace asyncio

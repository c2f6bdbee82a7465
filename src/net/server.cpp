// Accepting connections, and Server. SO-*, SV-04, SV-05.
//
// An accepted connection becomes a transport at once, without a task. A listening socket is a
// channel: edge-triggered, so that it is accepted from until there is nothing left, at most
// `backlog` connections an iteration.
#include "net/server.hpp"

#include <algorithm>
#include <cerrno>
#include <ostream>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "loop/loop.hpp"
#include "net/flow_control.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

constexpr std::int64_t kRetry = 1'000'000'000;  // ns after accept() ran out of something

bool out_of_resources(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

class InContext {
  public:
    explicit InContext(ContextSlot& context) noexcept
        : outer_(std::exchange(thread_state.context, &context)) {}
    InContext(const InContext&) = delete;
    InContext& operator=(const InContext&) = delete;
    ~InContext() { thread_state.context = outer_; }

  private:
    ContextSlot* outer_;
};

}  // namespace

// Tells a server on its loop's thread that its last handle is gone.
class LastHandleGone final : public Node, public Pooled {
  public:
    explicit LastHandleGone(Ref<ServerState> state) noexcept : state_(std::move(state)) {}
    void run() override {
        state_->last_handle_gone();
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Ref<ServerState> state_;
};

// ---- listening ----------------------------------------------------------------------------------

void Listener::start(int backlog) {
    set_no_delay(fd_);
    listen_on(fd_, backlog);
    server_.engine().open_channel(*this, fd_, ChannelKind::kListener);
    set_reading();
}

void Listener::stop() noexcept {
    if (retry_) std::exchange(retry_, nullptr)->abandon();
    stop_reading();
    if (is_open()) server_.engine().backend->close(*this);
    if (read_queued()) kept_ = Ref<ServerState>::share(&server_);
}

void Listener::set_reading() noexcept {
    if (full_ || retry_) return stop_reading();
    start_reading(server_.core().ready);
}

void Listener::set_full(bool full) noexcept {
    full_ = full;
    if (is_open()) set_reading();
}

void Listener::read_ready() {
    read_runs();
    const auto server = kept_ ? std::move(kept_) : Ref<ServerState>::share(&server_);
    const InContext scope(server->context());
    // At the end of this, whatever leaves the loop.
    struct Again {
        Listener& self;
        LoopCore& core;
        ~Again() { self.read_again(core.ready); }
    } const again{*this, server->core()};
    for (int i = std::max(server->backlog(), 1); i > 0 && wants_read(); --i) {
        SocketAddress peer;
        const int fd = server->engine().backend->accept(*this, peer);
        if (fd < 0) {
            if (accept_failed(-fd)) continue;
            return;
        }
        troubled_ = false;
        server->serve(Socket(fd), peer, no_delay_ && peer.family() != AF_UNIX);
    }
}

void Listener::read_dropped() noexcept {
    read_runs();
    kept_ = nullptr;
}

// Whether to go on.
bool Listener::accept_failed(int error) {
    if (error == EAGAIN) return false;
    if (concerns_one_connection(error)) return true;
    pause(out_of_resources(error) ? "socket.accept() out of system resource"
                                  : "socket.accept() failed",
          error);
    return false;
}

// Accepts nothing for a second. Reported once, until a connection has been accepted.
void Listener::pause(const char* message, int error) {
    const auto resume = [](void* self) {
        auto& listener = *static_cast<Listener*>(self);
        std::exchange(listener.retry_, nullptr)->abandon();
        listener.set_reading();
    };
    retry_ = new CallTimer(server_.core(), loop_now(server_.core()) + kRetry, false, resume, this);
    stop_reading();
    if (std::exchange(troubled_, true)) return;
    tell_handler(server_.core(), message, [&](ExceptionContext& context) {
        context.message = message;
        context.exception = make_os_error(error);
    });
}

std::string Listener::describe() const { return "server " + server_.repr(); }

void Listener::loop_closed() noexcept {
    const auto server = Ref<ServerState>::share(&server_);
    server->close();
}

// ---- the server ---------------------------------------------------------------------------------

ServerState::ServerState(EventLoop& loop, std::vector<Socket> sockets, ServerSettings settings)
    : core_(loop.core()),
      context_(ContextSlot::copy_current()),
      settings_(std::move(settings)),
      sockets_(std::move(sockets)) {
    core_.attach();
}

ServerState::~ServerState() { core_.detach(); }

EventLoop& ServerState::loop() const {
    if (!core_.loop) throw RuntimeError("the loop of this server is gone");
    return *core_.loop;
}

void ServerState::start_serving() {
    if (closed_) throw RuntimeError("server " + repr() + " is closed");
    if (serving_) return;
    serving_ = true;
    retain();  // the loop's, until close()
    try {
        for (const Socket& socket : sockets_) {
            listeners_.push_back(
                std::make_unique<Listener>(*this, socket.fileno(), settings_.given_socket));
            listeners_.back()->start(settings_.backlog);
        }
    } catch (...) {
        // With all of its sockets or with none: it may be tried again, and the loop does not keep
        // what nobody can reach.
        for (const auto& listener : listeners_) listener->stop();
        serving_ = false;
        release();
        throw;
    }
    if (full()) set_full(true);
}

void ServerState::close() noexcept {
    if (std::exchange(closed_, true)) return;
    const auto self = std::exchange(serving_, false) ? Ref<ServerState>::adopt(this)
                                                     : Ref<ServerState>::share(this);
    for (const auto& listener : listeners_) listener->stop();
    remove_file();
    sockets_.clear();
    if (serving_forever && !serving_forever.done()) serving_forever.cancel();
    serving_forever = nullptr;
    if (clients_ == 0) wake_waiters();
}

// SO-08. What serves does so until it is closed, or its loop is; what does not, never will.
void ServerState::last_handle_gone() noexcept {
    if (!serving_) return close();
    if (!core_.debug || core_.closed) return;
    try {
        log::write(log::Level::WARNING, repr() + " serves on, and no handle is left to close it");
    } catch (const std::bad_alloc&) {
        // Nobody can be told.
    }
}

// The file of a unix socket goes, if it is still the one that was bound (SV-03).
void ServerState::remove_file() noexcept {
    if (!settings_.cleanup) return;
    const int error = detail::remove_file(*settings_.cleanup);
    if (error == 0) return;
    log::write(log::Level::ERROR, "Unable to clean up listening UNIX socket " +
                                      quoted(settings_.cleanup->path) + ": " +
                                      describe(make_os_error(error)));
}

void ServerState::serve(Socket socket, const SocketAddress& peer, bool no_delay) {
    try {
        make_transport(std::move(socket), peer, no_delay);
    } catch (...) {
        // SV-05: there is nobody to tell but debug mode; what is to leave the loop does so.
        std::exception_ptr error = std::current_exception();
        if (is_exit_error(error)) throw;
        if (!core_.debug) return;
        const char* const text = "Error on transport creation for incoming connection";
        tell_handler(core_, text, [&](ExceptionContext& context) {
            context.message = text;
            context.exception = std::move(error);
        });
    }
}

void ServerState::make_transport(Socket socket, const SocketAddress& peer, bool no_delay) {
    EventLoop& to = loop();
    if (core_.debug) {
        log::write(log::Level::DEBUG, repr() + " got a new connection from " + peer.repr());
    }
    const SocketTransportOptions options{
        .server = this, .peer = &peer, .opened = nullptr, .no_delay = no_delay};
    std::shared_ptr<BaseProtocol> protocol = settings_.factory();
    if (settings_.tls) {
        TlsConnection secured =
            make_tls_connection(to, *settings_.tls, std::move(protocol), nullptr);
        protocol = std::move(secured.protocol);
    }
    make_socket_transport(to, std::move(socket), std::move(protocol), nullptr, options);
}

void ServerState::attach(ServerClient& client) noexcept {
    retain();
    client.previous_client = nullptr;
    client.following_client = first_client_;
    if (first_client_) first_client_->previous_client = &client;
    first_client_ = &client;
    ++clients_;
    if (full()) set_full(true);
}

void ServerState::detach(ServerClient& client) noexcept {
    const bool was_full = full();
    (client.previous_client ? client.previous_client->following_client : first_client_) =
        client.following_client;
    if (client.following_client) client.following_client->previous_client = client.previous_client;
    client.previous_client = client.following_client = nullptr;
    --clients_;
    if (was_full) set_full(false);
    if (closed_ && clients_ == 0) wake_waiters();
    release();
}

void ServerState::set_full(bool full) noexcept {
    for (const auto& listener : listeners_) listener->set_full(full);
}

std::vector<BaseTransport> ServerState::clients() const {
    std::vector<BaseTransport> found;
    found.reserve(clients_);
    for (ServerClient* c = first_client_; c; c = c->following_client) {
        found.emplace_back(Ref<TransportBase>::share(&c->as_transport()));
    }
    return found;
}

Future<> ServerState::closed_future() {
    if (closed_ && clients_ == 0) return nullptr;
    return waiters_.emplace_back(loop().create_future<void>());
}

void ServerState::wake_waiters() noexcept {
    for (const Future<>& waiter : std::exchange(waiters_, {})) {
        if (!waiter.done()) waiter.set_result();
    }
}

std::string ServerState::repr() const {
    std::string text = "<Server sockets=(";
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
        if (i > 0) text += ", ";
        text += socket_repr("TransportSocket", sockets_[i].fileno());
    }
    if (sockets_.size() == 1) text += ',';
    return text + ")>";
}

ServerHandle::ServerHandle(Ref<ServerState> state)
    : state_(std::move(state)), gone_(new LastHandleGone(state_)) {}

ServerHandle::~ServerHandle() {
    LoopCore& core = state_->core();
    if (core.on_owner_thread()) {
        state_->last_handle_gone();
        gone_->drop();
        return;
    }
    core.attach();
    if (!push_threadsafe(core, gone_)) gone_->drop();
    core.detach();
}

// ---- what its coroutines do ---------------------------------------------------------------------

namespace {

// Each keeps a handle, so that the server is not closed under it.

Coroutine<> until_closed(Server, ServerState& state) {
    const Future<> closed = state.closed_future();
    if (closed) co_await closed;
}

Coroutine<> begin_serving(Server, ServerState& state) {
    state.start_serving();
    co_await sleep(Duration(0));
}

Coroutine<> serve_until_cancelled(Server server, ServerState& state) {
    if (state.serving_forever) {
        throw RuntimeError("server " + state.repr() +
                           " is already being awaited on serve_forever()");
    }
    state.start_serving();
    const Future<> forever = state.loop().create_future<void>();
    state.serving_forever = forever;
    const Result<void> ended = co_await as_result(forever);
    state.serving_forever = nullptr;
    state.close();
    co_await until_closed(server, state);
    std::rethrow_exception(ended.error());
}

Coroutine<Server> itself(Server server) { co_return server; }

Coroutine<bool> close_and_wait(Server server, ServerState& state) {
    state.close();
    co_await until_closed(server, state);
    co_return false;
}

}  // namespace
}  // namespace detail

detail::ServerState& Server::state() const {
    if (!handle_) throw RuntimeError("this server handle is empty: it refers to no server");
    // Safe because the constructor takes nothing else.
    return static_cast<detail::ServerHandle*>(handle_.get())->state();
}

detail::ServerState& Server::state_here() const {
    detail::ServerState& found = state();
    detail::check_thread_if_debug(found.core());
    return found;
}

void Server::close() const { state_here().close(); }
Coroutine<> Server::wait_closed() const { return detail::until_closed(*this, state()); }
Coroutine<> Server::start_serving() const { return detail::begin_serving(*this, state()); }
Coroutine<> Server::serve_forever() const { return detail::serve_until_cancelled(*this, state()); }
Server::Server(std::shared_ptr<detail::ServerHandle> handle) noexcept
    : handle_(std::move(handle)) {}

bool Server::is_serving() const { return state().serving(); }
EventLoop& Server::get_loop() const { return state().loop(); }
const std::vector<Socket>& Server::sockets() const { return state().sockets(); }
void Server::close_clients() const {
    for (const BaseTransport& client : state_here().clients()) client.close();
}
void Server::abort_clients() const {
    for (const BaseTransport& client : state_here().clients()) client.impl().abort();
}
std::string Server::repr() const { return handle_ ? state().repr() : "<Server empty>"; }
Coroutine<Server> Server::aenter() const {
    state();
    return detail::itself(*this);
}
Coroutine<bool> Server::aexit(std::exception_ptr) const {
    return detail::close_and_wait(*this, state());
}

std::ostream& operator<<(std::ostream& out, const Server& server) { return out << server.repr(); }

}  // namespace v1
}  // namespace asyncio

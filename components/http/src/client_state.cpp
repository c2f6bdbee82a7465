#include "client_state.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>

#include "asyncio/component/descriptors.hpp"
#include "asyncio/component/process.hpp"
#include "asyncio/exceptions.hpp"
#include "exchange.hpp"
#include "text.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// How long the client of the free functions, and with it its idle connections, stays after its last
// request.
constexpr std::chrono::seconds kKeepShared{60};
// How long libcurl may use an address that we gave it, and how long we rely on that: less.
constexpr std::chrono::seconds kKeepNames{60};

// All that loops share, behind its shared_mutex(). Made without a constructor and never destroyed:
// a loop may be closed after the static objects are.
struct Shared {
    bool has_begun = false;
    CURLcode begun = CURLE_OK;
};

constinit Shared shared_state;

void init_libcurl() {
    const std::lock_guard lock(component::shared_mutex(&shared_state));
    if (!shared_state.has_begun) shared_state.begun = curl_global_init(CURL_GLOBAL_DEFAULT);
    shared_state.has_begun = true;
    if (shared_state.begun == CURLE_OK) return;
    throw RuntimeError(std::string("libcurl does not start: ") +
                       curl_easy_strerror(shared_state.begun));
}

// "IP PORT", "" if there is none.
std::string end_of(const SocketAddress& address) {
    const std::string host = address.host();
    return host.empty() ? host : host + ' ' + std::to_string(address.port());
}

std::string ends_of(int fd) {
    return end_of(component::peer_address(fd)) + ' ' + end_of(component::own_address(fd));
}

}  // namespace

std::string name_ends(const char* ip, int port, const char* local_ip, int local_port) {
    return std::string(ip) + ' ' + std::to_string(port) + ' ' + local_ip + ' ' +
           std::to_string(local_port);
}

OwnedHeaders own_headers(const HeaderList& headers) {
    OwnedHeaders owned;
    owned.reserve(headers.size());
    for (std::size_t i = 0; i < headers.size(); ++i) {
        const auto [name, value] = headers[i];
        // RFC 9110, 5.1 and 5.5: anything else could be read as another header, or another request.
        if (!is_token(name)) {
            throw ValueError("invalid header name " + asyncio::detail::quoted(name));
        }
        const auto control = [](char c) {
            return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
        };
        if (std::any_of(value.begin(), value.end(), control)) {
            throw ValueError("the value of header " + asyncio::detail::quoted(name) +
                             " has control characters");
        }
        for (const std::string_view own : {"Content-Length", "Transfer-Encoding", "Connection"}) {
            if (same_name(name, own)) {
                throw ValueError("header " + asyncio::detail::quoted(name) +
                                 " is set by the client");
            }
        }
        owned.emplace_back(name, value);
    }
    return owned;
}

ClientState::ClientState(const ClientOptions& options)
    : headers_(own_headers(options.headers)),
      keeps_connections_(options.max_idle_connections > 0),
      forks_(component::forks()) {
    if (options.max_connections < 0 || options.max_connections_per_host < 0 ||
        options.max_idle_connections < 0) {
        throw ValueError("a number of connections must be >= 0");
    }
    init_libcurl();
    {
        const component::StandardStreamsTaken taken;
        multi_ = curl_multi_init();  // which opens what wakes it
    }
    if (!multi_) throw std::bad_alloc();
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &ClientState::on_socket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &ClientState::on_timer);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                      static_cast<long>(options.max_connections));
    curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS,
                      static_cast<long>(options.max_connections_per_host));
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS,
                      static_cast<long>(std::max(options.max_idle_connections, 1)));
}

// A loop's client of the free functions. It belongs to its requests and to the timer that keeps it
// for a while.
class LoopClient final : public component::LoopService {
  public:
    static const component::ServiceKey key;
    explicit LoopClient(LoopCore&) noexcept : LoopService(component::ServiceRank::kComponents) {}
    ~LoopClient() override { forget(); }
    void loop_closed() noexcept override { forget(); }

    ClientState* client() const noexcept { return client_; }
    void set(ClientState& client) noexcept {
        client_ = &client;
        client.of_loop_ = this;
    }
    void forget() noexcept {
        if (client_) std::exchange(client_, nullptr)->of_loop_ = nullptr;
    }

  private:
    ClientState* client_ = nullptr;
};

const component::ServiceKey LoopClient::key;

ClientState::~ClientState() {
    close();
    if (of_loop_) of_loop_->forget();
    if (core_) core_->detach();
}

Ref<ClientState> ClientState::shared() {
    auto& mine = component::service<LoopClient>(component::running_core());
    if (ClientState* const known = mine.client()) return Ref<ClientState>::share(known);
    auto client = Ref<ClientState>::adopt(new ClientState(ClientOptions{}));
    client->use();
    mine.set(*client);
    return client;
}

bool ClientState::is_of_parent() const noexcept { return core_ && forks_ != component::forks(); }

void ClientState::use() {
    LoopCore& core = component::running_core();
    if (closed_) throw RuntimeError("the HTTP client is closed");
    if (core_ && core_ != &core) {
        throw RuntimeError("the HTTP client is bound to a different event loop");
    }
    if (!core_) {
        watches_.emplace(*core.loop, [this](int fd, component::Interest ready) {
            act(fd, ready.readable ? CURL_CSELECT_IN : CURL_CSELECT_OUT);
        });
        core.attach();
        core_ = &core;
        forks_ = component::forks();
    }
}

EventLoop* ClientState::loop() const noexcept {
    return core_ && !core_->closed ? core_->loop : nullptr;
}

void ClientState::close() noexcept {
    if (std::exchange(closed_, true)) return;
    // 1. Who waits is told. This takes all transfers back from libcurl.
    const std::vector<Exchange*> open = std::move(exchanges_);
    exchanges_.clear();
    for (Exchange* exchange : open) exchange->close();
    // 2. The connections go, and with them what libcurl wants watched. It no longer asks for
    // timers. Those of a parent stay as they are: it goes on with them.
    if (!is_of_parent()) {
        curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, nullptr);
        curl_multi_cleanup(multi_);
    }
    multi_ = nullptr;
    // 3. Nothing of the loop calls this object any more.
    watches_.reset();
    timer_.cancel();
}

void ClientState::forget(Exchange& exchange) noexcept {
    std::erase(exchanges_, &exchange);
    std::erase(broken_exchanges_, &exchange);
}

void ClientState::note_broken(Exchange& exchange) noexcept {
    try {
        broken_exchanges_.push_back(&exchange);
    } catch (const std::bad_alloc&) {
        // Then it ends when more of its body comes, or by its timeout.
    }
}

void ClientState::start(CURL* easy) {
    const CURLMcode code = curl_multi_add_handle(multi_, easy);
    if (code == CURLM_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLM_OK) throw RuntimeError(curl_multi_strerror(code));
    if (broken_) {
        curl_multi_remove_handle(multi_, easy);
        std::rethrow_exception(std::exchange(broken_, nullptr));
    }
    last_used_ = loop()->time();
    if (of_loop_ && !expires_) expire_later(kKeepShared);
}

void ClientState::stop(CURL* easy) noexcept {
    if (multi_ && !is_of_parent()) curl_multi_remove_handle(multi_, easy);
}

bool ClientState::knows(const std::string& key) const {
    const auto found = known_.find(key);
    return found != known_.end() && loop()->time() < found->second;
}

void ClientState::note_known(const std::string& key) {
    constexpr std::size_t kMost = 1000;
    if (known_.size() >= kMost) known_.clear();
    known_[key] = loop()->time() + kKeepNames;
}

// ---- what libcurl asks for ---------------------------------------------------------------------

int ClientState::on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void*) {
    auto& client = *static_cast<ClientState*>(self);
    try {
        if (easy && what == CURL_POLL_REMOVE) client.unwatched_.push_back(easy);
        client.watch(fd, what);
    } catch (...) {
        // No exception may pass through libcurl; act() and start() see to it.
        client.broken_ = std::current_exception();
    }
    return 0;
}

int ClientState::on_timer(CURLM*, long milliseconds, void* self) {
    auto& client = *static_cast<ClientState*>(self);
    try {
        client.set_timer(milliseconds);
    } catch (...) {
        // As in on_socket.
        client.broken_ = std::current_exception();
    }
    return 0;
}

void ClientState::watch(int fd, int what) {
    if (!watches_) return;
    watches_->set(fd, {(what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0});
}

// libcurl may close a socket that it was connecting (7.88 does), open another, which gets the same
// number, and see no need to say so, as it wants the same of both. But the system has forgotten the
// first one: what is watched under that number is watched anew.
curl_socket_t ClientState::on_open(void* self, curlsocktype, curl_sockaddr* address) noexcept {
    auto& client = *static_cast<ClientState*>(self);
    const int fd = component::open_socket(address->family, address->socktype, address->protocol);
    if (fd < 0) return CURL_SOCKET_BAD;
    try {
        client.fresh_.push_back(fd);
    } catch (const std::bad_alloc&) {
        component::close_descriptor(fd);
        return CURL_SOCKET_BAD;
    }
    try {
        if (client.watches_) client.watches_->renew(fd);
    } catch (...) {
        // As in on_socket.
        client.broken_ = std::current_exception();
    }
    return fd;
}

int ClientState::on_close(void* self, curl_socket_t fd) noexcept {
    auto& client = *static_cast<ClientState*>(self);
    std::erase(client.fresh_, fd);
    std::erase_if(client.named_, [&](const auto& entry) { return entry.second == fd; });
    return component::close_descriptor(fd);
}

int ClientState::socket_of(const std::string& ends) {
    for (const int fd : fresh_) {
        if (ends_of(fd) != ends) continue;
        named_[ends] = fd;
        std::erase(fresh_, fd);
        return fd;
    }
    const auto found = named_.find(ends);
    return found == named_.end() ? -1 : found->second;
}

void ClientState::set_timer(long milliseconds) {
    timer_.cancel();
    EventLoop* const loop = this->loop();
    if (!loop || milliseconds < 0) return;
    // Even if it is due at once: libcurl must not be called from inside its callback.
    timer_ = loop->call_later(std::chrono::milliseconds(milliseconds),
                              [this] { act(CURL_SOCKET_TIMEOUT, 0); });
}

// ---- what has happened -------------------------------------------------------------------------

void ClientState::act(curl_socket_t fd, int events) {
    int running = 0;
    const CURLMcode code = curl_multi_socket_action(multi_, fd, events, &running);
    harvest();
    kick_stuck();
    end_broken();
    if (broken_) {
        fail_all(std::exchange(broken_, nullptr));
    } else if (code != CURLM_OK && code != CURLM_BAD_SOCKET) {
        fail_all(std::make_exception_ptr(RuntimeError(curl_multi_strerror(code))));
    }
}

void ClientState::harvest() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        void* exchange = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
        static_cast<Exchange*>(exchange)->finish(message->data.result);
    }
}

// When an address refuses, libcurl (7.88) drops its socket and tries the next one only when it is
// called the next time, for which it asks nobody.
void ClientState::kick_stuck() {
    for (const CURL* easy : std::exchange(unwatched_, {})) {
        for (Exchange* exchange : exchanges_) {
            if (exchange->runs(easy)) exchange->kick();
        }
    }
}

void ClientState::end_broken() {
    for (Exchange* exchange : std::exchange(broken_exchanges_, {})) exchange->end_broken();
}

void ClientState::fail_all(const std::exception_ptr& error) noexcept {
    // Safe because it only wakes those who wait: none goes.
    for (Exchange* exchange : exchanges_) exchange->fail(error);
}

// One timer at a time, and none a request: when it is due it looks whether there were any since.
void ClientState::expire_later(Delay delay) {
    expires_ = true;
    loop()->call_later(delay, [self = Ref<ClientState>::share(this)] {
        self->expires_ = false;
        const Duration idle = self->loop()->time() - self->last_used_;
        if (self->exchanges_.empty() && idle >= kKeepShared) return;
        self->expire_later(self->exchanges_.empty() ? Duration(kKeepShared) - idle
                                                    : Duration(kKeepShared));
    });
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

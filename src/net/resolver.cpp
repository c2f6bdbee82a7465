#include "net/resolver.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>

#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "net/fd_wait.hpp"
#include "os/signals.hpp"
#include "os/sockets.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

std::atomic<AskSystem> current_ask{&ask_system};

}  // namespace

void replace_ask_system(AskSystem function) noexcept {
    current_ask = function ? function : &ask_system;
}

namespace {

[[noreturn]] void throw_gai(const NameAnswer& answer) {
    if (answer.error == EAI_SYSTEM) std::rethrow_exception(make_os_error(answer.system_error));
    throw gaierror(answer.error, ::gai_strerror(answer.error));
}

// Which questions are the same.
std::string key_of(const NameQuery& q) {
    std::string key = std::to_string(q.family) + ' ' + std::to_string(q.type) + ' ' +
                      std::to_string(q.proto) + ' ' + std::to_string(q.flags) + ' ' + q.service +
                      ' ' + q.host;
    if (q.address) key += ' ' + q.address.repr();
    return key;
}

}  // namespace

// ---- one lookup --------------------------------------------------------------------------------

Lookup::Lookup(Resolver& resolver, LoopCore& core, NameQuery query, std::string key)
    : resolver_(&resolver), core_(core), query_(std::move(query)), key_(std::move(key)) {
    core_.attach();
}

void Lookup::ask() noexcept {
    try {
        current_ask.load()(query_, answer_);
    } catch (...) {
        // Only memory can be short there; the waiters are told.
        answer_.error = EAI_MEMORY;
    }
}

void Lookup::deliver() noexcept {
    // A loop that is closed has nobody to tell.
    if (!push_threadsafe(core_, this)) release();
}

void Lookup::join(Waiter& waiter) noexcept {
    waiters_.push_back(waiter);
    set_awaited(true);
}

void Lookup::leave(Waiter& waiter) noexcept {
    waiters_.remove(waiter);
    if (answered_ || !waiters_.empty()) return;
    set_awaited(false);
    if (resolver_) resolver_->abandon(*this);
}

void Lookup::set_awaited(bool awaited) noexcept {
    if (awaited == awaited_) return;
    awaited_ = awaited;
    auto& loop = static_cast<Loop&>(core_);
    if (awaited) {
        loop.begin_external();
    } else {
        loop.end_external();
    }
}

void Lookup::run() {
    answered_ = true;
    set_awaited(false);
    waiters_.wake_all();
    if (resolver_) resolver_->forget(*this);
    release();
}

// ---- the threads -------------------------------------------------------------------------------

namespace {

constexpr int kMostThreads = 32;
std::atomic<std::chrono::milliseconds> idle_time{std::chrono::seconds(10)};

}  // namespace

void set_lookup_idle_time(std::chrono::milliseconds time) noexcept { idle_time = time; }

// What the threads share, owned by each of them.
struct Resolver::Pool {
    mutable std::mutex mutex;
    std::condition_variable called;
    std::deque<Lookup*> queue;  // owned: not begun
    int threads = 0;
    int busy = 0;  // threads that ask; the others look into the queue next, or wait for it
    bool shut_down = false;

    ~Pool() { drop_queue(); }
    void drop_queue() noexcept {
        for (Lookup* lookup : queue) lookup->release();
        queue.clear();
    }

    static void add(const std::shared_ptr<Pool>& pool, Lookup& lookup);
    // `pool`: the thread's own copy.
    static void work(const std::shared_ptr<Pool>& pool);
    Lookup* next();
    void end_one() noexcept;
    bool remove(Lookup& lookup) noexcept;
};

void Resolver::Pool::add(const std::shared_ptr<Pool>& pool, Lookup& lookup) {
    const std::lock_guard lock(pool->mutex);
    pool->queue.push_back(&lookup);
    lookup.retain();
    // Each free thread takes one: those in the queue before this one count.
    if (pool->queue.size() <= static_cast<std::size_t>(pool->threads - pool->busy)) {
        pool->called.notify_one();
        return;
    }
    if (pool->threads >= kMostThreads) return;
    try {
        // A handler must not run where a library's code may hold a lock for minutes.
        const SignalsBlocked blocked;
        std::thread(&Pool::work, pool).detach();
        ++pool->threads;
    } catch (const std::system_error&) {
        // Those that run will do it, if there are any.
        if (pool->threads > 0) return;
        pool->queue.pop_back();
        lookup.release();
        throw RuntimeError("can't start new thread");
    }
}

void Resolver::Pool::work(const std::shared_ptr<Pool>& pool) {
    name_this_thread("asyncio-dns");
    while (Lookup* lookup = pool->next()) {
        lookup->ask();
        // Before the answer is there, so that the next question finds this thread free.
        pool->end_one();
        lookup->deliver();
    }
}

// Null: the thread is to end.
Lookup* Resolver::Pool::next() {
    std::unique_lock lock(mutex);
    if (queue.empty() && !shut_down) {
        const auto until = std::chrono::steady_clock::now() + idle_time.load();
        called.wait_until(lock, until, [this] { return !queue.empty() || shut_down; });
    }
    if (queue.empty()) {
        --threads;
        return nullptr;
    }
    Lookup* const lookup = queue.front();
    queue.pop_front();
    ++busy;
    return lookup;
}

void Resolver::Pool::end_one() noexcept {
    const std::lock_guard lock(mutex);
    --busy;
}

bool Resolver::Pool::remove(Lookup& lookup) noexcept {
    const std::lock_guard lock(mutex);
    const auto found = std::find(queue.begin(), queue.end(), &lookup);
    if (found == queue.end()) return false;
    queue.erase(found);
    lookup.release();
    return true;
}

const ServiceKey Resolver::key;

Resolver::Resolver(LoopCore& core)
    : LoopService(ServiceRank::kSystem), core_(core), pool_(std::make_shared<Pool>()) {}

void Resolver::loop_closed() noexcept {
    for (const auto& [key, lookup] : pending_) lookup->orphan();
    const std::lock_guard lock(pool_->mutex);
    pool_->shut_down = true;
    pool_->drop_queue();
    pool_->called.notify_all();
    pending_.clear();
}

Ref<Lookup> Resolver::find(NameQuery query) {
    std::string key = key_of(query);
    if (const auto found = pending_.find(key); found != pending_.end()) return found->second;
    auto lookup = Ref<Lookup>::adopt(new Lookup(*this, core_, std::move(query), key));
    const auto place = pending_.emplace(std::move(key), lookup).first;
    try {
        Pool::add(pool_, *lookup);
    } catch (...) {
        pending_.erase(place);
        throw;
    }
    return lookup;
}

void Resolver::forget(Lookup& lookup) noexcept { pending_.erase(lookup.question()); }

void Resolver::abandon(Lookup& lookup) noexcept {
    if (pool_->remove(lookup)) pending_.erase(lookup.question());
}

int Resolver::threads() const {
    const std::lock_guard lock(pool_->mutex);
    return pool_->threads;
}

// ---- waiting for it ----------------------------------------------------------------------------

namespace {

// Suspends the task until a lookup is answered.
class LookupWait {
  public:
    using asyncio_native = void;

    explicit LookupWait(Ref<Lookup> lookup) noexcept : lookup_(std::move(lookup)) {
        lookup_->join(waiter_);
    }
    LookupWait(const LookupWait&) = delete;
    LookupWait& operator=(const LookupWait&) = delete;
    ~LookupWait() { lookup_->leave(waiter_); }

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        waiter_.suspend(h.promise());
    }
    const NameAnswer& await_resume() {
        if (std::exception_ptr error = waiter_.resume()) std::rethrow_exception(error);
        return lookup_->answer();
    }

  private:
    Ref<Lookup> lookup_;
    Waiter waiter_{WaitKind::kName};
};

Resolver& resolver_of(EventLoop& loop) { return service<Resolver>(loop.core()); }

// Hosts of a network that is made up, and no others.
void answer_simulated(const component::SimulatedSockets& sockets, const NameQuery& query,
                      PortNumber port, NameAnswer& answer) {
    NameQuery here = query;
    if (port.given() && here.service.empty()) here.service = std::to_string(port);
    if (!here.host.empty()) {
        const std::string known = sockets.address_of_name(here.host);
        if (!known.empty()) here.host = known;
        here.flags |= AI_NUMERICHOST;
    }
    ask_system(here, answer);
}

// Answers what needs no name server: an address, or no host. Fast, and blocks on nothing.
bool answer_here(const NameQuery& query, PortNumber port, NameAnswer& answer) {
    if (simulated_sockets) [[unlikely]] {
        answer_simulated(*simulated_sockets, query, port, answer);
        return true;
    }
    if (!query.service.empty()) return false;
    NameQuery here = query;
    if (port.given()) here.service = std::to_string(port);
    if (!query.host.empty()) here.flags |= AI_NUMERICHOST;
    ask_system(here, answer);
    if (query.host.empty() || (query.flags & AI_NUMERICHOST)) return true;
    return answer.error != EAI_NONAME;
}

std::vector<AddrInfo> addresses(NameAnswer answer, PortNumber port) {
    if (answer.error != 0) throw_gai(answer);
    for (AddrInfo& info : answer.infos) info.address = with_port(info.address, port);
    return std::move(answer.infos);
}

// "localhost:80, family=2, type=1", for debug mode's report.
std::string describe(const NameQuery& query, PortNumber port) {
    std::string text = query.host + ':';
    if (!query.service.empty()) {
        text += quoted(query.service);
    } else {
        text += port.given() ? std::to_string(port) : "None";
    }
    const auto add = [&](const char* name, int value) {
        if (value != 0) text += std::string(", ") + name + '=' + std::to_string(value);
    };
    add("family", query.family);
    add("type", query.type);
    add("proto", query.proto);
    add("flags", query.flags);
    return text;
}

// Debug mode's report of how long a lookup took.
class LookupTimer {
  public:
    LookupTimer(EventLoop& loop, const NameQuery& query, PortNumber port) : loop_(loop) {
        if (!loop.get_debug()) return;
        what_ = describe(query, port);
        begin_ = loop.time();
        log::write(log::Level::DEBUG, "Get address info " + what_);
    }
    void report() const {
        if (what_.empty()) return;
        const Duration took = loop_.time() - begin_;
        char ms[32];
        std::snprintf(ms, sizeof ms, "%.3f", static_cast<double>(took.count()) / 1e6);
        log::write(took >= loop_.slow_callback_duration ? log::Level::INFO : log::Level::DEBUG,
                   "Getting address info " + what_ + " took " + ms + "ms");
    }

  private:
    EventLoop& loop_;
    std::string what_;  // empty: not in debug mode
    TimePoint begin_;
};

Coroutine<std::vector<AddrInfo>> look_up(EventLoop& loop, NameQuery query, PortNumber port) {
    check_awaited_here(loop);
    port.check();
    if (query.host.find('\0') != std::string::npos) {
        throw gaierror(EAI_NONAME, ::gai_strerror(EAI_NONAME));
    }
    NameAnswer here;
    if (answer_here(query, port, here)) co_return addresses(std::move(here), {});
    const LookupTimer timer(loop, query, port);
    LookupWait wait(resolver_of(loop).find(std::move(query)));
    const NameAnswer& answer = co_await wait;
    timer.report();
    co_return addresses(answer, port);
}

// A service that is a number is a port.
PortNumber port_of(std::string_view service) noexcept {
    if (service.empty() || service.find_first_not_of("0123456789") != std::string_view::npos) {
        return {};
    }
    int port = 0;
    const auto parsed = std::from_chars(service.data(), service.data() + service.size(), port);
    return parsed.ec == std::errc() ? port : std::numeric_limits<int>::max();
}

NameQuery query_for(std::string_view host, const AddrInfoOptions& options) {
    NameQuery query;
    query.host = host;
    query.family = options.family;
    query.type = options.type;
    query.proto = options.proto;
    query.flags = options.flags;
    return query;
}

// An address is taken as it is, else it is looked up.
Coroutine<std::vector<AddrInfo>> ensure_resolved(EventLoop& loop, NameQuery query,
                                                 PortNumber port) {
    check_awaited_here(loop);
    NameQuery as_it_is = query;
    as_it_is.flags &= ~AI_ADDRCONFIG;
    NameAnswer here;
    port.check();
    if (!query.host.empty() && query.host.find('\0') == std::string::npos &&
        answer_here(as_it_is, port, here) && here.error == 0) {
        co_return std::move(here.infos);
    }
    co_return co_await look_up(loop, std::move(query), port);
}

Coroutine<std::pair<std::string, std::string>> look_up_name(EventLoop& loop, NameQuery query) {
    check_awaited_here(loop);
    const int family = query.address.family();
    if (family != AF_INET && family != AF_INET6) {
        throw gaierror(EAI_FAMILY, ::gai_strerror(EAI_FAMILY));
    }
    constexpr int kNumbersOnly = NI_NUMERICHOST | NI_NUMERICSERV;
    NameAnswer answer;
    if ((query.flags & kNumbersOnly) == kNumbersOnly) {
        ask_system(query, answer);
    } else {
        LookupWait wait(resolver_of(loop).find(std::move(query)));
        answer = co_await wait;
    }
    if (answer.error != 0) throw_gai(answer);
    std::pair<std::string, std::string> names(std::move(answer.host), std::move(answer.service));
    co_return names;
}

}  // namespace

Coroutine<std::vector<AddrInfo>> resolve(EventLoop& loop, std::string_view host, PortNumber port,
                                         int family, int type, int proto, int flags) {
    AddrInfoOptions options;
    options.family = family;
    options.type = type;
    options.proto = proto;
    options.flags = flags;
    return ensure_resolved(loop, query_for(host, options), port);
}

}  // namespace detail

Coroutine<std::vector<AddrInfo>> EventLoop::getaddrinfo(std::string_view host, int port,
                                                        AddrInfoOptions options) {
    return detail::look_up(*this, detail::query_for(host, options), port);
}

Coroutine<std::vector<AddrInfo>> EventLoop::getaddrinfo(std::string_view host, std::nullopt_t,
                                                        AddrInfoOptions options) {
    return detail::look_up(*this, detail::query_for(host, options), {});
}

Coroutine<std::vector<AddrInfo>> EventLoop::getaddrinfo(std::string_view host,
                                                        std::string_view service,
                                                        AddrInfoOptions options) {
    detail::NameQuery query = detail::query_for(host, options);
    const detail::PortNumber port = detail::port_of(service);
    if (!port.given()) query.service = service;
    return detail::look_up(*this, std::move(query), port);
}

Coroutine<std::pair<std::string, std::string>> EventLoop::getnameinfo(const SocketAddress& address,
                                                                      int flags) {
    detail::NameQuery query;
    query.address = address;
    query.flags = flags;
    return detail::look_up_name(*this, std::move(query));
}

}  // namespace v1
}  // namespace asyncio

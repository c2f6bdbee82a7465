// The way of an exchange to a connection: the look-up of the host, how long it may all take, and
// whether a connection that was used before still serves.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "asyncio/component/descriptors.hpp"
#include "asyncio/component/errors.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/with.hpp"
#include "exchange.hpp"
#include "text.hpp"
#include "tls.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

using component::error_from;

// As CURLOPT_RESOLVE wants them, which knows no scopes.
std::string joined_hosts(const std::vector<AddrInfo>& infos) {
    std::string joined;
    for (const AddrInfo& info : infos) {
        const std::string host(info.address.host());
        if (host.find('%') != std::string::npos) continue;
        if (!joined.empty()) joined += ',';
        joined += host.find(':') == std::string::npos ? host : '[' + host + ']';
    }
    return joined;
}

}  // namespace

// For the whole way to a connection: the names, a place among the client's connections, TCP and
// TLS. libcurl's own limit begins with TCP.
void Exchange::begin_connecting() {
    const Delay limit = settings_.connect_timeout;
    connect_by_.reset();
    if (limit.is_none()) return;
    const TimePoint now = client_->loop()->time();
    const Duration most = TimePoint::max() - now;
    connect_by_ = now + std::min(limit.duration(), most);
}

std::exception_ptr Exchange::not_connected() const noexcept {
    return error_from([this] {
        return Timeout(std::errc::timed_out,
                       "no connection within " + seconds_text(settings_.connect_timeout) +
                           " (connect_timeout)",
                       url_.text);
    });
}

// There is a connection, a new one or one used again, and the request is about to be sent. What
// waits there to be read would be taken for its response: not all versions of libcurl look.
int Exchange::on_connected(void* self, char* ip, char* local_ip, int port, int local_port) {
    auto& exchange = *static_cast<Exchange*>(self);
    try {
        const int fd = exchange.client_->socket_of(name_ends(ip, port, local_ip, local_port));
        long made = 0;
        curl_easy_getinfo(exchange.easy_, CURLINFO_NUM_CONNECTS, &made);
        if (fd >= 0 && made == 0 && !is_multiplexed(exchange.easy_)) {
            exchange.stale_ = component::has_input(fd);
        }
    } catch (...) {
        // As in on_header.
        exchange.keep(std::current_exception());
        return CURL_PREREQFUNC_ABORT;
    }
    if (exchange.stale_) return CURL_PREREQFUNC_ABORT;
    exchange.connect_timer_.cancel();
    return CURL_PREREQFUNC_OK;
}

// The look-up of a name is waited for in a scope of its own: its deadline is now.
void Exchange::end_look_up() noexcept {
    if (!scope_ || scope_->expired()) return;
    try {
        scope_->reschedule(TimePoint{});
    } catch (const std::exception&) {
        // Without memory, or while the loop does not run, the look-up ends by itself, and error_ is
        // seen there. A loop that closes destroys it.
    }
}

// Asks the loop for the addresses of the host, so that libcurl need not: its own look-up could not
// be abandoned.
Coroutine<void> Exchange::look_up(Ref<Exchange> self) {
    Exchange& x = *self;
    curl_slist_free_all(std::exchange(x.address_list_, nullptr));
    const std::string key = x.url_.host + ':' + x.url_.port;
    const bool ascii = std::all_of(key.begin(), key.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (x.url_.numeric_host() || !ascii || x.client_->knows(key)) co_return;

    EventLoop& loop = *x.client_->loop();
    asyncio::Timeout scope = asyncio::timeout_at(x.connect_by_);
    auto ask = [&]() -> Coroutine<std::vector<AddrInfo>> {
        AddrInfoOptions options;
        options.type = SOCK_STREAM;
        co_return co_await loop.getaddrinfo(x.url_.host, std::atoi(x.url_.port.c_str()), options);
    };
    // Cleared also when the loop closes meanwhile and destroys this frame.
    struct Entered {
        Exchange& exchange;
        ~Entered() { exchange.scope_ = nullptr; }
    } entered{x};
    x.scope_ = &scope;
    auto found = co_await as_result(with(scope, ask));
    x.check();
    if (found.holds<asyncio::TimeoutError>()) {
        throw Timeout(
            std::errc::timed_out,
            "no address of " + x.url_.host + " within " + seconds_text(x.settings_.connect_timeout),
            x.url_.text);
    }
    if (const auto* unknown = asyncio::detail::find<gaierror>(found.error())) {
        ConnectError error(std::errc::host_unreachable,
                           "Could not resolve host " + x.url_.host + ": " + unknown->what(),
                           x.url_.text);
        std::rethrow_exception(with_cause(std::move(error), found.error()));
    }
    const std::string hosts = joined_hosts(found.value());
    if (hosts.empty()) co_return;
    // With the plus sign libcurl forgets it after a time.
    x.append(x.address_list_, '+' + key + ':' + hosts);
    x.client_->note_known(key);
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

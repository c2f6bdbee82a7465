// An exchange from its beginning to its end: its life, its redirects, and the coroutines that wait
// for it. What it sends and what comes are in files of their own.
#include "exchange.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "asyncio/component/errors.hpp"
#include "asyncio/exceptions.hpp"
#include "errors.hpp"
#include "text.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

using component::error_from;

constexpr std::string_view kCredentialHeaders[] = {"Authorization", "Cookie", "Cookie2",
                                                   "Proxy-Authorization", "Host"};

// libcurl says that it has no memory when a header line is too long for it. Whether that is so is
// not to be seen, but likely, if there is some.
bool memory_is_left() noexcept {
    constexpr std::size_t kEnough = std::size_t{1} << 20;
    const std::unique_ptr<char[]> some(new (std::nothrow) char[kEnough]);
    return some != nullptr;
}

}  // namespace

// ---- life --------------------------------------------------------------------------------------

Exchange::Exchange(Ref<ClientState> client, Settings settings, Url url)
    : client_(std::move(client)), settings_(std::move(settings)), url_(std::move(url)) {
    if (!settings_.credentials) settings_.credentials = url_.credentials;
    url_.credentials.reset();
    for (const auto& own : client_->headers()) {
        const auto given = [&](const auto& h) { return same_name(h.first, own.first); };
        if (std::none_of(settings_.headers.begin(), settings_.headers.end(), given)) {
            settings_.headers.push_back(own);
        }
    }
    client_->enlist(*this);
}

Exchange::~Exchange() {
    end_hop();
    deadline_timer_.cancel();
    connect_timer_.cancel();
    client_->forget(*this);
    if (easy_ && !client_->is_of_parent()) curl_easy_cleanup(easy_);
    curl_slist_free_all(header_list_);
    curl_slist_free_all(address_list_);
}

void Exchange::end_hop() noexcept {
    if (std::exchange(running_, false)) client_->stop(easy_);
}

void Exchange::finish(CURLcode code) {
    if (stale_ && !error_ && restart()) return;
    version_ = version();
    connect_timer_.cancel();
    long os_error = 0;
    if (code != CURLE_OK) curl_easy_getinfo(easy_, CURLINFO_OS_ERRNO, &os_error);
    end_hop();
    if (code == CURLE_OUT_OF_MEMORY && phase_ == Phase::kHeaders && !error_ && memory_is_left()) {
        error_ = error_from([this] {
            return ProtocolError(std::errc::message_size,
                                 "a header line of the response is longer than 100 KiB", url_.text);
        });
    } else if (code == CURLE_OPERATION_TIMEDOUT && !error_) {
        error_ = not_connected();  // the only limit that libcurl is given
    } else if (code != CURLE_OK && !error_ && !discarding_) {
        error_ = error_of(code, error_text_, os_error, url_.text);
    } else if (tls_cut_ && !error_ && !discarding_) {
        error_ = error_from([this] {
            return ProtocolError(
                std::errc::connection_reset,
                "the connection ended without the end of TLS: the body may be cut short",
                url_.text);
        });
    } else if (phase_ == Phase::kHeaders && !error_) {
        error_ = error_from([this] {
            return ProtocolError(std::errc::connection_reset,
                                 "the connection was closed before the end of the headers",
                                 url_.text);
        });
    }
    phase_ = Phase::kDone;
    if (final_ || error_) deadline_timer_.cancel();
    if (unpacker_ && !packed_left_) unpack();  // looks whether its end has come
    wake();
}

void Exchange::kick() noexcept {
    curl_off_t connected = 0;
    curl_easy_getinfo(easy_, CURLINFO_CONNECT_TIME_T, &connected);
    if (phase_ != Phase::kHeaders || connected != 0) return;
    // There is no call for it; going on after a pause does it.
    curl_easy_pause(easy_, CURLPAUSE_ALL);
    curl_easy_pause(easy_, CURLPAUSE_CONT);
}

void Exchange::fail(std::exception_ptr error) noexcept {
    if (phase_ == Phase::kDone && final_) return;
    if (!error_) error_ = std::move(error);
    end_hop();
    phase_ = Phase::kDone;
    deadline_timer_.cancel();
    connect_timer_.cancel();
    end_look_up();
    wake();
}

void Exchange::close() noexcept {
    const bool over = phase_ == Phase::kDone && final_;
    // A whole response that its task has not looked at yet.
    if (over && !settings_.streaming) return;
    buffer_.clear();
    unpacker_.reset();
    packed_left_ = false;
    std::exception_ptr error = error_from([this] {
        return ClosedError(
            std::errc::operation_canceled,
            client_->closed() ? "the HTTP client was closed" : "the stream is closed", url_.text);
    });
    if (!over) return fail(std::move(error));
    if (!error_) error_ = std::move(error);
}

bool Exchange::satisfied(Want want) const noexcept {
    if (phase_ == Phase::kDone) return true;
    switch (want) {
        case Want::kHeaders:
            return phase_ == Phase::kBody;
        case Want::kData:
            return !buffer_.empty();
        case Want::kEnd:
            break;
    }
    return false;
}

void Exchange::wake() noexcept {
    if (waiter_ && !waiter_->done() && satisfied(want_)) waiter_->set();
}

void Exchange::check() const {
    if (error_) std::rethrow_exception(error_);
}

// ---- redirects ---------------------------------------------------------------------------------

bool Exchange::is_redirect() const noexcept {
    const int s = status();
    const bool moved = s == 301 || s == 302 || s == 303 || s == 307 || s == 308;
    return moved && settings_.max_redirects > 0 && headers().contains("Location");
}

// RFC 9110, 15.4.
void Exchange::follow() {
    if (++redirects_ > settings_.max_redirects) {
        throw RedirectError(std::errc::too_many_symbolic_link_levels,
                            "more than " + std::to_string(settings_.max_redirects) + " redirects",
                            url_.text);
    }
    const std::vector<std::string_view> locations = headers().get_all("Location");
    for (const std::string_view other : locations) {
        if (other == locations.front()) continue;
        throw RedirectError(std::errc::protocol_error, "a redirect to two places", url_.text);
    }
    Url next;
    try {
        next = join_url(url_, locations.front());
    } catch (const InvalidURLError& e) {
        throw RedirectError(std::errc::protocol_error,
                            std::string("a redirect that cannot be followed: ") + e.what(),
                            url_.text);
    }
    if (!next.same_origin(url_)) {
        settings_.credentials.reset();
        std::erase_if(settings_.headers, [](const auto& header) {
            return std::any_of(
                std::begin(kCredentialHeaders), std::end(kCredentialHeaders),
                [&](std::string_view secret) { return same_name(header.first, secret); });
        });
    }
    const bool becomes_get =
        (status() == 303 && settings_.method != "HEAD" && settings_.method != "GET") ||
        ((status() == 301 || status() == 302) && settings_.method == "POST");
    if (becomes_get) {
        settings_.method = "GET";
        settings_.body.clear();
        std::erase_if(settings_.headers, [](const auto& header) {
            return same_name(header.first.substr(0, 8), "Content-");
        });
    }
    url_ = std::move(next);
}

// ---- the coroutines ----------------------------------------------------------------------------

void Exchange::begin_clock() {
    EventLoop& loop = *client_->loop();
    if (settings_.timeout.is_none()) return;
    deadline_timer_ = loop.call_later(settings_.timeout, [this] {
        fail(error_from([this] {
            return Timeout(std::errc::timed_out,
                           "the request took longer than " + seconds_text(settings_.timeout),
                           url_.text);
        }));
    });
}

Ref<Exchange> Exchange::make(Ref<ClientState> client, Settings&& settings, Url&& url) {
    if (!client) client = ClientState::shared();
    if (client->closed()) {
        throw ClosedError(std::errc::operation_canceled, "the HTTP client was closed", url.text);
    }
    client->use();
    return Ref<Exchange>::adopt(
        new Exchange(std::move(client), std::move(settings), std::move(url)));
}

Coroutine<void> Exchange::open(Ref<Exchange> self) {
    Exchange& x = *self;
    x.begin_clock();
    x.easy_ = curl_easy_init();
    if (!x.easy_) throw std::bad_alloc();
    for (;;) {
        x.begin_connecting();
        co_await look_up(self);
        x.check();
        x.start_hop();
        co_await Wait(x, Want::kHeaders);
        if (x.discarding_) co_await Wait(x, Want::kEnd);
        if (!x.discarding_ || x.error_) break;
        x.follow();
        curl_easy_reset(x.easy_);
    }
    // A stream that has broken says so when the bytes before are taken.
    if (!x.settings_.streaming || x.buffer_.empty()) x.check();
}

Coroutine<Response> Exchange::fetch(Ref<ClientState> client, Settings settings, Url url) {
    const Ref<Exchange> self = make(std::move(client), std::move(settings), std::move(url));
    Exchange& x = *self;
    co_await open(self);
    co_await Wait(x, Want::kEnd);
    x.check();
    Response response;
    response.status = x.status();
    response.headers = std::move(x.head_.headers());
    response.url = x.url_.text;
    response.body = std::move(x.buffer_);
    response.http_version = x.version_;
    co_return response;
}

Coroutine<Stream> Exchange::open_stream(Ref<ClientState> client, Settings settings, Url url) {
    Ref<Exchange> self = make(std::move(client), std::move(settings), std::move(url));
    co_await open(self);
    co_return Stream(std::move(self));
}

Coroutine<std::optional<std::string>> Exchange::next_chunk(Ref<Exchange> self) {
    Exchange& x = *self;
    if (x.waiter_) throw RuntimeError("another task waits for a chunk of this stream");
    co_await Wait(x, Want::kData);
    if (!x.buffer_.empty()) co_return x.take_chunk();
    x.check();
    co_return std::nullopt;
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

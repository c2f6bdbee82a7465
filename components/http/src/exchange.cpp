#include "exchange.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <new>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/sockets.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/version.hpp"
#include "asyncio/with.hpp"
#include "base/error_from.hpp"
#include "errors.hpp"
#include "malformed.hpp"
#include "text.hpp"
#include "tls.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

using asyncio::detail::error_from;

// What is kept of a stream while nobody takes it: as much as libcurl hands over in many pieces.
constexpr std::size_t kHighWater = std::size_t{256} << 10;
// The body of a redirect is read, so that its connection can be used again, if it is small.
constexpr std::size_t kMostDiscarded = std::size_t{64} << 10;
// The line and the headers of a request together. libcurl has one MiB for them and the beginning of
// the body.
constexpr std::size_t kMostRequestHead = std::size_t{896} << 10;
// The most that libcurl's HTTP/2 sends is 64 KiB; it says nothing of what is more, and waits. Such
// a request goes out with HTTP/1.1.
constexpr std::size_t kMostHttp2Head = 60'000;
// libcurl 7.87 and later never raise SIGPIPE; others switch the signal off for a moment, unless
// told not to touch signals.
constexpr unsigned kNoSigpipe = 0x075700;

constexpr std::string_view kCredentialHeaders[] = {"Authorization", "Cookie", "Cookie2",
                                                   "Proxy-Authorization", "Host"};

bool is_control(char c) noexcept { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }

// For libcurl, where 0 would mean its default.
long milliseconds_of(Delay delay) noexcept {
    if (delay.is_none()) return INT_MAX;
    const std::int64_t ms = delay.count() / 1'000'000;
    return static_cast<long>(std::clamp<std::int64_t>(ms, 1, INT_MAX));
}

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

// libcurl says that it has no memory when a header line is too long for it. Whether that is so is
// not to be seen, but likely, if there is some.
bool memory_is_left() noexcept {
    constexpr std::size_t kEnough = std::size_t{1} << 20;
    const std::unique_ptr<char[]> some(new (std::nothrow) char[kEnough]);
    return some != nullptr;
}

std::string without_brackets(std::string host) {
    if (host.starts_with('[')) host = host.substr(1, host.find_first_of("%]") - 1);
    return host;
}

std::string seconds_text(Delay delay) {
    char text[32];
    const double seconds = static_cast<double>(delay.count()) / 1e9;
    const auto end = std::to_chars(text, text + sizeof text, seconds).ptr;
    return std::string(text, end) + " s";
}

}  // namespace

// ---- settings ----------------------------------------------------------------------------------

Settings::Settings(std::string_view verb, const RequestOptions& options, bool stream)
    : method(verb),
      headers(own_headers(options.headers)),
      body(options.body),
      timeout(options.timeout),
      connect_timeout(options.connect_timeout),
      max_redirects(options.max_redirects),
      max_body(options.max_body),
      http2(options.http2),
      verify(options.verify),
      decompress(options.decompress),
      streaming(stream),
      ca_file(options.ca_file) {
    // One word, so that it cannot continue as another request.
    if (method.empty() || std::any_of(method.begin(), method.end(), is_control)) {
        throw ValueError("invalid HTTP method " + asyncio::detail::quoted(method));
    }
    if (method == "CONNECT") throw ValueError("the HTTP method CONNECT is for proxies");
    if (max_redirects < 0) throw ValueError("max_redirects must be >= 0");
    if (ca_file.find('\0') != std::string::npos) {
        throw ValueError("ca_file has a null character");
    }
    for (const std::string_view text : {options.user, options.password}) {
        if (text.find('\0') != std::string_view::npos) {
            throw ValueError("user and password must not have null characters");
        }
    }
    if (options.user.find(':') != std::string_view::npos) {
        throw ValueError("a user's name must not have a colon");  // RFC 7617, 2
    }
    if (!options.user.empty() || !options.password.empty()) {
        credentials = Credentials{std::string(options.user), std::string(options.password)};
    }
}

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

// The look-up of a name is waited for in a scope of its own: its deadline is now.
void Exchange::end_look_up() noexcept {
    if (!scope_ || scope_->expired()) return;
    try {
        scope_->reschedule(TimePoint{});
    } catch (const std::bad_alloc&) {
        // The look-up then ends by its own deadline, and error_ is seen there.
    }
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

// ---- what comes --------------------------------------------------------------------------------

void Exchange::keep(std::exception_ptr error) noexcept {
    try {
        try {
            std::rethrow_exception(std::move(error));
        } catch (const Malformed& e) {
            error_ = std::make_exception_ptr(
                ProtocolError(std::errc::protocol_error, e.what(), url_.text));
        }
    } catch (...) {
        // Any other, raised as it is, by check(), to whoever waits.
        error_ = std::current_exception();
    }
}

std::size_t Exchange::on_header(char* data, std::size_t one, std::size_t size, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    try {
        exchange.take_header({data, one * size});
    } catch (...) {
        // A short count ends the transfer, and finish() leaves this error in place.
        exchange.keep(std::current_exception());
        return 0;
    }
    return one * size;
}

void Exchange::take_header(std::string_view line) {
    // Trailers come after the body, and are not asked for.
    if (phase_ != Phase::kHeaders) return;
    head_.take(line);
    if (head_.whole()) end_of_headers();
}

void Exchange::end_of_headers() {
    phase_ = Phase::kBody;
    discarding_ = is_redirect();
    final_ = !discarding_;
    // The sizes of the chunks are only to be seen in what libcurl shows for debugging: "before it
    // gets dechunked".
    if (head_.has_body() && head_.chunked()) set(CURLOPT_VERBOSE, 1L);
    // A body that must not be: whatever it is, it is not the next response.
    if (status() == 204 && (head_.chunked() || head_.length().value_or(0) != 0)) {
        set(CURLOPT_FORBID_REUSE, 1L);
    }
    // The end of the connection is the end of this body, if TLS says so, too (RFC 9112, 9.8). That
    // libcurl does not ask for, and its connection is gone when it has told us.
    if (head_.ends_with_connection() && url_.scheme == "https") {
        set(CURLOPT_XFERINFOFUNCTION, &Exchange::on_progress);
        set(CURLOPT_XFERINFODATA, static_cast<void*>(this));
        set(CURLOPT_NOPROGRESS, 0L);
    }
    const std::optional<std::uint64_t> length = content_length();
    if (final_ && head_.has_body() && length && *length > settings_.max_body) {
        throw BodyTooLargeError(std::errc::message_size,
                                "the body has " + std::to_string(*length) +
                                    " bytes, more than the limit of " +
                                    std::to_string(settings_.max_body) + " (max_body)",
                                url_.text);
    }
    wake();
}

int Exchange::on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto& exchange = *static_cast<Exchange*>(self);
    exchange.tls_cut_ = !has_ended(exchange.easy_);
    return 0;
}

int Exchange::on_raw(CURL*, curl_infotype what, char* data, std::size_t size, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    if (what != CURLINFO_DATA_IN || exchange.error_ || !exchange.head_.chunked()) return 0;
    try {
        exchange.chunks_.take({data, size});
    } catch (...) {
        exchange.keep(std::current_exception());
        exchange.client_->note_broken(exchange);
    }
    return 0;
}

std::size_t Exchange::on_body(char* data, std::size_t one, std::size_t size, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    const std::size_t count = one * size;
    if (exchange.error_) return 0;
    const bool full = exchange.packed_left_ || exchange.buffer_.size() >= kHighWater;
    if (exchange.settings_.streaming && full) {
        // libcurl keeps these bytes, and reads no more.
        exchange.paused_ = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    try {
        if (!exchange.take_body({data, count})) return 0;
    } catch (...) {
        // As in on_header.
        exchange.keep(std::current_exception());
        return 0;
    }
    return count;
}

// Returns false if the transfer is to end here.
bool Exchange::take_body(std::string_view data) {
    if (discarding_) {
        received_ += data.size();
        return received_ <= kMostDiscarded;
    }
    if (!unpacker_ && settings_.decompress && headers().contains("Content-Encoding")) {
        unpacker_.emplace(headers().get_all("Content-Encoding"));
    }
    if (!unpacker_ || unpacker_->plain()) {
        add_body(data);
    } else {
        unpacker_->put(data);
        unpack();
        if (error_) return false;
    }
    wake();
    return true;
}

void Exchange::add_body(std::string_view data) {
    received_ += data.size();
    if (received_ > settings_.max_body) {
        throw BodyTooLargeError(std::errc::message_size,
                                "the body has more bytes than the limit of " +
                                    std::to_string(settings_.max_body) + " (max_body)",
                                url_.text);
    }
    buffer_ += data;
}

// Fills the buffer with what there is: a stream's no more than is kept of it, as a small body may
// become a very large one.
void Exchange::unpack() {
    try {
        char block[16384];
        packed_left_ = true;
        while (!settings_.streaming || buffer_.size() < kHighWater) {
            const std::size_t got = unpacker_->take(block, sizeof block);
            if (got != 0) {
                add_body({block, got});
                continue;
            }
            packed_left_ = false;
            if (phase_ == Phase::kDone && !error_) unpacker_->end();
            return;
        }
    } catch (...) {
        packed_left_ = false;
        if (!error_) keep(std::current_exception());
    }
}

std::optional<std::uint64_t> Exchange::content_length() const noexcept {
    if (head_.chunked() || headers().contains("Content-Encoding")) return std::nullopt;
    return head_.length();
}

std::string Exchange::version() const {
    long version = 0;
    curl_easy_getinfo(easy_, CURLINFO_HTTP_VERSION, &version);
    switch (version) {
        case CURL_HTTP_VERSION_1_0:
            return "1.0";
        case CURL_HTTP_VERSION_1_1:
            return "1.1";
        case CURL_HTTP_VERSION_2_0:
            return "2";
        default:
            return {};
    }
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

// ---- sending -----------------------------------------------------------------------------------

template <class V>
void Exchange::set(CURLoption option, V value) {
    const CURLcode code = curl_easy_setopt(easy_, option, value);
    if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLE_OK) {
        throw RuntimeError(std::string("libcurl refuses an option: ") + curl_easy_strerror(code));
    }
}

void Exchange::append(curl_slist*& list, const std::string& line) {
    curl_slist* const longer = curl_slist_append(list, line.c_str());
    if (!longer) throw std::bad_alloc();
    list = longer;
}

void Exchange::start_hop() {
    phase_ = Phase::kHeaders;
    discarding_ = paused_ = tls_cut_ = false;
    received_ = 0;
    head_ = ResponseHead(settings_.method != "HEAD");
    chunks_ = ChunkChecker();
    check_head_size();
    set_options();
    set_protocols();
    set_method();
    set_tls();
    set_headers();
    if (connect_by_) {
        connect_timer_ = client_->loop()->call_at(*connect_by_, [this] { fail(not_connected()); });
    }
    start_transfer();
}

void Exchange::start_transfer() {
    stale_ = false;
    client_->start(easy_);
    running_ = true;
}

// Nothing has been sent: once more, on a new connection. Returns false if there is an error.
bool Exchange::restart() {
    end_hop();
    try {
        set(CURLOPT_FRESH_CONNECT, 1L);
        start_transfer();
        return true;
    } catch (...) {
        keep(std::current_exception());
        return false;
    }
}

void Exchange::set_options() {
    set(CURLOPT_PRIVATE, static_cast<void*>(this));
    set(CURLOPT_ERRORBUFFER, error_text_);
    set(CURLOPT_URL, url_.text.c_str());
    set(CURLOPT_HEADERFUNCTION, &Exchange::on_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(this));
    set(CURLOPT_WRITEFUNCTION, &Exchange::on_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    set(CURLOPT_DEBUGFUNCTION, &Exchange::on_raw);
    set(CURLOPT_DEBUGDATA, static_cast<void*>(this));
    set(CURLOPT_PREREQFUNCTION, &Exchange::on_connected);
    set(CURLOPT_PREREQDATA, static_cast<void*>(this));
    set(CURLOPT_NOSIGNAL, curl_version_info(CURLVERSION_NOW)->version_num >= kNoSigpipe ? 1L : 0L);
    set(CURLOPT_PROXY, "");
    set(CURLOPT_OPENSOCKETFUNCTION, &ClientState::on_open);
    set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(client_.get()));
    set(CURLOPT_CLOSESOCKETFUNCTION, &ClientState::on_close);
    set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(client_.get()));
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_TCP_KEEPALIVE, 1L);
    set(CURLOPT_DNS_CACHE_TIMEOUT, 120L);
    set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds_of(settings_.connect_timeout));
    if (address_list_) set(CURLOPT_RESOLVE, address_list_);
#if LIBCURL_VERSION_NUM >= 0x075700
    // Should libcurl look up a name itself, nothing waits for its thread.
    set(CURLOPT_QUICK_EXIT, 1L);
#endif
    if (!client_->keeps_connections()) set(CURLOPT_FORBID_REUSE, 1L);
}

void Exchange::set_protocols() {
#if LIBCURL_VERSION_NUM >= 0x075500
    set(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    const bool http2 = settings_.http2 && head_size() <= kMostHttp2Head;
    set(CURLOPT_HTTP_VERSION,
        static_cast<long>(http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
}

void Exchange::set_method() {
    const std::string& method = settings_.method;
    if (method == "HEAD") return set(CURLOPT_NOBODY, 1L);
    const bool takes_body = method == "POST" || method == "PUT" || method == "PATCH";
    if (takes_body || !settings_.body.empty()) {
        set(CURLOPT_POST, 1L);
        set(CURLOPT_POSTFIELDS, settings_.body.c_str());
        set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(settings_.body.size()));
    }
    set(CURLOPT_CUSTOMREQUEST, method.c_str());
}

void Exchange::set_tls() {
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(CURLOPT_SSL_VERIFYPEER, settings_.verify ? 1L : 0L);
    set(CURLOPT_SSL_VERIFYHOST, settings_.verify ? 2L : 0L);
    if (const char* const ciphers = cipher_list()) set(CURLOPT_SSL_CIPHER_LIST, ciphers);
    if (settings_.verify && on_tls_context()) {
        host_address_.clear();
        if (url_.numeric_host()) host_address_ = without_brackets(url_.host);
        set(CURLOPT_SSL_CTX_FUNCTION, on_tls_context());
        set(CURLOPT_SSL_CTX_DATA, host_address_.empty() ? nullptr : host_address_.data());
    }
    if (settings_.ca_file.empty()) return;
    set(CURLOPT_CAINFO, settings_.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<char*>(nullptr));
}

void Exchange::set_headers() {
    curl_slist_free_all(std::exchange(header_list_, nullptr));
    // What libcurl would add: a wait before large bodies, and a type that nobody said.
    append(header_list_, "Expect:");
    bool typed = false;
    bool ranged = false;
    bool says_codings = false;
    for (const auto& [name, value] : settings_.headers) {
        if (same_name(name, "Expect")) continue;
        typed = typed || same_name(name, "Content-Type");
        ranged = ranged || same_name(name, "Range");
        says_codings = says_codings || same_name(name, "Accept-Encoding");
        std::string line = name;
        line += value.empty() ? ";" : ": ";
        append(header_list_, line += value);
    }
    if (!typed) append(header_list_, "Content-Type:");
    if (settings_.decompress && !says_codings) {
        // A part of a packed body could not be unpacked.
        const char* const codings = ranged ? "identity" : kAcceptEncoding;
        append(header_list_, std::string("Accept-Encoding: ") + codings);
    }
    set(CURLOPT_HTTPHEADER, header_list_);
    const std::string agent = "libasyncio/" + std::string(asyncio::version());
    set(CURLOPT_USERAGENT, agent.c_str());
    if (!settings_.credentials) return;
    set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    set(CURLOPT_USERNAME, settings_.credentials->user.c_str());
    set(CURLOPT_PASSWORD, settings_.credentials->password.c_str());
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
            pollfd input{fd, POLLIN, 0};
            exchange.stale_ = ::poll(&input, 1, 0) == 1;
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

// Of the request, about; as HTTP/2 counts.
std::size_t Exchange::head_size() const {
    constexpr std::size_t kEach = 32;
    std::size_t size = settings_.method.size() + url_.text.size();
    for (const auto& [name, value] : settings_.headers) size += name.size() + value.size() + kEach;
    if (settings_.credentials) {
        size +=
            (settings_.credentials->user.size() + settings_.credentials->password.size()) * 4 / 3;
    }
    return size;
}

void Exchange::check_head_size() const {
    const std::size_t size = head_size();
    if (size <= kMostRequestHead) return;
    throw Error(std::errc::message_size,
                "the URL and the headers of the request have " + std::to_string(size) +
                    " bytes, more than the limit of " + std::to_string(kMostRequestHead),
                url_.text.substr(0, 200));
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

std::string Exchange::take_chunk() {
    std::string chunk = std::exchange(buffer_, {});
    if (packed_left_) unpack();
    if (paused_ && !packed_left_) unpause();
    return chunk;
}

void Exchange::unpause() {
    paused_ = false;
    // Hands over at once what libcurl has kept, by on_body(), and has itself called for the rest.
    const CURLcode code = curl_easy_pause(easy_, CURLPAUSE_CONT);
    if (code == CURLE_OK || phase_ == Phase::kDone) return;
    fail(error_ ? error_ : error_of(code, error_text_, 0, url_.text));
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

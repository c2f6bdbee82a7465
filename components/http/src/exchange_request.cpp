// The request of an exchange as libcurl is told of it.
#include <algorithm>
#include <climits>
#include <string>
#include <utility>

#include "asyncio/version.hpp"
#include "exchange.hpp"
#include "text.hpp"
#include "tls.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// The line and the headers of a request together. libcurl has one MiB for them and the beginning of
// the body.
constexpr std::size_t kMostRequestHead = std::size_t{896} << 10;
// The most that libcurl's HTTP/2 sends is 64 KiB; it says nothing of what is more, and waits. Such
// a request goes out with HTTP/1.1.
constexpr std::size_t kMostHttp2Head = 60'000;
// libcurl 7.87 and later never raise SIGPIPE; others switch the signal off for a moment, unless
// told not to touch signals.
constexpr unsigned kNoSigpipe = 0x075700;

// For libcurl, where 0 would mean its default.
long milliseconds_of(Delay delay) noexcept {
    if (delay.is_none()) return INT_MAX;
    const std::int64_t ms = delay.count() / 1'000'000;
    return static_cast<long>(std::clamp<std::int64_t>(ms, 1, INT_MAX));
}

std::string without_brackets(std::string host) {
    if (host.starts_with('[')) host = host.substr(1, host.find_first_of("%]") - 1);
    return host;
}

}  // namespace

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

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

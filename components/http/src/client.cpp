// The public classes and functions of asyncio/http.hpp.
#include <curl/curl.h>

#include "asyncio/http.hpp"
#include "client_state.hpp"
#include "exchange.hpp"
#include "text.hpp"
#include "url.hpp"

namespace asyncio {
inline namespace v1 {
namespace http {

// Safe inside a co_await expression on every compiler.
static_assert(std::is_trivially_copyable_v<RequestOptions>);
static_assert(std::is_trivially_copyable_v<ClientOptions>);

using asyncio::detail::Ref;
using detail::ClientState;
using detail::Exchange;

namespace {

template <class T>
Coroutine<T> raising(std::exception_ptr error) {
    std::rethrow_exception(error);
    co_return T();
}

// One rule for all that is wrong with a request: what is awaited raises, and not the call, so that
// as_result() and gather() have it. `client`: null for the one of the loop that awaits it.
template <class T>
Coroutine<T> begin(Coroutine<T> (*run)(Ref<ClientState>, detail::Settings, detail::Url),
                   Ref<ClientState> client, std::string_view method, std::string_view url,
                   const RequestOptions& options) {
    std::exception_ptr error;
    try {
        if (client && client->closed()) throw RuntimeError("the HTTP client is closed");
        const bool streaming = std::is_same_v<T, Stream>;
        return run(std::move(client), detail::Settings(method, options, streaming),
                   detail::parse_url(url));
    } catch (...) {
        // Raised again by what is returned.
        error = std::current_exception();
    }
    return raising<T>(std::move(error));
}

Coroutine<Response> send(Ref<ClientState> client, std::string_view method, std::string_view url,
                         const RequestOptions& options) {
    return begin(&Exchange::fetch, std::move(client), method, url, options);
}

[[noreturn]] void raise_status(int status, const std::string& url) {
    throw StatusError(status, url);
}

}  // namespace

// ---- Headers, Response -------------------------------------------------------------------------

std::optional<std::string_view> Headers::get(std::string_view name) const noexcept {
    for (const auto& [key, value] : items_) {
        if (detail::same_name(key, name)) return value;
    }
    return std::nullopt;
}

std::vector<std::string_view> Headers::get_all(std::string_view name) const {
    std::vector<std::string_view> found;
    for (const auto& [key, value] : items_) {
        if (detail::same_name(key, name)) found.push_back(value);
    }
    return found;
}

void Response::raise_for_status() const {
    if (status >= 400) raise_status(status, url);
}

// ---- Stream ------------------------------------------------------------------------------------

Stream::Stream() noexcept = default;
Stream::Stream(Ref<Exchange> exchange) noexcept : exchange_(std::move(exchange)) {}
Stream::Stream(Stream&& other) noexcept : exchange_(std::move(other.exchange_)) {}
Stream& Stream::operator=(Stream&& other) noexcept {
    std::swap(exchange_, other.exchange_);
    return *this;
}
Stream::~Stream() {
    if (exchange_) exchange_->close();
}

Exchange& Stream::exchange() const {
    if (!exchange_) throw RuntimeError("this stream is empty");
    return *exchange_;
}

int Stream::status() const { return exchange().status(); }
const Headers& Stream::headers() const { return exchange().headers(); }
const std::string& Stream::url() const { return exchange().url(); }
std::optional<std::uint64_t> Stream::content_length() const { return exchange().content_length(); }

void Stream::raise_for_status() const {
    if (status() >= 400) raise_status(status(), url());
}

Coroutine<std::optional<std::string>> Stream::next_chunk() const {
    return Exchange::next_chunk(Ref<Exchange>::share(&exchange()));
}

void Stream::close() noexcept {
    if (exchange_) exchange_->close();
}

// ---- Client ------------------------------------------------------------------------------------

Client::Client(ClientOptions options) : state_(Ref<ClientState>::adopt(new ClientState(options))) {}
Client::~Client() { state_->close(); }
void Client::close() noexcept { state_->close(); }
bool Client::is_closed() const noexcept { return state_->closed(); }

Coroutine<Response> Client::request(std::string_view method, std::string_view url,
                                    RequestOptions options) {
    return send(state_, method, url, options);
}
Coroutine<Response> Client::get(std::string_view url, RequestOptions options) {
    return send(state_, "GET", url, options);
}
Coroutine<Response> Client::head(std::string_view url, RequestOptions options) {
    return send(state_, "HEAD", url, options);
}
Coroutine<Response> Client::post(std::string_view url, RequestOptions options) {
    return send(state_, "POST", url, options);
}
Coroutine<Response> Client::put(std::string_view url, RequestOptions options) {
    return send(state_, "PUT", url, options);
}
Coroutine<Stream> Client::stream(std::string_view method, std::string_view url,
                                 RequestOptions options) {
    return begin(&Exchange::open_stream, state_, method, url, options);
}

// ---- free functions ----------------------------------------------------------------------------

Coroutine<Response> request(std::string_view method, std::string_view url, RequestOptions options) {
    return send({}, method, url, options);
}
Coroutine<Response> get(std::string_view url, RequestOptions options) {
    return send({}, "GET", url, options);
}
Coroutine<Response> head(std::string_view url, RequestOptions options) {
    return send({}, "HEAD", url, options);
}
Coroutine<Response> post(std::string_view url, RequestOptions options) {
    return send({}, "POST", url, options);
}

std::string curl_version() { return curl_version_info(CURLVERSION_NOW)->version; }

}  // namespace http
}  // namespace v1
}  // namespace asyncio

// An HTTP client on libcurl, driven by the loop. An optional component of its own: the CMake target
// libasyncio::http, the pkg-config module libasyncio-http. Not part of <asyncio.hpp>.
//
// Only http and https, after redirects too. Certificates are verified, credentials stay with the
// origin they were meant for, a body has a largest size. Neither proxies nor .netrc are taken from
// the environment.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/component/waiting.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace http {

namespace detail {
class ClientState;
class Exchange;
}  // namespace detail

// ---- errors ------------------------------------------------------------------------------------

// What went wrong with a request; what() is "TEXT: URL". The text is libcurl's, where it had one.
class ASYNCIO_API Error : public OSError {
  public:
    // `url`: as it is to be shown, without credentials; "" for none.
    Error(std::errc code, const std::string& text, const std::string& url);
    const char* what() const noexcept override;
    // The text alone.
    const std::string& text() const noexcept;
    // Without credentials.
    const std::string& url() const noexcept;

  private:
    struct Parts;
    std::shared_ptr<const Parts> parts_;
};

// The URL of a request is none, or not one of http or https. Nothing was sent. Not a ValueError, as
// a class cannot be both: an Error has a code().
class ASYNCIO_API InvalidURLError : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// No connection: the name is unknown, nobody listens, no route.
class ASYNCIO_API ConnectError : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// No secure connection.
class ASYNCIO_API TLSError : public ConnectError {
  public:
    using ConnectError::ConnectError;
    const char* what() const noexcept override;
};

// The server's certificate was refused: expired, for another host, of an unknown authority.
class ASYNCIO_API CertificateError : public TLSError {
  public:
    using TLSError::TLSError;
    const char* what() const noexcept override;
};

// RequestOptions::timeout or connect_timeout is over. code() is std::errc::timed_out.
class ASYNCIO_API Timeout : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// The connection broke, the body was cut short, or what came is not HTTP, or could be understood in
// two ways.
class ASYNCIO_API ProtocolError : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// A redirect that is not followed: one too many, two places, no valid URL, neither http nor https.
class ASYNCIO_API RedirectError : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// The body is larger than RequestOptions::max_body.
class ASYNCIO_API BodyTooLargeError : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// The client or the stream was closed while the request was under way.
class ASYNCIO_API ClosedError : public Error {
  public:
    using Error::Error;
    const char* what() const noexcept override;
};

// Raised by raise_for_status(): the server answered, with a status of 400 or above.
class ASYNCIO_API StatusError : public Error {
  public:
    // `url`: without credentials.
    StatusError(int status, const std::string& url);
    const char* what() const noexcept override;
    // The response's: 404.
    int status() const noexcept { return status_; }

  private:
    int status_;
};

// ---- requests ----------------------------------------------------------------------------------

// (name, value) of a header to send.
using Header = std::pair<std::string_view, std::string_view>;

namespace detail {

// One header of a HeaderList.
struct HeaderItem {
    constexpr HeaderItem() noexcept = default;
    constexpr HeaderItem(std::string_view n, std::string_view v) noexcept
        : name(n), value(v), given(true) {}
    constexpr HeaderItem(const Header& header) noexcept : HeaderItem(header.first, header.second) {}

    std::string_view name;
    std::string_view value;
    bool given = false;
};

}  // namespace detail

// The headers of a request, in options: `{{"Accept", "text/html"}, {"X-Name", name}}`, up to 16 of
// them, or a range of `Header`s of any size, at which it looks. Trivially copyable, so it is safe
// inside `co_await`; what it refers to is copied before the call returns.
class HeaderList {
    using Item = detail::HeaderItem;

  public:
    // None.
    constexpr HeaderList() noexcept = default;
    // `{{"name", "value"}, ...}`.
    constexpr HeaderList(Item a, Item b = {}, Item c = {}, Item d = {}, Item e = {}, Item f = {},
                         Item g = {}, Item h = {}, Item i = {}, Item j = {}, Item k = {},
                         Item l = {}, Item m = {}, Item n = {}, Item o = {}, Item p = {}) noexcept
        : items_{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p} {
        while (size_ < kRoom && items_[size_].given) ++size_;
    }
    // A range that outlives the call: a vector, an array, a span.
    template <class R>
        requires std::convertible_to<const R&, std::span<const Header>>
    constexpr HeaderList(const R& range) noexcept : HeaderList(std::span<const Header>(range)) {}
    // The same.
    constexpr HeaderList(std::span<const Header> range) noexcept
        : range_(range.data()), size_(range.size()) {}
    // Headers in a row, which outlive the call.
    constexpr HeaderList(const Header* first, std::size_t count) noexcept
        : range_(first), size_(count) {}

    // How many there are, and one of them.
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr Header operator[](std::size_t i) const noexcept {
        return range_ ? range_[i] : Header(items_[i].name, items_[i].value);
    }

  private:
    static constexpr std::size_t kRoom = 16;

    Item items_[kRoom];
    const Header* range_ = nullptr;
    std::size_t size_ = 0;
};
static_assert(std::is_trivially_copyable_v<HeaderList>);

// Of RequestOptions::max_body: any size.
inline constexpr std::uint64_t UNLIMITED = ~std::uint64_t{0};

// Of one request. All is copied before the call returns.
struct RequestOptions {
    // Sent after the client's own; one with an empty value is sent empty.
    HeaderList headers = {};
    // What is sent behind the headers.
    std::string_view body = {};
    // From the beginning, redirects included, to the last byte of the body. std::nullopt: no limit.
    Delay timeout = std::chrono::minutes(5);
    // Until there is a connection, for each redirect anew: a place among the client's connections,
    // name lookup, TCP and TLS. std::nullopt: no limit.
    Delay connect_timeout = std::chrono::seconds(30);
    // How many redirects are followed; 0: none, they are responses like others.
    int max_redirects = 10;
    // Bytes, after decompression.
    std::uint64_t max_body = std::uint64_t{64} << 20;
    // HTTP/2 is asked for with https; false: HTTP/1.1 only.
    bool http2 = true;
    // The certificate and its host name. False takes any.
    bool verify = true;
    // PEM; the only authorities that are trusted. "": the system's.
    std::string_view ca_file = {};
    // HTTP basic authentication, in place of what the URL has. Not sent to another origin.
    std::string_view user = {};
    std::string_view password = {};
    // Asks for compressed bodies (gzip, deflate) and unpacks them.
    bool decompress = true;
};

// The headers of a response, in their order.
class ASYNCIO_API Headers {
  public:
    using value_type = std::pair<std::string, std::string>;

    // The value of the first header of that name, in whatever case.
    std::optional<std::string_view> get(std::string_view name) const noexcept;
    // The values of all of them.
    std::vector<std::string_view> get_all(std::string_view name) const;
    // Whether there is one of that name.
    bool contains(std::string_view name) const noexcept { return get(name).has_value(); }

    // How many there are, and each of them as (name, value).
    std::size_t size() const noexcept { return items_.size(); }
    bool empty() const noexcept { return items_.empty(); }
    auto begin() const noexcept { return items_.begin(); }
    auto end() const noexcept { return items_.end(); }

    // For the library.
    void add(std::string name, std::string value) {
        items_.emplace_back(std::move(name), std::move(value));
    }
    void clear() noexcept { items_.clear(); }
    void append_to_last(std::string_view more) {
        if (!items_.empty()) items_.back().second += more;
    }

  private:
    std::vector<value_type> items_;
};

// What came back. A status of 400 or above is a response like others: see raise_for_status().
class ASYNCIO_API Response {
  public:
    Response() = default;

    int status = 0;            // 200, 404
    Headers headers;           // of the last response, not of redirects
    std::string url;           // after redirects, without credentials
    std::string body;          // unpacked, if it was compressed
    std::string http_version;  // "1.0", "1.1" or "2"

    // The body. What its bytes mean says the header Content-Type; as a rule it is UTF-8.
    const std::string& text() const noexcept { return body; }
    // 200 to 299.
    bool ok() const noexcept { return status >= 200 && status < 300; }
    // Does nothing with a good status. Raises: StatusError if it is 400 or above.
    void raise_for_status() const;
};

// A response whose body is taken chunk by chunk. While nobody takes them the server is made to
// wait: a few hundred KiB are kept here, and what libcurl and the kernel buffer. Dropping it closes
// it. Move-only.
class ASYNCIO_API Stream {
  public:
    // An empty one.
    Stream() noexcept;
    explicit Stream(asyncio::detail::Ref<detail::Exchange> exchange) noexcept;
    Stream(Stream&& other) noexcept;
    Stream& operator=(Stream&& other) noexcept;
    ~Stream();
    explicit operator bool() const noexcept { return static_cast<bool>(exchange_); }

    // The status and headers of the response. Raises, all of these: RuntimeError if the stream is
    // empty.
    int status() const;
    const Headers& headers() const;
    // After redirects, without credentials.
    const std::string& url() const;
    // How long the body will be, bytes; empty if the server did not say or the body is compressed.
    std::optional<std::uint64_t> content_length() const;
    // Does nothing with a good status. Raises: StatusError if it is 400 or above.
    void raise_for_status() const;

    // What has come of the body, at least one byte; empty at its end.
    // Raises: Timeout; ProtocolError if the body is cut short; BodyTooLargeError; ClosedError;
    // RuntimeError if another task waits for a chunk.
    // If cancelled: nothing is lost, the next call gives the chunk.
    Coroutine<std::optional<std::string>> next_chunk() const;

    // Ends the transfer, if it is not over, and its connection with it.
    void close() noexcept;

  private:
    detail::Exchange& exchange() const;
    asyncio::detail::Ref<detail::Exchange> exchange_;
};

// Of all requests of a client.
struct ClientOptions {
    // Sent with each request, unless it has a header of the same name.
    HeaderList headers = {};
    // Connections at once; more requests wait, which counts for their connect_timeout. 0: no limit.
    int max_connections = 0;
    int max_connections_per_host = 0;
    // How many connections are kept open for the next request.
    int max_idle_connections = 32;
};

// Requests that share connections. Bound to the loop of its first request; not thread-safe.
// Requests under way keep nothing but their own: when the client is closed they end with
// ClosedError.
class ASYNCIO_API Client {
  public:
    // Connects when there is a request. Raises: ValueError for a bad header or a negative number.
    explicit Client(ClientOptions options = {});
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    // Closes it.
    ~Client();

    // Sends a request and takes the whole response. `method`: "GET", "PUT", ...; `url`: absolute,
    // http or https, with or without credentials.
    // Raises, when awaited: ValueError for a bad method, header or option; RuntimeError if the
    // client is closed or belongs to another loop; Error for all else, InvalidURLError for the URL.
    // If cancelled: the transfer is ended at once, and its connection closed if it has begun.
    Coroutine<Response> request(std::string_view method, std::string_view url,
                                RequestOptions options = {});
    Coroutine<Response> get(std::string_view url, RequestOptions options = {});
    Coroutine<Response> head(std::string_view url, RequestOptions options = {});
    Coroutine<Response> post(std::string_view url, RequestOptions options = {});
    Coroutine<Response> put(std::string_view url, RequestOptions options = {});

    // The same, but gives the response as soon as its headers are there.
    // If cancelled: as request().
    Coroutine<Stream> stream(std::string_view method, std::string_view url,
                             RequestOptions options = {});

    // Ends what is under way with ClosedError and closes the connections. May be called again.
    void close() noexcept;
    // True once close() was called.
    bool is_closed() const noexcept;

  private:
    asyncio::detail::Ref<detail::ClientState> state_;
};

// By a client that the running loop has for this; it keeps connections for a minute after the last
// request. See Client::request.
// If cancelled: as Client::request.
ASYNCIO_API Coroutine<Response> request(std::string_view method, std::string_view url,
                                        RequestOptions options = {});
ASYNCIO_API Coroutine<Response> get(std::string_view url, RequestOptions options = {});
ASYNCIO_API Coroutine<Response> head(std::string_view url, RequestOptions options = {});
ASYNCIO_API Coroutine<Response> post(std::string_view url, RequestOptions options = {});

// The version of libcurl at run time, "7.88.1".
ASYNCIO_API std::string curl_version();

}  // namespace http
}  // namespace v1
}  // namespace asyncio

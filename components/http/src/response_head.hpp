// The lines before a body: read strictly, since libcurl reads them as well and is lenient. What the
// two could understand differently (where the headers end, how long the body is) is refused, so
// that they never disagree (RFC 9112, 2.2, 5 and 6.3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "asyncio/http.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

class ResponseHead {
  public:
    // `has_body`: not for HEAD.
    explicit ResponseHead(bool has_body = true) noexcept : has_body_(has_body) {}

    // `line`: with its end. Raises: Malformed.
    void take(std::string_view line);
    // The headers of the response itself are all there; interim ones are dropped.
    bool whole() const noexcept { return place_ == Place::kWhole; }

    int status() const noexcept { return status_; }
    const Headers& headers() const noexcept { return headers_; }
    Headers& headers() noexcept { return headers_; }
    // A body follows, be it an empty one.
    bool has_body() const noexcept { return has_body_; }
    bool chunked() const noexcept { return chunked_; }
    // There is a body, and only the end of the connection ends it.
    bool ends_with_connection() const noexcept {
        return has_body_ && !chunked_ && !length_ && version_.starts_with("HTTP/1");
    }
    // Content-Length.
    std::optional<std::uint64_t> length() const noexcept { return length_; }

  private:
    // What the next line is.
    enum class Place : std::uint8_t { kStatusLine, kField, kWhole };

    void take_status(std::string_view line);
    void take_folded(std::string_view line);
    void take_field(std::string_view line);
    void take_length(std::string_view value);
    void take_end();
    void check_coding() const;

    Place place_ = Place::kStatusLine;
    bool has_body_;
    bool chunked_ = false;         // there is a Transfer-Encoding
    bool interim_length_ = false;  // an interim response had a Content-Length
    int status_ = 0;
    std::size_t bytes_ = 0;
    std::string_view version_;
    std::optional<std::uint64_t> length_;
    Headers headers_;
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

// The response of an exchange: headers and body as libcurl hands them over, and as a task takes
// them.
#include <string>
#include <utility>

#include "errors.hpp"
#include "exchange.hpp"
#include "malformed.hpp"
#include "tls.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// What is kept of a stream while nobody takes it: as much as libcurl hands over in many pieces.
constexpr std::size_t kHighWater = std::size_t{256} << 10;
// The body of a redirect is read, so that its connection can be used again, if it is small.
constexpr std::size_t kMostDiscarded = std::size_t{64} << 10;

}  // namespace

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

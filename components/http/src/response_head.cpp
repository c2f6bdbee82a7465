#include "response_head.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "malformed.hpp"
#include "text.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// All header lines of a response together, those of interim responses too.
constexpr std::size_t kMostHeaders = std::size_t{256} << 10;
// What libcurl can count.
constexpr std::uint64_t kMostLength = INT64_MAX;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::string_view version_of(std::string_view status_line) noexcept {
    for (const std::string_view known : {"HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/2.0"}) {
        if (status_line.substr(0, status_line.find(' ')) == known) return known;
    }
    return {};
}

}  // namespace

void ResponseHead::take(std::string_view line) {
    bytes_ += line.size();
    if (bytes_ > kMostHeaders) {
        throw Malformed("the response has too many headers: more than " +
                        std::to_string(kMostHeaders) + " bytes");
    }
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find('\r') != std::string_view::npos) {
        throw Malformed("a carriage return in the header line " + shown(line));
    }
    if (line.find('\0') != std::string_view::npos) {
        throw Malformed("a null character in the header line " + shown(line));
    }
    switch (place_) {
        case Place::kStatusLine:
            return take_status(line);
        case Place::kField:
            if (line.empty()) return take_end();
            if (line.front() == ' ' || line.front() == '\t') return take_folded(line);
            return take_field(line);
        case Place::kWhole:
            break;  // Trailers come after the body, and are not asked for.
    }
}

void ResponseHead::take_status(std::string_view line) {
    version_ = version_of(line);
    const std::string_view rest = trimmed(line.substr(version_.size()));
    const std::string_view digits = rest.substr(0, 3);
    const bool ends = rest.size() == 3 || (rest.size() > 3 && rest[3] == ' ');
    if (version_.empty() || !ends || !std::all_of(digits.begin(), digits.end(), is_digit) ||
        digits.front() == '0') {
        throw Malformed("the response begins with " + shown(line) + ", which is no status line");
    }
    status_ = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
    place_ = Place::kField;
}

// A line that begins with a blank goes on with the one before (RFC 9112, 5.2).
void ResponseHead::take_folded(std::string_view line) {
    if (headers_.empty()) throw Malformed("the first header line begins with a blank");
    const std::string& name = std::prev(headers_.end())->first;
    if (same_name(name, "Content-Length") || same_name(name, "Transfer-Encoding")) {
        throw Malformed("header '" + name + "' goes over more than one line");
    }
    const std::string_view text = trimmed(line);
    if (text.empty()) return;
    const bool first = std::prev(headers_.end())->second.empty();
    headers_.append_to_last((first ? "" : " ") + std::string(text));
}

void ResponseHead::take_field(std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) {
        throw Malformed("the header line " + shown(line) + " has no colon");
    }
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_token(name)) throw Malformed("invalid header name " + shown(name));
    if (same_name(name, "Content-Length")) take_length(value);
    if (same_name(name, "Transfer-Encoding")) chunked_ = true;
    headers_.add(std::string(name), std::string(value));
}

// A list is allowed, if all its members are equal (RFC 9112, 6.3).
void ResponseHead::take_length(std::string_view value) {
    for (const std::string_view member : split_list(value)) {
        std::uint64_t length = 0;
        const char* const end = member.data() + member.size();
        const auto parsed = std::from_chars(member.data(), end, length);
        const bool too_large = parsed.ec == std::errc::result_out_of_range || length > kMostLength;
        // from_chars takes neither signs nor blanks.
        if (parsed.ptr != end || (parsed.ec != std::errc() && !too_large)) {
            throw Malformed("invalid Content-Length " + shown(value));
        }
        if (too_large) throw Malformed("Content-Length " + shown(value) + " is too large");
        if (length_ && *length_ != length) {
            throw Malformed("two Content-Lengths, " + std::to_string(*length_) + " and " +
                            std::to_string(length));
        }
        length_ = length;
    }
}

void ResponseHead::take_end() {
    if (status_ >= 200) {
        if (status_ == 204 || status_ == 304) has_body_ = false;
        if (has_body_) check_coding();
        place_ = Place::kWhole;
        return;
    }
    // "Go on": the response is still to come.
    if (status_ == 101) throw Malformed("the server changed the protocol, unasked");
    if (chunked_) throw Malformed("an interim response has a Transfer-Encoding");
    interim_length_ = interim_length_ || length_;
    length_.reset();
    headers_.clear();
    place_ = Place::kStatusLine;
}

// Nothing but "chunked" is understood, and nothing else was asked for.
void ResponseHead::check_coding() const {
    if (!chunked_) {
        // Which libcurl might still remember.
        if (interim_length_ && !length_) {
            throw Malformed("an interim response has a Content-Length, and this one none");
        }
        return;
    }
    const std::vector<std::string_view> codings = headers_.get_all("Transfer-Encoding");
    if (codings.size() != 1 || !same_name(codings.front(), "chunked")) {
        throw Malformed("invalid Transfer-Encoding " + shown(codings.back()));
    }
    if (length_) throw Malformed("both Transfer-Encoding and Content-Length");
    if (version_ != "HTTP/1.1") {
        throw Malformed("Transfer-Encoding in a response of " + std::string(version_));
    }
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

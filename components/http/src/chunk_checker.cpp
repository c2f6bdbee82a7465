#include "chunk_checker.hpp"

#include <algorithm>

#include "malformed.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// Of one size with its extensions.
constexpr std::size_t kMostSizeLine = std::size_t{16} << 10;
constexpr std::size_t kMostTrailers = std::size_t{64} << 10;
constexpr std::size_t kMostTrailer = 4000;  // libcurl has 4 KiB for each

// -1: none.
int digit_of(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool is_control(char c) noexcept {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
}

}  // namespace

void ChunkChecker::take(std::string_view bytes) {
    while (!bytes.empty() && place_ != Place::kOver) {
        if (place_ == Place::kData) {
            const auto count =
                static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
            bytes.remove_prefix(count);
            left_ -= count;
            if (left_ == 0) place_ = Place::kDataReturn;
            continue;
        }
        take_one(bytes.front());
        bytes.remove_prefix(1);
    }
}

void ChunkChecker::take_one(char c) {
    switch (place_) {
        case Place::kFirstDigit:
        case Place::kDigit:
            return take_digit(c);
        case Place::kBlank:
        case Place::kExtension:
        case Place::kSizeEnd:
            return take_size_line(c);
        case Place::kDataReturn:
        case Place::kDataEnd:
            // Strictly CR LF, as for the size: a LF alone could be a byte of the chunk.
            if (c != (place_ == Place::kDataReturn ? '\r' : '\n')) {
                throw Malformed("a chunk of the body is longer than its size");
            }
            place_ = place_ == Place::kDataReturn ? Place::kDataEnd : Place::kFirstDigit;
            return;
        case Place::kTrailer:
        case Place::kTrailerLine:
        case Place::kTrailerEnd:
            ++left_;
            if (++line_ > kMostTrailers || left_ > kMostTrailer) {
                throw Malformed("the trailers of the body are too long");
            }
            if (c == '\n') {
                left_ = 0;
                place_ = place_ == Place::kTrailerLine ? Place::kTrailer : Place::kOver;
            } else if (place_ == Place::kTrailerEnd) {
                throw Malformed("a carriage return in the trailers of the body");
            } else {
                place_ = place_ == Place::kTrailer && c == '\r' ? Place::kTrailerEnd
                                                                : Place::kTrailerLine;
            }
            return;
        case Place::kData:
        case Place::kOver:
            break;
    }
}

void ChunkChecker::take_digit(char c) {
    const int digit = digit_of(c);
    if (digit < 0) {
        if (place_ == Place::kFirstDigit) throw Malformed("a chunk of the body has no size");
        place_ = Place::kBlank;
        return take_size_line(c);
    }
    if (place_ == Place::kFirstDigit) left_ = line_ = 0;
    if (left_ > (INT64_MAX >> 4)) throw Malformed("a chunk of the body is too large");
    left_ = left_ << 4 | static_cast<std::uint64_t>(digit);
    place_ = Place::kDigit;
    if (++line_ > kMostSizeLine) throw Malformed("the size of a chunk has too many digits");
}

// What may follow the digits: blanks, then extensions, then the end of the line.
void ChunkChecker::take_size_line(char c) {
    if (place_ == Place::kSizeEnd) {
        if (c != '\n') throw Malformed("a carriage return in the size of a chunk");
        place_ = left_ == 0 ? Place::kTrailer : Place::kData;
        if (left_ == 0) line_ = 0;
        return;
    }
    if (++line_ > kMostSizeLine) throw Malformed("the extensions of a chunk are too long");
    if (c == '\r') {
        place_ = Place::kSizeEnd;
    } else if (place_ == Place::kBlank && c == ';') {
        place_ = Place::kExtension;
    } else if (place_ == Place::kBlank ? c != ' ' && c != '\t' : is_control(c)) {
        throw Malformed("the size of a chunk is no hexadecimal number");
    }
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

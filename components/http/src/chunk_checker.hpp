// Reads the sizes of a chunked body along with libcurl, which takes what follows the digits for an
// extension, whatever it is, and leaves its length without limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace asyncio {
inline namespace v1 {
namespace http::detail {

class ChunkChecker {
  public:
    // `bytes`: the next ones of the body, as they came. Raises: Malformed.
    void take(std::string_view bytes);

  private:
    // What the next byte is.
    enum class Place : std::uint8_t {
        kFirstDigit,
        kDigit,
        kBlank,       // after the digits
        kExtension,   // after a semicolon
        kSizeEnd,     // LF
        kData,        // left_ more of them
        kDataReturn,  // CR
        kDataEnd,     // LF
        kTrailer,     // the beginning of a line
        kTrailerLine,
        kTrailerEnd,  // LF
        kOver,
    };

    void take_one(char c);
    void take_digit(char c);
    void take_size_line(char c);

    Place place_ = Place::kFirstDigit;
    std::uint64_t left_ = 0;  // bytes of the chunk; then, those of a trailer that have come
    std::size_t line_ = 0;    // bytes of this size line, or of all trailers
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

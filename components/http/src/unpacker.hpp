// Unpacks a body that has a Content-Encoding. Not left to libcurl, which does not ask whether the
// end of the packed data has come: a body cut short would look whole.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace asyncio {
inline namespace v1 {
namespace http::detail {

// For Accept-Encoding.
inline constexpr const char* kAcceptEncoding = "gzip, deflate";

// Gives what it is asked for and no more: a few KB of input may be many MB of output.
class Unpacker {
  public:
    // `codings`: values of Content-Encoding. Raises: Malformed for those that are not known, and
    // for too many.
    explicit Unpacker(const std::vector<std::string_view>& codings);

    // None of them changes the body.
    bool plain() const noexcept { return stages_.empty(); }

    // Packed bytes; copied.
    void put(std::string_view packed);
    // Writes up to `size` unpacked bytes to `to`. Returns how many: 0 if all that was put is used.
    // Raises: Malformed; std::bad_alloc.
    std::size_t take(char* to, std::size_t size);
    // No more is put, and take() has returned 0. Raises: Malformed if the end is missing.
    void end() const;

  private:
    enum class Coding : std::uint8_t { kGzip, kDeflate };

    // One coding. Refers to itself from inside zlib: does not move.
    class Stage {
      public:
        explicit Stage(Coding coding) noexcept : coding_(coding) {}
        Stage(const Stage&) = delete;
        Stage& operator=(const Stage&) = delete;
        ~Stage();

        void put(std::string_view packed);
        bool empty() const noexcept { return used_ == input_.size(); }
        std::size_t take(char* to, std::size_t size);
        // The packed data end here.
        bool at_end() const noexcept { return begun_ && ended_ && empty(); }

      private:
        void begin();

        z_stream z_{};
        Coding coding_;
        bool begun_ = false;
        bool ended_ = false;
        std::string input_;
        std::size_t used_ = 0;  // bytes of input_
    };

    std::size_t take_from(std::size_t stage, char* to, std::size_t size);

    std::vector<std::unique_ptr<Stage>> stages_;  // the outermost coding first
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

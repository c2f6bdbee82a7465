// What the file functions take as a path.
#pragma once

#include <concepts>
#include <string_view>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/refused.hpp"

namespace asyncio {
inline namespace v1 {

// A path that a call looks at: text, or a std::filesystem::path, or whatever else has its text in
// native(). Trivially copyable; the functions that take one copy it before they return.
class PathView {
  public:
    constexpr PathView() noexcept = default;
    // Text: a std::string, a std::string_view, characters that end with a NUL.
    template <std::convertible_to<std::string_view> T>
    constexpr PathView(const T& text) : text_(text) {}
    // A std::filesystem::path.
    template <class P>
        requires requires(const P& path) {
            { path.native() } -> std::convertible_to<std::string_view>;
        }
    PathView(const P& path) : text_(path.native()) {}
    // Whatever else is given is refused by a sentence.
    template <class T>
        requires(!std::convertible_to<T, std::string_view> &&
                 !requires(const T& path) { path.native(); })
    PathView(const T&) {
        static_assert(detail::kRight<T>, "a path is text, or a std::filesystem::path");
    }

    constexpr std::string_view text() const noexcept { return text_; }
    constexpr bool empty() const noexcept { return text_.empty(); }

  private:
    std::string_view text_;
};

}  // namespace v1
}  // namespace asyncio

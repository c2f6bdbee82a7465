// The bytes that a stream has received and nobody has read.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/take.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Bytes that came and were not read yet. One pointer, and no memory while it is empty.
class ByteQueue {
  public:
    ByteQueue() noexcept = default;
    ByteQueue(const ByteQueue&) = delete;
    ByteQueue& operator=(const ByteQueue&) = delete;
    ~ByteQueue() { clear(); }

    std::size_t size() const noexcept { return held_ ? held_->bytes.size() - held_->start : 0; }
    bool empty() const noexcept { return held_ == nullptr; }
    std::string_view view() const noexcept {
        return held_ ? std::string_view(held_->bytes).substr(held_->start) : std::string_view();
    }

    void append(std::string_view data);
    // Puts bytes back to where they were taken from.
    void prepend(std::string&& data);
    void prepend(const char* data, std::size_t n);
    // Takes the first `n` out; there must be as many. All of them are moved, not copied.
    std::string take(std::size_t n);
    void drop(std::size_t n) noexcept;
    void swap(ByteQueue& other) noexcept { std::swap(held_, other.held_); }
    void clear() noexcept { delete detail::take(held_); }

  private:
    struct Held : Pooled {
        std::string bytes;
        std::size_t start = 0;  // those before it were read
    };
    Held* held_ = nullptr;  // null, or some bytes are unread
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

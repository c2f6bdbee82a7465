// Bytes that wait to be sent: one block, which grows as it must and is freed when it is empty, so
// that an idle connection has one pointer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace asyncio {
inline namespace v1 {
namespace detail {

class WriteBuffer {
  public:
    WriteBuffer() noexcept = default;
    WriteBuffer(const WriteBuffer&) = delete;
    WriteBuffer& operator=(const WriteBuffer&) = delete;
    ~WriteBuffer() { clear(); }

    bool empty() const noexcept { return size() == 0; }
    std::size_t size() const noexcept { return block_ ? block_->end - block_->begin : 0; }
    std::string_view view() const noexcept {
        if (!block_) return {};
        return {block_->bytes() + block_->begin, size()};
    }

    // Room for `n` more bytes. Raises: std::bad_alloc, and then nothing has changed.
    void reserve(std::size_t n) {
        if (!block_ || n > block_->capacity - block_->end) make_room(n);
    }
    // `data` may not be part of the buffer. Raises: std::bad_alloc, and then nothing has changed.
    void append(std::string_view data) {
        if (data.empty()) return;
        reserve(data.size());
        std::memcpy(block_->bytes() + block_->end, data.data(), data.size());
        block_->end += data.size();
    }
    // The first `n` bytes were sent.
    void consume(std::size_t n) noexcept {
        if (!block_) return;
        block_->begin += n;
        if (block_->begin == block_->end) clear();
    }
    void clear() noexcept { ::operator delete(std::exchange(block_, nullptr)); }

  private:
    static constexpr std::size_t kLeast = 4096;

    // The bytes follow it.
    struct Block {
        std::size_t begin;
        std::size_t end;
        std::size_t capacity;
        // Safe because the block was allocated with `capacity` chars after it.
        char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
    };

    // Moves what is left to the front where that frees at least half of the block, so that each
    // byte is moved a bounded number of times; else doubles it.
    void make_room(std::size_t more) {
        const std::size_t left = size();
        const std::size_t before = block_ ? block_->capacity : 0;
        if (block_ && left + more <= before && block_->begin >= before / 2) {
            std::memmove(block_->bytes(), block_->bytes() + block_->begin, left);
            block_->begin = 0;
            block_->end = left;
            return;
        }
        const std::size_t capacity = std::max({left + more, before * 2, kLeast});
        Block* const made =
            ::new (::operator new(sizeof(Block) + capacity)) Block{0, left, capacity};
        if (block_ && left > 0) std::memcpy(made->bytes(), block_->bytes() + block_->begin, left);
        ::operator delete(std::exchange(block_, made));
    }

    Block* block_ = nullptr;  // null when nothing is unsent
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

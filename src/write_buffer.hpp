// Bytes that wait to be sent: one block, which grows as it must and is freed when it is empty, so
// that an idle connection has none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace asyncio::inline v1::detail {

class WriteBuffer {
  public:
    WriteBuffer() noexcept = default;
    WriteBuffer(const WriteBuffer&) = delete;
    WriteBuffer& operator=(const WriteBuffer&) = delete;

    bool empty() const noexcept { return begin_ == end_; }
    std::size_t size() const noexcept { return end_ - begin_; }
    std::string_view view() const noexcept { return {block_.get() + begin_, size()}; }

    // The next `n` bytes to be appended will find room. Raises: as append().
    void reserve(std::size_t n) {
        if (n > capacity_ - end_) make_room(n);
    }
    // `data` may not be part of the buffer. Raises: std::bad_alloc, and then nothing has changed.
    void append(std::string_view data) {
        reserve(data.size());
        std::memcpy(block_.get() + end_, data.data(), data.size());
        end_ += data.size();
    }
    // The first `n` bytes were sent.
    void consume(std::size_t n) noexcept {
        begin_ += n;
        if (empty()) clear();
    }
    void clear() noexcept {
        block_.reset();
        begin_ = end_ = capacity_ = 0;
    }

  private:
    static constexpr std::size_t kLeast = 4096;

    // Moves what is left to the front where that frees at least half of the block, so that each
    // byte is moved a bounded number of times; else doubles it.
    void make_room(std::size_t more) {
        const std::size_t needed = size() + more;
        if (needed <= capacity_ && begin_ >= capacity_ / 2) {
            std::memmove(block_.get(), block_.get() + begin_, size());
        } else {
            const std::size_t capacity = std::max({needed, capacity_ * 2, kLeast});
            std::unique_ptr<char[]> block(new char[capacity]);
            if (!empty()) std::memcpy(block.get(), block_.get() + begin_, size());
            block_ = std::move(block);
            capacity_ = capacity;
        }
        end_ -= begin_;
        begin_ = 0;
    }

    std::unique_ptr<char[]> block_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace asyncio::inline v1::detail

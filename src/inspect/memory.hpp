// The memory of another process, or of one that left a core file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "asyncio/detail/config.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

using Address = std::uint64_t;

// What the tool tells instead of a result.
class ASYNCIO_API Failure : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// A copy of memory, made page by page as it is asked for. Nothing that is read is trusted: each
// address may be wrong, and each number too large.
class ASYNCIO_API Memory {
  public:
    virtual ~Memory() = default;

    // Copies `size` bytes from `address`. False: some of them cannot be read.
    bool read(Address address, void* to, std::size_t size);
    // An object at `address`; none if it cannot be read.
    template <class T>
    std::optional<T> get(Address address) {
        T value;
        if (!read(address, &value, sizeof value)) return std::nullopt;
        return value;
    }
    // A text that ends with a zero, of `most` bytes at most; empty if it cannot be read.
    std::string text(Address address, std::size_t most = 4096);
    // Writes 64 bits, in one piece. False: not there, or not allowed.
    virtual bool write(Address /*address*/, std::uint64_t /*value*/) { return false; }
    // Forgets the copies, so that what changes meanwhile is read anew.
    void forget();

  protected:
    static constexpr std::size_t kPage = 4096;
    static constexpr std::size_t kPages = 16;  // in one copy

    // Copies pages from `address` on into `to`, and returns the bits of those that could be.
    virtual std::uint32_t fetch(Address address, char* to) = 0;

  private:
    struct Chunk {
        std::uint32_t pages = 0;
        char bytes[kPage * kPages];
    };
    // As much as is copied at most: a process that lies must not fill the machine.
    static constexpr std::size_t kMostChunks = std::size_t{1} << 17;  // 8 GiB

    const Chunk* chunk(Address number);

    std::unordered_map<Address, std::unique_ptr<Chunk>> chunks_;
    Address last_number_ = ~Address{0};
    const Chunk* last_ = nullptr;
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "inspect/memory.hpp"

#include <algorithm>
#include <cstring>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

const Memory::Chunk* Memory::chunk(Address number) {
    if (number == last_number_) return last_;
    std::unique_ptr<Chunk>& place = chunks_[number];
    if (!place) {
        if (chunks_.size() > kMostChunks)
            throw Failure("the process says that it has more than 8 GiB of tasks");
        place = std::make_unique_for_overwrite<Chunk>();
        place->pages = fetch(number * kPage * kPages, place->bytes);
    }
    last_number_ = number;
    return last_ = place.get();
}

bool Memory::read(Address address, void* to, std::size_t size) {
    auto* out = static_cast<char*>(to);
    while (size > 0) {
        const Chunk& from = *chunk(address / (kPage * kPages));
        const std::size_t at = address % (kPage * kPages);
        const std::size_t n = std::min(size, kPage - at % kPage);
        if ((from.pages >> at / kPage & 1) == 0) return false;
        std::memcpy(out, from.bytes + at, n);
        out += n;
        size -= n;
        if (address + n < address) return size == 0;  // the end of all addresses
        address += n;
    }
    return true;
}

std::string Memory::text(Address address, std::size_t most) {
    std::string found;
    char part[64];
    while (found.size() < most) {
        // Never over the end of a page, beyond which there may be nothing.
        const std::size_t n = std::min({sizeof part, most - found.size(), kPage - address % kPage});
        if (!read(address, part, n)) return {};
        const void* const zero = std::memchr(part, 0, n);
        if (zero) return found + part;
        found.append(part, n);
        address += n;
    }
    return found + "...";
}

void Memory::forget() {
    chunks_.clear();
    last_number_ = ~Address{0};
    last_ = nullptr;
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

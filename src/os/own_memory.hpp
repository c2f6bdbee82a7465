// This process's memory, where an address may be wrong.
#pragma once

#include <cstddef>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Reads it by process_vm_readv(2) of this process itself, which asks for no permission; where the
// system or a filter refuses that call, through /proc/self/mem, which is open while this lives.
class OwnMemoryReader {
  public:
    OwnMemoryReader() = default;
    OwnMemoryReader(const OwnMemoryReader&) = delete;
    OwnMemoryReader& operator=(const OwnMemoryReader&) = delete;
    ~OwnMemoryReader();

    // Copies up to `size` bytes from `from`, and returns how many: fewer where what follows is not
    // there.
    std::size_t read(const void* from, void* to, std::size_t size) noexcept;
    // Where the first call is refused: for a test.
    void refuse_call() noexcept { refused_ = true; }

  private:
    std::size_t read_file(const void* from, void* to, std::size_t size) noexcept;

    bool refused_ = false;
    int file_ = -1;
};

// Writes all of it to standard error, in the middle of anything.
void write_to_standard_error(const char* text, std::size_t size) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

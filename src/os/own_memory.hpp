// This process's memory, where an address may be wrong.
#pragma once

#include <cstddef>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Copies up to `size` bytes from `from`, and returns how many: fewer where what follows is not
// there. process_vm_readv(2) of this process itself, which asks for no permission.
std::size_t read_own_memory(const void* from, void* to, std::size_t size) noexcept;

// Writes all of it to standard error, in the middle of anything.
void write_to_standard_error(const char* text, std::size_t size) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

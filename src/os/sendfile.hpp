// The system's part of sending a file over a socket: sendfile(2), and reading where that cannot be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace asyncio {
inline namespace v1 {
namespace detail {

// Sends up to `size` bytes of `file` from `position` on. Bytes, or an errno as a negative number;
// raises no SIGPIPE.
std::int64_t send_file(int socket, int file, std::int64_t position, std::size_t size) noexcept;
// Whether an errno means that this file cannot be sent like this, rather than that sending failed.
bool means_unavailable(int error) noexcept;
bool is_regular_file(int file) noexcept;
// Reads up to `size` bytes at `position`, or on from where a pipe is. Blocks. "": the end.
// Raises: OSError.
std::string read_block(int file, std::int64_t position, std::size_t size);
// Nothing happens where the file has no position.
void set_position(int file, std::int64_t position) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

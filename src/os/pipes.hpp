// What the loop asks of pipes, and of what is used like one: FIFOs, terminals, files.
#pragma once

#include <string_view>

namespace asyncio {
inline namespace v1 {
namespace detail {

enum class FileKind : unsigned char { kPipe, kSocket, kDevice, kRegular, kOther };
// fstat(2); kDevice: a character device. Raises: OSError.
FileKind kind_of(int fd);

// Whether the other end of a pipe or of a socket is closed: POLLRDHUP of poll(2), which tells that
// of a socket that sends on.
bool peer_is_gone(int fd) noexcept;

// write(2) that raises no SIGPIPE where nobody reads, but fails with EPIPE. Returns a count or -1
// and errno.
long write_quietly(int fd, std::string_view data) noexcept;
// What write_quietly does on kernels before Linux 6.18: the signal is blocked meanwhile and, if the
// write has raised it, taken away.
long write_with_signal_blocked(int fd, std::string_view data) noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

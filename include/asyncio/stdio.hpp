// The program's own standard streams, to be read and written with co_await.
#pragma once

#include <cstddef>

#include "asyncio/coroutines.hpp"
#include "asyncio/streams.hpp"

namespace asyncio {
inline namespace v1 {

// How stdio_streams() opens them.
struct StdioOptions {
    std::size_t limit = DEFAULT_STREAM_LIMIT;  // of the reader, bytes
};

// What stdio_streams() gives.
struct StdioStreams {
    StreamReader stdin_;   // standard input
    StreamWriter stdout_;  // standard output
    StreamWriter stderr_;  // standard error
};

namespace detail {

ASYNCIO_API Coroutine<StdioStreams> open_stdio(std::size_t limit);

}  // namespace detail

// Standard input, output and error as streams of the running loop, whatever they are: a terminal, a
// pipe, a socket, /dev/null, a regular file (which is read and written at once, as it never makes a
// reader wait). They are opened once more where that can be, so that closing these streams, or
// their being non-blocking, changes nothing for others who use descriptors 0, 1 and 2: std::cout,
// the programs that share the terminal. Where it cannot be (a terminal of another user) they block
// again once the streams are closed. `co_await stdout_.drain()` before the program ends:
// what is still buffered when the loop closes is lost.
// Raises: OSError; on virtual time NotImplementedError.
// If cancelled: what was opened is closed.
ASYNCIO_CORO_WRAPPER [[nodiscard("co_await it")]] inline Coroutine<StdioStreams> stdio_streams(
    StdioOptions options = {}) {
    return detail::open_stdio(options.limit);
}

}  // namespace v1
}  // namespace asyncio

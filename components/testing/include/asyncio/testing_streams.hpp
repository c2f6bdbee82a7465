// Streams without sockets, for tests of code that reads and writes them: on any loop, in memory.
// docs/testing.md
#pragma once

#include <cstddef>
#include <utility>

#include "asyncio/streams.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// How memory_streams() are connected.
struct MemoryStreamOptions {
    Delay latency = Duration(0);     // until what is written arrives, in either direction
    std::size_t window = 64 * 1024;  // bytes on their way before drain() may have to wait
    // Nothing arrives before the other side waits for it, and drain() waits for that: what two
    // sides do to one another happens in one order.
    bool lockstep = false;
    std::size_t limit = 64 * 1024;  // of the readers: see StreamReader
};

// Two ends of one connection, each a reader and a writer: what is written to one is read from the
// other. They belong to the running loop, and go with it. close(), write_eof(), drain(),
// wait_closed() and the reader's limit do what they do over TCP; what is written to an end that is
// closed ends this one with ConnectionResetError. start_tls() is not to be had.
//
//     auto [client, server] = testing::memory_streams();
//     client.second.write("hello\n");
//     co_await server.first.readline();
//
// Raises: RuntimeError outside of a loop; ValueError if the latency is negative, or the limit 0.
ASYNCIO_API std::pair<StreamPair, StreamPair> memory_streams(
    const MemoryStreamOptions& options = {});

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// What the waits of streams stand on: which connection. See tasks/debug_block.hpp.
#include <cstddef>

#include "asyncio/detail/stream.hpp"
#include "tasks/debug_block.hpp"

#define AT ASYNCIO_DEBUG_OFFSET

namespace asyncio {
inline namespace v1 {
namespace detail {

struct OfStreams;
template <>
struct DebugLayout<OfStreams> {
    static constexpr auto kNone = kDebugNone;
    // The waiter of a read stands in it, behind the pointer to the stream.
    using Slot = WaitSlot<StreamReadWaiter>;
    static constexpr auto kOfRead = static_cast<std::int16_t>(
        AT(StreamRead, stream_) - AT(StreamRead, slot_) - AT(Slot, wait_));
    static constexpr auto kOfWait = static_cast<std::int16_t>(AT(StreamWaiter, stream));

    static constexpr auto kStream = AT(Stream, transport_);
    static constexpr auto kFd = AT(TransportBase, shown_descriptor_);

    static constexpr DebugWait kRead{
        "StreamReader.read", kNone, kNone,   kNone,   kNone, kNone, kNone,
        kDebugOutside,       0,     kOfRead, kStream, kFd};
    static constexpr DebugWait kDrain{
        "StreamWriter.drain", kNone, kNone,   kNone,   kNone, kNone, kNone,
        kDebugOutside,        0,     kOfWait, kStream, kFd};
    static constexpr DebugWait kClosed{"StreamWriter.wait_closed",
                                       kNone,
                                       kNone,
                                       kNone,
                                       kNone,
                                       kNone,
                                       kNone,
                                       kDebugOutside,
                                       0,
                                       kOfWait,
                                       kStream,
                                       kFd};
};

constinit const DebugWait DebugWaits::stream_read = DebugLayout<OfStreams>::kRead;
constinit const DebugWait DebugWaits::stream_drain = DebugLayout<OfStreams>::kDrain;
constinit const DebugWait DebugWaits::stream_closed = DebugLayout<OfStreams>::kClosed;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// The write buffer's limits, and who is told when they are crossed. TR-10. Shared by the socket,
// TLS and pipe transports.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class FlowControl {
  public:
    static constexpr std::size_t kHigh = std::size_t{64} * 1024;  // the default, bytes

    constexpr FlowControl() noexcept = default;
    constexpr FlowControl(std::size_t high, std::size_t low) noexcept
        : high_(high & (~std::size_t{0} >> 1)), low_(low) {}

    // (low, high)
    std::pair<std::size_t, std::size_t> limits() const noexcept { return {low_, high_}; }
    // `default_high`: if neither is given. The caller looks at the buffer again afterwards, by
    // grown(). Raises: ValueError "high (H) must be >= low (L) must be >= 0".
    void set_limits(WriteBufferLimits limits, std::size_t default_high = kHigh);

    // Whether the protocol has been told to pause, and not yet to go on.
    bool paused() const noexcept { return paused_; }

    // The buffer holds `size` bytes after a write. Calls protocol.pause_writing() if that crosses
    // the high mark. What it throws goes to the exception handler; the connection stays.
    // Raises: KeyboardInterrupt, SystemExit of the protocol.
    void grown(std::size_t size, TransportBase& transport, BaseProtocol* protocol) {
        if (size > high_ && !paused_) [[unlikely]]
            pause(transport, protocol);
    }
    // The buffer holds `size` bytes after some were sent. The same with resume_writing().
    void shrunk(std::size_t size, TransportBase& transport, BaseProtocol* protocol) {
        if (paused_ && size <= low_) [[unlikely]]
            resume(transport, protocol);
    }
    void pause(TransportBase& transport, BaseProtocol* protocol);
    void resume(TransportBase& transport, BaseProtocol* protocol);

  private:
    std::size_t paused_ : 1 = 0;
    std::size_t high_ : 63 = kHigh;
    std::size_t low_ = kHigh / 4;
};

// For set_protocol(): a method of the protocol that was there before may be what calls it, so that
// it goes when the loop comes round again. Made before anything changes. Raises: std::bad_alloc.
class LateDrop {
  public:
    explicit LateDrop(LoopCore& core);
    LateDrop(const LateDrop&) = delete;
    LateDrop& operator=(const LateDrop&) = delete;
    ~LateDrop();
    void take(std::shared_ptr<BaseProtocol> protocol) noexcept;

  private:
    LoopCore& core_;
    Node* node_;  // null: its loop is closed, or it has taken one
};

// Tells the loop's exception handler of an error at `transport`. To be called in a catch block with
// std::current_exception(), say. Raises: `error` if that leaves the loop (S-60).
void report_transport_error(TransportBase& transport, const char* message,
                            std::exception_ptr error);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

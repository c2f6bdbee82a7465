#include "net/flow_control.hpp"

#include <limits>
#include <string>

#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/tasks/task.hpp"
#include "loop/loop.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void FlowControl::set_limits(WriteBufferLimits limits, std::size_t default_high) {
    constexpr std::ptrdiff_t unset = -1;
    constexpr std::ptrdiff_t kMost = std::numeric_limits<std::ptrdiff_t>::max();
    std::ptrdiff_t high = limits.high;
    std::ptrdiff_t low = limits.low;
    if (high == unset && low == unset) high = static_cast<std::ptrdiff_t>(default_high);
    if (high == unset) high = low > kMost / 4 ? kMost : 4 * low;
    if (low == unset) low = high / 4;
    if (high < low || low < 0) {
        throw ValueError("high (" + std::to_string(high) + ") must be >= low (" +
                         std::to_string(low) + ") must be >= 0");
    }
    high_ = static_cast<std::size_t>(high);
    low_ = static_cast<std::size_t>(low);
}

void FlowControl::pause(TransportBase& transport, BaseProtocol* protocol) {
    paused_ = true;
    if (!protocol) return;
    try {
        protocol->pause_writing();
    } catch (...) {
        // Raised again if it is to leave the loop.
        report_transport_error(transport, "protocol.pause_writing() failed",
                               std::current_exception());
    }
}

void FlowControl::resume(TransportBase& transport, BaseProtocol* protocol) {
    paused_ = false;
    if (!protocol) return;
    try {
        protocol->resume_writing();
    } catch (...) {
        // Raised again if it is to leave the loop.
        report_transport_error(transport, "protocol.resume_writing() failed",
                               std::current_exception());
    }
}

namespace {

class DropLater final : public Node, public Pooled {
  public:
    void run() override { delete this; }
    void drop() noexcept override { delete this; }

    std::shared_ptr<BaseProtocol> protocol;

  private:
    ~DropLater() = default;
};

}  // namespace

LateDrop::LateDrop(LoopCore& core) : core_(core), node_(core.closed ? nullptr : new DropLater) {}

LateDrop::~LateDrop() {
    if (node_) node_->drop();
}

void LateDrop::take(std::shared_ptr<BaseProtocol> protocol) noexcept {
    if (!protocol || !node_) return;
    static_cast<DropLater*>(node_)->protocol = std::move(protocol);
    core_.push_ready(std::exchange(node_, nullptr));
}

void report_transport_error(TransportBase& transport, const char* message,
                            std::exception_ptr error) {
    if (is_exit_error(error)) std::rethrow_exception(std::move(error));
    tell_handler(transport.loop().core(), message, [&](ExceptionContext& context) {
        context.message = message;
        context.exception = std::move(error);
        context.transport = BaseTransport(Ref<TransportBase>::share(&transport));
    });
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

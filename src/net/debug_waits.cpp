// What the waits of sockets stand on. See tasks/debug_block.hpp.
#include "net/fd_wait.hpp"
#include "tasks/debug_block.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

struct OfNet;
template <>
struct DebugLayout<OfNet> {
    static constexpr DebugWait kDescriptor{
        "a descriptor",
        kDebugNone,
        kDebugNone,
        kDebugNone,
        kDebugNone,
        kDebugNone,
        static_cast<std::uint16_t>(offsetof(FdWait, fd_) - offsetof(FdWait, waiter_))};
};

constinit const DebugWait DebugWaits::descriptor = DebugLayout<OfNet>::kDescriptor;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

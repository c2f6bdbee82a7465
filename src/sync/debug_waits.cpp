// What the waits of locks and queues stand on. See tasks/debug_block.hpp.
#include "asyncio/detail/queue_base.hpp"
#include "asyncio/locks.hpp"
#include "tasks/debug_block.hpp"

#define AT ASYNCIO_DEBUG_OFFSET

namespace asyncio {
inline namespace v1 {
namespace detail {

struct OfSync;
template <>
struct DebugLayout<OfSync> {
    static constexpr auto kNone = kDebugNone;
    static constexpr DebugWait kLock{"Lock.acquire", AT(Lock, waiters_), kNone,
                                     kNone,          AT(Lock, locked_),  kNone,
                                     kNone,          kDebugObject,       sizeof(Lock)};
    static constexpr DebugWait kEvent{"Event.wait", AT(Event, waiters_), kNone,
                                      kNone,        AT(Event, set_),     kNone,
                                      kNone,        kDebugObject,        sizeof(Event)};
    static constexpr DebugWait kCondition{
        "Condition.wait", AT(Condition, waiters_), kNone, kNone, kNone, kNone, kNone,
        kDebugObject,     sizeof(Condition)};
    static constexpr DebugWait kSemaphore{"Semaphore.acquire",
                                          AT(Semaphore, waiters_),
                                          AT(Semaphore, value_),
                                          kNone,
                                          kNone,
                                          kNone,
                                          kNone,
                                          kDebugObject,
                                          sizeof(Semaphore)};
    static constexpr DebugWait kQueueGet{"Queue.get",
                                         AT(QueueBase, getters_),
                                         AT(QueueBase, size_),
                                         AT(QueueBase, maxsize_),
                                         kNone,
                                         kNone,
                                         kNone,
                                         kDebugObject,
                                         sizeof(QueueBase)};
    static constexpr DebugWait kQueuePut{"Queue.put",
                                         AT(QueueBase, putters_),
                                         AT(QueueBase, size_),
                                         AT(QueueBase, maxsize_),
                                         kNone,
                                         kNone,
                                         kNone,
                                         kDebugObject,
                                         sizeof(QueueBase)};
    static constexpr DebugWait kQueueJoin{
        "Queue.join",
        static_cast<std::uint16_t>(offsetof(QueueBase, finished_) + offsetof(Event, waiters_)),
        AT(QueueBase, unfinished_),
        kNone,
        kNone,
        kNone,
        kNone,
        kDebugObject,
        sizeof(QueueBase)};
};

using Layout = DebugLayout<OfSync>;
constinit const DebugWait DebugWaits::lock = Layout::kLock;
constinit const DebugWait DebugWaits::event = Layout::kEvent;
constinit const DebugWait DebugWaits::condition = Layout::kCondition;
constinit const DebugWait DebugWaits::semaphore = Layout::kSemaphore;
constinit const DebugWait DebugWaits::queue_get = Layout::kQueueGet;
constinit const DebugWait DebugWaits::queue_put = Layout::kQueuePut;
constinit const DebugWait DebugWaits::queue_join = Layout::kQueueJoin;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

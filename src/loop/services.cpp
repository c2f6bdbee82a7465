// The services of a loop: a list that grows at its loop's thread and is read there, relaxed.
//
// One other reader is a child of fork(2), whose parent may have been about to add one on another
// thread: add() releases the new service, so that it is whole if it is in the list.
#include "loop/services.hpp"

#include <utility>

#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

LoopService::~LoopService() = default;

namespace detail {

LoopService* find_service(asyncio::detail::LoopCore& core, const ServiceKey& key) noexcept {
    return static_cast<asyncio::detail::Loop&>(core).services.find(key);
}

LoopService& add_service(asyncio::detail::LoopCore& core, const ServiceKey& key,
                         std::unique_ptr<LoopService> service) noexcept {
    return static_cast<asyncio::detail::Loop&>(core).services.add(key, std::move(service));
}

}  // namespace detail
}  // namespace component

namespace detail {

LoopService* ServiceList::find(const ServiceKey& key) const noexcept {
    LoopService* s = first_.load(std::memory_order_relaxed);
    while (s && s->key_ != &key) s = s->following_.load(std::memory_order_relaxed);
    return s;
}

LoopService& ServiceList::add(const ServiceKey& key,
                              std::unique_ptr<LoopService> service) noexcept {
    LoopService& added = *service.release();
    added.key_ = &key;
    std::atomic<LoopService*>* place = &first_;
    while (LoopService* s = place->load(std::memory_order_relaxed)) {
        if (s->rank_ > added.rank_) break;
        place = &s->following_;
    }
    added.following_.store(place->load(std::memory_order_relaxed), std::memory_order_relaxed);
    place->store(&added, std::memory_order_release);
    return added;
}

void ServiceList::close(ServiceRank rank) noexcept {
    for (LoopService* s = first_.load(std::memory_order_relaxed); s;
         s = s->following_.load(std::memory_order_relaxed)) {
        if (s->rank_ != rank) continue;
        s->closed_ = true;
        s->loop_closed();
    }
}

void ServiceList::leave_to_parent() noexcept {
    for (LoopService* s = first_.load(std::memory_order_acquire); s;
         s = s->following_.load(std::memory_order_acquire)) {
        s->left_to_parent();
    }
}

void ServiceList::clear() noexcept {
    LoopService* s = first_.exchange(nullptr, std::memory_order_relaxed);
    while (s) {
        const std::unique_ptr<LoopService> gone(s);
        s = s->following_.load(std::memory_order_relaxed);
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

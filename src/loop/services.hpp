// A loop's services, as the loop keeps them.
#pragma once

#include <atomic>
#include <memory>

#include "asyncio/component/services.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

using component::find_service;
using component::LoopService;
using component::service;
using component::ServiceKey;
using component::ServiceRank;

// By rank, and of one rank in the order in which they were added.
class ServiceList {
  public:
    ServiceList() = default;
    ServiceList(const ServiceList&) = delete;
    ServiceList& operator=(const ServiceList&) = delete;
    ~ServiceList() { clear(); }

    LoopService* find(const ServiceKey& key) const noexcept;
    LoopService& add(const ServiceKey& key, std::unique_ptr<LoopService> service) noexcept;
    // Tells those of `rank` that the loop is closed. They stay until clear().
    void close(ServiceRank rank) noexcept;
    void leave_to_parent() noexcept;
    void clear() noexcept;

  private:
    // Atomic, since a fork on another thread may come while a service is being added.
    std::atomic<LoopService*> first_{nullptr};
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

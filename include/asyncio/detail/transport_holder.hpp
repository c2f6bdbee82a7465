// A transport as a report of an error holds it: a handle that needs nothing of transports.hpp.
#pragma once

#include <string>
#include <utility>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/take.hpp"

namespace asyncio {
inline namespace v1 {

class BaseTransport;

namespace detail {

class TransportBase;

// Possibly empty. Made from any transport handle; converts to BaseTransport.
class ASYNCIO_API TransportHolder {
  public:
    TransportHolder() noexcept = default;
    TransportHolder(const BaseTransport& transport) noexcept;
    TransportHolder(const TransportHolder& other) noexcept;
    TransportHolder(TransportHolder&& other) noexcept
        : transport_(detail::take(other.transport_)) {}
    TransportHolder& operator=(TransportHolder other) noexcept {
        detail::trade(transport_, other.transport_);
        return *this;
    }
    ~TransportHolder();

    explicit operator bool() const noexcept { return transport_ != nullptr; }
    operator BaseTransport() const noexcept;
    std::string repr() const;

  private:
    TransportBase* transport_ = nullptr;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

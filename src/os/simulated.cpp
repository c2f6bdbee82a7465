#include "os/simulated.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {
constinit thread_local component::SimulatedSockets* simulated_sockets = nullptr;
}

namespace component {

SimulatedSockets::~SimulatedSockets() = default;

SimulatedSockets* set_simulated_sockets(SimulatedSockets* sockets) noexcept {
    return std::exchange(asyncio::detail::simulated_sockets, sockets);
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

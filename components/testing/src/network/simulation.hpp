// The network of one run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "asyncio/events.hpp"
#include "world.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// While it lives the sockets of this thread are its own.
class Simulation {
  public:
    explicit Simulation(std::uint64_t seed);
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;
    ~Simulation();

    // Closed before this is destroyed.
    std::unique_ptr<EventLoop> make_loop();
    SimulatedWorld& world() noexcept { return world_; }
    // A line about sockets that nobody has closed; empty: there are none.
    std::string left_behind() const;
    // Null outside of one.
    static Simulation* current() noexcept;

  private:
    SimulatedWorld world_;
    component::SimulatedSockets* outer_sockets_;
    Simulation* outer_;
};

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

#include "simulation.hpp"

#include <utility>

#include "asyncio/exceptions.hpp"
#include "backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

thread_local Simulation* current_simulation = nullptr;

}  // namespace

Simulation::Simulation(std::uint64_t seed)
    : world_(seed),
      outer_sockets_(component::set_simulated_sockets(&world_)),
      outer_(std::exchange(current_simulation, this)) {}

Simulation::~Simulation() {
    current_simulation = outer_;
    component::set_simulated_sockets(outer_sockets_);
}

std::unique_ptr<EventLoop> Simulation::make_loop() {
    return component::new_event_loop(make_simulated_backend(world_));
}

std::string Simulation::left_behind() const {
    const std::size_t open = world_.open();
    return open == 0 ? std::string() : "left behind: " + std::to_string(open) + " sockets";
}

Simulation* Simulation::current() noexcept { return current_simulation; }

ContextVar<std::uint32_t>& current_host() {
    static ContextVar<std::uint32_t> host("asyncio.testing.host");
    return host;
}

Network& network() {
    Simulation* const simulation = Simulation::current();
    if (!simulation) throw RuntimeError("no network is simulated here");
    return simulation->world().network();
}

void simulate(const Scenario& scenario, const RunOptions& options) {
    RunOptions with_network = options;
    with_network.network = true;
    run(scenario, with_network);
}

Host Network::host(std::string_view name, std::string_view address) {
    return Host(world_.host(name, address));
}
Host Network::here() const noexcept { return Host(0); }
std::string Network::address_of(Host host) const { return world_.address_of(host.number()); }

LinkOptions& Network::link(Host from, Host to) {
    return world_.direction(from.number(), to.number()).options();
}
void Network::set_links(const LinkOptions& options) { world_.set_links(options); }

void Network::partition(Host one, Host other, Way way) {
    if (way != Way::BACK) world_.hold(one.number(), other.number());
    if (way != Way::THERE) world_.hold(other.number(), one.number());
}
void Network::heal(Host one, Host other, Way way) {
    if (way != Way::BACK) world_.release(one.number(), other.number());
    if (way != Way::THERE) world_.release(other.number(), one.number());
}
void Network::reset(Host one, Host other) { world_.reset(one.number(), other.number()); }
void Network::crash(Host host) { world_.crash(host.number()); }
void Network::set_timeouts(Delay sending, Delay connecting) {
    world_.set_timeouts(sending.count(), connecting.count());
}
void Network::keep_trace() { world_.keep_trace(); }
std::string Network::trace() const { return world_.trace(); }

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// A packet that is lost, at each point of a test.
#include "../one_run.hpp"
#include "../points.hpp"
#include "asyncio/testing_network.hpp"
#include "simulation.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

Tried lose_packet(const Scenario& scenario, const RunOptions& options, std::uint64_t packet) {
    Tried tried;
    tried.what = "whose packet is lost";
    Setting setting;
    setting.watch = [packet](EventLoop&, const AnyTask&) {
        Simulation::current()->world().lose(packet);
        return std::shared_ptr<void>();
    };
    setting.ended = [&tried] { tried.points = Simulation::current()->world().packets(); };
    tried.failed = run_once(scenario, options, setting);
    return tried;
}

}  // namespace

Report drop_each_packet(const Scenario& scenario, const PacketOptions& options) {
    RunOptions run = with_seed(options.run);
    run.network = true;
    const EachPoint each{options.most, options.run.leaves_nothing, "with all its packets"};
    return at_each_point(each,
                         [&](std::uint64_t point) { return lose_packet(scenario, run, point); });
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

#include "visits.hpp"

#include <asyncio/events.hpp>

namespace visits {
namespace {

int closed_ones = 0;

class Visits final : public asyncio::component::LoopService {
  public:
    static const asyncio::component::ServiceKey key;
    explicit Visits(asyncio::detail::LoopCore&)
        : LoopService(asyncio::component::ServiceRank::kComponents) {}
    void loop_closed() noexcept override { ++closed_ones; }

    int count = 0;
};

const asyncio::component::ServiceKey Visits::key;

}  // namespace

int come() {
    auto& loop = asyncio::get_running_loop();
    return ++asyncio::component::service<Visits>(loop.core()).count;
}

int closed() { return closed_ones; }

}  // namespace visits

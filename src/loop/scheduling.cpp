// Who chooses what runs next, and what waits until nothing is ready.
#include "asyncio/component/scheduling.hpp"

#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace component {

Chooser::~Chooser() = default;

void set_chooser(EventLoop& loop, Chooser* chooser) {
    auto& core = static_cast<asyncio::detail::Loop&>(loop.core());
    if (chooser) core.check_open();
    core.choose_by(chooser);
}

}  // namespace component

namespace detail {

void push_settled(LoopCore& core, HandleState& state) {
    auto& loop = static_cast<Loop&>(core);
    loop.check_open();
    state.retain();
    loop.queue_when_settled(state);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

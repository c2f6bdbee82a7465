// Time in tests, and pieces in an order.
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "asyncio/component/scheduling.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/testing.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

Coroutine<> settled() {
    EventLoop& loop = get_running_loop();
    const auto reached = loop.create_future<void>();
    auto reach = [reached] {
        if (!reached.done()) reached.set_result();
    };
    const Handle handle = component::call_when_settled(loop, std::move(reach));
    // Where this is cancelled nobody is to be called for it.
    struct Withdrawn {
        const Handle& handle;
        ~Withdrawn() { handle.cancel(); }
    } const withdrawn{handle};
    co_await reached;
}

Coroutine<> advance(Delay by) {
    co_await sleep(by);
    co_await settled();
}

Duration elapsed() { return get_running_loop().time() - TimePoint(); }

struct Sequencer::State {
    std::int64_t next = 0;
    bool taken = false;  // the turn `next` is under way
    std::map<std::int64_t, Future<void>> waiting;

    // The next one that still wants its turn has it.
    void pass_on() {
        taken = false;
        ++next;
        for (auto first = waiting.begin(); first != waiting.end() && first->first == next;
             first = waiting.begin()) {
            const Future<void> waits = std::move(first->second);
            waiting.erase(first);
            if (!waits.done()) {
                taken = true;
                return waits.set_result();
            }
            ++next;  // it was cancelled
        }
    }
};

Sequencer::Turn::Turn(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
Sequencer::Turn::Turn(Turn&& other) noexcept = default;
Sequencer::Turn::~Turn() {
    if (state_) state_->pass_on();
}

Sequencer::Sequencer() : state_(std::make_shared<State>()) {}

Coroutine<Sequencer::Turn> Sequencer::turn(std::int64_t number) {
    const std::shared_ptr<State> state = state_;
    if (number < state->next || (number == state->next && state->taken) ||
        state->waiting.contains(number)) {
        throw ValueError("turn " + std::to_string(number) + " is taken");
    }
    if (number == state->next) {
        state->taken = true;
        co_return Turn(state);
    }
    const auto waits = get_running_loop().create_future<void>();
    state->waiting.emplace(number, waits);
    try {
        co_await waits;
    } catch (const CancelledError&) {
        // In the tick in which it got its turn.
        if (!waits.cancelled()) state->pass_on();
        throw;
    }
    co_return Turn(state);
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// `async with`: locks, barriers, timeouts, task groups, aclosing.
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "ops.hpp"

namespace conformance {
namespace {

using asyncio::Coroutine;

// A scope of the manager M; `Hooks` has `entered(Value)`, called first in the block with what
// entering gave, and `left()`.
template <class M, class Hooks>
class ScopeOf : public Scope {
  public:
    ScopeOf(std::shared_ptr<M> manager, Hooks hooks)
        : manager_(std::move(manager)), hooks_(std::move(hooks)) {}

    Coroutine<Outcome> run(World& world, Frame& frame, const Block& block) override {
        if constexpr (kGivesNumber) {
            auto body = [&](int index) -> Coroutine<Outcome> {
                hooks_.entered(to_value(index));
                Coroutine<Outcome> running = run_block(world, frame, block);
                co_return co_await std::move(running);
            };
            co_return co_await asyncio::with(*manager_, body);
        } else {
            auto body = [&]() -> Coroutine<Outcome> {
                hooks_.entered(Value());
                Coroutine<Outcome> running = run_block(world, frame, block);
                co_return co_await std::move(running);
            };
            co_return co_await asyncio::with(*manager_, body);
        }
    }

    Coroutine<> enter() override {
        if constexpr (kGivesNumber) {
            const auto index = co_await manager_->aenter();
            hooks_.entered(to_value(index));
        } else {
            co_await manager_->aenter();
            hooks_.entered(Value());
        }
    }

    Coroutine<bool> exit(std::exception_ptr error) override {
        if constexpr (std::is_void_v<Verdict>) {
            co_await manager_->aexit(std::move(error));
            co_return false;
        } else {
            co_return co_await manager_->aexit(std::move(error));
        }
    }

    void left() override { hooks_.left(); }

  private:
    // A barrier gives an index; locks give nothing, a timeout or group itself.
    using Entered = asyncio::await_result_t<decltype(std::declval<M&>().aenter())>;
    using Verdict = asyncio::await_result_t<decltype(std::declval<M&>().aexit(nullptr))>;
    static constexpr bool kGivesNumber =
        std::is_integral_v<Entered> && !std::is_same_v<Entered, bool>;

    std::shared_ptr<M> manager_;
    Hooks hooks_;
};

template <class M, class Hooks>
std::unique_ptr<Scope> make_scope(std::shared_ptr<M> manager, Hooks hooks) {
    return std::make_unique<ScopeOf<M, Hooks>>(std::move(manager), std::move(hooks));
}

// ---- with --------------------------------------------------------------------------------------

struct LockHooks {
    World& world;
    const Op& op;
    void entered(const Value& value) { world.log("enter " + op.target() + " " + value.show()); }
    void left() { world.log("leave " + op.target()); }
};

std::unique_ptr<Scope> scope_with(World& w, const Op& op) {
    const Thing& thing = w.thing(op.target());
    const LockHooks hooks{w, op};
    if (auto* lock = std::get_if<std::shared_ptr<asyncio::Lock>>(&thing)) {
        return make_scope(*lock, hooks);
    }
    if (auto* condition = std::get_if<std::shared_ptr<asyncio::Condition>>(&thing)) {
        return make_scope(*condition, hooks);
    }
    if (auto* semaphore = std::get_if<std::shared_ptr<asyncio::Semaphore>>(&thing)) {
        return make_scope(*semaphore, hooks);
    }
    if (auto* bounded = std::get_if<std::shared_ptr<asyncio::BoundedSemaphore>>(&thing)) {
        return make_scope(*bounded, hooks);
    }
    return make_scope(std::get<std::shared_ptr<asyncio::Barrier>>(thing), hooks);
}

// ---- timeout, timeout_at, timeout_enter --------------------------------------------------------

using TimeoutPtr = std::shared_ptr<asyncio::Timeout>;

struct TimeoutHooks {
    World& world;
    const Op& op;
    TimeoutPtr timeout;
    void entered(const Value&) {
        if (!op.as.empty()) world.set(op.as, timeout);
    }
    void left() { world.log("timeout exit " + Value(timeout->expired()).show()); }
};

std::unique_ptr<Scope> timeout_scope(World& w, const Op& op, TimeoutPtr timeout) {
    return make_scope(timeout, TimeoutHooks{w, op, timeout});
}

std::unique_ptr<Scope> scope_timeout(World& w, const Op& op) {
    return timeout_scope(w, op, TimeoutPtr(new asyncio::Timeout(asyncio::timeout(delay_of(op.t)))));
}

std::unique_ptr<Scope> scope_timeout_at(World& w, const Op& op) {
    return timeout_scope(w, op,
                         TimeoutPtr(new asyncio::Timeout(asyncio::timeout_at(deadline_of(op.t)))));
}

std::unique_ptr<Scope> scope_timeout_enter(World& w, const Op& op) {
    return timeout_scope(w, op, w.get<TimeoutPtr>(op.target()));
}

// ---- group, group_enter ------------------------------------------------------------------------

using GroupPtr = std::shared_ptr<asyncio::TaskGroup>;

struct GroupHooks {
    World& world;
    std::string slot;
    GroupPtr group;
    void entered(const Value&) { world.set(slot, group); }
    void left() { world.log("group exit " + slot); }
};

std::unique_ptr<Scope> scope_group(World& w, const Op& op) {
    const auto group = std::make_shared<asyncio::TaskGroup>();
    return make_scope(group, GroupHooks{w, op.as, group});
}

std::unique_ptr<Scope> scope_group_enter(World& w, const Op& op) {
    const GroupPtr group = w.get<GroupPtr>(op.target());
    return make_scope(group, GroupHooks{w, op.target(), group});
}

// ---- aclosing ----------------------------------------------------------------------------------

struct ClosingHooks {
    World& world;
    const Op& op;
    void entered(const Value&) {}
    void left() { world.log("aclosing exit " + op.target()); }
};

std::unique_ptr<Scope> scope_aclosing(World& w, const Op& op) {
    // A handle of its own: the block may put another generator in the slot.
    Generator generator = w.get<Generator>(op.target());
    using Closing = decltype(asyncio::aclosing(std::move(generator)));
    return make_scope(
        std::shared_ptr<Closing>(new Closing(asyncio::aclosing(std::move(generator)))),
        ClosingHooks{w, op});
}

const std::unordered_map<std::string, ScopeOp> kScopeOps = {
    {"with", scope_with},
    {"timeout", scope_timeout},
    {"timeout_at", scope_timeout_at},
    {"timeout_enter", scope_timeout_enter},
    {"group", scope_group},
    {"group_enter", scope_group_enter},
    {"aclosing", scope_aclosing},
};

}  // namespace

ScopeOp find_scope_op(const std::string& name) {
    const auto found = kScopeOps.find(name);
    return found == kScopeOps.end() ? nullptr : found->second;
}

}  // namespace conformance

// What each op does. The ops that decide which op is next are in machine.cpp.
#pragma once

#include <asyncio.hpp>
#include <exception>
#include <memory>
#include <string>
#include <unordered_map>

#include "interpreter.hpp"
#include "scenario.hpp"
#include "world.hpp"

namespace conformance {

// An op that does not suspend.
using PlainOp = void (*)(World&, Frame&, const Op&);
// An op that awaits something; `op`, `frame` and `world` live until it has ended.
using AwaitingOp = asyncio::Coroutine<> (*)(World&, Frame&, const Op&);

// An `async with`: its manager, and what is printed and stored around the block.
class Scope {
  public:
    virtual ~Scope() = default;

    // The whole of it, by asyncio::with.
    virtual asyncio::Coroutine<Outcome> run(World& world, Frame& frame, const Block& block) = 0;

    // The same in three parts, for a block that yields: asyncio::with would await the block, which
    // only the generator itself can leave. The manager's aenter, what follows entering, and its
    // aexit, which returns whether the exception goes no further.
    virtual asyncio::Coroutine<> enter() = 0;
    virtual asyncio::Coroutine<bool> exit(std::exception_ptr error) = 0;

    // The block was left normally.
    virtual void left() = 0;
};
using ScopeOp = std::unique_ptr<Scope> (*)(World&, const Op&);

// By name; null if there is no such op of this kind.
PlainOp find_plain_op(const std::string& name);
AwaitingOp find_awaiting_op(const std::string& name);
ScopeOp find_scope_op(const std::string& name);

// Evaluates an awaitable expression, from left to right, inside out.
Prepared prepare(World& world, Frame& frame, const Awaitable& a);

// A time of a scenario; null is no limit.
asyncio::Delay delay_of(const Ticks& ticks);
asyncio::Deadline deadline_of(const Ticks& ticks);

}  // namespace conformance

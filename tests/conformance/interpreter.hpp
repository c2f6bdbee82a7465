// Runs scenarios.
#pragma once

#include <asyncio.hpp>
#include <cstdio>

#include "scenario.hpp"
#include "world.hpp"

namespace conformance {

// How a block was left: by its end, or by one of the ops that leave several blocks at once. By an
// exception is a third way, and travels as one.
struct Outcome {
    enum class Kind { normal, break_loop, continue_loop, return_value };

    Kind kind = Kind::normal;
    Value value;  // of return_value

    bool normal() const { return kind == Kind::normal; }
};

// An invocation of a body: prints its begin and its end.
asyncio::Coroutine<Value> invoke(World& world, const Body& body, Value::List arguments);

// The same of a generator body.
Generator generate(World& world, const Body& body, Value::List arguments);

// Calls a callback; `future` is what a done callback was called with, else null.
void run_callback(World& world, const Callback& callback, const FutureRef* future);

// Runs a block of a body, in the calling task.
asyncio::Coroutine<Outcome> run_block(World& world, Frame& frame, const Block& block);

// Runs a scenario from nothing, as asyncio::run does, and prints its trace to `out`.
void run_scenario(const Scenario& scenario, std::FILE* out);

}  // namespace conformance

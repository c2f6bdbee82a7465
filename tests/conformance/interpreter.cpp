#include "interpreter.hpp"

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "errors.hpp"
#include "machine.hpp"

namespace conformance {
namespace {

using asyncio::Coroutine;

Frame frame_of(const Body& body, const Value::List& arguments) {
    if (arguments.size() != body.params.size()) {
        throw std::runtime_error("wrong number of arguments for " + body.name);
    }
    Frame frame;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        frame.locals[body.params[i]] = arguments[i];
    }
    return frame;
}

void log_begin(World& world, const Body& body, const Value::List& arguments) {
    world.log("begin " + body.name + "(" + show_list(arguments) + ")");
}

void log_left(World& world, const Body& body, const std::exception_ptr& error) {
    if (world.trace().closed()) return;
    world.log("end " + body.name + " !! " + show_error(error));
}

// A task that was never given a name is called after the first body that it runs.
void name_task(World& world, const Body& body) {
    const asyncio::AnyTask task = world.current_task();
    if (task.get_name().starts_with("Task-")) task.set_name(body.name);
}

Coroutine<Value> entry(World& world) {
    world.create_objects();
    Coroutine<Value> main = invoke(world, world.body("main"), Value::List());
    co_return co_await std::move(main);
}

// How a run ended.
struct Ending {
    Value value;
    std::exception_ptr error;
    bool deadlock = false;
};

void close(asyncio::Runner& runner, Ending& ending) {
    try {
        runner.close();
    } catch (const asyncio::DeadlockError&) {
        ending.deadlock = true;
    } catch (...) {  // As in Python it replaces what the main task raised.
        ending.error = std::current_exception();
    }
}

Ending run(asyncio::Runner& runner, World& world) {
    Ending ending;
    try {
        Coroutine<Value> main = entry(world);
        ending.value = runner.run(std::move(main));
    } catch (const asyncio::DeadlockError&) {
        ending.deadlock = true;
    } catch (...) {  // Printed as the run's result.
        ending.error = std::current_exception();
    }
    if (!ending.deadlock) close(runner, ending);
    return ending;
}

void print(Trace& trace, const Ending& ending) {
    if (ending.deadlock) {
        trace.line("DEADLOCK");
    } else if (ending.error) {
        trace.line("RUN !! " + show_error(ending.error));
    } else {
        trace.line("RUN -> " + ending.value.show());
    }
}

}  // namespace

Coroutine<Outcome> run_block(World& world, Frame& frame, const Block& block) {
    Machine machine(world, frame, block);
    while (machine.run() == Machine::Need::await) {
        Coroutine<> step = machine.take_await();
        const asyncio::Result<> done = co_await asyncio::as_result(std::move(step));
        machine.resume(done.error());
    }
    co_return machine.outcome();
}

Coroutine<Value> invoke(World& world, const Body& body, Value::List arguments) {
    Frame frame = frame_of(body, arguments);
    name_task(world, body);
    log_begin(world, body, arguments);
    Outcome outcome;
    try {
        Coroutine<Outcome> block = run_block(world, frame, body.ops);
        outcome = co_await std::move(block);
    } catch (...) {
        log_left(world, body, std::current_exception());
        throw;
    }
    world.log("end " + body.name + " -> " + outcome.value.show());
    co_return std::move(outcome.value);
}

Generator generate(World& world, const Body& body, Value::List arguments) {
    Frame frame = frame_of(body, arguments);
    log_begin(world, body, arguments);
    Machine machine(world, frame, body.ops);
    try {
        for (auto need = machine.run(); need != Machine::Need::nothing; need = machine.run()) {
            if (need == Machine::Need::await) {
                Coroutine<> step = machine.take_await();
                const asyncio::Result<> done = co_await asyncio::as_result(std::move(step));
                machine.resume(done.error());
                continue;
            }
            Value value = machine.take_yield();
            try {
                std::optional<Value> sent = co_yield std::move(value);
                machine.resume_with(sent.value_or(Value()));
            } catch (...) {  // Thrown into the generator: an exception of the op.
                machine.resume(std::current_exception());
            }
        }
        machine.outcome();
    } catch (...) {
        log_left(world, body, std::current_exception());
        throw;
    }
    world.log("end " + body.name);
}

void run_callback(World& world, const Callback& callback, const FutureRef* future) {
    Frame frame;
    frame.future = future;
    std::string text = "callback " + callback.name;
    if (future != nullptr) text += " cancelled = " + Value(future->cancelled()).show();
    world.log(text);
    Machine machine(world, frame, callback.ops);
    if (machine.run() != Machine::Need::nothing) {
        throw std::runtime_error("callback " + callback.name + " cannot suspend");
    }
    machine.outcome();
}

void run_scenario(const Scenario& scenario, std::FILE* out) {
    World world(scenario, out);
    asyncio::RunOptions options;
    options.loop_factory = &asyncio::VirtualTimeEventLoop::create;
    asyncio::Runner runner(options);
    world.set_loop(runner.get_loop());
    const Ending ending = run(runner, world);
    print(world.trace(), ending);
    // What is left after a deadlock ends in silence, when the runner goes.
    world.trace().close();
    Ending silent;
    close(runner, silent);
}

}  // namespace conformance

// The control flow of the language: blocks, `try`, loops, `async with`.
//
// A machine keeps its place in nested blocks on a stack of its own instead of the C++ stack. So the
// same code runs a body (a coroutine, which awaits what an op awaits), a generator body (which
// besides yields from within nested blocks, where C++ allows co_yield in one function only), and a
// callback (which does neither); and no handler needs a co_await inside a catch block.
#pragma once

#include <asyncio.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "interpreter.hpp"
#include "ops.hpp"
#include "scenario.hpp"
#include "world.hpp"

namespace conformance {

// How a block or an await ended: normally, by one of the leaving ops, or by `error`.
struct Completion {
    Outcome outcome;
    std::exception_ptr error;

    bool normal() const { return !error && outcome.normal(); }
};

class Machine {
  public:
    // What the caller has to do before the machine can go on.
    enum class Need { nothing, await, yield };

    // One construct that is being executed: a block, a `try`, a loop. The machine steps the
    // innermost one; when a construct inside it has ended, its `last()` tells how.
    class Control {
      public:
        virtual ~Control() = default;
        virtual void step(Machine& machine) = 0;
    };

    Machine(World& world, Frame& frame, const Block& block);

    // Goes on until it needs something or has ended. Raises: Stopped, once the trace is closed.
    Need run();

    // For Need::await: what to await; then resume() says how that ended (null: normally).
    asyncio::Coroutine<> take_await();
    void resume(std::exception_ptr error);
    // For Need::yield: the value; then resume() or the other one says what was sent.
    Value take_yield();
    void resume_with(Value sent);

    // How the whole ended. Raises: the exception that left the outermost block.
    Outcome outcome() const;

    // ---- For constructs -------------------------------------------------------------------------
    World& world() { return world_; }
    Frame& frame() { return frame_; }
    const Completion& last() const { return last_; }
    const Value& sent() const { return sent_; }
    void push(std::unique_ptr<Control> control);
    void push_block(const Block& block);
    // The construct has ended.
    void finish(Completion completion);
    void finish() { finish(Completion()); }
    void await(asyncio::Coroutine<> awaitable);
    void yield(Value value);

  private:
    World& world_;
    Frame& frame_;
    std::vector<std::unique_ptr<Control>> stack_;
    Completion last_;
    bool finished_ = false;  // the construct that is being stepped
    std::optional<asyncio::Coroutine<>> await_;
    std::optional<Value> yield_;
    Value sent_;
};

}  // namespace conformance

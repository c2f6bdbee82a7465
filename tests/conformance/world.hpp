// What one run of a scenario shares: the slots, the counters, the trace.
#pragma once

#include <asyncio.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "future_ref.hpp"
#include "scenario.hpp"
#include "trace.hpp"
#include "values.hpp"

namespace conformance {

using Variable = asyncio::ContextVar<Value>;
using Token = asyncio::Token<Value>;
// What is sent is nothing for null: Python's generators take it for a plain next.
using Generator = asyncio::AsyncGenerator<Value, std::optional<Value>>;
using Fifo = asyncio::Queue<Value>;
using Lifo = asyncio::LifoQueue<Value>;
using Priority = asyncio::PriorityQueue<Value>;

// What a slot holds.
using Thing =
    std::variant<FutureRef, asyncio::Handle, asyncio::TimerHandle, Token, asyncio::Context,
                 std::shared_ptr<asyncio::Timeout>, std::shared_ptr<asyncio::TaskGroup>, Generator,
                 std::shared_ptr<Variable>, std::shared_ptr<asyncio::Lock>,
                 std::shared_ptr<asyncio::Event>, std::shared_ptr<asyncio::Condition>,
                 std::shared_ptr<asyncio::Semaphore>, std::shared_ptr<asyncio::BoundedSemaphore>,
                 std::shared_ptr<asyncio::Barrier>, std::shared_ptr<Fifo>, std::shared_ptr<Lifo>,
                 std::shared_ptr<Priority>>;

// One invocation of a body or callback.
struct Frame {
    std::map<std::string, Value> locals;
    const FutureRef* future = nullptr;        // `@fut` of a done callback
    std::vector<std::exception_ptr> handled;  // of the `except` blocks that run, innermost last
    // What was given to each `wait` and `as_completed`: a variable of the program, which keeps the
    // futures alive (`drop`) as long as the invocation lasts.
    std::map<const Op*, FutureRef::Children> lists;
};

class World {
  public:
    World(const Scenario& scenario, std::FILE* out) : scenario_(scenario), trace_(out) {}
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    const Scenario& scenario() const { return scenario_; }
    const Body& body(const std::string& name) const { return scenario_.bodies.at(name); }
    const Callback& callback(const std::string& name) const { return scenario_.callbacks.at(name); }
    Trace& trace() { return trace_; }

    void set_loop(asyncio::EventLoop& loop);
    asyncio::EventLoop& loop() { return *loop_; }
    // Sets the counters and the slots that are there from the beginning; in the main task.
    void create_objects();

    // Prints `[TIME] NAME: TEXT`.
    void log(const std::string& text);
    // The same, with `OP SLOT -> VALUE`.
    void log_result(const Op& op, const Value& value);
    // `OP SLOT`.
    void log_done(const Op& op);

    // The current task, empty outside of one.
    asyncio::AnyTask current_task() const;
    std::int64_t now() const;

    // Prints `unset SLOT` and returns false if one of the slots that `op` reads has nothing.
    bool have_slots(const Frame& frame, const Op& op);
    void set(const std::string& slot, Thing thing) {
        slots_.insert_or_assign(slot, std::move(thing));
    }
    // Puts a future in a slot and keeps it alive until the end of the run.
    void keep(const std::string& slot, FutureRef future);
    void keep(const std::string& slot, Generator generator);
    Thing& thing(const std::string& slot) { return slots_.at(slot); }
    // Raises: std::bad_variant_access if the slot holds something else.
    template <class T>
    T& get(const std::string& slot) {
        return std::get<T>(slots_.at(slot));
    }
    // A future or task, `@self` and `@fut` included.
    FutureRef future(const Frame& frame, const std::string& slot);
    asyncio::AnyTask task(const Frame& frame, const std::string& slot) {
        return future(frame, slot).task();
    }
    // The context that the op names, null if it names none.
    const asyncio::Context* context(const Op& op);

    // Forgets a future; if its exception was never retrieved, the loop's handler is called now.
    void drop(const std::string& slot);

    void add_callback(const FutureRef& future, const Callback& callback,
                      const asyncio::Context* context);
    // How many of them were removed.
    std::int64_t remove_callback(const FutureRef& future, const std::string& callback);

    std::int64_t& counter(const std::string& name) { return counters_.at(name); }
    Value evaluate(const Frame& frame, const Expression& e) const;
    Value::List evaluate(const Frame& frame, const std::vector<Expression>& expressions) const;
    bool evaluate(const Frame& frame, const Condition& c) const;

  private:
    struct Registration {
        FutureRef future;
        std::string callback;
        asyncio::CallbackId id;
    };

    Thing create_object(const Declaration& d);
    void report(const asyncio::ExceptionContext& context);

    const Scenario& scenario_;
    Trace trace_;
    asyncio::EventLoop* loop_ = nullptr;
    std::map<std::string, Thing> slots_;
    std::map<std::string, std::int64_t> counters_;
    std::vector<FutureRef> kept_;
    std::vector<Generator> kept_generators_;
    std::vector<Registration> registrations_;
    bool dropping_ = false;
};

}  // namespace conformance

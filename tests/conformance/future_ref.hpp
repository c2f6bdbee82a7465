// A task or future of any kind that a scenario can name. Futures of the library know their result's
// type; a slot of a scenario does not, so this is where the two meet.
#pragma once

#include <asyncio.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "scenario.hpp"
#include "values.hpp"

namespace conformance {

class FutureRef {
  public:
    using Results = std::vector<asyncio::Result<Value>>;
    using Children = std::vector<FutureRef>;
    using DoneCallback = std::function<void(const FutureRef&)>;

    // Bodies, sleeps, operations, declared futures: nearly everything.
    FutureRef(asyncio::Future<Value> future) : future_(std::move(future)) {}
    // A gather of such.
    FutureRef(asyncio::Future<Value::List> future) : future_(std::move(future)) {}
    FutureRef(asyncio::Future<Results> future) : future_(std::move(future)) {}
    // The current task.
    explicit FutureRef(asyncio::AnyFuture future) : future_(std::move(future)) {}

    // gather(): of futures of one kind it gives their results, of several kinds it says only that
    // they are done, and the results are asked of `children`.
    static FutureRef gather(Children children, bool return_exceptions);
    static FutureRef gather(std::vector<asyncio::Coroutine<Value>> coroutines,
                            bool return_exceptions);

    // Awaits it in the calling task, which costs no step of the loop. Static, since a coroutine
    // that begins later keeps a copy, not `this`.
    static asyncio::Coroutine<Value> wait(FutureRef self);
    static asyncio::Coroutine<Value> wait_for(FutureRef self, asyncio::Delay timeout);
    FutureRef shield() const;

    bool cancel(const std::optional<std::string>& message) const;
    bool done() const;
    bool cancelled() const;
    Value result() const;
    std::exception_ptr exception() const;
    void set_result(Value value) const;
    void set_exception(std::exception_ptr error) const;
    asyncio::CallbackId add_done_callback(DoneCallback callback,
                                          const asyncio::Context* context) const;
    std::size_t remove_done_callback(asyncio::CallbackId id) const;

    asyncio::AnyFuture any() const;
    // Itself as a task; empty if it is a plain future.
    asyncio::AnyTask task() const { return asyncio::as_task(any()); }
    // If it is of the most common kind, else null.
    const asyncio::Future<Value>* plain() const {
        return std::get_if<asyncio::Future<Value>>(&future_);
    }

    friend bool operator==(const FutureRef& a, const FutureRef& b) { return a.any() == b.any(); }

  private:
    using MixedFuture = asyncio::Future<std::vector<std::monostate>>;
    using MixedResults = asyncio::Future<std::vector<asyncio::Result<void>>>;
    using Kinds =
        std::variant<asyncio::Future<Value>, asyncio::Future<Value::List>, asyncio::Future<Results>,
                     MixedFuture, MixedResults, asyncio::AnyFuture>;

    FutureRef(Kinds future, std::shared_ptr<const Children> children)
        : future_(std::move(future)), children_(std::move(children)) {}

    Value convert(const Value& value) const { return value; }
    Value convert(const Value::List& values) const { return Value(values); }
    Value convert(const Results& results) const;
    Value convert(const std::vector<std::monostate>& nothing) const;
    Value convert(const std::vector<asyncio::Result<void>>& results) const;
    Value untyped_result(const asyncio::AnyFuture& future) const;

    Kinds future_;
    // Where the results are: of a gather of several kinds, of a shield of the current task.
    std::shared_ptr<const Children> children_;
};

// Are all of the most common kind?
bool all_plain(const FutureRef::Children& futures);
// The handles, typed where all_plain() is true.
std::vector<asyncio::Future<Value>> plain_handles(const FutureRef::Children& futures);
std::vector<asyncio::AnyFuture> any_handles(const FutureRef::Children& futures);

// What an awaitable expression was evaluated to.
using Prepared = std::variant<FutureRef, asyncio::Coroutine<Value>>;

FutureRef ensure_future(Prepared awaitable);
FutureRef shield(Prepared awaitable);
FutureRef gather(std::vector<Prepared> awaitables, bool return_exceptions);
// Coroutines that await what they are given in the calling task.
asyncio::Coroutine<Value> wait(Prepared awaitable);
asyncio::Coroutine<Value> wait_for(Prepared awaitable, asyncio::Delay timeout);

}  // namespace conformance

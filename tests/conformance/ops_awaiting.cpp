// The ops that await something.
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "ops.hpp"

namespace conformance {
namespace {

using asyncio::Coroutine;
using std::chrono::seconds;

void keep_local(Frame& f, const Op& op, const Value& value) {
    if (!op.as.empty()) f.locals[op.as] = value;
}

Coroutine<> op_sleep(World& w, Frame& f, const Op& op) {
    const std::string text = "sleep " + std::to_string(*op.t);
    if (!op.result) {
        co_await asyncio::sleep(seconds(*op.t));
        w.log(text);
        co_return;
    }
    Value result = w.evaluate(f, *op.result);
    const Value slept = co_await asyncio::sleep(seconds(*op.t), std::move(result));
    w.log(text + " -> " + slept.show());
}

Coroutine<> op_yield(World& w, Frame&, const Op&) {
    co_await asyncio::sleep(seconds(0));
    w.log("yield");
}

Coroutine<> op_call(World& w, Frame& f, const Op& op) {
    Coroutine<Value> call = invoke(w, w.body(op.body_name), w.evaluate(f, op.arguments));
    const Value value = co_await std::move(call);
    w.log("call " + op.body_name + " -> " + value.show());
    keep_local(f, op, value);
}

Coroutine<> op_await(World& w, Frame& f, const Op& op) {
    Coroutine<Value> waiting = wait(prepare(w, f, op.on.front()));
    const Value value = co_await std::move(waiting);
    w.log("await " + op.on.front().label + " -> " + value.show());
    keep_local(f, op, value);
}

// An operation of a lock or queue by itself: `{"op": "get", "on": "q"}` awaits `{"get": "q"}`.
Coroutine<Value> operation(World& w, Frame& f, const Op& op, Awaitable::Kind kind) {
    Awaitable a;
    a.kind = kind;
    a.name = op.target();
    if (op.value) a.value = *op.value;
    return std::get<Coroutine<Value>>(prepare(w, f, a));
}

template <Awaitable::Kind kind>
Coroutine<> op_with_result(World& w, Frame& f, const Op& op) {
    Coroutine<Value> waiting = operation(w, f, op, kind);
    const Value value = co_await std::move(waiting);
    w.log_result(op, value);
    keep_local(f, op, value);
}

template <Awaitable::Kind kind>
Coroutine<> op_without_result(World& w, Frame& f, const Op& op) {
    Coroutine<Value> waiting = operation(w, f, op, kind);
    co_await std::move(waiting);
    w.log_done(op);
}

Coroutine<> op_cond_wait_for(World& w, Frame& f, const Op& op) {
    const auto condition = w.get<std::shared_ptr<asyncio::Condition>>(op.target());
    auto predicate = [&] { return w.evaluate(f, *op.cond); };
    const bool held = co_await condition->wait_for(predicate);
    w.log_result(op, Value(held));
}

Coroutine<> op_bar_reset(World& w, Frame&, const Op& op) {
    const auto barrier = w.get<std::shared_ptr<asyncio::Barrier>>(op.target());
    co_await barrier->reset();
    w.log_result(op, Value());
}

Coroutine<> op_bar_abort(World& w, Frame&, const Op& op) {
    const auto barrier = w.get<std::shared_ptr<asyncio::Barrier>>(op.target());
    co_await barrier->abort();
    w.log_result(op, Value());
}

// ---- wait --------------------------------------------------------------------------------------

asyncio::WaitOptions wait_options(const Op& op) {
    asyncio::WaitOptions options;
    options.timeout = delay_of(op.timeout);
    if (op.return_when == "FIRST_COMPLETED") options.return_when = asyncio::FIRST_COMPLETED;
    if (op.return_when == "FIRST_EXCEPTION") options.return_when = asyncio::FIRST_EXCEPTION;
    return options;
}

// The slots whose futures are in `group`, in the order of the op.
template <class H>
std::string names_in(const Op& op, const std::vector<H>& futures, const std::vector<H>& group) {
    std::string names;
    for (std::size_t i = 0; i < futures.size(); ++i) {
        if (std::find(group.begin(), group.end(), futures[i]) == group.end()) continue;
        if (!names.empty()) names += ", ";
        names += op.on[i].name;
    }
    return names;
}

template <class H>
Coroutine<> wait_for_handles(World& w, const Op& op, std::vector<H> futures) {
    const asyncio::WaitOptions options = wait_options(op);
    const asyncio::WaitResult<H> result = co_await asyncio::wait(futures, options);
    w.log("wait -> done=[" + names_in(op, futures, result.done) + "] pending=[" +
          names_in(op, futures, result.pending) + "]");
}

Coroutine<> op_wait(World& w, Frame& f, const Op& op) {
    FutureRef::Children& futures = f.lists[&op];
    futures.clear();
    for (const Awaitable& a : op.on) futures.push_back(w.future(f, a.name));
    if (all_plain(futures)) return wait_for_handles(w, op, plain_handles(futures));
    return wait_for_handles(w, op, any_handles(futures));
}

// ---- Asynchronous generators -------------------------------------------------------------------

// The end of an iteration: an error in Python, an empty optional here.
Value item_of(std::optional<Value> item) {
    if (!item) throw asyncio::StopAsyncIteration();
    return *std::move(item);
}

Coroutine<> op_anext(World& w, Frame& f, const Op& op) {
    const Generator generator = w.get<Generator>(op.target());
    const Value item = item_of(co_await generator.next());
    w.log_result(op, item);
    keep_local(f, op, item);
}

Coroutine<> op_asend(World& w, Frame& f, const Op& op) {
    const Generator generator = w.get<Generator>(op.target());
    const Value value = w.evaluate(f, *op.value);
    std::optional<Value> sent;
    if (!value.is_null()) sent = value;
    const Value item = item_of(co_await generator.asend(std::move(sent)));
    w.log_result(op, item);
    keep_local(f, op, item);
}

Coroutine<> op_athrow(World& w, Frame&, const Op& op) {
    const Generator generator = w.get<Generator>(op.target());
    std::exception_ptr error = make_error(*op.exc);
    // Python's athrow of a generator that has ended gives None, not the end of an iteration.
    const bool ended = getasyncgenstate(generator) == asyncio::AsyncGenState::AGEN_CLOSED;
    std::optional<Value> item = co_await generator.athrow(std::move(error));
    if (ended && !item) item.emplace();
    w.log_result(op, item_of(std::move(item)));
}

Coroutine<> op_aclose(World& w, Frame&, const Op& op) {
    const Generator generator = w.get<Generator>(op.target());
    co_await generator.aclose();
    w.log_result(op, Value());
}

using Kind = Awaitable::Kind;

const std::unordered_map<std::string, AwaitingOp> kAwaitingOps = {
    {"sleep", op_sleep},
    {"yield", op_yield},
    {"call", op_call},
    {"await", op_await},
    {"acquire", op_with_result<Kind::acquire>},
    {"ev_wait", op_with_result<Kind::ev_wait>},
    {"cond_wait", op_with_result<Kind::cond_wait>},
    {"bar_wait", op_with_result<Kind::bar_wait>},
    {"get", op_with_result<Kind::get>},
    {"put", op_without_result<Kind::put>},
    {"join", op_without_result<Kind::join>},
    {"cond_wait_for", op_cond_wait_for},
    {"bar_reset", op_bar_reset},
    {"bar_abort", op_bar_abort},
    {"wait", op_wait},
    {"anext", op_anext},
    {"asend", op_asend},
    {"athrow", op_athrow},
    {"aclose", op_aclose},
};

}  // namespace

AwaitingOp find_awaiting_op(const std::string& name) {
    const auto found = kAwaitingOps.find(name);
    return found == kAwaitingOps.end() ? nullptr : found->second;
}

}  // namespace conformance

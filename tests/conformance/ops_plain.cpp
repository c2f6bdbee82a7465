// The ops that do not suspend: allowed in callbacks too.
#include <chrono>
#include <string>
#include <utility>

#include "errors.hpp"
#include "ops.hpp"

namespace conformance {
namespace {

using std::chrono::seconds;

// ---- Values ------------------------------------------------------------------------------------

void op_log(World& w, Frame& f, const Op& op) {
    std::string text = "log " + op.msg.value_or("");
    for (const Value& value : w.evaluate(f, op.values)) text += " " + value.show();
    w.log(text);
}

void op_set(World& w, Frame& f, const Op& op) { f.locals[op.var] = w.evaluate(f, *op.value); }

void op_incr(World& w, Frame& f, const Op& op) {
    std::int64_t& counter = w.counter(op.counter);
    counter += op.by ? w.evaluate(f, *op.by).integer() : 1;
    w.log(op.counter + " = " + std::to_string(counter));
}

// ---- Tasks and futures -------------------------------------------------------------------------

void op_start(World& w, Frame& f, const Op& op) {
    Prepared awaitable = prepare(w, f, op.on.front());
    w.keep(op.as, ensure_future(std::move(awaitable)));
    w.log("start " + op.on.front().label);
}

asyncio::Coroutine<Value> coroutine_of(World& w, Frame& f, const Op& op) {
    if (op.on.empty()) return invoke(w, w.body(op.body_name), w.evaluate(f, op.arguments));
    return std::get<asyncio::Coroutine<Value>>(prepare(w, f, op.on.front()));
}

const std::string& name_of_spawned(const Op& op) {
    if (!op.name.empty()) return op.name;
    return op.as.empty() ? op.body_name : op.as;
}

void op_spawn(World& w, Frame& f, const Op& op) {
    asyncio::Coroutine<Value> coroutine = coroutine_of(w, f, op);
    const std::string& name = name_of_spawned(op);
    asyncio::TaskOptions options;
    options.name = name;
    options.context = w.context(op);
    if (op.eager) options.eager_start = true;
    // An eager task is made by itself, as Python's Task(..., eager_start=True).
    const bool in_group = !op.group.empty() && !op.eager;
    FutureRef task = in_group ? w.get<std::shared_ptr<asyncio::TaskGroup>>(op.group)->create_task(
                                    std::move(coroutine), options)
                              : asyncio::create_task(std::move(coroutine), options);
    if (!op.as.empty()) w.keep(op.as, std::move(task));
    w.log("spawn " + name);
}

void op_cancel(World& w, Frame& f, const Op& op) {
    w.log_result(op, Value(w.future(f, op.target()).cancel(op.msg)));
}

void op_uncancel(World& w, Frame& f, const Op& op) {
    w.log_result(op, to_value(w.task(f, op.target()).uncancel()));
}

void op_cancelling(World& w, Frame& f, const Op& op) {
    w.log_result(op, to_value(w.task(f, op.target()).cancelling()));
}

void op_done(World& w, Frame& f, const Op& op) {
    w.log_result(op, Value(w.future(f, op.target()).done()));
}

void op_cancelled(World& w, Frame& f, const Op& op) {
    w.log_result(op, Value(w.future(f, op.target()).cancelled()));
}

void op_result(World& w, Frame& f, const Op& op) {
    w.log_result(op, w.future(f, op.target()).result());
}

void op_exception(World& w, Frame& f, const Op& op) {
    const std::exception_ptr error = w.future(f, op.target()).exception();
    w.log_result(op, error ? Value(error) : Value());
}

void op_get_name(World& w, Frame& f, const Op& op) {
    w.log_result(op, Value(std::string(w.task(f, op.target()).get_name())));
}

void op_set_name(World& w, Frame& f, const Op& op) {
    w.task(f, op.target()).set_name(op.name);
    w.log("set_name " + op.target() + " " + op.name);
}

void op_add_callback(World& w, Frame& f, const Op& op) {
    w.add_callback(w.future(f, op.target()), w.callback(op.callback), w.context(op));
    w.log("add_callback " + op.target() + " " + op.callback);
}

void op_remove_callback(World& w, Frame& f, const Op& op) {
    const std::int64_t removed = w.remove_callback(w.future(f, op.target()), op.callback);
    w.log("remove_callback " + op.target() + " " + op.callback + " -> " + std::to_string(removed));
}

void op_current_task(World& w, Frame&, const Op&) {
    const asyncio::AnyTask task = asyncio::current_task();
    const Value name = task ? Value(std::string(task.get_name())) : Value();
    w.log("current_task -> " + name.show());
}

void op_all_tasks(World& w, Frame&, const Op&) {
    w.log("all_tasks -> " + std::to_string(asyncio::all_tasks().size()));
}

void op_new_future(World& w, Frame&, const Op& op) {
    w.keep(op.as, FutureRef(w.loop().create_future<Value>()));
    w.log("new_future " + op.as);
}

void op_set_result(World& w, Frame& f, const Op& op) {
    w.future(f, op.target()).set_result(op.value ? w.evaluate(f, *op.value) : Value());
    w.log_done(op);
}

void op_set_exception(World& w, Frame& f, const Op& op) {
    w.future(f, op.target()).set_exception(make_error(*op.exc));
    w.log_done(op);
}

void op_drop(World& w, Frame&, const Op& op) {
    w.log_done(op);
    w.drop(op.target());
}

// ---- Timeouts and task groups ------------------------------------------------------------------

using TimeoutPtr = std::shared_ptr<asyncio::Timeout>;

void op_timeout_new(World& w, Frame&, const Op& op) {
    w.set(op.as, TimeoutPtr(new asyncio::Timeout(asyncio::timeout(delay_of(op.t)))));
}

void op_reschedule(World& w, Frame&, const Op& op) {
    asyncio::Timeout& timeout = *w.get<TimeoutPtr>(op.target());
    if (op.at) {
        timeout.reschedule(deadline_of(*op.at));
    } else {
        timeout.reschedule(w.loop().time() + seconds(*op.in));
    }
    w.log_done(op);
}

std::int64_t ticks_of(asyncio::TimePoint time) {
    return std::chrono::floor<seconds>(time.time_since_epoch()).count();
}

void op_when(World& w, Frame&, const Op& op) {
    const std::optional<asyncio::TimePoint> when = w.get<TimeoutPtr>(op.target())->when();
    w.log_result(op, when ? Value(ticks_of(*when)) : Value());
}

void op_expired(World& w, Frame&, const Op& op) {
    w.log_result(op, Value(w.get<TimeoutPtr>(op.target())->expired()));
}

void op_group_new(World& w, Frame&, const Op& op) {
    w.set(op.as, std::make_shared<asyncio::TaskGroup>());
}

// ---- Synchronization ---------------------------------------------------------------------------

// Calls `fn` with the lock in a slot: everything that can be acquired.
template <class F>
void with_lock(World& w, const Op& op, F fn) {
    Thing& thing = w.thing(op.target());
    if (auto* lock = std::get_if<std::shared_ptr<asyncio::Lock>>(&thing)) return fn(**lock);
    if (auto* cond = std::get_if<std::shared_ptr<asyncio::Condition>>(&thing)) return fn(**cond);
    if (auto* sem = std::get_if<std::shared_ptr<asyncio::Semaphore>>(&thing)) return fn(**sem);
    fn(*std::get<std::shared_ptr<asyncio::BoundedSemaphore>>(thing));
}

void op_release(World& w, Frame&, const Op& op) {
    with_lock(w, op, [](auto& lock) { lock.release(); });
    w.log_done(op);
}

void op_locked(World& w, Frame&, const Op& op) {
    bool locked = false;
    with_lock(w, op, [&](auto& lock) { locked = lock.locked(); });
    w.log_result(op, Value(locked));
}

asyncio::Event& event(World& w, const Op& op) {
    return *w.get<std::shared_ptr<asyncio::Event>>(op.target());
}

void op_ev_set(World& w, Frame&, const Op& op) {
    event(w, op).set();
    w.log_done(op);
}

void op_ev_clear(World& w, Frame&, const Op& op) {
    event(w, op).clear();
    w.log_done(op);
}

void op_ev_is_set(World& w, Frame&, const Op& op) {
    w.log_result(op, Value(event(w, op).is_set()));
}

void op_notify(World& w, Frame& f, const Op& op) {
    const std::int64_t n = op.n ? w.evaluate(f, *op.n).integer() : 1;
    w.get<std::shared_ptr<asyncio::Condition>>(op.target())->notify(static_cast<std::size_t>(n));
    w.log_done(op);
}

void op_notify_all(World& w, Frame&, const Op& op) {
    w.get<std::shared_ptr<asyncio::Condition>>(op.target())->notify_all();
    w.log_done(op);
}

void op_bar_info(World& w, Frame&, const Op& op) {
    const auto& barrier = *w.get<std::shared_ptr<asyncio::Barrier>>(op.target());
    Value::List info;
    info.push_back(to_value(barrier.parties()));
    info.push_back(to_value(barrier.n_waiting()));
    info.push_back(to_value(barrier.broken()));
    w.log_result(op, Value(std::move(info)));
}

// Calls `fn` with the queue in a slot.
template <class F>
void with_queue(World& w, const Op& op, F fn) {
    Thing& thing = w.thing(op.target());
    if (auto* fifo = std::get_if<std::shared_ptr<Fifo>>(&thing)) return fn(**fifo);
    if (auto* lifo = std::get_if<std::shared_ptr<Lifo>>(&thing)) return fn(**lifo);
    fn(*std::get<std::shared_ptr<Priority>>(thing));
}

void op_put_nowait(World& w, Frame& f, const Op& op) {
    with_queue(w, op, [&](auto& queue) { queue.put_nowait(w.evaluate(f, *op.value)); });
    w.log_done(op);
}

void op_get_nowait(World& w, Frame& f, const Op& op) {
    Value item;
    with_queue(w, op, [&](auto& queue) { item = queue.get_nowait(); });
    w.log_result(op, item);
    if (!op.as.empty()) f.locals[op.as] = std::move(item);
}

void op_task_done(World& w, Frame&, const Op& op) {
    with_queue(w, op, [](auto& queue) { queue.task_done(); });
    w.log_done(op);
}

void op_q_info(World& w, Frame&, const Op& op) {
    Value::List info;
    with_queue(w, op, [&](auto& queue) {
        info.push_back(to_value(queue.qsize()));
        info.push_back(to_value(queue.empty()));
        info.push_back(to_value(queue.full()));
        info.push_back(to_value(queue.maxsize()));
    });
    w.log_result(op, Value(std::move(info)));
}

void op_shutdown(World& w, Frame&, const Op& op) {
    with_queue(w, op, [&](auto& queue) { queue.shutdown(op.immediate); });
    w.log_done(op);
}

// ---- Callbacks of the loop ---------------------------------------------------------------------

// Sets `handle` to what was scheduled, and prints it.
void scheduled(World& w, const Op& op, Thing handle, const std::string& text) {
    if (!op.as.empty()) w.set(op.as, std::move(handle));
    w.log(text + op.callback);
}

auto caller(World& w, const Op& op) {
    const Callback& callback = w.callback(op.callback);
    return [&w, &callback] { run_callback(w, callback, nullptr); };
}

void op_call_soon(World& w, Frame&, const Op& op) {
    scheduled(w, op, w.loop().call_soon(caller(w, op), {.context = w.context(op)}), "call_soon ");
}

void op_call_later(World& w, Frame&, const Op& op) {
    scheduled(w, op, w.loop().call_later(seconds(*op.t), caller(w, op), {.context = w.context(op)}),
              "call_later " + std::to_string(*op.t) + " ");
}

void op_call_at(World& w, Frame&, const Op& op) {
    scheduled(w, op, w.loop().call_at(deadline_of(op.t), caller(w, op), {.context = w.context(op)}),
              "call_at " + std::to_string(*op.t) + " ");
}

asyncio::Handle handle(World& w, const Op& op) {
    Thing& thing = w.thing(op.target());
    if (auto* timer = std::get_if<asyncio::TimerHandle>(&thing)) return *timer;
    return std::get<asyncio::Handle>(thing);
}

void op_handle_cancel(World& w, Frame&, const Op& op) {
    handle(w, op).cancel();
    w.log_done(op);
}

void op_handle_cancelled(World& w, Frame&, const Op& op) {
    w.log_result(op, Value(handle(w, op).cancelled()));
}

void op_handle_when(World& w, Frame&, const Op& op) {
    w.log_result(op, Value(ticks_of(w.get<asyncio::TimerHandle>(op.target()).when())));
}

// ---- Context variables -------------------------------------------------------------------------

Variable& variable(World& w, const std::string& slot) {
    return *w.get<std::shared_ptr<Variable>>(slot);
}

void op_cv_set(World& w, Frame& f, const Op& op) {
    const Value value = w.evaluate(f, *op.value);
    Token token = variable(w, op.target()).set(value);
    if (!op.as.empty()) w.set(op.as, std::move(token));
    w.log("cv_set " + op.target() + " " + value.show());
}

void op_cv_get(World& w, Frame& f, const Op& op) {
    const Variable& v = variable(w, op.target());
    w.log_result(op, op.fallback ? v.get(w.evaluate(f, *op.fallback)) : v.get());
}

void op_cv_reset(World& w, Frame&, const Op& op) {
    variable(w, op.target()).reset(w.get<Token>(op.token));
    w.log_done(op);
}

void op_copy_context(World& w, Frame&, const Op& op) {
    w.set(op.as, asyncio::copy_context());
    w.log("copy_context " + op.as);
}

void op_ctx_get(World& w, Frame&, const Op& op) {
    const std::optional<Value> value = w.context(op)->get(variable(w, op.target()));
    w.log("ctx_get " + op.context + " " + op.target() + " -> " + value.value_or(Value()).show());
}

void op_ctx_run(World& w, Frame&, const Op& op) {
    // A handle of its own: the callback may put another context in the slot.
    const asyncio::Context context = *w.context(op);
    context.run([&] { run_callback(w, w.callback(op.callback), nullptr); });
    w.log("ctx_run " + op.context);
}

// ---- Asynchronous generators -------------------------------------------------------------------

void op_gen_new(World& w, Frame& f, const Op& op) {
    const Body& body = w.body(op.body_name);
    w.keep(op.as, generate(w, body, w.evaluate(f, op.arguments)));
}

const std::unordered_map<std::string, PlainOp> kPlainOps = {
    {"log", op_log},
    {"set", op_set},
    {"incr", op_incr},
    {"start", op_start},
    {"spawn", op_spawn},
    {"cancel", op_cancel},
    {"uncancel", op_uncancel},
    {"cancelling", op_cancelling},
    {"done", op_done},
    {"cancelled", op_cancelled},
    {"result", op_result},
    {"exception", op_exception},
    {"get_name", op_get_name},
    {"set_name", op_set_name},
    {"add_callback", op_add_callback},
    {"remove_callback", op_remove_callback},
    {"current_task", op_current_task},
    {"all_tasks", op_all_tasks},
    {"new_future", op_new_future},
    {"set_result", op_set_result},
    {"set_exception", op_set_exception},
    {"drop", op_drop},
    {"timeout_new", op_timeout_new},
    {"reschedule", op_reschedule},
    {"when", op_when},
    {"expired", op_expired},
    {"group_new", op_group_new},
    {"release", op_release},
    {"locked", op_locked},
    {"ev_set", op_ev_set},
    {"ev_clear", op_ev_clear},
    {"ev_is_set", op_ev_is_set},
    {"notify", op_notify},
    {"notify_all", op_notify_all},
    {"bar_info", op_bar_info},
    {"put_nowait", op_put_nowait},
    {"get_nowait", op_get_nowait},
    {"task_done", op_task_done},
    {"q_info", op_q_info},
    {"shutdown", op_shutdown},
    {"call_soon", op_call_soon},
    {"call_later", op_call_later},
    {"call_at", op_call_at},
    {"handle_cancel", op_handle_cancel},
    {"handle_cancelled", op_handle_cancelled},
    {"handle_when", op_handle_when},
    {"cv_set", op_cv_set},
    {"cv_get", op_cv_get},
    {"cv_reset", op_cv_reset},
    {"copy_context", op_copy_context},
    {"ctx_get", op_ctx_get},
    {"ctx_run", op_ctx_run},
    {"gen_new", op_gen_new},
};

}  // namespace

PlainOp find_plain_op(const std::string& name) {
    const auto found = kPlainOps.find(name);
    return found == kPlainOps.end() ? nullptr : found->second;
}

}  // namespace conformance

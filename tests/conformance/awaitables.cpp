// Awaitable expressions, and the operations of locks and queues that can be awaited.
#include <chrono>
#include <memory>
#include <utility>

#include "ops.hpp"

namespace conformance {
namespace {

using asyncio::Coroutine;
using std::chrono::seconds;

Coroutine<Value> sleep_for(Ticks time, Value result) {
    co_return co_await asyncio::sleep(seconds(*time), std::move(result));
}

template <class L>
Coroutine<Value> acquire(std::shared_ptr<L> lock) {
    co_await lock->acquire();
    co_return Value(true);
}

Coroutine<Value> wait_event(std::shared_ptr<asyncio::Event> event) {
    const bool was_set = co_await event->wait();
    co_return Value(was_set);
}

Coroutine<Value> wait_condition(std::shared_ptr<asyncio::Condition> condition) {
    const bool notified = co_await condition->wait();
    co_return Value(notified);
}

Coroutine<Value> wait_barrier(std::shared_ptr<asyncio::Barrier> barrier) {
    const auto index = co_await barrier->wait();
    co_return to_value(index);
}

template <class Q>
Coroutine<Value> get(std::shared_ptr<Q> queue) {
    co_return co_await queue->get();
}

template <class Q>
Coroutine<Value> put(std::shared_ptr<Q> queue, Value item) {
    co_await queue->put(std::move(item));
    co_return Value();
}

template <class Q>
Coroutine<Value> join(std::shared_ptr<Q> queue) {
    co_await queue->join();
    co_return Value();
}

Coroutine<Value> acquire(const Thing& thing) {
    if (auto* lock = std::get_if<std::shared_ptr<asyncio::Lock>>(&thing)) return acquire(*lock);
    if (auto* cond = std::get_if<std::shared_ptr<asyncio::Condition>>(&thing)) {
        return acquire(*cond);
    }
    if (auto* sem = std::get_if<std::shared_ptr<asyncio::Semaphore>>(&thing)) return acquire(*sem);
    return acquire(std::get<std::shared_ptr<asyncio::BoundedSemaphore>>(thing));
}

// Calls `fn` with the queue in a slot, shared.
template <class F>
Coroutine<Value> with_queue(const Thing& thing, F fn) {
    if (auto* fifo = std::get_if<std::shared_ptr<Fifo>>(&thing)) return fn(*fifo);
    if (auto* lifo = std::get_if<std::shared_ptr<Lifo>>(&thing)) return fn(*lifo);
    return fn(std::get<std::shared_ptr<Priority>>(thing));
}

Coroutine<Value> operation(World& w, Frame& f, const Awaitable& a) {
    const Thing& thing = w.thing(a.name);
    switch (a.kind) {
        case Awaitable::Kind::acquire:
            return acquire(thing);
        case Awaitable::Kind::ev_wait:
            return wait_event(std::get<std::shared_ptr<asyncio::Event>>(thing));
        case Awaitable::Kind::cond_wait:
            return wait_condition(std::get<std::shared_ptr<asyncio::Condition>>(thing));
        case Awaitable::Kind::bar_wait:
            return wait_barrier(std::get<std::shared_ptr<asyncio::Barrier>>(thing));
        case Awaitable::Kind::get:
            return with_queue(thing, [](const auto& queue) { return get(queue); });
        case Awaitable::Kind::put: {
            Value item = w.evaluate(f, a.value);
            return with_queue(thing, [&](const auto& queue) { return put(queue, item); });
        }
        default:
            return with_queue(thing, [](const auto& queue) { return join(queue); });
    }
}

std::vector<Prepared> prepare_all(World& w, Frame& f, const std::vector<Awaitable>& awaitables) {
    std::vector<Prepared> prepared;
    for (const Awaitable& a : awaitables) prepared.push_back(prepare(w, f, a));
    return prepared;
}

}  // namespace

asyncio::Delay delay_of(const Ticks& ticks) {
    return ticks ? asyncio::Delay(seconds(*ticks)) : asyncio::Delay(std::nullopt);
}

asyncio::Deadline deadline_of(const Ticks& ticks) {
    if (!ticks) return asyncio::Deadline(std::nullopt);
    return asyncio::Deadline(asyncio::TimePoint(seconds(*ticks)));
}

Prepared prepare(World& w, Frame& f, const Awaitable& a) {
    switch (a.kind) {
        case Awaitable::Kind::slot:
            return w.future(f, a.name);
        case Awaitable::Kind::gather:
            return gather(prepare_all(w, f, a.inner), a.return_exceptions);
        case Awaitable::Kind::shield:
            return shield(prepare(w, f, a.inner.front()));
        case Awaitable::Kind::body:
            return invoke(w, w.body(a.name), w.evaluate(f, a.arguments));
        case Awaitable::Kind::sleep:
            return sleep_for(a.time, w.evaluate(f, a.value));
        case Awaitable::Kind::wait_for:
            return wait_for(prepare(w, f, a.inner.front()), delay_of(a.time));
        default:
            return operation(w, f, a);
    }
}

}  // namespace conformance

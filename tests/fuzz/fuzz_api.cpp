// The public API with whatever a program may pass: extremes of every number, NaN, empty and
// moved-from handles, futures of another loop, a closed loop, cancels at any moment. The input is a
// program that several tasks share. Whatever it does, each call returns or raises an error that
// says something, every await ends once it is cancelled, and nothing is left when the loop closes:
// the sanitizers, an alarm and the leak check at the end of the process tell.
//
// Most inputs run on virtual time, so that they can be played again; every eighth on a real loop.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzz_support.hpp"

namespace {

using namespace fuzz;

struct World {
    explicit World(EventLoop& l, bool real_time) : loop(l), real(real_time) {
        closed->close();
        const auto made = [](auto& list, auto handle) { list.push_back(std::move(handle)); };
        made(futures, Future<int>(nullptr));
        made(futures, foreign->create_future<int>());
        made(futures, closed_future());
        made(tasks, Task<int>());
    }
    Future<int> closed_future() {
        const auto other = VirtualTimeEventLoop::create();
        Future<int> f = other->create_future<int>();
        other->close();
        return f;
    }

    EventLoop& loop;
    bool real;
    std::unique_ptr<EventLoop> foreign = VirtualTimeEventLoop::create();
    std::unique_ptr<EventLoop> closed = VirtualTimeEventLoop::create();
    std::vector<Future<int>> futures;
    std::vector<Task<int>> tasks;
    std::vector<Handle> handles;
    std::vector<TimerHandle> timers;
    std::vector<CallbackId> callbacks;
    std::vector<AsyncGenerator<int>> generators;
    std::vector<std::optional<Context>> contexts;
    Queue<int> queue{2};
    PriorityQueue<int> priorities{0};
    LifoQueue<int> stack{1};
    Lock lock;
    Event event;
    Condition condition{lock};
    Semaphore semaphore{1};
    BoundedSemaphore bounded{2};
    Barrier barrier{2};
    StreamReader reader{64};
    ContextVar<int> variable{"fuzz", 0};
    int depth = 0;
};

Delay delay_of(World& w, Input& in) {
    switch (in.below(w.real ? 7u : 14u)) {
        case 0:
            return 0s;
        case 1:
            return -1s;
        case 2:
            return 1ns;
        case 3:
            return Duration::min();
        case 4:
            return std::chrono::duration<double>(-kInfinity);
        case 5:
            return 10us;
        case 6:
            return std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN());
        case 7:
            return Duration::max();
        case 8:
            return std::chrono::duration<double>(kInfinity);
        case 9:
            return std::nullopt;
        case 10:
            return std::chrono::hours::max();
        case 11:
            return std::chrono::duration<long double>(1e30L);
        case 12:
            return 1s;
        default:
            return std::chrono::duration<float>(0.1f);
    }
}

Future<int> future_of(World& w, Input& in) { return w.futures[in.below(w.futures.size())]; }
Task<int> task_of(World& w, Input& in) { return w.tasks[in.below(w.tasks.size())]; }
Future<int> any_of(World& w, Input& in) {
    return in.below(2) ? future_of(w, in) : Future<int>(task_of(w, in));
}

AsyncGenerator<int> counting(int n) {
    for (int i = 0; i < n; ++i) {
        co_await sleep(0s);
        co_yield i;
    }
}

Coroutine<int> act(World& w, Input& in, int steps);

// Awaits anything, for a while, and looks at what became of it.
template <class A>
Coroutine<> await(World& w, Input& in, const char* what, A awaitable) {
    trace(what);
    const Delay limit = w.real ? Delay(1ms) : Delay(50ms);
    if (in.below(4) == 0) {
        auto plain = co_await as_result(wait_for(std::move(awaitable), delay_of(w, in)));
        if (plain.error()) look_at(plain.error());
        co_return;
    }
    auto result = co_await as_result(wait_for(std::move(awaitable), limit));
    if (result.error()) look_at(result.error());
}

void call_something(World& w, Input& in) {
    switch (in.below(44)) {
        case 0:
            return attempt("create_future",
                           [&] { w.futures.push_back(w.loop.create_future<int>()); });
        case 1:
            return attempt("set_result", [&] { future_of(w, in).set_result(1); });
        case 2:
            return attempt("set_exception",
                           [&] { future_of(w, in).set_exception(ValueError("no")); });
        case 3:
            return attempt("set_exception null",
                           [&] { future_of(w, in).set_exception(std::exception_ptr()); });
        case 4:
            return attempt("cancel", [&] { any_of(w, in).cancel("why"); });
        case 5:
            return attempt("result", [&] { any_of(w, in).result(); });
        case 6:
            return attempt("exception", [&] { any_of(w, in).exception(); });
        case 7:
            return attempt("add_done_callback", [&] {
                w.callbacks.push_back(any_of(w, in).add_done_callback([](Future<int>) {}));
            });
        case 8:
            return attempt("remove_done_callback", [&] {
                if (w.callbacks.empty()) return;
                any_of(w, in).remove_done_callback(w.callbacks[in.below(w.callbacks.size())]);
            });
        case 9:
            return attempt("repr", [&] { repr(any_of(w, in)); });
        case 10:
            return attempt("get_loop", [&] { any_of(w, in).get_loop(); });
        case 11:
            if (w.depth > 40) return;
            ++w.depth;
            return attempt("create_task",
                           [&] { w.tasks.push_back(w.loop.create_task(act(w, in, 3))); });
        case 12:
            return attempt("create_task eager", [&] {
                if (w.depth++ > 40) return;
                w.tasks.push_back(
                    w.loop.create_task(act(w, in, 2), {.name = "eager", .eager_start = true}));
            });
        case 13:
            return attempt("create_task closed", [&] { w.closed->create_task(act(w, in, 1)); });
        case 14:
            return attempt("uncancel", [&] {
                Task<int> t = task_of(w, in);
                t.cancelling();
                t.uncancel();
            });
        case 15:
            return attempt("get_stack",
                           [&] { task_of(w, in).get_stack(static_cast<int>(number(in))); });
        case 16:
            return attempt("set_name", [&] { task_of(w, in).set_name(std::string(300, 'n')); });
        case 17:
            return attempt("call_soon", [&] { w.handles.push_back(w.loop.call_soon([] {})); });
        case 18:
            return attempt("call_soon closed", [&] { w.closed->call_soon([] {}); });
        case 19:
            return attempt("call_later",
                           [&] { w.timers.push_back(w.loop.call_later(delay_of(w, in), [] {})); });
        case 20:
            return attempt("call_at", [&] {
                const Duration ns(number(in));
                w.timers.push_back(w.loop.call_at(TimePoint(ns), [] {}));
            });
        case 21:
            return attempt("handle cancel", [&] {
                if (!w.handles.empty()) w.handles[in.below(w.handles.size())].cancel();
                if (!w.timers.empty()) w.timers[in.below(w.timers.size())].cancel();
                Handle().cancel();
            });
        case 22:
            return attempt("empty handle", [&] { TimerHandle().when(); });
        case 23:
            return attempt("put_nowait", [&] { w.queue.put_nowait(1); });
        case 24:
            return attempt("get_nowait", [&] { w.queue.get_nowait(); });
        case 25:
            return attempt("task_done", [&] { w.queue.task_done(); });
        case 26:
            return attempt("shutdown", [&] {
                if (in.below(8) == 0) w.stack.shutdown(in.below(2));
            });
        case 27:
            return attempt("Queue maxsize", [&] {
                Queue<int> q(static_cast<int>(number(in)));
                q.put_nowait(1);
                repr(q);
            });
        case 28:
            return attempt("Semaphore", [&] {
                Semaphore s(number(in));
                s.release();
                repr(s);
            });
        case 29:
            return attempt("Barrier", [&] {
                Barrier b(number(in));
                repr(b);
            });
        case 30:
            return attempt("release", [&] { w.lock.release(); });
        case 31:
            return attempt("semaphore release", [&] {
                w.semaphore.release();
                w.bounded.release();
            });
        case 32:
            return attempt("event", [&] {
                if (in.below(2)) return w.event.set();
                w.event.clear();
            });
        case 33:
            return attempt("notify", [&] { w.condition.notify(static_cast<int>(number(in))); });
        case 34:
            return attempt("feed", [&] {
                const unsigned what = in.below(8);
                if (what == 0) return w.reader.feed_eof();
                if (what == 1) return w.reader.set_exception(ValueError("fed"));
                w.reader.feed_data("some\n");
            });
        case 35:
            return attempt("limit", [&] { StreamReader r(static_cast<std::size_t>(number(in))); });
        case 36:
            return attempt("shield", [&] { w.futures.push_back(shield(any_of(w, in))); });
        case 37:
            return attempt("context", [&] {
                const auto token = w.variable.set(static_cast<int>(in.byte()));
                if (in.below(2)) w.variable.reset(token);
                if (in.below(2)) w.variable.reset(token);
                copy_context().run([&] { w.variable.get(); });
            });
        case 38:
            return attempt("run inside", [&] { w.loop.run_forever(); });
        case 39:
            return attempt("run_until_complete inside",
                           [&] { w.loop.run_until_complete(any_of(w, in)); });
        case 40:
            return attempt("close inside", [&] { w.loop.close(); });
        case 41:
            return attempt("add_reader",
                           [&] { w.loop.add_reader(static_cast<int>(number(in)) | ~0xff, [] {}); });
        case 42:
            return attempt("moved from", [&] {
                Future<int> f = w.loop.create_future<int>();
                const Future<int> g = std::move(f);
                f.done();  // NOLINT(bugprone-use-after-move): that is what is tried
            });
        default:
            return attempt("call_exception_handler", [&] {
                ExceptionContext context;
                context.message = std::string(1000, 'm');
                context.future = any_of(w, in);
                w.loop.call_exception_handler(context);
            });
    }
}

Coroutine<int> act(World& w, Input& in, int steps) {
    for (; steps > 0 && !in.empty(); --steps) {
        if (in.below(2)) {
            call_something(w, in);
            continue;
        }
        switch (in.below(28)) {
            case 0: {
                auto a = sleep(delay_of(w, in));
                co_await await(w, in, "sleep", std::move(a));
                break;
            }
            case 1:
                // Also of tasks that await this one, in circles, which a cancel is to end.
                co_await await(w, in, "future", any_of(w, in));
                break;
            case 2: {
                auto a = w.queue.put(1);
                co_await await(w, in, "put", std::move(a));
                break;
            }
            case 3: {
                auto a = w.queue.get();
                co_await await(w, in, "get", std::move(a));
                break;
            }
            case 4: {
                auto a = w.priorities.get();
                co_await await(w, in, "priority get", std::move(a));
                break;
            }
            case 5: {
                auto a = w.stack.put(3);
                co_await await(w, in, "stack put", std::move(a));
                break;
            }
            case 6: {
                auto a = w.queue.join();
                co_await await(w, in, "join", std::move(a));
                break;
            }
            case 7: {
                auto a = w.lock.acquire();
                co_await await(w, in, "acquire", std::move(a));
                break;
            }
            case 8: {
                auto a = w.semaphore.acquire();
                co_await await(w, in, "semaphore", std::move(a));
                break;
            }
            case 9: {
                auto a = w.event.wait();
                co_await await(w, in, "event wait", std::move(a));
                break;
            }
            case 10: {
                auto a = w.condition.wait();
                co_await await(w, in, "condition wait", std::move(a));
                break;
            }
            case 11: {
                auto a = w.barrier.wait();
                co_await await(w, in, "barrier wait", std::move(a));
                break;
            }
            case 12: {
                auto a = in.below(2) ? w.barrier.abort() : w.barrier.reset();
                co_await await(w, in, "barrier", std::move(a));
                break;
            }
            case 13: {
                std::vector<Future<int>> some;
                for (unsigned n = in.below(4); n > 0; --n) some.push_back(any_of(w, in));
                attempt("gather", [&] {
                    w.callbacks.push_back(gather(some).add_done_callback([](auto) {}));
                });
                break;
            }
            case 14: {
                std::vector<Future<int>> some;
                for (unsigned n = in.below(4); n > 0; --n) some.push_back(any_of(w, in));
                auto body = [&]() -> Coroutine<> {
                    const WaitOptions options{.timeout = delay_of(w, in),
                                              .return_when = static_cast<ReturnWhen>(in.below(4))};
                    co_await wait(some, options);
                };
                co_await await(w, in, "wait", body());
                break;
            }
            case 15: {
                std::vector<Future<int>> some;
                for (unsigned n = in.below(4); n > 0; --n) some.push_back(any_of(w, in));
                auto body = [&]() -> Coroutine<> {
                    auto done = as_completed(some, {.timeout = delay_of(w, in)});
                    while (auto t = co_await done.next()) trace("one more");
                };
                co_await await(w, in, "as_completed", body());
                break;
            }
            case 16: {
                auto body = [&]() -> Coroutine<> {
                    auto inner = [&](TaskGroup& group) -> Coroutine<> {
                        for (unsigned n = in.below(3); n > 0; --n) group.create_task(act(w, in, 2));
                        co_await act(w, in, 2);
                    };
                    co_await with(TaskGroup{}, inner);
                };
                co_await await(w, in, "TaskGroup", body());
                break;
            }
            case 17: {
                auto body = [&]() -> Coroutine<> {
                    const Delay limit = delay_of(w, in);
                    auto inner = [&](Timeout& t) -> Coroutine<> {
                        if (in.below(2)) t.reschedule(w.loop.time() + Duration(in.byte()));
                        if (in.below(4) == 0) t.reschedule(std::nullopt);
                        co_await act(w, in, 2);
                    };
                    co_await with(timeout(limit), inner);
                };
                co_await await(w, in, "timeout", body());
                break;
            }
            case 18:
                w.generators.push_back(counting(static_cast<int>(in.below(5))));
                break;
            case 19: {
                if (w.generators.empty()) break;
                auto a = w.generators[in.below(w.generators.size())].next();
                co_await await(w, in, "next", std::move(a));
                break;
            }
            case 20: {
                if (w.generators.empty()) break;
                auto a = w.generators[in.below(w.generators.size())].aclose();
                co_await await(w, in, "aclose", std::move(a));
                break;
            }
            case 21: {
                if (w.generators.empty()) break;
                auto a = w.generators[in.below(w.generators.size())].athrow(ValueError("thrown"));
                co_await await(w, in, "athrow", std::move(a));
                break;
            }
            case 22: {
                if (!w.generators.empty()) w.generators.pop_back();
                break;
            }
            case 23: {
                auto a = w.reader.read(static_cast<std::ptrdiff_t>(number(in)));
                co_await await(w, in, "read", std::move(a));
                break;
            }
            case 24: {
                auto a = w.reader.readuntil(in.below(2) ? "\n" : "");
                co_await await(w, in, "readuntil", std::move(a));
                break;
            }
            case 25: {
                auto a = w.reader.readexactly(static_cast<std::size_t>(in.below(8)));
                co_await await(w, in, "readexactly", std::move(a));
                break;
            }
            case 26: {
                auto a = w.loop.shutdown_asyncgens();
                if (in.below(8) == 0) co_await await(w, in, "shutdown_asyncgens", std::move(a));
                break;
            }
            default: {
                auto predicate = [&] { return in.below(2) == 0; };
                auto a = w.condition.wait_for(predicate);
                co_await await(w, in, "condition wait_for", std::move(a));
                break;
            }
        }
    }
    co_return steps;
}

Coroutine<> play(World& w, Input& in) {
    for (int i = 0; i < 3; ++i) w.tasks.push_back(w.loop.create_task(act(w, in, 60)));
    co_await sleep(w.real ? Delay(2ms) : Delay(1h));
    // Who waits for a condition takes its lock back first, however often it is cancelled.
    auto release = [&] {
        if (w.lock.locked()) w.lock.release();
    };
    co_await cancel_all(release);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    prepare();
    Input in(data, size);
    const unsigned kind = in.below(16);
    const auto loop = kind == 0   ? EpollEventLoop::create()
                      : kind == 1 ? UringEventLoop::create()
                                  : VirtualTimeEventLoop::create();
    loop->set_exception_handler([](EventLoop&, const ExceptionContext& context) {
        if (context.exception) look_at(context.exception);
    });
    {
        World world(*loop, kind < 2);
        loop->run_until_complete(play(world, in));
        loop->run_until_complete(loop->shutdown_asyncgens());
        loop->close();
    }
    ::alarm(0);
    return 0;
}

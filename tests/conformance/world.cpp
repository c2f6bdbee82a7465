#include "world.hpp"

#include <chrono>
#include <string_view>
#include <utility>

#include "errors.hpp"
#include "interpreter.hpp"

namespace conformance {
namespace {

// What the loop reports -> what the trace calls it. All else is not part of a trace.
struct ReportKind {
    std::string_view text;
    const char* name;
};

constexpr std::string_view kNeverRetrieved = "exception was never retrieved";

constexpr ReportKind kReports[] = {
    {"Exception in callback", "callback"},
    {"unhandled exception during asyncio.run() shutdown", "shutdown"},
    {"an error occurred during closing of asynchronous generator", "asyncgen"},
    {kNeverRetrieved, "never-retrieved"},
};

}  // namespace

void World::set_loop(asyncio::EventLoop& loop) {
    loop_ = &loop;
    loop.set_exception_handler(
        [this](asyncio::EventLoop&, const asyncio::ExceptionContext& context) { report(context); });
    if (scenario_.eager) loop.set_task_factory(asyncio::eager_task_factory);
}

void World::report(const asyncio::ExceptionContext& context) {
    const std::string_view message = context.message;
    for (const ReportKind& kind : kReports) {
        if (message.find(kind.text) == std::string_view::npos) continue;
        // Elsewhere it would depend on when an object dies.
        if (kind.text == kNeverRetrieved && !dropping_) continue;
        log(std::string("handler ") + kind.name + " " + show_error(context.exception));
    }
}

void World::create_objects() {
    counters_ = scenario_.counters;
    set("main", FutureRef(asyncio::AnyFuture(current_task())));
    for (const Declaration& d : scenario_.objects) {
        if (d.type == "future") {
            keep(d.name, FutureRef(loop_->create_future<Value>()));
        } else {
            set(d.name, create_object(d));
        }
    }
}

Thing World::create_object(const Declaration& d) {
    const std::int64_t one = d.number.value_or(1);
    const auto size = static_cast<std::size_t>(d.number.value_or(0));
    if (d.type == "lock") return std::make_shared<asyncio::Lock>();
    if (d.type == "event") return std::make_shared<asyncio::Event>();
    if (d.type == "condition") {
        if (d.lock.empty()) return std::make_shared<asyncio::Condition>();
        return std::make_shared<asyncio::Condition>(*get<std::shared_ptr<asyncio::Lock>>(d.lock));
    }
    if (d.type == "semaphore") return std::make_shared<asyncio::Semaphore>(one);
    if (d.type == "bounded_semaphore") return std::make_shared<asyncio::BoundedSemaphore>(one);
    if (d.type == "barrier") return std::make_shared<asyncio::Barrier>(one);
    if (d.type == "queue") return std::make_shared<Fifo>(size);
    if (d.type == "priority_queue") return std::make_shared<Priority>(size);
    if (d.type == "lifo_queue") return std::make_shared<Lifo>(size);
    if (d.type == "contextvar") {
        if (!d.fallback) return std::make_shared<Variable>(d.name);
        return std::make_shared<Variable>(d.name, *d.fallback);
    }
    throw std::runtime_error("unknown object type " + d.type);
}

asyncio::AnyTask World::current_task() const {
    // The loop may not be running: when it reports what failed at the end of the run.
    return asyncio::current_task(*loop_);
}

std::int64_t World::now() const {
    return std::chrono::floor<std::chrono::seconds>(loop_->time().time_since_epoch()).count();
}

void World::log(const std::string& text) {
    if (trace_.closed()) return;
    const asyncio::AnyTask task = current_task();
    std::string name = "-";
    if (task) {
        name = task.get_name();
        if (name.starts_with("Task-")) name = "~";
    }
    trace_.line("[" + std::to_string(now()) + "] " + name + ": " + text);
}

void World::log_result(const Op& op, const Value& value) {
    log(op.op + " " + op.target() + " -> " + value.show());
}

void World::log_done(const Op& op) { log(op.op + " " + op.target()); }

bool World::have_slots(const Frame& frame, const Op& op) {
    for (const std::string& slot : op.slots) {
        bool set = slots_.contains(slot);
        if (slot == "@self") set = static_cast<bool>(current_task());
        if (slot == "@fut") set = frame.future != nullptr;
        if (set) continue;
        log("unset " + slot);
        return false;
    }
    return true;
}

void World::keep(const std::string& slot, FutureRef future) {
    kept_.push_back(future);
    set(slot, std::move(future));
}

void World::keep(const std::string& slot, Generator generator) {
    kept_generators_.push_back(generator);
    set(slot, std::move(generator));
}

FutureRef World::future(const Frame& frame, const std::string& slot) {
    if (slot == "@self") return FutureRef(asyncio::AnyFuture(current_task()));
    if (slot == "@fut") return *frame.future;
    return get<FutureRef>(slot);
}

const asyncio::Context* World::context(const Op& op) {
    return op.context.empty() ? nullptr : &get<asyncio::Context>(op.context);
}

void World::drop(const std::string& slot) {
    auto forgotten = slots_.extract(slot);
    const FutureRef& future = std::get<FutureRef>(forgotten.mapped());
    std::erase_if(registrations_, [&](const Registration& r) { return r.future == future; });
    std::erase(kept_, future);
    dropping_ = true;
    forgotten = {};  // The last handle: the loop's exception handler runs here.
    dropping_ = false;
}

void World::add_callback(const FutureRef& future, const Callback& callback,
                         const asyncio::Context* context) {
    auto call = [this, &callback](const FutureRef& finished) {
        run_callback(*this, callback, &finished);
    };
    registrations_.push_back(
        {future, callback.name, future.add_done_callback(std::move(call), context)});
}

std::int64_t World::remove_callback(const FutureRef& future, const std::string& callback) {
    std::int64_t removed = 0;
    std::erase_if(registrations_, [&](const Registration& r) {
        if (r.callback != callback || !(r.future == future)) return false;
        removed += static_cast<std::int64_t>(future.remove_done_callback(r.id));
        return true;
    });
    return removed;
}

Value World::evaluate(const Frame& frame, const Expression& e) const {
    switch (e.kind) {
        case Expression::Kind::constant:
            return e.constant;
        case Expression::Kind::variable: {
            const auto found = frame.locals.find(e.name);
            return found == frame.locals.end() ? Value() : found->second;
        }
        case Expression::Kind::counter:
            return Value(counters_.at(e.name));
        case Expression::Kind::list:
            return Value(evaluate(frame, e.items));
    }
    return Value();
}

Value::List World::evaluate(const Frame& frame, const std::vector<Expression>& expressions) const {
    Value::List values;
    for (const Expression& e : expressions) values.push_back(evaluate(frame, e));
    return values;
}

bool World::evaluate(const Frame& frame, const Condition& c) const {
    const Value left = evaluate(frame, c.left);
    const Value right = evaluate(frame, c.right);
    if (c.comparison == "==") return left == right;
    if (c.comparison == "!=") return !(left == right);
    if (c.comparison == "<") return left < right;
    if (c.comparison == ">") return right < left;
    if (c.comparison == "<=") return !(right < left);
    return !(left < right);
}

}  // namespace conformance

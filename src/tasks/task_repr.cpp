// What repr() says of futures and tasks.
#include <sstream>
#include <string>
#include <typeinfo>

#include "asyncio/exceptions.hpp"
#include "asyncio/repr.hpp"
#include "asyncio/tasks.hpp"
#include "base/function_name.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

std::string place_text(std::source_location place) {
    return std::string(place.file_name()) + ':' + std::to_string(place.line());
}

std::string shortened(std::string text) {
    constexpr std::size_t kMost = 400;
    if (text.size() <= kMost) return text;
    return text.substr(0, kMost / 2) + "..." + text.substr(text.size() - kMost / 2);
}

std::string callback_text(const Node& node) {
    std::string text = node.label();
    if (const auto* c = dynamic_cast<const DoneCallback*>(&node)) {
        text += " at " + place_text(c->place());
    }
    return text;
}

// The first and the last one, as Python shows them.
std::string callbacks_text(const FutureBase& f) {
    const Node* const last = f.done() ? nullptr : f.callbacks_;
    if (!last) return {};
    const Node* const first = last->next_;
    std::size_t between = 0;
    for (const Node* c = first; c != last; c = c->next_) ++between;
    std::string text = " cb=[" + callback_text(*first);
    if (between > 2) text += ", <" + std::to_string(between - 1) + " more>";
    if (between == 2) text += ", <1 more>";
    if (first != last) text += ", " + callback_text(*last);
    return text + ']';
}

std::string outcome_text(FutureBase& f) {
    if (f.state_ == FutureState::kFinished) return " result=" + shortened(f.value_repr());
    if (f.state_ == FutureState::kFailed) return " exception=" + shortened(describe(f.exc_));
    return {};
}

std::string state_text(FutureBase& f) {
    switch (f.state_) {
        case FutureState::kPending:
            return f.is_task() && static_cast<TaskBase&>(f).cancel_requests_ > 0 ? "cancelling"
                                                                                 : "pending";
        case FutureState::kCancelled:
            return "cancelled";
        default:
            return "finished";
    }
}

// A task that was made of a callable and has not called it yet, or of what is no coroutine.
std::string given_text(TaskBase& t) {
    const Given given = given_to_helper(t.place_.function_name());
    std::string text = given.name + (t.done() ? "() done" : "() running");
    if (given.place.empty()) return text;
    return text + (t.done() ? ", defined at " : " at ") + given.place;
}

std::string coroutine_text(TaskBase& t) {
    if (is_helper(t.place_.function_name())) return given_text(t);
    const std::string name = function_name(t.place_.function_name());
    if (t.done()) return name + "() done, defined at " + place_text(t.place_);
    auto place = t.place_;
    for (PromiseBase* p = t.leaf_; p; p = p->parent()) {
        if (!is_helper(p->place.function_name())) place = p->place;  // the outermost
    }
    return name + "() running at " + place_text(place);
}

std::string future_text(FutureBase& f, bool with_what_it_waits_for);

// What a suspended task waits for. A lock's or a timer's waiter is a future to Python.
std::string waiting_text(TaskBase& t) {
    if (t.done() || !t.waiting_) return {};
    std::string text = " wait_for=";
    if (FutureBase* f = t.waiting_->as_future()) return text + future_text(*f, false);
    const auto* w = dynamic_cast<const SoleWaiter*>(t.waiting_);
    if (w && w->cancelled()) return text + "<Future cancelled>";
    if (w && w->done()) return text + "<Future finished result=None>";
    return text + "<Future pending cb=[" + t.label() + "]>";
}

// Only the outermost tells what it waits for: a chain of tasks may be 100,000 long, or a circle.
std::string future_text(FutureBase& f, bool with_what_it_waits_for) {
    std::string text = std::string("<") + f.class_name() + ' ' + state_text(f);
    if (f.is_task()) {
        auto& t = static_cast<TaskBase&>(f);
        text += " name=" + quoted(t.name()) + " coro=<" + coroutine_text(t) + '>';
        if (with_what_it_waits_for) text += waiting_text(t);
    }
    text += callbacks_text(f);
    text += outcome_text(f);
    if (!f.is_task() && f.core().debug && f.place_.line() != 0) {
        text += " created at " + place_text(f.place_);
    }
    return text + '>';
}

}  // namespace

std::string repr_future(const AnyFuture& future) {
    const auto& state = future.state();
    return state ? future_text(*state, true) : "<empty handle>";
}

#ifdef ASYNCIO_READY_ONCE
std::string name_of(Node& node) {
    auto* const task = dynamic_cast<TaskBase*>(&node);
    return task ? task->name() : repr_type(typeid(node));
}
#endif

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

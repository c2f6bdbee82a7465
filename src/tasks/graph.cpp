// The edges are the callbacks: whoever waits for a future stands in its list, itself (a task that
// awaits it) or by a node that knows whom it serves (Node::awaiters). The frames of a suspended
// task are a chain from the innermost one outwards, each with the place of its `co_await`.
#include "asyncio/graph.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "asyncio/detail/waiter.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/tasks.hpp"
#include "base/function_name.hpp"
#include "loop/loop.hpp"
#include "tasks/awaiters.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

void Awaiters::add(FutureBase* waiter) {
    if (!waiter || std::find(all_.begin(), all_.end(), waiter) != all_.end()) return;
    all_.push_back(waiter);
}

void Awaiters::add_those_of(const FutureBase& future) {
    Node* const last = future.done() ? nullptr : future.callbacks_;
    if (!last) return;
    for (Node* n = last->next_;; n = n->next_) {
        n->awaiters(*this);
        if (n == last) return;
    }
}

void TaskBase::awaiters(Awaiters& found) { found.add(this); }

void add_served(Awaiters& found, Serves how, const void* at) {
    // Safe because serve() was given what `how` says, which lives as long as the callback.
    switch (how) {
        case Serves::kNobody:
            return;
        case Serves::kFuture:
            return found.add(static_cast<FutureBase*>(const_cast<void*>(at)));
        case Serves::kFutureAt:
            return found.add(static_cast<const Ref<FutureBase>*>(at)->get());
        case Serves::kThoseOf:
            return found.add_those_of(*static_cast<const FutureBase*>(at));
        case Serves::kWaiter:
            return found.add(static_cast<const SoleWaiter*>(at)->task());
        case Serves::kLine:
            static_cast<WaitingLine*>(const_cast<void*>(at))->for_each([&](const Waiter& w) {
                if (!w.done()) found.add(w.task());
            });
    }
}

namespace {

// future_add_to_awaited_by().
class AwaitedBy final : public Serving<Node>, public Pooled {
  public:
    explicit AwaitedBy(Ref<FutureBase> waiter) noexcept
        : Serving(Serves::kFuture, waiter.get()), waiter_(std::move(waiter)) {}
    void run() override { delete this; }
    void drop() noexcept override { delete this; }
    const char* label() const noexcept override { return "awaited_by"; }

    static AwaitedBy* find(const FutureBase& future, const FutureBase& waiter) noexcept {
        Node* const last = future.done() ? nullptr : future.callbacks_;
        for (Node* n = last; n;) {
            n = n->next_;
            auto* const mark = dynamic_cast<AwaitedBy*>(n);
            if (mark && mark->waiter_.get() == &waiter) return mark;
            if (n == last) break;
        }
        return nullptr;
    }

  private:
    Ref<FutureBase> waiter_;
};

AnyFuture handle_of(FutureBase& f) { return AnyFuture::from_state(Ref<FutureBase>::share(&f)); }

// Innermost first.
std::vector<FrameCallGraphEntry> frames_from(const PromiseBase* innermost) {
    std::vector<FrameCallGraphEntry> frames;
    for (const PromiseBase* p = innermost; p; p = p->parent()) {
        if (is_helper(p->place.function_name())) continue;
        const bool generator = p->outcome() == PromiseBase::kGenerator;
        frames.push_back({p->place, generator ? FrameKind::ASYNC_GENERATOR : FrameKind::ASYNC});
    }
    return frames;
}

std::vector<FrameCallGraphEntry> suspended_frames(FutureBase& future) {
    const TaskBase* const task = future.done() ? nullptr : future.as_task();
    return frames_from(task ? task->leaf_ : nullptr);
}

void cut(std::vector<FrameCallGraphEntry>& frames, std::optional<int> limit) {
    if (!limit) return;
    const auto size = static_cast<std::ptrdiff_t>(frames.size());
    const std::ptrdiff_t kept = std::min<std::ptrdiff_t>(size, std::abs(std::ptrdiff_t{*limit}));
    if (*limit >= 0) {
        frames.erase(frames.begin() + kept, frames.end());
    } else {
        frames.erase(frames.begin(), frames.end() - kept);
    }
}

class Builder {
  public:
    explicit Builder(std::optional<int> limit) noexcept : limit_(limit) {}

    FutureCallGraph build(FutureBase& future, std::vector<FrameCallGraphEntry> frames) {
        constexpr std::size_t kDeepest = 1000;  // as deep as Python goes
        if (path_.size() == kDeepest) {
            throw RuntimeError("maximum depth of a call graph exceeded: 1000 futures");
        }
        FutureCallGraph graph;
        graph.future = handle_of(future);
        graph.call_stack = std::move(frames);
        cut(graph.call_stack, limit_);
        path_.push_back(&future);
        Awaiters found;
        found.add_those_of(future);
        for (FutureBase* waiter : found.all()) {
            // Those that wait for each other in a circle are shown once.
            if (std::find(path_.begin(), path_.end(), waiter) != path_.end()) continue;
            graph.awaited_by.push_back(build(*waiter, suspended_frames(*waiter)));
        }
        path_.pop_back();
        return graph;
    }

  private:
    std::optional<int> limit_;
    std::vector<FutureBase*> path_;
};

// What a compiler calls a coroutine begins with its return type.
FrameKind kind_of(std::source_location where) noexcept {
    const std::string_view name = where.function_name();
    if (name.find("AsyncGenerator<") != name.npos) return FrameKind::ASYNC_GENERATOR;
    const bool coroutine = name.find("Coroutine<") != name.npos || name.find(".Frame") != name.npos;
    return coroutine ? FrameKind::ASYNC : FrameKind::FUNCTION;
}

const char* tag_of(FrameKind kind) noexcept {
    switch (kind) {
        case FrameKind::ASYNC:
            return "async ";
        case FrameKind::ASYNC_GENERATOR:
            return "async generator ";
        case FrameKind::FUNCTION:
            return "";
    }
    return "";
}

void append_id(std::string& text, const AnyFuture& future) {
    char digits[24];
    std::snprintf(digits, sizeof digits, "id=%p)", future.id());
    text += digits;
}

void append_graph(std::string& text, const FutureCallGraph& graph, std::size_t level) {
    const std::string margin(level * 4, ' ');
    if (!text.empty()) text += '\n';
    const AnyTask task = as_task(graph.future);
    text += margin + (task ? "* Task(name=" + repr_string(task.get_name()) + ", " : "* Future(");
    append_id(text, graph.future);
    if (!graph.call_stack.empty()) text += '\n' + margin + "  + Call stack:";
    for (const FrameCallGraphEntry& entry : graph.call_stack) {
        text += '\n' + margin + "  |   File " + repr_string(entry.frame.file_name()) + ", line " +
                std::to_string(entry.frame.line()) + ", in " + tag_of(entry.kind) +
                function_name(entry.frame.function_name()) + "()";
    }
    if (!graph.awaited_by.empty()) text += '\n' + margin + "  + Awaited by:";
    for (const FutureCallGraph& waiter : graph.awaited_by) append_graph(text, waiter, level + 1);
}

}  // namespace

FutureCallGraph CurrentCallGraph::await_resume() const {
    return Builder(options_.limit).build(*thread_state.task, frames_from(frame_));
}

}  // namespace detail

std::optional<FutureCallGraph> capture_call_graph(const AnyFuture& future, CallGraphOptions options,
                                                  std::source_location where) {
    using namespace detail;
    const bool in_loop = running_loop() != nullptr;
    if (!future && !in_loop) {
        throw RuntimeError(
            "capture_call_graph() is called outside of a running event loop and no *future* to "
            "introspect was provided");
    }
    FutureBase* const current = in_loop ? thread_state.task : nullptr;
    FutureBase* const state = future ? future.state().get() : current;
    if (!state) return std::nullopt;
    check_thread(state->core());
    std::vector<FrameCallGraphEntry> frames;
    if (state == current) {
        frames.push_back({where, kind_of(where)});
    } else {
        frames = suspended_frames(*state);
    }
    return Builder(options.limit).build(*state, std::move(frames));
}

std::string format_call_graph(const AnyFuture& future, CallGraphOptions options,
                              std::source_location where) {
    const auto graph = capture_call_graph(future, options, where);
    return graph ? format_call_graph(*graph) : std::string();
}

std::string format_call_graph(const FutureCallGraph& graph) {
    std::string text;
    detail::append_graph(text, graph, 0);
    return text;
}

void print_call_graph(const AnyFuture& future, CallGraphOptions options,
                      std::source_location where) {
    std::ostream& out = options.file ? *options.file : std::cout;
    out << format_call_graph(future, options, where) << '\n';
}

void future_add_to_awaited_by(const AnyFuture& future, const AnyFuture& waiter) {
    if (!future || !waiter || future.done()) return;
    detail::FutureBase& state = *future.state();
    detail::check_thread(state.core());
    if (detail::AwaitedBy::find(state, *waiter.state())) return;
    state.add_node(new detail::AwaitedBy(waiter.state()), true);
}

void future_discard_from_awaited_by(const AnyFuture& future, const AnyFuture& waiter) {
    if (!future || !waiter) return;
    detail::FutureBase& state = *future.state();
    detail::check_thread(state.core());
    detail::AwaitedBy* const mark = detail::AwaitedBy::find(state, *waiter.state());
    if (mark && state.remove_node(mark)) mark->drop();
}

}  // namespace v1
}  // namespace asyncio

#include "tasks/reports.hpp"

#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "asyncio/tasks.hpp"
#include "asyncio/traceback.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {

void EventLoop::default_exception_handler(const ExceptionContext& context) {
    std::string text =
        context.message.empty() ? "Unhandled exception in event loop" : context.message;
    if (context.future) text += "\nfuture: " + asyncio::repr(context.future);
    if (context.handle) text += "\nhandle: " + context.handle.repr();
    if (context.task) text += "\ntask: " + asyncio::repr(context.task);
    if (context.transport) text += "\ntransport: " + context.transport.repr();
    if (context.exception) text += '\n' + format_exception(context.exception);
    log::write(log::Level::ERROR, text);
}

namespace {

bool leaves_the_loop(const std::exception_ptr& e) { return detail::is_exit_error(e); }

// EH-01: a handler runs in the context of the task or callback that it is told of.
class InContextOf {
  public:
    explicit InContextOf(const ExceptionContext& context) : outer_(detail::thread_state.context) {
        if (!enter(context.task) && !enter(context.future) && context.handle) {
            const Context own = context.handle.get_context();
            slot_ = detail::ContextSlot::use(&own);
            detail::thread_state.context = &slot_;
        }
    }
    InContextOf(const InContextOf&) = delete;
    InContextOf& operator=(const InContextOf&) = delete;
    ~InContextOf() { detail::thread_state.context = outer_; }

  private:
    bool enter(const AnyFuture& future) {
        const auto& state = future.state();
        if (!state || !state->is_task()) return false;
        // Safe because the flag says that it is a task; `context` keeps it alive.
        detail::thread_state.context = &static_cast<detail::TaskBase&>(*state).context_;
        return true;
    }
    detail::ContextSlot* outer_;
    detail::ContextSlot slot_;
};

void call_default(EventLoop& loop, const ExceptionContext& context, const char* meanwhile) {
    try {
        loop.default_exception_handler(context);
    } catch (const std::bad_alloc&) {
        log::write(log::Level::ERROR, context.message);
    } catch (...) {
        if (leaves_the_loop(std::current_exception())) throw;
        // EH-04: there is nobody left to tell but the log.
        log::write(log::Level::ERROR,
                   std::string("Exception in default exception handler") + meanwhile);
    }
}

void call_handler(EventLoop& loop, const ExceptionHandler& handler,
                  const ExceptionContext& context) {
    const InContextOf scope(context);
    try {
        handler(loop, context);
    } catch (...) {
        if (leaves_the_loop(std::current_exception())) throw;
        // EH-04: the default handler tells of both.
        ExceptionContext both = context;
        both.message =
            "Unhandled error in exception handler (which was told: " + context.message + ')';
        both.exception = std::current_exception();
        call_default(loop, both, " while handling an unexpected error in custom exception handler");
    }
}

}  // namespace

void EventLoop::call_exception_handler(const ExceptionContext& context) {
    try {
        const ExceptionHandler handler = impl_->exception_handler;
        if (handler) {
            call_handler(*this, handler, context);
        } else {
            call_default(*this, context, "");
        }
    } catch (const std::bad_alloc&) {
        // No memory to tell more. What a handler raises does not come here.
        log::write(log::Level::ERROR, context.message);
    }
}

namespace detail {

void report_exception(LoopCore& core, const ExceptionContext& context) noexcept {
    try {
        // On another thread than the loop's the public object could go meanwhile.
        std::optional<Loop::Idle> stays;
        if (!core.runs_here()) stays.emplace(static_cast<Loop&>(core));
        if (core.loop) {
            core.loop->call_exception_handler(context);
            return;
        }
        log::write(log::Level::ERROR, context.message + '\n' + format_exception(context.exception));
    } catch (...) {
        // KeyboardInterrupt from a handler: this may be a destructor, which cannot pass it on.
        log_current_exception("Exception in exception handler:\n");
    }
}

void report_callback_error(LoopCore& core, std::source_location where, const Handle& handle) {
    std::exception_ptr error = std::current_exception();
    if (is_exit_error(error)) std::rethrow_exception(std::move(error));
    tell_handler(core, "Exception in callback", [&](ExceptionContext& context) {
        context.message = std::string("Exception in callback at ") + where.file_name() + ':' +
                          std::to_string(where.line());
        context.exception = std::move(error);
        context.handle = handle;
    });
}

void run_watched(Loop& loop, Node& node) {
    TaskBase* task = nullptr;
    std::string who = "callback";
    if (auto* w = dynamic_cast<Waitable*>(&node)) task = w->as_task();
    try {
        if (auto* h = dynamic_cast<HandleState*>(&node)) {
            who = Handle(Ref<HandleState>::share(h)).repr();
        } else if (auto* c = dynamic_cast<DoneCallback*>(&node)) {
            who = std::string("<Handle callback at ") + c->place().file_name() + ':' +
                  std::to_string(c->place().line()) + '>';
        }
    } catch (const std::bad_alloc&) {
        // It is called all the same.
    }
    const auto kept = Ref<FutureBase>::share(task);
    const std::int64_t begin = loop.backend->now();
    node.run();
    const std::int64_t took = loop.backend->now() - begin;
    if (took < loop.loop->slow_callback_duration.count()) return;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.3f", static_cast<double>(took) / 1e9);
    try {
        if (task) who = asyncio::repr(AnyFuture::from_state(kept));
        log::write(log::Level::WARNING, "Executing " + who + " took " + seconds + " seconds");
    } catch (const std::bad_alloc&) {
        log::write(log::Level::WARNING, "Executing a callback took too long");
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

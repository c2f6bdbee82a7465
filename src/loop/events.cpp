#include "asyncio/events.hpp"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <ostream>

#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "os/fork.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- handles
// ---------------------------------------------------------------------------------------

HandleState::HandleState(LoopCore& core, ContextSlot context, std::source_location where,
                         bool timer)
    : is_timer_(timer), core_(core), context_(std::move(context)), where_(where) {
    timer_.owner = this;
    core.attach();
}

HandleState::~HandleState() { core_.detach(); }

void HandleState::run() {
    timer_.index = TimerEntry::kNotQueued;
    queued_ = false;
    struct Enter {
        ContextSlot* outer;
        HandleState* self;
        ~Enter() {
            thread_state.context = outer;
            self->called_ = false;
            if (!self->repeated_ || self->cancelled()) self->clear();
            self->release();
        }
    } enter{thread_state.context, this};
    if (cancelled()) return;
    called_ = true;
    thread_state.context = &context_;
    try {
        invoke();
    } catch (...) {
        // SC-07: the handler is told, the loop goes on; what is to leave the loop does so.
        report_callback_error(core_, where_, Handle(Ref<HandleState>::share(this)));
    }
}

void HandleState::drop() noexcept {
    timer_.index = TimerEntry::kNotQueued;
    queued_ = false;
    clear();
    release();
}

namespace {

// Takes a timer that another thread has cancelled out of the heap, on the loop's thread.
class TakeOut final : public Node {
  public:
    explicit TakeOut(Ref<HandleState> handle) noexcept : handle_(std::move(handle)) {}
    void run() override {
        handle_->withdraw();
        delete this;
    }
    void drop() noexcept override { delete this; }

  private:
    Ref<HandleState> handle_;
};

}  // namespace

void HandleState::cancel() noexcept {
    if (cancelled_.exchange(true)) return;
    if (core_.runs_here()) return withdraw();
    if (const Loop::Idle idle(static_cast<Loop&>(core_)); idle) return withdraw();
    // The loop is another thread's. An entry of the ready queue is skipped when its turn comes.
    if (!is_timer_) return;
    Node* const node = new (std::nothrow) TakeOut(Ref<HandleState>::share(this));
    if (node && !push_threadsafe(core_, node)) node->drop();
}

void HandleState::withdraw() noexcept {
    const auto self = Ref<HandleState>::share(this);
    if (timer_.queued()) {
        remove_timer(core_, timer_);
        release();
    }
    if (!called_) clear();
}

}  // namespace detail

std::string Handle::repr() const {
    if (!state_) return "<Handle empty>";
    std::string text = state_->is_timer() ? "<TimerHandle" : "<Handle";
    if (state_->cancelled()) text += " cancelled";
    if (state_->is_timer()) {
        text += " when=" + detail::repr_double(static_cast<double>(state_->timer().when) / 1e9);
    }
    const auto place = state_->place();
    return text + " callback at " + place.file_name() + ':' + std::to_string(place.line()) + '>';
}

std::ostream& operator<<(std::ostream& out, const Handle& handle) { return out << handle.repr(); }

// ---- the loop's public face
// ----------------------------------------------------------------------

namespace {

bool debug_from_environment() {
    const char* value = std::getenv("ASYNCIO_DEBUG");
    return value && *value && std::string_view(value) != "0";
}

}  // namespace

namespace {
void forget_current(const EventLoop* loop) noexcept;
}

EventLoop::EventLoop(detail::Loop* impl) : impl_(impl) {
    impl_->loop = this;
    set_debug(debug_from_environment());
    try {
        detail::list_loop(*impl_);
    } catch (const std::bad_alloc&) {
        // There is no destructor yet that would give its descriptors back.
        impl_->close();
        impl_->forget_public_object();
        impl_->orphan();
        throw;
    }
}

namespace {
// Set by a destructor for the operator delete that follows it.
thread_local bool left_running = false;

void log_unclosed(const EventLoop& loop) noexcept {
    try {
        log::write(log::Level::WARNING, "unclosed event loop " + loop.repr());
    } catch (const std::bad_alloc&) {
        log::write(log::Level::WARNING, "unclosed event loop");
    }
}
}  // namespace

// One that runs, on this thread or another, is left as it is, and its memory too: std::exit() was
// called in a task, say, and what is on the stack below uses it. As in CPython, whose __del__
// closes no running loop.
EventLoop::~EventLoop() {
    if (impl_->is_running()) {
        left_running = true;
        return;
    }
    if (!impl_->closed) {
        try {
            if (impl_->debug) log_unclosed(*this);
            close();
        } catch (const std::exception&) {
            // A destructor has nobody to raise it to.
            detail::log_current_exception("Exception while an event loop was closed:\n");
        }
    }
    forget_current(this);
    impl_->forget_public_object();
    impl_->orphan();
}

detail::LoopCore& EventLoop::core() noexcept { return *impl_; }

void EventLoop::run_forever() { impl_->run_forever(); }
bool EventLoop::run_once(Delay timeout) {
    return impl_->run_once(timeout.count() < 0 ? 0 : timeout.count());
}
void EventLoop::close() { impl_->close(); }
void EventLoop::stop() noexcept { impl_->stop(); }
bool EventLoop::is_running() const noexcept { return impl_->is_running(); }
bool EventLoop::is_closed() const noexcept { return impl_->closed; }

TimePoint EventLoop::time() const noexcept { return TimePoint(Duration(detail::loop_now(*impl_))); }

void EventLoop::add_handle(detail::HandleState& handle) {
    impl_->check_open();
    impl_->check_thread();
    impl_->take_posted();
    handle.retain_new();
    impl_->push_ready(&handle);
}

void EventLoop::add_handle_threadsafe(detail::HandleState& handle) {
    if (impl_->runs_here()) {
        impl_->check_open();
        impl_->take_posted();
        handle.retain_new();
        impl_->push_ready(&handle);
        return;
    }
    handle.retain_new();
    // Safe because the caller's reference to the handle keeps the loop.
    if (impl_->push_from_thread(handle)) return;
    handle.release();
    impl_->throw_closed();
}

void EventLoop::add_timer_after(detail::HandleState& handle, Delay delay) {
    if (delay.is_none()) throw TypeError("delay must not be None");
    impl_->check_open();
    impl_->check_thread();
    handle.timer().when = detail::saturating_add(impl_->now(), delay.count());
    impl_->add_timer(handle.timer());
    handle.retain_new();
}

void EventLoop::add_timer_at(detail::HandleState& handle, Deadline when) {
    if (when.is_none()) throw TypeError("when cannot be None");
    impl_->check_open();
    impl_->check_thread();
    handle.timer().when = when.count();
    impl_->now();  // whether it is due already is seen by the clock of now
    impl_->add_timer(handle.timer());
    handle.retain_new();
}

void EventLoop::add_watch(int fd, bool write, detail::Ref<detail::HandleState> handle) {
    impl_->check_open();
    impl_->check_thread();
    impl_->watch(fd, write, std::move(handle));
}

bool EventLoop::remove_watch(int fd, bool write) {
    check_thread(*impl_);
    return impl_->unwatch(fd, write);
}

void EventLoop::set_task_factory(TaskFactory factory) {
    impl_->task_factory = std::move(factory);
    impl_->has_task_factory = static_cast<bool>(impl_->task_factory);
}
TaskFactory EventLoop::get_task_factory() const { return impl_->task_factory; }
void eager_task_factory(EventLoop&, TaskOptions& options) {
    if (!options.eager_start) options.eager_start = true;
}

void EventLoop::set_debug(bool on) {
    impl_->debug = on;
    if (on) detail::debug_seen.store(true, std::memory_order_relaxed);
    if (impl_->backend) impl_->update_mode();
}
bool EventLoop::get_debug() const noexcept { return impl_->debug; }

void EventLoop::set_wait_hooks(detail::Function<void()> before, detail::Function<void()> after) {
    impl_->before_wait = std::move(before);
    impl_->after_wait = std::move(after);
}

void EventLoop::set_pick_next(detail::Function<std::size_t(std::size_t)> pick) {
    impl_->pick_next = std::move(pick);
    if (impl_->backend) impl_->update_mode();
}

const char* EventLoop::backend() const noexcept {
    return impl_->backend ? impl_->backend->name() : "closed";
}

std::string EventLoop::repr() const {
    const auto flag = [](bool b) { return b ? "True" : "False"; };
    const char* name = impl_->backend ? impl_->backend->class_name() : "EventLoop";
    return std::string("<") + name + " running=" + flag(is_running()) +
           " closed=" + flag(is_closed()) + " debug=" + flag(get_debug()) + '>';
}

std::ostream& operator<<(std::ostream& out, const EventLoop& loop) { return out << loop.repr(); }

// ---- errors
// -----------------------------------------------------------------------------------------

void EventLoop::set_exception_handler(ExceptionHandler handler) {
    impl_->exception_handler = std::move(handler);
}
ExceptionHandler EventLoop::get_exception_handler() const { return impl_->exception_handler; }

void EventLoop::default_exception_handler(const ExceptionContext& context) {
    std::string text =
        context.message.empty() ? "Unhandled exception in event loop" : context.message;
    if (context.future) text += "\nfuture: " + asyncio::repr(context.future);
    if (context.handle) text += "\nhandle: " + context.handle.repr();
    if (context.task) text += "\ntask: " + asyncio::repr(context.task);
    if (context.transport) text += "\ntransport: " + context.transport.repr();
    if (context.exception) text += '\n' + detail::format_exception(context.exception);
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

void log_current_exception(const char* text) noexcept {
    try {
        log::write(log::Level::ERROR, text + format_exception(std::current_exception()));
    } catch (const std::bad_alloc&) {
        log::write(log::Level::ERROR, text);
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

// ---- running until a future is done
// ---------------------------------------------------------------

namespace {

// Stops the loop when the future is done (S-11). KeyboardInterrupt and SystemExit stop it by
// themselves (S-61).
class StopWhenDone final : public DoneNode {
  public:
    StopWhenDone(Loop& loop, FutureBase& future) : loop_(loop), future_(future) {}
    void run() override {
        fired_ = true;
        if (future_.state_ == FutureState::kFailed && is_exit_error(future_.exc_)) return;
        loop_.stop();
    }
    void drop() noexcept override { fired_ = true; }
    const char* label() const noexcept override { return "run_until_complete()"; }
    bool fired() const noexcept { return fired_; }

  private:
    Loop& loop_;
    FutureBase& future_;
    bool fired_ = false;
};

}  // namespace

void check_can_run(EventLoop& loop) { loop.impl().check_can_run(); }

void check_same_loop(const FutureBase& future, const LoopCore& core) {
    if (&future.core() == &core) return;
    throw ValueError(
        "The future belongs to a different loop than the one specified as the loop argument");
}

void run_until_done(EventLoop& loop, FutureBase& future, bool hidden) {
    check_same_loop(future, loop.core());
    if (hidden) future.flags_ &= static_cast<std::uint16_t>(~FutureBase::kLogDestroyed);
    StopWhenDone stop(loop.impl(), future);
    future.add_node(&stop, true);
    // The node must leave the future or the queue before this frame goes.
    struct Remove {
        Loop& loop;
        FutureBase& future;
        StopWhenDone& stop;
        ~Remove() {
            if (stop.fired() || future.remove_node(&stop)) return;
            loop.forget(stop);
        }
    } remove{loop.impl(), future, stop};
    try {
        loop.run_forever();
    } catch (...) {
        // The exception that leaves the loop is also the task's: it has been seen.
        if (hidden && future.done() && !future.cancelled()) future.mark_retrieved();
        throw;
    }
    if (!future.done()) throw RuntimeError("Event loop stopped before Future completed.");
}

}  // namespace detail

// ---- which loop
// -------------------------------------------------------------------------------------

namespace {

// The thread's current loop; one that get_event_loop() made belongs to the thread.
struct CurrentLoop {
    EventLoop* loop = nullptr;
    std::unique_ptr<EventLoop> owned;
    EventLoop* of_parent = nullptr;  // the one before, in a child of fork(2); never destroyed
};
thread_local CurrentLoop current_loop;

// A loop that goes is no longer this thread's current one.
void forget_current(const EventLoop* loop) noexcept {
    if (current_loop.loop == loop) current_loop.loop = nullptr;
}

struct Registry {
    std::mutex mutex;
    std::vector<detail::Loop*> loops;
};
Registry& registry() {
    static Registry* const r = new Registry;  // outlives every thread-local loop
    return *r;
}

}  // namespace

namespace detail {

void list_loop(Loop& loop) {
    forks();  // what a fork needs is there with the first loop
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    r.loops.push_back(&loop);
}

void unlist_loop(Loop& loop) noexcept {
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    std::erase(r.loops, &loop);
}

void lock_loops() noexcept { registry().mutex.lock(); }
void unlock_loops() noexcept { registry().mutex.unlock(); }

void leave_loops_to_parent() noexcept {
    for (Loop* loop : registry().loops) loop->leave_to_parent();
    registry().loops.clear();
    current_loop.loop = nullptr;
    if (current_loop.owned) current_loop.of_parent = current_loop.owned.release();
}

}  // namespace detail

std::vector<EventLoop*> all_loops() {
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    std::vector<EventLoop*> loops;
    for (detail::Loop* l : r.loops) {
        if (l->loop) loops.push_back(l->loop);
    }
    return loops;
}

namespace detail {
BackendWrapper backend_wrapper = nullptr;
}

namespace {

std::unique_ptr<detail::Backend> wrapped(std::unique_ptr<detail::Backend> b) {
    return detail::backend_wrapper ? detail::backend_wrapper(std::move(b)) : std::move(b);
}

struct AnyLoop : EventLoop {
    explicit AnyLoop(std::unique_ptr<detail::Backend> b)
        : EventLoop(new detail::Loop(wrapped(std::move(b)))) {}
    static void* operator new(std::size_t size) { return ::operator new(size); }
    static void operator delete(void* p) noexcept {
        if (!std::exchange(left_running, false)) ::operator delete(p);
    }
};

}  // namespace

std::unique_ptr<EventLoop> EpollEventLoop::create() {
    return std::make_unique<AnyLoop>(detail::make_epoll_backend());
}

std::unique_ptr<EventLoop> UringEventLoop::create() {
    std::string why;
    if (auto backend = detail::make_uring_backend(why)) {
        return std::make_unique<AnyLoop>(std::move(backend));
    }
    log::write(log::Level::DEBUG, "no io_uring, epoll serves: " + why);
    return EpollEventLoop::create();
}

std::unique_ptr<EventLoop> VirtualTimeEventLoop::create() {
    return std::make_unique<AnyLoop>(detail::make_virtual_backend());
}

std::unique_ptr<EventLoop> new_event_loop() {
    const char* wanted = std::getenv("ASYNCIO_BACKEND");
    const std::string_view name = wanted ? wanted : "";
    if (name.empty() || name == "epoll") return EpollEventLoop::create();
    if (name == "io_uring") return UringEventLoop::create();
    if (name == "virtual") return VirtualTimeEventLoop::create();
    throw ValueError("ASYNCIO_BACKEND must be 'epoll', 'io_uring' or 'virtual', not " +
                     detail::quoted(name));
}

EventLoop& get_running_loop() { return *detail::running_core().loop; }

EventLoop& get_event_loop() {
    if (detail::LoopCore* const core = detail::running_loop()) return *core->loop;
    if (!current_loop.loop) {
        current_loop.owned = new_event_loop();
        current_loop.loop = current_loop.owned.get();
    }
    return *current_loop.loop;
}

void set_event_loop(EventLoop* loop) {
    current_loop.loop = loop;
    if (current_loop.owned.get() != loop) current_loop.owned.reset();
}

}  // namespace v1
}  // namespace asyncio

// Life and death of asynchronous generators; the calls themselves are in the header.
//
// Who keeps what alive. The frame: the handles, while there is one; a call that is suspended in it
// or was moved (a pin); nobody else. The state: the handles together, each pin, and the loop's list
// each count one. Handles may go on any thread, all else happens on the loop's: a last handle that
// goes elsewhere is told to the loop through its inbox, and if the loop has closed there is nothing
// left to do, since a closing loop destroys the frames in its list.
#include "asyncio/generators.hpp"

#include <cstdio>
#include <string>
#include <vector>

#include "asyncio/log.hpp"
#include "asyncio/tasks.hpp"
#include "base/function_name.hpp"
#include "loop/loop.hpp"
#include "tasks/reports.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

// Frames whose destruction was put off, since too many are being destroyed on this stack: a
// generator that owns a generator that owns a generator ... may be a hundred thousand deep.
struct Unwinding {
    std::uint32_t depth = 0;
    PromiseBase* pending = nullptr;  // linked by `link`, which a dying frame needs no more
};
thread_local Unwinding unwinding;

void destroy_without_recursion(PromiseBase& frame) noexcept {
    Unwinding& u = unwinding;
    if (u.depth >= kMaxDepth) {
        // Safe because nothing reads the link of this frame any more but the loop below.
        frame.link = reinterpret_cast<std::uintptr_t>(u.pending);
        u.pending = &frame;
        return;
    }
    ++u.depth;
    // Safe because the frame is suspended (at its start, a co_yield or its end) and its state, the
    // only owner, has given it up.
    destroy_frame(frame.handle());
    while (u.depth == 1 && u.pending) {
        PromiseBase* next = u.pending;
        // Safe because the lines above have stored the address of a PromiseBase or null there.
        u.pending = reinterpret_cast<PromiseBase*>(next->link);
        destroy_frame(next->handle());
    }
    --u.depth;
}

// The body of the task that closes a generator.
Coroutine<void> aclose(GeneratorClose call) {
    TaskBase& task = *thread_state.task;
    if (task.flags_ & FutureBase::kMustCancel) call.cancel(task.take_cancel());
    co_await call;
}

// A cancel before the first step (asyncio.run() cancels all tasks at its end) must not keep the
// generator from cleaning up: the task counts as started, and raises the CancelledError inside. So
// it is on CPython, where this task consists of the generator's own awaitable.
Task<void> create_closing_task(LoopCore& core, GeneratorClose call) {
    Task<void> task = start_task(core, aclose(std::move(call)), {});
    task.state()->flags_ |= FutureBase::kStarted;
    return task;
}

}  // namespace

// The loop's generators that have begun and have a frame, first begun first.
class GeneratorList final : public LoopService {
  public:
    static const ServiceKey key;
    explicit GeneratorList(LoopCore& owner) noexcept
        : LoopService(ServiceRank::kTasks), core(owner) {}

    void add(AsyncGenStateBase& g) noexcept {
        g.listed_in_ = this;
        g.references_.add();
        g.previous_ = last_;
        g.following_ = nullptr;
        (g.previous_ ? g.previous_->following_ : first_) = &g;
        last_ = &g;
    }

    void remove(AsyncGenStateBase& g) noexcept {
        g.listed_in_ = nullptr;
        (g.previous_ ? g.previous_->following_ : first_) = g.following_;
        (g.following_ ? g.following_->previous_ : last_) = g.previous_;
        g.release_memory();
    }

    struct Closing {
        std::vector<GeneratorClose> calls;
        std::vector<std::string> names;
    };
    // What shutdown_asyncgens() closes: each generator once.
    Closing claim() {
        Closing closing;
        for (AsyncGenStateBase* g = first_; g; g = g->following_) {
            if (g->claimed_) continue;
            closing.names.push_back(g->repr());
            closing.calls.emplace_back(g);
            g->claimed_ = true;
        }
        return closing;
    }

    // Last begun first: a generator that drives another one began before it, so the inner one goes
    // first, as when tasks are destroyed.
    void loop_closed() noexcept override {
        while (AsyncGenStateBase* g = last_) {
            g->references_.add();
            // One that is being driven belongs to a task of another loop by now.
            if (g->phase_ == AsyncGenState::AGEN_RUNNING) {
                g->unlist();
            } else {
                g->destroy_frame();
            }
            g->settle();
            g->release_memory();
        }
    }

    LoopCore& core;
    bool shut_down = false;  // shutdown_asyncgens() was called

  private:
    AsyncGenStateBase* first_ = nullptr;
    AsyncGenStateBase* last_ = nullptr;
};

const ServiceKey GeneratorList::key;

// ---- state --------------------------------------------------------------------------------------

AsyncGenStateBase::~AsyncGenStateBase() {
    if (frame_) destroy_frame();
    if (core_) core_->detach();
}

std::string AsyncGenStateBase::repr() const {
    char address[2 + 2 * sizeof(void*) + 1];
    std::snprintf(address, sizeof address, "%p", static_cast<const void*>(this));
    return "<async_generator object " + function_name(definition_.function_name()) + " at " +
           address + '>';
}

void AsyncGenStateBase::bind(LoopCore& core) noexcept {
    if (core_ == &core) return;
    core.attach();
    if (core_) core_->detach();
    core_ = &core;
}

void AsyncGenStateBase::begin() {
    LoopCore& core = *thread_state.loop;
    bind(core);
    // In a child that was forked inside a loop: that is the parent's, and closes nothing here.
    if (core.closed) return;
    auto& generators = service<GeneratorList>(core);
    if (generators.shut_down) {
        log::write(log::Level::WARNING, "asynchronous generator " + repr() +
                                            " was scheduled after loop.shutdown_asyncgens() call");
    }
    generators.add(*this);
}

void AsyncGenStateBase::arm_close(std::exception_ptr instead) {
    if (instead) {
        thrown_ = std::move(instead);
        return;
    }
    thrown_ = std::make_exception_ptr(GeneratorExit());
    closed_ = true;
}

void AsyncGenStateBase::unlist() noexcept {
    if (listed_in_) listed_in_->remove(*this);
}

void AsyncGenStateBase::frame_destroyed() noexcept {
    frame_ = nullptr;
    phase_ = AsyncGenState::AGEN_CLOSED;
    unlist();
}

// The caller has a reference.
void AsyncGenStateBase::destroy_frame() noexcept {
    GeneratorPromise* frame = frame_;
    frame_destroyed();
    if (!frame) return;
    frame->state_ = nullptr;
    destroy_without_recursion(*frame);
}

// ---- the last handle
// ------------------------------------------------------------------------------

void AsyncGenStateBase::pin() noexcept {
    ++pins_;
    references_.add();
    // So that a last handle which goes on another thread is told to the loop.
    if (!core_ && thread_state.loop) bind(*thread_state.loop);
}

void AsyncGenStateBase::unpin() noexcept {
    --pins_;
    settle();
    release_memory();
}

void AsyncGenStateBase::drop_last_handle() noexcept {
    LoopCore* core = core_;
    if (!core || core->runs_here()) {
        orphan_ = true;
        settle();
        return;
    }
    core->attach();  // this may be gone, and the loop with it, before the lock is
    if (const Loop::Idle idle(static_cast<Loop&>(*core)); idle) {
        orphan_ = true;
        settle();
    } else if (!push_threadsafe(*core, this)) {
        release_memory();
    }
    core->detach();
}

void AsyncGenStateBase::settle() noexcept {
    if (!orphan_ || pins_ > 0 || phase_ == AsyncGenState::AGEN_RUNNING) return;
    const bool suspended = phase_ == AsyncGenState::AGEN_SUSPENDED && !closed_ && !finalized_;
    if (suspended && listed_in_ && listed_in_->core.runs_here()) {
        // AG-03, S-39d: the task is made in the next iteration.
        finalized_ = true;
        context_ = ContextSlot::use(nullptr);
        listed_in_->core.push_ready(this);
        return;
    }
    orphan_ = false;  // the handles' reference is given back once
    destroy_frame();
    release_memory();
}

// The loop reached the entry that the last handle has left behind.
void AsyncGenStateBase::run() {
    references_.add();
    orphan_ = true;
    if (finalized_) {
        start_closing();
    } else {
        settle();
    }
    release_memory();
}

void AsyncGenStateBase::start_closing() {
    struct Enter {
        ContextSlot* outer;
        ~Enter() { thread_state.context = outer; }
    } const enter{std::exchange(thread_state.context, &context_)};
    try {
        create_closing_task(*core_, GeneratorClose(this));
    } catch (const KeyboardInterrupt&) {
        throw;
    } catch (const SystemExit&) {
        throw;
    } catch (...) {
        // A task factory that throws: the handler is told (SC-07). The call that was made for the
        // task is gone, and with it the frame.
        report_or_log(*core_, "could not close an asynchronous generator",
                      [&](ExceptionContext& context) {
                          context.message = "could not close asynchronous generator " + repr();
                          context.exception = std::current_exception();
                      });
    }
}

// The loop closes. What is in its list is destroyed soon; the rest has no frame.
void AsyncGenStateBase::drop() noexcept {
    orphan_ = true;
    if (!listed_in_) settle();
}

// ---- calls --------------------------------------------------------------------------------------

void GeneratorCall::leave() noexcept {
    if (stage_ == Stage::kDriven) {
        // Destroyed while suspended: destroy_chain has destroyed the generator's frame, which is
        // not this awaiter's to destroy.
        thread_state.destroyed = nullptr;
    }
    state_->unpin();
}

std::exception_ptr GeneratorCall::refusal(Kind kind, std::exception_ptr thrown) {
    const bool item = kind == Kind::kNext || kind == Kind::kSend;
    if (stage_ == Stage::kReused || stage_ == Stage::kOver) {
        const char* what = item ? "__anext__()/asend()" : "aclose()/athrow()";
        return std::make_exception_ptr(
            RuntimeError(std::string("cannot reuse already awaited ") + what));
    }
    AsyncGenStateBase& g = *state_;
    if (kind == Kind::kThrow && !thrown) {
        return std::make_exception_ptr(TypeError(
            "exceptions must be classes or instances deriving from BaseException, not NoneType"));
    }
    if (g.phase_ == AsyncGenState::AGEN_CLOSED) return kind == Kind::kClose ? thrown : nullptr;
    if (g.phase_ == AsyncGenState::AGEN_RUNNING) {
        const char* method = item ? "anext" : kind == Kind::kThrow ? "athrow" : "aclose";
        return std::make_exception_ptr(
            RuntimeError(std::string(method) + "(): asynchronous generator is already running"));
    }
    if (kind == Kind::kNext) {
        return std::make_exception_ptr(
            TypeError("a value must be sent to this asynchronous generator: use asend()"));
    }
    if (kind == Kind::kSend) {
        return std::make_exception_ptr(
            TypeError("can't send non-None value to a just-started async generator"));
    }
    if (g.closed_) {
        // It ignored GeneratorExit before. For athrow() this is the end of the iteration.
        if (kind == Kind::kThrow) return nullptr;
        return std::make_exception_ptr(StopAsyncIteration());
    }
    // Not begun: it ends here.
    g.destroy_frame();
    return thrown;
}

std::exception_ptr GeneratorCall::end(Kind kind, std::exception_ptr thrown) {
    struct Pin {
        AsyncGenStateBase& state;
        explicit Pin(AsyncGenStateBase& s) : state(s) { s.pin(); }
        Pin(const Pin&) = delete;
        Pin& operator=(const Pin&) = delete;
        ~Pin() { state.unpin(); }
    } const pinned(*state_);
    AsyncGenStateBase& g = *state_;
    if (stage_ != Stage::kDriven) return refusal(kind, std::move(thrown));
    stage_ = Stage::kOver;
    if (g.phase_ == AsyncGenState::AGEN_SUSPENDED) {  // of aclose() only
        return std::make_exception_ptr(RuntimeError("async generator ignored GeneratorExit"));
    }
    g.destroy_frame();
    std::exception_ptr error = std::move(g.error_);
    if (!error) return nullptr;
    if (kind == Kind::kClose && holds<GeneratorExit>(error)) return nullptr;
    if (holds<StopAsyncIteration>(error)) {
        return with_cause(RuntimeError("async generator raised StopAsyncIteration"),
                          std::move(error));
    }
    return error;
}

}  // namespace detail

Coroutine<void> EventLoop::shutdown_asyncgens() {
    detail::Loop& loop = impl();
    if (loop.closed) co_return;
    auto& generators = detail::service<detail::GeneratorList>(loop);
    generators.shut_down = true;
    auto closing = generators.claim();
    if (closing.calls.empty()) co_return;
    std::vector<Task<void>> tasks;
    tasks.reserve(closing.calls.size());
    for (auto& call : closing.calls) {
        tasks.push_back(detail::create_closing_task(loop, std::move(call)));
    }
    closing.calls.clear();
    const auto results = co_await gather(return_exceptions, tasks);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const std::exception_ptr error = results[i].error();
        // A CancelledError out of the clean-up is told, too: nobody else will hear of it.
        if (!error) continue;
        ExceptionContext context;
        context.message =
            "an error occurred during closing of asynchronous generator " + closing.names[i];
        context.exception = error;
        call_exception_handler(context);
    }
}

}  // namespace v1
}  // namespace asyncio

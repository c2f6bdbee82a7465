// From one thread to another's loop: run_coroutine_threadsafe and wrap_future. TH-02, F-14.
#pragma once

#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/events.hpp"
#include "asyncio/futures.hpp"
#include "asyncio/tasks/task.hpp"
#include "asyncio/threads/concurrent_futures.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

class CancelTaskWith;
// Cancels a task when the ConcurrentFuture that stands for it is cancelled (TH-02). What it returns
// is gone when that is done.
ASYNCIO_API CancelTaskWith* cancel_task_with(ConcurrentBase& future, Ref<FutureBase> task);
// It gives up its handle of the task. By the one that has claimed the future for its end.
ASYNCIO_API void forget_task(CancelTaskWith& callback) noexcept;

// Copies the end of a task to its ConcurrentFuture. One that is destroyed uncalled, since the loop
// closed before, cancels it: a thread may be waiting. (While that loop runs it is destroyed
// uncalled only where there is no memory to keep it: StartThreadsafe says so.)
template <class R>
class CopyToConcurrent {
  public:
    CopyToConcurrent(Ref<ConcurrentBase> to, CancelTaskWith* cancels) noexcept
        : to_(std::move(to)), cancels_(cancels) {}
    CopyToConcurrent(CopyToConcurrent&&) noexcept = default;
    CopyToConcurrent& operator=(CopyToConcurrent&&) = delete;
    ~CopyToConcurrent() {
        if (to_ && running_loop() != to_->source()) to_->cancel();
    }
    void operator()(Task<R> task) {
        const Ref<ConcurrentBase> to = std::move(to_);
        if (task.cancelled()) {
            to->cancel();
            return;
        }
        std::exception_ptr error = task.exception();
        if (!to->set_running_or_notify_cancel()) return;
        to->begin_end();
        if (error) return to->finish_error(std::move(error));
        // Safe because run_coroutine_threadsafe made both of the same type.
        finish(static_cast<ConcurrentStateOf<R>&>(*to), *task.state());
    }

  private:
    // A result that nobody else can see is moved.
    void finish(ConcurrentStateOf<R>& to, FutureBase& task) noexcept {
        if constexpr (std::is_void_v<R>) {
            to.finish_with();
        } else if constexpr (!kCopyable<Stored<R>>) {
            to.finish_with(std::move(value_of<R>(task)));
        } else {
            forget_task(*cancels_);
            if (task.unique()) return to.finish_with(std::move(value_of<R>(task)));
            to.finish_with(std::as_const(value_of<R>(task)));
        }
    }

    Ref<ConcurrentBase> to_;
    CancelTaskWith* cancels_;
};

// Makes the task, on its loop.
template <class R>
class StartThreadsafe {
  public:
    StartThreadsafe(Coroutine<R> coroutine, Ref<ConcurrentBase> future,
                    std::source_location where) noexcept
        : coroutine_(std::move(coroutine)), future_(std::move(future)), where_(where) {}
    StartThreadsafe(StartThreadsafe&&) noexcept = default;
    StartThreadsafe& operator=(StartThreadsafe&&) = delete;
    ~StartThreadsafe() {
        if (future_) future_->cancel();
    }
    void operator()() {
        const Ref<ConcurrentBase> future = std::move(future_);
        try {
            Task<R> task = make_task<R>(running_core(), std::move(coroutine_), {});
            try {
                CancelTaskWith* const cancels = cancel_task_with(*future, task.state());
                task.add_done_callback(CopyToConcurrent<R>(future, cancels), {}, where_);
            } catch (...) {
                // No memory: nobody would hear of its end, so it does not begin.
                task.cancel();
                throw;
            }
        } catch (...) {
            // Its waiter is told, and the loop's exception handler. One that leaves the loop is not
            // the waiter's, who must not wait for ever either.
            std::exception_ptr error = std::current_exception();
            if (is_exit_error(error)) {
                future->cancel();
            } else if (future->set_running_or_notify_cancel()) {
                future->set_exception(std::move(error));
            }
            throw;
        }
    }

  private:
    Coroutine<R> coroutine_;
    Ref<ConcurrentBase> future_;
    std::source_location where_;
};

// Cancels a ConcurrentFuture that still has other handles. It is not one itself: what a future of
// a loop holds of the ConcurrentFuture that it wraps, which in turn holds that future in a
// callback, so that both go when all handles are gone.
class ASYNCIO_API WeakConcurrent {
  public:
    explicit WeakConcurrent(ConcurrentBase& future) noexcept : future_(&future) {
        future.retain_object();
    }
    WeakConcurrent(WeakConcurrent&& o) noexcept : future_(detail::take(o.future_)) {}
    WeakConcurrent& operator=(WeakConcurrent&&) = delete;
    ~WeakConcurrent() {
        if (future_) future_->release_object();
    }
    void cancel() const noexcept;

  private:
    ConcurrentBase* future_;
};

// Brings the end of a ConcurrentFuture to a future of a loop (F-14).
class ASYNCIO_API WrapBridge : public ConcurrentCallback, public Node {
  public:
    void call(ConcurrentBase& from) noexcept override;
    void drop() noexcept override;
    void run() override;

  protected:
    WrapBridge(const ConcurrentBase& from, Ref<FutureBase> to) noexcept;
    virtual ~WrapBridge();
    virtual void copy_value(ConcurrentBase& from, FutureBase& to) = 0;

  private:
    void copy_end();

    Ref<ConcurrentBase> from_;  // once it is done
    Ref<FutureBase> to_;
    bool awaited_;  // the loop's clock stands still for it, if it is virtual
};

template <class T>
class WrapBridgeOf final : public WrapBridge {
  public:
    WrapBridgeOf(const ConcurrentBase& from, Ref<FutureBase> to) noexcept
        : WrapBridge(from, std::move(to)) {}

  private:
    void copy_value(ConcurrentBase& from, FutureBase& to) override {
        // Safe because wrap_future made both of the same type.
        Stored<T>& value = static_cast<ConcurrentStateOf<T>&>(from).value();
        auto& state = static_cast<FutureStateOf<T>&>(to);
        if constexpr (detail::kCopyable<Stored<T>>) {
            state.emplace(std::as_const(value));
        } else {
            state.emplace(std::move(value));
        }
        state.finish_value();
    }
};

}  // namespace detail

// Runs `awaitable` as a task of `loop`, from any thread; the task is made on the loop's thread, in
// a copy of the calling thread's context. The ConcurrentFuture is its result; cancelling that
// cancels it at once, and asks the task to end. It is also cancelled if the loop closes before the
// task is done. TH-02. Raises: RuntimeError "Event loop is closed".
template <Awaitable A>
auto run_coroutine_threadsafe(A&& awaitable, EventLoop& loop,
                              std::source_location where = std::source_location::current()) {
    static_assert(detail::kSafeTemporary<A>,
                  "name this callable first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    using R = typename detail::AwaitResultOf<A>::type;
    auto coroutine = detail::to_coroutine(std::forward<A>(awaitable));
    ConcurrentFuture<R> future;
    future.state()->set_source(&loop.core());
    loop.call_soon_threadsafe(
        detail::StartThreadsafe<R>(std::move(coroutine), future.state(), where), {}, where);
    return future;
}

// Other arguments are refused by a sentence.
template <class... A>
    requires(!detail::kAwaits<2, A...> && !detail::kAwaits<3, A...>)
detail::Refused run_coroutine_threadsafe(A&&...) {
    static_assert(detail::kRight<A...>,
                  "run_coroutine_threadsafe() takes what may be awaited, and the loop that runs "
                  "it: run_coroutine_threadsafe(f(), loop)");
    return {};
}

// A future of `loop` (null: the running one) that ends as `future` does, one iteration after it.
// Cancelling it cancels `future`, one iteration later. A result is copied, or moved if it cannot
// be. It keeps nothing alive: if all handles of `future` go before it is done, it never ends. F-14.
// Raises: RuntimeError "no running event loop". If cancelled: `future` is cancelled,
// unless it runs already.
template <class T>
Future<T> wrap_future(ConcurrentFuture<T> future, EventLoop* loop = nullptr) {
    detail::LoopCore& core = loop ? loop->core() : detail::current_core();
    if (!future) detail::throw_empty_concurrent();
    future.state()->check_has_source();
    auto to = detail::Ref<detail::FutureBase>::adopt(new detail::FutureStateOf<T>(core));
    auto wrapped = Future<T>::from_state(to);
    wrapped.add_done_callback([weak = detail::WeakConcurrent(*future.state())](const Future<T>& w) {
        if (w.cancelled()) weak.cancel();
    });
    future.state()->add_callback(new detail::WrapBridgeOf<T>(*future.state(), std::move(to)));
    return wrapped;
}

// A future or task of a loop is given back as it is.
// If cancelled: it is the same future.
template <FutureLike F>
std::remove_cvref_t<F> wrap_future(F&& future, EventLoop* = nullptr) {
    return std::forward<F>(future);
}

}  // namespace v1
}  // namespace asyncio

// More than one loop: run_on_threads starts a loop on each of several threads, and a Channel takes
// objects from one to another. Beyond asyncio, where processes are what uses several processors.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/contextvars.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/detail/braced.hpp"
#include "asyncio/detail/owned.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/refused.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/locks.hpp"
#include "asyncio/runners.hpp"
#include "asyncio/taskgroups.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/threads.hpp"
#include "asyncio/with.hpp"

namespace asyncio {
inline namespace v1 {

// How the loops of run_on_threads are made.
struct LoopThreadOptions {
    std::optional<bool> debug = {};  // default: the loop's own (ASYNCIO_DEBUG)
    std::unique_ptr<EventLoop> (*loop_factory)() = nullptr;  // default: new_event_loop
    std::string_view name = "asyncio-loop";  // threads are called NAME_0, NAME_1, ...
};

namespace detail {

// A thread with a loop, seen from the one that started it.
class ASYNCIO_API LoopThread final : public Executor {
  public:
    explicit LoopThread(std::string name);
    ~LoopThread() override;
    void retain() noexcept { refs_.add(); }
    void release() noexcept;
    // Starts the thread, which calls the job. Once. Raises: RuntimeError "can't start new thread".
    void add(Job job) override;
    // The thread is at its end. Raises: nothing.
    void join() noexcept;
    // Cancels what the thread runs, now or when it begins.
    void cancel();

    // In the coroutine that the thread runs, from its first step to its end.
    class ASYNCIO_API Inside {
      public:
        explicit Inside(LoopThread& thread);
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;
        ~Inside();

      private:
        LoopThread& thread_;
    };

  private:
    struct State;
    RefCount refs_{1};
    Owned<State> state_;
};

// `NAME_3`, cut to what the system takes.
ASYNCIO_API std::string loop_thread_name(std::string_view name, int index);
// Raises: ValueError.
ASYNCIO_API void check_thread_count(int n);

template <class F>
decltype(auto) call_factory(F& factory, int index) {
    if constexpr (std::is_invocable_v<F&, int>) {
        return factory(index);
    } else {
        return factory();
    }
}
template <class F>
using FactoryResult = await_result_t<decltype(call_factory(std::declval<F&>(), 0))>;

// On the thread, as its main task.
template <class R, class F>
Coroutine<R> run_inside(LoopThread& thread, F& factory, int index) {
    const LoopThread::Inside inside(thread);
    co_return co_await call_factory(factory, index);
}

// Waits for the end of the thread, whatever happens meanwhile; a cancel is passed on to it.
ASYNCIO_API Coroutine<> wait_for_thread(AnyFuture ended, Ref<LoopThread> thread);

// On the loop that starts the threads.
template <class R, class F>
Coroutine<R> run_one_thread(std::shared_ptr<F> factory, int index, RunOptions how,
                            std::string name) {
    const auto thread = Ref<LoopThread>::adopt(new LoopThread(std::move(name)));
    auto fn = [thread, factory, index, how, context = copy_context()]() -> R {
        Runner runner(how);
        RunnerRunOptions options;
        options.context = &context;
        return runner.run(run_inside<R>(*thread, *factory, index), options);
    };
    Future<R> future = start_job(running_core(), thread.get(), ContextSlot(), false, std::move(fn));
    co_await wait_for_thread(future, thread);
    co_return co_await std::move(future);
}

template <class R, class F>
Coroutine<std::vector<Task<R>>> run_threads(int n, std::shared_ptr<F> factory, RunOptions how,
                                            std::string name) {
    std::vector<Task<R>> tasks;
    auto body = [&](TaskGroup& group) -> Coroutine<> {
        for (int i = 0; i < n; ++i) {
            tasks.push_back(group.create_task(
                run_one_thread<R, F>(factory, i, how, loop_thread_name(name, i))));
        }
        co_return;
    };
    TaskGroup group;
    co_await with(group, body);
    co_return tasks;
}

template <class R>
struct ThreadResults {
    template <class F>
    static Coroutine<std::vector<R>> gather(int n, std::shared_ptr<F> factory, RunOptions how,
                                            std::string name) {
        std::vector<Task<R>> tasks =
            co_await run_threads<R, F>(n, std::move(factory), how, std::move(name));
        std::vector<R> results;
        results.reserve(tasks.size());
        for (Task<R>& task : tasks) results.push_back(std::move(task).result());
        co_return results;
    }
};
template <>
struct ThreadResults<void> {
    template <class F>
    static Coroutine<> gather(int n, std::shared_ptr<F> factory, RunOptions how, std::string name) {
        auto tasks = co_await run_threads<void, F>(n, std::move(factory), how, std::move(name));
        for (auto& task : tasks) task.result();
    }
};

}  // namespace detail

// Starts `count` threads with a loop each, runs the coroutine of `factory(index)` (or `factory()`)
// on each as asyncio::run would, and gives their results, in order: a vector, or nothing for void.
// `factory` is called on the threads, by all at once, in a copy of the context that awaits this.
// The calling loop runs on meanwhile; it does none of the work.
//     co_await run_on_threads(4, [](int) -> Coroutine<> { ... start_server(..., {.reuse_port =
//     true})
// Errors are those of a TaskGroup: when the coroutine of one thread fails, the others are
// cancelled, and when all threads have ended, ExceptionGroup "unhandled errors in a TaskGroup" is
// raised. Raises: also ValueError "n must be at least 1"; RuntimeError "can't start new thread",
// within the group.
// If cancelled: all of them are cancelled and waited for, then CancelledError is raised.
template <std::integral N, class F>
[[nodiscard("co_await it")]] auto run_on_threads(N count, F&& factory,
                                                 LoopThreadOptions options = {}) {
    static_assert(detail::kSafeTemporary<F>,
                  "name this callable first (auto f = ...;): this compiler would copy its captures "
                  "bitwise inside a co_await expression");
    using Factory = std::decay_t<F>;
    using R = detail::FactoryResult<Factory>;
    const int n = detail::count_of(count, "n");
    detail::check_thread_count(n);
    RunOptions how;
    how.debug = options.debug;
    how.loop_factory = options.loop_factory;
    return detail::ThreadResults<R>::gather(n, std::make_shared<Factory>(std::forward<F>(factory)),
                                            how, std::string(options.name));
}

// ---- channels ----------------------------------------------------------------------------------

namespace detail {

// What a channel holds: one object each.
class ASYNCIO_API ChannelItem {
  public:
    ChannelItem() = default;
    ChannelItem(const ChannelItem&) = delete;
    ChannelItem& operator=(const ChannelItem&) = delete;
    // Destroys and frees it, on whichever thread.
    virtual void dispose() noexcept = 0;

    ChannelItem* next_ = nullptr;

  protected:
    ~ChannelItem() = default;
};

template <class T>
class ChannelItemOf final : public ChannelItem, public Pooled {
  public:
    template <class... Args>
    static ChannelItemOf* make(Args&&... args) {
        return new ChannelItemOf(std::forward<Args>(args)...);
    }
    void dispose() noexcept override {
        if (alignof(ChannelItemOf) > kBlockUnit || maker_ == &thread_state) {
            delete this;
        } else {
            std::destroy_at(this);
            hand_back(this, sizeof(ChannelItemOf));
        }
    }
    ~ChannelItemOf() = default;

    T value;

  private:
    template <class... Args>
    explicit ChannelItemOf(Args&&... args) : value(std::forward<Args>(args)...) {}

    const void* maker_ = &thread_state;
};

struct DisposeItem {
    void operator()(ChannelItem* item) const noexcept { item->dispose(); }
};
template <class T>
using ChannelItemPtr = std::unique_ptr<ChannelItemOf<T>, DisposeItem>;

class ChannelWait;

// A channel without the type of its objects; shared by threads.
class ASYNCIO_API ChannelCore {
  public:
    // Raises: ValueError.
    explicit ChannelCore(std::size_t capacity);
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    // Takes `item` over if it returns true; false: full. Raises: QueueShutDown.
    bool try_push(ChannelItem* item);
    // Null: there is none; then `closed` says whether there will be none.
    ChannelItem* try_pop(bool& closed) noexcept;
    // Waits until try_push / try_pop may succeed, or the channel is closed. `again`: the caller has
    // waited before, and others were quicker: now it is the first.
    Coroutine<> wait_for_room(bool again);
    Coroutine<> wait_for_item(bool again);
    // One that waited for room does not use it.
    void pass_room() noexcept;

    void close() noexcept;
    bool closed() const noexcept;
    std::size_t size() const noexcept;
    std::size_t capacity() const noexcept;

  private:
    friend class ChannelWait;
    struct State;
    ~ChannelCore();

    RefCount refs_{1};
    Owned<State> state_;
};

template <class T>
Coroutine<> send_item(Ref<ChannelCore> channel, ChannelItemPtr<T> item) {
    bool again = false;
    while (!channel->try_push(item.get())) {
        co_await channel->wait_for_room(again);
        again = true;
    }
    static_cast<void>(item.release());
}

template <class T>
Coroutine<> send_moved(Ref<ChannelCore> channel, T& from) {
    // Room first: a cancelled call leaves the object where it is.
    ChannelItemPtr<T> item;
    bool again = false;
    while (true) {
        try {
            item.reset(ChannelItemOf<T>::make(std::move(from)));
        } catch (...) {
            // Whatever a move throws, the room is the next sender's.
            if (again) channel->pass_room();
            throw;
        }
        try {
            if (channel->try_push(item.get())) break;
        } catch (const QueueShutDown&) {
            from = std::move(item->value);
            throw;
        }
        from = std::move(item->value);
        item.reset();
        co_await channel->wait_for_room(again);
        again = true;
    }
    static_cast<void>(item.release());
}

template <class T>
Coroutine<std::optional<T>> receive_item(Ref<ChannelCore> channel) {
    bool closed = false;
    bool again = false;
    while (true) {
        if (ChannelItem* item = channel->try_pop(closed)) {
            // Safe because a Channel<T> is given items of T only.
            const ChannelItemPtr<T> owner(static_cast<ChannelItemOf<T>*>(item));
            co_return std::optional<T>(std::move(owner->value));
        }
        if (closed) co_return std::nullopt;
        co_await channel->wait_for_item(again);
        again = true;
    }
}

}  // namespace detail

// Takes objects from tasks to tasks, of one loop or of several on different threads: bounded, with
// any number of senders and receivers, each object received once. A cheap shared handle; every
// member may be called on every thread. Objects of one sender arrive in the order they were sent.
// Virtual time does not wait for what another thread may send.
template <class T>
class Channel {
  public:
    Channel() : Channel(1) {}
    // `capacity`: how many objects may be under way. Raises: ValueError "capacity must be at least
    // 1".
    template <std::integral N>
    explicit Channel(N capacity)
        : core_(detail::Ref<detail::ChannelCore>::adopt(
              new detail::ChannelCore(capacity > 0 ? static_cast<std::size_t>(capacity) : 0))) {}

    // Waits for room, and sends `item`. Raises: QueueShutDown "channel is closed".
    // If cancelled: it is not sent, and goes with the call.
    ASYNCIO_CORO_WRAPPER Coroutine<> send(T&& item) const
        requires(!detail::kMadeWrong<T>)
    {
        return send_made(std::move(item));
    }
    // The same of a copy. If cancelled: as above.
    ASYNCIO_CORO_WRAPPER Coroutine<> send(const T& item) const
        requires(!detail::kMadeWrong<T> && std::copy_constructible<T>)
    {
        return send_made(item);
    }
    // The same where the compiler makes braces wrong (detail/braced.hpp). If cancelled: as above.
    ASYNCIO_CORO_WRAPPER Coroutine<> send(detail::Braced<T>&& item) const
        requires(detail::kMadeWrong<T>)
    {
        return send_made(std::move(item.value));
    }
    // The same for what converts to T. If cancelled: as above.
    template <std::convertible_to<T> U>
        requires(detail::kMadeWrong<T>)
    ASYNCIO_CORO_WRAPPER Coroutine<> send(U&& item) const {
        return send_made(std::forward<U>(item));
    }
    // Not to be called. If cancelled: nothing.
    template <class U>
        requires(detail::kNoItem<U, T>)
    ASYNCIO_CORO_WRAPPER Coroutine<> send(U&&) const {
        static_assert(detail::kRight<U>,
                      "send() takes an item of the channel's type; one that cannot be copied is "
                      "moved: send(std::move(item))");
        return detail::Refused();
    }
    // Not to be called. If cancelled: nothing.
    template <class Refused = void>
        requires(detail::kMadeWrong<T>)
    ASYNCIO_CORO_WRAPPER Coroutine<> send(const T&& item) const {
        static_assert(detail::kBracesAreSafe<Refused>, ASYNCIO_BRACES_ARE_REFUSED);
        return send_made(item);
    }
    // The same, but moves from `item` only when there is room. Raises: as send; `item` is as it
    // was. If cancelled: `item` is as it was.
    ASYNCIO_CORO_WRAPPER Coroutine<> send_from(T& item) const {
        return detail::send_moved<T>(core_, item);
    }
    // Waits for an object; empty when the channel is closed and all were received.
    // If cancelled: none is lost, the next receiver gets it.
    Coroutine<std::optional<T>> receive() const { return detail::receive_item<T>(core_); }
    // The same, for loops: `while (auto item = co_await channel.next()) ...`
    // If cancelled: none is lost, the next receiver gets it.
    Coroutine<std::optional<T>> next() const { return receive(); }

    // Without waiting, with or without a loop: false if there is no room, and `item` is as it was.
    // Raises: QueueShutDown "channel is closed".
    bool try_send(T&& item) const {
        detail::ChannelItemPtr<T> made(detail::ChannelItemOf<T>::make(std::move(item)));
        try {
            if (core_->try_push(made.get())) {
                static_cast<void>(made.release());
                return true;
            }
        } catch (const QueueShutDown&) {
            item = std::move(made->value);
            throw;
        }
        item = std::move(made->value);
        return false;
    }
    // Empty if there is none now.
    std::optional<T> try_receive() const {
        bool closed = false;
        detail::ChannelItem* const item = core_->try_pop(closed);
        if (!item) return std::nullopt;
        // Safe because a Channel<T> is given items of T only.
        const detail::ChannelItemPtr<T> owner(static_cast<detail::ChannelItemOf<T>*>(item));
        return std::optional<T>(std::move(owner->value));
    }

    // No more is sent; what is under way can be received still. All that wait are woken.
    void close() const noexcept { core_->close(); }
    // Whether close() was called.
    bool closed() const noexcept { return core_->closed(); }
    // How many objects are under way.
    std::size_t size() const noexcept { return core_->size(); }
    // How many may be.
    std::size_t capacity() const noexcept { return core_->capacity(); }

    friend bool operator==(const Channel& a, const Channel& b) noexcept {
        return a.core_ == b.core_;
    }

  private:
    template <class U>
    ASYNCIO_CORO_WRAPPER Coroutine<> send_made(U&& item) const {
        return detail::send_item<T>(
            core_,
            detail::ChannelItemPtr<T>(detail::ChannelItemOf<T>::make(std::forward<U>(item))));
    }

    detail::Ref<detail::ChannelCore> core_;
};

}  // namespace v1
}  // namespace asyncio

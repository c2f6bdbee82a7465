// Handle and TimerHandle: what stands for a callback that the loop has been asked to call. HD-*.
#pragma once

#include <atomic>
#include <cstddef>
#include <iosfwd>
#include <source_location>
#include <string>
#include <utility>

#include "asyncio/contextvars.hpp"
#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

// The shared state of a Handle: an entry of the ready queue that calls something once.
class ASYNCIO_API HandleState : public Node, public Pooled {
  public:
    void retain() noexcept { refs_.add(); }
    // For the queue or the heap that it enters, before it is shared with anybody.
    void retain_new() noexcept { refs_.add_unshared(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }
    void run() override;
    void drop() noexcept override;
    bool queued() noexcept override {
        if (queued_) return false;
        retain();
        return queued_ = true;
    }
    void cancel() noexcept;
    // The part of cancel() that is the loop's: takes a timer out, destroys the callable (HD-01). On
    // the loop's thread, or on the owner's while it does not run.
    void withdraw() noexcept;
    bool cancelled() const noexcept { return cancelled_.load(std::memory_order_acquire); }
    std::source_location place() const noexcept { return where_; }
    ContextSlot& context() noexcept { return context_; }
    TimerEntry& timer() noexcept { return timer_; }
    LoopCore& core() noexcept { return core_; }
    bool is_timer() const noexcept { return is_timer_; }
    // It is called again and again, while a descriptor is watched.
    void set_repeated() noexcept { repeated_ = true; }

    virtual ~HandleState();

  protected:
    HandleState(LoopCore& core, ContextSlot context, std::source_location where, bool timer);
    virtual void invoke() = 0;
    // Destroys the callable, early if cancelled on the loop's thread (HD-01).
    virtual void clear() noexcept = 0;

  private:
    RefCount refs_{1};
    std::atomic<bool> cancelled_{false};  // set by any thread; read when the entry is reached
    bool is_timer_;
    bool repeated_ = false;
    bool queued_ = false;  // by a back end
    bool called_ = false;  // the callable is being called: it must not be destroyed now
    LoopCore& core_;
    ContextSlot context_;
    std::source_location where_;
    TimerEntry timer_;
};

// kPosted: made on another thread than the loop's, as a rule.
template <class F, bool kPosted>
class HandleStateOf final : public HandleState {
  public:
    using Pooled::operator new;
    using Pooled::operator delete;
    // Both, since g++ warns where one is a base's and the other is not.
    static void* operator new(std::size_t size) { return allocate(size); }
    static void operator delete(void* p, std::size_t size) noexcept {
        if constexpr (kPosted) {
            hand_back(p, size);
        } else {
            deallocate(p, size);
        }
    }

    HandleStateOf(LoopCore& core, ContextSlot context, std::source_location where, bool timer, F fn)
        : HandleState(core, std::move(context), where, timer), fn_(std::move(fn)) {}

  private:
    void invoke() override { (*fn_)(); }
    void clear() noexcept override { fn_.reset(); }
    Kept<F> fn_;
};

// Raises: RuntimeError "this handle is empty ...".
[[noreturn]] ASYNCIO_API void throw_empty_handle();

}  // namespace detail

// A callback that the loop has been asked to call. A cheap shared handle. HD-01 to HD-05.
class ASYNCIO_API Handle {
  public:
    Handle() noexcept = default;
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // The callback will not be called. May be called again, and from every thread (SC-02).
    void cancel() const noexcept {
        if (state_) state_->cancel();
    }
    // Whether cancel() was called.
    bool cancelled() const noexcept { return state_ && state_->cancelled(); }
    // The context that the callback is called in. HD-02. Raises: RuntimeError if the handle is
    // empty.
    Context get_context() const { return Context::of(state().context()); }
    // `<Handle FILE:LINE>`, `<Handle cancelled ...>` (HD-05).
    std::string repr() const;

    friend bool operator==(const Handle& a, const Handle& b) noexcept {
        return a.state_ == b.state_;
    }
    // For hashes: the same for copies of this handle.
    const void* id() const noexcept { return state_.get(); }

    // For the library.
    explicit Handle(detail::Ref<detail::HandleState> s) noexcept : state_(std::move(s)) {}

  protected:
    detail::HandleState& state() const {
        if (!state_) detail::throw_empty_handle();
        return *state_;
    }
    detail::Ref<detail::HandleState> state_;
};

// A callback for a later time.
class ASYNCIO_API TimerHandle : public Handle {
  public:
    using Handle::Handle;
    // The loop time at which it is due (HD-03). Raises: RuntimeError if the handle is empty.
    TimePoint when() const { return TimePoint(Duration(state().timer().when)); }
    // By time (HD-04).
    friend bool operator<(const TimerHandle& a, const TimerHandle& b) {
        return a.when() < b.when();
    }
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const Handle& handle);

}  // namespace v1
}  // namespace asyncio

// The head of every coroutine frame of the library, and how frames call one another.
//
// Layout, asserted below and relied on by debuggers and tools: a frame is {resume, destroy,
// PromiseBase,
// ...}; PromiseBase is {link, place}. `link` is a pointer to the frame's continuation (the
// PromiseBase of the frame that awaits it, or the TaskBase of a root) with four low bits of state.
//
// A call. Awaiting a child resumes it on the machine stack, inside the parent's await_suspend:
//   1. the parent sets link = parent | kNested and resumes the child;
//   2a. the child ends without suspending: its final suspend just returns, and so does
//   await_suspend,
//       with false: the parent goes on. This is as fast as a jump, needs no tail call (g++ makes
//       none without optimising), and a loop over ready children uses no stack;
//   2b. the child suspends: the stack unwinds, each level clears kNested of its child and stays
//       suspended. When the child ends later it names its continuation in `thread_state.next`, and
//       the loop in TaskBase::step resumes that (the trampoline).
// Beyond kMaxDepth nested calls the child is not resumed but named as `next`: deep recursion costs
// no stack either.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>

#include "asyncio/detail/destroy.hpp"
#include "asyncio/detail/future_base.hpp"
#include "asyncio/detail/thread_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

inline constexpr std::uint32_t kMaxDepth = 128;

// Whether `co_await` may use an awaiter that is its own awaitable in place, which saves the frame a
// pointer. g++ 12 copies an awaiter that await_transform returns by reference. What depends on this
// has it as a template argument, so that objects of both compilers can be linked together.
#if defined(__clang__)
inline constexpr bool kAwaitersByReference = true;
#else
inline constexpr bool kAwaitersByReference = false;
#endif

class PromiseBase {
  public:
    static constexpr std::uintptr_t kNested =
        1;                                      // the parent is on the stack, inside await_suspend
    static constexpr std::uintptr_t kRoot = 2;  // link points to the TaskBase that owns the frame
    static constexpr std::uintptr_t kOutcome = 12;
    static constexpr std::uintptr_t kNone = 0;        // kOutcome: has not ended
    static constexpr std::uintptr_t kValue = 4;       // kOutcome: ended with a value
    static constexpr std::uintptr_t kError = 8;       // kOutcome: ended with an exception
    static constexpr std::uintptr_t kGenerator = 12;  // kOutcome: a generator's frame
    static constexpr std::uintptr_t kBits = 15;

    std::uintptr_t link = 0;
    std::source_location place;  // of the co_await where it is; before that, its definition

    // NOLINTBEGIN(clang-analyzer-core.UndefinedBinaryOperatorResult): clang's analyzer does not see
    // that a coroutine makes its promise.
    std::uintptr_t outcome() const noexcept { return link & kOutcome; }
    void set_outcome(std::uintptr_t o) noexcept { link = (link & ~kOutcome) | o; }
    // NOLINTEND(clang-analyzer-core.UndefinedBinaryOperatorResult)
    bool is_root() const noexcept { return (link & kRoot) != 0; }
    // Safe because link holds what set_parent or set_task put there, aligned to 16.
    PromiseBase* parent() const noexcept {
        return is_root() ? nullptr : reinterpret_cast<PromiseBase*>(link & ~kBits);
    }
    TaskBase* task() const noexcept { return reinterpret_cast<TaskBase*>(link & ~kBits); }

    void set_parent(PromiseBase& p) noexcept {
        link = reinterpret_cast<std::uintptr_t>(&p) | kNested | (link & kOutcome);
    }
    // Safe because a TaskBase is aligned to 16 too: the four low bits are free for the state.
    void set_task(TaskBase& t) noexcept {
        link = reinterpret_cast<std::uintptr_t>(&t) | kRoot | (link & kOutcome);
    }

    // Safe because the promise follows the two function pointers in every frame (asserted where
    // promise types are complete, and by a test on each compiler).
    std::coroutine_handle<> handle() noexcept {
        return std::coroutine_handle<>::from_address(reinterpret_cast<char*>(this) - kHead);
    }

    static constexpr std::size_t kHead = 2 * sizeof(void*);

    // Frames come from the pool.
    static void* operator new(std::size_t size) { return allocate(size); }
    static void operator delete(void* p, std::size_t size) noexcept { deallocate(p, size); }

  protected:
    explicit PromiseBase(std::source_location definition) noexcept : place(definition) {}
};

static_assert(sizeof(PromiseBase) == 2 * sizeof(void*));
static_assert(alignof(PromiseBase) == alignof(void*));

// Resumes a child frame for its parent; see the head of this file.
// Returns true if the parent must stay suspended.
inline bool call(PromiseBase& child, PromiseBase& parent) {
    ThreadState& t = thread_state;
    child.set_parent(parent);
    if (t.depth >= kMaxDepth) {
        child.link &= ~PromiseBase::kNested;
        t.next = &child;
        return true;
    }
    ++t.depth;
    child.handle().resume();
    --t.depth;
    if (child.handle().done()) return false;
    child.link &= ~PromiseBase::kNested;
    return true;
}

// A frame ends (or a generator yields) to the one that awaits it.
inline void return_to_parent(PromiseBase& p) noexcept {
    if (p.link & PromiseBase::kNested) return;  // the parent is on the stack, in `call`
    thread_state.next = p.parent();
}

// The exception that is being handled, as it leaves the frame `p`: that is noted for its trace
// (src/base/traces.hpp).
ASYNCIO_API std::exception_ptr leave_frame(const PromiseBase& p) noexcept;

// Destroys the frame `p`, whose owner (an awaiter in its parent) finds it gone; used when a loop
// closes and destroys chains of frames innermost first, without recursion.
ASYNCIO_API void destroy_chain(PromiseBase* innermost) noexcept;

// Destroys a suspended frame. What a parameter's destructor throws is logged (see destroy.hpp); the
// compilers then destroy the rest, but g++ 12 may lose the frame's memory.
inline void destroy_frame(std::coroutine_handle<> frame) noexcept {
    try {
        // Safe because the caller is its only owner, and it is suspended.
        frame.destroy();
    } catch (...) {
        // Every exception ends here, and is told of.
        log_thrown_by_destructor();
    }
}

// Destroys a frame that an awaiter owns, unless destroy_chain did.
inline void destroy_owned(PromiseBase* p) noexcept {
    if (thread_state.destroyed == p) {
        thread_state.destroyed = nullptr;
        return;
    }
    // Safe because the frame is suspended (before its start, at a co_await or at its end) and the
    // awaiter that calls this is its only owner.
    destroy_frame(p->handle());
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What an awaitable of a component's own is made of: a place where a task waits until something of
// the component's sets it.
//
//     class Ready {                     // awaited by one task; `waiter_` of its object is set by
//     another
//         bool await_ready() { return object_.done; }
//         template <std::derived_from<detail::PromiseBase> P>
//         void await_suspend(std::coroutine_handle<P> frame) noexcept {
//             detail::Waiter& waiter = slot_.wait(detail::WaitKind::kOther);
//             object_.waiter_ = &waiter;            // and object_.waiter_->set() wakes the task
//             waiter.suspend(frame.promise());
//         }
//         void await_resume() {
//             if (!slot_.slow()) return;            // it need not wait
//             object_.waiter_ = nullptr;
//             if (auto error = slot_.get().resume()) std::rethrow_exception(error);  // cancelled
//         }
//         detail::WaitSlot<detail::Waiter> slot_;
//     };
//
// These are names of asyncio::detail, which templates of the library use, too: PromiseBase, the
// promise of any coroutine that may await; Waiter, one who waits and may stand in a WaitingLine;
// SoleWaiter, one that does not; WaitSlot, room for it in an awaiter; WaitKind, what it waits for,
// for reports; LoopBound, the loop in which a task first waited for an object; Ref and RefCount,
// what counts its references in itself.
//
// A task that was woken may be cancelled before it runs: what it was woken for is still to be had,
// and must go to the next one.
#pragma once

#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/wait_slot.hpp"
#include "asyncio/detail/waiter.hpp"

// What a loop has to do with signals: its handlers and those who wait, and Ctrl-C of run().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "asyncio/detail/waiter.hpp"
#include "asyncio/events.hpp"
#include "asyncio/signals.hpp"
#include "loop/services.hpp"
#include "os/signals.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Loop;
class LoopSignals;
struct SignalSlot;

constexpr std::uint64_t signal_bit(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

// Somebody who waits for signals: from its making on it keeps what comes. Not movable once made;
// it may outlive the loop.
class SignalListener {
  public:
    // Raises: RuntimeError "Event loop is closed", "sig N cannot be caught".
    SignalListener(Loop& loop, SignalSet wanted);
    SignalListener(const SignalListener&) = delete;
    SignalListener& operator=(const SignalListener&) = delete;
    ~SignalListener();

    // Awaitable: the number of a signal that has come.
    class Next {
      public:
        using asyncio_native = void;
        explicit Next(SignalListener& listener) noexcept : listener_(listener) {}
        bool await_ready() const noexcept { return listener_.pending_ != 0; }
        template <std::derived_from<PromiseBase> P>
        void await_suspend(std::coroutine_handle<P> h) noexcept {
            suspended_ = true;
            listener_.waiter_ = &waiter_;
            waiter_.suspend(h.promise());
        }
        // Raises: CancelledError; what has come stays for the next one.
        int await_resume();

      private:
        SignalListener& listener_;
        Waiter waiter_{WaitKind::kSignal};
        bool suspended_ = false;
    };
    Next next() noexcept { return Next(*this); }

  private:
    friend class LoopSignals;
    void notify(std::uint64_t bits) noexcept;

    LoopSignals* signals_;  // null once the loop is closed
    std::uint64_t wanted_;
    std::uint64_t pending_ = 0;
    Waiter* waiter_ = nullptr;
    SignalListener* previous_ = nullptr;
    SignalListener* following_ = nullptr;
};

// The signals of one loop, made when it first asks for one. The node is what the signal handler
// queues: it runs in one iteration, the callbacks that it queues in the next (SG-03).
class LoopSignals final : public Node, public LoopService {
  public:
    static const ServiceKey key;
    explicit LoopSignals(LoopCore& core);
    ~LoopSignals() override;

    // Raises: RuntimeError "sig N cannot be caught".
    void set_handler(int signal, Ref<HandleState> handle);
    bool remove_handler(int signal);
    // What was caught for it is restored, and nobody is told any more.
    void loop_closed() noexcept override { close(); }
    // In a child of fork(2): nobody is told any more. What was caught is restored by the caller.
    void leave_to_parent() noexcept;

    // Called by the signal handler, on any thread, in the middle of anything.
    bool deliver(std::uint64_t bit) noexcept;

    void run() override;
    void drop() noexcept override {}
    const char* label() const noexcept override { return "signals"; }

  private:
    friend class SignalListener;
    void close() noexcept;
    void want(std::uint64_t bits);
    void unwant(std::uint64_t bits) noexcept;
    void forget_listeners() noexcept;
    bool call_later(int signal) noexcept;
    void add(SignalListener& listener);
    void remove(SignalListener& listener) noexcept;

    Loop& loop_;
    SignalSlot* slot_;
    // What the handler reads and writes.
    std::atomic<std::uint64_t> wanted_{0};
    std::atomic<std::uint64_t> pending_{0};
    std::atomic<bool> queued_{false};
    // The loop's thread alone.
    std::array<std::uint32_t, kSignals> users_{};
    std::uint64_t uncalled_ = 0;  // those that came and whose handlers are still to be called
    std::array<Ref<HandleState>, kSignals> handlers_;
    SignalListener* first_ = nullptr;
};

// Ctrl-C while run() or Runner are at work (R-08, S-96 to S-98). Does nothing but in the main
// thread, while SIGINT has its default effect: then the first SIGINT cancels the main task (or, if
// that is done, makes the loop raise KeyboardInterrupt), the second makes the loop raise before its
// next callback, the third kills the process.
class InterruptScope final : public Node {
  public:
    explicit InterruptScope(Loop& loop);
    InterruptScope(const InterruptScope&) = delete;
    InterruptScope& operator=(const InterruptScope&) = delete;
    ~InterruptScope() { leave(); }

    // What the first one cancels; null: nothing.
    void set_main(FutureBase* task) noexcept { main_ = task; }
    // How many came.
    int count() const noexcept { return count_.load(); }
    // SIGINT has its effect of before again. To be called while the loop exists; idempotent.
    void leave() noexcept;
    // One came which nobody has answered; from now on it counts as answered.
    bool take_unanswered() noexcept;

    // In a child of fork(2): leave() has nothing to restore.
    void leave_to_parent() noexcept { active_ = false; }

    // Called by the signal handler.
    void on_signal() noexcept;
    // The loop raises KeyboardInterrupt.
    void raised() noexcept { answered_ = count_.load(); }

    void run() override;
    void drop() noexcept override {}

  private:
    Loop& loop_;
    FutureBase* main_ = nullptr;
    bool active_ = false;
    int answered_ = 0;
    std::atomic<int> count_{0};
    std::atomic<bool> queued_{false};
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

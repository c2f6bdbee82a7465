// From the system's signal handler to a callback of the loop.
//
// The handler may run on any thread, in the middle of anything, so that it uses nothing but
// lock-free atomics and write(2) (or sem_post(3)). It looks through a list of slots, one a loop
// that catches signals, and for each that wants the signal
//   1. sets the signal's bit in `pending_`;
//   2. pushes the loop's one signal node onto the inbox through which other threads talk to the
//      loop, unless it is there already;
//   3. wakes the loop, if it sleeps.
// The node then runs on the loop's thread, takes the bits and queues the callbacks (SG-03: one
// iteration reads the signal, the next one calls). There is no descriptor to watch, and a loop on
// virtual time gets signals too.
//
// A loop that closes must not be touched by a handler that is under way on another thread: the
// handler counts itself in the slot before it looks whose it is, and close() first empties the
// slot, then waits until nobody is counted in it. Slots are reused and never freed.
#include "tasks/signals.hpp"

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "asyncio/component/process.hpp"
#include "asyncio/exceptions.hpp"
#include "loop/loop.hpp"
#include "os/signals.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

struct SignalSlot {
    std::atomic<LoopSignals*> owner{nullptr};
    std::atomic<int> users{0};  // handlers that are looking at the owner
    bool taken = false;         // guarded by `table`
    SignalSlot* next = nullptr;
};

namespace {

static_assert(std::atomic<LoopSignals*>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

std::atomic<SignalSlot*> slots{nullptr};

// Guards what only ordinary code touches: who catches what, and what was there before.
std::mutex table;
int catchers[kSignals] = {};

std::atomic<InterruptScope*> interrupts{nullptr};
std::atomic<int> interrupt_users{0};

// While it lives the owner of what is counted stays.
class Counted {
  public:
    explicit Counted(std::atomic<int>& count) noexcept : count_(count) { ++count_; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --count_; }

  private:
    std::atomic<int>& count_;
};

// Waits for handlers on other threads; one that interrupts this thread ends before it goes on.
void wait_for_handlers(const std::atomic<int>& count) noexcept {
    while (count.load() != 0) std::this_thread::yield();
}

bool tell_loops(int signal) noexcept {
    bool told = false;
    for (SignalSlot* s = slots.load(); s; s = s->next) {
        const Counted counted(s->users);
        if (LoopSignals* owner = s->owner.load()) {
            if (owner->deliver(signal_bit(signal))) told = true;
        }
    }
    return told;
}

void tell_runner() noexcept {
    const Counted counted(interrupt_users);
    if (InterruptScope* scope = interrupts.load()) scope->on_signal();
}

void on_signal(int signal) noexcept {
    if (!tell_loops(signal) && signal == SIGINT) tell_runner();
}

[[noreturn]] void fail_to_catch(int signal, int error) {
    if (error == EINVAL) throw RuntimeError("sig " + std::to_string(signal) + " cannot be caught");
    std::rethrow_exception(make_os_error(error));
}

void begin_to_catch(int signal) {
    const std::lock_guard lock(table);
    if (catchers[signal] == 0) {
        if (const int error = catch_signal(signal, &on_signal)) fail_to_catch(signal, error);
    }
    ++catchers[signal];
}

void catch_no_more(int signal) noexcept {
    const std::lock_guard lock(table);
    if (--catchers[signal] == 0) leave_signal(signal);
}

SignalSlot& take_slot() {
    const std::lock_guard lock(table);
    for (SignalSlot* s = slots.load(); s; s = s->next) {
        if (!std::exchange(s->taken, true)) return *s;
    }
    auto* s = new SignalSlot;
    s->taken = true;
    s->next = slots.load();
    slots.store(s);
    return *s;
}

void check_signal(int signal) {
    if (!is_signal(signal)) throw ValueError("invalid signal number " + std::to_string(signal));
}

}  // namespace

// ---- a child of fork(2) ------------------------------------------------------------------------

namespace {

void lock_signals() noexcept { table.lock(); }
void unlock_signals() noexcept { table.unlock(); }

// What is caught for loops has the effect of before again: nothing in the child listens. Handlers
// that were under way on other threads are not here.
void leave_signals_to_parent() noexcept {
    for (int s = 1; s < kSignals; ++s) {
        if (std::exchange(catchers[s], 0) > 0) leave_signal(s);
    }
    for (SignalSlot* s = slots.load(); s; s = s->next) {
        if (LoopSignals* owner = s->owner.exchange(nullptr)) owner->leave_to_parent();
        s->users.store(0);
        s->taken = false;
    }
    if (InterruptScope* scope = interrupts.exchange(nullptr)) scope->leave_to_parent();
    interrupt_users.store(0);
}

constexpr ForkGuard kSignalGuard{lock_signals, unlock_signals, leave_signals_to_parent};
[[maybe_unused]] const bool guarded = guard_at_fork(ForkRank::kSignals, kSignalGuard);

}  // namespace

// ---- a loop's signals --------------------------------------------------------------------------

const ServiceKey LoopSignals::key;

LoopSignals::LoopSignals(LoopCore& core)
    : LoopService(ServiceRank::kSignals), loop_(static_cast<Loop&>(core)), slot_(&take_slot()) {
    slot_->owner.store(this);
}

LoopSignals::~LoopSignals() { close(); }

void LoopSignals::close() noexcept {
    if (!slot_) return;
    wanted_.store(0);
    for (int s = 1; s < kSignals; ++s) {
        const auto i = static_cast<std::size_t>(s);
        if (users_[i] > 0) catch_no_more(s);
        users_[i] = 0;
    }
    slot_->owner.store(nullptr);
    wait_for_handlers(slot_->users);
    {
        const std::lock_guard lock(table);
        std::exchange(slot_, nullptr)->taken = false;
    }
    forget_listeners();
    for (Ref<HandleState>& h : handlers_) {
        if (h) h->cancel();
        h = nullptr;
    }
}

void LoopSignals::forget_listeners() noexcept {
    while (SignalListener* l = first_) {
        remove(*l);
        l->signals_ = nullptr;
    }
}

void LoopSignals::leave_to_parent() noexcept {
    wanted_.store(0);
    slot_ = nullptr;
    forget_listeners();
}

bool LoopSignals::deliver(std::uint64_t bit) noexcept {
    if ((wanted_.load() & bit) == 0) return false;
    pending_.fetch_or(bit);
    if (!queued_.exchange(true)) loop_.push_from_signal(*this);
    return true;
}

void LoopSignals::want(std::uint64_t bits) {
    std::uint64_t done = 0;
    for (int s = 1; s < kSignals; ++s) {
        const std::uint64_t bit = signal_bit(s);
        if ((bits & bit) == 0) continue;
        if (users_[static_cast<std::size_t>(s)] == 0) {
            // Wanted first: a signal that comes at once is not lost.
            wanted_.fetch_or(bit);
            try {
                begin_to_catch(s);
            } catch (...) {
                wanted_.fetch_and(~bit);
                unwant(done);
                throw;
            }
        }
        ++users_[static_cast<std::size_t>(s)];
        done |= bit;
    }
}

void LoopSignals::unwant(std::uint64_t bits) noexcept {
    for (int s = 1; s < kSignals; ++s) {
        const std::uint64_t bit = signal_bit(s);
        if ((bits & bit) == 0 || --users_[static_cast<std::size_t>(s)] > 0) continue;
        catch_no_more(s);
        wanted_.fetch_and(~bit);
        pending_.fetch_and(~bit);
    }
}

void LoopSignals::set_handler(int signal, Ref<HandleState> handle) {
    Ref<HandleState>& place = handlers_[static_cast<std::size_t>(signal)];
    if (!place) want(signal_bit(signal));
    handle->set_repeated();
    std::swap(place, handle);
    if (handle) handle->cancel();
}

bool LoopSignals::remove_handler(int signal) {
    const Ref<HandleState> handle =
        std::exchange(handlers_[static_cast<std::size_t>(signal)], nullptr);
    if (!handle) return false;
    uncalled_ &= ~signal_bit(signal);
    unwant(signal_bit(signal));
    handle->cancel();
    return true;
}

namespace {

// One call of a handler. Not the handler's own entry, which could be in the ready queue still.
class SignalCall final : public Node, public Pooled {
  public:
    explicit SignalCall(Ref<HandleState> handle) noexcept : handle_(std::move(handle)) {}
    void run() override {
        const Ref<HandleState> handle = std::move(handle_);
        delete this;
        handle->queued();  // run() gives that count back
        handle->run();
    }
    void drop() noexcept override { delete this; }

  private:
    Ref<HandleState> handle_;
};

}  // namespace

void LoopSignals::run() {
    // Not queued first: a signal that comes after the bits were taken queues the node again.
    queued_.store(false);
    const std::uint64_t bits = pending_.exchange(0);
    uncalled_ |= bits;
    for (int s = 1; s < kSignals && call_later(s); ++s) {
    }
    for (SignalListener* l = first_; l; l = l->following_) l->notify(bits);
    // No memory: those that are left are called later.
    if (uncalled_ != 0 && !queued_.exchange(true)) loop_.push_ready(this);
}

// Returns false without memory for the call.
bool LoopSignals::call_later(int signal) noexcept {
    const std::uint64_t bit = signal_bit(signal);
    if ((uncalled_ & bit) == 0) return true;
    const Ref<HandleState>& handle = handlers_[static_cast<std::size_t>(signal)];
    try {
        if (handle) loop_.push_ready(new SignalCall(handle));
    } catch (const std::bad_alloc&) {
        return false;
    }
    uncalled_ &= ~bit;
    return true;
}

void LoopSignals::add(SignalListener& listener) {
    want(listener.wanted_);
    listener.following_ = first_;
    if (first_) first_->previous_ = &listener;
    first_ = &listener;
}

void LoopSignals::remove(SignalListener& l) noexcept {
    (l.previous_ ? l.previous_->following_ : first_) = l.following_;
    if (l.following_) l.following_->previous_ = l.previous_;
    l.previous_ = l.following_ = nullptr;
}

// ---- those who wait ----------------------------------------------------------------------------

SignalListener::SignalListener(Loop& loop, SignalSet wanted)
    : signals_(&service<LoopSignals>(loop)), wanted_(wanted.bits) {
    signals_->add(*this);
}

SignalListener::~SignalListener() {
    if (!signals_) return;
    signals_->remove(*this);
    signals_->unwant(wanted_);
}

void SignalListener::notify(std::uint64_t bits) noexcept {
    pending_ |= bits & wanted_;
    if (pending_ != 0 && waiter_ && !waiter_->done()) waiter_->set();
}

int SignalListener::Next::await_resume() {
    if (suspended_) {
        listener_.waiter_ = nullptr;
        if (std::exception_ptr e = waiter_.resume()) std::rethrow_exception(std::move(e));
    }
    const int signal = __builtin_ctzll(listener_.pending_) + 1;
    listener_.pending_ &= listener_.pending_ - 1;
    return signal;
}

SignalSet signal_set(const int* signals, std::size_t count) {
    SignalSet set;
    for (std::size_t i = 0; i < count; ++i) {
        check_signal(signals[i]);
        set.bits |= signal_bit(signals[i]);
    }
    return set;
}

Coroutine<int> wait_for_signal(SignalSet signals) {
    SignalListener listener(static_cast<Loop&>(running_core()), signals);
    co_return co_await listener.next();
}

namespace {

AsyncGenerator<int> yield_signals(std::unique_ptr<SignalListener> listener) {
    while (true) {
        const int signal = co_await listener->next();
        co_yield signal;
    }
}

}  // namespace

AsyncGenerator<int> watch_signals(SignalSet signals) {
    auto& loop = static_cast<Loop&>(running_core());
    return yield_signals(std::make_unique<SignalListener>(loop, signals));
}

// ---- Ctrl-C ------------------------------------------------------------------------------------

namespace {

// A KeyboardInterrupt that nobody catches ends the program as SIGINT does where it is not caught:
// by that signal, for the shell to see, and without a core. All else is for the terminate handler
// of before. The program may set its own at any time, so that each run looks for it; it may call
// the one that it found, which is this one: then the first of all is called.
std::atomic<std::terminate_handler> first_handler{nullptr};
std::atomic<std::terminate_handler> handler_before{nullptr};
thread_local bool terminating = false;

[[noreturn]] void on_terminate() {
    const std::exception_ptr error = std::current_exception();
    if (error && holds<KeyboardInterrupt>(error)) die_of(SIGINT);
    const bool again = std::exchange(terminating, true);
    (again ? first_handler : handler_before).load()();
    std::abort();  // a handler must not return
}

// The library may be unloaded.
struct GiveBack {
    ~GiveBack() {
        if (std::get_terminate() == &on_terminate) std::set_terminate(handler_before);
    }
};

void handle_terminate() noexcept {
    if (std::get_terminate() == &on_terminate) return;
    static const GiveBack give_back;
    handler_before = std::get_terminate();
    if (!first_handler.load()) first_handler = handler_before.load();
    std::set_terminate(&on_terminate);
}

}  // namespace

InterruptScope::InterruptScope(Loop& loop) : loop_(loop) {
    if (!in_main_thread() || interrupts.load() != nullptr) return;
    if (!has_default_effect(SIGINT)) return;
    handle_terminate();
    interrupts.store(this);
    try {
        begin_to_catch(SIGINT);
    } catch (...) {
        interrupts.store(nullptr);
        throw;
    }
    active_ = true;
}

void InterruptScope::leave() noexcept {
    if (!std::exchange(active_, false)) return;
    catch_no_more(SIGINT);
    interrupts.store(nullptr);
    wait_for_handlers(interrupt_users);
    loop_.interrupted.store(false);
    loop_.take_posted();
    loop_.forget(*this);
}

bool InterruptScope::take_unanswered() noexcept {
    loop_.interrupted.store(false);
    const int count = count_.load();
    return std::exchange(answered_, count) < count;
}

void InterruptScope::on_signal() noexcept {
    const int count = ++count_;
    if (count >= 3) {
        // The program does not listen: Ctrl-C ends it, once this handler has returned.
        return send_uncaught(SIGINT);
    }
    if (count == 2) loop_.interrupted.store(true);
    if (!queued_.exchange(true)) loop_.push_from_signal(*this);
}

void InterruptScope::run() {
    queued_.store(false);
    if (!take_unanswered()) return;
    if (!main_ || main_->done()) throw KeyboardInterrupt();
    main_->cancel({});
}

void throw_interrupt() {
    if (InterruptScope* scope = interrupts.load()) scope->raised();
    throw KeyboardInterrupt();
}

}  // namespace detail

void EventLoop::check_signal(int signal) const { detail::check_signal(signal); }

void EventLoop::add_signal(int signal, detail::Ref<detail::HandleState> handle) {
    impl_->check_open();
    impl_->check_thread();
    detail::service<detail::LoopSignals>(*impl_).set_handler(signal, std::move(handle));
}

bool EventLoop::remove_signal_handler(int signal) {
    detail::check_signal(signal);
    impl_->check_thread();
    auto* const signals = detail::find_service<detail::LoopSignals>(*impl_);
    return signals && signals->remove_handler(signal);
}

}  // namespace v1
}  // namespace asyncio

#include "asyncio/events.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <ostream>

#include "asyncio/component/post.hpp"
#include "asyncio/component/process.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/traceback.hpp"
#include "loop/loop.hpp"
#include "os/posix.hpp"

namespace asyncio {
inline namespace v1 {

// ---- the loop's public face ---------------------------------------------------------------------

namespace {

bool debug_from_environment() {
    const char* value = detail::environment_if_safe("ASYNCIO_DEBUG");
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
    impl_->update_tells();
}
TaskFactory EventLoop::get_task_factory() const { return impl_->task_factory; }

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

void EventLoop::set_exception_handler(ExceptionHandler handler) {
    impl_->exception_handler = std::move(handler);
}
ExceptionHandler EventLoop::get_exception_handler() const { return impl_->exception_handler; }

namespace detail {

void log_current_exception(const char* text) noexcept {
    try {
        log::write(log::Level::ERROR, text + format_exception(std::current_exception()));
    } catch (const std::bad_alloc&) {
        log::write(log::Level::ERROR, text);
    }
}

}  // namespace detail

// ---- which loop ---------------------------------------------------------------------------------

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

constinit std::mutex loops_mutex;

}  // namespace

namespace detail {

constinit LoopList loop_list;

void list_loop(Loop& loop) {
    forks();                    // what a fork needs is there with the first loop
    dump_on_signal_if_asked();  // in a child of fork(), too
    [[maybe_unused]] static const bool watched = (watch_if_asked(), true);
    const std::lock_guard lock(loops_mutex);
    loop.previous_loop = loop_list.last;
    (loop_list.last ? loop_list.last->following_loop : loop_list.first) = &loop;
    loop_list.last = &loop;
    ++loop_list.count;
    if (loop_list.made == 0) allow_tools_if_asked();
    loop.number = ++loop_list.made;
}

void unlist_loop(Loop& loop) noexcept {
    const std::lock_guard lock(loops_mutex);
    if (loop.number == 0) return;
    (loop.previous_loop ? loop.previous_loop->following_loop : loop_list.first) =
        loop.following_loop;
    (loop.following_loop ? loop.following_loop->previous_loop : loop_list.last) =
        loop.previous_loop;
    --loop_list.count;
    loop.number = 0;
}

namespace {

void lock_loops() noexcept {
    LookAround::others_run();  // made now, and not while another thread makes it
    loops_mutex.lock();
}

void unlock_loops() noexcept { loops_mutex.unlock(); }

void leave_loops_to_parent() noexcept {
    for (Loop* loop = loop_list.first; loop;) {
        Loop* const following = loop->following_loop;
        loop->number = 0;
        loop->leave_to_parent();
        loop = following;
    }
    loop_list.first = loop_list.last = nullptr;
    loop_list.count = 0;
    thread_state.id = 0;
    current_loop.loop = nullptr;
    if (current_loop.owned) current_loop.of_parent = current_loop.owned.release();
}

constexpr ForkGuard kLoops{lock_loops, unlock_loops, leave_loops_to_parent};
[[maybe_unused]] const bool guarded = guard_at_fork(ForkRank::kLoops, kLoops);

}  // namespace

}  // namespace detail

std::vector<EventLoop*> all_loops() {
    const std::lock_guard lock(loops_mutex);
    std::vector<EventLoop*> loops;
    for (const detail::Loop* l = detail::loop_list.first; l; l = l->following_loop) {
        if (l->loop) loops.push_back(l->loop);
    }
    return loops;
}

namespace component {

std::vector<Poster> posters() {
    const std::lock_guard lock(loops_mutex);
    std::vector<Poster> all;
    for (asyncio::detail::Loop* l = asyncio::detail::loop_list.first; l; l = l->following_loop)
        all.emplace_back(*l);
    return all;
}

}  // namespace component

namespace {

std::atomic<component::BackendWrapper> backend_wrapper{nullptr};

std::unique_ptr<detail::Backend> wrapped(std::unique_ptr<detail::Backend> b) {
    const component::BackendWrapper wrap = backend_wrapper.load();
    if (!wrap) return b;
    b = wrap(std::move(b));
    if (!b) throw ValueError("wrap_backends() was given a function that returned no back end");
    return b;
}

struct AnyLoop : EventLoop {
    explicit AnyLoop(std::unique_ptr<detail::Backend> b)
        : EventLoop(new detail::Loop(std::move(b))) {}
    static void* operator new(std::size_t size) { return ::operator new(size); }
    static void operator delete(void* p) noexcept {
        if (!std::exchange(left_running, false)) ::operator delete(p);
    }
};

}  // namespace

std::unique_ptr<EventLoop> EpollEventLoop::create() {
    return std::make_unique<AnyLoop>(wrapped(detail::make_epoll_backend()));
}

std::unique_ptr<EventLoop> UringEventLoop::create() {
    std::string why;
    if (auto backend = detail::make_uring_backend(why)) {
        return std::make_unique<AnyLoop>(wrapped(std::move(backend)));
    }
    log::write(log::Level::DEBUG, "no io_uring, epoll serves: " + why);
    return EpollEventLoop::create();
}

std::unique_ptr<EventLoop> VirtualTimeEventLoop::create() {
    return std::make_unique<AnyLoop>(wrapped(detail::make_virtual_backend()));
}

namespace component {

std::unique_ptr<Backend> make_epoll_backend() { return asyncio::detail::make_epoll_backend(); }
std::unique_ptr<Backend> make_uring_backend(std::string& why) {
    return asyncio::detail::make_uring_backend(why);
}

std::unique_ptr<EventLoop> new_event_loop(std::unique_ptr<Backend> backend) {
    if (!backend) throw ValueError("a loop needs a back end");
    return std::make_unique<AnyLoop>(std::move(backend));
}

void wrap_backends(BackendWrapper wrapper) noexcept { backend_wrapper.store(wrapper); }

}  // namespace component

std::unique_ptr<EventLoop> new_event_loop() {
    const char* wanted = detail::environment_if_safe("ASYNCIO_BACKEND");
    const std::string_view name = wanted ? wanted : "";
    if (name.empty() || name == "epoll") return EpollEventLoop::create();
    if (name == "io_uring") return UringEventLoop::create();
    if (name == "virtual") return VirtualTimeEventLoop::create();
    if (name == "simulated") {
        // By the wrapper of libasyncio::testing, whatever loop it is.
        if (backend_wrapper.load()) return EpollEventLoop::create();
        throw ValueError("ASYNCIO_BACKEND=simulated needs a program with libasyncio::testing");
    }
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

// A thread that looks at the loops now and then: those that have begun no step since the last look
// and do not sleep are in one that takes long.
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/inspect.hpp"
#include "asyncio/log.hpp"
#include "inspect/output.hpp"
#include "inspect/own_tasks.hpp"
#include "os/native_stack.hpp"
#include "os/posix.hpp"
#include "os/signals.hpp"
#include "os/threads.hpp"

namespace asyncio {
inline namespace v1 {

namespace {

std::string milliseconds(Duration d) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count()) + " ms";
}

// Names are the program's own, but may come from its users.
void log_stall(const inspect::Stall& stall) {
    using detail::reading::printable;
    std::string text = "loop " + std::to_string(stall.loop);
    if (stall.over) {
        log::write(log::Level::WARNING, text + " went on after " + milliseconds(stall.so_far));
        return;
    }
    text += " has been blocked for " + milliseconds(stall.so_far) + " so far, on thread " +
            std::to_string(stall.thread) + ", by ";
    text += stall.task.empty() ? "a callback" : "task '" + printable(stall.task) + '\'';
    if (!stall.place.empty()) text += " of " + printable(stall.place);
    std::size_t number = 0;
    for (const std::string& frame : stall.stack) {
        text += "\n  #" + std::to_string(number++) + ' ' + printable(frame);
    }
    log::write(log::Level::WARNING, text);
}

}  // namespace

class inspect::Watchdog::Watching {
  public:
    explicit Watching(WatchdogOptions options)
        : report_(options.report ? std::move(options.report) : log_stall),
          limit_(options.limit.duration()),
          native_stack_(options.native_stack) {
        const detail::SignalsBlocked blocked;
        thread_ = std::thread([this] { run(); });
    }
    Watching(const Watching&) = delete;
    Watching& operator=(const Watching&) = delete;
    ~Watching() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }

  private:
    using Clock = std::chrono::steady_clock;

    // What was seen of a loop.
    struct Seen {
        std::uint64_t steps = 0;
        Clock::time_point since;     // when this step was seen first
        bool running = false;        // in it, and not asleep
        std::optional<Stall> stall;  // that was reported
        bool there = false;          // at the last look
    };

    void run() {
        detail::name_this_thread("asyncio-watch");
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, limit_ / 4, [this] { return over_; })) {
            lock.unlock();
            try {
                look();
            } catch (...) {
                // No memory, or a report that raises: there is nobody above this thread to tell.
            }
            lock.lock();
        }
    }

    void look() {
        const detail::reading::Snapshot snapshot = detail::reading::own_running();
        const Clock::time_point now = Clock::now();
        // It was stopped itself, with the whole process perhaps: that time is no loop's.
        const Duration late = now - looked_ - limit_ / 4;
        looked_ = now;
        for (auto& [id, seen] : seen_) {
            seen.there = false;
            if (late > limit_) seen.since += late;
        }
        for (const detail::reading::Loop& loop : snapshot.loops) look_at(loop, now);
        for (auto each = seen_.begin(); each != seen_.end();) {
            if (each->second.there) {
                ++each;
                continue;
            }
            // It went away, at the end of its stall perhaps.
            const Seen gone = std::move(each->second);
            each = seen_.erase(each);
            tell_end(gone, now);
        }
    }

    void look_at(const detail::reading::Loop& loop, Clock::time_point now) {
        Seen& seen = seen_[loop.number];
        seen.there = true;
        const bool running = loop.running && !loop.asleep;
        if (running && seen.running && seen.steps == loop.steps) {
            if (!seen.stall && now - seen.since >= limit_) tell(loop, seen, now - seen.since);
            return;
        }
        const Seen before = seen;
        seen.stall.reset();
        seen.steps = loop.steps;
        seen.running = running;
        seen.since = now;
        tell_end(before, now);
    }

    void tell_end(const Seen& seen, Clock::time_point now) {
        if (!seen.stall) return;
        Stall over = *seen.stall;
        over.so_far = now - seen.since;
        over.over = true;
        report_(over);
    }

    void tell(const detail::reading::Loop& loop, Seen& seen, Duration so_far) {
        Stall stall;
        stall.loop = loop.number;
        stall.thread = loop.thread;
        stall.so_far = so_far;
        if (!loop.tasks.empty()) {
            const detail::reading::Task& task = loop.tasks.front();
            stall.task = task.name;
            if (!task.stack.empty()) {
                const detail::reading::Place& place = task.stack.back();
                stall.place =
                    place.function + "() at " + place.file + ':' + std::to_string(place.line);
            }
        }
        if (native_stack_ && loop.thread > 0) {
            for (void* const address : detail::native_stack(loop.thread)) {
                stall.stack.push_back(names_.of(address));
            }
        }
        seen.stall = stall;
        report_(stall);
    }

    detail::Function<void(const Stall&)> report_;
    const Duration limit_;
    const bool native_stack_;
    std::map<std::uint64_t, Seen> seen_;  // by the number of the loop
    Clock::time_point looked_ = Clock::now();
    detail::SymbolNames names_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::thread thread_;
};

inspect::Watchdog::Watchdog(WatchdogOptions options) {
    const bool wrong = options.limit.is_none() ||
                       options.limit.duration() < std::chrono::milliseconds(1) ||
                       options.limit.duration() > std::chrono::hours(1);
    if (wrong) throw ValueError("the limit of a Watchdog is from 1 ms to 1 h");
    try {
        watching_ = std::make_unique<Watching>(std::move(options));
    } catch (const std::system_error&) {
        throw RuntimeError("can't start new thread");
    }
}

inspect::Watchdog::~Watchdog() = default;

namespace detail {

void watch_if_asked() noexcept {
    const char* const value = environment_if_safe("ASYNCIO_WATCHDOG");
    if (!value || !*value || std::string_view(value) == "0") return;
    try {
        char* end = nullptr;
        const double seconds = std::strtod(value, &end);
        if (*end != '\0' || !(seconds >= 0.001 && seconds <= 3600)) {
            log::write(log::Level::WARNING,
                       std::string("ASYNCIO_WATCHDOG=") + value +
                           ": a number of seconds from 0.001 to 3600 is needed");
            return;
        }
        // It watches until the process ends, and nobody joins its thread then.
        static auto* const watchdog =
            new inspect::Watchdog({.limit = std::chrono::duration<double>(seconds)});
        (void)watchdog;
    } catch (const std::exception& e) {
        log::write(log::Level::WARNING, std::string("ASYNCIO_WATCHDOG: ") + e.what());
    }
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

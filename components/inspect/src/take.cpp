// Taking a snapshot, and stopping a thread for it: ptrace(2).
#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "find_block.hpp"
#include "inspect/reader.hpp"
#include "loop/step_watch.hpp"
#include "lost.hpp"
#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

std::int64_t monotonic_now() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// One thread of another process, which stands still while this lives.
class Stopped {
  public:
    explicit Stopped(int thread) : thread_(thread) {
        if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
            const int error = errno;
            // Who could read its memory may stop it, or somebody else is doing so.
            throw Failure(
                "thread " + std::to_string(thread) +
                " cannot be stopped for the reading: " + std::strerror(error) +
                (error == EPERM ? " (does a debugger hold it?); --no-stop does without" : ""));
        }
        int status = 0;
        if (::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0 ||
            ::waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status)) {
            ::ptrace(PTRACE_DETACH, thread, nullptr, nullptr);
            throw Failure("thread " + std::to_string(thread) + " ended meanwhile");
        }
        // It may have stopped for a signal that came just then, which it is to get.
        const bool asked_for = status >> 16 == PTRACE_EVENT_STOP;
        if (!asked_for) signal_ = WSTOPSIG(status);
    }
    Stopped(const Stopped&) = delete;
    Stopped& operator=(const Stopped&) = delete;
    // Safe because the kernel takes the number for a signal, and nobody for an address.
    ~Stopped() { ::ptrace(PTRACE_DETACH, thread_, nullptr, reinterpret_cast<void*>(signal_)); }

  private:
    int thread_;
    std::intptr_t signal_ = 0;
};

// The number that this system gives to the thread that is `inner` within its container.
int outer_thread(int pid, int inner) {
    const std::string folder = "/proc/" + std::to_string(pid) + "/task";
    DIR* const tasks = ::opendir(folder.c_str());
    if (!tasks) return inner;
    int found = inner;
    while (const dirent* const entry = ::readdir(tasks)) {
        if (entry->d_name[0] == '.') continue;
        std::ifstream status(folder + '/' + entry->d_name + "/status");
        std::string line;
        while (std::getline(status, line)) {
            if (!line.starts_with("NSpid:")) continue;
            const std::size_t last = line.find_last_of(" \t");
            if (std::atoi(line.c_str() + last + 1) == inner) found = std::atoi(entry->d_name);
            break;
        }
    }
    ::closedir(tasks);
    return found;
}

}  // namespace

class Live::Taking {
  public:
    Taking(int pid, HoldLoop hold)
        : memory_(live_memory(pid)),
          blocks_(find_blocks(*memory_)),
          pid_(pid),
          hold_(std::move(hold)) {}

    Snapshot take(const TakeOptions& options) {
        for (int i = 0; !options.stop; ++i) {
            Snapshot snapshot = read();
            if (check(snapshot)) return snapshot;
            if (i < options.retries) continue;
            if (options.no_stop) return snapshot;
            break;
        }
        return read_stopped();
    }

    Snapshot glance() {
        reading_.only_running = true;
        Snapshot snapshot = read();
        reading_.only_running = false;
        return snapshot;
    }

    // What refers to what is looked for in all of the memory, which takes longer than a thread
    // should be stopped for. A task that is lost does not change meanwhile: so what is found twice
    // in a loop that runs is nearly sure, and said to be no more than that.
    Snapshot take_lost(const TakeOptions& options, std::vector<Address>& lost) {
        reading_.timers = true;
        Snapshot snapshot = take(options);
        lost = find_lost(*memory_, blocks_, pid_, snapshot);
        if (check(snapshot)) return snapshot;
        snapshot = take(options);
        std::vector<Address> again = find_lost(*memory_, blocks_, pid_, snapshot);
        std::erase_if(lost, [&](Address id) {
            return std::find(again.begin(), again.end(), id) == again.end();
        });
        check(snapshot);
        return snapshot;
    }

    void count_for(double seconds) {
        for (const Block& block : blocks_) ask(block.watch_until, seconds, "count");
    }

    void trace_for(double seconds) {
        count_for(seconds);
        for (const Block& block : blocks_) ask(block.trace_until, seconds, "keep");
    }

    Snapshot take_states() {
        reading_.only_states = true;
        return read();
    }

    void read_steps(const Loop& loop, StepCursor& cursor, std::vector<Step>& to) {
        memory_->forget();
        Reader(*memory_, blocks_.at(loop.copy), reading_).read_steps(loop.id, cursor, to);
    }

  private:
    // Writes until when the process is to do something with its steps; `where` is in the process.
    void ask(const void* where, double seconds, const char* what) {
        if (where == nullptr) {
            throw Failure(std::string("the process uses a libasyncio that cannot ") + what +
                          " steps");
        }
        const auto until =
            static_cast<std::uint64_t>(monotonic_now()) + static_cast<std::uint64_t>(seconds * 1e9);
        // Safe because it is an address of the process, and only passed on.
        const auto at = reinterpret_cast<Address>(where);
        // Another tool may have asked for longer, which is not to be cut short.
        memory_->forget();
        const auto asked = memory_->get<std::uint64_t>(at).value_or(0);
        if (asked > until && asked - until < kLongestLease) return;
        if (memory_->write(at, until)) return;
        throw Failure("process " + std::to_string(pid_) + " cannot be asked to " + what +
                      " steps: " + std::strerror(errno));
    }

    Snapshot read() {
        memory_->forget();
        reading_.now = monotonic_now();
        Snapshot snapshot;
        for (std::size_t i = 0; i < blocks_.size(); ++i) {
            const std::size_t before = snapshot.loops.size();
            snapshot.library = blocks_[i].library;
            Reader(*memory_, blocks_[i], reading_).read_loops(snapshot.loops);
            for (std::size_t n = before; n < snapshot.loops.size(); ++n) {
                snapshot.loops[n].copy = i;
            }
        }
        return snapshot;
    }

    // Marks the loops that ran meanwhile. True: there are none.
    bool check(Snapshot& snapshot) {
        memory_->forget();
        bool all = true;
        for (Loop& loop : snapshot.loops) {
            loop.torn = true;
            for (const Block& block : blocks_) {
                if (Reader(*memory_, block, reading_).unchanged(loop)) loop.torn = false;
            }
            if (loop.torn) all = false;
        }
        return all;
    }

    // Holds the loops that run, as whoever looks can do it. One that goes on before all is read may
    // be torn.
    Snapshot read_held() {
        std::unordered_map<Address, std::unique_ptr<Hold>> held;
        for (const Loop& loop : read().loops) {
            if (loop.running && !loop.asleep) held.emplace(loop.id, hold_(loop));
        }
        Snapshot snapshot = read();
        check(snapshot);
        for (Loop& loop : snapshot.loops) {
            const auto found = held.find(loop.id);
            if (found != held.end() && found->second && found->second->holds()) loop.torn = false;
        }
        return snapshot;
    }

    // Stops the threads of the loops that run.
    Snapshot read_stopped() {
        if (hold_) return read_held();
        std::vector<int> numbers;
        for (const Loop& loop : read().loops) {
            if (!loop.running || loop.thread <= 0) continue;
            const int thread = outer_thread(pid_, loop.thread);
            if (std::find(numbers.begin(), numbers.end(), thread) == numbers.end()) {
                numbers.push_back(thread);
            }
        }
        std::vector<std::unique_ptr<Stopped>> threads;
        threads.reserve(numbers.size());
        for (const int thread : numbers) threads.push_back(std::make_unique<Stopped>(thread));
        return read();
    }

    std::unique_ptr<ProcessMemory> memory_;
    std::vector<Block> blocks_;
    int pid_;
    HoldLoop hold_;
    Reading reading_;
};

Live::Live(int pid, HoldLoop hold) : taking_(std::make_unique<Taking>(pid, std::move(hold))) {}

Live::~Live() = default;

Snapshot Live::take(const TakeOptions& options) { return taking_->take(options); }

Snapshot Live::glance() { return taking_->glance(); }

Snapshot Live::take_lost(const TakeOptions& options, std::vector<Address>& lost) {
    return taking_->take_lost(options, lost);
}

void Live::count_for(double seconds) { taking_->count_for(seconds); }

void Live::trace_for(double seconds) { taking_->trace_for(seconds); }

Snapshot Live::take_states() { return taking_->take_states(); }

void Live::read_steps(const Loop& loop, StepCursor& cursor, std::vector<Step>& to) {
    taking_->read_steps(loop, cursor, to);
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

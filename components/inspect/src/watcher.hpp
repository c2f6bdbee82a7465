// Looks at a process for as long as somebody asks, on a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "changes.hpp"
#include "findings.hpp"
#include "holders.hpp"
#include "process.hpp"
#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

// Times of day are seconds since 1970.
double time_of_day();

// What a loop did from one look to the next.
struct Gain {
    double seconds = 0;
    double busy = 0;
    Counts all;
    std::unordered_map<Address, Counts> tasks;  // of those that ran, by their ids
};

// All tasks at one moment, which takes from milliseconds to seconds.
struct Look {
    Snapshot snapshot;
    std::vector<std::optional<Gain>> gains;  // of each loop; none: it does not count
    double at = 0;
    double took = 0;     // s
    double stopped = 0;  // for how long, of that, threads of the process stood still
    ProcessFacts facts;
    std::vector<Group> groups;
    std::vector<Warning> warnings;
    LockHolders holders;
};

// How a loop did in the half second or so up to a time.
struct Sample {
    double at = 0;
    double steps = 0;       // a second
    double iterations = 0;  // a second
    double busy = 0;        // the part in which it did not sleep
};

// A loop, as it is known some twenty times a second.
struct LoopNow {
    Loop loop;         // of its tasks that which runs
    double since = 0;  // for how long it has done what it does, s
    bool stuck = false;
    std::deque<Sample> samples;
};

// One step that kept its loop for long.
struct Stall {
    Address loop_id = 0;
    std::uint64_t loop = 0;  // its number
    double began = 0;        // time of day
    double lasted = 0;       // s, up to now
    bool over = false;
    Address task = 0;  // 0: a callback
    std::string name;
    Place place;
};

struct State {
    std::shared_ptr<const Look> look;  // null: the first one is being taken
    std::shared_ptr<const std::vector<Descriptor>> descriptors;  // null: nobody asked yet
    std::vector<LoopNow> loops;
    std::deque<Stall> stalls;
    Process::Life life = Process::Life::kRuns;
    double ended = 0;     // time of day
    std::string trouble;  // why there is no newer look
};

class Watcher {
  public:
    // Raises: Failure.
    Watcher(int pid, const TakeOptions& take, const HoldLoop& hold);
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;
    ~Watcher();

    const Process& process() const { return process_; }
    // What is known; and looks go on for some seconds from now.
    State ask(bool descriptors);

  private:
    using Clock = std::chrono::steady_clock;

    // Of a loop between two glances.
    struct Track {
        LoopNow now;
        Clock::time_point since;
        // Where the present sample began.
        Clock::time_point sampled;
        std::uint64_t steps = 0, iterations = 0;
        std::optional<LoopCounts> counts;
        std::uint64_t glances = 0, awake = 0;
        bool in_stall = false;
        bool unsure = false;  // it runs, and may be stuck
        bool fresh = true;    // the sample is to begin with the next glance
    };
    struct Waiting {
        std::string name;
        std::uint64_t steps;
        double since;  // time of day
    };

    void run();
    bool go_on();
    void renew_lease();
    void glance();
    void follow(const Loop& loop, Clock::time_point now);
    void sample(Track& track, const Loop& loop, Clock::time_point now);
    void tell_stall(Track& track, bool stuck);
    void read_descriptors();
    void look();
    Snapshot take(Look& look);
    bool is_unsure() const;
    bool moved_since_glance(const Snapshot& snapshot) const;
    void compare(Look& look);
    void find_those_that_never_run(Look& look);
    void failed(const std::string& why);

    Process process_;
    Live live_;
    TakeOptions take_;
    // Of the watching thread alone.
    std::unordered_map<Address, Track> tracks_;
    std::unordered_map<Address, Counted> counted_;
    std::unordered_map<Address, Waiting> ready_;
    HolderWatch holders_;
    Clock::time_point next_lease_{}, next_look_{}, next_descriptors_{};
    double last_took_ = 0;
    bool counts_ = true;
    // Of both.
    std::mutex mutex_;
    std::condition_variable asked_;
    State state_;
    Clock::time_point last_asked_{}, descriptors_asked_{};
    bool stop_ = false;
    std::thread thread_;  // the last: it uses all the others
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "watcher.hpp"

#include <algorithm>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

using namespace std::chrono_literals;
using Seconds = std::chrono::duration<double>;

constexpr auto kWatched = 3s;  // after somebody asked
constexpr auto kBetweenGlances = 50ms;
constexpr auto kBetweenLooks = 500ms;
constexpr auto kOfSample = 500ms;
constexpr auto kBetweenLeases = 1s;
constexpr double kLease = 3, kLongestLease = 60;
constexpr double kStuck = 0.1;
// A look may take a fifth of our time, and a twentieth of the program's.
constexpr double kOurShare = 4, kTheirShare = 19;
constexpr std::size_t kMostSamples = 240, kMostStalls = 200, kMostReady = 10'000;
constexpr std::size_t kMostDescriptors = 5'000;
constexpr double kNeverRan = 1;
// A loop counts some thousands of its tasks at once: of more it is not known who ran.
constexpr std::size_t kMostCounted = 4'000;

double passed(std::chrono::steady_clock::time_point from,
              std::chrono::steady_clock::time_point to) {
    return Seconds(to - from).count();
}

}  // namespace

double time_of_day() {
    return Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

Watcher::Watcher(int pid, const TakeOptions& take, const HoldLoop& hold)
    : process_(pid), live_(pid, hold), take_(take) {
    if (process_.life() == Process::Life::kEnded) {
        throw Failure("process " + std::to_string(pid) + " has ended");
    }
    thread_ = std::thread([this] { run(); });
}

Watcher::~Watcher() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    asked_.notify_all();
    thread_.join();
}

State Watcher::ask(bool descriptors) {
    const std::lock_guard lock(mutex_);
    last_asked_ = Clock::now();
    if (descriptors) descriptors_asked_ = last_asked_;
    asked_.notify_all();
    return state_;
}

void Watcher::run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        if (last_asked_ == Clock::time_point() || Clock::now() - last_asked_ > kWatched) {
            // What is taken up later has little to do with what was before.
            for (auto& [id, track] : tracks_) track.fresh = true;
            ready_.clear();
            holders_.forget();
            counted_.clear();
            asked_.wait(lock);
            continue;
        }
        lock.unlock();
        const bool alive = go_on();
        lock.lock();
        if (!alive) return;
        asked_.wait_for(lock, kBetweenGlances, [this] { return stop_; });
    }
}

// False: the process is gone.
bool Watcher::go_on() {
    const auto now = Clock::now();
    try {
        if (const Process::Life life = process_.life(); life != state_.life) {
            const std::lock_guard lock(mutex_);
            state_.life = life;
        }
        if (state_.life <= Process::Life::kStopped) {
            if (now >= next_lease_) renew_lease();
            glance();
            if (now >= next_descriptors_) read_descriptors();
            if (now >= next_look_ && !is_unsure()) look();
        }
    } catch (const Failure& e) {
        failed(e.what());
    } catch (const std::bad_alloc&) {
        failed("the tool has no memory for a look");
    }
    if (state_.life <= Process::Life::kStopped) return true;
    const std::lock_guard lock(mutex_);
    state_.ended = time_of_day();
    for (Stall& stall : state_.stalls) stall.over = true;
    for (LoopNow& loop : state_.loops) loop.stuck = false;
    return false;
}

void Watcher::failed(const std::string& why) {
    const Process::Life life = process_.life();
    const std::lock_guard lock(mutex_);
    state_.life = life;
    state_.trouble = why;
    next_look_ = Clock::now() + 1s;
}

void Watcher::renew_lease() {
    if (!counts_) return;
    next_lease_ = Clock::now() + kBetweenLeases;
    try {
        // A look may come between, during which nobody renews it.
        live_.count_for(std::clamp(2 * last_took_ + kLease - 0.5, kLease, kLongestLease));
    } catch (const Failure&) {
        // A program that cannot count can be looked at all the same.
        counts_ = false;
    }
}

// ---- loops -------------------------------------------------------------------------------------

void Watcher::glance() {
    const Snapshot snapshot = live_.glance();
    const auto now = Clock::now();
    std::vector<LoopNow> loops;
    for (const Loop& loop : snapshot.loops) {
        follow(loop, now);
        loops.push_back(tracks_[loop.id].now);
    }
    std::erase_if(tracks_, [&](const auto& track) {
        return std::none_of(loops.begin(), loops.end(),
                            [&](const LoopNow& loop) { return loop.loop.id == track.first; });
    });
    const std::lock_guard lock(mutex_);
    state_.loops = std::move(loops);
}

void Watcher::follow(const Loop& loop, Clock::time_point now) {
    const auto [found, is_new] = tracks_.try_emplace(loop.id);
    Track& track = found->second;
    const Loop& before = track.now.loop;
    const bool is_same = before.steps == loop.steps && before.asleep == loop.asleep &&
                         before.running == loop.running;
    if (is_new || !is_same) {
        track.since = now;
        if (track.in_stall) tell_stall(track, false);
    }
    if (track.fresh) {
        track.fresh = false;
        track.glances = track.awake = 0;
        track.sampled = now;
        track.steps = loop.steps;
        track.iterations = loop.iterations;
        track.counts = loop.counts;
    }
    track.now.loop = loop;
    track.now.since = passed(track.since, now);
    const bool runs = loop.running && !loop.asleep;
    // The program knows better since when, if it counted by then.
    if (runs && loop.counts && loop.counts->step) {
        track.now.since = std::max(track.now.since, *loop.counts->step);
    }
    ++track.glances;
    if (runs) ++track.awake;
    const bool seen = passed(track.since, now) > kStuck;
    track.now.stuck = runs && seen;
    track.unsure = runs && !seen && (is_new || is_same);
    if (track.now.stuck) tell_stall(track, true);
    if (passed(track.sampled, now) >= Seconds(kOfSample).count()) sample(track, loop, now);
}

void Watcher::sample(Track& track, const Loop& loop, Clock::time_point now) {
    const double seconds = passed(track.sampled, now);
    const auto rate = [&](std::uint64_t is, std::uint64_t was) {
        return is < was ? 0 : static_cast<double>(is - was) / seconds;
    };
    Sample sample{time_of_day(), rate(loop.steps, track.steps),
                  rate(loop.iterations, track.iterations),
                  static_cast<double>(track.awake) / static_cast<double>(track.glances)};
    if (loop.counts && track.counts && track.counts->counted < loop.counts->counted) {
        const double counted = loop.counts->counted - track.counts->counted;
        sample.busy = std::clamp(1 - (loop.counts->idle - track.counts->idle) / counted, 0.0, 1.0);
    }
    track.now.samples.push_back(sample);
    if (track.now.samples.size() > kMostSamples) track.now.samples.pop_front();
    track.sampled = now;
    track.steps = loop.steps;
    track.iterations = loop.iterations;
    track.counts = loop.counts;
    track.glances = track.awake = 0;
}

void Watcher::tell_stall(Track& track, bool stuck) {
    const Loop& loop = track.now.loop;
    const std::lock_guard lock(mutex_);
    auto stall = std::find_if(state_.stalls.rbegin(), state_.stalls.rend(),
                              [&](const Stall& s) { return s.loop_id == loop.id && !s.over; });
    if (stuck && stall == state_.stalls.rend()) {
        Stall begun;
        begun.loop_id = loop.id;
        begun.loop = loop.number;
        begun.began = time_of_day() - track.now.since;
        if (!loop.tasks.empty()) {
            begun.task = loop.tasks.front().id;
            begun.name = loop.tasks.front().name;
            if (const Place* const place = place_of(loop.tasks.front())) begun.place = *place;
        }
        state_.stalls.push_back(begun);
        if (state_.stalls.size() > kMostStalls) state_.stalls.pop_front();
        stall = state_.stalls.rbegin();
    }
    if (stall != state_.stalls.rend()) {
        stall->lasted = time_of_day() - stall->began;
        stall->over = !stuck;
    }
    track.in_stall = stuck;
}

void Watcher::read_descriptors() {
    {
        const std::lock_guard lock(mutex_);
        const bool asked = descriptors_asked_ != Clock::time_point() &&
                           Clock::now() - descriptors_asked_ < kWatched;
        if (!asked) return;
    }
    const auto began = Clock::now();
    auto all =
        std::make_shared<const std::vector<Descriptor>>(process_.descriptors(kMostDescriptors));
    next_descriptors_ =
        Clock::now() + std::max<Clock::duration>(kBetweenLooks, (Clock::now() - began) * 4);
    const std::lock_guard lock(mutex_);
    // It may have become another meanwhile, of which nothing is told.
    if (process_.life() <= Process::Life::kStopped) state_.descriptors = std::move(all);
}

// ---- tasks -------------------------------------------------------------------------------------

void Watcher::look() {
    const auto began = Clock::now();
    auto look = std::make_shared<Look>();
    look->snapshot = take(*look);
    look->at = time_of_day();
    look->facts = process_.facts();
    compare(*look);
    std::vector<const Task*> tasks;
    for (const Loop& loop : look->snapshot.loops) {
        for (const Task& task : loop.tasks) tasks.push_back(&task);
    }
    look->groups = group(tasks);
    look->warnings = warnings_of(look->snapshot, look->groups);
    find_those_that_never_run(*look);
    look->holders = holders_.see(look->snapshot, look->at);
    // What was read while it ended, or became another, may be anything.
    if (const Process::Life life = process_.life(); life > Process::Life::kStopped) {
        const std::lock_guard lock(mutex_);
        state_.life = life;
        return;
    }
    look->took = last_took_ = passed(began, Clock::now());
    const double pause = std::max({Seconds(kBetweenLooks).count() - look->took,
                                   look->took * kOurShare, look->stopped * kTheirShare});
    next_look_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(pause));
    const std::lock_guard lock(mutex_);
    state_.look = std::move(look);
    state_.trouble.clear();
}

// A loop that runs one step for long changes only what that step does. Its thread is not stopped,
// which could end a call of the system early in which it waits. One that goes on is stopped.
Snapshot Watcher::take(Look& look) {
    TakeOptions options = take_;
    if (!options.stop) {
        options.no_stop = true;
        Snapshot snapshot = live_.take(options);
        if (take_.no_stop || !moved_since_glance(snapshot)) return snapshot;
    }
    options.no_stop = false;
    options.stop = true;
    const auto began = Clock::now();
    Snapshot snapshot = live_.take(options);
    look.stopped = passed(began, Clock::now());
    return snapshot;
}

// Soon it is known whether it is stuck, and then its thread is not to be stopped.
bool Watcher::is_unsure() const {
    return std::any_of(tracks_.begin(), tracks_.end(),
                       [](const auto& track) { return track.second.unsure; });
}

bool Watcher::moved_since_glance(const Snapshot& snapshot) const {
    return std::any_of(snapshot.loops.begin(), snapshot.loops.end(), [&](const Loop& loop) {
        const auto track = tracks_.find(loop.id);
        const bool stuck = track != tracks_.end() && track->second.now.stuck &&
                           track->second.now.loop.steps == loop.steps;
        return loop.torn && !stuck;
    });
}

void Watcher::compare(Look& look) {
    std::unordered_map<Address, Counted> counted;
    for (const Loop& loop : look.snapshot.loops) {
        counted[loop.id] = counted_of(loop);
        auto& gain = look.gains.emplace_back();
        if (!loop.counts) continue;
        const auto before = counted_.find(loop.id);
        const Change change(loop, before == counted_.end() ? nullptr : &before->second);
        gain.emplace(Gain{change.seconds(), change.busy(), change.all(), {}});
        for (const Task& task : loop.tasks) {
            if (task.counts) gain->tasks.emplace(task.id, *change.of(task));
        }
    }
    counted_ = std::move(counted);
}

// Tasks that were ready in the looks before already, and have not had their turn.
void Watcher::find_those_that_never_run(Look& look) {
    std::unordered_map<Address, Waiting> ready;
    for (const Loop& loop : look.snapshot.loops) {
        std::uint64_t count = 0;
        double longest = 0;
        const Task* first = nullptr;
        const auto counted = counted_.find(loop.id);
        const bool known = loop.counts && counted->second.tasks.size() < kMostCounted;
        for (const Task& task : loop.tasks) {
            if (task.state != TaskState::kReady || ready.size() == kMostReady) continue;
            // Where nobody counts, nobody has run only if nothing has.
            const std::uint64_t steps = known ? (task.counts ? task.counts->steps : 0) : loop.steps;
            Waiting waiting{task.name, steps, look.at};
            const auto before = ready_.find(task.id);
            if (before != ready_.end() && before->second.name == task.name &&
                before->second.steps == steps) {
                waiting.since = before->second.since;
            }
            if (look.at - waiting.since > kNeverRan) {
                if (count++ == 0) first = &task;
                longest = std::max(longest, look.at - waiting.since);
            }
            ready.emplace(task.id, std::move(waiting));
        }
        if (count == 0) continue;
        look.warnings.push_back({"never ran",
                                 many(count, "task") + " of loop " + std::to_string(loop.number) +
                                     (count == 1 ? " is" : " are") +
                                     " ready, but had no turn for more than " +
                                     many(static_cast<std::uint64_t>(longest), "second") + ": " +
                                     first->name + (count == 1 ? "" : ", ..."),
                                 "ready"});
    }
    ready_ = std::move(ready);
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "inspect/reader.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/function_name.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// A process that lies, or that was caught in the middle of a change, must not keep us for ever.
constexpr std::size_t kMostLoops = 100'000;
constexpr std::size_t kMostTasks = 20'000'000;
constexpr std::size_t kMostReady = 20'000'000;
constexpr std::size_t kMostFrames = 10'000;
constexpr std::size_t kMostCallbacks = 100'000;
constexpr std::size_t kMostAwaiters = 1'000;
constexpr int kDeepest = 32;  // gathers within gathers
constexpr std::size_t kMostBases = 16;
constexpr std::size_t kMostCounted = 1'000'000;
constexpr std::size_t kMostPlaceSize = 256;  // of one that is counted
constexpr std::size_t kMostTimes = 64;

// Safe because nobody follows it here: it is an address of the process that is read.
Address address_of(const void* theirs) { return reinterpret_cast<Address>(theirs); }

std::string hex(Address address) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
    return text;
}

// 12.34 -> "12.3 s". printf takes a third of the time of reading a million tasks that sleep.
std::string seconds(double s) {
    const long long tenths = std::llround(s * 10);
    return std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) + " s";
}

// N7asyncio2v16detail8TaskBaseE -> asyncio::v1::detail::TaskBase
std::string demangled(const std::string& name) {
    // Demanglers were broken by long names of little sense.
    if (name.size() > 1000) return name.substr(0, 1000) + "...";
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> text(
        abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), std::free);
    return status == 0 && text ? text.get() : name;
}

// What the block says, which may not end.
template <std::size_t kSize>
std::string_view text_of(const char (&text)[kSize]) {
    return {text, ::strnlen(text, kSize)};
}

std::string without_namespace(std::string name) {
    for (const char* prefix : {"asyncio::v1::detail::", "asyncio::v1::"}) {
        if (name.starts_with(prefix)) return name.substr(std::char_traits<char>::length(prefix));
    }
    return name;
}

}  // namespace

bool Reader::unchanged(const Loop& loop) {
    const bool running = value<std::uint8_t>(loop.id, block_.loop.running) != 0;
    const bool asleep = value<std::uint8_t>(loop.id, block_.loop.asleep) != 0;
    return loop.asleep == asleep && loop.running == running && (asleep || !running) &&
           loop.steps == value<std::uint64_t>(loop.id, block_.loop.steps);
}

void Reader::read_loops(std::vector<Loop>& loops) {
    Address loop = memory_.get<Address>(address_of(block_.loops)).value_or(0);
    std::unordered_set<Address> seen;
    while (loop != 0 && seen.size() < kMostLoops && seen.insert(loop).second) {
        loops.push_back(read_loop(loop));
        loop = pointer(loop, block_.loop.following);
    }
}

// What time it is for the loop, ns.
std::int64_t Reader::now_of(Address loop) {
    const auto at = value<std::int64_t>(loop, block_.loop.clock);
    return reading_.now ? std::max(*reading_.now, at) : at;
}

Loop Reader::read_loop(Address at) {
    Loop loop;
    loop.id = at;
    loop.running = value<std::uint8_t>(at, block_.loop.running) != 0;
    loop.asleep = value<std::uint8_t>(at, block_.loop.asleep) != 0;
    loop.steps = value<std::uint64_t>(at, block_.loop.steps);
    loop.number = value<std::uint64_t>(at, block_.loop.number);
    loop.backend = memory_.text(pointer(at, block_.loop.backend_name), 32);
    loop.debug = value<std::uint8_t>(at, block_.loop.debug) != 0;
    loop.iterations = value<std::uint64_t>(at, block_.loop.rounds) +
                      value<std::uint32_t>(at, block_.loop.iterations);
    read_counts(at, loop);
    read_totals(at, loop);
    const bool is_virtual = loop.backend == "virtual";
    const std::int64_t now = is_virtual ? value<std::int64_t>(at, block_.loop.clock) : now_of(at);
    read_timers(at, loop, now);

    ready_.clear();
    if (!reading_.only_running) {
        read_ready(pointer(at, block_.loop.ready));
        read_ready(pointer(at, block_.loop.batch));
    }
    loop.ready = ready_.size();

    Address running = 0;
    if (const Address thread = pointer(at, block_.loop.owner)) {
        loop.owner = thread;
        loop.thread = value<std::int32_t>(thread, block_.thread.id);
        if (loop.running && pointer(thread, block_.thread.loop) == at) {
            running = pointer(thread, block_.thread.task);
        }
    }
    if (reading_.only_running) {
        if (running != 0) loop.tasks.push_back(read_task(running, running, now));
        return loop;
    }
    const auto count = [&](TaskState state) { ++loop.states[static_cast<std::size_t>(state)]; };
    Address task = pointer(at, block_.loop.first_task);
    if (reading_.only_states) {
        for (std::size_t n = 0; task != 0 && n < kMostTasks; ++n) {
            count(state_of(task, running, pointer(task, block_.future.waiting)));
            task = pointer(task, block_.task.following);
        }
        return loop;
    }
    std::unordered_set<Address> seen;
    for (; task != 0 && seen.size() < kMostTasks && seen.insert(task).second;
         task = pointer(task, block_.task.following)) {
        loop.tasks.push_back(read_task(task, running, now));
        count(loop.tasks.back().state);
    }
    return loop;
}

void Reader::read_totals(Address at, Loop& loop) {
    const auto& t = block_.totals;
    if (t.tasks_made == 0) return;
    loop.totals = {value<std::uint64_t>(at, t.tasks_made), value<std::uint64_t>(at, t.tasks_failed),
                   value<std::uint64_t>(at, t.tasks_cancelled)};
}

TaskState Reader::state_of(Address task, Address running, Address waiting) {
    if (task == running) return TaskState::kRunning;
    if (ready_.contains(task)) return TaskState::kReady;
    return waiting != 0 ? TaskState::kWaiting : TaskState::kSuspended;
}

// None while it has begun just now: then how long a tick is cannot be told yet.
std::optional<Reader::Clock> Reader::clock_of(Address counts) {
    const auto& c = block_.counts;
    const auto number = [&](std::uint16_t offset) { return value<std::uint64_t>(counts, offset); };
    const auto ns = static_cast<double>(number(c.seen_ns) - number(c.began_ns));
    const auto ticks = static_cast<double>(number(c.seen) - number(c.began));
    if (!(ns > 0) || !(ticks > 0)) return std::nullopt;
    return Clock{value<std::int64_t>(counts, c.began_ns), number(c.began), ns / ticks};
}

std::int64_t Reader::Clock::ns(std::uint64_t at) const {
    const double passed = static_cast<double>(static_cast<std::int64_t>(at - began)) * ns_a_tick;
    constexpr double kLongest = 1e18;  // a number that is read may be any
    return began_ns + static_cast<std::int64_t>(std::clamp(passed, -kLongest, kLongest));
}

// The steps that have come since, of which the loop overwrites the oldest meanwhile: how many there
// are is read before and after, and what may have been overwritten between counts as lost.
void Reader::read_steps(Address loop, StepCursor& cursor, std::vector<Step>& to) {
    const auto& r = block_.ring;
    constexpr std::uint32_t kMostNotes = 1u << 20;
    constexpr std::size_t kLargestNote = 256;
    if (r.note_size < 8 || r.note_size > kLargestNote) return;
    if (r.notes_count == 0 || r.notes_count > kMostNotes) return;
    const Address ring = pointer(loop, r.of_loop);
    const Address counts = pointer(loop, block_.counts.of_loop);
    if (ring == 0 || counts == 0) return;
    const auto clock = clock_of(counts);
    if (!clock) return;
    if (cursor.ring != ring) {
        cursor.ring = ring;
        cursor.read = 0;
    }
    const auto end = value<std::uint64_t>(ring, r.written);
    if (end < cursor.read) cursor.read = 0;  // a new one has its address
    std::uint64_t begin =
        end > r.notes_count ? std::max(cursor.read, end - r.notes_count) : cursor.read;
    std::vector<char> bytes(std::size_t{r.note_size} * (end - begin));
    for (std::uint64_t i = begin; i < end; ++i) {
        const Address at = ring + r.notes + (i % r.notes_count) * r.note_size;
        if (!memory_.read(at, bytes.data() + (i - begin) * r.note_size, r.note_size)) return;
    }
    memory_.forget();
    const auto after = value<std::uint64_t>(ring, r.written);
    // The one that is just being written, too.
    const std::uint64_t kept = after + 1 > r.notes_count ? after + 1 - r.notes_count : 0;
    const std::uint64_t first = std::clamp(kept, begin, end);
    cursor.lost += first - cursor.read;
    cursor.read = end;
    for (std::uint64_t i = first; i < end; ++i) {
        const char* const note = bytes.data() + (i - begin) * r.note_size;
        const auto number = [&](std::uint16_t offset) {
            std::uint64_t n = 0;
            if (offset + sizeof n <= r.note_size) std::memcpy(&n, note + offset, sizeof n);
            return n;
        };
        Step step;
        step.task = number(r.task);
        const Address where = number(r.place);
        step.asleep = step.task == 0 && where == ring;
        // How long a tick is becomes known better meanwhile: one does not begin before the last.
        step.at = std::max(cursor.end, clock->ns(number(r.began)));
        cursor.end = std::max(step.at, clock->ns(number(r.ended)));
        step.took = cursor.end - step.at;
        if (step.task != 0) {
            step.name = name_of_step(step.task, number(r.name), cursor);
            step.place = place(where);
        }
        to.push_back(std::move(step));
    }
}

// A task that has gone has left its number at most.
std::string Reader::name_of_step(Address task, std::uint64_t name, StepCursor& cursor) {
    if (name & 1) return "Task-" + std::to_string(name >> 1);
    constexpr std::size_t kMostNames = 100'000;
    if (pointer(task, block_.task.name) != name) {
        const auto known = cursor.names.find({task, name});
        return known == cursor.names.end() ? std::string() : known->second;
    }
    std::string text = name_of_task(task);
    if (cursor.names.size() < kMostNames) cursor.names[{task, name}] = text;
    return text;
}

// What is counted of the steps of a loop while a tool asks for it.
void Reader::read_counts(Address at, Loop& loop) {
    counted_.clear();
    const auto& c = block_.counts;
    const Address counts = c.task_size == 0 ? 0 : pointer(at, c.of_loop);
    if (counts == 0) return;
    const auto number = [&](std::uint16_t offset) { return value<std::uint64_t>(counts, offset); };
    const auto clock = clock_of(counts);
    if (!clock) return;
    const auto ns = static_cast<double>(number(c.seen_ns) - number(c.began_ns));
    const double tick = clock->ns_a_tick * 1e-9;
    const auto time = [&](std::uint64_t n) { return static_cast<double>(n) * tick; };

    LoopCounts& of_loop = loop.counts.emplace();
    of_loop.all = {number(c.steps), time(number(c.busy)), time(number(c.longest)), std::nullopt};
    of_loop.idle = time(number(c.idle));
    of_loop.counted = ns * 1e-9;
    if (reading_.now) {
        of_loop.counted =
            (static_cast<double>(*reading_.now) - static_cast<double>(number(c.began_ns))) * 1e-9;
        const auto passed = [&](std::uint64_t since) {
            return std::max(0.0, of_loop.counted - time(since - number(c.began)));
        };
        if (const std::uint64_t since = number(c.step_began)) of_loop.step = passed(since);
        if (const std::uint64_t since = number(c.wait_began)) of_loop.idle += passed(since);
    }
    for (std::size_t i = 0; i < std::min<std::size_t>(c.late_count, kMostTimes); ++i) {
        of_loop.late.push_back(memory_.get<std::uint64_t>(counts + c.late + i * 8).value_or(0));
    }
    if (block_.totals.late_ns != 0) {
        of_loop.late_all = static_cast<double>(number(block_.totals.late_ns)) * 1e-9;
    }
    const std::size_t places = std::min<std::size_t>(c.tasks_count, kMostCounted);
    if (c.task_size > kMostPlaceSize) return;
    for (std::size_t i = 0; i < places; ++i) {
        const Address place = counts + c.tasks + i * c.task_size;
        const Address task = pointer(place, c.task);
        if (task == 0) continue;
        Counted& counted = counted_[task];
        counted.name = value<std::uint64_t>(place, c.task_name);
        counted.counts = {value<std::uint64_t>(place, c.task_steps),
                          time(value<std::uint64_t>(place, c.task_busy)),
                          time(value<std::uint64_t>(place, c.task_longest)), std::nullopt};
        if (const auto ended = value<std::uint64_t>(place, c.task_ended); ended && reading_.now) {
            counted.counts.since = std::max(0.0, of_loop.counted - time(ended - number(c.began)));
        }
    }
}

void Reader::count_task(Task& task) {
    const auto found = counted_.find(task.id);
    if (found == counted_.end()) return;
    // Else it is another one, which has got the memory of the one that was counted.
    if (found->second.name != pointer(task.id, block_.task.name)) return;
    task.counts = found->second.counts;
}

void Reader::read_timers(Address at, Loop& loop, std::int64_t now) {
    const Address begin = pointer(at, block_.loop.timers);
    const Address end = pointer(at, block_.loop.timers + sizeof(Address));
    if (begin == 0 || end <= begin || block_.loop.timer_size == 0) return;
    loop.timers = (end - begin) / block_.loop.timer_size;
    for (Address item = begin; reading_.timers && item < end && loop.timed.size() < kMostTasks;
         item += block_.loop.timer_size) {
        if (memory_.get<std::int64_t>(item).value_or(0) == INT64_MAX) continue;  // never
        loop.timed.push_back(memory_.get<Address>(item + sizeof(std::int64_t)).value_or(0));
    }
    const auto when = memory_.get<std::int64_t>(begin).value_or(0);
    if (when == INT64_MAX) return;  // never
    loop.next_timer = (static_cast<double>(when) - static_cast<double>(now)) * 1e-9;
}

void Reader::read_ready(Address node) {
    while (node != 0 && ready_.size() < kMostReady && ready_.insert(node).second) {
        node = pointer(node, block_.future.next);
    }
}

bool Reader::is_done(Address future) {
    return value<std::uint8_t>(future, block_.future.state) != block_.future.pending;
}

Task Reader::read_task(Address at, Address running, std::int64_t now) {
    Task task;
    task.id = at;
    task.name = name_of_task(at);
    const auto flags = value<std::uint16_t>(at, block_.future.flags);
    task.cancelling = (flags & block_.future.must_cancel) != 0;
    const Address waiting = is_done(at) ? 0 : pointer(at, block_.future.waiting);
    const Address leaf = pointer(at, block_.task.leaf);
    task.state = state_of(at, running, waiting);
    read_stack(at, leaf, task);
    if (task.stack.empty()) task.stack.push_back(place(pointer(at, block_.future.place)));
    if (task.state == TaskState::kWaiting) describe_wait(waiting, task, now);
    awaiters(at, task.awaited_by, 0);
    if (!counted_.empty()) count_task(task);
    return task;
}

// An odd number is twice that of the name, and one; an even one leads to what was given.
std::string Reader::name_of_task(Address task) {
    const Address name = pointer(task, block_.task.name);
    if (name & 1) return "Task-" + std::to_string(name >> 1);
    if (block_.long_name != 1) return "?";
    const Address text = name + block_.task.extra_name;
    const auto size = memory_.get<std::uint64_t>(text + sizeof(Address)).value_or(0);
    std::string given(std::min<std::uint64_t>(size, 1000), '\0');
    if (!memory_.read(memory_.get<Address>(text).value_or(0), given.data(), given.size()))
        return "?";
    if (size > given.size()) given += "...";
    return given;
}

// From the innermost frame outwards; the outermost leads back to its task, or the chain is not one.
void Reader::read_stack(Address task, Address frame, Task& into) {
    const auto& f = block_.frame;
    while (frame != 0 && into.stack.size() < kMostFrames) {
        const auto link = memory_.get<Address>(frame + f.link);
        if (!link) break;
        into.stack.push_back(place(pointer(frame, f.place)));
        into.frames.push_back(frame);
        const Address outer = *link & ~Address{f.bits};
        if (*link & f.root) {
            if (outer != task) {
                into.stack.clear();
                into.frames.clear();
            }
            break;
        }
        frame = outer;
    }
    std::reverse(into.stack.begin(), into.stack.end());
    std::reverse(into.frames.begin(), into.frames.end());
}

Place Reader::place(Address at) {
    const auto known = places_.find(at);
    if (known != places_.end()) return known->second;
    Place p;
    if (at != 0) {
        const std::string function = memory_.text(pointer(at, block_.place.function));
        p.helper = is_helper(function) || is_of_library(function);
        p.function = function_name(function);
        p.file = memory_.text(pointer(at, block_.place.file));
        p.line = value<std::uint32_t>(at, block_.place.line);
    }
    return places_[at] = p;
}

// ---- what is waited for ------------------------------------------------------------------------

void Reader::describe_wait(Address waiting, Task& task, std::int64_t now) {
    const Kind& kind = kind_of(waiting);
    task.object = waiting;
    task.kind = kind.name;
    if (kind.waiter) return describe_waiter(waiting, kind, task, now);
    task.waits_for = kind.name;
    if (kind.task) {
        task.kind = "Task";
        task.ends = Task::Ends::kTasks;
        task.waits_for = name_of_task(waiting);
    } else if (kind.gather) {
        if (gathers_tasks(waiting)) task.ends = Task::Ends::kTasks;
        task.kind = "gather";
        task.waits_for =
            "gather (" + std::to_string(value<std::uint64_t>(waiting, block_.gather.finished)) +
            " of " + std::to_string(value<std::uint64_t>(waiting, block_.gather.count)) + " done)";
    } else if (kind.future) {
        const Place made = place(pointer(waiting, block_.future.place));
        task.kind = "Future";
        task.ends = Task::Ends::kObject;
        task.waits_for = "Future " + hex(waiting);
        if (!made.file.empty()) {
            task.waits_for += " made at " + made.file + ':' + std::to_string(made.line);
        }
    }
}

// Whether all that is still awaited are tasks, and not futures, which anyone may end.
bool Reader::gathers_tasks(Address gather) {
    const Address items = pointer(gather, block_.gather.items);
    const auto count = value<std::uint64_t>(gather, block_.gather.count);
    if (count > kMostCallbacks) return false;
    for (std::uint64_t i = 0; i < count; ++i) {
        const Address item = memory_.get<Address>(items + i * sizeof(Address)).value_or(0);
        if (item == 0 || (!is_done(item) && !kind_of(item).task)) return false;
    }
    return true;
}

const std::optional<DebugWait>& Reader::wait_of(std::uint8_t kind) {
    const auto known = waits_.find(kind);
    if (known != waits_.end()) return known->second;
    return waits_[kind] = read_wait(kind);
}

std::optional<DebugWait> Reader::read_wait(std::uint8_t kind) {
    if (kind >= block_.waits_count) return std::nullopt;
    const Address at = memory_
                           .get<Address>(address_of(static_cast<const void*>(block_.waits)) +
                                         kind * sizeof(Address))
                           .value_or(0);
    DebugWait wait{};
    // What is beyond the end of an older one's is absent.
    const std::size_t size = std::min<std::size_t>(block_.waits_size, sizeof wait);
    // NOLINTNEXTLINE(bugprone-undefined-memory-manipulation): bytes of a plain struct
    if (size < offsetof(DebugWait, ends) || !memory_.read(at, &wait, size)) return std::nullopt;
    wait.name[sizeof wait.name - 1] = '\0';
    return wait;
}

void Reader::describe_waiter(Address waiter, const Kind& kind, Task& task, std::int64_t now) {
    const auto& wait = wait_of(value<std::uint8_t>(waiter, block_.waiter.kind));
    if (!wait || wait->name[0] == '\0') {
        task.waits_for = kind.name;
        return;
    }
    task.kind = task.waits_for = wait->name;
    task.object_size = wait->object_size;
    if (wait->ends == kDebugObject) task.ends = Task::Ends::kObject;
    if (wait->ends == kDebugTasks) task.ends = Task::Ends::kTasks;
    if (wait->when != kDebugNone) {
        const auto when = value<std::int64_t>(waiter, wait->when);
        if (when == INT64_MAX) {
            task.waits_for += " for ever";
            return;
        }
        task.until = (static_cast<double>(when) - static_cast<double>(now)) * 1e-9;
        task.waits_for += ", " + seconds(std::max(0.0, *task.until)) + " left";
    }
    if (wait->fd != kDebugNone) {
        task.fd = value<std::int32_t>(waiter, wait->fd);
        task.waits_for += ' ' + std::to_string(*task.fd);
    }
    if (wait->via != 0) {
        // Safe as a sum: an offset before the waiter is a negative one.
        const Address object =
            memory_.get<Address>(waiter + static_cast<Address>(std::int64_t{wait->via}))
                .value_or(0);
        const Address other = object == 0 ? 0 : pointer(object, wait->via_object);
        const auto fd =
            other == 0 ? -1 : memory_.get<std::int32_t>(other + wait->via_fd).value_or(-1);
        if (fd >= 0) {
            task.fd = fd;
            task.waits_for += " of descriptor " + std::to_string(fd);
        }
    }
    if (wait->object != kDebugNone && kind.lined) {
        task.waits_for += describe_object(waiter, *wait, task);
    }
}

// " of 0x7ffd.. (0 of 10, 3 waiting)"
std::string Reader::describe_object(Address waiter, const DebugWait& wait, Task& task) {
    const Address line = pointer(waiter, block_.waiter.line);
    if (line == 0) return "";
    const Address object = line - wait.object;
    task.object = object;
    std::string text = " of " + hex(object) + " (";
    if (wait.size != kDebugNone) {
        task.items = value<std::uint64_t>(object, wait.size);
        text += std::to_string(task.items);
        if (wait.capacity != kDebugNone) {
            task.capacity = value<std::uint64_t>(object, wait.capacity);
        }
        if (task.capacity != 0) text += " of " + std::to_string(task.capacity);
        text += ", ";
    }
    const Address end = line + block_.waiter.line_first - block_.waiter.following;
    std::size_t waiting = 0;
    for (Address link = pointer(line, block_.waiter.line_first);
         link != end && link != 0 && waiting < kMostCallbacks;
         link = pointer(link, block_.waiter.following)) {
        ++waiting;
    }
    return text + std::to_string(waiting) + " waiting)";
}

// ---- what a node is ----------------------------------------------------------------------------

const Reader::Kind& Reader::kind_of(Address node) {
    const Address table = memory_.get<Address>(node).value_or(0);
    const auto known = kinds_.find(table);
    if (known != kinds_.end()) return known->second;
    // What an object's class is stands before the table of its virtual functions (C++ ABI, 2.9.4).
    const Address type = table ? memory_.get<Address>(table - sizeof(Address)).value_or(0) : 0;
    return kinds_[table] = read_kind(type);
}

// The type of the first base, as std::type_info's own classes lay it out (C++ ABI, 2.9.5): with one
// base its type follows the name; with several, flags and their number, then each with its offset.
Address Reader::base_of(Address type) {
    const auto next = memory_.get<Address>(type + 2 * sizeof(Address)).value_or(0);
    const std::uint64_t flags = next & 0xffffffff;
    const std::uint64_t count = next >> 32;
    if (flags > 3 || count == 0 || count > kMostBases) return next;
    for (std::uint64_t i = 0; i < count; ++i) {
        const Address at = type + 3 * sizeof(Address) + i * 2 * sizeof(Address);
        const auto offset = memory_.get<std::int64_t>(at + sizeof(Address)).value_or(-1) >> 8;
        if (offset == 0) return memory_.get<Address>(at).value_or(0);
    }
    return 0;
}

Reader::Kind Reader::read_kind(Address type) {
    Kind kind;
    for (std::size_t i = 0; type != 0 && i < kMostBases; ++i, type = base_of(type)) {
        std::string name = memory_.text(memory_.get<Address>(type + sizeof(Address)).value_or(0));
        if (name.starts_with('*')) name.erase(0, 1);  // of a class that one file knows
        if (kind.name.empty()) kind.name = without_namespace(demangled(name));
        kind.task |= name == text_of(block_.task_type);
        kind.gather |= name == text_of(block_.gather_type);
        kind.lined |= name == text_of(block_.lined_type);
        kind.waiter |= name == text_of(block_.waiter_type);
        kind.serving |=
            block_.serving_type[0] != 0 && name.starts_with(text_of(block_.serving_type));
        kind.future |= name == text_of(block_.future_type);
        if (kind.waiter || kind.serving || kind.future) break;
    }
    return kind;
}

// ---- who waits for it --------------------------------------------------------------------------

void Reader::add(Address waiter, std::vector<Address>& found) {
    if (waiter == 0 || found.size() >= kMostAwaiters) return;
    if (std::find(found.begin(), found.end(), waiter) == found.end()) found.push_back(waiter);
}

void Reader::awaiters(Address future, std::vector<Address>& found, int depth) {
    if (is_done(future) || depth == kDeepest) return;
    const Address last = pointer(future, block_.future.callbacks);
    Address node = last;
    for (std::size_t i = 0; node != 0 && i < kMostCallbacks; ++i) {
        node = pointer(node, block_.future.next);
        if (node != 0) awaiters_of_node(node, found, depth);
        if (node == last) return;
    }
}

void Reader::awaiters_of_node(Address node, std::vector<Address>& found, int depth) {
    const Kind& kind = kind_of(node);
    if (kind.task) return add(node, found);
    if (!kind.serving) return;
    const auto& s = block_.serving;
    const auto how = value<std::uint8_t>(node, s.how);
    const Address at = pointer(node, s.at);
    if (at == 0) return;
    if (how == s.future) {
        add(at, found);
    } else if (how == s.future_at) {
        add(memory_.get<Address>(at).value_or(0), found);
    } else if (how == s.those_of) {
        awaiters(at, found, depth + 1);
    } else if (how == s.waiter) {
        add(pointer(at, block_.waiter.task), found);
    } else if (how == s.line) {
        const Address end = at + block_.waiter.line_first - block_.waiter.following;
        std::size_t count = 0;
        for (Address link = pointer(at, block_.waiter.line_first);
             link != end && link != 0 && ++count < kMostCallbacks;
             link = pointer(link, block_.waiter.following)) {
            const Address waiter = link - block_.waiter.waiter;
            if (value<std::uint8_t>(waiter, block_.waiter.state) == block_.waiter.pending) {
                add(pointer(waiter, block_.waiter.task), found);
            }
        }
    }
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

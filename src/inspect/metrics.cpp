// Figures of all loops, as OpenMetrics text.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <locale>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/inspect.hpp"
#include "inspect/output.hpp"
#include "inspect/own_tasks.hpp"
#include "threads/pool_figures.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// The shortest text that reads back as `value`, whatever the program's locale.
std::string number(double value) {
    char text[64];
    const auto [end, error] = std::to_chars(text, text + sizeof text, value);
    return {text, end};
}
std::string number(std::uint64_t value) { return std::to_string(value); }

// A value of a label: OpenMetrics escapes three characters, and takes UTF-8 only.
std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : printable(text)) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + '"';
}

class Families {
  public:
    Families(std::ostream& out, const Snapshot& snapshot) : out_(out), snapshot_(snapshot) {}

    void begin(const char* name, const char* type, const char* unit, const char* help) {
        name_ = name;
        out_ << "# TYPE " << name << ' ' << type << '\n';
        if (*unit) out_ << "# UNIT " << name << ' ' << unit << '\n';
        out_ << "# HELP " << name << ' ' << help << '\n';
    }
    template <class Value>
    void sample(const Loop& loop, const char* suffix, const std::string& labels, Value value) {
        out_ << name_ << suffix << "{loop=\"" << loop.number << '"' << labels << "} "
             << number(value) << '\n';
    }
    // `get(loop)`: a number, or none.
    template <class Get>
    void counter(const char* name, const char* unit, const char* help, const Get& get) {
        begin(name, "counter", unit, help);
        for (const Loop& loop : snapshot_.loops) {
            if (const auto value = get(loop)) sample(loop, "_total", "", *value);
        }
    }
    template <class Get>
    void gauge(const char* name, const char* help, const Get& get) {
        begin(name, "gauge", "", help);
        for (const Loop& loop : snapshot_.loops) sample(loop, "", "", get(loop));
    }

    void single(const char* name, const char* help, std::uint64_t value) {
        begin(name, "gauge", "", help);
        out_ << name << ' ' << value << '\n';
    }

    void loops();
    void pools();
    void tasks();
    void counted();
    void late();

  private:
    std::ostream& out_;
    const Snapshot& snapshot_;
    const char* name_ = "";
};

using Whole = std::optional<std::uint64_t>;
using Time = std::optional<double>;

void Families::loops() {
    begin("asyncio_loop", "info", "", "A loop: its back end.");
    for (const Loop& loop : snapshot_.loops) {
        sample(loop, "_info", ",backend=" + quoted(loop.backend), std::uint64_t{1});
    }
    gauge("asyncio_loop_running", "1: it runs.",
          [](const Loop& l) { return std::uint64_t{l.running}; });
    counter("asyncio_loop_steps", "", "Steps of tasks and callbacks that began.",
            [](const Loop& l) { return Whole(l.steps); });
    counter("asyncio_loop_iterations", "", "Iterations.",
            [](const Loop& l) { return Whole(l.iterations); });
    gauge("asyncio_loop_ready", "Tasks and callbacks whose turn comes next.",
          [](const Loop& l) { return l.ready; });
    gauge("asyncio_timers", "Sleeps, timeouts and calls that wait for their time.",
          [](const Loop& l) { return l.timers; });
}

void Families::tasks() {
    constexpr const char* kStates[kTaskStates] = {"running", "ready", "waiting", "suspended"};
    begin("asyncio_tasks", "gauge", "", "Tasks that are not done.");
    for (const Loop& loop : snapshot_.loops) {
        for (std::size_t i = 0; i < kTaskStates; ++i) {
            sample(loop, "", std::string(",state=\"") + kStates[i] + '"', loop.states[i]);
        }
    }
    counter("asyncio_tasks_created", "", "Tasks that were made.",
            [](const Loop& l) { return l.totals ? Whole(l.totals->made) : Whole(); });
    begin("asyncio_tasks_ended", "counter", "", "Tasks that are done.");
    for (const Loop& loop : snapshot_.loops) {
        if (!loop.totals) continue;
        std::uint64_t others = loop.totals->failed + loop.totals->cancelled;
        for (const std::uint64_t n : loop.states) others += n;
        // They were read one after the other, while the loop ran on.
        const std::uint64_t made = loop.totals->made;
        sample(loop, "_total", ",outcome=\"returned\"", made > others ? made - others : 0);
        sample(loop, "_total", ",outcome=\"raised\"", loop.totals->failed);
        sample(loop, "_total", ",outcome=\"cancelled\"", loop.totals->cancelled);
    }
}

void Families::pools() {
    if (!snapshot_.pools) return;
    single("asyncio_thread_pool_threads", "Threads of all pools.", snapshot_.pools->threads);
    single("asyncio_thread_pool_queued", "Jobs that no thread has begun.", snapshot_.pools->queued);
}

// What is known while somebody counts.
void Families::counted() {
    counter("asyncio_loop_counted_seconds", "seconds",
            "For how long the figures below were counted.",
            [](const Loop& l) { return l.counts ? Time(l.counts->counted) : Time(); });
    counter("asyncio_loop_busy_seconds", "seconds", "Time in steps, while it was counted.",
            [](const Loop& l) { return l.counts ? Time(l.counts->all.busy) : Time(); });
    counter("asyncio_loop_idle_seconds", "seconds", "Time asleep, while it was counted.",
            [](const Loop& l) { return l.counts ? Time(l.counts->idle) : Time(); });
    begin("asyncio_loop_longest_step_seconds", "gauge", "seconds",
          "The longest step, while it was counted.");
    for (const Loop& loop : snapshot_.loops) {
        if (loop.counts) sample(loop, "", "", loop.counts->all.longest);
    }
}

void Families::late() {
    begin("asyncio_loop_lag_seconds", "histogram", "seconds",
          "How late timers came, while it was counted.");
    for (const Loop& loop : snapshot_.loops) {
        if (!loop.counts) continue;
        const auto& late = loop.counts->late;
        std::uint64_t all = 0;
        // From a microsecond to 17 seconds, and the rest.
        for (std::size_t i = 0; i < late.size(); ++i) {
            all += late[i];
            if (i < 10 || i > 34 || i % 2 != 0) continue;
            const double limit = static_cast<double>(std::uint64_t{1} << i) * 1e-9;
            sample(loop, "_bucket", ",le=\"" + number(limit) + '"', all);
        }
        sample(loop, "_bucket", ",le=\"+Inf\"", all);
        sample(loop, "_count", "", all);
        sample(loop, "_sum", "", loop.counts->late_all);
    }
}

}  // namespace

void print_metrics(std::ostream& out, const Snapshot& snapshot) {
    Families families(out, snapshot);
    families.loops();
    families.tasks();
    families.pools();
    families.counted();
    families.late();
    out << "# EOF\n";
}

}  // namespace reading
}  // namespace detail

std::string inspect::metrics() {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    detail::reading::Snapshot snapshot = detail::reading::own_states();
    // A child of fork(2) has none of the threads that its parent counted.
    const auto figure = [](const std::atomic<std::int64_t>& n) {
        return static_cast<std::uint64_t>(
            std::max<std::int64_t>(0, n.load(std::memory_order_relaxed)));
    };
    snapshot.pools = {figure(detail::pool_figures.threads), figure(detail::pool_figures.queued)};
    detail::reading::print_metrics(out, snapshot);
    return std::move(out).str();
}

}  // namespace v1
}  // namespace asyncio

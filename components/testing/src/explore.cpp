// Many orders of one test, and the simplest one that fails.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include "asyncio/testing.hpp"
#include "one_run.hpp"
#include "orders.hpp"
#include "strategies.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMostSimplifying = 2'000;      // runs
constexpr Duration kLongest = std::chrono::days(365);  // of a search

// A test in one order.
struct Ran {
    std::string failed;
    std::vector<Choice> choices;
    std::size_t departed = 0;
    std::string told;
};

Ran run_in(const Scenario& scenario, const RunOptions& options, Source& source,
           Happenings* happenings, bool tells) {
    Recorder recorder(source, options.most_steps, tells);
    Setting setting;
    setting.chooser = &recorder;
    setting.happenings = happenings;
    Ran ran;
    ran.failed = run_once(scenario, options, setting);
    ran.choices = recorder.choices();
    ran.told = recorder.told();
    return ran;
}

Ran run_in(const Scenario& scenario, const RunOptions& options,
           const std::vector<std::uint32_t>& choices, bool tells = false) {
    Fixed source(choices);
    Ran ran = run_in(scenario, options, source, nullptr, tells);
    ran.departed = source.departed();
    return ran;
}

std::vector<std::uint32_t> indices_of(const std::vector<Choice>& choices) {
    std::vector<std::uint32_t> indices;
    for (const Choice& choice : choices) indices.push_back(choice.index);
    while (!indices.empty() && indices.back() == 0) indices.pop_back();
    return indices;
}

std::uint64_t delays_of(const std::vector<std::uint32_t>& indices) {
    std::uint64_t sum = 0;
    for (const std::uint32_t index : indices) sum += index;
    return sum;
}

// Takes delays out for as long as it still fails: behind a choice that becomes the oldest the
// others may mean other entries, so that each is tried with and without what follows.
Ran simplified(const Scenario& scenario, const RunOptions& options, Ran ran,
               Clock::time_point deadline) {
    std::uint64_t runs = 0;
    const auto try_these = [&](std::vector<std::uint32_t> indices) {
        if (runs++ >= kMostSimplifying || Clock::now() > deadline) return false;
        Ran other = run_in(scenario, options, indices);
        const bool simpler = !other.failed.empty() && delays_of(indices_of(other.choices)) <
                                                          delays_of(indices_of(ran.choices));
        if (simpler) ran = std::move(other);
        return simpler;
    };
    for (bool again = true; again && runs < kMostSimplifying && Clock::now() < deadline;) {
        again = false;
        const std::vector<std::uint32_t> indices = indices_of(ran.choices);
        for (std::size_t at = indices.size(); at-- > 0 && !again;) {
            if (indices[at] == 0) continue;
            std::vector<std::uint32_t> shorter(indices.begin(),
                                               indices.begin() + static_cast<std::ptrdiff_t>(at));
            std::vector<std::uint32_t> other = indices;
            other[at] = 0;
            std::vector<std::uint32_t> less = indices;
            --less[at];
            again = try_these(std::move(shorter)) || try_these(std::move(other)) ||
                    (less[at] != 0 && try_these(std::move(less)));
        }
    }
    return ran;
}

// A longer one is kept in a file.
constexpr std::size_t kLongestLine = 400;

// What ASYNCIO_REPLAY is to be set to.
std::string shown(const std::string& order) {
    if (order.size() <= kLongestLine) return order;
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    const std::filesystem::path path =
        folder / ("asyncio-replay-" + std::to_string(std::hash<std::string>()(order)));
    std::ofstream file(path);
    file << order << '\n' << std::flush;
    return error || !file ? order : '@' + path.string();
}

// The other way round. Raises: ValueError if there is no such file.
std::string order_in(std::string_view text) {
    if (!text.starts_with('@')) return std::string(text);
    const std::string path(text.substr(1));
    std::ifstream file(path);
    std::string order;
    if (!std::getline(file, order)) throw ValueError("there is no order in " + path);
    return order;
}

std::string order_text(const RunOptions& options, const Ran& ran) {
    return to_text({options.seed, indices_of(ran.choices), sum_of(ran.choices)});
}

// What fails in this order, and in which way it differs from what fails usually.
std::string told_of(const Scenario& scenario, const RunOptions& options, const Ran& failed) {
    const Ran again = run_in(scenario, options, indices_of(failed.choices), true);
    std::string text = failed.failed;
    if (!again.told.empty()) text += "\nIt fails where" + again.told;
    if (again.failed.empty() || sum_of(again.choices) != sum_of(failed.choices)) {
        text +=
            "\nThe test is not deterministic: in the same order it does not do the same again "
            "(does it use real time, addresses, or random numbers of its own?)";
    }
    return text;
}

struct Searched {
    std::optional<Ran> failed;
    Explored explored;
};

Searched search_for(const Scenario& scenario, const ExploreOptions& options,
                    Happenings& happenings) {
    Searched result;
    const Duration limit = options.limit.is_none() ? kLongest : options.limit.duration();
    if (options.most == 0 || limit <= Duration(0)) {
        throw ValueError("a search has at least one run, and some time");
    }
    const auto deadline = Clock::now() + std::min(limit, kLongest);
    const auto search = make_search(options.strategy, options.run.seed, options.most);
    while (result.explored.runs < options.most && Clock::now() < deadline) {
        Source* const source = search->next();
        if (!source) {
            result.explored.exhausted = true;
            break;
        }
        Ran ran = run_in(scenario, options.run, *source, &happenings, false);
        ++result.explored.runs;
        if (!ran.failed.empty()) {
            result.failed = simplified(scenario, options.run, std::move(ran), deadline);
            break;
        }
        search->ran(ran.choices);
    }
    return result;
}

// ASYNCIO_REPLAY. Empty: it is not set.
std::string asked_order() {
    const char* const text = std::getenv("ASYNCIO_REPLAY");
    return text ? text : "";
}

ExploreOptions with_seed(ExploreOptions options) {
    options.run = with_seed(options.run);
    return options;
}

}  // namespace

std::string replay(const Scenario& scenario, std::string_view text, const RunOptions& options) {
    const Order order = order_of(order_in(text));
    RunOptions seeded = options;
    seeded.seed = order.seed;
    const Ran ran = run_in(scenario, seeded, order.choices);
    if (ran.departed == 0 && sum_of(ran.choices) == order.sum) return ran.failed;
    throw ScenarioFailed(
        "the test goes another way than when this order was written" +
        (ran.departed ? ", at choice " + std::to_string(ran.departed) : std::string()) +
        ": it has changed since, or it is not deterministic");
}

std::optional<Failure> find_failure(const Scenario& scenario, const ExploreOptions& options) {
    const ExploreOptions seeded = with_seed(options);
    Happenings happenings;
    const Searched result = search_for(scenario, seeded, happenings);
    if (!result.failed) return std::nullopt;
    return Failure{told_of(scenario, seeded.run, *result.failed),
                   order_text(seeded.run, *result.failed), result.explored.runs};
}

Explored explore(const Scenario& scenario, const ExploreOptions& options) {
    if (const std::string order = asked_order(); !order.empty()) {
        const std::string failed = replay(scenario, order, options.run);
        if (!failed.empty()) throw ScenarioFailed(failed + "\nASYNCIO_REPLAY=" + order);
        return {1, false};
    }
    const ExploreOptions seeded = with_seed(options);
    const LeftBehind before;
    Happenings happenings;
    const Searched result = search_for(scenario, seeded, happenings);
    if (result.failed) {
        throw ScenarioFailed(told_of(scenario, seeded.run, *result.failed) + "\nfound in run " +
                             std::to_string(result.explored.runs) +
                             "; this shows it again: ASYNCIO_REPLAY='" +
                             shown(order_text(seeded.run, *result.failed)) + "'");
    }
    std::string failed = options.run.leaves_nothing ? before.since() : std::string();
    for (const auto& [name, happened] : happenings) {
        if (happened) continue;
        failed += (failed.empty() ? "" : "\n") + std::string("in none of ") +
                  std::to_string(result.explored.runs) + " orders: " + name;
    }
    if (!failed.empty()) throw ScenarioFailed(failed);
    return result.explored;
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

// Tests of concurrent code without luck: on virtual time, in every order of the tasks, with a
// cancel at every point. docs/testing.md teaches it; testing/gtest.hpp has ASYNC_TEST for
// GoogleTest.
//
//     TEST(Bank, NoOrderSpendsTwice) {
//         asyncio::testing::explore([] { return transfer_three_times(); });
//     }
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/events.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// ---- time --------------------------------------------------------------------------------------

// Returns once nobody can go on: all other tasks wait for time, or for something outside of the
// loop. Virtual time does not move meanwhile. Several that wait for this go on one after the other.
// Raises: nothing.
// If cancelled: it waits no longer.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<> settled();
// Sleeps for `by`, and until all that is due by then has run: settled().
// If cancelled: it waits no longer.
[[nodiscard("co_await it")]] ASYNCIO_API Coroutine<> advance(Delay by);
// The time of the running loop; in a test that ASYNC_TEST or explore() runs: since that began.
// Raises: RuntimeError where no loop runs.
ASYNCIO_API Duration elapsed();

// Lets pieces of several tasks run in one order, whatever else they do:
//
//     testing::Sequencer order;
//     auto first = [&]() -> Coroutine<> { const auto turn = co_await order.turn(0); ... };
//     auto second = [&]() -> Coroutine<> { const auto turn = co_await order.turn(1); ... };
class ASYNCIO_API Sequencer {
    struct State;

  public:
    // A place in the order, which it gives to the next one as it is destroyed.
    class ASYNCIO_API Turn {
      public:
        Turn(Turn&& other) noexcept;
        Turn& operator=(Turn&&) = delete;
        ~Turn();

      private:
        friend class Sequencer;
        explicit Turn(std::shared_ptr<State> state) noexcept;
        std::shared_ptr<State> state_;
    };

    Sequencer();
    // Waits until the turns 0 to `number` - 1 are over. Raises: ValueError if `number` was taken
    // before, or is negative.
    // If cancelled: its turn counts as over once it comes, so that the others go on.
    [[nodiscard("co_await it")]] Coroutine<Turn> turn(std::int64_t number);

  private:
    std::shared_ptr<State> state_;
};

// ---- one run -----------------------------------------------------------------------------------

// What a test does: called anew for each run. Its result is run on a loop of its own, on virtual
// time.
using Scenario = asyncio::detail::Function<Coroutine<>()>;

// A test that failed. What it says tells why, and how to see it again.
class ASYNCIO_API ScenarioFailed : public RuntimeError {
  public:
    using RuntimeError::RuntimeError;
};

// How a scenario is run.
struct RunOptions {
    // Of random numbers: buggify(), random(). ASYNCIO_SEED=N in the environment takes its place.
    std::uint64_t seed = 0;
    // Entries that the loop runs, at most: more are taken for a loop without end.
    std::uint64_t most_steps = 10'000'000;
    // Whether it is a failure to leave something behind; else it is not looked at.
    bool leaves_nothing = true;
    // Jobs of to_thread(), run_in_executor(nullptr, ...) and of files are called by the test's own
    // thread, each after up to so much time, by chance. None: threads call them, while virtual time
    // stands still; for jobs that wait for one another, or for the loop.
    Delay jobs_take = std::chrono::milliseconds(1);
    // Whether sockets are those of a network that is made up: testing_network.hpp.
    bool network = false;
};

// Runs it once, in the loop's own order. It has failed if it raises, if nothing can wake it any
// more, if tasks are left that are not done, errors that nobody has looked at, descriptors or
// threads. Raises: ScenarioFailed, which tells all of that.
ASYNCIO_API void run(const Scenario& scenario, const RunOptions& options = {});

// A random number of this run; the same for the same seed. 0 outside of a run.
ASYNCIO_API std::uint64_t random() noexcept;
// True with `probability` in a run, false elsewhere: for code that lets rare things happen more
// often in tests. A place is either active in a run, which it is with a quarter of the seeds, or
// never true in it, so that different runs try different combinations.
ASYNCIO_API bool buggify(double probability = 0.25,
                         std::source_location where = std::source_location::current()) noexcept;
// `name` has happened. explore() fails if in none of its runs that came to an end it did; names
// that no run has passed are not known.
ASYNCIO_API void sometimes(std::string_view name, bool happened);

// ---- every order -------------------------------------------------------------------------------

// How orders are chosen. An order is a list of choices: which of the entries that are ready runs
// next; 0 is the oldest.
//
// All orders in which entries are passed over at most `most` times in all, fewest first: what most
// mistakes need is one, two or three. Up to about ten tasks.
struct Delays {
    std::uint32_t most = 3;  // times that an entry is passed over, in one order
};
// Each entry by chance.
struct Random {};
// Tasks have priorities by chance, which change at `depth` - 1 places: probabilistic concurrency
// testing (Burckhardt et al., ASPLOS 2010).
struct Pct {
    std::uint32_t depth = 3;  // of the mistakes that are looked for: orderings that they need
};
// All orders there are: of three tasks with two awaits each, 34,650.
struct All {};
using Strategy = std::variant<Delays, Random, Pct, All>;

// How explore() searches.
struct ExploreOptions {
    Strategy strategy = Delays{};            // how orders are chosen
    std::uint64_t most = 100'000;            // runs
    Delay limit = std::chrono::seconds(10);  // of real time, for all of them, and for simplifying
    RunOptions run = {};                     // of each run
};

// What explore() has done.
struct Explored {
    std::uint64_t runs = 0;  // so many
    bool exhausted = false;  // every order that the strategy knows was tried
};

// Runs it in many orders. The first one that fails is made as simple as it can be, and told with a
// line that shows it again: ASYNCIO_REPLAY=... in the environment of the same test runs that order
// alone, and says if the test is not deterministic. A long order is kept in a file in the folder
// for temporary ones, and named: ASYNCIO_REPLAY=@PATH. Raises: ScenarioFailed; ValueError if `most`
// or `limit` lets nothing run.
ASYNCIO_API Explored explore(const Scenario& scenario, const ExploreOptions& options = {});

// What find_failure() has found.
struct Failure {
    std::string what;        // as run() tells it
    std::string replay;      // for replay(): "1:4a2b"
    std::uint64_t runs = 0;  // it took, before it was made simpler
};
// The same, for those who expect a failure. None: all runs were fine.
ASYNCIO_API std::optional<Failure> find_failure(const Scenario& scenario,
                                                const ExploreOptions& options = {});
// Runs it in one order, or in that of the file PATH if `order` is "@PATH". What fails is returned;
// empty: nothing did. Raises: ValueError if `order` is none; ScenarioFailed if the test has other
// choices than when that order was written.
ASYNCIO_API std::string replay(const Scenario& scenario, std::string_view order,
                               const RunOptions& options = {});

// ---- a cancel at every point -------------------------------------------------------------------

// What cancel_everywhere() cancels.
struct CancelOptions {
    // The task that is cancelled, by its name; empty: that of the scenario.
    std::string task = {};
    RunOptions run = {};  // of each run
};
// What something has done that goes on point by point.
struct Report {
    std::uint64_t points = 0;  // that were tried, one in each run
};

// Runs it again and again: in the k-th run the task is cancelled at its k-th point, until a run has
// fewer. Points are each time that it has begun to wait, and each time that it was woken and has
// not gone on yet. A run has failed as in run(), but that its task may end by CancelledError.
// Raises: ScenarioFailed, which says at which point of how many, and where the task stood.
ASYNCIO_API Report cancel_everywhere(const Scenario& scenario, const CancelOptions& options = {});

// ---- no memory at every point ------------------------------------------------------------------

// What fail_allocations() does.
struct AllocationOptions {
    std::uint64_t most = 10'000;  // points
    RunOptions run = {};          // of each run
};

// Runs it again and again: in the k-th run the k-th block that it asks for is refused by
// std::bad_alloc, until a run needs fewer. Blocks are those of the library: frames, tasks,
// callbacks; and those of operator new too, in a program that includes testing/replace_new.hpp. A
// run has failed as in run(), but that it may raise std::bad_alloc, or an OSError of ENOMEM, by
// itself or in a group. Raises: ScenarioFailed, which says at which point.
ASYNCIO_API Report fail_allocations(const Scenario& scenario,
                                    const AllocationOptions& options = {});

// ---- files that fail at every point ------------------------------------------------------------

// What fail_files() does.
struct FileOptions {
    int error = 5;                // errno: EIO; 28 is ENOSPC, a full disk
    std::uint64_t most = 10'000;  // points
    RunOptions run = {};          // of each run
};

// Runs it again and again: in the k-th run the k-th call of the system that it makes on a file
// fails, until a run makes fewer. Files are the system's own, so that a scenario makes the folder
// that it works in, and removes it. A run has failed as in run(), but that it may raise the OSError
// of that errno, by itself or in a group. Raises: ScenarioFailed, which says at which point, and
// which call that was; ValueError if the errno is not above 0.
ASYNCIO_API Report fail_files(const Scenario& scenario, const FileOptions& options = {});

// For testing/replace_new.hpp: whether this thread gets a block.
ASYNCIO_API bool may_allocate(std::size_t size) noexcept;

// ---- for test frameworks -----------------------------------------------------------------------

// How a framework's own expectations count as failures: testing/gtest.hpp sets it.
struct ASYNCIO_API Expectations {
    Expectations() = default;
    Expectations(const Expectations&) = delete;
    Expectations& operator=(const Expectations&) = delete;
    virtual ~Expectations();
    // From now on those that fail are kept here, and told by end().
    virtual void begin() = 0;
    // Empty: none has failed.
    virtual std::string end() = 0;
    // Whether this is what an assertion of the framework throws, which has been told already.
    virtual bool is_abort(const std::exception_ptr& error) const;
};
// Null: there are none. Returns what was set before.
ASYNCIO_API Expectations* set_expectations(Expectations* expectations) noexcept;

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

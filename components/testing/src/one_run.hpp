// One run of a test.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "asyncio/component/scheduling.hpp"
#include "asyncio/events.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/testing.hpp"
#include "chance.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

struct Setting {
    component::Chooser* chooser = nullptr;  // null: the loop's own order
    Happenings* happenings = nullptr;
    // Whether the scenario may raise this: then it is no failure. Null: nothing.
    std::function<bool(const std::exception_ptr&)> may_raise;
    std::function<void()> ended;  // called when the scenario is over; null: nothing
    // Called with the loop and the task of the scenario before that begins. What it returns lives
    // until the run is over.
    std::function<std::shared_ptr<void>(EventLoop&, const AnyTask&)> watch;
};

// Returns why it failed; empty: it did not.
std::string run_once(const Scenario& scenario, const RunOptions& options, const Setting& setting);

// Descriptors and threads of the process, which are counted as it is made.
class LeftBehind {
  public:
    LeftBehind();
    // A line for each kind of which there are more now; empty: none.
    std::string since() const;

  private:
    std::size_t descriptors_, threads_;
};

// `options` with the seed that the environment says.
RunOptions with_seed(RunOptions options);

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

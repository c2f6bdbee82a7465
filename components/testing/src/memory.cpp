// No memory at each point of a test.
#include <cerrno>
#include <exception>
#include <new>
#include <string>

#include "asyncio/component/allocations.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/testing.hpp"
#include "one_run.hpp"
#include "points.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

// Counts the blocks of this thread while it is on, and refuses one of them.
struct Refusal {
    bool on = false;
    std::uint64_t point = 0;
    std::uint64_t asked = 0;
};
thread_local Refusal refusal;

class Refusing {
  public:
    explicit Refusing(std::uint64_t point) {
        refusal = {true, point, 0};
        component::set_allocation_hook(may_allocate);
    }
    Refusing(const Refusing&) = delete;
    Refusing& operator=(const Refusing&) = delete;
    ~Refusing() { end(); }
    static void end() noexcept {
        refusal.on = false;
        component::set_allocation_hook(nullptr);
    }
};

bool is_no_memory(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        return true;
    } catch (const OSError& os) {
        return os.code().value() == ENOMEM;
    } catch (...) {
        return false;  // run_once() tells it
    }
}

Tried refuse_at(const Scenario& scenario, const RunOptions& options, std::uint64_t point) {
    Setting setting;
    setting.may_raise = [](const std::exception_ptr& error) {
        return each_error(error, is_no_memory);
    };
    setting.ended = Refusing::end;
    setting.watch = [point](EventLoop&, const AnyTask&) {
        return std::make_shared<Refusing>(point);
    };
    Tried tried;
    tried.failed = run_once(scenario, options, setting);
    tried.points = refusal.asked;
    tried.what = "without the memory that it asks for";
    return tried;
}

}  // namespace

bool may_allocate(std::size_t) noexcept { return !refusal.on || ++refusal.asked != refusal.point; }

Report fail_allocations(const Scenario& scenario, const AllocationOptions& options) {
    const RunOptions run = with_seed(options.run);
    const EachPoint each{options.most, options.run.leaves_nothing, "with all its memory"};
    return at_each_point(each,
                         [&](std::uint64_t point) { return refuse_at(scenario, run, point); });
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

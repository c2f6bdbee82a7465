// A call on a file that fails, at each point of a test.
#include <exception>
#include <memory>
#include <string>

#include "asyncio/component/file_faults.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/testing.hpp"
#include "one_run.hpp"
#include "points.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

namespace {

// Counts the calls of this thread while it is on, and lets one of them fail.
struct Fault {
    bool on = false;
    std::uint64_t point = 0;
    int error = 0;
    std::uint64_t calls = 0;
    std::string name;  // of the call that failed
};
thread_local Fault fault;

int fails(const char* call) noexcept {
    if (!fault.on || ++fault.calls != fault.point) return 0;
    fault.name = call;  // short: no memory is needed
    return fault.error;
}

class Failing {
  public:
    Failing(std::uint64_t point, int error) {
        fault = {true, point, error, 0, {}};
        component::set_file_hook(fails);
    }
    Failing(const Failing&) = delete;
    Failing& operator=(const Failing&) = delete;
    ~Failing() { end(); }
    static void end() noexcept {
        fault.on = false;
        component::set_file_hook(nullptr);
    }
};

bool is_error(const std::exception_ptr& error, int number) {
    try {
        std::rethrow_exception(error);
    } catch (const OSError& os) {
        return os.code().value() == number;
    } catch (...) {
        return false;  // run_once() tells it
    }
}

Tried fail_at(const Scenario& scenario, const FileOptions& options, std::uint64_t point) {
    Setting setting;
    setting.may_raise = [&](const std::exception_ptr& error) {
        return each_error(
            error, [&](const std::exception_ptr& each) { return is_error(each, options.error); });
    };
    setting.ended = Failing::end;
    setting.watch = [&](EventLoop&, const AnyTask&) {
        return std::make_shared<Failing>(point, options.error);
    };
    Tried tried;
    tried.failed = run_once(scenario, options.run, setting);
    tried.points = fault.calls;
    tried.what = "whose call of " + fault.name + " fails";
    return tried;
}

}  // namespace

Report fail_files(const Scenario& scenario, const FileOptions& options) {
    if (options.error <= 0) throw ValueError("an errno is above 0");
    FileOptions seeded = options;
    seeded.run = with_seed(options.run);
    if (seeded.run.jobs_take.is_none()) throw ValueError("fail_files() needs jobs_take");
    const EachPoint each{options.most, options.run.leaves_nothing, "with all its files"};
    return at_each_point(each,
                         [&](std::uint64_t point) { return fail_at(scenario, seeded, point); });
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

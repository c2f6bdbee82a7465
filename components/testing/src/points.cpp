#include "points.hpp"

#include "asyncio/exceptions.hpp"
#include "one_run.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

bool each_error(const std::exception_ptr& error,
                const std::function<bool(const std::exception_ptr&)>& fine) {
    try {
        std::rethrow_exception(error);
    } catch (const BaseExceptionGroup& group) {
        for (const std::exception_ptr& each : group.exceptions()) {
            if (!each_error(each, fine)) return false;
        }
        return true;
    } catch (...) {
        return fine(error);  // run_once() tells it if not
    }
}

Report at_each_point(const EachPoint& each, const std::function<Tried(std::uint64_t)>& run) {
    const LeftBehind before;
    const Tried first = run(0);
    if (!first.failed.empty()) throw ScenarioFailed(std::string(each.none) + ":\n" + first.failed);
    Report report;
    for (; report.points < each.most; ++report.points) {
        const std::uint64_t point = report.points + 1;
        const Tried tried = run(point);
        const bool reached = tried.points >= point;
        if (!tried.failed.empty()) {
            const std::string where = "at point " + std::to_string(point) + " of " +
                                      std::to_string(first.points) + ", " + tried.what;
            throw ScenarioFailed((reached ? where : std::string(each.none)) + ":\n" + tried.failed);
        }
        if (!reached) break;
    }
    const std::string left = each.leaves_nothing ? before.since() : std::string();
    if (!left.empty()) throw ScenarioFailed(left);
    return report;
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

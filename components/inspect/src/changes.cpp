#include "changes.hpp"

#include <algorithm>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

// What counts anew, since a task is new or counting had ended meanwhile, has nothing to be taken
// from it. How long a tick of its clock is, is known better with time: so what has not run may seem
// to have been busy for a little less than before.
Counts since(const Counts& now, const Counts* before) {
    constexpr double kKnown = 0.99;
    if (!before || before->steps > now.steps || now.busy < before->busy * kKnown) return now;
    return {now.steps - before->steps, std::max(0.0, now.busy - before->busy), now.longest,
            now.since};
}

}  // namespace

Counted counted_of(const Loop& loop) {
    Counted counted;
    counted.loop = loop.counts;
    if (!loop.counts) return counted;
    for (const Task& task : loop.tasks) {
        if (task.counts) counted.tasks.try_emplace(task.id, task.name, *task.counts);
    }
    return counted;
}

Change::Change(const Loop& now, const Counted* before) : now_(now), before_(nullptr) {
    seconds_ = now.counts ? now.counts->counted : 0;
    if (before && before->loop && now.counts && before->loop->counted < now.counts->counted) {
        before_ = before;
        seconds_ -= before->loop->counted;
    }
    seconds_ = std::max(seconds_, 1e-6);
}

Counts Change::all() const {
    return since(now_.counts->all, before_ ? &before_->loop->all : nullptr);
}

double Change::busy() const {
    const double idle = now_.counts->idle - (before_ ? before_->loop->idle : 0);
    return std::clamp(1 - idle / seconds_, 0.0, 1.0);
}

std::optional<Counts> Change::of(const Task& task) const {
    if (!task.counts) return std::nullopt;
    const Counts* earlier = nullptr;
    if (before_) {
        const auto found = before_->tasks.find(task.id);
        if (found != before_->tasks.end() && found->second.first == task.name) {
            earlier = &found->second.second;
        }
    }
    return since(*task.counts, earlier);
}

double median_late(const std::vector<std::uint64_t>& late) {
    std::uint64_t all = 0;
    for (const std::uint64_t n : late) all += n;
    if (all == 0) return 0;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < late.size(); ++i) {
        seen += late[i];
        if (seen * 2 >= all)
            return static_cast<double>(std::uint64_t{1} << std::min<std::size_t>(i, 63)) * 1e-9;
    }
    return 0;
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

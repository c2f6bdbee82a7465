#include "net/staggered.hpp"

#include <algorithm>
#include <vector>

#include "asyncio/tasks.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

namespace {

using Attempts = std::vector<Task<bool>>;

// Those left when the race ends are cancelled, however it ends.
class CancelAtEnd {
  public:
    explicit CancelAtEnd(const Attempts& attempts) noexcept : attempts_(attempts) {}
    CancelAtEnd(const CancelAtEnd&) = delete;
    CancelAtEnd& operator=(const CancelAtEnd&) = delete;
    ~CancelAtEnd() {
        for (const Task<bool>& t : attempts_) t.cancel();
    }

  private:
    const Attempts& attempts_;
};

Attempts pending_of(const Attempts& attempts) {
    Attempts pending;
    for (const Task<bool>& t : attempts) {
        if (!t.done()) pending.push_back(t);
    }
    return pending;
}

// Raises: what an attempt raised.
std::optional<std::size_t> winner_of(const Attempts& attempts) {
    for (std::size_t i = 0; i < attempts.size(); ++i) {
        if (attempts[i].done() && attempts[i].result()) return i;
    }
    return std::nullopt;
}

}  // namespace

Coroutine<std::optional<std::size_t>> staggered_race(std::size_t count,
                                                     Function<Coroutine<bool>(std::size_t)> attempt,
                                                     Delay delay) {
    EventLoop& loop = get_running_loop();
    Attempts attempts;
    const CancelAtEnd cancel_at_end(attempts);
    TimePoint next{};  // when the next attempt is due
    std::optional<std::size_t> winner;
    while (!winner) {
        const bool more = attempts.size() < count;
        if (more && (attempts.empty() || attempts.back().done() || loop.time() >= next)) {
            attempts.push_back(create_task(attempt(attempts.size())));
            next = delay.is_none() ? TimePoint::max() : loop.time() + delay.duration();
        }
        const Attempts pending = pending_of(attempts);
        if (pending.empty()) {
            if (attempts.size() == count) break;
            continue;
        }
        WaitOptions until;
        until.return_when = FIRST_COMPLETED;
        if (attempts.size() < count && next != TimePoint::max()) until.timeout = next - loop.time();
        co_await wait(pending, until);
        winner = winner_of(attempts);
    }
    const Attempts losers = pending_of(attempts);
    for (const Task<bool>& t : losers) t.cancel();
    if (!losers.empty()) co_await wait(losers);
    co_return winner;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

#include "own_hold.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "asyncio/component/post.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

using namespace std::chrono_literals;

constexpr auto kUntilHeld = 100ms;
constexpr auto kHeld = 90ms;

// Of a loop's thread, which waits at it, and of the one that reads.
class Gate {
  public:
    // On the loop's thread.
    void wait() {
        std::unique_lock lock(mutex_);
        arrived_ = true;
        changed_.notify_all();
        changed_.wait_for(lock, kHeld, [this] { return open_; });
        left_ = true;
    }
    bool is_reached() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, kUntilHeld, [this] { return arrived_; });
    }
    bool holds() {
        const std::lock_guard lock(mutex_);
        return arrived_ && !left_;
    }
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool arrived_ = false, open_ = false, left_ = false;
};

class OwnHold final : public Hold {
  public:
    OwnHold() : gate_(std::make_shared<Gate>()) {}
    // Also where the loop comes there later.
    ~OwnHold() override { gate_->open(); }

    bool begin(const component::Poster& loop) {
        return loop.post([gate = gate_] { gate->wait(); }) && gate_->is_reached();
    }
    bool holds() const override { return gate_->holds(); }

  private:
    std::shared_ptr<Gate> gate_;
};

}  // namespace

std::unique_ptr<Hold> hold_own(const Loop& loop) {
    const std::vector<component::Poster> all = component::posters();
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const auto& poster) { return poster.id() == loop.id; });
    if (found == all.end()) return nullptr;
    auto hold = std::make_unique<OwnHold>();
    if (!hold->begin(*found)) return nullptr;
    return hold;
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

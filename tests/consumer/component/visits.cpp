#include "visits.hpp"

#include <asyncio/component/descriptors.hpp>
#include <asyncio/component/errors.hpp>
#include <asyncio/component/post.hpp>
#include <asyncio/component/process.hpp>
#include <asyncio/component/waiting.hpp>
#include <asyncio/component/watch.hpp>
#include <asyncio/events.hpp>
#include <asyncio/exceptions.hpp>

#include <mutex>
#include <thread>

namespace visits {
namespace {

int closed_ones = 0;

class Visits final : public asyncio::component::LoopService {
  public:
    static const asyncio::component::ServiceKey key;
    explicit Visits(asyncio::detail::LoopCore&)
        : LoopService(asyncio::component::ServiceRank::kComponents) {}
    void loop_closed() noexcept override { ++closed_ones; }

    int count = 0;
};

const asyncio::component::ServiceKey Visits::key;

}  // namespace

int come() {
    auto& loop = asyncio::get_running_loop();
    return ++asyncio::component::service<Visits>(loop.core()).count;
}

// Through each of the doors once: another thread posts, and the loop hears of a descriptor that
// this has opened.
bool doors(asyncio::EventLoop& loop) {
    using namespace asyncio::component;
    static int guarded = 0;
    auto ends = asyncio::Socket::pair();
    int readable = 0;
    Watches watches(loop, [&](int fd, Interest ready) {
        if (ready.readable && has_input(fd)) ++readable;
        watches.set(fd, {});
        loop.stop();
    });
    std::thread poster([post = Poster(loop), &ends, &watches] {
        const std::lock_guard lock(shared_mutex(&guarded));
        post.post([&] {
            ++guarded;
            watches.set(ends.first.fileno(), {.readable = true});
            ends.second.close();
        });
    });
    loop.run_forever();
    poster.join();
    return readable == 1 && guarded == 1 && forks() == 0 &&
           error_from([] { return asyncio::ValueError(quoted("x")); }) != nullptr;
}

int closed() { return closed_ones; }

}  // namespace visits

#include "asyncio/component/watch.hpp"

#include <utility>

namespace asyncio {
inline namespace v1 {
namespace component {

Watches::Watches(EventLoop& loop, Callback ready) : core_(loop.core()), ready_(std::move(ready)) {
    core_.attach();
}

Watches::~Watches() {
    clear();
    core_.detach();
}

// It may destroy this: the callable that runs keeps itself.
void Watches::call(int fd, Interest ready) const { ready_(fd, ready); }

void Watches::set(int fd, Interest wanted) {
    if (!open()) return;
    if (wanted == Interest{} && !watched_.contains(fd)) return;
    Interest& now = watched_[fd];
    try {
        drop(fd, {now.readable && !wanted.readable, now.writable && !wanted.writable});
        now = {now.readable && wanted.readable, now.writable && wanted.writable};
        if (wanted.readable && !now.readable) {
            core_.loop->add_reader(fd, [this, fd] { call(fd, {.readable = true}); });
            now.readable = true;
        }
        if (wanted.writable && !now.writable) {
            core_.loop->add_writer(fd, [this, fd] { call(fd, {.writable = true}); });
            now.writable = true;
        }
    } catch (...) {
        // The system forgets a descriptor that it refuses to watch.
        drop(fd, std::exchange(now, {}));
        watched_.erase(fd);
        throw;
    }
    if (now == Interest{}) watched_.erase(fd);
}

void Watches::renew(int fd) {
    const Interest before = what(fd);
    set(fd, {});
    set(fd, before);
}

Interest Watches::what(int fd) const noexcept {
    const auto found = watched_.find(fd);
    return found == watched_.end() ? Interest{} : found->second;
}

void Watches::clear() noexcept {
    for (const auto& [fd, what] : std::exchange(watched_, {})) {
        if (open()) drop(fd, what);
    }
}

void Watches::drop(int fd, Interest what) noexcept {
    if (what.readable) core_.loop->remove_reader(fd);
    if (what.writable) core_.loop->remove_writer(fd);
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

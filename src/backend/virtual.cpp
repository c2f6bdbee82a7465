// Virtual time: waiting moves the clock. There is no descriptor to watch, and other threads are
// waited for in real time.
#include <condition_variable>
#include <mutex>

#include "asyncio/exceptions.hpp"
#include "backend/backend.hpp"

namespace asyncio::inline v1::detail {
namespace {

class VirtualBackend final : public Backend {
  public:
    void wait(std::int64_t timeout, NodeQueue&) override {
        if (timeout > 0) {
            now_ += timeout;
            return;
        }
        if (timeout == 0) return;
        // Only a thread can end this wait: the loop asks for it while some are at work for it.
        std::unique_lock lock(mutex_);
        woken_.wait(lock, [this] { return wake_; });
        wake_ = false;
    }

    void watch(int, Node*, Node*) override {
        throw NotImplementedError("a loop on virtual time watches no descriptors");
    }

    void wake() noexcept override {
        const std::lock_guard lock(mutex_);
        wake_ = true;
        woken_.notify_one();
    }

    std::int64_t now() noexcept override { return now_; }
    bool watches() const noexcept override { return false; }
    bool is_virtual() const noexcept override { return true; }
    const char* name() const noexcept override { return "virtual"; }
    const char* class_name() const noexcept override { return "VirtualTimeEventLoop"; }

  private:
    std::int64_t now_ = 0;
    std::mutex mutex_;
    std::condition_variable woken_;
    bool wake_ = false;
};

}  // namespace

std::unique_ptr<Backend> make_virtual_backend() { return std::make_unique<VirtualBackend>(); }

}  // namespace asyncio::inline v1::detail

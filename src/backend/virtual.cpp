// Virtual time: waiting moves the clock. There is no descriptor to watch, and other threads are
// waited for in real time.
#include <errno.h>
#include <semaphore.h>

#include <algorithm>
#include <atomic>

#include "asyncio/exceptions.hpp"
#include "asyncio/time.hpp"
#include "backend/backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

class VirtualBackend final : public Backend {
  public:
    VirtualBackend() { ::sem_init(&woken_, 0, 0); }
    VirtualBackend(const VirtualBackend&) = delete;
    VirtualBackend& operator=(const VirtualBackend&) = delete;
    ~VirtualBackend() override { ::sem_destroy(&woken_); }

    void wait(std::int64_t timeout, ReadyQueue&) override {
        if (timeout > 0) {
            // A time that is never is not reached.
            now_ = std::min(saturating_add(now_, timeout), kNever - 1);
            return;
        }
        if (timeout == 0) return;
        // Only a thread can end this wait: the loop asks for it while some are at work for it.
        while (::sem_wait(&woken_) != 0 && errno == EINTR) {
        }
        posted_.store(false);
    }

    void watch(int, Node*, Node*) override { refuse(); }
    void open(IoChannel&, int, ChannelKind) override { refuse(); }

    // Nothing of these is ever called, since no channel opens.
    void hand_over(IoChannel&, IoChannel&, ChannelKind) noexcept override {}
    void await_room(IoChannel&) noexcept override {}
    void close(IoChannel&) noexcept override {}
    IoChannel* channel_of(int) const noexcept override { return nullptr; }
    void close_channels() noexcept override {}
    Received receive(IoChannel&, std::size_t) noexcept override { return {nullptr, 0, EBADF}; }
    Transferred receive_into(IoChannel&, std::span<char>) noexcept override { return {0, EBADF}; }
    Transferred send(IoChannel&, std::string_view) noexcept override { return {0, EBADF}; }
    Transferred send(IoChannel&, std::span<const std::string_view>) noexcept override {
        return {0, EBADF};
    }
    ReceivedDatagrams receive_datagrams(IoChannel&, DatagramRoom&, bool,
                                        std::size_t) noexcept override {
        return {{}, EBADF};
    }
    Transferred send_datagrams(IoChannel&, std::span<const DatagramToSend>) noexcept override {
        return {0, EBADF};
    }
    int accept(IoChannel&, SocketAddress&) noexcept override { return -EBADF; }

    void wake() noexcept override {
        if (!posted_.exchange(true)) ::sem_post(&woken_);
    }

    void leave_to_parent() noexcept override {}
    std::int64_t now() noexcept override { return now_; }
    bool watches() const noexcept override { return false; }
    bool is_virtual() const noexcept override { return true; }
    const char* name() const noexcept override { return "virtual"; }
    const char* class_name() const noexcept override { return "VirtualTimeEventLoop"; }

  private:
    [[noreturn]] static void refuse() {
        throw NotImplementedError("a loop on virtual time watches no descriptors");
    }

    std::int64_t now_ = 0;
    sem_t woken_;
    std::atomic<bool> posted_{false};
};

}  // namespace

std::unique_ptr<Backend> make_virtual_backend() { return std::make_unique<VirtualBackend>(); }

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

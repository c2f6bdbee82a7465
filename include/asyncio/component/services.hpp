// State for each loop, of what stands on loops: the default executor, the resolver, a component of
// yours. The loop holds it and does not know what it is.
//
//     struct Names final : asyncio::component::LoopService {
//         static const asyncio::component::ServiceKey key;   // defined in one .cpp, and exported
//         static constexpr auto rank = asyncio::component::ServiceRank::kComponents;
//         explicit Names(asyncio::detail::LoopCore& core);
//         void loop_closed() noexcept override;
//     };
//     Names& names = asyncio::component::service<Names>(loop);   // made by the first call
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/loop_core.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
class ServiceList;
}
namespace component {

using asyncio::detail::running_core;

// When a service is told that its loop closes: the lower, the earlier; those of one rank in the
// order in which they were made.
enum class ServiceRank : std::uint8_t {
    kThreads,     // threads are told to end, before anything that they might hold goes
    kSignals,     // signals have the effect of before again
    kTasks,       // tasks are gone, and their frames
    kComponents,  // no channel is open any more, and what was queued has been dropped
    kSystem,      // what components may have used
};

// Names a kind of service, by its address.
struct ServiceKey {};

// What something keeps for each loop: derive from it, and ask for it by service(). Its functions
// are called on the loop's thread, but for left_to_parent().
class ASYNCIO_API LoopService {
  public:
    // `rank`: when it hears that the loop closes.
    explicit LoopService(ServiceRank rank) noexcept : rank_(rank) {}
    LoopService(const LoopService&) = delete;
    LoopService& operator=(const LoopService&) = delete;
    // Once the loop is closed and nothing of it is queued; or later, on any thread.
    virtual ~LoopService();

    // The loop closes: what this holds of the system is to be given back. Called once. No user's
    // code is to be called. A service of a later rank may still be asked for, but none is made.
    virtual void loop_closed() noexcept = 0;
    // This process is a child of fork(2), and the loop, a copy of its parent's, is closed: what
    // follows must not touch what both share. The other threads are not there: neither locks nor
    // allocates. Never followed by loop_closed().
    virtual void left_to_parent() noexcept {}
    // loop_closed() was called, or is being called.
    bool is_closed() const noexcept { return closed_; }

  private:
    friend class asyncio::detail::ServiceList;
    const ServiceRank rank_;
    bool closed_ = false;
    const ServiceKey* key_ = nullptr;
    std::atomic<LoopService*> following_{nullptr};
};

namespace detail {
ASYNCIO_API LoopService* find_service(asyncio::detail::LoopCore& core,
                                      const ServiceKey& key) noexcept;
ASYNCIO_API LoopService& add_service(asyncio::detail::LoopCore& core, const ServiceKey& key,
                                     std::unique_ptr<LoopService> service) noexcept;
}  // namespace detail

// The service of `loop`, or null if nobody has asked for it yet.
template <class S>
S* find_service(asyncio::detail::LoopCore& core) noexcept {
    // Safe because the key is S's alone.
    return static_cast<S*>(detail::find_service(core, S::key));
}

// The service of `loop`, made by the first call. On the loop's thread.
// Raises: RuntimeError "Event loop is closed", if it was told so or would have to be made; what S's
// constructor raises.
template <class S>
S& service(asyncio::detail::LoopCore& core) {
    S* const known = find_service<S>(core);
    if (known && !known->is_closed()) return *known;
    asyncio::detail::check_open(core);
    // Safe because the key is S's alone.
    return static_cast<S&>(detail::add_service(core, S::key, std::make_unique<S>(core)));
}

}  // namespace component
}  // namespace v1
}  // namespace asyncio

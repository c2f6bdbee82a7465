// A network that is made up, for tests: unmodified servers, streams and endpoints on hosts of one
// process, on virtual time, with whatever goes wrong between them. docs/testing.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/contextvars.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/testing.hpp"
#include "asyncio/time.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// What is between two hosts, in one direction. Nothing by default: what is sent arrives at once.
struct LinkOptions {
    Delay latency = Duration(0);     // until the first byte arrives
    Delay jitter = Duration(0);      // up to so much more, by chance
    double loss = 0;                 // of the packets, 0 to 1; of streams a loss is a delay
    double duplicate = 0;            // of the datagrams
    double reorder = 0;              // of the datagrams: those behind overtake them
    std::uint64_t bandwidth = 0;     // bytes a second; 0: any
    std::size_t window = 64 * 1024;  // bytes of a stream that the receiver has not read, at most
    std::size_t mtu = 1500;          // bytes of a stream that arrive together
};

// Which way of two.
enum class Way : std::uint8_t {
    BOTH,   // in either direction
    THERE,  // from the first to the second
    BACK,   // from the second to the first
};

// A machine of a Network, by its name.
class Host {
  public:
    // For Network::host().
    explicit Host(std::uint32_t number) noexcept : number_(number) {}
    // As the network counts them, from 0 on.
    std::uint32_t number() const noexcept { return number_; }
    friend bool operator==(Host, Host) noexcept = default;

  private:
    std::uint32_t number_;
};

class SimulatedWorld;

// The network of the run that this thread is in: see simulate().
class ASYNCIO_API Network {
  public:
    // That host, which is made if there is none of this name. `address`: an IPv4 address; empty:
    // 10.0.0.2 for the first, 10.0.0.3 and so on. Its name resolves to it. Raises: ValueError if
    // the address is none, or another host's.
    Host host(std::string_view name, std::string_view address = {});
    // Where a coroutine runs that no on() is around: "here", 10.0.0.1.
    Host here() const noexcept;
    // An address of it, as text.
    std::string address_of(Host host) const;

    // What goes from `from` to `to`, from now on.
    LinkOptions& link(Host from, Host to);
    // All links that are made from now on, and all that are there.
    void set_links(const LinkOptions& options);

    // Nothing gets through any more, what is under way included, until heal(). A stream that has
    // sent something ends by ETIMEDOUT if that takes longer than its time; an idle one goes on.
    void partition(Host one, Host other, Way way = Way::BOTH);
    void heal(Host one, Host other, Way way = Way::BOTH);
    // The same, for as long as a test wants: what was held comes in its order after release().
    void hold(Host from, Host to) { partition(from, to, Way::THERE); }
    void release(Host from, Host to) { heal(from, to, Way::THERE); }
    // Each stream between them is reset, at both ends and at once.
    void reset(Host one, Host other);
    // All sockets of it are gone, without a word to others, who notice when they send. Tasks that
    // run on it are the test's to cancel. It may be used again at once: a restart.
    void crash(Host host);
    // For how long a stream waits for an answer to what it has sent, and connecting for one.
    void set_timeouts(Delay sending, Delay connecting);

    // From now on what is done is kept, a line each, with the time: the same for the same seed.
    void keep_trace();
    // What was kept.
    std::string trace() const;

  private:
    friend class SimulatedWorld;
    explicit Network(SimulatedWorld& world) noexcept : world_(world) {}
    SimulatedWorld& world_;
};

// The network of the run that this thread is in. Raises: RuntimeError outside of one.
ASYNCIO_API Network& network();

// Runs `scenario` as run() does, on a network of its own, which `network()` is meanwhile: all
// sockets that it makes are on that. Raises: ScenarioFailed.
ASYNCIO_API void simulate(const Scenario& scenario, const RunOptions& options = {});

// What drop_each_packet() does.
struct PacketOptions {
    std::uint64_t most = 10'000;  // points
    RunOptions run = {};          // of each run
};
// Simulates it again and again: in the k-th run the k-th packet that leaves a host is lost, until a
// run sends fewer. A datagram does not arrive then; a piece of a stream, or what opens or ends one,
// comes 200 ms later, once it was sent again. Raises: ScenarioFailed, which says at which point.
ASYNCIO_API Report drop_each_packet(const Scenario& scenario, const PacketOptions& options = {});

// The number of the host whose code runs now.
ASYNCIO_API ContextVar<std::uint32_t>& current_host();

namespace detail {

// One that may never be awaited, as its host crashed before: then it is closed without a word.
template <class T>
class MayBeLeft {
  public:
    explicit MayBeLeft(Coroutine<T> coroutine) noexcept : coroutine_(std::move(coroutine)) {}
    MayBeLeft(MayBeLeft&&) noexcept = default;
    MayBeLeft& operator=(MayBeLeft&&) = delete;
    ~MayBeLeft() { coroutine_.close(); }
    Coroutine<T> take() noexcept { return std::move(coroutine_); }

  private:
    Coroutine<T> coroutine_;
};

// In the context of a task of its own.
template <class T>
Coroutine<T> on_host(Host host, MayBeLeft<T> coroutine) {
    current_host().set(host.number());
    co_return co_await coroutine.take();
}
template <class T>
Coroutine<T> task_on_host(Host host, MayBeLeft<T> coroutine) {
    co_return co_await create_task(on_host<T>(host, std::move(coroutine)));
}

}  // namespace detail

// Sockets that `coroutine` makes, and the tasks that it makes, are `host`'s.
// If cancelled: the coroutine is.
template <class T>
[[nodiscard("co_await it")]] ASYNCIO_CORO_WRAPPER Coroutine<T> on(Host host,
                                                                  Coroutine<T> coroutine) {
    return detail::task_on_host<T>(host, detail::MayBeLeft<T>(std::move(coroutine)));
}

}  // namespace testing
}  // namespace v1
}  // namespace asyncio

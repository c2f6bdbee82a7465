// Host names: loop.getaddrinfo() and getnameinfo(), off the loop's thread. DN-01, DN-02.
//
// A lookup may take as long as the system's resolver likes and cannot be interrupted. So it runs on
// threads of its own, apart from to_thread's, which slow name servers would otherwise fill; there
// are as many as there are lookups at once, up to a limit, and idle ones end. Nobody joins them: a
// thread owns what it works on, so that a task may stop waiting, the loop close and the process end
// while it hangs.
//
// Lookups of one name share a thread: the port is no part of the question, so that a thousand
// connections to one host ask once, and a host whose name server does not answer holds one thread.
// A lookup that everybody has left goes on, since it cannot be stopped, and whoever asks next for
// the same joins it.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/sockets.hpp"
#include "loop/loop.hpp"
#include "loop/services.hpp"
#include "os/names.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What the threads call in place of ask_system, for tests; null: ask_system again.
using AskSystem = void (*)(const NameQuery& query, NameAnswer& answer);
void replace_ask_system(AskSystem function) noexcept;
// How long a thread without work stays, for tests; 10 s.
void set_lookup_idle_time(std::chrono::milliseconds time) noexcept;

class Resolver;

// One question that is being asked, with all that wait for the answer. On the loop's thread, but
// for ask(), deliver() and the count.
class Lookup final : public Node {
  public:
    Lookup(Resolver& resolver, LoopCore& core, NameQuery query, std::string key);
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    // On one of the resolver's threads, which then hands it to the loop and with that gives up one
    // count.
    void ask() noexcept;
    void deliver() noexcept;
    void join(Waiter& waiter) noexcept;
    void leave(Waiter& waiter) noexcept;
    // The resolver goes.
    void orphan() noexcept { resolver_ = nullptr; }
    const NameAnswer& answer() const noexcept { return answer_; }
    const std::string& question() const noexcept { return key_; }

    // The answer is there.
    void run() override;
    void drop() noexcept override { release(); }

  private:
    ~Lookup() { core_.detach(); }
    void set_awaited(bool awaited) noexcept;

    RefCount refs_{1};
    Resolver* resolver_;
    LoopCore& core_;
    const NameQuery query_;
    const std::string key_;
    NameAnswer answer_;
    WaitingLine waiters_;
    bool answered_ = false;
    bool awaited_ = false;  // somebody waits: virtual time stands still
};

// The lookups of a loop.
class Resolver final : public LoopService {
  public:
    static const ServiceKey key;
    explicit Resolver(LoopCore& core);
    // Leaves its threads to themselves.
    void loop_closed() noexcept override;

    // The lookup that asks `query`, begun now or before.
    // Raises: RuntimeError "can't start new thread".
    Ref<Lookup> find(NameQuery query);
    // It is answered.
    void forget(Lookup& lookup) noexcept;
    // Nobody waits for it: it is not begun if it has not been.
    void abandon(Lookup& lookup) noexcept;
    // How many threads there are, for tests.
    int threads() const;

  private:
    struct Pool;
    LoopCore& core_;
    std::shared_ptr<Pool> pool_;
    std::unordered_map<std::string, Ref<Lookup>> pending_;
};

// What a connection does with its host (CPython: _ensure_resolved): an address is taken as it is,
// whatever `flags` say, and no iteration is spent on it. `host`: "" for none.
// Raises: gaierror; OSError; ValueError "port must be 0-65535."; RuntimeError.
// If cancelled: the answer is abandoned.
Coroutine<std::vector<AddrInfo>> resolve(EventLoop& loop, std::string_view host, PortNumber port,
                                         int family = 0, int type = 0, int proto = 0,
                                         int flags = 0);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What the programs of this folder share: the process of the server, a proxy that does what
// networks do, and bytes to send.
#pragma once

#include <asyncio.hpp>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stress {

using namespace asyncio;

constexpr const char* kHost = "127.0.0.1";

inline void check(bool right, const char* what) {
    if (!right) throw std::runtime_error(what);
}

class ServerProcess {
  public:
    // `serve(fd)` tells its port through `fd`.
    template <class F>
    explicit ServerProcess(F serve) {
        int ends[2];
        check(::pipe(ends) == 0, "pipe");
        child_ = ::fork();
        check(child_ >= 0, "fork");
        if (child_ == 0) {
            ::close(ends[0]);
            std::_Exit(run_main(serve(ends[1])));
        }
        ::close(ends[1]);
        check(::read(ends[0], &port_, sizeof port_) == sizeof port_, "the server did not start");
        ::close(ends[0]);
    }
    ServerProcess(const ServerProcess&) = delete;
    ServerProcess& operator=(const ServerProcess&) = delete;
    ~ServerProcess() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    int port() const { return port_; }

  private:
    pid_t child_ = -1;
    int port_ = 0;
};

// A proxy in front of `port`. It splits and delays what goes through it, and one connection in four
// is spoilt after some bytes, in one of the ways that it is given, in turn.
class Chaos {
  public:
    enum class Spoil {
        kReset,
        kEnd,     // as if all had come
        kChange,  // some bytes are others, then it ends
    };

    Chaos(int port, std::vector<Spoil> spoils) : port_(port), spoils_(std::move(spoils)) {}

    // The handler of the proxy.
    Coroutine<> pass(StreamReader reader, StreamWriter writer) {
        ++running;
        const StreamPair server = co_await open_connection(kHost, port_);
        Plan plan;
        if (random() % 4 == 0) {
            plan.left = random() % 40000;
            plan.spoil = spoils_[static_cast<std::size_t>(turn_++) % spoils_.size()];
        }
        auto there = create_task(copy(reader, server.second, plan, writer));
        auto back = create_task(copy(server.first, writer, plan, writer));
        const auto first = co_await as_result(there);
        if (!first.has_value()) server.second.transport().abort();
        const auto second = co_await as_result(back);
        spoilt += first.has_value() && second.has_value() ? 0 : 1;
        writer.close();
        server.second.close();
        --running;
    }

    std::size_t random() { return static_cast<std::size_t>(engine_()); }
    int spoilt = 0;
    int running = 0;  // handlers, which may end after their connections

  private:
    struct Plan {
        std::size_t left = SIZE_MAX;  // bytes until it is spoilt
        Spoil spoil = Spoil::kReset;
    };

    Coroutine<> copy(StreamReader from, StreamWriter to, Plan& plan, StreamWriter client) {
        for (;;) {
            std::string data = co_await from.read(static_cast<std::ptrdiff_t>(1 + random() % 5000));
            if (data.empty()) break;
            const bool spoil = data.size() >= plan.left;
            if (spoil && plan.spoil != Spoil::kReset) data.resize(plan.left);
            if (spoil && plan.spoil == Spoil::kChange) {
                for (int i = 0; i < 20; ++i) data += static_cast<char>(random());
            }
            for (std::size_t at = 0; at < data.size();) {
                const std::size_t n = std::min(1 + random() % 1500, data.size() - at);
                to.write(std::string_view(data).substr(at, n));
                at += n;
                if (random() % 3 == 0) co_await sleep(std::chrono::microseconds(random() % 500));
                co_await to.drain();
            }
            if (spoil) end(plan.spoil, to, client);
            if (plan.left != SIZE_MAX) plan.left -= data.size();
        }
        if (to.can_write_eof()) to.write_eof();
    }
    // Raises: ConnectionAbortedError, always.
    [[noreturn]] static void end(Spoil spoil, StreamWriter to, StreamWriter client) {
        if (spoil == Spoil::kReset) {
            const linger hard{.l_onoff = 1, .l_linger = 0};
            setsockopt(client.get_extra_info<int>("socket").value_or(-1), SOL_SOCKET, SO_LINGER,
                       &hard, sizeof hard);
            client.transport().abort();
        } else {
            to.close();
            client.close();
        }
        throw ConnectionAbortedError("spoilt");
    }

    int port_;
    std::vector<Spoil> spoils_;
    int turn_ = 0;
    std::mt19937_64 engine_{12345};
};

inline std::string payload(std::size_t seed) {
    std::mt19937_64 engine(seed);
    std::string bytes(engine() % 60000, '\0');
    for (char& c : bytes) c = static_cast<char>(engine());
    return bytes;
}

}  // namespace stress

// The network that is made up behaves as the real one: the same script of what two ends of a
// connection do gives the same events at each of them, over loopback and simulated.
//
// A step waits for what it brings about, so that the real run has one order, too. Bytes that arrive
// in several pieces are one event: where the system cuts a stream is its own affair.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/testing.hpp>
#include <asyncio/testing_network.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

using asyncio::Coroutine;
using asyncio::Transport;
using namespace std::chrono_literals;

// One end of the connection, and what it was told.
class Side final : public asyncio::Protocol {
  public:
    explicit Side(bool stays_open) : stays_open_(stays_open) {}

    void connection_made(Transport& transport) override {
        transport_ = transport;
        tell("made");
    }
    void data_received(std::string_view data) override {
        received += data.size();
        for (const char c : data) sum = sum * 31 + static_cast<unsigned char>(c);
        changed.set();
    }
    bool eof_received() override {
        ended = true;
        tell("end");
        return stays_open_;
    }
    void connection_lost(std::exception_ptr error) override {
        lost = true;
        std::string how = "lost";
        if (error) {
            try {
                std::rethrow_exception(error);
            } catch (const asyncio::ConnectionResetError&) {
                how += " by a reset";
            } catch (const asyncio::BrokenPipeError&) {
                how += " by a broken pipe";
            } catch (const std::exception& other) {
                how += std::string(" by ") + other.what();
            }
        }
        tell(how);
    }
    // What was told until now, with the bytes between.
    std::string events() {
        tell("over");
        return log_;
    }

    Transport& transport() { return transport_; }
    std::size_t received = 0;
    std::uint64_t sum = 0;
    bool ended = false, lost = false;
    asyncio::Event changed;

  private:
    void tell(const std::string& event) {
        if (received != told_) {
            log_ += std::to_string(received - told_) + " bytes (" + std::to_string(sum) + "), ";
            told_ = received;
        }
        log_ += event + ", ";
        changed.set();
    }

    bool stays_open_;
    Transport transport_;
    std::string log_;
    std::size_t told_ = 0;
};

// Until `condition()`, whatever either side is told meanwhile.
template <class F>
Coroutine<> until(Side& side, F condition) {
    while (!condition()) {
        side.changed.clear();
        co_await side.changed.wait();
    }
}

// What a script may still do.
struct State {
    std::size_t written[2] = {};
    std::size_t unread[2] = {};  // written by this side while the other one does not read
    bool paused[2] = {};
    bool ended[2] = {};
};

constexpr std::size_t kMostUnread = 32 * 1024;  // what any system buffers

// One step: what `who` does. Returns false if that is the end of the connection.
Coroutine<bool> step(std::mt19937& numbers, std::vector<std::shared_ptr<Side>>& sides,
                     State& state) {
    const std::size_t who = numbers() % 2, other = 1 - who;
    Side& side = *sides[who];
    Side& peer = *sides[other];
    const auto all_is_read = [&] { return peer.received == state.written[who]; };
    switch (numbers() % 8) {
        case 0:
            if (state.ended[who]) break;
            state.ended[who] = true;
            side.transport().write_eof();
            if (!state.paused[other]) co_await until(peer, [&] { return peer.ended; });
            break;
        case 1:
            if (state.ended[other] || state.paused[who]) break;
            side.transport().pause_reading();
            state.paused[who] = true;
            break;
        case 2:
            if (!state.paused[who]) break;
            side.transport().resume_reading();
            state.paused[who] = false;
            state.unread[other] = 0;
            co_await until(side, [&] { return side.received == state.written[other]; });
            if (state.ended[other]) co_await until(side, [&] { return side.ended; });
            break;
        case 3:
            // With bytes that it has not read this is a reset.
            if (numbers() % 2) {
                side.transport().abort();
            } else {
                side.transport().close();
            }
            co_await until(side, [&] { return side.lost; });
            co_return false;
        default: {
            const std::size_t size = 1 + numbers() % 8'000;
            const bool unread = state.paused[other];
            if (state.ended[who] || (unread && state.unread[who] + size > kMostUnread)) break;
            side.transport().write(std::string(size, static_cast<char>('a' + numbers() % 26)));
            state.written[who] += size;
            if (unread) {
                state.unread[who] += size;
            } else {
                co_await until(peer, all_is_read);
            }
        }
    }
    co_return true;
}

// Both sides' events, after the script of `seed`.
Coroutine<> play(std::uint32_t seed, std::string& events) {
    std::mt19937 numbers(seed);
    const bool stays_open = numbers() % 2;
    std::vector<std::shared_ptr<Side>> sides(2);
    asyncio::Event accepted;
    auto factory = [&] {
        sides[1] = std::make_shared<Side>(stays_open);
        accepted.set();
        return sides[1];
    };
    asyncio::EventLoop& loop = asyncio::get_running_loop();
    auto server = co_await loop.create_server(factory, "127.0.0.1", 0);
    auto client = [] { return std::make_shared<Side>(true); };
    auto [transport, protocol] = co_await loop.create_connection(
        client, "127.0.0.1", server.sockets()[0].getsockname().port());
    sides[0] = protocol;
    co_await accepted.wait();
    co_await until(*sides[1], [&] { return static_cast<bool>(sides[1]->transport()); });

    State state;
    for (int steps = 0; steps < 30; ++steps) {
        if (!co_await step(numbers, sides, state)) break;
        // A server that closes at the end has gone.
        if (sides[0]->lost || sides[1]->lost || sides[1]->transport().is_closing()) break;
    }
    // All that was written arrives, unless a reset comes first.
    for (std::size_t i = 0; i < 2; ++i) {
        if (sides[i]->lost) continue;
        sides[i]->transport().resume_reading();
        co_await until(*sides[i], [&] {
            return sides[i]->lost || (sides[i]->received == state.written[1 - i] &&
                                      (sides[i]->ended || !sides[1 - i]->lost));
        });
    }
    for (const auto& side : sides) {
        side->transport().close();
        co_await until(*side, [&] { return side->lost; });
    }
    events = "client: " + sides[0]->events() + "\nserver: " + sides[1]->events();
    server.close();
    co_await server.wait_closed();
}

Coroutine<> play_in_time(std::uint32_t seed, std::string& events) {
    co_await asyncio::wait_for(play(seed, events), 20s);
}

TEST(SameAsReal, EachScriptGivesTheSameEvents) {
    int resets = 0;
    for (std::uint32_t seed = 0; seed < 1'000; ++seed) {
        std::string real, simulated;
        const auto loop = asyncio::EpollEventLoop::create();
        loop->run_until_complete(play_in_time(seed, real));
        loop->close();
        asyncio::testing::simulate([&] { return play_in_time(seed, simulated); });
        ASSERT_EQ(real, simulated) << "seed " << seed;
        resets += real.find("reset") != real.npos;
    }
    EXPECT_GT(resets, 5) << "some scripts end by a reset";
}

}  // namespace

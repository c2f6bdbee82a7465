// examples/unix_rpc on a network that is made up: in many orders, and with a cancel of a caller at
// every point.
//
// ctest: includes a program
#include <gtest/gtest.h>
#include <asyncio/testing/gtest.hpp>
#include <asyncio/testing_network.hpp>

#define main unix_rpc_main
#include "../../../examples/unix_rpc.cpp"
#undef main

namespace {

using namespace asyncio::testing;

constexpr const char* kPath = "/tmp/unix_rpc.simulated";
constexpr asyncio::testing::RunOptions kNetwork{.network = true};

Coroutine<> two_callers() {
    auto server = co_await start_unix_server(serve, kPath);
    const std::vector<std::string> slow{"wait 30", "add 1 2 3"}, quick{"echo hello", "add 4"};
    const auto one = create_task(ask(kPath, slow), {.name = "slow"});
    const auto other = create_task(ask(kPath, quick), {.name = "quick"});
    static_cast<void>(co_await as_result(one));
    const auto answered = co_await as_result(other);
    server.close();
    server.abort_clients();
    co_await server.wait_closed();
    co_await advance(1s);  // what was asked for is done, for nobody
    answered.value();
}

// What they print is shown if a test fails.
class UnixRpc : public ::testing::Test {
  protected:
    UnixRpc() { ::testing::internal::CaptureStdout(); }
    ~UnixRpc() override {
        const std::string printed = ::testing::internal::GetCapturedStdout();
        if (HasFailure()) std::fputs(printed.c_str(), stderr);
    }
};

TEST_F(UnixRpc, IsFineInAnyOrder) {
    explore(two_callers, {.strategy = Random{}, .most = 200, .run = kNetwork});
    explore(two_callers, {.strategy = Delays{1}, .most = 200, .run = kNetwork});
}
TEST_F(UnixRpc, GetsOverACallerThatEndsAnywhere) {
    EXPECT_GT(cancel_everywhere(two_callers, {.task = "slow", .run = kNetwork}).points, 3u);
}

}  // namespace

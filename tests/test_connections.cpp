// create_connection and its kin, over loopback. CN-*.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "network.hpp"

namespace {

using namespace network;

std::shared_ptr<Recorder> recorder() { return std::make_shared<Recorder>(); }

// Sends back what it gets.
class Echo : public Protocol {
  public:
    void connection_made(Transport& transport) override { transport_ = transport; }
    void data_received(std::string_view data) override { transport_.write(data); }

  private:
    Transport transport_;
};
std::shared_ptr<Echo> echo() { return std::make_shared<Echo>(); }

int port_of(const Server& server) { return server.sockets().at(0).getsockname().port(); }

TEST(CreateConnection, GivesTransportAndProtocolAfterConnectionMade) {  // CN-01, PR-01
    run([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const Server server = co_await loop.create_server(echo, "127.0.0.1", 0);
        auto [transport, protocol] =
            co_await loop.create_connection(recorder, "127.0.0.1", port_of(server));
        static_assert(std::is_same_v<decltype(protocol), std::shared_ptr<Recorder>>);
        EXPECT_EQ(protocol->events, Lines{"made"});
        transport.write("hello");
        protocol->on_data = [&](std::string_view) { transport.close(); };
        co_await protocol->lost;
        EXPECT_EQ(protocol->received, "hello");
        server.close();
        co_await server.wait_closed();
    });
}

}  // namespace

// asyncio-echo-udp [endpoint|batch|protocol] PORT: echoes the datagrams it gets, one by one or all
// that are there with the awaitable endpoint, or with a protocol.
#include <asyncio.hpp>

#include <memory>
#include <string_view>

#include "echo.hpp"

using namespace asyncio;

namespace {

class Echo final : public DatagramProtocol {
  public:
    void connection_made(DatagramTransport& transport) override { transport_ = transport; }
    void datagram_received(std::string_view data, const SocketAddress& from) override {
        transport_.sendto(data, from);
    }

  private:
    DatagramTransport transport_;
};

Coroutine<> one_by_one(DatagramEndpoint endpoint) {
    for (;;) {
        const Datagram datagram = co_await endpoint.receive();
        co_await endpoint.send_to(datagram.data, datagram.address);
    }
}

Coroutine<> in_batches(DatagramEndpoint endpoint) {
    for (;;) {
        const auto datagrams = co_await endpoint.receive_many();
        co_await endpoint.send_many(datagrams);
    }
}

Coroutine<> serve(std::string_view kind, int port) {
    const DatagramOptions options = {.local_addr = {"127.0.0.1", port}};
    if (kind == "protocol") {
        auto make = [] { return std::make_shared<Echo>(); };
        auto made = co_await get_running_loop().create_datagram_endpoint(make, options);
        echo_bench::say_ready();
        co_await sleep(std::nullopt);
    }
    const auto endpoint = co_await open_datagram_endpoint(options);
    echo_bench::say_ready();
    if (kind == "batch") co_await in_batches(endpoint);
    co_await one_by_one(endpoint);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view kind = argc > 2 ? argv[1] : "endpoint";
    return run_main(serve(kind, echo_bench::port_of(argc, argv)));
}

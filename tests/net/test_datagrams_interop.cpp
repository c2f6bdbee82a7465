// Datagrams with a peer that is not ours: CPython's asyncio, on loopback. CN-06, TR-11, PR-07.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace {

using asyncio::Coroutine;
using asyncio::Datagram;
using asyncio::DatagramEndpoint;
using asyncio::DatagramTransport;
using asyncio::EventLoop;
using asyncio::SocketAddress;
using namespace std::chrono_literals;

// An echo server on a port of its own, which it prints. Ends when it is told to, or by itself.
constexpr std::string_view kEchoServer = R"(
import asyncio
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        if data == b"end":
            ended.set_result(None)
        else:
            self.transport.sendto(data[::-1], address)
async def main():
    global ended
    ended = asyncio.get_running_loop().create_future()
    made = await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    print(made[0].get_extra_info("sockname")[1], flush=True)
    await asyncio.wait_for(ended, 30)
    made[0].close()
asyncio.run(main())
)";

// Sends numbers to the port PORT and prints the sum of the lengths of what comes back.
constexpr std::string_view kClient = R"(
import asyncio
class Client(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = asyncio.Queue()
    def datagram_received(self, data, address):
        self.got.put_nowait(data)
async def main():
    made = await asyncio.get_running_loop().create_datagram_endpoint(
        Client, remote_addr=("127.0.0.1", PORT))
    total = 0
    for i in range(1, 51):  # older versions send no empty datagram
        made[0].sendto(b"x" * i)
        total += len(await asyncio.wait_for(made[1].got.get(), 30))
    made[0].sendto(b"end")
    print(total, flush=True)
    made[0].close()
asyncio.run(main())
)";

// A Python program that is under way.
class Python {
  public:
    explicit Python(std::string_view program)
        : output_(::popen(("python3 -c '" + std::string(program) + "'").c_str(), "re")) {
        EXPECT_NE(output_, nullptr);
    }
    Python(const Python&) = delete;
    Python& operator=(const Python&) = delete;
    ~Python() { EXPECT_EQ(end(), 0) << "the Python program failed"; }

    // The number that it prints next.
    int number() const {
        int n = -1;
        EXPECT_EQ(std::fscanf(output_, "%d", &n), 1);
        return n;
    }
    int end() {
        std::FILE* const output = std::exchange(output_, nullptr);
        return output ? ::pclose(output) : 0;
    }

  private:
    std::FILE* output_;
};

asyncio::DatagramOptions remote(int port) {
    asyncio::DatagramOptions options;
    options.remote_addr = {"127.0.0.1", port};
    return options;
}

class Client : public asyncio::DatagramProtocol {
  public:
    void datagram_received(std::string_view data, const SocketAddress&) override {
        got.put_nowait(std::string(data));
    }
    asyncio::Queue<std::string> got;
};

TEST(DatagramsInterop, AnEndpointAndAProtocolAreEchoedByPython) {  // CN-06, TR-11, PR-07
    const Python server(kEchoServer);
    const int port = server.number();
    const auto loop = asyncio::new_event_loop();
    loop->run_until_complete([&]() -> Coroutine<> {
        const DatagramEndpoint endpoint = co_await asyncio::open_datagram_endpoint(remote(port));
        for (int i = 0; i < 50; ++i) {
            co_await endpoint.send("number " + std::to_string(i));
            const Datagram got = co_await asyncio::wait_for(endpoint.receive(), 30s);
            const std::string text(got.data.rbegin(), got.data.rend());
            EXPECT_EQ(text, "number " + std::to_string(i));
            EXPECT_EQ(got.address.port(), port);
        }
        const auto factory = [] { return std::make_shared<Client>(); };
        const auto made = co_await loop->create_datagram_endpoint(factory, remote(port));
        made.first.sendto("abc");
        EXPECT_EQ(co_await asyncio::wait_for(made.second->got.get(), 30s), "cba");
        made.first.close();
        co_await endpoint.send("end");
    });
}

TEST(DatagramsInterop, APythonClientIsEchoedByAnEndpoint) {  // CN-06
    const auto loop = asyncio::new_event_loop();
    loop->run_until_complete([&]() -> Coroutine<> {
        asyncio::DatagramOptions options;
        options.local_addr = {"127.0.0.1", 0};
        const DatagramEndpoint server = co_await asyncio::open_datagram_endpoint(options);
        std::string program(kClient);
        program.replace(program.find("PORT"), 4, std::to_string(server.getsockname().port()));
        const Python client(program);
        for (;;) {
            const Datagram got = co_await asyncio::wait_for(server.receive(), 30s);
            if (got.data == "end") break;
            co_await server.send_to(got.data, got.address);
        }
        EXPECT_EQ(client.number(), 50 * 51 / 2);
    });
}

}  // namespace

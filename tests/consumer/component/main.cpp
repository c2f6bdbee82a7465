// A loop on a back end of one's own, with a component of one's own.
#include <asyncio.hpp>
#include <asyncio/component/backends.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "visits.hpp"

namespace {

using namespace asyncio::component;

struct Counts {
    int waits = 0;
    int accepted = 0;
    std::size_t received = 0;
};

// Counts what passes through it.
class CountingBackend final : public ForwardingBackend {
  public:
    CountingBackend(std::unique_ptr<Backend> real, Counts& counts)
        : ForwardingBackend(std::move(real)), counts_(counts) {}

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        ++counts_.waits;
        ForwardingBackend::wait(timeout, ready);
    }
    int accept(IoChannel& channel, asyncio::SocketAddress& from) noexcept override {
        const int fd = ForwardingBackend::accept(channel, from);
        if (fd >= 0) ++counts_.accepted;
        return fd;
    }
    Received receive(IoChannel& channel, std::size_t most) noexcept override {
        const Received got = ForwardingBackend::receive(channel, most);
        counts_.received += got.size;
        return got;
    }
    const char* class_name() const noexcept override { return "CountingEventLoop"; }

  private:
    Counts& counts_;
};

asyncio::Coroutine<> answer(asyncio::StreamReader reader, asyncio::StreamWriter writer) {
    visits::come();
    const std::string line = co_await reader.readline();
    writer.write(line + "42");
    co_await writer.drain();
    writer.close();
    co_await writer.wait_closed();
}

asyncio::Coroutine<int> program() {
    auto server = co_await asyncio::start_server(&answer, "127.0.0.1", 0);
    const int port = server.sockets().front().getsockname().port();
    auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", port);
    writer.write("hello\n");
    const std::string text = co_await reader.read();
    writer.close();
    co_await writer.wait_closed();
    server.close();
    co_await server.wait_closed();
    co_return text == "hello\n42" ? visits::come() : 0;
}

}  // namespace

int main() {
    Counts counts;
    int answered = 0;
    bool doors = false;
    {
        const auto loop =
            new_event_loop(std::make_unique<CountingBackend>(make_epoll_backend(), counts));
        if (loop->repr().find("CountingEventLoop") == std::string::npos) return 1;
        doors = visits::doors(*loop);
        answered = loop->run_until_complete(program());
        loop->close();
    }
    std::printf("%d waits, %d accepted, %zu bytes, %d visits, %d closed\n", counts.waits > 0,
                counts.accepted, counts.received, answered, visits::closed());
    const bool right = counts.waits > 0 && counts.accepted == 1 && counts.received == 14 &&
                       answered == 2 && visits::closed() == 1 && doors;
    try {
        new_event_loop(nullptr);
    } catch (const asyncio::ValueError&) {
        std::printf("%s ValueError\n", right ? "42" : "wrong");
    }
    return right ? 0 : 1;
}

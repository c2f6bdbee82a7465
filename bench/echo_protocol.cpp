// asyncio-echo-protocol PORT: echoes what it gets, with a protocol.
#include <asyncio.hpp>

#include <memory>
#include <string_view>

#include "echo.hpp"

using namespace asyncio;

namespace {

class Echo final : public Protocol {
  public:
    void connection_made(Transport& transport) override { transport_ = transport; }
    void data_received(std::string_view data) override { transport_.write(data); }
    void pause_writing() override { transport_.pause_reading(); }
    void resume_writing() override { transport_.resume_reading(); }
    void connection_lost(std::exception_ptr) override { transport_ = Transport(); }

  private:
    Transport transport_;
};

Coroutine<> serve(int port) {
    auto make = [] { return std::make_shared<Echo>(); };
    auto server =
        co_await get_running_loop().create_server(make, "127.0.0.1", port, {.backlog = 4096});
    echo_bench::say_ready();
    co_await server.serve_forever();
}

}  // namespace

int main(int argc, char** argv) { return run_main(serve(echo_bench::port_of(argc, argv))); }

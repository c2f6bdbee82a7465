// asyncio-echo-tls PEM streams|protocol PORT: echoes what it gets over TLS. PEM: certificate and
// key.
#include <asyncio.hpp>

#include <cstring>
#include <memory>
#include <string>
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

Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    try {
        for (;;) {
            const std::string data = co_await reader.read(64 * 1024);
            if (data.empty()) break;
            writer.write(data);
            co_await writer.drain();
        }
    } catch (const OSError&) {
        // A client that goes away in the middle, or breaks TLS, is no news here.
    }
    writer.close();
}

Coroutine<> serve(const char* pem, bool with_streams, int port) {
    const ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    context.load_cert_chain(pem);
    ServerOptions options;
    options.backlog = 4096;
    options.ssl = &context;
    auto make = [] { return std::make_shared<Echo>(); };
    Server server;
    if (with_streams) {
        server = co_await start_server(echo, "127.0.0.1", port, options);
    } else {
        server = co_await get_running_loop().create_server(make, "127.0.0.1", port, options);
    }
    echo_bench::say_ready();
    co_await server.serve_forever();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s PEM streams|protocol PORT\n", argv[0]);
        return 2;
    }
    const bool with_streams = std::strcmp(argv[2], "streams") == 0;
    return run_main(serve(argv[1], with_streams, echo_bench::port_of(argc, argv)));
}

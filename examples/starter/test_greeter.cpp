// Tests without waiting: on virtual time a second passes at once. A real socket is tested on real
// time.
#include <stdexcept>

#include "greeter.hpp"

void expect(bool right, const char* what) {
    if (!right) throw std::runtime_error(what);
}

asyncio::Coroutine<> greets_after_a_second() {
    auto& loop = asyncio::get_running_loop();
    const auto begin = loop.time();
    expect(co_await greeting("Ada") == "hello, Ada", "a greeting has the name");
    expect(co_await greeting("") == "who are you?", "nobody is asked who they are");
    expect(loop.time() - begin == 2s, "each greeting takes a second");
}

asyncio::Coroutine<> serves_a_client() {
    auto server = co_await asyncio::start_server(serve_client, "127.0.0.1", 0);
    const int port = server.sockets()[0].getsockname().port();
    auto [reader, writer] = co_await asyncio::open_connection("127.0.0.1", port);
    writer.write("Ada\n");
    expect(co_await reader.readline() == "hello, Ada\n", "a client is greeted");
    writer.close();
    co_await writer.wait_closed();
}

int main() {
    const int alone = asyncio::run_main(greets_after_a_second(),
                                        {.loop_factory = &asyncio::VirtualTimeEventLoop::create});
    const int served = asyncio::run_main(serves_a_client());
    return alone != 0 ? alone : served;
}

// starter [PORT]: serves greetings on 127.0.0.1, port 8888, until Ctrl-C. Try it with `nc 127.0.0.1
// 8888`.
#include <cstdlib>
#include <iostream>

#include "greeter.hpp"

asyncio::Coroutine<> serve(int port) {
    auto server = co_await asyncio::start_server(serve_client, "127.0.0.1", port);
    std::cout << "serving on " << server.sockets()[0].getsockname() << std::endl;
    co_await asyncio::sleep(std::nullopt);  // until Ctrl-C cancels it
}

int main(int argc, char** argv) {
    return asyncio::run_main(serve(argc > 1 ? std::atoi(argv[1]) : 8888));
}

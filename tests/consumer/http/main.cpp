// Uses the HTTP client, without a network: an error of the system's and one of the library's.
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <cstdio>

namespace http = asyncio::http;

asyncio::Coroutine<> program() {
    const auto refused = co_await asyncio::as_result(http::get("http://127.0.0.1:1/"));
    const bool connected = !refused.holds<http::ConnectError>();
    try {
        co_await http::get("file:///etc/passwd");
    } catch (const asyncio::ValueError&) {
        std::printf("%d ValueError\n", connected ? 0 : 42);
    }
}

int main() { return asyncio::run_main(program()); }

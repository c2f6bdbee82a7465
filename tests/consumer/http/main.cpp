// Uses the HTTP client, without a network: an error of the system's and two of the library's.
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <cstdio>

namespace http = asyncio::http;

asyncio::Coroutine<> program() {
    const auto refused = co_await asyncio::as_result(http::get("http://127.0.0.1:1/"));
    const auto invalid = co_await asyncio::as_result(http::get("file:///etc/passwd"));
    const bool right =
        refused.holds<http::ConnectError>() && invalid.holds<http::InvalidURLError>();
    try {
        co_await http::get("http://127.0.0.1:1/", {.max_redirects = -1});
    } catch (const asyncio::ValueError&) {
        std::printf("%d ValueError\n", right ? 42 : 0);
    }
}

int main() { return asyncio::run_main(program()); }

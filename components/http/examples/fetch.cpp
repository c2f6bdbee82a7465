// Prints what is at a URL: fetch URL
//
//   fetch https://example.org/ >page.html
//
// The status and the headers go to standard error. An answer of 400 and above is an error.
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <iostream>
#include <string>

#include "command_line.hpp"

namespace {

asyncio::Coroutine<> fetch(std::string url) {
    const auto response = co_await asyncio::http::get(url);
    std::cerr << response.status << ' ' << command::printable(response.url) << '\n';
    for (const auto& [name, value] : response.headers) {
        std::cerr << command::printable(name) << ": " << command::printable(value) << '\n';
    }
    response.raise_for_status();
    command::say(response.text());
}

}  // namespace

int main(int argc, char** argv) {
    return command::run("fetch URL", argc, argv, [](const command::Arguments& words) {
        words.expect(1, 1);
        return fetch(words[0]);
    });
}

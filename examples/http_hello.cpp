// A small HTTP/1.1 server with one page: http_hello [PORT [PATIENCE]]; Ctrl-C ends it. It waits for
// no client longer than PATIENCE seconds (default: 30). Try `curl http://127.0.0.1:8080/`.
#include <asyncio.hpp>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "command_line.hpp"

using asyncio::Coroutine, asyncio::StreamReader, asyncio::StreamWriter;

namespace {

constexpr std::size_t kLongestHead = 16 * 1024;  // bytes of a request's line and headers

std::string response(std::string_view status, std::string_view body, bool close) {
    return "HTTP/1.1 " + std::string(status) +
           "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
           (close ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n") + std::string(body);
}

const std::string kHello = response("200 OK", "Hello, world!", false);
const std::string kNotFound = response("404 Not Found", "There is only /\n", false);

// Takes what is before `end` off the text; all of it if there is none.
std::string_view take_until(std::string_view& text, std::string_view end) {
    const std::string_view taken = text.substr(0, text.find(end));
    text.remove_prefix(std::min(text.size(), taken.size() + end.size()));
    return taken;
}

bool same(std::string_view text, std::string_view lower) {
    return std::ranges::equal(text, lower, {}, [](unsigned char c) { return std::tolower(c); });
}

struct Request {
    std::string_view method, target;
    bool close = false;  // the client wants no other one on this connection
};

// Reads "GET / HTTP/1.1", headers, and an empty line. Nothing if that is not what it is.
std::optional<Request> parsed(std::string_view head) {
    std::string_view line = take_until(head, "\r\n");
    Request request;
    request.method = take_until(line, " ");
    request.target = take_until(line, " ");
    if (request.method.empty() || !request.target.starts_with('/')) return std::nullopt;
    if (line != "HTTP/1.1" && line != "HTTP/1.0") return std::nullopt;
    const bool old = line == "HTTP/1.0";
    request.close = old;
    int hosts = 0;
    while (!(line = take_until(head, "\r\n")).empty()) {
        // Half a line's end, or a space in a name, can hide a header from a proxy.
        if (line.find(':') == line.npos || line.find('\n') != line.npos) return std::nullopt;
        std::string_view value = line;
        const std::string_view name = take_until(value, ":");
        if (name.find_first_of(" \t") != name.npos) return std::nullopt;
        value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
        if (same(name, "host")) ++hosts;
        if (same(name, "connection") && same(value, "close")) request.close = true;
        // What comes next would be a body, and must not be taken for a request.
        if (same(name, "content-length") || same(name, "transfer-encoding")) return std::nullopt;
    }
    return hosts == 1 || (hosts == 0 && old) ? std::optional(request) : std::nullopt;
}

Coroutine<> answer_requests(StreamReader reader, StreamWriter writer, asyncio::Delay patience) {
    for (;;) {
        const auto head = co_await asyncio::wait_for(reader.readuntil("\r\n\r\n"), patience);
        const auto request = parsed(head);
        if (!request) break;
        const bool no_body = request->method == "HEAD";
        const bool found = (no_body || request->method == "GET") && request->target == "/";
        const std::string_view answer = found ? kHello : kNotFound;
        writer.write(no_body ? answer.substr(0, answer.find("\r\n\r\n") + 4) : answer);
        co_await asyncio::wait_for(writer.drain(), patience);
        if (request->close) co_return;
    }
    writer.write(response("400 Bad Request", "That is no request\n", true));
}

// One connection: however it ends, the others go on.
Coroutine<> serve_client(StreamReader reader, StreamWriter writer, asyncio::Delay patience) {
    try {
        co_await answer_requests(reader, writer, patience);
    } catch (const asyncio::LimitOverrunError&) {
        writer.write(response("431 Request Header Fields Too Large", "", true));
    } catch (const asyncio::TimeoutError&) {
        writer.write(response("408 Request Timeout", "", true));
    } catch (const asyncio::IncompleteReadError&) {  // it has closed its end
    } catch (const asyncio::OSError&) {              // and this one did so without care
    }
    writer.close();
    auto closed = asyncio::wait_for(writer.wait_closed(), patience);
    const auto outcome = co_await asyncio::as_result(closed);
    if (!outcome.has_value()) writer.transport().abort();  // it does not take our last words
}

Coroutine<> serve(int port, std::chrono::duration<double> patience) {
    const auto handler = [patience](StreamReader reader, StreamWriter writer) {
        return serve_client(std::move(reader), std::move(writer), patience);
    };
    auto server = co_await asyncio::start_server(handler, "127.0.0.1", port,
                                                 {.backlog = 1024, .limit = kLongestHead});
    command::say("serving on ", server.sockets()[0].getsockname(), "\n# ready\n");
    co_await asyncio::sleep(std::nullopt);  // until Ctrl-C; no client is waited for then
}

}  // namespace

int main(int argc, char** argv) {
    const char* usage = "http_hello [PORT [PATIENCE]]   (seconds)";
    return command::run(usage, argc, argv, [](const command::Arguments& words) {
        words.expect(0, 2);
        const double patience = words.decimal(1, "PATIENCE", 30);
        return serve(words.port(0, 8080), std::chrono::duration<double>(patience));
    });
}

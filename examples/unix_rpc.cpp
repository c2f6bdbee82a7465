// Remote calls over a unix socket, a line each way. Requests of one connection are answered as they
// finish, so each carries a number.
//
//     unix_rpc server PATH
//     unix_rpc call PATH METHOD [ARGUMENT...]
//     unix_rpc demo                                   both in one process
#include <asyncio.hpp>

#include <unistd.h>

#include <charconv>
#include <sstream>
#include <string>
#include <vector>

#include "command_line.hpp"

using namespace asyncio;
using namespace std::chrono_literals;

using Words = std::vector<std::string>;

Words words(const std::string& line) {
    std::istringstream in(line);
    Words all;
    for (std::string word; in >> word;) all.push_back(word);
    return all;
}

long number_of(const std::string& text) {
    long value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) return value;
    throw ValueError("'" + text + "' is no number");
}

const std::string& argument_of(const Words& request) {
    if (request.size() < 2) throw ValueError("'" + request[0] + "' wants an argument");
    return request[1];
}

// The methods. An error travels back as text.
Coroutine<std::string> call(Words request) {
    if (request.empty()) throw ValueError("a method is needed");
    const std::string& method = request[0];
    if (method == "add") {
        long sum = 0;
        for (std::size_t i = 1; i < request.size(); ++i) {
            if (__builtin_add_overflow(sum, number_of(request[i]), &sum)) {
                throw ValueError("the sum is too large");
            }
        }
        co_return std::to_string(sum);
    }
    if (method == "echo") co_return argument_of(request);
    if (method == "wait") {
        co_await sleep(std::chrono::milliseconds(number_of(argument_of(request))));
        co_return "waited " + request[1] + " ms";
    }
    throw ValueError("no method is called '" + method + "'");
}

// Raises what `outcome` holds, but for the end of a caller that does not wait for its answers.
// True: it holds no error.
template <class T>
bool unless_gone(const Result<T>& outcome) {
    if (outcome.has_value()) return true;
    if (!outcome.template holds<ConnectionError>()) std::rethrow_exception(outcome.error());
    return false;
}

Coroutine<> answer(std::string number, Words request, StreamWriter writer) {
    const auto result = co_await as_result(call(std::move(request)));
    try {
        writer.write(number + " ok " + result.value() + "\n");
    } catch (const std::exception& error) {
        writer.write(number + " error " + error.what() + "\n");
    }
    unless_gone(co_await as_result(writer.drain()));
}

Coroutine<> answer_all(StreamReader& reader, StreamWriter& writer) {
    co_await with(TaskGroup(), [&](TaskGroup& group) -> Coroutine<> {
        for (;;) {
            const auto line = co_await as_result(reader.readline());
            if (!unless_gone(line) || line.value().empty()) co_return;
            Words request = words(line.value());
            if (request.empty()) continue;
            std::string number = request.front();
            request.erase(request.begin());
            group.create_task(answer(std::move(number), std::move(request), writer));
        }
    });
}

Coroutine<> serve(StreamReader reader, StreamWriter writer) {
    co_await answer_all(reader, writer);
    writer.close();
    unless_gone(co_await as_result(writer.wait_closed()));
}

// Calls many methods over one connection; answers are told apart by their numbers.
Coroutine<> ask(std::string path, std::vector<std::string> requests) {
    auto [reader, writer] = co_await open_unix_connection(path);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        writer.write(std::to_string(i) + " " + requests[i] + "\n");
    }
    co_await writer.drain();
    bool failed = false;
    for (std::size_t left = requests.size(); left > 0; --left) {
        const auto line = co_await wait_for(reader.readline(), 10s);
        if (line.empty()) throw ConnectionError("the server has gone");
        std::istringstream in(line);
        std::size_t number = 0;
        std::string status, text;
        in >> number >> status >> std::ws;
        std::getline(in, text);
        if (number >= requests.size()) throw ConnectionError("an answer to no question");
        command::say(command::printable(requests[number] + " -> " + status + " " + text), "\n");
        failed |= status != "ok";
    }
    writer.close();
    co_await writer.wait_closed();
    if (failed) throw SystemExit(1);
}

Coroutine<> run_server(std::string path) {
    auto server = co_await start_unix_server(serve, path);
    command::say("listening on ", command::printable(path), "\n");
    co_await sleep(std::nullopt);  // until Ctrl-C; no client is waited for then
}

Coroutine<> demo() {
    const std::string path = "/tmp/unix_rpc." + std::to_string(::getpid());
    auto server = co_await start_unix_server(serve, path);
    const std::vector<std::string> requests{"wait 30", "add 1 2 3", "echo hello", "sing"};
    co_await ask(path, requests);
    server.close();
    co_await server.wait_closed();
}

int main(int argc, char** argv) {
    const char* usage = "unix_rpc server PATH | call PATH METHOD [ARGUMENT...] | demo";
    return command::run(usage, argc, argv, [](const command::Arguments& words) {
        words.expect(1, 1000);
        if (words[0] == "demo") {
            words.expect(1, 1);
            return demo();
        }
        if (words[0] == "server") {
            words.expect(2, 2);
            return run_server(words[1]);
        }
        if (words[0] != "call") throw command::UsageError("'" + words[0] + "' is no command");
        words.expect(3, 1000);
        std::string request;
        for (std::size_t i = 2; i < words.size(); ++i) request += words[i] + " ";
        // A line is a request, so that an argument cannot bring another one with it.
        if (request.find('\n') != request.npos)
            throw command::UsageError("an argument has a line's end");
        return ask(words[1], {request});
    });
}

// Remote calls over a unix socket, a line each way. Requests of one connection are answered as they
// finish, so each carries a number.
//
//     unix_rpc server PATH
//     unix_rpc call PATH METHOD [ARGUMENT...]
//     unix_rpc demo                                   both in one process
#include <asyncio.hpp>

#include <unistd.h>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

using namespace asyncio;
using namespace std::chrono_literals;

using Words = std::vector<std::string>;

Words words(const std::string& line) {
    std::istringstream in(line);
    Words all;
    for (std::string word; in >> word;) all.push_back(word);
    return all;
}

// The methods. An error travels back as text.
Coroutine<std::string> call(Words request) {
    if (request.empty()) throw ValueError("a method is needed");
    const std::string& method = request[0];
    if (method == "add") {
        long sum = 0;
        for (std::size_t i = 1; i < request.size(); ++i) sum += std::stol(request[i]);
        co_return std::to_string(sum);
    }
    if (method == "echo") co_return request.at(1);
    if (method == "wait") {
        co_await sleep(std::chrono::milliseconds(std::stol(request.at(1))));
        co_return "waited " + request[1] + " ms";
    }
    throw ValueError("no method is called '" + method + "'");
}

Coroutine<> answer(std::string number, Words request, StreamWriter writer) {
    const auto result = co_await as_result(call(std::move(request)));
    try {
        writer.write(number + " ok " + result.value() + "\n");
    } catch (const std::exception& error) {
        writer.write(number + " error " + error.what() + "\n");
    }
    co_await writer.drain();
}

Coroutine<> serve(StreamReader reader, StreamWriter writer) {
    co_await with(TaskGroup(), [&](TaskGroup& group) -> Coroutine<> {
        while (auto line = co_await reader.next()) {
            Words request = words(*line);
            if (request.empty()) continue;
            std::string number = request.front();
            request.erase(request.begin());
            group.create_task(answer(std::move(number), std::move(request), writer));
        }
    });
    writer.close();
    co_await writer.wait_closed();
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
        std::cout << requests.at(number) << " -> " << status << " " << text << "\n";
        failed |= status != "ok";
    }
    writer.close();
    co_await writer.wait_closed();
    if (failed) throw SystemExit(1);
}

Coroutine<> run_server(std::string path) {
    auto server = co_await start_unix_server(serve, path);
    std::cout << "listening on " << path << std::endl;
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
    const Words arguments(argv + 1, argv + argc);
    if (arguments == Words{"demo"}) return run_main(demo());
    if (arguments.size() == 2 && arguments[0] == "server")
        return run_main(run_server(arguments[1]));
    if (arguments.size() > 2 && arguments[0] == "call") {
        std::string request;
        for (std::size_t i = 2; i < arguments.size(); ++i) request += arguments[i] + " ";
        return run_main(ask(arguments[1], {request}));
    }
    std::cerr << "usage: unix_rpc server PATH | call PATH METHOD [ARGUMENT...] | demo\n";
    return 2;
}

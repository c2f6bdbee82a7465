// An echo server and its client over TLS.
//
//     tls_echo server CERTIFICATE KEY [PORT]        PEM files; the port is chosen if none is given
//     tls_echo client AUTHORITY HOST PORT [TEXT]    AUTHORITY: PEM file of who signed the server's
//
// A certificate to try it with:
//     openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost
//         -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
// which is its own authority: tls_echo client cert.pem localhost PORT
#include <asyncio.hpp>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

using namespace asyncio;
using namespace std::chrono_literals;

Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    const auto peer = writer.get_extra_info<SocketAddress>("peername");
    const auto tls = writer.get_extra_info<ssl::SSLObject>("ssl_object");
    if (peer && tls) std::cout << *peer << " speaks " << tls->version() << std::endl;
    while (true) {
        const auto data = co_await wait_for(reader.read(64 * 1024), 60s);
        if (data.empty()) break;
        writer.write(data);
        co_await writer.drain();
    }
    writer.close();
    co_await writer.wait_closed();
}

Coroutine<> serve(std::string certificate, std::string key, int port) {
    auto context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    context.load_cert_chain(certificate, key);
    auto server = co_await start_server(echo, "", port, {.ssl = &context});
    for (const auto& socket : server.sockets()) {
        std::cout << "listening on " << socket.getsockname() << std::endl;
    }
    co_await sleep(std::nullopt);  // until Ctrl-C; no client is waited for then
}

// The server must prove, by a chain that ends at `authority`, that it is `host`.
Coroutine<> talk(std::string authority, std::string host, int port, std::string text) {
    auto context = ssl::create_default_context(ssl::Purpose::SERVER_AUTH, {.cafile = authority});
    auto [reader, writer] = co_await open_connection(host, port, {.ssl = &context});
    if (const auto tls = writer.get_extra_info<ssl::SSLObject>("ssl_object")) {
        const auto cipher = tls->cipher();
        std::cout << tls->version() << (cipher ? ", " + cipher->name : "") << "\n";
    }
    writer.write(text + "\n");
    co_await writer.drain();
    std::cout << co_await wait_for(reader.readline(), 10s);
    writer.close();
    co_await writer.wait_closed();
}

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() >= 3 && words.size() <= 4 && words[0] == "server") {
        const int port = words.size() > 3 ? std::atoi(words[3].c_str()) : 0;
        return run_main(serve(words[1], words[2], port));
    }
    if (words.size() >= 4 && words.size() <= 5 && words[0] == "client") {
        const std::string text = words.size() > 4 ? words[4] : "Hello over TLS";
        return run_main(talk(words[1], words[2], std::atoi(words[3].c_str()), text));
    }
    std::fprintf(stderr,
                 "usage: tls_echo server CERTIFICATE KEY [PORT]\n"
                 "       tls_echo client AUTHORITY HOST PORT [TEXT]\n");
    return 2;
}

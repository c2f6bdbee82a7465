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

#include <string>

#include "command_line.hpp"

using namespace asyncio;
using namespace std::chrono_literals;

Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    const auto peer = writer.get_extra_info<SocketAddress>("peername");
    const auto tls = writer.get_extra_info<ssl::SSLObject>("ssl_object");
    if (peer && tls) command::say(*peer, " speaks ", tls->version(), "\n");
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
        command::say("listening on ", socket.getsockname(), "\n");
    }
    co_await sleep(std::nullopt);  // until Ctrl-C; no client is waited for then
}

// The server must prove, by a chain that ends at `authority`, that it is `host`.
Coroutine<> talk(std::string authority, std::string host, int port, std::string text) {
    auto context = ssl::create_default_context(ssl::Purpose::SERVER_AUTH, {.cafile = authority});
    auto [reader, writer] = co_await open_connection(host, port, {.ssl = &context});
    if (const auto tls = writer.get_extra_info<ssl::SSLObject>("ssl_object")) {
        const auto cipher = tls->cipher();
        command::say(tls->version(), cipher ? ", " + cipher->name : "", "\n");
    }
    writer.write(text + "\n");
    co_await writer.drain();
    std::string line = co_await wait_for(reader.readline(), 10s);
    if (!line.empty() && line.back() == '\n') line.pop_back();
    command::say(command::printable(line), "\n");
    writer.close();
    co_await writer.wait_closed();
}

int main(int argc, char** argv) {
    const char* usage =
        "tls_echo server CERTIFICATE KEY [PORT]\n"
        "       tls_echo client AUTHORITY HOST PORT [TEXT]";
    return command::run(usage, argc, argv, [](const command::Arguments& words) {
        words.expect(1, 5);
        if (words[0] == "server") {
            words.expect(3, 4);
            return serve(words[1], words[2], words.port(3, 0));
        }
        if (words[0] != "client") throw command::UsageError("'" + words[0] + "' is no command");
        words.expect(4, 5);
        const int port = words.number(3, "PORT", 1, 65535, 0);
        return talk(words[1], words[2], port, words.size() > 4 ? words[4] : "Hello over TLS");
    });
}

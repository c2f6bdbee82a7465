// TLS with programs that are not ours, on loopback: the openssl command, and CPython's asyncio.
// Without them these tests are skipped. TL-01 to TL-06.
#include <asyncio.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "support.hpp"
#include "tls_support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::TestAuthority;
using support::TestCertificate;

const TestAuthority& authority() {
    static const TestAuthority made;
    return made;
}

ssl::SSLContext server_context() {
    ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    context.load_cert_chain(authority().server.file());
    return context;
}
ssl::SSLContext client_context() {
    return ssl::create_default_context(ssl::Purpose::SERVER_AUTH,
                                       {.cafile = authority().ca.file()});
}

bool succeeds(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}
bool have_openssl() {
    static const bool have = succeeds("openssl version | grep '^OpenSSL 3'");
    return have;
}
// With StreamWriter.start_tls().
bool have_python() {
    static const bool have =
        succeeds("python3 -c 'import asyncio, ssl, sys; sys.exit(sys.version_info < (3, 11))'");
    return have;
}

std::string read_file(const std::string& name) {
    std::ifstream in(name);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

// A program that runs meanwhile, at most 20 s, with its output in a file.
class Peer {
  public:
    explicit Peer(const std::string& command) {
        static int count = 0;
        output_ = authority().folder / ("output" + std::to_string(++count));
        // In a group, so that all of a pipe has one output.
        const std::string whole = "{ " + command + "; } >" + output_ + " 2>&1";
        auto runs = [whole] { return std::system(whole.c_str()); };
        status_ = get_running_loop().run_in_executor(nullptr, runs);
    }
    // Waits for its end; returns what it printed.
    Coroutine<std::string> ended() {
        last_status = co_await status_;
        co_return read_file(output_);
    }
    // Waits until it has printed "MARK<number>".
    Coroutine<int> port_after(std::string mark) {
        for (int i = 0; i < 1500; ++i) {
            const std::string text = read_file(output_);
            const std::size_t at = text.find(mark);
            const std::size_t end = text.find('\n', at);
            if (at != std::string::npos && end != std::string::npos) {
                co_return std::atoi(text.c_str() + at + mark.size());
            }
            co_await sleep(10ms);
        }
        throw RuntimeError("the peer does not come up: " + read_file(output_));
    }
    int last_status = -1;

  private:
    std::string output_;
    Future<int> status_{nullptr};
};

void run_peers(Coroutine<> main) { run(wait_for(std::move(main), 40s)); }

// Answers one line and closes.
Coroutine<> answer_line(StreamReader reader, StreamWriter writer) {
    const std::string line = co_await reader.readline();
    writer.write("you said " + line);
    co_await writer.drain();
    writer.close();
    (void)co_await as_result(writer.wait_closed());
}

// ---- openssl ------------------------------------------------------------------------------------

std::string s_client(int port, const std::string& options) {
    return "printf 'hello\\n' | timeout 20 openssl s_client -connect 127.0.0.1:" +
           std::to_string(port) + " -CAfile " + authority().ca.file() +
           " -verify_return_error -verify_hostname localhost -servername localhost -ign_eof " +
           options;
}

TEST(OpensslPeer, ClientTalksToOurServer) {  // TL-02 TL-03
    if (!have_openssl()) GTEST_SKIP() << "there is no openssl 3 command";
    run_peers([]() -> Coroutine<> {
        const ssl::SSLContext context = server_context();
        context.set_alpn_protocols({"h2"});
        ServerOptions options;
        options.ssl = &context;
        Server server = co_await start_server(answer_line, "127.0.0.1", 0, options);
        const int port = server.sockets().at(0).getsockname().port();
        for (const std::string version : {"-tls1_2", "-tls1_3"}) {
            Peer peer(s_client(port, version + " -alpn h2"));
            const std::string printed = co_await peer.ended();
            EXPECT_EQ(peer.last_status, 0) << printed;
            EXPECT_NE(printed.find("you said hello"), std::string::npos) << printed;
            EXPECT_NE(printed.find("Verify return code: 0 (ok)"), std::string::npos) << printed;
            EXPECT_NE(printed.find("ALPN protocol: h2"), std::string::npos) << printed;
            // What s_client says of our close_notify.
            EXPECT_NE(printed.find("closed"), std::string::npos) << printed;
            EXPECT_EQ(printed.find("unexpected eof"), std::string::npos) << printed;
        }
        server.close();
        co_await server.wait_closed();
    }());
}

TEST(OpensslPeer, ClientResumesASessionOfOurServer) {
    if (!have_openssl()) GTEST_SKIP() << "there is no openssl 3 command";
    run_peers([]() -> Coroutine<> {
        const ssl::SSLContext context = server_context();
        ServerOptions options;
        options.ssl = &context;
        Server server = co_await start_server(answer_line, "127.0.0.1", 0, options);
        const int port = server.sockets().at(0).getsockname().port();
        for (const std::string version : {"-tls1_2", "-tls1_3"}) {
            const std::string file = authority().folder / ("session" + version);
            Peer first(s_client(port, version + " -sess_out " + file));
            const std::string before = co_await first.ended();
            EXPECT_NE(before.find("New, TLSv1"), std::string::npos) << before;
            Peer second(s_client(port, version + " -sess_in " + file));
            const std::string after = co_await second.ended();
            EXPECT_NE(after.find("Reused, TLSv1"), std::string::npos) << after;
            EXPECT_NE(after.find("you said hello"), std::string::npos) << after;
        }
        server.close();
        co_await server.wait_closed();
    }());
}

TEST(OpensslPeer, ClientThatRefusesOurCertificateIsOneConnectionsError) {
    if (!have_openssl()) GTEST_SKIP() << "there is no openssl 3 command";
    run_peers([]() -> Coroutine<> {
        const ssl::SSLContext context = server_context();
        ServerOptions options;
        options.ssl = &context;
        Server server = co_await start_server(answer_line, "127.0.0.1", 0, options);
        const int port = server.sockets().at(0).getsockname().port();
        Peer bad(s_client(port, "-verify_hostname other.example"));
        const std::string printed = co_await bad.ended();
        EXPECT_NE(bad.last_status, 0) << printed;
        Peer plain(
            "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 20 openssl s_client -connect "
            "127.0.0.1:" +
            std::to_string(port) + " -no_tls1_3 -no_tls1_2 -no_ssl3");
        co_await plain.ended();
        Peer good(s_client(port, ""));
        const std::string text = co_await good.ended();
        EXPECT_NE(text.find("you said hello"), std::string::npos) << text;
        server.close();
        co_await server.wait_closed();
    }());
}

std::string s_server(const std::string& options) {
    return "timeout 20 openssl s_server -accept 127.0.0.1:0 -cert " + authority().server.file() +
           " -key " + authority().server.file() + " -rev " + options;
}

TEST(OpensslPeer, OurClientTalksToItsServerAndResumes) {  // TL-02 TL-03 TL-06
    if (!have_openssl()) GTEST_SKIP() << "there is no openssl 3 command";
    run_peers([]() -> Coroutine<> {
        for (const std::string version : {"-tls1_2", "-tls1_3"}) {
            Peer peer(s_server("-naccept 2 " + version));
            const int port = co_await peer.port_after("ACCEPT 127.0.0.1:");
            const ssl::SSLContext context = client_context();
            ConnectionOptions options;
            options.ssl = &context;
            options.server_hostname = "localhost";
            for (const bool again : {false, true}) {
                auto pair = co_await open_connection("127.0.0.1", port, options);
                auto& [reader, writer] = pair;
                writer.write("stressed\n");
                const std::string line = co_await reader.readline();
                EXPECT_EQ(line, "desserts\n");
                const auto object = writer.get_extra_info<ssl::SSLObject>("ssl_object");
                EXPECT_EQ(object->version(), version == "-tls1_2" ? "TLSv1.2" : "TLSv1.3");
                EXPECT_EQ(object->session_reused(), again);
                writer.close();
                (void)co_await as_result(writer.wait_closed());
            }
            co_await peer.ended();
        }
    }());
}

TEST(OpensslPeer, OurClientRefusesItsServerAndSaysWhy) {
    if (!have_openssl()) GTEST_SKIP() << "there is no openssl 3 command";
    run_peers([]() -> Coroutine<> {
        Peer peer(s_server("-naccept 2"));
        const int port = co_await peer.port_after("ACCEPT 127.0.0.1:");
        const ssl::SSLContext context = client_context();
        ConnectionOptions options;
        options.ssl = &context;
        options.server_hostname = "other.example";
        const auto wrong_host = co_await as_result(open_connection("127.0.0.1", port, options));
        EXPECT_NE(support::error_text<SSLCertVerificationError>(wrong_host)
                      .find("Hostname mismatch, certificate is not valid for 'other.example'."),
                  std::string::npos);
        options.ssl = &ssl::default_context();  // which does not know the authority
        options.server_hostname = "localhost";
        const auto unknown = co_await as_result(open_connection("127.0.0.1", port, options));
        EXPECT_NE(support::error_text<SSLCertVerificationError>(unknown).find(
                      "unable to get local issuer certificate"),
                  std::string::npos);
        co_await peer.ended();
    }());
}

TEST(OpensslPeer, ItsServerAsksForOurCertificate) {
    if (!have_openssl()) GTEST_SKIP() << "there is no openssl 3 command";
    const TestCertificate own = authority().make("carol", {.name = "carol", .usage = "clientAuth"});
    run_peers([](std::string file) -> Coroutine<> {
        Peer peer(
            s_server("-naccept 1 -verify_return_error -Verify 3 -CAfile " + authority().ca.file()));
        const int port = co_await peer.port_after("ACCEPT 127.0.0.1:");
        const ssl::SSLContext context = client_context();
        context.load_cert_chain(file);
        ConnectionOptions options;
        options.ssl = &context;
        auto pair = co_await open_connection("127.0.0.1", port, options);  // its IP name matches
        pair.second.write("abc\n");
        const std::string line = co_await pair.first.readline();
        EXPECT_EQ(line, "cba\n");
        pair.second.close();
        (void)co_await as_result(pair.second.wait_closed());
        const std::string printed = co_await peer.ended();
        EXPECT_NE(printed.find("CN = carol"), std::string::npos) << printed;
    }(own.file()));
}

// ---- CPython ------------------------------------------------------------------------------------

std::string python(const std::string& name, const std::string& program,
                   const std::string& arguments) {
    const std::string file = authority().folder / (name + ".py");
    std::ofstream(file) << program;
    return "timeout 20 python3 -u " + file + " " + authority().ca.file() + " " +
           authority().server.file() + " " + arguments;
}

const char* const kPythonClient = R"(
import asyncio, ssl, sys

async def main():
    context = ssl.create_default_context(cafile=sys.argv[1])
    context.set_alpn_protocols(['http/1.1'])
    reader, writer = await asyncio.open_connection(
        '127.0.0.1', int(sys.argv[3]), ssl=context, server_hostname='localhost')
    payload = bytes(range(256)) * 8192
    async def send():
        writer.write(payload)
        await writer.drain()
    sending = asyncio.ensure_future(send())
    assert await reader.readexactly(len(payload)) == payload
    await sending
    print('alpn', writer.get_extra_info('ssl_object').selected_alpn_protocol())
    writer.write(b'quit')
    assert await reader.read() == b''
    writer.close()
    await writer.wait_closed()
    print('clean')

asyncio.run(main())
)";

// Echoes until it reads "quit" at the end of what came.
Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    while (true) {
        const std::string data = co_await reader.read(65536);
        if (data.empty() || data == "quit") break;
        writer.write(data);
        co_await writer.drain();
    }
    writer.close();
    (void)co_await as_result(writer.wait_closed());
}

TEST(CPythonPeer, ClientTalksToOurServer) {  // TL-02 TL-03
    if (!have_python()) GTEST_SKIP() << "there is no python3 3.11 or later";
    run_peers([]() -> Coroutine<> {
        const ssl::SSLContext context = server_context();
        context.set_alpn_protocols({"h2", "http/1.1"});
        ServerOptions options;
        options.ssl = &context;
        Server server = co_await start_server(echo, "127.0.0.1", 0, options);
        const int port = server.sockets().at(0).getsockname().port();
        Peer peer(python("client", kPythonClient, std::to_string(port)));
        const std::string printed = co_await peer.ended();
        EXPECT_EQ(printed, "alpn http/1.1\nclean\n");
        server.close();
        co_await server.wait_closed();
    }());
}

const char* const kPythonServer = R"(
import asyncio, ssl, sys

async def serve(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    stop.set()

async def main():
    global stop
    stop = asyncio.Event()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[2])
    server = await asyncio.start_server(serve, '127.0.0.1', 0, ssl=context)
    print('port', server.sockets[0].getsockname()[1])
    await stop.wait()
    print('stopped')

asyncio.run(main())
)";

TEST(CPythonPeer, OurClientTalksToItsServer) {  // TL-02 TL-03
    if (!have_python()) GTEST_SKIP() << "there is no python3 3.11 or later";
    run_peers([]() -> Coroutine<> {
        Peer peer(python("server", kPythonServer, ""));
        const int port = co_await peer.port_after("port ");
        ssl::SSLContext context = client_context();
        context.strict_eof = true;
        ConnectionOptions options;
        options.ssl = &context;
        auto pair = co_await open_connection("127.0.0.1", port, options);
        std::string sent;
        for (int i = 0; i < 300'000; ++i) sent += static_cast<char>(i * 7);
        pair.second.write(sent);
        const std::string got = co_await pair.first.readexactly(sent.size());
        EXPECT_EQ(got, sent);
        pair.second.close();
        co_await pair.second.wait_closed();
        const std::string printed = co_await peer.ended();
        EXPECT_NE(printed.find("stopped"), std::string::npos) << printed;
    }());
}

const char* const kPythonStartTls = R"(
import asyncio, ssl, sys

async def serve(reader, writer):
    assert await reader.readline() == b'STARTTLS\n'
    writer.write(b'go\n')
    await writer.drain()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[2])
    await writer.start_tls(context)
    line = await reader.readline()
    writer.write(b'secret ' + line)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    stop.set()

async def main():
    global stop
    stop = asyncio.Event()
    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    print('port', server.sockets[0].getsockname()[1])
    await stop.wait()

asyncio.run(main())
)";

TEST(CPythonPeer, OurClientUpgradesAConnectionToItsServer) {  // TL-01 ST-16
    if (!have_python()) GTEST_SKIP() << "there is no python3 3.11 or later";
    run_peers([]() -> Coroutine<> {
        Peer peer(python("starttls", kPythonStartTls, ""));
        const int port = co_await peer.port_after("port ");
        auto pair = co_await open_connection("127.0.0.1", port);
        auto& [reader, writer] = pair;
        writer.write("STARTTLS\n");
        const std::string go = co_await reader.readline();
        EXPECT_EQ(go, "go\n");
        const ssl::SSLContext context = client_context();
        StartTlsOptions options;
        options.server_hostname = "localhost";
        co_await writer.start_tls(context, options);
        writer.write("line\n");
        const std::string line = co_await reader.readline();
        EXPECT_EQ(line, "secret line\n");
        const std::string rest = co_await reader.read();
        EXPECT_EQ(rest, "");
        writer.close();
        (void)co_await as_result(writer.wait_closed());
        co_await peer.ended();
    }());
}

const char* const kPythonUpgrades = R"(
import asyncio, ssl, sys

async def main():
    reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[3]))
    writer.write(b'STARTTLS\n')
    assert await reader.readline() == b'go\n'
    context = ssl.create_default_context(cafile=sys.argv[1])
    await writer.start_tls(context, server_hostname='localhost')
    writer.write(b'line\n')
    print((await reader.readline()).decode(), end='')
    writer.close()
    await writer.wait_closed()

asyncio.run(main())
)";

Coroutine<> upgrade_and_answer(StreamReader reader, StreamWriter writer) {
    const std::string line = co_await reader.readline();
    EXPECT_EQ(line, "STARTTLS\n");
    writer.write("go\n");
    const ssl::SSLContext context = server_context();
    co_await writer.start_tls(context);
    const std::string secret = co_await reader.readline();
    writer.write("secret " + secret);
    const std::string rest = co_await reader.read();
    EXPECT_EQ(rest, "");
    writer.close();
    (void)co_await as_result(writer.wait_closed());
}

TEST(CPythonPeer, ItsClientUpgradesAConnectionToOurServer) {  // TL-01 ST-16
    if (!have_python()) GTEST_SKIP() << "there is no python3 3.11 or later";
    run_peers([]() -> Coroutine<> {
        Server server = co_await start_server(upgrade_and_answer, "127.0.0.1", 0);
        const int port = server.sockets().at(0).getsockname().port();
        Peer peer(python("upgrades", kPythonUpgrades, std::to_string(port)));
        const std::string printed = co_await peer.ended();
        EXPECT_EQ(printed, "secret line\n");
        server.close();
        co_await server.wait_closed();
    }());
}

// ---- ours, through the public calls -------------------------------------------------------------

TEST(SSLStreams, ServerAndClientOfOurOwn) {  // TL-05 CN-01 SV-01
    run_peers([]() -> Coroutine<> {
        Server server;
        {
            const ssl::SSLContext context = server_context();  // may go after the call
            ServerOptions options;
            options.ssl = &context;
            server = co_await start_server(echo, "127.0.0.1", 0, options);
        }
        const int port = server.sockets().at(0).getsockname().port();
        const ssl::SSLContext context = client_context();
        ConnectionOptions options;
        options.ssl = &context;
        std::vector<Coroutine<>> clients;
        for (int i = 0; i < 20; ++i) {
            clients.push_back([](int number, int to, ConnectionOptions how) -> Coroutine<> {
                auto pair = co_await open_connection("127.0.0.1", to, how);
                const std::string text(static_cast<std::size_t>(number * 5000 + 1), 'x');
                pair.second.write(text);
                const std::string back = co_await pair.first.readexactly(text.size());
                EXPECT_EQ(back, text);
                pair.second.close();
                co_await pair.second.wait_closed();
            }(i, port, options));
        }
        co_await gather(std::move(clients));
        server.close();
        co_await server.wait_closed();
    }());
}

TEST(SSLStreams, PlainServerIsAnErrorOfTheClientAndNotAHang) {  // TL-02
    run_peers([]() -> Coroutine<> {
        auto hang_up = [](StreamReader, StreamWriter writer) -> Coroutine<> {
            writer.write("220 mail.example\r\n");
            writer.close();
            co_return;
        };
        Server server = co_await start_server(hang_up, "127.0.0.1", 0);
        const int port = server.sockets().at(0).getsockname().port();
        const ssl::SSLContext context = client_context();
        ConnectionOptions options;
        options.ssl = &context;
        const auto result = co_await as_result(open_connection("127.0.0.1", port, options));
        EXPECT_TRUE(detail::find<OSError>(result.error()));
        server.close();
        co_await server.wait_closed();
    }());
}

TEST(SSLStreams, CancelledConnectLeavesNothingOpen) {  // CN-10
    run_peers([]() -> Coroutine<> {
        auto silent = [](StreamReader reader, StreamWriter writer) -> Coroutine<> {
            (void)co_await as_result(reader.read());
            writer.close();
        };
        Server server = co_await start_server(silent, "127.0.0.1", 0);
        const int port = server.sockets().at(0).getsockname().port();
        const ssl::SSLContext context = client_context();
        ConnectionOptions options;
        options.ssl = &context;
        const auto result =
            co_await as_result(wait_for(open_connection("127.0.0.1", port, options), 100ms));
        EXPECT_TRUE(result.holds<TimeoutError>());
        server.close();
        co_await server.wait_closed();  // the handler has seen the end
    }());
}

TEST(SSLStreams, TruncationIsTheReadersErrorIfWanted) {  // TL-03
    for (const bool strict : {false, true}) {
        run_peers([](bool wanted) -> Coroutine<> {
            auto cut_off = [](StreamReader reader, StreamWriter writer) -> Coroutine<> {
                co_await reader.readline();
                writer.write("part");
                co_await sleep(50ms);
                // As a crash would do it: the socket is shut, TLS is not.
                const int fd = *writer.get_extra_info<int>("socket");
                TransportSocket(fd).shutdown(2);
                writer.transport().abort();
            };
            const ssl::SSLContext serving = server_context();
            ServerOptions how;
            how.ssl = &serving;
            Server server = co_await start_server(cut_off, "127.0.0.1", 0, how);
            const int port = server.sockets().at(0).getsockname().port();
            ssl::SSLContext context = client_context();
            context.strict_eof = wanted;
            ConnectionOptions options;
            options.ssl = &context;
            auto pair = co_await open_connection("127.0.0.1", port, options);
            pair.second.write("go\n");
            const auto all = co_await as_result(pair.first.read());
            if (wanted) {
                EXPECT_EQ(support::error_text<SSLError>(all),
                          "EOF occurred in violation of protocol");
            } else {
                EXPECT_EQ(all.value(), "part");
            }
            pair.second.close();
            (void)co_await as_result(pair.second.wait_closed());
            server.close();
            co_await server.wait_closed();
        }(strict));
    }
}

}  // namespace

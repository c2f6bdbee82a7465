// Both ends of a secured connection over transports in memory, for the tests of TLS.
#pragma once

#include <asyncio/coroutines.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/protocols.hpp>
#include <asyncio/ssl.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/transports.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "fake_transport.hpp"
#include "net/make_transport.hpp"
#include "net/ssl_factory.hpp"
#include "support.hpp"
#include "tls_support.hpp"

namespace tls {

using namespace asyncio;
using namespace std::chrono_literals;
using asyncio::detail::Ref;
using asyncio::detail::TlsConnection;
using asyncio::detail::TlsSettings;
using support::FakeTransport;
using support::TestAuthority;
using support::TestCertificate;
namespace detail = asyncio::detail;

// Certificates are made once for the process: signing takes longer than most tests.
inline const TestAuthority& authority() {
    static const TestAuthority made;
    return made;
}

inline ssl::SSLContext server_context(const TestCertificate& certificate) {
    ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::CLIENT_AUTH);
    context.load_cert_chain(certificate.file());
    return context;
}
inline ssl::SSLContext server_context() { return server_context(authority().server); }

inline ssl::SSLContext client_context() {
    return ssl::create_default_context(ssl::Purpose::SERVER_AUTH,
                                       {.cafile = authority().ca.file()});
}

// What both kinds of protocol of the tests write down.
struct Record {
    support::Lines events;  // "made", "eof", "lost", "pause", "resume"
    std::string data;
    std::exception_ptr error;  // of connection_lost
    Transport transport;
    bool lost = false;
    TimePoint lost_at{};
    bool eof_result = false;
    std::function<void(Record&)> on_data;
    std::function<void(Record&)> on_made;

    void made(const Transport& t) {
        events.emplace_back("made");
        transport = t;
        if (on_made) on_made(*this);
    }
    void got(std::string_view bytes) {
        data += bytes;
        if (on_data) on_data(*this);
    }
    bool eof() {
        events.emplace_back("eof");
        return eof_result;
    }
    void end(std::exception_ptr e) {
        events.emplace_back("lost");
        lost = true;
        if (detail::thread_state.loop) lost_at = get_running_loop().time();
        error = std::move(e);
        transport = Transport();
        on_data = nullptr;
    }
};

struct Recorder : Protocol, Record {
    void connection_made(Transport& t) override { made(t); }
    void data_received(std::string_view bytes) override { got(bytes); }
    bool eof_received() override { return eof(); }
    void connection_lost(std::exception_ptr e) override { end(std::move(e)); }
    void pause_writing() override { events.emplace_back("pause"); }
    void resume_writing() override { events.emplace_back("resume"); }
};

struct BufferedRecorder : BufferedProtocol, Record {
    explicit BufferedRecorder(std::size_t size) : buffer(size, '\0') {}
    std::string buffer;
    void connection_made(Transport& t) override { made(t); }
    std::span<char> get_buffer(std::size_t) override { return buffer; }
    void buffer_updated(std::size_t n) override { got(std::string_view(buffer).substr(0, n)); }
    bool eof_received() override { return eof(); }
    void connection_lost(std::exception_ptr e) override { end(std::move(e)); }
};

using Events = support::Lines;

// A secured end of a connection.
struct End {
    End(EventLoop& loop, const TlsSettings& settings,
        std::shared_ptr<BaseProtocol> app = std::make_shared<Recorder>(),
        bool call_connection_made = true)
        : protocol(std::move(app)), handshake(loop.create_future<void>()) {
        tls =
            detail::make_tls_connection(loop, settings, protocol, handshake, call_connection_made);
    }
    Record& app() const { return *dynamic_cast<Record*>(protocol.get()); }
    detail::TransportBase& transport() const { return *tls.transport; }
    Transport handle() const { return Transport(tls.transport); }
    std::shared_ptr<BaseProtocol> protocol;
    Future<void> handshake;
    TlsConnection tls;
};

inline TlsSettings for_client(const ssl::SSLContext& context = client_context(),
                              std::optional<std::string> host = "localhost") {
    return {.context = context, .server_side = false, .server_hostname = std::move(host)};
}
inline TlsSettings for_server(const ssl::SSLContext& context = server_context()) {
    return {.context = context, .server_side = true};
}

// Both ends over a pair in memory.
struct Wire {
    explicit Wire(EventLoop& loop) : Wire(loop, for_client(), for_server()) {}
    Wire(EventLoop& loop, const TlsSettings& c, const TlsSettings& s)
        : below(FakeTransport::pair(loop)), client(loop, c), server(loop, s) {}
    Wire(EventLoop& loop, End c, End s)
        : below(FakeTransport::pair(loop)), client(std::move(c)), server(std::move(s)) {
        (void)loop;
    }
    void begin() {
        below.first->begin(client.tls.protocol);
        below.second->begin(server.tls.protocol);
    }
    FakeTransport& below_client() const { return *below.first; }
    FakeTransport& below_server() const { return *below.second; }

    std::pair<Ref<FakeTransport>, Ref<FakeTransport>> below;
    End client;
    End server;
};

inline Coroutine<> until(std::function<bool()> done) {
    for (int i = 0; i < 200'000 && !done(); ++i) co_await sleep(0s);
    EXPECT_TRUE(done()) << "waited in vain";
}

inline Coroutine<> handshaken(Wire& wire) {
    wire.begin();
    co_await wire.client.handshake;
    co_await wire.server.handshake;
}

inline Coroutine<> both_lost(Wire& wire) {
    co_await until([&] { return wire.client.app().lost && wire.server.app().lost; });
}

// Both ends closed and gone, so that nothing is left behind.
inline Coroutine<> closed(Wire& wire) {
    wire.client.handle().close();
    wire.server.handle().close();
    co_await both_lost(wire);
}

inline std::string pattern(std::size_t n) {
    std::string text(n, '\0');
    for (std::size_t i = 0; i < n; ++i) text[i] = static_cast<char>(i * 131 + i / 251);
    return text;
}

}  // namespace tls

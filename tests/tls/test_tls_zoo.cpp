// Our clients against the servers of the zoo, and our servers against clients of its kind: what is
// wrong is refused with the reason, what is right is taken. TL-05, N3.
#include <asyncio.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
#include "tls/ssl_state.hpp"
#include "tls_raw.hpp"
#include "tls_support.hpp"
#include "tls_wire.hpp"
#include "tls_zoo.hpp"

namespace {

using namespace tls;

zoo::Zoo& the_zoo() {
    static zoo::Zoo made;
    return made;
}

// What a connection to the case's server ends with: "taken", or the error's class and text.
Coroutine<std::string> meet(const zoo::Case& c, unsigned long more_flags = 0,
                            std::string ciphers = {}) {
    const zoo::Server server(c);
    ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::SERVER_AUTH,
                                                          {.cafile = the_zoo().authorities(c)});
    context.verify_flags |= more_flags;
    if (!ciphers.empty()) context.set_ciphers(ciphers);
    ConnectionOptions options;
    options.ssl = &context;
    options.server_hostname = c.host;
    try {
        auto pair = co_await open_connection("127.0.0.1", server.port(), options);
        pair.second.write("GET / HTTP/1.1\r\n\r\n");
        const std::string answer = co_await pair.first.read();
        pair.second.close();
        (void)co_await as_result(pair.second.wait_closed());
        co_return answer.ends_with("\r\n\r\nok") ? "taken" : "no answer: " + answer;
    } catch (const SSLCertVerificationError& e) {
        EXPECT_EQ(server.served(), 0) << c.name;
        co_return std::string("SSLCertVerificationError: ") + e.what();
    } catch (const SSLError& e) {
        co_return std::string("SSLError: ") + e.what();
    } catch (const std::exception& e) {
        co_return std::string("no SSLError: ") + e.what();
    }
}

std::string expected(const zoo::Case& c) {
    if (c.good()) return "taken";
    return (c.certificate ? "SSLCertVerificationError: ...: " : "SSLError: ...") + c.reason;
}

bool as_expected(const zoo::Case& c, const std::string& got, bool strict) {
    if (c.good()) return got == "taken";
    if (!c.certificate)
        return got.starts_with("SSLError: [SSL: ") && got.find(c.reason) != std::string::npos;
    const std::string head =
        "SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: ";
    // A strict client may have another reason before this one.
    return strict ? got.starts_with(head) : got == head + c.reason;
}

// Prints `n of n`, and each that is not as it should be.
void visit(const char* what, const std::vector<zoo::Case>& cases, unsigned long more_flags = 0) {
    std::size_t refused = 0;
    std::size_t taken = 0;
    std::size_t bad = 0;
    run([&]() -> Coroutine<> {
        for (const zoo::Case& c : cases) {
            const std::string got = co_await meet(c, more_flags);
            const bool right = as_expected(c, got, more_flags != 0);
            EXPECT_TRUE(right) << c.name << "\n     is: " << got << "\n should: " << expected(c);
            bad += !c.good();
            (c.good() ? taken : refused) += right;
        }
    });
    std::printf("%s: %zu of %zu refused, %zu of %zu taken\n", what, refused, bad, taken,
                cases.size() - bad);
}

TEST(TlsZoo, ClientRefusesBadCertificatesAndSaysWhy) {
    visit("certificates", the_zoo().certificates());
}

// What CPython adds since 3.13 refuses nothing more, and none of the good ones.
TEST(TlsZoo, StrictClientSaysTheSame) {
    visit("certificates, strictly", the_zoo().certificates(), ssl::VERIFY_X509_STRICT);
}

// N3.
TEST(TlsZoo, ClientRefusesBadProtocolsAndSaysWhy) { visit("protocols", the_zoo().protocols()); }

// What a program asks for by name it gets.
TEST(TlsZoo, OldPeersAreReachedByAContextOfTheirOwn) {
    std::vector<std::pair<std::string, std::string>> asked = {
        {"CBC with SHA-1: ECDHE-RSA-AES256-SHA", "ECDHE-RSA-AES256-SHA"},
        {"RSA 1024", "DEFAULT:@SECLEVEL=1"},
        {"Diffie-Hellman with 1024 bits", "DEFAULT:@SECLEVEL=1"}};
    run([&]() -> Coroutine<> {
        for (const auto* cases : {&the_zoo().certificates(), &the_zoo().protocols()}) {
            for (const zoo::Case& c : *cases) {
                const auto at = std::find_if(asked.begin(), asked.end(),
                                             [&](const auto& a) { return a.first == c.name; });
                if (at == asked.end()) continue;
                const std::string got = co_await meet(c, 0, at->second);
                EXPECT_EQ(got, "taken") << c.name;
                asked.erase(at);
            }
        }
    });
    EXPECT_TRUE(asked.empty());
}

// ---- servers ------------------------------------------------------------------------------------

// A client of OpenSSL's own, or bytes in its place, at our server.
struct Visitor {
    std::string name;
    std::string reason;  // is in the text of the server's error; "": it is served
    std::function<void(SSL_CTX*)> settings = nullptr;
    std::string bytes = {};
    std::function<std::string(std::string)> edit = nullptr;
    std::string client_reason = {};  // "": whatever it is
};

struct Visit {
    std::exception_ptr error;  // the server's
    std::string client_error;
    bool served = false;
    bool certificate = false;  // of the client, known to the server
};

Coroutine<Visit> receive(const ssl::SSLContext& server, const Visitor& v) {
    EventLoop& loop = get_running_loop();
    const support::ErrorCapture errors(loop);
    SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_security_level(ctx.get(), 0);
    SSL_CTX_set_min_proto_version(ctx.get(), TLS1_VERSION);
    SSL_CTX_set_mode(ctx.get(), SSL_MODE_NO_AUTO_CHAIN);
    if (v.settings) v.settings(ctx.get());
    const auto raw = std::make_shared<RawTls>(ctx.get(), false);
    raw->edit = v.edit;
    if (!v.bytes.empty()) raw->edit = [&v](const std::string&) { return v.bytes; };
    End end(loop, for_server(server));
    end.app().on_made = [](Record& r) { r.transport.write("x"); };
    auto below = FakeTransport::pair(loop);
    below.first->begin(raw);
    below.second->begin(end.tls.protocol);
    const auto result = co_await as_result(end.handshake);
    Visit visit;
    visit.served = result.has_value();
    if (!visit.served) visit.error = result.error();
    co_await until([&] { return !raw->data.empty() || !raw->error.empty() || raw->lost; });
    visit.client_error = raw->error;
    visit.certificate = end.handle().get_extra_info<ssl::Certificate>("peercert").has_value();
    end.handle().abort();
    co_await until([&] { return below.first->lost && below.second->lost; });
    if (visit.served) co_await until([&] { return end.app().lost; });
    co_return visit;
}

std::string text_of(const Visit& visit) {
    if (visit.served) return "served";
    try {
        std::rethrow_exception(visit.error);
    } catch (const std::exception& e) {
        return detail::type_name(visit.error) + ": " + e.what();
    }
}

TEST(TlsZoo, ServerRefusesBadClientCertificatesAndSaysWhy) {
    const zoo::Zoo clients(zoo::kClients);
    std::size_t counts[2][2] = {};
    for (const auto version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        for (const zoo::Case& c : clients.certificates()) {
            if (c.about_host || (c.settings && version == TLS1_3_VERSION)) continue;
            ssl::SSLContext server = ssl::create_default_context(
                ssl::Purpose::CLIENT_AUTH, {.cafile = clients.authorities(c)});
            server.load_cert_chain(authority().server.file());
            server.verify_mode = ssl::CERT_REQUIRED;
            Visitor v;
            v.settings = [&](SSL_CTX* ctx) {
                SSL_CTX_set_max_proto_version(ctx, version);
                zoo::Zoo::use(ctx, c.chain);
                if (c.settings) c.settings(ctx);
            };
            const Visit visit =
                support::run_virtual([&]() -> Coroutine<Visit> { return receive(server, v); });
            const std::string got = visit.served ? "taken" : text_of(visit);
            const bool right = as_expected(c, got, false) && visit.certificate == c.good();
            EXPECT_TRUE(right) << c.name << "\n     is: " << got << "\n should: " << expected(c);
            ++counts[c.good()][0];
            counts[c.good()][1] += right;
        }
    }
    std::printf("certificates of clients: %zu of %zu refused, %zu of %zu taken\n", counts[0][1],
                counts[0][0], counts[1][1], counts[1][0]);
}

std::vector<Visitor> visitors() {
    std::vector<Visitor> all;
    const auto version = [](int most) {
        return [=](SSL_CTX* ctx) { SSL_CTX_set_max_proto_version(ctx, most); };
    };
    const auto suite = [](const char* ciphers) {
        return [=](SSL_CTX* ctx) {
            SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
            const std::string list = std::string(ciphers) + ":@SECLEVEL=0";
            zoo::require(SSL_CTX_set_cipher_list(ctx, list.c_str()) == 1, ciphers);
        };
    };
    all.push_back({"TLS 1.3", "", version(TLS1_3_VERSION)});
    all.push_back({"TLS 1.2", "", version(TLS1_2_VERSION)});
    const std::string alert = "tlsv1 alert protocol version";
    all.push_back({"TLS 1.1", "unsupported protocol", version(TLS1_1_VERSION), "", nullptr, alert});
    all.push_back({"TLS 1.0", "unsupported protocol", version(TLS1_VERSION), "", nullptr, alert});
    for (const char* s : {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
                          "ECDHE-ECDSA-AES256-GCM-SHA384"}) {
        all.push_back({s, "", suite(s)});
    }
    for (const char* s :
         {"AES128-GCM-SHA256", "AES256-SHA256", "AES128-SHA", "ECDHE-ECDSA-AES128-SHA",
          "ECDHE-RSA-AES256-SHA", "AECDH-AES256-SHA", "ADH-AES256-GCM-SHA384", "NULL-SHA256",
          "ECDHE-ECDSA-NULL-SHA", "ECDHE-RSA-CAMELLIA256-SHA384", "CAMELLIA128-SHA",
          "ECDHE-ECDSA-ARIA256-GCM-SHA384", "ECDHE-ECDSA-AES128-CCM8", "DHE-RSA-AES128-SHA"}) {
        all.push_back(
            {s, "no shared cipher", suite(s), "", nullptr, "sslv3 alert handshake failure"});
    }
    all.push_back({"TLS_AES_128_CCM_8_SHA256", "no shared cipher", [](SSL_CTX* ctx) {
                       SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
                       SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_CCM_8_SHA256");
                   }});
    all.push_back(
        {"signatures with SHA-1 only", "no shared signature algorithms", [](SSL_CTX* ctx) {
             SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
             SSL_CTX_set1_sigalgs_list(ctx, "RSA+SHA1:ECDSA+SHA1");
         }});
    all.push_back({"a curve of 192 bits only", "no shared cipher", [](SSL_CTX* ctx) {
                       SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
                       zoo::require(SSL_CTX_set1_groups_list(ctx, "P-192") == 1, "P-192");
                   }});
    // RFC 7507: it has been made to believe that nothing newer is spoken here.
    all.push_back({"fallback to TLS 1.2", "inappropriate fallback",
                   [](SSL_CTX* ctx) {
                       SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
                       SSL_CTX_set_mode(ctx, SSL_MODE_SEND_FALLBACK_SCSV);
                   },
                   "", nullptr, "tlsv1 alert inappropriate fallback"});
    // RFC 8446, 4.1.3: our hello says so, and it is the client who sees it.
    Visitor downgraded{"downgrade to TLS 1.2 on the way", "illegal parameter", nullptr, "", nullptr,
                       "inappropriate fallback"};
    downgraded.edit = [](std::string flight) {
        return with_extensions(flight, [](std::size_t& type, std::string&) {
            return type != TLSEXT_TYPE_supported_versions;
        });
    };
    all.push_back(downgraded);

    const auto bytes = [&](const char* name, const char* reason, std::string what) {
        all.push_back({name, reason, nullptr, std::move(what)});
    };
    bytes("plain HTTP", "http request", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bytes("plain HTTP, POST", "http request", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bytes("a proxy's CONNECT", "https proxy request", "CONNECT zoo.test:443 HTTP/1.1\r\n\r\n");
    bytes("the PROXY protocol", "wrong version number", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n");
    bytes("SSH", "wrong version number", "SSH-2.0-OpenSSH_9.2\r\n");
    bytes("garbage", "wrong version number", "\x7f\x11\xd0\x5b\xe6\x31\x09\xc4\x7a\xee\x92\x40");
    bytes(
        "SSL 2", "unknown protocol",
        std::string(
            "\x80\x2b\1\0\2\0\x12\0\0\0\x10\7\0\xc0\3\0\x80\1\0\x80\6\0\x40\4\0\x80\2\0\x80", 29) +
            std::string(16, 'c'));
    bytes("record of 20,000 bytes", "packet length too long",
          zoo::record(22, "\3\1", std::string(20'000, 'x')));
    bytes("record of no known type", "unexpected message", zoo::record(99, "\3\3", "what is it"));
    bytes("data before the handshake", "unexpected message", zoo::record(23, "\3\3", "hello"));
    bytes("a server's hello", "unexpected message", zoo::old_hello("\3\3"));
    bytes("hello without contents", "length", zoo::record(22, "\3\1", zoo::message(1, "")));
    bytes("hello that is too long", "excessive message size",
          zoo::record(22, "\3\1", std::string("\1\xff\xff\xff", 4) + std::string(100, 'x')));
    bytes("alert at once", "unexpected message", zoo::record(21, "\3\3", "\2\x28"));
    return all;
}

// N3.
TEST(TlsZoo, ServerRefusesBadProtocolsAndSaysWhy) {
    // Both kinds of certificate, so that it is never for want of one.
    ssl::SSLContext server = server_context();
    const zoo::Animal& rsa = *[] {
        for (const zoo::Case& c : the_zoo().certificates()) {
            if (c.name == "RSA 2048") return c.chain.front();
        }
        throw std::runtime_error("no RSA certificate");
    }();
    zoo::Zoo::use(server.state().ctx(), {&rsa});
    std::size_t counts[2][2] = {};
    for (const Visitor& v : visitors()) {
        const Visit visit =
            support::run_virtual([&]() -> Coroutine<Visit> { return receive(server, v); });
        const std::string got = text_of(visit);
        const bool good = v.reason.empty();
        bool right = visit.served == good;
        if (!good) {
            right = right && got.starts_with("SSLError: [SSL: ") &&
                    got.find(v.reason) != std::string::npos;
        }
        right = right && visit.client_error.find(v.client_reason) != std::string::npos;
        EXPECT_TRUE(right) << v.name << "\n     is: " << got << " / " << visit.client_error
                           << "\n should: " << v.reason << " / " << v.client_reason;
        ++counts[good][0];
        counts[good][1] += right;
    }
    std::printf("protocols of clients: %zu of %zu refused, %zu of %zu taken\n", counts[0][1],
                counts[0][0], counts[1][1], counts[1][0]);
}

// ---- afterwards ---------------------------------------------------------------------------------

// A client cannot have our server negotiate anew, under whichever name.
TEST(TlsZoo, ServerRefusesToRenegotiate) {
    support::run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
        SSL_CTX_set_max_proto_version(ctx.get(), TLS1_2_VERSION);
        const auto raw = std::make_shared<RawTls>(ctx.get(), false);
        End end(loop, for_server());
        auto below = FakeTransport::pair(loop);
        below.first->begin(raw);
        below.second->begin(end.tls.protocol);
        co_await end.handshake;
        co_await until([&] { return raw->done; });
        SSL_set_tlsext_host_name(raw->ssl(), "admin.test");
        EXPECT_EQ(SSL_renegotiate(raw->ssl()), 1);
        raw->done = false;
        raw->step();
        co_await until([&] { return !raw->error.empty(); });
        EXPECT_EQ(raw->error, "no renegotiation");
        // What was there goes on, or ends: it never becomes something else.
        const auto object = end.handle().get_extra_info<ssl::SSLObject>("ssl_object");
        EXPECT_EQ(object->server_hostname(), "");
        end.handle().abort();
        co_await until([&] { return below.first->lost && end.app().lost; });
    });
}

// A server that has our client negotiate anew has to prove again who it is.
TEST(TlsZoo, ClientVerifiesAgainInARenegotiation) {
    const TestCertificate other =
        authority().make("renegotiator", {.name = "other", .alternative_names = "DNS:other.test"});
    const TestCertificate again = authority().make("again", {.name = "again"});
    for (const bool good : {true, false}) {
        support::run_virtual([&]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            const support::ErrorCapture errors(loop);
            SslCtxPtr ctx(SSL_CTX_new(TLS_server_method()));
            SSL_CTX_set_max_proto_version(ctx.get(), TLS1_2_VERSION);
            SSL_CTX_set_options(ctx.get(), SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
            const std::string& first = authority().server.file();
            SSL_CTX_use_certificate_file(ctx.get(), first.c_str(), SSL_FILETYPE_PEM);
            SSL_CTX_use_PrivateKey_file(ctx.get(), first.c_str(), SSL_FILETYPE_PEM);
            const auto raw = std::make_shared<RawTls>(ctx.get(), true);
            End end(loop, for_client());
            auto below = FakeTransport::pair(loop);
            below.first->begin(end.tls.protocol);
            below.second->begin(raw);
            co_await end.handshake;
            co_await until([&] { return raw->done; });
            const std::string& file = good ? again.file() : other.file();
            SSL_use_certificate_file(raw->ssl(), file.c_str(), SSL_FILETYPE_PEM);
            SSL_use_PrivateKey_file(raw->ssl(), file.c_str(), SSL_FILETYPE_PEM);
            EXPECT_EQ(SSL_renegotiate(raw->ssl()), 1);
            raw->done = false;
            raw->step();
            end.handle().write("in between");
            const auto shown = [&] {
                const auto c = end.handle().get_extra_info<ssl::Certificate>("peercert");
                return c ? c->subject_name("commonName") : std::string();
            };
            co_await until([&] { return end.app().lost || shown() == "again"; });
            end.handle().write(", and afterwards");
            co_await until(
                [&] { return end.app().lost || raw->data == "in between, and afterwards"; });
            EXPECT_EQ(end.app().lost, !good);
            if (!good) {
                const auto* e = detail::find<SSLCertVerificationError>(end.app().error);
                EXPECT_NE(e, nullptr);
                if (e) {
                    EXPECT_NE(std::string(e->what()).find("Hostname mismatch"), std::string::npos);
                }
                EXPECT_EQ(raw->data.find("afterwards"), std::string::npos);
                co_return;
            }
            end.handle().abort();
            co_await until([&] { return end.app().lost && below.second->lost; });
        });
    }
}

}  // namespace

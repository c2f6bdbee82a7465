// A server that chooses its context by the name the client asks for: all that the chosen context
// says holds, and a session is good only for what it was made with. TL-05, N1, N2.
//
// ctest: simulated
#include <asyncio/ssl.hpp>

#include <asyncio/coroutines.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/tasks.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support.hpp"
#include "tls/ssl_state.hpp"
#include "tls_raw.hpp"
#include "tls_support.hpp"
#include "tls_wire.hpp"

namespace {

using namespace tls;
using support::run_virtual;

// How the client gets a session, and goes on with it.
enum class Kind { kTicket13, kTicket12, kId12 };
constexpr Kind kKinds[] = {Kind::kTicket13, Kind::kTicket12, Kind::kId12};

struct Question {
    std::string name;  // "": none is sent
    int version = 0;   // the most
    bool tickets = true;
    SSL_SESSION* session = nullptr;
    const TestCertificate* own = nullptr;
    std::string alpn;  // in wire format
    std::string groups;
    std::function<std::string(std::string)> edit;
    std::size_t piece = static_cast<std::size_t>(-1);

    Question() = default;
    explicit Question(std::string n, Kind kind = Kind::kTicket13)
        : name(std::move(n)),
          version(kind == Kind::kTicket13 ? TLS1_3_VERSION : TLS1_2_VERSION),
          tickets(kind != Kind::kId12) {}
};

struct Answer {
    bool served = false;         // the server's handshake
    std::exception_ptr refused;  // the server's reason
    std::string client_error;
    bool reused = false;
    bool certificate = false;  // the server knows one of the client
    SessionPtr session;
    std::string version, cipher, alpn;
    std::string subject;  // of the server
    std::string name;     // that the server was asked for
    bool asked_for_certificate = false;
    std::size_t tickets = 0;  // sessions that the client could keep
    std::uint32_t early = 0;  // 0-RTT that the session allows
};

SslCtxPtr raw_client(const Question& q) {
    SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
    if (q.version) SSL_CTX_set_max_proto_version(ctx.get(), q.version);
    if (!q.tickets) SSL_CTX_set_options(ctx.get(), SSL_OP_NO_TICKET);
    if (q.own) {
        SSL_CTX_use_certificate_file(ctx.get(), q.own->file().c_str(), SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(ctx.get(), q.own->file().c_str(), SSL_FILETYPE_PEM);
    }
    if (!q.groups.empty()) SSL_CTX_set1_groups_list(ctx.get(), q.groups.c_str());
    SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx.get(), [](SSL* s, SSL_SESSION* session) {
        *static_cast<std::size_t*>(SSL_get_app_data(s)) += SSL_SESSION_is_resumable(session);
        return 0;
    });
    return ctx;
}

std::string text_of(const unsigned char* bytes, unsigned size) {
    // Safe because bytes may be read as chars.
    return size ? std::string(reinterpret_cast<const char*>(bytes), size) : std::string();
}

void read_answer(const RawTls& raw, Answer& a) {
    SSL* s = raw.ssl();
    a.client_error = raw.error;
    a.reused = SSL_session_reused(s) == 1;
    a.session.reset(SSL_get1_session(s));
    a.version = SSL_get_version(s);
    if (SSL_get_current_cipher(s)) a.cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(s));
    const unsigned char* alpn = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(s, &alpn, &size);
    a.alpn = text_of(alpn, size);
    char name[64] = "";
    if (X509* c = SSL_get0_peer_certificate(s)) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(c), NID_commonName, name, sizeof name);
    }
    a.subject = name;
    // Without this OpenSSL makes the session of a connection void that ends with no close_notify.
    SSL_set_shutdown(s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    if (a.session) a.early = SSL_SESSION_get_max_early_data(a.session.get());
}

Answer ask(const ssl::SSLContext& server, const Question& q) {
    return run_virtual([&]() -> Coroutine<Answer> {
        EventLoop& loop = get_running_loop();
        const support::ErrorCapture errors(loop);
        Answer a;
        const SslCtxPtr ctx = raw_client(q);
        const auto raw = std::make_shared<RawTls>(ctx.get(), false);
        SSL_set_app_data(raw->ssl(), &a.tickets);
        if (!q.name.empty()) SSL_set_tlsext_host_name(raw->ssl(), q.name.c_str());
        if (q.session) SSL_set_session(raw->ssl(), q.session);
        if (!q.alpn.empty()) {
            // Safe because the names are bytes to OpenSSL.
            const auto* wire = reinterpret_cast<const unsigned char*>(q.alpn.data());
            SSL_set_alpn_protos(raw->ssl(), wire, static_cast<unsigned>(q.alpn.size()));
        }
        raw->edit = q.edit;
        End end(loop, for_server(server));
        end.app().on_made = [](Record& r) { r.transport.write("x"); };
        auto below = FakeTransport::pair(loop);
        below.second->piece = q.piece;
        below.first->begin(raw);
        below.second->begin(end.tls.protocol);
        const auto result = co_await as_result(end.handshake);
        a.served = result.has_value();
        if (!a.served) a.refused = result.error();
        co_await until(
            [&] { return (a.served && !raw->data.empty()) || !raw->error.empty() || raw->lost; });
        if (const auto object = end.handle().get_extra_info<ssl::SSLObject>("ssl_object")) {
            a.name = object->server_hostname();
            a.certificate = object->getpeercert().has_value();
            EXPECT_EQ(object->session_reused(), SSL_session_reused(raw->ssl()) == 1);
        }
        read_answer(*raw, a);
        end.handle().abort();
        co_await until([&] { return below.first->lost && below.second->lost; });
        if (a.served) co_await until([&] { return end.app().lost; });
        co_return a;
    });
}

std::string reason(const Answer& a) {
    if (!a.refused) return "not refused";
    try {
        std::rethrow_exception(a.refused);
    } catch (const std::exception& e) {
        return detail::type_name(a.refused) + ": " + e.what();
    }
}

// Another authority, and who it knows.
struct Others {
    TestCertificate ca =
        authority().make_self_signed("ca2", {.name = "Second Authority", .authority = true});
    TestCertificate known = authority().make("known", {.name = "known", .usage = "clientAuth"});
    TestCertificate other =
        authority().make("other-known", {.name = "other", .usage = "clientAuth", .issuer = &ca});
    TestCertificate second = authority().make("second-server", {.name = "second"});
};
const Others& others() {
    static const Others made;
    return made;
}

using Choices = std::map<std::string, ssl::SSLContext, std::less<>>;

ssl::SSLContext choosing(ssl::SSLContext first, Choices choices) {
    first.sni_callback =
        [choices = std::move(choices)](std::string_view name) -> std::optional<ssl::SSLContext> {
        const auto at = choices.find(name);
        if (at == choices.end()) return std::nullopt;
        return at->second;
    };
    return first;
}

ssl::SSLContext demanding(const TestCertificate& ca, ssl::VerifyMode mode = ssl::CERT_REQUIRED) {
    ssl::SSLContext context = server_context();
    context.verify_mode = mode;
    context.load_verify_locations(ca.file());
    return context;
}

// ---- sessions -----------------------------------------------------------------------------------

// N1.
TEST(SSLServerName, SessionOfAnotherNameDoesNotReplaceTheClientsCertificate) {
    const ssl::SSLContext server =
        choosing(server_context(), {{"admin.test", demanding(authority().ca)}});
    for (const Kind kind : kKinds) {
        for (const char* before : {"public.test", ""}) {
            const Answer first = ask(server, Question(before, kind));
            ASSERT_TRUE(first.served) << reason(first);
            Question q("admin.test", kind);
            q.session = first.session.get();
            const Answer second = ask(server, q);
            EXPECT_FALSE(second.served);
            EXPECT_FALSE(second.reused);
            EXPECT_EQ(reason(second),
                      "SSLError: [SSL: PEER_DID_NOT_RETURN_A_CERTIFICATE] peer did not return a "
                      "certificate");
            // Who has a certificate is let in, and with it his session.
            q.own = &others().known;
            const Answer third = ask(server, q);
            EXPECT_TRUE(third.served && third.certificate && !third.reused) << reason(third);
            q.session = third.session.get();
            const Answer again = ask(server, q);
            EXPECT_TRUE(again.served && again.certificate && again.reused) << reason(again);
        }
    }
}

// N1. Each pair of contexts that differ in anything that is verified, in both directions.
TEST(SSLServerName, SessionIsGoodForTheStateOfTheContextThatMadeIt) {
    ssl::SSLContext strict = demanding(authority().ca);
    ssl::SSLContext optional = strict;  // one context, other settings
    optional.verify_mode = ssl::CERT_OPTIONAL;
    ssl::SSLContext flags = strict;
    flags.verify_flags |= ssl::VERIFY_X509_STRICT;
    ssl::SSLContext none = strict;
    none.verify_mode = ssl::CERT_NONE;
    const ssl::SSLContext two = demanding(others().ca);
    const ssl::SSLContext alike = demanding(authority().ca);
    const Choices choices = {{"strict.test", strict}, {"optional.test", optional},
                             {"flags.test", flags},   {"none.test", none},
                             {"two.test", two},       {"alike.test", alike},
                             {"strict2.test", strict}};
    const ssl::SSLContext server = choosing(server_context(), choices);
    std::vector<std::string> names = {"", "default.test"};
    for (const auto& [name, context] : choices) names.push_back(name);
    for (const Kind kind : kKinds) {
        for (const std::string& from : names) {
            Question q(from, kind);
            q.own = from == "two.test" ? &others().other : &others().known;
            const Answer first = ask(server, q);
            ASSERT_TRUE(first.served) << from << ": " << reason(first);
            for (const std::string& to : names) {
                Question next(to, kind);
                next.session = first.session.get();
                next.own = q.own;
                const Answer second = ask(server, next);
                EXPECT_EQ(second.reused, from == to) << from << " to " << to;
                const bool knows = (to == "two.test") == (from == "two.test");
                const bool asks = to != "" && to != "default.test" && to != "none.test";
                EXPECT_EQ(second.served, knows || !asks) << from << " to " << to;
                EXPECT_EQ(second.certificate, asks && knows) << from << " to " << to;
            }
        }
    }
}

// N1. Without names, too: copies of one context, and one context as it changes.
TEST(SSLServerName, SessionEndsWithTheStateOfTheContextThatMadeIt) {
    for (const Kind kind : kKinds) {
        const ssl::SSLContext server = server_context();
        const auto reused = [&](const ssl::SSLContext& context, const Answer& before) {
            Question q("localhost", kind);
            q.session = before.session.get();
            q.own = &others().known;
            const Answer a = ask(context, q);
            EXPECT_TRUE(a.served) << reason(a);
            return a.reused;
        };
        server.load_verify_locations(authority().ca.file());
        ssl::SSLContext strict = server;
        strict.verify_mode = ssl::CERT_REQUIRED;
        const Answer open = ask(server, Question("localhost", kind));
        EXPECT_TRUE(reused(server, open));
        EXPECT_FALSE(reused(strict, open));
        EXPECT_FALSE(reused(server_context(), open));
        // Who is trusted changes; so does who we are, and what we encrypt with.
        server.load_verify_locations(others().ca.file());
        EXPECT_FALSE(reused(server, open));
        const Answer now = ask(server, Question("localhost", kind));
        EXPECT_TRUE(reused(server, now));
        server.load_cert_chain(others().second.file());
        EXPECT_FALSE(reused(server, now));
        const Answer later = ask(server, Question("localhost", kind));
        EXPECT_TRUE(reused(server, later));
        server.set_ciphers("ECDHE+CHACHA20");
        EXPECT_FALSE(reused(server, later));
    }
}

// N1. RFC 6066, 3: a session is not resumed under another name.
TEST(SSLServerName, SessionIsOfTheNameItWasMadeFor) {
    for (const Kind kind : kKinds) {
        const ssl::SSLContext server = server_context();
        const Answer first = ask(server, Question("a.test", kind));
        Question q("b.test", kind);
        q.session = first.session.get();
        const Answer second = ask(server, q);
        EXPECT_TRUE(second.served);
        EXPECT_FALSE(second.reused);
        EXPECT_EQ(second.name, "b.test");
        Question same("a.test", kind);
        same.session = first.session.get();
        EXPECT_TRUE(ask(server, same).reused);
    }
}

TEST(SSLServerName, SessionsOfTheChosenContextAreItsSetting) {  // N1
    for (const Kind kind : kKinds) {
        ssl::SSLContext quiet = server_context();
        quiet.sessions = false;
        ssl::SSLContext loud = server_context();
        const ssl::SSLContext server = choosing(loud, {{"quiet.test", quiet}});
        const ssl::SSLContext reverse = choosing(quiet, {{"loud.test", loud}});
        const auto reusable = [&](const ssl::SSLContext& context, const char* name) {
            const Answer first = ask(context, Question(name, kind));
            EXPECT_EQ(first.early, 0U);  // never 0-RTT
            Question q(name, kind);
            q.session = first.session.get();
            const bool reused = ask(context, q).reused;
            // An id of TLS 1.2 may be told, but is good for nothing.
            if (kind == Kind::kTicket13) {
                EXPECT_EQ(first.tickets > 0, reused);
            }
            return reused;
        };
        EXPECT_TRUE(reusable(server, "loud.test"));
        EXPECT_FALSE(reusable(server, "quiet.test"));
        EXPECT_TRUE(reusable(reverse, "loud.test"));
        EXPECT_FALSE(reusable(reverse, "quiet.test"));
    }
}

// ---- settings of the chosen context -------------------------------------------------------------

// N2.
TEST(SSLServerName, VersionsOfTheChosenContextHold) {
    ssl::SSLContext modern = server_context();
    modern.minimum_version = ssl::TLSVersion::TLSv1_3;
    ssl::SSLContext old = server_context();
    old.maximum_version = ssl::TLSVersion::TLSv1_2;
    for (const ssl::SSLContext& first : {server_context(), modern, old}) {
        const ssl::SSLContext server = choosing(
            first, {{"modern.test", modern}, {"old.test", old}, {"any.test", server_context()}});
        const auto version = [&](const char* name, Kind kind) {
            const Answer a = ask(server, Question(name, kind));
            if (a.served) return a.version;
            EXPECT_EQ(reason(a), "SSLError: [SSL: UNSUPPORTED_PROTOCOL] unsupported protocol");
            EXPECT_EQ(a.client_error, "tlsv1 alert protocol version");
            return std::string("refused");
        };
        EXPECT_EQ(version("modern.test", Kind::kTicket13), "TLSv1.3");
        EXPECT_EQ(version("modern.test", Kind::kTicket12), "refused");
        EXPECT_EQ(version("old.test", Kind::kTicket13), "TLSv1.2");
        EXPECT_EQ(version("old.test", Kind::kTicket12), "TLSv1.2");
        EXPECT_EQ(version("any.test", Kind::kTicket13), "TLSv1.3");
        EXPECT_EQ(version("any.test", Kind::kTicket12), "TLSv1.2");
    }
}

TEST(SSLServerName, SessionOfAnOldVersionIsNoneWhereANewOneIsDemanded) {  // N2
    ssl::SSLContext server = server_context();
    const Answer first = ask(server, Question("localhost", Kind::kTicket12));
    server.minimum_version = ssl::TLSVersion::TLSv1_3;
    Question q("localhost", Kind::kTicket12);
    q.session = first.session.get();
    EXPECT_FALSE(ask(server, q).served);
    q.version = TLS1_3_VERSION;
    const Answer second = ask(server, q);
    EXPECT_TRUE(second.served && !second.reused) << reason(second);
    EXPECT_EQ(second.version, "TLSv1.3");
}

TEST(SSLServerName, ProtocolsOfTheChosenContextHold) {  // N1
    const ssl::SSLContext first = server_context();
    first.set_alpn_protocols({"old"});
    const ssl::SSLContext second = server_context();
    second.set_alpn_protocols({"new"});
    const ssl::SSLContext server =
        choosing(first, {{"new.test", second}, {"none.test", server_context()}});
    const auto chosen = [&](const char* name) {
        Question q(name);
        q.alpn = "\3old\3new";
        return ask(server, q).alpn;
    };
    EXPECT_EQ(chosen("new.test"), "new");
    EXPECT_EQ(chosen("none.test"), "");
    EXPECT_EQ(chosen("other.test"), "old");
}

TEST(SSLServerName, CiphersOfTheChosenContextHold) {  // N1
    const ssl::SSLContext first = server_context();
    first.set_ciphers("ECDHE+AES256+AESGCM");
    const ssl::SSLContext second = server_context();
    second.set_ciphers("ECDHE+CHACHA20");
    const ssl::SSLContext server = choosing(first, {{"second.test", second}});
    EXPECT_EQ(ask(server, Question("second.test", Kind::kTicket12)).cipher,
              "ECDHE-ECDSA-CHACHA20-POLY1305");
    EXPECT_EQ(ask(server, Question("first.test", Kind::kTicket12)).cipher,
              "ECDHE-ECDSA-AES256-GCM-SHA384");
}

TEST(SSLServerName, CertificateOfTheChosenContextIsShown) {  // N1
    const ssl::SSLContext server =
        choosing(server_context(), {{"second.test", server_context(others().second)}});
    for (const Kind kind : kKinds) {
        EXPECT_EQ(ask(server, Question("second.test", kind)).subject, "second");
        EXPECT_EQ(ask(server, Question("first.test", kind)).subject, "localhost");
        // The first context need not have one.
        const ssl::SSLContext bare =
            choosing(ssl::create_default_context(ssl::Purpose::CLIENT_AUTH),
                     {{"second.test", server_context(others().second)}});
        EXPECT_EQ(ask(bare, Question("second.test", kind)).subject, "second");
        EXPECT_FALSE(ask(bare, Question("first.test", kind)).served);
    }
}

TEST(SSLServerName, VerificationIsThatOfTheChosenContext) {  // N1
    const ssl::SSLContext one = demanding(authority().ca);
    const ssl::SSLContext two = demanding(others().ca);
    for (const ssl::SSLContext& first : {server_context(), one, two}) {
        const ssl::SSLContext server =
            choosing(first, {{"one.test", one},
                             {"two.test", two},
                             {"optional.test", demanding(authority().ca, ssl::CERT_OPTIONAL)},
                             {"open.test", server_context()}});
        for (const Kind kind : kKinds) {
            const auto served = [&](const char* name, const TestCertificate* own) {
                Question q(name, kind);
                q.own = own;
                const Answer a = ask(server, q);
                EXPECT_TRUE(!a.served ||
                            a.certificate == (own && name != std::string("open.test")));
                return a.served;
            };
            const TestCertificate* known = &others().known;
            const TestCertificate* other = &others().other;
            EXPECT_TRUE(served("one.test", known));
            EXPECT_FALSE(served("one.test", other));
            EXPECT_FALSE(served("one.test", nullptr));
            EXPECT_FALSE(served("two.test", known));
            EXPECT_TRUE(served("two.test", other));
            EXPECT_TRUE(served("optional.test", nullptr));
            EXPECT_FALSE(served("optional.test", other));
            EXPECT_TRUE(served("open.test", nullptr));
        }
    }
}

TEST(SSLServerName, FlagsOfVerificationAreThoseOfTheChosenContext) {  // N1
    // Trusted by itself: an intermediate authority, whose own issuer is not known.
    const TestCertificate middle =
        authority().make("middle", {.name = "Middle", .authority = true});
    const TestCertificate leaf =
        authority().make("leaf", {.name = "leaf", .usage = "clientAuth", .issuer = &middle});
    ssl::SSLContext partial = demanding(middle);
    ssl::SSLContext whole = partial;
    whole.verify_flags = ssl::VERIFY_X509_TRUSTED_FIRST;
    for (const bool to_whole : {false, true}) {
        const ssl::SSLContext server =
            choosing(to_whole ? partial : whole, {{"x.test", to_whole ? whole : partial}});
        Question q("x.test");
        q.own = &leaf;
        EXPECT_EQ(ask(server, q).served, !to_whole);
        q.name = "other.test";
        EXPECT_EQ(ask(server, q).served, to_whole);
    }
}

TEST(SSLServerName, EndWithoutCloseNotifyIsWhatTheChosenContextSays) {
    ssl::SSLContext strict = server_context();
    strict.strict_eof = true;
    const ssl::SSLContext server = choosing(server_context(), {{"localhost", strict}});
    run_virtual([&]() -> Coroutine<> {
        Wire wire(get_running_loop(), for_client(), for_server(server));
        co_await handshaken(wire);
        EXPECT_TRUE(wire.server.handle().get_extra_info<ssl::SSLContext>("sslcontext") == strict);
        wire.below_server().end();
        co_await until([&] { return wire.server.app().lost; });
        EXPECT_TRUE(detail::find<SSLError>(wire.server.app().error));
        co_await closed(wire);
    });
}

// ---- the callback -------------------------------------------------------------------------------

TEST(SSLServerName, CallbackRunsOnceAlsoWithoutAName) {
    support::Lines asked;
    ssl::SSLContext server = server_context();
    const ssl::SSLContext second = server_context(others().second);
    server.sni_callback = [&](std::string_view name) -> std::optional<ssl::SSLContext> {
        asked.emplace_back(name);
        return second;
    };
    EXPECT_EQ(ask(server, Question("a.test")).subject, "second");
    EXPECT_EQ(ask(server, Question("")).subject, "second");
    EXPECT_EQ(ask(server, Question("b.test", Kind::kTicket12)).name, "b.test");
    EXPECT_EQ(asked, (support::Lines{"a.test", "", "b.test"}));
}

TEST(SSLServerName, HelloMayComeInPieces) {
    const ssl::SSLContext server =
        choosing(server_context(), {{"second.test", server_context(others().second)}});
    for (const std::size_t piece : {1, 5, 6, 100}) {
        for (const Kind kind : kKinds) {
            for (const std::string name : {"second.test", "first.test"}) {
                Question q(name, kind);
                q.piece = piece;
                const Answer a = ask(server, q);
                EXPECT_TRUE(a.served) << reason(a);
                EXPECT_EQ(a.subject, name == "first.test" ? "localhost" : "second");
            }
        }
    }
}

TEST(SSLServerName, HelloMayBeInManyRecords) {
    const ssl::SSLContext server =
        choosing(server_context(), {{"second.test", server_context(others().second)}});
    Question q("second.test");
    q.edit = [](std::string flight) {
        if (!is_client_hello(flight)) return flight;
        std::string records;
        for (std::size_t at = 5; at < flight.size(); at += 40) {
            const std::string part = flight.substr(at, 40);
            records += flight.substr(0, 3) + as_bytes(part.size(), 2) + part;
        }
        return records;
    };
    const Answer a = ask(server, q);
    EXPECT_TRUE(a.served) << reason(a);
    EXPECT_EQ(a.subject, "second");
}

// What comes up to the end of the hello is kept for the chosen context, but not without a limit.
TEST(SSLServerName, HelloMayNotBeBlownUp) {
    const ssl::SSLContext server =
        choosing(server_context(), {{"second.test", server_context(others().second)}});
    for (const std::size_t size : {10, 1}) {
        Question q("second.test");
        for (int i = 0; i < 250; ++i) q.alpn += '\xff' + std::string(255, 'a');
        q.edit = [size](std::string flight) {
            if (!is_client_hello(flight)) return flight;
            std::string message;
            for (std::size_t at = 0; at < flight.size();) {
                const std::size_t length = number_at(flight, at + 3, 2);
                message += flight.substr(at + 5, length);
                at += 5 + length;
            }
            std::string records;
            for (std::size_t at = 0; at < message.size(); at += size) {
                const std::string part = message.substr(at, size);
                records += flight.substr(0, 3) + as_bytes(part.size(), 2) + part;
            }
            return records;
        };
        const Answer a = ask(server, q);
        EXPECT_EQ(a.served, size == 10);
        EXPECT_EQ(reason(a), size == 10 ? "not refused"
                                        : "SSLError: [SSL: EXCESSIVE_MESSAGE_SIZE] excessive "
                                          "message size: the client's hello");
    }
}

TEST(SSLServerName, CallbackThatThrowsEndsTheHandshakeWithItsError) {
    ssl::SSLContext server = server_context();
    server.sni_callback = [](std::string_view name) -> std::optional<ssl::SSLContext> {
        throw KeyError("no host " + std::string(name));
    };
    for (const Kind kind : kKinds) {
        const Answer a = ask(server, Question("x.test", kind));
        EXPECT_EQ(reason(a), "KeyError: no host x.test");
        EXPECT_NE(a.client_error.find("unrecognized name"), std::string::npos) << a.client_error;
    }
    server.sni_callback = [](std::string_view) -> std::optional<ssl::SSLContext> {
        return client_context();
    };
    EXPECT_EQ(reason(ask(server, Question("x.test"))),
              "SSLError: Cannot create a server socket with a PROTOCOL_TLS_CLIENT context");
}

TEST(SSLServerName, CallbackMayReturnItsOwnContextWithOtherSettings) {
    ssl::SSLContext server = server_context();
    server.load_verify_locations(authority().ca.file());
    ssl::SSLContext strict = server;
    strict.verify_mode = ssl::CERT_REQUIRED;
    const ssl::SSLContext choosing_server =
        choosing(server, {{"strict.test", strict}, {"same.test", server}});
    EXPECT_FALSE(ask(choosing_server, Question("strict.test")).served);
    const Answer first = ask(choosing_server, Question("same.test"));
    EXPECT_TRUE(first.served);
    Question q("same.test");
    q.session = first.session.get();
    EXPECT_TRUE(ask(choosing_server, q).reused);
    q.name = "strict.test";
    EXPECT_FALSE(ask(choosing_server, q).served);
}

// What the callback does meanwhile is of no harm to the connection.
TEST(SSLServerName, CallbackMayChangeContextsAndTheServer) {
    const auto held = std::make_shared<ssl::SSLContext>(server_context());
    held->sni_callback = [held, text = std::string(100, 'x')](
                             std::string_view name) -> std::optional<ssl::SSLContext> {
        held->sni_callback = nullptr;  // the callback itself
        held->load_verify_locations(others().ca.file());
        held->set_ciphers("ECDHE+AESGCM");
        EXPECT_EQ(text.size(), 100U);
        if (name != "strict.test") return std::nullopt;
        ssl::SSLContext strict = *held;
        strict.verify_mode = ssl::CERT_REQUIRED;
        return strict;
    };
    const ssl::SSLContext server = *held;
    EXPECT_TRUE(ask(server, Question("open.test")).served);
    EXPECT_FALSE(ask(server, Question("strict.test")).served);
    held->sni_callback = nullptr;
}

TEST(SSLServerName, CallbackMayAbortTheConnection) {
    for (const bool chooses : {false, true}) {
        run_virtual([&]() -> Coroutine<> {
            detail::TransportBase* transport = nullptr;
            ssl::SSLContext server = server_context();
            server.sni_callback = [&](std::string_view) -> std::optional<ssl::SSLContext> {
                transport->abort();
                if (!chooses) return std::nullopt;
                return server_context(others().second);
            };
            Wire wire(get_running_loop(), for_client(), for_server(server));
            transport = &wire.server.transport();
            wire.begin();
            EXPECT_FALSE((co_await as_result(wire.server.handshake)).has_value());
            EXPECT_FALSE((co_await as_result(wire.client.handshake)).has_value());
            co_await until([&] { return wire.below_client().lost && wire.below_server().lost; });
            EXPECT_TRUE(wire.server.app().events.empty());
        });
    }
}

// ---- names --------------------------------------------------------------------------------------

// N1. No name is one thing, one that cannot be read another.
TEST(SSLServerName, NameThatCannotBeParsedIsAnAlert) {
    const std::string name = "admin.test";
    const std::string good = server_name_extension(name);
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"nothing", ""},
        {"one byte", std::string(1, '\0')},
        {"an empty list", std::string(2, '\0')},
        {"an empty name", server_name_extension("")},
        {"a list that is too long", as_bytes(name.size() + 4, 2) + good.substr(2)},
        {"a list that is too short", as_bytes(name.size() + 2, 2) + good.substr(2)},
        {"a name that is too long for its list",
         good.substr(0, 3) + as_bytes(name.size() + 1, 2) + name},
        {"bytes behind the name", good + "x"},
        {"bytes behind the name, in the list", as_bytes(name.size() + 4, 2) + good.substr(2) + "x"},
        {"two names", as_bytes(2 * (name.size() + 3), 2) + good.substr(2) + good.substr(2)},
        {"an unknown type", good.substr(0, 2) + '\1' + good.substr(3)},
        {"a NUL in the name", server_name_extension(std::string("admin.test\0x", 12))},
        {"a NUL alone", server_name_extension(std::string(1, '\0'))},
        {"a blank", server_name_extension("admin test")},
        {"a line feed", server_name_extension("admin.test\n")},
        {"letters beyond ASCII", server_name_extension("b\xc3\xbc"
                                                       "cher.test")},
        {"256 letters", server_name_extension(std::string(256, 'a'))},
        {"60000 letters", server_name_extension(std::string(12000, 'a'))},
    };
    int calls = 0;
    ssl::SSLContext server = server_context();
    server.sni_callback = [&](std::string_view) -> std::optional<ssl::SSLContext> {
        ++calls;
        return std::nullopt;
    };
    for (const ssl::SSLContext& context : {server, server_context()}) {
        for (const auto& [what, bytes] : cases) {
            for (const Kind kind : kKinds) {
                Question q("admin.test", kind);
                q.edit = [&bytes = bytes](std::string flight) {
                    return with_server_name(flight, bytes);
                };
                const Answer a = ask(context, q);
                EXPECT_FALSE(a.served) << what;
                EXPECT_NE(reason(a).find("SSLError: [SSL: BAD_EXTENSION] bad extension"),
                          std::string::npos)
                    << what << ": " << reason(a);
                EXPECT_NE(a.client_error.find("alert decode error"), std::string::npos)
                    << what << ": " << a.client_error;
            }
        }
    }
    EXPECT_EQ(calls, 0);
    EXPECT_TRUE(ask(server, Question("admin.test")).served);
    EXPECT_EQ(calls, 1);
    // The longest name is one.
    Question q("admin.test");
    q.edit = [](std::string flight) {
        return with_server_name(flight, server_name_extension(std::string(255, 'a')));
    };
    (void)ask(server, q);
    EXPECT_EQ(calls, 2);
}

// The client's second hello, which a HelloRetryRequest asks for.
TEST(SSLServerName, SecondHelloMustAskForTheSameName) {  // N1
    const ssl::SSLContext first = server_context();
    const ssl::SSLContext second = server_context(others().second);
    for (const ssl::SSLContext& c : {first, second}) {
        SSL_CTX_set1_groups_list(c.state().ctx(), "P-384");
    }
    int calls = 0;
    ssl::SSLContext server = first;
    server.sni_callback = [&](std::string_view name) -> std::optional<ssl::SSLContext> {
        ++calls;
        if (name == "second.test") return second;
        return std::nullopt;
    };
    for (const char* name : {"first.test", "second.test", ""}) {
        calls = 0;
        int hellos = 0;
        Question q(name);
        q.groups = "P-256:P-384";
        q.edit = [&](std::string flight) {
            hellos += is_client_hello(flight);
            return flight;
        };
        const Answer a = ask(server, q);
        EXPECT_TRUE(a.served) << reason(a);
        EXPECT_EQ(a.subject, name == std::string("second.test") ? "second" : "localhost");
        EXPECT_EQ(hellos, 2);
        EXPECT_EQ(calls, 1);
        EXPECT_EQ(a.name, name);
        for (const std::string other : {"first.test", "second.test", "third.test"}) {
            if (other == name || !*name) continue;
            hellos = 0;
            q.edit = [&](std::string flight) {
                if (!is_client_hello(flight) || ++hellos < 2) return flight;
                return with_server_name(flight, server_name_extension(other));
            };
            const Answer bad = ask(server, q);
            EXPECT_FALSE(bad.served);
            EXPECT_EQ(reason(bad),
                      "SSLError: [SSL: BAD_EXTENSION] bad extension: the client asks for another "
                      "server name in its second hello");
        }
    }
}

}  // namespace

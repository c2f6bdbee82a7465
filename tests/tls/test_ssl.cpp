// Contexts, certificates, and what is known of a connection. TL-05, TL-06.
//
// ctest: simulated
#include <asyncio/ssl.hpp>

#include <asyncio/exceptions.hpp>

#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
#include "tls_support.hpp"

namespace {

using namespace asyncio;
using support::raised;
using support::TestAuthority;
using support::TestCertificate;

std::string read_file(const std::string& name) {
    std::ifstream in(name);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

TEST(SSLContext, ClientVerifiesChainAndHostNameByDefault) {  // TL-05
    const ssl::SSLContext context;
    EXPECT_EQ(context.purpose(), ssl::Purpose::SERVER_AUTH);
    EXPECT_TRUE(context.check_hostname);
    EXPECT_EQ(context.verify_mode, ssl::CERT_REQUIRED);
    EXPECT_EQ(context.minimum_version, ssl::TLSVersion::TLSv1_2);
    EXPECT_FALSE(context.strict_eof);
    EXPECT_TRUE(context.sessions);
}

TEST(SSLContext, ServerAsksForNoCertificateByDefault) {  // TL-05
    const ssl::SSLContext context(ssl::PROTOCOL_TLS_SERVER);
    EXPECT_EQ(context.purpose(), ssl::Purpose::CLIENT_AUTH);
    EXPECT_FALSE(context.check_hostname);
    EXPECT_EQ(context.verify_mode, ssl::CERT_NONE);
}

TEST(SSLContext, CopiesShareTheirCertificatesAndHaveTheirOwnSettings) {
    const ssl::SSLContext first;
    ssl::SSLContext second = first;
    second.check_hostname = false;
    second.verify_mode = ssl::CERT_NONE;
    EXPECT_EQ(first, second);
    EXPECT_TRUE(first.check_hostname);
    EXPECT_NE(first, ssl::SSLContext());
}

TEST(SSLContext, MovedFromIsStillAContext) {  // N1
    ssl::SSLContext first(ssl::PROTOCOL_TLS_SERVER);
    ssl::SSLContext second = std::move(first);
    EXPECT_EQ(first, second);  // NOLINT: what was moved from is the subject
    EXPECT_EQ(first.purpose(), ssl::Purpose::CLIENT_AUTH);
    ssl::SSLContext third;
    third = std::move(second);
    EXPECT_EQ(second.purpose(), ssl::Purpose::CLIENT_AUTH);  // NOLINT
}

TEST(SSLContext, DefaultContextIsMadeOnce) {  // TL-05
    EXPECT_EQ(&ssl::default_context(), &ssl::default_context());
    EXPECT_TRUE(ssl::default_context().check_hostname);
    EXPECT_EQ(ssl::default_context().verify_mode, ssl::CERT_REQUIRED);
}

TEST(SSLContext, LoadsACertificateWithItsKeyFromOneFileOrTwo) {
    const TestAuthority authority;
    const ssl::SSLContext context(ssl::PROTOCOL_TLS_SERVER);
    EXPECT_NO_THROW(context.load_cert_chain(authority.server.file()));
    EXPECT_NO_THROW(context.load_cert_chain(authority.server.file(), authority.server.file()));
}

TEST(SSLContext, RefusesAKeyOfAnotherCertificate) {
    const TestAuthority authority;
    const ssl::SSLContext context(ssl::PROTOCOL_TLS_SERVER);
    const std::string text = raised<ssl::SSLError>(
        [&] { context.load_cert_chain(authority.server.file(), authority.ca.file()); });
    EXPECT_NE(text.find("KEY_VALUES_MISMATCH"), std::string::npos) << text;
}

TEST(SSLContext, NamesTheFileThatIsMissing) {
    const ssl::SSLContext context;
    EXPECT_EQ(raised<FileNotFoundError>([&] { context.load_cert_chain("/nowhere/cert.pem"); }),
              "[Errno 2] No such file or directory: '/nowhere/cert.pem'");
    EXPECT_EQ(raised<FileNotFoundError>([&] { context.load_verify_locations("/nowhere/ca.pem"); }),
              "[Errno 2] No such file or directory: '/nowhere/ca.pem'");
}

TEST(SSLContext, RefusesAFileThatIsNoCertificate) {
    const support::TemporaryFolder folder;
    const std::string file = folder / "text.pem";
    std::ofstream(file) << "nothing of the kind\n";
    const ssl::SSLContext context;
    EXPECT_THROW(context.load_cert_chain(file), ssl::SSLError);
    EXPECT_THROW(context.load_verify_locations(file), ssl::SSLError);
}

TEST(SSLContext, DecryptsAKeyWithItsPasswordAndNeverAsksForOne) {
    const TestAuthority authority;
    const TestCertificate secret = authority.make("secret", {.password = "swordfish"});
    const ssl::SSLContext context(ssl::PROTOCOL_TLS_SERVER);
    EXPECT_NO_THROW(context.load_cert_chain(secret.file(), {}, "swordfish"));
    EXPECT_THROW(context.load_cert_chain(secret.file(), {}, "herring"), ssl::SSLError);
    EXPECT_THROW(context.load_cert_chain(secret.file()), ssl::SSLError);
}

TEST(SSLContext, TakesAuthoritiesFromMemory) {
    const TestAuthority authority;
    const ssl::SSLContext context;
    const std::string pem = read_file(authority.ca.file());
    EXPECT_NO_THROW(context.load_verify_locations({}, {}, pem));
    EXPECT_NO_THROW(context.load_verify_locations({}, {}, pem + pem));
    EXPECT_NO_THROW(context.load_verify_locations({}, {}, authority.ca.der()));
    EXPECT_EQ(raised<TypeError>([&] { context.load_verify_locations({}, {}, {}); }),
              "cafile, capath and cadata cannot be all omitted");
    EXPECT_EQ(raised<ssl::SSLError>([&] { context.load_verify_locations({}, {}, "rubbish"); }),
              "not enough data: cadata does not contain a certificate");
    EXPECT_THROW(context.load_verify_locations({}, {}, pem.substr(0, pem.size() / 2) + "!"),
                 ssl::SSLError);
}

TEST(SSLContext, ChecksAlpnNamesAndCiphers) {
    const ssl::SSLContext context;
    EXPECT_NO_THROW(context.set_alpn_protocols({"h2", "http/1.1"}));
    EXPECT_NO_THROW(context.set_alpn_protocols(std::vector<std::string>{"h2"}));
    EXPECT_THROW(context.set_alpn_protocols({"h2", ""}), ssl::SSLError);
    EXPECT_THROW(context.set_alpn_protocols({std::string_view(std::string(256, 'x'))}),
                 ssl::SSLError);
    EXPECT_NO_THROW(context.set_ciphers("ECDHE+AESGCM"));
    EXPECT_EQ(raised<ssl::SSLError>([&] { context.set_ciphers("NO-SUCH-CIPHER"); }),
              "No cipher can be selected.");
}

TEST(SSLObject, EmptyHandleSaysSo) {
    const ssl::SSLObject object;
    EXPECT_FALSE(object);
    EXPECT_EQ(raised<RuntimeError>([&] { (void)object.version(); }),
              "this SSLObject is empty: it refers to no connection");
}

}  // namespace

// Our clients against the servers of the zoo, and our servers against clients of its kind: what is
// wrong is refused with the reason, what is right is taken. TL-05, N3.
#include <asyncio.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"
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
Coroutine<std::string> meet(const zoo::Case& c, unsigned long more_flags = 0) {
    const zoo::Server server(c);
    ssl::SSLContext context = ssl::create_default_context(ssl::Purpose::SERVER_AUTH,
                                                          {.cafile = the_zoo().authorities(c)});
    context.verify_flags |= more_flags;
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

}  // namespace

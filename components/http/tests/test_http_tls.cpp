// The HTTP client against the servers of the TLS zoo: what is wrong is refused with the reason,
// what is right is taken. N3.
// ctest: timeout=120
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "net/resolver.hpp"
#include "support.hpp"
#include "tls_support.hpp"
#include "tls_zoo.hpp"

namespace {

using namespace std::chrono_literals;
using asyncio::as_result;
using asyncio::Coroutine;
namespace http = asyncio::http;

zoo::Zoo& the_zoo() {
    static zoo::Zoo made;
    return made;
}

// Each name is this host.
struct AllNamesAreHere {
    AllNamesAreHere() { asyncio::detail::replace_ask_system(&answer); }
    ~AllNamesAreHere() { asyncio::detail::replace_ask_system(nullptr); }
    static void answer(const asyncio::detail::NameQuery&, asyncio::detail::NameAnswer& answer) {
        asyncio::AddrInfo info;
        info.family = AF_INET;
        info.type = SOCK_STREAM;
        info.address = asyncio::SocketAddress("127.0.0.1", 0);
        answer.infos.push_back(info);
    }
};

// Without the name, which the URL has.
bool says_why(const std::string& text, const std::string& reason) {
    if (text.find(reason) != std::string::npos) return true;
    if (reason.find(" mismatch, certificate is not valid for ") == std::string::npos) return false;
    for (const char* words : {"no alternative certificate subject name matches target host name",
                              "hostname mismatch", "IP address mismatch"}) {
        if (text.find(words) != std::string::npos) return true;
    }
    return false;
}

// "taken", or what it was refused for.
Coroutine<std::string> ask(const zoo::Case& c, std::string host) {
    const zoo::Server server(c);
    http::Client client;
    const std::string url = "https://" + host + ":" + std::to_string(server.port()) + "/";
    const auto r =
        co_await as_result(client.get(url, {.timeout = 10s, .ca_file = the_zoo().authorities(c)}));
    if (r.has_value()) {
        co_return r.value().body == "ok" ? "taken" : "another answer: " + r.value().body;
    }
    const auto* error = asyncio::detail::find<http::Error>(r.error());
    if (!error) co_return "no http::Error: " + asyncio::detail::describe(r.error());
    EXPECT_TRUE(!c.certificate || server.served() == 0) << c.name;
    const bool right_class =
        c.certificate ? r.holds<http::CertificateError>() : r.holds<http::TLSError>();
    co_return (right_class ? "" : "error of another class: ") + error->text();
}

// Prints `n of n`, and each that is not as it should be.
void visit(const char* what, const std::vector<zoo::Case>& cases) {
    const AllNamesAreHere names;
    std::size_t refused = 0;
    std::size_t taken = 0;
    std::size_t bad = 0;
    std::size_t left_out = 0;
    const auto loop = asyncio::new_event_loop();
    const auto main = [&]() -> Coroutine<> {
        for (const zoo::Case& c : cases) {
            std::string host = c.host;
            // Looked up by libcurl, where no test can answer.
            if (host.starts_with("b\xc3\xbc")) host = "xn--bcher-kva.zoo.test";
            if (host.find(':') != std::string::npos) {
                ++left_out;  // the zoo's servers have no address of version 6
                continue;
            }
            const std::string got = co_await ask(c, host);
            const bool right = c.good() ? got == "taken" : says_why(got, c.reason);
            EXPECT_TRUE(right && !got.starts_with("error of another class"))
                << c.name << "\n     is: " << got << "\n should: " << (c.good() ? "" : c.reason);
            bad += !c.good();
            (c.good() ? taken : refused) += right;
        }
    };
    loop->run_until_complete(main());
    std::printf("%s: %zu of %zu refused, %zu of %zu taken, %zu left out\n", what, refused, bad,
                taken, cases.size() - bad - left_out, left_out);
}

TEST(HttpZoo, BadCertificatesAreRefusedAndTheErrorSaysWhy) {
    visit("certificates", the_zoo().certificates());
}

TEST(HttpZoo, BadProtocolsAreRefusedAndTheErrorSaysWhy) {
    visit("protocols", the_zoo().protocols());
}

}  // namespace

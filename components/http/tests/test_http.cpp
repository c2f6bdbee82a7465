// The HTTP client, against a server of the test's own that sends byte by byte what a test wants,
// and over TLS against Python's.
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "counted_new.hpp"
#include "http_server.hpp"
#include "net/resolver.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using asyncio::as_result;
using asyncio::Coroutine;
using support::HttpServer;
using Connection = HttpServer::Connection;
using Request = HttpServer::Request;
namespace http = asyncio::http;

// Runs `main` on a real loop, for 20 s at most.
template <class F>
void run(F main) {
    const auto loop = asyncio::new_event_loop();
    loop->run_until_complete(asyncio::wait_for(main(), 20s));
}

// The error of class E that awaiting `x` ends with.
template <class E, class A>
Coroutine<std::string> error_of(A x) {
    const auto result = co_await as_result(std::move(x));
    co_return support::error_text<E>(result);
}

// What another thread gives; nothing after 5 s, so that a server ends though its client has failed.
template <class T>
T given(std::promise<T>& promise) {
    auto future = promise.get_future();
    return future.wait_for(5s) == std::future_status::ready ? future.get() : T();
}

void hello(const Request&, Connection& c) { c.reply("hello"); }

// ---- requests ----------------------------------------------------------------------------------

TEST(Http, GetGivesStatusHeadersUrlAndBody) {
    const HttpServer server([](const Request&, Connection& c) {
        c.reply("hello", "X-One: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nEmpty:\r\n");
    });
    run([&]() -> Coroutine<> {
        const http::Response r = co_await http::get(server.url("/path?q=1"));
        EXPECT_EQ(r.status, 200);
        EXPECT_TRUE(r.ok());
        EXPECT_EQ(r.text(), "hello");
        EXPECT_EQ(r.url, server.url("/path?q=1"));
        EXPECT_EQ(r.http_version, "1.1");
        EXPECT_EQ(r.headers.get("x-ONE"), "1");
        EXPECT_EQ(r.headers.get_all("set-cookie"), (std::vector<std::string_view>{"a", "b"}));
        EXPECT_EQ(r.headers.get("empty"), "");
        EXPECT_FALSE(r.headers.contains("X-Two"));
        EXPECT_NO_THROW(r.raise_for_status());
    });
    const Request seen = server.last();
    EXPECT_EQ(seen.method, "GET");
    EXPECT_EQ(seen.target, "/path?q=1");
    EXPECT_EQ(seen.header("Host"), "127.0.0.1:" + std::to_string(server.port()));
    EXPECT_TRUE(seen.header("User-Agent").starts_with("libasyncio/"));
    EXPECT_EQ(seen.header("Authorization"), "(none)");
}

TEST(Http, SendsMethodHeadersAndBodyCopiedAtTheCall) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        std::string body = "body with \0 in it";
        std::string value = "two words";
        std::string method = "PUT";
        std::string url = server.url();
        const std::array headers{http::Header{"X-Mine", value}, http::Header{"X-Empty", ""},
                                 http::Header{"Content-Type", "text/plain"}};
        auto call = http::request(method, url, {.headers = headers, .body = body});
        value.assign(value.size(), '#');
        body.assign(body.size(), '#');
        method = "???";
        url.assign(url.size(), '#');
        EXPECT_EQ((co_await std::move(call)).status, 200);
    });
    const Request seen = server.last();
    EXPECT_EQ(seen.method, "PUT");
    EXPECT_EQ(seen.body, "body with \0 in it");
    EXPECT_EQ(seen.header("X-Mine"), "two words");
    EXPECT_EQ(seen.header("X-Empty"), "");
    EXPECT_EQ(seen.header("Content-Type"), "text/plain");
}

TEST(Http, PostWithoutABodySaysSoAndNamesNoType) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> { co_await http::post(server.url()); });
    EXPECT_EQ(server.last().method, "POST");
    EXPECT_EQ(server.last().header("Content-Length"), "0");
    EXPECT_EQ(server.last().header("Content-Type"), "(none)");
}

TEST(Http, LargeBodiesGoOutWithoutAskingFirst) {
    const HttpServer server(hello);
    const std::string body(3 << 20, 'b');
    run([&]() -> Coroutine<> { co_await http::post(server.url(), {.body = body}); });
    EXPECT_EQ(server.last().body, body);
    EXPECT_EQ(server.last().header("Expect"), "(none)");
}

TEST(Http, HeadHasALengthAndNoBody) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n");
    });
    run([&]() -> Coroutine<> {
        const auto r = co_await http::head(server.url());
        EXPECT_EQ(r.headers.get("Content-Length"), "999999999999");
        EXPECT_EQ(r.body, "");
    });
}

TEST(Http, AnErrorStatusIsAResponseUntilAsked) {
    const HttpServer server(
        [](const Request&, Connection& c) { c.reply("gone", "", "404 Not Found"); });
    run([&]() -> Coroutine<> {
        const auto r = co_await http::get(server.url("/missing"));
        EXPECT_EQ(r.status, 404);
        EXPECT_FALSE(r.ok());
        EXPECT_EQ(r.body, "gone");
        try {
            r.raise_for_status();
            ADD_FAILURE() << "raised nothing";
        } catch (const http::StatusError& e) {
            EXPECT_EQ(e.status(), 404);
            EXPECT_EQ(std::string(e.what()),
                      "the server answered with status 404: " + server.url("/missing"));
        }
    });
}

TEST(Http, InterimResponsesAreSkipped) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        c.reply("hello");
    });
    run([&]() -> Coroutine<> {
        const auto r = co_await http::get(server.url());
        EXPECT_EQ(r.status, 200);
        EXPECT_FALSE(r.headers.contains("Link"));
    });
}

TEST(Http, AChunkedBodyIsPutTogether) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        c.send("5\r\nhello\r\n");
        c.send("6\r\n world\r\n0\r\nTrailer: t\r\n\r\n");
    });
    run([&]() -> Coroutine<> {
        const auto r = co_await http::get(server.url());
        EXPECT_EQ(r.body, "hello world");
        EXPECT_FALSE(r.headers.contains("Trailer"));
    });
}

// 100,000 times the letter z.
const std::string kPacked(
    "\037\213\010\000\000\000\000\000\002\003\355\301\061\001\000\000\000\302\240\336"
    "\113\157\015\017\240\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
    "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
    "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
    "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
    "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
    "\000\200\127\003\044\227\341\377\240\206\001\000",
    132);

TEST(Http, CompressedBodiesAreUnpackedAndCountedUnpacked) {
    const std::string text(std::size_t{100} * 1000, 'z');
    const HttpServer server([](const Request& r, Connection& c) {
        const bool wanted = r.header("Accept-Encoding").find("gzip") != std::string::npos;
        c.reply(kPacked, wanted ? "Content-Encoding: gzip\r\n" : "");
    });
    run([&]() -> Coroutine<> {
        EXPECT_EQ((co_await http::get(server.url())).body, text);
        EXPECT_EQ((co_await http::get(server.url(), {.decompress = false})).body, kPacked);
        // A small body that would become a large one.
        co_await error_of<http::BodyTooLargeError>(http::get(server.url(), {.max_body = 99'999}));
    });
}

// ---- bad arguments -----------------------------------------------------------------------------

TEST(Http, HeadersMayBeBraces) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        std::string value = "two words";
        EXPECT_EQ((co_await http::get(server.url(), {.headers = {{"X-One", value}}})).status, 200);
        EXPECT_EQ(server.last().header("X-One"), "two words");
        // All is copied by the call.
        auto kept = http::get(server.url(), {.headers = {{"X-One", value + "!"}, {"X-Two", "2"}}});
        value.assign(value.size(), '#');
        EXPECT_EQ((co_await std::move(kept)).status, 200);
        EXPECT_EQ(server.last().header("X-One"), "two words!");
        EXPECT_EQ(server.last().header("X-Two"), "2");
        http::Client client({.headers = {{"X-All", "a"}}});
        co_await client.get(server.url(), {.headers = {{"a", "1"},
                                                       {"b", "2"},
                                                       {"c", "3"},
                                                       {"d", "4"},
                                                       {"e", "5"},
                                                       {"f", "6"},
                                                       {"g", "7"},
                                                       {"h", "8"},
                                                       {"i", "9"},
                                                       {"j", "a"},
                                                       {"k", "b"},
                                                       {"l", "c"},
                                                       {"m", "d"},
                                                       {"n", "e"},
                                                       {"o", "f"},
                                                       {"p", ""}}});
        EXPECT_EQ(server.last().header("X-All"), "a");
        EXPECT_EQ(server.last().header("a"), "1");
        EXPECT_EQ(server.last().header("o"), "f");
    });
}

// N11: what is awaited raises, not the call, so that as_result() and gather() have it.
TEST(Http, BadArgumentsAreRefusedWhenAwaited) {
    run([]() -> Coroutine<> {
        const auto bad = [](std::string_view method, http::Header header,
                            http::RequestOptions options = {}) {
            options.headers = {&header, 1};
            return error_of<asyncio::ValueError>(
                http::request(method, "http://127.0.0.1:1/", options));
        };
        EXPECT_EQ(co_await bad("GET\r\nX: y", {"A", "b"}), "invalid HTTP method 'GET\\r\\nX: y'");
        EXPECT_EQ(co_await bad("", {"A", "b"}), "invalid HTTP method ''");
        EXPECT_EQ(co_await bad("GET", {"A b", "c"}), "invalid header name 'A b'");
        EXPECT_EQ(co_await bad("GET", {"A", "b\r\nC: d"}),
                  "the value of header 'A' has control characters");
        EXPECT_EQ(co_await bad("GET", {"content-length", "5"}),
                  "header 'content-length' is set by the client");
        EXPECT_EQ(co_await bad("GET", {"A", "b"}, {.max_redirects = -1}),
                  "max_redirects must be >= 0");
        EXPECT_EQ(co_await bad("GET", {"A", "b"}, {.user = "a:b"}),
                  "a user's name must not have a colon");
        http::Client client;
        co_await error_of<asyncio::ValueError>(client.get("http://h/", {.max_redirects = -1}));
        co_await error_of<asyncio::ValueError>(client.stream("", "http://h/"));
        // Not awaited, it is nothing.
        http::get("no URL").close();
        client.stream("GET", "no URL").close();
    });
}

// N10.
TEST(Http, ABadUrlIsAnErrorOfHttp) {
    run([]() -> Coroutine<> {
        const auto bad = [](std::string url) {
            return error_of<http::InvalidURLError>(http::get(url));
        };
        EXPECT_EQ(co_await bad("file:///etc/passwd"),
                  "only http and https URLs can be requested, not 'file'");
        EXPECT_EQ(co_await bad("ftp://example.org/"),
                  "only http and https URLs can be requested, not 'ftp'");
        for (const char* url :
             {"", "example.org", "/path", "http://", "http://a b/", "http://h/a b",
              "http://host:99999/", "http://host:-1/", "http://host:x/", "http://[::1/",
              "http://host\r\nX: y/", "http://h/\x01"}) {
            EXPECT_NE(co_await bad(url), "") << url;
        }
        EXPECT_NE((co_await bad(std::string("http://h/\0x", 11))).find("null character"),
                  std::string::npos);
        // A password in a bad URL is not repeated.
        EXPECT_EQ((co_await bad("http://me:secret@host:port/")).find("secret"), std::string::npos);
        const auto r = co_await as_result(http::get("no URL"));
        const auto* e = asyncio::detail::find<http::Error>(r.error());
        EXPECT_TRUE(e && e->code() == std::errc::invalid_argument);
    });
}

// N10: one bad line of a list is one error.
TEST(Http, ABadUrlAmongOthersIsOneError) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        std::vector<Coroutine<http::Response>> all;
        for (const std::string& url : {server.url("/1"), std::string("#2"), server.url("/3")}) {
            all.push_back(http::get(url));
        }
        const auto results = co_await asyncio::gather(asyncio::return_exceptions, std::move(all));
        EXPECT_EQ(results[0].value().body, "hello");
        EXPECT_TRUE(results[1].holds<http::InvalidURLError>());
        EXPECT_EQ(results[2].value().body, "hello");
    });
}

// N4.
TEST(Http, ARequestTooLargeForLibcurlSaysSo) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        const std::string large(std::size_t{900} << 10, 'x');
        EXPECT_EQ(co_await error_of<http::InvalidURLError>(http::get(server.url() + large)),
                  "invalid URL: it has " + std::to_string(server.url().size() + large.size()) +
                      " bytes, more than the limit of 786432");
        const auto too_large = [&](http::RequestOptions options) -> Coroutine<> {
            const auto text = co_await error_of<http::Error>(http::get(server.url(), options));
            EXPECT_TRUE(text.starts_with("the URL and the headers of the request have ")) << text;
            EXPECT_TRUE(text.ends_with(" bytes, more than the limit of 917504: " + server.url()));
        };
        const std::array one{http::Header{"X-Large", large}};
        co_await too_large({.headers = one});
        const std::string half = large.substr(large.size() / 2);
        const std::array two{http::Header{"X-A", half}, http::Header{"X-B", half}};
        co_await too_large({.headers = two});
        co_await too_large({.user = half.substr(0, half.size() * 3 / 4), .password = half});
        // What is allowed, arrives.
        const std::string most(std::size_t{760} << 10, 'y');
        EXPECT_EQ((co_await http::get(server.url("/" + most))).body, "hello");
        EXPECT_EQ(server.last().target.size(), most.size() + 1);
        const std::array mine{http::Header{"X-Most", most}};
        const std::string body(60000, 'b');
        EXPECT_EQ((co_await http::post(server.url(), {.headers = mine, .body = body})).status, 200);
        EXPECT_EQ(server.last().header("X-Most").size(), most.size());
    });
}

TEST(Http, NeedsARunningLoopWhenAwaitedAndKeepsToIt) {
    const HttpServer server(hello);
    // N11: made outside of a loop, run in one.
    EXPECT_EQ(asyncio::run(http::get(server.url())).body, "hello");
    http::Client client;
    run([&]() -> Coroutine<> { co_await client.get(server.url()); });
    run([&]() -> Coroutine<> {
        EXPECT_EQ(co_await error_of<asyncio::RuntimeError>(client.get(server.url())),
                  "the HTTP client is bound to a different event loop");
    });
}

TEST(Http, OnVirtualTimeItSaysThatThereIsNoNetwork) {
    const HttpServer server(hello);
    const auto loop = asyncio::VirtualTimeEventLoop::create();
    const auto main = [&]() -> Coroutine<> {
        co_await error_of<asyncio::NotImplementedError>(http::get(server.url()));
    };
    loop->run_until_complete(main());
}

// ---- connections -------------------------------------------------------------------------------

TEST(Http, AClientUsesItsConnectionsAgain) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        http::Client client;
        for (int i = 0; i < 5; ++i) co_await client.get(server.url());
        EXPECT_EQ(server.accepted(), 1);
        for (int i = 0; i < 5; ++i) co_await http::get(server.url());
        EXPECT_EQ(server.accepted(), 2);
    });
}

TEST(Http, NoConnectionIsKeptIfNoneIsWanted) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        http::Client client({.max_idle_connections = 0});
        for (int i = 0; i < 3; ++i) co_await client.get(server.url());
    });
    EXPECT_EQ(server.accepted(), 3);
}

TEST(Http, AConnectionThatTheServerClosedIsReplaced) {
    const HttpServer server([](const Request&, Connection& c) {
        c.reply("hello");
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        for (int i = 0; i < 5; ++i) EXPECT_EQ((co_await client.get(server.url())).body, "hello");
    });
    EXPECT_EQ(server.accepted(), 5);
}

TEST(Http, AHundredTransfersAtOnce) {
    const HttpServer server([](const Request& r, Connection& c) { c.reply(r.target); });
    run([&]() -> Coroutine<> {
        http::Client client;
        std::vector<asyncio::Task<http::Response>> tasks;
        for (int i = 0; i < 100; ++i) {
            const std::string url = server.url("/" + std::to_string(i));
            tasks.push_back(asyncio::create_task(client.get(url)));
        }
        for (int i = 0; i < 100; ++i) {
            EXPECT_EQ((co_await tasks[static_cast<std::size_t>(i)]).body, "/" + std::to_string(i));
        }
    });
    EXPECT_EQ(server.requests().size(), 100U);
}

TEST(Http, NoMoreConnectionsThanAllowed) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        http::Client client({.max_connections = 2});
        std::vector<asyncio::Task<http::Response>> tasks;
        for (int i = 0; i < 20; ++i)
            tasks.push_back(asyncio::create_task(client.get(server.url())));
        for (auto& task : tasks) co_await task;
    });
    EXPECT_LE(server.accepted(), 2);
}

TEST(Http, AClientsHeadersAreSentUnlessTheRequestHasItsOwn) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        const std::array common{http::Header{"X-A", "client"}, http::Header{"X-B", "client"}};
        http::Client client({.headers = common});
        const std::array own{http::Header{"x-a", "request"}};
        co_await client.get(server.url(), {.headers = own});
    });
    EXPECT_EQ(server.last().header("X-A"), "request");
    EXPECT_EQ(server.last().header("X-B"), "client");
}

TEST(Http, NobodyListensIsAConnectError) {
    int port = 0;
    {
        const HttpServer gone(hello);
        port = gone.port();
    }
    run([&]() -> Coroutine<> {
        const std::string url = "http://127.0.0.1:" + std::to_string(port) + "/";
        const auto r = co_await as_result(http::get("http://me:secret@" + url.substr(7)));
        const auto* e = asyncio::detail::find<http::ConnectError>(r.error());
        EXPECT_NE(e, nullptr) << asyncio::detail::describe(r.error());
        if (!e) co_return;
        EXPECT_EQ(e->code(), std::errc::connection_refused);
        EXPECT_EQ(e->url(), url);
        EXPECT_EQ(std::string(e->what()), e->text() + ": " + url);
        EXPECT_EQ(std::string(e->what()).find("secret"), std::string::npos);
    });
}

TEST(Http, NamesAreLookedUpByTheLoop) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        const std::string port = std::to_string(server.port());
        const auto r = co_await http::get("http://localhost:" + port + "/");
        EXPECT_EQ(r.body, "hello");
        const auto text =
            co_await error_of<http::ConnectError>(http::get("http://no-such-host.invalid/"));
        EXPECT_TRUE(text.starts_with("Could not resolve host no-such-host.invalid: ")) << text;
    });
}

// libcurl has to be called again after a refusal, which it does not ask for; and the next socket
// gets the number of the one before.
TEST(Http, TheNextAddressIsTriedIfTheFirstRefuses) {
    const HttpServer server(hello);
    struct Replaced {
        Replaced() { asyncio::detail::replace_ask_system(&answer); }
        ~Replaced() { asyncio::detail::replace_ask_system(nullptr); }
        static void answer(const asyncio::detail::NameQuery&, asyncio::detail::NameAnswer& answer) {
            for (const char* host : {"127.0.0.2", "127.0.0.3", "127.0.0.1"}) {
                asyncio::AddrInfo info;
                info.family = AF_INET;
                info.type = SOCK_STREAM;
                info.address = asyncio::SocketAddress(host, 0);
                answer.infos.push_back(info);
            }
        }
    } replaced;
    run([&]() -> Coroutine<> {
        const std::string url = "http://three.test:" + std::to_string(server.port()) + "/";
        EXPECT_EQ((co_await http::get(url, {.timeout = 5s})).body, "hello");
    });
}

// ---- redirects ---------------------------------------------------------------------------------

TEST(Http, RedirectsAreFollowedAndTheUrlIsTheLast) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/a/1") return c.redirect("302 Found", "../b/2?x#part");
        if (r.target == "/b/2?x") return c.redirect("301 Moved", "/3");
        c.reply("here");
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const auto r = co_await client.get(server.url("/a/1"));
        EXPECT_EQ(r.body, "here");
        EXPECT_EQ(r.url, server.url("/3"));
        const auto as_it_is = co_await client.get(server.url("/a/1"), {.max_redirects = 0});
        EXPECT_EQ(as_it_is.status, 302);
        EXPECT_EQ(as_it_is.body, "moved");
        EXPECT_EQ(server.accepted(), 1);
    });
}

// N6. RFC 3986, 5.2.2 and 5.4.
TEST(Http, ARedirectIsReadAsAReference) {
    const std::pair<const char*, const char*> cases[] = {
        {"", "/b/c/d;p?q"},
        {"#s", "/b/c/d;p?q"},
        {"?y", "/b/c/d;p?y"},
        {"g", "/b/c/g"},
        {"./g", "/b/c/g"},
        {"g/", "/b/c/g/"},
        {"/g", "/g"},
        {"g?y", "/b/c/g?y"},
        {"g#s", "/b/c/g"},
        {"g?y#s", "/b/c/g?y"},
        {";x", "/b/c/;x"},
        {".", "/b/c/"},
        {"./", "/b/c/"},
        {"..", "/b/"},
        {"../", "/b/"},
        {"../g", "/b/g"},
        {"../..", "/"},
        {"../../g", "/g"},
        {"../../../g", "/g"},
        {"/./g", "/g"},
        {"/../g", "/g"},
        {"g.", "/b/c/g."},
        {"..g", "/b/c/..g"},
        {"./g/.", "/b/c/g/"},
        {"g/../h", "/b/c/h"},
        {"g?y/../x", "/b/c/g?y/../x"},
        {"./a:b", "/b/c/a:b"},
        {"g h", "/b/c/g%20h"},
        {"  g\t", "/b/c/g"},
        {"g\xc3\xa4", "/b/c/g%c3%a4"},
        {"?x=http://e/", "/b/c/d;p?x=http://e/"},
    };
    std::string location;
    const HttpServer server([&](const Request& r, Connection& c) {
        if (r.header("X-First") != "(none)" && r.target == "/b/c/d;p?q") {
            c.reply("", "X-Had: 1\r\nLocation: " + location + "\r\n", "302 Found");
        } else {
            c.reply(r.target);
        }
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const std::string base = server.url("/b/c/d;p?q");
        const std::array first{http::Header{"X-First", "1"}};
        for (const auto& [reference, target] : cases) {
            location = reference;
            const std::string same = "/b/c/d;p?q";
            if (target == same) {
                const auto text = co_await error_of<http::RedirectError>(
                    client.get(base, {.headers = first, .max_redirects = 2}));
                EXPECT_TRUE(text.starts_with("more than 2 redirects: " + base)) << reference;
            } else {
                const auto r = co_await client.get(base, {.headers = first});
                EXPECT_EQ(r.body, target) << reference;
            }
        }
        // With a fragment of its own, which no server is told of.
        location = "";
        const auto before = server.requests().size();
        co_await error_of<http::RedirectError>(
            client.get(base + "#part", {.headers = first, .max_redirects = 1}));
        EXPECT_EQ(server.requests().size(), before + 2);
        EXPECT_EQ(server.last().target, "/b/c/d;p?q");
        // Another host, the same scheme.
        location = "//localhost:" + std::to_string(server.port()) + "/there";
        EXPECT_EQ((co_await client.get(base, {.headers = first})).body, "/there");
    });
}

TEST(Http, RedirectsToNowhereAreErrorsThatSayWhy) {
    std::string location;
    const HttpServer server([&](const Request&, Connection& c) {
        c.reply("", "Location: " + location + "\r\n", "302 Found");
    });
    run([&]() -> Coroutine<> {
        for (const char* where :
             {"http://", "//", "http://h:99999/", "http://h:-1/", "http://h:x/", "http://[::1/",
              "file:/x", "FILE:///x", "data:,x", "ws://h/", "//h\x01/", "http://u@v@w/"}) {
            location = where;
            const auto text = co_await error_of<http::RedirectError>(http::get(server.url()));
            EXPECT_TRUE(text.starts_with("a redirect that cannot be followed: ")) << text;
        }
        location = "/a\r\nLocation: /b";
        EXPECT_EQ(co_await error_of<http::RedirectError>(http::get(server.url())),
                  "a redirect to two places: " + server.url());
        location = "/a\r\nLocation: /a";
        EXPECT_EQ(co_await error_of<http::RedirectError>(http::get(server.url())),
                  "more than 10 redirects: " + server.url("/a"));
        location = "/" + std::string(std::size_t{90} << 10, 'x');
        EXPECT_TRUE((co_await error_of<http::RedirectError>(http::get(server.url())))
                        .starts_with("more than 10 redirects: "));
        location += location;
        co_await error_of<http::ProtocolError>(http::get(server.url()));
    });
}

TEST(Http, TooManyRedirectsAreAnError) {
    const HttpServer server(
        [](const Request&, Connection& c) { c.redirect("302 Found", "/again"); });
    run([&]() -> Coroutine<> {
        const auto text =
            co_await error_of<http::RedirectError>(http::get(server.url(), {.max_redirects = 3}));
        EXPECT_EQ(text, "more than 3 redirects: " + server.url("/again"));
    });
    EXPECT_EQ(server.requests().size(), 4U);
}

TEST(Http, RedirectsToOtherSchemesAreRefused) {
    const HttpServer server([](const Request& r, Connection& c) {
        c.redirect("302 Found", std::string_view(r.target).substr(1));
    });
    run([&]() -> Coroutine<> {
        for (const char* where : {"/file:///etc/passwd", "/ftp://127.0.0.1/x", "/http://",
                                  "/gopher://127.0.0.1/", "/javascript:alert(1)"}) {
            const auto text = co_await error_of<http::RedirectError>(http::get(server.url(where)));
            EXPECT_TRUE(text.starts_with("a redirect that cannot be followed: ")) << text;
        }
    });
    EXPECT_EQ(server.requests().size(), 5U);
}

TEST(Http, AMethodChangesAfterARedirectAsInABrowser) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target != "/there") return c.redirect(r.target.substr(1) + " x", "/there");
        c.reply(r.method + " " + r.body);
    });
    run([&]() -> Coroutine<> {
        const std::pair<const char*, const char*> cases[] = {{"/301", "GET "},
                                                             {"/302", "GET "},
                                                             {"/303", "GET "},
                                                             {"/307", "POST data"},
                                                             {"/308", "POST data"}};
        for (const auto& [path, expected] : cases) {
            const auto r = co_await http::post(server.url(path), {.body = "data"});
            EXPECT_EQ(r.body, expected) << path;
        }
    });
}

TEST(Http, CredentialsStayWithTheirOrigin) {
    const HttpServer other(hello);
    const HttpServer server([&](const Request& r, Connection& c) {
        if (r.target == "/out") return c.redirect("302 x", other.url("/in"));
        if (r.target == "/same") return c.redirect("302 x", "/in");
        if (r.target == "/evil") {
            return c.redirect("302 x", "http://x:y@" + other.url("/in").substr(7));
        }
        c.reply("hello");
    });
    run([&]() -> Coroutine<> {
        const std::array secrets{http::Header{"Cookie", "c=1"}, http::Header{"X-Plain", "p"}};
        const std::string with_user =
            "http://me:s%20ecret@127.0.0.1:" + std::to_string(server.port());

        auto r = co_await http::get(with_user + "/same", {.headers = secrets});
        EXPECT_EQ(r.url, server.url("/in"));
        EXPECT_EQ(server.last().header("Authorization"), "Basic bWU6cyBlY3JldA==");
        EXPECT_EQ(server.last().header("Cookie"), "c=1");

        r = co_await http::get(with_user + "/out", {.headers = secrets});
        EXPECT_EQ(r.url, other.url("/in"));
        EXPECT_EQ(other.last().header("Authorization"), "(none)");
        EXPECT_EQ(other.last().header("Cookie"), "(none)");
        EXPECT_EQ(other.last().header("X-Plain"), "p");

        const std::array token{http::Header{"authorization", "Bearer t"}};
        co_await http::get(server.url("/out"), {.headers = token});
        EXPECT_EQ(other.last().header("Authorization"), "(none)");
        co_await http::get(server.url("/out"), {.user = "me", .password = "p"});
        EXPECT_EQ(server.last().header("Authorization"), "Basic bWU6cA==");
        EXPECT_EQ(other.last().header("Authorization"), "(none)");

        co_await http::get(server.url("/evil"));
        EXPECT_EQ(other.last().header("Authorization"), "(none)");
    });
    EXPECT_EQ(other.requests().size(), 4U);
}

// ---- limits ------------------------------------------------------------------------------------

TEST(Http, ABodyLargerThanTheLimitIsRefusedBeforeItComes) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
        c.wait_for_end();
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        const auto text =
            co_await error_of<http::BodyTooLargeError>(http::get(server.url(), {.max_body = 1000}));
        EXPECT_EQ(text, "the body has 1001 bytes, more than the limit of 1000 (max_body): " +
                            server.url());
    });
}

TEST(Http, ABodyThatGrowsOverTheLimitIsCutOff) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\n\r\n");
        while (c.send(std::string(10000, 'x')) == 10000) {
        }
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        const auto text = co_await error_of<http::BodyTooLargeError>(
            http::get(server.url(), {.max_body = 50000}));
        EXPECT_EQ(text,
                  "the body has more bytes than the limit of 50000 (max_body): " + server.url());
    });
}

TEST(Http, ABodyOfExactlyTheLimitIsFine) {
    const HttpServer server([](const Request&, Connection& c) { c.reply(std::string(1000, 'x')); });
    run([&]() -> Coroutine<> {
        EXPECT_EQ((co_await http::get(server.url(), {.max_body = 1000})).body.size(), 1000U);
        static_assert(http::RequestOptions{}.max_body == 64 << 20);
    });
}

TEST(Http, EndlessHeadersAreCutOff) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\n");
        const std::string line = "X-Header: " + std::string(1000, 'x') + "\r\n";
        while (c.send(line) == line.size()) {
        }
        c.close_after();
    });
    run([&]() -> Coroutine<> { co_await error_of<http::ProtocolError>(http::get(server.url())); });
}

TEST(Http, ABodyThatIsCutShortIsAnError) {
    static constexpr std::string_view kCuts[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "garbage\r\n\r\n",
        "",
    };
    const HttpServer server([](const Request& r, Connection& c) {
        c.send(kCuts[r.target[1] - '0']);
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        for (std::size_t i = 0; i < std::size(kCuts); ++i) {
            co_await error_of<http::ProtocolError>(http::get(server.url("/" + std::to_string(i))));
        }
    });
}

TEST(Http, ASlowServerMeetsTheTimeout) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/body") c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        c.wait_for_end();
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        for (const char* path : {"/headers", "/body"}) {
            const auto r = co_await as_result(http::get(server.url(path), {.timeout = 50ms}));
            EXPECT_EQ(support::error_text<http::Timeout>(r),
                      "the request took longer than 0.05 s: " + server.url(path));
            const auto* e = asyncio::detail::find<asyncio::OSError>(r.error());
            EXPECT_TRUE(e && e->code() == std::errc::timed_out);
        }
        co_await error_of<http::Timeout>(http::get(server.url(), {.timeout = 0s}));
        // asyncio's own timeouts work as well.
        auto limited = asyncio::wait_for(http::get(server.url()), 20ms);
        const auto r = co_await as_result(std::move(limited));
        support::error_text<asyncio::TimeoutError>(r);
    });
}

// L26.
TEST(Http, TimesOutWithoutMemoryForTheError) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const HttpServer server([](const Request&, Connection& c) {
        c.wait_for_end();
        c.close_after();
    });
    int refused = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run([&]() -> Coroutine<> {
            auto& loop = asyncio::get_running_loop();
            const support::ErrorCapture errors(loop);
            auto task = asyncio::create_task(http::get(server.url(), {.timeout = 50ms}));
            co_await asyncio::sleep(0s);
            // Before the timer of the request, whatever the clock says.
            co_await asyncio::sleep(20ms);
            support::blocks_left = given;
            std::this_thread::sleep_for(40ms);
            co_await asyncio::sleep(0s);
            const auto r = co_await as_result(asyncio::wait_for(task, 5s));
            enough = support::blocks_left.exchange(-1) >= 0;
            if (r.holds<std::bad_alloc>()) {
                ++refused;
            } else {
                EXPECT_TRUE(r.holds<http::Timeout>()) << given;
            }
        });
    }
    EXPECT_GE(refused, 1);
}

// L26.
TEST(Http, ClosesWithoutMemoryForTheError) {
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        c.wait_for_end();
        c.close_after();
    });
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run([&]() -> Coroutine<> {
            http::Client client;
            http::Stream stream = co_await client.stream("GET", server.url());
            http::Stream other = co_await client.stream("GET", server.url());
            EXPECT_EQ(co_await stream.next_chunk(), "hello");
            support::blocks_left = given;
            stream.close();
            client.close();
            enough = support::blocks_left.exchange(-1) >= 0;
            for (const http::Stream* const each : {&stream, &other}) {
                const auto r = co_await as_result(each->next_chunk());
                EXPECT_TRUE(r.holds<http::ClosedError>() || r.holds<std::bad_alloc>()) << given;
            }
        });
    }
}

// N21.
TEST(Http, WaitingForAPlaceCountsForTheConnectTimeout) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/free") return c.reply("hello");
        c.wait_for_end();
        c.close_after();
    });
    const http::ClientOptions limits[] = {{.max_connections = 1}, {.max_connections_per_host = 1}};
    for (const http::ClientOptions& options : limits) {
        run([&]() -> Coroutine<> {
            http::Client client(options);
            auto first = asyncio::create_task(client.get(server.url("/holds")));
            co_await asyncio::sleep(20ms);
            const auto before = asyncio::get_running_loop().time();
            auto second = client.get(server.url("/free"), {.connect_timeout = 60ms});
            const auto r = co_await as_result(std::move(second));
            EXPECT_EQ(support::error_text<http::Timeout>(r),
                      "no connection within 0.06 s (connect_timeout): " + server.url("/free"));
            EXPECT_GE(asyncio::get_running_loop().time() - before, 60ms);
            // It does not count once there is a connection.
            auto third = asyncio::create_task(
                client.get(server.url("/holds"), {.timeout = 300ms, .connect_timeout = 150ms}));
            co_await asyncio::sleep(20ms);
            first.cancel();
            const auto t = co_await as_result(third);
            EXPECT_EQ(support::error_text<http::Timeout>(t),
                      "the request took longer than 0.3 s: " + server.url("/holds"));
            // And a place that is given up is free.
            EXPECT_EQ((co_await client.get(server.url("/free"), {.connect_timeout = 10s})).body,
                      "hello");
            EXPECT_EQ(
                (co_await client.get(server.url("/free"), {.connect_timeout = std::nullopt})).body,
                "hello");
        });
    }
}

// N21: the handshake of TLS as well, here one that does not come.
TEST(Http, TheConnectTimeoutSpansTls) {
    const HttpServer server(hello);  // waits for the end of the headers
    run([&]() -> Coroutine<> {
        const std::string url = "https://127.0.0.1:" + std::to_string(server.port()) + "/";
        EXPECT_EQ(co_await error_of<http::Timeout>(http::get(url, {.connect_timeout = 80ms})),
                  "no connection within 0.08 s (connect_timeout): " + url);
        co_await error_of<http::Timeout>(http::get(url, {.connect_timeout = 0s}));
        co_await error_of<http::Timeout>(http::get(url, {.connect_timeout = -1h}));
        auto limited = http::get(url, {.timeout = 50ms, .connect_timeout = std::nullopt});
        co_await error_of<http::Timeout>(std::move(limited));
    });
}

TEST(Http, TheTimeoutSpansRedirects) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/") return c.redirect("302 x", "/slow");
        c.wait_for_end();
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        const auto text =
            co_await error_of<http::Timeout>(http::get(server.url(), {.timeout = 80ms}));
        EXPECT_EQ(text, "the request took longer than 0.08 s: " + server.url("/slow"));
    });
}

// ---- cancellation ------------------------------------------------------------------------------

TEST(Http, CancelledBeforeItBeginsItSendsNothing) {
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        auto task = asyncio::create_task(http::get(server.url()));
        task.cancel();
        co_await asyncio::wait(task);
        EXPECT_TRUE(task.cancelled());
    });
    EXPECT_EQ(server.accepted(), 0);
}

TEST(Http, CancelledWhileItWaitsItClosesTheConnectionAtOnce) {
    std::promise<void> began;
    std::promise<bool> ended;
    const HttpServer server([&](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        began.set_value();
        ended.set_value(c.wait_for_end());
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        auto task = asyncio::create_task(client.get(server.url()));
        co_await asyncio::to_thread([&] { given(began); });
        task.cancel("enough");
        const auto r = co_await as_result(task);
        EXPECT_EQ(support::error_text<asyncio::CancelledError>(r), "enough");
        EXPECT_TRUE(co_await asyncio::to_thread([&] { return given(ended); }));
    });
}

TEST(Http, CancelledInWhateverTickItIsWholeOrCancelled) {
    // libcurl closes a socket that it was connecting before it tells the loop to forget it. Another
    // thread may be given the number meanwhile, and the sanitizer takes the number for the socket.
    if (support::kThreadSanitizer)
        GTEST_SKIP() << "the sanitizer mistakes a number that is used again";
    const HttpServer server(hello);
    run([&]() -> Coroutine<> {
        http::Client client;
        int whole = 0;
        for (int ticks = 0; ticks < 200; ++ticks) {
            auto task = asyncio::create_task(client.get(server.url()));
            for (int i = 0; i < ticks; ++i) co_await asyncio::sleep(0s);
            task.cancel();
            const auto r = co_await as_result(task);
            if (r.has_value()) {
                EXPECT_EQ(r.value().body, "hello");
                ++whole;
            } else {
                EXPECT_TRUE(r.holds<asyncio::CancelledError>());
            }
        }
        EXPECT_LT(whole, 200);
        EXPECT_EQ((co_await client.get(server.url())).body, "hello");
    });
}

TEST(Http, CancelledDuringALookUpNothingWaitsForIt) {
    run([]() -> Coroutine<> {
        auto task = asyncio::create_task(http::get("http://no-such-host.invalid/"));
        co_await asyncio::sleep(0s);
        task.cancel();
        co_await asyncio::wait(task);
        EXPECT_TRUE(task.cancelled());
    });
}

// ---- closing -----------------------------------------------------------------------------------

void never(const Request&, Connection& c) {
    c.wait_for_end();
    c.close_after();
}

// N23.
TEST(Http, AClientThatGoesWhileItsLoopDoesNotRunEndsItsLookUps) {
    const std::string url = "http://no-such-host.invalid/";
    const auto loop = asyncio::new_event_loop();
    auto client = std::make_unique<http::Client>();
    asyncio::Task<http::Response> looking{nullptr};
    loop->run_until_complete([&]() -> Coroutine<> {
        looking = asyncio::create_task(client->get(url));
        co_await asyncio::sleep(0s);
        co_await asyncio::sleep(0s);
    });
    client.reset();
    const auto r = loop->run_until_complete(as_result(asyncio::wait_for(looking, 20s)));
    EXPECT_EQ(support::error_text<http::ClosedError>(r), "the HTTP client was closed: " + url);

    // The loop destroys it, with the task that has it.
    const auto other = asyncio::new_event_loop();
    auto keeps = []() -> Coroutine<> {
        http::Client mine;
        auto pending = asyncio::create_task(mine.get("http://no-such-host.invalid/"));
        co_await asyncio::Future<>();
    };
    auto task = other->create_task(keeps());
    other->run_until_complete(asyncio::sleep(0s));
    other->run_until_complete(asyncio::sleep(0s));
    other->close();
    EXPECT_FALSE(task.done());
}

TEST(Http, AClientThatGoesEndsWhatIsUnderWay) {
    const HttpServer server(never);
    run([&]() -> Coroutine<> {
        auto client = std::make_unique<http::Client>();
        auto sent = asyncio::create_task(client->get(server.url()));
        auto looking = asyncio::create_task(client->get("http://no-such-host.invalid/"));
        auto not_begun = client->get(server.url());
        co_await asyncio::sleep(5ms);
        client.reset();
        const auto a = co_await as_result(sent);
        EXPECT_EQ(support::error_text<http::ClosedError>(a),
                  "the HTTP client was closed: " + server.url());
        // Unless the answer was there already.
        const auto b = co_await as_result(looking);
        EXPECT_TRUE(b.holds<http::ClosedError>() || b.holds<http::ConnectError>());
        const auto c = co_await as_result(std::move(not_begun));
        support::error_text<http::ClosedError>(c);
    });
}

TEST(Http, AClosedClientTakesNoRequests) {
    run([]() -> Coroutine<> {
        http::Client client;
        EXPECT_FALSE(client.is_closed());
        client.close();
        client.close();
        EXPECT_TRUE(client.is_closed());
        EXPECT_EQ(co_await error_of<asyncio::RuntimeError>(client.get("http://h/")),
                  "the HTTP client is closed");
    });
}

TEST(Http, ALoopMayCloseWithTransfersUnderWay) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/part") c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        never(r, c);
    });
    const support::LogCapture log;  // "Task was destroyed but it is pending!"
    http::Client outside;
    {
        const auto loop = asyncio::new_event_loop();
        const auto main = [&]() -> Coroutine<> {
            // The tasks belong to the loop.
            asyncio::create_task(http::get(server.url()));
            asyncio::create_task(outside.get(server.url("/part")));
            asyncio::create_task(http::get("http://no-such-host.invalid/"));
            const auto accepted = [&]() -> Coroutine<> {
                while (server.accepted() < 2) co_await asyncio::sleep(1ms);
            };
            co_await asyncio::wait_for(accepted(), 20s);
            co_await asyncio::sleep(20ms);  // "/part" comes
        };
        loop->run_until_complete(main());
        loop->close();
    }
}

TEST(Http, WorksInDebugMode) {
    const HttpServer server(hello);
    const auto loop = asyncio::new_event_loop();
    loop->set_debug(true);
    const auto main = [&]() -> Coroutine<> {
        http::Client client;
        EXPECT_EQ((co_await client.get(server.url())).body, "hello");
        EXPECT_EQ((co_await http::get(server.url())).body, "hello");
    };
    loop->run_until_complete(main());
    loop->close();
}

// ---- fork --------------------------------------------------------------------------------------

// L14. What is shared by all loops is free in a child of fork, whatever other threads did; what was
// under way is the parent's, and stays so.
// In a child without standard streams: how many descriptors below 3 were seen open, or 100 if the
// requests were not well.
int client_descriptors_below_three(const std::string& url) {
    ::alarm(20);
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    int low = 0;
    const auto look = [&low] {
        for (int fd = 0; fd < 3; ++fd) low += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    };
    const auto loop = asyncio::new_event_loop();
    loop->run_until_complete([&]() -> Coroutine<> {
        http::Client client;
        look();
        for (int i = 0; i < 3; ++i) {
            auto a = asyncio::create_task(client.get(url));
            auto b = asyncio::create_task(client.get(url));
            auto shared = asyncio::create_task(http::get(url));
            for (const auto& task : {a, b, shared}) {
                if ((co_await task).body != "hello") low = 100;
                look();
            }
        }
        // A connection that nobody accepts.
        if (!(co_await as_result(client.get("http://127.0.0.1:1/"))).holds<http::Error>())
            low = 100;
        look();
    });
    look();
    loop->close();
    return low;
}

// N13. Neither its sockets nor what libcurl opens for itself.
TEST(Http, DescriptorsAreNeverThoseOfTheStandardStreams) {
    if (support::kThreadSanitizer) GTEST_SKIP() << "it starts no threads in a child";
    const HttpServer server(hello);
    const std::string url = server.url();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) std::_Exit(client_descriptors_below_three(url));
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Http, AChildOfForkMayUseTheClient) {
    if (support::kThreadSanitizer) GTEST_SKIP() << "it starts no threads in a child";
    if (support::kAddressSanitizer) GTEST_SKIP() << "its malloc keeps other threads' locks";
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/slow") std::this_thread::sleep_for(200ms);
        c.reply("hello");
    });
    std::atomic<bool> stop{false};
    std::vector<std::thread> others;
    for (int i = 0; i < 2; ++i) {
        others.emplace_back([&] {
            while (!stop) asyncio::run(http::get(server.url()));
        });
    }
    run([&]() -> Coroutine<> {
        auto client = std::make_unique<http::Client>();
        co_await client->get(server.url());
        auto under_way = asyncio::create_task(client->get(server.url("/slow")));
        auto shared = asyncio::create_task(http::get(server.url("/slow")));
        co_await asyncio::sleep(20ms);
        for (int i = 0; i < 40; ++i) {
            const pid_t child = ::fork();
            if (child == 0) {
                ::alarm(20);
                // The parent's client, in the parent's loop: nothing is sent to its servers.
                client.reset();
                const bool well = asyncio::run(http::get(server.url())).body == "hello";
                std::_Exit(well ? 0 : 1);
            }
            int status = -1;
            ::waitpid(child, &status, 0);
            EXPECT_EQ(status, 0);
        }
        EXPECT_EQ((co_await under_way).body, "hello");
        EXPECT_EQ((co_await shared).body, "hello");
        const int before = server.accepted();
        stop = true;
        for (std::thread& thread : others) thread.join();
        EXPECT_EQ((co_await client->get(server.url())).body, "hello");
        EXPECT_LE(server.accepted() - before, 2) << "the child closed a connection";
    });
}

// ---- streams -----------------------------------------------------------------------------------

TEST(Http, AStreamGivesTheBodyAsItComes) {
    std::promise<void> first_taken;
    const HttpServer server([&](const Request& r, Connection& c) {
        if (r.target != "/s") return c.reply("again");
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        given(first_taken);
        c.send("world");
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const http::Stream s = co_await client.stream("GET", server.url("/s"));
        EXPECT_EQ(s.status(), 200);
        EXPECT_EQ(s.url(), server.url("/s"));
        EXPECT_EQ(s.content_length(), 10U);
        EXPECT_NO_THROW(s.raise_for_status());
        EXPECT_EQ(co_await s.next_chunk(), "hello");
        first_taken.set_value();
        EXPECT_EQ(co_await s.next_chunk(), "world");
        EXPECT_EQ(co_await s.next_chunk(), std::nullopt);
        EXPECT_EQ(co_await s.next_chunk(), std::nullopt);
        // The connection is used again.
        const http::Stream t = co_await client.stream("GET", server.url("/t"));
        EXPECT_EQ(server.accepted(), 1);
    });
}

TEST(Http, AStreamThatBreaksGivesFirstWhatCame) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const http::Stream s = co_await client.stream("GET", server.url());
        EXPECT_EQ(co_await s.next_chunk(), "hello");
        co_await error_of<http::ProtocolError>(s.next_chunk());
        co_await error_of<http::ProtocolError>(s.next_chunk());
    });
}

TEST(Http, AStreamsLimitsAreThoseOfARequest) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/large") return c.reply(std::string(2000, 'x'));
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        never(r, c);
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        co_await error_of<http::BodyTooLargeError>(
            client.stream("GET", server.url("/large"), {.max_body = 1000}));
        const http::Stream s =
            co_await client.stream("GET", server.url("/slow"), {.timeout = 100ms});
        EXPECT_EQ(co_await s.next_chunk(), "hello");
        co_await error_of<http::Timeout>(s.next_chunk());
    });
}

TEST(Http, ACancelledChunkIsNotLost) {
    std::promise<void> go_on;
    const HttpServer server([&](const Request&, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        given(go_on);
        c.send("hello");
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const http::Stream s = co_await client.stream("GET", server.url());
        auto early = asyncio::create_task(s.next_chunk());
        early.cancel();
        auto waiting = asyncio::create_task(s.next_chunk());
        co_await asyncio::sleep(0s);
        EXPECT_EQ(co_await error_of<asyncio::RuntimeError>(s.next_chunk()),
                  "another task waits for a chunk of this stream");
        waiting.cancel();
        co_await asyncio::wait(early, waiting);
        EXPECT_TRUE(early.cancelled() && waiting.cancelled());
        go_on.set_value();
        // Cancelled in the tick in which it comes, or in another: the bytes stay.
        std::string got;
        while (got.empty()) {
            auto task = asyncio::create_task(s.next_chunk());
            co_await asyncio::sleep(0s);
            co_await asyncio::sleep(0s);
            task.cancel();
            const auto r = co_await as_result(task);
            if (r.has_value()) got = r.value().value_or("the end came first");
        }
        EXPECT_EQ(got, "hello");
        EXPECT_EQ(co_await s.next_chunk(), std::nullopt);
    });
}

TEST(Http, AStreamNobodyReadsMakesTheServerWait) {
    constexpr std::size_t kTotal = std::size_t{24} << 20;
    std::promise<std::size_t> blocked;
    const HttpServer server([&](const Request&, Connection& c) {
        const timeval limit{0, 300'000};
        ::setsockopt(c.fileno(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        c.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kTotal) + "\r\n\r\n");
        std::string body(kTotal, '\0');
        for (std::size_t i = 0; i < kTotal; ++i) body[i] = static_cast<char>(i % 251);
        std::size_t sent = c.send(body);
        blocked.set_value(sent);
        const timeval none{0, 0};
        ::setsockopt(c.fileno(), SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
        c.send(std::string_view(body).substr(sent));
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const http::Stream s = co_await client.stream("GET", server.url());
        const auto sent = co_await asyncio::to_thread([&] { return given(blocked); });
        EXPECT_LT(sent, kTotal / 2) << "all of it is kept in memory";
        std::size_t received = 0;
        bool equal = true;
        while (const auto chunk = co_await s.next_chunk()) {
            for (const char c : *chunk) equal = equal && c == static_cast<char>(received++ % 251);
        }
        EXPECT_EQ(received, kTotal);
        EXPECT_TRUE(equal);
    });
}

TEST(Http, AStreamThatIsClosedEndsItsTransfer) {
    std::promise<bool> ended;
    const HttpServer server([&](const Request& r, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        if (r.target == "/close") return never(r, c);
        ended.set_value(c.wait_for_end());
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        http::Stream s = co_await client.stream("GET", server.url("/close"));
        auto waiting = asyncio::create_task(s.next_chunk());
        EXPECT_EQ(co_await waiting, "hello");
        waiting = asyncio::create_task(s.next_chunk());
        co_await asyncio::sleep(0s);
        s.close();
        s.close();
        const auto r = co_await as_result(waiting);
        EXPECT_EQ(support::error_text<http::ClosedError>(r),
                  "the stream is closed: " + server.url("/close"));
        co_await error_of<http::ClosedError>(s.next_chunk());
        s = co_await client.stream("GET", server.url("/drop"));
        s = http::Stream();
        EXPECT_TRUE(co_await asyncio::to_thread([&] { return given(ended); }));
        EXPECT_EQ(support::raised<asyncio::RuntimeError>([&] { s.next_chunk().close(); }),
                  "this stream is empty");
    });
}

TEST(Http, AStreamOutlivesItsClientOnlyToSaySo) {
    const HttpServer server([](const Request& r, Connection& c) {
        c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        never(r, c);
    });
    run([&]() -> Coroutine<> {
        auto client = std::make_unique<http::Client>();
        const http::Stream s = co_await client->stream("GET", server.url());
        client.reset();
        EXPECT_EQ(s.status(), 200);
        EXPECT_EQ(co_await error_of<http::ClosedError>(s.next_chunk()),
                  "the HTTP client was closed: " + server.url());
    });
}

// ---- TLS ---------------------------------------------------------------------------------------

// Certificates that openssl makes, and Python's server with one of them.
class HttpTls : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("openssl version >/dev/null 2>&1") != 0) {
            GTEST_SKIP() << "there is no openssl command to make certificates with";
        }
        char name[] = "/tmp/asyncio-http-XXXXXX";
        folder_ = ::mkdtemp(name);
        const std::string make =
            "cd " + folder_ +
            " && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key"
            " -out ca.pem -addext basicConstraints=critical,CA:TRUE >log 2>&1"
            " && openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout key.pem -out req.pem"
            " >>log 2>&1 && printf 'subjectAltName=DNS:localhost' >names"
            " && openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
            " -extfile names -out cert.pem >>log 2>&1";
        ASSERT_EQ(std::system(make.c_str()), 0);
        std::ofstream(folder_ + "/server.py")
            << "import http.server, ssl\n"
               "class H(http.server.BaseHTTPRequestHandler):\n"
               "    def do_GET(self):\n"
               "        self.send_response(200)\n"
               "        if self.path == '/': self.send_header('Content-Length', '6')\n"
               "        self.end_headers()\n"
               "        self.wfile.write(b'secret')\n"
               "        if self.path == '/announced':\n"
               "            try: self.connection.unwrap()\n"
               "            except OSError: pass\n"
               "    def log_message(self, *args): pass\n"
               "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
               "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
               "c.load_cert_chain('cert.pem', 'key.pem')\n"
               "s.socket = c.wrap_socket(s.socket, server_side=True)\n"
               "print(s.server_address[1], flush=True)\n"
               "s.serve_forever()\n";
        start();
    }
    void TearDown() override {
        for (const pid_t child : {pid_, http2_pid_}) {
            if (child <= 0) continue;
            ::kill(child, SIGKILL);
            ::waitpid(child, nullptr, 0);
        }
        if (!folder_.empty()) std::system(("rm -rf " + folder_).c_str());
    }
    void start() {
        int ends[2];
        ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            if (::chdir(folder_.c_str()) != 0 || ::dup2(ends[1], 1) < 0) ::_exit(126);
            ::execlp("python3", "python3", "server.py", nullptr);
            ::_exit(127);
        }
        ::close(ends[1]);
        char digit;
        while (::read(ends[0], &digit, 1) == 1 && digit != '\n') port_ += digit;
        ::close(ends[0]);
        ASSERT_NE(port_, "") << "Python's server does not start";
    }
    std::string url(const char* host) const {
        return std::string("https://") + host + ':' + port_ + '/';
    }

    std::string folder_;
    std::string port_;
    pid_t pid_ = -1;
    pid_t http2_pid_ = -1;
};

TEST_F(HttpTls, CertificatesAndHostNamesAreVerified) {
    run([&]() -> Coroutine<> {
        const std::string ca = folder_ + "/ca.pem";
        EXPECT_EQ((co_await http::get(url("localhost"), {.ca_file = ca})).body, "secret");
        // Signed by nobody that the system trusts.
        co_await error_of<http::CertificateError>(http::get(url("localhost")));
        // For another host.
        co_await error_of<http::CertificateError>(http::get(url("127.0.0.1"), {.ca_file = ca}));
        EXPECT_EQ((co_await http::get(url("127.0.0.1"), {.verify = false})).body, "secret");
        // A connection that was not verified is not used for a request that wants it to be.
        co_await error_of<http::CertificateError>(http::get(url("127.0.0.1")));
        co_await error_of<http::TLSError>(
            http::get(url("localhost"), {.ca_file = "/no/such/file"}));
    });
}

// N5: the end of the connection is the end of the body only if TLS says so, too; anybody on the way
// could end it. Python's server says nothing.
TEST_F(HttpTls, ABodyThatEndsWithoutTheEndOfTlsIsCutShort) {
    run([&]() -> Coroutine<> {
        const std::string ca = folder_ + "/ca.pem";
        const auto text = co_await error_of<http::ProtocolError>(
            http::get(url("localhost") + "x", {.ca_file = ca}));
        EXPECT_TRUE(text.starts_with("the connection ended without the end of TLS")) << text;
        const auto r = co_await http::get(url("localhost") + "announced", {.ca_file = ca});
        EXPECT_EQ(r.body, "secret");
    });
}

TEST_F(HttpTls, SpeaksHttp2WhereTheServerDoes) {
    if (std::system("nghttpd --version >/dev/null 2>&1") != 0) {
        GTEST_SKIP() << "there is no nghttpd, a server of HTTP/2";
    }
    std::ofstream(folder_ + "/file") << "hello";
    // It wants to be told a port: one that was free a moment ago.
    const int port = HttpServer(hello).port();
    const std::string text = std::to_string(port);
    http2_pid_ = ::fork();
    if (http2_pid_ == 0) {
        if (::chdir(folder_.c_str()) != 0 || !std::freopen("/dev/null", "w", stdout)) ::_exit(126);
        ::execlp("nghttpd", "nghttpd", "-a", "127.0.0.1", "-d", ".", text.c_str(), "key.pem",
                 "cert.pem", nullptr);
        ::_exit(127);
    }
    run([&]() -> Coroutine<> {
        const std::string url = "https://localhost:" + text + "/file";
        const std::string ca = folder_ + "/ca.pem";
        http::Client client;
        // Until it listens.
        while (!(co_await as_result(client.get(url, {.ca_file = ca}))).has_value()) {
            co_await asyncio::sleep(10ms);
        }
        std::vector<Coroutine<http::Response>> all;
        for (int i = 0; i < 50; ++i) all.push_back(client.get(url, {.ca_file = ca}));
        for (const http::Response& r : co_await asyncio::gather(std::move(all))) {
            EXPECT_EQ(r.http_version, "2");
            EXPECT_EQ(r.body, "hello");
        }
        auto task = asyncio::create_task(client.get(url, {.ca_file = ca}));
        co_await asyncio::sleep(0s);
        task.cancel();
        co_await asyncio::wait(task);
        EXPECT_EQ((co_await client.get(url, {.ca_file = ca})).http_version, "2");
        // N4: HTTP/2 cannot carry this, and it does not wait for its timeout. This server has no
        // HTTP/1.1.
        const std::string large(std::size_t{100} << 10, 'x');
        const std::array headers{http::Header{"X-Large", large}};
        co_await error_of<http::ProtocolError>(
            client.get(url, {.headers = headers, .ca_file = ca}));
        EXPECT_EQ((co_await client.get(url, {.ca_file = ca})).http_version, "2");
    });
}

TEST_F(HttpTls, PlainHttpBehindHttpsIsATlsError) {
    const HttpServer server([](const Request&, Connection& c) { c.close_after(); });
    run([&]() -> Coroutine<> {
        const std::string wrong = "https://127.0.0.1:" + std::to_string(server.port()) + "/";
        co_await error_of<http::Error>(http::get(wrong, {.timeout = 300ms}));
    });
}

}  // namespace

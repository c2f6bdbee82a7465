// What a server may send back to the HTTP client, and what it must not: status lines, headers,
// lengths, chunks, compressed bodies.
#include <asyncio.hpp>
#include <asyncio/http.hpp>

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "http_server.hpp"
#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using asyncio::as_result;
using asyncio::Coroutine;
using support::HttpServer;
using Connection = HttpServer::Connection;
using Request = HttpServer::Request;
namespace http = asyncio::http;

template <class F>
void run(F main) {
    const auto loop = asyncio::new_event_loop();
    loop->run_until_complete(asyncio::wait_for(main(), 50s));
}

// What came back: "200 BODY", or the error without the URL.
struct Outcome {
    std::string text;
    bool is_error = false;  // of the right class
};

Outcome outcome_of(const asyncio::Result<http::Response>& result) {
    if (result.has_value()) {
        return {std::to_string(result.value().status) + " " + result.value().body};
    }
    const auto* error = asyncio::detail::find<http::Error>(result.error());
    if (!error) return {"no http::Error but " + asyncio::detail::describe(result.error())};
    return {error->text(),
            result.holds<http::ProtocolError>() || result.holds<http::BodyTooLargeError>()};
}

struct Answer {
    std::string bytes;
    std::string expected;  // as Outcome::text; the beginning of it is enough
};

// Sends each of them, on a connection of its own that then ends, and looks what comes of it. What
// is expected to be an error must be one of the server's. In a second round all of it comes in
// pieces.
void check(const std::vector<Answer>& answers, const std::string& method = "GET") {
    for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{3}}) {
        const HttpServer server([&](const Request& r, Connection& c) {
            const int yes = 1;
            ::setsockopt(c.fileno(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            std::string_view left = answers[std::stoul(r.target.substr(1))].bytes;
            while (!left.empty() && c.send(left.substr(0, piece)) > 0) {
                left.remove_prefix(std::min(piece, left.size()));
            }
            c.close_after();
        });
        run([&]() -> Coroutine<> {
            for (std::size_t i = 0; i < answers.size(); ++i) {
                http::Client client;
                const std::string url = server.url("/" + std::to_string(i));
                const auto r = co_await as_result(client.request(method, url, {.timeout = 5s}));
                const Outcome found = outcome_of(r);
                EXPECT_TRUE(found.text.starts_with(answers[i].expected))
                    << answers[i].bytes.substr(0, 300) << "\ngave: " << found.text;
                const bool is_answer =
                    !answers[i].expected.empty() && std::isdigit(answers[i].expected[0]) != 0;
                EXPECT_NE(found.is_error, is_answer) << answers[i].bytes.substr(0, 300);
            }
        });
    }
}

std::string ok(const std::string& headers, const std::string& body = "hello") {
    return "HTTP/1.1 200 OK\r\n" + headers + "\r\n" + body;
}

// ---- the lines ---------------------------------------------------------------------------------

TEST(HttpResponses, WhatDoesNotBeginWithAStatusLineIsRefused) {
    const std::string length = "Content-Length: 5\r\n\r\nhello";
    check({
        {"HTTP/1.1 200 OK\r\n" + length, "200 hello"},
        {"HTTP/1.1 200\r\n" + length, "200 hello"},
        {"HTTP/1.0 200 OK\r\n" + length, "200 hello"},
        {"HTTP/1.1 200 OK\n" + length, "200 hello"},
        {"HTTP/1.1 600 Odd\r\n" + length, "600 hello"},
        {"http/1.1 200 OK\r\n" + length, "the response begins with 'http/1.1 200 OK'"},
        {"HTTP/1.1 2000 OK\r\n" + length, ""},
        {"HTTP/1.1 20 OK\r\n" + length, ""},
        {"HTTP/1.1 000 OK\r\n" + length, ""},
        {"HTTP/1.1 OK\r\n" + length, ""},
        {"HTTP/1.2 200 OK\r\n" + length, ""},
        {"HTTP/11.1 200 OK\r\n" + length, ""},
        {"ICY 200 OK\r\n" + length, ""},
        {"\r\nHTTP/1.1 200 OK\r\n" + length, ""},
        {"hello\r\n\r\n", ""},
    });
}

// N19. RFC 9112, 5.2.
TEST(HttpResponses, AHeaderLineOfBlanksDoesNotEndTheHeaders) {
    const HttpServer server([](const Request& r, Connection& c) {
        if (r.target == "/there") return c.reply("there");
        c.send(
            "HTTP/1.1 302 Found\r\nX-A: 1\r\n \t \r\nX-Empty:\r\n \r\n  two\r\n\tthree \r\n"
            "Location:\r\n /there\r\nContent-Length: 0\r\n\r\n");
    });
    run([&]() -> Coroutine<> {
        const auto r = co_await http::get(server.url(), {.max_redirects = 0});
        EXPECT_EQ(r.headers.get("X-A"), "1");
        EXPECT_EQ(r.headers.get("X-Empty"), "two three");
        EXPECT_EQ(r.headers.get("Content-Length"), "0");
        EXPECT_EQ((co_await http::get(server.url())).body, "there");
    });
    check({{ok("X: y\r\n \r\nContent-Length: 99999999999\r\n"), "the body has 99999999999 bytes"}});
}

// N19.
TEST(HttpResponses, AHeaderNamedLikeAStatusLineIsNone) {
    check({
        {ok("X: y\r\nHTTP/X: 1\r\nContent-Length: 5\r\n"), "invalid header name 'HTTP/X'"},
        {ok("X: y\r\nHTTP/1.1 404 No\r\nContent-Length: 5\r\n"), ""},
        {ok("HTTP/1.1: y\r\nContent-Length: 5\r\n"), "invalid header name 'HTTP/1.1'"},
    });
}

TEST(HttpResponses, HeaderLinesThatCouldBeReadInTwoWaysAreRefused) {
    check({
        {ok("Content-Length : 3\r\n"), "invalid header name 'Content-Length '"},
        {ok("X y: z\r\nContent-Length: 5\r\n"), "invalid header name 'X y'"},
        {ok(": z\r\nContent-Length: 5\r\n"), "invalid header name ''"},
        {ok("no colon\r\nContent-Length: 5\r\n"), ""},
        {ok(" X: y\r\nContent-Length: 5\r\n"), ""},
        {ok("X: a\rContent-Length: 3\r\nContent-Length: 5\r\n"), "a carriage return in the header"},
        {ok("X: a\r\r\nContent-Length: 5\r\n"), "a carriage return in the header line 'X: a\\r'"},
        {ok("\rX: a\r\nContent-Length: 5\r\n"), ""},
        {ok("X: a\n\rContent-Length: 5\r\n"), ""},
        {ok("X: a\0b\r\nContent-Length: 5\r\n"s), ""},
        {ok("X\0: b\r\nContent-Length: 5\r\n"s), ""},
        {ok("X: a\nContent-Length: 5\n", "hello"), "200 hello"},
    });
}

// N4.
TEST(HttpResponses, LimitsOfTheHeadersAreNamed) {
    const std::string many = [] {
        std::string lines;
        for (int i = 0; i < 300; ++i) lines += "X: " + std::string(1000, 'x') + "\r\n";
        return lines;
    }();
    const std::string longest(std::size_t{100} << 10, 'x');
    const HttpServer server([&](const Request& r, Connection& c) {
        if (r.target == "/line") c.send(ok("X: " + longest + "\r\nContent-Length: 5\r\n"));
        if (r.target == "/status") c.send("HTTP/1.1 200 " + longest + "\r\n\r\n");
        if (r.target == "/endless") c.send("HTTP/1.1 200 OK\r\nX: " + longest + longest);
        if (r.target == "/many") c.send(ok(many));
        if (r.target == "/interim") {
            for (int i = 0; i < 300; ++i) {
                c.send("HTTP/1.1 103 Hints\r\nX: " + std::string(1000, 'x') + "\r\n\r\n");
            }
        }
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        for (const char* path : {"/line", "/status", "/endless"}) {
            const auto r = co_await as_result(http::get(server.url(path)));
            const Outcome found = outcome_of(r);
            EXPECT_EQ(found.text, "a header line of the response is longer than 100 KiB") << path;
            EXPECT_TRUE(found.is_error);
        }
        for (const char* path : {"/many", "/interim"}) {
            const auto r = co_await as_result(http::get(server.url(path)));
            EXPECT_EQ(outcome_of(r).text,
                      "the response has too many headers: more than 262144 bytes");
        }
    });
}

// ---- how long the body is ----------------------------------------------------------------------

// N20. RFC 9112, 6.3.
TEST(HttpResponses, LengthsThatContradictOneAnotherAreRefused) {
    const auto of = [](const std::string& value) {
        return ok("Content-Length: " + value + "\r\n");
    };
    check({
        {of("5"), "200 hello"},
        {of("005"), "200 hello"},
        {of("5") + "more", "200 hello"},
        {of("5\r\nContent-Length: 5"), "200 hello"},
        {of("5, 5"), "200 hello"},
        {of("5\r\nContent-Length: 3"), "two Content-Lengths, 5 and 3"},
        {of("3\r\nContent-Length: 5"), "two Content-Lengths, 3 and 5"},
        {of("5, 6"), "two Content-Lengths, 5 and 6"},
        {of("5, 5, 6"), "two Content-Lengths, 5 and 6"},
        {of("5,"), "invalid Content-Length '5,'"},
        {of("5 5"), "invalid Content-Length '5 5'"},
        {of("+5"), "invalid Content-Length '+5'"},
        {of("-5"), ""},
        {of("-0"), ""},
        {of("0x5"), "invalid Content-Length '0x5'"},
        {of("5x"), "invalid Content-Length '5x'"},
        {of("5.0"), "invalid Content-Length '5.0'"},
        {of("5e0"), "invalid Content-Length '5e0'"},
        {of("\"5\""), ""},
        {of("five"), ""},
        {of(""), ""},
        {of("12345678901234567890123"), "Content-Length '12345678901234567890123' is too large"},
        {of("9223372036854775808"), "Content-Length '9223372036854775808' is too large"},
        {of("18446744073709551621"), "Content-Length '18446744073709551621' is too large"},
        {of("9223372036854775807"), "the body has 9223372036854775807 bytes"},
        {of("3\r\n 0"), "header 'Content-Length' goes over more than one line"},
        {of("\r\n 5"), ""},
    });
}

TEST(HttpResponses, ATransferEncodingIsChunkedAndNothingElse) {
    const std::string chunks = "5\r\nhello\r\n0\r\n\r\n";
    const auto of = [&](const std::string& value) {
        return ok("Transfer-Encoding: " + value + "\r\n", chunks);
    };
    check({
        {of("chunked"), "200 hello"},
        {of("CHUNKED"), "200 hello"},
        {of("chunked\r\nContent-Length: 3"), "both Transfer-Encoding and Content-Length"},
        {ok("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", chunks),
         "both Transfer-Encoding and Content-Length"},
        {of("chunked\r\nTransfer-Encoding: chunked"), "invalid Transfer-Encoding 'chunked'"},
        {of("chunked, chunked"), "invalid Transfer-Encoding 'chunked, chunked'"},
        {of("gzip, chunked"), "invalid Transfer-Encoding"},
        {of("chunked, gzip"), "invalid Transfer-Encoding"},
        {of("identity"), "invalid Transfer-Encoding 'identity'"},
        {of("xchunked"), "invalid Transfer-Encoding 'xchunked'"},
        {of("chunked;q=1"), "invalid Transfer-Encoding 'chunked;q=1'"},
        {of("\x0b"
            "chunked"),
         "invalid Transfer-Encoding '\\x0bchunked'"},
        {of(""), "invalid Transfer-Encoding ''"},
        {of("\r\n chunked"), "header 'Transfer-Encoding' goes over more than one line"},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
         "Transfer-Encoding in a response of HTTP/1.0"},
    });
}

TEST(HttpResponses, ChunksAreReadStrictly) {
    const auto of = [](const std::string& body) {
        return ok("Transfer-Encoding: chunked\r\n", body);
    };
    const std::string end = "\r\nhello\r\n0\r\n\r\n";
    check({
        {of("5" + end), "200 hello"},
        {of("00005" + end), "200 hello"},
        {of("5 \t" + end), "200 hello"},
        {of("5;a=\"b\";c" + end), "200 hello"},
        {of("5 ; a" + end), "200 hello"},
        {of("2\r\nhe\r\n3\r\nllo\r\n0;x\r\nX: y\r\nContent-Length: 9\r\n\r\n"), "200 hello"},
        {of("A\r\n0123456789\r\n0\r\n\r\n"), "200 0123456789"},
        {of("0\r\n\r\n"), "200 "},
        {of("5zz" + end), "the size of a chunk is no hexadecimal number"},
        {of("5\0"s + end), "the size of a chunk is no hexadecimal number"},
        {of("5,5" + end), "the size of a chunk is no hexadecimal number"},
        {of("0x5" + end), "the size of a chunk is no hexadecimal number"},
        {of("0x5\r\n\r\n"), "the size of a chunk is no hexadecimal number"},
        {of("5;a\0"s + end), "the size of a chunk is no hexadecimal number"},
        {of("+5" + end), "a chunk of the body has no size"},
        {of("-5" + end), "a chunk of the body has no size"},
        {of(" 5" + end), "a chunk of the body has no size"},
        {of(end), "a chunk of the body has no size"},
        {of("5\rhello\r\n0\r\n\r\n"), "a carriage return in the size of a chunk"},
        {of("ffffffffffffffff" + end), "a chunk of the body is too large"},
        {of("8000000000000000" + end), "a chunk of the body is too large"},
        {of("10000000000000005" + end), ""},
        {of("7fffffffffffffff" + end), ""},
        {of("3" + end), "a chunk of the body is longer than its size"},
        {of("5\r\nhello0\r\n\r\n"), "a chunk of the body is longer than its size"},
        {of("6\r\nhello\r\n0\r\n\r\n"), "a chunk of the body is longer than its size"},
        {of("5\nhello\n0\n\n"), "the size of a chunk is no hexadecimal number"},
        {of("5\r\nhello\n0\r\n\r\n"), "a chunk of the body is longer than its size"},
        {of("5\r\nhello\r\n"), ""},
        {of("5\r\nhello\r\n0\r\n"), ""},
        {of("5\r\nhello\r\n0\r\nX: y\r\n"), ""},
        {of("5;" + std::string(20000, 'a') + end), "the extensions of a chunk are too long"},
        {of("5\r\nhello\r\n0\r\nX: " + std::string(5000, 'a') + "\r\n\r\n"),
         "the trailers of the body are too long"},
    });
}

// A chunk that cannot be understood ends the request, though the server says no more.
TEST(HttpResponses, ABadChunkIsNotWaitedFor) {
    const HttpServer server([](const Request&, Connection& c) {
        c.send(ok("Transfer-Encoding: chunked\r\n", "5\rhello"));
        c.wait_for_end();
        c.close_after();
    });
    run([&]() -> Coroutine<> {
        const auto r = co_await as_result(http::get(server.url(), {.timeout = 20s}));
        EXPECT_EQ(outcome_of(r).text, "a carriage return in the size of a chunk");
    });
}

TEST(HttpResponses, ResponsesWithoutABodyHaveNone) {
    check({
        {"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", "204 "},
        {"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "204 "},
        {"HTTP/1.1 204 No\r\nContent-Encoding: nonsense\r\n\r\n", "204 "},
        {"HTTP/1.1 304 No\r\nContent-Length: 99999999999\r\n\r\n", "304 "},
        {"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", "205 "},
    });
    check(
        {
            {ok("Content-Length: 99999999999\r\n", ""), "200 "},
            {ok("Content-Length: 5\r\n"), "200 "},
            {ok("Transfer-Encoding: chunked\r\n", ""), "200 "},
            {ok("Content-Length: 5\r\nContent-Encoding: gzip\r\n", ""), "200 "},
            {ok("Content-Length: 5\r\nContent-Length: 6\r\n", ""), "two Content-Lengths, 5 and 6"},
        },
        "HEAD");
}

TEST(HttpResponses, InterimResponsesSayNothingOfTheBody) {
    const std::string last = ok("Content-Length: 5\r\n");
    check({
        {"HTTP/1.1 100 Go\r\n\r\n" + last, "200 hello"},
        {"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hint\r\nLink: x\r\n\r\n" + last, "200 hello"},
        {"HTTP/1.1 100 Go\r\nContent-Length: 3\r\n\r\n" + last, "200 hello"},
        {"HTTP/1.1 100 Go\r\nContent-Encoding: gzip\r\n\r\n" + last, "200 hello"},
        {"HTTP/1.1 100 Go\r\nContent-Length: 3\r\n\r\n" + ok(""),
         "an interim response has a Content-Length, and this one none"},
        {"HTTP/1.1 100 Go\r\nTransfer-Encoding: chunked\r\n\r\n" + last,
         "an interim response has a Transfer-Encoding"},
        {"HTTP/1.1 101 Switch\r\nUpgrade: h2c\r\n\r\nhello",
         "the server changed the protocol, unasked"},
        {"HTTP/1.1 100 Go\r\n\r\n", ""},
        {"HTTP/1.1 100 Go\r\n\r\nhello", ""},
    });
}

// What comes after a response is not the next one.
TEST(HttpResponses, BytesAfterAResponseAreNotTheNextOne) {
    const std::string evil = ok("Content-Length: 4\r\n", "evil");
    const std::string chunks = "5\r\nhello\r\n0\r\n\r\n";
    const std::vector<std::string> first = {
        ok("Content-Length: 5\r\n") + evil,
        ok("Transfer-Encoding: chunked\r\n", chunks) + evil,
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n" + evil,
        "HTTP/1.1 304 No\r\n\r\n" + evil,
    };
    for (const bool later : {false, true}) {
        const HttpServer server([&](const Request& r, Connection& c) {
            if (r.target == "/next") return c.reply("next");
            const std::string& bytes = first[std::stoul(r.target.substr(1))];
            if (!later) {
                c.send(bytes);
                return;
            }
            c.send(bytes.substr(0, bytes.size() - evil.size()));
            std::this_thread::sleep_for(20ms);
            c.send(evil);
        });
        run([&]() -> Coroutine<> {
            for (std::size_t i = 0; i < first.size(); ++i) {
                http::Client client;
                co_await client.get(server.url("/" + std::to_string(i)));
                co_await asyncio::sleep(50ms);
                EXPECT_EQ((co_await client.get(server.url("/next"))).body, "next") << i << later;
            }
        });
    }
}

// ---- compressed bodies -------------------------------------------------------------------------

enum class Format { kGzip, kZlib, kRaw };

std::string packed(std::string_view text, Format format = Format::kGzip, int level = 9) {
    z_stream z{};
    const int window = format == Format::kGzip ? 15 + 16 : format == Format::kZlib ? 15 : -15;
    if (deflateInit2(&z, level, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
    std::string to(deflateBound(&z, text.size()) + 64, '\0');
    // Safe because zlib only reads its input, and both are bytes.
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(to.data());
    z.avail_out = static_cast<uInt>(to.size());
    EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    to.resize(z.total_out);
    deflateEnd(&z);
    return to;
}

Answer coded(const std::string& coding, const std::string& body, const std::string& expected) {
    return {ok("Content-Encoding: " + coding +
                   "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n",
               body),
            expected};
}

// N5. Half of a body was a whole one.
TEST(HttpResponses, ACompressedBodyThatIsCutShortIsAnError) {
    std::string text;
    for (int i = 0; i < 40; ++i) text += std::to_string(i * i);
    const std::pair<const char*, Format> formats[] = {
        {"gzip", Format::kGzip}, {"deflate", Format::kZlib}, {"deflate", Format::kRaw}};
    for (const auto& [coding, format] : formats) {
        const std::string whole = packed(text, format);
        std::vector<Answer> answers{coded(coding, whole, "200 " + text)};
        for (std::size_t n = 1; n < whole.size(); ++n) {
            answers.push_back(
                coded(coding, whole.substr(0, n), "the compressed body is cut short"));
        }
        check(answers);
    }
    // Nor is it whole if all else says so: the end of the chunks, or of the connection.
    const std::string half = packed(text).substr(0, 50);
    check({
        {ok("Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "32\r\n" + half + "\r\n0\r\n\r\n"),
         "the compressed body is cut short"},
        {ok("Content-Encoding: gzip\r\n", half), "the compressed body is cut short"},
        {ok("Content-Encoding: gzip\r\n", packed(text)), "200 " + text},
    });
}

// N5. RFC 1952, 2.2.
TEST(HttpResponses, ACompressedBodyMayHaveManyMembers) {
    const std::string one = packed("one ");
    const std::string two = packed("two ");
    const std::string none = packed("");
    std::string many;
    for (int i = 0; i < 2000; ++i) many += none;
    check({
        coded("gzip", one + two, "200 one two "),
        coded("gzip", none, "200 "),
        coded("gzip", none + one + none + two + none, "200 one two "),
        coded("gzip", many + one, "200 one "),
        coded("gzip", one + two.substr(0, 1), "the compressed body is cut short"),
        coded("gzip", one + two.substr(0, two.size() - 1), "the compressed body is cut short"),
        coded("gzip", one + "\0\0\0"s, "the compressed body is damaged: incorrect header check"),
        coded("gzip", one + "garbage", "the compressed body is damaged: incorrect header check"),
        coded("deflate", packed("one", Format::kZlib) + "garbage", "bytes after the compressed"),
        coded("deflate", packed("one", Format::kRaw) + "garbage", "bytes after the compressed"),
    });
}

TEST(HttpResponses, WhatIsNotPackedAsItSaysIsRefused) {
    std::string damaged = packed("one two three");
    damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);
    check({
        coded("gzip", "hello", "the compressed body is damaged: "),
        coded("gzip", damaged, "the compressed body is damaged: incorrect data check"),
        coded("gzip", packed("hello", Format::kZlib), "the compressed body is damaged: "),
        coded("deflate", packed("hello"), "the compressed body is damaged: "),
        coded("deflate", "\x78\xbb\x12\x34\x56\x78hello", "the compressed body is damaged: it nee"),
        coded("br", "hello", "the body has the Content-Encoding 'br', which was not asked for"),
        coded("zstd", "hello", "the body has the Content-Encoding 'zstd', which was not asked"),
        coded("gzip;q=1", "hello", "the body has the Content-Encoding 'gzip;q=1'"),
        coded("gzip, gzip, gzip", "hello", "the body has more than 2 Content-Encodings"),
        coded("nonsense", "", "200 "),
        coded("gzip", "", "200 "),
        coded("identity", "hello", "200 hello"),
        coded("", "hello", "200 hello"),
        coded("X-GZip", packed("hello"), "200 hello"),
        coded("deflate, identity, gzip", packed(packed("hello", Format::kZlib)), "200 hello"),
        coded("gzip\r\nContent-Encoding: gzip", packed(packed("hello")), "200 hello"),
        coded("gzip, gzip", packed("hello"), "the compressed body is damaged: "),
        coded("gzip, gzip", packed(packed("hello").substr(0, 20)), "the compressed body is cut"),
        coded("gzip, gzip", packed(packed("hello")).substr(0, 20), "the compressed body is cut"),
    });
}

TEST(HttpResponses, CodingsAreAskedForAndMayBeChosen) {
    const HttpServer server([](const Request&, Connection& c) { c.reply("hello"); });
    run([&]() -> Coroutine<> {
        co_await http::get(server.url());
        EXPECT_EQ(server.last().header("Accept-Encoding"), "gzip, deflate");
        co_await http::get(server.url(), {.decompress = false});
        EXPECT_EQ(server.last().header("Accept-Encoding"), "(none)");
        const std::array own{http::Header{"accept-encoding", "gzip;q=0.5"}};
        co_await http::get(server.url(), {.headers = own});
        EXPECT_EQ(server.last().header("Accept-Encoding"), "gzip;q=0.5");
        const std::array part{http::Header{"Range", "bytes=0-4"}};
        co_await http::get(server.url(), {.headers = part});
        EXPECT_EQ(server.last().header("Accept-Encoding"), "identity");
    });
}

// Some KB that become many MB, or, packed twice, many GB.
TEST(HttpResponses, ACompressedBodyMayNotGrowOverTheLimit) {
    const std::string bomb = packed(std::string(std::size_t{64} << 20, '\0'));
    const HttpServer server([&](const Request& r, Connection& c) {
        if (r.target == "/once") c.reply(bomb, "Content-Encoding: gzip\r\n");
        if (r.target == "/twice") c.reply(packed(bomb), "Content-Encoding: gzip, gzip\r\n");
    });
    run([&]() -> Coroutine<> {
        for (const char* path : {"/once", "/twice"}) {
            const std::string url = server.url(path);
            const auto r = co_await as_result(http::get(url, {.max_body = 1 << 20}));
            EXPECT_EQ(support::error_text<http::BodyTooLargeError>(r),
                      "the body has more bytes than the limit of 1048576 (max_body): " + url);
            EXPECT_EQ((co_await http::get(url)).body.size(), std::size_t{64} << 20);
        }
    });
}

// As long as nobody takes them, the bytes stay packed.
TEST(HttpResponses, AStreamUnpacksWhatIsTaken) {
    constexpr std::size_t kTotal = std::size_t{16} << 20;
    std::string text(kTotal, '\0');
    for (std::size_t i = 0; i < kTotal; i += 1000) text[i] = static_cast<char>(i / 1000 % 251);
    const std::string bomb = packed(text);
    const HttpServer server([&](const Request& r, Connection& c) {
        if (r.target == "/cut")
            c.reply(bomb.substr(0, bomb.size() - 1), "Content-Encoding: gzip\r\n");
        if (r.target == "/whole") c.reply(bomb, "Content-Encoding: gzip\r\n");
        if (r.target == "/twice") c.reply(packed(bomb), "Content-Encoding: gzip, gzip\r\n");
        if (r.target == "/breaks") {
            c.send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " +
                   std::to_string(bomb.size()) + "\r\n\r\n" + bomb.substr(0, bomb.size() / 2));
            c.close_after();
        }
    });
    run([&]() -> Coroutine<> {
        http::Client client;
        const auto take_all = [&](const char* path,
                                  std::size_t& got) -> Coroutine<std::exception_ptr> {
            const http::Stream s =
                co_await client.stream("GET", server.url(path), {.max_body = http::UNLIMITED});
            std::string whole;
            std::exception_ptr error;
            for (;;) {
                const auto chunk = co_await as_result(s.next_chunk());
                if (!chunk.has_value()) {
                    error = chunk.error();
                    break;
                }
                if (!chunk.value()) break;
                EXPECT_GT(chunk.value()->size(), 0U);
                EXPECT_LE(chunk.value()->size(), std::size_t{320} << 10);
                whole += *chunk.value();
            }
            got = whole.size();
            EXPECT_TRUE(text.starts_with(whole)) << path;
            co_return error;
        };
        std::size_t got = 0;
        EXPECT_EQ(co_await take_all("/whole", got), nullptr);
        EXPECT_EQ(got, kTotal);
        EXPECT_EQ(co_await take_all("/twice", got), nullptr);
        EXPECT_EQ(got, kTotal);
        std::exception_ptr error = co_await take_all("/cut", got);
        EXPECT_NE(asyncio::detail::find<http::ProtocolError>(error), nullptr);
        EXPECT_EQ(got, kTotal);
        error = co_await take_all("/breaks", got);
        EXPECT_NE(asyncio::detail::find<http::ProtocolError>(error), nullptr);
        EXPECT_GT(got, kTotal / 4);
        EXPECT_EQ(server.accepted(), 1) << "a connection was not used again";
    });
}

TEST(HttpResponses, AStreamOfACompressedBodyMayBeClosedWhenever) {
    const std::string bomb = packed(std::string(std::size_t{8} << 20, '\0'));
    const HttpServer server(
        [&](const Request&, Connection& c) { c.reply(bomb, "Content-Encoding: gzip\r\n"); });
    run([&]() -> Coroutine<> {
        http::Client client;
        for (int taken = 0; taken < 4; ++taken) {
            http::Stream s = co_await client.stream("GET", server.url());
            for (int i = 0; i < taken; ++i) EXPECT_TRUE((co_await s.next_chunk()).has_value());
            s.close();
            const auto r = co_await as_result(s.next_chunk());
            support::error_text<http::ClosedError>(r);
        }
    });
}

}  // namespace

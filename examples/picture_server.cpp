// A small HTTP server with pictures that it makes itself, for trying download_pictures: prints the
// URL of each, then an empty line, and serves them on 127.0.0.1 until it is stopped.
//
//   picture_server [PICTURES [DELAY_MS]]     default: 20 pictures, 200 ms before each
//
// Each third picture is refused once, as by a server that is too busy.
#include <asyncio.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "command_line.hpp"

namespace {

constexpr int kSide = 160;  // pixels

std::string little_endian(std::uint32_t value) {
    std::string bytes;
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift);
    return bytes;
}

// A BMP: two headers, then rows of blue, green and red, from the bottom up. Each row is a multiple
// of four bytes long, as the format demands.
std::string picture(unsigned number) {
    constexpr std::uint32_t kHeader = 14 + 40;
    constexpr std::uint32_t kPixels = 3 * kSide * kSide;
    static_assert(kSide % 4 == 0);
    std::string bytes = "BM" + little_endian(kHeader + kPixels) + little_endian(0) +
                        little_endian(kHeader) + little_endian(40) + little_endian(kSide) +
                        little_endian(kSide) + little_endian(1 | 24 << 16) + little_endian(0) +
                        little_endian(kPixels);
    for (int i = 0; i < 4; ++i) bytes += little_endian(0);
    for (unsigned y = 0; y < kSide; ++y) {
        for (unsigned x = 0; x < kSide; ++x) {
            bytes += static_cast<char>(x + 37 * number);
            bytes += static_cast<char>(y + 91 * number);
            bytes += static_cast<char>((x * y) >> 6);
        }
    }
    return bytes;
}

std::string response(std::string_view status, std::string_view type, std::string_view body) {
    return "HTTP/1.1 " + std::string(status) + "\r\nContent-Type: " + std::string(type) +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

class PictureServer {
  public:
    PictureServer(int pictures, int delay) : pictures_(pictures), delay_(delay) {}

    asyncio::Coroutine<> run() {
        auto handler = [this](asyncio::StreamReader r, asyncio::StreamWriter w) {
            return serve(std::move(r), std::move(w));
        };
        auto server = co_await asyncio::start_server(handler, "127.0.0.1", 0);
        const int port = server.sockets()[0].getsockname().port();
        std::string urls;
        for (int i = 1; i <= pictures_; ++i) {
            urls += "http://127.0.0.1:" + std::to_string(port) + "/holiday/" + std::to_string(i) +
                    ".bmp\n";
        }
        command::say(urls, "\n");
        co_await asyncio::sleep(std::nullopt);  // until Ctrl-C; no client is waited for then
    }

  private:
    // One connection. A client that goes away in the middle, or sends a line without end, is no
    // news here.
    asyncio::Coroutine<> serve(asyncio::StreamReader reader, asyncio::StreamWriter writer) {
        try {
            co_await answer_requests(reader, writer);
        } catch (const asyncio::OSError&) {
        } catch (const asyncio::ValueError&) {
        }
        writer.close();
    }

    // Requests come one after the other, until the client closes the connection.
    asyncio::Coroutine<> answer_requests(asyncio::StreamReader reader,
                                         asyncio::StreamWriter writer) {
        while (const auto line = co_await reader.next()) {
            // The other headers do not matter here.
            while (const auto header = co_await reader.next()) {
                if (*header == "\r\n") break;
            }
            co_await asyncio::sleep(delay_);
            writer.write(answer(*line));
            co_await writer.drain();
        }
    }

    std::string answer(const std::string& line) {
        int number = 0;
        int length = 0;  // of what matched: all but the rest of the line, " HTTP/1.1"
        const bool known =
            std::sscanf(line.c_str(), "GET /holiday/%d.bmp%n", &number, &length) == 1 &&
            line[static_cast<std::size_t>(length)] == ' ' && number >= 1 && number <= pictures_;
        if (!known) return response("404 Not Found", "text/plain", "no such picture\n");
        if (number % 3 == 0 && refused_.insert(number).second) {
            return response("503 Service Unavailable", "text/plain", "busy\n");
        }
        return response("200 OK", "image/bmp", picture(static_cast<unsigned>(number)));
    }

    int pictures_;
    std::chrono::milliseconds delay_;
    std::set<int> refused_;
};

}  // namespace

int main(int argc, char** argv) {
    const char* usage = "picture_server [PICTURES [DELAY_MS]]";
    std::optional<PictureServer> server;
    return command::run(usage, argc, argv, [&](const command::Arguments& words) {
        words.expect(0, 2);
        const int pictures = words.number(0, "PICTURES", 1, 1'000'000, 20);
        server.emplace(pictures, words.number(1, "DELAY_MS", 0, 60'000, 200));
        return server->run();
    });
}

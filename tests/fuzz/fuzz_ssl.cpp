// What comes in over a secured connection is changed on its way. The input is a program: what the
// two ends do, and what becomes of the bytes between them: dropped, doubled, changed, cut, held
// back, or others in their place. Or there is one end only, and the other is somebody who sends
// random bytes, records that look well, and pieces of a handshake that he has overheard.
//
// Whatever happens: an end gets nothing but what the other has sent, in its order; it sees a clean
// end only where there was one; and each connection ends, by an error or by its time limits.
#include <asyncio.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fake_transport.hpp"
#include "net/ssl_factory.hpp"
#include "tls_support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::FakeTransport;

// The program's bytes; zeros at its end.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
    bool empty() const { return at_ == end_; }
    unsigned byte() { return empty() ? 0 : *at_++; }
    std::string bytes(std::size_t n) {
        std::string text;
        while (text.size() < n) text += static_cast<char>(byte());
        return text;
    }

  private:
    const std::uint8_t* at_;
    const std::uint8_t* end_;
};

void check(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

// ---- an end -------------------------------------------------------------------------------------

struct App : Protocol {
    bool made = false;
    bool eof = false;
    bool lost = false;
    std::string data;

    void connection_made(Transport&) override { made = true; }
    void data_received(std::string_view bytes) override { data += bytes; }
    bool eof_received() override {
        eof = true;
        return false;
    }
    void connection_lost(std::exception_ptr) override { lost = true; }
};

ssl::SSLContext make_context(ssl::Purpose purpose) {
    static const support::TestAuthority authority;
    ssl::SSLContext context = ssl::create_default_context(purpose, {.cafile = authority.ca.file()});
    if (purpose == ssl::Purpose::CLIENT_AUTH) context.load_cert_chain(authority.server.file());
    context.strict_eof = true;
    return context;
}

detail::TlsSettings settings(bool server_side, bool old_version) {
    static const ssl::SSLContext client = make_context(ssl::Purpose::SERVER_AUTH);
    static const ssl::SSLContext server = make_context(ssl::Purpose::CLIENT_AUTH);
    detail::TlsSettings made{.context = server_side ? server : client, .server_side = server_side};
    if (old_version) made.context.maximum_version = ssl::TLSVersion::TLSv1_2;
    if (!server_side) made.server_hostname = "localhost";
    return made;
}

class End {
  public:
    End(EventLoop& loop, bool server_side, bool old_version)
        : app(std::make_shared<App>()), handshake_(loop.create_future<void>()) {
        tls_ =
            detail::make_tls_connection(loop, settings(server_side, old_version), app, handshake_);
    }
    const std::shared_ptr<BaseProtocol>& protocol() const { return tls_.protocol; }

    void write(std::string_view text) {
        if (!app->made || app->lost || tls_.transport->is_closing()) return;
        sent += text;
        tls_.transport->write(text);
    }
    void close() {
        closed = closed || !app->eof;
        tls_.transport->close();
    }
    void abort() {
        aborted = true;
        tls_.transport->abort();
    }
    void pause(bool on) {
        if (!app->made || app->lost) return;
        if (on) tls_.transport->pause_reading();
        if (!on) tls_.transport->resume_reading();
    }

    // To be called when all is over. `other`: null if nobody has the keys.
    void check_end(const End* other) const {
        check(handshake_.done(), "a handshake goes on for ever");
        const bool secured = !handshake_.cancelled() && !handshake_.exception();
        check(app->made == secured, "connection_made without a handshake, or none with one");
        check(app->lost == app->made, "a connection goes on for ever");
        check(other || !secured, "a handshake succeeded with nobody");
        if (!other) return;
        check(std::string_view(other->sent).starts_with(app->data), "other bytes were received");
        if (!app->eof || closed || aborted) return;
        check(other->closed, "an end that nobody has sent");
        check(app->data == other->sent, "bytes are missing before the end");
    }

    std::shared_ptr<App> app;
    std::string sent;
    bool closed = false;  // by itself, not in answer to an end
    bool aborted = false;

  private:
    Future<void> handshake_;
    detail::TlsConnection tls_;
};

// ---- between the ends ---------------------------------------------------------------------------

using Flights = std::vector<std::string>;

// What somebody has overheard: of the client, and of the server.
struct Overheard {
    Flights client;
    Flights server;
};
Overheard overheard;

std::string some_flight(Input& in, const Flights& flights) {
    return flights.empty() ? std::string() : flights[in.byte() % flights.size()];
}

// A record that looks well, but for what is in it.
std::string some_record(Input& in) {
    std::string body = in.bytes(in.byte() % 64);
    const unsigned type = 20 + in.byte() % 5;
    std::string record{static_cast<char>(type), '\3', static_cast<char>(in.byte() % 5)};
    record += static_cast<char>(in.byte() % 16 == 0 ? in.byte() : 0);
    record += static_cast<char>(in.byte() % 8 == 0 ? in.byte() : body.size());
    if (type == 22 && body.size() >= 4) {
        body[0] = static_cast<char>(in.byte() % 25);
        body[1] = body[2] = '\0';
        body[3] = static_cast<char>(body.size() - 4);
    }
    return record + body;
}

std::string changed(Input& in, std::string data) {
    for (unsigned n = 1 + in.byte() % 3; n > 0 && !data.empty(); --n) {
        data[(in.byte() * 256u + in.byte()) % data.size()] = static_cast<char>(in.byte());
    }
    return data;
}

// The other end of the transport of an End: takes what it sends, does something to it and gives it
// to another one's.
class Tap : public Protocol {
  public:
    Tap(Input& in, unsigned rate, const Flights& others, Flights* record)
        : in_(in), rate_(rate), others_(others), record_(record) {}
    void forward(detail::Ref<FakeTransport> to) { to_ = std::move(to); }

    void data_received(std::string_view bytes) override {
        if (record_) record_->emplace_back(bytes);
        if (!to_) return;
        std::string data(bytes);
        switch (in_.empty() ? rate_ : in_.byte() % rate_) {
            case 0:
                return;
            case 1:
                data += data;
                break;
            case 2:
            case 3:
                data = changed(in_, std::move(data));
                break;
            case 4:
                data.resize(in_.byte() % data.size());
                break;
            case 5:
                data.insert(in_.byte() % data.size(), in_.bytes(1 + in_.byte() % 8));
                break;
            case 6:
                held_ += data;
                return;
            case 7:
                data = some_flight(in_, others_);
                break;
            case 8:
                data += some_record(in_);
                break;
            case 9:
                to_->close();
                return;
            default:
                break;
        }
        to_->write(data);
        to_->write(std::exchange(held_, {}));
    }
    bool eof_received() override { return false; }
    void connection_lost(std::exception_ptr) override {
        if (to_) std::exchange(to_, nullptr)->close();
    }

  private:
    Input& in_;
    unsigned rate_;  // one in so many pieces meets each of ten fates
    const Flights& others_;
    Flights* record_;
    detail::Ref<FakeTransport> to_;
    std::string held_;
};

Coroutine<> turns(unsigned n) {
    for (; n > 0; --n) co_await sleep(0s);
}

// Everything that has a time limit is over after that.
Coroutine<> wait_for_all_limits() { co_await sleep(200s); }

// ---- two ends -----------------------------------------------------------------------------------

void act(Input& in, End& end) {
    switch (in.byte() % 8) {
        case 0:
            if (in.byte() % 4 == 0) end.close();
            break;
        case 1:
            if (in.byte() % 16 == 0) end.abort();
            break;
        case 2:
            end.pause(true);
            break;
        case 3:
            end.pause(false);
            break;
        default:
            end.write(in.bytes(1 + in.byte() % 32));
            if (in.byte() % 16 == 0) end.write(std::string(40'000, 'x'));
    }
}

Coroutine<> play_both(Input& in, Overheard* record) {
    EventLoop& loop = get_running_loop();
    constexpr std::size_t kPieces[] = {1, 5, 100, 1'000'000};
    const unsigned rate = record ? 1'000 : 16u << in.byte() % 4;
    const bool old_version = in.byte() % 4 == 1;
    End client(loop, false, old_version);
    End server(loop, true, false);
    const auto left = FakeTransport::pair(loop);
    const auto right = FakeTransport::pair(loop);
    if (!record) {
        left.first->piece = kPieces[in.byte() % 4];
        right.first->piece = kPieces[in.byte() % 4];
    }
    const auto there =
        std::make_shared<Tap>(in, rate, overheard.client, record ? &record->client : nullptr);
    const auto back =
        std::make_shared<Tap>(in, rate, overheard.server, record ? &record->server : nullptr);
    there->forward(right.second);
    back->forward(left.second);
    left.second->begin(there);
    right.second->begin(back);
    left.first->begin(client.protocol());
    right.first->begin(server.protocol());
    const unsigned until_secured = in.byte() % 4 == 1 ? in.byte() : 5'000;
    for (unsigned i = 0; i < until_secured; ++i) {
        if ((client.app->made && server.app->made) || left.first->lost || right.first->lost) break;
        co_await sleep(0s);
    }
    while (!in.empty()) {
        act(in, in.byte() % 2 == 0 ? client : server);
        co_await turns(in.byte() % 8);
    }
    if (record) {
        client.write("a question");
        co_await turns(10);
        server.write("an answer");
        co_await turns(10);
        server.close();
    }
    co_await wait_for_all_limits();
    client.close();
    server.close();
    co_await wait_for_all_limits();
    client.check_end(&server);
    server.check_end(&client);
    check(left.first->lost && right.first->lost, "a transport below is left open");
    if (record) check(server.app->data == "a question", "nothing was overheard");
}

// ---- one end ------------------------------------------------------------------------------------

std::string something(Input& in, const Flights& flights) {
    switch (in.byte() % 8) {
        case 0:
            return in.bytes(1 + in.byte() % 100);
        case 1:
        case 2:
            return some_record(in);
        case 3:
            return changed(in, some_flight(in, flights));
        case 4: {
            std::string flight = some_flight(in, flights);
            flight.resize(flight.size() - std::min<std::size_t>(flight.size(), in.byte()));
            return flight;
        }
        default:
            // The next one, as it was.
            return some_flight(in, flights);
    }
}

Coroutine<> play_one(Input& in, bool server_side) {
    EventLoop& loop = get_running_loop();
    const Flights& flights = server_side ? overheard.client : overheard.server;
    End end(loop, server_side, in.byte() % 4 == 1);
    const auto below = FakeTransport::pair(loop);
    const auto tap = std::make_shared<Tap>(in, 1, flights, nullptr);
    below.second->begin(tap);
    below.first->begin(end.protocol());
    // Mostly the first flight is as it should be.
    if (in.byte() % 4 != 0) below.second->write(flights.front());
    while (!in.empty()) {
        below.second->write(something(in, flights));
        co_await turns(in.byte() % 8);
        if (in.byte() % 64 == 0) end.close();
        if (in.byte() % 64 == 0) below.second->close();
    }
    co_await wait_for_all_limits();
    end.close();
    co_await wait_for_all_limits();
    end.check_end(nullptr);
    check(below.first->lost, "the transport below is left open");
}

Coroutine<> play(Input in) {
    if (overheard.client.empty()) {
        Overheard all;
        Input none(nullptr, 0);
        co_await play_both(none, &all);
        overheard = std::move(all);
    }
    const unsigned kind = in.byte() % 4;
    if (kind < 2) {
        co_await play_one(in, kind == 0);
    } else {
        co_await play_both(in, nullptr);
    }
}

}  // namespace

// libFuzzer's entry. Keys and random numbers are OpenSSL's own: the same input is not quite the
// same run the next time.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto loop = VirtualTimeEventLoop::create();
    loop->run_until_complete(play(Input(data, size)));
    return 0;
}

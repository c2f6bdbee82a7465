#include "page_server.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "page_request.hpp"
#include "taking.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t kMostConnections = 64;
constexpr std::size_t kMostHead = 8192;
constexpr std::size_t kMostDrained = std::size_t{1} << 20;
constexpr auto kForHead = 5s;      // from the beginning to the end of a request's head
constexpr auto kForProgress = 5s;  // between two bytes of an answer
constexpr auto kForAll = 60s;      // of an answer
constexpr auto kForEnd = 1s;       // until the other side has closed, too

[[noreturn]] void fail(const std::string& what) {
    throw Failure(what + ": " + std::strerror(errno));
}

const char* reason(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 431:
            return "Request Header Fields Too Large";
        case 505:
            return "HTTP Version Not Supported";
        default:
            return "Internal Server Error";
    }
}

PageAnswer plain(int status) {
    return {status, "text/plain; charset=utf-8", std::string(reason(status)) + '\n'};
}

std::string rendered(const PageAnswer& answer) {
    std::string text = "HTTP/1.1 " + std::to_string(answer.status) + ' ' + reason(answer.status) +
                       "\r\nContent-Type: " + answer.type +
                       "\r\nContent-Length: " + std::to_string(answer.body.size()) +
                       "\r\nContent-Security-Policy: " + answer.policy +
                       "\r\nX-Content-Type-Options: nosniff"
                       "\r\nX-Frame-Options: DENY"
                       "\r\nReferrer-Policy: no-referrer"
                       "\r\nCache-Control: no-store"
                       "\r\nCross-Origin-Resource-Policy: same-origin"
                       "\r\nCross-Origin-Opener-Policy: same-origin"
                       "\r\nConnection: close\r\n";
    if (answer.status == 405) text += "Allow: GET\r\n";
    return text + "\r\n" + answer.body;
}

// One request and its answer.
class Connection {
  public:
    explicit Connection(int fd) : fd_(fd), deadline_(Clock::now() + kForHead) {}
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { ::close(fd_); }

    int fd() const { return fd_; }
    short waits_for() const { return stage_ == Stage::kWriting ? POLLOUT : POLLIN; }
    Clock::time_point deadline() const { return deadline_; }
    bool is_asking() const { return stage_ == Stage::kReading; }

    // Goes on as far as it can without waiting. False: it is over.
    template <class Answer>
    bool go_on(const Answer& answer) {
        if (stage_ == Stage::kReading && !read(answer)) return false;
        if (stage_ == Stage::kWriting && !write()) return false;
        return stage_ != Stage::kEnding || drain();
    }

  private:
    enum class Stage { kReading, kWriting, kEnding };

    static bool would_wait() { return errno == EAGAIN || errno == EINTR; }

    template <class Answer>
    bool read(const Answer& answer) {
        char bytes[kMostHead];
        const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
        if (n <= 0) return n < 0 && would_wait();
        const std::size_t looked_at = in_.size() < 3 ? 0 : in_.size() - 3;
        in_.append(bytes, static_cast<std::size_t>(n));
        const std::size_t end = in_.find("\r\n\r\n", looked_at);
        if (end == in_.npos && in_.size() <= kMostHead) return true;
        const bool fits = end != in_.npos && end <= kMostHead;
        out_ = rendered(fits ? answer(std::string_view(in_).substr(0, end)) : plain(431));
        in_.clear();
        stage_ = Stage::kWriting;
        last_ = Clock::now() + kForAll;
        deadline_ = Clock::now() + kForProgress;
        return true;
    }

    bool write() {
        while (written_ < out_.size()) {
            const ssize_t n =
                ::send(fd_, out_.data() + written_, out_.size() - written_, MSG_NOSIGNAL);
            if (n <= 0) return n < 0 && would_wait();
            written_ += static_cast<std::size_t>(n);
            deadline_ = std::min(Clock::now() + kForProgress, last_);
        }
        out_ = std::string();
        ::shutdown(fd_, SHUT_WR);
        stage_ = Stage::kEnding;
        deadline_ = Clock::now() + kForEnd;
        return true;
    }

    // What is closed with bytes unread is reset, and the other side may lose the answer by that.
    bool drain() {
        char bytes[kMostHead];
        while (drained_ < kMostDrained) {
            const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
            if (n <= 0) return n < 0 && would_wait();
            drained_ += static_cast<std::size_t>(n);
        }
        return false;
    }

    int fd_;
    Stage stage_ = Stage::kReading;
    Clock::time_point deadline_;
    Clock::time_point last_{};  // for the whole answer
    std::string in_, out_;
    std::size_t written_ = 0, drained_ = 0;
};

using Connections = std::vector<std::unique_ptr<Connection>>;

// Room for one more. Who has not asked yet goes first, the one that has been at it for longest: a
// flood of connections that say nothing does not keep a browser out.
void make_room(Connections& all) {
    if (all.size() < kMostConnections) return;
    const auto oldest = std::min_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return std::pair(!a->is_asking(), a->deadline()) <
               std::pair(!b->is_asking(), b->deadline());
    });
    all.erase(oldest);
}

template <class Answer>
void accept_some(int listener, Connections& all, const Answer& answer) {
    for (std::size_t i = 0; i < kMostConnections; ++i) {
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            // It would be told of again at once.
            if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(10ms);
            return;
        }
        auto connection = std::make_unique<Connection>(fd);
        if (!connection->go_on(answer)) continue;
        make_room(all);
        all.push_back(std::move(connection));
    }
}

int milliseconds_until(Clock::time_point when) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

}  // namespace

std::string decode_query(std::string_view text) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
    };
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
            digit(text[i + 2]) >= 0) {
            decoded += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            decoded += text[i] == '+' ? ' ' : text[i];
        }
    }
    return decoded;
}

std::string random_token() {
    unsigned char bits[16];
    if (::getrandom(bits, sizeof bits, 0) != sizeof bits) fail("no random numbers");
    std::string token;
    for (const unsigned char byte : bits) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", unsigned{byte});
        token += digits;
    }
    return token;
}

PageServer PageServer::on_loopback(int port) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("no socket");
    PageServer server(listener);
    const int yes = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    socklen_t size = sizeof address;
    // Safe because this is how addresses are given to sockets: sockaddr(3type).
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener, at, size) != 0 || ::listen(listener, 128) != 0 ||
        ::getsockname(listener, at, &size) != 0) {
        fail("port " + std::to_string(port) + " of 127.0.0.1");
    }
    server.gate_ = {std::to_string(ntohs(address.sin_port)), random_token()};
    return server;
}

PageServer::~PageServer() {
    if (listener_ >= 0) ::close(listener_);
}

std::string PageServer::url() const {
    return "http://127.0.0.1:" + gate_.port + '/' + gate_.token + '/';
}

void PageServer::serve(int stop, const PageHandler& handler) {
    const auto answer = [&](std::string_view head) {
        const PageRequest request = read_request(head, gate_);
        if (request.status != 200) return plain(request.status);
        try {
            return handler(request.path, request.query);
        } catch (const Failure& e) {
            PageAnswer failed = plain(500);
            failed.body = std::string(e.what()) + '\n';
            return failed;
        } catch (const std::bad_alloc&) {
            return plain(500);
        }
    };
    Connections all;
    std::vector<pollfd> polled;
    for (;;) {
        polled = {{stop, POLLIN, 0}, {listener_, POLLIN, 0}};
        auto next = Clock::now() + 60s;
        for (const auto& connection : all) {
            polled.push_back({connection->fd(), connection->waits_for(), 0});
            next = std::min(next, connection->deadline());
        }
        if (::poll(polled.data(), polled.size(), milliseconds_until(next)) < 0 && errno != EINTR) {
            fail("waiting for connections");
        }
        if (polled[0].revents != 0) return;
        // Before what came is answered, which may take long and is not the others' fault.
        const auto now = Clock::now();
        for (std::size_t i = all.size(); i-- > 0;) {
            const bool ended = polled[i + 2].revents != 0 && !all[i]->go_on(answer);
            if (ended || all[i]->deadline() <= now)
                all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
        }
        if (polled[1].revents != 0) accept_some(listener_, all, answer);
    }
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

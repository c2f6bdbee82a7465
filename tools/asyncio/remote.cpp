#include "remote.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "inspect/output.hpp"

namespace tool {

namespace {

constexpr std::size_t kMostAnswer = std::size_t{1} << 30;

class Connection {
  public:
    Connection(const std::string& path, int limit)
        : path_(path), fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        if (path.size() >= sizeof address.sun_path) {
            throw Failure(printable(path) + " is longer than a socket's path can be");
        }
        std::memcpy(address.sun_path, path.data(), path.size());
        const timeval progress{limit, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &progress, sizeof progress);
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &progress, sizeof progress);
        // Safe because this is how addresses are given to sockets: sockaddr(3type).
        const auto* const to = reinterpret_cast<const sockaddr*>(&address);
        if (fd_ < 0 || ::connect(fd_, to, sizeof address) != 0) failed();
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { ::close(fd_); }

    void send(std::string_view text) {
        while (!text.empty()) {
            const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) failed();
            text.remove_prefix(static_cast<std::size_t>(n));
        }
    }
    // All that comes until the other side ends.
    std::string receive() {
        std::string all;
        char bytes[1 << 16];
        for (;;) {
            const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) failed();
            if (n == 0) return all;
            all.append(bytes, static_cast<std::size_t>(n));
            if (all.size() > kMostAnswer) throw Failure(printable(path_) + " answers without end");
        }
    }

  private:
    [[noreturn]] void failed() const {
        const int error = errno;
        throw Failure(printable(path_) + ": " +
                      (error == EAGAIN         ? "no answer in time"
                       : error == ECONNREFUSED ? "nobody serves there any more"
                                               : std::strerror(error)));
    }

    const std::string path_;
    const int fd_;
};

// The value of a header, "Content-Type: x" -> "x"; empty: it is not there.
std::string_view header(std::string_view head, std::string_view name) {
    const std::size_t at = head.find("\r\n" + std::string(name) + ": ");
    if (at == head.npos) return {};
    head.remove_prefix(at + name.size() + 4);
    return head.substr(0, head.find("\r\n"));
}

}  // namespace

PageAnswer ask(const std::string& socket, const std::string& target, int limit) {
    Connection connection(socket, limit);
    connection.send("GET /" + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const std::string all = connection.receive();
    const std::size_t end = all.find("\r\n\r\n");
    const std::string_view head = std::string_view(all).substr(0, end);
    PageAnswer answer;
    constexpr std::size_t kStatus = sizeof "HTTP/1.1 " - 1;
    const bool is_http =
        end != all.npos && head.starts_with("HTTP/1.1 ") && head.size() > 12 &&
        std::from_chars(head.data() + kStatus, head.data() + kStatus + 3, answer.status).ec ==
            std::errc();
    const std::string_view length = header(head, "Content-Length");
    std::size_t size = 0;
    std::from_chars(length.data(), length.data() + length.size(), size);
    if (!is_http) throw Failure(printable(socket) + " is no socket of asyncio::inspect::serve");
    if (all.size() - end - 4 != size) {
        throw Failure(printable(socket) + ": the program ended before its answer did");
    }
    answer.body = all.substr(end + 4);
    answer.type = header(head, "Content-Type") == "application/json" ? "application/json"
                                                                     : "text/plain; charset=utf-8";
    return answer;
}

std::string encode_query(const std::string& text) {
    constexpr const char* kDigits = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                           (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
        if (plain) {
            encoded += c;
        } else {
            encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
        }
    }
    return encoded;
}

}  // namespace tool

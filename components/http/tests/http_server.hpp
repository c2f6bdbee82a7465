// A small HTTP/1.1 server of blocking sockets, a thread a connection, that lets a test say byte by
// byte what comes back.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cctype>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support.hpp"

namespace support {

class HttpServer {
  public:
    struct Request {
        std::string method;
        std::string target;
        std::string head;  // the header lines, each with its CR LF
        std::string body;

        // The value of a header; "(none)" if there is none.
        std::string header(std::string_view name) const {
            const std::string start = "\r\n" + lower(name) + ":";
            const std::size_t at = lower("\r\n" + head).find(start);
            if (at == std::string::npos) return "(none)";
            const std::size_t from = at + start.size() - 2;
            const std::string value = head.substr(from, head.find("\r\n", from) - from);
            return value.empty() ? value : value.substr(value.find_first_not_of(' '));
        }
    };

    class Connection {
      public:
        explicit Connection(int fd) : fd_(fd) {}
        // Returns how many bytes went out: fewer if the client has gone, or does not read.
        std::size_t send(std::string_view bytes) {
            std::size_t sent = 0;
            while (sent < bytes.size()) {
                const auto n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
                if (n <= 0) break;
                sent += static_cast<std::size_t>(n);
            }
            return sent;
        }
        void reply(std::string_view body, std::string_view head = "",
                   std::string_view status = "200 OK") {
            send("HTTP/1.1 " + std::string(status) +
                 "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(head) +
                 "\r\n" + std::string(body));
        }
        void redirect(std::string_view status, std::string_view location) {
            reply("moved", "Location: " + std::string(location) + "\r\n", status);
        }
        // Until the client closes the connection. Returns false if it sent something instead.
        bool wait_for_end() {
            char byte;
            return ::recv(fd_, &byte, 1, 0) <= 0;
        }
        // The connection ends after this reply.
        void close_after() { keep_ = false; }
        int fileno() const { return fd_; }

      private:
        friend class HttpServer;
        int fd_;
        bool keep_ = true;
    };

    using Handler = std::function<void(const Request&, Connection&)>;

    explicit HttpServer(Handler handler)
        : handler_(std::move(handler)),
          listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* const any = static_cast<sockaddr*>(static_cast<void*>(&address));
        if (::bind(listener_, any, size) != 0 || ::listen(listener_, 512) != 0 ||
            ::getsockname(listener_, any, &size) != 0) {
            throw std::runtime_error("the test's server does not listen");
        }
        port_ = ntohs(address.sin_port);
        acceptor_ = std::thread([this] { accept_all(); });
    }
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    ~HttpServer() {
        stopped_ = true;
        ::shutdown(listener_, SHUT_RDWR);
        acceptor_.join();
        {
            const std::lock_guard lock(mutex_);
            for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
        }
        for (std::thread& thread : threads_) thread.join();
        ::close(listener_);
    }

    int port() const { return port_; }
    std::string url(std::string_view path = "/") const {
        return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
    }
    // Connections that were accepted so far.
    int accepted() const { return accepted_; }
    std::vector<Request> requests() const {
        const std::lock_guard lock(mutex_);
        return requests_;
    }
    Request last() const {
        const std::lock_guard lock(mutex_);
        return requests_.empty() ? Request{} : requests_.back();
    }

  private:
    static std::string lower(std::string_view text) {
        std::string copy(text);
        for (char& c : copy) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        return copy;
    }

    void accept_all() {
        always_has_memory = true;
        for (;;) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0 || stopped_) {
                if (fd >= 0) ::close(fd);
                return;
            }
            ++accepted_;
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
            threads_.emplace_back([this, fd] { serve(fd); });
        }
    }

    void serve(int fd) {
        always_has_memory = true;
        Connection connection(fd);
        std::string input;
        Request request;
        while (connection.keep_ && !stopped_ && read_request(fd, input, request)) {
            {
                const std::lock_guard lock(mutex_);
                requests_.push_back(request);
            }
            handler_(request, connection);
        }
        const std::lock_guard lock(mutex_);
        std::erase(open_, fd);
        ::close(fd);
    }

    static bool more(int fd, std::string& input) {
        char block[65536];
        const auto n = ::recv(fd, block, sizeof block, 0);
        if (n <= 0) return false;
        input.append(block, static_cast<std::size_t>(n));
        return true;
    }

    static bool read_request(int fd, std::string& input, Request& request) {
        std::size_t end;
        while ((end = input.find("\r\n\r\n")) == std::string::npos) {
            if (!more(fd, input)) return false;
        }
        const std::size_t line = input.find("\r\n");
        const std::string first = input.substr(0, line);
        request.method = first.substr(0, first.find(' '));
        const std::size_t target = first.find(' ') + 1;
        request.target = first.substr(target, first.rfind(' ') - target);
        request.head = input.substr(line + 2, end - line);
        input.erase(0, end + 4);
        const std::string length = request.header("Content-Length");
        const auto size = static_cast<std::size_t>(
            length == "(none)" ? 0 : std::strtoull(length.c_str(), nullptr, 10));
        while (input.size() < size) {
            if (!more(fd, input)) return false;
        }
        request.body = input.substr(0, size);
        input.erase(0, size);
        return true;
    }

    Handler handler_;
    int listener_;
    int port_ = 0;
    std::atomic<int> accepted_{0};
    std::atomic<bool> stopped_{false};
    mutable std::mutex mutex_;
    std::vector<Request> requests_;
    std::vector<int> open_;
    std::vector<std::thread> threads_;
    std::thread acceptor_;
};

}  // namespace support

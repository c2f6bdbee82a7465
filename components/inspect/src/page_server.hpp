// A server of one page, for one user of this machine alone.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "page_request.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct PageAnswer {
    int status = 200;
    std::string type = "application/json";
    std::string body;
    std::string policy = "default-src 'none'";  // Content-Security-Policy
};

// `path` without the token, "data", and `query`, "filter=x", as they came.
using PageHandler = std::function<PageAnswer(std::string_view path, std::string_view query)>;

// "100%25+x" -> "100% x"
std::string decode_query(std::string_view text);
// 128 random bits, in hexadecimal. Raises: Failure.
std::string random_token();

class PageServer {
  public:
    // Listens on 127.0.0.1 only, and answers only who knows the random token in the path. Another
    // user's program cannot guess that, and a page of another site cannot either: it can send
    // requests here, but the `Host` they carry is its own, also after its name was bound to
    // 127.0.0.1 anew. `port` 0: one that is free. Raises: Failure.
    static PageServer on_loopback(int port);
    // Answers whoever can connect to `listener`, which it closes at the end and which does not
    // block.
    explicit PageServer(int listener) noexcept : listener_(listener) {}
    PageServer(PageServer&& other) noexcept
        : listener_(std::exchange(other.listener_, -1)), gate_(std::move(other.gate_)) {}
    PageServer(const PageServer&) = delete;
    PageServer& operator=(const PageServer&) = delete;
    ~PageServer();

    // Of one on 127.0.0.1.
    std::string url() const;
    // Serves until `stop` can be read. Raises: Failure.
    void serve(int stop, const PageHandler& handler);

  private:
    int listener_ = -1;
    PageGate gate_;
};

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

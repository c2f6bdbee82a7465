// A server of one page, for the user of this machine alone. It listens on 127.0.0.1 only, and
// answers only who knows the random token in the path. Another user's program cannot guess that,
// and a page of another site cannot either: it can send requests here, but the `Host` they carry is
// its own, also after its name was bound to 127.0.0.1 anew.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace tool {

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
    // `port` 0: one that is free. Raises: Failure.
    explicit PageServer(int port);
    PageServer(const PageServer&) = delete;
    PageServer& operator=(const PageServer&) = delete;
    ~PageServer();

    std::string url() const;
    // Serves until `stop` can be read. Raises: Failure.
    void serve(int stop, const PageHandler& handler);

  private:
    int listener_ = -1;
    int port_ = 0;
    std::string token_;
};

}  // namespace tool

#include "settings.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

bool is_control(char c) noexcept { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }

}  // namespace

Settings::Settings(std::string_view verb, const RequestOptions& options, bool stream)
    : method(verb),
      headers(own_headers(options.headers)),
      body(options.body),
      timeout(options.timeout),
      connect_timeout(options.connect_timeout),
      max_redirects(options.max_redirects),
      max_body(options.max_body),
      http2(options.http2),
      verify(options.verify),
      decompress(options.decompress),
      streaming(stream),
      ca_file(options.ca_file) {
    // One word, so that it cannot continue as another request.
    if (method.empty() || std::any_of(method.begin(), method.end(), is_control)) {
        throw ValueError("invalid HTTP method " + asyncio::detail::quoted(method));
    }
    if (method == "CONNECT") throw ValueError("the HTTP method CONNECT is for proxies");
    if (max_redirects < 0) throw ValueError("max_redirects must be >= 0");
    if (ca_file.find('\0') != std::string::npos) {
        throw ValueError("ca_file has a null character");
    }
    for (const std::string_view text : {options.user, options.password}) {
        if (text.find('\0') != std::string_view::npos) {
            throw ValueError("user and password must not have null characters");
        }
    }
    if (options.user.find(':') != std::string_view::npos) {
        throw ValueError("a user's name must not have a colon");  // RFC 7617, 2
    }
    if (!options.user.empty() || !options.password.empty()) {
        credentials = Credentials{std::string(options.user), std::string(options.password)};
    }
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

// URLs, as libcurl's own parser reads them: what is checked here is what is connected to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace asyncio {
inline namespace v1 {
namespace http::detail {

struct Credentials {
    std::string user;
    std::string password;
};

struct Url {
    std::string text;    // normalised, without credentials
    std::string scheme;  // "http" or "https"
    std::string host;    // lower case; an IPv6 address in brackets
    std::string port;    // always given
    std::optional<Credentials> credentials;

    bool same_origin(const Url& other) const noexcept {
        return scheme == other.scheme && host == other.host && port == other.port;
    }
    // The host is an address, so nobody need be asked for it.
    bool numeric_host() const noexcept;
};

// Raises: InvalidURLError for what is no absolute http or https URL.
Url parse_url(std::string_view text);
// Where a redirect leads. Credentials in it are dropped: whoever redirects must not choose them.
// Raises: InvalidURLError, as above.
Url join_url(const Url& base, std::string_view location);

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

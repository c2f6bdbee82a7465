#include "url.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "asyncio/exceptions.hpp"
#include "asyncio/http.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// A request has to carry it, with its headers, in less than 1 MiB.
constexpr std::size_t kMostUrl = std::size_t{768} << 10;

struct UrlCleanup {
    void operator()(CURLU* handle) const noexcept { curl_url_cleanup(handle); }
};
using Handle = std::unique_ptr<CURLU, UrlCleanup>;

[[noreturn]] void refuse(const std::string& text) {
    throw InvalidURLError(std::errc::invalid_argument, text, "");
}

// The text without what may be a password, for a URL that nobody could take apart.
std::string shown_url(std::string_view text) {
    constexpr std::size_t kMost = 200;
    const std::size_t at = text.rfind('@');
    std::string rest(at == std::string_view::npos ? text : text.substr(at));
    if (rest.size() > kMost) rest = rest.substr(0, kMost) + "...";
    return asyncio::detail::quoted(at == std::string_view::npos ? rest : "..." + rest);
}

void set_url(CURLU* handle, std::string_view text, unsigned flags) {
    if (text.find('\0') != std::string_view::npos) {
        refuse("invalid URL " + shown_url(text) + ": it has a null character");
    }
    if (text.size() > kMostUrl) {
        refuse("invalid URL: it has " + std::to_string(text.size()) +
               " bytes, more than the limit of " + std::to_string(kMostUrl));
    }
    const std::string copy(text);
    const CURLUcode code = curl_url_set(handle, CURLUPART_URL, copy.c_str(), flags);
    if (code == CURLUE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLUE_OK) {
        refuse("invalid URL " + shown_url(text) + ": " + curl_url_strerror(code));
    }
}

// "" if the URL has no such part.
std::string part(CURLU* handle, CURLUPart what, unsigned flags = 0) {
    char* found = nullptr;
    const CURLUcode code = curl_url_get(handle, what, &found, flags);
    if (code == CURLUE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code == CURLUE_URLDECODE) refuse("invalid URL: it has control characters");
    if (code != CURLUE_OK) return {};
    const std::unique_ptr<char, decltype(&curl_free)> owner(found, &curl_free);
    return found;
}

bool has_user(CURLU* handle) {
    return !part(handle, CURLUPART_USER).empty() || !part(handle, CURLUPART_PASSWORD).empty();
}

Url take_apart(CURLU* handle) {
    Url url;
    url.scheme = part(handle, CURLUPART_SCHEME);
    if (url.scheme != "http" && url.scheme != "https") {
        refuse("only http and https URLs can be requested, not " +
               asyncio::detail::quoted(url.scheme));
    }
    if (has_user(handle)) {
        url.credentials = Credentials{part(handle, CURLUPART_USER, CURLU_URLDECODE),
                                      part(handle, CURLUPART_PASSWORD, CURLU_URLDECODE)};
    }
    for (const CURLUPart secret : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS}) {
        curl_url_set(handle, secret, nullptr, 0);
    }
    url.host = part(handle, CURLUPART_HOST);
    std::transform(url.host.begin(), url.host.end(), url.host.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    if (url.host.empty()) refuse("invalid URL: it has no host");
    url.port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    url.text = part(handle, CURLUPART_URL);
    return url;
}

Handle new_handle() {
    Handle handle(curl_url());
    if (!handle) throw std::bad_alloc();
    return handle;
}

}  // namespace

bool Url::numeric_host() const noexcept {
    return host.front() == '[' || host.find_first_not_of("0123456789.") == std::string::npos;
}

Url parse_url(std::string_view text) {
    const Handle handle = new_handle();
    set_url(handle.get(), text, CURLU_NON_SUPPORT_SCHEME);
    return take_apart(handle.get());
}

Url join_url(const Url& base, std::string_view location) {
    // Without a path and a query it means the same document (RFC 3986, 4.4 and 5.2.2), which
    // libcurl takes for its folder.
    const std::size_t fragment = location.find('#');
    std::string same;
    if (location.empty() || fragment == 0) {
        same = base.text.substr(0, base.text.find('#')) + std::string(location);
        location = same;
    }
    const Handle handle = new_handle();
    set_url(handle.get(), base.text, 0);
    set_url(handle.get(), location, CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE);
    Url url = take_apart(handle.get());
    url.credentials.reset();
    return url;
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

// The links of a page, as rate_limited_crawler follows them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace html {

// "http://host:port" of "http://host:port/path".
inline std::string origin_of(std::string_view url) {
    const std::size_t host = url.find("://");
    const std::size_t from = host == std::string_view::npos ? 0 : host + 3;
    return std::string(url.substr(0, url.find_first_of("/?#", from)));
}

// Where a link on the page `base` leads; nothing if to another host, or to no page at all.
inline std::optional<std::string> joined(const std::string& base, std::string_view link) {
    const std::string origin = origin_of(base);
    link = link.substr(0, link.find('#'));
    if (link.empty() || link.starts_with("//")) return std::nullopt;
    const bool absolute = link.find(':') < link.find_first_of("/?");
    if (absolute && origin_of(link) != origin) return std::nullopt;
    if (absolute) return std::string(link);
    const std::size_t query = std::min(link.find('?'), link.size());
    std::filesystem::path path = base.substr(origin.size(), base.find('?') - origin.size());
    path = ("/" / path).parent_path() / link.substr(0, query);
    // Without "../", so that one page has one name.
    return origin + path.lexically_normal().generic_string() + std::string(link.substr(query));
}

// The values of all href="...": enough for an example, if not for all of HTML.
inline std::vector<std::string> links_of(const std::string& page) {
    constexpr std::string_view kStart = "href=\"";
    std::vector<std::string> links;
    for (std::size_t at = page.find(kStart); at != std::string::npos; at = page.find(kStart, at)) {
        at += kStart.size();
        links.push_back(page.substr(at, page.find('"', at) - at));
    }
    return links;
}

}  // namespace html

#include "page_request.hpp"

#include <algorithm>
#include <string>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

namespace {

constexpr int kBad = 400, kForbidden = 403, kNotFound = 404, kNotAllowed = 405, kVersion = 505;

bool same_word(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

// Takes as long for any text of that size, so that nobody finds the token byte by byte.
bool same_secret(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    volatile unsigned char different = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        different = static_cast<unsigned char>(different | (a[i] ^ b[i]));
    }
    return different == 0;
}

std::string_view until(std::string_view& text, std::string_view end) {
    const std::size_t at = text.find(end);
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at == text.npos ? text.size() : at + end.size());
    return part;
}

// The value of `Host`, if there is one. False: there are two, or a line is no header.
bool find_host(std::string_view lines, std::string_view& host) {
    bool found = false;
    while (!lines.empty()) {
        std::string_view value = until(lines, "\r\n");
        if (value.find(':') == value.npos) return false;
        const std::string_view name = until(value, ":");
        // A blank in it: a line that goes on the one before, which is out of use for long.
        if (name.empty() || name.find_first_of(" \t") != name.npos) return false;
        if (!same_word(name, "host")) continue;
        if (found) return false;
        found = true;
        const std::size_t begin = std::min(value.find_first_not_of(" \t"), value.size());
        value.remove_prefix(begin);
        host = value.substr(0, value.find_last_not_of(" \t") + 1);
    }
    return true;
}

PageRequest wrong(int status) { return {status, {}, {}}; }

}  // namespace

PageRequest read_request(std::string_view head, const PageGate& gate) {
    const auto is_control = [](char c) {
        const auto u = static_cast<unsigned char>(c);
        return (u < 0x20 && c != '\r' && c != '\n' && c != '\t') || u == 0x7f;
    };
    if (std::any_of(head.begin(), head.end(), is_control)) return wrong(kBad);
    std::string_view line = until(head, "\r\n");
    const std::string_view method = until(line, " ");
    std::string_view target = until(line, " ");
    if (!line.starts_with("HTTP/")) return wrong(kBad);
    if (line != "HTTP/1.1" && line != "HTTP/1.0") return wrong(kVersion);
    std::string_view host;
    if (!find_host(head, host)) return wrong(kBad);
    const std::string at_port = ':' + gate.port;
    if (!gate.port.empty() && host != "127.0.0.1" + at_port && host != "localhost" + at_port) {
        return wrong(kForbidden);
    }
    if (method != "GET") return wrong(kNotAllowed);
    if (!target.starts_with('/')) return wrong(kBad);
    target.remove_prefix(1);
    PageRequest request;
    request.path = until(target, "?");
    request.query = target;
    if (gate.token.empty()) return request;
    // The page's links are relative: it has to end with a slash.
    const std::size_t slash = request.path.find('/');
    if (!same_secret(request.path.substr(0, slash), gate.token) || slash == request.path.npos) {
        return wrong(kNotFound);
    }
    request.path.remove_prefix(slash + 1);
    return request;
}

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

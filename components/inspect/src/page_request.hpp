// The head of a request: RFC 9112, of which a browser uses little.
#pragma once

#include <string>
#include <string_view>

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace reading {

struct PageRequest {
    int status = 200;  // what is wrong with it, if anything
    std::string_view path;
    std::string_view query;
};

// What a request must say before it is answered. Both empty: nothing, as who may ask is settled
// elsewhere.
struct PageGate {
    std::string port;   // its host is 127.0.0.1 or localhost with this port
    std::string token;  // its path begins with that
};

// `head` up to the empty line, without it; what is returned refers to it.
PageRequest read_request(std::string_view head, const PageGate& gate);

}  // namespace reading
}  // namespace detail
}  // namespace v1
}  // namespace asyncio

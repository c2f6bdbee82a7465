// The head of a request: RFC 9112, of which a browser uses little.
#pragma once

#include <string_view>

namespace tool {

struct PageRequest {
    int status = 200;  // what is wrong with it, if anything
    std::string_view path;
    std::string_view query;
};

// `head` up to the empty line, without it; what is returned refers to it. It must name 127.0.0.1 or
// localhost with `port` as its host, and its path must begin with `token`.
PageRequest read_request(std::string_view head, std::string_view port, std::string_view token);

}  // namespace tool

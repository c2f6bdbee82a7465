// What a request is made with, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "asyncio/http.hpp"
#include "asyncio/time.hpp"
#include "client_state.hpp"
#include "url.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

// RequestOptions, owned.
struct Settings {
    // Raises: ValueError.
    Settings(std::string_view method, const RequestOptions& options, bool streaming);

    std::string method;
    OwnedHeaders headers;
    std::string body;
    Delay timeout;
    Delay connect_timeout;
    int max_redirects;
    std::uint64_t max_body;
    bool http2;
    bool verify;
    bool decompress;
    bool streaming;
    std::string ca_file;
    std::optional<Credentials> credentials;
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

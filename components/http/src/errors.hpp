// libcurl's error codes as the classes of asyncio/http.hpp.
#pragma once

#include <curl/curl.h>

#include <exception>
#include <string>

namespace asyncio {
inline namespace v1 {
namespace http::detail {

// `text`: what libcurl wrote into the error buffer, "" for its general text. `os_error`: errno of
// the connection, 0 if there was none. `url`: without credentials.
std::exception_ptr error_of(CURLcode code, const char* text, long os_error,
                            const std::string& url) noexcept;

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

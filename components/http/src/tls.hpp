// TLS as the rest of the library has it, where libcurl's own defaults are weaker.
#pragma once

#include <curl/curl.h>

namespace asyncio {
inline namespace v1 {
namespace http::detail {

// The cipher suites to ask for, in the words of libcurl's TLS library. Null: that one's own, which
// is not OpenSSL.
const char* cipher_list() noexcept;
// For CURLOPT_SSL_CTX_FUNCTION: has certificates verified, if they are to be, as the rest of the
// library does. CURLOPT_SSL_CTX_DATA is the host's address
// as text, null if it has a name. Null: libcurl uses another library, or this one was built without
// OpenSSL.
curl_ssl_ctx_callback on_tls_context() noexcept;
// Whether the server has said by TLS that its connection ends. Only within a callback of the
// transfer; true where that cannot be found out, or there is no TLS.
bool has_ended(CURL* easy) noexcept;

// Whether the transfer's connection speaks HTTP/2; also true where that cannot be found out.
bool is_multiplexed(CURL* easy) noexcept;

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

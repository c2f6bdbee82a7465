// TLS as the rest of the library has it, where libcurl's own defaults are weaker.
#pragma once

#include <curl/curl.h>

namespace asyncio::inline v1::http::detail {

// The cipher suites to ask for, in the words of libcurl's TLS library. Null: that one's own, which
// is not OpenSSL.
const char* cipher_list() noexcept;
// For CURLOPT_SSL_CTX_FUNCTION, where certificates are verified: one that names its host only in
// its subject is refused. Null: libcurl uses another library, or this one was built without
// OpenSSL.
curl_ssl_ctx_callback certificate_names() noexcept;
// Whether the transfer's connection speaks HTTP/2; also true where that cannot be found out.
bool is_multiplexed(CURL* easy) noexcept;

}  // namespace asyncio::inline v1::http::detail

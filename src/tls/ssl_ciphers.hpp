// The cipher suites of default contexts, in OpenSSL's words.
#pragma once

namespace asyncio {
inline namespace v1 {
namespace detail {

// What CPython's contexts take: no key exchange without forward secrecy, no SHA-1, no CCM, no keys
// or certificates of less than 112 bits.
inline constexpr const char* kDefaultCiphers =
    "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM";

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

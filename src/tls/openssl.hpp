// What the sources that call OpenSSL share: owners of its objects, and its errors as exceptions.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <exception>
#include <memory>

namespace asyncio {
inline namespace v1 {
namespace detail {

class SslState;

template <auto kFree>
struct Freed {
    template <class T>
    void operator()(T* p) const noexcept {
        kFree(p);
    }
};
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using IpPtr = std::unique_ptr<ASN1_OCTET_STRING, Freed<ASN1_OCTET_STRING_free>>;

// The oldest or newest error of OpenSSL's queue, which is empty afterwards. `verified`: the
// connection whose certificate was refused, if that is the reason.
std::exception_ptr take_ssl_error(const SslState* verified = nullptr);

inline void clear_errors() noexcept {
    // Looking is cheaper than clearing, and there seldom is anything.
    if (ERR_peek_error() != 0) ERR_clear_error();
}

[[noreturn]] inline void raise_ssl_error() { std::rethrow_exception(detail::take_ssl_error()); }

inline void check(bool ok) {
    if (!ok) raise_ssl_error();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

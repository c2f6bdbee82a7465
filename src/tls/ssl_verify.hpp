// What every client of the library asks of a server's TLS, by whatever road: ssl_connection.cpp,
// and the HTTP client through libcurl. In a header, as the HTTP client is a library of its own.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "tls/ssl_ciphers.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// Common names are for people: no host is looked up there (RFC 9525, 2).
inline constexpr unsigned int kHostFlags =
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;

// Whether `host` is in the part of the name space that a constraint names (RFC 5280, 4.2.1.10).
inline bool is_within(std::string_view host, std::string_view base) {
    if (base.starts_with('.')) base.remove_prefix(1);
    if (base.empty()) return true;
    if (host.size() < base.size()) return false;
    const std::string_view end = host.substr(host.size() - base.size());
    const bool alike = OPENSSL_strncasecmp(end.data(), base.data(), base.size()) == 0;
    return alike && (host.size() == base.size() || host[host.size() - base.size() - 1] == '.');
}

// Whether an authority may not speak for `host`.
inline bool is_excluded(const X509* authority, std::string_view host) {
    struct Free {
        void operator()(NAME_CONSTRAINTS* p) const noexcept { NAME_CONSTRAINTS_free(p); }
    };
    // Safe because it is allocated by OpenSSL as the type that belongs to the number.
    const std::unique_ptr<NAME_CONSTRAINTS, Free> rules(static_cast<NAME_CONSTRAINTS*>(
        X509_get_ext_d2i(authority, NID_name_constraints, nullptr, nullptr)));
    if (!rules) return false;
    for (int i = 0; i < sk_GENERAL_SUBTREE_num(rules->excludedSubtrees); ++i) {
        const GENERAL_NAME* base = sk_GENERAL_SUBTREE_value(rules->excludedSubtrees, i)->base;
        if (base->type != GEN_DNS) continue;
        // Safe because bytes may be read as chars.
        const auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(base->d.dNSName));
        const int size = ASN1_STRING_length(base->d.dNSName);
        if (is_within(host, {text, static_cast<std::size_t>(size)})) return true;
    }
    return false;
}

// The name that the connection asks for, null if it is an address.
inline const char* name_asked_for(X509_STORE_CTX* chain) {
    const auto* ssl =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
}

// OpenSSL holds the names of a certificate against the constraints of its authorities, and finds
// nothing wrong with "*.example.org" where "bad.example.org" is excluded: so the host that is asked
// for is held against them, too. For SSL_set_verify().
inline int check_exclusions(int ok, X509_STORE_CTX* chain) {
    if (ok != 1 || X509_STORE_CTX_get_error_depth(chain) != 0) return ok;
    const char* const host = name_asked_for(chain);
    const STACK_OF(X509)* certificates = X509_STORE_CTX_get0_chain(chain);
    for (int i = 1; host && i < sk_X509_num(certificates); ++i) {
        if (!is_excluded(sk_X509_value(certificates, i), host)) continue;
        X509_STORE_CTX_set_error(chain, X509_V_ERR_EXCLUDED_VIOLATION);
        return 0;
    }
    return 1;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

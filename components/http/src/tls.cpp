#include "tls.hpp"

#include <atomic>
#include <cstdlib>
#include <string_view>

#include "tls/ssl_ciphers.hpp"

#ifdef ASYNCIO_HTTP_OPENSSL
#include <openssl/err.h>
#include <openssl/opensslv.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tls/ssl_verify.hpp"
#endif

namespace asyncio {
inline namespace v1 {
namespace http::detail {

namespace {

// What libcurl uses. Not a variable of a function, for which a child of fork might have to wait.
enum class Library : unsigned char {
    kUnknown,  // yet
    kOther,
    kOpenSsl,
    kOurOpenSsl,  // of the version that this was built with
};
constinit std::atomic<Library> known_library{Library::kUnknown};

Library look_up_library() noexcept {
    const char* const name = curl_version_info(CURLVERSION_NOW)->ssl_version;
    if (!name || !std::string_view(name).starts_with("OpenSSL/")) return Library::kOther;
#ifdef ASYNCIO_HTTP_OPENSSL
    const char* const major = name + std::string_view("OpenSSL/").size();
    if (std::atoi(major) == OPENSSL_VERSION_MAJOR) return Library::kOurOpenSsl;
#endif
    return Library::kOpenSsl;
}

Library library() noexcept {
    Library known = known_library.load(std::memory_order_relaxed);
    if (known != Library::kUnknown) return known;
    known = look_up_library();
    known_library.store(known, std::memory_order_relaxed);
    return known;
}

#ifdef ASYNCIO_HTTP_OPENSSL

// As ssl_connection.cpp verifies. libcurl looks for the host again, afterwards and in its own way:
// into the common name too, where there is no other (RFC 9525, 6.3).
int on_verify(int ok, X509_STORE_CTX* chain) {
    // libcurl shows the first error there is, which may be that of a part of the verification.
    if (ok != 1) ERR_clear_error();
    if (ok != 1 || X509_STORE_CTX_get_error_depth(chain) != 0) return ok;
    const char* const host = asyncio::detail::name_asked_for(chain);
    X509* const leaf = X509_STORE_CTX_get_current_cert(chain);
    if (host && X509_check_host(leaf, host, 0, asyncio::detail::kHostFlags, nullptr) != 1) {
        X509_STORE_CTX_set_error(chain, X509_V_ERR_HOSTNAME_MISMATCH);
        return 0;
    }
    return asyncio::detail::check_exclusions(ok, chain);
}

// `address`: null if a name is asked for.
CURLcode on_context(CURL*, void* context, void* address) {
    auto* const ctx = static_cast<SSL_CTX*>(context);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
    if (!address) return CURLE_OK;
    X509_VERIFY_PARAM_set1_ip_asc(SSL_CTX_get0_param(ctx), static_cast<const char*>(address));
    ERR_clear_error();
    return CURLE_OK;
}

// libcurl hands out pointers of its library, which has to be ours.
bool is_our_openssl() noexcept { return library() == Library::kOurOpenSsl; }

// Of the transfer's connection; null if it has none.
const SSL* session_of(CURL* easy) noexcept {
    curl_tlssessioninfo* session = nullptr;
    curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session);
    return is_our_openssl() && session ? static_cast<const SSL*>(session->internals) : nullptr;
}

#endif

}  // namespace

const char* cipher_list() noexcept {
    return library() == Library::kOther ? nullptr : asyncio::detail::kDefaultCiphers;
}

curl_ssl_ctx_callback on_tls_context() noexcept {
#ifdef ASYNCIO_HTTP_OPENSSL
    if (is_our_openssl()) return &on_context;
#endif
    return nullptr;
}

bool has_ended(CURL* easy) noexcept {
#ifdef ASYNCIO_HTTP_OPENSSL
    const SSL* const ssl = session_of(easy);
    if (ssl) return (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
#endif
    static_cast<void>(easy);
    return true;
}

bool is_multiplexed(CURL* easy) noexcept {
#ifdef ASYNCIO_HTTP_OPENSSL
    if (const SSL* const ssl = session_of(easy)) {
        const unsigned char* name = nullptr;
        unsigned int size = 0;
        SSL_get0_alpn_selected(ssl, &name, &size);
        return size == 2 && name[0] == 'h' && name[1] == '2';
    }
#endif
    // HTTP/2 is only ever spoken over TLS.
    curl_tlssessioninfo* session = nullptr;
    curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session);
    return session && session->backend != CURLSSLBACKEND_NONE && session->internals;
}

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

#include "http/tls.hpp"

#include <string>
#include <string_view>

#ifdef ASYNCIO_HTTP_OPENSSL
#include <openssl/opensslv.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#endif

namespace asyncio::inline v1::http::detail {

namespace {

// What default contexts take: forward secrecy, no SHA-1, nothing of less than 112 bits. As in
// ssl.cpp.
constexpr const char* kCiphers =
    "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM";

// Whether libcurl uses OpenSSL, of this version if one is named.
bool uses_openssl(const std::string& version = {}) noexcept {
    const char* const library = curl_version_info(CURLVERSION_NOW)->ssl_version;
    return library && std::string_view(library).starts_with("OpenSSL/" + version);
}

#ifdef ASYNCIO_HTTP_OPENSSL

bool names_a_host(const X509* certificate) noexcept {
    // Safe because it is allocated by OpenSSL as the type that belongs to the number.
    auto* const names = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    bool found = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
        const int type = sk_GENERAL_NAME_value(names, i)->type;
        found = found || type == GEN_DNS || type == GEN_IPADD;
    }
    GENERAL_NAMES_free(names);
    return found;
}

// RFC 9525, 6.3: libcurl would go on to look into the subject's common name.
int on_verify(int ok, X509_STORE_CTX* chain) {
    if (ok != 1 || X509_STORE_CTX_get_error_depth(chain) != 0) return ok;
    if (names_a_host(X509_STORE_CTX_get_current_cert(chain))) return ok;
    X509_STORE_CTX_set_error(chain, X509_V_ERR_HOSTNAME_MISMATCH);
    return 0;
}

CURLcode on_context(CURL*, void* context, void*) {
    SSL_CTX_set_verify(static_cast<SSL_CTX*>(context), SSL_VERIFY_PEER, on_verify);
    return CURLE_OK;
}

#endif

}  // namespace

const char* cipher_list() noexcept {
    static const bool known = uses_openssl();
    return known ? kCiphers : nullptr;
}

curl_ssl_ctx_callback certificate_names() noexcept {
#ifdef ASYNCIO_HTTP_OPENSSL
    // libcurl hands out a pointer of its library, which has to be ours.
    static const bool same = uses_openssl(std::to_string(OPENSSL_VERSION_MAJOR) + '.');
    return same ? &on_context : nullptr;
#else
    return nullptr;
#endif
}

bool is_multiplexed(CURL* easy) noexcept {
    // Only what TLS has negotiated.
    curl_tlssessioninfo* session = nullptr;
    curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session);
    if (!session || session->backend == CURLSSLBACKEND_NONE || !session->internals) return false;
#ifdef ASYNCIO_HTTP_OPENSSL
    if (certificate_names()) {
        const unsigned char* name = nullptr;
        unsigned int size = 0;
        SSL_get0_alpn_selected(static_cast<SSL*>(session->internals), &name, &size);
        return size == 2 && name[0] == 'h' && name[1] == '2';
    }
#endif
    return true;
}

}  // namespace asyncio::inline v1::http::detail

// Certificates and keys that a context is given: ours, and of the authorities that it trusts.
#include <openssl/pem.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "asyncio/exceptions.hpp"
#include "asyncio/ssl.hpp"
#include "tls/openssl.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// An encrypted key without a password: refused, where OpenSSL would ask at the terminal.
int on_password(char* to, int size, int, void* given) {
    const auto* password = static_cast<const std::string_view*>(given);
    if (password->empty() || password->size() > static_cast<std::size_t>(size)) return -1;
    std::memcpy(to, password->data(), password->size());
    return static_cast<int>(password->size());
}

}  // namespace
}  // namespace detail

namespace ssl {

using detail::BioPtr;
using detail::check;
using detail::clear_errors;
using detail::raise_ssl_error;
using detail::X509Ptr;

namespace {

// Why a file cannot be read is said better by the system than by OpenSSL.
void check_readable(const std::string& file) {
    std::FILE* f = std::fopen(file.c_str(), "re");
    if (!f) std::rethrow_exception(make_os_error(errno, std::strerror(errno), file));
    std::fclose(f);
}

std::size_t add_pem(X509_STORE* store, BIO* bio) {
    std::size_t count = 0;
    while (const X509Ptr certificate{PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)}) {
        check(X509_STORE_add_cert(store, certificate.get()) == 1);
        ++count;
    }
    return count;
}

std::size_t add_der(X509_STORE* store, BIO* bio) {
    std::size_t count = 0;
    while (const X509Ptr certificate{d2i_X509_bio(bio, nullptr)}) {
        check(X509_STORE_add_cert(store, certificate.get()) == 1);
        ++count;
    }
    return count;
}

void add_data(SSL_CTX* ctx, std::string_view data) {
    if (data.size() > std::numeric_limits<int>::max()) throw ValueError("cadata is too long");
    const BioPtr bio(BIO_new_mem_buf(data.data(), static_cast<int>(data.size())));
    check(bio != nullptr);
    X509_STORE* store = SSL_CTX_get_cert_store(ctx);
    const bool pem = data.find("-----BEGIN") != std::string_view::npos;
    const std::size_t count = pem ? add_pem(store, bio.get()) : add_der(store, bio.get());
    const bool clean_end = pem ? ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
                               : BIO_eof(bio.get()) != 0;
    if (count > 0 && clean_end) {
        ERR_clear_error();
        return;
    }
    if (count > 0) raise_ssl_error();
    ERR_clear_error();
    throw SSLError(pem ? "no start line: cadata does not contain a certificate"
                       : "not enough data: cadata does not contain a certificate");
}

}  // namespace

void SSLContext::load_cert_chain(std::string_view certfile, std::string_view keyfile,
                                 std::string_view password) const {
    SSL_CTX* ctx = state_->ctx();
    const std::string chain(certfile);
    const std::string key(keyfile.empty() ? certfile : keyfile);
    check_readable(chain);
    check_readable(key);
    clear_errors();
    state_->changed();
    SSL_CTX_set_default_passwd_cb(ctx, detail::on_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &password);
    const bool loaded = SSL_CTX_use_certificate_chain_file(ctx, chain.c_str()) == 1 &&
                        SSL_CTX_use_PrivateKey_file(ctx, key.c_str(), SSL_FILETYPE_PEM) == 1 &&
                        SSL_CTX_check_private_key(ctx) == 1;
    SSL_CTX_set_default_passwd_cb(ctx, nullptr);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, nullptr);
    check(loaded);
}

void SSLContext::load_verify_locations(std::string_view cafile, std::string_view capath,
                                       std::string_view cadata) const {
    load_verify_locations(CertLocations{cafile, capath, cadata});
}

void SSLContext::load_verify_locations(const CertLocations& where) const {
    if (where.cafile.empty() && where.capath.empty() && where.cadata.empty()) {
        throw TypeError("cafile, capath and cadata cannot be all omitted");
    }
    SSL_CTX* ctx = state_->ctx();
    clear_errors();
    state_->changed();
    if (!where.cadata.empty()) add_data(ctx, where.cadata);
    if (!where.cafile.empty()) {
        const std::string file(where.cafile);
        check_readable(file);
        check(SSL_CTX_load_verify_file(ctx, file.c_str()) == 1);
    }
    if (!where.capath.empty()) {
        check(SSL_CTX_load_verify_dir(ctx, std::string(where.capath).c_str()) == 1);
    }
}

void SSLContext::load_default_certs() const {
    clear_errors();
    state_->changed();
    check(SSL_CTX_set_default_verify_paths(state_->ctx()) == 1);
    // A system without a bundle is no error: nobody is trusted then.
    clear_errors();
}

}  // namespace ssl
}  // namespace v1
}  // namespace asyncio

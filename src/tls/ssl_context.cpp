// TLS contexts: how they are made, and what is set in them.
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/ssl.hpp"
#include "tls/openssl.hpp"
#include "tls/ssl_ciphers.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

// ---- callbacks of OpenSSL -----------------------------------------------------------------------

SslState& state_of(SSL* ssl) noexcept { return *static_cast<SslState*>(SSL_get_app_data(ssl)); }

int on_client_hello(SSL* ssl, int* alert, void*) { return state_of(ssl).client_hello(*alert); }

// The name was looked at when the hello came: here it is only acknowledged.
int on_server_name(SSL*, int*, void*) { return SSL_TLSEXT_ERR_OK; }

int on_new_session(SSL* ssl, SSL_SESSION* session) { return state_of(ssl).keep_session(session); }

int on_alpn(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
            unsigned int offered_size, void* context) {
    const std::string& ours = static_cast<SslContextState*>(context)->alpn();
    if (ours.empty()) return SSL_TLSEXT_ERR_NOACK;
    unsigned char* found = nullptr;
    // Safe because the names are bytes to OpenSSL, and it only reads them.
    const int result =
        SSL_select_next_proto(&found, length, reinterpret_cast<const unsigned char*>(ours.data()),
                              static_cast<unsigned int>(ours.size()), offered, offered_size);
    if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

std::uint64_t next_number() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

}  // namespace

SslContextState::SslContextState(ssl::Purpose purpose) : purpose_(purpose), number_(next_number()) {
    clear_errors();
    const bool server = purpose == ssl::Purpose::CLIENT_AUTH;
    ctx_ = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!ctx_) raise_ssl_error();
    // Writing never has to wait in the midst of a renegotiation that a client asks for.
    SSL_CTX_set_options(ctx_, SSL_OP_ALL | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                  (server ? SSL_OP_NO_RENEGOTIATION : 0));
    SSL_CTX_set_mode(ctx_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_set_cipher_list(ctx_, kDefaultCiphers) != 1) {
        SSL_CTX_free(ctx_);
        raise_ssl_error();
    }
    if (server) {
        SSL_CTX_set_client_hello_cb(ctx_, on_client_hello, nullptr);
        SSL_CTX_set_tlsext_servername_callback(ctx_, on_server_name);
        SSL_CTX_set_alpn_select_cb(ctx_, on_alpn, this);
    } else {
        // Kept here alone, by name: OpenSSL's own cache is of no use to a client.
        SSL_CTX_set_session_cache_mode(ctx_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx_, on_new_session);
    }
}

SslContextState::~SslContextState() {
    forget_all_sessions();
    SSL_CTX_free(ctx_);
}

void SslContextState::set_alpn(std::string wire) {
    if (purpose_ == ssl::Purpose::SERVER_AUTH) {
        // Safe because the names are bytes to OpenSSL, which copies them. 0 is success here.
        const auto* bytes = reinterpret_cast<const unsigned char*>(wire.data());
        check(SSL_CTX_set_alpn_protos(ctx_, bytes, static_cast<unsigned int>(wire.size())) == 0);
    }
    alpn_ = std::move(wire);
}

void append_alpn(std::string& wire, std::string_view name) {
    if (name.empty() || name.size() > 255) {
        throw SSLError("ALPN protocols must be 1 to 255 in length");
    }
    wire += static_cast<char>(name.size());
    wire += name;
}

}  // namespace detail

// ---- the public classes -------------------------------------------------------------------------

namespace ssl {

using detail::clear_errors;

SSLContext::SSLContext(Purpose purpose)
    : check_hostname(purpose == Purpose::SERVER_AUTH),
      verify_mode(purpose == Purpose::SERVER_AUTH ? CERT_REQUIRED : CERT_NONE),
      state_(detail::Ref<detail::SslContextState>::adopt(new detail::SslContextState(purpose))) {}

SSLContext::SSLContext(const SSLContext&) noexcept = default;
// What was moved from stays a context: an empty one would be of no use, and a trap.
// NOLINTNEXTLINE(performance-move-constructor-init)
SSLContext::SSLContext(SSLContext&& other) noexcept : SSLContext(std::as_const(other)) {}
SSLContext& SSLContext::operator=(const SSLContext&) noexcept = default;
SSLContext& SSLContext::operator=(SSLContext&& other) noexcept {
    return *this = std::as_const(other);
}
SSLContext::~SSLContext() = default;

void SSLContext::set_alpn(std::string wire) const { state_->set_alpn(std::move(wire)); }

void SSLContext::set_ciphers(std::string_view ciphers) const {
    clear_errors();
    state_->changed();
    if (SSL_CTX_set_cipher_list(state_->ctx(), std::string(ciphers).c_str()) == 1) return;
    ERR_clear_error();
    throw SSLError("No cipher can be selected.");
}

Purpose SSLContext::purpose() const noexcept { return state_->purpose(); }
std::size_t SSLContext::session_hits() const noexcept { return state_->hits; }

SSLContext create_default_context(Purpose purpose, const CertLocations& where) {
    SSLContext context(purpose);
    // An intermediate authority may be trusted by itself.
    context.verify_flags |= VERIFY_X509_PARTIAL_CHAIN;
    if (!where.cafile.empty() || !where.capath.empty() || !where.cadata.empty()) {
        context.load_verify_locations(where);
    } else if (purpose == Purpose::SERVER_AUTH) {
        context.load_default_certs();
    }
    return context;
}

const SSLContext& default_context() {
    // Never destroyed: connections may use it while the process ends. Not a variable of this
    // function, see bio_method() in ssl_connection.cpp.
    static constinit std::atomic<const SSLContext*> context{nullptr};
    if (const SSLContext* made = context.load(std::memory_order_acquire)) return *made;
    auto made = std::make_unique<const SSLContext>(create_default_context());
    const SSLContext* first = nullptr;
    if (!context.compare_exchange_strong(first, made.get())) return *first;
    return *made.release();
}

}  // namespace ssl
}  // namespace v1
}  // namespace asyncio

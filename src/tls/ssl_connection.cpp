// Connections as OpenSSL sees them.
//
// Bytes go in and out through a BIO of our own: it reads from a view of what the transport below
// has received, and writes by calling the transport, so that neither way has a buffer that an idle
// connection would keep. OpenSSL's own buffers are given back after each record
// (SSL_MODE_RELEASE_BUFFERS).
#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/repr.hpp"
#include "tls/openssl.hpp"
#include "tls/ssl_state.hpp"
#include "tls/ssl_verify.hpp"

namespace asyncio {
inline namespace v1 {

using ssl::SSLContext;
using ssl::TLSVersion;
using ssl::VerifyMode;

namespace detail {

// ---- the BIO ------------------------------------------------------------------------------------

namespace {

SslState& state_of(BIO* bio) noexcept { return *static_cast<SslState*>(BIO_get_data(bio)); }

int bio_read(BIO* bio, char* to, std::size_t size, std::size_t* got) {
    BIO_clear_retry_flags(bio);
    *got = state_of(bio).take_input(to, size);
    if (*got > 0) return 1;
    BIO_set_retry_read(bio);
    return 0;
}

int bio_write(BIO* bio, const char* data, std::size_t size, std::size_t* taken) {
    SslSink* sink = state_of(bio).sink;
    BIO_clear_retry_flags(bio);
    *taken = size;
    if (sink) sink->encrypted({data, size});
    return 1;
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* bio_method() {
    // Never freed: connections may outlive every object of this file. Not a variable of this
    // function, which a child of fork(2) would wait for if another thread was just making it.
    static constinit std::atomic<BIO_METHOD*> method{nullptr};
    if (BIO_METHOD* m = method.load(std::memory_order_acquire)) return m;
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "asyncio");
    if (!m) raise_ssl_error();
    BIO_meth_set_read_ex(m, bio_read);
    BIO_meth_set_write_ex(m, bio_write);
    BIO_meth_set_ctrl(m, bio_control);
    BIO_METHOD* first = nullptr;
    if (method.compare_exchange_strong(first, m)) return m;
    BIO_meth_free(m);
    return first;
}

int on_not_resumable(SSL*, int) { return 1; }

}  // namespace

// ---- connections --------------------------------------------------------------------------------

namespace {

std::string seconds_text(Delay delay) {
    return repr_double(static_cast<double>(delay.count()) / 1e9);
}

void check_timeout(const char* name, Delay delay) {
    if (delay.is_none() || delay.count() > 0) return;
    throw ValueError(std::string(name) + " should be a positive number, got " +
                     seconds_text(delay));
}

// The address of `host`, null if it is a name.
IpPtr parse_ip(std::string host) {
    const std::size_t scope = host.find('%');
    if (scope != std::string::npos) host.resize(scope);
    IpPtr ip(a2i_IPADDRESS(host.c_str()));
    clear_errors();
    return ip;
}

int version_number(TLSVersion version, bool lowest) {
    if (version == TLSVersion::MINIMUM_SUPPORTED) return lowest ? 0 : TLS1_VERSION;
    if (version == TLSVersion::MAXIMUM_SUPPORTED) return lowest ? TLS1_3_VERSION : 0;
    return static_cast<int>(version);
}

}  // namespace

void check_tls(const TlsSettings& settings) {
    check_timeout("ssl_handshake_timeout", settings.handshake_timeout);
    check_timeout("ssl_shutdown_timeout", settings.shutdown_timeout);
    const SSLContext& context = settings.context;
    const bool server_context = context.purpose() == ssl::Purpose::CLIENT_AUTH;
    if (settings.server_side) {
        if (!server_context) {
            throw SSLError("Cannot create a server socket with a PROTOCOL_TLS_CLIENT context");
        }
        return;
    }
    if (server_context) {
        throw SSLError("Cannot create a client socket with a PROTOCOL_TLS_SERVER context");
    }
    if (settings.server_hostname) (void)encode_host(*settings.server_hostname);
    if (!context.check_hostname) return;
    if (context.verify_mode == VerifyMode::CERT_NONE) {
        throw ValueError("Cannot set verify_mode to CERT_NONE when check_hostname is enabled.");
    }
    if (!settings.server_hostname) throw ValueError("check_hostname requires server_hostname");
}

SslState::SslState(const TlsSettings& settings)
    : context_(settings.context), server_side_(settings.server_side) {
    check_tls(settings);
    if (!server_side_) server_hostname_ = encode_host(settings.server_hostname.value_or(""));
    clear_errors();
    ssl_ = make_ssl(context_);
    if (server_side_) return;
    try {
        expect_host();
    } catch (...) {
        // The destructor of what is not made yet does not run.
        SSL_free(ssl_);
        throw;
    }
}

SslState::~SslState() {
    finish();
    SSL_free(ssl_);
}

// One that has not begun.
SSL* SslState::make_ssl(const SSLContext& context) {
    SSL* ssl = SSL_new(context.state().ctx());
    check(ssl != nullptr);
    try {
        SSL_set_app_data(ssl, this);
        BIO* bio = BIO_new(bio_method());
        check(bio != nullptr);
        BIO_set_data(bio, this);
        BIO_set_init(bio, 1);
        SSL_set_bio(ssl, bio, bio);
        apply(ssl, context);
        server_side_ ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
        return ssl;
    } catch (...) {
        SSL_free(ssl);
        throw;
    }
}

void SslState::apply(SSL* ssl, const SSLContext& context) {
    int mode = SSL_VERIFY_NONE;
    if (context.verify_mode != VerifyMode::CERT_NONE) mode = SSL_VERIFY_PEER;
    if (context.verify_mode == VerifyMode::CERT_REQUIRED) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(ssl, mode, nullptr);
    check(SSL_set_min_proto_version(ssl, version_number(context.minimum_version, true)) == 1);
    check(SSL_set_max_proto_version(ssl, version_number(context.maximum_version, false)) == 1);
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl);
    // Setting flags only adds some.
    check(X509_VERIFY_PARAM_clear_flags(wanted, X509_VERIFY_PARAM_get_flags(wanted)) == 1);
    check(X509_VERIFY_PARAM_set_flags(wanted, context.verify_flags) == 1);
    if (!server_side_ || context.sessions) return;
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    check(SSL_set_num_tickets(ssl, 0) == 1);
    // Without tickets TLS 1.2 would keep sessions for those who come with their ids.
    SSL_set_not_resumable_session_callback(ssl, on_not_resumable);
}

void SslState::expect_host() {
    // "example.org." is the same host, but not the same text in a certificate or in SNI.
    std::string host = server_hostname_;
    if (host.ends_with('.')) host.pop_back();
    if (host.empty()) return;
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl_);
    const IpPtr ip = parse_ip(host);
    if (!ip) check(SSL_set_tlsext_host_name(ssl_, host.c_str()) == 1);
    if (!context_.check_hostname) return;
    X509_VERIFY_PARAM_set_hostflags(wanted, kHostFlags);
    if (ip) {
        check(X509_VERIFY_PARAM_set1_ip(wanted, ASN1_STRING_get0_data(ip.get()),
                                        static_cast<std::size_t>(ASN1_STRING_length(ip.get()))));
    } else {
        check(X509_VERIFY_PARAM_set1_host(wanted, host.data(), host.size()) == 1);
        SSL_set_verify(ssl_, SSL_get_verify_mode(ssl_), check_exclusions);
    }
}

std::size_t SslState::take_input(char* to, std::size_t size) {
    const bool again = replayed_ < heard_.size() && hello_ == Hello::kChosen;
    const std::string_view from = again ? std::string_view(heard_).substr(replayed_) : input;
    const std::size_t taken = std::min(size, from.size());
    if (taken == 0) return 0;
    std::memcpy(to, from.data(), taken);
    if (again) {
        replayed_ += taken;
        return taken;
    }
    if (server_side_ && hello_ == Hello::kAwaited && context_.sni_callback)
        hear(from.substr(0, taken));
    input.remove_prefix(taken);
    return taken;
}

SslStatus SslState::status(int result) {
    switch (SSL_get_error(ssl_, result)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return SslStatus::kWantRead;
        case SSL_ERROR_ZERO_RETURN:
            return SslStatus::kClosed;
        default:
            failed_ = true;
            return SslStatus::kError;
    }
}

SslStatus SslState::handshake() {
    clear_errors();
    int result = SSL_do_handshake(ssl_);
    if (hello_ == Hello::kAsking) {
        choose_context();
        clear_errors();
        result = SSL_do_handshake(ssl_);
    }
    if (result != 1) return status(result);
    heard_ = std::string();
    if (!server_side_ && SSL_session_reused(ssl_)) ++context_.state().hits;
    return SslStatus::kOk;
}

SslStatus SslState::read(char* to, std::size_t size, std::size_t& got) {
    clear_errors();
    const int result = SSL_read_ex(ssl_, to, size, &got);
    return result == 1 ? SslStatus::kOk : status(result);
}

SslStatus SslState::write(std::string_view data, std::size_t& taken) {
    clear_errors();
    const int result = SSL_write_ex(ssl_, data.data(), data.size(), &taken);
    return result == 1 ? SslStatus::kOk : status(result);
}

SslStatus SslState::shutdown() {
    clear_errors();
    const int result = SSL_shutdown(ssl_);
    if (result < 0) {
        // Its peer's data is still unread, say. What matters has been sent.
        ERR_clear_error();
    }
    return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) ? SslStatus::kOk : SslStatus::kWantRead;
}

std::exception_ptr SslState::take_error() {
    if (!session_key_.empty()) context_.state().forget_sessions(session_key_);
    std::exception_ptr error = take_ssl_error(this);
    if (callback_error_) return std::exchange(callback_error_, nullptr);
    return error;
}

void SslState::finish() noexcept {
    sink = nullptr;
    input = {};
    // Without this OpenSSL makes the session of a connection void that ends with no close_notify.
    if (!failed_) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// TLS contexts, and connections as OpenSSL sees them.
//
// Bytes go in and out through a BIO of our own: it reads from a view of what the transport below
// has received, and writes by calling the transport, so that neither way has a buffer that an idle
// connection would keep. OpenSSL's own buffers are given back after each record
// (SSL_MODE_RELEASE_BUFFERS).
//
// Sessions. OpenSSL does not verify a certificate again when a session is resumed, so a session is
// used only where all that was verified when it was made would be the same. Of a client: same
// context (nothing loaded into it since), host, port and settings of verification. Of a server:
// same context, likewise, name that the client asked for, and settings of verification; all this is
// in the session id context, which OpenSSL compares for tickets and for session ids, of all
// versions.
#include "asyncio/ssl.hpp"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "asyncio/exceptions.hpp"
#include "asyncio/repr.hpp"
#include "tls/ssl_state.hpp"
#include "tls/ssl_verify.hpp"

namespace asyncio {
inline namespace v1 {

using ssl::SSLContext;
using ssl::TLSVersion;
using ssl::VerifyMode;

namespace {

constexpr std::size_t kMostSessions = 256;       // hosts whose sessions a context keeps
constexpr std::size_t kMostSessionsPerHost = 4;  // servers send two tickets at a time
constexpr std::size_t kMostServerName = 255;     // RFC 1035, 2.3.4
// Bytes up to the end of a client's hello. It has a few KiB, but may come in records of one byte
// or, with OpenSSL, of none.
constexpr std::size_t kMostHeard = std::size_t{256} * 1024;

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

void clear_errors() noexcept {
    // Looking is cheaper than clearing, and there seldom is anything.
    if (ERR_peek_error() != 0) ERR_clear_error();
}

std::string raw_text_of(const ASN1_STRING* s) {
    // Safe because bytes may be read as chars.
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)),
            static_cast<std::size_t>(ASN1_STRING_length(s))};
}

[[noreturn]] void raise_ssl_error() { std::rethrow_exception(detail::take_ssl_error()); }

void check(bool ok) {
    if (!ok) raise_ssl_error();
}

}  // namespace

// ---- errors -------------------------------------------------------------------------------------

namespace detail {
namespace {

// "certificate verify failed" -> "CERTIFICATE_VERIFY_FAILED", as OpenSSL's own names of reasons.
std::string mnemonic(std::string_view text) {
    std::string name;
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        name += std::isalnum(u) ? static_cast<char>(std::toupper(u)) : '_';
    }
    return name;
}

std::string library_name(int library) {
    switch (library) {
        case ERR_LIB_SSL:
            return "SSL";
        case ERR_LIB_X509:
            return "X509";
        case ERR_LIB_PEM:
            return "PEM";
        default:
            break;
    }
    const char* text = ERR_lib_error_string(ERR_PACK(library, 0, 0));
    return text ? mnemonic(text) : "SSL";
}

std::string verify_message(const SslState& connection) {
    const long code = SSL_get_verify_result(connection.ssl());
    const char* what = nullptr;
    if (code == X509_V_ERR_HOSTNAME_MISMATCH) what = "Hostname mismatch";
    if (code == X509_V_ERR_IP_ADDRESS_MISMATCH) what = "IP address mismatch";
    if (!what) return X509_verify_cert_error_string(code);
    return std::string(what) + ", certificate is not valid for '" + connection.server_hostname() +
           "'.";
}

}  // namespace

std::exception_ptr take_ssl_error(const SslState* verified) {
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) return std::make_exception_ptr(SSLError(ssl::ERROR_SSL, "unknown error"));
    const int library = ERR_GET_LIB(code);
    const int reason = ERR_GET_REASON(code);
    const char* known = ERR_reason_error_string(code);
    std::string text = known ? known : "error " + std::to_string(reason);
    const std::string head = "[" + library_name(library) + ": " + mnemonic(text) + "] ";
    if (verified && library == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        text += ": " + verify_message(*verified);
        return std::make_exception_ptr(SSLCertVerificationError(ssl::ERROR_SSL, head + text));
    }
    return std::make_exception_ptr(SSLError(ssl::ERROR_SSL, head + text));
}

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

// ---- callbacks of OpenSSL -----------------------------------------------------------------------

SslState& state_of(SSL* ssl) noexcept { return *static_cast<SslState*>(SSL_get_app_data(ssl)); }

int on_client_hello(SSL* ssl, int* alert, void*) { return state_of(ssl).client_hello(*alert); }

// The name was looked at when the hello came: here it is only acknowledged.
int on_server_name(SSL*, int*, void*) { return SSL_TLSEXT_ERR_OK; }

int on_not_resumable(SSL*, int) { return 1; }

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

// An encrypted key without a password: refused, where OpenSSL would ask at the terminal.
int on_password(char* to, int size, int, void* given) {
    const auto* password = static_cast<const std::string_view*>(given);
    if (password->empty() || password->size() > static_cast<std::size_t>(size)) return -1;
    std::memcpy(to, password->data(), password->size());
    return static_cast<int>(password->size());
}

}  // namespace

// ---- contexts -----------------------------------------------------------------------------------

namespace {

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

void SslContextState::changed() noexcept {
    ++changes_;
    forget_all_sessions();
}

std::string SslContextState::stamp() const {
    return std::to_string(number_) + '.' + std::to_string(changes_.load());
}

void SslContextState::keep_session(const std::string& key, SSL_SESSION* session) {
    const std::lock_guard lock(mutex_);
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) {
        // A program that meets ever new hosts: which one is forgotten does not matter.
        if (sessions_.size() >= kMostSessions) {
            for (SSL_SESSION* s : sessions_.begin()->second) SSL_SESSION_free(s);
            sessions_.erase(sessions_.begin());
        }
        sessions_.emplace(key, std::vector{session});
        return;
    }
    std::vector<SSL_SESSION*>& kept = at->second;
    if (kept.size() >= kMostSessionsPerHost) {
        SSL_SESSION_free(kept.front());
        kept.erase(kept.begin());
    }
    kept.push_back(session);
}

SSL_SESSION* SslContextState::find_session(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) return nullptr;
    SSL_SESSION* session = at->second.back();
    if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
        SSL_SESSION_up_ref(session);
        return session;
    }
    at->second.pop_back();
    if (at->second.empty()) sessions_.erase(at);
    return session;
}

void SslContextState::forget_sessions(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) return;
    for (SSL_SESSION* s : at->second) SSL_SESSION_free(s);
    sessions_.erase(at);
}

void SslContextState::forget_all_sessions() noexcept {
    const std::lock_guard lock(mutex_);
    for (auto& [key, kept] : sessions_) {
        for (SSL_SESSION* s : kept) SSL_SESSION_free(s);
    }
    sessions_.clear();
}

void append_alpn(std::string& wire, std::string_view name) {
    if (name.empty() || name.size() > 255) {
        throw SSLError("ALPN protocols must be 1 to 255 in length");
    }
    wire += static_cast<char>(name.size());
    wire += name;
}

// ---- connections --------------------------------------------------------------------------------

namespace {

// The name that a client's hello asks for, "" if it asks for none. RFC 6066, 3: a list, of one name
// of the only type there is. Only within the hello's callback. Raises: SSLError if it is no name.
std::string server_name_of(SSL* ssl) {
    const unsigned char* data = nullptr;
    std::size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1) return {};
    const auto number = [&](std::size_t at) {
        return static_cast<std::size_t>(data[at]) << 8 | data[at + 1];
    };
    constexpr std::size_t kHead = 5;
    const bool well_formed = size > kHead && number(0) == size - 2 &&
                             data[2] == TLSEXT_NAMETYPE_host_name && number(3) == size - kHead;
    if (!well_formed) {
        throw SSLError(ssl::ERROR_SSL,
                       "[SSL: BAD_EXTENSION] bad extension: the server name that the client asks "
                       "for cannot be parsed");
    }
    // Safe because bytes may be read as chars.
    const std::string_view name(reinterpret_cast<const char*>(data) + kHead, size - kHead);
    const bool printable =
        std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
    if (name.size() > kMostServerName || !printable) {
        throw SSLError(ssl::ERROR_SSL,
                       "[SSL: BAD_EXTENSION] bad extension: the server name that the client asks "
                       "for is not a host name");
    }
    return std::string(name);
}

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

// Servers: what a session must have been made with to be taken (see the head of this file).
void SslState::bind_sessions() {
    static std::atomic<std::uint64_t> last{0};
    // No session fits a connection that is to have none.
    const std::string who =
        context_.sessions ? context_.state().stamp() : '-' + std::to_string(++last);
    const std::string all = who + '/' + std::to_string(static_cast<int>(context_.verify_mode)) +
                            '/' + std::to_string(context_.verify_flags) + '/' + server_hostname_;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    check(EVP_Digest(all.data(), all.size(), digest, &size, EVP_sha256(), nullptr) == 1);
    check(SSL_set_session_id_context(ssl_, digest, size) == 1);
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

void SslState::choose_session(std::string_view port) {
    if (server_side_ || !context_.sessions || server_hostname_.empty()) return;
    session_key_ = server_hostname_;
    session_key_ += '\0';
    session_key_ += port;
    session_key_ += '\0';
    session_key_ +=
        context_.state().stamp() + '/' + std::to_string(static_cast<int>(context_.verify_mode)) +
        '/' + std::to_string(context_.check_hostname) + '/' + std::to_string(context_.verify_flags);
    SSL_SESSION* session = context_.state().find_session(session_key_);
    if (!session) return;
    SSL_set_session(ssl_, session);
    SSL_SESSION_free(session);
}

int SslState::keep_session(SSL_SESSION* session) {
    // Returns whether the reference was taken over.
    if (session_key_.empty() || !SSL_SESSION_is_resumable(session)) return 0;
    try {
        context_.state().keep_session(session_key_, session);
        return 1;
    } catch (...) {
        // No memory: the connection goes on without. OpenSSL could not pass an exception on.
        return 0;
    }
}

// Raised by the handshake, as OpenSSL could not pass an exception on.
void SslState::hear(std::string_view bytes) noexcept {
    if (callback_error_) return;
    try {
        if (heard_.size() + bytes.size() > kMostHeard) {
            throw SSLError(ssl::ERROR_SSL,
                           "[SSL: EXCESSIVE_MESSAGE_SIZE] excessive message size: the client's "
                           "hello");
        }
        heard_ += bytes;
    } catch (...) {
        callback_error_ = std::current_exception();
        heard_ = std::string();
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

// OpenSSL has a hello of the client: the first, the same again after it was stopped or in another
// context, or the second, which answers a HelloRetryRequest.
int SslState::client_hello(int& alert) noexcept {
    try {
        alert = SSL_AD_DECODE_ERROR;
        switch (hello_) {
            case Hello::kAwaited:
                if (callback_error_) return SSL_CLIENT_HELLO_ERROR;
                server_hostname_ = server_name_of(ssl_);
                if (context_.sni_callback) {
                    hello_ = Hello::kAsking;
                    return SSL_CLIENT_HELLO_RETRY;
                }
                hello_ = Hello::kChosen;
                bind_sessions();
                return SSL_CLIENT_HELLO_SUCCESS;
            case Hello::kAsking:
                return SSL_CLIENT_HELLO_RETRY;
            case Hello::kChosen:
                if (server_name_of(ssl_) != server_hostname_) {
                    alert = SSL_AD_ILLEGAL_PARAMETER;
                    throw SSLError(
                        ssl::ERROR_SSL,
                        "[SSL: BAD_EXTENSION] bad extension: the client asks for another "
                        "server name in its second hello");
                }
                bind_sessions();
                return SSL_CLIENT_HELLO_SUCCESS;
            case Hello::kRefused:
                alert = SSL_AD_UNRECOGNIZED_NAME;
                return SSL_CLIENT_HELLO_ERROR;
        }
    } catch (...) {
        // Raised again by take_error(): it must not cross OpenSSL's frames.
        callback_error_ = std::current_exception();
    }
    return SSL_CLIENT_HELLO_ERROR;
}

// OpenSSL is not on the stack.
void SslState::choose_context() {
    const ssl::SniCallback callback = context_.sni_callback;
    try {
        const std::optional<SSLContext> other = callback(server_hostname_);
        if (other) {
            if (other->purpose() != ssl::Purpose::CLIENT_AUTH) {
                throw SSLError("Cannot create a server socket with a PROTOCOL_TLS_CLIENT context");
            }
            clear_errors();
            SSL* ssl = make_ssl(*other);
            SSL_free(std::exchange(ssl_, ssl));
            context_ = *other;
        } else {
            heard_ = std::string();
        }
        hello_ = Hello::kChosen;
    } catch (...) {
        // Raised again by take_error(), after the client has been told.
        callback_error_ = std::current_exception();
        hello_ = Hello::kRefused;
        heard_ = std::string();
    }
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

// ---- certificates -------------------------------------------------------------------------------

namespace {

std::string text_of(const ASN1_STRING* s) {
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, s);
    if (size < 0) {
        clear_errors();
        return {};
    }
    // Safe because UTF-8 is bytes, which may be read as chars.
    std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
    return text;
}

std::string object_name(const ASN1_OBJECT* object) {
    char text[128];
    OBJ_obj2txt(text, sizeof text, object, 0);
    return text;
}

ssl::Certificate::Names names_of(const X509_NAME* name) {
    ssl::Certificate::Names names;
    for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
        const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
        names.emplace_back(object_name(X509_NAME_ENTRY_get_object(entry)),
                           text_of(X509_NAME_ENTRY_get_data(entry)));
    }
    return names;
}

std::string contents_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

std::string time_text(const ASN1_TIME* time) {
    const BioPtr bio(BIO_new(BIO_s_mem()));
    if (!bio || ASN1_TIME_print(bio.get(), time) != 1) return {};
    return contents_of(bio.get());
}

std::string ip_text(const ASN1_OCTET_STRING* ip) {
    const std::string bytes = raw_text_of(ip);
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    std::string text;
    if (bytes.size() == 4) {
        for (std::size_t i = 0; i < 4; ++i) text += (i ? "." : "") + std::to_string(byte(i));
        return text;
    }
    if (bytes.size() != 16) return "<invalid>";
    for (std::size_t i = 0; i < 16; i += 2) {
        char group[8];
        std::snprintf(group, sizeof group, "%s%X", i ? ":" : "", byte(i) << 8 | byte(i + 1));
        text += group;
    }
    return text;
}

ssl::Certificate::Names alternative_names(const X509* certificate) {
    ssl::Certificate::Names names;
    auto* all = static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    if (!all) return names;
    for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(all, i);
        if (name->type == GEN_DNS) names.emplace_back("DNS", raw_text_of(name->d.dNSName));
        if (name->type == GEN_EMAIL) names.emplace_back("email", raw_text_of(name->d.rfc822Name));
        if (name->type == GEN_URI) {
            names.emplace_back("URI", raw_text_of(name->d.uniformResourceIdentifier));
        }
        if (name->type == GEN_IPADD) names.emplace_back("IP Address", ip_text(name->d.iPAddress));
    }
    GENERAL_NAMES_free(all);
    return names;
}

std::string serial_text(const X509* certificate) {
    const BignumPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
    char* text = number ? BN_bn2hex(number.get()) : nullptr;
    if (!text) return {};
    std::string result = text;
    OPENSSL_free(text);
    return result;
}

}  // namespace

ssl::Certificate read_certificate(X509* certificate) {
    ssl::Certificate c;
    c.subject = names_of(X509_get_subject_name(certificate));
    c.issuer = names_of(X509_get_issuer_name(certificate));
    c.version = static_cast<int>(X509_get_version(certificate)) + 1;
    c.serial_number = serial_text(certificate);
    c.not_before = time_text(X509_get0_notBefore(certificate));
    c.not_after = time_text(X509_get0_notAfter(certificate));
    c.subject_alt_name = alternative_names(certificate);
    unsigned char* der = nullptr;
    const int size = i2d_X509(certificate, &der);
    // Safe because bytes may be read as chars.
    if (size > 0) c.der.assign(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
    OPENSSL_free(der);
    clear_errors();
    return c;
}

}  // namespace detail

// ---- the public classes -------------------------------------------------------------------------

namespace ssl {

SSLContext::SSLContext(Purpose purpose)
    : check_hostname(purpose == Purpose::SERVER_AUTH),
      verify_mode(purpose == Purpose::SERVER_AUTH ? CERT_REQUIRED : CERT_NONE),
      state_(detail::Ref<detail::SslContextState>::adopt(new detail::SslContextState(purpose))) {}

SSLContext::SSLContext(const SSLContext&) noexcept = default;
// What was moved from stays a context: an empty one would be of no use, and a trap.
SSLContext::SSLContext(SSLContext&& other) noexcept : SSLContext(std::as_const(other)) {}
SSLContext& SSLContext::operator=(const SSLContext&) noexcept = default;
SSLContext& SSLContext::operator=(SSLContext&& other) noexcept {
    return *this = std::as_const(other);
}
SSLContext::~SSLContext() = default;

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
    // function, see bio_method().
    static constinit std::atomic<const SSLContext*> context{nullptr};
    if (const SSLContext* made = context.load(std::memory_order_acquire)) return *made;
    auto made = std::make_unique<const SSLContext>(create_default_context());
    const SSLContext* first = nullptr;
    if (!context.compare_exchange_strong(first, made.get())) return *first;
    return *made.release();
}

SSLObject::SSLObject() noexcept = default;
SSLObject::SSLObject(detail::Ref<detail::SslState> state) noexcept : state_(std::move(state)) {}
SSLObject::SSLObject(const SSLObject&) noexcept = default;
SSLObject& SSLObject::operator=(const SSLObject&) noexcept = default;
SSLObject::~SSLObject() = default;

namespace {

detail::SslState& checked(const detail::Ref<detail::SslState>& state) {
    if (!state) throw RuntimeError("this SSLObject is empty: it refers to no connection");
    return *state;
}

}  // namespace

std::string SSLObject::version() const {
    SSL* s = checked(state_).ssl();
    return SSL_get_session(s) && SSL_get_current_cipher(s) ? SSL_get_version(s) : "";
}

std::optional<Cipher> SSLObject::cipher() const {
    const SSL_CIPHER* c = SSL_get_current_cipher(checked(state_).ssl());
    if (!c) return std::nullopt;
    return Cipher{SSL_CIPHER_get_name(c), SSL_CIPHER_get_version(c),
                  SSL_CIPHER_get_bits(c, nullptr)};
}

std::optional<std::string> SSLObject::compression() const { return std::nullopt; }

std::optional<std::string> SSLObject::selected_alpn_protocol() const {
    const unsigned char* name = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(checked(state_).ssl(), &name, &size);
    if (size == 0) return std::nullopt;
    // Safe because bytes may be read as chars.
    return std::string(reinterpret_cast<const char*>(name), size);
}

std::optional<Certificate> SSLObject::getpeercert() const {
    X509* certificate = SSL_get0_peer_certificate(checked(state_).ssl());
    if (!certificate) return std::nullopt;
    return detail::read_certificate(certificate);
}

bool SSLObject::session_reused() const { return SSL_session_reused(checked(state_).ssl()) == 1; }
bool SSLObject::server_side() const { return checked(state_).server_side(); }

std::string SSLObject::server_hostname() const {
    const detail::SslState& state = checked(state_);
    if (!state.server_side() || !state.server_hostname().empty()) return state.server_hostname();
    const char* name = SSL_get_servername(state.ssl(), TLSEXT_NAMETYPE_host_name);
    return name ? name : "";
}

}  // namespace ssl
}  // namespace v1
}  // namespace asyncio

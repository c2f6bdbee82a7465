// TLS: contexts, which say how connections are secured, and what is known of a secured connection.
// TL-05, TL-06. On OpenSSL 3, of which nothing is seen here. If the library was built without it
// (ASYNCIO_TLS=OFF) all names are there, and making a context raises RuntimeError.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/function.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/exceptions.hpp"

namespace asyncio {
inline namespace v1 {

namespace ssl {
class SSLContext;
class SSLObject;
}  // namespace ssl

namespace detail {

class SslContextState;
class SslState;

// Each name with its length before it (RFC 7301).
ASYNCIO_API void append_alpn(std::string& wire, std::string_view name);

}  // namespace detail

namespace ssl {

// Python's module ssl has these names.
using SSLError = asyncio::SSLError;
using SSLCertVerificationError = asyncio::SSLCertVerificationError;
using CertificateError = asyncio::SSLCertVerificationError;

// What the peer's certificate is for, from which follows our side of the connection.
enum class Purpose {
    SERVER_AUTH,  // a client, which verifies its server
    CLIENT_AUTH,  // a server, which may verify its clients
};
// A client's, a server's.
inline constexpr Purpose PROTOCOL_TLS_CLIENT = Purpose::SERVER_AUTH;
inline constexpr Purpose PROTOCOL_TLS_SERVER = Purpose::CLIENT_AUTH;

// Whether the peer has to show a certificate.
enum class VerifyMode {
    CERT_NONE,      // the peer's certificate is not looked at
    CERT_OPTIONAL,  // of a server: a client may send none, but no bad one
    CERT_REQUIRED,  // without a good one there is no connection
};
// The same, as Python's module has them.
inline constexpr VerifyMode CERT_NONE = VerifyMode::CERT_NONE;
inline constexpr VerifyMode CERT_OPTIONAL = VerifyMode::CERT_OPTIONAL;
inline constexpr VerifyMode CERT_REQUIRED = VerifyMode::CERT_REQUIRED;

// Of SSLContext::minimum_version and maximum_version.
enum class TLSVersion {
    MINIMUM_SUPPORTED = -2,  // the earliest that OpenSSL has
    MAXIMUM_SUPPORTED = -1,  // the latest
    TLSv1 = 0x301,           // TLS 1.0
    TLSv1_1 = 0x302,         // TLS 1.1
    TLSv1_2 = 0x303,         // TLS 1.2
    TLSv1_3 = 0x304,         // TLS 1.3
};

// Bits of SSLContext::verify_flags.
inline constexpr unsigned long VERIFY_DEFAULT = 0;
inline constexpr unsigned long VERIFY_CRL_CHECK_LEAF = 0x4;
inline constexpr unsigned long VERIFY_CRL_CHECK_CHAIN = 0x4 | 0x8;
inline constexpr unsigned long VERIFY_X509_STRICT = 0x20;
inline constexpr unsigned long VERIFY_X509_TRUSTED_FIRST = 0x8000;
inline constexpr unsigned long VERIFY_X509_PARTIAL_CHAIN = 0x80000;

// SSLError::code().value().
inline constexpr int ERROR_SSL = 1;  // what OpenSSL or the peer refused
inline constexpr int ERROR_EOF = 8;  // the stream ended without a close_notify (see strict_eof)

// How a connection is encrypted.
struct Cipher {
    std::string name;      // "TLS_AES_256_GCM_SHA384"
    std::string protocol;  // "TLSv1.3"
    int secret_bits = 0;   // how long its key is: 256
};

// What a certificate says.
struct Certificate {
    // Pairs of what is named and its value.
    using Names = std::vector<std::pair<std::string, std::string>>;
    Names subject;              // ("commonName", "example.org"), in the certificate's order
    Names issuer;               // who signed it, likewise
    int version = 0;            // 3, as a rule
    std::string serial_number;  // hexadecimal
    std::string not_before;     // "Jan  5 09:34:43 2026 GMT"
    std::string not_after;      // when it expires, likewise
    Names subject_alt_name;     // ("DNS", "example.org"), ("IP Address", "127.0.0.1")
    std::string der;            // the certificate itself

    // The first of that name in the subject, "" if there is none.
    std::string subject_name(std::string_view name) const {
        for (const auto& [key, value] : subject) {
            if (key == name) return value;
        }
        return {};
    }
};

// Where certificates of authorities are read from. At least one is to be given.
struct CertLocations {
    std::string_view cafile = {};  // PEM
    std::string_view capath = {};  // a folder prepared by `openssl rehash`
    std::string_view cadata = {};  // PEM or DER itself
};

// Called by a server for each client's hello, before anything of it is decided, with the name the
// client asked for, in its spelling, "" if it sent none. The connection is that of the context
// which is returned, as if the server had been made with it: certificate, versions, ciphers, ALPN,
// who is verified and by whom, sessions; nothing: of the context that the server was made with.
// What it throws ends the handshake. A name that is none (not as RFC 6066 writes it, or not in
// printable ASCII) ends the handshake without a call.
using SniCallback = detail::Function<std::optional<SSLContext>(std::string_view server_name)>;

// How connections are secured. A handle: copies share certificates, keys and sessions, but each has
// data members of its own, which are copied when a connection starts. Configure it before use; then
// it may be used on every thread.
//
// A client's context verifies chain and host name. A new one trusts nobody: see
// create_default_context().
class ASYNCIO_API SSLContext {
  public:
    // A new one, which trusts nobody. Raises: SSLError; RuntimeError if the library was built
    // without TLS.
    explicit SSLContext(Purpose purpose = Purpose::SERVER_AUTH);
    SSLContext(const SSLContext& other) noexcept;
    SSLContext(SSLContext&& other) noexcept;
    SSLContext& operator=(const SSLContext& other) noexcept;
    SSLContext& operator=(SSLContext&& other) noexcept;
    ~SSLContext();

    // Our certificate with the chain behind it, and its key, both PEM. `keyfile` empty: the key is
    // in `certfile`, too. `password`: of the key; an encrypted one without it is refused.
    // Raises: OSError if a file cannot be read; SSLError.
    void load_cert_chain(std::string_view certfile, std::string_view keyfile = {},
                         std::string_view password = {}) const;
    // Authorities that are trusted. Raises: TypeError "cafile, capath and cadata cannot be all
    // omitted"; OSError if the file cannot be read; SSLError.
    void load_verify_locations(std::string_view cafile, std::string_view capath = {},
                               std::string_view cadata = {}) const;
    void load_verify_locations(const CertLocations& where) const;
    // The system's authorities (SSL_CERT_FILE and SSL_CERT_DIR name others). Raises: SSLError.
    void load_default_certs() const;
    // In order of preference: "h2", "http/1.1". RFC 7301.
    // Raises: SSLError for an empty name or one of more than 255 bytes.
    template <class Names>
    void set_alpn_protocols(const Names& names) const {
        std::string wire;
        for (const auto& name : names) detail::append_alpn(wire, name);
        set_alpn(std::move(wire));
    }
    void set_alpn_protocols(std::initializer_list<std::string_view> names) const {
        set_alpn_protocols<std::initializer_list<std::string_view>>(names);
    }
    // Of TLS 1.2 and below, in OpenSSL's format, in place of a list of those with forward secrecy
    // and without SHA-1. Raises: SSLError "No cipher can be selected.".
    void set_ciphers(std::string_view ciphers) const;

    // What it was made for.
    Purpose purpose() const noexcept;
    // How often connections of this context's clients went on with a session of an earlier one.
    std::size_t session_hits() const noexcept;

    // Clients: the certificate is for the host that was asked for, by its alternative names (never
    // by a common name). Needs CERT_REQUIRED or CERT_OPTIONAL.
    bool check_hostname;
    // Whether the peer's certificate is verified: a client's is CERT_REQUIRED at first, a server's
    // CERT_NONE.
    VerifyMode verify_mode;
    // Which versions of TLS are spoken.
    TLSVersion minimum_version = TLSVersion::TLSv1_2;
    TLSVersion maximum_version = TLSVersion::MAXIMUM_SUPPORTED;
    // How certificates are verified: VERIFY_DEFAULT and its kin.
    unsigned long verify_flags = VERIFY_X509_TRUSTED_FIRST;
    // Servers. Null: one context for every name.
    SniCallback sni_callback;
    // Clients: sessions are kept, by host and port, and used again, which saves a round trip or the
    // certificate. Servers: sessions are given out, and taken where the context (nothing loaded
    // into it since), the name asked for, `verify_mode` and `verify_flags` are those of the
    // connection that made them.
    bool sessions = true;
    // An end without the peer's close_notify is an SSLError (of number ERROR_EOF) in place of
    // the end of the stream: somebody may have cut it off (RFC 8446, 6.1).
    bool strict_eof = false;

    friend bool operator==(const SSLContext& a, const SSLContext& b) noexcept {
        return a.state_ == b.state_;
    }
    // For the library.
    detail::SslContextState& state() const noexcept { return *state_; }

  private:
    void set_alpn(std::string wire) const;
    detail::Ref<detail::SslContextState> state_;
};

// A context with good settings: TLS 1.2 or later; a client's verifies its server by the system's
// authorities or, if any are given, by those of `where`. TL-05.
// Raises: as SSLContext's methods.
ASYNCIO_API SSLContext create_default_context(Purpose purpose = Purpose::SERVER_AUTH,
                                              const CertLocations& where = {});
// Python's `ssl=True`: create_default_context() for clients, made once for the process.
ASYNCIO_API const SSLContext& default_context();

// What is known of a secured connection: get_extra_info<ssl::SSLObject>("ssl_object"). A shared
// handle, possibly empty; stays good after the connection is closed. TL-06.
class ASYNCIO_API SSLObject {
  public:
    SSLObject() noexcept;
    explicit SSLObject(detail::Ref<detail::SslState> state) noexcept;
    SSLObject(const SSLObject& other) noexcept;
    SSLObject& operator=(const SSLObject& other) noexcept;
    ~SSLObject();
    explicit operator bool() const noexcept { return static_cast<bool>(state_); }

    // "TLSv1.3"; "" before the handshake is over. All raise RuntimeError if the handle is empty.
    std::string version() const;
    // How it is encrypted; nothing before the handshake is over.
    std::optional<Cipher> cipher() const;
    // Nothing, always: compressing what is secret gives it away.
    std::optional<std::string> compression() const;
    // What both agreed on of set_alpn_protocols(); nothing: on none.
    std::optional<std::string> selected_alpn_protocol() const;
    // Nothing if the peer sent none. Unlike Python's it is there unverified, too.
    std::optional<Certificate> getpeercert() const;
    // Whether it went on with a session of an earlier connection.
    bool session_reused() const;
    // Whether this side is the server.
    bool server_side() const;
    // A client: the name that the server had to prove, in ASCII ("xn--..."). A server: the name
    // that it was asked for.
    std::string server_hostname() const;

  private:
    detail::Ref<detail::SslState> state_;
};

}  // namespace ssl
}  // namespace v1
}  // namespace asyncio

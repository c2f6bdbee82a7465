// The half of TLS that is OpenSSL's: contexts and connections, with memory in place of sockets.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/component/process.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/ssl.hpp"
#include "net/ssl_factory.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// What all copies of an SSLContext share.
class SslContextState {
  public:
    explicit SslContextState(ssl::Purpose purpose);
    ~SslContextState();
    SslContextState(const SslContextState&) = delete;
    SslContextState& operator=(const SslContextState&) = delete;
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    SSL_CTX* ctx() const noexcept { return ctx_; }
    ssl::Purpose purpose() const noexcept { return purpose_; }
    const std::string& alpn() const noexcept { return alpn_; }
    void set_alpn(std::string wire);

    // What connections are verified or secured with is changing: sessions from before are none
    // afterwards, on either side.
    void changed() noexcept;
    // Tells this state of this context from every other context and from its own earlier ones.
    std::string stamp() const;

    // Sessions of clients, by what they may be used for again (see SslState::session_key). Safe on
    // every thread.
    // Takes over `session`.
    void keep_session(const std::string& key, SSL_SESSION* session);
    // Null if there is none; the caller frees it.
    SSL_SESSION* find_session(const std::string& key);
    void forget_sessions(const std::string& key);
    std::atomic<std::size_t> hits{0};

  private:
    void forget_all_sessions() noexcept;

    RefCount refs_{1};
    SSL_CTX* ctx_;
    ssl::Purpose purpose_;
    const std::uint64_t number_;  // among all contexts of the process
    std::atomic<std::uint64_t> changes_{0};
    std::string alpn_;                        // in wire format, empty: none
    std::mutex& mutex_ = shared_mutex(this);  // of sessions_
    // The newest is last. A session of TLS 1.3 is for one use (RFC 8446, C.4).
    std::map<std::string, std::vector<SSL_SESSION*>> sessions_;
};

enum class SslStatus : std::uint8_t {
    kOk,
    kWantRead,  // nothing more can be done before more bytes come
    kClosed,    // the peer's close_notify
    kError,     // take_error() says which
};

// Takes what OpenSSL sends. It must not call into the same connection.
class SslSink {
  public:
    virtual void encrypted(std::string_view bytes) = 0;

  protected:
    ~SslSink() = default;
};

// One connection. Lives as long as the transport or an SSLObject refers to it.
//
// A server that chooses its context by the name stops OpenSSL at the client's hello and asks. If it
// is to be another context the connection begins anew, with an SSL of that context and with the
// bytes that have come so far: whatever a context brings (versions, ciphers, keys of tickets, who
// is trusted) is then that context's by itself. Setting each in an SSL that has begun would come
// too late for some, and one would be forgotten.
class SslState {
  public:
    // Raises: as check_tls(); SSLError.
    explicit SslState(const TlsSettings& settings);
    ~SslState();
    SslState(const SslState&) = delete;
    SslState& operator=(const SslState&) = delete;
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    // Where `port` of the peer is known: looks for a session to go on with.
    void choose_session(std::string_view port);
    SslStatus handshake();
    // At most `size` bytes; `got` is how many.
    SslStatus read(char* to, std::size_t size, std::size_t& got);
    // At most one record.
    SslStatus write(std::string_view data, std::size_t& taken);
    // Sends close_notify. Returns kOk if the peer's is here, else kWantRead.
    SslStatus shutdown();
    // Whether plaintext is left of the last record.
    bool pending() const noexcept { return SSL_pending(ssl_) > 0; }
    // After kError: SSLError or SSLCertVerificationError.
    std::exception_ptr take_error();
    // The connection is over, in whichever way: its session stays good.
    void finish() noexcept;

    SSL* ssl() const noexcept { return ssl_; }
    const ssl::SSLContext& context() const noexcept { return context_; }
    bool server_side() const noexcept { return server_side_; }
    const std::string& server_hostname() const noexcept { return server_hostname_; }

    // The bytes of the peer that OpenSSL has not taken yet.
    std::string_view input;
    SslSink* sink = nullptr;  // null: what is sent is dropped

    // Called by OpenSSL, through callbacks.
    std::size_t take_input(char* to, std::size_t size);
    int client_hello(int& alert) noexcept;
    int keep_session(SSL_SESSION* session);

  private:
    // Of a server, as to the client's hello.
    enum class Hello : std::uint8_t {
        kAwaited,
        kAsking,   // it is here, and OpenSSL is stopped: which context?
        kChosen,   // the context is what it will be
        kRefused,  // by the callback
    };

    SSL* make_ssl(const ssl::SSLContext& context);
    void apply(SSL* ssl, const ssl::SSLContext& context);
    void bind_sessions();
    void expect_host();
    void hear(std::string_view bytes) noexcept;
    void choose_context();
    SslStatus status(int result);

    RefCount refs_{1};
    SSL* ssl_ = nullptr;
    ssl::SSLContext context_;
    std::string server_hostname_;
    std::string session_key_;  // empty: sessions are not kept
    std::string heard_;        // all that came up to the hello, while another context may take over
    std::size_t replayed_ = 0;  // of heard_, for that context
    std::exception_ptr callback_error_;
    Hello hello_ = Hello::kAwaited;
    bool server_side_;
    bool failed_ = false;
};

// `host` as it is in certificates and on the wire: names with letters beyond ASCII, in UTF-8, are
// encoded as the resolver does it (IDNA). Raises: ValueError for what is no name.
std::string encode_host(std::string_view host);

ssl::Certificate read_certificate(X509* certificate);

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

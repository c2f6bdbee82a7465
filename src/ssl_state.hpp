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

#include "asyncio/detail/refcount.hpp"
#include "asyncio/ssl.hpp"
#include "ssl_factory.hpp"

namespace asyncio::inline v1::detail {

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

    // Sessions of clients, by what they may be used for again (see SslState::session_key). Safe on
    // every thread.
    // Takes over `session`.
    void keep_session(const std::string& key, SSL_SESSION* session);
    // Null if there is none; the caller frees it.
    SSL_SESSION* find_session(const std::string& key);
    void forget_sessions(const std::string& key);
    // What is trusted has changed.
    void forget_all_sessions() noexcept;
    std::atomic<std::size_t> hits{0};

  private:
    RefCount refs_{1};
    SSL_CTX* ctx_;
    ssl::Purpose purpose_;
    std::string alpn_;  // in wire format, empty: none
    std::mutex mutex_;  // of sessions_
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

    // Called by OpenSSL, through this file.
    int choose_context();
    int keep_session(SSL_SESSION* session);

  private:
    void apply(const ssl::SSLContext& context);
    void expect_host();
    SslStatus status(int result);

    RefCount refs_{1};
    SSL* ssl_;
    ssl::SSLContext context_;
    std::string server_hostname_;
    std::string session_key_;  // empty: sessions are not kept
    std::exception_ptr callback_error_;
    bool server_side_;
    bool failed_ = false;
};

// The oldest or newest error of OpenSSL's queue, which is empty afterwards. `verified`: the
// connection whose certificate was refused, if that is the reason.
std::exception_ptr take_ssl_error(const SslState* verified = nullptr);
ssl::Certificate read_certificate(X509* certificate);

}  // namespace asyncio::inline v1::detail

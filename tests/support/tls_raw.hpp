// OpenSSL by itself at one end of a connection in memory, to play peers that the library's contexts
// would never be; and clients' hellos taken apart.
#pragma once

#include <asyncio/protocols.hpp>
#include <asyncio/transports.hpp>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace tls {

template <auto kFree>
struct Freed {
    template <class T>
    void operator()(T* p) const noexcept {
        kFree(p);
    }
};
using SslCtxPtr = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freed<SSL_free>>;
using SessionPtr = std::unique_ptr<SSL_SESSION, Freed<SSL_SESSION_free>>;

// The reason of OpenSSL's last error; the queue is empty afterwards.
inline std::string raw_error() {
    const char* reason = ERR_reason_error_string(ERR_peek_last_error());
    std::string text = reason ? reason : "no reason";
    ERR_clear_error();
    return text;
}

// Takes part in a handshake, then reads.
class RawTls : public asyncio::Protocol {
  public:
    RawTls(SSL_CTX* ctx, bool server) : ssl_(SSL_new(ctx)) {
        if (!ssl_) throw std::runtime_error("SSL_new failed");
        SSL_set_bio(ssl(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        server ? SSL_set_accept_state(ssl()) : SSL_set_connect_state(ssl());
    }

    SSL* ssl() const noexcept { return ssl_.get(); }
    // Changes what is sent; called for each flight.
    std::function<std::string(std::string)> edit;
    std::string data;   // what was read
    std::string error;  // the reason for which OpenSSL gave up
    bool done = false;  // the handshake
    bool ended = false;
    bool lost = false;

    void write(std::string_view bytes) {
        ERR_clear_error();
        SSL_write(ssl(), bytes.data(), static_cast<int>(bytes.size()));
        flush();
    }
    // Goes on with what OpenSSL has to do: a renegotiation that was asked for, say.
    void step() {
        ERR_clear_error();
        if (error.empty() && !done) {
            const int result = SSL_do_handshake(ssl());
            done = result == 1;
            note(result);
        }
        char buffer[4096];
        while (done && error.empty()) {
            const int n = SSL_read(ssl(), buffer, sizeof buffer);
            if (n <= 0) {
                note(n);
                break;
            }
            data.append(buffer, static_cast<std::size_t>(n));
        }
        flush();
    }

    void connection_made(asyncio::Transport& transport) override {
        transport_ = transport;
        step();
    }
    void data_received(std::string_view bytes) override {
        BIO_write(SSL_get_rbio(ssl()), bytes.data(), static_cast<int>(bytes.size()));
        step();
    }
    bool eof_received() override {
        ended = true;
        return false;
    }
    void connection_lost(std::exception_ptr) override {
        lost = true;
        transport_ = asyncio::Transport();
    }

  private:
    void note(int result) {
        const int what = SSL_get_error(ssl(), result);
        if (what == SSL_ERROR_SSL) error = raw_error();
    }
    void flush() {
        char* bytes = nullptr;
        const long size = BIO_get_mem_data(SSL_get_wbio(ssl()), &bytes);
        if (size <= 0) return;
        std::string out(bytes, static_cast<std::size_t>(size));
        (void)BIO_reset(SSL_get_wbio(ssl()));
        if (edit) out = edit(std::move(out));
        if (transport_) transport_.write(out);
    }

    SslPtr ssl_;
    asyncio::Transport transport_;
};

// ---- hellos -------------------------------------------------------------------------------------

inline std::size_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < size; ++i) {
        n = n << 8 | static_cast<unsigned char>(bytes.at(at + i));
    }
    return n;
}
inline std::string as_bytes(std::size_t n, std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[size - 1 - i] = static_cast<char>(n >> 8 * i);
    return text;
}

// Where in a flight the client's hello begins, npos if there is none. Before its second one, a
// client of TLS 1.3 sends a change_cipher_spec.
inline std::size_t find_client_hello(std::string_view flight) {
    constexpr std::string_view kChangeCipherSpec("\x14\3\3\0\1\1", 6);
    const std::size_t at = flight.starts_with(kChangeCipherSpec) ? kChangeCipherSpec.size() : 0;
    const bool here = flight.size() > at + 9 && flight[at] == 22 && flight[at + 5] == 1;
    return here ? at : std::string_view::npos;
}
inline bool is_client_hello(std::string_view flight) {
    return find_client_hello(flight) != std::string_view::npos;
}

// A flight with a client's hello, with each of its extensions as `change` returns
// it (type and contents, to be changed in place); false leaves it out.
inline std::string with_extensions(
    const std::string& whole, const std::function<bool(std::size_t& type, std::string&)>& change) {
    const std::size_t begin = find_client_hello(whole);
    if (begin == std::string::npos) return whole;
    const std::string flight = whole.substr(begin);
    constexpr std::size_t kHeads = 9;  // of the record, of the message
    const std::size_t end = 5 + number_at(flight, 3, 2);
    std::size_t at = kHeads + 2 + 32;    // version, random
    at += 1 + number_at(flight, at, 1);  // session id
    at += 2 + number_at(flight, at, 2);  // ciphers
    at += 1 + number_at(flight, at, 1);  // compression
    const std::size_t extensions = at;
    at += 2;
    std::string changed;
    while (at < end) {
        std::size_t type = number_at(flight, at, 2);
        const std::size_t size = number_at(flight, at + 2, 2);
        std::string contents = flight.substr(at + 4, size);
        at += 4 + size;
        if (!change(type, contents)) continue;
        changed += as_bytes(type, 2) + as_bytes(contents.size(), 2) + contents;
    }
    const std::string body =
        flight.substr(kHeads, extensions - kHeads) + as_bytes(changed.size(), 2) + changed;
    return whole.substr(0, begin) + flight.substr(0, 3) + as_bytes(body.size() + 4, 2) + '\1' +
           as_bytes(body.size(), 3) + body + flight.substr(end);
}

// The hello asks for a server name in these bytes, which are all of the extension.
inline std::string with_server_name(const std::string& flight, const std::string& contents) {
    return with_extensions(flight, [&](std::size_t& type, std::string& c) {
        if (type == TLSEXT_TYPE_server_name) c = contents;
        return true;
    });
}

// The extension for a name, rightly made.
inline std::string server_name_extension(const std::string& name) {
    return as_bytes(name.size() + 3, 2) + '\0' + as_bytes(name.size(), 2) + name;
}

}  // namespace tls

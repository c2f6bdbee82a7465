// Sessions: kept by clients, taken again by servers.
//
// OpenSSL does not verify a certificate again when a session is resumed, so a session is used only
// where all that was verified when it was made would be the same. Of a client: same context
// (nothing loaded into it since), host, port and settings of verification. Of a server: same
// context, likewise, name that the client asked for, and settings of verification; all this is in
// the session id context, which OpenSSL compares for tickets and for session ids, of all versions.
#include <openssl/evp.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tls/openssl.hpp"
#include "tls/ssl_state.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {
namespace {

constexpr std::size_t kMostSessions = 256;       // hosts whose sessions a context keeps
constexpr std::size_t kMostSessionsPerHost = 4;  // servers send two tickets at a time

}  // namespace

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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

// What a Client is: one libcurl multi handle, driven by one loop.
//
// libcurl says which descriptors it wants watched (on_socket) and when it wants to be called
// (on_timer); we tell it what has happened (curl_multi_socket_action) and then fetch what is over
// (harvest). Nothing of a user's runs inside libcurl's callbacks: they set waiters, which resume
// tasks in the next iteration. So a transfer is never removed while libcurl works on it.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "asyncio/component/services.hpp"
#include "asyncio/component/waiting.hpp"
#include "asyncio/component/watch.hpp"
#include "asyncio/events.hpp"
#include "asyncio/http.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

using asyncio::detail::LoopCore;
using asyncio::detail::Ref;
using asyncio::detail::RefCount;

class Exchange;
class LoopClient;

using OwnedHeaders = std::vector<std::pair<std::string, std::string>>;

// Copies. Raises: ValueError for a name or value that would not be one header, and for those that
// are the client's own business.
OwnedHeaders own_headers(const HeaderList& headers);

// "IP PORT IP PORT": the other's, then ours.
std::string name_ends(const char* ip, int port, const char* local_ip, int local_port);

class ClientState {
  public:
    explicit ClientState(const ClientOptions& options);
    ClientState(const ClientState&) = delete;
    ClientState& operator=(const ClientState&) = delete;

    // The running loop's own client; made if there is none.
    static Ref<ClientState> shared();

    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    // Binds to the running loop at the first call.
    // Raises: RuntimeError if there is none, it is another one, or the client is closed.
    void use();
    // Null once the loop is closed.
    EventLoop* loop() const noexcept;
    bool closed() const noexcept { return closed_; }
    // Made by a process that has forked this one, and in use there: what it has is the parent's.
    bool is_of_parent() const noexcept;
    void close() noexcept;
    const OwnedHeaders& headers() const noexcept { return headers_; }
    bool keeps_connections() const noexcept { return keeps_connections_; }

    // Exchanges that are to be told when the client is closed.
    void enlist(Exchange& exchange) { exchanges_.push_back(&exchange); }
    void forget(Exchange& exchange) noexcept;
    // From inside a callback of libcurl's that cannot end the transfer: it is ended afterwards.
    void note_broken(Exchange& exchange) noexcept;

    // Hands a transfer over to libcurl; the loop does the rest. Raises: std::bad_alloc;
    // RuntimeError.
    void start(CURL* easy);
    // Takes it back. Its connection is closed, unless the transfer is over.
    void stop(CURL* easy) noexcept;

    // For CURLOPT_OPENSOCKETFUNCTION, with CURLOPT_OPENSOCKETDATA = this.
    static curl_socket_t on_open(void* self, curlsocktype purpose, curl_sockaddr* address) noexcept;

    // For CURLOPT_CLOSESOCKETFUNCTION, likewise.
    static int on_close(void* self, curl_socket_t fd) noexcept;

    // The socket of a connection, by its ends as name_ends() gives them; -1 if it is not known.
    int socket_of(const std::string& ends);

    // Whether `key` (host and port) was looked up a short time ago, so that libcurl still knows it.
    bool knows(const std::string& key) const;
    void note_known(const std::string& key);

  private:
    friend class LoopClient;
    ~ClientState();

    static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void* unused);
    static int on_timer(CURLM* multi, long milliseconds, void* self);
    void watch(int fd, int what);
    void set_timer(long milliseconds);
    void act(curl_socket_t fd, int events);
    void harvest();
    void kick_stuck();
    void end_broken();
    void fail_all(const std::exception_ptr& error) noexcept;
    void expire_later(Delay delay);

    RefCount refs_{1};
    LoopCore* core_ = nullptr;  // once bound; kept alive
    CURLM* multi_ = nullptr;
    OwnedHeaders headers_;
    bool keeps_connections_;
    unsigned forks_;  // of the process that uses it
    std::vector<Exchange*> exchanges_;
    std::vector<Exchange*> broken_exchanges_;    // of this call of libcurl
    std::vector<CURL*> unwatched_;               // of this call of libcurl, as far as known
    std::optional<component::Watches> watches_;  // once bound
    std::unordered_map<std::string, TimePoint> known_;
    std::vector<int> fresh_;                      // sockets that were opened since
    std::unordered_map<std::string, int> named_;  // the others, by Ends::text
    TimerHandle timer_;
    TimePoint last_used_{};
    LoopClient* of_loop_ = nullptr;  // made by shared(), and that loop is open
    bool expires_ = false;           // expire_later() waits
    bool closed_ = false;
    std::exception_ptr broken_;  // what the loop raised inside a callback of libcurl's
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

// One request with its redirects: settings, the libcurl handle, what has come, and who waits.
#pragma once

#include <curl/curl.h>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "asyncio/component/waiting.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/http.hpp"
#include "asyncio/timeouts.hpp"
#include "chunk_checker.hpp"
#include "client_state.hpp"
#include "response_head.hpp"
#include "settings.hpp"
#include "unpacker.hpp"
#include "url.hpp"

namespace asyncio {
inline namespace v1 {
namespace http::detail {

using asyncio::detail::PromiseBase;
using asyncio::detail::Waiter;
using asyncio::detail::WaitSlot;

class Exchange {
  public:
    // What a task can wait for.
    enum class Want : std::uint8_t {
        kHeaders,  // the final ones of this hop
        kData,     // a chunk, or the end
        kEnd,      // all of it
    };
    class Wait;

    Exchange(Ref<ClientState> client, Settings settings, Url url);
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    // A request and its whole response; or as much as its headers. `client`: null for the running
    // loop's own.
    static Coroutine<Response> fetch(Ref<ClientState> client, Settings settings, Url url);
    static Coroutine<Stream> open_stream(Ref<ClientState> client, Settings settings, Url url);
    static Coroutine<std::optional<std::string>> next_chunk(Ref<Exchange> self);

    // By the client: the transfer of this hop is over.
    void finish(CURLcode code);
    bool runs(const CURL* easy) const noexcept { return running_ && easy_ == easy; }
    // Has libcurl look at it again, if it is still connecting.
    void kick() noexcept;
    // Ends the transfer whose error is there already.
    void end_broken() noexcept { fail(error_); }
    // Ends everything; whoever waits gets `error`.
    void fail(std::exception_ptr error) noexcept;
    // The same, with ClosedError, and what was not taken is dropped.
    void close() noexcept;

    int status() const noexcept { return head_.status(); }
    const Headers& headers() const noexcept { return head_.headers(); }
    const std::string& url() const noexcept { return url_.text; }
    std::optional<std::uint64_t> content_length() const noexcept;

  private:
    // Where this hop is.
    enum class Phase : std::uint8_t {
        kHeaders,  // the headers have not all come
        kBody,     // they have
        kDone,     // over, well or with error_
    };

    ~Exchange();

    static std::size_t on_header(char* data, std::size_t one, std::size_t size, void* self);
    static std::size_t on_body(char* data, std::size_t one, std::size_t size, void* self);
    static int on_raw(CURL* easy, curl_infotype what, char* data, std::size_t size, void* self);
    static int on_progress(void* self, curl_off_t to_come, curl_off_t here, curl_off_t to_go,
                           curl_off_t gone);
    static int on_connected(void* self, char* ip, char* local_ip, int port, int local_port);
    // Keeps it as this exchange's error: no exception may pass through libcurl.
    void keep(std::exception_ptr error) noexcept;
    void take_header(std::string_view line);
    void end_of_headers();
    bool take_body(std::string_view data);
    void add_body(std::string_view data);
    void unpack();

    static Ref<Exchange> make(Ref<ClientState> client, Settings&& settings, Url&& url);
    // Sends the request and follows redirects, until the headers of the response are there.
    static Coroutine<void> open(Ref<Exchange> self);
    static Coroutine<void> look_up(Ref<Exchange> self);
    void start_hop();
    void start_transfer();
    bool restart();
    void set_options();
    void set_method();
    void set_tls();
    void set_headers();
    void set_protocols();
    template <class V>
    void set(CURLoption option, V value);
    void append(curl_slist*& list, const std::string& line);
    void end_hop() noexcept;
    void end_look_up() noexcept;
    void begin_clock();
    void begin_connecting();
    std::exception_ptr not_connected() const noexcept;
    std::size_t head_size() const;
    void check_head_size() const;

    bool is_redirect() const noexcept;
    void follow();
    bool satisfied(Want want) const noexcept;
    void wake() noexcept;
    void check() const;
    std::string take_chunk();
    void unpause();
    std::string version() const;

    RefCount refs_{1};
    Phase phase_ = Phase::kHeaders;
    Want want_ = Want::kHeaders;
    bool running_ = false;      // libcurl has it
    bool paused_ = false;       // the body, until a chunk is taken
    bool discarding_ = false;   // the body is a redirect's
    bool final_ = false;        // this hop gives the response
    bool tls_cut_ = false;      // the body ends with the connection, which TLS has not ended yet
    bool stale_ = false;        // it got a connection on which nobody may send
    bool packed_left_ = false;  // unpacker_ has more for buffer_
    int redirects_ = 0;
    std::uint64_t received_ = 0;
    ResponseHead head_;
    ChunkChecker chunks_;
    std::optional<Unpacker> unpacker_;  // from the first byte of a body that is packed
    Ref<ClientState> client_;
    Settings settings_;
    Url url_;
    CURL* easy_ = nullptr;
    curl_slist* header_list_ = nullptr;
    curl_slist* address_list_ = nullptr;
    std::string buffer_;
    std::string version_;
    std::string host_address_;  // as OpenSSL reads it; "" if the host has a name
    std::exception_ptr error_;
    Waiter* waiter_ = nullptr;
    asyncio::Timeout* scope_ = nullptr;  // of look_up()
    TimerHandle deadline_timer_;
    TimerHandle connect_timer_;
    std::optional<TimePoint> connect_by_;
    char error_text_[CURL_ERROR_SIZE] = {};
};

template <class V>
void Exchange::set(CURLoption option, V value) {
    const CURLcode code = curl_easy_setopt(easy_, option, value);
    if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLE_OK) {
        throw RuntimeError(std::string("libcurl refuses an option: ") + curl_easy_strerror(code));
    }
}

// Awaits that `want` is there. One task at a time.
// If cancelled: the exchange stays as it is.
class [[nodiscard]] Exchange::Wait {
  public:
    using asyncio_native = void;

    Wait(Exchange& exchange, Want want) noexcept : exchange_(exchange), want_(want) {}
    ~Wait() {
        if (slot_.slow() && exchange_.waiter_ == &slot_.get()) exchange_.waiter_ = nullptr;
    }

    bool await_ready() {
        slot_.begin();
        return exchange_.satisfied(want_);
    }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        Waiter& waiter = slot_.wait(asyncio::detail::WaitKind::kOther);
        exchange_.waiter_ = &waiter;
        exchange_.want_ = want_;
        waiter.suspend(h.promise());
    }
    void await_resume() {
        if (!slot_.slow()) return;
        exchange_.waiter_ = nullptr;
        if (std::exception_ptr e = slot_.get().resume()) std::rethrow_exception(std::move(e));
    }

  private:
    Exchange& exchange_;
    Want want_;
    WaitSlot<Waiter> slot_;
};

}  // namespace http::detail
}  // namespace v1
}  // namespace asyncio

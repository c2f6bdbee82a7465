// Streams: connections that are read and written with co_await. ST-01 to ST-19.
//
// StreamReader and StreamWriter are cheap shared handles of one connection. One task reads a
// stream at a time; several may drain it.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/base_events.hpp"
#include "asyncio/coroutines.hpp"
#include "asyncio/detail/identity.hpp"
#include "asyncio/detail/stream.hpp"
#include "asyncio/events.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/tasks.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {

// Of a reader, bytes: how long a line may be. The transport is paused when more than twice as many
// wait to be read.
inline constexpr std::size_t DEFAULT_STREAM_LIMIT = 64 * 1024;

namespace detail {

// A reader's limit, bytes: any integer above 0, however large.
struct StreamLimit {
    template <std::integral I>
    explicit constexpr StreamLimit(I n) noexcept : bytes(n > 0 ? static_cast<std::size_t>(n) : 0) {}
    std::size_t bytes;  // 0: there is none
};

template <class R>
concept RangeOfText = !std::convertible_to<R, std::string_view> && requires(R&& r) {
    { *std::begin(r) } -> std::convertible_to<std::string_view>;
    std::end(r);
};

}  // namespace detail

// The reading side of a connection: a shared handle, possibly empty.
//
// What is read are bytes, in a std::string. A read waits until it has what it asks for; a second
// one that would have to wait meanwhile is refused (ST-10). After an error of the connection each
// read raises that error (ST-05).
class ASYNCIO_API StreamReader {
  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    // An empty handle.
    StreamReader() noexcept = default;
    // One that is fed by hand, or by a StreamReaderProtocol. `limit`: bytes, see readuntil().
    // Raises: ValueError "Limit cannot be <= 0". ST-04.
    template <std::integral I>
    explicit StreamReader(I limit) : StreamReader(detail::StreamLimit(limit)) {}
    explicit operator bool() const noexcept { return static_cast<bool>(stream_); }

    // At most `n` bytes, as soon as there is one; "" at the end; 0: "" at once; negative: all until
    // the end. ST-05.
    // Raises: the connection's error; RuntimeError if another task reads.
    // If cancelled: no byte is lost, the next read gets it.
    [[nodiscard("co_await it")]] detail::ReadBytes read(std::ptrdiff_t n = -1) const {
        using Kind = detail::StreamRead::Kind;
        return {&stream(), n < 0 ? Kind::kAll : Kind::kSome, n};
    }
    // A line with its '\n'; at the end what is left, without one, or "". ST-06.
    // Raises: ValueError if the line is longer than the limit (it is dropped as far as it is
    // there); as read().
    // If cancelled: no byte is lost.
    [[nodiscard("co_await it")]] detail::ReadBytes readline() const {
        return {&stream(), detail::StreamRead::Kind::kLine, 0};
    }
    // As readline(), but nothing at the end: `while (auto line = co_await reader.next())`. ST-11.
    // If cancelled: no byte is lost.
    [[nodiscard("co_await it")]] detail::ReadNext next() const {
        return detail::ReadNext(&stream());
    }
    // Exactly `n` bytes. ST-07.
    // Raises: IncompleteReadError with what came before the end; ValueError "readexactly size can
    // not be less than zero"; as read().
    // If cancelled: no byte is lost.
    [[nodiscard("co_await it")]] detail::ReadBytes readexactly(std::ptrdiff_t n) const {
        check_size(n);
        return {&stream(), detail::StreamRead::Kind::kExactly, n};
    }
    // Bytes up to and with `separator`. ST-08.
    // Raises: IncompleteReadError with all that came before the end; LimitOverrunError if what is
    // before the separator is longer than the limit (the bytes stay, `consumed` of them are known
    // not to be one); ValueError for an empty separator; as read().
    // If cancelled: no byte is lost.
    [[nodiscard("co_await it")]] detail::ReadUntil readuntil(
        std::string_view separator = "\n") const {
        return {&stream(), detail::Separators(separator)};
    }
    // The same with several ones, a range of texts: the match that ends first counts.
    // If cancelled: no byte is lost.
    template <class R>
        requires detail::RangeOfText<R>
    [[nodiscard("co_await it")]] detail::ReadUntil readuntil(R&& separators) const {
        detail::Separators all;
        for (auto&& s : separators) all.add(s);
        return {&stream(), std::move(all)};
    }

    // Into memory of the caller: at least one byte, at most as many as there is room; gives how
    // many, 0 at the end or without room. The bytes are copied once, from where the system put
    // them. `into` must stay until it returns.
    // Raises: as read().
    // If cancelled: no byte is lost; `into` may hold bytes that the next read gives again.
    [[nodiscard("co_await it")]] detail::ReadCount read_into(std::span<std::byte> into) const {
        // Safe because bytes may be written as chars.
        return {&stream(), {reinterpret_cast<char*>(into.data()), into.size()}};
    }
    [[nodiscard("co_await it")]] detail::ReadCount read_into(std::span<char> into) const {
        return {&stream(), into};
    }
    // Without any copy: calls `function(std::string_view)` with the bytes that are there, at least
    // one; it returns how many of them it used, and the others stay. If it used none it is called
    // again when more have come. Gives how many it used, 0 at the end. Where the task has to wait,
    // the bytes are those in the transport's own buffer, and the function is called by the
    // transport in the task's place, with its context and as current_task(): it must not block, and
    // the bytes are gone when it returns. It may cancel its task, feed, end or close this stream;
    // another read that begins meanwhile is refused.
    // Raises: what `function` raises (then it used none); ValueError if it used more than there
    // were; LimitOverrunError if it used none of more than the limit; as read().
    // If cancelled: what the function used is used, no other byte is lost. If the function itself
    // cancels the task, this gives what it used and the next wait raises CancelledError.
    template <class F>
    [[nodiscard("co_await it")]] auto read_with(F&& function) const {
        static_assert(detail::kSafeTemporary<F>,
                      "name this callable first (auto f = ...; co_await reader.read_with(f)): this "
                      "compiler would copy its captures bitwise");
        if constexpr (std::is_invocable_r_v<std::size_t, std::decay_t<F>&, std::string_view>) {
            return detail::ReadWith<std::decay_t<F>>(&stream(), std::forward<F>(function));
        } else {
            static_assert(detail::kRight<F>,
                          "read_with() takes a function of a std::string_view that returns how "
                          "many bytes it used");
            return detail::Refused();
        }
    }

    // The end was reached and all is read. ST-09.
    bool at_eof() const { return stream().at_eof(); }

    // The feeding side, for protocols and tests. ST-10.
    // Raises: RuntimeError "feed_data after feed_eof".
    void feed_data(std::string_view data) const { used().feed_data(data); }
    void feed_eof() const { used().feed_eof(); }
    void set_exception(std::exception_ptr error) const { used().set_exception(std::move(error)); }
    template <class E>
        requires(!std::convertible_to<E, std::exception_ptr>)
    void set_exception(E error) const {
        used().set_exception(std::make_exception_ptr(std::move(error)));
    }
    // Null if there is none.
    std::exception_ptr exception() const { return stream().exception(); }
    // The one to pause and resume.
    void set_transport(const BaseTransport& transport) const;

    // `<StreamReader 5 bytes eof transport=...>`.
    std::string repr() const;
    friend bool operator==(const StreamReader& a, const StreamReader& b) noexcept {
        return a.stream_ == b.stream_;
    }
    // For hashes: the same for copies of this handle.
    const void* id() const noexcept { return stream_.get(); }

    // For the library.
    explicit StreamReader(detail::StreamLimit limit);
    explicit StreamReader(std::shared_ptr<detail::Stream> stream) noexcept
        : stream_(std::move(stream)) {}
    const std::shared_ptr<detail::Stream>& state() const noexcept { return stream_; }

  private:
    // Raises: RuntimeError if the handle is empty.
    detail::Stream& stream() const {
        if (!stream_) detail::throw_empty_handle();
        return *stream_;
    }
    // Raises: also, in debug mode, RuntimeError from another thread.
    detail::Stream& used() const {
        detail::check_thread_if_debug(stream().core());
        return stream();
    }
    static void check_size(std::ptrdiff_t n) {
        if (n < 0) throw_negative_size();
    }
    [[noreturn]] static void throw_negative_size();

    std::shared_ptr<detail::Stream> stream_;
};

class StreamReaderProtocol;

// Of StreamWriter::start_tls. ST-16.
struct StartTlsOptions {
    std::optional<std::string_view> server_hostname = std::nullopt;  // a client's; empty: unchecked
    Delay ssl_handshake_timeout = std::nullopt;                      // nullopt: 60 s
    Delay ssl_shutdown_timeout = std::nullopt;                       // nullopt: 30 s
};

// The writing side of a connection: a shared handle, possibly empty. When the last one goes and the
// connection was not closed, it is closed then, with a debug line in the log (ST-17).
class ASYNCIO_API StreamWriter {
  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    // An empty handle.
    StreamWriter() noexcept = default;
    // Writes to `transport`, which `protocol` serves. ST-18.
    StreamWriter(const BaseTransport& transport,
                 const std::shared_ptr<StreamReaderProtocol>& protocol);
    StreamWriter(const StreamWriter& o) noexcept : stream_(o.stream_) {
        if (stream_) stream_->add_writer();
    }
    StreamWriter(StreamWriter&& o) noexcept : stream_(std::move(o.stream_)) {}
    StreamWriter& operator=(StreamWriter o) noexcept {
        stream_.swap(o.stream_);
        return *this;
    }
    ~StreamWriter() {
        if (stream_) stream_->drop_writer();
    }
    explicit operator bool() const noexcept { return static_cast<bool>(stream_); }

    // Sends what can be sent at once and buffers (copies) the rest; never waits: await drain() now
    // and then. Dropped once the connection is closing or lost. ST-12.
    // Raises: RuntimeError "Cannot call write() after write_eof()".
    void write(std::string_view data) const { used().write(data); }
    void write(std::span<const std::byte> data) const { used().write(detail::as_chars(data)); }
    template <class T>
        requires(!detail::ByteString<const T&>)
    void write(const T&) const {
        static_assert(detail::kRight<T>, "write() takes text or bytes: write(std::to_string(n))");
    }
    // The same for a range of pieces, each of which write() takes, in one system call where that
    // can be.
    template <class R>
        requires detail::RangeOfBytes<R>
    void writelines(R&& pieces) const {
        detail::Pieces all(pieces);
        all.write_to(used());
    }
    template <class R>
        requires(!detail::RangeOfBytes<R>)
    void writelines(R&&) const {
        static_assert(detail::kRight<R>,
                      "writelines() takes a range of texts or bytes; one text: write(text)");
    }
    void writelines(std::initializer_list<std::string_view> pieces) const {
        used().writelines({pieces.begin(), pieces.size()});
    }

    // Waits until the write buffer is small enough to write on; no suspension if it is. Several
    // tasks may wait. ST-13.
    // Raises: the connection's error; ConnectionResetError "Connection lost".
    // If cancelled: what was written stays in the buffer and will be sent.
    [[nodiscard("co_await it")]] detail::Drain drain() const { return detail::Drain(&stream()); }

    // Sends what is buffered, then closes. ST-14.
    void close() const { used().close(); }
    // True once it is closed, or the connection is lost.
    bool is_closing() const { return transport_base().is_closing(); }
    // Waits until the connection has ended. ST-14.
    // Raises: the error that ended it.
    // If cancelled: it goes on closing.
    [[nodiscard("co_await it")]] detail::WaitClosed wait_closed() const {
        return detail::WaitClosed(&stream());
    }

    // Whether write_eof() can be called: not with TLS.
    bool can_write_eof() const { return transport_base().can_write_eof(); }
    // Half close: the peer sees the end, and reading goes on. ST-15.
    // Raises: NotImplementedError if can_write_eof() is false.
    void write_eof() const { used().write_eof(); }

    // Goes on over TLS, as the server if a server's handler was given this writer. Drains first.
    // What was received and not read is never taken for secured data: a server's belongs to the
    // handshake, a client's is an error, and the connection is aborted. ST-16.
    // Raises: ValueError as create_connection does for its TLS options; SSLError "N bytes came
    // before the TLS handshake and were not read"; SSLError, ConnectionResetError, TimeoutError if
    // the handshake fails; as drain().
    // If cancelled: the connection is closed.
    Coroutine<> start_tls(const ssl::SSLContext& context, StartTlsOptions options = {}) const;

    // "peername", "sockname", "socket", "ssl_object": see Transport. ST-15.
    template <class T>
    std::optional<T> get_extra_info(std::string_view name) const {
        return transport().template get_extra_info<T>(name);
    }
    // The transport below. Raises: RuntimeError if there is no connection yet.
    Transport transport() const {
        transport_base();
        return Transport(stream_->transport_ref());
    }

    // `<StreamWriter transport=... reader=...>`.
    std::string repr() const;
    friend bool operator==(const StreamWriter& a, const StreamWriter& b) noexcept {
        return a.stream_ == b.stream_;
    }
    // For hashes: the same for copies of this handle.
    const void* id() const noexcept { return stream_.get(); }

    // For the library.
    explicit StreamWriter(std::shared_ptr<detail::Stream> stream) noexcept
        : stream_(std::move(stream)) {
        if (stream_) stream_->first_writer();
    }
    const std::shared_ptr<detail::Stream>& state() const noexcept { return stream_; }

  private:
    // Raises: RuntimeError if the handle is empty.
    detail::Stream& stream() const {
        if (!stream_) detail::throw_empty_handle();
        return *stream_;
    }
    detail::TransportBase& transport_base() const { return stream().transport(); }
    // Raises: also, in debug mode, RuntimeError from another thread.
    detail::TransportBase& used() const {
        detail::check_thread_if_debug(stream().core());
        return transport_base();
    }

    std::shared_ptr<detail::Stream> stream_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const StreamReader& reader);
ASYNCIO_API std::ostream& operator<<(std::ostream& out, const StreamWriter& writer);

// The reader and the writer of a connection: `auto [reader, writer] = co_await open_connection()`.
using StreamPair = std::pair<StreamReader, StreamWriter>;

namespace detail {

template <class F>
concept StreamHandler = std::invocable<std::decay_t<F>&, StreamReader, StreamWriter>;

template <class F>
inline constexpr bool kStreamHandler = StreamHandler<F>;

template <class F>
class StreamServerOf final : public StreamServer {
  public:
    StreamServerOf(std::size_t limit, F handler)
        : StreamServer(limit), handler_(std::move(handler)) {}

    Ref<FutureBase> call(StreamReader reader, StreamWriter writer) override {
        using R = std::invoke_result_t<F&, StreamReader, StreamWriter>;
        if constexpr (Awaitable<R>) {
            return start_task(running_core(), handler_(std::move(reader), std::move(writer)), {})
                .state();
        } else {
            handler_(std::move(reader), std::move(writer));
            return nullptr;
        }
    }

  private:
    F handler_;
};

template <class F>
Ref<StreamServer> make_stream_server(std::size_t limit, F&& handler) {
    using D = std::decay_t<F>;
    return Ref<StreamServer>::adopt(new StreamServerOf<D>(limit, std::forward<F>(handler)));
}

}  // namespace detail

// Joins a transport to a StreamReader, and for the server's end of a connection to its handler
// (ST-18): give one to create_connection or create_server where open_connection and start_server
// do not fit.
class ASYNCIO_API StreamReaderProtocol : public Protocol {
  public:
    // Feeds `reader` with what comes.
    explicit StreamReaderProtocol(StreamReader reader);
    // Calls `handler(reader, writer)` when the connection is made, as start_server does (ST-02).
    template <class F>
        requires detail::StreamHandler<F>
    StreamReaderProtocol(StreamReader reader, F&& handler)
        : StreamReaderProtocol(std::move(reader)) {
        server_ = detail::make_stream_server(DEFAULT_STREAM_LIMIT, std::forward<F>(handler));
    }
    ~StreamReaderProtocol() override;

    void connection_made(Transport& transport) override;
    void data_received(std::string_view data) override;
    bool eof_received() override;
    void connection_lost(std::exception_ptr error) override;
    void pause_writing() override;
    void resume_writing() override;

    // For the library.
    const std::shared_ptr<detail::Stream>& state() const noexcept { return stream_; }

  private:
    std::shared_ptr<detail::Stream> stream_;
    detail::Ref<detail::StreamServer> server_;
};

// Connects to a server: `auto [reader, writer] = co_await open_connection("127.0.0.1", 8888);`.
// Called on a running loop. ST-01. Raises: OSError, gaierror, SSLError, ValueError as the loop's
// create_connection; ValueError "Limit cannot be <= 0".
// If cancelled: what was opened is closed.
ASYNCIO_API Coroutine<StreamPair> open_connection(std::string_view host, int port,
                                                  ConnectionOptions options = {});
// The same over a socket that is connected already: `{.sock = socket}`.
// If cancelled: the socket is closed.
ASYNCIO_API Coroutine<StreamPair> open_connection(ConnectionOptions options);
template <class... Port>
    requires(sizeof...(Port) == 0 || (std::convertible_to<Port, std::string_view> || ...))
ASYNCIO_CORO_WRAPPER Coroutine<StreamPair> open_connection(std::string_view, const Port&...) {
    static_assert(detail::kRight<Port...>,
                  "open_connection() takes a host and a port, a number: open_connection(\"::1\", "
                  "8888)");
    return detail::Refused();
}
// The same to a unix socket; a path that begins with NUL is an abstract name. ST-03.
// Raises: OSError, SSLError, ValueError as the loop's create_unix_connection.
// If cancelled: what was opened is closed.
ASYNCIO_API Coroutine<StreamPair> open_unix_connection(std::string_view path,
                                                       UnixConnectionOptions options = {});

namespace detail {

ASYNCIO_API Coroutine<Server> start_server(Ref<StreamServer> handler,
                                           std::vector<std::string> hosts, PortNumber port,
                                           const ServerOptions& options);
ASYNCIO_API Coroutine<Server> start_unix_server(Ref<StreamServer> handler, std::string_view path,
                                                const UnixServerOptions& options);

template <class F>
Ref<StreamServer> stream_server_for(std::size_t limit, F&& handler) {
    static_assert(kSafeTemporary<F>,
                  "name this handler first (auto f = ...; co_await start_server(f, ...)): this "
                  "compiler would copy its captures bitwise");
    if constexpr (StreamHandler<F>) {
        return make_stream_server(limit, std::forward<F>(handler));
    } else {
        return Ref<StreamServer>();
    }
}

}  // namespace detail

// Starts a server: for each connection `handler(reader, writer)` is called, and if that gives a
// coroutine, it runs as a task. What it raises goes to the loop's exception handler and closes the
// connection; its end alone does not, but the end of the last handle of the writer does (ST-02,
// ST-17). The handler is kept, with its captures, until the last of these tasks is done.
// `host`: an address or a name, or "" for all interfaces, or several of them. Called on a running
// loop. Raises: OSError, gaierror, ValueError as the loop's create_server; ValueError "Limit cannot
// be <= 0".
// If cancelled: what was opened is closed.
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> start_server(F&& handler, std::string_view host, int port,
                                                    ServerOptions options = {}) {
    static_assert(detail::kStreamHandler<F>,
                  "a handler takes a StreamReader and a StreamWriter, by value, and returns a "
                  "Coroutine or nothing");
    return detail::start_server(detail::stream_server_for(options.limit, std::forward<F>(handler)),
                                detail::one_host(host), port, options);
}
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> start_server(F&& handler, std::vector<std::string> hosts,
                                                    int port, ServerOptions options = {}) {
    static_assert(detail::kStreamHandler<F>,
                  "a handler takes a StreamReader and a StreamWriter, by value, and returns a "
                  "Coroutine or nothing");
    return detail::start_server(detail::stream_server_for(options.limit, std::forward<F>(handler)),
                                std::move(hosts), port, options);
}
// The same on a socket that is bound already: `{.sock = socket}`.
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> start_server(F&& handler, ServerOptions options) {
    static_assert(detail::kStreamHandler<F>,
                  "a handler takes a StreamReader and a StreamWriter, by value, and returns a "
                  "Coroutine or nothing");
    return detail::start_server(detail::stream_server_for(options.limit, std::forward<F>(handler)),
                                {}, {}, options);
}
template <class... A>
ASYNCIO_CORO_WRAPPER Coroutine<Server> start_server(std::string_view, const A&...) {
    static_assert(detail::kRight<A...>,
                  "start_server() takes the handler first: start_server(handle, \"::1\", 8888)");
    return detail::Refused();
}
// The same on a unix socket; a path that begins with NUL is an abstract name. ST-03.
// Raises: OSError, ValueError as the loop's create_unix_server.
// If cancelled: what was opened is closed.
template <class F>
ASYNCIO_CORO_WRAPPER Coroutine<Server> start_unix_server(F&& handler, std::string_view path,
                                                         UnixServerOptions options = {}) {
    static_assert(detail::kStreamHandler<F>,
                  "a handler takes a StreamReader and a StreamWriter, by value, and returns a "
                  "Coroutine or nothing");
    return detail::start_unix_server(
        detail::stream_server_for(options.limit, std::forward<F>(handler)), path, options);
}

}  // namespace v1
}  // namespace asyncio

// Transports: handles of connections, made by the loop's create_* and connect_* methods. TR-01 to
// TR-16.
#pragma once

#include <any>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <initializer_list>
#include <iosfwd>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "asyncio/detail/config.hpp"
#include "asyncio/detail/identity.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/thread_state.hpp"
#include "asyncio/detail/transport_holder.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/sockets.hpp"

namespace asyncio {
inline namespace v1 {

class EventLoop;

// For set_write_buffer_limits and set_read_buffer_limits: bytes; -1: derived from the other one or
// the default (TR-10).
struct WriteBufferLimits {
    std::ptrdiff_t high = -1;  // above this the writer, or the peer, is told to wait
    std::ptrdiff_t low = -1;   // from here down it may go on
};

namespace detail {

enum class SendfileMode : unsigned char {
    UNSUPPORTED,
    TRY_NATIVE,  // by the system's sendfile
    FALLBACK,    // by reading and writing: TLS
};

// What a transport's handles point to. Used on the loop's thread only, but for its count. The
// defaults raise NotImplementedError, as in transports.BaseTransport and its kin.
// While it is open the loop (its back end's table of descriptors, or the transport below it) keeps
// it alive.
class ASYNCIO_API TransportBase : public Pooled {
  public:
    TransportBase() noexcept = default;
    TransportBase(const TransportBase&) = delete;
    TransportBase& operator=(const TransportBase&) = delete;
    virtual ~TransportBase();
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }

    virtual EventLoop& loop() const = 0;
    virtual void close() = 0;
    virtual void abort();
    virtual bool is_closing() const = 0;
    virtual void set_protocol(std::shared_ptr<BaseProtocol> protocol);
    virtual std::shared_ptr<BaseProtocol> get_protocol() const;
    // Empty if there is no such thing.
    virtual std::any get_extra_info(std::string_view name) const;

    // A hint: the next bytes go to `read`, an object in the frame of `task`, which they wake.
    virtual void expect_reader(const void* read, const void* task) noexcept;
    virtual bool is_reading() const;
    virtual void pause_reading();
    virtual void resume_reading();

    virtual void write(std::string_view data);
    virtual void writelines(std::span<const std::string_view> pieces);
    virtual void write_eof();
    virtual bool can_write_eof() const;
    virtual std::size_t get_write_buffer_size() const;
    // (low, high)
    virtual std::pair<std::size_t, std::size_t> get_write_buffer_limits() const;
    virtual void set_write_buffer_limits(WriteBufferLimits limits);

    // Of TLS alone (TL-04).
    virtual std::size_t get_read_buffer_size() const;
    virtual std::pair<std::size_t, std::size_t> get_read_buffer_limits() const;
    virtual void set_read_buffer_limits(WriteBufferLimits limits);

    virtual void sendto(std::string_view data, const SocketAddress* to);

    // Whether the protocol was told to pause_writing() and not yet to resume.
    virtual bool writing_paused() const noexcept { return false; }
    // What start_tls (TL-01) and sendfile (SF-01) ask of it.
    virtual bool start_tls_compatible() const noexcept { return false; }
    virtual SendfileMode sendfile_mode() const noexcept { return SendfileMode::UNSUPPORTED; }

    // `<asyncio.Transport fd=7 open>`.
    virtual std::string repr() const = 0;

    // That of the connection, for tools that look into the process; -1 if there is none.
    std::int32_t shown_descriptor() const noexcept { return shown_descriptor_; }

  protected:
    void show_descriptor(std::int32_t fd) noexcept { shown_descriptor_ = fd; }

  private:
    template <class>
    friend struct DebugLayout;

    RefCount refs_{1};
    std::int32_t shown_descriptor_ = -1;
};

[[noreturn]] ASYNCIO_API void throw_empty_transport();
// Raises: in debug mode RuntimeError on another thread than the one that runs its loop.
ASYNCIO_API void check_thread(const TransportBase& transport);

inline std::string_view as_chars(std::span<const std::byte> data) noexcept {
    // Safe because bytes may be read as chars.
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// What write() takes: text or bytes.
template <class T>
concept ByteString =
    std::convertible_to<T, std::string_view> || std::convertible_to<T, std::span<const std::byte>>;

template <class R>
concept RangeOfBytes = !ByteString<R> && requires(R&& r) {
    { *std::begin(r) } -> ByteString;
    std::end(r);
};

// Refers to bytes of others: they outlive it.
template <class T>
inline constexpr bool kRefersToBytes =
    std::is_pointer_v<T> || std::is_same_v<T, std::string_view> ||
    std::is_same_v<T, std::span<const std::byte>> || std::is_same_v<T, std::span<std::byte>>;

// What writelines() was given, in order.
class ASYNCIO_API Pieces {
  public:
    template <class R>
    explicit Pieces(R&& range) {
        using Piece = decltype(*std::begin(range));
        constexpr bool lasts =
            std::is_lvalue_reference_v<Piece> || kRefersToBytes<std::remove_cvref_t<Piece>>;
        for (auto&& piece : range) {
            if constexpr (std::forward_iterator<decltype(std::begin(range))> && lasts) {
                add(chars_of(piece));
            } else {
                join(chars_of(piece));  // it is made as it is asked for, and goes then
            }
        }
    }
    ~Pieces();
    void write_to(TransportBase& transport);

  private:
    template <class T>
    static std::string_view chars_of(const T& piece) {
        if constexpr (std::convertible_to<const T&, std::string_view>) {
            return piece;
        } else {
            return as_chars(piece);
        }
    }
    void add(std::string_view piece);
    void join(std::string_view piece);

    std::vector<std::string_view> all_;
    std::string joined_;
};

}  // namespace detail

// What all transports have: a cheap shared handle, possibly empty. Dropping the last one leaves the
// connection open: it belongs to its loop.
class ASYNCIO_API BaseTransport {
  public:
    // std::hash goes by id().
    using asyncio_identified = void;

    // An empty handle.
    BaseTransport() noexcept = default;
    explicit BaseTransport(detail::Ref<detail::TransportBase> impl) noexcept
        : impl_(std::move(impl)) {}
    explicit operator bool() const noexcept { return static_cast<bool>(impl_); }

    // Reads no more, sends what is buffered, then calls connection_lost(nullptr). Idempotent.
    // TR-01.
    void close() const { used().close(); }
    // True once it is closed, or the connection is lost.
    bool is_closing() const { return impl().is_closing(); }
    // Gives the connection to another protocol. TR-04. Raises: TypeError for a protocol of a kind
    // that it cannot serve.
    void set_protocol(std::shared_ptr<BaseProtocol> protocol) const {
        used().set_protocol(std::move(protocol));
    }
    // The protocol that is called now.
    std::shared_ptr<BaseProtocol> get_protocol() const { return impl().get_protocol(); }
    // TR-03, TL-06: "peername" and "sockname" are a SocketAddress, "socket" an int, "ssl_object" an
    // ssl::SSLObject. Empty if there is no such thing, or of another type.
    template <class T>
    std::optional<T> get_extra_info(std::string_view name) const {
        std::any value = impl().get_extra_info(name);
        if (T* p = std::any_cast<T>(&value)) return std::move(*p);
        return std::nullopt;
    }
    // The loop that it belongs to.
    EventLoop& get_loop() const { return impl().loop(); }
    // What it is, and its state, for people to read.
    std::string repr() const;

    friend bool operator==(const BaseTransport& a, const BaseTransport& b) noexcept {
        return a.impl_ == b.impl_;
    }
    const void* id() const noexcept { return impl_.get(); }

    // For the library. Raises: RuntimeError if the handle is empty.
    detail::TransportBase& impl() const {
        if (!impl_) detail::throw_empty_transport();
        return *impl_;
    }

  protected:
    // The same. Raises: also, in debug mode, RuntimeError from another thread.
    detail::TransportBase& used() const {
        detail::TransportBase& transport = impl();
        if (detail::debug_seen.load(std::memory_order_relaxed)) [[unlikely]]
            detail::check_thread(transport);
        return transport;
    }

  private:
    detail::Ref<detail::TransportBase> impl_;
};

ASYNCIO_API std::ostream& operator<<(std::ostream& out, const BaseTransport& transport);

// A connection that is read. TR-05.
class ASYNCIO_API ReadTransport : public BaseTransport {
  public:
    using BaseTransport::BaseTransport;
    // False while reading is paused, and once it is closing.
    bool is_reading() const { return impl().is_reading(); }
    // No data_received() from now on, until resume_reading(). Both are idempotent.
    void pause_reading() const { used().pause_reading(); }
    void resume_reading() const { used().resume_reading(); }
};

// A connection that is written to. TR-06 to TR-10.
class ASYNCIO_API WriteTransport : public BaseTransport {
  public:
    using BaseTransport::BaseTransport;
    // Sends what can be sent at once and buffers (copies) the rest; never waits. Dropped once the
    // connection is closing or lost. Raises: RuntimeError "Cannot call write() after write_eof()".
    void write(std::string_view data) const { used().write(data); }
    void write(std::span<const std::byte> data) const { used().write(detail::as_chars(data)); }
    // The same for a range of pieces, each of which write() takes, in one system call where that
    // can be. TR-07.
    template <class R>
        requires detail::RangeOfBytes<R>
    void writelines(R&& pieces) const {
        detail::Pieces all(pieces);
        all.write_to(used());
    }
    void writelines(std::initializer_list<std::string_view> pieces) const {
        used().writelines({pieces.begin(), pieces.size()});
    }
    // Ends the stream after what is buffered; reading goes on. TR-08.
    // Raises: NotImplementedError if can_write_eof() is false.
    void write_eof() const { used().write_eof(); }
    // False for TLS.
    bool can_write_eof() const { return impl().can_write_eof(); }
    // Closes at once and drops what is buffered; then connection_lost(nullptr). TR-09.
    void abort() const { used().abort(); }
    // How many bytes are buffered. TR-10.
    std::size_t get_write_buffer_size() const { return impl().get_write_buffer_size(); }
    // The limits that hold now: (low, high), bytes.
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const {
        return impl().get_write_buffer_limits();
    }
    // pause_writing() is called when more than `high` bytes are buffered, resume_writing() when
    // there are `low` or fewer. Raises: ValueError "high (H) must be >= low (L) must be >= 0".
    void set_write_buffer_limits(WriteBufferLimits limits) const {
        used().set_write_buffer_limits(limits);
    }
};

// A two-way byte stream: TCP, a unix socket, TLS. Converts to either of its sides.
class ASYNCIO_API Transport : public WriteTransport {
  public:
    using WriteTransport::WriteTransport;
    // As ReadTransport's.
    bool is_reading() const { return impl().is_reading(); }
    void pause_reading() const { used().pause_reading(); }
    void resume_reading() const { used().resume_reading(); }
    // TLS alone (TL-04): encrypted bytes that wait while reading is paused. The transport below is
    // paused at `high` of them, and resumed at `low`. Raises: NotImplementedError if it is no TLS
    // transport; ValueError as set_write_buffer_limits.
    std::size_t get_read_buffer_size() const { return impl().get_read_buffer_size(); }
    // The limits that hold now: (low, high), bytes. Raises: as get_read_buffer_size().
    std::pair<std::size_t, std::size_t> get_read_buffer_limits() const {
        return impl().get_read_buffer_limits();
    }
    // Sets them. Raises: as get_read_buffer_size().
    void set_read_buffer_limits(WriteBufferLimits limits) const {
        impl().set_read_buffer_limits(limits);
    }
    operator ReadTransport() const;
};

// Datagrams: UDP or unix. TR-11.
class ASYNCIO_API DatagramTransport : public BaseTransport {
  public:
    using BaseTransport::BaseTransport;
    // Sends a datagram to the connected peer, or buffers it. An empty one is sent, too.
    void sendto(std::string_view data) const { used().sendto(data, nullptr); }
    // The same to `to`. Raises: ValueError "Invalid address: must be None or {address}" if it is
    // connected to another one.
    void sendto(std::string_view data, const SocketAddress& to) const { used().sendto(data, &to); }
    void sendto(std::span<const std::byte> data) const { sendto(detail::as_chars(data)); }
    void sendto(std::span<const std::byte> data, const SocketAddress& to) const {
        sendto(detail::as_chars(data), to);
    }
    // As WriteTransport's.
    void abort() const { used().abort(); }
    std::size_t get_write_buffer_size() const { return impl().get_write_buffer_size(); }
    std::pair<std::size_t, std::size_t> get_write_buffer_limits() const {
        return impl().get_write_buffer_limits();
    }
    void set_write_buffer_limits(WriteBufferLimits limits) const {
        used().set_write_buffer_limits(limits);
    }
};

}  // namespace v1
}  // namespace asyncio

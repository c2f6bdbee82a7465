// What the handles of a stream point to: one object per connection, which is its protocol, the
// reader's buffer and the writer's flow control at once, so that an idle connection costs one
// block.
//
// How a stream is read.
//
//   state    reader_   its waiter     in_function_
//   -------  --------  -------------  ------------  --------------------------------------------
//   free     null                     no            nobody reads
//   waiting  the read  pending        no            for more than is there
//   woken    the read  set or         no            its task is in the ready queue. served_: it
//                      cancelled                    has bytes that are in no buffer
//   calling  the read  any            yes           the function of a read_with() looks at the
//                                                   bytes; only what it feeds is in buffer_
//
//   from     to       by
//   -------  -------  --------------------------------------------------------------------------
//   free     waiting  enter(), after begin() has found too little
//   waiting  woken    feed() of enough; feed_eof(); set_exception(); a cancel of the task
//   waiting  calling  feed() for a read_with(), on the loop
//   calling  waiting  the function has used nothing, and nothing else has ended the read
//   calling  woken    it has used some or failed; the limit; the end or an error came meanwhile
//   any but  calling  begin(), enter() or the step of a read_with(): back to where it was when
//   calling           the function returns
//   woken    free     settle_slow(), in the task's step: takes its bytes out of the buffer, or
//                     puts back what it has, if it was cancelled
//   woken    free     begin() of another read, which comes first: what the woken one has is put
//                     back. It takes what is left when it runs, or raises RuntimeError
//   any      free     the awaiter or the stream is destroyed
//
//   A read that begins while another one waits gets what the buffer has, or else RuntimeError;
//   while a function is called it gets RuntimeError.
//
// How it ends. eof_ (no more bytes), exception_ (what a read raises that begins or finds too
// little), lost_ (connection_lost() was called) and failed_ (with an error) stay once they are set.
//
// The transport's pause. reading_paused_ is set by feed() when over twice the limit is buffered and
// no read waits for more, and cleared when a read leaves the limit or less, when one needs more
// (enter()), and with another transport. cannot_pause_: the transport cannot; all is buffered.
//
// What drain() does, by the first line that holds:
//
//   exception_                  raises it
//   writing_paused_, not lost_  waits for resume_writing() or the loss; raises the loss's error
//   the transport closes        yields once; raises if it is lost then
//   lost_                       raises ConnectionResetError
//   else                        goes on
//
// wait_closed() waits until lost_, and raises exception_ if failed_.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "asyncio/coroutines.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/owned.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/take.hpp"
#include "asyncio/detail/wait_slot.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/result.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {

class StreamReader;
class StreamWriter;

namespace detail {

class Stream;

// Bytes that came and were not read yet. One pointer, and no memory while it is empty.
class ByteQueue {
  public:
    ByteQueue() noexcept = default;
    ByteQueue(const ByteQueue&) = delete;
    ByteQueue& operator=(const ByteQueue&) = delete;
    ~ByteQueue() { clear(); }

    std::size_t size() const noexcept { return held_ ? held_->bytes.size() - held_->start : 0; }
    bool empty() const noexcept { return held_ == nullptr; }
    std::string_view view() const noexcept {
        return held_ ? std::string_view(held_->bytes).substr(held_->start) : std::string_view();
    }

    void append(std::string_view data);
    // Puts bytes back to where they were taken from.
    void prepend(std::string&& data);
    void prepend(const char* data, std::size_t n);
    // Takes the first `n` out; there must be as many. All of them are moved, not copied.
    std::string take(std::size_t n);
    void drop(std::size_t n) noexcept;
    void swap(ByteQueue& other) noexcept { std::swap(held_, other.held_); }
    void clear() noexcept { delete detail::take(held_); }

  private:
    struct Held : Pooled {
        std::string bytes;
        std::size_t start = 0;  // those before it were read
    };
    Held* held_ = nullptr;  // null, or some bytes are unread
};

// The separators of a readuntil(): the match that ends first counts, of two that end together the
// shorter one.
class ASYNCIO_API Separators {
  public:
    Separators() noexcept = default;
    explicit Separators(std::string_view one) : one_(one), count_(1) {}

    void add(std::string_view one);

    // Raises: nothing; the ValueError for separators that cannot be searched, else null.
    std::exception_ptr check() const;
    std::size_t longest() const noexcept;

    struct Match {
        std::size_t begin;
        std::size_t end;
    };
    // Looks in `text` from `from` on.
    std::optional<Match> find(std::string_view text, std::size_t from) const noexcept;

  private:
    std::string one_;                // if there is one
    std::vector<std::string> many_;  // else all, the shortest first
    std::size_t count_ = 0;
};

class StreamReadWaiter final : public SoleWaiter {};

// A read in progress: the base of the awaiters of StreamReader. The stream fills it in, if it can
// from the transport's receive buffer; else the task takes its bytes out of the stream's buffer
// when it runs again, so that a cancel in between loses none.
class ASYNCIO_API StreamRead {
  public:
    using asyncio_native = void;

    enum class Kind : std::uint8_t {
        kSome,     // at least one byte, at most n_
        kAll,      // until the end
        kExactly,  // n_ bytes
        kUntil,    // through a separator
        kLine,     // through '\n', or what is left at the end
        kInto,     // at least one byte, at most n_, into memory of the caller
        kWith,     // a function looks at the bytes that are there
    };

    StreamRead(Stream* stream, Kind kind, std::ptrdiff_t n) noexcept
        : stream_(stream), n_(static_cast<std::size_t>(n)), kind_(kind) {}
    // Before it begins.
    StreamRead(StreamRead&&) noexcept = default;
    StreamRead& operator=(StreamRead&&) = delete;
    // Without having run again: its loop closes.
    ~StreamRead() {
        if (registered_) abandon();
    }

    bool await_ready() {
        slot_.begin();
        return begin();
    }
    template <std::derived_from<PromiseBase> P>
    bool await_suspend(std::coroutine_handle<P> h) {
        if (!enter()) return false;
        slot_.wait().suspend(h.promise());
        return true;
    }

  protected:
    // What a kind asks for beside a number.
    struct Function {
        std::size_t (*call)(Function& self, std::string_view bytes);
    };
    union Detail {
        const Separators* separators;  // kUntil
        char* into;                    // kInto
        Function* function;            // kWith
    };

    // To be called first by await_resume(): the error to raise, or null.
    std::exception_ptr settle() {
        if (slot_.slow()) return settle_slow();
        return std::move(error_);
    }
    void check() {
        if (std::exception_ptr e = settle()) std::rethrow_exception(std::move(e));
    }

    // What kInto and kWith give. Their own use of these members leaves one free.
    std::size_t& count() noexcept { return kind_ == Kind::kInto ? searched_ : n_; }

    Detail detail_{};
    std::string data_;  // what the other kinds give
    Stream* stream_;    // null: it went away while a task waited

  private:
    friend class Stream;

    bool begin();
    bool enter();
    void leave() noexcept;
    void abandon() noexcept;
    std::exception_ptr settle_slow();
    std::optional<Separators::Match> search(std::string_view text) noexcept;
    void call_function(std::string_view bytes);
    // Fails with `error`.
    bool fail(std::exception_ptr error) noexcept {
        error_ = std::move(error);
        return true;
    }

    std::size_t n_;
    // kUntil, kLine: no separator begins before it; kWith: what the function did not use.
    std::size_t searched_ = 0;
    std::exception_ptr error_;
    WaitSlot<StreamReadWaiter> slot_;
    Kind kind_;
    bool served_ = false;      // has bytes that came from no buffer: a cancel puts them back
    bool registered_ = false;  // is the stream's reader_
    bool cancel_due_ = false;  // its function cancelled the task: the next wait ends
};

// The awaiter of read(), readexactly(), readline().
class [[nodiscard("co_await it")]] ReadBytes : public StreamRead {
  public:
    using StreamRead::StreamRead;
    std::string await_resume() {
        check();
        return std::move(data_);
    }
    Result<std::string> await_result() {
        if (std::exception_ptr e = settle()) return Result<std::string>::failure(std::move(e));
        return Result<std::string>::success(std::move(data_));
    }
};

class [[nodiscard("co_await it")]] ReadUntil : public ReadBytes {
  public:
    ReadUntil(Stream* stream, Separators separators)
        : ReadBytes(stream, Kind::kUntil, 0), separators_(std::move(separators)) {}
    bool await_ready() {
        detail_.separators = &separators_;
        return ReadBytes::await_ready();
    }

  private:
    Separators separators_;
};

// The awaiter of next().
class [[nodiscard("co_await it")]] ReadNext : public StreamRead {
  public:
    using Line = std::optional<std::string>;

    explicit ReadNext(Stream* stream) noexcept : StreamRead(stream, Kind::kLine, 0) {}
    ASYNCIO_API Line await_resume();
    ASYNCIO_API Result<Line> await_result();

  private:
    Line line();
};

// The awaiters that give a number of bytes.
class [[nodiscard("co_await it")]] ReadCount : public StreamRead {
  public:
    ReadCount(Stream* stream, std::span<char> into) noexcept
        : StreamRead(stream, Kind::kInto, static_cast<std::ptrdiff_t>(into.size())) {
        detail_.into = into.data();
    }
    std::size_t await_resume() {
        check();
        return count();
    }
    Result<std::size_t> await_result() {
        if (std::exception_ptr e = settle()) return Result<std::size_t>::failure(std::move(e));
        return Result<std::size_t>::success(count());
    }

  protected:
    explicit ReadCount(Stream* stream) noexcept : StreamRead(stream, Kind::kWith, 0) {}
};

template <class F>
class [[nodiscard("co_await it")]] ReadWith : public ReadCount {
  public:
    ReadWith(Stream* stream, F function) : ReadCount(stream), function_(std::move(function)) {}
    bool await_ready() {
        detail_.function = &function_;
        return ReadCount::await_ready();
    }

  private:
    struct Holder : Function {
        explicit Holder(F f) : Function{&call_it}, fn(std::move(f)) {}
        static std::size_t call_it(Function& self, std::string_view bytes) {
            // Safe because only a Holder is made with this function.
            return static_cast<std::size_t>(static_cast<Holder&>(self).fn(bytes));
        }
        F fn;
    };
    Holder function_;
};

// A task that drains a writer or waits for its end. Made only where it has to wait, so that the
// awaiter is small.
class StreamWaiter final : public Waiter, public Pooled {
  public:
    enum class For : std::uint8_t { kDrain, kClosed };
    StreamWaiter(Stream* stream, For what) noexcept : stream(stream), what(what) {}
    ~StreamWaiter() = default;

    Stream* stream;  // null: it went away
    For what;
};

// The base of the awaiters of drain() and wait_closed().
class ASYNCIO_API StreamWait {
  public:
    using asyncio_native = void;

    StreamWait(StreamWait&& o) noexcept : stream_(o.stream_), what_(o.what_) {}
    StreamWait& operator=(StreamWait&&) = delete;

    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) {
        if (state_ == State::kYields) return thread_state.task->suspend_yield(h.promise());
        wait().suspend(h.promise());
    }
    void await_resume() {
        if (state_ == State::kReady) return;
        if (std::exception_ptr e = settle()) std::rethrow_exception(std::move(e));
    }
    Result<void> await_result() {
        if (state_ != State::kReady) {
            if (std::exception_ptr e = settle()) return Result<void>::failure(std::move(e));
        }
        return Result<void>::success();
    }

  protected:
    enum class State : std::uint8_t {
        kNew,
        kReady,   // there is nothing to wait for or to raise
        kFails,   // there is an error to raise
        kYields,  // the transport closes: connection_lost may come in the meantime
        kWaits,
    };

    StreamWait(Stream* stream, StreamWaiter::For what) noexcept : stream_(stream), what_(what) {}
    ~StreamWait() { delete waiter_; }

    // Raises: RuntimeError if it was awaited before.
    void begin() {
        if (state_ != State::kNew) throw_awaited_twice();
        state_ = State::kReady;
    }

    // Stands in the stream's line from now on. Raises: std::bad_alloc.
    StreamWaiter& wait();

    Stream* stream_;
    State state_ = State::kNew;
    StreamWaiter::For what_;

  private:
    std::exception_ptr settle();

    StreamWaiter* waiter_ = nullptr;  // of kWaits and kYields, to know that the stream lives
};

// The awaiter of drain().
class [[nodiscard("co_await it")]] Drain : public StreamWait {
  public:
    explicit Drain(Stream* stream) noexcept : StreamWait(stream, StreamWaiter::For::kDrain) {}
    bool await_ready();

  private:
    ASYNCIO_API bool look();
};

// The awaiter of wait_closed().
class [[nodiscard("co_await it")]] WaitClosed : public StreamWait {
  public:
    explicit WaitClosed(Stream* stream) noexcept : StreamWait(stream, StreamWaiter::For::kClosed) {}
    ASYNCIO_API bool await_ready();
};

// What the connections of one start_server() share: the handler, which lives until the last task
// that runs it is done, and the limit of their readers.
class ASYNCIO_API StreamServer {
  public:
    explicit StreamServer(std::size_t limit);
    StreamServer(const StreamServer&) = delete;
    StreamServer& operator=(const StreamServer&) = delete;
    virtual ~StreamServer();
    void retain() noexcept { refs_.add(); }
    void release() noexcept {
        if (refs_.drop()) delete this;
    }
    std::size_t limit() const noexcept { return limit_; }

    // Calls the handler. Returns the task that runs it, null if it is a plain function.
    virtual Ref<FutureBase> call(StreamReader reader, StreamWriter writer) = 0;

  private:
    RefCount refs_{1};
    std::size_t limit_;
};

class ASYNCIO_API Stream final : public Protocol, public std::enable_shared_from_this<Stream> {
  public:
    // Bytes; see StreamReader.
    static std::shared_ptr<Stream> make(LoopCore& core, std::size_t limit);
    // The server's end of a connection: connection_made() calls the handler.
    static std::shared_ptr<Stream> make(LoopCore& core, Ref<StreamServer> server);

    Stream(LoopCore& core, std::size_t limit);
    ~Stream() override;

    // Protocol.
    void connection_made(Transport& transport) override;
    void data_received(std::string_view data) override;
    bool eof_received() override;
    void connection_lost(std::exception_ptr error) override;
    void pause_writing() override { writing_paused_ = true; }
    void resume_writing() override;

    // The feeding side of StreamReader.
    void feed_data(std::string_view data);
    void feed_eof() noexcept;
    void set_exception(std::exception_ptr error) noexcept;
    const std::exception_ptr& exception() const noexcept { return exception_; }
    // A byte that a woken task was given but has not taken yet counts as unread.
    bool at_eof() const noexcept {
        return eof_ && buffer_.empty() && !in_function_ && !(reader_ && reader_->served_);
    }

    void set_transport(Ref<TransportBase> transport) noexcept { transport_ = std::move(transport); }
    // The connection goes over another one from now on (start_tls).
    void replace_transport(Ref<TransportBase> transport) noexcept;
    // The other side sends no more.
    bool ended() const noexcept { return eof_; }
    // What was received and not read (start_tls).
    // Raises: RuntimeError while a function of read_with() looks at some of it.
    std::string take_buffered();
    // Raises: RuntimeError if there is none yet.
    TransportBase& transport() const {
        if (!transport_) throw_empty_transport();
        return *transport_;
    }
    Ref<TransportBase> transport_ref() const noexcept { return transport_; }
    LoopCore& core() const noexcept { return core_; }
    // It is the server's end of a connection.
    bool server_side() const noexcept { return server_side_; }

    // Calls the handler, as connection_made does.
    void serve(Ref<StreamServer> server);

    // Handles of its writer: one that is not a copy, a copy, and the end of one, on any thread.
    void first_writer() noexcept;
    void add_writer() noexcept { writers_.add(); }
    void drop_writer() noexcept {
        if (writers_.drop()) last_writer_gone();
    }

    std::string reader_repr() const;
    std::string writer_repr() const;

  private:
    friend class StreamRead;
    friend class StreamWait;
    std::exception_ptr lost_error() const noexcept { return failed_ ? exception_ : nullptr; }
    friend class Drain;
    friend class WaitClosed;

    class LateClose;
    // Waits for the end of the task that runs the handler.
    class HandlerEnd final : public DoneNode {
      public:
        void scheduled(FutureBase& task) noexcept override;
        void run() override;
        void drop() noexcept override;

        std::shared_ptr<Stream> stream;  // while it is in a list
        Ref<FutureBase> task;            // once that is done
    };

    bool begin(StreamRead& read);
    bool enter(StreamRead& read);
    bool take(StreamRead& read);
    bool take_until(StreamRead& read);
    bool take_with(StreamRead& read);
    bool overrun(StreamRead& read, const char* text, std::size_t consumed, std::size_t dropped);
    void top_up(StreamRead& read);
    void put_back(StreamRead& read);
    bool serve_from(StreamRead& read, std::string_view& data);
    bool enough(StreamRead& read) const noexcept;
    void use(StreamRead& read, std::string_view fresh);
    bool use_all(StreamRead& read, std::string_view fresh);
    bool feed_function(StreamRead& read, std::string_view data);
    static void wake(StreamRead& read) noexcept {
        if (TaskBase* task = read.slot_.get().set_unqueued()) task->wake();
    }
    void wake_reader() noexcept {
        if (StreamRead* read = waiting()) wake(*read);
    }
    StreamRead* waiting() const noexcept {
        return reader_ && !in_function_ && !reader_->slot_.get().done() ? reader_ : nullptr;
    }
    // Returns the read that has what it needs now, and is to be woken; null if there is none.
    StreamRead* feed(std::string_view data);
    void pause_if_full();
    void resume_if_low();
    void resume_transport();
    void wake_waiters(StreamWaiter::For what) noexcept;
    std::exception_ptr failure(StreamWaiter::For what) const;
    static std::exception_ptr went_away();
    void last_writer_gone() noexcept;
    void close_unclosed() noexcept;

    LoopCore& core_;
    Ref<TransportBase> transport_;
    ByteQueue buffer_;
    StreamRead* reader_ = nullptr;  // the read that waits or was woken
    std::exception_ptr exception_;
    Owned<WaiterList> waiters_;  // of StreamWaiters; null until there is one
    Ref<StreamServer> server_;   // while its handler may be used
    HandlerEnd handler_end_;
    std::size_t limit_;
    RefCount writers_{1};
    bool in_function_ = false;  // reader_'s function is called: it may do anything to this
    bool has_writer_ = false;
    bool eof_ = false;
    bool reading_paused_ = false;  // by this
    bool cannot_pause_ = false;    // the transport cannot: everything is buffered
    bool writing_paused_ = false;
    bool lost_ = false;    // connection_lost was called
    bool failed_ = false;  // with exception_
    bool server_side_ = false;
};

inline bool StreamRead::begin() { return stream_->begin(*this); }
inline bool StreamRead::enter() { return stream_->enter(*this); }

inline bool Drain::await_ready() {
    begin();
    if (!stream_->exception_ && !stream_->lost_ && !stream_->writing_paused_ &&
        !stream_->transport().is_closing()) {
        return true;
    }
    return look();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

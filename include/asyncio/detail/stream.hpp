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

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "asyncio/detail/byte_queue.hpp"
#include "asyncio/detail/loop_core.hpp"
#include "asyncio/detail/owned.hpp"
#include "asyncio/detail/refcount.hpp"
#include "asyncio/detail/stream_read.hpp"
#include "asyncio/detail/stream_wait.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/protocols.hpp"
#include "asyncio/transports.hpp"

namespace asyncio {
inline namespace v1 {

class StreamReader;
class StreamWriter;

namespace detail {

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
    // A read waits for more than is there.
    bool awaits_bytes() const noexcept { return waiting() != nullptr; }
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
    void wake_waiters(WaitKind kind) noexcept;
    std::exception_ptr failure(WaitKind kind) const;
    static std::exception_ptr went_away();
    void last_writer_gone() noexcept;
    void close_unclosed() noexcept;

    template <class>
    friend struct DebugLayout;

    // What each message looks at comes first: two lines of the cache (script/bench lines).
    LoopCore& core_;
    Ref<TransportBase> transport_;
    ByteQueue buffer_;
    StreamRead* reader_ = nullptr;  // the read that waits or was woken
    std::exception_ptr exception_;
    std::size_t limit_;
    bool in_function_ = false;  // reader_'s function is called: it may do anything to this
    bool has_writer_ = false;
    bool eof_ = false;
    bool reading_paused_ = false;  // by this
    bool cannot_pause_ = false;    // the transport cannot: everything is buffered
    bool writing_paused_ = false;
    bool lost_ = false;    // connection_lost was called
    bool failed_ = false;  // with exception_
    bool server_side_ = false;
    RefCount writers_{1};
    Owned<WaitingLine> waiters_;  // of StreamWaiters; null until there is one
    Ref<StreamServer> server_;    // while its handler may be used
    HandlerEnd handler_end_;
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

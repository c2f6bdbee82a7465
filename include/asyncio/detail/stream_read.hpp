// What a read of a stream is: the awaiters of StreamReader. The states of a read stand at the head
// of detail/stream.hpp.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "asyncio/detail/promise.hpp"
#include "asyncio/detail/wait_slot.hpp"
#include "asyncio/detail/waiter.hpp"
#include "asyncio/result.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class Stream;

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

class StreamReadWaiter final : public SoleWaiter {
  public:
    StreamReadWaiter() noexcept : SoleWaiter(WaitKind::kStreamRead) {}
};

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
    template <class>
    friend struct DebugLayout;

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

}  // namespace detail
}  // namespace v1
}  // namespace asyncio

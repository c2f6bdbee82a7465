// Streams: how bytes come in and are read. What a read asks for is looked for in three places, in
// this order:
//   1. in the stream's buffer, when the task begins to read: no suspension;
//   2. in the transport's receive buffer, when bytes come while the task waits and the stream's
//      buffer is empty: the result is built from there, and only what is left over is buffered;
//   3. in the stream's buffer again, when the task runs after it was woken: only then are bytes
//      taken out of it, so that a task cancelled in between takes none. What 2 gave is put back.
// What else a stream does is in streams.cpp.
#include <algorithm>
#include <cstring>

#include "asyncio/streams.hpp"
#include "loop/loop.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- ByteQueue ----------------------------------------------------------------------------------

void ByteQueue::append(std::string_view data) {
    if (data.empty()) return;
    if (!held_) {
        auto made = std::make_unique<Held>();
        made->bytes = data;
        held_ = made.release();
        return;
    }
    // Bytes are moved to the front only when at least as many were read, so that each is moved
    // once on average.
    if (held_->start > 0 && held_->start >= size()) {
        held_->bytes.erase(0, held_->start);
        held_->start = 0;
    }
    held_->bytes.append(data);
}

void ByteQueue::prepend(std::string&& data) {
    if (held_) return prepend(data.data(), data.size());
    if (data.empty()) return;
    held_ = new Held;
    held_->bytes = std::move(data);
}

void ByteQueue::prepend(const char* data, std::size_t n) {
    if (!held_) return append({data, n});
    std::size_t& start = held_->start;
    const std::size_t read = std::min(n, start);
    held_->bytes.replace(start - read, read, data, n);
    start -= read;
}

std::string ByteQueue::take(std::size_t n) {
    if (n == 0) return {};
    std::string taken;
    // A small rest of a large block is copied, so that the block goes.
    if (n == size() && n >= held_->bytes.capacity() / 2) {
        held_->bytes.erase(0, held_->start);
        taken = std::move(held_->bytes);
        clear();
    } else {
        taken = view().substr(0, n);
        drop(n);
    }
    return taken;
}

void ByteQueue::drop(std::size_t n) noexcept {
    if (n == size()) return clear();
    held_->start += n;
}

// ---- Separators ---------------------------------------------------------------------------------

void Separators::add(std::string_view one) {
    const auto shorter = [](std::string_view a, const std::string& b) {
        return a.size() < b.size();
    };
    many_.emplace(std::upper_bound(many_.begin(), many_.end(), one, shorter), one);
    if (++count_ == 1) one_ = one;
}

std::exception_ptr Separators::check() const {
    if (count_ == 0) {
        return std::make_exception_ptr(ValueError("Separator should contain at least one element"));
    }
    if ((count_ == 1 ? one_ : many_.front()).empty()) {
        return std::make_exception_ptr(ValueError("Separator should be at least one-byte string"));
    }
    return nullptr;
}

std::size_t Separators::longest() const noexcept {
    return count_ == 1 ? one_.size() : many_.back().size();
}

namespace {

constexpr std::size_t kNowhere = std::string_view::npos;

// Linear in the text, whatever the separator.
std::size_t find_one(std::string_view text, std::string_view what) noexcept {
    if (text.size() < what.size()) return kNowhere;
    const void* at = what.size() == 1 ? std::memchr(text.data(), what[0], text.size())
                                      : memmem(text.data(), text.size(), what.data(), what.size());
    if (!at) return kNowhere;
    return static_cast<std::size_t>(static_cast<const char*>(at) - text.data());
}

}  // namespace

std::optional<Separators::Match> Separators::find(std::string_view text,
                                                  std::size_t from) const noexcept {
    if (count_ == 1) {
        const std::size_t at = find_one(text.substr(from), one_);
        if (at == kNowhere) return std::nullopt;
        return Match{from + at, from + at + one_.size()};
    }
    // In windows that grow, so that a separator that never comes is not looked for in the whole
    // text each time that another one is found near its start.
    for (std::size_t width = 256; from < text.size(); width *= 2) {
        const std::string_view window = text.substr(from, width);
        std::optional<Match> best;
        for (const std::string& s : many_) {
            // Only an earlier end is better.
            const std::size_t before = best ? best->end - from - 1 : window.size();
            const std::size_t at = find_one(window.substr(0, before), s);
            if (at != kNowhere) best = Match{from + at, from + at + s.size()};
        }
        if (best) return best;
        if (from + width >= text.size()) break;
        // One that begins in this window may end in the next.
        if (width >= longest()) from += width - (longest() - 1);
    }
    return std::nullopt;
}

// ---- a read -------------------------------------------------------------------------------------

namespace {

std::exception_ptr another_reader(StreamRead::Kind kind) {
    const char* name = "read";
    if (kind == StreamRead::Kind::kExactly) name = "readexactly";
    if (kind == StreamRead::Kind::kUntil || kind == StreamRead::Kind::kLine) name = "readuntil";
    return std::make_exception_ptr(
        RuntimeError(std::string(name) +
                     "() called while another coroutine is already waiting for incoming data"));
}

constexpr const char* kNotFound = "Separator is not found, and chunk exceed the limit";
constexpr const char* kUnused = "Nothing was used of a chunk that exceeds the limit";
constexpr const char* kTooLong = "Separator is found, but chunk is longer than limit";

}  // namespace

// The task gives up.
void StreamRead::leave() noexcept {
    if (stream_) {
        try {
            stream_->put_back(*this);
        } catch (const std::bad_alloc&) {
            // Without memory the bytes cannot be kept; the stream must not seem whole.
            stream_->set_exception(std::current_exception());
        }
        stream_->reader_ = nullptr;
    }
    registered_ = false;
}

void StreamRead::abandon() noexcept {
    if (stream_) stream_->reader_ = nullptr;
}

ReadNext::Line ReadNext::line() { return data_.empty() ? Line() : Line(std::move(data_)); }

ReadNext::Line ReadNext::await_resume() {
    check();
    return line();
}

Result<ReadNext::Line> ReadNext::await_result() {
    if (std::exception_ptr e = settle()) return Result<Line>::failure(std::move(e));
    return Result<Line>::success(line());
}

std::exception_ptr StreamRead::settle_slow() {
    if (cancel_due_) {
        slot_.get().task()->resumed();  // and not now: this read has ended before
    } else if (std::exception_ptr cancelled = slot_.get().resume()) {
        if (registered_) leave();
        return cancelled;
    }
    if (!stream_) return served_ ? std::move(error_) : Stream::went_away();
    Stream& s = *stream_;
    if (std::exchange(registered_, false)) s.reader_ = nullptr;
    if (served_) {
        if (!s.buffer_.empty()) s.top_up(*this);
        return std::move(error_);
    }
    if (s.take(*this)) return std::move(error_);
    if (s.exception_) return s.exception_;
    // Another task has read what this one was woken for.
    return another_reader(kind_);
}

std::optional<Separators::Match> StreamRead::search(std::string_view text) noexcept {
    // What was searched may have gone: there was no memory to keep it.
    searched_ = std::min(searched_, text.size());
    if (kind_ == Kind::kLine) {
        const std::size_t at = find_one(text.substr(searched_), "\n");
        if (at == kNowhere) {
            searched_ = text.size();
            return std::nullopt;
        }
        searched_ += at;
        return Separators::Match{searched_, searched_ + 1};
    }
    const Separators& separators = *detail_.separators;
    const auto match = separators.find(text, searched_);
    if (match) {
        searched_ = match->begin;
    } else if (text.size() + 1 > searched_ + separators.longest()) {
        // One may have begun at the end.
        searched_ = text.size() + 1 - separators.longest();
    }
    return match;
}

void StreamRead::call_function(std::string_view bytes) {
    try {
        n_ = detail_.function->call(*detail_.function, bytes);
    } catch (...) {
        // It goes on in the task that reads.
        error_ = std::current_exception();
        n_ = 0;
        return;
    }
    if (n_ > bytes.size()) {
        error_ = std::make_exception_ptr(ValueError("the function used " + std::to_string(n_) +
                                                    " bytes of " + std::to_string(bytes.size())));
        n_ = 0;
    }
    if (n_ == 0) searched_ = bytes.size();
}

// ---- Stream: reading ----------------------------------------------------------------------------

// Returns true if the read needs not wait.
bool Stream::begin(StreamRead& r) {
    using Kind = StreamRead::Kind;
    if (r.kind_ == Kind::kUntil) {
        if (std::exception_ptr e = r.detail_.separators->check()) return r.fail(std::move(e));
    }
    if (exception_) return r.fail(exception_);
    const bool sized =
        r.kind_ == Kind::kSome || r.kind_ == Kind::kExactly || r.kind_ == Kind::kInto;
    if (sized && r.n_ == 0) return true;
    if (!reader_) return (!buffer_.empty() || eof_) && take(r);
    if (in_function_) return r.fail(another_reader(r.kind_));
    StreamRead& other = *reader_;
    if (other.slot_.get().done()) {
        // A task that was woken and has not run yet loses what it was given: this one comes first,
        // as in CPython. If that one was cancelled meanwhile, it is as it should be.
        put_back(other);
        other.registered_ = false;
        reader_ = nullptr;
    }
    // This one may take bytes that the other one has searched.
    other.searched_ = 0;
    return take(r);
}

// Makes the read the one that waits. Returns false if it needs not, or may not.
bool Stream::enter(StreamRead& r) {
    if (reader_) {
        r.error_ = another_reader(r.kind_);
        return false;
    }
    if (reading_paused_) {
        // More is needed than the limit lets in.
        resume_transport();
        if (take(r)) return false;
    }
    reader_ = &r;
    r.registered_ = true;
    if (transport_) transport_->expect_reader(&r, thread_state.task);
    return true;
}

// Takes the result out of the buffer, or fails because of the end. Returns false if it must wait.
bool Stream::take(StreamRead& r) {
    using Kind = StreamRead::Kind;
    switch (r.kind_) {
        case Kind::kUntil:
        case Kind::kLine:
            return take_until(r);
        case Kind::kWith:
            return take_with(r);
        case Kind::kSome:
            if (buffer_.empty()) return eof_;
            r.data_ = buffer_.take(std::min(r.n_, buffer_.size()));
            break;
        case Kind::kAll:
            if (!eof_) return false;
            r.data_ = buffer_.take(buffer_.size());
            break;
        case Kind::kExactly:
            if (buffer_.size() < r.n_) {
                if (!eof_) return false;
                return r.fail(std::make_exception_ptr(
                    IncompleteReadError(buffer_.take(buffer_.size()), r.n_)));
            }
            r.data_ = buffer_.take(r.n_);
            break;
        case Kind::kInto:
            if (buffer_.empty()) return eof_;
            r.count() = std::min(r.n_, buffer_.size());
            std::memcpy(r.detail_.into, buffer_.view().data(), r.count());
            buffer_.drop(r.count());
            break;
    }
    resume_if_low();
    return true;
}

bool Stream::take_until(StreamRead& r) {
    const auto match = r.search(buffer_.view());
    if (match && match->begin > limit_) return overrun(r, kTooLong, match->begin, match->end);
    if (match) {
        r.data_ = buffer_.take(match->end);
        resume_if_low();
        return true;
    }
    if (r.searched_ > limit_) return overrun(r, kNotFound, r.searched_, buffer_.size());
    if (!eof_) return false;
    std::string rest = buffer_.take(buffer_.size());
    if (r.kind_ == StreamRead::Kind::kUntil) {
        return r.fail(std::make_exception_ptr(IncompleteReadError(std::move(rest), std::nullopt)));
    }
    r.data_ = std::move(rest);
    return true;
}

// The limit: readuntil() leaves the bytes, readline() drops them (ST-06, ST-08).
bool Stream::overrun(StreamRead& r, const char* text, std::size_t consumed, std::size_t dropped) {
    if (r.kind_ == StreamRead::Kind::kUntil) {
        return r.fail(std::make_exception_ptr(LimitOverrunError(text, consumed)));
    }
    buffer_.drop(dropped);
    resume_if_low();
    return r.fail(std::make_exception_ptr(ValueError(text)));
}

bool Stream::take_with(StreamRead& r) {
    if (buffer_.size() <= r.searched_) return eof_;
    const auto self = shared_from_this();  // the function may drop all handles of this
    if (use_all(r, {})) {
        if (r.n_ > 0) resume_if_low();
        return true;
    }
    if (exception_) return r.fail(exception_);
    if (self.use_count() == 1 && !eof_) return r.fail(went_away());
    return eof_;
}

// Calls the function of a read_with() with the bytes that are there: those of the buffer and
// `fresh` ones. It may do anything to the stream meanwhile, which has no other bytes for it and
// none for others; what it feeds comes behind those that it looks at.
void Stream::use(StreamRead& r, std::string_view fresh) {
    ByteQueue looked;
    if (!buffer_.empty()) {
        buffer_.append(fresh);
        fresh = {};
        looked.swap(buffer_);
    }
    StreamRead* const waits = std::exchange(reader_, &r);
    in_function_ = true;
    r.call_function(looked.empty() ? fresh : looked.view());
    in_function_ = false;
    reader_ = waits;
    try {
        if (looked.empty()) {
            fresh.remove_prefix(r.n_);
            buffer_.prepend(fresh.data(), fresh.size());
            return;
        }
        looked.drop(r.n_);
        looked.append(buffer_.view());
        looked.swap(buffer_);
    } catch (const std::bad_alloc&) {
        // Bytes are missing from now on.
        set_exception(std::current_exception());
        throw;
    }
}

// The same, again if it has used none and fed more. Returns false if it needs more than is there.
bool Stream::use_all(StreamRead& r, std::string_view fresh) {
    do {
        use(r, std::exchange(fresh, {}));
        if (r.error_ || r.n_ > 0) return true;
        if (r.searched_ > limit_) {
            return r.fail(std::make_exception_ptr(LimitOverrunError(kUnused, r.searched_)));
        }
    } while (buffer_.size() > r.searched_);
    return false;
}

// More came after what a woken task was given: as much as it asked for, as in CPython.
void Stream::top_up(StreamRead& r) {
    using Kind = StreamRead::Kind;
    if (r.kind_ == Kind::kSome) {
        r.data_ += buffer_.take(std::min(r.n_ - r.data_.size(), buffer_.size()));
    } else if (r.kind_ == Kind::kInto) {
        const std::size_t more = std::min(r.n_ - r.count(), buffer_.size());
        std::memcpy(r.detail_.into + r.count(), buffer_.view().data(), more);
        buffer_.drop(more);
        r.count() += more;
    }
    resume_if_low();
}

// A task that was given bytes does not take them.
void Stream::put_back(StreamRead& r) {
    using Kind = StreamRead::Kind;
    // What a function has used is used.
    if (r.kind_ == Kind::kWith || !std::exchange(r.served_, false)) return;
    if (r.kind_ == Kind::kInto) {
        buffer_.prepend(r.detail_.into, r.count());
    } else {
        buffer_.prepend(std::move(r.data_));
    }
}

std::string Stream::take_buffered() {
    if (in_function_) throw RuntimeError("a function of read_with() looks at bytes of this stream");
    // A woken task that has not run yet has not read them.
    if (reader_) put_back(*reader_);
    return buffer_.take(buffer_.size());
}

// ---- Stream: feeding ----------------------------------------------------------------------------

namespace {

// While it lives the suspended `task` is the one that runs. It waits for nothing afterwards.
class Stead {
  public:
    explicit Stead(TaskBase& task) noexcept
        : task_(std::exchange(thread_state.task, &task)),
          context_(std::exchange(thread_state.context, &task.context_)) {
        task.waiting_ = nullptr;
    }
    Stead(const Stead&) = delete;
    Stead& operator=(const Stead&) = delete;
    ~Stead() {
        thread_state.task = task_;
        thread_state.context = context_;
    }

  private:
    TaskBase* task_;
    ContextSlot* context_;
};

}  // namespace

void Stream::feed_data(std::string_view data) {
    // A function may drop all handles of this.
    const auto self =
        reader_ && reader_->kind_ == StreamRead::Kind::kWith ? shared_from_this() : nullptr;
    if (StreamRead* r = feed(data)) wake(*r);
}

// From the transport. The task goes on right after this, while the bytes are in the cache; CPython
// would first receive for all other connections that are ready.
void Stream::data_received(std::string_view data) {
    StreamRead* const r = feed(data);
    if (!r) return;
    TaskBase* const task = r->slot_.get().set_unqueued();
    if (task) static_cast<Loop&>(core_).run_next(*task);
}

StreamRead* Stream::feed(std::string_view data) {
    if (data.empty()) return nullptr;
    if (eof_) throw RuntimeError("feed_data after feed_eof");
    StreamRead* r = waiting();
    try {
        if (!r) {
            buffer_.append(data);
        } else if (r->kind_ == StreamRead::Kind::kWith) {
            if (!feed_function(*r, data)) r = nullptr;
        } else if (buffer_.empty() && serve_from(*r, data)) {
            r->served_ = true;
            if (!data.empty()) buffer_.append(data);
        } else {
            buffer_.append(data);
            if (!enough(*r)) return nullptr;
        }
        pause_if_full();
        return r;
    } catch (...) {
        // Bytes are missing from now on: the end must not look like a clean one.
        set_exception(std::current_exception());
        throw;
    }
}

// Gives a waiting read its result out of `data`, if that has it, and takes it away from there.
bool Stream::serve_from(StreamRead& r, std::string_view& data) {
    using Kind = StreamRead::Kind;
    std::size_t n = 0;
    switch (r.kind_) {
        case Kind::kAll:
        case Kind::kWith:
            return false;
        case Kind::kSome:
            n = std::min(r.n_, data.size());
            break;
        case Kind::kInto:
            n = r.count() = std::min(r.n_, data.size());
            std::memcpy(r.detail_.into, data.data(), n);
            data.remove_prefix(n);
            return true;
        case Kind::kExactly:
            if (data.size() < r.n_) return false;
            n = r.n_;
            break;
        case Kind::kUntil:
        case Kind::kLine: {
            const auto match = r.search(data);
            if (!match || match->begin > limit_) return false;
            n = match->end;
            break;
        }
    }
    r.data_.assign(data.data(), n);
    data.remove_prefix(n);
    return true;
}

// Bytes came into the buffer: is it time to wake the task?
bool Stream::enough(StreamRead& r) const noexcept {
    using Kind = StreamRead::Kind;
    switch (r.kind_) {
        case Kind::kSome:
        case Kind::kInto:
        case Kind::kWith:
            return true;
        case Kind::kAll:
            return false;
        case Kind::kExactly:
            return buffer_.size() >= r.n_;
        case Kind::kUntil:
        case Kind::kLine:
            break;
    }
    return r.search(buffer_.view()) || r.searched_ > limit_;
}

// In the place of the task, as if that ran: in its context, as the current task, and what cancels
// it is for its next wait, which is this one only if this goes on.
bool Stream::feed_function(StreamRead& r, std::string_view data) {
    if (!core_.runs_here()) {
        // Fed from outside of the loop: the task calls it.
        buffer_.append(data);
        return true;
    }
    StreamReadWaiter& waiter = r.slot_.get();
    TaskBase& task = *waiter.task();
    {
        const Stead in_its_place(task);
        r.served_ = use_all(r, data);
    }
    const bool ended = r.served_ || eof_ || exception_;
    if (!ended) {
        task.suspend(*task.leaf_, waiter);
        return false;
    }
    task.waiting_ = &waiter;
    r.cancel_due_ = (task.flags_ & FutureBase::kMustCancel) != 0;
    return true;
}

void Stream::feed_eof() noexcept {
    eof_ = true;
    wake_reader();
}

void Stream::set_exception(std::exception_ptr error) noexcept {
    exception_ = std::move(error);
    wake_reader();
}

// ST-04. While a task waits for more the transport goes on.
void Stream::pause_if_full() {
    const std::size_t size = buffer_.size();
    if (size <= limit_ || size - limit_ <= limit_ || reading_paused_) return;
    if (cannot_pause_ || !transport_) return;
    try {
        transport_->pause_reading();
        reading_paused_ = true;
    } catch (const NotImplementedError&) {
        cannot_pause_ = true;
    }
}

void Stream::resume_if_low() {
    if (reading_paused_ && buffer_.size() <= limit_) resume_transport();
}

void Stream::resume_transport() {
    reading_paused_ = false;
    transport_->resume_reading();
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
